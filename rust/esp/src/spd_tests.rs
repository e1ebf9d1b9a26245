// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The index against asking every policy.

use super::*;
use crate::ip::{Address, Ports};
use crate::selector::PortMask;
use crate::upper::Fragment;
use proptest::prelude::*;

/// An index with its memory.
struct Spd {
    entries: Vec<Entry>,
    groups: Vec<Group>,
}

impl Spd {
    fn new(policies: &[(Selector, u32)]) -> Self {
        let mut entries: Vec<_> = (0..)
            .zip(policies)
            .map(|(number, (selector, priority))| Entry::new(selector, *priority, number))
            .collect();
        let mut groups = Vec::new();
        build(&mut entries, |group| {
            groups.push(group);
            Ok::<_, ()>(())
        })
        .unwrap();
        arrange(&mut groups);
        Self { entries, groups }
    }

    fn index(&self) -> Index<'_> {
        Index {
            entries: &self.entries,
            groups: &self.groups,
        }
    }

    fn find(&self, flow: &Flow) -> Verdict {
        self.index().find(flow, |_| true)
    }
}

fn v4(bytes: [u8; 4]) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&bytes);
    address
}

fn flow(dst: [u8; 4], protocol: u8, dst_port: u16) -> Flow {
    let address = |bytes| Address {
        family: 4,
        bytes: v4(bytes),
    };
    Flow {
        src: address([10, 0, 0, 1]),
        dst: address(dst),
        protocol: Some(protocol),
        ports: Seen::Ports(Ports {
            src: 1024,
            dst: dst_port,
        }),
        fragment: Fragment::No,
    }
}

fn to(dst: [u8; 4], dst_len: u8) -> Selector {
    Selector {
        family: 4,
        dst: v4(dst),
        dst_len,
        ..Selector::default()
    }
}

fn ike(dst: [u8; 4], dst_len: u8) -> Selector {
    Selector {
        protocol: 17,
        dst_port: PortMask {
            port: 500,
            mask: 0xffff,
        },
        ..to(dst, dst_len)
    }
}

#[test]
fn an_empty_index_has_no_policy() {
    assert_eq!(
        Spd::new(&[]).find(&flow([10, 0, 0, 2], 6, 80)),
        Verdict::None
    );
}

#[test]
fn a_hole_for_ike_beats_the_tunnel_by_its_priority() {
    let spd = Spd::new(&[(to([10, 0, 0, 0], 24), 10), (ike([0; 4], 0), 5)]);
    assert_eq!(spd.find(&flow([10, 0, 0, 2], 17, 500)), Verdict::Policy(1));
    assert_eq!(spd.find(&flow([10, 0, 0, 2], 17, 501)), Verdict::Policy(0));
    assert_eq!(spd.find(&flow([10, 0, 0, 2], 6, 500)), Verdict::Policy(0));
    assert_eq!(spd.find(&flow([10, 0, 1, 2], 6, 500)), Verdict::None);
    // The other way round the hole is never reached.
    let spd = Spd::new(&[(to([10, 0, 0, 0], 24), 5), (ike([0; 4], 0), 10)]);
    assert_eq!(spd.find(&flow([10, 0, 0, 2], 17, 500)), Verdict::Policy(0));
    assert_eq!(spd.find(&flow([10, 0, 1, 2], 17, 500)), Verdict::Policy(1));
}

#[test]
fn the_older_of_two_equals_wins() {
    let (wide, narrow) = (to([10, 0, 0, 0], 24), to([10, 0, 0, 2], 32));
    for policies in [[(wide, 7), (narrow, 7)], [(narrow, 7), (wide, 7)]] {
        let spd = Spd::new(&policies);
        assert_eq!(spd.find(&flow([10, 0, 0, 2], 6, 1)), Verdict::Policy(0));
    }
}

#[test]
fn a_dead_policy_gives_way_to_the_next() {
    let same = to([10, 0, 0, 0], 24);
    let spd = Spd::new(&[(same, 7), (same, 7), (to([0; 4], 0), 9)]);
    let packet = flow([10, 0, 0, 2], 6, 1);
    let without = |dead: &[u32]| spd.index().find(&packet, |number| !dead.contains(&number));
    assert_eq!(without(&[]), Verdict::Policy(0));
    assert_eq!(without(&[0]), Verdict::Policy(1));
    assert_eq!(without(&[0, 1]), Verdict::Policy(2));
    assert_eq!(without(&[0, 1, 2]), Verdict::None);
}

#[test]
fn a_packet_without_ports_is_unclear_unless_something_better_is_clear() {
    let hidden = Flow {
        ports: Seen::Nothing,
        fragment: Fragment::Later,
        ..flow([10, 0, 0, 2], 17, 0)
    };
    let (tunnel, hole) = (to([10, 0, 0, 0], 24), ike([10, 0, 0, 0], 24));
    assert_eq!(
        Spd::new(&[(tunnel, 5), (hole, 9)]).find(&hidden),
        Verdict::Policy(0)
    );
    assert_eq!(
        Spd::new(&[(tunnel, 9), (hole, 5)]).find(&hidden),
        Verdict::Unclear
    );
    let tcp = Flow {
        protocol: Some(6),
        ..hidden
    };
    assert_eq!(
        Spd::new(&[(tunnel, 9), (hole, 5)]).find(&tcp),
        Verdict::Policy(0)
    );
    let nothing = Flow {
        protocol: None,
        ..hidden
    };
    assert_eq!(Spd::new(&[(hole, 5)]).find(&nothing), Verdict::Unclear);
    assert_eq!(Spd::new(&[(tunnel, 5)]).find(&nothing), Verdict::Policy(0));
}

#[test]
fn there_is_one_group_for_each_mask() {
    let many = |len| (0..100).map(move |n| (to([10, 0, n, 1], len), u32::from(n)));
    let spd = Spd::new(&many(32).chain(many(24)).collect::<Vec<_>>());
    assert_eq!(spd.groups.len(), 2);
    assert_eq!(spd.find(&flow([10, 0, 42, 1], 6, 1)), Verdict::Policy(42));
    assert_eq!(spd.find(&flow([10, 0, 42, 2], 6, 1)), Verdict::Policy(142));
}

#[test]
fn a_prefix_longer_than_the_address_is_for_no_packet() {
    let mut selector = to([10, 0, 0, 2], 33);
    assert_eq!(
        Spd::new(&[(selector, 1)]).find(&flow([10, 0, 0, 2], 6, 1)),
        Verdict::None
    );
    selector.family = 0;
    assert_eq!(
        Spd::new(&[(selector, 1)]).find(&flow([10, 0, 0, 2], 6, 1)),
        Verdict::None
    );
}

/// Few values, so that packets and policies meet.
fn address() -> impl Strategy<Value = [u8; 16]> {
    (0u8..2, 0u8..3).prop_map(|(a, b)| v4([10, a, 0, b]))
}

fn port() -> impl Strategy<Value = PortMask> {
    (0u16..3, prop_oneof![Just(0), Just(0xffff), Just(2)])
        .prop_map(|(port, mask)| PortMask { port, mask })
}

fn selector() -> impl Strategy<Value = Selector> {
    let len = || prop_oneof![Just(0u8), Just(16), Just(32), Just(33)];
    let family = prop_oneof![Just(0u8), Just(4), Just(6)];
    let protocol = prop_oneof![Just(0u8), Just(6), Just(17)];
    (
        family,
        address(),
        len(),
        address(),
        len(),
        protocol,
        port(),
        port(),
    )
        .prop_map(
            |(family, src, src_len, dst, dst_len, protocol, src_port, dst_port)| Selector {
                family,
                src,
                src_len,
                dst,
                dst_len,
                protocol,
                src_port,
                dst_port,
            },
        )
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let family = prop_oneof![Just(4u8), Just(6)];
    let seen = prop_oneof![
        3 => (0u16..3, 0u16..3).prop_map(|(src, dst)| Seen::Ports(Ports { src, dst })),
        1 => Just(Seen::Nothing),
    ];
    let protocol = prop_oneof![Just(Some(6u8)), Just(Some(17)), Just(Some(1)), Just(None)];
    (family, address(), address(), protocol, seen).prop_map(|(family, src, dst, protocol, seen)| {
        Flow {
            src: Address { family, bytes: src },
            dst: Address { family, bytes: dst },
            protocol,
            // Who does not know the protocol knows no ports.
            ports: if protocol.is_some() {
                seen
            } else {
                Seen::Nothing
            },
            fragment: Fragment::No,
        }
    })
}

proptest! {
    #[test]
    fn the_index_says_what_the_policies_say(
        policies in proptest::collection::vec((selector(), 0u32..4), 0..24),
        flows in proptest::collection::vec(any_flow(), 1..8),
    ) {
        let spd = Spd::new(&policies);
        for flow in &flows {
            let each = policies.iter().map(|(selector, priority)| (selector, *priority));
            prop_assert_eq!(spd.find(flow), ask_each(each, flow));
        }
    }

    #[test]
    fn dead_policies_count_as_if_they_were_not_there(
        policies in proptest::collection::vec((selector(), 0u32..4, any::<bool>()), 0..24),
        flow in any_flow(),
    ) {
        // A packet that hides something may be unclear because of a dead policy.
        prop_assume!(flow.ports != Seen::Nothing);
        let all: Vec<_> = policies.iter().map(|(selector, priority, _)| (*selector, *priority)).collect();
        let alive: Vec<_> = (0u32..).zip(&policies).filter(|(_, policy)| policy.2).collect();
        let each = alive.iter().map(|(_, (selector, priority, _))| (selector, *priority));
        let expected = match ask_each(each, &flow) {
            Verdict::Policy(nth) => Verdict::Policy(alive[nth as usize].0),
            other => other,
        };
        let found = Spd::new(&all).index().find(&flow, |number| policies[number as usize].2);
        prop_assert_eq!(found, expected);
    }
}
