// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Feature bit numbers (VIRTIO 1.4 sections 5.1.3 and 6).

/// The device handles packets with a partial checksum.
pub const CSUM: u32 = 0;
/// The driver handles packets with a partial checksum.
pub const GUEST_CSUM: u32 = 1;
/// The driver can change what it receives; requires [`CTRL_VQ`].
pub const CTRL_GUEST_OFFLOADS: u32 = 2;
/// The device config has a maximum MTU.
pub const MTU: u32 = 3;
/// The device config has a MAC address.
pub const MAC: u32 = 5;
/// The driver can receive TSOv4; requires [`GUEST_CSUM`].
pub const GUEST_TSO4: u32 = 7;
/// The driver can receive TSOv6; requires [`GUEST_CSUM`].
pub const GUEST_TSO6: u32 = 8;
/// The device can receive TSOv4.
pub const HOST_TSO4: u32 = 11;
/// The device can receive TSOv6.
pub const HOST_TSO6: u32 = 12;
/// A received packet may span several buffers.
pub const MRG_RXBUF: u32 = 15;
/// The device config has a status field.
pub const STATUS: u32 = 16;
/// The control queue exists.
pub const CTRL_VQ: u32 = 17;
/// The driver chooses by Ethernet address what it receives; requires [`CTRL_VQ`].
pub const CTRL_RX: u32 = 18;
/// The driver chooses VLANs that it receives; requires [`CTRL_VQ`].
pub const CTRL_VLAN: u32 = 19;
/// There are more modes of receiving; requires [`CTRL_VQ`].
pub const CTRL_RX_EXTRA: u32 = 20;
/// Several queue pairs exist; requires [`CTRL_VQ`].
pub const MQ: u32 = 22;
/// The driver can change the MAC address; requires [`CTRL_VQ`].
pub const CTRL_MAC_ADDR: u32 = 23;
/// Descriptors may refer to a table of descriptors.
pub const INDIRECT_DESC: u32 = 28;
/// `used_event` and `avail_event` suppress notifications.
pub const EVENT_IDX: u32 = 29;
/// The device follows VIRTIO 1.0 or later.
pub const VERSION_1: u32 = 32;
/// Memory is reached through the platform's address translation.
pub const ACCESS_PLATFORM: u32 = 33;
/// Queues are packed: one ring has available and used descriptors.
pub const RING_PACKED: u32 = 34;
/// A single queue can be reset.
pub const RING_RESET: u32 = 40;
/// Administration queues exist.
pub const ADMIN_VQ: u32 = 41;
/// The driver sets by queue how long notifications of used buffers are held back; requires [`CTRL_VQ`].
pub const VQ_NOTF_COAL: u32 = 52;
/// The driver sets that for all receive and for all transmit queues; requires [`CTRL_VQ`].
pub const NOTF_COAL: u32 = 53;
/// The device reports hashes of received packets; the header has 20 bytes, unless others make it longer.
pub const HASH_REPORT: u32 = 57;
/// The driver chooses receive queues by hash; requires [`CTRL_VQ`].
pub const RSS: u32 = 60;
/// The device config has speed and duplex.
pub const SPEED_DUPLEX: u32 = 63;
/// The header names the outer network header; the header has 32 bytes.
pub const OUT_NET_HEADER: u32 = 69;
/// Inline IPsec; the header has 32 bytes.
pub const IPSEC: u32 = 70;
/// Experimental: everything in this crate whose name starts with `X_`; the header has 48 bytes.
///
/// Requires [`IPSEC`], [`OUT_NET_HEADER`], [`CTRL_VQ`], [`CSUM`] and [`GUEST_CSUM`].
pub const X_IPSEC: u32 = 127;

/// What [`IPSEC`] needs: the security bits live in `flags`, which must be zero without these two
/// (5.1.6.2, 5.1.6.4).
pub const IPSEC_REQUIRES: &[u32] = &[CSUM, GUEST_CSUM];

/// What [`X_IPSEC`] needs.
pub const X_IPSEC_REQUIRES: &[u32] = &[CSUM, GUEST_CSUM, CTRL_VQ, OUT_NET_HEADER, IPSEC];

/// The feature bit `bit` in a 128-bit set; zero for a number that does not fit.
pub const fn mask(bit: u32) -> u128 {
    match 1u128.checked_shl(bit) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Whether `set` contains every bit of `required`.
pub fn has_all(set: u128, required: &[u32]) -> bool {
    required.iter().all(|&bit| set & mask(bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_all_128_bits() {
        assert_eq!(mask(0), 1);
        assert_eq!(mask(X_IPSEC), 1 << 127);
        assert_eq!(mask(128), 0);
    }

    #[test]
    fn requirements_need_every_bit() {
        let all = X_IPSEC_REQUIRES.iter().fold(0, |set, &bit| set | mask(bit));
        assert!(has_all(all, X_IPSEC_REQUIRES));
        for &bit in X_IPSEC_REQUIRES {
            assert!(!has_all(all & !mask(bit), X_IPSEC_REQUIRES));
        }
    }
}
