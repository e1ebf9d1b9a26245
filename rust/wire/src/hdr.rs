// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packet header, `struct virtio_net_hdr` (VIRTIO 1.4 section 5.1.6).
//!
//! It has 12, 20, 32 or 48 bytes, see [`HdrLen`]. Both ends can work with [`NetHdr48`] throughout: read
//! the negotiated length with [`NetHdr48::read`] (what is missing is zero) and write it with
//! [`NetHdr48::prefix`].

use crate::{Error, U16, U32};
use zerocopy::IntoBytes as _;

/// `flags`: complete the checksum at `csum_start` + `csum_offset`.
pub const F_NEEDS_CSUM: u8 = 1;
/// `flags`, received: the checksum was verified.
pub const F_DATA_VALID: u8 = 2;
/// `flags`: the packet belongs to (TX) or went through (RX) IPsec; resource id and type are valid.
pub const F_SECURITY: u8 = 16;
/// `flags`, received, with [`F_SECURITY`]: IPsec processing failed.
pub const F_SECURITY_ERR: u8 = 32;
/// `flags`, received: a soft limit of the SA has passed.
pub const F_SOFT_EXPIRY_WARN: u8 = 64;
/// `flags`, experimental: [`SecExt`] is valid.
pub const F_X_SEC: u8 = 128;

/// `gso_type`: one frame, nothing to segment.
pub const GSO_NONE: u8 = 0;
/// `gso_type`: TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// `gso_type`: TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;

/// [`SecExt::sec_op`]: packet mode, the NIC adds or removes ESP.
pub const SEC_OP_STANDARD: u8 = 0;
/// [`SecExt::sec_op`]: crypto-only, ESP header and trailer belong to the driver's side.
pub const SEC_OP_CRYPTO_ONLY: u8 = 1;

/// [`SecExt::sec_status`]: verified and decrypted.
pub const SEC_OK: u8 = 0;
/// [`SecExt::sec_status`]: the ICV does not fit.
pub const SEC_AUTH: u8 = 1;
/// [`SecExt::sec_status`]: replayed or too old.
pub const SEC_REPLAY: u8 = 2;
/// [`SecExt::sec_status`]: padding, pad length or header is malformed.
pub const SEC_FORMAT: u8 = 3;
/// [`SecExt::sec_status`]: no SA fits.
pub const SEC_NO_SA: u8 = 4;
/// [`SecExt::sec_status`]: a hard limit of the SA has passed.
pub const SEC_HARD_LIMIT: u8 = 5;
/// [`SecExt::sec_status`]: the sequence number would wrap.
pub const SEC_SEQ_OVERFLOW: u8 = 6;
/// [`SecExt::sec_status`]: the NIC cannot process this packet.
pub const SEC_UNSUPPORTED: u8 = 7;
/// [`SecExt::sec_status`]: the policy refuses the packet.
pub const SEC_POLICY: u8 = 8;
/// [`SecExt::sec_status`]: shorter than an ESP packet of this SA can be.
pub const SEC_LENGTH: u8 = 9;

/// [`SecExt::ndis_flags`], received: the NIC asks for the deletion of this SA.
pub const NDIS_SA_DELETE_REQ: u8 = 1;

/// Length of the packet header. It depends on the negotiated features only and is the same for every
/// packet, sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HdrLen {
    /// 12 bytes: none of those below.
    Basic,
    /// 20 bytes: with feature 57.
    Hash,
    /// 32 bytes: with feature 69 or 70.
    Ipsec,
    /// 48 bytes: with feature 127.
    XIpsec,
}

impl HdrLen {
    /// The length that a set of negotiated features asks for.
    pub fn of(features: u128) -> Self {
        use crate::feature::{mask, HASH_REPORT, IPSEC, OUT_NET_HEADER, X_IPSEC};
        if features & mask(X_IPSEC) != 0 {
            Self::XIpsec
        } else if features & (mask(IPSEC) | mask(OUT_NET_HEADER)) != 0 {
            Self::Ipsec
        } else if features & mask(HASH_REPORT) != 0 {
            Self::Hash
        } else {
            Self::Basic
        }
    }

    /// The length in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Basic => size_of::<NetHdr12>(),
            Self::Hash => core::mem::offset_of!(NetHdr48, out.outer_th_offset),
            Self::Ipsec => size_of::<NetHdr32>(),
            Self::XIpsec => size_of::<NetHdr48>(),
        }
    }
}

layout! {
    /// First 12 bytes: checksum and segmentation.
    pub struct NetHdr12 {
        /// `F_` constants.
        pub flags: u8,
        /// `GSO_` constants.
        pub gso_type: u8,
        /// Length of all headers in bytes; a hint.
        pub hdr_len: U16,
        /// Payload bytes per segment.
        pub gso_size: U16,
        /// Where the checksum starts, counted from the Ethernet header.
        pub csum_start: U16,
        /// Where the checksum is stored, counted from `csum_start`.
        pub csum_offset: U16,
        /// Received: number of buffers. Sent: zero.
        pub num_buffers: U16,
    }
}

layout! {
    /// Bytes 12 to 31: hash report, header offsets and the SA.
    pub struct OutHdr {
        /// Received: the hash, unless `hash_report` says that there is none.
        pub hash_value: U32,
        /// Received: one of [`crate::rss::REPORT_NONE`] and so on.
        pub hash_report: U16,
        /// Zero.
        pub padding_reserved: U16,
        /// Not used by the NIC (UDP tunnel segmentation).
        pub outer_th_offset: U16,
        /// Not used by the NIC (UDP tunnel segmentation).
        pub inner_nh_offset: U16,
        /// Offset of the outer IP header, 0 if not given.
        pub outer_nh_offset: U16,
        /// Id of the SA object; valid with [`F_SECURITY`].
        pub resource_id: U32,
        /// [`crate::sa::OBJ_OUTB_SA`] or [`crate::sa::OBJ_INB_SA`]; valid with [`F_SECURITY`]. Zero
        /// is accepted from the driver.
        pub resource_type: U16,
    }
}

layout! {
    /// Bytes 32 to 47, experimental: what a single packet has to say about its SA. Valid with
    /// [`F_X_SEC`].
    pub struct SecExt {
        /// `SEC_OP_` constants.
        pub sec_op: u8,
        /// Received: one of [`SEC_OK`], [`SEC_AUTH`] and so on.
        pub sec_status: u8,
        /// Offset of the ESP header, counted from the Ethernet header (behind the UDP header with
        /// NAT-T); 0 if unknown.
        pub esp_offset: U16,
        /// Half of the 64-bit sequence number. The high one: sent, of the first segment; received,
        /// crypto-only, as it was used. Received, packet mode: the low one, of a packet without error.
        pub seq_half: U32,
        /// Sent, crypto-only: padding + pad length + next header + ICV in bytes; 0 with a packet to
        /// be segmented, which has none of them yet.
        pub trailer_len: U16,
        /// Generation of the SA, both ways: the value of [`crate::sa::SaTail::generation`] at its creation.
        pub generation: U16,
        /// `NDIS_` constants.
        pub ndis_flags: u8,
        /// Sent, crypto-only, to be segmented: next header of the trailers, which the NIC builds.
        pub next_header: u8,
        /// Zero.
        pub reserved: [u8; 2],
    }
}

layout! {
    /// The header with feature 69 or 70.
    pub struct NetHdr32 {
        /// Bytes 0 to 11.
        pub net: NetHdr12,
        /// Bytes 12 to 31.
        pub out: OutHdr,
    }
}

layout! {
    /// The header with feature 127; its first 12 or 32 bytes are the shorter headers.
    pub struct NetHdr48 {
        /// Bytes 0 to 11.
        pub net: NetHdr12,
        /// Bytes 12 to 31.
        pub out: OutHdr,
        /// Bytes 32 to 47.
        pub sec: SecExt,
    }
}

impl NetHdr48 {
    /// Reads a header of length `len` from the start of `data`; the fields behind `len` are zero.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if `data` is shorter than `len`.
    #[inline]
    pub fn read(data: &[u8], len: HdrLen) -> Result<Self, Error> {
        let mut hdr = Self::default();
        hdr.fill(data, len)?;
        Ok(hdr)
    }

    /// As [`Self::read`], to where a header is. It stays as it was after an error.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn fill(&mut self, data: &[u8], len: HdrLen) -> Result<(), Error> {
        if len != HdrLen::XIpsec {
            return self.fill_part(data, len);
        }
        // The usual one: a copy of fixed length, to its place at once.
        let bytes = data.first_chunk::<{ size_of::<Self>() }>();
        *self = zerocopy::transmute!(*bytes.ok_or(Error::Truncated)?);
        Ok(())
    }

    #[cold]
    fn fill_part(&mut self, data: &[u8], len: HdrLen) -> Result<(), Error> {
        let data = data.get(..len.bytes()).ok_or(Error::Truncated)?;
        *self = Self::default();
        crate::put(self.as_mut_bytes(), 0, data)?;
        Ok(())
    }

    /// The first `len` bytes, for what comes from the other side.
    #[inline]
    pub fn prefix_mut(&mut self, len: HdrLen) -> &mut [u8] {
        self.as_mut_bytes()
            .get_mut(..len.bytes())
            .unwrap_or_default()
    }

    /// The first `len` bytes, as they go to the other side.
    #[inline]
    pub fn prefix(&self, len: HdrLen) -> &[u8] {
        self.as_bytes().get(..len.bytes()).unwrap_or_default()
    }

    /// Whether all of `flags` (`F_` constants) are set.
    pub const fn has(&self, flags: u8) -> bool {
        self.net.flags & flags == flags
    }

    /// What the NIC says of a received packet's IPsec.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        // In one word, because a look at each field takes three times as long.
        const AT: usize = core::mem::offset_of!(NetHdr48, out.resource_id);
        let sa = self
            .as_bytes()
            .get(AT..)
            .and_then(|rest| rest.first_chunk());
        Verdict {
            sa: sa.map_or(0, |bytes| u64::from_ne_bytes(*bytes)),
            esp_offset: self.sec.esp_offset,
            generation: self.sec.generation,
            flags: self.net.flags & (F_SECURITY | F_SECURITY_ERR | F_X_SEC),
        }
    }
}

/// What the NIC says of a received packet's IPsec: the SA, what was done, with which result, and where ESP is. Two
/// packets of which all that is the same have the same verdict, no matter what else their headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Id and type of the SA's object, operation and status, in the byte order of memory.
    sa: u64,
    esp_offset: U16,
    generation: U16,
    /// Those of IPsec.
    flags: u8,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<NetHdr12>() == 12);
    assert!(size_of::<NetHdr32>() == 32);
    assert!(size_of::<NetHdr48>() == 48);
    assert!(align_of::<NetHdr48>() == 1);
    assert!(offset_of!(NetHdr12, hdr_len) == 2);
    assert!(offset_of!(NetHdr12, csum_start) == 6);
    assert!(offset_of!(NetHdr12, num_buffers) == 10);
    assert!(offset_of!(NetHdr48, out) == 12);
    assert!(offset_of!(NetHdr48, sec) == 32);
    assert!(offset_of!(OutHdr, outer_nh_offset) == 24 - 12);
    assert!(offset_of!(OutHdr, resource_id) == 26 - 12);
    assert!(offset_of!(OutHdr, resource_type) == 30 - 12);
    assert!(offset_of!(SecExt, sec_status) == 33 - 32);
    assert!(offset_of!(SecExt, esp_offset) == 34 - 32);
    assert!(offset_of!(SecExt, seq_half) == 36 - 32);
    assert!(offset_of!(SecExt, trailer_len) == 40 - 32);
    assert!(offset_of!(SecExt, generation) == 42 - 32);
    assert!(offset_of!(SecExt, ndis_flags) == 44 - 32);
    assert!(offset_of!(SecExt, next_header) == 45 - 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::{mask, HASH_REPORT, IPSEC, OUT_NET_HEADER, X_IPSEC};

    #[test]
    fn length_follows_features() {
        assert_eq!(HdrLen::of(0).bytes(), 12);
        assert_eq!(HdrLen::of(mask(HASH_REPORT)).bytes(), 20);
        assert_eq!(HdrLen::of(mask(OUT_NET_HEADER)).bytes(), 32);
        let both = mask(HASH_REPORT) | mask(OUT_NET_HEADER);
        assert_eq!(HdrLen::of(both).bytes(), 32);
        assert_eq!(HdrLen::of(mask(IPSEC)).bytes(), 32);
        assert_eq!(HdrLen::of(mask(IPSEC) | mask(X_IPSEC)).bytes(), 48);
    }

    #[test]
    fn read_leaves_missing_fields_zero() {
        let bytes: Vec<u8> = (1..=48).collect();
        let hdr = NetHdr48::read(&bytes, HdrLen::Ipsec).unwrap();
        assert_eq!(
            hdr.out.resource_id.get(),
            u32::from_le_bytes([27, 28, 29, 30])
        );
        assert_eq!(hdr.sec, SecExt::default());
        assert_eq!(hdr.prefix(HdrLen::Ipsec), &bytes[..32]);
        let mut same = NetHdr48::default();
        same.prefix_mut(HdrLen::Ipsec).copy_from_slice(&bytes[..32]);
        assert_eq!(same, hdr);
        let hdr = NetHdr48::read(&bytes, HdrLen::XIpsec).unwrap();
        assert_eq!(hdr.sec.generation.get(), u16::from_le_bytes([43, 44]));
        assert_eq!(hdr.prefix(HdrLen::XIpsec), &bytes[..]);
        assert_eq!(
            NetHdr48::read(&bytes[..47], HdrLen::XIpsec),
            Err(Error::Truncated)
        );
    }

    #[test]
    fn verdicts_differ_by_what_the_nic_says_of_ipsec() {
        let bytes: Vec<u8> = (0..48).collect();
        let first = NetHdr48::read(&bytes, HdrLen::XIpsec).unwrap();
        // SA, operation, status and place of ESP; generation.
        let counts = |at| (26..36).contains(&at) || (42..44).contains(&at);
        for at in 0..48 {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                let other = NetHdr48::read(&other, HdrLen::XIpsec).unwrap();
                let is_flag = at == 0 && [16, 32, 128].contains(&(1 << bit));
                let differs = first.verdict() != other.verdict();
                assert_eq!(differs, counts(at) || is_flag, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_header_that_is_too_short_changes_nothing() {
        let bytes: Vec<u8> = (1..=48).collect();
        for len in [HdrLen::Basic, HdrLen::Hash, HdrLen::Ipsec, HdrLen::XIpsec] {
            let mut hdr = NetHdr48::read(&bytes, HdrLen::XIpsec).unwrap();
            let before = hdr;
            let short = &[0; 48][..len.bytes() - 1];
            assert_eq!(hdr.fill(short, len), Err(Error::Truncated));
            assert_eq!(hdr, before);
            hdr.fill(&[0; 48], len).unwrap();
            assert_eq!(hdr, NetHdr48::default());
        }
    }

    #[test]
    fn has_needs_all_flags() {
        let mut hdr = NetHdr48::default();
        hdr.net.flags = F_SECURITY;
        assert!(hdr.has(F_SECURITY));
        assert!(!hdr.has(F_SECURITY | F_X_SEC));
    }
}
