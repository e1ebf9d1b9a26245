// SPDX-License-Identifier: GPL-2.0

//! Declarations of counters. One row has the field of a counter and its name in `ethtool -S`; all that
//! goes over the counters is generated from the rows.

#[cfg(espnic_kunit)]
mod tests;

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A counter that several contexts write at a time.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    /// Adds `n`. Any context.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The present value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

/// A counter that one context writes at a time, and anybody reads meanwhile. It costs no more than a plain
/// number, which is why it is one of `core`: each access to one of the kernel crate is a call of C. Nothing
/// depends on the order in which others see it change, which is where the two differ.
pub(crate) struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`. Nobody else may do so at the same time, or one of both is lost.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Counts one more, as [`Self::add`].
    #[inline]
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// The present value.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

/// Declares a structure of counters, with the names and the values of its rows in one order.
///
/// The fields of a `struct` are a [`Tally`] each, which can be added up. Those of a
/// `shared struct` are a [`Counter`] each. `with` names fields that are such structures themselves: they
/// are added up with the others, but are no rows.
macro_rules! counters {
    (
        $(#[$attr:meta])*
        struct $name:ident { $($(#[$doc:meta])* $field:ident: $label:literal,)* }
        $(with { $($inner:ident: $type:ty,)* })?
    ) => {
        $(#[$attr])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($(#[$doc])* pub(crate) $field: $crate::counters::Tally,)*
            $($(pub(crate) $inner: $type,)*)?
        }

        $crate::counters::counters!(@rows $name, $($label => |counters| counters.$field.get(),)*);

        impl $name {
            /// Adds `other` to this.
            pub(crate) fn add(&self, other: &Self) {
                $(self.$field.add(other.$field.get());)*
                $($(self.$inner.add(&other.$inner);)*)?
            }
        }
    };
    (
        $(#[$attr:meta])*
        shared struct $name:ident { $($(#[$doc:meta])* $field:ident: $label:literal,)* }
    ) => {
        $(#[$attr])*
        #[derive(Default)]
        pub(crate) struct $name { $($(#[$doc])* pub(crate) $field: $crate::counters::Counter,)* }

        $crate::counters::counters!(@rows $name, $($label => |counters| counters.$field.get(),)*);
    };
    (@rows $name:ident, $($label:literal => |$counters:ident| $value:expr,)*) => {
        impl $name {
            /// The names of the rows, as `ethtool -S` shows them.
            pub(crate) const NAMES: &'static [&'static ::kernel::str::CStr] = &[$($label,)*];

            /// The values of the rows.
            pub(crate) fn values(&self) -> [u64; Self::NAMES.len()] {
                [$({
                    let $counters = self;
                    $value
                },)*]
            }
        }

        // A name and the byte that ends it have 32 bytes (`ETH_GSTRING_LEN`).
        const _: () = { $(assert!($label.count_bytes() < 32);)* };
    };
}

pub(crate) use counters;
