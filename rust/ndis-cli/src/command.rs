// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The commands.

use std::path::Path;

use clap::Parser;
use espnic_ndis::{Handle, Oid};
use serde_json::{json, Value};
use zeroize::Zeroizing;

use crate::args::{Add, Command, Envelope, Raw, Sa, SaLine};
use crate::device::{Device, Error, Outcome, Request};
use crate::{key, sa, show};

mod adapter;
mod follow;
mod list;

/// Where OffloadHandle ends in ADD_SA, and before that in ADD_SA_EX.
const HANDLES_END: usize = 0x40;

/// How a command went.
pub struct Done {
    /// The NIC did what was asked.
    pub ok: bool,
    /// SAs were added that end with the process.
    pub hold: bool,
}

impl Done {
    fn ok(ok: bool) -> Self {
        Self { ok, hold: false }
    }
}

/// Runs a command and prints its answer. In a session records are left for `follow`.
pub fn run(
    device: &mut Device,
    command: &Command,
    json: bool,
    session: bool,
) -> Result<Done, Error> {
    match command {
        Command::Capabilities { which } => adapter::capabilities(device, *which, json),
        Command::Parameters(words) => adapter::parameters(device, words, json, session),
        Command::Encapsulation { state, kind } => {
            adapter::encapsulation(device, *state, *kind, json, session)
        }
        Command::Keyword { name, value } => {
            adapter::keyword(device, name.as_deref(), value.as_deref(), json)
        }
        Command::Restart { ndis } => adapter::restart(device, ndis.as_deref(), json, session),
        Command::Add(words) => add(device, words, json),
        Command::Update {
            handle,
            spi,
            high,
            operation,
        } => {
            let mut buffer = sa::update(*handle, *operation as u32, *spi, *high);
            set(device, Oid::UPDATE_SA, &mut buffer, json)
        }
        Command::Delete { handles } => {
            let mut buffer = sa::delete(handles);
            set(device, Oid::DELETE_SA, &mut buffer, json)
        }
        Command::List => list::list(device, json),
        Command::Follow(words) => follow::follow(device, words, json),
        Command::Info => list::info(device, json),
        Command::Raw(words) => raw(device, words, json),
        Command::Session => Err(Error::Usage("a session needs a process of its own".into())),
    }
}

/// Members that every answer to a request has.
fn answer(oid: Oid, outcome: &Outcome) -> Value {
    json!({
        "ok": outcome.status.is_success(),
        "oid": oid.to_string(),
        "status": outcome.status.to_string(),
        "code": format!("{:#010x}", outcome.status.0),
        "done": outcome.done,
        "needed": outcome.needed,
    })
}

fn handle(handle: Option<Handle>) -> Value {
    handle.map_or(Value::Null, |handle| json!(format!("{:#x}", handle.get())))
}

/// A set request on the direct path whose answer is its status.
fn set(device: &Device, oid: Oid, buffer: &mut [u8], json: bool) -> Result<Done, Error> {
    let outcome = device.request(&Request::direct(oid), None, buffer)?;
    show::print(json, &answer(oid, &outcome))?;
    Ok(Done::ok(outcome.status.is_success()))
}

fn add(device: &Device, words: &Add, json: bool) -> Result<Done, Error> {
    let (oid, outcome, handles) =
        match (&words.list, &words.sa) {
            (Some(path), _) => {
                let lines = read_list(path)?;
                let sas: Vec<&Sa> = lines.iter().map(|line| &line.sa).collect();
                add_list(device, &sas, &words.envelope)?
            }
            (None, Some(one)) if words.add_sa => add_list(device, &[one], &words.envelope)?,
            (None, Some(one)) => {
                let mut buffer = sa::add_ex(one)?;
                let request = Request::direct(Oid::ADD_SA_EX);
                let outcome = device.request(&request, Some(&words.envelope), &mut buffer)?;
                (Oid::ADD_SA_EX, outcome, vec![sa::handle_ex(&buffer)])
            }
            (None, None) => return Err(Error::Usage(
                "describe the SA with --dir, --src, --dst, --spi and an algorithm, or give --list"
                    .into(),
            )),
        };
    let mut value = answer(oid, &outcome);
    if let Some(members) = value.as_object_mut() {
        let first = handles.first().copied().flatten();
        members.insert("handle".into(), handle(first));
        members.insert(
            "handles".into(),
            handles.into_iter().map(handle).collect::<Value>(),
        );
    }
    show::print(json, &value)?;
    Ok(Done {
        ok: outcome.status.is_success(),
        hold: !words.no_wait,
    })
}

/// ADD_SA.
fn add_list(
    device: &Device,
    sas: &[&Sa],
    words: &Envelope,
) -> Result<(Oid, Outcome, Vec<Option<Handle>>), Error> {
    let (mut buffer, starts) = sa::add_list(sas)?;
    let outcome = device.request(&Request::direct(Oid::ADD_SA), Some(words), &mut buffer)?;
    let handles = sa::handles(&buffer, &starts);
    Ok((Oid::ADD_SA, outcome, handles))
}

/// The lines of `add --list`.
fn read_list(path: &Path) -> Result<Vec<SaLine>, Error> {
    let name = path.to_string_lossy();
    let data = key::read(&name)?;
    let text = std::str::from_utf8(&data).map_err(|_| format!("{name} is not text"))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // clap's message would repeat the line, and with it keys.
        let sa = SaLine::try_parse_from(line.split_whitespace()).map_err(|error| {
            let kind = error.kind();
            Error::Usage(format!("{name}, line {}: {kind}", number + 1))
        })?;
        lines.push(sa);
    }
    if lines.is_empty() {
        return Err(Error::Usage(format!("{name} has no line with an SA")));
    }
    Ok(lines)
}

/// The information buffer of `raw`.
fn raw_buffer(words: &Raw) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut buffer = match words.buffer.strip_prefix('@') {
        Some(path) => key::read(path)?,
        None if words.buffer == "-" => {
            let data = key::read("-")?;
            let text = std::str::from_utf8(&data)
                .map_err(|_| String::from("standard input is not hex digits"))?;
            Zeroizing::new(key::hex(text).map_err(Error::Usage)?)
        }
        None => Zeroizing::new(key::hex(&words.buffer).map_err(Error::Usage)?),
    };
    if let Some(length) = words.length {
        buffer.resize(length as usize, 0);
    }
    Ok(buffer)
}

fn raw(device: &Device, words: &Raw, json: bool) -> Result<Done, Error> {
    use espnic_ndis::envelope::{PATH_DIRECT, PATH_NORMAL, QUERY, SET};
    let mut buffer = raw_buffer(words)?;
    let request = Request {
        oid: Oid(words.oid),
        path: if words.normal {
            PATH_NORMAL
        } else {
            PATH_DIRECT
        },
        kind: words
            .request_type
            .unwrap_or(if words.query { QUERY } else { SET }),
        id: words.id,
    };
    let outcome = device.request(&request, Some(&words.envelope), &mut buffer)?;
    let mut value = answer(request.oid, &outcome);
    if let Some(members) = value.as_object_mut() {
        // The answer of the two that add SAs is the handle, and behind it are keys.
        let shown = match request.oid {
            Oid::ADD_SA | Oid::ADD_SA_EX => HANDLES_END.min(buffer.len()),
            _ => buffer.len(),
        };
        let hex = key::digits(buffer.get(..shown).unwrap_or_default());
        members.insert("buffer".into(), json!(hex));
    }
    show::print(json, &value)?;
    Ok(Done::ok(outcome.status.is_success()))
}
