// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The words by which faults are set, on the command line and at the control socket.

use std::str::FromStr;
use std::time::Duration;

use super::damage::Damage;
use super::{Direction, Fault, Kind};
use crate::ipsec::faults::Algorithm;
use crate::misbehave::order::Order;

/// The forms of requests, one per line.
pub const FORMS: &[&str] = &[
    "tx|rx drop|duplicate|reorder|corrupt-icv|corrupt-payload|bad-length COUNT [every N]",
    "tx|rx delay MS COUNT [every N]",
    "tx corrupt-padding COUNT",
    "sa-limit N|none",
    "refuse-algorithm aes-gcm|chacha20-poly1305|aes-gmac|aes-cbc|none",
    "sa-delete-request COUNT",
    "clear",
];

/// A fault of a NIC, or the end of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Something happens to ESP frames.
    Frames(Fault),
    /// This number of packets get a wrong pad length before they are encrypted.
    CorruptPadding(u32),
    /// The tables are full with this number of SAs per direction.
    SaLimit(Option<u32>),
    /// No new SA can have this algorithm.
    RefuseAlgorithm(Option<Algorithm>),
    /// The next packets, this many, ask the driver to delete their SA.
    SaDeleteRequest(u32),
    /// A rule is broken.
    Misbehave(Order),
    /// All faults end.
    Clear,
}

impl Request {
    /// Parses the words after the name of the NIC.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        if let Some(request) = Self::of_ipsec(words) {
            return request;
        }
        let (words, every) = match *words {
            [ref words @ .., "every", every] => (words, positive(every)?),
            _ => (words, 1),
        };
        let frames = |direction: &str, kind, count: &str| {
            Ok(Self::Frames(Fault {
                direction: direction.parse()?,
                kind,
                count: number(count)?,
                every,
            }))
        };
        match *words {
            ["delay", ms, count] => frames("tx", delay(ms)?, count),
            [direction, "delay", ms, count] => frames(direction, delay(ms)?, count),
            [direction, kind, count] => frames(direction, kind.parse()?, count),
            _ => Err(format!("say fault NIC with {}", FORMS.join(", or "))),
        }
    }

    /// Parses faults of IPsec, which do not change frames on the wire; `None` for other words.
    fn of_ipsec(words: &[&str]) -> Option<Result<Self, String>> {
        let request = match *words {
            ["sa-limit", limit] => parse_mark(limit).map(Self::SaLimit),
            ["refuse-algorithm", "none"] => Ok(Self::RefuseAlgorithm(None)),
            ["refuse-algorithm", name] => {
                Algorithm::from_str(name).map(|name| Self::RefuseAlgorithm(Some(name)))
            }
            ["sa-delete-request", count] => number(count).map(Self::SaDeleteRequest),
            ["tx", "corrupt-padding", count] => number(count).map(Self::CorruptPadding),
            ["rx", "corrupt-padding", ..] => Err("only the NIC that encrypts can make padding \
                wrong: say tx corrupt-padding to the sender"
                .into()),
            ["misbehave", ref words @ ..] => Order::parse(words).map(Self::Misbehave),
            ["clear"] => Ok(Self::Clear),
            _ => return None,
        };
        Some(request)
    }
}

fn delay(ms: &str) -> Result<Kind, String> {
    Ok(Kind::Delay(Duration::from_millis(number(ms)?.into())))
}

/// A number of SAs, or none.
pub(crate) fn parse_mark(word: &str) -> Result<Option<u32>, String> {
    match word {
        "none" => Ok(None),
        _ => number(word).map(Some),
    }
}

pub(crate) fn number(word: &str) -> Result<u32, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a number from 0 to {}", u32::MAX))
}

fn positive(word: &str) -> Result<u32, String> {
    match number(word)? {
        0 => Err("every 0 is no frame at all: say every 1 for each".into()),
        value => Ok(value),
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "tx" => Ok(Self::Tx),
            "rx" => Ok(Self::Rx),
            _ => Err(format!("`{word}` is not a direction: say tx or rx")),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "drop" => Ok(Self::Drop),
            "duplicate" => Ok(Self::Duplicate),
            "reorder" => Ok(Self::Reorder),
            "corrupt-icv" => Ok(Self::Damage(Damage::Icv)),
            "corrupt-payload" => Ok(Self::Damage(Damage::Payload)),
            "bad-length" => Ok(Self::Damage(Damage::Length)),
            _ => Err(format!(
                "`{word}` is not a fault of frames: say {}",
                FORMS.join(", or ")
            )),
        }
    }
}
