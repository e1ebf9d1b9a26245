// SPDX-License-Identifier: GPL-2.0

//! All queues of a device: finding them, and deleting them together.

use super::{
    payload::{
        recycle,
        Payload,
        Recycle, //
    },
    DeviceRef, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// What the transport calls in a hard interrupt, with the queue that has used buffers.
pub(super) type Callback = unsafe extern "C" fn(*mut bindings::virtqueue);

/// The queues of a device.
///
/// Dropping the last reference resets the device, frees what the queues hold and deletes them.
///
/// # Invariants
///
/// The set has claimed the device's queues. Those in `queues` are live until the drop; each
/// [`Virtqueue`] with a reference to the set is the only one for its `struct virtqueue`, which holds
/// what the function beside it frees. The names to which the queues refer are in `_names`.
///
/// [`Virtqueue`]: super::virtqueue::Virtqueue
pub(super) struct QueueSet {
    dev: DeviceRef,
    queues: KVec<(NonNull<bindings::virtqueue>, Recycle)>,
    _names: KVec<CString>,
}

// SAFETY: The set only deletes the queues, which any thread may do.
unsafe impl Send for QueueSet {}
// SAFETY: A shared set is only looked at, and not written to after it was made.
unsafe impl Sync for QueueSet {}

impl Drop for QueueSet {
    fn drop(&mut self) {
        self.dev.reset();
        for &(vq, recycle) in &self.queues {
            loop {
                // SAFETY: The queue is live by the invariant, and nobody else uses it: its `Virtqueue`
                // would hold the set. The device is reset, so it uses no buffer any more.
                let token = unsafe { bindings::virtqueue_detach_unused_buf(vq.as_ptr()) };
                if token.is_null() {
                    break;
                }
                // SAFETY: The token was in the queue, which by the invariant held what this function
                // frees, and is not any more; the device does not use it.
                unsafe { recycle(vq.as_ptr(), token) };
            }
        }
        // SAFETY: The device is live and bound. Nobody uses its queues, which are those of this set or
        // none: by the invariant we have the claim.
        unsafe { bindings::virtio_del_vqs(self.dev.as_raw()) };
        self.dev.disclaim_queues();
    }
}

/// A queue that is to be found.
pub(super) struct Wanted {
    name: CString,
    recycle: Recycle,
}

impl Wanted {
    /// A queue for `P`, with its name for logs and for `/proc/interrupts`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new<P: Payload>(name: fmt::Arguments<'_>) -> Result<Self> {
        Ok(Self {
            name: CString::try_from_fmt(name)?,
            recycle: recycle::<P>,
        })
    }
}

/// A place for the transport to leave a queue.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Found(*mut bindings::virtqueue);

impl QueueSet {
    /// Finds the queues of `dev` that are `wanted`, whose events `callback` gets.
    ///
    /// # Errors
    ///
    /// `EBUSY` while queues are left; `ENOMEM`, or what the transport says (`ENOENT`: the device lacks a
    /// queue).
    ///
    /// # Safety
    ///
    /// `callback` may be called with each of the queues, in a hard interrupt, from now on.
    pub(super) unsafe fn find(
        dev: &DeviceRef,
        wanted: KVec<Wanted>,
        callback: Callback,
    ) -> Result<Arc<Self>> {
        let count = wanted.len();
        let mut found = KVec::from_elem(Found(core::ptr::null_mut()), count, GFP_KERNEL)?;
        let mut infos = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut queues = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut names = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut recycles = KVec::with_capacity(count, GFP_KERNEL)?;
        for Wanted { name, recycle } in wanted {
            let info = bindings::virtqueue_info {
                // The bytes do not move with the string.
                name: name.to_bytes_with_nul().as_ptr().cast(),
                callback: Some(callback),
                ctx: false,
            };
            infos.push(info, GFP_KERNEL)?;
            names.push(name, GFP_KERNEL)?;
            recycles.push(recycle, GFP_KERNEL)?;
        }
        if !dev.claim_queues() {
            return Err(EBUSY);
        }
        // From here on `set` cleans up: resetting and deleting no queues does no harm.
        // INVARIANT: The claim is ours, and there are no queues yet. Their names are in `_names`.
        let mut set = Self {
            dev: dev.clone(),
            queues: KVec::new(),
            _names: names,
        };
        // SAFETY: The device is bound, and has no queues, by the claim. Both arrays have one element per
        // queue. The names live in `set`, which deletes the queues.
        to_result(unsafe {
            bindings::virtio_find_vqs(
                dev.as_raw(),
                count as u32,
                found.as_mut_ptr().cast(),
                infos.as_mut_ptr(),
            )
        })?;
        for (&Found(vq), recycle) in found.iter().zip(recycles) {
            let vq = NonNull::new(vq).ok_or(ENOENT)?;
            queues.push((vq, recycle), GFP_KERNEL)?;
        }
        // INVARIANT: The queues are new and empty. A `Virtqueue` is made once for each, and for the type
        // whose function is beside it: `Virtqueue::new` demands that.
        set.queues = queues;
        Ok(Arc::new(set, GFP_KERNEL)?)
    }

    /// The queues in the order in which they were wanted.
    pub(super) fn queues(&self) -> impl Iterator<Item = NonNull<bindings::virtqueue>> + '_ {
        self.queues.iter().map(|&(vq, _)| vq)
    }
}
