// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network device: features, and the passage of frames between queues and wire.

pub mod config;
pub mod csum;
pub mod ctrl;
pub mod frame;
pub mod late;
pub mod pending;
pub mod rx;
pub mod steer;
pub mod tx;
pub mod used;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Arc;
use std::time::Instant;

use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{HdrLen, NetHdr48};

use crate::ipsec::Frames;
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::MAX_QUEUE_SIZE;
use crate::virtio::{DeviceType, Virtio};
use ctrl::Unanswered;
use late::Late;
use pending::Pending;

/// Chains of one queue that are processed before the lock is given back.
const BATCH: usize = 64;
/// Frames to the wire after which no more chains are begun before the lock is given back: a chain can
/// become many of them.
const FRAMES: usize = 512;
/// Most queue pairs of a NIC.
pub const MAX_PAIRS: u16 = 8;

/// What distinguishes one NIC from another.
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
    /// Configuration space has the capability that says where the device configuration is. A device
    /// without it breaks the rules.
    pub device_config: bool,
    /// Speed of the link that the driver is told, in Mbit/s, up to 2^31 - 1 (VIRTIO 1.4 section 5.1.4).
    pub speed: u32,
    /// `VIRTIO_F_ACCESS_PLATFORM` is offered: a driver that takes it has its memory mapped by the guest's
    /// IOMMU, if it has one.
    pub access_platform: bool,
}

impl NetConfig {
    /// Number of ordinary queues: all pairs and the control queue.
    fn queues(&self) -> u16 {
        2 * self.pairs + 1
    }

    /// Index of the administration queue, which does not depend on what is negotiated.
    pub fn admin_queue(&self) -> u16 {
        self.queues()
    }

    /// Offered features.
    pub fn features(&self) -> u128 {
        let mut bits = vec![
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
            feature::HOST_TSO4,
            feature::HOST_TSO6,
            feature::SPEED_DUPLEX,
        ];
        if self.pairs > 1 {
            bits.push(feature::MQ);
        }
        // Only together: crypto-only SAs are all there is, and those are of the extension.
        if self.ipsec && self.x_ipsec {
            bits.extend([feature::OUT_NET_HEADER, feature::IPSEC, feature::X_IPSEC]);
        }
        if self.access_platform {
            bits.push(feature::ACCESS_PLATFORM);
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
            admin_queues: self.admin_vq.into(),
            // Configuration, every receive and transmit queue, control, administration, and one for
            // the driver to play with.
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
        && requires(feature::MQ, &[feature::CTRL_VQ])
        && requires(feature::IPSEC, feature::IPSEC_REQUIRES)
        && requires(feature::X_IPSEC, feature::X_IPSEC_REQUIRES)
}

/// A received frame, and what the driver is told of it.
pub type Received = (NetHdr48, Vec<u8>);

/// Working state of the data plane.
pub struct NetState {
    /// Queue pairs that the driver uses: 1 after a reset. Also read without the gate.
    active_pairs: Arc<AtomicU16>,
    /// For each pair how many chains, given before it went out of use, may still be sent.
    leftover: Vec<usize>,
    /// Frames that wait for receive buffers, by queue pair.
    pub pending: Vec<Pending>,
    /// Frames that came out of the inbox.
    pub arrived: Frames,
    /// The same on their way through IPsec to a queue.
    pub received: Vec<Received>,
    /// Buffers of frames that were delivered.
    pub done: Vec<Vec<u8>>,
    /// Scratch space, kept so that nothing is allocated per packet.
    pub chains: Vec<Chain>,
    /// Frames for SAs that go through IPsec together.
    pub sealing: Vec<(NetHdr48, Vec<u8>)>,
    /// Frames on their way to the port.
    pub wire: Frames,
    /// A frame that is to be segmented.
    pub large: Vec<u8>,
    /// Commands whose answers are late on purpose.
    pub unanswered: Vec<Unanswered>,
    /// Interrupts that go on after a reset on purpose.
    pub late: Option<Late>,
}

impl NetState {
    /// Of a NIC with `pairs` queue pairs, after a reset.
    pub fn new(pairs: u16) -> Self {
        Self {
            active_pairs: Arc::new(AtomicU16::new(1)),
            leftover: vec![0; pairs.into()],
            pending: (0..pairs).map(|_| Pending::default()).collect(),
            arrived: Frames::default(),
            received: Vec::new(),
            done: Vec::new(),
            chains: Vec::new(),
            sealing: Vec::new(),
            wire: Frames::default(),
            large: Vec::new(),
            unanswered: Vec::new(),
            late: None,
        }
    }

    /// Queue pairs that the driver uses.
    pub fn active_pairs(&self) -> u16 {
        self.active_pairs.load(Ordering::Relaxed)
    }

    /// The same number for those who do not have the gate. It follows [`Self::reset`], too.
    pub fn active_pairs_cell(&self) -> Arc<AtomicU16> {
        self.active_pairs.clone()
    }

    /// Uses another number of queue pairs from now on. Of those that go out of use, what the driver had
    /// put into their transmit queues is still sent, but no more: a driver that keeps a queue full does
    /// not keep the device.
    pub fn set_active_pairs(&mut self, active: u16) {
        let before = self.active_pairs.swap(active, Ordering::Relaxed);
        for pair in active..before {
            if let Some(leftover) = self.leftover.get_mut(usize::from(pair)) {
                *leftover = MAX_QUEUE_SIZE.into();
            }
        }
    }

    /// Device reset: nothing is left over.
    pub fn reset(&mut self) {
        self.active_pairs.store(1, Ordering::Relaxed);
        self.leftover.fill(0);
    }

    /// After a failure: as new, but for what others hold.
    pub fn renew(&mut self) {
        let active_pairs = self.active_pairs.clone();
        *self = Self::new(self.leftover.len() as u16);
        self.active_pairs = active_pairs;
        self.reset();
    }

    /// Number of frames that are on their way.
    pub fn frames(&self) -> usize {
        let pending: usize = self.pending.iter().map(Pending::len).sum();
        pending + self.arrived.len() + self.received.len() + self.sealing.len() + self.wire.len()
    }
}

/// Virtio device and network device together, behind the gate.
pub struct Device {
    /// The virtio device.
    pub virtio: Virtio,
    /// The network device.
    pub net: NetState,
}

impl Device {
    /// When something that was put off is due. A device that does not run, or waits for memory, gives no
    /// answers.
    pub fn next_due(&self) -> Option<Instant> {
        let answers = self.net.unanswered.iter().map(|answer| answer.due);
        let answers =
            answers.filter(|_| self.virtio.running() && self.virtio.waits_until().is_none());
        answers.chain(self.net.late.iter().map(Late::due)).min()
    }

    /// Length of the packet header.
    pub fn hdr_len(&self) -> HdrLen {
        HdrLen::of(self.virtio.negotiated())
    }

    /// Queue pairs in front of the control queue: without `MQ` there is only one, whatever the device
    /// has.
    pub fn pairs(&self, config: &NetConfig) -> u16 {
        match self.virtio.has(feature::MQ) {
            true => config.pairs,
            false => 1,
        }
    }
}

/// What is done while the lock is held, before others get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands of the control queue and of the administration queue.
    Control,
    /// A batch of the transmit queue of this pair.
    Transmit(u16),
    /// A batch from the wire.
    Arrive,
    /// What waits for the receive queue of this pair.
    Deliver(u16),
}

impl Step {
    /// All steps of a NIC with `pairs` queue pairs.
    pub fn all(pairs: u16) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Control)
            .chain((0..pairs).map(Self::Transmit))
            .chain(std::iter::once(Self::Arrive))
            .chain((0..pairs).map(Self::Deliver))
    }
}

/// Processes a batch of everything that waits. `false` if nothing did: then all queues notify.
pub fn process(nic: &Nic, device: &mut Device) -> bool {
    Step::all(nic.config.pairs).fold(false, |busy, step| process_step(nic, device, step) || busy)
}

/// One step of [`process`]; the lock may be given back before the next one.
pub fn process_step(nic: &Nic, device: &mut Device, step: Step) -> bool {
    if step == Step::Control {
        // Whether the device runs or not.
        late::run(nic, device);
        device.virtio.end_wait();
        if nic.inbox.take_link_change() {
            nic.link_changed(device);
        }
    }
    if !device.virtio.running() {
        if step == Step::Arrive {
            rx::discard(nic, device);
        }
        return false;
    }
    let result = match device.virtio.rings_present() {
        true => run(nic, device, step),
        false => Err(RingError::Ring),
    };
    match result {
        Ok(busy) => busy,
        // Nothing that could not be read or written was taken from a queue.
        Err(RingError::Ring | RingError::Address) if wait_for_memory(nic, device) => false,
        Err(error) => {
            nic.driver_error(device, error);
            false
        }
    }
}

fn wait_for_memory(nic: &Nic, device: &mut Device) -> bool {
    let first = device.virtio.waits_until().is_none();
    let waits = device.virtio.wait_for_memory();
    if waits && first {
        nic.stats.memory_waits.inc();
    }
    waits
}

fn run(nic: &Nic, device: &mut Device, step: Step) -> Result<bool, RingError> {
    match step {
        Step::Control => {
            let busy = ctrl::run(nic, device)?;
            Ok(ctrl::run_admin(nic, device)? || busy)
        }
        Step::Transmit(pair) => transmit(nic, device, pair),
        Step::Arrive => {
            // What was held back on purpose may be due.
            nic.port.send(&mut device.net.wire);
            Ok(rx::arrive(nic, device))
        }
        Step::Deliver(pair) if pair < device.net.active_pairs() => rx::deliver(nic, device, pair),
        Step::Deliver(_) => Ok(false),
    }
}

/// Sends a batch of a pair in use, or of what is left in one that went out of use.
fn transmit(nic: &Nic, device: &mut Device, pair: u16) -> Result<bool, RingError> {
    if pair < device.net.active_pairs() {
        return tx::run(nic, device, pair, BATCH).map(|turn| turn.busy);
    }
    let leftover = device.net.leftover.get(usize::from(pair)).copied();
    let leftover = leftover.unwrap_or(0);
    if leftover == 0 {
        return Ok(false);
    }
    let turn = tx::run(nic, device, pair, leftover.min(BATCH))?;
    let left = match turn.busy {
        true => leftover.saturating_sub(turn.chains),
        false => 0,
    };
    if let Some(leftover) = device.net.leftover.get_mut(usize::from(pair)) {
        *leftover = left;
    }
    Ok(turn.busy)
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
            device_config: true,
            speed: 100_000,
            access_platform: true,
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
        // The standard's own SAs do not exist, so its bit is not offered alone.
        let standard = NetConfig {
            x_ipsec: false,
            ..config()
        };
        for config in [plain, standard] {
            assert_eq!(all & !config.features(), ipsec);
        }
        let physical = NetConfig {
            access_platform: false,
            ..config()
        };
        assert_eq!(all & !physical.features(), mask(feature::ACCESS_PLATFORM));
    }

    #[test]
    fn several_pairs_need_a_control_queue() {
        assert_eq!(config().features() & mask(feature::MQ), 0);
        let all = NetConfig {
            pairs: 2,
            ..config()
        }
        .features();
        assert_ne!(all & mask(feature::MQ), 0);
        assert!(acceptable(all));
        let plain = mask(feature::VERSION_1) | mask(feature::MQ);
        assert!(!acceptable(plain));
        assert!(acceptable(plain | mask(feature::CTRL_VQ)));
    }

    #[test]
    fn segmentation_needs_checksums() {
        for bit in [feature::HOST_TSO4, feature::HOST_TSO6] {
            let plain = mask(feature::VERSION_1) | mask(bit);
            assert!(!acceptable(plain));
            assert!(acceptable(plain | mask(feature::CSUM)));
        }
    }

    #[test]
    fn ipsec_needs_its_requirements() {
        let all = config().features();
        let tso = mask(feature::HOST_TSO4) | mask(feature::HOST_TSO6);
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
            all & !mask(feature::X_IPSEC) & !mask(feature::CTRL_VQ)
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
