// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters of a NIC. Names are stable: tests and people read them through the control socket.

use serde::{Serialize, Serializer};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::virtio::error::RingError;

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// Declares a structure of counters. A row has the field, and its name if that is another.
macro_rules! counters {
    ($(#[$attr:meta])* $vis:vis struct $struct:ident {
        $($(#[$doc:meta])* $field:ident $(: $name:literal)?,)*
    }) => {
        $(#[$attr])*
        #[derive(Debug, Default, serde::Serialize)]
        $vis struct $struct {
            $($(#[$doc])* $(#[serde(rename = $name)])? $vis $field: $crate::stats::Counter,)*
        }
    };
}

pub(crate) use counters;

counters! {
    /// What happened between the guest and the device.
    pub struct VirtioStats {
        /// Frames and bytes that the guest sent and the device accepted.
        tx_frames,
        /// See `tx_frames`.
        tx_bytes,
        /// Frames that plain frames were cut into, or are still to be cut into by the NIC that receives them.
        tx_segments,
        /// Frames and bytes put into the guest's buffers.
        rx_frames,
        /// See `rx_frames`.
        rx_bytes,
        /// Guest frame shorter than header and Ethernet addresses.
        tx_drop_short,
        /// Guest frame longer than the MTU allows.
        tx_drop_long,
        /// Checksum request that points outside the frame.
        tx_drop_csum,
        /// Segmentation request that was not negotiated or is malformed.
        tx_drop_gso,
        /// Frame for an SA that could not be protected; never sent.
        tx_drop_ipsec,
        /// Frame from the wire while the driver was not ready.
        rx_drop_not_ready,
        /// Frame from the wire for an Ethernet address that the driver does not receive.
        rx_drop_address,
        /// Frame from the wire for a VLAN that the driver does not receive.
        rx_drop_vlan,
        /// Frame from the wire longer than the MTU allows.
        rx_drop_long,
        /// Frame from the wire larger than the driver's buffer.
        rx_drop_no_room,
        /// Frame from the wire for a queue for which too many wait already.
        rx_drop_no_buffers,
        /// Frame from the wire for a queue of the driver's table that is in reset or not set up.
        rx_drop_queue,
        /// Frames for which the IP checksums were found right.
        rx_csum_valid,
        /// Frames put into the guest's buffers with a checksum that is still to be completed.
        rx_csum_partial,
        /// Those among them that stand for several segments.
        rx_gso,
        /// Control and administration commands.
        ctrl_commands,
        /// Control and administration commands refused as malformed or unknown.
        ctrl_refused,
        /// Notifications by the driver.
        kicks,
        /// Times the interrupt for used buffers was held back.
        interrupts_held,
        /// Interrupts that were sent because their time was over.
        interrupts_timed,
        /// Device resets.
        resets,
        /// Queue resets.
        queue_resets,
        /// Times the device stopped until a reset.
        needs_reset,
        /// Times the data plane failed and was started again.
        worker_restarts,
        /// Frames, of both directions, that were lost with it.
        worker_drops,
        /// Times the device waited for memory that the peer had taken away.
        memory_waits,
        /// Ring outside memory or misaligned.
        ring_invalid,
        /// Index out of range.
        chain_index,
        /// Circular chain.
        chain_loop,
        /// Chain too long.
        chain_too_long,
        /// Buffer outside memory.
        chain_address,
        /// Buffer of the wrong direction.
        chain_direction,
        /// Empty buffer, or one smaller than the header.
        chain_size,
        /// Nested or malformed indirect table.
        chain_indirect,
    }
}

impl VirtioStats {
    /// The counter of an error of the driver.
    pub fn ring_error(&self, error: RingError) -> &Counter {
        match error {
            RingError::Ring => &self.ring_invalid,
            RingError::Index => &self.chain_index,
            RingError::Loop => &self.chain_loop,
            RingError::TooLong => &self.chain_too_long,
            RingError::Address => &self.chain_address,
            RingError::Direction => &self.chain_direction,
            RingError::Size => &self.chain_size,
            RingError::Indirect => &self.chain_indirect,
        }
    }
}

counters! {
    /// How the workers of the data plane waited for work.
    pub struct WorkerStats {
        /// Times a worker slept; a system call each.
        sleeps: "worker_sleeps",
        /// Times a worker was woken from its sleep; a system call each.
        wakes: "worker_wakes",
        /// Times a worker went on looking instead of going to sleep, and found work.
        polls_found: "worker_polls_found",
        /// Times it found none.
        polls_empty: "worker_polls_empty",
    }
}

counters! {
    /// What happened between the device and the wire.
    pub struct PortStats {
        /// Frames and bytes sent to the wire.
        tx_frames,
        /// See `tx_frames`.
        tx_bytes,
        /// Frames and bytes that came from the wire.
        rx_frames,
        /// See `rx_frames`.
        rx_bytes,
        /// Frame sent while nothing was connected.
        tx_drop_no_link,
        /// Frame that the port could not take.
        tx_drop_port,
        /// Frame that was not sent from the NIC's address, with `antispoof=on`.
        tx_drop_spoofed,
        /// Frame from an address that the switch did not learn: that of another guest's NIC, or one too many.
        tx_not_learned,
        /// Frame from the wire that the full backlog could not take.
        rx_drop_overflow,
        /// Frame from the wire while nothing was connected.
        rx_drop_no_link,
        /// Faults on purpose in frames on their way to the wire.
        tx_faults,
        /// Faults on purpose in frames that came from the wire.
        rx_faults,
        /// Frame that a fault was to hold back, with too many held back already.
        tx_drop_held,
        /// See `tx_drop_held`.
        rx_drop_held,
    }
}
