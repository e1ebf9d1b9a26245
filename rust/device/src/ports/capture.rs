// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capture of the wire to a pcapng file: one interface per NIC, each frame once, on the interface of
//! the NIC that sent it (or, from a TAP interface, that received it).
//!
//! A separate thread writes the file. NICs hand it copies of their frames and never wait for the disk: if
//! the queue is full, frames are missing in the capture, and are counted.

mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use writer::Writer;

/// Most bytes that wait for the disk.
const QUEUE: usize = 128 << 20;

/// The limits of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest size of the file in bytes. The capture ends there, the NICs go on.
    pub file: Option<u64>,
    /// Most bytes of a frame that are kept.
    pub frame: Option<u32>,
}

/// Frames that were sent together.
struct Batch {
    interface: u32,
    /// The time since 1970.
    time: Duration,
    /// The frames, one after the other.
    bytes: Vec<u8>,
    frames: Vec<Kept>,
}

/// A frame of a batch: its length on the wire, and how many bytes of it were kept.
struct Kept {
    original: u32,
    len: usize,
}

impl Batch {
    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.frames.len() * size_of::<Kept>()
    }
}

/// A message to the writer.
enum Message {
    Frames(Batch),
    /// Write everything to the file, then answer.
    Flush(Sender<()>),
}

/// The state that the NICs and the writer share.
#[derive(Default)]
struct Shared {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Frames in the file or on their way to it.
    frames: AtomicU64,
    /// Frames that are not in the file and will not be.
    lost: AtomicU64,
    /// The reason for which the capture has ended.
    ended: OnceLock<String>,
}

impl Shared {
    fn lose(&self, frames: usize) {
        self.frames.fetch_sub(frames as u64, Ordering::Relaxed);
        self.lost.fetch_add(frames as u64, Ordering::Relaxed);
    }
}

/// An open capture file.
pub struct Capture {
    shared: Arc<Shared>,
    writer: Sender<Message>,
    /// Bytes of a frame that are kept.
    longest: usize,
}

impl Capture {
    /// Creates the file, with an interface for every name, numbered in that order from 0, and starts to
    /// write it.
    pub fn create(path: &Path, interfaces: &[&str], limits: Limits) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer::create(path, interfaces, limits, shared.clone())?;
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("capture".into())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self {
            shared,
            writer: sender,
            longest: limits.frame.map_or(usize::MAX, |most| most as usize),
        })
    }

    /// Captures frames. Those for which there is no room, and all after the end of the capture, are lost
    /// and counted; [`Self::flush`] then fails. Does not block.
    pub fn write<'a>(&self, interface: u32, frames: impl IntoIterator<Item = &'a [u8]>) {
        let batch = self.batch(interface, frames);
        let (size, count) = (batch.size(), batch.frames.len());
        self.shared
            .frames
            .fetch_add(count as u64, Ordering::Relaxed);
        let waiting = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        let room = waiting.saturating_add(size) <= QUEUE && self.shared.ended.get().is_none();
        if !room || self.writer.send(Message::Frames(batch)).is_err() {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            self.shared.lose(count);
        }
    }

    fn batch<'a>(&self, interface: u32, frames: impl IntoIterator<Item = &'a [u8]>) -> Batch {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut batch = Batch {
            interface,
            time: time.unwrap_or_default(),
            bytes: Vec::new(),
            frames: Vec::new(),
        };
        for frame in frames {
            let kept = frame.get(..self.longest).unwrap_or(frame);
            batch.bytes.extend_from_slice(kept);
            batch.frames.push(Kept {
                original: frame.len() as u32,
                len: kept.len(),
            });
        }
        batch
    }

    /// Waits until everything captured so far is in the file. Fails if that is impossible, and always after
    /// a frame was lost.
    pub fn flush(&self) -> io::Result<()> {
        let (done, answer) = mpsc::channel();
        let sent = self.writer.send(Message::Flush(done));
        if sent.is_err() || answer.recv().is_err() {
            return Err(io::Error::other("the writer is gone"));
        }
        if let Some(reason) = self.shared.ended.get() {
            return Err(io::Error::other(reason.clone()));
        }
        match self.lost() {
            0 => Ok(()),
            lost => Err(io::Error::other(format!(
                "the disk is too slow, {lost} frames are missing"
            ))),
        }
    }

    /// Frames in the file or on their way to it.
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::Relaxed)
    }

    /// Frames that the file lacks, because the disk was too slow or the capture had ended.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
