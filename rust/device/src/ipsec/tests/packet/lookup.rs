// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which of several inbound SAs with one SPI gets a packet.

use super::*;
use proptest::prelude::*;

/// What an SA looks at: the last byte of the destination, and a UDP port that counts or does not.
#[derive(Clone, Copy, Debug)]
struct Key {
    dst: Option<u8>,
    port: Option<(u16, bool)>,
}

impl Key {
    /// An SA that delivers what fails, so that its id is seen.
    fn object(self) -> SaObject {
        let mut object = sa(OBJ_INB_SA, OVER_V4);
        set_flags(&mut object, super::super::wire::TAIL_DELIVER_ERR, 0);
        match self.dst {
            Some(last) => object.tail.dst[3] = last,
            None => set_flags(&mut object, 0, super::super::wire::TAIL_MATCH_ADDR),
        }
        if let Some((port, counts)) = self.port {
            object = in_udp(object);
            object.base.udp_dport = port.into();
            if !counts {
                set_flags(&mut object, super::super::wire::TAIL_NO_UDP_PORT_CHECK, 0);
            }
        }
        object
    }

    /// Whether it takes a packet to this destination and port.
    fn takes(self, dst: u8, port: Option<u16>) -> bool {
        let in_udp = match (self.port, port) {
            (None, None) => true,
            (Some((mine, counts)), Some(port)) => !counts || mine == port,
            _ => false,
        };
        in_udp && self.dst.is_none_or(|mine| mine == dst)
    }

    /// Address before port.
    fn weight(self) -> u8 {
        let port = self.port.is_none_or(|(_, counts)| counts);
        2 * u8::from(self.dst.is_some()) + u8::from(port)
    }
}

/// An ESP packet that nobody has encrypted.
fn forged(dst: u8, port: Option<u16>) -> Vec<u8> {
    let esp = [&SPI.to_be_bytes()[..], &[0, 0, 0, 1], &[0x5a; 40]].concat();
    let mut frame = match port {
        None => ip(false, 50, &esp),
        Some(port) => {
            let len = 8 + esp.len() as u16;
            let udp = [4500, port, len, 0].map(u16::to_be_bytes).concat();
            ip(false, 17, &[udp, esp].concat())
        }
    };
    frame[30..34].copy_from_slice(&[192, 0, 2, dst]);
    testing::correct(&mut frame);
    frame
}

/// The SA that a packet gets.
fn owner(b: &Engine, dst: u8, port: Option<u16>) -> Option<u32> {
    let (hdr, _) = by_rule(b, &forged(dst, port));
    hdr.has(F_SECURITY).then(|| hdr.out.resource_id.get())
}

fn keys() -> impl Strategy<Value = Key> {
    let dst = prop::option::of(2u8..4);
    let port = prop::option::of((4500u16..4502, any::<bool>()));
    (dst, port).prop_map(|(dst, port)| Key { dst, port })
}

proptest! {
    /// The most specific SA gets it, and among equal ones the oldest, whatever their ids are.
    #[test]
    fn the_most_specific_and_then_the_oldest(keys in prop::collection::vec(keys(), 0..10), gone: prop::sample::Index) {
        let b = ready(Backend::default());
        // The oldest has the highest id.
        let mut all: Vec<_> = (0u32..10).rev().zip(keys).collect();
        for (id, key) in &all {
            prop_assert_eq!(create(&b, OBJ_INB_SA, *id, &key.object()), DONE);
        }
        if !all.is_empty() {
            let (id, _) = all.remove(gone.index(all.len()));
            prop_assert_eq!(destroy(&b, OBJ_INB_SA, id), DONE);
        }
        for (dst, port) in [2, 3, 4].into_iter().flat_map(|dst| [None, Some(4500), Some(4501)].map(|port| (dst, port))) {
            let fit = all.iter().filter(|(_, key)| key.takes(dst, port));
            // The last one of equal ones is returned.
            let best = fit.rev().max_by_key(|(_, key)| key.weight());
            prop_assert_eq!(owner(&b, dst, port), best.map(|(id, _)| *id), "{} {:?}", dst, port);
        }
    }
}

#[test]
fn an_older_sa_without_an_address_takes_what_no_other_takes() {
    let b = ready(Backend::default());
    let any = Key {
        dst: None,
        port: None,
    };
    let one = Key {
        dst: Some(2),
        ..any
    };
    assert_eq!(create(&b, OBJ_INB_SA, 1, &any.object()), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, &one.object()), DONE);
    assert_eq!([2, 3].map(|dst| owner(&b, dst, None)), [Some(2), Some(1)]);
}
