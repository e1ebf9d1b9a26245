// SPDX-License-Identifier: GPL-2.0

//! What the NAPI contexts of a device receive with.

use super::{
    Device,
    Operations, //
};
use crate::{
    bindings,
    net::page_pool::Receiving,
    rtnl, //
};
use kernel::prelude::*;

impl<T: Operations> Device<T> {
    /// Makes a pool for the NAPI context `index` unless it has one. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the contexts run, `EINVAL` if there is no such context, `ENOMEM`, and others of the C functions.
    ///
    /// # Safety
    ///
    /// `dma` is null, or a device that can do DMA, and is bound as long as the driver's data lives.
    pub(crate) unsafe fn make_pool(
        &self,
        index: u16,
        buffers: u32,
        dma: *mut bindings::device,
        _rtnl: &rtnl::Held,
    ) -> Result {
        self.while_off(index, |napi, receiving| {
            if receiving.is_none() {
                // SAFETY: By the contract, and as `while_off` promises, which is also how it ends. There is a receive
                // queue for each context. RTNL is held.
                let made = unsafe {
                    Receiving::new(buffers, dma, self.as_raw(), index.into(), napi.as_raw())
                }?;
                *receiving = Some(made);
            }
            Ok(())
        })
        .unwrap_or(Err(EBUSY))
    }

    /// Ends the pool of the NAPI context `index`, unless contexts run. Does nothing if there is none. Sleeps.
    ///
    /// The device should have none of its buffers any more: they are no longer mapped for it.
    pub fn remove_pool(&self, index: u16) {
        // It is no error if they run, or if there is no such context.
        let _ = self.while_off(index, |_, receiving| {
            *receiving = None;
            Ok(())
        });
    }
}
