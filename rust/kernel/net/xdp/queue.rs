// SPDX-License-Identifier: GPL-2.0

//! What programs and frames know of the receive queue that a frame came from.

use crate::{
    bindings,
    net::{
        netdevice::{
            Operations,
            Unregistered, //
        },
        page_pool::PagePool,
        skbuff::RxSize, //
    }, //
};
use core::ptr::addr_of;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A receive queue, as programs know it.
///
/// # Invariants
///
/// The structure is registered, with a device and with a page pool.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     netdevice::{
///         Operations,
///         Unregistered, //
///     },
///     page_pool::PagePool,
///     xdp::RxQueue, //
/// };
///
/// /// The first queue of a device, with its pool.
/// fn first<T: Operations>(net: &Unregistered<T>, ring: u32) -> Result<(PagePool, RxQueue)> {
///     let pool = PagePool::new(ring)?;
///     let queue = RxQueue::new(net, 0, &pool)?;
///     Ok((pool, queue))
/// }
/// ```
pub struct RxQueue(KBox<Opaque<bindings::xdp_rxq_info>>);

// SAFETY: The structure belongs to no thread.
unsafe impl Send for RxQueue {}
// SAFETY: Nothing writes to the structure between its registration and its end.
unsafe impl Sync for RxQueue {}

impl RxQueue {
    /// Queue `index` of a device, whose frames are buffers of `pool`. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and others of the C functions.
    pub fn new<T: Operations>(net: &Unregistered<T>, index: u16, pool: &PagePool) -> Result<Self> {
        let info = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;
        let piece = RxSize::Xdp.truesize();
        // SAFETY: The structure is zeroed, and stays where it is. The device exists; it is not looked at after it is
        // gone: see `device`. Each piece of a frame has memory of so many bytes: see `Pieces`.
        to_result(unsafe {
            bindings::xdp_rxq_info_reg(info.get(), net.as_raw(), index.into(), piece)
        })?;
        // INVARIANT: It is registered with a device, and dropping it undoes that, also if the pool is missing.
        let queue = Self(info);
        // SAFETY: The structure is registered, and the pool exists. It is kept by the structure from here on.
        to_result(unsafe { bindings::xdp_rxq_info_use_pool(queue.as_raw(), pool.as_raw()) })?;
        Ok(queue)
    }

    pub(super) fn as_raw(&self) -> *mut bindings::xdp_rxq_info {
        self.0.get()
    }

    /// The device; it may be gone.
    pub(super) fn device(&self) -> *mut bindings::net_device {
        // SAFETY: The structure is initialised by the invariant, and not written to.
        unsafe { addr_of!((*self.as_raw()).dev).read() }
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        // SAFETY: The structure is registered by the invariant, and not used afterwards. This does not look at the
        // device, and gives the pool back, if there is one.
        unsafe { bindings::xdp_rxq_info_unreg(self.as_raw()) }
    }
}
