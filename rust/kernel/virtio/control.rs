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
    },
    ptr::addr_of_mut, //
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

/// The bytes of a request and of its answer, each in one piece of memory.
///
/// The split into `head` and `body` follows control commands: class and command, then the data; and
/// one byte of acknowledgement, then the result.
pub struct Exchange {
    /// Class and command.
    pub head: [u8; 2],
    /// The request's data; erased when the exchange is dropped, because it may hold keys.
    pub request: KVec<u8>,
    /// The device's acknowledgement.
    pub ack: u8,
    /// The device's answer.
    pub answer: KVec<u8>,
    /// How many bytes of `ack` and `answer` together the device wrote.
    pub written: u32,
    /// Who waits for the answer.
    pub waiter: Option<Arc<Waiter>>,
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
    /// The exchange, if the queue is full or broken.
    pub fn send(&mut self, exchange: KBox<Exchange>) -> Result<(), KBox<Exchange>> {
        let raw = KBox::into_raw(exchange);
        let mut sgs: [MaybeUninit<bindings::scatterlist>; 4] = [const { MaybeUninit::uninit() }; 4];
        let base: *mut bindings::scatterlist = sgs.as_mut_ptr().cast();
        // SAFETY: `raw` is a valid exchange on the heap, so its parts stay where they are until the
        // queue returns it; each list below has one entry.
        let ret = unsafe {
            let parts = [
                (addr_of_mut!((*raw).head).cast::<c_void>(), 2),
                ((*raw).request.as_mut_ptr().cast(), (*raw).request.len()),
                (addr_of_mut!((*raw).ack).cast(), 1),
                ((*raw).answer.as_mut_ptr().cast(), (*raw).answer.len()),
            ];
            // The standard forbids empty buffers; only the answer, which is the last, can be empty.
            let inputs = if (*raw).answer.is_empty() { 1 } else { 2 };
            let mut lists = [core::ptr::null_mut(); 4];
            for (i, (ptr, len)) in parts.into_iter().enumerate().take(2 + inputs as usize) {
                let sg = base.add(i);
                bindings::sg_init_table(sg, 1);
                bindings::sg_set_buf(sg, ptr, len as u32);
                if let Some(list) = lists.get_mut(i) {
                    *list = sg;
                }
            }
            bindings::virtqueue_add_sgs(
                self.queue.vq.as_ptr(),
                lists.as_mut_ptr(),
                2,
                inputs,
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
