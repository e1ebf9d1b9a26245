// SPDX-License-Identifier: GPL-2.0

//! Memory of sockets (AF_XDP): what the stack says of it.

use super::{
    Device,
    Operations, //
};
use crate::{
    bindings,
    net::xdp::umem::{
        Bound,
        Offer, //
    },
    rtnl, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*,
    sync::Mutex, //
};

impl<T: Operations> Device<T> {
    fn umems(&self) -> &Mutex<KVec<Option<Bound>>> {
        // SAFETY: The private area is valid as long as the device is.
        unsafe { &(*self.private()).umems }
    }

    /// # Safety
    ///
    /// The stack offers `pool` for queue pair `queue` of this device, and RTNL is held.
    unsafe fn take_umem(
        &self,
        pool: NonNull<bindings::xsk_buff_pool>,
        queue: u16,
        rtnl: &rtnl::Held,
    ) -> Result {
        let is_free = self
            .umems()
            .lock()
            .get(usize::from(queue))
            .is_some_and(Option::is_none);
        if !is_free {
            return Err(EINVAL);
        }
        let mut bound = None;
        // SAFETY: By the contract. The stack takes the pool back before the device is unregistered, by `return_umem`; and below
        // it is given back if it is not taken.
        let offer = unsafe { Offer::new(pool, self.as_raw(), queue, &mut bound) };
        let taken = T::add_umem(self, offer, rtnl);
        let Some(bound) = bound else {
            return taken.and(Err(EINVAL));
        };
        if let Err(error) = taken {
            bound.end();
            return Err(error);
        }
        // There is such a place, and nobody else changes it meanwhile: RTNL is held.
        if let Some(place) = self.umems().lock().get_mut(usize::from(queue)) {
            *place = Some(bound);
        }
        Ok(())
    }

    /// RTNL is held.
    fn return_umem(&self, queue: u16, rtnl: &rtnl::Held) {
        T::remove_umem(self, queue, rtnl);
        let mut umems = self.umems().lock();
        let bound = umems.get_mut(usize::from(queue)).and_then(Option::take);
        drop(umems);
        if let Some(bound) = bound {
            bound.end();
        }
    }
}

/// # Safety
///
/// Called by the stack with RTNL held, with a request of `XDP_SETUP_XSK_POOL`.
pub(super) unsafe fn set_up<T: Operations>(
    dev: &Device<T>,
    request: *mut bindings::netdev_bpf,
) -> c_int {
    // SAFETY: It is a request of this kind.
    let (pool, queue) = unsafe {
        (
            bindings::bpf_setup_pool(request),
            bindings::bpf_setup_queue(request),
        )
    };
    // SAFETY: By the contract.
    let rtnl = unsafe { rtnl::Held::assume() };
    from_result(|| {
        match NonNull::new(pool) {
            // SAFETY: The stack offers the pool, with RTNL held.
            Some(pool) => unsafe { dev.take_umem(pool, queue, rtnl) }?,
            None => dev.return_umem(queue, rtnl),
        }
        Ok(0)
    })
}

/// # Safety
///
/// Called by the stack for a registered device of `T`, on behalf of a socket whose memory it has taken.
pub(super) unsafe extern "C" fn wakeup_callback<T: Operations>(
    dev: *mut bindings::net_device,
    queue: u32,
    _flags: u32,
) -> c_int {
    // SAFETY: By the contract; registered devices have initialised data and a bound parent.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    match (u16::try_from(queue), dev.is_running()) {
        (Ok(queue), true) => {
            T::wake_umem(dev, queue);
            0
        }
        (Ok(_), false) => -(bindings::ENETDOWN as c_int),
        (Err(_), _) => EINVAL.to_errno(),
    }
}
