// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters of inline IPsec. Names are stable: tests and people read them.

use super::drop::TxDrop;
use super::tx::Sent;
use crate::stats::Counter;
use espnic_esp::engine::Error;
use espnic_wire::hdr::{self, NetHdr48};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        #[derive(Default)]
        pub(super) struct Counters { $($(#[$doc])* pub(super) $field: Counter,)* }

        impl Counters {
            /// Name and value of every counter.
            pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get()),)*]
            }
        }
    };
}

counters! {
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
    /// See [`TxDrop::Sequence`].
    tx_drop_sequence: "ipsec_tx_drop_sequence",
    /// Frames verified and decrypted.
    rx_packets: "ipsec_rx_packets",
    /// Bytes of these frames.
    rx_bytes: "ipsec_rx_bytes",
    /// Frames decrypted in which a checksum was verified.
    rx_csum_valid: "ipsec_rx_csum_valid",
    /// Frames with a wrong ICV.
    rx_auth_fail: "ipsec_rx_auth_fail",
    /// Authentic frames with impossible padding.
    rx_format_fail: "ipsec_rx_format_fail",
    /// Frames too short for their SA, or whose text does not fill blocks.
    rx_length_fail: "ipsec_rx_length_fail",
    /// Frames that the cipher cannot process.
    rx_unsupported: "ipsec_rx_unsupported",
    /// ESP without an SA, delivered untouched.
    rx_no_sa: "ipsec_rx_no_sa",
}

impl Counters {
    /// Counts a frame of the guest that was dropped.
    pub(super) fn dropped(&self, drop: TxDrop) {
        match drop {
            TxDrop::NoSa => self.tx_drop_no_sa.inc(),
            TxDrop::Stale => self.tx_drop_stale.inc(),
            TxDrop::Format => self.tx_drop_format.inc(),
            TxDrop::Unsupported => self.tx_drop_unsupported.inc(),
            TxDrop::Long => self.tx_drop_long.inc(),
            TxDrop::Sequence => self.tx_drop_sequence.inc(),
        }
    }

    /// Counts a frame from the wire that has an SA and was refused.
    pub(super) fn refused(&self, error: Error) {
        match error {
            Error::Auth => self.rx_auth_fail.inc(),
            Error::Format => self.rx_format_fail.inc(),
            Error::Length => self.rx_length_fail.inc(),
            Error::Unsupported => self.rx_unsupported.inc(),
        }
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
        self.tx_packets += sent.frames as u64;
        self.tx_bytes += sent.bytes as u64;
        if hdr.net.gso_type != hdr::GSO_NONE {
            self.tx_gso += 1;
        } else if hdr.has(hdr::F_NEEDS_CSUM) {
            self.tx_csum += 1;
        }
    }

    /// Counts a frame from the wire that was decrypted, and whether it has a verified checksum.
    #[inline]
    pub(super) fn received(&mut self, checksum: bool, len: usize) {
        self.rx_packets += 1;
        self.rx_bytes += len as u64;
        self.rx_csum_valid += u64::from(checksum);
    }
}
