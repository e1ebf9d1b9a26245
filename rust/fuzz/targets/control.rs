// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests at the control socket: each line gets one answer, and none does harm.

#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use espnic_device::control::Control;
use espnic_fuzz::guest::{config, driver, Rig};
use espnic_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

/// Longest request in bytes.
const MAX_LINE: usize = 4096;

struct Server {
    control: Arc<Control>,
    address: SocketAddr,
}

/// Two wired NICs that are named n0 and n1, with a control socket.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // As in a program of Rust's own; here main() is libFuzzer's.
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).unwrap();
        let mut rig = Rig::default();
        let nics = [rig.nic(config(1)), rig.nic(config(2))].map(|mut nic| {
            nic.start(driver::plain());
            nic.nic().clone()
        });
        let control = Arc::new(Control::new(nics.to_vec(), None));
        let name = format!("espnic-fuzz-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let served = control.clone();
        thread::spawn(move || served.serve(&listener));
        Server { control, address }
    })
}

fn answer(control: &Control, line: &str) -> bool {
    let reply = control.answer(line);
    let ok = reply["ok"].as_bool().unwrap();
    let error = reply["error"].as_str();
    assert_eq!(ok, error.is_none(), "{reply}");
    assert!(error != Some(""));
    ok
}

/// Sends everything over one connection; the answers.
fn over_socket(server: &Server, data: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect_addr(&server.address).unwrap();
    // The other side hangs up after a line that is too long.
    let sent = stream.write_all(data).is_ok();
    let mut replies = Vec::new();
    let ended = stream.shutdown(Shutdown::Write).is_ok();
    let read = stream.read_to_end(&mut replies).is_ok();
    assert!(sent && ended && read || data.len() > MAX_LINE);
    replies
}

fn lines(server: &Server, data: &[u8]) {
    let replies = over_socket(server, data);
    assert!(replies.is_empty() || replies.ends_with(b"\n"));
    let asked = data.iter().filter(|&&byte| byte == b'\n').count();
    let answered = replies.iter().filter(|&&byte| byte == b'\n').count();
    if data.len() < MAX_LINE {
        assert_eq!(asked, answered);
    }
}

fuzz_target!(|data: &[u8]| {
    let server = server();
    let mut bytes = Bytes(data);
    if bytes.u8() == b'!' {
        lines(server, bytes.rest());
    } else if let Ok(text) = std::str::from_utf8(data) {
        for line in text.lines() {
            answer(&server.control, line);
        }
    }
    for line in [
        "fault n0 clear",
        "fault n1 clear",
        "link n0 up",
        "link n1 up",
    ] {
        assert!(answer(&server.control, line), "{line}");
    }
});
