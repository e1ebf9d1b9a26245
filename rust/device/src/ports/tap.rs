// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A TAP interface of the host as wire.

#[allow(unsafe_code)]
mod interface;
mod line;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use espnic_esp::ip::Layers;

use super::capture::Capture;
use super::{Port, RxBacklog, Totals};
use crate::frames::Frames;
use interface::{Attached, Interface};
use line::Line;

pub use interface::CALLS;

/// Largest frame that a TAP interface can deliver: MTU 65535, Ethernet header, VLAN tag.
const MAX_FRAME: usize = 65535 + 18;

/// The delay before a failed TAP interface is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// A TAP interface. While it cannot be used there is no link.
pub struct TapPort(Tap<Attached>);

impl TapPort {
    /// Opens the TAP interface `name`, or creates it for as long as the process lives, and sets it up if it may.
    /// What arrives there goes to `backlog` and to the capture. If it fails later it is opened again.
    pub fn open(
        name: &str,
        backlog: Arc<RxBacklog>,
        capture: Option<(Arc<Capture>, u32)>,
    ) -> io::Result<Self> {
        let reader = Reader {
            name: name.to_owned(),
            backlog,
            capture,
            retry: RETRY,
        };
        let interface = Interface::new(name)?;
        Tap::start(reader, move || interface.attach()).map(Self)
    }
}

impl Port for TapPort {
    fn send(&self, frames: &mut Frames) -> Totals {
        self.0.send(frames)
    }

    fn link_up(&self) -> bool {
        self.0.link_up()
    }
}

/// The interface that is open, if one is.
struct Tap<L> {
    line: Arc<ArcSwapOption<L>>,
}

impl<L: Line> Tap<L> {
    /// Opens the interface and starts to read from it.
    fn start(
        reader: Reader,
        open: impl Fn() -> io::Result<L> + Send + 'static,
    ) -> io::Result<Self> {
        let line = Arc::new(ArcSwapOption::from_pointee(open()?));
        let shared = line.clone();
        thread::Builder::new()
            .name(format!("tap {}", reader.name))
            .spawn(move || reader.run(&shared, open))?;
        Ok(Self { line })
    }

    fn send(&self, frames: &mut Frames) -> Totals {
        let mut lost = Totals::default();
        let line = self.line.load_full();
        for frame in frames.iter() {
            // A TAP write puts the frame into the host's receive queue and does not wait.
            let sent = line.as_ref().map(|line| line.send(frame));
            if let Some(Err(error)) = &sent {
                log::debug!("TAP interface takes no frame: {error}");
            }
            if !matches!(sent, Some(Ok(_))) {
                lost.add(frame);
            }
        }
        frames.truncate(0);
        lost
    }

    fn link_up(&self) -> bool {
        self.line.load().is_some()
    }
}

/// The receiving side, in a thread of its own.
struct Reader {
    name: String,
    backlog: Arc<RxBacklog>,
    capture: Option<(Arc<Capture>, u32)>,
    retry: Duration,
}

impl Reader {
    /// Reads for ever. After an error it opens the interface again as soon as possible, because the interface
    /// may have been deleted, and made again under the same name.
    fn run<L: Line>(&self, shared: &ArcSwapOption<L>, open: impl Fn() -> io::Result<L>) {
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            if let Some(line) = shared.load_full() {
                let error = self.receive(&*line, &mut buffer);
                log::warn!(
                    "TAP interface {} fails, the link is down: {error}",
                    self.name
                );
                shared.store(None);
                self.backlog.link_changed();
            }
            thread::sleep(self.retry);
            match open() {
                Ok(line) => {
                    log::info!("TAP interface {} is back, the link is up", self.name);
                    shared.store(Some(Arc::new(line)));
                    self.backlog.link_changed();
                }
                Err(error) => log::debug!("cannot open TAP interface {}: {error}", self.name),
            }
        }
    }

    /// Receives until that fails.
    fn receive(&self, line: &impl Line, buffer: &mut [u8]) -> io::Error {
        loop {
            match line.receive(buffer) {
                Ok(len) => {
                    let frame = buffer.get(..len).unwrap_or_default();
                    if let Some((capture, interface)) = &self.capture {
                        capture.write(*interface, [frame]);
                    }
                    self.backlog.copy_bytes(frame, Layers::find(frame), None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::PortStats;
    use std::sync::mpsc::{channel, Receiver};
    use std::sync::{Mutex, PoisonError};
    use std::time::Instant;

    /// Receives what a test gives it; gone when the test has no more.
    struct Fake(Mutex<Receiver<Vec<u8>>>);

    impl Line for Fake {
        fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = io::Error::from_raw_os_error(libc::EBADFD);
            let frame = frames.recv().map_err(|_| gone)?;
            buffer[..frame.len()].copy_from_slice(&frame);
            Ok(frame.len())
        }

        fn send(&self, frame: &[u8]) -> io::Result<usize> {
            Ok(frame.len())
        }
    }

    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(tap: &Tap<Fake>) -> Totals {
        let mut frames = Frames::default();
        frames.push(vec![0; 60]);
        let lost = tap.send(&mut frames);
        assert!(frames.is_empty());
        lost
    }

    #[test]
    fn an_interface_that_fails_has_no_link_until_it_is_back() {
        let (stats, interfaces) = (Arc::new(PortStats::default()), channel::<Receiver<_>>());
        let backlog = Arc::new(RxBacklog::new(Arc::default(), stats.clone()));
        let reader = Reader {
            name: "t0".into(),
            backlog: backlog.clone(),
            capture: None,
            retry: Duration::from_millis(1),
        };
        let (first, second) = (channel(), channel());
        interfaces.0.send(first.1).unwrap();
        let missing = || io::Error::from_raw_os_error(libc::EBUSY);
        let open = move || {
            let next = interfaces.1.try_recv().map_err(|_| missing())?;
            Ok(Fake(Mutex::new(next)))
        };
        let tap = Tap::start(reader, open).unwrap();
        first.0.send(vec![0; 60]).unwrap();
        wait_for("a frame", || stats.rx_frames.get() == 1);
        assert_eq!((send(&tap).frames, tap.link_up()), (0, true));
        assert!(!backlog.take_link_change());
        drop(first.0);
        wait_for("link down", || backlog.take_link_change());
        assert_eq!((send(&tap).frames, tap.link_up()), (1, false));
        interfaces.0.send(second.1).unwrap();
        wait_for("link up", || backlog.take_link_change());
        assert_eq!((send(&tap).frames, tap.link_up()), (0, true));
        second.0.send(vec![0; 60]).unwrap();
        wait_for("another frame", || stats.rx_frames.get() == 2);
    }
}
