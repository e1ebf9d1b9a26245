// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Malformed administration commands: each is answered, none does harm.

use super::*;
use espnic_wire::admin::{ENOSPC, Q_NORESOURCE};
use proptest::prelude::*;

/// Random bytes behind a plausible start, so that they get past the first checks.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let object = (prop::sample::select(&TYPES[..]), 0u32..70, any::<bool>()).prop_flat_map(
        |(obj_type, id, zero)| {
            let object = object(obj_type).as_bytes().to_vec();
            let changes = prop::collection::vec((0..object.len(), any::<u8>()), 0..4);
            (changes, 0xau16..=0xd, 0..=object.len()).prop_map(move |(changes, opcode, cut)| {
                let mut object = object.clone();
                for (at, byte) in changes {
                    object[at] = byte;
                }
                object.truncate(if zero { cut } else { object.len() });
                let mut bytes = vec![0; 40];
                bytes[..2].copy_from_slice(&opcode.to_le_bytes());
                bytes[24..26].copy_from_slice(&obj_type.to_le_bytes());
                bytes[28..32].copy_from_slice(&id.to_le_bytes());
                bytes.extend(object);
                bytes
            })
        },
    );
    let small =
        (0u16..16, prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(opcode, data)| {
            let mut bytes = vec![0; 24];
            bytes[..2].copy_from_slice(&opcode.to_le_bytes());
            bytes.extend(data);
            bytes
        });
    prop_oneof![object, small, prop::collection::vec(any::<u8>(), 0..300)]
}

#[test]
fn few_inbound_sas_have_one_spi() {
    const MOST: u32 = 16;
    let ipsec = ready(Backend::default());
    let to = |last: u32| {
        let mut object = object(OBJ_INB_SA);
        object.tail.peer_dst[3] = last as u8;
        object
    };
    for id in 0..MOST {
        assert_eq!(create(&ipsec, OBJ_INB_SA, id, &to(id)), DONE);
    }
    let errors = counter(&ipsec, "admin_errors");
    let full = (ENOSPC, Q_NORESOURCE);
    assert_eq!(create(&ipsec, OBJ_INB_SA, MOST, &to(MOST)), full);
    assert_eq!(counter(&ipsec, "admin_errors"), errors + 1);
    // Others are not concerned, and one that goes makes room.
    let mut other = to(MOST);
    other.std.spi = (SPI + 1).into();
    assert_eq!(create(&ipsec, OBJ_INB_SA, MOST, &other), DONE);
    for id in 0..=MOST {
        assert_eq!(create(&ipsec, OBJ_OUTB_SA, id, &object(OBJ_OUTB_SA)), DONE);
    }
    assert_eq!(destroy(&ipsec, OBJ_INB_SA, 3), DONE);
    assert_eq!(create(&ipsec, OBJ_INB_SA, 3, &to(MOST)), DONE);
}

proptest! {
    #[test]
    fn hostile_commands_are_answered(
        commands in prop::collection::vec((hostile(), 0usize..600), 1..20)
    ) {
        let ipsec = ready(Backend::default());
        for (command, room) in &commands {
            let mut writable = vec![0; *room];
            let written = ipsec.admin(command, &mut writable);
            prop_assert!(written <= *room && (written >= 8 || written == *room));
        }
        prop_assert_eq!(counter(&ipsec, "admin_commands"), 4 + 3 + commands.len() as u64);
        let live = counter(&ipsec, "ipsec_sa_in") + counter(&ipsec, "ipsec_sa_out");
        ipsec.reset();
        prop_assert!(live <= 128);
        set_up(&ipsec);
    }
}
