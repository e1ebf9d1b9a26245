// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Values of the keys of `--nic`. An error is a sentence for the user.

use std::time::Duration;

use crate::net::MAX_PAIRS;

/// MTU range of VIRTIO 1.4 section 5.1.4.1.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 68..=65535;
/// As many SAs as the tables of the NIC and the driver are made for. Ids are below it.
const MOST_SAS: u32 = 1 << 20;
/// The longest time for which workers look for work before they sleep. With more they would take the processor
/// for traffic of less than 1000 packets per second.
const MAX_POLL: Duration = Duration::from_millis(1);

/// A name for logs, captures and requests.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(format!(
            "`{text}` is not a name: use letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(text.to_owned())
}

/// The address of one NIC.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let error = || format!("`{text}` is not a MAC address like 02:00:00:00:00:10");
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| is_hex_pair(part))
            .ok_or_else(error)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
    }
    match mac {
        _ if parts.next().is_some() => Err(error()),
        [first, ..] if first & 1 != 0 => Err(format!("{text} is a group address, not a NIC's")),
        mac if mac == [0; 6] => Err(error()),
        mac => Ok(mac),
    }
}

fn is_hex_pair(text: &str) -> bool {
    text.len() == 2 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// An MTU in bytes.
pub(super) fn parse_mtu(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|mtu| MTU_RANGE.contains(mtu))
        .ok_or_else(|| format!("`{text}` is not an MTU from 68 to 65535"))
}

/// A number of SAs.
pub(super) fn parse_sas(text: &str) -> Result<u32, String> {
    let sas = text.parse().ok();
    sas.filter(|sas| (1..=MOST_SAS).contains(sas))
        .ok_or_else(|| format!("`{text}` is not a number of SAs from 1 to {MOST_SAS}"))
}

/// A number of queue pairs.
pub(super) fn parse_pairs(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|pairs| (1..=MAX_PAIRS).contains(pairs))
        .ok_or_else(|| format!("`{text}` is not a number of queue pairs from 1 to {MAX_PAIRS}"))
}

/// A time in microseconds.
pub(super) fn parse_poll(text: &str) -> Result<Duration, String> {
    let poll = text.parse().ok().map(Duration::from_micros);
    poll.filter(|&poll| poll <= MAX_POLL)
        .ok_or_else(|| format!("`{text}` is not a number of microseconds from 0 to 1000"))
}

/// The value of `key`, which is on or off.
pub(super) fn parse_switch(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{key}` is on or off, not `{text}`")),
    }
}
