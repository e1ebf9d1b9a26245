// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The system calls that the standard library lacks: the only module with `unsafe`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{signal, SigHandler, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use zerocopy::{FromBytes, IntoBytes};

/// An ioctl whose argument is a `T` that lies in memory of its own.
///
/// `request` must be an ioctl number of [`espnic_ndis::envelope`] that belongs to `T`. Pointers
/// inside `T` are addresses that the kernel checks; the caller keeps what they point to alive, and
/// reads it again afterwards.
pub fn ioctl<T: FromBytes + IntoBytes>(
    file: &File,
    request: u32,
    argument: &mut T,
) -> io::Result<()> {
    // The number carries the size of its argument, so a wrong pair never reaches the kernel.
    if (request >> 16) & 0x3fff != u32::try_from(size_of::<T>()).unwrap_or(0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `argument` is writable for the number of bytes that the ioctl number says, and any
    // bytes are a valid `T`.
    let result = unsafe {
        nix::libc::ioctl(
            file.as_raw_fd(),
            nix::libc::Ioctl::from(request),
            std::ptr::from_mut(argument),
        )
    };
    Errno::result(result).map_err(io::Error::from).map(drop)
}

/// Index of a network interface.
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Catches SIGINT and SIGTERM: they do not end the process, but make [`stopped`] true.
///
/// # Errors
///
/// Those of sigaction().
pub fn catch_signals() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, STOPPED.clone())?;
    }
    Ok(())
}

/// Lets a pipe without a reader end the process, as it ends other tools. The standard library turns it
/// into an error, which would become a panic.
pub fn end_with_closed_pipes() {
    // SAFETY: the default action needs no handler.
    let before = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    // There is such a signal, and everybody may set its action.
    debug_assert!(before.is_ok());
}

/// Waits until a file has something to read, the time is over, or a signal comes.
pub fn wait_readable(file: &File, time: Duration) -> io::Result<()> {
    let time = time.saturating_add(Duration::from_millis(1));
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], time) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether SIGINT or SIGTERM came.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use espnic_ndis::envelope::{Info, IOCTL_BIND, IOCTL_INFO};
    use zerocopy::FromZeros;

    #[test]
    fn a_number_of_another_structure_is_refused() {
        let file = File::open("/dev/null").unwrap();
        let mut info = Info::new_zeroed();
        let error = ioctl(&file, IOCTL_BIND, &mut info).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = ioctl(&file, IOCTL_INFO, &mut info).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOTTY as i32));
    }

    #[test]
    fn a_wait_ends_with_something_to_read_or_with_the_time() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let before = std::time::Instant::now();
        wait_readable(&file, Duration::from_millis(20)).unwrap();
        assert!(before.elapsed() >= Duration::from_millis(20));
        drop(writer);
        wait_readable(&file, Duration::MAX).unwrap();
    }

    #[test]
    fn interfaces_have_an_index() {
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!(interface_index("no-such-one"), None);
        assert_eq!(interface_index("a\0b"), None);
    }
}
