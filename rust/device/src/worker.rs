// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The data plane of a NIC: its thread, and the steps that it goes through.

use crate::net::{ctrl, event, rx, tx, Device, BATCH};
use crate::nic::Nic;
use crate::virtio::error::RingError;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The running data plane of a NIC; stops when dropped.
pub struct Worker {
    nic: Arc<Nic>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the data plane.
    pub fn spawn(nic: &Arc<Nic>) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let course = Course {
            nic: nic.clone(),
            stopping: stopping.clone(),
        };
        let thread = thread::Builder::new()
            .name(format!("nic {}", nic.name))
            .spawn(move || course.run())?;
        Ok(Self {
            nic: nic.clone(),
            stopping,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.nic.kick();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            log::error!("{}: the worker had failed for good", self.nic.name);
        }
    }
}

/// The state of the thread.
struct Course {
    nic: Arc<Nic>,
    stopping: Arc<AtomicBool>,
}

impl Course {
    /// Works until it is told to stop. A failure does not end the NIC: the driver has to reset the device.
    fn run(&self) {
        while !self.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.work_on())).is_err() {
                self.nic.recover();
            }
        }
    }

    fn work_on(&self) {
        let wakeup = self.nic.wakeup();
        while !self.is_stopping() {
            if self.batch() {
                continue;
            }
            wakeup.prepare();
            // Work that came before `prepare` has not woken this thread.
            if self.batch() || self.is_stopping() {
                wakeup.cancel();
                continue;
            }
            wakeup.sleep(self.nic.next_due());
        }
    }

    fn batch(&self) -> bool {
        let mut busy = false;
        for step in Step::all(self.nic.config.pairs) {
            busy |= process_step(&self.nic, &mut self.nic.data_plane(), step);
        }
        busy
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
    /// A batch from the wire.
    Arrive,
    /// Frames that wait for the receive queue of this pair.
    Deliver(u16),
    /// Events of SAs.
    Events,
}

impl Step {
    /// All steps of a NIC with `pairs` queue pairs.
    pub fn all(pairs: u16) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Control)
            .chain((0..pairs).map(Self::Transmit))
            .chain(std::iter::once(Self::Arrive))
            .chain((0..pairs).map(Self::Deliver))
            .chain(std::iter::once(Self::Events))
    }
}

/// Processes a batch of all waiting work. `false` if there was none: then all queues notify.
pub fn process(nic: &Nic, device: &mut Device) -> bool {
    Step::all(nic.config.pairs).fold(false, |busy, step| process_step(nic, device, step) || busy)
}

/// Does one step of [`process`]. The caller may release the lock before the next one.
pub fn process_step(nic: &Nic, device: &mut Device, step: Step) -> bool {
    if step == Step::Control {
        // Even if the device does not run.
        nic.interrupt_late(device);
        device.virtio.end_wait();
        if nic.backlog.take_link_change() {
            nic.link_changed(device);
        }
    }
    if !device.virtio.running() {
        if step == Step::Arrive {
            nic.discard(device);
        }
        return false;
    }
    let result = match device.virtio.rings_present() {
        true => run(nic, device, step),
        false => Err(RingError::Ring),
    };
    match result {
        Ok(busy) => busy,
        // A chain that could not be read or written was not taken from its queue.
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
            // Frames that were held back on purpose may be due.
            nic.port.send(&mut device.net.wire);
            Ok(rx::arrive(nic, device))
        }
        Step::Deliver(pair) if pair < device.net.active_pairs() => rx::deliver(nic, device, pair),
        Step::Deliver(_) => Ok(false),
        Step::Events => event::run(nic, device),
    }
}

/// Sends a batch of a pair in use, or of the rest in a pair that is no longer in use.
fn transmit(nic: &Nic, device: &mut Device, pair: u16) -> Result<bool, RingError> {
    if pair < device.net.active_pairs() {
        return tx::run(nic, device, pair, BATCH).map(|turn| turn.busy);
    }
    let leftover = device.net.leftover(pair);
    if leftover == 0 {
        return Ok(false);
    }
    let turn = tx::run(nic, device, pair, leftover.min(BATCH))?;
    let left = match turn.busy {
        true => leftover.saturating_sub(turn.chains),
        false => 0,
    };
    device.net.set_leftover(pair, left);
    Ok(turn.busy)
}
