// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-CBC with HMAC in ESP (RFC 3602, RFC 2404, RFC 4868): encrypt, then authenticate.

use super::backend::Backend;
use super::ct_eq::ct_eq;
use super::suite::{KeyError, CBC_START};
use super::{aws_lc, iv};
use espnic_esp::engine::{CipherError, Transform, LONG_IV_LEN};
use espnic_wire::algorithm::Mac;

#[cfg(target_arch = "x86_64")]
use super::ipsec_mb;

const BLOCK: usize = 16;

/// Keys in one of the backends.
pub(super) enum Keys {
    #[cfg(target_arch = "x86_64")]
    IpsecMb(ipsec_mb::CbcHmac),
    /// Boxed, because it is by far the largest.
    AwsLc(Box<aws_lc::CbcHmac>),
}

impl Keys {
    fn new(
        backend: Backend,
        cipher_key: &[u8],
        mac: Mac,
        mac_key: &[u8],
    ) -> Result<Self, KeyError> {
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::IpsecMb => ipsec_mb::CbcHmac::new(cipher_key, mac, mac_key).map(Self::IpsecMb),
            #[cfg(not(target_arch = "x86_64"))]
            Backend::IpsecMb => Err(KeyError::Unavailable),
            Backend::AwsLc => aws_lc::CbcHmac::new(cipher_key, mac, mac_key)
                .map(|keys| Self::AwsLc(Box::new(keys))),
        }
    }

    /// Encrypts `esp` from the text to `end`, then writes the MAC of the first `hashed` bytes.
    fn encrypt(
        &self,
        esp: &mut [u8],
        end: usize,
        hashed: usize,
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb(keys) => keys.encrypt(esp, end, hashed, icv),
            Self::AwsLc(keys) => keys.encrypt(esp, end, hashed, icv),
        }
    }

    /// Writes the MAC of `data`.
    pub(super) fn mac(&self, data: &[u8], icv: &mut [u8]) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb(keys) => keys.mac(data, icv),
            Self::AwsLc(keys) => keys.mac(data, icv),
        }
    }

    /// Decrypts `esp` from the text to `end`.
    fn decrypt(&self, esp: &mut [u8], end: usize) -> Result<(), CipherError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::IpsecMb(keys) => keys.decrypt(esp, end),
            Self::AwsLc(keys) => keys.decrypt(esp, end),
        }
    }
}

/// AES-CBC with HMAC as an ESP transform.
pub struct EspCbcHmac {
    /// The library for several packets, which makes the IVs, too.
    backend: Backend,
    /// For one packet.
    pub(super) keys: Keys,
    /// For several, if the library for one does not take them.
    pub(super) many: Option<Keys>,
    pub(super) mac: Mac,
    pub(super) icv_len: usize,
    /// See [`Self::opens_joint`].
    opens_joint: bool,
}

impl EspCbcHmac {
    /// See [`Keys::new`]. `one` is the library for single packets, `many` that for several at once.
    pub(super) fn new(
        [one, many]: [Backend; 2],
        cipher_key: &[u8],
        mac: Mac,
        mac_key: &[u8],
    ) -> Result<Self, KeyError> {
        let keys = |backend| Keys::new(backend, cipher_key, mac, mac_key);
        let pays = one == many || mac != Mac::HmacSha256 || !has_sha();
        Ok(Self {
            opens_joint: is_joint(many) && pays,
            backend: many,
            keys: keys(one)?,
            many: (one != many).then(|| keys(many)).transpose()?,
            mac,
            icv_len: mac.row().icv_len,
        })
    }

    /// Whether there is a library that works on several packets at once.
    pub fn is_joint(&self) -> bool {
        is_joint(self.backend)
    }

    /// Whether it pays to let received packets wait for others.
    #[inline(always)]
    pub fn opens_joint(&self) -> bool {
        self.opens_joint
    }

    /// The end of the text, if the packet has all parts.
    pub(super) fn end(&self, esp: &[u8]) -> Result<usize, CipherError> {
        let end = esp
            .len()
            .checked_sub(self.icv_len)
            .ok_or(CipherError::Unsupported)?;
        match end.checked_sub(CBC_START) {
            Some(len) if len > 0 && len % BLOCK == 0 => Ok(end),
            _ => Err(CipherError::Unsupported),
        }
    }
}

/// Whether this library works on several packets at once.
fn is_joint(library: Backend) -> bool {
    library == Backend::IpsecMb
}

/// Whether the processor has instructions for SHA-256, and no registers for sixteen packets. The instructions,
/// which the library for one packet uses, are as fast as registers for eight; and decryption of one packet is
/// parallel as it is.
fn has_sha() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("sha")
        && !std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// With ESN the high half is authenticated behind the packet (RFC 4303 section 2.2.1). The room for the
/// ICV is there, so it holds the half while the MAC is computed. Returns how much to authenticate.
pub(super) fn append_high_half(esp: &mut [u8], end: usize, esn_hi: Option<u32>) -> usize {
    let Some(hi) = esn_hi else {
        return end;
    };
    if let Some(room) = esp.get_mut(end..).and_then(|icv| icv.first_chunk_mut()) {
        *room = hi.to_be_bytes();
    }
    end + size_of::<u32>()
}

impl Transform for EspCbcHmac {
    fn seal(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        let end = self.end(esp)?;
        let hashed = append_high_half(esp, end, esn_hi);
        let mut icv = [0; espnic_esp::engine::MAX_ICV_LEN];
        let icv = icv
            .get_mut(..self.icv_len)
            .ok_or(CipherError::Unsupported)?;
        self.keys.encrypt(esp, end, hashed, icv)?;
        esp.get_mut(end..)
            .ok_or(CipherError::Unsupported)?
            .copy_from_slice(icv);
        Ok(())
    }

    fn open(&self, esn_hi: Option<u32>, esp: &mut [u8]) -> Result<(), CipherError> {
        let end = self.end(esp)?;
        let mut icvs = [[0; espnic_esp::engine::MAX_ICV_LEN]; 2];
        let [received, computed] = icvs.each_mut().map(|icv| icv.get_mut(..self.icv_len));
        let (Some(received), Some(computed), Some(icv)) = (received, computed, esp.get(end..))
        else {
            return Err(CipherError::Unsupported);
        };
        received.copy_from_slice(icv);
        let hashed = append_high_half(esp, end, esn_hi);
        let result = self
            .keys
            .mac(esp.get(..hashed).unwrap_or_default(), computed);
        if let Some(icv) = esp.get_mut(end..) {
            icv.copy_from_slice(received);
        }
        result?;
        if !ct_eq(computed, received) {
            return Err(CipherError::Auth);
        }
        self.keys.decrypt(esp, end)
    }

    fn random_iv(&self) -> Result<[u8; LONG_IV_LEN], CipherError> {
        iv::unpredictable(self.backend)
    }
}
