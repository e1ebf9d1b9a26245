// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Crypto-only SAs ([`espnic_wire::sa::TAIL_CRYPTO_ONLY`]): ESP header, sequence number, padding and
//! lifetimes belong to the driver; the NIC encrypts, or verifies and decrypts, in place.

pub(super) mod rx;
pub(super) mod sa;
pub(super) mod tx;
