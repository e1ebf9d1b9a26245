// SPDX-License-Identifier: GPL-2.0

//! Tests of records, byte by byte, and of an event queue that does not exist.

use super::{
    subject,
    Events,
    Subject,
    MASK, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::Direction;

/// A record: kind, object type and id.
fn record(kind: u8, object: u16, id: u32) -> [u8; 32] {
    let mut bytes = [0xee; 32];
    let [low, high] = object.to_le_bytes();
    for (to, from) in bytes.iter_mut().zip([kind, 0, low, high]) {
        *to = from;
    }
    for (to, from) in bytes.iter_mut().skip(4).zip(id.to_le_bytes()) {
        *to = from;
    }
    bytes
}

#[kunit_tests(espnic_events)]
mod cases {
    use super::*;

    #[test]
    fn sas_of_both_directions() {
        // Soft limit, hard limit, overflow.
        for kind in 1..=3 {
            let out = Some(Subject::Sa(Direction::Out, 0x0102_0304));
            assert_eq!(subject(&record(kind, 0x0203, 0x0102_0304)), out);
            let inbound = Some(Subject::Sa(Direction::In, u32::MAX));
            assert_eq!(subject(&record(kind, 0x0204, u32::MAX)), inbound);
        }
        assert_eq!(MASK, 0b1_1110);
    }

    #[test]
    fn a_peer_that_has_moved() -> Result {
        let mut bytes = record(4, 0x0204, 9);
        bytes[8..12].copy_from_slice(&[192, 0, 2, 7]);
        bytes[24..27].copy_from_slice(&[0x94, 0x11, 4]);
        let Some(Subject::Peer(peer)) = subject(&bytes) else {
            return Err(EINVAL);
        };
        assert_eq!((peer.id.get(), peer.port.get(), peer.family), (9, 4500, 4));
        assert_eq!(peer.src[..4], [192, 0, 2, 7]);
        Ok(())
    }

    #[test]
    fn lost_events_concern_all() {
        assert_eq!(subject(&record(5, 0, 0)), Some(Subject::All));
    }

    #[test]
    fn nonsense_says_nothing() {
        // Kinds that do not exist, and a peer of an outbound SA.
        for kind in [0, 4, 6, 255] {
            assert_eq!(subject(&record(kind, 0x0203, 1)), None);
        }
        for object in [0, 0x0202, 0x0205, 0x04f0] {
            assert_eq!(subject(&record(1, object, 1)), None);
        }
        let whole = record(1, 0x0203, 1);
        for len in 0..32 {
            assert_eq!(subject(whole.get(..len).unwrap_or_default()), None);
        }
    }

    #[test]
    fn nothing_comes_without_a_queue() -> Result {
        let events = KBox::pin_init(Events::new(None), GFP_KERNEL)?;
        events.fill()?;
        events.interrupt();
        assert!(!events.drain(|_| assert!(false)));
        assert!(!events.take_lost());
        Ok(())
    }
}
