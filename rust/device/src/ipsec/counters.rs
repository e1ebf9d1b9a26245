// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters of inline IPsec. Names are stable: tests and people read them.

use super::drop::{RxDrop, TxDrop};
use super::sent::Sent;
use crate::stats::counters;
use espnic_esp::decap;
use espnic_esp::engine::Error;
use espnic_wire::hdr::{self, NetHdr48};
use serde::Serialize;

counters! {
    /// What the engine did.
    pub(super) struct Counters {
        /// Frames encrypted, each segment counted.
        tx_packets: "ipsec_tx_packets",
        /// Bytes of these frames.
        tx_bytes: "ipsec_tx_bytes",
        /// Frames of the guest that were segmented.
        tx_gso: "ipsec_tx_gso",
        /// Frames of the guest, not segmented, whose inner checksum was completed.
        tx_csum: "ipsec_tx_csum",
        /// See [`TxDrop::NoSa`].
        tx_drop_no_sa: "ipsec_tx_drop_no_sa",
        /// See [`TxDrop::Stale`].
        tx_drop_stale: "ipsec_tx_drop_stale",
        /// See [`TxDrop::Format`].
        tx_drop_format: "ipsec_tx_drop_format",
        /// See [`TxDrop::Unsupported`].
        tx_drop_unsupported: "ipsec_tx_drop_unsupported",
        /// See [`TxDrop::Long`].
        tx_drop_long: "ipsec_tx_drop_long",
        /// See [`TxDrop::Sequence`]. In packet mode each segment without a number counts.
        tx_drop_sequence: "ipsec_tx_drop_sequence",
        /// See [`TxDrop::Limit`]. Packets, so each segment beyond the limit counts.
        tx_drop_limit: "ipsec_tx_drop_limit",
        /// See [`TxDrop::HopLimit`].
        tx_drop_hop_limit: "ipsec_tx_drop_hop_limit",
        /// Frames verified and decrypted.
        rx_packets: "ipsec_rx_packets",
        /// Bytes of these frames.
        rx_bytes: "ipsec_rx_bytes",
        /// Frames decrypted in which a checksum was verified.
        rx_csum_valid: "ipsec_rx_csum_valid",
        /// Frames with an SA whose outer IPv4 header has a wrong checksum.
        rx_header_fail: "ipsec_rx_header_fail",
        /// Frames with a wrong ICV.
        rx_auth_fail: "ipsec_rx_auth_fail",
        /// Authentic frames with wrong padding.
        rx_format_fail: "ipsec_rx_format_fail",
        /// Frames too short for their SA, or whose text does not fill blocks.
        rx_length_fail: "ipsec_rx_length_fail",
        /// Frames that the cipher cannot process.
        rx_unsupported: "ipsec_rx_unsupported",
        /// Frames that had come before.
        rx_replay: "ipsec_rx_replay",
        /// Frames behind the replay window.
        rx_late: "ipsec_rx_late",
        /// Frames after a hard limit of their SA.
        rx_limit: "ipsec_rx_limit",
        /// Authentic frames whose content is no packet of the SA's mode.
        rx_inner_fail: "ipsec_rx_inner_fail",
        /// Authentic frames that tell of congestion what their content cannot.
        rx_congestion: "ipsec_rx_congestion",
        /// Authentic dummy packets.
        rx_dummy: "ipsec_rx_dummy",
        /// Refused frames and dummy packets that were not delivered.
        rx_dropped: "ipsec_rx_dropped",
        /// ESP without an SA, delivered untouched.
        rx_no_sa: "ipsec_rx_no_sa",
    }
}

/// The statistics of an engine. Names are stable: tests and people read them.
#[derive(Serialize)]
pub struct Stats<'a> {
    #[serde(flatten)]
    pub(super) counters: &'a Counters,
    /// Inbound SAs that there are.
    pub ipsec_sa_in: u64,
    /// Outbound SAs that there are.
    pub ipsec_sa_out: u64,
    /// Faults on purpose.
    pub ipsec_faults: u64,
    /// Requests to the driver to delete an SA.
    pub ipsec_delete_requests: u64,
}

impl Counters {
    /// Counts `packets` packets of the guest that were dropped.
    pub(super) fn dropped(&self, drop: TxDrop, packets: u64) {
        let counter = match drop {
            TxDrop::NoSa => &self.tx_drop_no_sa,
            TxDrop::Stale => &self.tx_drop_stale,
            TxDrop::Format => &self.tx_drop_format,
            TxDrop::Unsupported => &self.tx_drop_unsupported,
            TxDrop::Long => &self.tx_drop_long,
            TxDrop::Sequence => &self.tx_drop_sequence,
            TxDrop::Limit => &self.tx_drop_limit,
            TxDrop::HopLimit => &self.tx_drop_hop_limit,
        };
        counter.add(packets);
    }

    /// Counts a frame from the wire that has an SA and was refused.
    pub(super) fn refused(&self, drop: RxDrop) {
        let counter = match drop {
            RxDrop::Engine(Error::Auth) => &self.rx_auth_fail,
            RxDrop::Engine(Error::Format) | RxDrop::Content(decap::Error::Padding) => {
                &self.rx_format_fail
            }
            RxDrop::Engine(Error::Length) => &self.rx_length_fail,
            RxDrop::Engine(Error::Unsupported) => &self.rx_unsupported,
            RxDrop::Replay => &self.rx_replay,
            RxDrop::Late => &self.rx_late,
            RxDrop::Limit => &self.rx_limit,
            RxDrop::Content(decap::Error::Dummy) => &self.rx_dummy,
            RxDrop::Content(decap::Error::Congestion) => &self.rx_congestion,
            RxDrop::Content(
                decap::Error::Headers | decap::Error::NextHeader | decap::Error::Inner,
            ) => &self.rx_inner_fail,
        };
        counter.inc();
    }

    /// Adds what a batch has counted.
    pub(super) fn add(&self, tally: &Tally) {
        let counts = [
            (&self.tx_packets, tally.tx_packets),
            (&self.tx_bytes, tally.tx_bytes),
            (&self.tx_gso, tally.tx_gso),
            (&self.tx_csum, tally.tx_csum),
            (&self.rx_packets, tally.rx_packets),
            (&self.rx_bytes, tally.rx_bytes),
            (&self.rx_csum_valid, tally.rx_csum_valid),
        ];
        for (counter, count) in counts {
            if count != 0 {
                counter.add(count);
            }
        }
    }
}

/// The packets of a batch that succeeded. The counters themselves are shared by threads, and too slow
/// to be written for every packet.
#[derive(Default)]
pub(super) struct Tally {
    tx_packets: u64,
    tx_bytes: u64,
    tx_gso: u64,
    tx_csum: u64,
    rx_packets: u64,
    rx_bytes: u64,
    rx_csum_valid: u64,
}

impl Tally {
    /// Counts a frame of the guest and what it became.
    #[inline]
    pub(super) fn transmitted(&mut self, hdr: &NetHdr48, sent: Sent) {
        self.tx_packets += u64::from(sent.frames);
        self.tx_bytes += u64::from(sent.bytes);
        if hdr.net.gso_type != hdr::GSO_NONE {
            self.tx_gso += 1;
        } else if hdr.has(hdr::F_NEEDS_CSUM) {
            self.tx_csum += 1;
        }
    }

    /// Takes back frames that could not be sent after all.
    #[cold]
    pub(super) fn failed(&mut self, sent: &Sent) {
        self.tx_packets = self.tx_packets.wrapping_sub(sent.frames.into());
        self.tx_bytes = self.tx_bytes.wrapping_sub(sent.bytes.into());
    }

    /// Counts a frame from the wire that was decrypted, and whether it has a verified checksum.
    #[inline]
    pub(super) fn received(&mut self, checksum: bool, len: usize) {
        self.rx_packets += 1;
        self.rx_bytes += len as u64;
        self.rx_csum_valid += u64::from(checksum);
    }
}
