// SPDX-License-Identifier: GPL-2.0

//! The stack's transmit queues of a device.

use super::{
    Device,
    Operations, //
};
use crate::bindings;
use core::ptr::addr_of;

impl<T: Operations> Device<T> {
    /// Whether the device was made with a transmit queue of this number.
    pub(super) fn has_queue(&self, queue: u16) -> bool {
        // SAFETY: The device is live by the type invariant; the number was set when it was made.
        u32::from(queue) < unsafe { addr_of!((*self.as_raw()).num_tx_queues).read() }
    }

    /// Lets the stack transmit on `queue`. Does nothing if there is no such queue.
    pub fn start_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_start(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Asks the stack to stop transmitting on `queue`. Does nothing if there is no such queue.
    pub fn stop_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_stop(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Lets the stack transmit on `queue` again, if it was stopped. Does nothing if there is no such
    /// queue.
    pub fn wake_queue(&self, queue: u16) {
        if self.has_queue(queue) {
            // SAFETY: The device is live by the type invariant and has the queue.
            unsafe { bindings::netif_tx_wake(self.as_raw(), u32::from(queue)) }
        }
    }

    /// Whether `queue` exists and is stopped.
    pub fn queue_stopped(&self, queue: u16) -> bool {
        if !self.has_queue(queue) {
            return false;
        }
        // SAFETY: The device is live by the type invariant and has the queue.
        unsafe { bindings::netif_tx_stopped(self.as_raw(), u32::from(queue)) }
    }

    /// Stops all transmit queues and waits for running transmissions.
    pub fn disable_tx(&self) {
        // SAFETY: The device is live by the type invariant; the function takes the queues' locks.
        unsafe { bindings::netif_tx_disable(self.as_raw()) }
    }

    /// Whether the stack will transmit another packet at once, so that the doorbell can wait.
    pub fn xmit_more(&self) -> bool {
        // SAFETY: No preconditions; reads a per-CPU flag that is meaningful in `start_xmit`.
        unsafe { bindings::netdev_xmit_more() }
    }
}
