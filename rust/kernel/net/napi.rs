// SPDX-License-Identifier: GPL-2.0

//! NAPI contexts.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    bindings,
    net::{
        device::{
            Device,
            Operations, //
        },
        skbuff::SkBuff, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// One NAPI context of a `Device<T>`; the device owns it.
#[repr(C)]
pub struct Napi<T> {
    raw: Opaque<bindings::napi_struct>,
    index: u16,
    _data: PhantomData<fn(T)>,
}

impl<T> Napi<T> {
    pub(crate) fn new(index: u16) -> Self {
        Self {
            // The stack expects a zeroed structure.
            raw: Opaque::zeroed(),
            index,
            _data: PhantomData,
        }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::napi_struct {
        self.raw.get()
    }

    /// Lets the context run. Once per [`Self::disable`]; the context starts disabled. Sleeps.
    pub fn enable(&self) {
        // SAFETY: The context was added to its device.
        unsafe { bindings::napi_enable(self.as_raw()) }
    }

    /// Waits for a running poll and keeps the context from running. Sleeps.
    pub fn disable(&self) {
        // SAFETY: The context was added to its device.
        unsafe { bindings::napi_disable(self.as_raw()) }
    }

    /// Takes the right to schedule the context; false if it is scheduled or disabled. Any context.
    pub fn schedule_prep(&self) -> bool {
        // SAFETY: The context was added to its device.
        unsafe { bindings::napi_schedule_prep(self.as_raw()) }
    }

    /// Schedules the context after [`Self::schedule_prep`] returned true. Any context.
    pub fn schedule_prepared(&self) {
        // SAFETY: The context was added to its device.
        unsafe { bindings::__napi_schedule(self.as_raw()) }
    }

    /// Schedules the context and runs it soon. Process context.
    pub fn schedule_process(&self) {
        // SAFETY: The context was added to its device.
        unsafe { bindings::napi_schedule_process(self.as_raw()) }
    }

    /// Schedules the context if it is enabled and not scheduled. Interrupts and softirqs.
    pub fn schedule(&self) {
        if self.schedule_prep() {
            self.schedule_prepared();
        }
    }
}

/// One run of a NAPI context: the right to receive and to complete.
pub struct Poll<'a, T> {
    napi: &'a Napi<T>,
    budget: u32,
}

impl<T: Operations> Poll<'_, T> {
    /// The number of the context within its device.
    pub fn index(&self) -> u16 {
        self.napi.index
    }

    /// The context itself.
    pub fn napi(&self) -> &Napi<T> {
        self.napi
    }

    /// How many packets may be received; 0 when called for transmission only (netpoll).
    pub fn budget(&self) -> u32 {
        self.budget
    }

    /// Delivers a received packet to the stack.
    pub fn receive(&self, skb: SkBuff) {
        // SAFETY: Called from the context's poll function with an skb that we own.
        unsafe { bindings::napi_gro_receive(self.napi.as_raw(), skb.into_raw()) };
    }

    /// As [`Self::receive`], without receive offload.
    pub fn receive_single(&self, skb: SkBuff) {
        // SAFETY: Called from the context's poll function, in a softirq, with an skb that we own.
        unsafe { bindings::netif_receive_skb(skb.into_raw()) };
    }

    /// Says that there is no more work; false if the context must be polled again at once.
    pub fn complete(&self, work: u32) -> bool {
        let work = c_int::try_from(work).unwrap_or(c_int::MAX);
        // SAFETY: Called from the context's poll function.
        unsafe { bindings::napi_complete_done(self.napi.as_raw(), work) }
    }

    /// # Safety
    ///
    /// Called by the stack with the `napi_struct` of a `Napi<T>` of a device with initialised data.
    pub(crate) unsafe extern "C" fn callback(
        napi: *mut bindings::napi_struct,
        budget: c_int,
    ) -> c_int {
        // SAFETY: The stack passes the context that we added. CAST: `raw` is the first field of
        // the `repr(C)` structure `Napi`.
        let this = unsafe { &*napi.cast::<Napi<T>>() };
        // SAFETY: `dev` was set when the context was added; contexts run between `open` and `stop`
        // only, when the data is initialised.
        let dev = unsafe { Device::<T>::from_raw((*napi).dev) };
        let poll = Poll {
            napi: this,
            budget: budget.try_into().unwrap_or(0),
        };
        let done = T::poll(dev, &poll).min(poll.budget);
        done.try_into().unwrap_or(budget)
    }
}
