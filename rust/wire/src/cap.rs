// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities of IPsec (VIRTIO 1.4 section 5.1.6.5.9) and of its extension.

use crate::{Error, U16, U32, U64};
use zerocopy::FromBytes as _;

/// Number of SAs: [`IpsecLimits`].
pub const IPSEC_RESOURCE: u16 = 0x0803;
/// What standard SAs can be: a list of [`SaMode`].
pub const IPSEC_SA: u16 = 0x0804;
/// Experimental, what crypto-only SAs can be, and which combinations of [`IPSEC_SA`] there are: a list of
/// [`XSaEntry`].
pub const X_IPSEC_SA: u16 = 0x0fc0;

/// SA mode: ESP, tunnel.
pub const MODE_ESP_TUNNEL: u8 = 1;
/// SA mode: ESP, transport.
pub const MODE_ESP_TRANSPORT: u8 = 2;
/// SA mode: AH, tunnel.
pub const MODE_AH_TUNNEL: u8 = 3;
/// SA mode: AH, transport.
pub const MODE_AH_TRANSPORT: u8 = 4;

/// Option bit: 64-bit sequence numbers (RFC 4303 section 2.2.1).
pub const OPT_ESN: u32 = 1;
/// Option bit: UDP encapsulation (RFC 3948).
pub const OPT_UDP_ENCAP: u32 = 1 << 1;
/// Option bit, tunnel mode: the outer header takes the DSCP of the packet; inbound the packet takes that of
/// the outer header.
pub const OPT_COPY_DSCP: u32 = 1 << 2;
/// Option bit, outbound in tunnel mode: entering the tunnel is a hop for the packet.
pub const OPT_DEC_TTL: u32 = 1 << 3;
/// Option bit, outbound in tunnel mode: an outer IPv4 header takes the packet's "don't fragment".
pub const OPT_COPY_DF: u32 = 1 << 4;
/// Option bit, tunnel mode: the two headers carry congestion on (RFC 6040).
pub const OPT_ECN: u32 = 1 << 5;
/// Option bit: the limits of packets and bytes count.
pub const OPT_SA_LIFETIME: u32 = 1 << 6;

/// AEAD algorithm id: AES-GCM (RFC 4106).
pub const AEAD_GCM: u32 = 1;
/// AEAD algorithm id: AES-CCM (RFC 4309).
pub const AEAD_CCM: u32 = 2;
/// AEAD algorithm id: ChaCha20-Poly1305 (RFC 7634).
pub const AEAD_CHACHA20_POLY1305: u32 = 3;

/// Cipher id: AES-CBC (RFC 3602).
pub const CIPHER_AES_CBC: u64 = 3;

/// MAC id: HMAC-SHA-1, in ESP with an ICV of 12 bytes (RFC 2404).
pub const MAC_HMAC_SHA1: u64 = 2;
/// MAC id: HMAC-SHA-256, in ESP with an ICV of 16 bytes (RFC 4868).
pub const MAC_HMAC_SHA256: u64 = 4;
/// MAC id: HMAC-SHA-384, in ESP with an ICV of 24 bytes (RFC 4868).
pub const MAC_HMAC_SHA384: u64 = 5;
/// MAC id: HMAC-SHA-512, in ESP with an ICV of 32 bytes (RFC 4868).
pub const MAC_HMAC_SHA512: u64 = 6;
/// MAC id: AES-GMAC, which has a nonce (RFC 4543).
pub const MAC_GMAC_AES: u64 = 41;

/// [`XSaEntry::kind`]: a cipher with or without a MAC.
pub const KIND_CIPHER: u8 = 1;
/// [`XSaEntry::kind`]: a MAC alone.
pub const KIND_MAC: u8 = 2;
/// [`XSaEntry::kind`]: an AEAD.
pub const KIND_AEAD: u8 = 3;

layout! {
    /// Data of [`IPSEC_RESOURCE`]: how many SAs there can be. Object ids are below the limit.
    pub struct IpsecLimits {
        /// Inbound SAs.
        pub inb_sa_limit: U32,
        /// Outbound SAs.
        pub outb_sa_limit: U32,
    }
}

layout! {
    /// Start of a list capability: the number of entries.
    pub struct ListHdr {
        /// Number of entries that follow.
        pub count: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }
}

impl ListHdr {
    /// Header of a list with `count` entries.
    pub const fn new(count: u8) -> Self {
        Self {
            count,
            reserved: [0; 7],
        }
    }
}

layout! {
    /// Entry of [`IPSEC_SA`]: what standard SAs of one mode can be.
    pub struct SaMode {
        /// `MODE_` constants.
        pub mode: u8,
        /// Zero.
        pub reserved: [u8; 3],
        /// Largest replay window of an inbound SA, in packets.
        pub max_replay_win_sz: U32,
        /// `OPT_` constants.
        pub options: U32,
        /// Zero.
        pub reserved1: U32,
        /// Bit *n*: cipher *n* of the crypto device (5.9).
        pub cipher_algo: U64,
        /// Bit *n*: MAC *n* of the crypto device.
        pub hmac_algo: U64,
        /// Bit *n*: AEAD *n* of the crypto device.
        pub aead_algo: U32,
        /// Longest cipher or AEAD key in bytes, without the salt.
        pub max_cipher_key_len: U32,
        /// Longest MAC key in bytes.
        pub max_auth_key_len: U32,
    }
}

layout! {
    /// Entry of [`X_IPSEC_SA`]: one combination of mode and algorithms that an SA can have.
    pub struct XSaEntry {
        /// `MODE_` constants.
        pub mode: u8,
        /// `KIND_` constants.
        pub kind: u8,
        /// `OPT_` constants that an SA of this entry may have.
        pub flags: U16,
        /// Cipher id, or AEAD id with [`KIND_AEAD`]; 0 with [`KIND_MAC`].
        pub algo: U16,
        /// MAC id; 0 with [`KIND_AEAD`].
        pub mac: U16,
        /// Bit *n* - 1: a key of 4*n* bytes, without the salt. It is the key of the cipher or AEAD, with
        /// [`KIND_MAC`] that of the MAC. With [`KIND_CIPHER`] the MAC's key is as long as its hash.
        pub key_lens: U32,
        /// Bit *n* - 1: an ICV of *n* bytes.
        pub icv_lens: U32,
    }
}

impl SaMode {
    /// Whether everything that this entry allows is allowed by `other` as well.
    pub fn is_within(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.max_replay_win_sz.get() <= other.max_replay_win_sz.get()
            && self.options.get() & !other.options.get() == 0
            && self.cipher_algo.get() & !other.cipher_algo.get() == 0
            && self.hmac_algo.get() & !other.hmac_algo.get() == 0
            && self.aead_algo.get() & !other.aead_algo.get() == 0
            && self.max_cipher_key_len.get() <= other.max_cipher_key_len.get()
            && self.max_auth_key_len.get() <= other.max_auth_key_len.get()
    }
}

impl XSaEntry {
    /// Whether a key of `key_len` bytes (without salt, see [`XSaEntry::key_lens`]) and an ICV of `icv_len` bytes are
    /// allowed.
    pub fn allows(&self, key_len: usize, icv_len: usize) -> bool {
        key_len % 4 == 0
            && self.key_lens.get() & length_bit(key_len / 4) != 0
            && self.icv_lens.get() & length_bit(icv_len) != 0
    }

    /// Whether everything that this entry allows is allowed by `other` as well.
    pub fn is_within(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.kind == other.kind
            && self.algo == other.algo
            && self.mac == other.mac
            && self.flags.get() & !other.flags.get() == 0
            && self.key_lens.get() & !other.key_lens.get() == 0
            && self.icv_lens.get() & !other.icv_lens.get() == 0
    }
}

/// Bit *n* - 1 for length `n` (in the unit of the field); 0 if `n` is 0 or above 32.
pub const fn length_bit(n: usize) -> u32 {
    match n {
        1..=32 => 1u32.rotate_left((n as u32).wrapping_sub(1)),
        _ => 0,
    }
}

/// The entries of a list capability ([`IPSEC_SA`]: [`SaMode`], [`X_IPSEC_SA`]: [`XSaEntry`]).
///
/// # Errors
///
/// [`Error::Truncated`] if `data` has no header or fewer entries than it says.
pub fn entries<T>(data: &[u8]) -> Result<&[T], Error>
where
    T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    let (hdr, rest) = ListHdr::read_from_prefix(data).map_err(|_| Error::Truncated)?;
    let (list, _) = <[T]>::ref_from_prefix_with_elems(rest, usize::from(hdr.count))
        .map_err(|_| Error::Truncated)?;
    Ok(list)
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<IpsecLimits>() == 8);
    assert!(offset_of!(IpsecLimits, outb_sa_limit) == 4);
    assert!(size_of::<ListHdr>() == 8);
    assert!(size_of::<SaMode>() == 44);
    assert!(offset_of!(SaMode, max_replay_win_sz) == 4);
    assert!(offset_of!(SaMode, cipher_algo) == 16);
    assert!(offset_of!(SaMode, hmac_algo) == 24);
    assert!(offset_of!(SaMode, aead_algo) == 32);
    assert!(offset_of!(SaMode, max_auth_key_len) == 40);
    assert!(size_of::<XSaEntry>() == 16);
    assert!(offset_of!(XSaEntry, algo) == 4);
    assert!(offset_of!(XSaEntry, key_lens) == 8);
    assert!(offset_of!(XSaEntry, icv_lens) == 12);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn gcm() -> XSaEntry {
        XSaEntry {
            mode: MODE_ESP_TUNNEL,
            kind: KIND_AEAD,
            algo: U16::new(AEAD_GCM as u16),
            key_lens: U32::new(length_bit(16 / 4) | length_bit(32 / 4)),
            icv_lens: U32::new(length_bit(16)),
            ..XSaEntry::default()
        }
    }

    #[test]
    fn length_bits() {
        assert_eq!(length_bit(0), 0);
        assert_eq!(length_bit(1), 1);
        assert_eq!(length_bit(16), 0x8000);
        assert_eq!(length_bit(32), 0x8000_0000);
        assert_eq!(length_bit(33), 0);
    }

    #[test]
    fn option_bits_are_those_of_the_standard() {
        assert_eq!((OPT_ESN, OPT_UDP_ENCAP), (1, 2));
        let others = [OPT_COPY_DSCP, OPT_DEC_TTL, OPT_COPY_DF, OPT_ECN];
        assert_eq!(others, [4, 8, 16, 32]);
        assert_eq!(OPT_SA_LIFETIME, 64);
        for (has, needs) in [(OPT_ESN, OPT_UDP_ENCAP), (OPT_UDP_ENCAP, OPT_ESN)] {
            let (mut wide, mut entry) = (gcm(), gcm());
            wide.flags = U16::new(has as u16);
            entry.flags = U16::new(needs as u16);
            assert!(!entry.is_within(&wide));
            entry.flags = U16::new(has as u16);
            assert!(entry.is_within(&wide));
        }
    }

    #[test]
    fn entry_allows_only_its_lengths() {
        let entry = gcm();
        assert!(entry.allows(16, 16) && entry.allows(32, 16));
        for (key, icv) in [
            (24, 16),
            (16, 12),
            (0, 16),
            (16, 0),
            (17, 16),
            (18, 16),
            (160, 16),
        ] {
            assert!(!entry.allows(key, icv), "{key} {icv}");
        }
    }

    #[test]
    fn subset_of_an_entry() {
        let mut small = gcm();
        small.key_lens = U32::new(length_bit(4));
        assert!(small.is_within(&gcm()) && !gcm().is_within(&small));
        small.flags = U16::new(OPT_ESN as u16);
        assert!(!small.is_within(&gcm()));
    }

    #[test]
    fn subset_of_a_mode() {
        let whole = SaMode {
            mode: MODE_ESP_TUNNEL,
            max_replay_win_sz: U32::new(64),
            options: U32::new(OPT_ESN),
            cipher_algo: U64::new(2),
            hmac_algo: U64::new(4),
            aead_algo: U32::new(8),
            max_cipher_key_len: U32::new(32),
            max_auth_key_len: U32::new(64),
            ..SaMode::default()
        };
        let none = SaMode {
            mode: MODE_ESP_TUNNEL,
            ..SaMode::default()
        };
        assert!(whole.is_within(&whole) && none.is_within(&whole) && !whole.is_within(&none));
        // One number at a time; a byte of reserved fields is no field.
        for at in (0..1).chain(4..12).chain(16..44) {
            let mut more = whole;
            more.as_mut_bytes()[at] |= 0x80;
            assert!(!more.is_within(&whole), "{at}");
        }
        let mut reserved = whole;
        reserved.as_mut_bytes()[1..4].fill(1);
        reserved.as_mut_bytes()[12..16].fill(1);
        assert!(reserved.is_within(&whole));
    }

    #[test]
    fn lists_are_read_to_their_count() {
        let mut bytes = ListHdr::new(2).as_bytes().to_vec();
        bytes.extend_from_slice(gcm().as_bytes());
        assert_eq!(entries::<XSaEntry>(&bytes), Err(Error::Truncated));
        bytes.extend_from_slice(gcm().as_bytes());
        assert_eq!(entries::<XSaEntry>(&bytes).unwrap(), [gcm(), gcm()]);
        bytes.push(9);
        assert_eq!(entries::<XSaEntry>(&bytes).unwrap().len(), 2);
        assert_eq!(entries::<SaMode>(&[0; 7]), Err(Error::Truncated));
        assert_eq!(entries::<SaMode>(&[0; 8]).unwrap().len(), 0);
    }
}
