// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The matcher against a model that compares a packet with one rule after the other.

use super::*;
use proptest::prelude::*;

/// A rule of the model.
#[derive(Clone, Debug)]
struct Modelled {
    group: u32,
    priority: u8,
    queue: u16,
    parts: Vec<Part>,
}

/// The bytes of a frame from its Ethernet header on, one header behind the other, as a selector of each
/// kind would have them: the frames of these tests have no options and no extension headers.
fn header(frame: &[u8], kind: Kind) -> Option<&[u8]> {
    let v6 = frame[12] == 0x86;
    let (ip, protocol) = match v6 {
        false => (20, frame[14 + 9]),
        true => (40, frame[14 + 6]),
    };
    let (at, there) = match kind {
        Kind::Eth => (0, true),
        Kind::Ipv4 => (14, !v6),
        Kind::Ipv6 => (14, v6),
        Kind::Tcp => (14 + ip, protocol == 6),
        Kind::Udp => (14 + ip, protocol == 17),
        Kind::Esp => (14 + ip, protocol == 50),
        Kind::XMeta => return None,
    };
    frame.get(at..at + kind.len()).filter(|_| there)
}

fn meets(rule: &Modelled, frame: &[u8]) -> bool {
    rule.parts.iter().all(|part| {
        let (mask, key) = part.mask_and_key();
        let Some(header) = header(frame, part.kind()) else {
            return false;
        };
        let bits = mask.iter().zip(key).zip(header);
        bits.into_iter()
            .all(|((mask, key), byte)| byte & mask == key & mask)
    })
}

/// What may happen to a frame: among equal rules of a group the order is not said. Group 1 is higher than
/// group 0.
fn model(rules: &[Modelled], frame: &[u8]) -> Vec<Verdict> {
    for group in [1, 0] {
        let met = || {
            rules
                .iter()
                .filter(|rule| rule.group == group && meets(rule, frame))
        };
        if let Some(highest) = met().map(|rule| rule.priority).max() {
            let best = met().filter(|rule| rule.priority == highest);
            return best.map(|rule| Verdict::Queue(rule.queue)).collect();
        }
    }
    vec![Verdict::Pass]
}

/// Frames of few values, so that rules are met.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop::sample::select(vec![6u8, 17, 50, 1]);
    (any::<bool>(), protocol, 0u8..3, 0u16..3, 0u8..2).prop_map(
        |(v6, protocol, last, port, mac)| {
            let payload = match protocol {
                6 => tcp_header(port, 2),
                17 => udp_header(port),
                50 => esp_header(port.into()),
                _ => vec![8; 8],
            };
            let mut frame = match v6 {
                false => ipv4(protocol, &payload),
                true => ipv6(protocol, &payload),
            };
            let address = if v6 { 14 + 39 } else { 14 + 19 };
            (frame[address], frame[5]) = (last, mac);
            frame
        },
    )
}

/// Which of its headers, addresses, ports and bits a rule selects of the frame that it is made after.
fn rules() -> impl Strategy<Value = Modelled> {
    let select = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
    );
    (frames(), select, 0u32..2, 0u8..4, 0u16..8, 1usize..4).prop_map(
        |(frame, (mac, address, port, part, bits), group, priority, queue, depth)| {
            let v6 = frame[12] == 0x86;
            let protocol = frame[if v6 { 20 } else { 23 }];
            let [mut eth, mut ip] = build::ip(v6, protocol);
            if mac {
                eth = eth.with(5, &frame[5..6]);
            }
            let at = if v6 { 39 } else { 19 };
            let byte = &frame[14 + at..14 + at + 1];
            if address {
                ip = ip.with(at, byte);
            } else if part {
                ip = ip.masked(at, byte, &[bits]);
            }
            let l4 = match protocol {
                6 => Some(Kind::Tcp),
                17 => Some(Kind::Udp),
                50 => Some(Kind::Esp),
                _ => None,
            };
            let start = if v6 { 54 } else { 34 };
            let l4 = l4.map(|kind| match port {
                true => Part::new(kind).with(2, &frame[start + 2..start + 4]),
                false => Part::new(kind),
            });
            let parts = [Some(eth), Some(ip), l4].into_iter().flatten().take(depth);
            Modelled {
                group,
                priority,
                queue: queue / 2 * 2,
                parts: parts.collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn rules_are_met_as_one_after_the_other(
        rules in prop::collection::vec(rules(), 0..24),
        frames in prop::collection::vec(frames(), 1..20),
    ) {
        let rig = Rig::new(Terms { pairs: 4, ..TERMS });
        prop_assert_eq!(build::set_up(|command| rig.execute(command)), Ok(()));
        rig.group(0, 1);
        rig.group(1, 2);
        let mut classifiers = Vec::new();
        for (id, rule) in (0..).zip(&rules) {
            let data = build::classifier(&rule.parts);
            let known = classifiers.iter().position(|known| *known == data);
            let classifier = known.unwrap_or_else(|| {
                rig.classifier(classifiers.len() as u32, &rule.parts);
                classifiers.push(data);
                classifiers.len() - 1
            });
            let mut one = hdr(rule.group, classifier as u32, rule.priority, Action::Queue);
            one.vq_index = rule.queue.into();
            rig.rule(id, one, &rule.parts);
        }
        for frame in &frames {
            let verdict = rig.verdict(frame);
            let allowed = model(&rules, frame);
            prop_assert!(allowed.contains(&verdict), "{:?} not in {:?}", verdict, allowed);
        }
    }

    #[test]
    fn any_frame_is_looked_at(
        frame in prop::collection::vec(any::<u8>(), 0..120),
        kind in prop::sample::select(vec![[8, 0, 0x45], [8, 0, 0x4f], [0x86, 0xdd, 0x60]]),
        sa in prop::option::of(any::<u32>()),
    ) {
        let rig = esp_rig();
        rig.rule(0, hdr(0, 0, 1, Action::Drop), &build::esp(false, 7));
        let mut frame = frame;
        if let Some(start) = frame.get_mut(12..15) {
            start.copy_from_slice(&kind);
        }
        rig.verdict_of(&frame, sa);
    }
}
