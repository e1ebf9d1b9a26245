// SPDX-License-Identifier: GPL-2.0

//! Virtqueues of a network device.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)
//!
//! All operations on one queue must be serialised (they take `&mut self`); memory that was given to
//! the device belongs to the queue until the device returns it.

use crate::{
    bindings,
    net::{
        device::{
            with_ready,
            Device,
            Operations,
            Unregistered, //
        },
        ethtool::Limited,
        skbuff::{
            RxBuffer,
            SkBuff, //
        }, //
    },
    virtio::{
        self,
        control::{
            ControlQueue,
            Exchange, //
        },
        receive::RxQueue,
        transmit::TxQueue,
        DeviceRef, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// Frees one token of a queue that is resized.
pub(super) type Recycle = unsafe extern "C" fn(*mut bindings::virtqueue, *mut c_void);

/// What a queue carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Receive,
    Transmit,
    Control,
}

/// The queues of a device: one receive and one transmit queue per pair, then the control queue.
///
/// Dropping the last reference resets the device, frees what the queues hold and deletes them.
struct QueueSet {
    dev: DeviceRef,
    queues: KVec<(NonNull<bindings::virtqueue>, Kind)>,
    /// The queues refer to their names.
    names: KVec<CString>,
}

// SAFETY: The set only deletes the queues, which any thread may do.
unsafe impl Send for QueueSet {}
// SAFETY: As above; it has no methods.
unsafe impl Sync for QueueSet {}

impl Drop for QueueSet {
    fn drop(&mut self) {
        self.dev.reset();
        for &(vq, kind) in &self.queues {
            loop {
                // SAFETY: The device is reset, so it uses no buffer any more.
                let token = unsafe { bindings::virtqueue_detach_unused_buf(vq.as_ptr()) };
                if token.is_null() {
                    break;
                }
                // SAFETY: Tokens of a queue are made by the queue type of its kind only.
                unsafe { free_token(kind, token) };
            }
        }
        // SAFETY: The device is live, and nobody uses the queues: each queue holds a reference to
        // this set.
        unsafe {
            bindings::virtio_del_vqs(self.dev.as_raw());
        }
    }
}

/// # Safety
///
/// `token` was given to a queue of kind `kind`, and the device does not use its memory any more.
unsafe fn free_token(kind: Kind, token: *mut c_void) {
    match kind {
        // SAFETY: Made by `RxQueue::add`.
        Kind::Receive => drop(unsafe { RxBuffer::from_raw(token.cast()) }),
        // SAFETY: Made by `TxQueue::add`.
        Kind::Transmit => drop(unsafe { SkBuff::from_raw(token.cast()) }),
        // SAFETY: Made by `ControlQueue::add`.
        Kind::Control => drop(unsafe { KBox::<Exchange>::from_raw(token.cast()) }),
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
    /// Sets up `pairs` queue pairs and, with `control`, a control queue of the virtio device; used
    /// buffers are reported to [`Operations::queue_event`]. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the transport says (`ENOENT`: the device lacks a queue).
    pub fn find_queues(&self, dev: &virtio::Device, pairs: u16, control: bool) -> Result<Queues> {
        Queues::find::<T>(dev, pairs, control)
    }
}

impl<T: Operations> Device<T> {
    /// As [`Unregistered::find_queues`], after a reset and when the old queues are dropped.
    pub fn find_queues(&self, pairs: u16, control: bool) -> Result<Queues> {
        Queues::find::<T>(self.parent(), pairs, control)
    }
}

impl Queues {
    /// The netdev made for `T` is the private data of `dev`.
    fn find<T: Operations>(dev: &virtio::Device, pairs: u16, control: bool) -> Result<Self> {
        let kinds = queue_kinds(pairs, control)?;
        let mut set = QueueSet {
            dev: dev.into(),
            queues: KVec::with_capacity(kinds.len(), GFP_KERNEL)?,
            names: queue_names(&kinds)?,
        };
        let mut infos = KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
        for name in &set.names {
            infos.push(
                bindings::virtqueue_info {
                    name: name.to_bytes_with_nul().as_ptr().cast(),
                    callback: Some(queue_callback::<T>),
                    ctx: false,
                },
                GFP_KERNEL,
            )?;
        }
        let mut found = KVec::from_elem(Found(core::ptr::null_mut()), kinds.len(), GFP_KERNEL)?;
        // From here on `set` cleans up: resetting and deleting no queues does no harm.
        // SAFETY: Both arrays have one element per queue.
        to_result(unsafe {
            bindings::virtio_find_vqs(
                dev.as_raw(),
                kinds.len() as u32,
                found.as_mut_ptr().cast(),
                infos.as_mut_ptr(),
            )
        })?;
        for (&Found(vq), &kind) in found.iter().zip(&kinds) {
            let vq = NonNull::new(vq).ok_or(ENOENT)?;
            set.queues.push((vq, kind), GFP_KERNEL)?;
        }
        Self::hand_out(Arc::new(set, GFP_KERNEL)?)
    }

    fn hand_out(set: Arc<QueueSet>) -> Result<Self> {
        let mut this = Self {
            receive: KVec::new(),
            transmit: KVec::new(),
            control: None,
        };
        for &(vq, kind) in &set.queues {
            let queue = Queue {
                vq,
                _set: set.clone(),
            };
            match kind {
                Kind::Receive => this.receive.push(RxQueue { queue }, GFP_KERNEL)?,
                Kind::Transmit => this.transmit.push(TxQueue::new(queue)?, GFP_KERNEL)?,
                Kind::Control => this.control = Some(ControlQueue { queue }),
            }
        }
        Ok(this)
    }
}

/// A place for the transport to leave a queue.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Found(*mut bindings::virtqueue);

/// Names for logs and for `/proc/interrupts`: `input.0`, `output.0`, and so on.
fn queue_names(kinds: &[Kind]) -> Result<KVec<CString>> {
    let mut names = KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
    for (index, kind) in kinds.iter().enumerate() {
        // Queues come in pairs.
        let pair = index / 2;
        let name = match kind {
            Kind::Receive => CString::try_from_fmt(fmt!("input.{pair}"))?,
            Kind::Transmit => CString::try_from_fmt(fmt!("output.{pair}"))?,
            Kind::Control => CString::try_from_fmt(fmt!("control"))?,
        };
        names.push(name, GFP_KERNEL)?;
    }
    Ok(names)
}

fn queue_kinds(pairs: u16, control: bool) -> Result<KVec<Kind>> {
    let mut kinds = KVec::new();
    for _ in 0..pairs {
        kinds.push(Kind::Receive, GFP_KERNEL)?;
        kinds.push(Kind::Transmit, GFP_KERNEL)?;
    }
    if control {
        kinds.push(Kind::Control, GFP_KERNEL)?;
    }
    Ok(kinds)
}

/// # Safety
///
/// Called by the virtio core, in a hard interrupt, with a queue made by [`Queues::find`] for `T`.
unsafe extern "C" fn queue_callback<T: Operations>(vq: *mut bindings::virtqueue) {
    // SAFETY: The queue and its device are live.
    let (net, index) = unsafe { ((*(*vq).vdev).priv_, (*vq).index) };
    // SAFETY: `priv` is null or the device made for `T`; shutting down resets the device, which waits for running
    // callbacks, before the data is dropped.
    unsafe { with_ready(net.cast(), |dev| T::queue_event(dev, index as u16)) }
}

/// What receive, transmit and control queues have in common.
pub struct Queue {
    pub(super) vq: NonNull<bindings::virtqueue>,
    _set: Arc<QueueSet>,
}

// SAFETY: A queue may be used from any thread, by one at a time (`&mut self`).
unsafe impl Send for Queue {}

impl Queue {
    /// The ring's size now and at most, in descriptors.
    pub fn size(&self) -> Limited {
        // SAFETY: The queue is live.
        let (now, max) = unsafe {
            (
                bindings::virtqueue_get_vring_size(self.vq.as_ptr()),
                self.vq.as_ref().num_max,
            )
        };
        Limited { now, max }
    }

    /// Has the online CPU number `nth` handle the queue's events, if there is one. Sleeps.
    pub fn set_cpu(&self, nth: u32) {
        // SAFETY: The queue is live; the function looks for the CPU.
        unsafe { bindings::virtqueue_set_cpu(self.vq.as_ptr(), nth) }
    }

    /// Changes the ring's size; `recycle` frees what the queue holds. Sleeps.
    pub(super) fn resize(&mut self, size: u32, recycle: Recycle) -> Result {
        // SAFETY: The queue is live and we are its only user; `recycle` belongs to the queue's kind.
        to_result(unsafe {
            bindings::virtqueue_resize(self.vq.as_ptr(), size, Some(recycle), None)
        })
    }

    /// Free descriptors.
    pub fn free(&self) -> u32 {
        // SAFETY: The queue is live.
        unsafe { self.vq.as_ref().num_free }
    }

    /// Tells the device about new buffers, if it wants to know.
    pub fn kick(&mut self) {
        // SAFETY: The queue is live and we are its only user.
        if unsafe { bindings::virtqueue_kick_prepare(self.vq.as_ptr()) } {
            // SAFETY: The queue is live.
            unsafe { bindings::virtqueue_notify(self.vq.as_ptr()) };
        }
    }

    /// Returns the next token and the number of bytes that the device wrote.
    pub(super) fn get(&mut self) -> Option<(NonNull<c_void>, u32)> {
        let mut len = 0;
        // SAFETY: The queue is live and we are its only user.
        let token = unsafe { bindings::virtqueue_get_buf(self.vq.as_ptr(), &mut len) };
        NonNull::new(token).map(|t| (t, len))
    }

    /// Asks the device not to report used buffers.
    pub fn disable_events(&mut self) {
        // SAFETY: The queue is live.
        unsafe { bindings::virtqueue_disable_cb(self.vq.as_ptr()) }
    }

    /// Asks for a report of the next used buffer; true if there is one already.
    pub fn enable_events(&mut self) -> bool {
        // SAFETY: The queue is live and we are its only user.
        unsafe {
            let seen = bindings::virtqueue_enable_cb_prepare(self.vq.as_ptr());
            bindings::virtqueue_poll(self.vq.as_ptr(), seen)
        }
    }

    /// Whether the queue can never be used again without a reset.
    pub fn is_broken(&self) -> bool {
        // SAFETY: The queue is live.
        unsafe { bindings::virtqueue_is_broken(self.vq.as_ptr()) }
    }
}
