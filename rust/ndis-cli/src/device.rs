// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `/dev/espnic-ndis`, bound to an interface.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use espnic_ndis::envelope::{self, Cancel, Entry, Info, Keyword, Restart};
use espnic_ndis::{Oid, Status};
use zerocopy::{FromZeros, IntoBytes};

use crate::args::{Envelope, Later};
use crate::error::Error;
use crate::record::{self, Record};
use crate::system;

/// Bytes of records per read.
const ROOM: usize = 64 << 10;
/// Entries per call of LIST.
const ENTRIES: usize = 256;

/// An OID request without its buffer.
pub struct Request {
    /// OID.
    pub oid: Oid,
    /// `PATH_*` of the envelope.
    pub path: u32,
    /// Request type.
    pub kind: u32,
    /// RequestId.
    pub id: u64,
    /// It may be completed later.
    pub pend: bool,
}

impl Request {
    /// A set request on the direct path.
    pub fn direct(oid: Oid) -> Self {
        Self {
            oid,
            path: envelope::PATH_DIRECT,
            kind: envelope::SET,
            id: 0,
            pend: false,
        }
    }

    /// A request on the normal path.
    pub fn normal(oid: Oid, kind: u32) -> Self {
        Self {
            oid,
            path: envelope::PATH_NORMAL,
            kind,
            id: 0,
            pend: false,
        }
    }

    /// The same request, completed later if that is wanted.
    pub fn later(mut self, words: &Later) -> Self {
        if let Some(id) = words.pending {
            (self.id, self.pend) = (id, true);
        }
        self
    }
}

/// The result of a request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Status.
    pub status: Status,
    /// BytesRead or BytesWritten.
    pub done: u32,
    /// BytesNeeded.
    pub needed: u32,
}

/// The open device.
pub struct Device {
    file: File,
    interface: String,
    /// Read, but not returned yet.
    records: VecDeque<Record>,
    /// The numbers of lost records.
    pub lost: Lost,
}

/// The next record.
pub enum Next {
    /// This one.
    Record(Record),
    /// There is none now.
    None,
    /// There will be none any more.
    End,
}

/// Counts lost records, so that each is told once: with a later record, or at the end.
#[derive(Debug, Default)]
pub struct Lost {
    /// Records lost before all records that were read.
    seen: u64,
    told: u64,
}

impl Lost {
    /// Notes a record that was read, and the number of records lost before it.
    pub fn see(&mut self, count: u32) {
        self.seen = self.seen.saturating_add(count.into());
    }

    /// The number of lost records to report with the record read last.
    pub fn tell_seen(&mut self) -> u64 {
        self.tell(self.seen)
    }

    /// The number of lost records that is still to be reported, if `all` were lost.
    pub fn tell(&mut self, all: u64) -> u64 {
        let new = all.saturating_sub(self.told);
        self.told = self.told.max(all);
        new
    }
}

impl Device {
    /// Opens the device and binds it; `want` is a mask of the records that [`Device::next_record`]
    /// returns.
    pub fn open(interface: &str, want: u32) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(envelope::DEVICE)
            .map_err(|error| cannot_open(&error))?;
        let device = Self {
            file,
            interface: interface.to_owned(),
            records: VecDeque::new(),
            lost: Lost::default(),
        };
        let ifindex = system::interface_index(interface).ok_or_else(|| {
            format!("there is no network interface {interface} here: `ip link` lists them")
        })?;
        let mut bind = envelope::Bind::new_zeroed();
        (bind.ifindex, bind.flags) = (ifindex, want);
        device.ioctl(envelope::IOCTL_BIND, &mut bind)?;
        Ok(device)
    }

    fn ioctl<T>(&self, number: u32, argument: &mut T) -> Result<(), Error>
    where
        T: zerocopy::FromBytes + IntoBytes,
    {
        system::ioctl(&self.file, number, argument)
            .map_err(|error| Error::Failed(explain(&error, &self.interface)))
    }

    /// Sends a request; the answer is in its buffer.
    pub fn request(
        &self,
        request: &Request,
        words: Option<&Envelope>,
        buffer: &mut [u8],
    ) -> Result<Outcome, Error> {
        let mut raw = envelope::Request::new_zeroed();
        raw.size = size_of::<envelope::Request>() as u32;
        raw.path = request.path;
        raw.request_type = request.kind;
        raw.oid = request.oid.0;
        raw.buffer = buffer.as_mut_ptr().expose_provenance() as u64;
        raw.buffer_length = u32::try_from(buffer.len())
            .map_err(|_| Error::Usage("the buffer is longer than 4 GiB".into()))?;
        raw.request_id = request.id;
        if let Some(words) = words {
            raw.mode = words.mode as u8;
            raw.replay_window = words.window;
            raw.reqid = words.reqid;
            raw.source_port = words.sport.to_be_bytes();
            raw.destination_port = words.dport.to_be_bytes();
        }
        let number = match request.pend {
            true => envelope::IOCTL_PEND,
            false => envelope::IOCTL_REQUEST,
        };
        self.ioctl(number, &mut raw)?;
        Ok(Outcome {
            status: Status(raw.status),
            done: raw.bytes_done,
            needed: raw.bytes_needed,
        })
    }

    /// Ends pending requests with a RequestId.
    pub fn cancel(&self, request_id: u64) -> Result<(), Error> {
        self.ioctl(envelope::IOCTL_CANCEL, &mut Cancel { request_id })
    }

    /// Submits a frame with its slots; the status of the NET_BUFFER_LIST.
    pub fn submit(&self, frame: &[u8], mut slots: envelope::Submit) -> Result<Status, Error> {
        slots.frame = frame.as_ptr().expose_provenance() as u64;
        slots.length = u32::try_from(frame.len())
            .map_err(|_| Error::Usage("the frame is longer than 4 GiB".into()))?;
        self.ioctl(envelope::IOCTL_SUBMIT, &mut slots)?;
        Ok(Status(slots.status))
    }

    /// All SAs that are offloaded to the interface.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        let mut part = vec![Entry::new_zeroed(); ENTRIES];
        let mut list = envelope::List::new_zeroed();
        loop {
            list.entries = part
                .as_mut_slice()
                .as_mut_bytes()
                .as_mut_ptr()
                .expose_provenance() as u64;
            list.capacity = ENTRIES as u32;
            list.entry_size = size_of::<Entry>() as u32;
            let before = list.cursor;
            self.ioctl(envelope::IOCTL_LIST, &mut list)?;
            all.extend(part.iter().take(list.count as usize));
            if list.cursor == 0 {
                return Ok(all);
            }
            if list.cursor == before {
                return Err(Error::Failed("the list of SAs does not end".into()));
            }
        }
    }

    /// Counters.
    pub fn info(&self) -> Result<Info, Error> {
        let mut info = Info::new_zeroed();
        self.ioctl(envelope::IOCTL_INFO, &mut info)?;
        Ok(info)
    }

    /// Reads a keyword; `None` if it is not in the registry.
    pub fn keyword(&self, name: u32) -> Result<Option<u32>, Error> {
        let mut keyword = Keyword::new_zeroed();
        keyword.name = name;
        self.ioctl(envelope::IOCTL_GET_KEYWORD, &mut keyword)?;
        Ok((keyword.present != 0).then_some(keyword.value))
    }

    /// Writes a keyword, or deletes it.
    pub fn set_keyword(&self, name: u32, value: Option<u32>) -> Result<(), Error> {
        let mut keyword = Keyword {
            name,
            present: u32::from(value.is_some()),
            value: value.unwrap_or(0),
            reserved: 0,
        };
        self.ioctl(envelope::IOCTL_SET_KEYWORD, &mut keyword)
    }

    /// Starts the miniport again.
    pub fn restart(&self, ndis_version: u32) -> Result<(), Error> {
        let mut restart = Restart {
            ndis_version,
            reserved: 0,
        };
        self.ioctl(envelope::IOCTL_RESTART, &mut restart)
    }

    /// The next record, without waiting for one.
    pub fn next_record(&mut self) -> Result<Next, Error> {
        if self.records.is_empty() {
            let mut buffer = vec![0; ROOM];
            let count = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(Next::End),
                Ok(count) => count,
                Err(error) if is_temporary(&error) => return Ok(Next::None),
                Err(error) => return Err(Error::Failed(explain(&error, &self.interface))),
            };
            for record in record::split(buffer.get(..count).unwrap_or_default()) {
                self.records.push_back(record?);
            }
        }
        Ok(self.records.pop_front().map_or(Next::None, Next::Record))
    }

    /// Waits until there may be a record, the time is over, or a signal comes.
    pub fn wait(&self, time: Duration) -> Result<(), Error> {
        system::wait_readable(&self.file, time)
            .map_err(|error| Error::Failed(explain(&error, &self.interface)))
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn cannot_open(error: &io::Error) -> String {
    let device = envelope::DEVICE;
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no {device}: load the module with `modprobe espnic ndis=1`")
        }
        io::ErrorKind::PermissionDenied => format!("{device} may only be opened by root"),
        _ => format!("cannot open {device}: {error}"),
    }
}

fn explain(error: &io::Error, interface: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            format!(
                "needs CAP_NET_ADMIN in the network namespace of {interface}, and CAP_NET_RAW for the \
                 bytes of packets"
            )
        }
        Some(libc::EOPNOTSUPP) => format!(
            "{interface} is not an espnic NIC with IPsec: `ethtool -i {interface}` must say espnic"
        ),
        Some(libc::ENODEV) => format!("{interface} is gone"),
        Some(libc::EINVAL | libc::ENOTTY) => format!(
            "the module does not understand the request ({error}): do module and tool belong together?"
        ),
        _ => format!("{}: {error}", envelope::DEVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: i32) -> String {
        explain(&io::Error::from_raw_os_error(number), "eth0")
    }

    #[test]
    fn each_lost_record_is_told_once() {
        let mut lost = Lost::default();
        lost.see(0);
        assert_eq!(lost.tell_seen(), 0);
        lost.see(3);
        lost.see(4);
        assert_eq!(lost.tell_seen(), 7, "of one that was passed over, too");
        assert_eq!(lost.tell(9), 2, "behind the last one");
        lost.see(2);
        assert_eq!(lost.tell_seen(), 0, "told before");
        lost.see(1);
        assert_eq!(lost.tell_seen(), 1);
        assert_eq!(lost.tell(10), 0);
    }

    #[test]
    fn errors_say_what_to_do() {
        assert!(text(libc::EPERM).contains("CAP_NET_ADMIN"));
        assert!(text(libc::EOPNOTSUPP).contains("ethtool -i eth0"));
        assert!(text(libc::ENODEV).contains("eth0 is gone"));
        assert!(text(libc::EINVAL).contains("belong together"));
        assert!(text(libc::EFAULT).contains("address"));
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert!(cannot_open(&missing).contains("modprobe espnic ndis=1"));
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        assert!(cannot_open(&denied).contains("root"));
    }
}
