// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `raw`.

use espnic_ndis::envelope::{PATH_DIRECT, PATH_NORMAL, QUERY, SET};
use espnic_ndis::{Oid, Status};
use serde_json::json;
use zeroize::Zeroizing;

use super::{answer, pending, Done, Way};
use crate::args::Raw;
use crate::device::{Device, Request};
use crate::error::Error;
use crate::sa::Buffer;
use crate::{key, show};

/// Where OffloadHandle ends in ADD_SA, and before that in ADD_SA_EX.
const HANDLES_END: usize = 0x40;

/// The information buffer.
pub fn buffer(words: &Raw) -> Result<Buffer, Error> {
    let mut bytes = key::buffer(&words.buffer).map_err(Error::Usage)?;
    let Some(length) = words.length.map(|length| length as usize) else {
        return Ok(bytes);
    };
    bytes.truncate(length);
    let mut buffer = Zeroizing::new(vec![0; length]);
    for (to, from) in buffer.iter_mut().zip(bytes.iter()) {
        *to = *from;
    }
    Ok(buffer)
}

/// The request type.
pub fn kind(words: &Raw) -> u32 {
    let named = words.request_type;
    named.unwrap_or(if words.query { QUERY } else { SET })
}

/// What may be wrong with a request that is not supported: the path.
fn hint(request: &Request, status: Status) -> Option<&'static str> {
    let is_sa = matches!(
        request.oid,
        Oid::ADD_SA | Oid::ADD_SA_EX | Oid::UPDATE_SA | Oid::DELETE_SA
    );
    let other = is_sa != (request.path == PATH_DIRECT);
    (status == Status::NOT_SUPPORTED && other).then_some(if is_sa {
        "this OID is one of the direct path: without --normal"
    } else {
        "this OID is one of the normal path: --normal"
    })
}

/// How much of an answer may be shown.
fn shown(oid: Oid, length: usize) -> usize {
    match oid {
        // The answer is the handle, and behind it are keys.
        Oid::ADD_SA | Oid::ADD_SA_EX => HANDLES_END.min(length),
        // The module does not know where in these there are keys.
        Oid::V1_ADD_SA | Oid::V1_ADD_UDPESP_SA => 0,
        _ => length,
    }
}

/// `raw`
pub fn raw(device: &mut Device, words: &Raw, mut buffer: Buffer, way: Way) -> Result<Done, Error> {
    let request = Request {
        oid: words.oid,
        path: if words.normal {
            PATH_NORMAL
        } else {
            PATH_DIRECT
        },
        kind: kind(words),
        id: words.id,
        pend: false,
    }
    .later(&words.later);
    let outcome = device.request(&request, Some(&words.envelope), &mut buffer)?;
    let mut value = answer(request.oid, &outcome);
    if let Some(members) = value.as_object_mut() {
        let shown = shown(request.oid, buffer.len());
        let hex = key::digits(buffer.get(..shown).unwrap_or_default());
        members.insert("buffer".into(), json!(hex));
        if let Some(hint) = hint(&request, outcome.status) {
            members.insert("hint".into(), json!(hint));
        }
    }
    show::print(way.json, &value)?;
    let ok = pending::succeeds(device, &request, &outcome, way)?;
    Ok(Done::ok(ok))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Line};

    fn made(line: &str) -> Result<Buffer, Error> {
        let line = Line::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Raw(words) = line.command else {
            panic!("another command")
        };
        buffer(&words)
    }

    #[test]
    fn a_buffer_gets_its_length() {
        assert_eq!(*made("raw 1 0102").unwrap(), [1, 2]);
        assert_eq!(*made("raw 1 0102 --length 4").unwrap(), [1, 2, 0, 0]);
        assert_eq!(*made("raw 1 0102 --length 1").unwrap(), [1]);
        assert_eq!(made("raw 1 --length 0x10001").unwrap().len(), 65537);
        assert!(matches!(made("raw 1 01zz"), Err(Error::Usage(_))));
    }

    #[test]
    fn the_wrong_path_is_hinted_at() {
        let status = Status::NOT_SUPPORTED;
        let text = hint(&Request::direct(Oid::CURRENT_CONFIG), status);
        assert!(text.unwrap().contains("--normal"));
        let text = hint(&Request::normal(Oid::ADD_SA, SET), status);
        assert!(text.unwrap().contains("without"));
        assert_eq!(hint(&Request::direct(Oid::ADD_SA), status), None);
        assert_eq!(
            hint(&Request::direct(Oid::PARAMETERS), Status::FAILURE),
            None
        );
    }

    #[test]
    fn no_key_of_an_addition_is_shown() {
        for (oid, wanted) in [
            (Oid::ADD_SA, HANDLES_END),
            (Oid::ADD_SA_EX, HANDLES_END),
            (Oid::V1_ADD_SA, 0),
            (Oid::V1_ADD_UDPESP_SA, 0),
            (Oid::CURRENT_CONFIG, 300),
        ] {
            assert_eq!(shown(oid, 300), wanted, "{oid}");
        }
        assert_eq!(shown(Oid::ADD_SA, 8), 8);
    }
}
