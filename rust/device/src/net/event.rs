// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The event queue of the extension: what happens to SAs, one record in each of the driver's buffers.

use espnic_wire::event::{queue_index, Event, Kind};
use espnic_wire::feature;
use espnic_wire::sa;
use zerocopy::IntoBytes;

use super::state::Device;
use super::used;
use super::BATCH;
use crate::memory::GuestMap;
use crate::misbehave::{Deed, Misbehaviour, Queue};
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::VirtQueue;

/// Writes the events that wait into the driver's buffers. `false` if there are none, or no buffers.
///
/// # Errors
///
/// [`RingError::Size`] if a buffer has no room for a record, [`RingError::Direction`] if it can be read, and
/// the errors of rings. The event still waits then.
pub fn run(nic: &Nic, device: &Device) -> Result<bool, RingError> {
    if nic.ipsec.events.is_empty() || !device.virtio.has(feature::X_IPSEC) {
        return Ok(false);
    }
    let index = queue_index(device.has_pairs(), nic.config.pairs);
    let mem = device.virtio.memory();
    let Some((mut queue, vector)) = device.virtio.queue(index) else {
        return Ok(false);
    };
    let count = drain(nic, &mut queue, mem, &mut Chain::default())?;
    if queue.publish(mem)? {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0)
}

/// Writes up to a batch of events; returns how many.
fn drain(
    nic: &Nic,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    chain: &mut Chain,
) -> Result<usize, RingError> {
    let events = &nic.ipsec.events;
    queue.disable_kicks(mem)?;
    let mut count = 0;
    while count < BATCH && !events.is_empty() {
        if !queue.pop(mem, chain)? {
            // The driver tells when there is a buffer.
            if queue.enable_kicks(mem)? {
                continue;
            }
            break;
        }
        if chain.readable_len() > 0 {
            return Err(RingError::Direction);
        }
        if chain.writable_len() < Event::LEN as u64 {
            return Err(RingError::Size);
        }
        let Some(mut event) = events.pop() else {
            queue.unpop(chain.head().slots);
            break;
        };
        if nic.misbehaviour.active() {
            if nic.misbehaviour.takes(Deed::EventAgain) {
                events.push(event);
            }
            spoil(&nic.misbehaviour, &mut event);
        }
        chain.write(mem, 0, event.as_bytes())?;
        let places = queue.places(mem);
        used::give_back(nic, Queue::Event, queue, &places, chain, Event::LEN as u32)?;
        count += 1;
    }
    Ok(count)
}

/// Applies the misbehaviours that are due.
fn spoil(misbehaviour: &Misbehaviour, event: &mut Event) {
    if misbehaviour.takes(Deed::EventId) {
        event.id = (!event.id.get()).into();
    }
    if misbehaviour.takes(Deed::EventDirection) {
        event.res_type = match event.res_type.get() {
            sa::OBJ_OUTB_SA => sa::OBJ_INB_SA,
            _ => sa::OBJ_OUTB_SA,
        }
        .into();
    }
    if misbehaviour.takes(Deed::EventHard) {
        event.kind = (Kind::HardLimit as u16).into();
    }
    if misbehaviour.takes(Deed::EventMoved) {
        event.kind = (Kind::NatMapping as u16).into();
    }
}
