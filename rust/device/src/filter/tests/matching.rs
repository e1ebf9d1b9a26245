// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which rule a packet meets: V98, V99, V106, V107 and V168 of the checklist, and what a packet costs.

use super::*;

/// V98, V99: groups from the highest down, in a group rules from the highest down, and no rule after that.
#[test]
fn the_highest_rule_of_the_highest_group_counts() {
    let rig = esp_rig();
    rig.group(1, 20);
    rig.classifier(1, &build::any_esp(false));
    let (one, any) = (build::esp(false, 7), build::any_esp(false));
    rig.rule(0, hdr(0, 0, 9, Action::Drop), &one);
    rig.rule(1, hdr(0, 1, 8, Action::Ipsec), &any);
    let [seven, eight] = [7, 8].map(|spi| ipv4(50, &esp_header(spi)));
    assert_eq!(rig.verdict(&seven), Verdict::Drop);
    assert_eq!(rig.verdict(&eight), Verdict::Ipsec);
    let rule = build::rule(hdr(0, 0, 7, Action::Drop), &one);
    assert_eq!(rig.modify(OBJ_RULE, 0, &rule), DONE);
    assert_eq!(rig.verdict(&seven), Verdict::Ipsec);
    // A higher group, however low its rule is; without a match the next group has its turn.
    rig.rule(2, hdr(1, 0, 0, Action::IpsecAgain), &one);
    assert_eq!(rig.verdict(&seven), Verdict::IpsecAgain);
    assert_eq!(rig.verdict(&eight), Verdict::Ipsec);
    assert_eq!(rig.destroy(OBJ_RULE, 1), DONE);
    assert_eq!(rig.verdict(&eight), Verdict::Pass);
}

#[test]
fn equal_keys_count_by_their_priority() {
    let rig = esp_rig();
    let one = build::esp(false, 7);
    let frame = ipv4(50, &esp_header(7));
    let mut queue = hdr(0, 0, 5, Action::Queue);
    queue.vq_index = 2.into();
    rig.rule(0, hdr(0, 0, 3, Action::Drop), &one);
    rig.rule(1, queue, &one);
    rig.rule(2, hdr(0, 0, 4, Action::Ipsec), &one);
    assert_eq!(rig.verdict(&frame), Verdict::Queue(2));
    assert_eq!(rig.destroy(OBJ_RULE, 1), DONE);
    assert_eq!(rig.verdict(&frame), Verdict::Ipsec);
    assert_eq!(rig.destroy(OBJ_RULE, 2), DONE);
    assert_eq!(rig.verdict(&frame), Verdict::Drop);
}

/// V107: the header is compared without options, and what follows is found behind them.
#[test]
fn options_of_ipv4_are_passed_over() {
    let rig = Rig::ready();
    rig.group(0, 1);
    let parts = build::udp(false, 4500);
    rig.classifier(0, &parts);
    rig.rule(0, hdr(0, 0, 1, Action::Ipsec), &parts);
    let frame = ipv4(17, &udp_header(4500));
    assert_eq!(rig.verdict(&frame), Verdict::Ipsec);
    assert_eq!(rig.verdict(&ipv4(17, &udp_header(4501))), Verdict::Pass);
    assert_eq!(rig.verdict(&ipv4(6, &udp_header(4500))), Verdict::Pass);
    let mut options = frame;
    options.splice(34..34, [1; 8]);
    options[14] = 0x47;
    options[17] += 8;
    assert_eq!(rig.verdict(&options), Verdict::Ipsec);
}

/// V106.
#[test]
fn the_last_extension_header_of_ipv6_names_the_next() {
    let rig = Rig::ready();
    rig.group(0, 1);
    let parts = build::any_esp(true);
    rig.classifier(0, &parts);
    rig.rule(0, hdr(0, 0, 1, Action::Ipsec), &parts);
    let esp = esp_header(7);
    assert_eq!(rig.verdict(&ipv6(50, &esp)), Verdict::Ipsec);
    // Destination options, then hop-by-hop options.
    let options = |next: u8| [&[60, 0, 0, 0, 0, 0, 0, 0, next, 0][..], &[0; 6], &esp].concat();
    assert_eq!(rig.verdict(&ipv6(0, &options(50))), Verdict::Ipsec);
    assert_eq!(rig.verdict(&ipv6(0, &options(17))), Verdict::Pass);
    // The first header is another one, even if it has the number.
    assert_eq!(rig.verdict(&ipv6(0, &[0; 4])), Verdict::Pass);
}

#[test]
fn later_fragments_have_addresses_only() {
    for v6 in [false, true] {
        let rig = Rig::ready();
        rig.group(0, 1);
        let ports = build::udp(v6, 4500);
        rig.classifier(0, &ports);
        rig.classifier(1, &build::ip(v6, 17));
        rig.rule(0, hdr(0, 0, 2, Action::Drop), &ports);
        rig.rule(1, hdr(0, 1, 1, Action::Ipsec), &build::ip(v6, 17));
        let fragment = |offset: u8| {
            if v6 {
                let header = [17, 0, 0, (offset << 3) | 1, 0, 0, 0, 9];
                return ipv6(44, &[&header[..], &udp_header(4500)].concat());
            }
            let mut frame = ipv4(17, &udp_header(4500));
            (frame[20], frame[21]) = (0x20, offset);
            frame
        };
        assert_eq!(rig.verdict(&fragment(0)), Verdict::Drop);
        assert_eq!(rig.verdict(&fragment(3)), Verdict::Ipsec);
    }
}

#[test]
fn headers_have_to_be_there() {
    let rig = Rig::ready();
    rig.group(0, 1);
    let [eth, ip] = build::ip(false, 6);
    // Nothing of TCP is selected, but its header is.
    let parts = [eth, ip, Part::new(Kind::Tcp)];
    rig.classifier(0, &parts);
    rig.rule(0, hdr(0, 0, 1, Action::Drop), &parts);
    let frame = ipv4(6, &tcp_header(80, 2));
    assert_eq!(rig.verdict(&frame), Verdict::Drop);
    for len in 0..frame.len() {
        assert_eq!(rig.verdict(&frame[..len]), Verdict::Pass, "{len}");
    }
    // Padding behind the packet is no header.
    let mut padded = ipv4(6, &[]);
    padded.resize(60, 0);
    assert_eq!(rig.verdict(&padded), Verdict::Pass);
    // Behind a VLAN tag is no IP, but the tag can be selected.
    let mut tagged = frame.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(rig.verdict(&tagged), Verdict::Pass);
    let tag = [Part::new(Kind::Eth).with(12, &[0x81, 0])];
    rig.classifier(1, &tag);
    rig.rule(1, hdr(0, 1, 0, Action::Drop), &tag);
    assert_eq!(rig.verdict(&tagged), Verdict::Drop);
}

#[test]
fn control_bits_of_tcp_are_selected_one_by_one() {
    let rig = Rig::ready();
    rig.group(0, 1);
    let [eth, ip] = build::ip(false, 6);
    // SYN without ACK.
    let parts = [eth, ip, Part::new(Kind::Tcp).masked(13, &[2], &[0x12])];
    rig.classifier(0, &parts);
    rig.rule(0, hdr(0, 0, 1, Action::Drop), &parts);
    for (flags, verdict) in [
        (0x02, Verdict::Drop),
        (0x12, Verdict::Pass),
        (0x10, Verdict::Pass),
        (0x42, Verdict::Drop),
    ] {
        assert_eq!(rig.verdict(&ipv4(6, &tcp_header(80, flags))), verdict);
    }
}

/// V168: a rule for clear packets leaves decrypted ones alone.
#[test]
fn meta_tells_clear_from_decrypted() {
    let rig = Rig::ready();
    rig.group(0, 1);
    let [eth, ip] = build::ip(false, 17);
    let clear = [eth.clone(), Part::new(Kind::XMeta).with(0, &[0]), ip];
    rig.classifier(0, &clear);
    rig.rule(0, hdr(0, 0, 1, Action::Drop), &clear);
    let frame = ipv4(17, &udp_header(53));
    assert_eq!(rig.verdict(&frame), Verdict::Drop);
    assert_eq!(rig.verdict_of(&frame, Some(4)), Verdict::Pass);
    // One SA.
    let of_sa = [
        eth,
        Part::new(Kind::XMeta).with(0, &[1, 0, 2, 4, 0, 0, 0, 5]),
    ];
    rig.classifier(1, &of_sa);
    rig.rule(1, hdr(0, 1, 0, Action::Drop), &of_sa);
    assert_eq!(rig.verdict_of(&frame, Some(4)), Verdict::Pass);
    assert_eq!(rig.verdict_of(&frame, Some(5)), Verdict::Drop);
}

/// As many rules and tables as there can be.
fn crowded() -> Rig {
    let rig = Rig::ready();
    for group in 0..16 {
        rig.group(group, group as u16);
    }
    let [eth, ip] = build::ip(false, 6);
    for classifier in 0..64 {
        // Everything is selected, so that a packet costs most.
        let all = Part::new(Kind::Tcp).with(0, &[0; 20]);
        rig.classifier(
            classifier,
            &[eth.clone(), ip.clone().with(12, &[0; 8]), all],
        );
    }
    for id in 0..1024u32 {
        let [a, b] = (id as u16).to_be_bytes();
        let key = Part::new(Kind::Tcp).with(0, &[a, b]);
        let parts = [eth.clone(), ip.clone(), key];
        rig.rule(id, hdr(id % 16, id / 16 % 4, 1, Action::Drop), &parts);
    }
    rig
}

/// A guest cannot make packets cost more than a look into each of 64 tables.
#[test]
fn the_cost_of_a_packet_has_a_bound() {
    let rig = crowded();
    let matcher = rig.filter.current().unwrap();
    assert_eq!(matcher.tables(), MAX_TABLES);
    let [eth, ip] = build::ip(false, 6);
    let parts = [eth, ip, Part::new(Kind::Tcp)];
    let rule = |group, classifier| build::rule(hdr(group, classifier, 1, Action::Drop), &parts);
    // A pair of a group and a classifier that is new.
    assert_eq!(rig.modify(OBJ_RULE, 0, &rule(0, 4)), FULL);
    assert_eq!(rig.destroy(OBJ_RULE, 0), DONE);
    assert_eq!(rig.create(OBJ_RULE, 0, &rule(0, 4)), FULL);
    // One that is there already.
    assert_eq!(rig.create(OBJ_RULE, 0, &rule(1, 0)), DONE);
    // A table that is empty makes room.
    for id in (0..1024).filter(|id| id % 64 == 15) {
        assert_eq!(rig.destroy(OBJ_RULE, id), DONE);
    }
    assert_eq!(rig.filter.current().unwrap().tables(), MAX_TABLES - 1);
    assert_eq!(rig.create(OBJ_RULE, 15, &rule(0, 4)), DONE);

    // EtherType, protocol, addresses, and all of TCP.
    let frame = ipv4(6, &tcp_header(80, 2));
    let cost = steps::of(|| assert_eq!(rig.verdict(&frame), Verdict::Pass));
    assert_eq!(cost, [MAX_TABLES, MAX_TABLES * (2 + 1 + 8 + 20), 1024 - 15]);
    let cost = steps::of(|| assert_eq!(rig.verdict(&frame), Verdict::Pass));
    assert_eq!(cost[2], 0, "the tables are made once");
    // What is no TCP has nothing to be compared.
    let other = ipv4(17, &udp_header(80));
    let cost = steps::of(|| assert_eq!(rig.verdict(&other), Verdict::Pass));
    assert_eq!(cost, [MAX_TABLES, 0, 0]);
}

/// However often a guest changes its rules: the tables are made when packets come, once for all changes.
#[test]
fn changes_cost_nothing_until_packets_come() {
    let rig = esp_rig();
    let parts = build::esp(false, 7);
    for id in 0..100 {
        rig.rule(id, hdr(0, 0, 1, Action::Drop), &build::esp(false, id));
    }
    let changes = || {
        for round in 0..1000 {
            let rule = build::rule(hdr(0, 0, (round % 200) as u8, Action::Ipsec), &parts);
            assert_eq!(rig.modify(OBJ_RULE, round % 100, &rule), DONE);
        }
    };
    assert_eq!(steps::of(changes), [0; 3]);
    let frame = ipv4(50, &esp_header(7));
    let cost = steps::of(|| {
        let matcher = rig.filter.current().unwrap();
        for _ in 0..3 {
            assert_eq!(matcher.verdict(&frame.clone().into(), None), Verdict::Ipsec);
        }
    });
    assert_eq!(cost, [3, 3 * (2 + 1 + 4), 100]);
}

/// Many rules with one classifier are one table.
#[test]
fn the_number_of_rules_costs_nothing() {
    let rig = esp_rig();
    for id in 0..1024 {
        let parts = build::esp(false, 0x1000 + id);
        rig.rule(id, hdr(0, 0, (id % 255) as u8, Action::Ipsec), &parts);
    }
    assert_eq!(rig.filter.current().unwrap().tables(), 1);
    for id in [0, 1023] {
        let frame = ipv4(50, &esp_header(0x1000 + id));
        let cost = steps::of(|| assert_eq!(rig.verdict(&frame), Verdict::Ipsec));
        assert_eq!(cost[..2], [1, 2 + 1 + 4]);
    }
    assert_eq!(rig.verdict(&ipv4(50, &esp_header(0x1400))), Verdict::Pass);
}
