// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The commands.

use std::net::IpAddr;
use std::time::Duration;

use espnic_ndis::sa::Address;
use espnic_ndis::{Handle, Oid, Status};
use serde_json::{json, Value};

use crate::args::{Command, Later};
use crate::device::{Device, Outcome, Request};
use crate::error::Error;
use crate::{sa, show};

mod adapter;
mod add;
mod check;
mod decode;
mod encode;
mod follow;
mod list;
mod pending;
mod raw;
mod submit;

/// The longest wait for a record before checking for a signal, which may have come just before the wait.
const TICK: Duration = Duration::from_millis(200);

/// The result of a command.
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

/// A command that needs no device.
pub type Offline<'a> = Box<dyn FnOnce(bool) -> Result<Done, Error> + 'a>;

/// A command that is ready, with or without the device.
pub enum Ready<'a> {
    /// With it.
    Device(Job<'a>),
    /// Without.
    Offline(Offline<'a>),
}

/// A command that is ready: its words are checked, and its input is read. It needs the device, and
/// prints its answer.
pub type Job<'a> = Box<dyn FnOnce(&mut Device, Way) -> Result<Done, Error> + 'a>;

/// How a command runs.
#[derive(Clone, Copy)]
pub struct Way {
    /// Its answer is JSON.
    pub json: bool,
    /// In a session records are left for `follow`.
    pub session: bool,
}

/// Makes a command ready.
pub fn prepare(command: &Command) -> Result<Ready<'_>, Error> {
    Ok(match command {
        Command::Decode(words) => Ready::Offline(Box::new(|json| decode::decode(words, json))),
        Command::Encode(words) => Ready::Offline(Box::new(|json| encode::encode(words, json))),
        Command::Check(words) => Ready::Offline(Box::new(|json| check::check(words, json))),
        command => Ready::Device(job(command)?),
    })
}

/// Makes a command ready that needs the device.
fn job(command: &Command) -> Result<Job<'_>, Error> {
    Ok(match command {
        Command::Capabilities { which } => {
            Box::new(|device, way| adapter::capabilities(device, *which, way.json))
        }
        Command::Parameters(words) => {
            Box::new(|device, way| adapter::parameters(device, words, way))
        }
        Command::Encapsulation(words) => {
            Box::new(|device, way| adapter::encapsulation(device, words, way))
        }
        Command::Keyword { name, value } => {
            let value = adapter::keyword_value(*name, *value)?;
            Box::new(move |device, way| adapter::keyword(device, *name, value, way.json))
        }
        Command::Restart { ndis } => Box::new(|device, way| adapter::restart(device, *ndis, way)),
        Command::Add(words) => {
            let addition = add::Addition::new(words)?;
            Box::new(move |device, way| add::add(device, words, addition, way))
        }
        Command::Update(words) => {
            let buffer = sa::update(words);
            Box::new(move |device, way| set(device, Oid::UPDATE_SA, &words.later, buffer, way))
        }
        Command::Delete(words) => {
            let buffer = sa::delete(&words.handles)?;
            Box::new(move |device, way| set(device, Oid::DELETE_SA, &words.later, buffer, way))
        }
        Command::Cancel { id } => Box::new(|device, way| pending::cancel(device, *id, way.json)),
        Command::List => Box::new(|device, way| list::list(device, way.json)),
        Command::Follow(words) => Box::new(|device, way| follow::follow(device, words, way.json)),
        Command::Submit(words) => {
            let packet = submit::Packet::new(words)?;
            Box::new(move |device, way| submit::submit(device, &packet, way.json))
        }
        Command::Info => Box::new(|device, way| list::info(device, way.json)),
        Command::Raw(words) => {
            let buffer = raw::buffer(words)?;
            Box::new(move |device, way| raw::raw(device, words, buffer, way))
        }
        Command::Session | Command::Decode(_) | Command::Encode(_) | Command::Check(_) => {
            let text = "a session needs a process of its own";
            return Err(Error::Usage(text.into()));
        }
    })
}

/// Members that every answer to a request has.
fn answer(oid: Oid, outcome: &Outcome) -> Value {
    json!({
        "ok": outcome.status.is_success() || outcome.status == Status::PENDING,
        "oid": oid.to_string(),
        "status": outcome.status.to_string(),
        "code": format!("{:#010x}", outcome.status.0),
        "done": outcome.done,
        "needed": outcome.needed,
    })
}

/// An address in words.
pub fn address_of(address: &Address) -> IpAddr {
    match address {
        Address::V4(bytes) => (*bytes).into(),
        Address::V6(bytes) => (*bytes).into(),
    }
}

fn handle(handle: Option<Handle>) -> Value {
    handle.map_or(Value::Null, |handle| json!(format!("{:#x}", handle.get())))
}

/// A set request on the direct path whose answer is its status.
fn set(
    device: &mut Device,
    oid: Oid,
    later: &Later,
    mut buffer: Vec<u8>,
    way: Way,
) -> Result<Done, Error> {
    let request = Request::direct(oid).later(later);
    let outcome = device.request(&request, None, &mut buffer)?;
    show::print(way.json, &answer(oid, &outcome))?;
    let ok = pending::succeeds(device, &request, &outcome, way)?;
    Ok(Done::ok(ok))
}
