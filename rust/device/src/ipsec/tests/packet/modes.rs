// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Both modes over both versions of IP, with all that an SA may add.

use super::super::ciphers::Algorithms;
use super::*;

/// Sends some packets of each kind through the path; they come out as they were.
fn round_trip(path: Path, change: fn(SaObject) -> SaObject) {
    let (outbound, inbound) = (sa(OBJ_OUTB_SA, path), sa(OBJ_INB_SA, path));
    let (a, b) = connect(&change(outbound), &change(inbound));
    let mut count = 0u32;
    for &v6 in path.inner() {
        for len in [0, 1, 2, 3, 100, 1300] {
            let (hdr, clear, whole) = udp(v6, &vec![0x5a; len]);
            let wire = one(&a, &hdr, &clear);
            assert_eq!(wire[..12], clear[..12], "Ethernet addresses stay");
            let kind = if path.v6() { [0x86, 0xdd] } else { [8, 0] };
            assert_eq!(wire[12..14], kind);
            assert!(!wire.windows(20).any(|part| part == [0x5a; 20]));
            let (hdr, plain) = by_rule(&b, &wire);
            assert_eq!(plain, whole, "{path:?} {v6} {len}");
            let flags = F_SECURITY | F_X_SEC | hdr::F_DATA_VALID;
            assert_eq!(hdr.net.flags, flags);
            let sa = (hdr.out.resource_id.get(), hdr.out.resource_type.get());
            assert_eq!(sa, (2, OBJ_INB_SA));
            assert_eq!(hdr.sec.generation.get(), testing::GENERATION);
            let result = (hdr.sec.sec_op, hdr.sec.sec_status, hdr.sec.seq_half.get());
            count += 1;
            assert_eq!(result, (hdr::SEC_OP_STANDARD, hdr::SEC_OK, count));
        }
    }
    let count: u64 = count.into();
    assert_eq!(counter(&a, "ipsec_tx_packets"), count);
    assert_eq!(counter(&a, "ipsec_tx_csum"), count);
    assert_eq!(counter(&b, "ipsec_rx_packets"), count);
    assert_eq!(counter(&b, "ipsec_rx_csum_valid"), count);
    assert_eq!(counter(&a, "ipsec_tx_bytes"), counter(&b, "ipsec_rx_bytes"));
}

#[test]
fn every_path_carries_packets() {
    for path in PATHS {
        round_trip(path, |object| object);
        round_trip(path, with_esn);
        round_trip(path, in_udp);
        round_trip(path, |object| in_udp(with_esn(object)));
    }
}

#[test]
fn every_suite_carries_packets() {
    for algorithms in Algorithms::all() {
        for (esn, path) in [(false, OVER_V4), (true, Path::Transport { v6: false })] {
            let outbound = convert(algorithms.object(OBJ_OUTB_SA, esn), path);
            let inbound = convert(algorithms.object(OBJ_INB_SA, esn), path);
            let (a, b) = connect(&outbound, &inbound);
            for len in [0, 13, 14, 15, 16, 1300] {
                let (hdr, clear, whole) = udp(false, &vec![0xa5; len]);
                let wire = one(&a, &hdr, &clear);
                let mut forged = wire.clone();
                *forged.last_mut().unwrap() ^= 1;
                assert!(!passes(&b, &forged), "{algorithms:?}");
                assert_eq!(by_rule(&b, &wire).1, whole, "{algorithms:?} {len}");
            }
            assert_eq!(counter(&b, "ipsec_rx_auth_fail"), 6);
        }
    }
}

#[test]
fn without_the_extension_the_standard_is_there() {
    let nics = [(); 2].map(|()| {
        let ipsec = new(Backend::default());
        ipsec.set_x_ipsec(false);
        let list = OPS_ALL.to_le_bytes();
        assert_eq!(status(&ipsec, Command::ListUse(&list)), DONE);
        for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA] {
            let data = run(&ipsec, Command::DeviceCapGet(id)).1;
            let set = Command::DriverCapSet { id, data: &data };
            assert_eq!(status(&ipsec, set), DONE);
        }
        ipsec
    });
    let [a, b] = &nics;
    let gmac = Algorithms::all()
        .into_iter()
        .find(|one| one.object(OBJ_OUTB_SA, false).base.auth_algo.get() == cap::MAC_GMAC_AES)
        .unwrap();
    for (obj_type, nic) in [(OBJ_OUTB_SA, a), (OBJ_INB_SA, b)] {
        let object = convert(gmac.object(obj_type, false), OVER_V4);
        // The tail does not count, and need not be there.
        let create = Command::ObjCreate {
            obj_type,
            id: 1,
            object: object.base.as_bytes(),
        };
        assert_eq!(status(nic, create), DONE);
        // Nor does QUERY show that there is one (V160).
        let (got, queried) = run(nic, Command::ObjQuery { obj_type, id: 1 });
        assert_eq!((got, queried.len()), (DONE, 196 + 4));
        assert_eq!(queried[196..], [0; 4], "up to a multiple of 64 bits");
        // An AEAD cannot be said.
        let object = sa(obj_type, OVER_V4);
        assert_eq!(super::create(nic, obj_type, 2, &object), INVALID_FIELD);
        let query = Command::ObjQuery {
            obj_type: espnic_wire::state::OBJ_OUTB_STATE,
            id: 1,
        };
        assert_ne!(status(nic, query), DONE);
    }
    let (mut hdr, clear, whole) = udp(false, b"standard");
    hdr.net.flags &= !F_X_SEC;
    hdr.sec = Default::default();
    let wire = one(a, &hdr, &clear);
    let (hdr, plain) = by_rule(b, &wire);
    assert_eq!(plain, whole);
    assert_eq!(hdr.net.flags, F_SECURITY | hdr::F_DATA_VALID);
    // A failed packet comes as it was.
    let mut forged = one(a, &plain_hdr_of_standard(), &whole);
    *forged.last_mut().unwrap() ^= 1;
    let (hdr, same) = by_rule(b, &forged);
    assert_eq!(same, forged);
    assert_eq!(hdr.net.flags, F_SECURITY | F_SECURITY_ERR);
}

fn plain_hdr_of_standard() -> NetHdr48 {
    let mut hdr = plain_hdr();
    hdr.net.flags = F_SECURITY;
    hdr.sec = Default::default();
    hdr
}

#[test]
fn crypto_only_and_standard_sas_live_together() {
    let path = Path::Transport { v6: false };
    let (a, b) = pair(path);
    let mut other = super::super::object(OBJ_OUTB_SA);
    other.base.spi = 0x2002.into();
    assert_eq!(create(&a, OBJ_OUTB_SA, 3, &other), DONE);
    let mut inbound = super::super::object(OBJ_INB_SA);
    inbound.base.spi = 0x2002.into();
    assert_eq!(create(&b, OBJ_INB_SA, 3, &inbound), DONE);
    let (crypto_hdr, mut crypto) = frame(3, 7, b"crypto-only");
    crypto[34..38].copy_from_slice(&0x2002u32.to_be_bytes());
    let clear = crypto.clone();
    send(&a, &crypto_hdr, &mut crypto).unwrap();
    // With a rule and without.
    assert_eq!(by_rule(&b, &crypto).0.sec.sec_op, hdr::SEC_OP_CRYPTO_ONLY);
    assert_eq!(received(&b, &mut crypto), Some(hdr::SEC_OK));
    let payload = 50..61;
    assert_eq!(crypto[payload.clone()], clear[payload]);
    assert!(passes(&b, &next(&a)));
    // Each kind of packet for the other kind of SA.
    let mut wrong = crypto_hdr;
    wrong.out.resource_id = 1.into();
    assert_eq!(transmit(&a, &wrong, &clear), Err(TxDrop::Unsupported));
    let (mut wrong, clear, _) = udp(false, b"plain");
    wrong.out.resource_id = 3.into();
    assert_eq!(transmit(&a, &wrong, &clear), Err(TxDrop::Unsupported));
}

#[test]
fn an_empty_list_of_modes_leaves_crypto_only_sas() {
    let ipsec = ready(Backend::default());
    let empty = Command::DriverCapSet {
        id: cap::IPSEC_SA,
        data: &[0; 8],
    };
    assert_eq!(status(&ipsec, empty), DONE);
    for obj_type in TYPES {
        let standard = sa(obj_type, OVER_V4);
        assert_eq!(create(&ipsec, obj_type, 1, &standard), INVALID_FIELD);
        let crypto = super::super::object(obj_type);
        assert_eq!(create(&ipsec, obj_type, 1, &crypto), DONE);
    }
}

/// V125, G9: behind a NAT the checksum is that of other addresses.
#[test]
fn transport_mode_in_udp_does_not_ask_for_the_checksum() {
    let path = Path::Transport { v6: false };
    for encapsulated in [true, false] {
        let change = |object| match encapsulated {
            true => in_udp(object),
            false => object,
        };
        let (outbound, inbound) = (sa(OBJ_OUTB_SA, path), sa(OBJ_INB_SA, path));
        let (a, b) = connect(&change(outbound), &change(inbound));
        let (_, _, mut whole) = udp(false, b"wrong checksum");
        whole[IP + 20 + 6] ^= 0x55;
        let wire = one(&a, &plain_hdr(), &whole);
        let (hdr, plain) = by_rule(&b, &wire);
        assert_eq!((hdr.has(hdr::F_DATA_VALID), plain), (encapsulated, whole));
        assert_eq!(
            counter(&b, "ipsec_rx_csum_valid"),
            0,
            "nobody has verified it"
        );
    }
}

/// A NAT changes nothing inside a tunnel, and only TCP and UDP have the addresses in their checksums.
#[test]
fn other_packets_in_udp_have_no_valid_checksum() {
    let (_, _, mut wrong) = udp(false, b"wrong checksum");
    wrong[IP + 20 + 6] ^= 0x55;
    let path = Path::Transport { v6: false };
    for (path, clear) in [(OVER_V4, wrong), (path, ip(false, 1, &[8; 16]))] {
        let (outbound, inbound) = (sa(OBJ_OUTB_SA, path), sa(OBJ_INB_SA, path));
        let (a, b) = connect(&in_udp(outbound), &in_udp(inbound));
        let (hdr, plain) = by_rule(&b, &one(&a, &plain_hdr(), &clear));
        assert_eq!((hdr.has(hdr::F_DATA_VALID), plain), (false, clear));
    }
}
