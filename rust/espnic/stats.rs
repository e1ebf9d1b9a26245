// SPDX-License-Identifier: GPL-2.0

//! Statistics: `ip -s link` and `ethtool -S`.

use crate::{
    nic::Nic,
    rx,
    tx, //
};
use kernel::prelude::*;
use kernel_net::net::{
    device::Stats64,
    ethtool::Statistics, //
};

/// The names of `ethtool -S`, in the order of [`all`].
pub(crate) const NAMES: &[&CStr] = &[
    c"tx_packets",
    c"tx_bytes",
    c"tx_dropped",
    c"tx_tso_packets",
    c"tx_timeouts",
    c"rx_packets",
    c"rx_bytes",
    c"rx_dropped",
    c"rx_malformed",
    c"rx_no_buffer",
    c"ipsec_tx_packets",
    c"ipsec_tx_bytes",
    c"ipsec_tx_drop_stale",
    c"ipsec_tx_drop_format",
    c"ipsec_rx_packets",
    c"ipsec_rx_bytes",
    c"ipsec_rx_auth_failed",
    c"ipsec_rx_format_failed",
    c"ipsec_rx_unprocessed",
    c"ipsec_rx_drop_stale",
    c"ipsec_rx_drop_no_memory",
    c"ipsec_rx_drop_mismatch",
    c"ipsec_rx_drop_diverted",
    c"ipsec_sa_added",
    c"ipsec_sa_deleted",
    c"ipsec_sa_refused",
    c"ipsec_sa_left_to_software",
    c"ipsec_control_errors",
    c"nic_resets",
];

/// The counters of all channels together.
fn totals(nic: &Nic) -> (rx::Counters, tx::Counters) {
    let mut rx = rx::Counters::default();
    let mut tx = tx::Counters::default();
    for channel in &nic.channels {
        rx.add(&channel.rx.lock().counters);
        tx.add(&channel.tx.lock().counters);
    }
    (rx, tx)
}

/// The counters of `ip -s link`.
pub(crate) fn interface(nic: &Nic, stats: &mut Stats64) {
    let (rx, tx) = totals(nic);
    stats.rx_packets = rx.packets;
    stats.rx_bytes = rx.bytes;
    stats.rx_dropped = rx.dropped.wrapping_add(rx.ipsec.dropped());
    stats.rx_errors = rx.malformed;
    stats.tx_packets = tx.packets;
    stats.tx_bytes = tx.bytes;
    stats.tx_dropped = tx.dropped.wrapping_add(tx.ipsec.dropped());
}

/// The counters of `ethtool -S`.
pub(crate) fn all(nic: &Nic, out: &mut Statistics<'_>) {
    let (rx, tx) = totals(nic);
    let [added, deleted, refused, left, control_errors, resets] = nic.ipsec.counters();
    let values = [
        tx.packets,
        tx.bytes,
        tx.dropped,
        tx.tso,
        tx.timeouts,
        rx.packets,
        rx.bytes,
        rx.dropped,
        rx.malformed,
        rx.no_buffer,
        tx.ipsec.packets,
        tx.ipsec.bytes,
        tx.ipsec.stale,
        tx.ipsec.format,
        rx.ipsec.packets,
        rx.ipsec.bytes,
        rx.ipsec.auth_failed,
        rx.ipsec.format_failed,
        rx.ipsec.unprocessed,
        rx.ipsec.stale,
        rx.ipsec.no_memory,
        rx.ipsec.mismatched,
        rx.ipsec.diverted,
        added,
        deleted,
        refused,
        left,
        control_errors,
        resets,
    ];
    kernel::static_assert!(NAMES.len() == 29);
    let values: [u64; 29] = values;
    values.into_iter().for_each(|value| out.push(value));
}
