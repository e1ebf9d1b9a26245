// SPDX-License-Identifier: GPL-2.0

//! The control queue: requests with an answer.

use crate::{
    bindings,
    random,
    sync::Completion,
    virtio::{
        payload::sealed::Payload,
        virtqueue::Virtqueue, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        flags::__GFP_ZERO,
        Flags, //
    },
    prelude::*,
    sync::Arc, //
};

/// The bytes of a request and of its answer. Each has a memory of its own, because the device may reach
/// the whole page of either.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::control::{
///     zeroed,
///     ControlQueue,
///     Exchange,
///     Waiter, //
/// };
///
/// /// Sends a request, and returns where its answer will be.
/// fn send(queue: &mut ControlQueue, request: KVec<u8>) -> Result<kernel::sync::Arc<Waiter>> {
///     let waiter = Waiter::new(GFP_KERNEL)?;
///     let exchange = Exchange {
///         request,
///         answer: zeroed(1, GFP_KERNEL)?,
///         written: 0,
///         waiter: Some(waiter.clone()),
///     };
///     let exchange = KBox::new(exchange, GFP_KERNEL)?;
///     queue.send(exchange).map_err(|(error, _)| error)?;
///     Ok(waiter)
/// }
/// ```
pub struct Exchange {
    /// Class, command, and the command's data; not empty. Erased when the exchange is dropped, because
    /// it may hold keys.
    pub request: KVec<u8>,
    /// Room for the device's acknowledgement, a byte, and for the result behind it; not empty.
    pub answer: KVec<u8>,
    /// How many bytes of `answer` the device wrote.
    pub written: u32,
    /// The waiter for the answer.
    pub waiter: Option<Arc<Waiter>>,
}

impl Exchange {
    /// The device's acknowledgement and the result behind it, as far as the device wrote them.
    pub fn answered(&self) -> Option<(u8, &[u8])> {
        let (&ack, result) = self.answer.get(..self.written as usize)?.split_first()?;
        Some((ack, result))
    }
}

/// Where an answered [`Exchange`] is left for its sender.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::control::Waiter;
///
/// /// Whether the device has acknowledged within a second.
/// fn wait(waiter: &Waiter) -> bool {
///     let done = waiter.done.wait_timeout(1000);
///     let exchange = waiter.exchange.lock().take();
///     done && exchange.is_some_and(|exchange| matches!(exchange.answered(), Some((0, _))))
/// }
/// ```
#[pin_data]
pub struct Waiter {
    /// Signalled after the exchange was left.
    #[pin]
    pub done: Completion,
    /// The answered exchange.
    #[pin]
    pub exchange: crate::sync::SpinLockIrq<Option<KBox<Exchange>>>,
}

impl Waiter {
    /// Makes a waiter for one exchange.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(flags: Flags) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- Completion::new(),
                exchange <- crate::new_lock!(None),
            }),
            flags,
        )
    }
}

/// `len` zero bytes for an [`Exchange`].
///
/// # Errors
///
/// `ENOMEM`.
pub fn zeroed(len: usize, flags: Flags) -> Result<KVec<u8>> {
    let mut bytes = KVec::with_capacity(len, flags | __GFP_ZERO)?;
    // SAFETY: There are at least `len` bytes, which the allocator has cleared.
    unsafe { bytes.inc_len(len) };
    Ok(bytes)
}

impl Drop for Exchange {
    fn drop(&mut self) {
        random::erase(&mut self.request);
        // Lost in a reset: no answer will come.
        if let Some(waiter) = &self.waiter {
            waiter.done.complete_all();
        }
    }
}

impl Payload for KBox<Exchange> {
    fn into_token(self) -> NonNull<c_void> {
        NonNull::from(KBox::leak(self)).cast()
    }

    unsafe fn from_token(token: NonNull<c_void>) -> Self {
        // SAFETY: By the contract: the box was leaked for the token, and nobody has got it since.
        unsafe { KBox::from_raw(token.as_ptr().cast()) }
    }
}

/// The control queue.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::control::ControlQueue;
///
/// /// Hands answers to their waiters.
/// fn drain(queue: &mut ControlQueue) {
///     while let Some(mut exchange) = queue.take() {
///         if let Some(waiter) = exchange.waiter.take() {
///             *waiter.exchange.lock() = Some(exchange);
///             waiter.done.complete_all();
///         }
///     }
/// }
/// ```
pub type ControlQueue = Virtqueue<KBox<Exchange>>;

impl ControlQueue {
    /// Sends `exchange` and rings the doorbell. Does not sleep.
    ///
    /// # Errors
    ///
    /// What is wrong, and the exchange: `EBUSY` if the queue is full, `ENOMEM` if the memory cannot be
    /// mapped for the device, `ENODEV` if the queue is broken, `EINVAL` if request or answer are empty.
    pub fn send(&mut self, mut exchange: KBox<Exchange>) -> Result<(), (Error, KBox<Exchange>)> {
        let mut sgs: [MaybeUninit<bindings::scatterlist>; 2] = [const { MaybeUninit::uninit() }; 2];
        let [first, second] = &mut sgs;
        let mut lists = [first.as_mut_ptr(), second.as_mut_ptr()];
        let exchanged = &mut *exchange;
        let parts = [&mut exchanged.request, &mut exchanged.answer];
        if parts.iter().any(|part| part.is_empty()) {
            return Err((EINVAL, exchange));
        }
        for (&list, part) in lists.iter().zip(parts) {
            // SAFETY: `list` has one entry.
            unsafe { bindings::sg_init_table(list, 1) };
            // SAFETY: The entry is initialised; the vector has so many bytes, and is not empty.
            unsafe { bindings::sg_set_buf(list, part.as_mut_ptr().cast(), part.len() as u32) };
        }
        // SAFETY: The closure adds the token to the queue that it is passed, which is live and has no
        // other user by its invariant, with the two vectors. The exchange owns them, and is not touched
        // until the queue gives it back, so they stay where they are; there is one list to read and one to
        // write.
        let given = unsafe {
            self.give(exchange, |vq, token| {
                let flags = kernel::bindings::GFP_ATOMIC;
                bindings::virtqueue_add_sgs(vq, lists.as_mut_ptr(), 1, 1, token.as_ptr(), flags)
            })
        };
        given.map_err(|(error, exchange)| (self.why_refused(error), exchange))?;
        self.kick();
        Ok(())
    }

    /// Translates an error of `virtqueue_add_sgs()`.
    fn why_refused(&self, error: Error) -> Error {
        match error {
            _ if self.is_broken() => ENODEV,
            ENOSPC => EBUSY,
            error => error,
        }
    }

    /// Takes the next answered exchange.
    pub fn take(&mut self) -> Option<KBox<Exchange>> {
        let (mut exchange, len) = self.get_buf()?;
        exchange.written = len;
        Some(exchange)
    }
}
