// SPDX-License-Identifier: GPL-2.0

//! Receive queues.

use crate::{
    bindings,
    net::{
        napi::Poll,
        netdevice::Device,
        skbuff::{
            RxBuffer,
            RxSize, //
        },
        xdp::umem::{
            Offer,
            UmemBuffer,
            UmemRx,
            UmemTx, //
        }, //
    },
    rtnl,
    virtio::{
        net::Operations,
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::{
        addr_of,
        NonNull, //
    }, //
};
use kernel::{
    ffi::c_void,
    prelude::*, //
};

/// What a receive queue holds.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::{
///     net::RxRoom,
///     virtqueue::Virtqueue, //
/// };
///
/// /// Whether the device has filled all that it was given.
/// fn is_idle(queue: &Virtqueue<RxRoom>) -> bool {
///     queue.pending() == 0
/// }
/// ```
pub enum RxRoom {
    /// Memory of a page pool.
    Buffer(RxBuffer),
    /// Memory of a socket.
    Umem(UmemBuffer),
}

/// The lowest bits of the token of a socket's memory. Those of others are an [`RxSize`], which is less.
const UMEM: usize = 3;

impl Payload for RxRoom {
    #[inline]
    fn into_token(self) -> NonNull<c_void> {
        match self {
            Self::Buffer(buffer) => buffer.into_raw().cast(),
            Self::Umem(buffer) => buffer.into_raw().map_addr(|addr| addr | UMEM).cast(),
        }
    }

    #[inline]
    unsafe fn from_token(token: NonNull<c_void>) -> Self {
        if token.addr().get() & UMEM != UMEM {
            // SAFETY: By the contract: the buffer was given up for the token, and nobody has got it since.
            return Self::Buffer(unsafe { RxBuffer::from_raw(token.cast()) });
        }
        // SAFETY: Four divides the address of such a buffer, so three less is where it begins.
        let buffer = unsafe { token.byte_sub(UMEM) };
        // SAFETY: By the contract: the buffer was given up for the token, and nobody has got it since.
        Self::Umem(unsafe { UmemBuffer::from_raw(buffer.cast()) })
    }
}

/// A receive queue: holds empty buffers for the device to fill.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::napi::Poll,
///     virtio::net::RxQueue, //
/// };
///
/// /// The bytes that the device wrote to the next buffer.
/// fn next(poll: &Poll<'_>, queue: &mut RxQueue) -> Option<u32> {
///     queue.take(poll).map(|(_buffer, len)| len)
/// }
/// ```
pub struct RxQueue {
    queue: Virtqueue<RxRoom>,
    /// What was given last is memory of a socket.
    lent: bool,
}

impl Deref for RxQueue {
    type Target = Virtqueue<RxRoom>;

    #[inline]
    fn deref(&self) -> &Virtqueue<RxRoom> {
        &self.queue
    }
}

impl DerefMut for RxQueue {
    #[inline]
    fn deref_mut(&mut self) -> &mut Virtqueue<RxRoom> {
        &mut self.queue
    }
}

impl RxQueue {
    pub(super) fn new(queue: Virtqueue<RxRoom>) -> Self {
        Self { queue, lent: false }
    }

    /// The device that does DMA for the queue; null if addresses are not mapped for the device.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the queue is another device's.
    fn dma_device<T: Operations>(&self, dev: &Device<T>) -> Result<*mut bindings::device> {
        // SAFETY: The queue is live by its invariant; the field was set when it was found.
        if unsafe { addr_of!((*self.as_raw()).vdev).read() } != dev.parent().as_raw() {
            return Err(EINVAL);
        }
        // SAFETY: The queue is live by its invariant.
        Ok(unsafe { bindings::virtqueue_dma_dev(self.as_raw()) })
    }

    /// Maps the memory of sockets that the stack offers for this queue and its pair, for frames behind a header of so many
    /// bytes. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Offer`]; `EINVAL` if the queue is another device's or the header is too long; `EOPNOTSUPP` if
    /// addresses are not mapped for the device.
    pub fn accept<T: Operations>(
        &self,
        dev: &Device<T>,
        offer: Offer<'_>,
        header: usize,
    ) -> Result<(UmemRx, UmemTx)> {
        let device = self.dma_device(dev)?;
        // SAFETY: It is the one that does DMA for the queue, and so for the parent of `dev`, which is bound as long as
        // the network device is registered.
        unsafe { offer.accept(device, header) }
    }

    /// Gives the NAPI context `index` a pool for the queue's buffers, unless it has one. Its pages are mapped for the
    /// device once instead of at each [`Self::add`], unless all goes through bounce buffers. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the contexts run, `EINVAL` if there is no such context or the queue is another device's, `ENOMEM`, and
    /// others of the C functions.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel_net::{
    ///     net::netdevice::Device,
    ///     rtnl,
    ///     virtio::net::{
    ///         Operations,
    ///         RxQueue, //
    ///     }, //
    /// };
    ///
    /// /// Before the contexts run.
    /// fn prepare<T: Operations>(dev: &Device<T>, queue: &RxQueue, rtnl: &rtnl::Held) -> Result {
    ///     queue.make_pool(dev, 0, rtnl)
    /// }
    ///
    /// /// After that.
    /// fn clean_up<T: Operations>(dev: &Device<T>, queue: &mut RxQueue) {
    ///     if queue.reset().is_ok() {
    ///         dev.remove_pool(0);
    ///     }
    /// }
    /// ```
    pub fn make_pool<T: Operations>(
        &self,
        dev: &Device<T>,
        index: u16,
        rtnl: &rtnl::Held,
    ) -> Result {
        let device = self.dma_device(dev)?;
        // SAFETY: It is the one that does DMA for the queue, and so for the parent of `dev`, which is bound as long as that
        // has data.
        unsafe { dev.make_pool(index, self.num_max(), device, rtnl) }
    }

    /// Whether there is room for another buffer.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.num_free() > 0
    }

    /// Gives `buffer` to the device. It costs less if it is from a pool of [`Self::make_pool`] for this device.
    ///
    /// # Errors
    ///
    /// The buffer, if the queue is full or broken.
    pub fn add(&mut self, buffer: RxBuffer) -> Result<(), RxBuffer> {
        let (room, len) = (buffer.data().cast(), buffer.capacity());
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user by its invariant, with the buffer's memory: by its invariant so many bytes from there
        // on, of a page of a pool, which stay where they are. The function uses the pool's mapping only if it is
        // for the same device.
        let given = unsafe {
            self.queue.give(RxRoom::Buffer(buffer), |vq, token| {
                bindings::virtqueue_add_buffer(vq, room, len, token.as_ptr())
            })
        };
        match given {
            Ok(()) => {
                self.lent = false;
                Ok(())
            }
            Err((_, RxRoom::Buffer(buffer))) => Err(buffer),
            // It was a buffer that was given.
            Err((_, RxRoom::Umem(_))) => Ok(()),
        }
    }

    /// Gives memory of a socket to the device. The queue should have nothing else.
    ///
    /// # Errors
    ///
    /// The memory, if the queue is full or broken, or another device's.
    pub fn add_umem(&mut self, buffer: UmemBuffer) -> Result<(), UmemBuffer> {
        let (xdp, header, room) = (buffer.as_raw(), buffer.header_len(), buffer.room());
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no other user by its
        // invariant, with so many bytes of the buffer's memory, which is mapped, if for the same device.
        let given = unsafe {
            self.queue.give(RxRoom::Umem(buffer), |vq, token| {
                bindings::virtqueue_add_umem(vq, xdp, header, room, token.as_ptr())
            })
        };
        match given {
            Ok(()) => {
                self.lent = true;
                Ok(())
            }
            Err((_, RxRoom::Umem(buffer))) => Err(buffer),
            // It was memory of a socket that was given.
            Err((_, RxRoom::Buffer(_))) => Ok(()),
        }
    }

    /// Takes the next filled buffer and the number of bytes in it, at most the capacity. Memory of a socket is copied to one
    /// of the context's pool, and stays in the queue if there is none.
    #[inline]
    pub fn take(&mut self, poll: &Poll<'_>) -> Option<(RxBuffer, u32)> {
        if self.lent {
            return self.take_copy(poll);
        }
        let (RxRoom::Buffer(buffer), len) = self.queue.get_buf()? else {
            return None;
        };
        let len = len.min(buffer.capacity());
        // SAFETY: By the invariant of the buffer so many bytes from there on are its own, of a page of a pool.
        unsafe { bindings::page_pool_sync_buffer(buffer.data().cast(), len) };
        Some((buffer, len))
    }

    #[inline(never)]
    fn take_copy(&mut self, poll: &Poll<'_>) -> Option<(RxBuffer, u32)> {
        // Before the frame is taken.
        let mut to = poll.buffer(RxSize::Xdp)?;
        let len = self.take_umem()?.copy_to(&mut to);
        Some((to, len))
    }

    /// Takes the next memory of a socket that was filled.
    pub fn take_umem(&mut self) -> Option<UmemBuffer> {
        match self.queue.get_buf()? {
            (RxRoom::Umem(mut buffer), len) => {
                buffer.set_received(len);
                Some(buffer)
            }
            // The queue has one kind, as it is reset before it gets the other.
            (RxRoom::Buffer(_), _) => None,
        }
    }

    /// Drops the next filled buffer; false if there is none.
    pub fn skip(&mut self) -> bool {
        self.queue.get_buf().is_some()
    }
}
