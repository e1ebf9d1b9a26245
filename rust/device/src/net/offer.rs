// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The offer of a NIC to its driver: features, queues, limits.

use crate::virtio::DeviceType;
use espnic_wire::feature::{self, mask};
use std::time::Duration;

/// Most queue pairs of a NIC.
pub const MAX_PAIRS: u16 = 8;

/// What a driver may have left to it in frames that it receives, and how it says when.
const GUEST_CSUM: [u32; 4] = [
    feature::GUEST_CSUM,
    feature::GUEST_TSO4,
    feature::GUEST_TSO6,
    feature::CTRL_GUEST_OFFLOADS,
];

/// The configuration of one NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest MTU, 68 to 65535.
    pub mtu: u16,
    /// Queue pairs, 1 to [`MAX_PAIRS`].
    pub pairs: u16,
    /// Inline IPsec is offered.
    pub ipsec: bool,
    /// The experimental extension is offered; without it, IPsec is not, either.
    pub x_ipsec: bool,
    /// The administration queue is offered.
    pub admin_vq: bool,
    /// Packed queues are offered (`VIRTIO_F_RING_PACKED`); a driver that takes them has no others.
    pub packed: bool,
    /// `VIRTIO_NET_F_GUEST_CSUM` is offered, and what depends on it. IPsec does.
    pub guest_csum: bool,
    /// `VIRTIO_NET_F_NOTF_COAL` and `VIRTIO_NET_F_VQ_NOTF_COAL` are offered.
    pub coalescing: bool,
    /// Configuration space has the capability that says where the device configuration is. A device
    /// without it breaks the rules.
    pub device_config: bool,
    /// Speed of the link that the driver is told, in Mbit/s, up to 2^31 - 1 (VIRTIO 1.4 section 5.1.4).
    pub speed: u32,
    /// `VIRTIO_F_ACCESS_PLATFORM` is offered: a driver that takes it has its memory mapped by the guest's
    /// IOMMU, if it has one.
    pub access_platform: bool,
    /// The longest time for which a worker looks for work before it sleeps; zero: it sleeps at once.
    pub poll: Duration,
}

impl NetConfig {
    /// Number of ordinary queues: all pairs and the control queue. With the extension there is the event
    /// queue, too.
    fn queues(&self) -> u16 {
        2 * self.pairs + 1
    }

    /// Index of the administration queue, which does not depend on what is negotiated.
    pub fn admin_queue(&self) -> u16 {
        self.queues() + u16::from(self.offers_ipsec())
    }

    /// Whether inline IPsec is offered: only together with the extension.
    pub fn offers_ipsec(&self) -> bool {
        self.ipsec && self.x_ipsec
    }

    /// Offered features.
    pub fn features(&self) -> u128 {
        let mut bits = vec![
            feature::VERSION_1,
            feature::INDIRECT_DESC,
            feature::EVENT_IDX,
            feature::CSUM,
            feature::MAC,
            feature::MTU,
            feature::MRG_RXBUF,
            feature::STATUS,
            feature::CTRL_VQ,
            feature::CTRL_RX,
            feature::CTRL_VLAN,
            feature::CTRL_RX_EXTRA,
            feature::CTRL_MAC_ADDR,
            feature::RING_RESET,
            feature::HOST_TSO4,
            feature::HOST_TSO6,
            feature::SPEED_DUPLEX,
            feature::HASH_REPORT,
        ];
        if self.coalescing {
            bits.extend([feature::NOTF_COAL, feature::VQ_NOTF_COAL]);
        }
        if self.guest_csum {
            bits.extend(GUEST_CSUM);
        }
        if self.pairs > 1 {
            bits.extend([feature::MQ, feature::RSS]);
        }
        if self.offers_ipsec() {
            bits.extend([feature::OUT_NET_HEADER, feature::IPSEC, feature::X_IPSEC]);
        }
        if self.access_platform {
            bits.push(feature::ACCESS_PLATFORM);
        }
        if self.packed {
            bits.push(feature::RING_PACKED);
        }
        if self.admin_vq {
            bits.push(feature::ADMIN_VQ);
        }
        bits.into_iter().fold(0, |set, bit| set | mask(bit))
    }

    /// The device type for the virtio layer.
    pub fn device_type(&self) -> DeviceType {
        DeviceType {
            offered: self.features(),
            acceptable,
            queues: self.queues(),
            optional_queue: self.offers_ipsec().then_some(feature::X_IPSEC),
            admin_queues: self.admin_vq.into(),
            // Configuration, every receive and transmit queue, control, events, administration.
            vectors: 2 * self.pairs + 4,
        }
    }
}

/// Feature dependencies (5.1.3.1), and those of IPsec: the security bits live in a field that must
/// be zero without the checksum features.
fn acceptable(features: u128) -> bool {
    let requires =
        |bit, required: &[u32]| features & mask(bit) == 0 || feature::has_all(features, required);
    requires(feature::HOST_TSO4, &[feature::CSUM])
        && requires(feature::HOST_TSO6, &[feature::CSUM])
        && requires(feature::GUEST_TSO4, &[feature::GUEST_CSUM])
        && requires(feature::GUEST_TSO6, &[feature::GUEST_CSUM])
        && requires(feature::CTRL_GUEST_OFFLOADS, &[feature::CTRL_VQ])
        && requires(feature::CTRL_RX, &[feature::CTRL_VQ])
        && requires(feature::CTRL_VLAN, &[feature::CTRL_VQ])
        && requires(feature::CTRL_RX_EXTRA, &[feature::CTRL_VQ])
        && requires(feature::CTRL_MAC_ADDR, &[feature::CTRL_VQ])
        && requires(feature::MQ, &[feature::CTRL_VQ])
        && requires(feature::NOTF_COAL, &[feature::CTRL_VQ])
        && requires(feature::VQ_NOTF_COAL, &[feature::CTRL_VQ])
        && requires(feature::RSS, &[feature::CTRL_VQ])
        && requires(feature::IPSEC, feature::IPSEC_REQUIRES)
        && requires(feature::X_IPSEC, feature::X_IPSEC_REQUIRES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NetConfig {
        NetConfig {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            pairs: 1,
            ipsec: true,
            x_ipsec: true,
            admin_vq: true,
            packed: true,
            guest_csum: true,
            coalescing: true,
            device_config: true,
            speed: 100_000,
            access_platform: true,
            poll: Duration::ZERO,
        }
    }

    #[test]
    fn switches_hide_features() {
        let all = config().features();
        for bit in [
            feature::IPSEC,
            feature::OUT_NET_HEADER,
            feature::X_IPSEC,
            feature::ADMIN_VQ,
            feature::ACCESS_PLATFORM,
        ] {
            assert_ne!(all & mask(bit), 0);
        }
        let ipsec = mask(feature::IPSEC) | mask(feature::OUT_NET_HEADER) | mask(feature::X_IPSEC);
        let plain = NetConfig {
            ipsec: false,
            ..config()
        };
        // The standard's bits are not offered alone.
        let standard = NetConfig {
            x_ipsec: false,
            ..config()
        };
        for config in [plain, standard] {
            assert_eq!(all & !config.features(), ipsec);
        }
        let split = NetConfig {
            packed: false,
            ..config()
        };
        assert_eq!(all & !split.features(), mask(feature::RING_PACKED));
        let prompt = NetConfig {
            coalescing: false,
            ..config()
        };
        let held_back = mask(feature::NOTF_COAL) | mask(feature::VQ_NOTF_COAL);
        assert_eq!(all & !prompt.features(), held_back);
        let finished = NetConfig {
            guest_csum: false,
            ..config()
        };
        let left = GUEST_CSUM.into_iter().fold(0, |set, bit| set | mask(bit));
        assert_eq!(all & !finished.features(), left);
        let physical = NetConfig {
            access_platform: false,
            ..config()
        };
        assert_eq!(all & !physical.features(), mask(feature::ACCESS_PLATFORM));
    }

    #[test]
    fn several_pairs_need_a_control_queue() {
        assert_eq!(config().features() & mask(feature::MQ), 0);
        assert_eq!(config().features() & mask(feature::RSS), 0);
        let all = NetConfig {
            pairs: 2,
            ..config()
        }
        .features();
        assert_ne!(all & mask(feature::MQ), 0);
        assert!(acceptable(all));
    }

    #[test]
    fn commands_need_a_control_queue() {
        for bit in [
            feature::MQ,
            feature::RSS,
            feature::CTRL_GUEST_OFFLOADS,
            feature::CTRL_RX,
            feature::CTRL_VLAN,
            feature::CTRL_RX_EXTRA,
            feature::CTRL_MAC_ADDR,
            feature::NOTF_COAL,
            feature::VQ_NOTF_COAL,
        ] {
            let plain = mask(feature::VERSION_1) | mask(bit);
            assert!(!acceptable(plain), "{bit}");
            assert!(acceptable(plain | mask(feature::CTRL_VQ)), "{bit}");
        }
    }

    #[test]
    fn segmentation_needs_checksums() {
        for (bit, checksums) in [
            (feature::HOST_TSO4, feature::CSUM),
            (feature::HOST_TSO6, feature::CSUM),
            (feature::GUEST_TSO4, feature::GUEST_CSUM),
            (feature::GUEST_TSO6, feature::GUEST_CSUM),
        ] {
            let plain = mask(feature::VERSION_1) | mask(bit);
            assert!(!acceptable(plain));
            assert!(acceptable(plain | mask(checksums)));
        }
    }

    #[test]
    fn ipsec_needs_its_requirements() {
        let all = config().features();
        let tso = [
            feature::HOST_TSO4,
            feature::HOST_TSO6,
            feature::GUEST_TSO4,
            feature::GUEST_TSO6,
        ];
        let tso = tso.into_iter().fold(0, |set, bit| set | mask(bit));
        let commands = [
            feature::CTRL_GUEST_OFFLOADS,
            feature::CTRL_RX,
            feature::CTRL_VLAN,
            feature::CTRL_RX_EXTRA,
            feature::CTRL_MAC_ADDR,
            feature::NOTF_COAL,
            feature::VQ_NOTF_COAL,
        ];
        let commands = commands.into_iter().fold(0, |set, bit| set | mask(bit));
        assert!(acceptable(all));
        assert!(acceptable(mask(feature::VERSION_1)));
        for bit in [feature::CSUM, feature::GUEST_CSUM] {
            assert!(
                !acceptable((all & !mask(bit) & !mask(feature::X_IPSEC)) & !tso),
                "{bit}"
            );
        }
        for &bit in feature::X_IPSEC_REQUIRES {
            assert!(!acceptable(all & !mask(bit)), "{bit}");
        }
        assert!(acceptable(
            all & !mask(feature::X_IPSEC) & !mask(feature::CTRL_VQ) & !commands
        ));
    }

    #[test]
    fn vectors_suffice() {
        for (pairs, vectors, queues) in [(1, 6, 3), (2, 8, 5), (8, 20, 17)] {
            let kind = NetConfig { pairs, ..config() }.device_type();
            assert_eq!((kind.vectors, kind.queues), (vectors, queues));
        }
    }
}
