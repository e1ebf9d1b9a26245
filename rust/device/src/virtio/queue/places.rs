// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the rings of a queue lie in a view of memory.

use super::super::chain::Table;
use crate::memory::{GuestMap, Stretch, WritableStretch};

/// The places of a queue's rings. They are looked for once for a batch of chains.
///
/// A ring that does not lie in one map has no place, which is allowed; it is looked for with each access.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub(super) mem: &'a GuestMap,
    pub(super) table: Table<'a>,
    /// Split: the available ring.
    pub(super) avail: Option<Stretch<'a>>,
    /// Split: the used ring. Packed: the ring.
    pub(super) used: Option<WritableStretch<'a>>,
}

impl<'a> Places<'a> {
    /// The view of memory.
    pub fn mem(&self) -> &'a GuestMap {
        self.mem
    }
}
