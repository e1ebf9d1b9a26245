// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `check`: the model's answer to a request.

use clap::Parser;
use espnic_ndis::envelope::{QUERY, SET};
use espnic_ndis::model::{check, direct, Adapter, Completion, Convention, Direct, Mode, Refusal};
use espnic_ndis::oid::RequestType;
use espnic_ndis::parameters::OffloadParameters;
use espnic_ndis::sa::{AddSa, AddSaEx};
use espnic_ndis::{Oid, Status};
use serde_json::{json, Value};
use zerocopy::IntoBytes;

use super::{encode, handle, raw, Done};
use crate::args::{guarded, Asked, Check, CheckLine, Made};
use crate::decode::{structures, Keys, Structure};
use crate::error::Error;
use crate::offline::Table;
use crate::sa::Buffer;
use crate::{args, input, rules, show};

/// A request that is ready.
struct Request {
    oid: Oid,
    kind: u32,
    direct: bool,
    mode: Mode,
    buffer: Buffer,
}

impl Request {
    fn new(asked: &Asked) -> Result<Self, Error> {
        let mode = |mode| match mode {
            args::Mode::Derive => Mode::ByPacket,
            args::Mode::Transport => Mode::Transport,
            args::Mode::Tunnel => Mode::Tunnel,
        };
        match asked {
            Asked::Made(made) => {
                let (oid, buffer) = encode::made(made)?;
                let (direct, mode) = match made {
                    Made::Parameters(_) | Made::Encapsulation(_) => (false, Mode::ByPacket),
                    Made::Add(words) => (true, mode(words.envelope.mode)),
                    Made::Update(_) | Made::Delete(_) => (true, Mode::ByPacket),
                };
                Ok(Self {
                    oid,
                    kind: SET,
                    direct,
                    mode,
                    buffer,
                })
            }
            Asked::Raw(words) => Ok(Self {
                oid: words.oid,
                kind: raw::kind(words),
                direct: !words.normal,
                mode: mode(words.envelope.mode),
                buffer: raw::buffer(words)?,
            }),
            Asked::Session => Err(Error::Usage("a session cannot be in a session".into())),
        }
    }
}

/// A miniport that can be asked.
struct Miniport {
    adapter: Adapter,
    table: Table,
}

/// The model's answer to a request.
struct Verdict {
    result: Result<Completion, Refusal>,
    indications: Vec<Status>,
}

impl Miniport {
    fn new(words: &Check) -> Self {
        let mut adapter = words.offers.adapter(words.ndis);
        let mut parameters = OffloadParameters::new(2).unwrap_or_default();
        parameters.ipsec_v2 = words.enabled as u8;
        parameters.ipsec_v2_ipv4 = words.enabled as u8;
        // One that offers nothing takes no parameters, and needs none.
        adapter.set(Oid::PARAMETERS, parameters.as_bytes());
        Self {
            adapter,
            table: Table::new(&words.offers),
        }
    }

    fn ask(&mut self, request: &mut Request) -> Verdict {
        self.table.rules.set("");
        let mut indications = Vec::new();
        let buffer = &mut request.buffer;
        let result = if request.direct {
            let direct = Direct {
                oid: request.oid,
                request_type: RequestType(request.kind),
                mode: request.mode,
                convention: Convention::default(),
            };
            direct::try_request(&self.adapter.snapshot(), &self.table, &direct, buffer)
        } else {
            match request.kind {
                QUERY => self.adapter.try_query(request.oid, buffer),
                SET => self
                    .adapter
                    .try_set(request.oid, buffer, |_| true)
                    .map(|effects| {
                        if effects.current_config {
                            indications.push(Status::TASK_OFFLOAD_CURRENT_CONFIG);
                        }
                        effects.completion
                    }),
                _ => Err(Refusal::new(Status::NOT_SUPPORTED, "R39")),
            }
        };
        Verdict {
            result: result.map_err(|refusal| self.with_rules(refusal)),
            indications,
        }
    }

    /// What the table knows better.
    fn with_rules(&self, refusal: Refusal) -> Refusal {
        let rules = match refusal.rules {
            "" => self.table.rules.get(),
            rules => rules,
        };
        Refusal { rules, ..refusal }
    }

    /// The elements of an addition: their handles, and why they have none.
    fn elements(&self, request: &Request) -> Vec<Value> {
        let mut found = Vec::new();
        let mut at = (request.oid == Oid::ADD_SA && request.direct).then_some(0);
        while let Some(offset) = at {
            let Ok(element) = AddSa::parse(&request.buffer, offset) else {
                break;
            };
            at = element.next();
            let added = element.fixed.offload_handle.handle();
            let mut value = json!({"offset": offset, "handle": handle(added)});
            if added.is_none() {
                explain(&mut value, Some(self.refusal_of(&element, request.mode)));
            }
            found.push(value);
        }
        found
    }

    fn refusal_of(&self, element: &espnic_ndis::sa::AddSaView<'_>, mode: Mode) -> Refusal {
        let config = self.adapter.snapshot().config;
        let checked = element.bundle().map_err(Refusal::from);
        let checked =
            checked.and_then(|view| check::bundle(&view, &config, mode, Convention::default()));
        match checked {
            Err(refusal) => refusal,
            Ok(bundle) => match espnic_ndis::model::Backend::add(&self.table, &bundle) {
                Err(status) => self.with_rules(Refusal::by_backend(status)),
                Ok(handle) => {
                    // There was no room, or the list as a whole was refused.
                    let _ = espnic_ndis::model::Backend::remove(&self.table, handle);
                    Refusal::new(Status::RESOURCES, "R49 C27")
                }
            },
        }
    }
}

/// Adds the rules of a refusal, and what they say.
fn explain(value: &mut Value, refusal: Option<Refusal>) {
    let words = refusal.map_or("", |refusal| refusal.rules);
    let numbers: Vec<&str> = words.split_whitespace().collect();
    let statements: Vec<Value> = numbers
        .iter()
        .map(|number| json!({"rule": number, "says": rules::statement(number)}))
        .collect();
    value["rules"] = json!(numbers);
    value["why"] = json!(statements);
}

fn judge(miniport: &mut Miniport, mut request: Request, json: bool) -> Result<Done, Error> {
    let Verdict {
        result,
        indications,
    } = miniport.ask(&mut request);
    let refusal = result.err();
    let completion = result.unwrap_or_else(Completion::from);
    let ok = completion.status.is_success();
    let mut value = json!({
        "ok": ok,
        "oid": request.oid.to_string(),
        "status": completion.status.to_string(),
        "code": format!("{:#010x}", completion.status.0),
        "done": completion.done,
        "needed": completion.needed,
        "indications": indications.iter().map(Status::to_string).collect::<Vec<_>>(),
    });
    explain(&mut value, refusal);
    if ok && request.oid == Oid::ADD_SA_EX {
        value["handle"] = handle(AddSaEx::handle(&request.buffer).ok().flatten());
    }
    let elements = miniport.elements(&request);
    if !elements.is_empty() {
        value["elements"] = elements.into();
    }
    let written = request.buffer.get(..completion.done as usize);
    let mut shown = Vec::new();
    if let (true, QUERY, Some(written)) = (ok, request.kind, written) {
        shown = structures(Some(request.oid), written, Keys::Hidden).unwrap_or_default();
    }
    if json {
        value["structures"] = shown.iter().map(Structure::json).collect();
        show::print(true, &value)?;
    } else {
        show::write(&text(&value))?;
        for one in &shown {
            show::write(&one.text())?;
        }
    }
    Ok(Done::ok(ok))
}

/// For people: what is of use, and the rules in full.
fn text(value: &Value) -> String {
    let mut out = String::new();
    for name in ["oid", "status", "needed", "handle", "indications"] {
        let shown = value.get(name).map(show::plain).unwrap_or_default();
        if !shown.is_empty() && shown != "0" && shown != "none" {
            out += &format!("{name:12} {shown}\n");
        }
    }
    let reasons = |value: &Value, indent: &str| {
        let mut out = String::new();
        for one in value["why"].as_array().into_iter().flatten() {
            let (rule, says) = (show::plain(&one["rule"]), show::plain(&one["says"]));
            out += &format!("{indent}{rule:12} {says}\n");
        }
        out
    };
    out += &reasons(value, "");
    if value["ok"] == false && value["rules"] == json!([]) {
        out += "no rule      the documents do not speak of this: see Documentation/ndis.rst\n";
    }
    for one in value["elements"].as_array().into_iter().flatten() {
        let (at, handle) = (show::plain(&one["offset"]), show::plain(&one["handle"]));
        out += &format!("element at {at}: handle {handle}\n{}", reasons(one, "  "));
    }
    out
}

/// `check`
pub fn check(words: &Check, json: bool) -> Result<Done, Error> {
    let mut miniport = Miniport::new(words);
    if let Asked::Session = words.request {
        return session(&mut miniport, json);
    }
    judge(&mut miniport, Request::new(&words.request)?, json)
}

/// `check session`: a request per line.
fn session(miniport: &mut Miniport, json: bool) -> Result<Done, Error> {
    let mut lines = input::lines().map_err(Error::Usage)?;
    let mut all = true;
    while let Some(line) = lines.line()? {
        match one(miniport, &line, json) {
            Ok(ok) => all &= ok,
            Err(Error::Usage(text) | Error::Failed(text)) => {
                all = false;
                show::print(json, &json!({"ok": false, "error": text.trim_end()}))?;
            }
        }
    }
    Ok(Done::ok(all))
}

fn one(miniport: &mut Miniport, line: &[u8], json: bool) -> Result<bool, Error> {
    let line = std::str::from_utf8(line);
    let line = line.map_err(|_| Error::Usage("the line is not UTF-8".into()))?;
    let words = line.split_whitespace();
    let first = words.clone().next();
    if first.is_none_or(|word| word.starts_with('#')) {
        return Ok(true);
    }
    let line = CheckLine::try_parse_from(words.clone()).map_err(|error| {
        let text = guarded(&error, words);
        Error::Usage(text.unwrap_or_else(|| error.to_string()))
    })?;
    Ok(judge(miniport, Request::new(&line.request)?, json)?.ok)
}
