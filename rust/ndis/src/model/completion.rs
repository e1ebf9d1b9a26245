// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The results of requests.

use crate::Status;

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its final status.
    pub status: Status,
    /// BytesRead of a set, BytesWritten of a query.
    pub done: u32,
    /// BytesNeeded: with INVALID_LENGTH and BUFFER_TOO_SHORT, the length that the buffer needs.
    pub needed: u32,
}

impl Completion {
    /// A request that ended with a status and touched nothing.
    pub const fn with(status: Status) -> Self {
        Self {
            status,
            done: 0,
            needed: 0,
        }
    }

    /// A request that read or wrote `bytes` bytes.
    pub fn success(bytes: usize) -> Self {
        Self {
            status: Status::SUCCESS,
            done: u32::try_from(bytes).unwrap_or(u32::MAX),
            needed: 0,
        }
    }
}
