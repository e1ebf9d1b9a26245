// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A learning switch inside the process: a frame goes to the NIC that has its destination address.
//!
//! An address belongs to the NIC that sent a frame from it last. Frames to addresses that nobody has
//! sent from, and to groups, go to all other NICs. Nothing is forgotten with time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ends::Ends;
use super::{Inbox, Port, Volume};
use crate::ipsec::Frames;

/// Most addresses that are learned; a guest can send from as many as it likes.
const MAX_ADDRESSES: usize = 4096;
/// The bit of the first byte that makes an address one of a group.
const GROUP: u8 = 1;

type Mac = [u8; 6];

/// The switch.
#[derive(Default)]
pub struct Switch {
    ends: Ends,
    addresses: Mutex<HashMap<Mac, usize>>,
}

impl Switch {
    /// Connects a NIC and returns its port.
    pub fn connect(self: &Arc<Self>, inbox: Arc<Inbox>) -> SwitchPort {
        SwitchPort {
            switch: self.clone(),
            own: self.ends.connect(inbox),
        }
    }

    /// Learns where a frame from port `from` came from and says where it goes: `None` is all others.
    fn direct(addresses: &mut HashMap<Mac, usize>, from: usize, frame: &[u8]) -> Option<usize> {
        let (target, rest) = frame.split_first_chunk::<6>()?;
        let source = rest.first_chunk::<6>()?;
        if source[0] & GROUP == 0 {
            if let Some(port) = addresses.get_mut(source) {
                *port = from;
            } else if addresses.len() < MAX_ADDRESSES {
                addresses.insert(*source, from);
            }
        }
        // No address of a group is ever learned.
        addresses.get(target).copied()
    }
}

/// One NIC's port of a [`Switch`].
pub struct SwitchPort {
    switch: Arc<Switch>,
    own: usize,
}

impl SwitchPort {
    /// The common target of all `frames`, if they have one; else copies them to theirs.
    fn spread(&self, ends: &[Arc<Inbox>], frames: &Frames) -> Option<usize> {
        let mut addresses = self
            .switch
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let targets: Vec<_> = frames
            .iter()
            .map(|frame| Switch::direct(&mut addresses, self.own, frame))
            .collect();
        drop(addresses);
        let first = targets.first().copied().flatten();
        if first.is_some() && targets.iter().all(|target| *target == first) {
            return first;
        }
        for (frame, target) in frames.iter().zip(targets) {
            let takes = |end: usize| end != self.own && target.is_none_or(|target| target == end);
            let takers = ends.iter().enumerate().filter(|(end, _)| takes(*end));
            takers.for_each(|(_, inbox)| inbox.copy(frame));
        }
        None
    }
}

impl Port for SwitchPort {
    fn send(&self, frames: &mut Frames) -> Volume {
        let ends = self.switch.ends.read();
        let lost = match ends.len() {
            0 | 1 => Volume::of(frames),
            _ => Volume::default(),
        };
        let common = self.spread(&ends, frames).filter(|end| *end != self.own);
        if let Some(inbox) = common.and_then(|end| ends.get(end)) {
            inbox.push(frames);
        }
        frames.truncate(0);
        lost
    }

    fn link_up(&self) -> bool {
        self.switch.ends.linked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::PortStats;

    struct Bench {
        stats: Vec<Arc<PortStats>>,
        ports: Vec<SwitchPort>,
    }

    impl Bench {
        fn new(count: usize) -> Self {
            let switch = Arc::new(Switch::default());
            let stats: Vec<_> = (0..count).map(|_| Arc::new(PortStats::default())).collect();
            let inbox =
                |stats: &Arc<PortStats>| Arc::new(Inbox::new(Arc::default(), stats.clone()));
            let ports = stats.iter().map(|s| switch.connect(inbox(s))).collect();
            Self { stats, ports }
        }

        /// How many frames each port has received after `from` sent frames to these stations.
        fn send(&self, from: usize, source: u8, targets: &[u8]) -> Vec<u64> {
            let mut frames = Frames::default();
            for target in targets {
                let mut frame = vec![0; 60];
                frame[..6].copy_from_slice(&address(*target));
                frame[6..12].copy_from_slice(&address(source));
                frames.push(frame);
            }
            assert_eq!(self.ports[from].send(&mut frames), Volume::default());
            assert!(frames.is_empty());
            self.stats.iter().map(|s| s.rx_frames.get()).collect()
        }
    }

    /// A station's address; 255 is everybody's.
    fn address(station: u8) -> Mac {
        match station {
            255 => [255; 6],
            _ => [2, 0, 0, 0, 0, station],
        }
    }

    #[test]
    fn known_addresses_go_to_one_port() {
        let bench = Bench::new(3);
        assert_eq!(bench.send(0, 10, &[11]), [0, 1, 1]);
        assert_eq!(bench.send(1, 11, &[10, 10]), [2, 1, 1]);
        assert_eq!(bench.send(0, 10, &[11, 11]), [2, 3, 1]);
        // One batch to different places; 10 is where it comes from and gets nothing.
        assert_eq!(bench.send(0, 10, &[11, 255, 12, 10]), [2, 6, 3]);
        assert_eq!(bench.send(0, 10, &[10, 10]), [2, 6, 3]);
    }

    #[test]
    fn an_address_moves_with_its_last_sender() {
        let bench = Bench::new(3);
        bench.send(0, 10, &[255]);
        assert_eq!(bench.send(1, 11, &[10]), [1, 1, 1]);
        bench.send(2, 10, &[255]);
        assert_eq!(bench.send(1, 11, &[10]), [2, 2, 2]);
    }

    #[test]
    fn guests_cannot_fill_the_memory() {
        let bench = Bench::new(2);
        let mut frames = Frames::default();
        for number in 0..2 * MAX_ADDRESSES as u32 {
            let mut frame = vec![0; 60];
            frame[8..12].copy_from_slice(&number.to_be_bytes());
            frames.push(frame);
        }
        frames.push(vec![0; 5]);
        bench.ports[0].send(&mut frames);
        let addresses = bench.ports[0].switch.addresses.lock().unwrap();
        assert_eq!(addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn alone_at_the_switch_there_is_no_link() {
        let bench = Bench::new(1);
        let mut frames = Frames::default();
        frames.push(vec![0; 60]);
        assert!(!bench.ports[0].link_up());
        assert_eq!(bench.ports[0].send(&mut frames).frames, 1);
        assert!(frames.is_empty());
        assert!(Bench::new(2).ports[0].link_up());
    }
}
