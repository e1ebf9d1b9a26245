// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The part of the device that every virtio device has: features, status, queues. It depends neither
//! on the transport below nor on the network device above.

pub mod chain;
pub mod common;
pub mod error;
pub mod queue;
mod slot;
pub mod status;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use espnic_wire::feature;

use crate::memory::GuestMap;
use error::RingError;
use queue::{QueueSetup, VirtQueue};
use slot::Selectors;
pub use slot::{QueueSlot, NO_VECTOR};

/// The time for which memory may be unmapped, as in a change of the guest's memory layout, before its use
/// is an error of the driver. The peer unmaps and maps again in one go.
const ABSENCE: Duration = Duration::from_millis(300);

/// The parameters of a device type.
#[derive(Clone, Copy)]
pub struct DeviceType {
    /// Offered features.
    pub offered: u128,
    /// Whether a subset of `offered` is acceptable.
    pub acceptable: fn(u128) -> bool,
    /// Ordinary queues.
    pub queues: u16,
    /// One more ordinary queue is there, behind the others, if this feature is negotiated.
    pub optional_queue: Option<u32>,
    /// Administration queues, which follow the ordinary ones. Their place does not depend on what is
    /// negotiated.
    pub admin_queues: u16,
    /// MSI-X vectors.
    pub vectors: u16,
}

impl DeviceType {
    /// Index of the first administration queue.
    fn admin_index(&self) -> u16 {
        self.queues
            .saturating_add(self.optional_queue.is_some().into())
    }
}

/// State of the virtio device.
pub struct Virtio {
    kind: DeviceType,
    selectors: Selectors,
    /// The features that the driver wrote.
    driver_features: u128,
    /// The features that were accepted with `FEATURES_OK`.
    negotiated: u128,
    status: u8,
    config_generation: u8,
    config_vector: u16,
    queues: Vec<QueueSlot>,
    mem: Arc<GuestMap>,
    /// The rings of all running queues are in `mem`.
    rings_present: bool,
    /// The time when memory was last unmapped.
    taken: Option<Instant>,
    /// The end of a wait for memory that was missing.
    waits_until: Option<Instant>,
    bus_master: bool,
    /// Goes up when queues or memory go away.
    epoch: u64,
}

impl Virtio {
    /// A device in its reset state.
    pub fn new(kind: DeviceType) -> Self {
        let count = usize::from(kind.admin_index()) + usize::from(kind.admin_queues);
        Self {
            kind,
            selectors: Selectors::default(),
            driver_features: 0,
            negotiated: 0,
            status: 0,
            config_generation: 0,
            config_vector: NO_VECTOR,
            queues: (0..count).map(|_| QueueSlot::default()).collect(),
            mem: Arc::default(),
            rings_present: true,
            taken: None,
            waits_until: None,
            bus_master: false,
            epoch: 0,
        }
    }

    /// Resets the device (2.4), except what belongs to the bus.
    pub fn reset(&mut self) {
        let (mem, bus_master) = (self.mem.clone(), self.bus_master);
        let (config_generation, epoch) = (self.config_generation, self.epoch);
        *self = Self {
            mem,
            bus_master,
            config_generation,
            epoch: epoch.wrapping_add(1),
            ..Self::new(self.kind)
        };
    }

    /// Whether `bit` was negotiated.
    pub fn has(&self, bit: u32) -> bool {
        self.negotiated & feature::mask(bit) != 0
    }

    /// The negotiated features; none before `FEATURES_OK`.
    pub fn negotiated(&self) -> u128 {
        self.negotiated
    }

    /// Device status register.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Vector for configuration changes.
    pub fn config_vector(&self) -> u16 {
        self.config_vector
    }

    /// Whether the device may use buffers: driver ready, bus mastering on, no reset needed.
    pub fn running(&self) -> bool {
        self.driven() && self.status & status::DEVICE_NEEDS_RESET == 0
    }

    /// Whether a driver is ready, and bus mastering is on.
    pub fn driven(&self) -> bool {
        self.bus_master && self.status & status::DRIVER_OK != 0
    }

    /// Sets `DEVICE_NEEDS_RESET`. `true` if the driver must be told by a configuration interrupt.
    pub fn needs_reset(&mut self) -> bool {
        let fresh = self.status & status::DEVICE_NEEDS_RESET == 0;
        self.status |= status::DEVICE_NEEDS_RESET;
        fresh && self.status & status::DRIVER_OK != 0
    }

    /// Notes that the device configuration has changed (2.5.2): earlier and later reads of the driver do not
    /// fit together.
    pub fn config_changed(&mut self) {
        self.config_generation = self.config_generation.wrapping_add(1);
    }

    /// Publishes a new view of guest memory; `taken` if memory is missing in it. The caller holds the device
    /// exclusively, so when this returns the old view is not used any more.
    pub fn set_memory(&mut self, mem: Arc<GuestMap>, taken: bool) {
        self.mem = mem;
        self.epoch = self.epoch.wrapping_add(1);
        if taken {
            self.taken = Some(Instant::now());
        }
        self.look_for_rings();
        self.waits_until = None;
    }

    fn look_for_rings(&mut self) {
        let mut queues = self.queues.iter().filter_map(|slot| slot.running.as_ref());
        self.rings_present = queues.all(|queue| lock(queue).is_in(&self.mem));
    }

    /// Whether the rings of all running queues are in guest memory.
    pub fn rings_present(&self) -> bool {
        self.rings_present
    }

    /// Resets the selected queue.
    fn reset_queue(&mut self) -> bool {
        let Some(slot) = self.queues.get_mut(usize::from(self.selectors.queue)) else {
            return false;
        };
        *slot = QueueSlot::default();
        self.epoch = self.epoch.wrapping_add(1);
        if !self.rings_present {
            // It may have been the one that was missing.
            self.look_for_rings();
        }
        true
    }

    /// A number that changes with every reset, of the device or of a queue, and with every change of memory.
    /// What was found under another number may be no longer so.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether missing memory may come back, because it was unmapped only now. Then the device waits, until
    /// [`Self::waits_until`] or the next change of memory.
    pub fn wait_for_memory(&mut self) -> bool {
        let end = self.taken.map(|taken| taken + ABSENCE);
        self.waits_until = end.filter(|&end| Instant::now() < end);
        self.waits_until.is_some()
    }

    /// Ends a wait whose time is over. Memory that is still missing is an error then.
    pub fn end_wait(&mut self) {
        if self.waits_until.is_some_and(|end| Instant::now() >= end) {
            self.waits_until = None;
        }
    }

    /// See [`Self::wait_for_memory`].
    pub fn waits_until(&self) -> Option<Instant> {
        self.waits_until
    }

    /// The PCI command register's Bus Master bit: no DMA while clear.
    pub fn set_bus_master(&mut self, on: bool) {
        self.bus_master = on;
    }

    /// See [`Self::set_bus_master`].
    pub fn bus_master(&self) -> bool {
        self.bus_master
    }

    /// Guest memory.
    pub fn memory(&self) -> &GuestMap {
        &self.mem
    }

    /// Number of ordinary queues.
    fn num_queues(&self) -> u16 {
        let more = self.kind.optional_queue.is_some_and(|bit| self.has(bit));
        self.kind.queues.saturating_add(more.into())
    }

    /// Whether there is a queue with this index now.
    fn has_queue(&self, index: u16) -> bool {
        index < self.num_queues()
            || (index >= self.kind.admin_index() && usize::from(index) < self.queues.len())
    }

    /// The running queue `index`, and its vector. One thread at a time can have it.
    pub fn queue(&self, index: u16) -> Option<(MutexGuard<'_, VirtQueue>, u16)> {
        let slot = self.queues.get(usize::from(index))?;
        slot.running
            .as_ref()
            .map(|queue| (lock(queue), slot.vector))
    }

    /// Whether the queue `index` runs.
    pub fn runs(&self, index: u16) -> bool {
        let slot = self.queues.get(usize::from(index));
        slot.is_some_and(|slot| slot.running.is_some())
    }

    /// The vectors of the configuration and of all running queues.
    pub fn vectors(&self) -> Vec<u16> {
        let running = self.queues.iter().filter(|slot| slot.running.is_some());
        std::iter::once(self.config_vector)
            .chain(running.map(|slot| slot.vector))
            .collect()
    }

    /// All running queues.
    pub fn running_queues(&self) -> impl Iterator<Item = MutexGuard<'_, VirtQueue>> {
        let running = self.queues.iter().filter_map(|slot| slot.running.as_ref());
        running.map(lock)
    }

    fn enable_queue(&mut self, index: u16) -> Result<(), RingError> {
        let [packed, indirect, event_idx] = [
            feature::RING_PACKED,
            feature::INDIRECT_DESC,
            feature::EVENT_IDX,
        ]
        .map(|bit| self.has(bit));
        if !self.has_queue(index) {
            return Ok(());
        }
        let Some(slot) = self.queues.get_mut(usize::from(index)) else {
            return Ok(());
        };
        if slot.running.is_some() {
            return Ok(());
        }
        let [desc, driver, device] = slot.areas;
        let setup = QueueSetup {
            size: slot.size,
            desc,
            driver,
            device,
            packed,
            indirect,
            event_idx,
        };
        slot.running = Some(Mutex::new(VirtQueue::start(&setup, &self.mem)?));
        Ok(())
    }

    /// Takes the driver's feature selection if it is acceptable (3.1.1, V9).
    fn accept_features(&mut self) -> bool {
        let wanted = self.driver_features;
        let ok = wanted & !self.kind.offered == 0
            && wanted & feature::mask(feature::VERSION_1) != 0
            && (self.kind.acceptable)(wanted);
        if ok {
            self.negotiated = wanted;
        } else {
            log::debug!("driver's features {wanted:#034x} are not acceptable");
        }
        ok
    }
}

/// Takes the lock even if a thread has panicked with it: the device is reset then.
fn lock(queue: &Mutex<VirtQueue>) -> MutexGuard<'_, VirtQueue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
