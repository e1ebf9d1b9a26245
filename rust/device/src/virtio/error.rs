// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Errors of drivers in their use of a queue.

use thiserror::Error;

/// An error for which a queue cannot go on. Each is the driver's and leads to `DEVICE_NEEDS_RESET`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RingError {
    /// The rings are not (any more) in guest memory, or are misaligned.
    #[error("the ring is outside guest memory or misaligned")]
    Ring,
    /// An index points beyond its table, or the available index jumped.
    #[error("an index is out of range")]
    Index,
    /// A descriptor comes twice in one chain.
    #[error("the descriptor chain is circular")]
    Loop,
    /// Too many descriptors, or too many bytes.
    #[error("the descriptor chain is too long")]
    TooLong,
    /// A buffer is outside guest memory, or in a read-only part.
    #[error("a buffer is outside guest memory")]
    Address,
    /// A readable buffer follows a writable one, or the queue does not take that direction.
    #[error("a buffer has the wrong direction")]
    Direction,
    /// A descriptor of no bytes, or a buffer too small for the header.
    #[error("a buffer is empty or smaller than the header")]
    Size,
    /// A nested, malformed or not negotiated indirect table.
    #[error("an indirect table is not valid here")]
    Indirect,
}
