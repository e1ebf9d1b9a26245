// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands that concern the adapter: capabilities, settings, keywords.

use espnic_ndis::encapsulation::{Family, OffloadEncapsulation, Set};
use espnic_ndis::envelope::{
    KEYWORD_DISABLE_TASK_OFFLOAD, KEYWORD_ENABLED_OFFLOAD, KEYWORD_IPSEC_V1_IPV4, KEYWORD_IPSEC_V2,
    KEYWORD_IPSEC_V2_IPV4, QUERY, SET,
};
use espnic_ndis::parameters::{OffloadParameters, SKIP_REGISTRY_UPDATE};
use espnic_ndis::{keyword as names, Oid, U32};
use serde_json::{json, Value};
use zerocopy::IntoBytes;

use super::{answer, Done};
use crate::args::{Parameters, Switch, Which};
use crate::device::{Device, Error, Outcome, Request};
use crate::{offload, record, show};

/// Room for any revision of NDIS_OFFLOAD.
const ROOM: usize = 256;
/// Bytes of an Ethernet header.
const ETHERNET_HEADER: u32 = 14;
/// Revision of NDIS_OFFLOAD_PARAMETERS that is sent: the first with IPsecV2 (NDIS 6.1).
const PARAMETERS_REVISION: u8 = 2;

/// `capabilities`
pub fn capabilities(device: &Device, which: Option<Which>, json: bool) -> Result<Done, Error> {
    let mut value = json!({});
    let mut ok = true;
    for (one, name, oid) in [
        (Which::Hardware, "hardware", Oid::HARDWARE_CAPABILITIES),
        (Which::Current, "current", Oid::CURRENT_CONFIG),
    ] {
        if which.is_some_and(|wanted| wanted != one) {
            continue;
        }
        let mut buffer = [0; ROOM];
        let outcome = device.request(&Request::normal(oid, QUERY), None, &mut buffer)?;
        let written = buffer.get(..outcome.done as usize).unwrap_or_default();
        if outcome.status.is_success() {
            value[name] = offload::json(written);
        } else {
            ok = false;
            value[name] = answer(oid, &outcome);
        }
    }
    value["ok"] = json!(ok);
    show::print(json, &value)?;
    Ok(Done::ok(ok))
}

/// The answer to a set request, with the indications that followed it.
fn finish(
    device: &mut Device,
    oid: Oid,
    outcome: &Outcome,
    json: bool,
    session: bool,
) -> Result<Done, Error> {
    let mut value = answer(oid, outcome);
    if !session {
        value["indications"] = indications(device)?;
    }
    show::print(json, &value)?;
    Ok(Done::ok(outcome.status.is_success()))
}

/// The indications that wait to be read.
fn indications(device: &mut Device) -> Result<Value, Error> {
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 14];
    while let Some(count @ 1..) = device.read(&mut buffer)? {
        for record in record::split(buffer.get(..count).unwrap_or_default()) {
            found.push(record?.json()["status"].clone());
        }
    }
    Ok(found.into())
}

/// `parameters`
pub fn parameters(
    device: &mut Device,
    words: &Parameters,
    json: bool,
    session: bool,
) -> Result<Done, Error> {
    let mut parameters = OffloadParameters::new(PARAMETERS_REVISION).unwrap_or_default();
    parameters.ipsec_v1 = words.ipsec_v1 as u8;
    parameters.ipsec_v2 = words.ipsec as u8;
    parameters.ipsec_v2_ipv4 = words.ipsec_ipv4 as u8;
    if words.skip_registry {
        parameters.flags = U32::new(SKIP_REGISTRY_UPDATE);
    }
    let length = usize::from(parameters.header.size.get());
    let mut buffer = parameters.as_bytes().to_vec();
    buffer.truncate(length);
    let oid = Oid::PARAMETERS;
    let outcome = device.request(&Request::normal(oid, SET), None, &mut buffer)?;
    finish(device, oid, &outcome, json, session)
}

/// `encapsulation`
pub fn encapsulation(
    device: &mut Device,
    state: Option<Switch>,
    kind: u32,
    json: bool,
    session: bool,
) -> Result<Done, Error> {
    let Some(state) = state else {
        return show_encapsulation(device, json);
    };
    let enabled = match state {
        Switch::On => Set::ON,
        Switch::Off => Set::OFF,
    };
    let family = Family {
        enabled: U32::new(enabled.0),
        encapsulation_type: U32::new(kind),
        header_size: U32::new(ETHERNET_HEADER),
    };
    let mut buffer = OffloadEncapsulation::new(family, family)
        .as_bytes()
        .to_vec();
    let oid = Oid::ENCAPSULATION;
    let outcome = device.request(&Request::normal(oid, SET), None, &mut buffer)?;
    finish(device, oid, &outcome, json, session)
}

fn show_encapsulation(device: &Device, json: bool) -> Result<Done, Error> {
    let mut buffer = [0; size_of::<OffloadEncapsulation>()];
    let oid = Oid::ENCAPSULATION;
    let outcome = device.request(&Request::normal(oid, QUERY), None, &mut buffer)?;
    let mut value = answer(oid, &outcome);
    if let (true, Ok(found)) = (
        outcome.status.is_success(),
        OffloadEncapsulation::parse(&buffer),
    ) {
        for (name, family) in [("ipv4", found.ipv4), ("ipv6", found.ipv6)] {
            value[name] = json!({
                "enabled": family.enabled().to_string(),
                "type": format!("{:#x}", family.encapsulation_type.get()),
                "header_size": family.header_size.get(),
            });
        }
    }
    show::print(json, &value)?;
    Ok(Done::ok(outcome.status.is_success()))
}

/// Names and numbers of the keywords.
const KEYWORDS: [(&str, u32); 5] = [
    (names::IPSEC_V2, KEYWORD_IPSEC_V2),
    (names::IPSEC_V2_IPV4, KEYWORD_IPSEC_V2_IPV4),
    (names::IPSEC_V1_IPV4, KEYWORD_IPSEC_V1_IPV4),
    (names::DISABLE_TASK_OFFLOAD, KEYWORD_DISABLE_TASK_OFFLOAD),
    (names::ENABLED_OFFLOAD, KEYWORD_ENABLED_OFFLOAD),
];

/// A keyword by its name; upper or lower case and the asterisk do not matter.
fn find(name: &str) -> Result<(&'static str, u32), Error> {
    let bare = |name: &str| name.trim_start_matches('*').to_ascii_lowercase();
    KEYWORDS
        .into_iter()
        .find(|(known, _)| bare(known) == bare(name))
        .ok_or_else(|| {
            let known: Vec<&str> = KEYWORDS.iter().map(|(known, _)| *known).collect();
            Error::Usage(format!("no keyword {name}: there are {}", known.join(", ")))
        })
}

/// `keyword`
pub fn keyword(
    device: &Device,
    name: Option<&str>,
    value: Option<&str>,
    json: bool,
) -> Result<Done, Error> {
    let chosen = match name {
        Some(name) => vec![find(name)?],
        None => KEYWORDS.to_vec(),
    };
    if let (Some(value), [(_, number)]) = (value, chosen.as_slice()) {
        let value =
            match value {
                "delete" => None,
                text => Some(text.parse().map_err(|_| {
                    Error::Usage(format!("{text} is neither a number nor \"delete\""))
                })?),
            };
        device.set_keyword(*number, value)?;
    }
    let mut keywords = json!({});
    for (name, number) in chosen {
        keywords[name] = json!(device.keyword(number)?);
    }
    show::print(json, &json!({"ok": true, "keywords": keywords}))?;
    Ok(Done::ok(true))
}

/// An NDIS version, like 6.30, as the envelope has it.
fn version(text: &str) -> Result<u32, Error> {
    let number = |text: &str| text.parse::<u16>().ok().map(u32::from);
    text.split_once('.')
        .and_then(|(major, minor)| Some((number(major)? << 16) | number(minor)?))
        .ok_or_else(|| Error::Usage(format!("{text} is no NDIS version, like 6.30")))
}

/// `restart`
pub fn restart(
    device: &mut Device,
    ndis: Option<&str>,
    json: bool,
    session: bool,
) -> Result<Done, Error> {
    device.restart(ndis.map_or(Ok(0), version)?)?;
    let mut value = json!({"ok": true});
    if !session {
        value["indications"] = indications(device)?;
    }
    show::print(json, &value)?;
    Ok(Done::ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_by_name() {
        assert_eq!(find("*ipsecoffloadv2").unwrap().1, KEYWORD_IPSEC_V2);
        assert_eq!(find("IPsecOffloadV2IPv4").unwrap().1, KEYWORD_IPSEC_V2_IPV4);
        let Err(Error::Usage(text)) = find("nothing") else {
            panic!("found");
        };
        assert!(text.contains("*IPsecOffloadV1IPv4"));
    }

    #[test]
    fn versions_are_read_as_ndis_writes_them() {
        assert_eq!(version("6.30").unwrap(), 0x0006_001e);
        assert_eq!(version("6.1").unwrap(), 0x0006_0001);
        for wrong in ["6", "6.x", "", "6.1.1"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}
