// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The common configuration structure (VIRTIO 1.4 section 4.1.4.3), little endian.

use super::error::RingError;
use super::queue::is_valid_size;
use super::slot::{QueueSlot, NO_VECTOR};
use super::{status, Virtio};
use espnic_wire::feature;

/// Length in bytes.
pub const LEN: usize = 64;

/// Offsets of the fields.
pub mod reg {
    #![allow(missing_docs)]
    pub const DEVICE_FEATURE_SELECT: u64 = 0;
    pub const DEVICE_FEATURE: u64 = 4;
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    pub const DRIVER_FEATURE: u64 = 12;
    pub const CONFIG_VECTOR: u64 = 16;
    pub const NUM_QUEUES: u64 = 18;
    pub const STATUS: u64 = 20;
    pub const CONFIG_GENERATION: u64 = 21;
    pub const QUEUE_SELECT: u64 = 22;
    pub const QUEUE_SIZE: u64 = 24;
    pub const QUEUE_VECTOR: u64 = 26;
    pub const QUEUE_ENABLE: u64 = 28;
    pub const QUEUE_NOTIFY_OFF: u64 = 30;
    pub const QUEUE_DESC: u64 = 32;
    pub const QUEUE_DRIVER: u64 = 40;
    pub const QUEUE_DEVICE: u64 = 48;
    pub const QUEUE_RESET: u64 = 58;
    pub const ADMIN_QUEUE_INDEX: u64 = 60;
    pub const ADMIN_QUEUE_NUM: u64 = 62;
}

/// The effect of a status write.
enum StatusChange {
    /// Nothing beyond the register.
    None,
    /// Device reset.
    Reset,
    /// The driver is ready: start the queues.
    DriverOk,
}

/// The effect of a write beyond the register itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Device reset.
    Reset,
    /// The driver is ready: check all queues for work.
    Start,
    /// A queue was enabled while the driver is ready: check the queues for work.
    QueueStarted,
    /// A queue was reset.
    QueueReset,
    /// A queue could not be enabled.
    QueueFailed(RingError),
}

/// Reads `data.len()` bytes at `offset`; zero beyond the end.
pub fn read(virtio: &Virtio, offset: u64, data: &mut [u8]) {
    let image = image(virtio);
    let start = usize::try_from(offset).unwrap_or(LEN).min(LEN);
    let rest = image.get(start..).unwrap_or_default();
    let len = rest.len().min(data.len());
    data.fill(0);
    if let (Some(to), Some(from)) = (data.get_mut(..len), rest.get(..len)) {
        to.copy_from_slice(from);
    }
}

fn image(virtio: &Virtio) -> [u8; LEN] {
    let select = &virtio.selectors;
    let absent = QueueSlot {
        size: 0,
        ..QueueSlot::default()
    };
    let queue = virtio
        .queues
        .get(usize::from(select.queue))
        .filter(|_| virtio.has_queue(select.queue))
        .unwrap_or(&absent);
    let (admin_index, admin_num) = match virtio.kind.admin_queues {
        0 => (0, 0),
        num => (virtio.kind.admin_index(), num),
    };
    let mut image = [0; LEN];
    let mut put = |offset: u64, bytes: &[u8]| {
        if let Some(field) = image
            .get_mut(offset as usize..)
            .and_then(|at| at.get_mut(..bytes.len()))
        {
            field.copy_from_slice(bytes);
        }
    };
    put(
        reg::DEVICE_FEATURE_SELECT,
        &select.device_feature.to_le_bytes(),
    );
    put(
        reg::DEVICE_FEATURE,
        &word(virtio.kind.offered, select.device_feature).to_le_bytes(),
    );
    put(
        reg::DRIVER_FEATURE_SELECT,
        &select.driver_feature.to_le_bytes(),
    );
    put(
        reg::DRIVER_FEATURE,
        &word(virtio.driver_features, select.driver_feature).to_le_bytes(),
    );
    put(reg::CONFIG_VECTOR, &virtio.config_vector.to_le_bytes());
    put(reg::NUM_QUEUES, &virtio.num_queues().to_le_bytes());
    put(reg::STATUS, &[virtio.status, virtio.config_generation]);
    put(reg::QUEUE_SELECT, &select.queue.to_le_bytes());
    put(reg::QUEUE_SIZE, &queue.size.to_le_bytes());
    put(reg::QUEUE_VECTOR, &queue.vector.to_le_bytes());
    put(
        reg::QUEUE_ENABLE,
        &u16::from(queue.running.is_some()).to_le_bytes(),
    );
    put(reg::QUEUE_NOTIFY_OFF, &select.queue.to_le_bytes());
    for (offset, area) in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE]
        .iter()
        .zip(queue.areas)
    {
        put(*offset, &area.to_le_bytes());
    }
    // queue_reset always reads 0: a queue reset is complete when the write returns.
    put(reg::ADMIN_QUEUE_INDEX, &admin_index.to_le_bytes());
    put(reg::ADMIN_QUEUE_NUM, &admin_num.to_le_bytes());
    image
}

/// The 32 feature bits that select value `select` shows; zero beyond 128 bits.
fn word(features: u128, select: u32) -> u32 {
    select
        .checked_mul(32)
        .and_then(|shift| features.checked_shr(shift))
        .unwrap_or(0) as u32
}

/// Writes `data` at `offset`. Fields are written in their own width; a 64-bit field as two halves,
/// or as a whole. Anything else is ignored.
pub fn write(virtio: &mut Virtio, offset: u64, data: &[u8]) -> Effect {
    match *data {
        [value] if offset == reg::STATUS => match virtio.write_status(value) {
            StatusChange::None => Effect::None,
            StatusChange::Reset => Effect::Reset,
            StatusChange::DriverOk => Effect::Start,
        },
        [a, b] => write16(virtio, offset, u16::from_le_bytes([a, b])),
        [a, b, c, d] => {
            write32(virtio, offset, u32::from_le_bytes([a, b, c, d]));
            Effect::None
        }
        [a, b, c, d, e, f, g, h] => {
            write32(virtio, offset, u32::from_le_bytes([a, b, c, d]));
            write32(
                virtio,
                offset.saturating_add(4),
                u32::from_le_bytes([e, f, g, h]),
            );
            Effect::None
        }
        _ => Effect::None,
    }
}

fn write16(virtio: &mut Virtio, offset: u64, value: u16) -> Effect {
    match offset {
        reg::CONFIG_VECTOR => virtio.config_vector = virtio.valid_vector(value),
        reg::QUEUE_SELECT => virtio.selectors.queue = value,
        reg::QUEUE_SIZE => {
            let valid = is_valid_size(value, virtio.has(feature::RING_PACKED));
            if let Some(slot) = virtio.idle_queue().filter(|_| valid) {
                slot.size = value;
            }
        }
        reg::QUEUE_VECTOR => {
            let vector = virtio.valid_vector(value);
            if let Some(slot) = virtio.queues.get_mut(usize::from(virtio.selectors.queue)) {
                slot.vector = vector;
            }
        }
        reg::QUEUE_ENABLE if value == 1 => return enable(virtio),
        reg::QUEUE_RESET if value == 1 && virtio.has(feature::RING_RESET) => {
            if virtio.reset_queue() {
                return Effect::QueueReset;
            }
        }
        _ => {}
    }
    Effect::None
}

fn enable(virtio: &mut Virtio) -> Effect {
    let index = virtio.selectors.queue;
    match virtio.enable_queue(index) {
        Ok(()) if virtio.running() => Effect::QueueStarted,
        Ok(()) => Effect::None,
        Err(error) => Effect::QueueFailed(error),
    }
}

fn write32(virtio: &mut Virtio, offset: u64, value: u32) {
    match offset {
        reg::DEVICE_FEATURE_SELECT => virtio.selectors.device_feature = value,
        reg::DRIVER_FEATURE_SELECT => virtio.selectors.driver_feature = value,
        reg::DRIVER_FEATURE => {
            let shift = virtio.selectors.driver_feature.checked_mul(32);
            if let Some(shift) = shift.filter(|&shift| shift < 128) {
                let cleared = virtio.driver_features & !(u128::from(u32::MAX) << shift);
                virtio.driver_features = cleared | (u128::from(value) << shift);
            }
        }
        reg::QUEUE_DESC..LEN_OF_AREAS => {
            let (area, high) = ((offset - reg::QUEUE_DESC) / 8, offset % 8 == 4);
            let Some(slot) = virtio.idle_queue().filter(|_| offset % 4 == 0) else {
                return;
            };
            if let Some(area) = slot.areas.get_mut(area as usize) {
                let value = u64::from(value);
                *area = match high {
                    true => (*area & 0xffff_ffff) | (value << 32),
                    false => (*area & !0xffff_ffff) | value,
                };
            }
        }
        _ => {}
    }
}

/// End of the three 64-bit addresses.
const LEN_OF_AREAS: u64 = reg::QUEUE_DEVICE + 8;

impl Virtio {
    /// The selected queue, unless it is enabled: then its parameters are fixed.
    fn idle_queue(&mut self) -> Option<&mut QueueSlot> {
        self.queues
            .get_mut(usize::from(self.selectors.queue))
            .filter(|slot| slot.running.is_none())
    }

    /// A vector reads back as `NO_VECTOR` if it cannot be mapped (4.1.5.1.2).
    fn valid_vector(&self, vector: u16) -> u16 {
        if vector < self.kind.vectors {
            vector
        } else {
            NO_VECTOR
        }
    }

    /// Handles a write to `device_status`. `FAILED` has no effect: another driver may go on with the same
    /// device without a reset in between.
    fn write_status(&mut self, value: u8) -> StatusChange {
        if value == 0 {
            return StatusChange::Reset;
        }
        let mut added = value & status::WRITABLE & !self.status;
        if added & status::FEATURES_OK != 0 && !self.accept_features() {
            added &= !status::FEATURES_OK;
        }
        if added & status::DRIVER_OK != 0 && (self.status | added) & status::FEATURES_OK == 0 {
            log::debug!("DRIVER_OK without FEATURES_OK is ignored");
            added &= !status::DRIVER_OK;
        }
        // Bits are only added: a driver clears them by a reset (2.1.1).
        self.status |= added;
        if added & status::DRIVER_OK != 0 {
            StatusChange::DriverOk
        } else {
            StatusChange::None
        }
    }
}
