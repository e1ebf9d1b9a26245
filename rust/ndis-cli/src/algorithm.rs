// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Short names of the algorithms for the command line.

use clap::ValueEnum;
use espnic_ndis::algorithm as ndis;

/// Authentication algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Authentication {
    /// HMAC-MD5-96
    Md5,
    /// HMAC-SHA-1-96
    Sha1,
    /// HMAC-SHA-256-128
    Sha256,
    /// AES-GMAC, 128-bit key
    #[value(name = "aes-gmac-128")]
    Gmac128,
    /// AES-GMAC, 192-bit key
    #[value(name = "aes-gmac-192")]
    Gmac192,
    /// AES-GMAC, 256-bit key
    #[value(name = "aes-gmac-256")]
    Gmac256,
}

impl From<Authentication> for ndis::Authentication {
    fn from(name: Authentication) -> Self {
        match name {
            Authentication::Md5 => Self::MD5,
            Authentication::Sha1 => Self::SHA_1,
            Authentication::Sha256 => Self::SHA_256,
            Authentication::Gmac128 => Self::AES_GCM_128,
            Authentication::Gmac192 => Self::AES_GCM_192,
            Authentication::Gmac256 => Self::AES_GCM_256,
        }
    }
}

/// Ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encryption {
    /// Null encryption (RFC 2410)
    Null,
    /// DES-CBC
    DesCbc,
    /// Triple DES in CBC mode
    #[value(name = "3des-cbc")]
    TripleDesCbc,
    /// AES-GCM, 128-bit key
    #[value(name = "aes-gcm-128")]
    Gcm128,
    /// AES-GCM, 192-bit key
    #[value(name = "aes-gcm-192")]
    Gcm192,
    /// AES-GCM, 256-bit key
    #[value(name = "aes-gcm-256")]
    Gcm256,
    /// AES-CBC, 128-bit key
    #[value(name = "aes-cbc-128")]
    Cbc128,
    /// AES-CBC, 192-bit key
    #[value(name = "aes-cbc-192")]
    Cbc192,
    /// AES-CBC, 256-bit key
    #[value(name = "aes-cbc-256")]
    Cbc256,
}

impl From<Encryption> for ndis::Encryption {
    fn from(name: Encryption) -> Self {
        match name {
            Encryption::Null => Self::NONE,
            Encryption::DesCbc => Self::DES_CBC,
            Encryption::TripleDesCbc => Self::TRIPLE_DES_CBC,
            Encryption::Gcm128 => Self::AES_GCM_128,
            Encryption::Gcm192 => Self::AES_GCM_192,
            Encryption::Gcm256 => Self::AES_GCM_256,
            Encryption::Cbc128 => Self::AES_CBC_128,
            Encryption::Cbc192 => Self::AES_CBC_192,
            Encryption::Cbc256 => Self::AES_CBC_256,
        }
    }
}

/// The short name of the one with this NDIS identifier.
fn short<T>(wanted: u32, id: impl Fn(T) -> u32) -> Option<String>
where
    T: ValueEnum + Copy,
{
    T::value_variants()
        .iter()
        .find(|&&one| id(one) == wanted)
        .and_then(|one| one.to_possible_value())
        .map(|value| value.get_name().to_owned())
}

/// Name of an authentication algorithm, the number if it has none.
pub fn authentication(id: u32) -> String {
    short::<Authentication>(id, |one| ndis::Authentication::from(one).0)
        .unwrap_or_else(|| format!("{id:#x}"))
}

/// Name of a cipher, the number if it has none.
pub fn encryption(id: u32) -> String {
    short::<Encryption>(id, |one| ndis::Encryption::from(one).0)
        .unwrap_or_else(|| format!("{id:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_short_name() {
        for one in ndis::Authentication::ALL {
            assert!(!authentication(one.0).starts_with("0x"), "{one}");
        }
        for one in ndis::Encryption::ALL {
            assert!(!encryption(one.0).starts_with("0x"), "{one}");
        }
        assert_eq!(encryption(0x400), "0x400");
    }
}
