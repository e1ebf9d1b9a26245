// SPDX-License-Identifier: GPL-2.0

//! Misc devices that keep their module loaded.
//!
//! The kernel crate's registration leaves the owner of the file operations out: a module could be
//! unloaded under an open file. It also has no `poll` and no file mode.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    fs::{
        file::flags::O_NONBLOCK,
        File,
        Kiocb,
        LocalFile, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions, //
    },
    prelude::*,
    sync::poll::PollTable,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    ThisModule, //
};

/// The events of a file that has data to read.
pub const READABLE: u32 = bindings::POLLIN | bindings::POLLRDNORM;

/// A misc device that can be polled.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::File,
///     miscdevice::{
///         MiscDevice,
///         MiscDeviceRegistration, //
///     },
///     sync::poll::PollTable,
///     ThisModule, //
/// };
/// use kernel_net::misc::{
///     Pollable,
///     READABLE, //
/// };
///
/// /// A file that always has data.
/// struct Zeros;
///
/// #[vtable]
/// impl MiscDevice for Zeros {
///     type Ptr = KBox<Self>;
///
///     fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
///         Ok(KBox::new(Self, GFP_KERNEL)?)
///     }
/// }
///
/// impl Pollable for Zeros {
///     const MODULE: &'static ThisModule = kernel_net::this_module!(MyModule);
///
///     fn poll(_device: &Self, _file: &File, _table: PollTable<'_>) -> u32 {
///         READABLE
///     }
/// }
/// ```
pub trait Pollable: MiscDevice {
    /// The module that an open file keeps.
    const MODULE: &'static ThisModule;

    /// Registers for wake-ups and returns the current events, such as [`READABLE`].
    fn poll(
        device: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        file: &File,
        table: PollTable<'_>,
    ) -> u32;
}

/// A registered misc device; an open file keeps the module loaded.
///
/// # Invariants
///
/// `inner` is registered. Its operations are part of the module, so they outlive the files that are open
/// when the registration is dropped.
///
/// # Examples
///
/// ```
/// use kernel_net::misc::{
///     Pollable,
///     Registration, //
/// };
///
/// /// `/dev/null-nic`, for root only, until the returned value is dropped.
/// fn register<T: Pollable>() -> Result<Pin<KBox<Registration<T>>>> {
///     KBox::pin_init(Registration::new(c"null-nic", 0o600), GFP_KERNEL)
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct Registration<T: Pollable> {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
    _device: PhantomData<T>,
}

// SAFETY: The registration has no methods, and may be undone by any thread.
unsafe impl<T: Pollable> Send for Registration<T> {}
// SAFETY: The registration has no methods.
unsafe impl<T: Pollable> Sync for Registration<T> {}

impl<T: Pollable> Registration<T> {
    /// The kernel crate's operations, with the owner and `poll` added.
    const OPERATIONS: &'static bindings::file_operations = &{
        let raw = MiscDeviceOptions { name: c"" }.into_raw::<T>();
        // SAFETY: The kernel crate points to a constant.
        let mut operations = unsafe { *raw.fops };
        operations.owner = T::MODULE.as_ptr();
        operations.poll = Some(Self::poll);
        operations
    };

    /// Registers `/dev/NAME` with the permissions `mode`. Must be the last step of the module's
    /// initialisation: if a later step fails while a file is open, the module is unloaded nevertheless.
    ///
    /// # Errors
    ///
    /// Those of `misc_register`.
    pub fn new(name: &'static CStr, mode: u16) -> impl PinInit<Self, Error> {
        let mut raw = MiscDeviceOptions { name }.into_raw::<T>();
        raw.fops = Self::OPERATIONS;
        raw.mode = mode;
        // INVARIANT: The structure is registered, or there is an error and no registration.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
                // SAFETY: The structure is complete, and pinned until the drop deregisters it.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
            _device: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with an open file of the device.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The kernel crate's `open` stored the private data; it lives until `release`.
        let device = unsafe { <T::Ptr as ForeignOwnable>::borrow((*file).private_data) };
        // SAFETY: The file is open during the call.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The VFS passes null, or a table that is valid during the call.
        T::poll(device, file, unsafe { PollTable::from_raw(table) })
    }
}

#[pinned_drop]
impl<T: Pollable> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the invariant, and pinned.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}

/// Whether the file is non-blocking (`O_NONBLOCK`), so that `read` must not wait.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::Kiocb,
///     types::ForeignOwnable, //
/// };
/// use kernel_net::misc;
///
/// /// Before a wait for data.
/// fn before_wait<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> Result {
///     match misc::is_nonblocking(kiocb) {
///         true => Err(EAGAIN),
///         false => Ok(()),
///     }
/// }
/// ```
pub fn is_nonblocking<T: ForeignOwnable>(kiocb: &Kiocb<'_, T>) -> bool {
    // SAFETY: The control block and its file live during the read.
    let file = unsafe { LocalFile::from_raw_file((*kiocb.as_raw()).ki_filp) };
    file.flags() & O_NONBLOCK != 0
}
