// SPDX-License-Identifier: GPL-2.0

//! The NIC's configuration, and the netdev that is made of it.

use espnic_esp::ip::{
    ETH_HLEN,
    VLAN_HLEN, //
};
use espnic_wire::{
    config::NetConfig,
    feature,
    hdr::HdrLen, //
};
use kernel_net::{
    cpu,
    net::{
        netdevice::{
            features as netif,
            Operations,
            Unregistered, //
        },
        skbuff::{
            RxSize,
            RxSkb, //
        },
        xdp::{
            features as xdp,
            RxFrame, //
        }, //
    },
    virtio, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// The smallest and the usual MTU of Ethernet, and the largest that IPv4 allows.
const MTU_MIN: u32 = 68;
const MTU_DEFAULT: u32 = 1500;
const MTU_MAX: u32 = 65535;

/// Bounds for the number of queue pairs, which is otherwise one per CPU and at most what the NIC has.
const PAIRS_MIN: u16 = 16;
const PAIRS_MAX: u16 = 1024;

/// The longest header of Ethernet, with a VLAN tag.
const VLAN_ETH_HLEN: u32 = (ETH_HLEN + VLAN_HLEN) as u32;

/// How many queue pairs `dev` has.
pub(crate) fn queue_pairs(dev: &virtio::Device) -> u16 {
    let most = u16::try_from(cpu::possible()).unwrap_or(PAIRS_MAX);
    let offered = read_config(dev, &[feature::MQ]).max_virtqueue_pairs.get();
    offered.clamp(1, most.clamp(PAIRS_MIN, PAIRS_MAX))
}

/// Whether a received packet may stand for several segments.
pub(crate) fn receives_large(dev: &virtio::Device) -> bool {
    dev.has_feature(feature::GUEST_TSO4) || dev.has_feature(feature::GUEST_TSO6)
}

pub(crate) fn header_length(dev: &virtio::Device) -> HdrLen {
    let known = [feature::OUT_NET_HEADER, feature::IPSEC, feature::X_IPSEC];
    HdrLen::of(
        known
            .into_iter()
            .filter(|&bit| dev.has_feature(bit))
            .fold(0, |set, bit| set | feature::mask(bit)),
    )
}

/// Reads the fields that belong to those of the features `wanted` that are negotiated; the others are zero.
pub(crate) fn read_config(dev: &virtio::Device, wanted: &[u32]) -> NetConfig {
    let mut config = NetConfig::new_zeroed();
    let fields = [
        (feature::MAC, 0, 6),
        (feature::STATUS, 6, 2),
        (feature::MQ, 8, 2),
        (feature::MTU, 10, 2),
        (feature::SPEED_DUPLEX, 12, 5),
        (feature::HASH_REPORT, 17, 1),
        (feature::HASH_REPORT, 20, 4),
        (feature::RSS, 17, 3),
        (feature::RSS, 20, 4),
    ];
    let bytes = config.as_mut_bytes();
    for (bit, offset, len) in fields {
        let field = bytes.iter_mut().skip(usize::from(offset)).take(len);
        if wanted.contains(&bit) && dev.has_feature(bit) {
            let mut value = [0; 6];
            let (value, _) = value.split_at_mut_checked(len).unwrap_or_default();
            dev.read_config(offset, value);
            field.zip(value.iter()).for_each(|(to, from)| *to = *from);
        }
    }
    config
}

/// The largest MTU; `in_one`: with a program (XDP) that takes frames in one piece only. The pieces of others are larger
/// than those of packets.
pub(crate) fn mtu_max(dev: &virtio::Device, in_one: bool) -> u32 {
    let room = match in_one {
        true => RxFrame::CAPACITY,
        false => RxSkb::capacity(RxSize::Small),
    };
    let header = header_length(dev).bytes() as u32;
    let max = match u32::from(read_config(dev, &[feature::MTU]).mtu.get()) {
        0 => MTU_MAX,
        mtu => mtu,
    };
    max.min(room.saturating_sub(header.saturating_add(VLAN_ETH_HLEN)))
}

/// Whether received packets can be made to stand for one frame each.
pub(crate) fn can_receive_small(dev: &virtio::Device) -> bool {
    !receives_large(dev) || dev.has_feature(feature::CTRL_GUEST_OFFLOADS)
}

/// What the interface can do with programs (XDP).
fn xdp_features(dev: &virtio::Device) -> u32 {
    let received = match can_receive_small(dev) {
        true => xdp::BASIC | xdp::REDIRECT | xdp::RX_SG,
        false => 0,
    };
    // Queues are reset to get memory of sockets.
    let lent = match can_receive_small(dev) && dev.has_feature(feature::RING_RESET) {
        true => xdp::XSK_ZEROCOPY,
        false => 0,
    };
    received | lent | xdp::NDO_XMIT | xdp::NDO_XMIT_SG
}

/// Configures the netdev from the features of the NIC; `offload`: with ESP crypto offload; `hashes`: the user may
/// switch hashes of received packets on.
pub(crate) fn configure<T: Operations>(
    dev: &virtio::Device,
    net: &mut Unregistered<T>,
    offload: bool,
    hashes: bool,
) {
    let config = read_config(dev, &[feature::MAC]);
    net.set_mac_address(dev.has_feature(feature::MAC).then_some(config.mac));
    let max = mtu_max(dev, false);
    net.set_mtu(MTU_MIN, max, MTU_DEFAULT.min(max));
    let when = |condition: bool, bits: u64| if condition { bits } else { 0 };
    let tso = when(dev.has_feature(feature::HOST_TSO4), netif::TSO)
        | when(dev.has_feature(feature::HOST_TSO6), netif::TSO6);
    let switchable = netif::SG | netif::HW_CSUM | netif::RXCSUM | tso;
    let esp = when(offload, netif::HW_ESP | netif::HW_ESP_TX_CSUM)
        | when(offload && tso == netif::TSO | netif::TSO6, netif::GSO_ESP);
    let large = when(receives_large(dev), netif::GRO_HW);
    let hashes = when(hashes, netif::RXHASH);
    let offloads = when(dev.has_feature(feature::CTRL_GUEST_OFFLOADS), large);
    // Not to be switched off: the NIC would go on to drop what it was not told.
    let vlans = when(
        dev.has_feature(feature::CTRL_VLAN),
        netif::HW_VLAN_CTAG_FILTER,
    );
    if dev.has_feature(feature::CTRL_RX) {
        net.filters_unicast();
    }
    net.set_features(
        switchable | netif::HIGHDMA | esp | large | vlans,
        switchable | esp | offloads | hashes,
        // A feature that is missing here is missing for every packet inside ESP (X1).
        netif::SG | netif::HW_CSUM | netif::HIGHDMA | tso | esp,
    );
    // No tailroom for the ESP trailer. A packet with fragments never has any, so the stack would copy
    // its head, even if the NIC makes the trailers. Without it the stack adds a fragment to the packets
    // that need a trailer.
    net.set_needed_headroom(header_length(dev).bytes() as u16);
    net.set_xdp_features(xdp_features(dev));
}
