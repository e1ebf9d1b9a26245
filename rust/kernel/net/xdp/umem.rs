// SPDX-License-Identifier: GPL-2.0

//! Memory of sockets (AF_XDP) that a device receives to and sends from, without a copy.
//!
//! C header: [`include/net/xdp_sock_drv.h`](srctree/include/net/xdp_sock_drv.h)
//!
//! The stack [offers](Offer) the memory of the sockets of one queue pair. A driver that accepts it
//! ([`RxQueue::accept`]) gets two halves: the [`UmemRx`] has empty [`UmemBuffer`]s for the receive queue, the [`UmemTx`] has
//! frames for the transmit queue.
//!
//! # Why this is sound
//!
//! - The memory is there, and mapped, until `Bound::end`, which waits until the driver and its queues have nothing of it:
//!   each half, buffer and frame has a reference to the `Umem`, whose end is signalled.
//! - User space can write all of it at any time. So nothing here makes a Rust reference to it: C copies what is to be read.
//!   A program may run in it, as the verifier does not rely on what was read before.
//! - User space may name the same piece twice, and then two buffers are one `struct xdp_buff`. Its fields are set anew
//!   when the device has written to a buffer, and used until the program has run. C takes a piece that is freed twice for
//!   free once.
//! - C has no lock for the list of free buffers, nor for the rings of what was sent. Each half has one here, because
//!   both may be freed by anybody. That of the first is held while a program's answer is followed, in which frames of others,
//!   or of this device, may be sent; so nobody who has a transmit queue, or the second lock, takes it.
//!
//! [`RxQueue::accept`]: crate::virtio::net::RxQueue::accept

mod buffer;
mod frame;

use crate::{
    bindings,
    net::skbuff::RxSize,
    new_lock,
    sync::{
        Completion,
        SpinLockBh, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    device,
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

pub use buffer::{
    UmemBuffer,
    UmemRx, //
};
pub(crate) use frame::UmemPlace;
pub use frame::{
    UmemFrame,
    UmemSent, //
};

/// Room for the longest header of a frame that is sent, in bytes.
const HEADER_MAX: usize = 64;
/// The interval at which [`Bound::end`] logs that it waits, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

/// The memory of the sockets of one queue pair.
///
/// # Invariants
///
/// - The pool exists, and is mapped, as long as this.
/// - `queue` is registered, and that of all buffers of the pool.
/// - `header` is the address at which a device reads [`HEADER_MAX`] zeros.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct Umem {
    /// The first field: buffers lead to it, and so to this.
    queue: Opaque<bindings::xdp_rxq_info>,
    pool: NonNull<bindings::xsk_buff_pool>,
    header: bindings::dma_addr_t,
    /// Bytes of the virtio header in front of frames.
    header_len: u32,
    /// Bytes that the device may write to a buffer, with the header.
    room: u32,
    /// For the list of free buffers.
    #[pin]
    receiving: SpinLockBh<()>,
    /// How many frames were taken from sockets, and not given back.
    #[pin]
    sending: SpinLockBh<u32>,
    gone: Arc<Completion>,
}

// SAFETY: The pool belongs to no thread.
unsafe impl Send for Umem {}
// SAFETY: What changes is behind the locks.
unsafe impl Sync for Umem {}

impl Umem {
    fn pool(&self) -> *mut bindings::xsk_buff_pool {
        self.pool.as_ptr()
    }

    /// Makes `queue` that of the pool's buffers.
    ///
    /// # Safety
    ///
    /// Once, before there are buffers. `netdev` lives as long as this, and has the receive queue `index`.
    unsafe fn register(&self, netdev: *mut bindings::net_device, index: u16) -> Result {
        // SAFETY: The structure is zeroed, and stays where it is. The rest is the contract.
        to_result(unsafe {
            bindings::umem_set_queue(self.pool(), self.queue.get(), netdev, index.into())
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Umem {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `register` was called: the structure is registered, or marked as unused, and then this does nothing.
        unsafe { bindings::xdp_rxq_info_unreg(self.queue.get()) };
        self.gone.complete_all();
    }
}

/// What the stack offers: memory of sockets.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::{
///         netdevice::Device,
///         xdp::umem::{
///             Offer,
///             UmemRx,
///             UmemTx, //
///         }, //
///     },
///     virtio::net::{
///         Operations,
///         RxQueue, //
///     }, //
/// };
///
/// /// Takes the offer, for frames behind 12 bytes.
/// fn take<T: Operations>(
///     dev: &Device<T>,
///     queue: &RxQueue,
///     offer: Offer<'_>,
/// ) -> Result<(UmemRx, UmemTx)> {
///     queue.accept(dev, offer, 12)
/// }
/// ```
pub struct Offer<'a> {
    pool: NonNull<bindings::xsk_buff_pool>,
    netdev: *mut bindings::net_device,
    queue: u16,
    bound: &'a mut Option<Bound>,
}

impl<'a> Offer<'a> {
    /// # Safety
    ///
    /// RTNL is held. `pool` is what the stack offers for queue `queue` of `netdev`, which lives longer than what is put into
    /// `bound`. If something is, it comes to its [`Bound::end`] before the stack takes the pool back.
    pub(in crate::net) unsafe fn new(
        pool: NonNull<bindings::xsk_buff_pool>,
        netdev: *mut bindings::net_device,
        queue: u16,
        bound: &'a mut Option<Bound>,
    ) -> Self {
        Self {
            pool,
            netdev,
            queue,
            bound,
        }
    }

    /// The number of the queue pair.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Maps the memory for `dma`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if `dma` is null: then addresses are not mapped for the device; `EINVAL` if the header is too long;
    /// `ENOMEM`, and others of the C functions.
    ///
    /// # Safety
    ///
    /// `dma` is null, or a device that can do DMA, and is bound as long as the network device is registered.
    pub(crate) unsafe fn accept(
        self,
        dma: *mut bindings::device,
        header_len: usize,
    ) -> Result<(UmemRx, UmemTx)> {
        let dma = NonNull::new(dma).ok_or_else(crate::net::operation_not_supported)?;
        let header_len = u32::try_from(header_len).map_err(|_| EINVAL)?;
        if header_len as usize > HEADER_MAX {
            return Err(EINVAL);
        }
        // SAFETY: By the contracts, of which that of `new` promises `end`.
        let bound = unsafe { Bound::map(self.pool, dma) }?;
        let (pool, header, gone) = (self.pool, bound.address, bound.gone.clone());
        let bound = self.bound.insert(bound);
        // SAFETY: The pool exists.
        let room = unsafe { bindings::umem_frame_size(pool.as_ptr()) };
        // What is copied goes to a buffer of this size.
        let room = room.saturating_add(header_len).min(RxSize::Xdp.capacity());
        // INVARIANT: The pool was mapped, and is until `end`, which waits for this. The queue follows.
        let umem = Arc::pin_init(
            pin_init!(Umem {
                queue: Opaque::zeroed(),
                pool,
                header,
                header_len,
                room,
                receiving <- new_lock!(()),
                sending <- new_lock!(0),
                gone,
            }),
            GFP_KERNEL,
        )
        .inspect_err(|_| bound.gone.complete_all())?;
        // SAFETY: The pool's buffers are not used yet; the device is the one that it is for, by the contract of `new`.
        unsafe { umem.register(self.netdev, self.queue) }?;
        Ok((UmemRx(umem.clone()), UmemTx(umem)))
    }
}

/// Memory that is mapped.
///
/// # Invariants
///
/// The pool and the header are mapped for `dma`. `gone` is signalled when nobody uses them any more.
pub(in crate::net) struct Bound {
    pool: NonNull<bindings::xsk_buff_pool>,
    dma: NonNull<bindings::device>,
    header: KBox<[u8; HEADER_MAX]>,
    address: bindings::dma_addr_t,
    gone: Arc<Completion>,
}

// SAFETY: It belongs to no thread.
unsafe impl Send for Bound {}

impl Bound {
    /// # Safety
    ///
    /// Both exist until [`Self::end`], and RTNL is held.
    unsafe fn map(
        pool: NonNull<bindings::xsk_buff_pool>,
        dma: NonNull<bindings::device>,
    ) -> Result<Self> {
        let gone = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let mut header = KBox::new([0; HEADER_MAX], GFP_KERNEL)?;
        let mut address = 0;
        // SAFETY: By the contract. The header stays where it is as long as it is mapped.
        to_result(unsafe {
            let memory = header.as_mut_ptr().cast();
            bindings::umem_map(
                pool.as_ptr(),
                dma.as_ptr(),
                memory,
                HEADER_MAX,
                &mut address,
            )
        })?;
        // INVARIANT: Both were mapped, and nobody uses them yet.
        Ok(Self {
            pool,
            dma,
            header,
            address,
            gone,
        })
    }

    /// Waits until nobody has anything of it, and unmaps it. RTNL is held. Sleeps.
    pub(in crate::net) fn end(self) {
        while !self.gone.wait_timeout(PATIENCE_MS) {
            // SAFETY: The device lives as long as what is mapped for it. CAST: Both bindings describe the same C type, and
            // `device::Device` is transparent over it.
            let log: &device::Device = unsafe { self.dma.cast().as_ref() };
            dev_warn!(
                log,
                "memory of a socket cannot be given back: somebody has a part of it\n"
            );
        }
        // SAFETY: By the invariant both are mapped, and nobody uses them any more.
        unsafe {
            bindings::umem_unmap(
                self.pool.as_ptr(),
                self.dma.as_ptr(),
                self.address,
                self.header.len(),
            )
        }
    }
}

/// The half for the transmit queue: frames that sockets want to send.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::xdp::umem::UmemTx,
///     virtio::net::TxQueue, //
/// };
///
/// /// Queues up to 16 frames, or drops them.
/// fn send(umem: &mut UmemTx, queue: &mut TxQueue) {
///     for frame in umem.take(16) {
///         drop(queue.add_umem(frame));
///     }
///     queue.kick();
/// }
/// ```
pub struct UmemTx(Arc<Umem>);

impl UmemTx {
    /// How many frames were taken and not given back.
    pub fn pending(&self) -> u32 {
        *self.0.sending.lock()
    }

    /// Takes up to `max` frames. Those that are not asked for are lost.
    pub fn take(&mut self, max: u32) -> impl Iterator<Item = UmemFrame> + '_ {
        frame::Frames::take(&self.0, max)
    }
}
