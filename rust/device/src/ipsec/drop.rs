// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reasons for dropping packets instead of sending or delivering them.

use espnic_esp::engine::Error;
use espnic_esp::{decap, encap, segment};
use espnic_wire::hdr;

/// The reason for which a packet of the guest was dropped. It must never reach the wire in any form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxDrop {
    /// The header names no outbound SA that exists.
    #[error("no such SA")]
    NoSa,
    /// Generation or SPI are not those of the SA that has this id now.
    #[error("the SA has been replaced")]
    Stale,
    /// The frame is not the packet that the header describes, or that the SA can protect.
    #[error("not the packet that the header describes")]
    Format,
    /// Not marked for the mode of the SA, or more than the cipher or the segmentation can do.
    #[error("not supported")]
    Unsupported,
    /// Longer than frames on the wire may be.
    #[error("too long for the wire")]
    Long,
    /// It would need a sequence number beyond the last one.
    #[error("sequence numbers are used up")]
    Sequence,
    /// A hard limit of its SA is reached.
    #[error("a hard limit is reached")]
    Limit,
    /// It has no hop left to enter the tunnel.
    #[error("its hop limit ends")]
    HopLimit,
}

impl From<segment::Error> for TxDrop {
    fn from(error: segment::Error) -> Self {
        match error {
            segment::Error::Sequence => Self::Sequence,
            segment::Error::Headers | segment::Error::Size | segment::Error::Buffer => Self::Format,
        }
    }
}

impl From<encap::Error> for TxDrop {
    fn from(error: encap::Error) -> Self {
        match error {
            encap::Error::Headers | encap::Error::Buffer => Self::Format,
            encap::Error::Length => Self::Long,
            encap::Error::HopLimit => Self::HopLimit,
        }
    }
}

impl From<Error> for TxDrop {
    fn from(error: Error) -> Self {
        match error {
            Error::Length | Error::Format => Self::Format,
            Error::Auth | Error::Unsupported => Self::Unsupported,
        }
    }
}

/// The reason for which a packet from the wire that has an SA was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RxDrop {
    /// Before or in its decryption.
    Engine(Error),
    /// It has come before.
    Replay,
    /// It is behind the replay window.
    Late,
    /// A hard limit of its SA is reached.
    Limit,
    /// Its content does not become a packet.
    Content(decap::Error),
}

impl From<Error> for RxDrop {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<decap::Error> for RxDrop {
    fn from(error: decap::Error) -> Self {
        Self::Content(error)
    }
}

impl RxDrop {
    /// The value for [`hdr::SecExt::sec_status`].
    pub(super) fn status(self) -> u8 {
        match self {
            Self::Engine(Error::Auth) => hdr::SEC_AUTH,
            Self::Engine(Error::Format) | Self::Content(_) => hdr::SEC_FORMAT,
            Self::Engine(Error::Length) => hdr::SEC_LENGTH,
            Self::Engine(Error::Unsupported) => hdr::SEC_UNSUPPORTED,
            Self::Replay | Self::Late => hdr::SEC_REPLAY,
            Self::Limit => hdr::SEC_HARD_LIMIT,
        }
    }
}
