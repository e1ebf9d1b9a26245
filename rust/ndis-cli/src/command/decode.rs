// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `decode`.

use serde_json::{json, Value};

use super::Done;
use crate::args::Decode;
use crate::decode::{structures, Keys, Structure};
use crate::error::Error;
use crate::{input, key, show};

/// `decode`
pub fn decode(words: &Decode, json: bool) -> Result<Done, Error> {
    let buffer = match words.buffer.strip_prefix('@') {
        Some(path) => input::read(path).and_then(key::bytes_or_hex),
        None if words.buffer == "-" => key::from_file("-"),
        None => key::hex(&words.buffer),
    };
    let buffer = buffer.map_err(Error::Usage)?;
    let keys = if words.show_keys {
        Keys::Shown
    } else {
        Keys::Hidden
    };
    let found = structures(words.oid, &buffer, keys).map_err(Error::Usage)?;
    let ok = found.iter().all(|one| one.fault.is_none());
    if json {
        let all: Vec<Value> = found.iter().map(Structure::json).collect();
        show::print(true, &json!({"ok": ok, "structures": all}))?;
    } else {
        for one in &found {
            show::write(&one.text())?;
        }
    }
    Ok(Done::ok(ok))
}
