// SPDX-License-Identifier: GPL-2.0

//! Virtio devices, lent and counted.

use crate::{
    bindings,
    sync::Completion, //
};
use core::{
    ops::Deref,
    ptr::{
        addr_of_mut,
        NonNull, //
    }, //
};
use kernel::{
    device,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// The number of feature bits that the virtio core handles.
const FEATURE_BITS: u32 = 128;

/// A virtio device that is bound to a driver, or about to be.
///
/// # Invariants
///
/// The pointer to a `Device` is the pointer to a live `struct virtio_device`. As long as the reference
/// lives the core is binding it to a driver of ours, or it is bound to one.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::Device;
///
/// /// The MTU that the device asks for (VIRTIO_NET_F_MTU).
/// fn mtu(dev: &Device) -> Option<u16> {
///     const MTU: u32 = 3;
///     let mut mtu = [0; 2];
///     dev.has_feature(MTU).then(|| {
///         dev.read_config(10, &mut mtu);
///         u16::from_le_bytes(mtu)
///     })
/// }
/// ```
#[repr(transparent)]
pub struct Device(Opaque<bindings::virtio_device>);

impl Device {
    /// # Safety
    ///
    /// `ptr` is a live virtio device, and bound to a driver of ours or being bound, for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::virtio_device) -> &'a Self {
        // SAFETY: The device is live for the lifetime. CAST: `Device` is transparent over
        // `virtio_device`.
        // INVARIANT: By the contract.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// Whether feature `bit` was negotiated (in `validate`: offered, and in the driver's table).
    pub fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: The device is live by the invariant, and has a bit of this number.
        bit < FEATURE_BITS && unsafe { bindings::virtio_test_bit(self.as_raw(), bit) }
    }

    /// Reads `out.len()` bytes of the device configuration from `offset`. Sleeps.
    ///
    /// Read only fields whose feature was negotiated: beyond the end of the configuration the transport
    /// stops the kernel.
    pub fn read_config(&self, offset: u16, out: &mut [u8]) {
        // SAFETY: The device is live by the invariant. It has a configuration, or would not have been
        // bound, and the transport keeps it mapped until the device is unbound. `out` is valid for writes
        // of its length.
        unsafe {
            bindings::virtio_cread_bytes(
                self.as_raw(),
                u32::from(offset),
                out.as_mut_ptr().cast(),
                out.len(),
            )
        }
    }

    /// Sets DRIVER_OK, unless it is set.
    pub(crate) fn ready(&self) {
        const DRIVER_OK: u8 = 4;
        if self.status() & DRIVER_OK == 0 {
            // SAFETY: The device is live and its registers are mapped by the invariant.
            unsafe { bindings::virtio_device_ready(self.as_raw()) }
        }
    }

    fn status(&self) -> u8 {
        // SAFETY: The device is live by the invariant, and its registers are mapped until it is unbound.
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

    /// Waits for running callbacks of queues and configuration. Sleeps.
    pub(crate) fn synchronize_callbacks(&self) {
        // SAFETY: The device is live by the invariant, and so are its vectors, if it has any.
        unsafe { bindings::virtio_synchronize_cbs(self.as_raw()) }
    }

    /// Resets the device: no interrupt and no access to memory after this. Sleeps.
    pub(crate) fn reset(&self) {
        // SAFETY: The device is live by the invariant, and its registers are mapped until it is unbound.
        unsafe { bindings::virtio_reset_device(self.as_raw()) }
    }
}

impl AsRef<device::Device> for Device {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: The device is live by the invariant, and so is the `struct device` in it. CAST: Both
        // bindings describe the same C type, and `device::Device` is transparent over it.
        unsafe { &*addr_of_mut!((*self.as_raw()).dev).cast() }
    }
}

/// A counted reference that keeps a virtio device bound: unbinding waits until it is dropped.
///
/// Keep it in the driver's data, which is dropped when the device is unbound. Anywhere else it delays
/// unbinding, which then logs now and then that it waits.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::DeviceRef;
///
/// const STATUS: u32 = 16;
///
/// fn has_link(dev: &DeviceRef) -> bool {
///     let mut status = [0; 2];
///     if dev.has_feature(STATUS) {
///         dev.read_config(6, &mut status);
///     }
///     u16::from_le_bytes(status) & 1 != 0
/// }
/// ```
#[derive(Clone)]
pub struct DeviceRef(Arc<Binding>);

/// What all references to one device share, for as long as one driver has it.
///
/// # Invariants
///
/// `dev` is counted, and bound or being bound until this is dropped.
struct Binding {
    dev: NonNull<Device>,
    /// Whether the device has queues, or is being given some.
    queues: Atomic<bool>,
    /// Signalled when this is dropped.
    gone: Arc<Completion>,
}

// SAFETY: The device's methods are safe for any thread, and so is giving its reference back.
unsafe impl Send for Binding {}
// SAFETY: The device's methods may be called by several threads at a time; the rest is atomic.
unsafe impl Sync for Binding {}

impl DeviceRef {
    /// The interval at which [`Self::wait_released`] logs that it waits, in milliseconds.
    const PATIENCE_MS: u32 = 10_000;

    /// The first reference to a device that is being bound.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `dev` stays bound until the references are gone: whoever unbinds it, or fails to bind it, waits
    /// for [`Self::wait_released`] of this reference, or has not given clones of it to anybody.
    pub(super) unsafe fn new(dev: &Device) -> Result<Self> {
        let gone = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        // SAFETY: The device is live.
        unsafe { bindings::virtio_get_device(dev.as_raw()) };
        // INVARIANT: The device was counted, and stays bound by the contract.
        let binding = Binding {
            dev: dev.into(),
            queues: Atomic::new(false),
            gone,
        };
        Ok(Self(Arc::new(binding, GFP_KERNEL)?))
    }

    /// Gives this reference back and waits until there is none. Sleeps.
    pub(super) fn wait_released(self) {
        let gone = self.0.gone.clone();
        let log = ARef::<device::Device>::from((*self).as_ref());
        drop(self);
        while !gone.wait_timeout(Self::PATIENCE_MS) {
            dev_warn!(
                log,
                "cannot be unbound: somebody holds the device or a queue\n"
            );
        }
    }

    /// Takes the right to give the device queues; false if it has some.
    pub(super) fn claim_queues(&self) -> bool {
        !self.0.queues.xchg(true, Full)
    }

    /// Gives the right back, because the device has no queues any more.
    pub(super) fn disclaim_queues(&self) {
        self.0.queues.xchg(false, Full);
    }

    /// Whether the device has queues, or is being given some.
    pub(crate) fn has_queues(&self) -> bool {
        self.0.queues.load(Acquire)
    }
}

impl Deref for DeviceRef {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        // SAFETY: By the invariant of `Binding` the device is counted, and bound as long as we have it.
        unsafe { self.0.dev.as_ref() }
    }
}

impl AsRef<device::Device> for DeviceRef {
    fn as_ref(&self) -> &device::Device {
        (**self).as_ref()
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: The device is counted by the invariant. Ours is not the last reference: the device is
        // bound, and whoever unbinds it waits for the signal below.
        unsafe { bindings::virtio_put_device(self.dev.as_ref().as_raw()) };
        self.gone.complete_all();
    }
}

/// The features of a device while they can still be given up.
///
/// # Invariants
///
/// The core is in its call of the driver's `validate`, so nobody else looks at the features.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::Validation;
///
/// fn validate(dev: &Validation<'_>) -> Result {
///     const VERSION_1: u32 = 32;
///     match dev.has_feature(VERSION_1) {
///         true => Ok(()),
///         false => Err(ENODEV),
///     }
/// }
/// ```
pub struct Validation<'a>(&'a Device);

impl<'a> Validation<'a> {
    /// # Safety
    ///
    /// The core has called the driver's `validate` for this device, and waits for it during `'a`.
    pub(super) unsafe fn new(dev: &'a Device) -> Self {
        // INVARIANT: By the contract.
        Self(dev)
    }

    /// Whether feature `bit` is offered and in the driver's table.
    pub fn has_feature(&self, bit: u32) -> bool {
        self.0.has_feature(bit)
    }

    /// Gives feature `bit` up.
    pub fn clear_feature(&self, bit: u32) {
        if bit < FEATURE_BITS {
            // SAFETY: The device is live by its invariant, and has a bit of this number, at which nobody
            // else looks by ours.
            unsafe { bindings::virtio_clear_bit(self.0.as_raw(), bit) }
        }
    }
}
