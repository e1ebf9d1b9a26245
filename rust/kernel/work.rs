// SPDX-License-Identifier: GPL-2.0

//! Work in process context that its owner can wait for.
//!
//! The kernel crate's work item owns itself until it has run. Nobody can wait for its end, so a module
//! could be unloaded while its code runs. A [`Task`] has an owner, and its drop waits.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

#[cfg(espnic_kunit)]
mod tests;

use crate::bindings;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// The work of a [`Task`].
///
/// # Examples
///
/// ```
/// use kernel_net::work::Run;
///
/// struct Greet(u32);
///
/// impl Run for Greet {
///     fn run(&self) {
///         pr_info!("run of task {}\n", self.0);
///     }
/// }
/// ```
pub trait Run: Send + Sync + 'static {
    /// Does the work. Process context; may sleep, even for seconds.
    fn run(&self);
}

/// Work that runs in process context.
///
/// It runs once for each [`Task::schedule`] that finds it at rest or running, never twice at a time.
/// Dropping it waits for the run that is under way, and no other follows. So do not drop it in its own
/// run, nor while holding a lock that the run takes. If it is leaked, the module must stay loaded.
///
/// # Invariants
///
/// `work` is initialised with `Task::callback`, and part of a pinned `Task<T>`.
///
/// # Examples
///
/// ```
/// use kernel_net::work::{
///     Run,
///     Task, //
/// };
///
/// struct Cleanup;
///
/// impl Run for Cleanup {
///     fn run(&self) {
///         // May sleep.
///     }
/// }
///
/// let task = KBox::pin_init(Task::new(Cleanup), GFP_KERNEL)?;
/// task.schedule();
/// // Waits for the run, if it has begun.
/// drop(task);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Task<T: Run> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    data: T,
}

// SAFETY: The work may be queued and disabled by any thread, and `T` is `Send`.
unsafe impl<T: Run> Send for Task<T> {}
// SAFETY: The work has its own synchronisation, and `T` is `Sync`.
unsafe impl<T: Run> Sync for Task<T> {}

impl<T: Run> Task<T> {
    /// Makes a task at rest.
    pub fn new(data: T) -> impl PinInit<Self> {
        // INVARIANT: The work is initialised below, in its place.
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::init_work(slot, Some(Self::callback)) }
            }),
            data,
        })
    }

    /// Schedules the task. Any context.
    pub fn schedule(&self) {
        // SAFETY: Initialised by the invariant. The drop takes it off the queue before it goes.
        unsafe { bindings::queue_long_work(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue with the work of a live `Task<T>`.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        let offset = core::mem::offset_of!(Self, work);
        // SAFETY: `work` is the field of that name in a `Task<T>`. CAST: `Opaque` is transparent.
        let task: *const Self = unsafe { work.byte_sub(offset) }.cast();
        // SAFETY: The task is pinned, and its drop waits for this call before the data goes. Nobody has
        // a mutable reference to it: the drop has the only one, and makes none of the data until then.
        let data = unsafe { &(*task).data };
        data.run();
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Task<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised by the invariant, and never enabled again. The caller may sleep.
        unsafe { bindings::disable_work_sync(self.work.get()) };
    }
}
