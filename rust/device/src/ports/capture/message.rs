// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What NICs and the writer of a capture tell each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::OnceLock;
use std::time::Duration;

/// The limits of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest size of the file in bytes. The capture ends there, the NICs go on.
    pub file: Option<u64>,
    /// Most bytes of a frame that are kept.
    pub frame: Option<u32>,
}

/// Frames that were sent together.
pub(super) struct Batch {
    pub(super) interface: u32,
    /// The time since 1970.
    pub(super) time: Duration,
    /// The frames, one after the other.
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<Kept>,
}

/// A frame of a batch: its length on the wire, and how many bytes of it were kept.
pub(super) struct Kept {
    pub(super) original: u32,
    pub(super) len: usize,
}

impl Batch {
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.frames.len() * size_of::<Kept>()
    }
}

/// A message to the writer.
pub(super) enum Message {
    Frames(Batch),
    /// Write everything to the file, then answer.
    Flush(Sender<()>),
}

/// The state that the NICs and the writer share.
#[derive(Default)]
pub(super) struct Shared {
    /// Bytes in the queue.
    pub(super) waiting: AtomicUsize,
    /// Frames in the file or on their way to it.
    pub(super) frames: AtomicU64,
    /// Frames that are not in the file and will not be.
    pub(super) lost: AtomicU64,
    /// The reason for which the capture has ended.
    pub(super) ended: OnceLock<String>,
}

impl Shared {
    pub(super) fn lose(&self, frames: usize) {
        self.frames.fetch_sub(frames as u64, Ordering::Relaxed);
        self.lost.fetch_add(frames as u64, Ordering::Relaxed);
    }
}
