// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Administration commands: statuses, life cycle, hostile bytes. Rules of VIRTIO 1.4 sections 2.13
//! and 5.1.6.5.

mod capabilities;

use super::*;
use espnic_wire::admin::{
    EBUSY, EEXIST, ENXIO, OPS_INITIAL, Q_INVALID_COMMAND, Q_INVALID_GROUP, Q_INVALID_MEMBER,
    Q_INVALID_OPCODE,
};

const INVALID_OPCODE: (u16, u16) = (EINVAL, Q_INVALID_OPCODE);
const MISSING: (u16, u16) = (ENXIO, Q_INVALID_FIELD);
const EXISTS: (u16, u16) = (EEXIST, Q_INVALID_FIELD);
const BUSY: (u16, u16) = (EBUSY, Q_INVALID_COMMAND);

fn default_new() -> Engine {
    new(Backend::default())
}

fn default_ready() -> Engine {
    ready(Backend::default())
}

fn use_list(ipsec: &Engine, list: u64) -> (u16, u16) {
    status(ipsec, Command::ListUse(&list.to_le_bytes()))
}

#[test]
fn after_reset_only_the_list_commands_are_legal() {
    let ipsec = default_new();
    assert_eq!(
        run(&ipsec, Command::ListQuery),
        (DONE, OPS_ALL.to_le_bytes().to_vec())
    );
    assert_eq!(status(&ipsec, Command::CapIdListQuery), INVALID_OPCODE);
    assert_eq!(
        status(&ipsec, Command::DeviceCapGet(cap::IPSEC_SA)),
        INVALID_OPCODE
    );
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)),
        INVALID_OPCODE
    );
    assert_eq!(counter(&ipsec, "admin_commands"), 4);
    assert_eq!(counter(&ipsec, "admin_errors"), 3);
}

#[test]
fn list_use_replaces_the_list() {
    let ipsec = default_new();
    assert_eq!(use_list(&ipsec, OPS_INITIAL | (1 << 7)), DONE);
    assert_eq!(status(&ipsec, Command::CapIdListQuery), DONE);
    assert_eq!(
        status(&ipsec, Command::DeviceCapGet(cap::IPSEC_SA)),
        INVALID_OPCODE
    );
    // Not offered: nothing changes.
    for bad in [OPS_ALL | (1 << 2), OPS_ALL | (1 << 14), u64::MAX] {
        assert_eq!(use_list(&ipsec, bad), INVALID_FIELD);
    }
    let mut long = [0; 24];
    long[23] = 1;
    assert_eq!(status(&ipsec, Command::ListUse(&long)), INVALID_FIELD);
    assert_eq!(status(&ipsec, Command::CapIdListQuery), DONE);
    // Zero words behind the list are fine.
    long = [0; 24];
    long[..8].copy_from_slice(&OPS_ALL.to_le_bytes());
    assert_eq!(status(&ipsec, Command::ListUse(&long)), DONE);
    assert_eq!(status(&ipsec, Command::DeviceCapGet(cap::IPSEC_SA)), DONE);
    // The list stays what it was, and is legal again after a reset.
    assert_eq!(run(&ipsec, Command::ListQuery).1, OPS_ALL.to_le_bytes());
    ipsec.reset();
    assert_eq!(status(&ipsec, Command::CapIdListQuery), INVALID_OPCODE);
    assert_eq!(use_list(&ipsec, OPS_ALL), DONE);
}

#[test]
fn checks_are_group_opcode_member() {
    let ipsec = default_new();
    let bad = |opcode: u16, group: u16, member: u64| {
        let mut bytes = [0; 24];
        bytes[..2].copy_from_slice(&opcode.to_le_bytes());
        bytes[2..4].copy_from_slice(&group.to_le_bytes());
        bytes[16..].copy_from_slice(&member.to_le_bytes());
        run_bytes(&ipsec, &bytes).0
    };
    assert_eq!(bad(0x99, 1, 1), (EINVAL, Q_INVALID_GROUP));
    assert_eq!(bad(0x99, 0, 1), INVALID_OPCODE);
    assert_eq!(bad(0x7, 0, 1), INVALID_OPCODE);
    assert_eq!(bad(0, 0, 1), (EINVAL, Q_INVALID_MEMBER));
    assert_eq!(bad(0, 0, 0), DONE);
    assert_eq!(bad(0xffff, 0, 0), INVALID_OPCODE);
}

#[test]
fn life_cycle_of_an_object() {
    for obj_type in TYPES {
        let ipsec = default_ready();
        let object = object(obj_type);
        let other = TYPES[usize::from(obj_type == TYPES[0])];
        let query = Command::ObjQuery { obj_type, id: 3 };
        let modify = Command::ObjModify {
            obj_type,
            id: 3,
            object: object.as_bytes(),
        };
        for round in 0..3 {
            assert_eq!(status(&ipsec, query), MISSING, "round {round}");
            assert_eq!(status(&ipsec, modify), MISSING);
            assert_eq!(destroy(&ipsec, obj_type, 3), MISSING);
            assert_eq!(create(&ipsec, obj_type, 3, &object), DONE);
            assert_eq!(create(&ipsec, obj_type, 3, &object), EXISTS);
            assert_eq!(status(&ipsec, modify), DONE);
            assert_eq!(destroy(&ipsec, other, 3), MISSING, "ids are per type");
            let (got, result) = run(&ipsec, query);
            let mut expected = object;
            expected.clear_keys();
            assert_eq!(
                (got, &result[..]),
                (DONE, expected.as_bytes()),
                "keys are not given away"
            );
            assert_eq!(destroy(&ipsec, obj_type, 3), DONE);
        }
        assert_eq!(create(&ipsec, obj_type, 63, &object), DONE);
        assert_eq!(create(&ipsec, obj_type, 64, &object), INVALID_FIELD);
        assert_eq!(destroy(&ipsec, obj_type, u32::MAX), MISSING);
        assert_eq!(create(&ipsec, 0x0205, 1, &object), INVALID_FIELD);
    }
}

#[test]
fn modify_changes_addresses_only() {
    let ipsec = default_ready();
    assert_eq!(create(&ipsec, OBJ_INB_SA, 0, &object(OBJ_INB_SA)), DONE);
    let modify = |change: fn(&mut SaObject)| {
        let mut object = object(OBJ_INB_SA);
        change(&mut object);
        status(
            &ipsec,
            Command::ObjModify {
                obj_type: OBJ_INB_SA,
                id: 0,
                object: object.as_bytes(),
            },
        )
    };
    assert_eq!(modify(|object| object.base.spi = 5.into()), INVALID_FIELD);
    assert_eq!(modify(|object| object.base.salt[0] ^= 1), INVALID_FIELD);
    assert_eq!(
        modify(|object| object.base.cipher_key.data[15] ^= 1),
        INVALID_FIELD
    );
    assert_eq!(
        modify(|object| object.base.cipher_key.length = 32.into()),
        INVALID_FIELD
    );
    assert_eq!(
        modify(|object| object.base.mode = cap::MODE_ESP_TUNNEL),
        INVALID_FIELD
    );
    assert_eq!(
        modify(|object| object.tail.generation = 8.into()),
        INVALID_FIELD
    );
    let (_, mut wire) = frame(1, 1, b"not authentic");
    assert_eq!(received(&ipsec, &mut wire), Some(hdr::SEC_AUTH));
    assert_eq!(modify(|object| object.tail.dst[3] = 9), DONE);
    assert_eq!(received(&ipsec, &mut wire), None);
    assert_eq!(counter(&ipsec, "ipsec_sa_in"), 1);
}

#[test]
fn what_is_not_supported_is_refused() {
    let changes: [fn(&mut SaObject); 27] = [
        |object| object.base.mode = cap::MODE_AH_TUNNEL,
        |object| object.base.mode = 0,
        |object| object.base.direction = 3 - object.base.direction,
        |object| object.base.spi = 0.into(),
        |object| object.base.options = 4.into(),
        |object| object.base.options = (1 << 40).into(),
        |object| object.base.replay_win_sz = 32.into(),
        |object| object.base.cipher_algo = 3.into(),
        |object| object.base.auth_algo = 2.into(),
        |object| object.base.auth_key.length = 20.into(),
        |object| object.base.cipher_key.length = 20.into(),
        |object| object.tail.aead_algo = cap::AEAD_CHACHA20_POLY1305.into(),
        |object| object.tail.aead_algo = 0.into(),
        |object| object.base.cipher_key.length = 0.into(),
        |object| object.base.cipher_key.length = 64.into(),
        |object| object.base.packets_soft_limit = 1.into(),
        |object| object.base.bytes_hard_limit = 1.into(),
        |object| object.tail.tail_len = 143.into(),
        |object| object.tail.tail_flags = (object.tail.tail_flags.get() | 4).into(),
        |object| object.tail.tail_flags = (object.tail.tail_flags.get() | 0x80).into(),
        |object| object.tail.aead_algo = cap::AEAD_CCM.into(),
        |object| object.tail.aead_algo = (0x1_0000 | cap::AEAD_GCM).into(),
        |object| object.tail.icv_len = 13,
        |object| object.tail.iv_mode = 2,
        |object| object.tail.encap_mode = wire::ENCAP_UDP,
        |object| object.tail.event_mask = 2.into(),
        |object| object.tail.keepalive_s = 20.into(),
    ];
    let ipsec = default_ready();
    for obj_type in TYPES {
        for (n, change) in changes.iter().enumerate() {
            let mut object = object(obj_type);
            change(&mut object);
            assert_eq!(
                create(&ipsec, obj_type, 1, &object),
                INVALID_FIELD,
                "change {n}"
            );
        }
    }
    let inbound: [fn(&mut SaObject); 3] = [
        |object| object.tail.tail_flags = (object.tail.tail_flags.get() & !8).into(),
        |object| object.tail.tail_flags = (object.tail.tail_flags.get() & !16).into(),
        |object| object.tail.family = 5,
    ];
    for change in inbound {
        let mut object = object(OBJ_INB_SA);
        change(&mut object);
        assert_eq!(create(&ipsec, OBJ_INB_SA, 1, &object), INVALID_FIELD);
    }
    assert_eq!(
        counter(&ipsec, "ipsec_sa_in") + counter(&ipsec, "ipsec_sa_out"),
        0
    );
    // Flags of CREATE are not defined.
    let mut bytes = [0; 1024];
    let object = object(OBJ_OUTB_SA);
    let create = Command::ObjCreate {
        obj_type: OBJ_OUTB_SA,
        id: 1,
        object: object.as_bytes(),
    };
    let len = create.write(&mut bytes).unwrap();
    bytes[32] = 1;
    assert_eq!(run_bytes(&ipsec, &bytes[..len]).0, INVALID_FIELD);
    // With the extension every object has its tail.
    let base = object.base.as_bytes();
    let create = Command::ObjCreate {
        obj_type: OBJ_OUTB_SA,
        id: 1,
        object: base,
    };
    assert_eq!(status(&ipsec, create), INVALID_FIELD);
    // Reserved fields are ignored.
    let mut object = object;
    object.padding = [1; 4];
    object.base.reserved = 5.into();
    object.tail.reserved1 = 5.into();
    assert_eq!(super::create(&ipsec, OBJ_OUTB_SA, 1, &object), DONE);
}

#[test]
fn reset_clears_everything_but_counters() {
    let ipsec = default_ready();
    for obj_type in TYPES {
        assert_eq!(create(&ipsec, obj_type, 0, &object(obj_type)), DONE);
    }
    let (hdr, wire) = frame(0, 1, b"x");
    assert_eq!(send(&ipsec, &hdr, &mut wire.clone()), Ok(()));
    assert_eq!(received(&ipsec, &mut wire.clone()), Some(hdr::SEC_AUTH));
    ipsec.reset();
    assert_eq!(
        (
            counter(&ipsec, "ipsec_sa_in"),
            counter(&ipsec, "ipsec_sa_out")
        ),
        (0, 0)
    );
    assert_eq!(counter(&ipsec, "ipsec_tx_packets"), 1);
    assert_eq!(send(&ipsec, &hdr, &mut wire.clone()), Err(TxDrop::NoSa));
    assert_eq!(received(&ipsec, &mut wire.clone()), None);
    assert_eq!(status(&ipsec, Command::CapIdListQuery), INVALID_OPCODE);
    use_list(&ipsec, OPS_ALL);
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 0, &object(OBJ_OUTB_SA)),
        INVALID_OPCODE
    );
    set_up(&ipsec);
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 0, &object(OBJ_OUTB_SA)), DONE);
}

#[test]
fn output_without_room_is_discarded() {
    let ipsec = default_new();
    for len in 0..40 {
        let mut writable = vec![0xee; len];
        // LIST_QUERY: status and one word.
        assert_eq!(ipsec.admin(&[], &mut writable), len.min(16));
        assert!(writable.iter().take(8).all(|&byte| byte == 0));
    }
}
