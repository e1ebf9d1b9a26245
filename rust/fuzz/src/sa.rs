// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec: its first commands, SAs, and packets for them. Each is good, until the
//! fuzzer's patches are applied.

use crate::Bytes;
use espnic_device::testing;
use espnic_wire::admin::Command;
use espnic_wire::hdr::NetHdr48;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use std::convert::Infallible;
use zerocopy::IntoBytes;

/// Executes, by `execute`, what a driver does before its first SA: it takes everything that is offered.
/// `execute` returns the result.
pub fn set_up(mut execute: impl FnMut(&[u8]) -> Vec<u8>) {
    let execute = |command| Ok::<_, Infallible>(execute(&testing::bytes(command)));
    testing::set_up(execute).unwrap();
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
    let mut all = testing::bytes(match kind {
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
    });
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
