// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `list` and `info`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use espnic_ndis::envelope::{
    Entry, DIRECTION_IN, ENTRY_DELETE_REQUESTED, ENTRY_ESN, INFO_ENCAPSULATION, INFO_REMOVED,
    MODE_TRANSPORT, MODE_TUNNEL, OWNER_OTHER, OWNER_THIS,
};
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::Version;
use serde_json::{json, Value};

use super::Done;
use crate::device::Device;
use crate::error::Error;
use crate::value::show_version;
use crate::{algorithm, show};

/// `list`
pub fn list(device: &Device, json: bool) -> Result<Done, Error> {
    let entries = device.list()?;
    if json {
        let sas: Vec<Value> = entries.iter().map(full).collect();
        show::print(true, &json!({"ok": true, "sas": sas}))?;
    } else if entries.is_empty() {
        show::write("no SA is offloaded\n")?;
    } else {
        let rows: Vec<Value> = entries.iter().map(short).collect();
        show::write(&show::columns(&COLUMNS, &rows))?;
    }
    Ok(Done::ok(true))
}

/// An address as `list` shows it.
pub fn address(family: u8, bytes: &[u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    if family == 6 {
        Ipv6Addr::from(*bytes).into()
    } else {
        Ipv4Addr::new(a, b, c, d).into()
    }
}

fn direction(entry: &Entry) -> &'static str {
    if entry.direction == DIRECTION_IN {
        "in"
    } else {
        "out"
    }
}

fn mode(entry: &Entry) -> &'static str {
    match entry.mode {
        MODE_TRANSPORT => "transport",
        MODE_TUNNEL => "tunnel",
        _ => "other",
    }
}

fn owner(entry: &Entry) -> &'static str {
    match entry.owner {
        OWNER_THIS => "this process",
        OWNER_OTHER => "ndis",
        _ => "xfrm",
    }
}

fn spi(entry: &Entry) -> String {
    format!("{:#010x}", u32::from_be_bytes(entry.spi))
}

/// Columns of the list for people.
const COLUMNS: [&str; 11] = [
    "handle",
    "dir",
    "mode",
    "spi",
    "src",
    "dst",
    "algorithm",
    "esn",
    "udp",
    "delete",
    "owner",
];

/// Form and ports of UDP encapsulation, as `add` has the form.
fn udp(entry: &Entry) -> Option<String> {
    let form = match UdpEsp(entry.udp_esp) {
        UdpEsp::NONE => return None,
        UdpEsp::TRANSPORT => "transport",
        UdpEsp::TUNNEL => "tunnel",
        _ => "other",
    };
    let port = u16::from_be_bytes;
    let (from, to) = (port(entry.source_port), port(entry.destination_port));
    Some(format!("{form} {from}>{to}"))
}

/// What fits into a line.
fn short(entry: &Entry) -> Value {
    let cipher = match (entry.encryption, entry.authentication) {
        (0, 0) => "-".into(),
        (enc, 0) => algorithm::encryption(enc),
        (0, auth) => algorithm::authentication(auth),
        (enc, auth) => format!(
            "{} {}",
            algorithm::encryption(enc),
            algorithm::authentication(auth)
        ),
    };
    json!({
        "handle": format!("{:#x}", entry.handle),
        "dir": direction(entry),
        "mode": mode(entry),
        "spi": spi(entry),
        "src": address(entry.family, &entry.source).to_string(),
        "dst": address(entry.family, &entry.destination).to_string(),
        "algorithm": cipher,
        "esn": (entry.flags & ENTRY_ESN != 0).then_some(entry.sequence_high),
        "udp": udp(entry),
        "delete": if entry.flags & ENTRY_DELETE_REQUESTED != 0 { "asked" } else { "-" },
        "owner": owner(entry),
    })
}

/// Everything.
fn full(entry: &Entry) -> Value {
    let name = |id: u32, name: fn(u32) -> String| (id != 0).then(|| name(id));
    let udp = entry.udp_esp != 0;
    let port = |bytes: [u8; 2]| udp.then(|| u16::from_be_bytes(bytes));
    json!({
        "handle": format!("{:#x}", entry.handle),
        "dir": direction(entry),
        "mode": mode(entry),
        "spi": spi(entry),
        "src": address(entry.family, &entry.source).to_string(),
        "dst": address(entry.family, &entry.destination).to_string(),
        "reqid": entry.reqid,
        "encryption": name(entry.encryption, algorithm::encryption),
        "authentication": name(entry.authentication, algorithm::authentication),
        "icv_length": entry.icv_length,
        "esn": entry.flags & ENTRY_ESN != 0,
        "sequence_high": entry.sequence_high,
        "sequence_low": entry.sequence_low,
        "replay_window": entry.replay_window,
        "udp": udp.then(|| UdpEsp(entry.udp_esp).to_string()),
        "sport": port(entry.source_port),
        "dport": port(entry.destination_port),
        "delete_requested": entry.flags & ENTRY_DELETE_REQUESTED != 0,
        "packets": entry.packets,
        "bytes": entry.bytes,
        "owner": owner(entry),
    })
}

/// `info`
pub fn info(device: &Device, json: bool) -> Result<Done, Error> {
    let info = device.info()?;
    let value = json!({
        "ok": true,
        "interface_version": info.version,
        "ndis_version": show_version(Version(info.ndis_version)),
        "ifindex": info.ifindex,
        "removed": info.flags & INFO_REMOVED != 0,
        "encapsulation": info.flags & INFO_ENCAPSULATION != 0,
        "requests": info.requests,
        "failed": info.failed,
        "records": info.records,
        "lost": info.lost,
        "offloaded": info.offloaded,
        "capacity": info.capacity,
    });
    show::print(json, &value)?;
    Ok(Done::ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn entry() -> Entry {
        let mut entry = Entry::new_zeroed();
        entry.handle = 0x100_0001;
        entry.family = 4;
        entry.source[..4].copy_from_slice(&[192, 0, 2, 1]);
        entry.spi = 0x1000u32.to_be_bytes();
        entry.encryption = espnic_ndis::algorithm::Encryption::AES_GCM_128.0;
        entry.direction = DIRECTION_IN;
        entry.mode = MODE_TUNNEL;
        entry
    }

    #[test]
    fn an_sa_is_shown_in_words() {
        let value = full(&entry());
        assert_eq!(value["handle"], "0x1000001");
        assert_eq!(value["dir"], "in");
        assert_eq!(value["mode"], "tunnel");
        assert_eq!(value["spi"], "0x00001000");
        assert_eq!(value["src"], "192.0.2.1");
        assert_eq!(value["encryption"], "aes-gcm-128");
        assert_eq!(value["authentication"], Value::Null);
        assert_eq!(value["sport"], Value::Null);
        assert_eq!(short(&entry())["algorithm"], "aes-gcm-128");
        assert_eq!(short(&entry())["owner"], "xfrm");
    }

    #[test]
    fn a_line_says_what_the_nic_asked_for() {
        let mut entry = entry();
        let value = short(&entry);
        assert_eq!(
            (&value["delete"], &value["esn"]),
            (&json!("-"), &Value::Null)
        );
        entry.flags = ENTRY_DELETE_REQUESTED | ENTRY_ESN;
        entry.sequence_high = 3;
        let value = short(&entry);
        assert_eq!(
            (&value["delete"], &value["esn"]),
            (&json!("asked"), &json!(3))
        );
    }

    #[test]
    fn udp_ports_are_shown_with_udp() {
        let mut entry = entry();
        entry.udp_esp = 2;
        entry.source_port = 4500u16.to_be_bytes();
        assert_eq!(full(&entry)["sport"], 4500);
        assert_eq!(short(&entry)["udp"], "tunnel 4500>0");
        assert!(full(&entry)["udp"].as_str().unwrap().ends_with("_TUNNEL"));
    }
}
