// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The key table, as an independent decoder reads it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use espnic_device::ipsec::KeyTable;
use espnic_device::ports::capture::{Capture, Limits};
use espnic_wire::sa;
use support::driver::CTRL;
use support::features::ipsec;
use support::{config, sas, Rig};
use vmm_sys_util::tempdir::TempDir;

/// What tshark says of the ESP packets of a capture, with the table `esp_sa` in `dir`: ICV good, ICV bad,
/// protocol inside, separated by commas.
fn opened(dir: &Path) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", dir).args(["-n", "-r"]);
    command.arg(dir.join("wire.pcapng"));
    for preference in [
        "esp.enable_encryption_decode:TRUE",
        "esp.enable_authentication_check:TRUE",
        "esp.enable_null_encryption_decode_heuristic:FALSE",
    ] {
        command.args(["-o", preference]);
    }
    // The frame has the port of a name server, but no question to it.
    command.args(["--disable-protocol", "dns"]);
    command.args(["-Y", "esp", "-T", "fields", "-E", "separator=,"]);
    for field in ["esp.icv_good", "esp.icv_bad", "esp.protocol"] {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn tshark_opens_the_capture_with_it() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.as_path().join(name);
    let capture = Capture::create(&path("wire.pcapng"), &["n0"], Limits::default()).unwrap();
    let capture = Arc::new(capture);
    let mut rig = Rig::default();
    rig.capture = Some(capture.clone());
    rig.keys = Some(Arc::new(KeyTable::create(&path("esp_sa")).unwrap()));
    let mut a = rig.nic(config(1));
    let _b = rig.nic(config(2));
    a.start(ipsec());
    sas::set_up(&mut a, CTRL);
    sas::create(&mut a, sa::OBJ_OUTB_SA, 3);
    let (hdr, frame) = sas::esp(3, &sas::clear_payload());
    a.send(&hdr, &frame);
    assert_eq!(a.counter("tx_frames"), 1);
    capture.flush().unwrap();
    assert_eq!(opened(dir.as_path()), ["True,False,0x11"]);

    // One bit of the file, in the ICV of its only packet; block length and padding come behind it.
    let mut bytes = std::fs::read(path("wire.pcapng")).unwrap();
    let icv = bytes.len() - 4 - 4;
    bytes[icv] ^= 1;
    std::fs::write(path("wire.pcapng"), bytes).unwrap();
    assert_eq!(opened(dir.as_path()), ["False,True,0x11"]);
}
