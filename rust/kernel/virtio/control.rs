// SPDX-License-Identifier: GPL-2.0

//! The control queue: requests with an answer.

use crate::{
    bindings,
    random,
    virtio::queue::Queue, //
};
use core::{
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{
    alloc::{
        flags::__GFP_ZERO,
        Flags, //
    },
    prelude::*,
    sync::Arc, //
};

use crate::sync::Completion;

/// The bytes of a request and of its answer, each in a piece of memory that holds nothing else: the
/// device may reach all of a page on which one of them is.
pub struct Exchange {
    /// Class, command, and the command's data; not empty. Erased when the exchange is dropped, because
    /// it may hold keys.
    pub request: KVec<u8>,
    /// Room for the device's acknowledgement, a byte, and for the result behind it; not empty.
    pub answer: KVec<u8>,
    /// How many bytes of `answer` the device wrote.
    pub written: u32,
    /// Who waits for the answer.
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
        // Lost in a reset: nobody will answer.
        if let Some(waiter) = &self.waiter {
            waiter.done.complete_all();
        }
    }
}

/// The control queue.
pub struct ControlQueue {
    pub(super) queue: Queue,
}

impl Deref for ControlQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for ControlQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl ControlQueue {
    /// Sends `exchange` and rings the doorbell. Does not sleep.
    ///
    /// # Errors
    ///
    /// The exchange, if the queue is full or broken, or if request or answer are empty.
    pub fn send(&mut self, exchange: KBox<Exchange>) -> Result<(), KBox<Exchange>> {
        if exchange.request.is_empty() || exchange.answer.is_empty() {
            return Err(exchange);
        }
        let raw = KBox::into_raw(exchange);
        let mut sgs: [MaybeUninit<bindings::scatterlist>; 2] = [const { MaybeUninit::uninit() }; 2];
        let base: *mut bindings::scatterlist = sgs.as_mut_ptr().cast();
        // SAFETY: `raw` is a valid exchange, and its two vectors stay where they are until the queue
        // returns it; both lists have one entry, within `sgs`.
        let ret = unsafe {
            let mut lists = [base, base.add(1)];
            let parts = [&mut (*raw).request, &mut (*raw).answer];
            for (list, part) in lists.into_iter().zip(parts) {
                bindings::sg_init_table(list, 1);
                bindings::sg_set_buf(list, part.as_mut_ptr().cast(), part.len() as u32);
            }
            bindings::virtqueue_add_sgs(
                self.queue.vq.as_ptr(),
                lists.as_mut_ptr(),
                1,
                1,
                raw.cast(),
                kernel::bindings::GFP_ATOMIC,
            )
        };
        if ret == 0 {
            self.queue.kick();
            Ok(())
        } else {
            // SAFETY: The queue did not take the token.
            Err(unsafe { KBox::from_raw(raw) })
        }
    }

    /// Takes the next answered exchange.
    pub fn take(&mut self) -> Option<KBox<Exchange>> {
        let (token, len) = self.queue.get()?;
        // SAFETY: Tokens of this queue are boxed exchanges.
        let mut exchange: KBox<Exchange> = unsafe { KBox::from_raw(token.as_ptr().cast()) };
        exchange.written = len;
        Some(exchange)
    }
}
