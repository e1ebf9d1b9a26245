// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control socket: one request per line, one JSON object per line as reply.
//!
//! A request is a line of words; `help` lists them. A reply has `"ok": true`, or `"ok": false` and
//! the reason in `"error"`. Up to 64 connections may be open at once; a new one beyond that closes the
//! one that has been idle for longest.

mod connections;
pub mod stats;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::{json, Value};

use crate::fault::request::{Request, FORMS};
use crate::misbehave::order;
use crate::nic::Nic;
use crate::ports::capture::Capture;
use crate::socket;
use crate::words::{parse_mark, parse_speed};
use connections::{Connections, Place};
use stats::{CaptureStats, NicStats, Stats};

/// The requests, apart from the faults.
const HELP: &[&str] = &[
    "stats [NIC]: counters of all NICs, or of one",
    "fault NIC FAULT: see faults and misbehaviours; COUNT 0 ends one",
    "link NIC up|down: plug the cable in or pull it out",
    "speed NIC N: the link has N Mbit/s when it is up again; only while it is down",
    "reset NIC: stop until the driver resets the device, like a broken one",
    "delete-above NIC N|none: with more than N inbound SAs, ask for the deletion of the least recently used one",
    "capture flush: write everything captured so far to the file",
    "help: this list",
];

/// Longest request in bytes.
const MAX_LINE: u64 = 4096;

/// The NICs and the capture that requests act on.
pub struct Control {
    nics: Vec<Arc<Nic>>,
    capture: Option<Arc<Capture>>,
    connections: Arc<Connections>,
}

impl Control {
    /// Control over `nics` and the capture, if there is one.
    pub fn new(nics: Vec<Arc<Nic>>, capture: Option<Arc<Capture>>) -> Self {
        Self {
            nics,
            capture,
            connections: Arc::default(),
        }
    }

    /// Answers one request.
    pub fn answer(&self, line: &str) -> Value {
        let words: Vec<_> = line.split_whitespace().collect();
        let result = match words[..] {
            ["stats"] => self.stats(&self.nics),
            ["stats", nic] => self
                .nic(nic)
                .and_then(|nic| self.stats(std::slice::from_ref(nic))),
            ["fault", nic, ref fault @ ..] => self.nic(nic).and_then(|nic| {
                nic.set_fault(&Request::parse(fault)?);
                Ok(Value::Null)
            }),
            ["link", nic, state @ ("up" | "down")] => self
                .nic(nic)
                .map(|nic| nic.plug(state == "up"))
                .map(|()| Value::Null),
            ["speed", nic, speed] => self.nic(nic).and_then(|nic| set_speed(nic, speed)),
            ["reset", nic] => self.nic(nic).map(|nic| nic.fail()).map(|()| Value::Null),
            ["delete-above", nic, mark] => self.nic(nic).and_then(|nic| {
                nic.ipsec.delete_above(parse_mark(mark)?);
                Ok(Value::Null)
            }),
            ["capture", "flush"] => self.flush(),
            ["help"] => {
                Ok(json!({ "requests": HELP, "faults": FORMS, "misbehaviours": order::FORMS }))
            }
            [] => Err("empty request: say help for the list of requests".to_owned()),
            [word, ..] => Err(format!(
                "`{word}` is not a request of this form: say help for the list"
            )),
        };
        match result {
            Ok(Value::Object(mut reply)) => {
                reply.insert("ok".into(), true.into());
                Value::Object(reply)
            }
            Ok(_) => json!({ "ok": true }),
            Err(error) => json!({ "ok": false, "error": error }),
        }
    }

    fn nic(&self, name: &str) -> Result<&Arc<Nic>, String> {
        self.nics
            .iter()
            .find(|nic| nic.name == name)
            .ok_or_else(|| {
                let names: Vec<_> = self.nics.iter().map(|nic| nic.name.as_str()).collect();
                format!("no NIC is named `{name}`: use one of {}", names.join(", "))
            })
    }

    fn stats(&self, nics: &[Arc<Nic>]) -> Result<Value, String> {
        let stats = Stats {
            nics: nics
                .iter()
                .map(|nic| (nic.name.as_str(), NicStats::of(nic)))
                .collect(),
            capture: self.capture.as_deref().map(CaptureStats::of),
        };
        serde_json::to_value(stats).map_err(|error| error.to_string())
    }

    fn flush(&self) -> Result<Value, String> {
        let capture = self.capture.as_ref();
        capture
            .ok_or("there is no capture: start with --capture FILE")?
            .flush()
            .map(|()| Value::Null)
            .map_err(|error| format!("the capture is not complete: {error}"))
    }

    /// Accepts connections for ever, each with a thread of its own.
    pub fn serve(self: &Arc<Self>, listener: &UnixListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => socket::survive(error)?,
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        let place = match self.connections.admit(stream, Instant::now()) {
            Ok(place) => place,
            Err(mut stream) => {
                let reply = json!({ "ok": false, "error": "too many connections" });
                let _ = stream.write_all(format!("{reply}\n").as_bytes());
                return;
            }
        };
        let control = self.clone();
        let serve = move || {
            if let Err(error) = control.connection(&place) {
                log::debug!("control connection ended: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("control".into()).spawn(serve) {
            log::error!("cannot serve a control connection: {error}");
        }
    }

    fn connection(&self, place: &Place) -> io::Result<()> {
        let stream = place.stream();
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)?;
            let complete = line.ends_with(b"\n");
            if line.is_empty() || (!complete && (line.len() as u64) < MAX_LINE) {
                return Ok(());
            }
            place.active(Instant::now());
            let reply = match std::str::from_utf8(&line) {
                _ if !complete => json!({ "ok": false, "error": "the request is too long" }),
                Ok(line) => self.answer(line),
                Err(_) => json!({ "ok": false, "error": "the request is not text" }),
            };
            let mut writer = stream;
            writer.write_all(format!("{reply}\n").as_bytes())?;
            if !complete {
                return Ok(());
            }
        }
    }
}

/// Answers the request for another speed.
fn set_speed(nic: &Nic, speed: &str) -> Result<Value, String> {
    match nic.set_speed(parse_speed(speed)?) {
        true => Ok(Value::Null),
        false => Err(format!(
            "the link is up: say `link {} down` first",
            nic.name
        )),
    }
}
