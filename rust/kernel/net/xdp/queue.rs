// SPDX-License-Identifier: GPL-2.0

//! What programs and frames know of the receive queue that a frame came from.

use crate::{
    bindings,
    net::{
        page_pool::PagePool,
        skbuff::RxSize, //
    }, //
};
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
pub(in crate::net) struct RxQueue(KBox<Opaque<bindings::xdp_rxq_info>>);

impl RxQueue {
    /// Queue `index` of a device, whose frames are buffers of `pool`. Sleeps.
    ///
    /// The pool then ends with the later one of both.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and others of the C functions.
    ///
    /// # Safety
    ///
    /// The device lives as long as the result.
    pub(in crate::net) unsafe fn new(
        netdev: *mut bindings::net_device,
        index: u32,
        pool: &PagePool,
    ) -> Result<Self> {
        let info = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;
        let piece = RxSize::Xdp.truesize();
        // SAFETY: The structure is zeroed, and stays where it is. The device lives, by the contract. Each piece of a frame
        // has memory of so many bytes: see `Pieces`.
        to_result(unsafe { bindings::xdp_rxq_info_reg(info.get(), netdev, index, piece) })?;
        // INVARIANT: It is registered with a device, and dropping it undoes that, also if the pool is missing.
        let queue = Self(info);
        // SAFETY: The structure is registered, and the pool exists. It is kept by the structure from here on.
        to_result(unsafe { bindings::xdp_rxq_info_use_pool(queue.as_raw(), pool.as_raw()) })?;
        Ok(queue)
    }

    pub(super) fn as_raw(&self) -> *mut bindings::xdp_rxq_info {
        self.0.get()
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        // SAFETY: The structure is registered by the invariant, and not used afterwards. This does not look at the
        // device, and gives the pool back, if there is one.
        unsafe { bindings::xdp_rxq_info_unreg(self.as_raw()) }
    }
}
