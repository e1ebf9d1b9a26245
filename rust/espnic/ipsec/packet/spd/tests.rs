// SPDX-License-Identifier: GPL-2.0

//! Tests of which SA an outgoing packet gets.

use super::{
    super::{
        policy::{
            fixture::{
                kill,
                of,
                transport, //
            },
            Action, //
        },
        sa::{
            Parameters,
            Sa, //
        }, //
    },
    Found,
    Policies,
    Sas,
    YOUNG_MAX, //
};
use espnic_esp::{
    ip::{
        Address,
        Ports, //
    },
    selector::{
        Flow,
        Seen,
        Selector, //
    },
    upper::Fragment, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::{
    Direction,
    Handle, //
};

fn address(last: u8) -> Address {
    Address {
        family: 4,
        bytes: [10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// From 10.0.0.1 to 10.0.0.2.
fn flow(protocol: u8) -> Flow {
    Flow {
        src: address(1),
        dst: address(2),
        protocol: Some(protocol),
        ports: Seen::Ports(Ports { src: 1, dst: 2 }),
        fragment: Fragment::No,
    }
}

/// The SA `number` in transport mode.
fn sa(number: u64, spi: u32, reqid: u32, protocol: u8) -> Result<Arc<Sa>> {
    let parameters = Parameters {
        handle: Handle {
            id: number as u32,
            direction: Direction::Out,
            generation: 1,
        },
        number,
        spi,
        reqid,
        tunnel: false,
        src: address(1),
        dst: address(2),
        in_udp: false,
        selector: Selector {
            protocol,
            ..Selector::default()
        },
        first: 0,
        seen: number,
    };
    Arc::pin_init(Sa::new(parameters), GFP_KERNEL)
}

fn sas(list: &[&Arc<Sa>]) -> Result<Sas> {
    let mut out = KVVec::new();
    for &sa in list {
        out.push(sa.clone(), GFP_KERNEL)?;
    }
    Sas::new(out, KVVec::new())
}

/// The SPI of the SA for a packet.
fn found(sas: &Sas, reqid: u32, flow: &Flow) -> Option<u32> {
    sas.at(sas.outbound(&transport(reqid), flow)?)
        .map(|sa| sa.spi)
}

#[kunit_tests(espnic_ipsec_spd)]
mod cases {
    use super::*;

    #[test]
    fn what_counts_when_policies_die() -> Result {
        let policy = |priority, action| of(Direction::Out, priority, Selector::default(), action);
        let (first, last) = (
            policy(2, Action::Protect(transport(7)))?,
            policy(4, Action::Hole)?,
        );
        let mut list = KVVec::new();
        list.push(first.clone(), GFP_KERNEL)?;
        list.push(last.clone(), GFP_KERNEL)?;
        let policies = Policies::new(list)?;
        let flow = flow(6);
        let priority = || match policies.find(&flow) {
            Found::Policy(policy) => policy.priority,
            _ => 0,
        };
        assert_eq!(priority(), 2);
        kill(&first);
        assert_eq!(priority(), 4);
        kill(&last);
        assert_eq!(priority(), 0);
        Ok(())
    }

    #[test]
    fn parts_grow() -> Result {
        const COUNT: u32 = 700;
        let mut policies = Policies::new(KVVec::new())?;
        for priority in 0..COUNT {
            // Of two that are next to each other the younger one has the lower number.
            let policy = of(
                Direction::Out,
                priority ^ 1,
                Selector::default(),
                Action::Hole,
            )?;
            policies = policies.with(policy)?;
            assert!(policies.parts.len() <= 3);
        }
        let sizes = policies.parts.iter().map(|part| part.list.len());
        let all = sizes.fold(policies.young.list.len(), |sum, len| sum + len);
        assert_eq!(all, COUNT as usize);
        assert!(policies.young.list.len() <= YOUNG_MAX);
        for priority in 0..COUNT {
            let found = policies.find(&flow(6));
            assert!(matches!(found, Found::Policy(first) if first.priority == priority));
            if let Found::Policy(first) = found {
                kill(first);
            }
        }
        Ok(())
    }

    #[test]
    fn the_newest_of_the_policys_id() -> Result {
        let (old, new, other) = (sa(1, 11, 7, 0)?, sa(2, 12, 7, 0)?, sa(3, 13, 8, 0)?);
        let sas = sas(&[&old, &other, &new])?;
        assert_eq!(found(&sas, 7, &flow(6)), Some(12));
        assert_eq!(found(&sas, 8, &flow(6)), Some(13));
        assert_eq!(found(&sas, 9, &flow(6)), None);
        new.kill();
        assert_eq!(found(&sas, 7, &flow(6)), Some(11));
        old.kill();
        assert_eq!(found(&sas, 7, &flow(6)), None);
        Ok(())
    }

    #[test]
    fn a_copy_of_an_sa_waits_for_its_end() -> Result {
        let (first, copy) = (sa(1, 11, 7, 0)?, sa(2, 11, 7, 0)?);
        let both = sas(&[&copy, &first])?;
        let id = |sas: &Sas| {
            let place = sas.outbound(&transport(7), &flow(6))?;
            sas.at(place).map(|sa| sa.handle.id)
        };
        assert_eq!(id(&both), Some(1));
        assert_eq!(id(&sas(&[&copy])?), Some(2));
        Ok(())
    }

    #[test]
    fn only_what_the_sa_is_for() -> Result {
        let udp_only = sa(1, 11, 7, 17)?;
        let sas = sas(&[&udp_only])?;
        assert_eq!(found(&sas, 7, &flow(17)), Some(11));
        assert_eq!(found(&sas, 7, &flow(6)), None);
        let elsewhere = Flow {
            dst: address(3),
            ..flow(17)
        };
        assert_eq!(found(&sas, 7, &elsewhere), None);
        let hidden = Flow {
            protocol: None,
            ports: Seen::Nothing,
            ..flow(17)
        };
        assert_eq!(found(&sas, 7, &hidden), None);
        Ok(())
    }

    #[test]
    fn inbound_ones_by_destination_and_spi() -> Result {
        let (one, other) = (sa(1, 11, 7, 0)?, sa(2, 12, 7, 0)?);
        let mut list = KVVec::new();
        list.push(one.clone(), GFP_KERNEL)?;
        list.push(other, GFP_KERNEL)?;
        let sas = Sas::new(KVVec::new(), list)?;
        let (here, there) = (address(2), address(3));
        assert_eq!(sas.inbound_to(&here, None).count(), 2);
        assert_eq!(sas.inbound_to(&there, None).count(), 0);
        for (spi, count) in [(10, 0), (11, 1), (12, 1), (13, 0)] {
            assert_eq!(sas.inbound_to(&here, Some(spi)).count(), count);
            assert_eq!(sas.inbound_to(&there, Some(spi)).count(), 0);
        }
        one.kill();
        assert_eq!(sas.inbound_to(&here, None).count(), 1);
        Ok(())
    }

    #[test]
    fn what_was_seen_under_a_name() -> Result {
        let mut list = KVVec::new();
        let dead = sa(9, 11, 7, 0)?;
        for one in [
            sa(4, 12, 7, 0)?,
            sa(3, 11, 8, 0)?,
            sa(2, 11, 7, 0)?,
            sa(1, 11, 7, 0)?,
        ] {
            list.push(one, GFP_KERNEL)?;
        }
        list.push(dead.clone(), GFP_KERNEL)?;
        let sas = Sas::new(KVVec::new(), list)?;
        assert_eq!(sas.highest_seen(7, 11), Some(9));
        dead.kill();
        let names = [(7, 11), (7, 12), (8, 11), (7, 10), (6, 11), (9, 11)];
        let seen = names.map(|(reqid, spi)| sas.highest_seen(reqid, spi));
        assert_eq!(seen, [Some(2), Some(4), Some(3), None, None, None]);
        Ok(())
    }
}
