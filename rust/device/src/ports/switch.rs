// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A learning switch inside the process: a frame goes to the NIC that has its destination address.
//!
//! Frames to addresses that are not known, and to groups, go to all other NICs.

mod addresses;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::endpoints::Endpoints;
use super::{Port, RxBacklog, Totals};
use crate::frames::Frames;
use crate::mac::{is_group, MacAddress};
use crate::memory::MemoryId;
use addresses::Addresses;

/// The switch.
#[derive(Default)]
pub struct Switch {
    endpoints: Endpoints,
    addresses: Mutex<Addresses>,
}

impl Switch {
    /// Connects a NIC with the address `mac` and returns its port.
    pub fn connect(self: &Arc<Self>, backlog: Arc<RxBacklog>, mac: MacAddress) -> SwitchPort {
        let own = self.endpoints.connect(backlog.clone());
        self.addresses().add_port(own, mac);
        SwitchPort {
            switch: self.clone(),
            own,
            backlog,
        }
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One NIC's port of a [`Switch`].
pub struct SwitchPort {
    switch: Arc<Switch>,
    own: usize,
    backlog: Arc<RxBacklog>,
}

impl SwitchPort {
    /// The common target of all `frames`, if they have one; else copies them to theirs.
    fn spread(&self, endpoints: &[Arc<RxBacklog>], frames: &Frames) -> Option<usize> {
        let mut addresses = self.switch.addresses();
        let now = Instant::now();
        let targets: Vec<_> = frames
            .iter()
            .map(|frame| self.direct(&mut addresses, frame, now))
            .collect();
        drop(addresses);
        let first = targets.first().copied().flatten();
        if first.is_some() && targets.iter().all(|target| *target == first) {
            return first;
        }
        for (frame, target) in frames.iter().zip(targets) {
            let takes = |end: usize| end != self.own && target.is_none_or(|target| target == end);
            let takers = endpoints.iter().enumerate().filter(|(end, _)| takes(*end));
            takers.for_each(|(_, backlog)| backlog.copy(frame));
        }
        None
    }

    /// Learns where a frame of this port came from and says where it goes: `None` is all others.
    fn direct(&self, addresses: &mut Addresses, frame: &[u8], now: Instant) -> Option<usize> {
        let (target, rest) = frame.split_first_chunk::<6>()?;
        let source = rest.first_chunk::<6>()?;
        if !is_group(source) && !addresses.learn(source, self.own, now) {
            self.backlog.stats().tx_not_learned.inc();
        }
        addresses.find(target, now)
    }
}

impl Port for SwitchPort {
    fn send(&self, frames: &mut Frames) -> Totals {
        let endpoints = self.switch.endpoints.read();
        let lost = match endpoints.len() {
            0 | 1 => Totals::of(frames),
            _ => Totals::default(),
        };
        let common = self
            .spread(&endpoints, frames)
            .filter(|end| *end != self.own);
        if let Some(backlog) = common.and_then(|end| endpoints.get(end)) {
            backlog.push(frames);
        }
        frames.truncate(0);
        lost
    }

    fn link_up(&self) -> bool {
        self.switch.endpoints.linked()
    }

    fn takes_unfinished(&self) -> bool {
        true
    }

    fn claim(&self, mac: &MacAddress) -> bool {
        self.switch.addresses().claim(mac, self.own, Instant::now())
    }

    fn reset(&self) {
        self.switch.addresses().reset(self.own, Instant::now());
    }

    fn set_guest(&self, guest: Option<MemoryId>) {
        self.switch.addresses().set_guest(self.own, guest);
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
            let backlog =
                |stats: &Arc<PortStats>| Arc::new(RxBacklog::new(Arc::default(), stats.clone()));
            let ports = stats
                .iter()
                .enumerate()
                .map(|(port, stats)| switch.connect(backlog(stats), address(100 + port as u8)))
                .collect();
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
            assert_eq!(self.ports[from].send(&mut frames), Totals::default());
            assert!(frames.is_empty());
            self.stats.iter().map(|s| s.rx_frames.get()).collect()
        }
    }

    /// A station's address; 255 is everybody's.
    fn address(station: u8) -> MacAddress {
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
    fn the_address_of_another_nic_cannot_be_taken() {
        let bench = Bench::new(3);
        // Nobody has sent yet, and still nobody else gets this.
        assert_eq!(bench.send(0, 10, &[101]), [0, 1, 0]);
        assert_eq!(bench.send(2, 101, &[255]), [1, 2, 0]);
        assert_eq!(bench.send(0, 10, &[101]), [1, 3, 0]);
        let not_learned: Vec<_> = bench.stats.iter().map(|s| s.tx_not_learned.get()).collect();
        assert_eq!(not_learned, [0, 0, 1]);
        // Neither one that is too short nor one of a group.
        let mut frames = Frames::default();
        frames.push(vec![0; 5]);
        frames.push(vec![1; 60]);
        bench.ports[2].send(&mut frames);
        assert_eq!(bench.stats[2].tx_not_learned.get(), 1);
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
