// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Headers and trailers to the byte, and what cannot be sent.

use super::*;
use crate::checksum::is_right;
use crate::ds::{CE, ECT_0, ECT_1};
use crate::upper::tests::{extension, fragment, ipv6 as v6_packet};
use proptest::prelude::*;

pub(crate) const AEAD: Layout = Layout::aead(16);
pub(crate) const CBC: Layout = Layout {
    iv_len: 16,
    icv_len: 12,
    block: 16,
};
pub(crate) const NUMBER: Number = Number {
    seq: 0x5_1234_5678,
    id: 0xabcd,
};

/// UDP from port 5 to port 7 with ten bytes over IPv4, its checksum right.
pub(crate) fn v4_packet(class: u8, flags: u16) -> Vec<u8> {
    let mut packet = vec![0x45, class, 0, 38, 0x11, 0x22];
    packet.extend(flags.to_be_bytes());
    packet.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    complete_ipv4(&mut packet);
    packet.extend([0, 5, 0, 7, 0, 18, 0, 0]);
    packet.extend(0..10);
    packet
}

pub(crate) fn outer_v4() -> Tunnel {
    Tunnel {
        outer: Outer::V4 {
            src: [192, 0, 2, 1],
            dst: [192, 0, 2, 2],
            df: Field::Copy,
        },
        hop_limit: 64,
        dscp: Field::Copy,
        ecn: true,
        dec_ttl: false,
    }
}

pub(crate) fn outer_v6() -> Tunnel {
    Tunnel {
        outer: Outer::V6 {
            src: [0x11; 16],
            dst: [0x22; 16],
            label: Field::Copy,
        },
        ..outer_v4()
    }
}

pub(crate) fn template(tunnel: Option<Tunnel>, udp: bool) -> Template {
    Template {
        tunnel,
        udp: udp.then_some(Ports {
            src: 4500,
            dst: 4501,
        }),
        spi: 0x0102_0304,
        layout: AEAD,
    }
}

pub(crate) fn wrap(template: &Template, packet: &[u8]) -> Result<(Plan, Vec<u8>), Error> {
    let plan = template.plan(packet)?;
    let mut buffer = vec![0xee; plan.len];
    buffer[plan.room..][..plan.packet_len].copy_from_slice(&packet[..plan.packet_len]);
    template.wrap(&plan, &NUMBER, &mut buffer)?;
    Ok((plan, buffer))
}

/// What the stack's own ESP sends with the same SA: the class of the packet, DF as the packet has it, no
/// identification then, padding that counts.
#[test]
fn ipv4_in_ipv4_is_that_of_the_stack() {
    let inner = v4_packet(0xb8 | ECT_0, 0x4000);
    let (plan, packet) = wrap(&template(Some(outer_v4()), false), &inner).unwrap();
    assert_eq!((plan.room, plan.esp, plan.packet_len), (36, 20, 38));
    // 38 + 2 is a multiple of four.
    assert_eq!((plan.trailer_len, plan.len), (2 + 16, 36 + 38 + 18));
    let header = [
        0x45, 0xba, 0, 92, 0, 0, 0x40, 0, 64, 50, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
    ];
    assert_eq!(packet[..10], header[..10]);
    assert_eq!(packet[12..20], header[12..]);
    assert_eq!(Sum::of(&packet[..20]).folded(), 0xffff);
    assert_eq!(packet[20..28], [1, 2, 3, 4, 0x12, 0x34, 0x56, 0x78]);
    assert_eq!(packet[28..36], [0xee; 8]);
    assert_eq!(packet[36..74], inner);
    assert_eq!(packet[74..76], [0, 4]);
    assert_eq!(packet[76..], [0xee; 16]);
    assert!(!plan.needs_id);
}

#[test]
fn ipv6_in_ipv6_is_that_of_the_stack() {
    let mut inner = v6_packet(59, &[]);
    inner[..4].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
    let (plan, packet) = wrap(&template(Some(outer_v6()), false), &inner).unwrap();
    assert_eq!((plan.room, plan.esp), (56, 40));
    // Two bytes of padding.
    assert_eq!((plan.trailer_len, plan.len), (4 + 16, 56 + 40 + 20));
    assert_eq!(packet[..8], [0x6a, 0xbc, 0xde, 0xf1, 0, 76, 50, 64]);
    assert_eq!(packet[8..24], [0x11; 16]);
    assert_eq!(packet[24..40], [0x22; 16]);
    assert_eq!(packet[56..96], inner);
    assert_eq!(packet[96..100], [1, 2, 2, 41]);
}

#[test]
fn families_may_differ() {
    let (_, packet) = wrap(&template(Some(outer_v6()), false), &v4_packet(0xb9, 0)).unwrap();
    // An IPv4 packet has no flow label.
    assert_eq!(packet[..4], [0x6b, 0x90, 0, 0]);
    assert_eq!(packet[56 + 38 + 1], 4);
    for (len, flags) in [(1280, 0), (1281, 0x4000)] {
        let inner = v6_packet(17, &vec![0; len - 40]);
        let (plan, packet) = wrap(&template(Some(outer_v4()), false), &inner).unwrap();
        assert_eq!(be16(&packet, 6), Some(flags), "{len}");
        assert_eq!(plan.needs_id, flags == 0);
    }
}

#[test]
fn dont_fragment_is_copied_set_or_cleared() {
    for (df, flags, expected) in [
        (Field::Copy, 0x4000, true),
        (Field::Copy, 0, false),
        // A fragment may be cut again.
        (Field::Copy, 0x2000, false),
        (Field::Set(true), 0, true),
        (Field::Set(false), 0x4000, false),
    ] {
        let mut tunnel = outer_v4();
        if let Outer::V4 { df: field, .. } = &mut tunnel.outer {
            *field = df;
        }
        let (plan, packet) = wrap(&template(Some(tunnel), false), &v4_packet(0, flags)).unwrap();
        let (id, flags) = if expected {
            (0, 0x4000)
        } else {
            (NUMBER.id, 0)
        };
        assert_eq!(
            (be16(&packet, 4), be16(&packet, 6)),
            (Some(id), Some(flags))
        );
        assert_eq!(plan.needs_id, !expected);
    }
    let (plan, _) = wrap(&template(Some(outer_v6()), false), &v4_packet(0, 0)).unwrap();
    assert!(!plan.needs_id);
}

#[test]
fn the_class_is_copied_or_set() {
    for (dscp, ecn, inner, expected) in [
        (Field::Copy, true, 0xb8 | CE, 0xb8 | CE),
        (Field::Copy, true, 0xb8 | ECT_1, 0xb8 | ECT_1),
        (Field::Copy, false, 0xb8 | CE, 0xb8),
        (Field::Set(10), true, 0xb8 | ECT_0, 40 | ECT_0),
        (Field::Set(63), false, 0xff, 0xfc),
        (Field::Set(0), true, 0xfc, 0),
    ] {
        for outer in [outer_v4(), outer_v6()] {
            let tunnel = Tunnel { dscp, ecn, ..outer };
            let (plan, packet) =
                wrap(&template(Some(tunnel), false), &v4_packet(inner, 0)).unwrap();
            assert_eq!(ds::read(&packet, plan.v6), Some(expected));
        }
    }
}

#[test]
fn the_label_is_copied_or_set() {
    for (label, expected) in [
        (Field::Copy, 0xc_def1),
        (Field::Set(0x12345), 0x12345),
        (Field::Set(u32::MAX), 0xf_ffff),
    ] {
        let mut tunnel = outer_v6();
        if let Outer::V6 { label: field, .. } = &mut tunnel.outer {
            *field = label;
        }
        let mut inner = v6_packet(59, &[]);
        inner[..4].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
        let (_, packet) = wrap(&template(Some(tunnel), false), &inner).unwrap();
        assert_eq!(be32(&packet, 0), Some(0x6ab0_0000 | expected));
    }
}

#[test]
fn a_tunnel_may_be_a_hop() {
    let tunnel = Tunnel {
        dec_ttl: true,
        ..outer_v4()
    };
    let template = template(Some(tunnel), false);
    let (plan, packet) = wrap(&template, &v4_packet(0, 0)).unwrap();
    let inner = &packet[plan.room..][..20];
    assert_eq!((inner[8], Sum::of(inner).folded()), (63, 0xffff));
    assert_eq!(packet[8], 64);
    let (plan, packet) = wrap(&template, &v6_packet(59, &[])).unwrap();
    assert_eq!(packet[plan.room + 7], 63);
    for left in [0, 1, 2] {
        let (mut v4, mut v6) = (v4_packet(0, 0), v6_packet(59, &[]));
        (v4[8], v6[7]) = (left, left);
        for packet in [v4, v6] {
            let ends = template.plan(&packet) == Err(Error::HopLimit);
            assert_eq!(ends, left < 2);
        }
    }
}

#[test]
fn transport_mode_keeps_the_header() {
    let inner = v4_packet(0xb8, 0x4000);
    let (plan, packet) = wrap(&template(None, false), &inner).unwrap();
    // 18 + 2 is a multiple of four.
    assert_eq!((plan.room, plan.esp, plan.trailer_len), (16, 20, 18));
    assert_eq!(
        packet[..10],
        [0x45, 0xb8, 0, 72, 0x11, 0x22, 0x40, 0, 64, 50]
    );
    assert_eq!(packet[12..20], inner[12..20]);
    assert_eq!(Sum::of(&packet[..20]).folded(), 0xffff);
    assert_eq!(packet[20..28], [1, 2, 3, 4, 0x12, 0x34, 0x56, 0x78]);
    assert_eq!(packet[36..54], inner[20..]);
    assert_eq!(packet[54..56], [0, 17]);
}

#[test]
fn transport_mode_goes_behind_what_routers_read() {
    let options = extension(17, 0);
    let payload = [extension(43, 1), extension(60, 0), options, vec![9; 8]].concat();
    let inner = v6_packet(0, &payload);
    let (plan, packet) = wrap(&template(None, false), &inner).unwrap();
    assert_eq!((plan.room, plan.esp), (16, 64));
    assert_eq!(packet[..4], inner[..4]);
    assert_eq!(be16(&packet, 4), Some((plan.len - 40) as u16));
    assert_eq!(packet[6..56], inner[6..56]);
    assert_eq!((packet[56], &packet[57..64]), (50, &inner[57..64]));
    assert_eq!(packet[80..96], inner[64..80]);
    assert_eq!(packet[plan.len - 17], 60);
    // Options of an IPv4 header stay, too.
    let mut inner = v4_packet(0, 0);
    inner.splice(20..20, [1; 4]);
    (inner[0], inner[3]) = (0x46, 42);
    let (plan, packet) = wrap(&template(None, false), &inner).unwrap();
    assert_eq!((plan.esp, &packet[20..24]), (24, &[1; 4][..]));
    assert_eq!(Sum::of(&packet[..24]).folded(), 0xffff);
}

#[test]
fn fragments_go_through_tunnels_only() {
    let parts = [
        v4_packet(0, 0x2000),
        v4_packet(0, 3),
        v6_packet(44, &[fragment(17, 8, true), vec![0; 8]].concat()),
    ];
    for part in parts {
        assert!(template(Some(outer_v4()), false).plan(&part).is_ok());
        assert_eq!(template(None, false).plan(&part), Err(Error::Headers));
    }
}

#[test]
fn udp_goes_in_front_of_esp() {
    let inner = v4_packet(0, 0);
    for (tunnel, front) in [(Some(outer_v4()), 20), (Some(outer_v6()), 40), (None, 20)] {
        let template = template(tunnel, true);
        let (plan, mut packet) = wrap(&template, &inner).unwrap();
        assert_eq!(plan.esp, front + 8);
        let protocol = if plan.v6 { packet[6] } else { packet[9] };
        assert_eq!(protocol, 17);
        let [hi, lo] = ((plan.len - front) as u16).to_be_bytes();
        assert_eq!(
            packet[front..front + 8],
            [0x11, 0x94, 0x11, 0x95, hi, lo, 0, 0]
        );
        assert_eq!(packet[front + 8..front + 12], [1, 2, 3, 4]);
        let before = packet.clone();
        assert_eq!(template.finish(&plan, &mut packet), Ok(()));
        if plan.v6 {
            let sum = || Some(Sum::of(&[0x11; 16]).and(Sum::of(&[0x22; 16])));
            assert!(is_right(17, sum, &packet[front..]));
        } else {
            assert_eq!(packet, before, "no checksum over IPv4");
        }
        assert_eq!(template.finish(&plan, &mut packet[1..]), Err(Error::Buffer));
    }
    let template = template(Some(outer_v6()), false);
    let (plan, mut packet) = wrap(&template, &inner).unwrap();
    let before = packet.clone();
    assert_eq!(template.finish(&plan, &mut packet), Ok(()));
    assert_eq!(packet, before, "no UDP");
}

#[test]
fn nothing_is_longer_than_ip_can_be() {
    let of = |template: &Template, len: usize| {
        let mut inner = v4_packet(0, 0);
        inner.resize(len, 0);
        inner[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        template.plan(&inner).map(|plan| plan.len)
    };
    // 20 + 16 in front, 2 + 16 behind, and padding to multiples of four.
    let template_v4 = template(Some(outer_v4()), false);
    assert_eq!(of(&template_v4, 65_478), Ok(65_532));
    assert_eq!(of(&template_v4, 65_479), Err(Error::Length));
    // The outer header does not count.
    let template_v6 = template(Some(outer_v6()), false);
    assert_eq!(of(&template_v6, 65_498), Ok(65_572));
    assert_eq!(of(&template_v6, 65_499), Err(Error::Length));
    assert_eq!(of(&template(None, false), 65_502), Err(Error::Length));
}

#[test]
fn ethernet_padding_is_left_out() {
    let mut inner = v4_packet(0, 0);
    inner.extend([0; 8]);
    let plan = template(Some(outer_v4()), false).plan(&inner).unwrap();
    assert_eq!(plan.packet_len, 38);
}

#[test]
fn what_is_no_packet_is_refused() {
    let template = template(Some(outer_v4()), false);
    let whole = v4_packet(0, 0);
    for len in 0..whole.len() {
        assert_eq!(template.plan(&whole[..len]), Err(Error::Headers));
    }
    assert_eq!(template.plan(&[0x55; 60]), Err(Error::Headers));
    let cut = v6_packet(60, &[6, 9, 0, 0, 0, 0, 0, 0]);
    assert!(template.plan(&cut).is_ok());
    assert_eq!(
        super::tests::template(None, false).plan(&cut),
        Err(Error::Headers)
    );
}

#[test]
fn the_buffer_has_the_length_of_the_plan() {
    let template = template(Some(outer_v4()), false);
    let plan = template.plan(&v4_packet(0, 0)).unwrap();
    for len in [0, plan.len - 1, plan.len + 1] {
        let mut buffer = vec![0; len];
        assert_eq!(
            template.wrap(&plan, &NUMBER, &mut buffer),
            Err(Error::Buffer)
        );
    }
}

proptest! {
    /// Any block size: padding fills it and counts.
    #[test]
    fn padding_fills_blocks(len in 0usize..100, cbc: bool) {
        let layout = if cbc { CBC } else { AEAD };
        let template = Template { layout, ..template(Some(outer_v4()), false) };
        let (plan, packet) = wrap(&template, &v6_packet(17, &vec![7; len])).unwrap();
        let text = &packet[plan.esp + 8 + usize::from(layout.iv_len)..plan.len - usize::from(layout.icv_len)];
        prop_assert_eq!(text.len() % usize::from(layout.block), 0);
        let [padded @ .., pad_len, 41] = text else { panic!("{text:?}") };
        prop_assert!(*pad_len < layout.block);
        let padding = &padded[padded.len() - usize::from(*pad_len)..];
        prop_assert!(padding.iter().copied().eq(1..=*pad_len));
        prop_assert_eq!(padded.len() - padding.len(), 40 + len);
        prop_assert_eq!(plan.trailer_len, usize::from(*pad_len) + 2 + usize::from(layout.icv_len));
    }
}
