// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands that concern the adapter: capabilities, settings, keywords.

use espnic_ndis::encapsulation::OffloadEncapsulation;
use espnic_ndis::envelope::{QUERY, SET};
use espnic_ndis::{Oid, Version};
use serde_json::{json, Value};

use super::{answer, encode, Done, Way};
use crate::args::{Encapsulation, Parameters, Which};
use crate::device::{Device, Next, Outcome, Request};
use crate::error::Error;
use crate::keyword::{self, Keyword};
use crate::{offload, show};

/// Room for any revision of NDIS_OFFLOAD.
const ROOM: usize = 256;

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
fn finish(device: &mut Device, oid: Oid, outcome: &Outcome, way: Way) -> Result<Done, Error> {
    let mut value = answer(oid, outcome);
    if !way.session {
        value["indications"] = indications(device)?;
    }
    show::print(way.json, &value)?;
    Ok(Done::ok(outcome.status.is_success()))
}

/// The indications that wait to be read.
fn indications(device: &mut Device) -> Result<Value, Error> {
    let mut found = Vec::new();
    while let Next::Record(record) = device.next_record()? {
        found.push(record.json()["status"].clone());
    }
    Ok(found.into())
}

/// `parameters`
pub fn parameters(device: &mut Device, words: &Parameters, way: Way) -> Result<Done, Error> {
    let mut buffer = encode::parameters(words);
    let oid = Oid::PARAMETERS;
    let outcome = device.request(&Request::normal(oid, SET), None, &mut buffer)?;
    finish(device, oid, &outcome, way)
}

/// `encapsulation`
pub fn encapsulation(device: &mut Device, words: &Encapsulation, way: Way) -> Result<Done, Error> {
    if words.is_query() {
        return show_encapsulation(device, way.json);
    }
    let mut buffer = encode::encapsulation(words);
    let oid = Oid::ENCAPSULATION;
    let outcome = device.request(&Request::normal(oid, SET), None, &mut buffer)?;
    finish(device, oid, &outcome, way)
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

/// The new value of a keyword, if there is one: a number, or none to delete it.
pub fn keyword_value(
    name: Option<&Keyword>,
    value: Option<keyword::Value>,
) -> Result<Option<Option<u32>>, Error> {
    let of = |(name, value): (&Keyword, keyword::Value)| value.of(name);
    let value = name.zip(value).map(of).transpose();
    value.map_err(Error::Usage)
}

/// `keyword`
pub fn keyword(
    device: &Device,
    name: Option<&'static Keyword>,
    value: Option<Option<u32>>,
    json: bool,
) -> Result<Done, Error> {
    if let (Some(keyword), Some(value)) = (name, value) {
        device.set_keyword(keyword.number, value)?;
    }
    let chosen = name.map_or(&keyword::ALL[..], std::slice::from_ref);
    let mut keywords = json!({});
    for keyword in chosen {
        keywords[keyword.name] = json!(device.keyword(keyword.number)?);
    }
    show::print(json, &json!({"ok": true, "keywords": keywords}))?;
    Ok(Done::ok(true))
}

/// `restart`
pub fn restart(device: &mut Device, ndis: Option<Version>, way: Way) -> Result<Done, Error> {
    device.restart(ndis.map_or(0, |version| version.0))?;
    let mut value = json!({"ok": true});
    if !way.session {
        value["indications"] = indications(device)?;
    }
    show::print(way.json, &value)?;
    Ok(Done::ok(true))
}
