// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wire side of a NIC: ports, the backlog for frames from the wire, and the capture.

pub mod backlog;
pub mod capture;
mod endpoints;
pub mod switch;
pub mod tap;
pub mod wakeup;
pub mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::fault::{Direction, Faults};
use crate::finish::finish;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::memory::MemoryId;
use crate::stats::PortStats;
pub use backlog::RxBacklog;
use capture::Capture;
pub use wakeup::{Wakeup, Wakeups};

/// The destination of a NIC's frames.
pub trait Port: Send + Sync {
    /// Sends all `frames`, and returns the count of those that the port could not take. Empties `frames`,
    /// which may get other buffers in exchange. Does not block.
    fn send(&self, frames: &mut Frames) -> Totals;
    /// Whether anything is connected.
    fn link_up(&self) -> bool;
    /// Whether frames may be unfinished, because only NICs of this process receive them.
    fn takes_unfinished(&self) -> bool {
        false
    }
    /// The NIC's driver wants frames to this MAC address; false if others have it.
    fn claim(&self, _mac: &[u8; 6]) -> bool {
        true
    }
    /// The NIC was reset.
    fn reset(&self) {}
    /// The NIC now belongs to the guest with this memory, or to none.
    fn set_guest(&self, _guest: Option<MemoryId>) {}
}

/// A number of frames, and their bytes, as a wire would carry them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames.
    pub frames: usize,
    /// Bytes in all of them.
    pub bytes: usize,
}

impl Totals {
    /// Counts all `frames`.
    pub fn of(frames: &Frames) -> Self {
        let mut all = Self::default();
        frames.iter().for_each(|frame| all.add(frame));
        all
    }

    /// Adds a frame, or those for which it stands.
    pub fn add(&mut self, frame: &Frame) {
        let (frames, bytes) = frame.on_wire();
        self.count(frames, bytes);
    }

    /// Adds frames with so many bytes in all.
    pub fn count(&mut self, frames: usize, bytes: usize) {
        self.frames += frames;
        self.bytes += bytes;
    }
}

/// A port to nowhere: no link.
pub struct Unplugged;

impl Port for Unplugged {
    fn send(&self, frames: &mut Frames) -> Totals {
        let all = Totals::of(frames);
        frames.truncate(0);
        all
    }

    fn link_up(&self) -> bool {
        false
    }
}

/// A port, and the parts between it and its NIC: counters, faults, capture.
pub struct Attachment {
    port: Box<dyn Port>,
    capture: Option<(Arc<Capture>, u32)>,
    /// The address from which all frames of the NIC must come.
    only_from: Option<[u8; 6]>,
    /// The cable is pulled out.
    unplugged: AtomicBool,
    /// Counters of the wire side.
    pub stats: Arc<PortStats>,
    /// The pending faults.
    pub faults: Faults,
}

impl Attachment {
    /// `capture` comes with the number of this NIC's interface in it.
    pub fn new(
        port: Box<dyn Port>,
        capture: Option<(Arc<Capture>, u32)>,
        stats: Arc<PortStats>,
    ) -> Self {
        Self {
            port,
            capture,
            only_from: None,
            unplugged: AtomicBool::new(false),
            stats,
            faults: Faults::default(),
        }
    }

    /// Restricts the NIC to sending from the address `mac`: `antispoof=on`.
    pub fn only_from(self, mac: [u8; 6]) -> Self {
        Self {
            only_from: Some(mac),
            ..self
        }
    }

    /// Whether the NIC may have this MAC address. From then on frames to it come to the NIC.
    pub fn claim(&self, mac: &[u8; 6]) -> bool {
        self.only_from.is_none_or(|only| only == *mac) && self.port.claim(mac)
    }

    /// The NIC was reset.
    pub fn reset(&self) {
        self.port.reset();
    }

    /// The NIC now belongs to the guest with this memory, or to none.
    pub fn set_guest(&self, guest: Option<MemoryId>) {
        self.port.set_guest(guest);
    }

    /// Whether frames may be unfinished; see [`Port::takes_unfinished`].
    pub fn takes_unfinished(&self) -> bool {
        self.port.takes_unfinished()
    }

    /// Whether the NIC has link.
    pub fn link_up(&self) -> bool {
        !self.unplugged.load(Ordering::Relaxed) && self.port.link_up()
    }

    /// Plugs the cable in or pulls it out. Returns whether that changed the link.
    pub fn plug(&self, up: bool) -> bool {
        let before = self.link_up();
        self.unplugged.store(!up, Ordering::Relaxed);
        before != self.link_up()
    }

    /// Sends frames of this NIC to the wire, and held frames that are due. The capture shows them as they
    /// go out, damage included.
    pub fn send(&self, frames: &mut Frames) {
        if let Some(mac) = &self.only_from {
            let spoofed = frames.retain(|frame| frame.get(6..12) == Some(mac));
            self.stats.tx_drop_spoofed.add(spoofed as u64);
        }
        let outcome = self.faults.apply(Direction::Tx, frames);
        self.stats.tx_faults.add(outcome.faults);
        self.stats.tx_drop_held.add(outcome.dropped);
        if frames.is_empty() {
            return;
        }
        if !self.link_up() {
            let lost = Totals::of(frames).frames;
            self.stats.tx_drop_no_link.add(lost as u64);
            frames.truncate(0);
            return;
        }
        if let Some((capture, interface)) = &self.capture {
            show(capture, *interface, frames);
        }
        let all = Totals::of(frames);
        let lost = self.port.send(frames);
        let sent = |all: usize, lost| all.saturating_sub(lost) as u64;
        self.stats.tx_frames.add(sent(all.frames, lost.frames));
        self.stats.tx_bytes.add(sent(all.bytes, lost.bytes));
        self.stats.tx_drop_port.add(lost.frames as u64);
    }

    /// Applies faults to frames that have arrived from the wire, and adds held frames that are due.
    pub fn received(&self, frames: &mut Frames) {
        if !frames.is_empty() && !self.link_up() {
            let lost = Totals::of(frames).frames;
            self.stats.rx_drop_no_link.add(lost as u64);
            frames.truncate(0);
        }
        let outcome = self.faults.apply(Direction::Rx, frames);
        self.stats.rx_faults.add(outcome.faults);
        self.stats.rx_drop_held.add(outcome.dropped);
    }
}

/// Captures frames as a wire would carry them: what is unfinished is finished in a copy.
fn show(capture: &Capture, interface: u32, frames: &Frames) {
    if frames.iter().all(|frame| frame.unfinished().is_none()) {
        capture.write(interface, frames.iter().map(|frame| &**frame));
        return;
    }
    let mut wire = Frames::default();
    for frame in frames.iter() {
        finish(&mut frame.clone(), &mut wire);
    }
    capture.write(interface, wire.iter().map(|frame| &**frame));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_no_frames() {
        let stats = Arc::new(PortStats::default());
        let attachment = Attachment::new(Box::new(Unplugged), None, stats.clone());
        let mut frames = Frames::default();
        frames.push(vec![0; 60]);
        attachment.send(&mut frames);
        assert!(!attachment.link_up() && frames.is_empty());
        assert_eq!((stats.tx_drop_no_link.get(), stats.tx_frames.get()), (1, 0));
    }

    /// Takes every other frame.
    struct Choosy;

    impl Port for Choosy {
        fn send(&self, frames: &mut Frames) -> Totals {
            let mut lost = Totals::default();
            frames.iter().step_by(2).for_each(|frame| lost.add(frame));
            frames.truncate(0);
            lost
        }

        fn link_up(&self) -> bool {
            true
        }
    }

    #[test]
    fn lost_frames_are_not_sent() {
        let stats = Arc::new(PortStats::default());
        let attachment = Attachment::new(Box::new(Choosy), None, stats.clone());
        let mut frames = Frames::default();
        for len in [1000, 60, 700] {
            frames.push(vec![0; len]);
        }
        attachment.send(&mut frames);
        assert_eq!((stats.tx_frames.get(), stats.tx_bytes.get()), (1, 60));
        assert_eq!(stats.tx_drop_port.get(), 2);
    }

    #[test]
    fn other_senders_are_dropped() {
        let stats = Arc::new(PortStats::default());
        let attachment =
            Attachment::new(Box::new(Choosy), None, stats.clone()).only_from([2, 0, 0, 0, 0, 1]);
        let mut frames = Frames::default();
        for last in [1, 2, 1, 1] {
            let mut frame = vec![0; 60];
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, last]);
            frames.push(frame);
        }
        frames.push(vec![2, 0, 0, 0, 0, 1]);
        attachment.send(&mut frames);
        assert_eq!(stats.tx_drop_spoofed.get(), 2);
        // Nor can the NIC's driver have another address.
        assert!(attachment.claim(&[2, 0, 0, 0, 0, 1]) && !attachment.claim(&[2, 0, 0, 0, 0, 2]));
        assert_eq!((stats.tx_frames.get(), stats.tx_drop_port.get()), (1, 2));
    }

    #[test]
    fn a_pulled_plug_stops_both_directions() {
        let stats = Arc::new(PortStats::default());
        let attachment = Attachment::new(Box::new(Choosy), None, stats.clone());
        let mut frames = Frames::default();
        let mut exchange = || {
            frames.push(vec![0; 60]);
            frames.push(vec![0; 60]);
            attachment.send(&mut frames);
            frames.push(vec![0; 60]);
            attachment.received(&mut frames);
            let left = frames.len();
            frames.truncate(0);
            left
        };
        assert_eq!(exchange(), 1);
        assert_eq!((stats.tx_frames.get(), stats.tx_drop_port.get()), (1, 1));
        assert!(attachment.plug(false) && !attachment.plug(false));
        assert_eq!(exchange(), 0);
        assert_eq!((stats.tx_frames.get(), stats.tx_drop_no_link.get()), (1, 2));
        assert_eq!(stats.rx_drop_no_link.get(), 1);
        assert!(attachment.plug(true));
        assert_eq!(exchange(), 1);
    }
}
