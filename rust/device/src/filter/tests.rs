// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the flow filter with commands and frames. The rows of the checklist that need queues are in
//! `tests/filter.rs`.

mod matching;
mod model;
mod objects;

use super::*;
use crate::admin::{Admin, Table};
use crate::testing;
use crate::testing::filter as build;
use build::Part;
use espnic_wire::admin::{self, Command, Reply, OPS_ALL};
use espnic_wire::filter::selector::Kind;
use espnic_wire::filter::{
    Action, Limits, RuleHdr, CAP_ACTIONS, CAP_LIMITS, CAP_SELECTORS, OBJ_CLASSIFIER, OBJ_GROUP,
    OBJ_RULE,
};

const DONE: (u16, u16) = (admin::OK, admin::Q_OK);
const FIELD: (u16, u16) = (admin::EINVAL, admin::Q_INVALID_FIELD);
const OPCODE: (u16, u16) = (admin::EINVAL, admin::Q_INVALID_OPCODE);
const MISSING: (u16, u16) = (admin::ENXIO, admin::Q_INVALID_FIELD);
const EXISTS: (u16, u16) = (admin::EEXIST, admin::Q_INVALID_FIELD);
const BUSY: (u16, u16) = (admin::EBUSY, admin::Q_INVALID_COMMAND);
const FULL: (u16, u16) = (admin::ENOSPC, admin::Q_NORESOURCE);

const TERMS: Terms = Terms {
    ipsec: true,
    x_ipsec: true,
    pairs: 2,
};

/// A filter with administration commands of its own.
struct Rig {
    filter: Filter,
    admin: Admin,
}

impl Rig {
    fn new(terms: Terms) -> Self {
        let rig = Self {
            filter: Filter::new(terms, Arc::default()),
            admin: Admin::default(),
        };
        assert_eq!(rig.status(Command::ListUse(&OPS_ALL.to_le_bytes())), DONE);
        rig
    }

    /// All capabilities are set.
    fn ready() -> Self {
        let rig = Self::new(TERMS);
        assert_eq!(build::set_up(|command| rig.execute(command)), Ok(()));
        rig
    }

    fn table(&self) -> Table<'_> {
        Table {
            owners: vec![&self.filter],
            kinds: vec![&self.filter],
        }
    }

    fn run(&self, readable: &[u8]) -> ((u16, u16), Vec<u8>) {
        let mut writable = [0; 1024];
        let written = self.admin.execute(&self.table(), readable, &mut writable);
        let reply = Reply::parse(&writable[..written]).unwrap();
        ((reply.status, reply.qualifier), reply.result.to_vec())
    }

    fn execute(&self, command: Command<'_>) -> Result<Vec<u8>, (u16, u16)> {
        match self.run(&testing::bytes(command)) {
            (DONE, result) => Ok(result),
            (refused, _) => Err(refused),
        }
    }

    fn status(&self, command: Command<'_>) -> (u16, u16) {
        self.execute(command).err().unwrap_or(DONE)
    }

    fn set(&self, id: u16, data: &[u8]) -> (u16, u16) {
        self.status(Command::DriverCapSet { id, data })
    }

    fn create(&self, obj_type: u16, id: u32, object: &[u8]) -> (u16, u16) {
        self.status(Command::ObjCreate {
            obj_type,
            id,
            object,
        })
    }

    fn modify(&self, obj_type: u16, id: u32, object: &[u8]) -> (u16, u16) {
        self.status(Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }

    fn destroy(&self, obj_type: u16, id: u32) -> (u16, u16) {
        self.status(Command::ObjDestroy { obj_type, id })
    }

    /// What QUERY gives, with the zeroes that make it a multiple of 64 bits.
    fn query(&self, obj_type: u16, id: u32) -> Result<Vec<u8>, (u16, u16)> {
        self.execute(Command::ObjQuery { obj_type, id })
    }

    fn group(&self, id: u32, priority: u16) {
        assert_eq!(self.create(OBJ_GROUP, id, &build::group(priority)), DONE);
    }

    fn classifier(&self, id: u32, parts: &[Part]) {
        let data = build::classifier(parts);
        assert_eq!(self.create(OBJ_CLASSIFIER, id, &data), DONE);
    }

    fn rule(&self, id: u32, hdr: RuleHdr, parts: &[Part]) {
        assert_eq!(self.create(OBJ_RULE, id, &build::rule(hdr, parts)), DONE);
    }

    /// What happens to a frame.
    fn verdict(&self, frame: &[u8]) -> Verdict {
        self.verdict_of(frame, None)
    }

    fn verdict_of(&self, frame: &[u8], sa: Option<u32>) -> Verdict {
        let frame = frame.to_vec().into();
        match self.filter.current() {
            Some(matcher) => matcher.verdict(&frame, sa),
            None => Verdict::Pass,
        }
    }
}

/// Data as an answer has it: with zeroes behind it (V140).
fn answer(mut data: Vec<u8>) -> Vec<u8> {
    data.resize(data.len().next_multiple_of(8), 0);
    data
}

fn hdr(group: u32, classifier: u32, priority: u8, action: Action) -> RuleHdr {
    build::rule_hdr(group, classifier, priority, action as u8)
}

/// Group 0 and classifier 0, about ESP over IPv4 with an SPI.
fn esp_rig() -> Rig {
    let rig = Rig::ready();
    rig.group(0, 10);
    rig.classifier(0, &build::esp(false, 0));
    rig
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(payload);
    frame
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next, 64]);
    frame.extend([0xfd; 16]);
    frame.extend([0xfe; 16]);
    frame.extend(payload);
    frame
}

fn esp_header(spi: u32) -> Vec<u8> {
    [&spi.to_be_bytes()[..], &[0, 0, 0, 1], &[0x55; 32]].concat()
}

fn udp_header(port: u16) -> Vec<u8> {
    [
        &[0x30, 0x39][..],
        &port.to_be_bytes(),
        &[0, 16, 0, 0],
        &[1; 8],
    ]
    .concat()
}

fn tcp_header(port: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0x30, 0x39];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    header
}
