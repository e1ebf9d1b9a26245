// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that the worker of one queue pair has received for the queue of another.
//!
//! It puts them here and wakes the other worker, which moves them to its own frames: no worker ever waits
//! for the lane of another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pending::Pending;
use crate::ipsec::Inbound;

/// The frames for one queue pair.
#[derive(Default)]
pub struct Inbox {
    frames: Mutex<Pending>,
    /// Frames in the pair's own [`Pending`], and their memory: what waits in both has one limit.
    others: AtomicUsize,
    other_bytes: AtomicUsize,
}

impl Inbox {
    /// Puts a frame in; it comes back if too many wait already.
    pub fn push(&self, inbound: Inbound) -> Option<Inbound> {
        let mut frames = self.lock();
        let others = self.others.load(Ordering::Relaxed);
        let other_bytes = self.other_bytes.load(Ordering::Relaxed);
        if !frames.room().is_more_than(others, other_bytes) {
            return Some(inbound);
        }
        frames.push(inbound);
        None
    }

    /// Moves all frames to those of the pair.
    pub fn take(&self, pending: &mut Pending) {
        let mut frames = self.lock();
        frames.drain().for_each(|inbound| pending.push(inbound));
        self.note(pending);
    }

    /// Notes how much waits in the pair's own frames.
    pub fn note(&self, pending: &Pending) {
        self.others.store(pending.len(), Ordering::Relaxed);
        self.other_bytes.store(pending.bytes(), Ordering::Relaxed);
    }

    /// Throws all frames away; returns how many there were.
    pub fn discard(&self) -> usize {
        let mut frames = self.lock();
        let count = frames.len();
        frames.clear();
        self.note(&Pending::default());
        count
    }

    /// Number of frames.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn waiting(memory: usize) -> Inbound {
        Frame::from(vec![0; memory]).into()
    }

    /// The frames that an inbox takes beside these.
    fn room(own: usize, memory: usize) -> usize {
        let (inbox, mut pending) = (Inbox::default(), Pending::default());
        (0..own).for_each(|_| pending.push(waiting(memory)));
        inbox.note(&pending);
        let taken = (0..5000).take_while(|_| inbox.push(waiting(memory)).is_none());
        let count = taken.count();
        assert_eq!(inbox.waiting(), count);
        inbox.take(&mut pending);
        assert_eq!((inbox.waiting(), pending.len()), (0, own + count));
        count
    }

    #[test]
    fn what_waits_in_both_places_has_one_limit() {
        for memory in [60, 1 << 16] {
            let all = room(0, memory);
            assert!(all > 100);
            assert_eq!(room(100, memory), all - 100);
            assert_eq!(room(all, memory), 0);
        }
    }

    #[test]
    fn room_comes_back() {
        let (inbox, mut pending) = (Inbox::default(), Pending::default());
        while inbox.push(waiting(60)).is_none() {}
        inbox.take(&mut pending);
        assert!(inbox.push(waiting(60)).is_some());
        pending.pop();
        inbox.note(&pending);
        assert!(inbox.push(waiting(60)).is_none() && inbox.push(waiting(60)).is_some());
        assert_eq!(inbox.discard(), 1);
        assert!(inbox.push(waiting(60)).is_none());
    }
}
