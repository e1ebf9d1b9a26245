// SPDX-License-Identifier: GPL-2.0

//! Programs for received frames (XDP): what they need of the NIC, and their counters.
//!
//! A program sees frames one by one. So large receives are off as long as there is one, and the MTU is bounded if it
//! takes frames in one piece only. What the NIC has decrypted a program can only drop: see [`crate::datapath`].

use crate::counters::counters;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel_net::net::{
    napi::Poll,
    netdevice::features as netif,
    xdp::{
        Active,
        Program,
        Slot, //
    }, //
};

counters! {
    /// What programs did with received frames since the start.
    struct Received {
        /// Frames that a program has seen; those of IPsec are among them.
        packets: c"rx_xdp_packets",
        /// Dropped, as the program wanted.
        drops: c"rx_xdp_drops",
        /// Sent where they came from.
        sent: c"rx_xdp_tx",
        /// Given to another device or CPU.
        redirects: c"rx_xdp_redirects",
        /// The program has failed, or said something that is no action.
        aborted: c"rx_xdp_aborted",
        /// To be sent on, but that was not possible, or passed, but there was no memory.
        lost: c"rx_xdp_lost",
        /// No program could see them, because they are too long, or stand for several.
        unfit: c"rx_xdp_unfit",
        /// What the NIC has taken through IPsec and a program would have sent on.
        ipsec: c"rx_xdp_drop_ipsec",
        /// A program has seen them in the memory of a socket (AF_XDP).
        in_place: c"rx_xdp_in_place",
    }
}

impl Received {
    /// Frames that were lost without a program's wish.
    pub(crate) fn dropped(&self) -> u64 {
        [&self.aborted, &self.lost, &self.unfit, &self.ipsec]
            .into_iter()
            .fold(0, |sum, counter| sum.wrapping_add(counter.get()))
    }
}

counters! {
    /// What became of the frames that programs send since the start.
    struct Sent {
        /// Given to the NIC.
        packets: c"tx_xdp_packets",
        /// There was no room for them, or for the NIC's header in front of them.
        drops: c"tx_xdp_drops",
        /// A policy of packet offload forbids them, or demands protection.
        policy: c"tx_xdp_drop_policy",
        /// Given to the NIC in the memory of a socket (AF_XDP).
        in_place: c"tx_xdp_in_place",
    }
}

impl Sent {
    pub(crate) fn dropped(&self) -> u64 {
        self.drops.get().wrapping_add(self.policy.get())
    }
}

/// The program of a NIC.
pub(crate) struct Xdp {
    slot: Slot,
    /// Large receives must be off, because there is a program, or is to be one. Changes under RTNL.
    wanted: Atomic<bool>,
}

impl Xdp {
    pub(crate) fn new() -> Self {
        Self {
            slot: Slot::new(),
            wanted: Atomic::new(false),
        }
    }

    /// The program of now, for the rest of a run of NAPI.
    #[inline]
    pub(crate) fn program<'a>(&self, poll: &'a Poll<'_>) -> Option<Active<'a>> {
        self.slot.get(poll)
    }

    /// Runs another program from now on, or none.
    pub(crate) fn replace(&self, program: Option<Program>) {
        self.slot.replace(program);
    }

    /// Says whether there is to be a program, for [`Self::fix_features`]. RTNL held.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// Removes from `features` what there cannot be with a program.
    pub(crate) fn fix_features(&self, features: u64) -> u64 {
        match self.wanted.load(Relaxed) {
            true => features & !netif::GRO_HW,
            false => features,
        }
    }
}
