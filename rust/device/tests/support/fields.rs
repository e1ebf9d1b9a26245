// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tables of the fields of objects and capabilities, and a NIC on which each value of them is tried.

use std::convert::Infallible;

use espnic_device::testing::filter as build;
use espnic_device::testing::{self, object};
use espnic_wire::admin::{self, Command};
use espnic_wire::cap;
use espnic_wire::feature::{self, mask};
use espnic_wire::filter::OBJ_GROUP;
use espnic_wire::sa::{self, SaObject, OBJ_INB_SA};
use espnic_wire::state::{OBJ_INB_STATE, OBJ_OUTB_STATE};
use zerocopy::FromBytes;

use super::driver::{self, Driver};
use super::{config, sas, Rig};

pub const DONE: (u16, u16) = (admin::OK, admin::Q_OK);
pub const FIELD: (u16, u16) = (admin::EINVAL, admin::Q_INVALID_FIELD);
pub const OPCODE: (u16, u16) = (admin::EINVAL, admin::Q_INVALID_OPCODE);
pub const MISSING: (u16, u16) = (admin::ENXIO, admin::Q_INVALID_FIELD);

/// The object that exists, and the one that is tried. Both are below every limit.
pub const KEPT: u32 = 6;
pub const TRIED: u32 = 5;

/// A field of an object.
pub struct Field {
    pub name: &'static str,
    pub len: usize,
    /// Values with which the object is refused.
    pub wrong: Vec<Vec<u8>>,
    /// Values with which it is taken.
    pub fine: Vec<Vec<u8>>,
    /// MODIFY does not change it.
    pub fixed: bool,
}

/// A field of `len` bytes, of which nothing is wrong unless it is said.
pub fn field(name: &'static str, len: usize) -> Field {
    Field {
        name,
        len,
        wrong: vec![],
        fine: vec![],
        fixed: false,
    }
}

/// A field that is ignored.
pub fn ignored(len: usize) -> Field {
    field("reserved", len).fine([u64::MAX])
}

impl Field {
    fn value(&self, number: u64) -> Vec<u8> {
        let bytes = number.to_le_bytes();
        (0..self.len).map(|at| bytes[at % 8]).collect()
    }

    pub fn wrong<const N: usize>(mut self, numbers: [u64; N]) -> Self {
        self.wrong = numbers.iter().map(|&number| self.value(number)).collect();
        self
    }

    pub fn fine<const N: usize>(mut self, numbers: [u64; N]) -> Self {
        self.fine = numbers.iter().map(|&number| self.value(number)).collect();
        self
    }

    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    pub fn copy(&self) -> Self {
        Self {
            wrong: self.wrong.clone(),
            fine: self.fine.clone(),
            ..*self
        }
    }
}

/// A NIC, reached by one of the two queues.
pub struct Nic {
    pub driver: Driver,
    pub queue: u16,
}

impl Nic {
    pub fn new(queue: u16) -> Self {
        let mut driver = Rig::default().nic(config(1));
        driver.start(driver::ipsec() | mask(feature::ADMIN_VQ));
        sas::set_up(&mut driver, queue);
        let execute =
            |command: Command<'_>| Ok::<_, Infallible>(sas::done(&mut driver, queue, command));
        assert_eq!(build::set_up(execute), Ok(()));
        Self { driver, queue }
    }

    pub fn run(&mut self, bytes: &[u8]) -> ((u16, u16), Vec<u8>) {
        let (status, qualifier, result) = sas::execute(&mut self.driver, self.queue, bytes);
        ((status, qualifier), result)
    }

    pub fn status(&mut self, command: Command<'_>) -> (u16, u16) {
        self.run(&testing::bytes(command)).0
    }

    pub fn create(&mut self, obj_type: u16, id: u32, object: &[u8]) -> (u16, u16) {
        self.status(Command::ObjCreate {
            obj_type,
            id,
            object,
        })
    }

    pub fn modify(&mut self, obj_type: u16, id: u32, object: &[u8]) -> (u16, u16) {
        self.status(Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }

    pub fn destroy(&mut self, obj_type: u16, id: u32) -> (u16, u16) {
        self.status(Command::ObjDestroy { obj_type, id })
    }

    pub fn query(&mut self, obj_type: u16, id: u32) -> ((u16, u16), Vec<u8>) {
        self.run(&testing::bytes(Command::ObjQuery { obj_type, id }))
    }

    /// The state objects of [`KEPT`], which no refused command changes.
    fn states(&mut self) -> [((u16, u16), Vec<u8>); 2] {
        [OBJ_OUTB_STATE, OBJ_INB_STATE].map(|obj_type| self.query(obj_type, KEPT))
    }

    /// Tries each value of each field of `object`, of which one exists as [`KEPT`].
    pub fn try_all(&mut self, obj_type: u16, object: &[u8], fields: &[Field]) {
        let lens = fields.iter().map(|field| field.len);
        assert_eq!(
            lens.sum::<usize>(),
            object.len(),
            "every byte is in the table"
        );
        assert_eq!(self.create(obj_type, KEPT, object), DONE);
        self.check_head(obj_type, object);
        let mut at = 0;
        for field in fields {
            let with = |value: &[u8]| {
                let mut changed = object.to_vec();
                changed[at..at + field.len].copy_from_slice(value);
                changed
            };
            for value in &field.wrong {
                self.refuses(obj_type, &with(value), &about(obj_type, field, value));
            }
            for value in &field.fine {
                let what = about(obj_type, field, value);
                self.takes(obj_type, object, &with(value), field.fixed, &what);
            }
            at += field.len;
        }
        assert_eq!(self.destroy(obj_type, KEPT), DONE);
    }

    /// Tries each value of each field of a capability, of which `fields` are the first ones.
    pub fn try_capability(&mut self, id: u16, fields: &[Field]) {
        let offered = self.run(&testing::bytes(Command::DeviceCapGet(id))).1;
        let mut at = 0;
        for field in fields {
            let wrong = field.wrong.iter().map(|value| (value, FIELD));
            let fine = field.fine.iter().map(|value| (value, DONE));
            for (value, expected) in wrong.chain(fine) {
                let mut data = offered.clone();
                data[at..at + field.len].copy_from_slice(value);
                let got = self.status(Command::DriverCapSet { id, data: &data });
                assert_eq!(got, expected, "{}", about(id, field, value));
                let data = &offered;
                assert_eq!(self.status(Command::DriverCapSet { id, data }), DONE);
            }
            at += field.len;
        }
        assert!(at <= offered.len());
    }

    fn refuses(&mut self, obj_type: u16, wrong: &[u8], what: &str) {
        let before = (self.query(obj_type, KEPT), self.states());
        assert_eq!(self.create(obj_type, TRIED, wrong), FIELD, "{what}");
        assert_eq!(self.query(obj_type, TRIED).0, MISSING, "{what}");
        assert_eq!(self.modify(obj_type, KEPT, wrong), FIELD, "{what}");
        let after = (self.query(obj_type, KEPT), self.states());
        assert_eq!(before, after, "{what}");
    }

    fn takes(&mut self, obj_type: u16, object: &[u8], fine: &[u8], fixed: bool, what: &str) {
        let tried = match obj_type {
            // There are no two groups of one priority.
            OBJ_GROUP => DONE,
            _ => self.create(obj_type, TRIED, fine),
        };
        assert_eq!(tried, DONE, "{what}");
        if obj_type != OBJ_GROUP {
            assert!(same(&self.query(obj_type, TRIED).1, fine), "{what}");
            assert_eq!(self.destroy(obj_type, TRIED), DONE, "{what}");
        }
        let states = self.states();
        let expected = if fixed { FIELD } else { DONE };
        assert_eq!(self.modify(obj_type, KEPT, fine), expected, "{what}");
        let now = if fixed { object } else { fine };
        assert!(same(&self.query(obj_type, KEPT).1, now), "{what}");
        assert_eq!(self.modify(obj_type, KEPT, object), DONE, "{what}");
        assert_eq!(self.states(), states, "{what}");
    }

    /// What is in front of the object: type, id, flags.
    fn check_head(&mut self, obj_type: u16, object: &[u8]) {
        let before = self.query(obj_type, KEPT);
        let commands = |id| {
            [
                Command::ObjCreate {
                    obj_type,
                    id,
                    object,
                },
                Command::ObjModify {
                    obj_type,
                    id,
                    object,
                },
                Command::ObjQuery { obj_type, id },
                Command::ObjDestroy { obj_type, id },
            ]
            .map(testing::bytes)
        };
        for (bytes, id) in commands(TRIED).into_iter().zip([TRIED, KEPT, KEPT]) {
            let mut flagged = bytes;
            flagged[28..32].copy_from_slice(&id.to_le_bytes());
            flagged[33] = 1;
            assert_eq!(self.run(&flagged).0, FIELD, "{obj_type:#x} flags");
        }
        for bytes in commands(KEPT) {
            let mut unknown = bytes;
            unknown[24..26].copy_from_slice(&0x0300u16.to_le_bytes());
            assert_eq!(self.run(&unknown).0, FIELD, "{obj_type:#x} type");
        }
        for (bytes, expected) in commands(u32::MAX)
            .iter()
            .zip([FIELD, MISSING, MISSING, MISSING])
        {
            assert_eq!(self.run(bytes).0, expected, "{obj_type:#x} id");
        }
        let exists = (admin::EEXIST, admin::Q_INVALID_FIELD);
        assert_eq!(self.create(obj_type, KEPT, object), exists);
        assert_eq!(self.query(obj_type, KEPT), before);
    }
}

fn about(obj_type: u16, field: &Field, value: &[u8]) -> String {
    format!("{obj_type:#x} {}: {value:02x?}", field.name)
}

/// Whether QUERY gave this object. Keys read as zero, what does not count is not there, and the answer is a
/// multiple of 64 bits.
fn same(queried: &[u8], object: &[u8]) -> bool {
    let mut object = object.to_vec();
    if let Ok(sa) = SaObject::mut_from_bytes(&mut object) {
        sa.clear_keys();
    }
    let padding = 0..8;
    let lens = padding.map(|zeroes| queried.len().saturating_sub(zeroes));
    let parts = lens.map(|len| queried.split_at(len));
    parts.into_iter().any(|(data, zeroes)| {
        !data.is_empty() && object.starts_with(data) && zeroes.iter().all(|&byte| byte == 0)
    })
}

/// An SA in UDP with limits, inbound with ESN.
pub fn sa(obj_type: u16, mode: u8) -> SaObject {
    let mut object = object(obj_type);
    let base = &mut object.base;
    base.mode = mode;
    let mut options = cap::OPT_UDP_ENCAP | cap::OPT_SA_LIFETIME;
    if obj_type == OBJ_INB_SA {
        options |= cap::OPT_ESN;
        base.replay_win_sz = 64.into();
    }
    base.options = u64::from(options).into();
    sas::OUTER.put(base);
    base.udp_sport = 4500.into();
    base.udp_dport = 4500.into();
    base.packets_soft_limit = 500.into();
    base.bytes_soft_limit = 50_000.into();
    base.packets_hard_limit = 1000.into();
    base.bytes_hard_limit = 100_000.into();
    let tail = &mut object.tail;
    tail.tail_flags = (sa::TAIL_MATCH_ADDR | sa::TAIL_SEQ_VALID).into();
    tail.family = 4;
    tail.encap_mode = sa::ENCAP_UDP;
    tail.event_mask = 2.into();
    object
}
