// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The order in which packets leave whose numbers the NIC gives.
//!
//! Several workers may use one SA at the same time. A worker takes numbers for as many packets as it can, under a
//! lock of the SA and only for that moment, and encrypts them beside the others. What it must not do is send them
//! before packets with lower numbers have gone: a receiver's window (RFC 4303 section 3.4.3) is as small as 32, a
//! batch is larger, and a worker may lose its processor in the middle of one. So the numbers that a worker has
//! taken are its turn, which begins when all numbers before have gone.
//!
//! Nobody waits for ever. A worker sends its packets in the order in which it took their numbers, and takes none
//! while it waits. So of all packets that wait, the one whose number was taken first waits for nothing. A turn ends
//! when it is dropped, also if the worker fails.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::frames::Frames;

/// How often a worker looks whether its turn has come before it sleeps: for some microseconds. To look longer did not
/// help, and takes the processor from who is waited for if there are fewer processors than workers.
const LOOKS: u32 = 25;
/// Hints to the processor between two looks.
const PAUSES: u32 = 4;

/// How far the packets of an SA have gone.
pub(super) struct Turnstile {
    /// The last number that has gone, or will never go.
    gone: AtomicU64,
    /// Workers that sleep until that changes.
    sleepers: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Turnstile {
    /// Of an SA whose last number was `last`.
    pub(super) fn new(last: u64) -> Arc<Self> {
        Arc::new(Self {
            gone: AtomicU64::new(last),
            sleepers: AtomicU32::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    fn is_past(&self, number: u64) -> bool {
        self.gone.load(Ordering::SeqCst) >= number
    }

    /// Waits until the packet with this number has gone.
    fn wait(&self, number: u64) {
        for _ in 0..LOOKS {
            if self.is_past(number) {
                return;
            }
            (0..PAUSES).for_each(|_| hint::spin_loop());
        }
        let mut guard = self.lock();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.is_past(number) {
            let woken = self.changed.wait(guard);
            guard = woken.unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// All packets up to the one with this number have gone.
    fn pass(&self, number: u64) {
        self.gone.store(number, Ordering::SeqCst);
        // Who goes to sleep says so before it looks for the last time.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers in a row that one worker has taken, whose packets it has not sent yet.
struct Turn {
    turnstile: Arc<Turnstile>,
    /// The number before them.
    before: u64,
    last: u64,
    /// Index of their first packet among the frames that wait to be sent.
    at: usize,
    /// The number before was this worker's, too.
    follows: bool,
}

impl Turn {
    /// Whether its packets may go together with those that are in front of them.
    fn has_come(&self) -> bool {
        self.follows || self.turnstile.is_past(self.before)
    }

    fn is_before(&self, turnstile: &Arc<Turnstile>, first: u64) -> bool {
        self.last.wrapping_add(1) == first && Arc::ptr_eq(&self.turnstile, turnstile)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turnstile.wait(self.before);
        self.turnstile.pass(self.last);
    }
}

/// The turns of a worker, in the order in which it took the numbers.
///
/// While a worker has any, it must not take a lock that another may hold who waits for its turn.
#[derive(Default)]
pub struct Turns {
    turns: Vec<Turn>,
    is_alone: bool,
}

impl Turns {
    /// For the only one that uses the SAs, who need not wait.
    pub fn of_one() -> Self {
        Self {
            turns: Vec::new(),
            is_alone: true,
        }
    }

    /// Adds `count` numbers, at least one, from `first` on. Their packets come next behind the first `at` frames.
    /// To be called under the lock under which they were taken.
    pub(super) fn add(&mut self, turnstile: &Arc<Turnstile>, first: u64, count: u32, at: usize) {
        let before = first.wrapping_sub(1);
        let last = before.wrapping_add(count.into());
        if self.is_alone {
            turnstile.gone.store(last, Ordering::Relaxed);
            return;
        }
        if let Some(turn) = self.turns.last_mut() {
            if turn.is_before(turnstile, first) {
                turn.last = last;
                return;
            }
        }
        let follows = !turnstile.is_past(before)
            && (self.turns.iter().rev()).any(|turn| turn.is_before(turnstile, first));
        self.turns.push(Turn {
            turnstile: turnstile.clone(),
            before,
            last,
            at,
            follows,
        });
    }

    /// The empty frames will be removed from `frames`.
    #[cold]
    pub(super) fn close_ranks(&mut self, frames: &Frames) {
        for turn in &mut self.turns {
            let empty = |frame: &&crate::frame::Frame| frame.is_empty();
            turn.at -= frames.iter().take(turn.at).filter(empty).count();
        }
    }

    /// Sends `frames` by `send`, each as soon as its turn has come, and ends all turns. `send` leaves none.
    #[inline]
    pub fn send(&mut self, frames: &mut Frames, mut send: impl FnMut(&mut Frames)) {
        let mut sent = 0;
        while let Some(late) = self.turns.iter().position(|turn| !turn.has_come()) {
            self.send_until(late, &mut sent, frames, &mut send);
        }
        send(frames);
        self.end();
    }

    /// Sends what is in front of the turn with this index, and waits until that has come. `sent` frames have gone
    /// before.
    #[cold]
    fn send_until(
        &mut self,
        late: usize,
        sent: &mut usize,
        frames: &mut Frames,
        send: &mut impl FnMut(&mut Frames),
    ) {
        let Some(turn) = self.turns.get(late) else {
            return;
        };
        let count = turn.at.saturating_sub(*sent);
        if count > 0 {
            let rest = frames.split_off(count);
            send(frames);
            frames.append(rest);
            *sent = turn.at;
        }
        // Ends those in front.
        drop(self.turns.drain(..late));
        if let Some(turn) = self.turns.first() {
            turn.turnstile.wait(turn.before);
        }
    }

    /// Ends all turns, whatever has become of the packets.
    pub fn end(&mut self) {
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// More than a worker looks before it sleeps.
    const LONG: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A frame, by which it is known: that many bytes.
    fn frame(len: u8) -> Vec<u8> {
        vec![len; len.into()]
    }

    /// A worker's turns and frames.
    #[derive(Default)]
    struct Batch {
        turns: Turns,
        frames: Frames,
    }

    impl Batch {
        /// Takes a number for each of these frames.
        fn take(&mut self, turnstile: &Arc<Turnstile>, first: u64, frames: &[u8]) {
            let (count, at) = (frames.len() as u32, self.frames.len());
            self.turns.add(turnstile, first, count, at);
            frames.iter().for_each(|&len| self.frames.push(frame(len)));
        }

        /// Sends all; what was sent each time.
        fn send(mut self, sent: &mpsc::Sender<Vec<u8>>) {
            self.turns.send(&mut self.frames, |frames| {
                let lens = frames.drain().map(|frame| frame.len() as u8).collect();
                sent.send(lens).unwrap();
            });
        }
    }

    #[test]
    fn one_worker_sends_all_at_once() {
        let (x, y) = (Turnstile::new(0), Turnstile::new(7));
        let (wire, sent) = mpsc::channel();
        let mut batch = Batch::default();
        batch.take(&x, 1, &[1, 2]);
        batch.take(&y, 8, &[3]);
        batch.take(&x, 3, &[4]);
        batch.take(&x, 4, &[5]);
        batch.send(&wire);
        assert_eq!(sent.try_iter().collect::<Vec<_>>(), [[1, 2, 3, 4, 5]]);
        assert!(x.is_past(4) && !x.is_past(5) && y.is_past(8) && !y.is_past(9));
    }

    #[test]
    fn higher_numbers_wait() {
        let turnstile = Turnstile::new(10);
        let (wire, sent) = mpsc::channel();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Batch::default());
        first.take(&turnstile, 11, &[1, 2]);
        second.take(&turnstile, 13, &[3, 4]);
        third.take(&turnstile, 15, &[5]);
        thread::scope(|scope| {
            for batch in [third, second] {
                let wire = &wire;
                scope.spawn(move || batch.send(wire));
            }
            assert_eq!(
                sent.recv_timeout(LONG),
                Err(mpsc::RecvTimeoutError::Timeout)
            );
            first.send(&wire);
            let next = || sent.recv_timeout(PATIENCE).unwrap();
            assert_eq!([next(), next()], [[1, 2], [3, 4]]);
            assert_eq!(next(), [5]);
        });
    }

    /// Each waits for the other, but not with the same packet.
    #[test]
    fn what_is_in_front_does_not_wait() {
        let (x, y) = (Turnstile::new(0), Turnstile::new(0));
        let (wire, sent) = mpsc::channel();
        let [mut one, mut other] = [(); 2].map(|()| Batch::default());
        one.frames.push(frame(9));
        one.take(&x, 1, &[1]);
        other.take(&y, 1, &[2]);
        one.take(&y, 2, &[3]);
        other.take(&x, 2, &[4]);
        one.take(&x, 3, &[5]);
        thread::scope(|scope| {
            for batch in [one, other] {
                let wire = &wire;
                scope.spawn(move || batch.send(wire));
            }
            let mut all = Vec::new();
            while all.len() < 6 {
                all.extend(sent.recv_timeout(PATIENCE).unwrap());
            }
            let place = |len| all.iter().position(|&one| one == len).unwrap();
            assert!(place(1) < place(4) && place(4) < place(5));
            assert!(place(2) < place(3) && place(9) < place(1));
        });
    }

    #[test]
    fn a_worker_that_fails_does_not_stop_others() {
        let turnstile = Turnstile::new(0);
        let (wire, sent) = mpsc::channel();
        let [mut first, mut second] = [(); 2].map(|()| Batch::default());
        first.take(&turnstile, 1, &[1, 2]);
        second.take(&turnstile, 3, &[3]);
        thread::scope(|scope| {
            let wire = &wire;
            scope.spawn(move || second.send(wire));
            assert_eq!(
                sent.recv_timeout(LONG),
                Err(mpsc::RecvTimeoutError::Timeout)
            );
            drop(first);
            assert_eq!(sent.recv_timeout(PATIENCE).unwrap(), [3]);
        });
    }

    #[test]
    fn frames_that_are_gone_do_not_count() {
        let (x, y) = (Turnstile::new(0), Turnstile::new(0));
        let (wire, sent) = mpsc::channel();
        let mut batch = Batch::default();
        batch.take(&x, 1, &[1, 0, 2, 0]);
        batch.take(&y, 2, &[3, 0, 4]);
        batch.turns.close_ranks(&batch.frames);
        batch.frames.retain(|frame| !frame.is_empty());
        thread::scope(|scope| {
            let wire = &wire;
            scope.spawn(move || batch.send(wire));
            assert_eq!(sent.recv_timeout(PATIENCE).unwrap(), [1, 2]);
            assert_eq!(
                sent.recv_timeout(LONG),
                Err(mpsc::RecvTimeoutError::Timeout)
            );
            y.pass(1);
            assert_eq!(sent.recv_timeout(PATIENCE).unwrap(), [3, 4]);
        });
    }

    #[test]
    fn who_is_alone_has_no_turns() {
        let turnstile = Turnstile::new(0);
        let mut turns = Turns::of_one();
        turns.add(&turnstile, 1, 5, 0);
        assert!(turns.turns.is_empty() && turnstile.is_past(5) && !turnstile.is_past(6));
    }
}
