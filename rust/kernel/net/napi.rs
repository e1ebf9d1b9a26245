// SPDX-License-Identifier: GPL-2.0

//! NAPI contexts.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! A [`Device`] owns its contexts. They run between [`Device::enable_polling`] and
//! [`Device::disable_polling`] only, both of which may come as often as they like, and no longer than
//! the driver's data lives: the device turns them off before it drops the data.
//!
//! Functions that are allowed only in a run of a context take the run's token, a [`Poll`]. It is lent to
//! [`Operations::poll`], and cannot be sent to another thread or kept. The driver does not end a run
//! itself: its [`Polled`] says whether there is work left, and this module calls what C needs in either
//! case.
//!
//! [`Device`]: crate::net::netdevice::Device
//! [`Device::enable_polling`]: crate::net::netdevice::Device::enable_polling
//! [`Device::disable_polling`]: crate::net::netdevice::Device::disable_polling
//! [`Operations::poll`]: crate::net::netdevice::Operations::poll

use super::page_pool::Receiving;
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ptr::addr_of, //
};
use kernel::{
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// One NAPI context of a device, which owns it.
///
/// # Invariants
///
/// - Outside of `Unregistered::new` the context was added to a device, for good, and is neither moved nor
///   removed as long as there is a reference to it.
/// - What is in `receiving` changes only while the context is off, by `change_receiving`.
///
/// # Examples
///
/// ```
/// use kernel_net::net::netdevice::{
///     Device,
///     Operations, //
/// };
///
/// /// In an interrupt of a queue.
/// fn event<T: Operations>(dev: &Device<T>, queue: usize) {
///     if let Some(napi) = dev.napi(queue) {
///         napi.schedule();
///     }
/// }
/// ```
#[repr(C)]
pub struct Napi {
    raw: Opaque<bindings::napi_struct>,
    index: u16,
    receiving: UnsafeCell<Option<Receiving>>,
}

impl Napi {
    /// A context that is to be added to its device.
    pub(crate) fn new(index: u16) -> Self {
        Self {
            // The stack expects a zeroed structure.
            raw: Opaque::zeroed(),
            index,
            receiving: UnsafeCell::new(None),
        }
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::napi_struct {
        self.raw.get()
    }

    /// The number of the context within its device.
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// Has netlink show `irq` as the interrupt of the context, or none. Sleeps, takes the device's own lock
    /// (`netdev_lock()`).
    pub fn set_irq(&self, irq: Option<u32>) {
        let irq = irq.and_then(|irq| c_int::try_from(irq).ok()).unwrap_or(-1);
        // SAFETY: The context was added to its device by the invariant. The device asked for no notifier of
        // interrupts, so the number is only kept.
        unsafe { bindings::netif_napi_set_irq(self.as_raw(), irq) }
    }

    /// Changes what the context receives with.
    ///
    /// # Safety
    ///
    /// The context is off during the call, and this is the only one.
    pub(super) unsafe fn change_receiving<R>(
        &self,
        change: impl FnOnce(&mut Option<Receiving>) -> R,
    ) -> R {
        // SAFETY: By the contract nobody else has a reference: those of a run ended with it.
        change(unsafe { &mut *self.receiving.get() })
    }

    /// Schedules the context and runs it soon, if it is enabled. Process context.
    pub fn schedule_process(&self) {
        // SAFETY: The context was added to its device by the invariant.
        unsafe { bindings::napi_schedule_process(self.as_raw()) }
    }

    /// Schedules the context if it is enabled and not scheduled. Interrupts and softirqs.
    pub fn schedule(&self) {
        // SAFETY: The context was added to its device by the invariant.
        if unsafe { bindings::napi_schedule_prep(self.as_raw()) } {
            // SAFETY: As above; we have just got the right to schedule the context, which nobody else has.
            unsafe { bindings::__napi_schedule(self.as_raw()) }
        }
    }
}

/// How a run of a NAPI context ended.
///
/// # Examples
///
/// ```
/// use kernel_net::net::napi::Polled;
///
/// fn polled(received: u32, starved: bool) -> Polled {
///     match starved {
///         // Without buffers there are no events, so the context must run again.
///         true => Polled::Again,
///         false => Polled::Done(received),
///     }
/// }
/// ```
pub enum Polled {
    /// There is more work: the context runs again.
    Again,
    /// There is no more work. So many packets were received, fewer than the budget; more count as
    /// [`Self::Again`].
    Done(u32),
}

/// One run of a NAPI context: the right to receive.
///
/// # Invariants
///
/// - Exists on the stack of a thread that runs the context for the network stack only: softirqs are
///   off, and the per-CPU caches of NAPI are the run's.
/// - `budget` is the one of the run, and more than zero.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     napi::Poll,
///     skbuff::RxPacket, //
/// };
///
/// fn deliver(poll: &Poll<'_>, packets: impl Iterator<Item = RxPacket>) {
///     for packet in packets.take(poll.budget() as usize) {
///         poll.receive(packet);
///     }
/// }
/// ```
pub struct Poll<'a> {
    napi: &'a Napi,
    budget: c_int,
    _thread: NotThreadSafe,
}

impl Poll<'_> {
    /// The number of the context within its device.
    #[inline]
    pub fn index(&self) -> u16 {
        self.napi.index
    }

    /// The context itself.
    #[inline]
    pub fn napi(&self) -> &Napi {
        self.napi
    }

    /// The number of packets that may be received, at least one.
    #[inline]
    pub fn budget(&self) -> u32 {
        self.budget.unsigned_abs()
    }

    /// What the context receives with, if it has anything.
    #[inline]
    pub(super) fn receiving(&self) -> Option<&Receiving> {
        // SAFETY: The context runs as long as `self` lives, so by its invariant nobody changes this.
        unsafe { (*self.napi.receiving.get()).as_ref() }
    }

    pub(crate) fn raw_budget(&self) -> c_int {
        self.budget
    }

    /// The device of the context, which is registered and has data.
    #[inline]
    pub(crate) fn netdev(&self) -> *mut bindings::net_device {
        // SAFETY: The context was added to a device by its invariant, which set the field for good.
        unsafe { addr_of!((*self.napi.as_raw()).dev).read() }
    }

    /// Ends a run after `work` packets, and returns the number that C expects. `rearm` asks for events
    /// again, and says whether there is work already.
    fn finish(self, work: u32, rearm: impl FnOnce(u16) -> bool) -> c_int {
        let work = match c_int::try_from(work) {
            Ok(work) if work < self.budget => work,
            // A context that has used up its budget must not complete: the stack polls it again.
            _ => return self.budget,
        };
        // If this refuses, the context stays scheduled, or the stack will schedule it: work came
        // meanwhile, a socket busy-polls, or interrupts are deferred. Then no event is needed.
        // SAFETY: This is a run of the context by the invariant, which ends with `self`, and less than the
        // budget was used.
        if unsafe { bindings::napi_complete_done(self.napi.as_raw(), work) } && rearm(self.index())
        {
            self.napi.schedule();
        }
        work
    }
}

/// A run of a context: has `poll` do the work, and `rearm`, which gets its number, ask for events again if
/// none is left. Returns the number that C expects.
///
/// # Safety
///
/// `napi` and `budget` are those with which the stack calls the poll function of a [`Napi`], for the time
/// of that call; nobody else makes a run of it.
pub(crate) unsafe fn run(
    napi: *mut bindings::napi_struct,
    budget: c_int,
    poll: impl FnOnce(&Poll<'_>) -> Polled,
    rearm: impl FnOnce(u16) -> bool,
) -> c_int {
    if budget <= 0 {
        // Only netpoll polls with budget 0 and interrupts off. It is turned off for the device.
        return 0;
    }
    // SAFETY: The stack passes the context that was added. CAST: `raw` is the first field of the
    // `repr(C)` structure `Napi`.
    let napi = unsafe { &*napi.cast::<Napi>() };
    // INVARIANT: The stack runs the context by the contract, with a budget that was looked at above.
    let run = Poll {
        napi,
        budget,
        _thread: NotThreadSafe,
    };
    match poll(&run) {
        Polled::Again => budget,
        Polled::Done(work) => run.finish(work, rearm),
    }
}

/// Whether the NAPI contexts of a device run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polling {
    /// The interface is down: the contexts are off, and cannot be turned on.
    Closed,
    /// The interface is up, and the contexts are off.
    Off,
    /// The contexts run.
    On,
}
