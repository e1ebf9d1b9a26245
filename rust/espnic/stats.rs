// SPDX-License-Identifier: GPL-2.0

//! Statistics: `ip -s link` and `ethtool -S`.

use crate::{
    events,
    ipsec,
    nic::Nic,
    rx,
    tx,
    xdp, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ethtool::Statistics, //
    netdevice::{
        RxQueueStats,
        Stats64,
        TxQueueStats, //
    },
};

/// The counters of all channels together.
#[derive(Default)]
struct Totals {
    rx: rx::Counters,
    tx: tx::Counters,
}

impl Totals {
    fn of(nic: &Nic) -> Self {
        let totals = Self::default();
        for channel in &nic.channels {
            totals.rx.add(&channel.received);
            totals.tx.add(&channel.sent);
        }
        totals
    }
}

/// The counters of `ip -s link`.
pub(crate) fn interface(nic: &Nic, stats: &mut Stats64) {
    let Totals { rx, tx } = Totals::of(nic);
    stats.rx_packets = rx.packets.get();
    stats.rx_bytes = rx.bytes.get();
    stats.rx_dropped = rx.all_dropped();
    stats.rx_errors = rx.malformed.get();
    stats.tx_packets = tx.packets.get();
    stats.tx_bytes = tx.bytes.get();
    stats.tx_dropped = tx.all_dropped();
}

/// The counters of a receive queue.
pub(crate) fn receive_queue(rx: &rx::Counters) -> RxQueueStats {
    RxQueueStats {
        packets: rx.packets.get(),
        bytes: rx.bytes.get(),
        alloc_fail: rx.no_buffer.get(),
        csum_unnecessary: rx.verified.get(),
        csum_none: rx.unverified.get(),
        hw_gro_packets: rx.large.get(),
        hw_gro_wire_packets: rx.segments.get(),
    }
}

/// The counters of a transmit queue.
pub(crate) fn transmit_queue(tx: &tx::Counters) -> TxQueueStats {
    TxQueueStats {
        packets: tx.packets.get(),
        bytes: tx.bytes.get(),
        csum_none: tx.complete.get(),
        needs_csum: tx.checksums.get(),
        hw_gso_packets: tx.tso.get(),
        hw_gso_wire_packets: tx.segments.get(),
        stop: tx.stopped.get(),
        wake: tx.woken.get(),
    }
}

/// Puts names and values of `ethtool -S` in one order: a row has the type of a group of counters, and
/// where it is.
macro_rules! groups {
    (|$nic:ident, $totals:ident| $($group:ty = $counters:expr,)*) => {
        const GROUPS: &[&[&CStr]] = &[$(<$group>::NAMES,)*];

        /// The counters of `ethtool -S`, in the order of [`NAMES`].
        pub(crate) fn all($nic: &Nic, out: &mut Statistics<'_>) {
            let $totals = Totals::of($nic);
            $({
                let group: &$group = &$counters;
                group.values().into_iter().for_each(|value| out.push(value));
            })*
        }
    };
}

groups! {
    |nic, totals|
    tx::Counters = totals.tx,
    rx::Counters = totals.rx,
    ipsec::crypto::tx::Counters = totals.tx.ipsec,
    ipsec::crypto::rx::Counters = totals.rx.ipsec,
    ipsec::packet::tx::Counters = totals.tx.packet,
    ipsec::packet::rx::Counters = totals.rx.packet,
    xdp::Sent = totals.tx.xdp,
    xdp::Received = totals.rx.xdp,
    ipsec::Counters = nic.ipsec.counters,
    events::Counters = nic.events.counters,
}

/// The names of `ethtool -S`.
pub(crate) const NAMES: &[&CStr] = &names();

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

/// The names of all groups. At compile time only.
const fn names() -> [&'static CStr; COUNT] {
    let mut names = [c""; COUNT];
    let (mut next, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            names[next] = GROUPS[group][row];
            next += 1;
            row += 1;
        }
        group += 1;
    }
    names
}
