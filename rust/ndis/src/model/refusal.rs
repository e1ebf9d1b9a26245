// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Refusals of requests: the status, and the rule behind it.

use super::completion::Completion;
use crate::{Fault, Status};

/// A request, or an element of one, that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: Status,
    /// BytesNeeded: with INVALID_LENGTH and BUFFER_TOO_SHORT, the length that the buffer needs.
    pub needed: u32,
    /// The rules and choices that it comes from, by their numbers in `Documentation/ndis-rules.rst`
    /// with spaces between them; empty for what the documents do not speak of.
    pub rules: &'static str,
}

impl Refusal {
    /// A refusal for these rules.
    pub const fn new(status: Status, rules: &'static str) -> Self {
        Self {
            status,
            needed: 0,
            rules,
        }
    }

    /// The refusal for a status of the table of SAs, with the rule behind it if there is one.
    pub fn by_backend(status: Status) -> Self {
        let rules = match status {
            Status::RESOURCES => "R49 C27",
            Status::NOT_ACCEPTED => "R40",
            Status::REQUEST_ABORTED => "R41",
            _ => "",
        };
        Self::new(status, rules)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let rules = match fault {
            Fault::Length { .. } => "R38",
            Fault::Type | Fault::Revision | Fault::Size => "R37 C3",
            Fault::Link => "R44",
            Fault::Count => "R53",
            Fault::Key => "R59",
        };
        Self {
            status: fault.status(),
            needed: fault.needed(),
            rules,
        }
    }
}

impl From<Refusal> for Completion {
    fn from(refusal: Refusal) -> Self {
        Self {
            needed: refusal.needed,
            ..Self::with(refusal.status)
        }
    }
}

impl From<Fault> for Completion {
    fn from(fault: Fault) -> Self {
        Refusal::from(fault).into()
    }
}
