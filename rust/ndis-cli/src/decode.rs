// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Information buffers, member by member. Of keys it shows only the lengths, unless their bytes are asked for.

use espnic_ndis::object::ObjectType;
use espnic_ndis::{Fault, ObjectHeader, Oid};
use serde_json::{json, Map, Value};
use zerocopy::FromBytes;

use crate::show;

mod config;
mod sas;

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// Its offset in the structure.
    pub at: usize,
    /// Its name, with those of the structures around it.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A structure.
#[derive(Debug)]
pub struct Structure {
    /// Its name in the headers.
    pub name: &'static str,
    /// Its offset in the buffer.
    pub at: usize,
    /// Its members.
    pub members: Vec<Member>,
    /// Its fault, if it has one.
    pub fault: Option<String>,
}

/// Whether keys are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Their lengths alone.
    Hidden,
    /// Their bytes.
    Shown,
}

impl Structure {
    fn new(name: &'static str, at: usize) -> Self {
        Self {
            name,
            at,
            members: Vec::new(),
            fault: None,
        }
    }

    fn add(&mut self, at: usize, name: impl Into<String>, value: impl Into<Value>) {
        self.members.push(Member {
            at,
            name: name.into(),
            value: value.into(),
        });
    }

    fn header(&mut self, header: &ObjectHeader) {
        let kind = ObjectType(header.object_type);
        self.add(0, "Header.Type", named(kind.name(), kind.0.into()));
        self.add(1, "Header.Revision", header.revision);
        self.add(2, "Header.Size", hex(header.size.get().into()));
    }

    fn fail(&mut self, fault: Fault) {
        self.fault = Some(words(fault));
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let pair = |member: &Member| (member.name.clone(), member.value.clone());
        let members: Map<String, Value> = self.members.iter().map(pair).collect();
        json!({
            "structure": self.name,
            "offset": self.at,
            "members": members,
            "fault": self.fault,
        })
    }

    /// For people, as debuggers show structures.
    pub fn text(&self) -> String {
        let width = |member: &Member| member.name.len();
        let width = self.members.iter().map(width).max().unwrap_or(0);
        let mut out = format!("{} at offset {:#x}\n", self.name, self.at);
        for Member { at, name, value } in &self.members {
            let value = show::plain(value);
            out += &format!("  +{at:#05x} {name:width$}  {value}\n");
        }
        if let Some(fault) = &self.fault {
            out += &format!("  wrong: {fault}\n");
        }
        out
    }
}

/// A fault in words.
pub fn words(fault: Fault) -> String {
    match fault {
        Fault::Length { needed: usize::MAX } => "the buffer is too short".into(),
        Fault::Length { needed } => format!("the buffer is too short: {needed} bytes are needed"),
        Fault::Type => "the header has the type of another structure".into(),
        Fault::Revision => "the header's revision is not known".into(),
        Fault::Size => "the header's size is too small for its revision".into(),
        Fault::Link => "Next does not lead forward, to a multiple of 8, inside the buffer".into(),
        Fault::Count => "NumExtHdrs is neither 1 nor 2".into(),
        Fault::Key => "a key lies outside of the key buffer, or that outside of the element".into(),
    }
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A value with its name, if it has one.
fn named(name: Option<&str>, value: u64) -> String {
    match name {
        Some(name) => format!("{value:#x} {name}"),
        None => format!("{value:#x}"),
    }
}

/// A mask with the names of its bits.
fn mask<'a>(value: u32, bits: impl IntoIterator<Item = (u32, &'a str)>) -> String {
    let (mut left, mut text) = (value, format!("{value:#x}"));
    for (bit, name) in bits {
        if bit != 0 && value & bit == bit {
            left &= !bit;
            text += &format!(" {name}");
        }
    }
    if left != 0 && left != value {
        text += &format!(" and {left:#x}");
    }
    text
}

/// The structures in a buffer: those of this OID, or by default those that the header names.
///
/// # Errors
///
/// The fault, in words, if the buffer has no structure. A later structure has its own fault.
pub fn structures(oid: Option<Oid>, buffer: &[u8], keys: Keys) -> Result<Vec<Structure>, String> {
    let oid = match oid {
        Some(oid) => oid,
        None => match guess(buffer)? {
            Guess::Oid(oid) => oid,
            Guess::Request => return config::request(buffer).map_err(words).map(only),
            Guess::Indication => return config::indication(buffer).map_err(words),
        },
    };
    let found = match oid {
        Oid::ADD_SA => sas::add_list(buffer, keys),
        Oid::ADD_SA_EX => sas::add_ex(buffer, keys).map(only),
        Oid::UPDATE_SA => sas::update(buffer).map(only),
        Oid::DELETE_SA => sas::delete_list(buffer),
        Oid::PARAMETERS => config::parameters(buffer).map(only),
        Oid::ENCAPSULATION => config::encapsulation(buffer).map(only),
        Oid::CURRENT_CONFIG | Oid::HARDWARE_CAPABILITIES => config::offload(buffer, 0).map(only),
        other => return Err(format!("the buffer of {other} is not known")),
    };
    found.map_err(|fault| format!("no buffer of {oid}: {}", words(fault)))
}

fn only(one: Structure) -> Vec<Structure> {
    vec![one]
}

enum Guess {
    Oid(Oid),
    Request,
    Indication,
}

/// The kind of a buffer, by its header. The SA requests and the parameters have the same type, but
/// different sizes.
fn guess(buffer: &[u8]) -> Result<Guess, String> {
    let (header, _) = ObjectHeader::read_from_prefix(buffer)
        .map_err(|_| "the buffer is shorter than a header, 4 bytes".to_owned())?;
    let oid = match ObjectType(header.object_type) {
        ObjectType::OID_REQUEST => return Ok(Guess::Request),
        ObjectType::STATUS_INDICATION => return Ok(Guess::Indication),
        ObjectType::OFFLOAD => Oid::CURRENT_CONFIG,
        ObjectType::OFFLOAD_ENCAPSULATION => Oid::ENCAPSULATION,
        ObjectType::DEFAULT => match (header.revision, header.size.get()) {
            (1, 0x14) => Oid::PARAMETERS,
            (1, 0x18) => Oid::DELETE_SA,
            (1, 0x1c | 0x20) => Oid::UPDATE_SA,
            (1, 0xa9) => Oid::ADD_SA,
            (1, 0xaa) => Oid::ADD_SA_EX,
            (2.., _) => Oid::PARAMETERS,
            _ => return Err("the header fits several structures or none: name the OID".into()),
        },
        _ => return Err("the header's type is not one of IPsec offload: name the OID".into()),
    };
    Ok(Guess::Oid(oid))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
