// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver configures of a queue, and which one it means.

use super::queue::{VirtQueue, MAX_QUEUE_SIZE};
use std::sync::Mutex;

/// `queue_msix_vector` and `config_msix_vector`: no interrupt.
pub const NO_VECTOR: u16 = 0xffff;

/// The registers that select the values of other registers.
#[derive(Clone, Copy, Default)]
pub(super) struct Selectors {
    pub(super) device_feature: u32,
    pub(super) driver_feature: u32,
    pub(super) queue: u16,
}

/// A queue: the driver's configuration, and the running queue once enabled.
pub struct QueueSlot {
    /// Number of descriptors.
    pub size: u16,
    /// MSI-X vector or [`NO_VECTOR`].
    pub vector: u16,
    /// Guest addresses of descriptor table, driver area and device area.
    pub areas: [u64; 3],
    /// `Some` after `queue_enable`. Whoever processes the queue has the lock.
    pub running: Option<Mutex<VirtQueue>>,
}

impl Default for QueueSlot {
    fn default() -> Self {
        Self {
            size: MAX_QUEUE_SIZE,
            vector: NO_VECTOR,
            areas: [0; 3],
            running: None,
        }
    }
}
