// SPDX-License-Identifier: GPL-2.0

//! What the path of a packet needs of an SA of packet offload.

use espnic_esp::{
    ip::Address,
    selector::{
        Flow,
        Match,
        Selector, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Mutex, //
    }, //
};
use kernel_net::{
    net::{
        neighbour::Neighbour,
        skbuff::Gso,
        xfrm::{
            Direction,
            Handle, //
        }, //
    },
    new_lock,
    sync::SpinLockBh, //
};

/// An SA of packet offload.
#[pin_data]
pub(crate) struct Sa {
    pub(super) handle: Handle,
    /// Grows with each SA: the age.
    pub(super) number: u64,
    pub(super) spi: u32,
    /// The id by which policies name it.
    pub(super) reqid: u32,
    /// Tunnel mode, else transport mode.
    pub(super) tunnel: bool,
    /// Outer source address; in transport mode zero for any.
    pub(super) src: Address,
    /// Outer destination address.
    pub(super) dst: Address,
    /// ESP in UDP.
    pub(super) in_udp: bool,
    /// The packets that the SA may protect.
    pub(super) selector: Selector,
    /// Outbound, tunnel mode: where packets to the other end go first, if that is known.
    #[pin]
    next_hop: SpinLockBh<Option<Neighbour>>,
    /// The last sequence number that the NIC was told to have used, or the highest one that it was told to have
    /// seen.
    first: Atomic<u64>,
    /// Inbound: the highest number that is known to have come.
    seen: Atomic<u64>,
    /// Packets that the NIC got for it, at least as many as it has numbered.
    given: Atomic<u64>,
    /// What the NIC has left, if that was read before a reset.
    #[pin]
    left: Mutex<Option<Left>>,
    dead: Atomic<bool>,
    /// When it came there was another one with its destination and SPI.
    copy: Atomic<bool>,
}

/// What a NIC has left of an SA, when no traffic ran any more. The stack knows its counters.
pub(in crate::ipsec) struct Left {
    /// The last number that was used, or the highest that was seen.
    number: u64,
    /// The bitmap of the window.
    bitmap: KVec<u8>,
}

impl Left {
    /// Copies what was read. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec) fn new(number: u64, bitmap: &[u8]) -> Result<Self> {
        let mut copy = KVec::with_capacity(bitmap.len(), GFP_KERNEL)?;
        copy.extend_from_slice(bitmap, GFP_KERNEL)?;
        Ok(Self {
            number,
            bitmap: copy,
        })
    }

    /// The last number that was used, or the highest that was seen.
    pub(in crate::ipsec) fn number(&self) -> u64 {
        self.number
    }

    /// The bitmap of the window, empty outbound.
    pub(in crate::ipsec) fn bitmap(&self) -> &[u8] {
        &self.bitmap
    }
}

/// The parameters of a [`Sa`].
pub(super) struct Parameters {
    pub(super) handle: Handle,
    pub(super) number: u64,
    pub(super) spi: u32,
    pub(super) reqid: u32,
    pub(super) tunnel: bool,
    pub(super) src: Address,
    pub(super) dst: Address,
    pub(super) in_udp: bool,
    pub(super) selector: Selector,
    pub(super) first: u64,
    pub(super) seen: u64,
}

impl Sa {
    pub(super) fn new(parameters: Parameters) -> impl PinInit<Self> {
        let Parameters {
            handle,
            number,
            spi,
            reqid,
            tunnel,
            src,
            dst,
            in_udp,
            selector,
            first,
            seen,
        } = parameters;
        pin_init!(Self {
            handle,
            number,
            spi,
            reqid,
            tunnel,
            src,
            dst,
            in_udp,
            selector,
            next_hop <- new_lock!(None::<Neighbour>),
            first: Atomic::new(first),
            seen: Atomic::new(seen),
            given: Atomic::new(0),
            left <- new_mutex!(None::<Left>),
            dead: Atomic::new(false),
            copy: Atomic::new(false),
        })
    }

    /// Stops its use. Any context but a hard interrupt.
    pub(in crate::ipsec) fn kill(&self) {
        // Fully ordered: who reads what was seen after this misses no packet that was taken.
        self.dead.xchg(true, Full);
        // Now, because an entry of the neighbour table keeps its device from going.
        let hop = self.next_hop.lock().take();
        drop(hop);
    }

    /// Whether it may be used. Per packet.
    pub(crate) fn is_alive(&self) -> bool {
        !self.dead.load(Relaxed)
    }

    /// Notes that there was another one with its destination and SPI when it came.
    pub(super) fn note_copy(&self) {
        self.copy.store(true, Relaxed);
    }

    /// Whether there was.
    pub(super) fn is_copy(&self) -> bool {
        self.copy.load(Relaxed)
    }

    /// Whether it is for packets that are received.
    pub(super) fn is_inbound(&self) -> bool {
        self.handle.direction == Direction::In
    }

    /// Whether the SA is for packets of `flow`.
    pub(super) fn takes(&self, flow: &Flow) -> bool {
        self.selector.matches(flow) == Match::Yes
    }

    /// The NIC has the SA anew, and begins behind `number`. No traffic runs.
    pub(in crate::ipsec) fn restart(&self, number: u64) {
        self.first.store(number, Relaxed);
        if self.is_inbound() {
            self.raise_seen(self.seen(), number);
        }
        self.given.store(0, Relaxed);
        *self.left.lock() = None;
    }

    /// Notes what the NIC has left before a reset, if that is known. Sleeps.
    pub(in crate::ipsec) fn leave(&self, left: Option<Left>) {
        *self.left.lock() = left;
    }

    /// What [`Self::leave`] has noted since the NIC got the SA; nothing is noted then. Sleeps.
    pub(in crate::ipsec) fn take_left(&self) -> Option<Left> {
        self.left.lock().take()
    }

    /// Counts a packet of `len` bytes that the NIC gets. Per packet.
    pub(super) fn give(&self, gso: Option<Gso>, len: u32) {
        self.given.fetch_add(numbers(gso, len), Relaxed);
    }

    /// A sequence number that the NIC has not passed: behind it none was used.
    pub(in crate::ipsec) fn last_possible(&self) -> u64 {
        let first = self.first.load(Relaxed);
        first.saturating_add(self.given.load(Relaxed))
    }

    /// The highest number that is known to have come. Any context.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    /// Notes that `number` has come, and that `seen` had before. Per packet, before it is asked whether the SA
    /// lives: see [`Self::kill`].
    pub(super) fn raise_seen(&self, mut seen: u64, number: u64) {
        while seen < number {
            match self.seen.cmpxchg(seen, number, Full) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether `number` is only what the NIC was told to begin with: more than was seen, to be on the safe side.
    pub(super) fn is_only_told(&self, number: u64) -> bool {
        number == self.first.load(Relaxed) && number > self.seen()
    }

    /// The address of the next hop, if it is known. Per packet, no sleeping.
    pub(super) fn hop_address(&self) -> Option<[u8; 6]> {
        self.next_hop.lock().as_ref()?.address()
    }

    /// Whether the next hop is to be looked for: none is known, or routes have changed.
    pub(crate) fn needs_next_hop(&self) -> bool {
        let is_old = |hop: &Neighbour| hop.is_outdated();
        self.tunnel
            && self.handle.direction == Direction::Out
            && self.next_hop.lock().as_ref().is_none_or(is_old)
    }

    /// Sets the next hop, unless the SA is dead.
    pub(crate) fn set_next_hop(&self, hop: Neighbour) {
        let mut next_hop = self.next_hop.lock();
        let old = match self.is_alive() {
            true => next_hop.replace(hop),
            false => Some(hop),
        };
        drop(next_hop);
        drop(old);
    }
}

/// How many sequence numbers a packet of `len` bytes uses at most.
pub(super) fn numbers(gso: Option<Gso>, len: u32) -> u64 {
    gso.map_or(1, |gso| {
        // The number of segments may be unknown yet, or wrong; the NIC counts by itself.
        let most = len.div_ceil(u32::from(gso.size).max(1));
        u64::from(most.max(gso.segments.into()))
    })
}
