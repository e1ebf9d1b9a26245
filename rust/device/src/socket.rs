// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listening unix sockets.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use crate::limit::Limit;

/// The delay before a retry when the system lacks resources.
const RECOVERY: Duration = Duration::from_millis(100);

/// Binds a unix socket that only its owner can reach. Replaces a socket file that no process serves any
/// more; any other existing file is an error, with a message.
pub fn bind(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(format!(
                "socket {shown} is in use by another process: stop it or name another path"
            ))
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            log::info!("removing the stale socket {shown}");
            fs::remove_file(path)
                .map_err(|e| format!("cannot remove the stale socket {shown}: {e}"))?;
        }
        Err(e) if is_socket(path) => {
            return Err(format!(
                "socket {shown} exists and may be in use ({e}): remove it or name another path"
            ))
        }
        Err(_) => {}
    }
    create(path).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{shown} exists and is not a socket: remove it or name another path")
        }
        io::ErrorKind::NotFound => {
            format!("cannot create socket {shown}: its directory does not exist")
        }
        _ => format!("cannot create socket {shown}: {e}"),
    })
}

/// A listening socket with a file that only the owner can reach at any time: Linux gives the file the mode
/// that the socket has when it is bound.
fn create(path: &Path) -> io::Result<UnixListener> {
    let address = UnixAddr::new(path)?;
    let socket = File::from(socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?);
    socket.set_permissions(Permissions::from_mode(0o600))?;
    socket::bind(socket.as_raw_fd(), &address)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    Ok(OwnedFd::from(socket).into())
}

/// Waits a moment if `error`, met when a connection was to be accepted, is no reason to stop listening: the
/// system lacks resources at present, or the peer has left already. Gives any other error back.
pub fn survive(error: io::Error) -> io::Result<()> {
    static LIMIT: Limit = Limit::new();
    match error.raw_os_error() {
        Some(libc::ECONNABORTED) => Ok(()),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => {
            log::log!(LIMIT.level(), "cannot accept a connection now: {error}");
            thread::sleep(RECOVERY);
            Ok(())
        }
        _ => Err(error),
    }
}

/// Whether the file is a socket. A refused connection does not tell, because a regular file refuses, too.
fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use vmm_sys_util::tempdir::TempDir;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("s");
        let listener = bind(&path).unwrap();
        assert!(bind(&path).unwrap_err().contains("in use"));
        drop(listener);
        bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn only_errors_that_pass_are_survived() {
        for number in [libc::EMFILE, libc::ENOBUFS, libc::ECONNABORTED] {
            assert!(survive(io::Error::from_raw_os_error(number)).is_ok());
        }
        let error = survive(io::Error::from_raw_os_error(libc::EBADF)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn other_files_are_kept() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(bind(&path).unwrap_err().contains("not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let missing = dir.as_path().join("no/such/dir");
        assert!(bind(&missing).unwrap_err().contains("does not exist"));
        // A socket that does not answer like a stale one; another user's does not, either.
        let path = dir.as_path().join("other");
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(bind(&path).unwrap_err().contains("may be in use"));
        assert!(is_socket(&path));
    }
}
