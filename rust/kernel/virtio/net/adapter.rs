// SPDX-License-Identifier: GPL-2.0

//! The registration of a driver, and the callbacks of the virtio core.

use super::{
    events::{
        reset_done,
        reset_prepare,
        resume,
        schedule_work,
        suspend, //
    },
    Driver, //
};
use crate::{
    bindings,
    net::netdevice::{
        Registration,
        Unregistered, //
    },
    virtio::{
        Device,
        DeviceRef,
        Validation, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::addr_of_mut, //
};
use kernel::{
    device,
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque,
    ThisModule, //
};

/// The adapter for the registration of a [`Driver`]. It owns the network devices that it makes.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub struct Adapter<T: Driver>(PhantomData<T>);

// SAFETY: `virtio_driver` is a C type that embeds a `device_driver` at the offset; the private data
// of a bound device is what `probe_callback` stores.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = Registration<T::Net>;
    const DEVICE_DRIVER_OFFSET: usize = core::mem::offset_of!(bindings::virtio_driver, driver);
}

// SAFETY: `unregister` undoes a successful `register`.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        drv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let drv = drv.get();
        // CAST: Both bindings describe the same C type.
        // SAFETY: The caller gives us the structure to fill.
        let device_driver = unsafe { addr_of_mut!((*drv).driver) };
        let device_driver: *mut kernel::bindings::device_driver = device_driver.cast();
        // SAFETY: The field is part of the structure.
        unsafe { (*device_driver).name = name.to_bytes_with_nul().as_ptr().cast() };
        // SAFETY: The structure is ours until it is registered. The tables live on, and the functions
        // are those that the core expects.
        unsafe {
            (*drv).id_table = T::ID_TABLE.as_ptr();
            (*drv).feature_table = T::FEATURES.as_ptr();
            (*drv).feature_table_size = T::FEATURES.len() as u32;
            (*drv).validate = Some(Self::validate_callback);
            (*drv).probe = Some(Self::probe_callback);
            (*drv).remove = Some(Self::remove_callback);
            (*drv).config_changed = Some(Self::config_changed_callback);
            (*drv).freeze = Some(Self::freeze_callback);
            (*drv).restore = Some(Self::restore_callback);
            (*drv).reset_prepare = Some(Self::reset_prepare_callback);
            (*drv).reset_done = Some(Self::reset_done_callback);
        }
        // SAFETY: `drv` is complete and pinned until `unregister`.
        to_result(unsafe { bindings::__register_virtio_driver(drv, module.as_ptr().cast()) })
    }

    unsafe fn unregister(drv: &Opaque<Self::DriverType>) {
        // SAFETY: The caller promises that the driver is registered.
        unsafe { bindings::unregister_virtio_driver(drv.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    /// # Safety
    ///
    /// Called by the virtio core with a live device.
    unsafe extern "C" fn validate_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live.
        if !unsafe { bindings::virtio_has_config(vdev) } {
            // The device has no configuration; reading it would jump to address 0.
            return EINVAL.to_errno();
        }
        // SAFETY: The device is live, and the core is binding it, during the call.
        let dev = unsafe { Device::from_raw(vdev) };
        // SAFETY: This is the callback `validate`.
        let validation = unsafe { Validation::new(dev) };
        from_result(|| T::validate(&validation).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live device that is not bound; it counts as bound until
    /// `remove_callback`, unless this fails.
    unsafe extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        from_result(|| {
            // SAFETY: The device is live, and the core is binding it, during the call.
            let dev = unsafe { Device::from_raw(vdev) };
            let pairs = T::queue_pairs(dev);
            // SAFETY: `Unregistered` owns the reference, and releases it when it is taken down: by
            // `remove_callback`, or here if this fails. If it is not made nobody has a clone.
            let parent = unsafe { DeviceRef::new(dev)? };
            let mut net = Unregistered::<T::Net>::new(parent, pairs)?;
            T::probe(&mut net)?;
            let registration = net.register()?;
            // SAFETY: The device is live, and this is the callback that binds it.
            let dev = unsafe { as_core(vdev) };
            dev.set_drvdata(Ok::<_, Error>(registration))?;
            // The core keeps what an earlier driver has switched off. virtio_net leaves
            // configuration changes off, and with them requests for a reset.
            // SAFETY: The device is live, and what `config_changed_callback` needs is in place.
            unsafe { bindings::virtio_config_driver_enable(vdev) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the virtio core with a device that `probe_callback` bound.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device is live, and this is the callback that unbinds it.
        let dev = unsafe { as_core(vdev) };
        // SAFETY: `probe_callback` stored the data of this type; it is dropped after this callback.
        let data = unsafe { dev.drvdata_borrow::<Registration<T::Net>>() };
        data.shutdown();
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device, before the machine sleeps.
    unsafe extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { suspend::<T::Net>(vdev) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core after `freeze_callback`, with features negotiated anew.
    unsafe extern "C" fn restore_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { resume::<T::Net>(vdev) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device, before a reset.
    unsafe extern "C" fn reset_prepare_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { reset_prepare::<T::Net>(vdev) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device whose features are negotiated anew.
    unsafe extern "C" fn reset_done_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { reset_done::<T::Net>(vdev) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live device, in a hard interrupt.
    unsafe extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`. Taking that down
        // resets the virtio device, which stops these interrupts, and waits for those that run.
        unsafe { schedule_work::<T::Net>(vdev) }
    }
}

/// The `struct device` of a virtio device in the context of its bus (`Core`).
///
/// # Safety
///
/// `vdev` is live for `'a`, and this is a callback of its bus that binds or unbinds it.
unsafe fn as_core<'a>(
    vdev: *mut bindings::virtio_device,
) -> &'a device::Device<device::CoreInternal<'a>> {
    // SAFETY: The device is live for the lifetime. CAST: Both bindings describe the same C type, and `device::Device` is
    // transparent over it.
    unsafe { &*addr_of_mut!((*vdev).dev).cast() }
}
