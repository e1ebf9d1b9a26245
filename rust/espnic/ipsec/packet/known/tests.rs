// SPDX-License-Identifier: GPL-2.0

//! Tests of what is remembered, and how long.

use super::{
    super::spd::Spd,
    From,
    Known,
    Shelf,
    Way, //
};
use espnic_esp::flow_key::FlowKey;
use kernel::prelude::*;

/// The key of a TCP packet from this port.
fn key(port: u16) -> Result<FlowKey> {
    let [high, low] = port.to_be_bytes();
    let packet = [
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, high, low, 0, 80,
    ];
    FlowKey::of(&packet).ok_or(EINVAL)
}

#[kunit_tests(espnic_ipsec_known)]
mod cases {
    use super::*;

    #[test]
    fn only_what_was_noted() -> Result {
        let mut known = Known::new(Spd::empty()?);
        let (one, other) = (key(1)?, key(2)?);
        assert_eq!(known.recall(0, &one, From::Clear), None);
        known.note(one, From::Clear, Way::Under(3));
        assert_eq!(known.recall(0, &one, From::Clear), Some(Way::Under(3)));
        assert_eq!(known.recall(0, &other, From::Clear), None);
        known.note(one, From::Clear, Way::Plain);
        assert_eq!(known.recall(0, &one, From::Clear), Some(Way::Plain));
        Ok(())
    }

    #[test]
    fn an_sa_says_nothing_of_others() -> Result {
        let (mut known, key) = (Known::new(Spd::empty()?), key(1)?);
        known.note(key, From::Sa(0), Way::Plain);
        assert_eq!(known.recall(0, &key, From::Sa(0)), Some(Way::Plain));
        assert_eq!(known.recall(0, &key, From::Sa(1)), None);
        assert_eq!(known.recall(0, &key, From::Clear), None);
        Ok(())
    }

    #[test]
    fn a_deleted_policy_ends_all() -> Result {
        let (mut known, key) = (Known::new(Spd::empty()?), key(1)?);
        assert_eq!(known.recall(7, &key, From::Clear), None);
        known.note(key, From::Clear, Way::Plain);
        assert_eq!(known.recall(8, &key, From::Clear), None);
        assert_eq!(known.recall(7, &key, From::Clear), None);
        Ok(())
    }

    #[test]
    fn many_flows_fit() -> Result {
        let mut known = Known::new(Spd::empty()?);
        for port in 0..1000 {
            known.note(key(port)?, From::Clear, Way::Plain);
        }
        let mut left = 0;
        for port in 0..1000 {
            left += usize::from(known.recall(0, &key(port)?, From::Clear).is_some());
        }
        assert!(left > 32 && left <= 64);
        Ok(())
    }

    #[test]
    fn the_shelf_prefers_what_is_new() -> Result {
        let mut shelf = Shelf::new();
        let known = |port| -> Result<Known> {
            let mut known = Known::new(Spd::empty()?);
            known.note(key(port)?, From::Clear, Way::Plain);
            Ok(known)
        };
        assert!(shelf.replace(Some(known(1)?)).is_none());
        let (taken, version) = shelf.take();
        assert!(taken.is_some() && shelf.take().0.is_none());
        assert!(shelf.bring_back(taken, version).is_none());
        let (taken, version) = shelf.take();
        // A new one comes meanwhile, or nothing.
        assert!(shelf.replace(Some(known(2)?)).is_none());
        assert!(shelf.bring_back(taken, version).is_some());
        let (taken, version) = shelf.take();
        let mut taken = taken.ok_or(ENOENT)?;
        assert!(taken.recall(0, &key(2)?, From::Clear).is_some());
        assert!(shelf.replace(None).is_none());
        assert!(shelf.bring_back(Some(taken), version).is_some());
        assert!(shelf.take().0.is_none());
        Ok(())
    }
}
