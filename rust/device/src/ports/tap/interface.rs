// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Attaching to a TAP interface, repeatedly if necessary, with descriptors that were opened at the start: later
//! the process cannot open anything. It has `unsafe`, because crates for these calls open files themselves.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use super::Line;

/// The device that makes interfaces.
const DEVICE: &str = "/dev/net/tun";

/// The `ioctl` calls of `Interface::attach`.
pub const CALLS: &[libc::Ioctl] = &[
    libc::TUNSETIFF,
    libc::TUNSETOFFLOAD,
    libc::SIOCGIFFLAGS,
    libc::SIOCSIFFLAGS,
];

/// `struct ifreq` with flags in it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    _rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() >= size_of::<libc::ifreq>());

/// The interface of one name.
pub struct Interface {
    name: String,
    request: Request,
    device: Arc<File>,
    /// A socket for the `ioctl` calls on interfaces, which take any kind.
    control: UnixDatagram,
}

/// The interface while it is there.
pub struct Attached(Arc<File>);

impl Interface {
    /// Opens everything that is needed for the interface `name`.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut request = Request {
            name: [0; libc::IFNAMSIZ],
            flags: 0,
            _rest: [0; 22],
        };
        // A zero ends it.
        let places = request.name.get_mut(..libc::IFNAMSIZ - 1);
        match places.and_then(|places| places.get_mut(..name.len())) {
            Some(places) if !name.contains('\0') => places.copy_from_slice(name.as_bytes()),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(Self {
            name: name.to_owned(),
            request,
            device: Arc::new(OpenOptions::new().read(true).write(true).open(DEVICE)?),
            control: UnixDatagram::unbound()?,
        })
    }

    /// Attaches to the interface, or creates it for as long as this process runs, and sets it up if it may. To be
    /// called again when the interface has gone.
    pub fn attach(&self) -> io::Result<Attached> {
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        let mut request = Request {
            flags,
            ..self.request
        };
        match ioctl(&*self.device, libc::TUNSETIFF, &mut request) {
            // It is still there.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => result?,
        }
        // Another program may have left it with offloads on, so that it gives frames that are too large.
        no_offload(&self.device)?;
        if let Err(error) = self.set_up(request) {
            let name = &self.name;
            log::warn!("cannot set interface {name} up ({error}): use `ip link set {name} up`");
        }
        Ok(Attached(self.device.clone()))
    }

    /// Sets the interface up that the request names.
    fn set_up(&self, mut request: Request) -> io::Result<()> {
        ioctl(&self.control, libc::SIOCGIFFLAGS, &mut request)?;
        request.flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        ioctl(&self.control, libc::SIOCSIFFLAGS, &mut request)
    }
}

impl Line for Attached {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        (&*self.0).write(frame)
    }
}

fn ioctl(file: &impl AsRawFd, call: libc::Ioctl, request: &mut Request) -> io::Result<()> {
    // SAFETY: the calls above read and write one `struct ifreq`, and `request` is as large.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), call, std::ptr::from_mut(request)) };
    done(result)
}

fn no_offload(device: &File) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: the call takes a number.
    done(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, none) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["sixteen-letters-", "a\0b"] {
            let error = Interface::new(name).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
