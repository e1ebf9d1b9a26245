// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Giving chains back to the driver, with the misbehaviours of used rings.

use crate::memory::GuestMap;
use crate::misbehave::{Queue, Used};
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::{Places, VirtQueue};

/// Bytes of an entry that is too short for every header.
const SHORT: u32 = 5;

/// Gives a chain back in which `len` bytes were written, or applies a misbehaviour that is due.
#[inline(always)]
pub fn give_back(
    nic: &Nic,
    kind: Queue,
    queue: &mut VirtQueue,
    places: &Places<'_>,
    chain: &Chain,
    len: u32,
) -> Result<(), RingError> {
    if nic.misbehaviour.active() {
        if let Some(wrong) = nic.misbehaviour.takes_used(kind) {
            return lie(wrong, queue, places.mem(), chain, len);
        }
    }
    queue.push_at(places, chain.head(), len)
}

#[inline(never)]
fn lie(
    wrong: Used,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    chain: &Chain,
    len: u32,
) -> Result<(), RingError> {
    let head = chain.head();
    let own = u32::from(head.id);
    let id = match wrong {
        Used::IdOutOfRange => own + u32::from(queue.size()),
        Used::IdNotGiven => queue.absent(mem, head)?.unwrap_or(head.id).into(),
        _ => own,
    };
    let len = match wrong {
        Used::TooLong => u32::try_from(chain.writable_len() + 1).unwrap_or(u32::MAX),
        Used::Huge => u32::MAX,
        Used::Empty => 0,
        Used::Short => SHORT,
        _ => len,
    };
    queue.push_entry(mem, head, id, len)?;
    let again = wrong == Used::Twice || (wrong == Used::IdNotGiven && id == own);
    if again {
        queue.push_entry(mem, head, id, len)?;
    }
    Ok(())
}
