// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Looks for the headers that the test `mingw` needs, so that the test is skipped with a reason without them.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// The folder of headers of Debian's package mingw-w64-common.
const HEADERS: &str = "/usr/share/mingw-w64/include";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(mingw)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ESPNIC_MINGW_INCLUDE");
    let headers = env::var("ESPNIC_MINGW_INCLUDE").unwrap_or_else(|_| HEADERS.to_owned());
    let header = Path::new(&headers).join("ntddndis.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let clang = Command::new("clang")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if header.exists() && clang.is_ok_and(|status| status.success()) {
        println!("cargo::rustc-cfg=mingw");
        println!("cargo::rustc-env=ESPNIC_MINGW_INCLUDE={headers}");
    }
}
