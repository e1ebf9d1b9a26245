// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Algorithms (`ntddndis.h`). One value is both a bit of a capability mask and the identifier in an
//! SA. The numbers of authentication and encryption overlap, and null encryption is 1, not 0.

use crate::U32;

named! {
    /// IPSEC_OFFLOAD_V2_AUTHENTICATION_*: one algorithm or a mask of them. 0: none.
    pub struct Authentication(u32);
    /// HMAC-MD5-96.
    MD5 = 0x01, "IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5";
    /// HMAC-SHA-1-96.
    SHA_1 = 0x02, "IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1";
    /// HMAC-SHA-256-128.
    SHA_256 = 0x04, "IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256";
    /// AES-GMAC with a 128-bit key.
    AES_GCM_128 = 0x08, "IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128";
    /// AES-GMAC with a 192-bit key.
    AES_GCM_192 = 0x10, "IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192";
    /// AES-GMAC with a 256-bit key.
    AES_GCM_256 = 0x20, "IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256";
}

named! {
    /// IPSEC_OFFLOAD_V2_ENCRYPTION_*: one algorithm or a mask of them. 0: no algorithm at all.
    pub struct Encryption(u32);
    /// Null encryption (RFC 2410).
    NONE = 0x001, "IPSEC_OFFLOAD_V2_ENCRYPTION_NONE";
    /// DES-CBC.
    DES_CBC = 0x002, "IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC";
    /// Triple DES in CBC mode.
    TRIPLE_DES_CBC = 0x004, "IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC";
    /// AES-GCM with a 128-bit key.
    AES_GCM_128 = 0x008, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128";
    /// AES-GCM with a 192-bit key.
    AES_GCM_192 = 0x010, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192";
    /// AES-GCM with a 256-bit key.
    AES_GCM_256 = 0x020, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256";
    /// AES-CBC with a 128-bit key.
    AES_CBC_128 = 0x040, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128";
    /// AES-CBC with a 192-bit key.
    AES_CBC_192 = 0x080, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192";
    /// AES-CBC with a 256-bit key.
    AES_CBC_256 = 0x100, "IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256";
}

macro_rules! mask {
    ($name:ident, $every:expr) => {
        impl $name {
            /// Every bit that has a name.
            pub const EVERY: Self = Self($every);

            /// Whether no bit is set: the slot is not used, or nothing is supported.
            pub fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether this is the identifier of one algorithm: one bit, with a name.
            pub fn is_one(self) -> bool {
                self.name().is_some()
            }

            /// Whether all bits of `other` are set here.
            pub fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The algorithms in this mask that have names.
            pub fn each(self) -> impl Iterator<Item = Self> {
                Self::ALL
                    .iter()
                    .copied()
                    .filter(move |&one| self.contains(one))
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl core::ops::BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
    };
}

mask!(Authentication, 0x3f);
mask!(Encryption, 0x1ff);

impl Encryption {
    /// Whether this is a combined-mode cipher, which authenticates as well.
    pub fn is_combined(self) -> bool {
        matches!(
            self,
            Self::AES_GCM_128 | Self::AES_GCM_192 | Self::AES_GCM_256
        )
    }
}

layout! {
    /// IPSEC_OFFLOAD_V2_ALGORITHM_INFO: an algorithm and where its key is.
    pub struct AlgorithmInfo: 0x10 {
        /// One [`Authentication`] or [`Encryption`], or 0 for a slot without one.
        0x0: pub identifier: U32,
        /// Length of the key in bytes.
        0x4: pub key_length: U32,
        /// Where the key starts, in bytes from the start of the SA's key buffer.
        0x8: pub key_offset_bytes: U32,
        /// AES-GCM: length of the ICV in bytes. Else zero.
        0xc: pub additional_info: U32,
    }
}

impl AlgorithmInfo {
    /// The slot of an authentication algorithm.
    pub fn authentication(&self) -> Authentication {
        Authentication(self.identifier.get())
    }

    /// The slot of an encryption algorithm.
    pub fn encryption(&self) -> Encryption {
        Encryption(self.identifier.get())
    }

    /// Whether the slot holds nothing but zeros.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}
