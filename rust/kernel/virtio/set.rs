// SPDX-License-Identifier: GPL-2.0

//! All queues of a device: finding them, and deleting them together.

use super::{
    control::{
        ControlQueue,
        Exchange, //
    },
    queue::{
        recycle,
        Payload,
        Queue,
        Recycle, //
    },
    receive::RxQueue,
    transmit::TxQueue,
    DeviceRef, //
};
use crate::{
    bindings,
    net::{
        device::{
            netdev_of,
            with_ready,
            Operations,
            Restart,
            Unregistered, //
        },
        skbuff::{
            RxBuffer,
            SkBuff, //
        }, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The queues of a device: one receive and one transmit queue per pair, then the control queue.
///
/// Dropping the last reference resets the device, frees what the queues hold and deletes them.
///
/// # Invariants
///
/// The set has claimed the device's queues. Those in `queues` are live until the drop; each [`Queue`]
/// with a reference to the set is the only one for its virtqueue, which holds what the function beside
/// it frees.
pub(super) struct QueueSet {
    dev: DeviceRef,
    queues: KVec<(NonNull<bindings::virtqueue>, Recycle)>,
    /// The queues refer to their names.
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
                // SAFETY: The queue is live, and nobody else uses it: its `Queue` would hold the set.
                // The device is reset, so it uses no buffer any more.
                let token = unsafe { bindings::virtqueue_detach_unused_buf(vq.as_ptr()) };
                if token.is_null() {
                    break;
                }
                // SAFETY: The token was in the queue, for which this is the function, and is not any
                // more; the device does not use it.
                unsafe { recycle(vq.as_ptr(), token) };
            }
        }
        // SAFETY: The device is live and bound. Nobody uses its queues, which are those of this set or
        // none, by the claim.
        unsafe { bindings::virtio_del_vqs(self.dev.as_raw()) };
        self.dev.disclaim_queues();
    }
}

/// The queues as the driver gets them.
pub struct Queues {
    /// One per pair.
    pub receive: KVec<RxQueue>,
    /// One per pair.
    pub transmit: KVec<TxQueue>,
    /// The control queue, if asked for.
    pub control: Option<ControlQueue>,
}

impl<T: Operations> Unregistered<T> {
    /// Sets up the virtio device's queue pairs and, with `control`, a control queue; used buffers are
    /// reported to [`Operations::queue_event`] once there is data. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` while queues are left; `ENOMEM`, or what the transport says (`ENOENT`: the device lacks a
    /// queue).
    pub fn find_queues(&mut self, control: bool) -> Result<Queues> {
        // SAFETY: The parent was bound for this network device, which was made for `T`.
        unsafe { Queues::find::<T>(self.parent(), self.pairs(), control) }
    }
}

impl<T: Operations> Restart<'_, T> {
    /// As [`Unregistered::find_queues`]. The old queues must be dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Unregistered::find_queues`].
    pub fn find_queues(&mut self, control: bool) -> Result<Queues> {
        let dev = self.0;
        // There are as many as when the device was made.
        let pairs = dev.napis().len() as u16;
        // SAFETY: The parent was bound for this network device, which was made for `T`.
        unsafe { Queues::find::<T>(dev.parent(), pairs, control) }
    }
}

/// A queue that is to be found.
struct Wanted {
    name: CString,
    recycle: Recycle,
}

impl Wanted {
    fn new<P: Payload>(name: fmt::Arguments<'_>) -> Result<Self> {
        Ok(Self {
            name: CString::try_from_fmt(name)?,
            recycle: recycle::<P>,
        })
    }

    /// All queues in their order, with names for logs and for `/proc/interrupts`.
    fn all(pairs: u16, control: bool) -> Result<KVec<Self>> {
        let mut all = KVec::new();
        for pair in 0..pairs {
            let receive = Self::new::<RxBuffer>(fmt!("input.{pair}"))?;
            all.push(receive, GFP_KERNEL)?;
            let transmit = Self::new::<SkBuff>(fmt!("output.{pair}"))?;
            all.push(transmit, GFP_KERNEL)?;
        }
        if control {
            let control = Self::new::<KBox<Exchange>>(fmt!("control"))?;
            all.push(control, GFP_KERNEL)?;
        }
        Ok(all)
    }
}

/// A place for the transport to leave a queue.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Found(*mut bindings::virtqueue);

impl QueueSet {
    /// Finds `wanted` queues; events go to the data of the device's `T`.
    ///
    /// # Safety
    ///
    /// As [`Queues::find`].
    unsafe fn find<T: Operations>(dev: &DeviceRef, wanted: KVec<Wanted>) -> Result<Self> {
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
                callback: Some(queue_callback::<T>),
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
        // INVARIANT: The claim is ours, and there are no queues yet.
        let mut set = Self {
            dev: dev.clone(),
            queues: KVec::new(),
            _names: names,
        };
        // SAFETY: The device is bound, and has no queues, by the claim. Both arrays have one element per
        // queue. The names live as long as the queues.
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
        // INVARIANT: The queues are new and empty; `Queues::hand_out` makes the only `Queue` of each.
        set.queues = queues;
        Ok(set)
    }
}

impl Queues {
    /// Finds the queues of `dev`.
    ///
    /// # Safety
    ///
    /// The network device for which `dev` was bound was made for `T`.
    unsafe fn find<T: Operations>(dev: &DeviceRef, pairs: u16, control: bool) -> Result<Self> {
        // SAFETY: By the contract the network device was made for `T`.
        let set = unsafe { QueueSet::find::<T>(dev, Wanted::all(pairs, control)?)? };
        Self::hand_out(Arc::new(set, GFP_KERNEL)?, pairs)
    }

    /// Makes the queues of a new set.
    fn hand_out(set: Arc<QueueSet>, pairs: u16) -> Result<Self> {
        let mut this = Self {
            receive: KVec::new(),
            transmit: KVec::new(),
            control: None,
        };
        let mut queues = set.queues.iter();
        for _ in 0..pairs {
            let (Some(&(rx, _)), Some(&(tx, _))) = (queues.next(), queues.next()) else {
                return Err(ENOENT);
            };
            // INVARIANT: The set's queues are in the order of `Wanted::all`, and each is taken once.
            this.receive.push(Queue::new(rx, &set), GFP_KERNEL)?;
            // INVARIANT: The set's queues are in that order, and each is taken once.
            let queue = TxQueue::new(Queue::new(tx, &set))?;
            this.transmit.push(queue, GFP_KERNEL)?;
        }
        // INVARIANT: What is left after the pairs is the control queue, and is taken once.
        this.control = queues.next().map(|&(vq, _)| Queue::new(vq, &set));
        Ok(this)
    }
}

/// # Safety
///
/// Called by the virtio core, in a hard interrupt, with a queue that was found for `T`.
unsafe extern "C" fn queue_callback<T: Operations>(vq: *mut bindings::virtqueue) {
    // SAFETY: The queue is live and keeps its device and its number.
    let (vdev, index) = unsafe { ((*vq).vdev, (*vq).index) };
    // SAFETY: The device has queues, so it is bound, and live.
    let net = unsafe { netdev_of(vdev) };
    // SAFETY: `priv` is null or the device made for `T`. Taking that down resets the virtio device, says
    // that there is no data, and waits for running callbacks, before the data is dropped.
    unsafe { with_ready(net, |dev| T::queue_event(dev, index as u16)) }
}
