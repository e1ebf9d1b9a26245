// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sets of features that drivers take.

use espnic_wire::feature::{self, mask};

/// Packed queues in the test program `packed`, split ones everywhere else.
fn form() -> u128 {
    match env!("CARGO_CRATE_NAME") {
        "packed" => mask(feature::RING_PACKED),
        _ => 0,
    }
}

/// What stock virtio_net takes.
pub fn plain() -> u128 {
    [
        feature::VERSION_1,
        feature::INDIRECT_DESC,
        feature::EVENT_IDX,
        feature::CSUM,
        feature::GUEST_CSUM,
        feature::MAC,
        feature::MTU,
        feature::MRG_RXBUF,
        feature::STATUS,
        feature::CTRL_VQ,
        feature::RING_RESET,
    ]
    .into_iter()
    .fold(form(), |set, bit| set | mask(bit))
}

/// Segmentation by the device.
pub fn tso() -> u128 {
    mask(feature::HOST_TSO4) | mask(feature::HOST_TSO6)
}

/// Segments that stay together for the driver, which can switch that.
pub fn large_receive() -> u128 {
    [
        feature::GUEST_TSO4,
        feature::GUEST_TSO6,
        feature::CTRL_GUEST_OFFLOADS,
    ]
    .into_iter()
    .fold(0, |set, bit| set | mask(bit))
}

/// The choice of what is received, by address and VLAN.
pub fn receive_filters() -> u128 {
    mask(feature::CTRL_RX) | mask(feature::CTRL_RX_EXTRA) | mask(feature::CTRL_VLAN)
}

/// Interrupts that are held back.
pub fn coalescing() -> u128 {
    mask(feature::NOTF_COAL) | mask(feature::VQ_NOTF_COAL)
}

/// Everything for IPsec.
pub fn ipsec() -> u128 {
    plain() | mask(feature::OUT_NET_HEADER) | mask(feature::IPSEC) | mask(feature::X_IPSEC)
}
