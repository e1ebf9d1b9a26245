// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The system calls that the standard library lacks: the only module with `unsafe`.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
        libc::ioctl(
            file.as_raw_fd(),
            libc::c_ulong::from(request) as _,
            std::ptr::from_mut(argument),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Index of a network interface.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a string that ends with a zero byte.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Catches SIGINT and SIGTERM: they do not end the process, but make [`stopped`] true.
pub fn catch_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only writes an atomic variable.
        unsafe { libc::signal(signal, stop as *const () as libc::sighandler_t) };
    }
}

/// Lets a pipe without a reader end the process, as it ends other tools. The standard library turns it
/// into an error, which would become a panic.
pub fn end_with_closed_pipes() {
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Waits until a file has something to read, the time is over, or a signal comes.
pub fn wait_readable(file: &File, time: Duration) -> io::Result<()> {
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let time = time.as_millis().saturating_add(1);
    let time = libc::c_int::try_from(time).unwrap_or(libc::c_int::MAX);
    // SAFETY: `poll` is one writable entry.
    if unsafe { libc::poll(&mut poll, 1, time) } >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
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
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
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
