// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between driver and NIC: every reader of `rust/wire`, and its writers read back.

#![no_main]

use espnic_fuzz::ndis::inside;
use espnic_fuzz::Bytes;
use espnic_wire::admin::{Command, Reply, Request, EINVAL, Q_TRYAGAIN};
use espnic_wire::cap::{self, ListHdr, SaMode, XSaEntry};
use espnic_wire::hdr::{HdrLen, NetHdr48};
use espnic_wire::sa::SaObject;
use espnic_wire::{bitmap, read_zero_extended};
use libfuzzer_sys::fuzz_target;
use zerocopy::IntoBytes as _;

fn headers(bytes: &mut Bytes<'_>) {
    let features = (u128::from(bytes.u64()) << 64) | u128::from(bytes.u64());
    let len = HdrLen::of(features);
    let data = bytes.rest();
    match NetHdr48::read(data, len) {
        Ok(hdr) => {
            assert_eq!(hdr.prefix(len), &data[..len.bytes()]);
            assert!(hdr.as_bytes()[len.bytes()..].iter().all(|&byte| byte == 0));
            assert_eq!(hdr.has(0x90), hdr.net.flags & 0x90 == 0x90);
        }
        Err(_) => assert!(data.len() < len.bytes()),
    }
}

/// A command that a driver might send, and what the NIC reads of it.
fn commands(bytes: &mut Bytes<'_>) {
    let (kind, id, obj_type, object_id) = (bytes.u8(), bytes.u16(), bytes.u16(), bytes.u32());
    let mut buffer = vec![0xee; bytes.u16().into()];
    let data = bytes.rest();
    let object = |id, object| (obj_type, id, object);
    let command = match kind % 9 {
        0 => Command::ListQuery,
        1 => Command::ListUse(data),
        2 => Command::CapIdListQuery,
        3 => Command::DeviceCapGet(id),
        4 => Command::DriverCapSet { id, data },
        kind @ (5 | 6) => {
            let (obj_type, id, object) = object(object_id, data);
            if kind == 5 {
                Command::ObjCreate {
                    obj_type,
                    id,
                    object,
                }
            } else {
                Command::ObjModify {
                    obj_type,
                    id,
                    object,
                }
            }
        }
        7 => Command::ObjQuery {
            obj_type,
            id: object_id,
        },
        _ => Command::ObjDestroy {
            obj_type,
            id: object_id,
        },
    };
    let Ok(len) = command.write(&mut buffer) else {
        return;
    };
    assert!(len % 8 == 0 && buffer[len..].iter().all(|&byte| byte == 0xee));
    let request = Request::parse(&buffer[..len]);
    assert_eq!(request.hdr.opcode.get(), command.opcode());
    match kind % 9 {
        1 => assert!(request.data.starts_with(data)),
        4 => assert!(request.cap().0.id.get() == id && request.cap().1.starts_with(data)),
        5 | 6 => {
            let (hdr, flags, read) = request.obj();
            assert_eq!(
                (hdr.obj_type.get(), hdr.id.get(), flags),
                (obj_type, object_id, 0)
            );
            assert!(read.starts_with(data));
        }
        _ => {}
    }
}

/// What the other side may have sent.
fn messages(data: &[u8]) {
    let request = Request::parse(data);
    let (_, cap) = request.cap();
    let (_, _, object) = request.obj();
    assert!([request.data, cap, object]
        .iter()
        .all(|part| inside(data, part)));
    let object: SaObject = read_zero_extended(object);
    let mut blank = object;
    blank.clear_keys();
    assert_eq!(blank.base.spi.get(), object.base.spi.get());
    if let Ok(reply) = Reply::parse(data) {
        assert!(reply.qualifier <= Q_TRYAGAIN && inside(data, reply.result));
        assert!(reply.status == EINVAL || reply.status.to_le_bytes() == data[..2]);
    }
}

fn capabilities(bytes: &mut Bytes<'_>) {
    let (key_len, icv_len) = (bytes.u16().into(), bytes.u16().into());
    let data = bytes.rest();
    if let Ok(list) = cap::entries::<XSaEntry>(data) {
        assert_eq!(list.len(), usize::from(data[0]));
        assert!(inside(data, list.as_bytes()));
        for pair in list.windows(2) {
            // What is allowed by a part is allowed by the whole.
            let within = pair[0].is_within(&pair[1]) && pair[0].allows(key_len, icv_len);
            assert!(!within || pair[1].allows(key_len, icv_len));
            assert!(pair[0].is_within(&pair[0]));
        }
    }
    if let Ok(list) = cap::entries::<SaMode>(data) {
        assert!(inside(data, list.as_bytes()));
        assert!(size_of::<ListHdr>() + list.as_bytes().len() <= data.len());
    }
}

fn bitmaps(bytes: &mut Bytes<'_>) {
    let bit = bytes.u16();
    let mut set = bytes.slice().to_vec();
    let superset = bytes.rest();
    let is_subset = bitmap::is_subset(&set, superset);
    let bits = 0..(set.len() as u16).saturating_mul(8);
    let model = bits
        .clone()
        .all(|bit| !bitmap::get(&set, bit) || bitmap::get(superset, bit));
    assert_eq!(is_subset, model || bits.end == u16::MAX && is_subset);
    let fits = bitmap::set(&mut set, bit).is_ok();
    assert_eq!(fits, usize::from(bit / 8) < set.len());
    assert_eq!(fits, bitmap::get(&set, bit));
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    match bytes.u8() % 5 {
        0 => headers(&mut bytes),
        1 => commands(&mut bytes),
        2 => messages(bytes.rest()),
        3 => capabilities(&mut bytes),
        _ => bitmaps(&mut bytes),
    }
});
