// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capture of the wire to a pcapng file: one interface per NIC, each frame once, on the interface of
//! the NIC that sent it (or, from a TAP interface, that received it).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::{DataLink, PcapError};

/// How long a frame may stay in memory before it is in the file.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// `if_tsresol`: time stamps count nanoseconds.
const NANOSECONDS: u8 = 9;

struct Output {
    writer: PcapNgWriter<BufWriter<File>>,
    /// The first write error, after which the file stays as it is.
    failed: Option<String>,
}

/// An open capture file.
pub struct Capture {
    path: PathBuf,
    output: Mutex<Output>,
}

impl Capture {
    /// Creates the file, with an interface for every name, numbered in that order from 0.
    pub fn create(path: &Path, interfaces: &[&str]) -> io::Result<Self> {
        let mut writer = PcapNgWriter::new(BufWriter::new(File::create(path)?)).map_err(to_io)?;
        for name in interfaces {
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            writer.write_pcapng_block(block).map_err(to_io)?;
        }
        writer.get_mut().flush()?;
        let output = Mutex::new(Output {
            writer,
            failed: None,
        });
        Ok(Self {
            path: path.to_owned(),
            output,
        })
    }

    /// Appends frames. An error is logged once and ends the capture, not the NIC; [`Self::flush`] tells it.
    pub fn write<'a>(&self, interface: u32, frames: impl IntoIterator<Item = &'a [u8]>) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let _ = self.with_output(|writer| {
            for frame in frames {
                let block = EnhancedPacketBlock {
                    interface_id: interface,
                    timestamp: now,
                    original_len: frame.len() as u32,
                    data: Cow::Borrowed(frame),
                    options: Vec::new(),
                };
                writer.write_pcapng_block(block).map_err(to_io)?;
            }
            Ok(())
        });
    }

    /// Writes everything captured so far to the file. Fails if that cannot be done, and for ever after the
    /// first write error.
    pub fn flush(&self) -> io::Result<()> {
        self.with_output(|writer| writer.get_mut().flush())
    }

    /// Flushes until the capture is gone or has failed.
    pub fn spawn_flusher(self: &Arc<Self>) -> io::Result<()> {
        let capture = Arc::downgrade(self);
        let flush = move || {
            while let Some(capture) = capture.upgrade() {
                if capture.flush().is_err() {
                    return;
                }
                drop(capture);
                std::thread::sleep(FLUSH_INTERVAL);
            }
        };
        std::thread::Builder::new()
            .name("capture".into())
            .spawn(flush)
            .map(drop)
    }

    fn with_output(
        &self,
        action: impl FnOnce(&mut PcapNgWriter<BufWriter<File>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &output.failed {
            return Err(io::Error::other(error.clone()));
        }
        action(&mut output.writer).inspect_err(|error| {
            log::error!("capture {} ends here: {error}", self.path.display());
            output.failed = Some(error.to_string());
        })
    }
}

fn to_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use vmm_sys_util::tempdir::TempDir;

    #[test]
    fn the_file_reads_back() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("c.pcapng");
        let capture = Capture::create(&path, &["n0", "n1"]).unwrap();
        let before = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        capture.write(1, [&[0xab; 61][..]]);
        capture.write(0, [&[0xcd; 1514][..]]);
        capture.flush().unwrap();

        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                packets.push(packet.into_owned());
            }
        }
        let names: Vec<_> = reader
            .interfaces()
            .iter()
            .map(|interface| match &interface.options[0] {
                InterfaceDescriptionOption::IfName(name) => name.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["n0", "n1"]);
        let seen: Vec<_> = packets
            .iter()
            .map(|p| (p.interface_id, p.data.len()))
            .collect();
        assert_eq!(seen, [(1, 61), (0, 1514)]);
        assert_eq!(packets[0].data[..], [0xab; 61]);
        let age = packets[0].timestamp.saturating_sub(before);
        assert!(packets[0].timestamp >= before && age < Duration::from_secs(60));
    }

    #[test]
    fn a_directory_is_no_file() {
        let dir = TempDir::new().unwrap();
        assert!(Capture::create(dir.as_path(), &["n0"]).is_err());
    }
}
