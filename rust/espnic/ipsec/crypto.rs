// SPDX-License-Identifier: GPL-2.0

//! Crypto offload: the stack builds and strips ESP, and the NIC does the encryption.

pub(super) mod check;
mod esn;
pub(super) mod object;
pub(crate) mod rx;
pub(crate) mod tx;
