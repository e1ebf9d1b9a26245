// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The espnic NIC: a virtio network device with inline IPsec (VIRTIO 1.4), served over vfio-user.
//!
//! From the guest to the wire: a transport ([`vfu`]) carries register accesses, interrupts and guest
//! memory to a PCI function ([`function`]); its registers are those of a virtio device ([`virtio`])
//! of type network ([`net`]); a worker per NIC ([`worker`]) moves frames ([`frame`]) between the queues,
//! the flow filter ([`filter`]), IPsec ([`ipsec`]) and a port ([`ports`]). [`admin`] carries out
//! administration commands. [`daemon`] puts it together from a command line ([`args`]).

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod admin;
pub mod args;
pub mod control;
pub mod crypto;
pub mod ctl;
pub mod daemon;
pub mod fault;
pub mod filter;
pub mod finish;
pub mod frame;
pub mod frames;
pub mod function;
pub mod ipsec;
pub mod irq;
pub mod limit;
pub mod logging;
pub mod mac;
pub mod memory;
pub mod misbehave;
pub mod net;
pub mod nic;
pub mod pci;
pub mod ports;
pub mod priority_lock;
pub mod sandbox;
pub mod socket;
pub mod spare;
pub mod stats;
pub mod testing;
pub mod transport;
pub mod vfu;
pub mod virtio;
mod words;
pub mod worker;
