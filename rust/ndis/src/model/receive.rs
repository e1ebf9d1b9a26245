// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The out-of-band words of received packets (R111-R128 of the reference, and its matrix).
//!
//! [`Report`] is the result of the NIC, [`Report::record`] makes the words for it. The NIC indicates
//! every packet (R111): there is no value for a drop, and none for replay (R123).

use super::bundle::Mode;
use crate::oob::{CryptoStatus, Receive, ReceiveHeader, ReceiveV1};

/// The result of the check of one IPsec payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every integrity value was right, and the payload was decrypted if it had to be.
    Good,
    /// The integrity value of AH was wrong.
    AhFailed,
    /// The integrity value of ESP was wrong.
    EspFailed,
    /// The packet's length does not fit its AH or ESP fields.
    Syntax,
    /// The SA's protocol and the packet's differ.
    Protocol,
    /// Any other error.
    Other,
}

/// The NIC's work on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: no SA, not covered by the capabilities, a fragment, IKE, offload not set up.
    None,
    /// One payload was checked.
    Single {
        /// Its mode.
        mode: Mode,
        /// How its check went.
        check: Check,
    },
    /// A packet with tunnel and transport payloads.
    Nested {
        /// How the check of the tunnel payload went.
        tunnel: Check,
        /// How the check of the transport payload went, if there was one.
        transport: Option<Check>,
    },
}

/// The NIC's report on one received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it did.
    pub work: Work,
    /// It asks for room in its table (R86), whatever it did with this packet.
    pub sa_delete_request: bool,
    /// NextHeader and PadLength of the ESP trailer, where the NIC took it off.
    pub trailer: Option<(u8, u8)>,
}

/// The words of a received NET_BUFFER_LIST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Slot 1, version 2.
    pub ipsec: u64,
    /// Slot 12: NextHeader, PadLength and HeaderInfoSet.
    pub header: u64,
    /// Slot 1, version 1; bit for bit the same word on a little-endian machine (C24).
    pub v1: u64,
}

impl Report {
    /// A packet that the NIC left alone.
    pub const NONE: Self = Self {
        work: Work::None,
        sa_delete_request: false,
        trailer: None,
    };

    /// The out-of-band words. Without work and without a request they are all zero (R114, C11).
    pub fn record(&self) -> Record {
        let (crypto_done, next_crypto_done, status) = self.work.flags();
        let word = Receive {
            sa_delete_req: self.sa_delete_request,
            crypto_done,
            next_crypto_done,
            status,
        };
        // If a payload was not decrypted, its trailer was not read.
        let header = self
            .trailer
            .filter(|_| crypto_done && status == CryptoStatus::SUCCESS)
            .map_or(0, |(next_header, pad_length)| {
                ReceiveHeader::new(next_header, pad_length).word()
            });
        Record {
            ipsec: word.word(),
            header,
            v1: ReceiveV1::from(word).word(),
        }
    }
}

impl Work {
    /// CryptoDone, NextCryptoDone and CryptoStatus.
    fn flags(self) -> (bool, bool, CryptoStatus) {
        match self {
            Self::None => (false, false, CryptoStatus::SUCCESS),
            Self::Single { mode, check } => (true, false, check.status(mode)),
            Self::Nested {
                tunnel: Check::Good,
                transport: Some(check),
            } => (true, true, check.status(Mode::Transport)),
            // The inner part of a bad tunnel cannot be read, so it was not checked.
            Self::Nested { tunnel, .. } => (true, false, tunnel.status(Mode::Tunnel)),
        }
    }
}

impl Check {
    /// The CryptoStatus; a mode that the packet did not show counts as transport.
    fn status(self, mode: Mode) -> CryptoStatus {
        match (self, mode) {
            (Self::Good, _) => CryptoStatus::SUCCESS,
            (Self::AhFailed, Mode::Tunnel) => CryptoStatus::TUNNEL_AH_AUTH_FAILED,
            (Self::AhFailed, _) => CryptoStatus::TRANSPORT_AH_AUTH_FAILED,
            (Self::EspFailed, Mode::Tunnel) => CryptoStatus::TUNNEL_ESP_AUTH_FAILED,
            (Self::EspFailed, _) => CryptoStatus::TRANSPORT_ESP_AUTH_FAILED,
            (Self::Syntax, _) => CryptoStatus::INVALID_PACKET_SYNTAX,
            (Self::Protocol, _) => CryptoStatus::INVALID_PROTOCOL,
            (Self::Other, _) => CryptoStatus::GENERIC_ERROR,
        }
    }
}

/// Whether the NIC sets SaDeleteReq in what it receives: its table holds more bundles than `mark`.
/// Asking is all that it does; both SAs stay in use until DELETE_SA comes (R88).
pub const fn asks_for_room(offloaded: u32, mark: u32) -> bool {
    offloaded > mark
}
