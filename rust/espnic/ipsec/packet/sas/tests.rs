// SPDX-License-Identifier: GPL-2.0

//! Tests of which SA an outgoing packet gets.

use super::{
    super::{
        policy::fixture::{
            address,
            flow,
            transport, //
        },
        sa::{
            Parameters,
            Sa, //
        }, //
    },
    short,
    Sas, //
};
use espnic_esp::{
    ip::Address,
    selector::{
        Flow,
        Seen,
        Selector, //
    },
    sort, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::xfrm::{
    Direction,
    Handle, //
};

/// The outbound SA `number` in transport mode, to 10.0.0.2.
fn sa(number: u64, spi: u32, reqid: u32, protocol: u8) -> Result<Arc<Sa>> {
    sa_to(Direction::Out, address(2), number, spi, reqid, protocol)
}

/// An inbound one.
fn inbound(number: u64, spi: u32, reqid: u32) -> Result<Arc<Sa>> {
    sa_to(Direction::In, address(2), number, spi, reqid, 0)
}

fn sa_to(
    direction: Direction,
    dst: Address,
    number: u64,
    spi: u32,
    reqid: u32,
    protocol: u8,
) -> Result<Arc<Sa>> {
    let parameters = Parameters {
        handle: Handle {
            id: number as u32,
            direction,
            generation: 1,
        },
        number,
        spi,
        reqid,
        tunnel: false,
        src: address(1),
        dst,
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

/// So many that none is taken for dead.
const MANY: usize = 1 << 20;

fn sas(list: &[&Arc<Sa>]) -> Result<Sas> {
    let mut sas = Sas::empty()?;
    // By their age.
    for number in 0..10 {
        for &sa in list.iter().filter(|sa| sa.number == number) {
            sas = sas.with(&[sa.clone()], MANY)?;
        }
    }
    Ok(sas)
}

/// How many inbound SAs there are for packets to `dst`.
fn count(sas: &Sas, dst: &Address, spi: Option<u32>) -> u32 {
    let mut count = 0;
    sas.any_inbound_to(dst, spi, |_| {
        count += 1;
        false
    });
    count
}

/// The SPI of the SA for a packet.
fn found(sas: &Sas, reqid: u32, flow: &Flow) -> Option<u32> {
    sas.at(sas.outbound(&transport(reqid), flow)?)
        .map(|sa| sa.spi)
}

#[kunit_tests(espnic_ipsec_sas)]
mod cases {
    use super::*;

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
        let (one, other) = (inbound(1, 11, 7)?, inbound(2, 12, 7)?);
        let sas = sas(&[&one, &other])?;
        let (here, there) = (address(2), address(3));
        assert_eq!(
            (count(&sas, &here, None), count(&sas, &there, None)),
            (2, 0)
        );
        for (spi, expected) in [(10, 0), (11, 1), (12, 1), (13, 0)] {
            assert_eq!(count(&sas, &here, Some(spi)), expected);
            assert_eq!(count(&sas, &there, Some(spi)), 0);
        }
        one.kill();
        assert_eq!(count(&sas, &here, None), 1);
        Ok(())
    }

    #[test]
    fn what_was_seen_under_a_name() -> Result {
        let dead = inbound(9, 11, 7)?;
        let others = [
            inbound(4, 12, 7)?,
            inbound(3, 11, 8)?,
            inbound(2, 11, 7)?,
            inbound(1, 11, 7)?,
        ];
        let [a, b, c, d] = &others;
        let sas = sas(&[a, b, c, d, &dead])?;
        assert_eq!(sas.highest_seen(7, 11), Some(9));
        dead.kill();
        let names = [(7, 11), (7, 12), (8, 11), (7, 10), (6, 11), (9, 11)];
        let seen = names.map(|(reqid, spi)| sas.highest_seen(reqid, spi));
        assert_eq!(seen, [Some(2), Some(4), Some(3), None, None, None]);
        Ok(())
    }

    /// The destination of the SA `number`.
    fn end(number: u64) -> Address {
        let [.., high, low] = number.to_be_bytes();
        let bytes = [10, 1, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Address { family: 4, bytes }
    }

    #[test]
    fn many_come_one_by_one_and_go() -> Result {
        const COUNT: u64 = 700;
        let mut all = KVec::new();
        let mut sas = Sas::empty()?;
        for number in 1..=COUNT {
            let direction = if number % 2 == 0 {
                Direction::In
            } else {
                Direction::Out
            };
            // Of each direction two have an SPI, and all one request id.
            let one = sa_to(direction, end(number), number, number as u32 / 4, 7, 0)?;
            all.push(one.clone(), GFP_KERNEL)?;
            sas = sas.with(&[one], number as usize)?;
        }
        let is_found = |sas: &Sas, one: &Sa| match one.is_inbound() {
            true => count(sas, &one.dst, Some(one.spi)) == 1,
            false => {
                let flow = Flow {
                    dst: one.dst,
                    ..flow(6)
                };
                let place = sas.outbound(&transport(7), &flow);
                let found = place.and_then(|place| sas.at(place));
                found.is_some_and(|found| core::ptr::eq(found, one))
            }
        };
        assert_eq!(sas.len(), COUNT as usize);
        assert!(all.iter().all(|one| is_found(&sas, one)));
        // Two of three go.
        let living = COUNT as usize / 3;
        all.iter()
            .filter(|one| one.number % 3 != 0)
            .for_each(|one| one.kill());
        let are_right = |sas: &Sas| {
            all.iter()
                .all(|one| is_found(sas, one) == (one.number % 3 == 0))
        };
        assert!(are_right(&sas) && sas.is_mostly_dead(living));
        let sas = sas.with(&[], living)?;
        assert_eq!(sas.len(), living);
        assert!(are_right(&sas) && !sas.is_mostly_dead(living));
        all.iter().for_each(|one| one.kill());
        assert!(sas.with(&[], 0)?.is_empty());
        Ok(())
    }

    #[test]
    fn addresses_in_short_differ() -> Result {
        const COUNT: usize = 1000;
        // The last bytes of IPv4 addresses, of hosts in one network, and of networks.
        for (family, at) in [(4, 2), (6, 14), (6, 6)] {
            let mut all = KVec::new();
            for number in 0..COUNT {
                let mut bytes = [0; 16];
                let place = bytes.iter_mut().skip(at).zip((number as u16).to_be_bytes());
                place.for_each(|(to, from)| *to = from);
                all.push(short(&Address { family, bytes }), GFP_KERNEL)?;
            }
            sort::by_key(&mut all, |&short| short);
            let same = all.windows(2).filter(|pair| pair.first() == pair.last());
            assert!(same.count() < 3);
        }
        Ok(())
    }

    #[test]
    fn those_of_one_name_on_the_wire() -> Result {
        let (first, copy, other) = (sa(1, 11, 7, 0)?, sa(2, 11, 8, 0)?, sa(3, 12, 7, 0)?);
        let sas = sas(&[&first, &copy, &other])?;
        let has = |one: &Sa, number| sas.any_alike(one, |sa| sa.number == number);
        assert!(has(&first, 1) && has(&first, 2) && has(&copy, 1) && has(&other, 3));
        assert!(!has(&first, 3) && !has(&other, 1));
        assert!(!sas.any_alike(&*inbound(4, 11, 7)?, |_| true));
        copy.kill();
        assert!(has(&copy, 1) && !has(&copy, 2));
        Ok(())
    }

    /// A migration leaves SPI and request id alone.
    #[test]
    fn numbers_go_on_in_a_copy() -> Result {
        let one = sa(5, 11, 7, 0)?;
        let sas = sas(&[&one])?;
        one.give(None, 100);
        assert_eq!(sas.last_possible(7, 11), Some(1));
        assert_eq!(
            (sas.last_possible(7, 12), sas.last_possible(8, 11)),
            (None, None)
        );
        one.kill();
        assert_eq!(sas.last_possible(7, 11), None);
        Ok(())
    }
}
