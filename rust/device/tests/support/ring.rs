// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtqueue as the driver sees it.

/// The guest's view of one queue.
#[derive(Clone, Copy)]
pub struct Ring {
    pub size: u16,
    pub base: u64,
    pub avail_idx: u16,
    pub used_seen: u16,
    pub next_desc: u16,
}

impl Ring {
    pub fn new(base: u64, size: u16) -> Self {
        Self {
            size,
            base,
            avail_idx: 0,
            used_seen: 0,
            next_desc: 0,
        }
    }

    pub fn desc(&self) -> u64 {
        self.base
    }

    pub fn avail(&self) -> u64 {
        self.base + 0x2000
    }

    pub fn used(&self) -> u64 {
        self.base + 0x3000
    }
}
