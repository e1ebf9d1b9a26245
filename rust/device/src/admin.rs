// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Administration commands of the self group (VIRTIO 1.4 section 2.13): frame, order of the checks,
//! list of opcodes.
//!
//! This layer knows the commands, but not the parts of a NIC that they are for. A part with capabilities
//! is an [`Owner`], and one with objects implements [`Objects`]; a [`Table`] names all parts.

pub mod capability;
pub mod objects;
mod refused;

pub use capability::Owner;
pub use objects::Objects;
pub use refused::Refused;

use crate::stats::counters;
use espnic_wire::admin::{self as wire, CmdHdr, ReplyHdr, Request};
use espnic_wire::{bitmap, read_zero_extended, U64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zerocopy::IntoBytes;

/// Answers are multiples of this many bytes.
const WORD: usize = 8;

/// The parts of a NIC that carry out commands. No two have the same capability or the same object type.
pub struct Table<'a> {
    /// The parts that have capabilities.
    pub owners: Vec<&'a dyn Owner>,
    /// The parts that have objects.
    pub kinds: Vec<&'a dyn Objects>,
}

/// Executes the administration commands of one NIC, one at a time.
pub struct Admin {
    /// Bitmap of the opcodes that are legal now. Held while a command is executed.
    opcodes: Mutex<u64>,
    stats: Stats,
}

counters! {
    /// The statistics of the commands. Names are stable: tests and people read them.
    pub struct Stats {
        /// Commands executed or refused.
        commands: "admin_commands",
        /// Commands refused.
        errors: "admin_errors",
    }
}

impl Default for Admin {
    /// The state after a reset: only LIST_QUERY and LIST_USE are legal.
    fn default() -> Self {
        Self {
            opcodes: Mutex::new(wire::OPS_INITIAL),
            stats: Stats::default(),
        }
    }
}

impl Admin {
    /// Resets the list of opcodes and all parts, in a reset of the virtio device. Counters stay.
    pub fn reset(&self, table: &Table<'_>) {
        let mut opcodes = self.lock();
        *opcodes = wire::OPS_INITIAL;
        table.owners.iter().for_each(|owner| owner.reset());
    }

    /// Executes a complete administration command (without the frame of the control queue) and
    /// returns the number of bytes written to `writable`.
    ///
    /// Missing input reads as zero and output that has no room is discarded. Every answer has a
    /// status, as far as `writable` has room for one. What is written is a multiple of 64 bits, with zeroes
    /// behind a shorter result (V140).
    pub fn execute(&self, table: &Table<'_>, readable: &[u8], writable: &mut [u8]) -> usize {
        let request = Request::parse(readable);
        self.stats.commands.inc();
        let (hdr, result) = match dispatch(&mut self.lock(), table, &request) {
            Ok(result) => (ReplyHdr::default(), result),
            Err(refused) => {
                self.stats.errors.inc();
                log::debug!(
                    "administration command {:#x} is refused: status {}, qualifier {}",
                    request.hdr.opcode.get(),
                    refused.status,
                    refused.qualifier
                );
                (reply_hdr(refused), Vec::new())
            }
        };
        let mut written = 0;
        let padding = result.len().next_multiple_of(WORD) - result.len();
        let padding = std::iter::repeat_n(&0, padding);
        let answer = hdr.as_bytes().iter().chain(&result).chain(padding);
        for (to, from) in writable.iter_mut().zip(answer) {
            *to = *from;
            written += 1;
        }
        written
    }

    /// The present statistics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.opcodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reply_hdr(refused: Refused) -> ReplyHdr {
    ReplyHdr {
        status: refused.status.into(),
        status_qualifier: refused.qualifier.into(),
        ..ReplyHdr::default()
    }
}

/// Checks and executes a command; returns its result.
fn dispatch(
    opcodes: &mut u64,
    table: &Table<'_>,
    request: &Request<'_>,
) -> Result<Vec<u8>, Refused> {
    check(*opcodes, &request.hdr)?;
    let done = |()| Vec::new();
    match request.hdr.opcode.get() {
        wire::OP_LIST_QUERY => Ok(wire::OPS_ALL.to_le_bytes().to_vec()),
        wire::OP_LIST_USE => list_use(opcodes, request.data).map(done),
        wire::OP_CAP_ID_LIST_QUERY => capability::ids(&table.owners),
        wire::OP_DEVICE_CAP_GET => capability::get(&table.owners, request),
        wire::OP_DRIVER_CAP_SET => capability::set(&table.owners, request).map(done),
        wire::OP_OBJ_CREATE => objects::create(&table.kinds, request).map(done),
        wire::OP_OBJ_MODIFY => objects::modify(&table.kinds, request).map(done),
        wire::OP_OBJ_QUERY => objects::query(&table.kinds, request),
        wire::OP_OBJ_DESTROY => objects::destroy(&table.kinds, request).map(done),
        _ => Err(Refused::OPCODE),
    }
}

/// Checks group, opcode and member, in this order.
fn check(opcodes: u64, hdr: &CmdHdr) -> Result<(), Refused> {
    if hdr.group_type.get() != wire::GROUP_SELF {
        return Err(Refused::GROUP);
    }
    if !bitmap::get(opcodes.to_le_bytes().as_slice(), hdr.opcode.get()) {
        return Err(Refused::OPCODE);
    }
    if hdr.group_member_id.get() != 0 {
        return Err(Refused::MEMBER);
    }
    Ok(())
}

/// LIST_USE replaces the list, if it only names what LIST_QUERY reports.
fn list_use(opcodes: &mut u64, list: &[u8]) -> Result<(), Refused> {
    if !bitmap::is_subset(list, &wire::OPS_ALL.to_le_bytes()) {
        return Err(Refused::FIELD);
    }
    *opcodes = read_zero_extended::<U64>(list).get();
    Ok(())
}
