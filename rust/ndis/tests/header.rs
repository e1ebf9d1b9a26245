// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `include/espnic-ndis.h`, the device's interface for C, is made from `src/envelope.rs` here, and
//! compared with what is in the tree. `ESPNIC_WRITE_HEADER=1 cargo test -p espnic_ndis --test header`
//! writes it. Compilers then say whether C sees the layouts that Rust has.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use core::fmt::Write as _;
use espnic_ndis::envelope::{
    self, Bind, Cancel, Completed, Entry, Indication, Info, Keyword, List, Received, Record,
    Request, Restart, Sent, Submit,
};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("../src/envelope.rs");
const HEAD: &str = "\
/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The interface of /dev/espnic-ndis. Made from rust/ndis/src/envelope.rs by its
 * test \"header\": change that one.
 *
 * All fields are in native byte order except those whose comment says network
 * order. Reserved fields are zero.
 */
#ifndef ESPNIC_NDIS_H
#define ESPNIC_NDIS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ESPNIC_NDIS_MAGIC 0xE5
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../include/espnic-ndis.h")
}

/// `SetKeyword` as `set_keyword`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The C name of what a comment or an expression names.
fn c_name(name: &str) -> String {
    if name.chars().any(|c| c.is_ascii_lowercase()) {
        return match name.split_once("::") {
            Some((of, field)) => format!("espnic_ndis_{}.{field}", snake(of)),
            None => format!("struct espnic_ndis_{}", snake(name)),
        };
    }
    match name.strip_prefix("IOCTL_") {
        Some(ioctl) => format!("ESPNIC_NDIS_{ioctl}"),
        None => format!("ESPNIC_NDIS_{name}"),
    }
}

/// A comment with C names for the links, in lines that are not too long.
fn comment(lines: &[String], indent: &str) -> String {
    let joined = lines.join(" ");
    let mut text = String::new();
    for (n, part) in joined.split("[`").enumerate() {
        match part.split_once("`]") {
            Some((link, rest)) if n > 0 => text = text + &c_name(link) + rest,
            _ => text += part,
        }
    }
    let text = text.replace('`', "");
    let mut out = vec![String::new()];
    for word in text.split_whitespace() {
        let last = out.last_mut().unwrap();
        if !last.is_empty() && indent.len() + last.len() + word.len() > 84 {
            out.push(word.to_owned());
        } else {
            *last = format!("{last} {word}").trim_start().to_owned();
        }
    }
    match out.as_slice() {
        [one] => format!("{indent}/* {one} */\n"),
        all => format!(
            "{indent}/*\n{indent} * {}\n{indent} */\n",
            all.join(&format!("\n{indent} * "))
        ),
    }
}

/// An expression of numbers and constants.
fn expression(text: &str) -> String {
    let word = |word: &str| {
        let first = word.chars().next().unwrap();
        if first.is_ascii_uppercase() {
            c_name(word)
        } else {
            word.replace('_', "")
        }
    };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    match words.as_slice() {
        [one] => one.clone(),
        all => format!("({})", all.join(" ")),
    }
}

/// A field: type, name, and a dimension if it is an array.
fn field(kind: &str, name: &str) -> String {
    let number = |kind: &str| match kind {
        "u8" => "__u8",
        "u16" => "__u16",
        "u32" => "__u32",
        "u64" => "__u64",
        other => panic!("no C type for {other}"),
    };
    match kind
        .strip_prefix('[')
        .and_then(|kind| kind.strip_suffix(']'))
    {
        Some(array) => {
            let (kind, count) = array.split_once("; ").unwrap();
            format!("\t{} {name}[{}];\n", number(kind), expression(count))
        }
        None => format!("\t{} {name};\n", number(kind)),
    }
}

/// `_IOW(...)` of `ioc::<Bind>(DIR_WRITE, 0)`.
fn ioctl(value: &str) -> String {
    let (kind, rest) = value
        .strip_prefix("ioc::<")
        .unwrap()
        .split_once(">(")
        .unwrap();
    let (dir, nr) = rest.strip_suffix(')').unwrap().split_once(", ").unwrap();
    let macro_name = match dir {
        "DIR_WRITE" => "_IOW",
        "DIR_READ" => "_IOR",
        "DIR_READ | DIR_WRITE" => "_IOWR",
        other => panic!("direction {other}"),
    };
    format!("{macro_name}(ESPNIC_NDIS_MAGIC, {nr}, {})", c_name(kind))
}

/// The header. What is public in the source counts, up to its assertions.
fn header() -> String {
    let (mut out, mut ioctls) = (HEAD.to_owned(), String::new());
    let (mut docs, mut names) = (Vec::new(), BTreeSet::new());
    let mut inside = false;
    for line in SOURCE.lines().take_while(|line| *line != "#[cfg(test)]") {
        let line = line.trim();
        let indent = if inside { "\t" } else { "" };
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim().to_owned());
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("pub const ") {
            let (name, rest) = rest.split_once(": ").unwrap();
            let value = rest.split_once(" = ").unwrap().1.strip_suffix(';').unwrap();
            let name = c_name(name);
            assert!(names.insert(name.clone()), "{name} twice");
            let text = comment(&docs, indent);
            if value.starts_with("ioc::") {
                ioctls += &format!("{text}#define {name} {}\n", ioctl(value));
            } else if value.starts_with('"') {
                out += &format!("\n{text}#define {name} {value}\n");
            } else {
                out += &format!("\n{text}#define {name} {}\n", expression(value));
            }
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.strip_suffix(" {").unwrap();
            out += &format!("\n{}{} {{\n", comment(&docs, ""), c_name(name));
            inside = true;
        } else if let Some(rest) = line.strip_prefix("pub ") {
            let (name, kind) = rest.strip_suffix(',').unwrap().split_once(": ").unwrap();
            out += &(comment(&docs, indent) + &field(kind, name));
        } else if line == "}" && inside {
            out += "};\n";
            inside = false;
        }
        docs.clear();
    }
    out + "\n" + &ioctls + "\n#endif /* ESPNIC_NDIS_H */\n"
}

#[test]
fn the_header_is_up_to_date() {
    let wanted = header();
    if std::env::var_os("ESPNIC_WRITE_HEADER").is_some() {
        std::fs::write(path(), &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path()).unwrap_or_default();
    let write = "ESPNIC_WRITE_HEADER=1 cargo test -p espnic_ndis --test header";
    assert!(
        found == wanted,
        "include/espnic-ndis.h is not that of envelope.rs; {write}"
    );
}

fn equal(out: &mut String, expression: &str, value: u64) {
    writeln!(
        out,
        "_Static_assert({expression} == {value}u, \"{expression}\");"
    )
    .unwrap();
}

/// Assertions for a structure. A field that is left out here does not compile.
macro_rules! layout {
    ($out:expr, $($name:ident $c:literal { $($field:ident),* $(,)? })*) => {$(
        let _ = |value: $name| {
            let $name { $($field: _),* } = value;
        };
        let c = concat!("struct espnic_ndis_", $c);
        equal($out, &format!("sizeof({c})"), size_of::<$name>() as u64);
        $(
            let of = format!("offsetof({c}, {})", stringify!($field));
            equal($out, &of, offset_of!($name, $field) as u64);
        )*
    )*};
}

fn assertions() -> String {
    let mut out = String::from("#include <stddef.h>\n#include \"espnic-ndis.h\"\n");
    layout! {&mut out,
        Bind "bind" { ifindex, flags, length, reserved, configuration }
        Request "request" {
            size, path, request_type, oid, buffer, buffer_length, status, bytes_done, bytes_needed,
            request_id, mode, reserved, replay_window, reqid, source_port, destination_port,
            reserved2,
        }
        List "list" { cursor, entries, capacity, count, entry_size, reserved }
        Entry "entry" {
            handle, packets, bytes, source, destination, spi, reqid, authentication, encryption,
            icv_length, sequence_high, sequence_low, replay_window, udp_esp, flags, family,
            direction, mode, owner, source_port, destination_port,
        }
        Info "info" {
            version, ifindex, flags, ndis_version, requests, failed, records, lost, offloaded,
            capacity,
        }
        Keyword "keyword" { name, present, value, reserved }
        Restart "restart" { ndis_version, reserved }
        Cancel "cancel" { request_id }
        Submit "submit" { frame, length, status, slot1, slot2, slot11, slot12, reserved }
        Completed "completed" {
            request_id, oid, status, bytes_done, bytes_needed, handles, reserved,
        }
        Record "record" { length, kind, sequence, lost, reserved, timestamp }
        Indication "indication" { status, buffer_length }
        Received "received" {
            slot1, slot12, slot1_v1, handle, spi, sequence, length, family, bytes, reserved,
        }
        Sent "sent" {
            slot1, slot11, slot12, slot2, spi, sequence, length, family, bytes, reserved, status,
            reserved2,
        }
    }
    for (name, value) in [
        ("BIND", envelope::IOCTL_BIND),
        ("REQUEST", envelope::IOCTL_REQUEST),
        ("LIST", envelope::IOCTL_LIST),
        ("INFO", envelope::IOCTL_INFO),
        ("SET_KEYWORD", envelope::IOCTL_SET_KEYWORD),
        ("GET_KEYWORD", envelope::IOCTL_GET_KEYWORD),
        ("RESTART", envelope::IOCTL_RESTART),
        ("PEND", envelope::IOCTL_PEND),
        ("CANCEL", envelope::IOCTL_CANCEL),
        ("SUBMIT", envelope::IOCTL_SUBMIT),
        ("WANT_ALL", envelope::WANT_ALL),
        ("MAX_BUFFER", envelope::MAX_BUFFER),
        ("MAX_RECORD", envelope::MAX_RECORD as u32),
        ("RECORD_REMOVED", envelope::RECORD_REMOVED.into()),
    ] {
        equal(&mut out, &format!("ESPNIC_NDIS_{name}"), value.into());
    }
    out
}

/// What a compiler says about a source; nothing if it is content, and `None` if it is not there.
fn compile(compiler: &str, source: &str) -> Option<String> {
    let include = path();
    let child = Command::new(compiler)
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Wpadded",
            "-Werror",
        ])
        .args(["-fsyntax-only", "-x", "c", "-I"])
        .arg(include.parent().unwrap())
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert!(
                std::env::var_os("ESPNIC_SANDBOX").is_none(),
                "{compiler}: {error}"
            );
            println!("skipped: there is no {compiler}");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), text.is_empty(), "{text}");
    Some(text)
}

#[test]
fn compilers_see_the_layouts_that_rust_has() {
    for compiler in ["gcc", "clang"] {
        let text = compile(compiler, &assertions()).unwrap_or_default();
        assert!(text.is_empty(), "{compiler}: {text}");
    }
}

#[test]
fn a_wrong_assertion_is_seen() {
    let wrong = assertions().replace(
        "sizeof(struct espnic_ndis_restart) == 8u",
        "sizeof(int) == 99u",
    );
    for compiler in ["gcc", "clang"] {
        assert!(compile(compiler, &wrong).is_none_or(|text| text.contains("assert")));
    }
}
