// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Answers that are late on purpose.

use crate::virtio::chain::Head;
use std::time::Instant;

/// A command that was carried out, and whose answer is late on purpose.
pub struct Unanswered {
    /// The queue of the command.
    pub queue: u16,
    /// What names its chain.
    pub head: Head,
    /// Bytes of the answer.
    pub written: u32,
    /// When the answer comes.
    pub due: Instant,
}
