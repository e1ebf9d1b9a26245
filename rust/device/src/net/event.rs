// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The event queue of the extension: what happens to SAs, one record in each of the driver's buffers.

use espnic_wire::event::{queue_index, Event};
use espnic_wire::feature;
use zerocopy::IntoBytes;

use super::state::Device;
use super::BATCH;
use crate::ipsec::Events;
use crate::memory::GuestMap;
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
pub fn run(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    if nic.ipsec.events.is_empty() || !device.virtio.has(feature::X_IPSEC) {
        return Ok(false);
    }
    let index = queue_index(device.virtio.has(feature::MQ), nic.config.pairs);
    let mem = device.virtio.memory();
    let Device { virtio, net } = device;
    let Some((queue, vector)) = virtio.queue(index) else {
        return Ok(false);
    };
    let mut chain = net.chains.pop().unwrap_or_default();
    let count = drain(&nic.ipsec.events, queue, &mem, &mut chain);
    net.chains.push(chain);
    let count = count?;
    if queue.publish(&mem)? {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0)
}

/// Writes up to a batch of events; returns how many.
fn drain(
    events: &Events,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    chain: &mut Chain,
) -> Result<usize, RingError> {
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
        let Some(event) = events.pop() else {
            queue.unpop(1);
            break;
        };
        chain.write(mem, 0, event.as_bytes())?;
        queue.push_used(mem, chain.head(), Event::LEN as u32)?;
        count += 1;
    }
    Ok(count)
}
