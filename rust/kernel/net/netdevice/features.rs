// SPDX-License-Identifier: GPL-2.0

//! Offload and checksum features, `NETIF_F_*`.

use crate::bindings;

const fn bit(n: u32) -> u64 {
    1 << n
}

/// Scatter/gather transmit.
pub const SG: u64 = bit(bindings::NETIF_F_SG_BIT);
/// Transmit checksum at any offset.
pub const HW_CSUM: u64 = bit(bindings::NETIF_F_HW_CSUM_BIT);
/// TCP segmentation over IPv4.
pub const TSO: u64 = bit(bindings::NETIF_F_TSO_BIT);
/// TCP segmentation with the ECN bits of RFC 3168.
pub const TSO_ECN: u64 = bit(bindings::NETIF_F_TSO_ECN_BIT);
/// TCP segmentation over IPv6.
pub const TSO6: u64 = bit(bindings::NETIF_F_TSO6_BIT);
/// Segmentation inside ESP.
pub const GSO_ESP: u64 = bit(bindings::NETIF_F_GSO_ESP_BIT);
/// Transmit checksum inside ESP.
pub const HW_ESP_TX_CSUM: u64 = bit(bindings::NETIF_F_HW_ESP_TX_CSUM_BIT);
/// Receive checksum.
pub const RXCSUM: u64 = bit(bindings::NETIF_F_RXCSUM_BIT);
/// TCP segments that stay together on receipt, made by the device.
pub const GRO_HW: u64 = bit(bindings::NETIF_F_GRO_HW_BIT);
/// Choice of the VLANs (IEEE 802.1Q) that are received.
pub const HW_VLAN_CTAG_FILTER: u64 = bit(bindings::NETIF_F_HW_VLAN_CTAG_FILTER_BIT);
/// Hashes of received packets.
pub const RXHASH: u64 = bit(bindings::NETIF_F_RXHASH_BIT);
/// DMA to high memory.
pub const HIGHDMA: u64 = bit(bindings::NETIF_F_HIGHDMA_BIT);
/// ESP crypto offload.
pub const HW_ESP: u64 = bit(bindings::NETIF_F_HW_ESP_BIT);
