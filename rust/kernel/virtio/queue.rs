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
        DeviceRef, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

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
        let mut infos = KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
        let mut found: KVec<*mut bindings::virtqueue> =
            KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
        for &kind in &kinds {
            let name = match kind {
                Kind::Receive => c"input",
                Kind::Transmit => c"output",
                Kind::Control => c"control",
            };
            infos.push(
                bindings::virtqueue_info {
                    name: name.to_bytes_with_nul().as_ptr().cast(),
                    callback: Some(queue_callback::<T>),
                    ctx: false,
                },
                GFP_KERNEL,
            )?;
            found.push(core::ptr::null_mut(), GFP_KERNEL)?;
        }
        let mut set = QueueSet {
            dev: dev.into(),
            queues: KVec::with_capacity(kinds.len(), GFP_KERNEL)?,
        };
        // From here on `set` cleans up: resetting and deleting no queues does no harm.
        // SAFETY: Both arrays have one element per queue.
        to_result(unsafe {
            bindings::virtio_find_vqs(
                dev.as_raw(),
                kinds.len() as u32,
                found.as_mut_ptr(),
                infos.as_mut_ptr(),
            )
        })?;
        for (&vq, &kind) in found.iter().zip(&kinds) {
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

/// # Safety
///
/// Called by the virtio core with a token of a receive queue that the device does not use any more.
unsafe extern "C" fn recycle_received(_vq: *mut bindings::virtqueue, token: *mut c_void) {
    // SAFETY: By the contract.
    unsafe { free_token(Kind::Receive, token) }
}

/// # Safety
///
/// Called by the virtio core with a token of a transmit queue that the device does not use any
/// more.
unsafe extern "C" fn recycle_transmitted(_vq: *mut bindings::virtqueue, token: *mut c_void) {
    // SAFETY: By the contract.
    unsafe { free_token(Kind::Transmit, token) }
}

/// One virtqueue.
pub(crate) struct Queue {
    pub(crate) vq: NonNull<bindings::virtqueue>,
    _set: Arc<QueueSet>,
}

// SAFETY: A queue may be used from any thread, by one at a time (`&mut self`).
unsafe impl Send for Queue {}

impl Queue {
    fn size(&self) -> Limited {
        // SAFETY: The queue is live.
        let (now, max) = unsafe {
            (
                bindings::virtqueue_get_vring_size(self.vq.as_ptr()),
                self.vq.as_ref().num_max,
            )
        };
        Limited { now, max }
    }

    fn set_cpu(&self, nth: u32) {
        if nth < crate::cpu::online() {
            // SAFETY: The queue is live; there is such a CPU.
            unsafe { bindings::virtqueue_set_cpu(self.vq.as_ptr(), nth) }
        }
    }

    fn resize(&mut self, size: u32, kind: Kind) -> Result {
        let recycle: unsafe extern "C" fn(*mut bindings::virtqueue, *mut c_void) = match kind {
            Kind::Receive => recycle_received,
            Kind::Transmit => recycle_transmitted,
            Kind::Control => return Err(EINVAL),
        };
        // SAFETY: The queue is live and we are its only user.
        to_result(unsafe {
            bindings::virtqueue_resize(self.vq.as_ptr(), size, Some(recycle), None)
        })
    }

    /// Free descriptors.
    fn free(&self) -> u32 {
        // SAFETY: The queue is live.
        unsafe { self.vq.as_ref().num_free }
    }

    /// Tells the device about new buffers, if it wants to know.
    pub(crate) fn kick(&mut self) {
        // SAFETY: The queue is live and we are its only user.
        if unsafe { bindings::virtqueue_kick_prepare(self.vq.as_ptr()) } {
            // SAFETY: The queue is live.
            unsafe { bindings::virtqueue_notify(self.vq.as_ptr()) };
        }
    }

    /// Returns the next token and the number of bytes that the device wrote.
    pub(crate) fn get(&mut self) -> Option<(NonNull<c_void>, u32)> {
        let mut len = 0;
        // SAFETY: The queue is live and we are its only user.
        let token = unsafe { bindings::virtqueue_get_buf(self.vq.as_ptr(), &mut len) };
        NonNull::new(token).map(|t| (t, len))
    }

    pub(crate) fn disable_events(&mut self) {
        // SAFETY: The queue is live.
        unsafe { bindings::virtqueue_disable_cb(self.vq.as_ptr()) }
    }

    /// Asks for events again; true if there are used buffers already.
    fn enable_events(&mut self) -> bool {
        // SAFETY: The queue is live and we are its only user.
        unsafe {
            let seen = bindings::virtqueue_enable_cb_prepare(self.vq.as_ptr());
            bindings::virtqueue_poll(self.vq.as_ptr(), seen)
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        // SAFETY: The queue is live.
        unsafe { bindings::virtqueue_is_broken(self.vq.as_ptr()) }
    }
}

/// A receive queue: holds empty buffers for the device to fill.
pub struct RxQueue {
    queue: Queue,
}

impl RxQueue {
    /// The ring's size now and at most, in descriptors.
    pub fn size(&self) -> Limited {
        self.queue.size()
    }

    /// Changes the ring's size; the queue is empty after that. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the device cannot reset single queues; else the ring is as it was, or broken.
    pub fn resize(&mut self, size: u32) -> Result {
        self.queue.resize(size, Kind::Receive)
    }

    /// Has the online CPU number `nth` handle the queue's events. Sleeps.
    pub fn set_cpu(&self, nth: u32) {
        self.queue.set_cpu(nth);
    }

    /// Whether there is room for another buffer.
    pub fn has_room(&self) -> bool {
        self.queue.free() > 0
    }

    /// Gives `buffer` to the device.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let mut sg = MaybeUninit::<bindings::scatterlist>::uninit();
        let data = buffer.data();
        let token = buffer.into_raw();
        // SAFETY: `sg` is one entry, the memory has `capacity` bytes and stays valid until the
        // queue returns the token.
        let ret = unsafe {
            bindings::sg_init_table(sg.as_mut_ptr(), 1);
            bindings::sg_set_buf(sg.as_mut_ptr(), data.cast(), RxBuffer::capacity());
            bindings::virtqueue_add_inbuf(
                self.queue.vq.as_ptr(),
                sg.as_mut_ptr(),
                1,
                token.cast(),
                kernel::bindings::GFP_ATOMIC,
            )
        };
        if ret == 0 {
            return Ok(());
        }
        // SAFETY: The queue did not take the token that we just made.
        match unsafe { RxBuffer::from_raw(token) } {
            Some(buffer) => Err(buffer),
            None => Ok(()),
        }
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity.
    pub fn take(&mut self) -> Option<(RxBuffer, u32)> {
        let (token, len) = self.queue.get()?;
        // SAFETY: Tokens of this queue are receive buffers.
        let buffer = unsafe { RxBuffer::from_raw(token.as_ptr().cast()) }?;
        Some((buffer, len.min(RxBuffer::capacity())))
    }

    /// Tells the device about new buffers.
    pub fn kick(&mut self) {
        self.queue.kick();
    }

    /// Asks the device not to report filled buffers.
    pub fn disable_events(&mut self) {
        self.queue.disable_events();
    }

    /// Asks for reports again; true if there are filled buffers already.
    pub fn enable_events(&mut self) -> bool {
        self.queue.enable_events()
    }
}

/// The most pieces of one packet: the header, the linear part and the fragments.
const TX_PIECES: usize = 19;

/// A transmit queue: holds packets until the device has sent them.
pub struct TxQueue {
    queue: Queue,
    /// Scratch memory for [`Self::add`].
    sg: KBox<[MaybeUninit<bindings::scatterlist>; TX_PIECES]>,
}

// SAFETY: The scratch memory holds no pointers between calls.
unsafe impl Send for TxQueue {}

/// Why a packet could not be queued; the packet is given back.
pub enum TxError {
    /// There is no room; try again after [`TxQueue::take`].
    Full(SkBuff),
    /// The packet has too many pieces, or the queue is broken.
    Unusable(SkBuff),
}

impl TxQueue {
    /// The longest header in bytes: what fits into the skb's control block.
    pub const HEADER_MAX: usize = 48;

    fn new(queue: Queue) -> Result<Self> {
        Ok(Self {
            queue,
            sg: KBox::new([const { MaybeUninit::uninit() }; TX_PIECES], GFP_KERNEL)?,
        })
    }

    /// The ring's size now and at most, in descriptors.
    pub fn size(&self) -> Limited {
        self.queue.size()
    }

    /// Changes the ring's size; packets in the queue are lost. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`RxQueue::resize`].
    pub fn resize(&mut self, size: u32) -> Result {
        self.queue.resize(size, Kind::Transmit)
    }

    /// Has the online CPU number `nth` handle the queue's events. Sleeps.
    pub fn set_cpu(&self, nth: u32) {
        self.queue.set_cpu(nth);
    }

    /// Free descriptors. One packet takes at most [`Self::PACKET_MAX`].
    pub fn free(&self) -> u32 {
        self.queue.free()
    }

    /// The most descriptors that a packet takes.
    pub const PACKET_MAX: u32 = TX_PIECES as u32;

    /// Queues `skb` behind the virtio header `header`.
    ///
    /// # Errors
    ///
    /// The packet, see [`TxError`].
    pub fn add(&mut self, header: &[u8], skb: SkBuff) -> Result<(), TxError> {
        let raw = skb.as_raw();
        let sg: *mut bindings::scatterlist = self.sg.as_mut_ptr().cast();
        // SAFETY: The skb is valid.
        let pieces = unsafe { bindings::skb_nr_frags(raw) }.saturating_add(2);
        if header.len() > Self::HEADER_MAX || pieces > Self::PACKET_MAX {
            return Err(TxError::Unusable(skb));
        }
        // SAFETY: `sg` has room for `pieces` entries.
        let Some(used) = (unsafe { list_packet(sg, pieces, header, raw) }) else {
            return Err(TxError::Unusable(skb));
        };
        // SAFETY: The packet's memory stays valid until the queue returns the token.
        let ret = unsafe {
            bindings::virtqueue_add_outbuf(
                self.queue.vq.as_ptr(),
                sg,
                used,
                raw.cast(),
                kernel::bindings::GFP_ATOMIC,
            )
        };
        if ret == 0 {
            let _ = skb.into_raw();
            Ok(())
        } else if ret == ENOSPC.to_errno() {
            Err(TxError::Full(skb))
        } else {
            Err(TxError::Unusable(skb))
        }
    }

    /// Takes the next packet that the device has sent.
    pub fn take(&mut self) -> Option<SkBuff> {
        let (token, _) = self.queue.get()?;
        // SAFETY: Tokens of this queue are skbs.
        unsafe { SkBuff::from_raw(token.as_ptr().cast()) }
    }

    /// Tells the device about new packets.
    pub fn kick(&mut self) {
        self.queue.kick();
    }

    /// Asks the device not to report sent packets.
    pub fn disable_events(&mut self) {
        self.queue.disable_events();
    }

    /// Asks for a report of the next sent packet; true if there is one already.
    pub fn enable_events(&mut self) -> bool {
        self.queue.enable_events()
    }

    /// Asks for a report when most of the queued packets are sent; false if they are already.
    pub fn enable_events_delayed(&mut self) -> bool {
        // SAFETY: The queue is live and we are its only user.
        unsafe { bindings::virtqueue_enable_cb_delayed(self.queue.vq.as_ptr()) }
    }
}

/// Lists the header and the packet in `sg` and returns how many entries they take.
///
/// The header goes right in front of the packet if there is room that nobody shares, which saves an
/// entry; else into the skb's control block.
///
/// # Safety
///
/// `sg` has room for `pieces` entries: two more than the packet has fragments. `skb` is valid and ours
/// alone, `header` at most [`TxQueue::HEADER_MAX`] bytes long.
unsafe fn list_packet(
    sg: *mut bindings::scatterlist,
    pieces: u32,
    header: &[u8],
    skb: *mut bindings::sk_buff,
) -> Option<u32> {
    let len = header.len() as u32;
    // SAFETY: The skb is valid.
    if unsafe { bindings::skb_can_push(skb, len) } {
        // SAFETY: There are `len` bytes of room in front that are ours; the packet is as before when
        // the function returns. `sg` has room for `pieces - 1` entries.
        let used = unsafe {
            let room = bindings::skb_push(skb, len).cast::<u8>();
            core::ptr::copy_nonoverlapping(header.as_ptr(), room, header.len());
            bindings::sg_init_table(sg, pieces.saturating_sub(1));
            let used = bindings::skb_to_sgvec(skb, sg, 0, (*skb).len as c_int);
            bindings::skb_pull(skb, len);
            used
        };
        return u32::try_from(used).ok();
    }
    // SAFETY: The control block of an skb in transmission belongs to the driver, and sharing of skbs
    // is turned off for the device. It has `HEADER_MAX` bytes.
    let cb: *mut u8 = unsafe { core::ptr::addr_of_mut!((*skb).cb) }.cast();
    // SAFETY: Both are valid for the header's length and do not overlap; `sg` has room.
    let used = unsafe {
        core::ptr::copy_nonoverlapping(header.as_ptr(), cb, header.len());
        bindings::sg_init_table(sg, pieces);
        bindings::sg_set_buf(sg, cb.cast(), len);
        bindings::skb_to_sgvec(skb, sg.add(1), 0, (*skb).len as c_int)
    };
    u32::try_from(used).ok()?.checked_add(1)
}
