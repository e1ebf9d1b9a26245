// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers that have names in the NDIS headers.

/// A newtype whose values have names: constants, [`Display`](core::fmt::Display) and a look-up by name.
macro_rules! named {
    (
        $(#[$attr:meta])*
        pub struct $name:ident($int:ty);
        $($(#[$cattr:meta])* $constant:ident = $value:expr, $text:literal;)*
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$cattr])* pub const $constant: Self = Self($value);)*

            /// Every value that has a name.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name in the headers.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($text),)*
                    _ => None,
                }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$constant),)*
                    _ => None,
                }
            }
        }

        /// The name in the headers; a number for a value without one.
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }
    };
}

/// A layout: size and offsets stand beside the fields and are asserted at compile time. Its default
/// is all zeros.
macro_rules! layout {
    (
        $(#[$attr:meta])*
        pub struct $name:ident: $size:literal {
            $($(#[$fattr:meta])* $offset:literal: pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attr])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy_derive::FromBytes, zerocopy_derive::Immutable, zerocopy_derive::IntoBytes,
            zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fattr])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            assert!(align_of::<$name>() == 1);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
    };
}
