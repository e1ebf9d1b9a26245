// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device configuration space of a network device (VIRTIO 1.4 section 5.1.4). Read-only.

use crate::{U16, U32};

layout! {
    /// `struct virtio_net_config`. A field exists only with the feature that its documentation names.
    pub struct NetConfig {
        /// MAC address in transmission order ([`crate::feature::MAC`]).
        pub mac: [u8; 6],
        /// [`STATUS_LINK_UP`] and [`STATUS_ANNOUNCE`] ([`crate::feature::STATUS`]).
        pub status: U16,
        /// Largest number of queue pairs ([`crate::feature::MQ`], [`crate::feature::RSS`]).
        pub max_virtqueue_pairs: U16,
        /// Largest MTU in bytes ([`crate::feature::MTU`]).
        pub mtu: U16,
        /// Speed in Mbit/s, `u32::MAX` if unknown ([`crate::feature::SPEED_DUPLEX`]).
        pub speed: U32,
        /// 0 half, 1 full, 0xff unknown ([`crate::feature::SPEED_DUPLEX`]).
        pub duplex: u8,
        /// Longest key in bytes ([`crate::feature::RSS`], [`crate::feature::HASH_REPORT`]).
        pub rss_max_key_size: u8,
        /// Most entries of the table ([`crate::feature::RSS`]).
        pub rss_max_indirection_table_length: U16,
        /// `HASH_` constants of [`crate::rss`] (with the features of the key).
        pub supported_hash_types: U32,
        /// Not used by the NIC (hash of tunnels).
        pub supported_tunnel_types: U32,
    }
}

/// The link is up.
pub const STATUS_LINK_UP: u16 = 1;
/// The driver must announce itself to the network.
pub const STATUS_ANNOUNCE: u16 = 2;
/// `duplex`: half duplex.
pub const DUPLEX_HALF: u8 = 0;
/// `duplex`: full duplex. The normative device text swaps the two values; its description, the driver
/// rule and Linux have them as here.
pub const DUPLEX_FULL: u8 = 1;
/// `duplex`: unknown.
pub const DUPLEX_UNKNOWN: u8 = 0xff;
/// `speed`: unknown.
pub const SPEED_UNKNOWN: u32 = u32::MAX;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<NetConfig>() == 28);
    assert!(offset_of!(NetConfig, status) == 6);
    assert!(offset_of!(NetConfig, max_virtqueue_pairs) == 8);
    assert!(offset_of!(NetConfig, mtu) == 10);
    assert!(offset_of!(NetConfig, speed) == 12);
    assert!(offset_of!(NetConfig, duplex) == 16);
    assert!(offset_of!(NetConfig, rss_max_indirection_table_length) == 18);
    assert!(offset_of!(NetConfig, supported_hash_types) == 20);
    assert!(offset_of!(NetConfig, supported_tunnel_types) == 24);
};
