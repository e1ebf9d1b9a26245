// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Objects that the NIC cannot honour (V114, V115, V123), field by field.

use super::*;
use espnic_wire::cap::SaMode;

type Change = fn(&mut SaObject);

fn check(obj_type: u16, path: Path, changes: &[Change]) {
    let ipsec = ready(Backend::default());
    for (n, change) in changes.iter().enumerate() {
        let mut object = sa(obj_type, path);
        change(&mut object);
        let got = create(&ipsec, obj_type, 1, &object);
        assert_eq!(got, INVALID_FIELD, "{obj_type:#x} {path:?} {n}");
    }
    // The object itself is fine.
    assert_eq!(create(&ipsec, obj_type, 1, &sa(obj_type, path)), DONE);
}

#[test]
fn in_both_directions() {
    let changes: [Change; 24] = [
        |object| object.base.mode = 0,
        |object| object.base.mode = cap::MODE_AH_TUNNEL,
        |object| object.base.direction = 3 - object.base.direction,
        |object| object.base.spi = 0.into(),
        |object| add_option(object, 1 << 7),
        |object| object.base.options = (1 << 40).into(),
        |object| object.base.replay_win_sz = 4097.into(),
        |object| object.base.cipher_algo = 3.into(),
        |object| object.base.cipher_key.length = 20.into(),
        |object| object.base.auth_key.length = 20.into(),
        |object| object.tail.aead_algo = cap::AEAD_CCM.into(),
        |object| object.tail.icv_len = 15,
        |object| object.tail.iv_mode = 2,
        |object| object.tail.tail_len = 0.into(),
        |object| set_flags(object, super::super::wire::TAIL_BITMAP_VALID, 0),
        |object| set_flags(object, 0x80, 0),
        |object| object.tail.event_mask = 1.into(),
        |object| object.tail.event_mask = (1 << 6).into(),
        |object| object.tail.keepalive_s = 20.into(),
        |object| object.tail.encap_mode = super::super::wire::ENCAP_UDP,
        |object| add_option(object, cap::OPT_UDP_ENCAP),
        // Limits without the option, and warnings that come too late.
        |object| object.base.packets_hard_limit = 5.into(),
        |object| {
            add_option(object, cap::OPT_SA_LIFETIME);
            object.base.packets_soft_limit = 5.into();
            object.base.packets_hard_limit = 5.into();
        },
        |object| {
            add_option(object, cap::OPT_SA_LIFETIME);
            object.base.bytes_soft_limit = 6.into();
            object.base.bytes_hard_limit = 5.into();
        },
    ];
    for obj_type in TYPES {
        for path in PATHS {
            check(obj_type, path, &changes);
        }
    }
}

#[test]
fn outbound() {
    let tunnel: [Change; 5] = [
        |object| object.base.param_type = 0,
        |object| object.base.param_type = 5,
        |object| object.base.param[8] = 64,
        |object| object.base.param[9] = 2,
        |object| object.base.param[10] = 0,
    ];
    check(OBJ_OUTB_SA, OVER_V4, &tunnel);
    let both: [Change; 3] = [
        |object| {
            *object = in_udp(*object);
            object.base.udp_sport = 0.into();
        },
        |object| {
            *object = in_udp(*object);
            object.base.udp_dport = 0.into();
        },
        // A number that no packet without ESN has.
        |object| *object = behind(*object, 1 << 32),
    ];
    for path in PATHS {
        check(OBJ_OUTB_SA, path, &both);
    }
}

#[test]
fn inbound() {
    let changes: [Change; 5] = [
        |object| object.tail.family = 5,
        |object| object.tail.family = 0,
        |object| *object = behind(*object, 1 << 32),
        // The high half cannot be inferred.
        |object| add_option(object, cap::OPT_ESN),
        |object| add_option(object, cap::OPT_DEC_TTL),
    ];
    for path in PATHS {
        check(OBJ_INB_SA, path, &changes);
    }
    check(
        OBJ_INB_SA,
        OVER_V4,
        &[|object| add_option(object, cap::OPT_COPY_DF)],
    );
}

#[test]
fn transport_mode_has_no_outer_header() {
    let changes: [Change; 4] = [
        |object| add_option(object, cap::OPT_COPY_DSCP),
        |object| add_option(object, cap::OPT_DEC_TTL),
        |object| add_option(object, cap::OPT_COPY_DF),
        |object| add_option(object, cap::OPT_ECN),
    ];
    for obj_type in TYPES {
        check(obj_type, Path::Transport { v6: false }, &changes);
    }
}

/// V144, V145: what the driver has not accepted is refused.
#[test]
fn what_the_driver_has_not_accepted() {
    let ipsec = ready(Backend::default());
    let offered = run(&ipsec, Command::DeviceCapGet(cap::IPSEC_SA)).1;
    let mode = cap::entries::<SaMode>(&offered).unwrap()[0];
    let set = |mode: &SaMode| {
        let mut data = ListHdr::new(1).as_bytes().to_vec();
        data.extend_from_slice(mode.as_bytes());
        let id = cap::IPSEC_SA;
        status(&ipsec, Command::DriverCapSet { id, data: &data })
    };
    let object = |change: Change| {
        let mut object = sa(OBJ_INB_SA, OVER_V4);
        object.base.replay_win_sz = 64.into();
        add_option(&mut object, cap::OPT_ECN);
        change(&mut object);
        object
    };
    let good = object(|_| ());
    let less: [fn(&mut SaMode); 5] = [
        |mode| mode.mode = cap::MODE_ESP_TRANSPORT,
        |mode| mode.options = 0.into(),
        |mode| mode.max_replay_win_sz = 63.into(),
        |mode| mode.aead_algo = 0.into(),
        |mode| mode.max_cipher_key_len = 15.into(),
    ];
    for (n, change) in less.iter().enumerate() {
        let mut accepted = mode;
        change(&mut accepted);
        if n == 0 {
            accepted.options = 0x43.into();
        }
        assert_eq!(set(&accepted), DONE, "{n}");
        assert_eq!(create(&ipsec, OBJ_INB_SA, 1, &good), INVALID_FIELD, "{n}");
    }
    let more: [fn(&mut SaMode); 6] = [
        |mode| mode.mode = cap::MODE_AH_TUNNEL,
        |mode| mode.options = 0xff.into(),
        |mode| mode.max_replay_win_sz = 4097.into(),
        |mode| mode.cipher_algo = u64::MAX.into(),
        |mode| mode.hmac_algo = u64::MAX.into(),
        |mode| mode.aead_algo = u32::MAX.into(),
    ];
    for (n, change) in more.iter().enumerate() {
        let mut accepted = mode;
        change(&mut accepted);
        assert_eq!(set(&accepted), INVALID_FIELD, "{n}");
    }
    assert_eq!(set(&mode), DONE);
    assert_eq!(create(&ipsec, OBJ_INB_SA, 1, &good), DONE);
}

/// What looks strange and is right.
#[test]
fn what_is_fine() {
    let ipsec = ready(Backend::default());
    let fine: [(u16, Path, Change); 7] = [
        // Reserved fields are ignored.
        (OBJ_OUTB_SA, OVER_V4, |object| {
            object.padding = [1; 4];
            object.base.reserved1 = [1; 3];
            object.base.param[11..].fill(1);
            object.tail.reserved1 = 1.into();
        }),
        (OBJ_INB_SA, OVER_V4, |object| {
            object.base.replay_win_sz = 4096.into()
        }),
        (OBJ_INB_SA, OVER_V4, |object| object.base.param_type = 9),
        (OBJ_INB_SA, OVER_V4, |object| {
            set_flags(object, 0, super::super::wire::TAIL_MATCH_ADDR);
            object.tail.family = 0;
        }),
        (OBJ_OUTB_SA, OVER_V4, |object| {
            add_option(object, cap::OPT_SA_LIFETIME);
            object.base.packets_soft_limit = 7.into();
            object.base.bytes_hard_limit = 1.into();
        }),
        (OBJ_OUTB_SA, OVER_V4, |object| {
            set_flags(object, super::super::wire::TAIL_MAY_WRAP, 0);
            *object = behind(*object, 1 << 32);
        }),
        (OBJ_OUTB_SA, OVER_V4, |object| {
            object.tail.event_mask = 0x1e.into()
        }),
    ];
    for (id, (obj_type, path, change)) in (0..).zip(fine) {
        let mut object = sa(obj_type, path);
        change(&mut object);
        assert_eq!(create(&ipsec, obj_type, id, &object), DONE, "{id}");
    }
}
