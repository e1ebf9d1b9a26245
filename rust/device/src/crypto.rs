// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ciphers of the NIC, by intel-ipsec-mb (x86-64) or by aws-lc (everywhere).
//!
//! All implement [`espnic_esp::engine::Transform`], so the engine depends on none of them. `unsafe` is
//! needed to call the libraries, to place keys and to prefetch; it is confined to four modules.

#[allow(unsafe_code)]
mod arena;
pub mod aws_lc;
mod backend;
pub mod cbc_hmac;
mod cipher;
mod ct_eq;
#[allow(unsafe_code)]
pub mod evp_aead;
pub mod gmac;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod ipsec_mb;
mod iv;
pub mod joint;
mod libraries;
#[allow(unsafe_code)]
mod prefetch;
pub mod random;
mod suite;

pub(crate) use arena::{Arena, Placed};
pub use backend::{AnyAead, Backend};
pub use cipher::Cipher;
pub use libraries::Libraries;
pub use prefetch::{Lines, Region};
pub use suite::{KeyError, Keys, Suite};

#[cfg(test)]
mod tests;
