// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One checked security association bundle: the content of an element of ADD_SA or ADD_SA_EX.
//!
//! A [`Bundle`] borrows its keys from the request buffer and ends with the request. Types that
//! carry key material implement neither `Debug` nor `PartialEq`.

use crate::algorithm::{Authentication, Encryption};
use crate::sa::{Address, Spi, UdpEsp};

/// Transport or tunnel. NDIS has no field for it (C14), so it comes from the UDP-ESP subtype, from the
/// sender of the request, or is left to the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By the packet: inner protocol 4 or 41 means tunnel.
    #[default]
    ByPacket,
    /// Transport mode.
    Transport,
    /// Tunnel mode; the endpoints are those of the tunnel (R62).
    Tunnel,
}

/// A bundle that passed the checks of [`check`](super::check). One handle will name all of it
/// (R75).
#[derive(Clone, Copy)]
pub struct Bundle<'a> {
    /// Inbound, else outbound (R55).
    pub inbound: bool,
    /// Source address; unspecified matches every one (R61).
    pub source: Address,
    /// Destination address; unspecified matches every one (R61). Same family as the source.
    pub destination: Address,
    /// UDP encapsulation: NONE or one subtype (R63). It travels in the SA itself (R137).
    pub udp: UdpEsp,
    /// Transport, tunnel, or as each packet says.
    pub mode: Mode,
    /// The ESP part. At least one of `esp` and `ah` is there.
    pub esp: Option<Esp<'a>>,
    /// The AH part. Outbound it is made after ESP, inbound verified before it (C17).
    pub ah: Option<Ah<'a>>,
}

/// The ESP part of a bundle: a cipher, an integrity algorithm, or both (R57).
#[derive(Clone, Copy)]
pub struct Esp<'a> {
    /// Its SPI.
    pub spi: Spi,
    /// The cipher; none means null encryption. A combined-mode cipher comes without `integrity`.
    pub cipher: Option<Cipher<'a>>,
    /// The integrity algorithm.
    pub integrity: Option<Integrity<'a>>,
    /// With extended sequence numbers: the first upper 32 bits (R64).
    pub esn: Option<u32>,
}

/// The AH part of a bundle.
#[derive(Clone, Copy)]
pub struct Ah<'a> {
    /// Its SPI.
    pub spi: Spi,
    /// The integrity algorithm.
    pub integrity: Integrity<'a>,
    /// With extended sequence numbers: the first upper 32 bits (R64).
    pub esn: Option<u32>,
}

/// A cipher and its key.
#[derive(Clone, Copy)]
pub struct Cipher<'a> {
    /// Which one.
    pub algorithm: Encryption,
    /// The key, then the salt if the cipher has one: the order of RFC 4106 section 8.1.
    pub material: &'a [u8],
    /// Bytes of salt at the end of `material`: 4 for AES-GCM, else 0.
    pub salt_length: usize,
    /// Bytes of integrity value that a combined-mode cipher makes (8, 12 or 16), else 0.
    pub icv_length: u32,
}

impl<'a> Cipher<'a> {
    /// The key without the salt.
    pub fn key(&self) -> &'a [u8] {
        let length = self.material.len().saturating_sub(self.salt_length);
        self.material.get(..length).unwrap_or(&[])
    }

    /// The salt, empty if the cipher has none.
    pub fn salt(&self) -> &'a [u8] {
        let length = self.material.len().saturating_sub(self.salt_length);
        self.material.get(length..).unwrap_or(&[])
    }
}

/// An integrity algorithm and its key.
#[derive(Clone, Copy)]
pub struct Integrity<'a> {
    /// Which one.
    pub algorithm: Authentication,
    /// The key; for AES-GMAC the key, then the salt.
    pub key: &'a [u8],
    /// Bytes of integrity value in each packet (C29).
    pub icv_length: u32,
}
