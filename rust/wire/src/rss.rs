// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The hash of a received packet, and the choice of its queue by it (VIRTIO 1.4 sections 5.1.6.4.3 to 5.1.6.4.5
//! and 5.1.6.5.5 to 5.1.6.5.7).
//!
//! The data of [`crate::ctrl::MQ_RSS_CONFIG`] is [`RssHead`], the table (le16 each, as many as
//! [`RssHead::table_mask`] plus one), [`RssTail`], and the key. That of [`crate::ctrl::MQ_HASH_CONFIG`] is
//! [`HashConfig`] and the key.

use crate::{U16, U32};

/// Hash type: the addresses of IPv4.
pub const HASH_IPV4: u32 = 1;
/// Hash type: addresses and ports of TCP over IPv4.
pub const HASH_TCPV4: u32 = 1 << 1;
/// Hash type: addresses and ports of UDP over IPv4.
pub const HASH_UDPV4: u32 = 1 << 2;
/// Hash type: the addresses of IPv6.
pub const HASH_IPV6: u32 = 1 << 3;
/// Hash type: addresses and ports of TCP over IPv6.
pub const HASH_TCPV6: u32 = 1 << 4;
/// Hash type: addresses and ports of UDP over IPv6.
pub const HASH_UDPV6: u32 = 1 << 5;

/// All of these. The NIC has none of the types that look at IPv6 extension headers.
pub const HASH_TYPES: u32 =
    HASH_IPV4 | HASH_TCPV4 | HASH_UDPV4 | HASH_IPV6 | HASH_TCPV6 | HASH_UDPV6;

/// `hash_report`: there is no hash.
pub const REPORT_NONE: u16 = 0;
/// `hash_report`: of [`HASH_IPV4`].
pub const REPORT_IPV4: u16 = 1;
/// `hash_report`: of [`HASH_TCPV4`].
pub const REPORT_TCPV4: u16 = 2;
/// `hash_report`: of [`HASH_UDPV4`].
pub const REPORT_UDPV4: u16 = 3;
/// `hash_report`: of [`HASH_IPV6`].
pub const REPORT_IPV6: u16 = 4;
/// `hash_report`: of [`HASH_TCPV6`].
pub const REPORT_TCPV6: u16 = 5;
/// `hash_report`: of [`HASH_UDPV6`].
pub const REPORT_UDPV6: u16 = 6;

/// Length of the longest key in bytes.
pub const KEY_MAX: usize = 40;
/// Most entries of the table.
pub const TABLE_MAX: usize = 128;

layout! {
    /// Start of [`crate::ctrl::MQ_RSS_CONFIG`].
    pub struct RssHead {
        /// `HASH_` constants.
        pub hash_types: U32,
        /// The bits of the hash that choose an entry: the number of entries, a power of two, minus one.
        pub table_mask: U16,
        /// The receive queue of packets without a hash: the number of its pair.
        pub unclassified: U16,
    }
}

layout! {
    /// What is behind the table.
    pub struct RssTail {
        /// How many transmit queues the driver uses.
        pub max_tx_vq: U16,
        /// Length of the key that follows.
        pub key_len: u8,
    }
}

layout! {
    /// Start of [`crate::ctrl::MQ_HASH_CONFIG`].
    pub struct HashConfig {
        /// `HASH_` constants.
        pub hash_types: U32,
        /// Zero.
        pub reserved: [U16; 4],
        /// Length of the key that follows.
        pub key_len: u8,
    }
}

const _: () = {
    assert!(size_of::<RssHead>() == 8);
    assert!(size_of::<RssTail>() == 3);
    assert!(size_of::<HashConfig>() == 13);
};
