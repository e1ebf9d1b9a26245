// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The thread that writes the file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::{DataLink, PcapError};

use super::{Batch, Limits, Message, Shared};

/// The longest time for which a frame stays in memory before it is in the file.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
/// `if_tsresol`: time stamps count nanoseconds.
const NANOSECONDS: u8 = 9;
/// Bytes of an Enhanced Packet Block without options around the frame, which is padded to a multiple
/// of [`PADDING`].
const BLOCK: u64 = 32;
const PADDING: u64 = 4;

/// Counts the bytes on their way to the file.
struct Counting {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The file and the state of writing it.
pub(super) struct Writer {
    path: PathBuf,
    output: PcapNgWriter<Counting>,
    limit: u64,
    shared: Arc<Shared>,
}

impl Writer {
    /// Creates the file and writes what comes before the frames.
    pub(super) fn create(
        path: &Path,
        interfaces: &[&str],
        limits: Limits,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let counting = Counting {
            file: BufWriter::with_capacity(BUFFER, File::create(path)?),
            bytes: 0,
        };
        let mut output = PcapNgWriter::new(counting).map_err(to_io)?;
        for name in interfaces {
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: limits.frame.unwrap_or(0),
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            output.write_pcapng_block(block).map_err(to_io)?;
        }
        output.get_mut().flush()?;
        Ok(Self {
            path: path.to_owned(),
            output,
            limit: limits.file.unwrap_or(u64::MAX),
            shared,
        })
    }

    /// Writes until all senders are gone.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut flushed = Instant::now();
        loop {
            let message = messages.recv_timeout(FLUSH_INTERVAL);
            if message.is_err() || flushed.elapsed() >= FLUSH_INTERVAL {
                self.attempt(|writer| writer.output.get_mut().flush());
                flushed = Instant::now();
            }
            match message {
                Ok(Message::Frames(batch)) => self.take(&batch),
                Ok(Message::Flush(done)) => {
                    self.attempt(|writer| writer.output.get_mut().flush());
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes the frames of `batch`, and counts those that could not be written.
    fn take(&mut self, batch: &Batch) {
        let mut written = 0;
        self.attempt(|writer| writer.append(batch, &mut written));
        let lost = batch.frames.len() - written;
        if lost > 0 {
            self.shared.lose(lost);
        }
        self.shared
            .waiting
            .fetch_sub(batch.size(), Ordering::Relaxed);
    }

    fn append(&mut self, batch: &Batch, written: &mut usize) -> io::Result<()> {
        let mut rest = batch.bytes.as_slice();
        for frame in &batch.frames {
            let (data, behind) = rest.split_at_checked(frame.len).unwrap_or_default();
            rest = behind;
            let block = EnhancedPacketBlock {
                interface_id: batch.interface,
                timestamp: batch.time,
                original_len: frame.original,
                data: Cow::Borrowed(data),
                options: Vec::new(),
            };
            let size = BLOCK + (data.len() as u64).next_multiple_of(PADDING);
            if self.output.get_mut().bytes.saturating_add(size) > self.limit {
                let limit = self.limit;
                return Err(io::Error::other(format!(
                    "the limit of {limit} bytes is reached"
                )));
            }
            self.output.write_pcapng_block(block).map_err(to_io)?;
            *written += 1;
        }
        Ok(())
    }

    /// Does `action` unless the capture has ended. An error is logged and ends it.
    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.shared.ended.get().is_some() {
            return;
        }
        if let Err(error) = action(self) {
            log::error!("capture {} ends here: {error}", self.path.display());
            let _ = self.shared.ended.set(error.to_string());
            let _ = self.output.get_mut().flush();
        }
    }
}

fn to_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
