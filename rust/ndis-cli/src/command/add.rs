// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `add`.

use std::path::Path;

use clap::Parser;
use espnic_ndis::{Handle, Oid};
use serde_json::Value;

use super::{answer, handle, pending, Done, Way};
use crate::args::{Add, Sa, SaLine};
use crate::device::{Device, Request};
use crate::error::Error;
use crate::{input, sa, show};

/// The request.
pub struct Addition {
    /// ADD_SA or ADD_SA_EX.
    pub oid: Oid,
    /// Its information buffer.
    pub buffer: sa::Buffer,
    /// Where the elements of ADD_SA start.
    starts: Vec<usize>,
}

impl Addition {
    /// Reads the list, if one is named, and makes the request.
    pub fn new(words: &Add) -> Result<Self, Error> {
        let lines = words.list.as_deref().map_or(Ok(Vec::new()), read_list)?;
        let sas: Vec<&Sa> = lines.iter().map(|line| &line.sa).chain(&words.sa).collect();
        match sas.as_slice() {
            [one] if words.list.is_none() && !words.add_sa => Ok(Self {
                oid: Oid::ADD_SA_EX,
                buffer: sa::add_ex(one)?,
                starts: Vec::new(),
            }),
            [] => Err(Error::Usage("there is no SA in the list".into())),
            all => {
                let (buffer, starts) = sa::add_list(all)?;
                Ok(Self {
                    oid: Oid::ADD_SA,
                    buffer,
                    starts,
                })
            }
        }
    }

    fn handles(&self) -> Vec<Option<Handle>> {
        if self.oid == Oid::ADD_SA {
            sa::handles(&self.buffer, &self.starts)
        } else {
            vec![sa::handle_ex(&self.buffer)]
        }
    }
}

/// `add`
pub fn add(
    device: &mut Device,
    words: &Add,
    mut addition: Addition,
    way: Way,
) -> Result<Done, Error> {
    let request = Request::direct(addition.oid).later(&words.later);
    let outcome = device.request(&request, Some(&words.envelope), &mut addition.buffer)?;
    let handles = addition.handles();
    let mut value = answer(addition.oid, &outcome);
    if let Some(members) = value.as_object_mut() {
        let first = handles.first().copied().flatten();
        members.insert("handle".into(), handle(first));
        members.insert(
            "handles".into(),
            handles.into_iter().map(handle).collect::<Value>(),
        );
    }
    show::print(way.json, &value)?;
    Ok(Done {
        ok: pending::succeeds(device, &request, &outcome, way)?,
        hold: !words.no_wait,
    })
}

/// The lines of `add --list`.
fn read_list(path: &Path) -> Result<Vec<SaLine>, Error> {
    let name = path.to_string_lossy();
    let data = input::read(&name).map_err(Error::Usage)?;
    let text = std::str::from_utf8(&data);
    let text = text.map_err(|_| Error::Usage(format!("{name} is not text")))?;
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
    Ok(lines)
}
