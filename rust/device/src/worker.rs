// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The data plane of a NIC: its threads, one for each queue pair, and the steps that they go through.

mod window;

use crate::net::tx::{self, Then};
use crate::net::{announce, ctrl, event, rx, Device, BATCH};
use crate::nic::Nic;
use crate::ports::Wakeup;
use crate::virtio::error::RingError;
use nix::sys::prctl::set_timerslack;
use std::hint;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use window::Window;

/// Hints to the processor between two looks for work: some tenths of a microsecond.
const PAUSES: usize = 8;

/// By how many nanoseconds a worker may wake up late, so that its wakeups fit those of others. Linux's default is
/// 50000, more than interrupts are held back for. Threads have it from who makes them.
const SLACK: u64 = 1000;

/// The running data plane of a NIC; stops when dropped.
pub struct Workers {
    nic: Arc<Nic>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the data plane.
    pub fn spawn(nic: &Arc<Nic>) -> io::Result<Self> {
        let mut workers = Self {
            nic: nic.clone(),
            stopping: Arc::default(),
            threads: Vec::new(),
        };
        if let Err(error) = set_timerslack(SLACK) {
            log::debug!("{}: the timers of workers may be late: {error}", nic.name);
        }
        for pair in 0..nic.config.pairs {
            let course = Course {
                nic: nic.clone(),
                pair,
                stopping: workers.stopping.clone(),
            };
            let thread = thread::Builder::new()
                .name(format!("nic {}.{pair}", nic.name))
                .spawn(move || course.run())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.nic.kick();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("{}: a worker had failed for good", self.nic.name);
            }
        }
    }
}

/// The state of a thread.
struct Course {
    nic: Arc<Nic>,
    pair: u16,
    stopping: Arc<AtomicBool>,
}

impl Course {
    /// Works until it is told to stop. A failure does not end the NIC: the driver has to reset the device.
    fn run(&self) {
        let Some(wakeup) = self.nic.wakeups().of(self.pair) else {
            return;
        };
        while !self.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.work_on(wakeup))).is_err() {
                self.nic.recover();
            }
        }
    }

    fn work_on(&self, wakeup: &Wakeup) {
        let mut window = Window::new(self.nic.config.poll);
        while !self.is_stopping() {
            let then = match window.len() {
                Some(_) => Then::Look,
                None => Then::Sleep,
            };
            if !self.batch(then) {
                self.wait(wakeup, &mut window);
            }
        }
    }

    /// Waits for work, first by looking for it as long as `window` says.
    fn wait(&self, wakeup: &Wakeup, window: &mut Window) {
        let start = Instant::now();
        if let Some(len) = window.len() {
            let found = self.look(wakeup, start + len);
            window.has_looked(start.elapsed(), found);
            let stats = self.nic.worker_stats();
            if found {
                stats.polls_found.inc();
                return;
            }
            stats.polls_empty.inc();
        }
        wakeup.prepare();
        // Work that came before `prepare` has not woken this thread.
        if self.batch(Then::Sleep) || self.is_stopping() {
            wakeup.cancel();
            return;
        }
        let due = self.nic.next_due(self.pair);
        if wakeup.sleep(due) {
            self.nic.worker_stats().sleeps.inc();
        }
        let end = Instant::now();
        // Something that was due ends the sleep, but is no work that came.
        if due.is_none_or(|due| end < due) {
            window.has_slept(end - start);
        }
    }

    /// Looks for work until `end`, and does the first of it. `false` if there was none. The driver need not
    /// notify meanwhile, nor does anybody else have to wake this thread.
    fn look(&self, wakeup: &Wakeup, end: Instant) -> bool {
        loop {
            wakeup.watch();
            if self.batch(Then::Look) || self.is_stopping() {
                wakeup.cancel();
                return true;
            }
            // Chains may wait that cannot be sent, so only what is done counts.
            let nothing = || !wakeup.is_woken() && !tx::is_waiting(&self.nic, self.pair);
            let due = self.nic.next_due(self.pair);
            let pause = due.map_or(end, |due| due.min(end));
            while nothing() && Instant::now() < pause {
                (0..PAUSES).for_each(|_| hint::spin_loop());
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    fn batch(&self, then: Then) -> bool {
        Step::of(self.pair).fold(false, |busy, step| {
            process_step_and(&self.nic, step, then) || busy
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// A piece of work under the lock, after which others can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands of the control queue and of the administration queue.
    Control,
    /// A batch of the transmit queue of this pair.
    Transmit(u16),
    /// A batch from the wire for the worker of this pair.
    Arrive(u16),
    /// Frames that wait for the receive queue of this pair.
    Deliver(u16),
    /// Events of SAs. They are for whoever comes first.
    Events,
}

impl Step {
    /// The steps of the worker of `pair`.
    fn of(pair: u16) -> impl Iterator<Item = Self> {
        let first = (pair == 0).then_some(Self::Control);
        let own = [
            Self::Transmit(pair),
            Self::Arrive(pair),
            Self::Deliver(pair),
        ];
        first.into_iter().chain(own).chain([Self::Events])
    }

    /// All steps of a NIC with `pairs` queue pairs.
    pub fn all(pairs: u16) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Control)
            .chain((0..pairs).map(Self::Transmit))
            .chain((0..pairs).map(Self::Arrive))
            .chain((0..pairs).map(Self::Deliver))
            .chain(std::iter::once(Self::Events))
    }
}

/// Processes a batch of all waiting work. `false` if there was none: then all queues notify.
pub fn process(nic: &Nic) -> bool {
    Step::all(nic.config.pairs).fold(false, |busy, step| process_step(nic, step) || busy)
}

/// Does one step of [`process`].
pub fn process_step(nic: &Nic, step: Step) -> bool {
    process_step_and(nic, step, Then::Sleep)
}

/// The same for a worker that does `then` when there is no work.
pub fn process_step_and(nic: &Nic, step: Step, then: Then) -> bool {
    if step == Step::Control {
        return control(nic);
    }
    let device = nic.data_plane();
    if !device.virtio.running() {
        drop(device);
        if matches!(step, Step::Arrive(_)) {
            discard(nic);
        }
        return false;
    }
    let result = match device.virtio.rings_present() {
        true => run(nic, &device, step, then),
        false => Err(RingError::Ring),
    };
    let epoch = device.virtio.epoch();
    drop(device);
    result.unwrap_or_else(|error| {
        nic.with_device(|device| match device.virtio.epoch() == epoch {
            true => failed(nic, device, error),
            // It may go now.
            false => true,
        })
    })
}

/// Drops what has arrived, because the device does not run.
fn discard(nic: &Nic) {
    nic.with_device(|device| {
        if !device.virtio.running() {
            nic.discard(device);
        }
    });
}

/// Acts on an error of a step, which has left its queue as it was: a chain that could not be read or written
/// was not taken from it.
fn failed(nic: &Nic, device: &mut Device, error: RingError) -> bool {
    let missing = matches!(error, RingError::Ring | RingError::Address);
    // Another worker may have found an error before.
    if device.virtio.running() && !(missing && wait_for_memory(nic, device)) {
        nic.driver_error(device, error);
    }
    false
}

fn wait_for_memory(nic: &Nic, device: &mut Device) -> bool {
    let first = device.virtio.waits_until().is_none();
    let waits = device.virtio.wait_for_memory();
    if waits && first {
        nic.stats.memory_waits.inc();
        // It ends the wait.
        nic.wake(0);
    }
    waits
}

/// Does what changes the device as a whole. The other workers wait, so it looks first whether there is
/// anything.
fn control(nic: &Nic) -> bool {
    if nic.backlog.take_link_change() {
        nic.with_device(|device| nic.link_changed(device));
    }
    if is_idle(nic, &nic.data_plane()) {
        return false;
    }
    nic.with_device(|device| {
        // Even if the device does not run.
        nic.interrupt_late(device);
        device.virtio.end_wait();
        if !device.virtio.running() {
            return false;
        }
        let result = match device.virtio.rings_present() {
            true => run_control(nic, device),
            false => Err(RingError::Ring),
        };
        result.unwrap_or_else(|error| failed(nic, device, error))
    })
}

/// Whether [`control`] has nothing to do.
fn is_idle(nic: &Nic, device: &Device) -> bool {
    let times = [device.next_due(), device.virtio.waits_until()];
    let due = times.into_iter().flatten().min();
    if due.is_some_and(|due| due <= Instant::now()) {
        return false;
    }
    !device.virtio.running() || device.virtio.rings_present() && ctrl::is_idle(nic, device)
}

fn run_control(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    let busy = ctrl::run(nic, device)?;
    Ok(ctrl::run_admin(nic, device)? || busy)
}

fn run(nic: &Nic, device: &Device, step: Step, then: Then) -> Result<bool, RingError> {
    match step {
        Step::Control => Ok(false),
        Step::Transmit(pair) => transmit(nic, device, pair, then),
        Step::Arrive(pair) => {
            if let Some(mut lane) = device.net.lane(pair) {
                // Frames that were held back on purpose may be due.
                nic.port.send(&mut lane.wire);
            }
            Ok(rx::arrive(nic, device, pair))
        }
        Step::Deliver(pair) if pair < device.net.active_pairs() => rx::deliver(nic, device, pair),
        Step::Deliver(_) => Ok(false),
        Step::Events => event::run(nic, device),
    }
}

/// Sends the interrupts of a pair that are due, and a batch of a pair in use, or of the rest in a pair that is no
/// longer in use.
fn transmit(nic: &Nic, device: &Device, pair: u16, then: Then) -> Result<bool, RingError> {
    let Some(mut lane) = device.net.lane(pair) else {
        return Ok(false);
    };
    announce::send_due(nic, device, &mut lane, pair);
    if pair < device.net.active_pairs() {
        return tx::run(nic, device, &mut lane, pair, BATCH, then).map(|turn| turn.busy);
    }
    let leftover = lane.leftover;
    if leftover == 0 {
        return Ok(false);
    }
    let most = leftover.min(BATCH);
    let turn = tx::run(nic, device, &mut lane, pair, most, Then::Sleep)?;
    lane.leftover = match turn.busy {
        true => leftover.saturating_sub(turn.chains),
        false => 0,
    };
    Ok(turn.busy)
}
