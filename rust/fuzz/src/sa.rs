// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec: its first commands, SAs, and packets for them. Each is good, until the
//! fuzzer's patches are applied.

use crate::Bytes;
use espnic_device::testing::{self, filter};
use espnic_wire::admin::Command;
use espnic_wire::filter::{Action, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE};
use espnic_wire::hdr::NetHdr48;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::convert::Infallible;
use zerocopy::IntoBytes;

/// Executes, by `execute`, what a driver does before its first SA: it takes everything that is offered.
/// `execute` returns the result.
pub fn set_up(mut execute: impl FnMut(&[u8]) -> Vec<u8>) {
    let Ok(()) = testing::set_up(|command| {
        let result = execute(&testing::bytes(command));
        Ok::<_, Infallible>(result)
    });
}

/// Executes, by `execute`, what sends ESP to IPsec: rules of the flow filter. Call [`set_up`] before.
pub fn make_rules(mut execute: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut run = |command: Command<'_>| {
        let result = execute(&testing::bytes(command));
        Ok::<_, Infallible>(result)
    };
    let Ok(()) = filter::set_up(&mut run);
    let Ok(()) = filter::protect(Action::IpsecAgain as u8, &mut run);
}

/// A command about an object of the filter, with some of its bytes changed.
pub fn filter_command(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let obj_type = bytes.choose(&[OBJ_GROUP, OBJ_CLASSIFIER, OBJ_RULE]);
    let (kind, id) = (bytes.u8() % 4, u32::from(bytes.u8() % 8));
    let (a, b) = (u32::from(bytes.u8() % 8), u32::from(bytes.u8() % 8));
    let parts = filter::any_esp(bytes.u8() & 1 != 0);
    let mut object = match obj_type {
        OBJ_GROUP => filter::group(id as u16),
        OBJ_CLASSIFIER => filter::classifier(&parts),
        _ => filter::rule(
            filter::rule_hdr(a, b, bytes.u8(), 1 + bytes.u8() % 4),
            &parts,
        ),
    };
    patch(bytes, &mut object);
    let object = object.as_slice();
    let mut all = testing::bytes(command(kind, obj_type, id, object));
    patch(bytes, &mut all);
    all
}

fn command(kind: u8, obj_type: u16, id: u32, object: &[u8]) -> Command<'_> {
    match kind {
        0 => Command::ObjCreate {
            obj_type,
            id,
            object,
        },
        1 => Command::ObjModify {
            obj_type,
            id,
            object,
        },
        2 => Command::ObjQuery { obj_type, id },
        _ => Command::ObjDestroy { obj_type, id },
    }
}

/// Overwrites up to three parts of `target` where and with what the fuzzer says.
pub fn patch(bytes: &mut Bytes<'_>, target: &mut [u8]) {
    for _ in 0..bytes.u8() % 4 {
        let (at, len) = (usize::from(bytes.u16()), usize::from(bytes.u8() % 16));
        for (to, from) in target.iter_mut().skip(at).zip(bytes.take(len)) {
            *to = *from;
        }
    }
}

/// A command about an object, with some of its bytes changed.
pub fn object_command(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let obj_type = bytes.choose(&[OBJ_OUTB_SA, OBJ_INB_SA]);
    let (kind, id) = (bytes.u8() % 4, u32::from(bytes.u8() % 4));
    let mut object = testing::object(obj_type);
    patch(bytes, object.as_mut_bytes());
    let object = object.as_bytes();
    let mut all = testing::bytes(command(kind, obj_type, id, object));
    patch(bytes, &mut all);
    all
}

/// A packet to be sent, with some of its bytes, and of its header's, changed.
pub fn packet(bytes: &mut Bytes<'_>) -> (NetHdr48, Vec<u8>) {
    let (id, seq) = (u32::from(bytes.u8() % 4), u32::from(bytes.u16()));
    let (mut hdr, mut frame) = testing::frame(id, seq, bytes.slice());
    patch(bytes, hdr.as_mut_bytes());
    patch(bytes, &mut frame);
    (hdr, frame)
}
