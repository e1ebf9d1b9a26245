// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities: what the NIC offers, and what the driver takes of it.

use super::*;
use espnic_wire::bitmap;
use espnic_wire::cap::{SaMode, XSaEntry};

#[test]
fn capabilities_are_what_is_there() {
    let ipsec = default_new();
    use_list(&ipsec, OPS_ALL);
    let (got, ids) = run(&ipsec, Command::CapIdListQuery);
    assert_eq!((got, ids.len()), (DONE, 512));
    let listed: Vec<u16> = (0..4096).filter(|&id| bitmap::get(&ids, id)).collect();
    assert_eq!(
        listed,
        [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA]
    );
    let get = |id| run(&ipsec, Command::DeviceCapGet(id));
    assert_eq!(
        get(cap::IPSEC_RESOURCE),
        (DONE, vec![64, 0, 0, 0, 64, 0, 0, 0])
    );
    let (got, data) = get(cap::IPSEC_SA);
    assert_eq!(got, DONE);
    let modes = cap::entries::<SaMode>(&data).unwrap();
    let told: Vec<_> = modes
        .iter()
        .map(|mode| (mode.mode, mode.options.get(), mode.max_replay_win_sz.get()))
        .collect();
    assert_eq!(told, [(1, 0x7f, 4096), (2, 0x43, 4096)]);
    let macs = [2, 4, 5, 6, 41]
        .iter()
        .fold(0, |mask, mac| mask | (1 << mac));
    for mode in modes {
        let masks = (mode.cipher_algo.get(), mode.hmac_algo.get());
        assert_eq!(masks, (1 << 3, macs));
        assert_eq!(mode.aead_algo.get(), (1 << 1) | (1 << 3));
        let longest = [&mode.max_cipher_key_len, &mode.max_auth_key_len];
        assert_eq!(longest.map(|len| len.get()), [32, 64]);
    }
    let (got, data) = get(cap::X_IPSEC_SA);
    assert_eq!(got, DONE);
    let entries = cap::entries::<XSaEntry>(&data).unwrap();
    let algorithms: Vec<_> = entries
        .iter()
        .map(|entry| (entry.mode, entry.kind, entry.algo.get(), entry.mac.get()))
        .collect();
    let expected: Vec<_> = [1, 2]
        .into_iter()
        .flat_map(|mode| {
            [
                (mode, cap::KIND_AEAD, 1, 0),
                (mode, cap::KIND_AEAD, 3, 0),
                (mode, cap::KIND_MAC, 0, 41),
                (mode, cap::KIND_CIPHER, 3, 2),
                (mode, cap::KIND_CIPHER, 3, 4),
                (mode, cap::KIND_CIPHER, 3, 5),
                (mode, cap::KIND_CIPHER, 3, 6),
            ]
        })
        .collect();
    assert_eq!(algorithms, expected);
    assert!(entries.iter().all(|entry| entry.flags.get() == 3));
    let [gcm, chacha, gmac, sha1, .., sha512] = &entries[..7] else {
        unreachable!()
    };
    assert!(gcm.allows(16, 8) && gcm.allows(24, 12) && gcm.allows(32, 16));
    assert!(!gcm.allows(20, 16) && !gcm.allows(16, 4));
    assert!(chacha.allows(32, 16) && !chacha.allows(16, 16) && !chacha.allows(32, 12));
    assert!(gmac.allows(24, 16) && !gmac.allows(24, 12));
    assert!(sha1.allows(16, 12) && !sha1.allows(16, 16));
    assert!(sha512.allows(32, 32) && !sha512.allows(32, 16));
    for id in [0, 0x0800, 0x0805, 0x0fc1, u16::MAX] {
        assert_eq!(get(id), (MISSING, vec![]));
        assert_eq!(
            status(&ipsec, Command::DriverCapSet { id, data: &[] }),
            MISSING
        );
    }
}

#[test]
fn without_the_extension_it_does_not_show() {
    let ipsec = default_new();
    ipsec.set_x_ipsec(false);
    use_list(&ipsec, OPS_ALL);
    assert_eq!(run(&ipsec, Command::CapIdListQuery).1.len(), 33 * 8);
    assert_eq!(
        status(&ipsec, Command::DeviceCapGet(cap::X_IPSEC_SA)),
        MISSING
    );
    assert_eq!(
        status(
            &ipsec,
            Command::DriverCapSet {
                id: cap::X_IPSEC_SA,
                data: &[]
            }
        ),
        MISSING
    );
    for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA] {
        let data = run(&ipsec, Command::DeviceCapGet(id)).1;
        assert_eq!(
            status(&ipsec, Command::DriverCapSet { id, data: &data }),
            DONE
        );
    }
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 1, &object(OBJ_OUTB_SA)),
        INVALID_FIELD
    );
    // A device that does not offer the extension cannot be talked into it.
    let config = IpsecConfig {
        x_ipsec: false,
        ..IpsecConfig::default()
    };
    let ipsec = Engine::new(config);
    ipsec.set_x_ipsec(true);
    use_list(&ipsec, OPS_ALL);
    assert_eq!(
        status(&ipsec, Command::DeviceCapGet(cap::X_IPSEC_SA)),
        MISSING
    );
}

#[test]
fn the_driver_takes_no_more_than_is_offered() {
    let ipsec = default_new();
    use_list(&ipsec, OPS_ALL);
    let set = |id, data: &[u8]| status(&ipsec, Command::DriverCapSet { id, data });
    let limits = |inb: u32, outb: u32| IpsecLimits {
        inb_sa_limit: inb.into(),
        outb_sa_limit: outb.into(),
    };
    assert_eq!(
        set(cap::IPSEC_RESOURCE, limits(65, 1).as_bytes()),
        INVALID_FIELD
    );
    assert_eq!(
        set(cap::IPSEC_RESOURCE, limits(1, 65).as_bytes()),
        INVALID_FIELD
    );
    assert_eq!(set(cap::IPSEC_RESOURCE, limits(2, 1).as_bytes()), DONE);
    let mut modes = ListHdr::new(1).as_bytes().to_vec();
    modes.extend([0; 44]);
    assert_eq!(set(cap::IPSEC_SA, &modes), INVALID_FIELD);
    assert_eq!(set(cap::IPSEC_SA, &[]), DONE);
    // Crypto-only has not been set: no such SA.
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 0, &object(OBJ_OUTB_SA)),
        INVALID_FIELD
    );
    let offered = run(&ipsec, Command::DeviceCapGet(cap::X_IPSEC_SA)).1;
    let mut more = offered.clone();
    more[8 + 8] = 0xff;
    assert_eq!(set(cap::X_IPSEC_SA, &more), INVALID_FIELD);
    more = offered.clone();
    more[0] += 1;
    assert_eq!(
        set(cap::X_IPSEC_SA, &more),
        INVALID_FIELD,
        "an entry of zeroes is not offered"
    );
    // Only AES-256-GCM, only transport.
    let mut less = offered.clone();
    less[0] = 1;
    less.drain(8..8 + 7 * 16);
    less.truncate(8 + 16);
    less[8 + 8] = 0x80;
    assert_eq!(set(cap::X_IPSEC_SA, &less), DONE);
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 0, &object(OBJ_OUTB_SA)),
        INVALID_FIELD
    );
    let mut long = object(OBJ_OUTB_SA);
    long.base.cipher_key.length = 32.into();
    assert_eq!(
        create(&ipsec, OBJ_OUTB_SA, 1, &long),
        INVALID_FIELD,
        "id at the limit"
    );
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 0, &long), DONE);
    // Not with live objects.
    assert_eq!(set(cap::IPSEC_RESOURCE, limits(0, 0).as_bytes()), BUSY);
    assert_eq!(set(cap::X_IPSEC_SA, &[]), BUSY);
    assert_eq!(destroy(&ipsec, OBJ_OUTB_SA, 0), DONE);
    assert_eq!(set(cap::X_IPSEC_SA, &[]), DONE);
    assert_eq!(create(&ipsec, OBJ_OUTB_SA, 0, &long), INVALID_FIELD);
}

#[test]
fn objects_need_both_standard_capabilities() {
    let ipsec = default_new();
    use_list(&ipsec, OPS_ALL);
    for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA] {
        for obj_type in TYPES {
            assert_eq!(
                create(&ipsec, obj_type, 1, &object(obj_type)),
                INVALID_OPCODE
            );
            assert_eq!(
                status(&ipsec, Command::ObjQuery { obj_type, id: 1 }),
                INVALID_OPCODE
            );
            assert_eq!(destroy(&ipsec, obj_type, 1), INVALID_OPCODE);
        }
        let data = run(&ipsec, Command::DeviceCapGet(id)).1;
        assert_eq!(
            status(&ipsec, Command::DriverCapSet { id, data: &data }),
            DONE
        );
    }
    assert_eq!(destroy(&ipsec, OBJ_OUTB_SA, 1), MISSING);
}
