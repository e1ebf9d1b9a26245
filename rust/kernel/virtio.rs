// SPDX-License-Identifier: GPL-2.0

//! The virtio bus, for drivers of network functions.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

pub mod control;
pub mod queue;
pub mod receive;
pub mod transmit;

use crate::{
    bindings,
    net::device::{
        reset_done,
        reset_prepare,
        resume,
        schedule_work,
        suspend,
        Operations,
        Registration, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    device,
    device_id::{
        IdTable as KernelIdTable,
        RawDeviceId, //
    },
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque,
    ThisModule, //
};

/// A virtio device during a driver callback, or behind a [`DeviceRef`].
///
/// # Invariants
///
/// The pointer to a `Device` is the pointer to a live `struct virtio_device`.
#[repr(transparent)]
pub struct Device(Opaque<bindings::virtio_device>);

impl Device {
    /// # Safety
    ///
    /// `ptr` is a live virtio device that outlives `'a`.
    unsafe fn from_raw<'a>(ptr: *mut bindings::virtio_device) -> &'a Self {
        // SAFETY: By the contract. CAST: `Device` is transparent over `virtio_device`.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// Whether feature `bit` was negotiated (in `validate`: offered, and in the driver's table).
    pub fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: The device is live. The core masks bits beyond its range.
        bit < FEATURE_BITS && unsafe { bindings::virtio_test_bit(self.as_raw(), bit) }
    }

    /// Gives feature `bit` up; in `validate` only.
    fn clear_feature(&self, bit: u32) {
        if bit < FEATURE_BITS {
            // SAFETY: The device is live; `Validation` exists in `validate` only.
            unsafe { bindings::virtio_clear_bit(self.as_raw(), bit) }
        }
    }

    /// Reads `out.len()` bytes of the device configuration from `offset`. Sleeps.
    ///
    /// The caller reads fields only whose feature was negotiated.
    pub fn read_config(&self, offset: u16, out: &mut [u8]) {
        // SAFETY: The device is live, `out` valid for writes.
        unsafe {
            bindings::virtio_cread_bytes(
                self.as_raw(),
                u32::from(offset),
                out.as_mut_ptr().cast(),
                out.len(),
            )
        }
    }

    /// Sets DRIVER_OK: from now on the device may use the queues. Once after each reset.
    pub fn ready(&self) {
        // SAFETY: The device is live.
        unsafe { bindings::virtio_device_ready(self.as_raw()) }
    }

    fn status(&self) -> u8 {
        // SAFETY: The device is live.
        unsafe { bindings::virtio_get_status(self.as_raw()) }
    }

    /// Whether the device asks for a reset (status bit DEVICE_NEEDS_RESET). Sleeps.
    pub fn needs_reset(&self) -> bool {
        const DEVICE_NEEDS_RESET: u8 = 64;
        self.status() & DEVICE_NEEDS_RESET != 0
    }

    /// Whether the last attempt to take the device into use failed (status bit FAILED). Sleeps.
    pub(crate) fn has_failed(&self) -> bool {
        const FAILED: u8 = 128;
        self.status() & FAILED != 0
    }

    fn as_dev(&self) -> &device::Device<device::CoreInternal<'_>> {
        // SAFETY: The embedded `struct device` is live. CAST: Both bindings describe the same C
        // type, and `device::Device` is transparent over it.
        unsafe { &*core::ptr::addr_of_mut!((*self.as_raw()).dev).cast() }
    }
}

impl AsRef<device::Device> for Device {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: As in `as_dev`.
        unsafe { &*core::ptr::addr_of_mut!((*self.as_raw()).dev).cast() }
    }
}

/// The number of feature bits that the virtio core handles.
const FEATURE_BITS: u32 = 128;

/// A counted reference to a virtio device; keeps the structure, not the binding.
pub struct DeviceRef(NonNull<Device>);

// SAFETY: The reference count is atomic, and the methods are safe for any thread.
unsafe impl Send for DeviceRef {}
// SAFETY: As above.
unsafe impl Sync for DeviceRef {}

impl From<&Device> for DeviceRef {
    fn from(dev: &Device) -> Self {
        // SAFETY: The device is live.
        unsafe { bindings::virtio_get_device(dev.as_raw()) };
        Self(dev.into())
    }
}

impl core::ops::Deref for DeviceRef {
    type Target = Device;

    fn deref(&self) -> &Device {
        // SAFETY: We hold a reference.
        unsafe { self.0.as_ref() }
    }
}

impl DeviceRef {
    /// Waits for running callbacks of queues and configuration. Sleeps.
    pub(crate) fn synchronize_callbacks(&self) {
        // SAFETY: The device is live.
        unsafe { bindings::virtio_synchronize_cbs(self.as_raw()) }
    }

    /// Resets the device: no interrupt and no access to memory after this. Sleeps.
    pub(crate) fn reset(&self) {
        // SAFETY: The device is live.
        unsafe { bindings::virtio_reset_device(self.as_raw()) }
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: We hold a reference.
        unsafe { bindings::virtio_put_device(self.as_raw()) }
    }
}

/// The features of a device while they can still be given up.
pub struct Validation<'a>(&'a Device);

impl Validation<'_> {
    /// Whether feature `bit` is offered and in the driver's table.
    pub fn has_feature(&self, bit: u32) -> bool {
        self.0.has_feature(bit)
    }

    /// Gives feature `bit` up.
    pub fn clear_feature(&self, bit: u32) {
        self.0.clear_feature(bit)
    }
}

/// A `struct virtio_device_id`: which devices a driver takes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::virtio_device_id);

impl DeviceId {
    /// A network device with PCI subsystem vendor `vendor`.
    pub const fn net(vendor: u32) -> Self {
        Self(bindings::virtio_device_id {
            device: bindings::VIRTIO_ID_NET,
            vendor,
        })
    }
}

// SAFETY: `DeviceId` is transparent over `virtio_device_id`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::virtio_device_id;
}

/// The table of devices that a driver takes.
pub type IdTable = &'static dyn KernelIdTable<DeviceId, ()>;

/// A driver of virtio network functions.
pub trait Driver: 'static {
    /// The network device that it makes.
    type Net: Operations;

    /// The devices that it takes.
    const ID_TABLE: IdTable;

    /// The feature bits that it knows, each below 128.
    const FEATURES: &'static [u32];

    /// Looks at the offered features before they are accepted. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENODEV` leaves the device to other drivers.
    fn validate(dev: &Validation<'_>) -> Result;

    /// Makes the network device. Sleeps.
    fn probe(dev: &Device) -> Result<Registration<Self::Net>>;
}

/// The adapter for the registration of a [`Driver`].
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
        let device_driver = unsafe { core::ptr::addr_of_mut!((*drv).driver) };
        let device_driver: *mut kernel::bindings::device_driver = device_driver.cast();
        // SAFETY: As above.
        unsafe {
            (*device_driver).name = name.to_bytes_with_nul().as_ptr().cast();
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
        // SAFETY: By the contract.
        if !unsafe { bindings::virtio_has_config(vdev) } {
            // The device has no configuration, and whoever read it would jump to address 0.
            return EINVAL.to_errno();
        }
        // SAFETY: By the contract.
        let dev = unsafe { Device::from_raw(vdev) };
        from_result(|| T::validate(&Validation(dev)).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live device.
    unsafe extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By the contract.
        let dev = unsafe { Device::from_raw(vdev) };
        from_result(|| {
            let registration = T::probe(dev)?;
            dev.as_dev().set_drvdata(Ok::<_, Error>(registration))?;
            // The core keeps what the driver before us has switched off: stock virtio_net leaves
            // reports of changes off, and with them requests for a reset.
            // SAFETY: The device is live, and what `config_changed_callback` needs is in place.
            unsafe { bindings::virtio_config_driver_enable(vdev) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the virtio core with a device that `probe_callback` bound.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: By the contract.
        let dev = unsafe { Device::from_raw(vdev) };
        // SAFETY: `probe_callback` stored the data of this type; it is dropped after this callback.
        let data = unsafe { dev.as_dev().drvdata_borrow::<Registration<T::Net>>() };
        data.shutdown();
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device, before the machine sleeps.
    unsafe extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        unsafe { suspend::<T::Net>((*vdev).priv_.cast()) };
        0
    }

    /// # Safety
    ///
    /// Called by the virtio core after `freeze_callback`, with features negotiated anew.
    unsafe extern "C" fn restore_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { resume::<T::Net>((*vdev).priv_.cast()) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device, before a reset.
    unsafe extern "C" fn reset_prepare_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        unsafe { reset_prepare::<T::Net>((*vdev).priv_.cast()) };
        0
    }

    /// # Safety
    ///
    /// Called by the virtio core with a bound device whose features are negotiated anew.
    unsafe extern "C" fn reset_done_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`.
        from_result(|| unsafe { reset_done::<T::Net>((*vdev).priv_.cast()) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live device, in a hard interrupt.
    unsafe extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device is live; `priv` is null or the device made for `T::Net`, see `queue`.
        unsafe { schedule_work::<T::Net>((*vdev).priv_.cast()) }
    }
}
