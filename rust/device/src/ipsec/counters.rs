// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counters of inline IPsec. Names are stable: tests and people read them.

use super::TxDrop;
use crate::stats::Counter;
use espnic_esp::engine::Error;

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
    /// Frames encrypted.
    tx_packets: "ipsec_tx_packets",
    /// Bytes of these frames.
    tx_bytes: "ipsec_tx_bytes",
    /// See [`TxDrop::NoSa`].
    tx_drop_no_sa: "ipsec_tx_drop_no_sa",
    /// See [`TxDrop::Stale`].
    tx_drop_stale: "ipsec_tx_drop_stale",
    /// See [`TxDrop::Format`].
    tx_drop_format: "ipsec_tx_drop_format",
    /// See [`TxDrop::Unsupported`].
    tx_drop_unsupported: "ipsec_tx_drop_unsupported",
    /// Frames verified and decrypted.
    rx_packets: "ipsec_rx_packets",
    /// Bytes of these frames.
    rx_bytes: "ipsec_rx_bytes",
    /// Frames with a wrong ICV.
    rx_auth_fail: "ipsec_rx_auth_fail",
    /// Authentic frames with impossible padding.
    rx_format_fail: "ipsec_rx_format_fail",
    /// Frames too short for their SA or not a multiple of four bytes.
    rx_length_fail: "ipsec_rx_length_fail",
    /// Frames that the cipher cannot process.
    rx_unsupported: "ipsec_rx_unsupported",
    /// ESP without an SA, delivered untouched.
    rx_no_sa: "ipsec_rx_no_sa",
    /// Administration commands executed or refused.
    admin_commands: "admin_commands",
    /// Administration commands refused.
    admin_errors: "admin_errors",
}

impl Counters {
    /// Counts a frame of the guest.
    pub(super) fn transmitted(&self, result: Result<(), TxDrop>, len: usize) {
        match result {
            Ok(()) => {
                self.tx_packets.inc();
                self.tx_bytes.add(len as u64);
            }
            Err(TxDrop::NoSa) => self.tx_drop_no_sa.inc(),
            Err(TxDrop::Stale) => self.tx_drop_stale.inc(),
            Err(TxDrop::Format) => self.tx_drop_format.inc(),
            Err(TxDrop::Unsupported) => self.tx_drop_unsupported.inc(),
        }
    }

    /// Counts a frame from the wire for which there is an SA.
    pub(super) fn received(&self, result: Result<(), Error>, len: usize) {
        match result {
            Ok(()) => {
                self.rx_packets.inc();
                self.rx_bytes.add(len as u64);
            }
            Err(Error::Auth) => self.rx_auth_fail.inc(),
            Err(Error::Format) => self.rx_format_fail.inc(),
            Err(Error::Length) => self.rx_length_fail.inc(),
            Err(Error::Unsupported) => self.rx_unsupported.inc(),
        }
    }
}
