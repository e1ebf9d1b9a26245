// SPDX-License-Identifier: GPL-2.0

//! Dynamic interrupt moderation (DIM): the kernel's library that finds out by itself how long interrupts of a
//! receive queue should be held back.
//!
//! C header: [`include/linux/dim.h`](srctree/include/linux/dim.h)
//!
//! The library compares rates of packets and interrupts, tries the next of five moderations, and stays with the best.
//! For each change it schedules a work item of its own, in which C drivers tell the device. Here that does nothing:
//! [`Dim::measure`] says that there is something to tell, and its owner does it in his own work, which can be
//! waited for with everything else of a network device.

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    net::ethtool::Moderation, //
};
use core::ptr::{
    addr_of,
    addr_of_mut, //
};
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// Which period the library takes the device to have: the time counts from the first packet that an interrupt is
/// for. CAST: The field has a byte.
const MODE: u8 = bindings::dim_cq_period_mode_DIM_CQ_PERIOD_MODE_START_FROM_EQE as u8;
/// The first moderation, that of `net_dim_get_def_rx_moderation()` (`NET_DIM_DEF_PROFILE_EQE`).
const FIRST: u8 = 1;

/// The moderation of one queue.
///
/// # Invariants
///
/// `dim` is initialised, with a work item that does nothing. Only the library's workqueue uses that item, and the rest
/// is used by who has `&mut Self`.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     dim::{
///         Dim,
///         Sample, //
///     },
///     ethtool::Moderation, //
/// };
///
/// /// After an interrupt of a queue: what to tell the device in process context, if anything. Then `go_on` follows.
/// fn after_interrupt(dim: &mut Pin<KBox<Dim>>, events: u16, packets: u32) -> Option<Moderation> {
///     dim.as_mut().measure(&Sample::now(events, packets, 0));
///     dim.wanted()
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct Dim {
    #[pin]
    dim: Opaque<bindings::dim>,
}

// SAFETY: The library keeps no thread, and its work item has its own synchronisation.
unsafe impl Send for Dim {}
// SAFETY: With `&Dim` plain numbers are read, which only `&mut Dim` changes.
unsafe impl Sync for Dim {}

/// What has happened in a queue up to a moment. The numbers count from any beginning, and may wrap around.
///
/// # Examples
///
/// ```
/// use kernel_net::net::dim::Sample;
///
/// let before = Sample::now(0, 0, 0);
/// let after = Sample::now(1, 64, 64 * 1500);
/// # let _ = (before, after);
/// ```
pub struct Sample(bindings::dim_sample);

impl Sample {
    /// So many interrupts, packets and bytes up to now.
    pub fn now(events: u16, packets: u32, bytes: u32) -> Self {
        // SAFETY: The function has no preconditions once time is kept.
        let now = unsafe { bindings::ktime_get() };
        Self::at(now, events, packets, bytes)
    }

    /// The same at a time in nanoseconds.
    fn at(time: i64, events: u16, packets: u32, bytes: u32) -> Self {
        Self(bindings::dim_sample {
            time,
            pkt_ctr: packets,
            byte_ctr: bytes,
            event_ctr: events,
            comp_ctr: 0,
        })
    }
}

impl Dim {
    /// Begins with the library's default, which [`Self::moderation`] says.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: Everything is initialised below, in its place; all zeroes is the library's beginning.
        pin_init!(Self {
            dim <- Opaque::ffi_init(|slot: *mut bindings::dim| {
                // SAFETY: `slot` is valid for writes, and pinned; all fields are integers and pointers, or such
                // that `init_work` sets.
                unsafe {
                    slot.write_bytes(0, 1);
                    addr_of_mut!((*slot).mode).write(MODE);
                    addr_of_mut!((*slot).profile_ix).write(FIRST);
                    bindings::init_work(addr_of_mut!((*slot).work), Some(Self::nothing));
                }
            }),
        })
    }

    /// # Safety
    ///
    /// Called by the workqueue.
    unsafe extern "C" fn nothing(_work: *mut bindings::work_struct) {}

    /// Looks at what has happened since the sample before. True if another moderation is [`Self::wanted`] from now on.
    /// Does nothing while one is. Any context.
    pub fn measure(self: Pin<&mut Self>, sample: &Sample) -> bool {
        if self.wanted().is_some() {
            return false;
        }
        // SAFETY: Initialised by the invariant, and nobody else uses it: this is the only reference.
        unsafe { bindings::net_dim(self.dim.get(), &sample.0) };
        self.wanted().is_some()
    }

    /// The moderation that the device is to have, and perhaps does not know yet; `None` if it does.
    pub fn wanted(&self) -> Option<Moderation> {
        // SAFETY: Initialised by the invariant; nobody changes it while there is this reference.
        let state = unsafe { addr_of!((*self.dim.get()).state).read() };
        let wanted = u32::from(state) == bindings::dim_state_DIM_APPLY_NEW_PROFILE;
        wanted.then(|| self.moderation())
    }

    /// The moderation that was chosen last.
    pub fn moderation(&self) -> Moderation {
        // SAFETY: Initialised by the invariant; nobody changes it while there is this reference.
        let profile = unsafe { addr_of!((*self.dim.get()).profile_ix).read() };
        // SAFETY: The library's own mode and number.
        let chosen = unsafe { bindings::net_dim_get_rx_moderation(MODE, profile.into()) };
        Moderation {
            usecs: chosen.usec.into(),
            frames: chosen.pkts.into(),
        }
    }

    /// Goes on measuring: the device has been told what was wanted.
    pub fn go_on(self: Pin<&mut Self>) {
        // CAST: The field has a byte.
        let state = bindings::dim_state_DIM_START_MEASURE as u8;
        // SAFETY: Initialised by the invariant, and nobody else uses it: this is the only reference.
        unsafe { addr_of_mut!((*self.dim.get()).state).write(state) };
    }
}

#[pinned_drop]
impl PinnedDrop for Dim {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised by the invariant, and never enabled again. The owner may sleep.
        unsafe { bindings::disable_work_sync(addr_of_mut!((*self.dim.get()).work)) };
    }
}
