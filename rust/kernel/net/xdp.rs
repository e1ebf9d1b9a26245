// SPDX-License-Identifier: GPL-2.0

//! Programs that see received frames before the stack (XDP).
//!
//! C header: [`include/net/xdp.h`](srctree/include/net/xdp.h)
//!
//! The stack gives a device a [`Program`] ([`Operations::set_program`]), which stays in a [`Slot`]. A run of NAPI
//! takes it from there, and runs it with an [`RxFrame`]: the memory of a buffer of [`RxSize::Xdp`], or of several if
//! the program takes frames in several pieces. The [`Verdict`] owns what the frame has become: a packet for the stack,
//! a [`Frame`] to transmit, or nothing any more.
//!
//! # Why this is sound
//!
//! - A program that a run of NAPI has found exists until the end of that run: softirqs are off, which RCU waits for
//!   before a program is freed. The token of the run bounds the reference.
//! - A program reads and writes what is between the begin of the buffer's memory and the shared info that the stack
//!   will have at its end, which nobody else has. The verifier has proven that it does nothing else, and helpers
//!   that move the ends of the frame check them.
//! - The shared info lists the pieces behind the first one. What a helper takes out of the list it gives back to the page
//!   pool. It lets the last piece grow to the end of memory of the size that the receive queue says, and that all pieces have.
//! - What a program asks about the receive queue is that of the context that runs, as is the device that it names.
//!
//! [`Operations::set_program`]: crate::net::netdevice::Operations::set_program
//! [`RxSize::Xdp`]: crate::net::skbuff::RxSize::Xdp

pub mod features;
mod frame;
mod pieces;
mod program;
mod queue;
mod run;
pub mod umem;

pub use frame::{
    Frame,
    Given, //
};
pub use program::{
    Active,
    Program,
    Slot, //
};
pub(super) use queue::RxQueue;
pub use run::{
    Judgement,
    RxFrame,
    Verdict, //
};
