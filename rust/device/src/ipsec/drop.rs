// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reasons for dropping packets instead of sending them.

/// The reason for which a packet of the guest was dropped. It must never reach the wire in any form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxDrop {
    /// The header names no outbound SA that exists.
    #[error("no such SA")]
    NoSa,
    /// Epoch or SPI are not those of the SA that has this id now.
    #[error("the SA has been replaced")]
    Stale,
    /// The frame is not the ESP packet that the header describes.
    #[error("not the ESP packet that the header describes")]
    Format,
    /// Not marked as crypto-only, or more than the cipher or the segmentation can do.
    #[error("not supported")]
    Unsupported,
    /// Longer than frames on the wire may be.
    #[error("too long for the wire")]
    Long,
    /// Its segments would need sequence numbers beyond the last one.
    #[error("sequence numbers are used up")]
    Sequence,
}
