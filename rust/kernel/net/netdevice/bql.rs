// SPDX-License-Identifier: GPL-2.0

//! Byte queue limits: the stack bounds the bytes that wait in a transmit queue of the device, so that
//! packets wait where queueing disciplines see them.

use super::{
    Device,
    Operations, //
};
use crate::bindings;

/// The account of one transmit queue.
///
/// What was reported as sent must be reported as completed, or be written off by [`Self::reset`]; else the
/// stack stops the queue for good. The other way round the kernel would stop, so surplus bytes do not count.
/// The methods are for the device with that queue, one at a time.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     netdevice::{
///         Bql,
///         Device,
///         Operations, //
///     },
///     skbuff::SkBuff, //
/// };
///
/// /// After a packet of `len` bytes has gone to the device: whether to ring the doorbell.
/// fn queued<T: Operations>(dev: &Device<T>, bql: &mut Bql, len: u32) -> bool {
///     bql.sent(dev, len)
/// }
///
/// /// Frees what the device has sent.
/// fn clean<T: Operations>(dev: &Device<T>, bql: &mut Bql, sent: impl Iterator<Item = SkBuff>) {
///     let (mut packets, mut bytes) = (0, 0);
///     for skb in sent {
///         packets += 1;
///         bytes += skb.len();
///         skb.consume_any();
///     }
///     bql.completed(dev, packets, bytes);
/// }
/// ```
pub struct Bql {
    queue: u16,
    /// Bytes that the stack believes to be in the queue.
    bytes: u32,
}

impl Bql {
    /// The account of transmit queue `queue`, which is empty.
    pub fn new(queue: u16) -> Self {
        Self { queue, bytes: 0 }
    }

    /// The number of the queue.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Reports a packet of `bytes` bytes that the device has got. True if the doorbell must be rung, because no
    /// packet follows at once. In [`Operations::start_xmit`] of the queue.
    #[inline]
    pub fn sent<T: Operations>(&mut self, dev: &Device<T>, bytes: u32) -> bool {
        if !dev.has_queue(self.queue) {
            return true;
        }
        self.bytes = self.bytes.wrapping_add(bytes);
        // SAFETY: The device is live by its invariant and has the queue.
        unsafe { bindings::netdev_tx_sent(dev.as_raw(), self.queue.into(), bytes) }
    }

    /// Reports packets of `bytes` bytes in total that the device has sent. Any context but a hard interrupt.
    #[inline]
    pub fn completed<T: Operations>(&mut self, dev: &Device<T>, packets: u32, bytes: u32) {
        let bytes = bytes.min(self.bytes);
        if bytes == 0 || !dev.has_queue(self.queue) {
            return;
        }
        self.bytes = self.bytes.wrapping_sub(bytes);
        // SAFETY: The device is live by its invariant and has the queue.
        unsafe { bindings::netdev_tx_completed(dev.as_raw(), self.queue.into(), packets, bytes) }
    }

    /// Writes off what was not completed: the queue is empty. The stack's queue is stopped.
    pub fn reset<T: Operations>(&mut self, dev: &Device<T>) {
        self.bytes = 0;
        if dev.has_queue(self.queue) {
            // SAFETY: The device is live by its invariant and has the queue.
            unsafe { bindings::netdev_tx_reset(dev.as_raw(), self.queue.into()) }
        }
    }
}
