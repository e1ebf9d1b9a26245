// SPDX-License-Identifier: GPL-2.0

//! The differences between the supported kernels. No other file depends on a version.
//!
//! `Kbuild` sets `linux_7_3` for Linux 7.3 and later. When the oldest supported kernel is 7.3, remove
//! the other half of each pair below, and move the rest of the pair to where it is used.

use kernel::{
    module_param::ModuleParamAccess,
    prelude::*, //
};

/// The value of a module parameter.
#[cfg(linux_7_3)]
pub fn parameter<T: Copy>(access: &ModuleParamAccess<T>) -> T {
    access.value()
}

/// The value of a module parameter.
#[cfg(not(linux_7_3))]
pub fn parameter<T: Copy>(access: &ModuleParamAccess<T>) -> T {
    *access.value()
}

/// Runs an initialiser on `slot`.
///
/// # Errors
///
/// Those of `init`. `slot` is uninitialised then, and needs no drop.
///
/// # Safety
///
/// `slot` is valid for writes, and it does not move until it is dropped. After an error it is not
/// used.
pub(crate) unsafe fn pin_init_at<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    #[cfg(linux_7_3)]
    // SAFETY: `slot` is valid for writes, stays where it is, and is not used after an error, by the
    // contract.
    return unsafe { pin_init::raw_try_init(slot, init) };
    #[cfg(not(linux_7_3))]
    // SAFETY: `slot` is valid for writes, stays where it is, and is not used after an error, by the
    // contract.
    return unsafe { init.__pinned_init(slot) };
}

/// Creates the [`IdTable`] `$table` with its alias for modpost. [`IdTable`] has the example.
///
/// [`IdTable`]: crate::virtio::IdTable
#[cfg(linux_7_3)]
#[macro_export]
macro_rules! virtio_device_table {
    ($table:ident, [$($id:expr),* $(,)?]) => {
        ::kernel::module_device_table!(
            "virtio", $crate::virtio::DeviceId, $table, @none, [$($id),*]
        );
    };
}

/// Creates the [`IdTable`] `$table` with its alias for modpost. [`IdTable`] has the example.
///
/// [`IdTable`]: crate::virtio::IdTable
#[cfg(not(linux_7_3))]
#[macro_export]
macro_rules! virtio_device_table {
    ($table:ident, [$($id:expr),* $(,)?]) => {
        const $table: ::kernel::device_id::IdArray<
            $crate::virtio::DeviceId,
            (),
            { <[$crate::virtio::DeviceId]>::len(&[$($id),*]) },
        > = ::kernel::device_id::IdArray::new_without_index([$(($id, ())),*]);

        ::kernel::module_device_table!("virtio", MODULE_DEVICE_TABLE, $table);
    };
}

/// The module whose type is `$module`, as a constant reference.
///
/// # Examples
///
/// ```
/// use kernel::ThisModule;
///
/// // The type that the driver's `module!` names.
/// const MODULE: &ThisModule = kernel_net::this_module!(MyModule);
/// ```
#[cfg(linux_7_3)]
#[macro_export]
macro_rules! this_module {
    ($module:ty) => {
        &<$module as ::kernel::ModuleMetadata>::THIS_MODULE
    };
}

/// The module whose type is `$module`, as a constant reference.
///
/// # Examples
///
/// ```
/// use kernel::ThisModule;
///
/// // The type that the driver's `module!` names.
/// const MODULE: &ThisModule = kernel_net::this_module!(MyModule);
/// ```
// `crate` is the one that uses the macro, which is the module's.
#[cfg(not(linux_7_3))]
#[expect(clippy::crate_in_macro_def)]
#[macro_export]
macro_rules! this_module {
    ($module:ty) => {
        &crate::THIS_MODULE
    };
}
