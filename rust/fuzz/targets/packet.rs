// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `rust/esp` has for packet offload: selectors, the replay window, and the way of a packet into ESP
//! and out again.

#![no_main]

use espnic_esp::decap::Rules;
use espnic_esp::encap::{Field, Number, Outer, Template, Tunnel};
use espnic_esp::engine::Layout;
use espnic_esp::ip::{Ip, Ports};
use espnic_esp::replay::{words, Verdict, Window, MAX_SIZE};
use espnic_esp::selector::{Flow, Match, PortMask, Selector};
use espnic_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

fn selecting(bytes: &mut Bytes<'_>) {
    let port = |bytes: &mut Bytes<'_>| PortMask {
        port: bytes.u16(),
        mask: bytes.choose(&[0, 0xff00, 0xffff]),
    };
    let narrow = Selector {
        family: bytes.choose(&[0, 4, 6]),
        src: bytes.array(),
        src_len: bytes.u8(),
        dst: bytes.array(),
        dst_len: bytes.u8(),
        protocol: bytes.u8(),
        src_port: port(bytes),
        dst_port: port(bytes),
    };
    let wide = Selector {
        protocol: 0,
        src_port: PortMask::default(),
        dst_port: PortMask::default(),
        ..narrow
    };
    let Some(flow) = Flow::of(bytes.rest()) else {
        return;
    };
    assert_eq!(Selector::default().matches(&flow), Match::Yes);
    // Addresses are always seen, and asking for more never lets more through.
    assert_ne!(wide.matches(&flow), Match::Unclear);
    assert!(narrow.matches(&flow) == Match::No || wide.matches(&flow) == Match::Yes);
    assert_eq!(flow.reversed().reversed(), flow);
}

fn layout(bytes: &mut Bytes<'_>) -> Layout {
    let cbc = Layout {
        iv_len: 16,
        icv_len: 12,
        block: 16,
    };
    bytes.choose(&[Layout::aead(16), Layout::aead(8), cbc])
}

fn stripping(bytes: &mut Bytes<'_>) {
    let rules = Rules {
        tunnel: bytes.u8() & 1 != 0,
        dscp: bytes.u8() & 1 != 0,
        ecn: bytes.u8() & 1 != 0,
        layout: layout(bytes),
    };
    let esp = bytes.u16().into();
    let mut packet = bytes.rest().to_vec();
    if let Ok(found) = rules.strip(&mut packet, esp) {
        let inner = &packet[found.range];
        let ip = Ip::whole(inner, 0).unwrap();
        assert_eq!((ip.end, ip.v6), (inner.len(), found.v6));
    }
}

fn template(bytes: &mut Bytes<'_>) -> Template {
    let field = |value: u32, copied: u8| match copied & 1 {
        0 => Field::Set(value),
        _ => Field::Copy,
    };
    let (kind, set, copied) = (bytes.u8(), bytes.u32(), bytes.u8());
    let outer = match kind % 3 {
        0 => None,
        1 => Some(Outer::V4 {
            src: bytes.array(),
            dst: bytes.array(),
            df: match copied & 3 {
                0 => Field::Set(false),
                1 => Field::Set(true),
                _ => Field::Copy,
            },
        }),
        _ => Some(Outer::V6 {
            src: bytes.array(),
            dst: bytes.array(),
            label: field(set, copied),
        }),
    };
    let tunnel = outer.map(|outer| Tunnel {
        outer,
        hop_limit: 64,
        dscp: match copied & 4 {
            0 => Field::Set(set as u8 & 63),
            _ => Field::Copy,
        },
        ecn: copied & 8 != 0,
        dec_ttl: false,
    });
    Template {
        tunnel,
        udp: (copied & 16 != 0).then_some(Ports {
            src: 4500,
            dst: 4500,
        }),
        spi: set,
        layout: layout(bytes),
    }
}

/// In and out again: the packet is the same, but for the checksum of an IPv4 header in transport mode, which
/// comes out right.
fn wrapping(bytes: &mut Bytes<'_>) {
    let template = template(bytes);
    let packet = bytes.rest();
    let Ok(plan) = template.plan(packet) else {
        return;
    };
    let mut buffer = vec![0xee; plan.len];
    buffer[plan.room..][..plan.packet_len].copy_from_slice(&packet[..plan.packet_len]);
    let number = Number { seq: 7, id: 9 };
    template.wrap(&plan, &number, &mut buffer).unwrap();
    template.finish(&plan, &mut buffer).unwrap();
    let outer = Ip::whole(&buffer, 0).unwrap();
    assert_eq!(outer.end, buffer.len());
    let rules = Rules {
        tunnel: template.tunnel.is_some(),
        dscp: false,
        ecn: true,
        layout: template.layout,
    };
    // A dummy packet, or next headers that end in the middle of themselves, come in but not out.
    let Ok(found) = rules.strip(&mut buffer, plan.esp) else {
        assert!(template.tunnel.is_none());
        return;
    };
    let inner = &mut buffer[found.range];
    if template.tunnel.is_none() && !found.v6 {
        inner[10..12].copy_from_slice(&packet[10..12]);
    }
    assert_eq!(inner, &packet[..plan.packet_len]);
}

fn replaying(bytes: &mut Bytes<'_>) {
    let size = u32::from(bytes.u16()) % (MAX_SIZE + 1);
    let start = bytes.u64() >> 1;
    let mut window = Window::new(size, true, start, vec![0; words(size).unwrap()]).unwrap();
    let (mut received, mut top) = (BTreeSet::new(), start);
    while !bytes.is_empty() {
        let step = i64::from(bytes.u16() as i16);
        let number = top.saturating_add_signed(step);
        let late = number == 0 || number + u64::from(size) <= top;
        let verdict = match (size, late, received.contains(&number)) {
            (0, ..) => Verdict::Fresh,
            (_, true, _) => Verdict::Late,
            (_, _, true) => Verdict::Replay,
            _ => Verdict::Fresh,
        };
        assert_eq!(window.accept(number), verdict);
        received.insert(number);
        top = top.max(number);
        assert_eq!(window.top(), top);
    }
    let mut bitmap = vec![0; size.div_ceil(32) as usize * 4];
    assert!(window.export(&mut bitmap));
    let mut other = window.clone();
    assert!(other.import(top, &bitmap));
    for number in top.saturating_sub(u64::from(size) + 2)..=top {
        assert_eq!(other.check(number), window.check(number));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    match bytes.u8() % 4 {
        0 => selecting(&mut bytes),
        1 => stripping(&mut bytes),
        2 => wrapping(&mut bytes),
        _ => replaying(&mut bytes),
    }
});
