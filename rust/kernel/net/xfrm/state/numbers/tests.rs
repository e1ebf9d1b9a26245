// SPDX-License-Identifier: GPL-2.0

//! Tests of what is told of numbers and windows, and read back.

use super::place;
use crate::net::xfrm::{
    create::{
        fixture::{
            Change,
            TestState,
            IPV4,
            IPV6, //
        },
        Parameters, //
    },
    Direction, //
};
use kernel::prelude::*;

/// An inbound state without ESN.
const INBOUND: Parameters<'static> = Parameters {
    direction: Direction::In,
    replay_window: 32,
    ..IPV4
};

/// The numbers that a bitmap of 4 bytes holds as received.
fn received<'a>(bitmap: &'a [u8], top: u32, window: u32) -> impl Iterator<Item = u32> + 'a {
    (0..window.min(top)).filter_map(move |behind| {
        let (byte, bit) = place(top, behind, window)?;
        (bitmap.get(byte)? & bit != 0).then_some(top - behind)
    })
}

#[kunit_tests(espnic_xfrm_replay)]
mod cases {
    use super::*;

    #[test]
    fn places_are_those_of_the_stack() {
        // xfrm_replay_advance_bmp(): (seq - 1) % replay_window.
        assert!(place(1, 0, 64) == Some((0, 1)));
        assert!(place(64, 0, 64) == Some((7, 0x80)));
        assert!(place(65, 0, 64) == Some((0, 1)));
        assert!(place(65, 1, 64) == Some((7, 0x80)));
        assert!(place(33, 32, 33) == Some((0, 1)));
        assert!(place(33, 0, 33) == Some((4, 1)));
        // The highest number in front of 1.
        assert!(place(0, 0, 64) == Some((7, 0x80)));
        assert!(place(7, 0, 0).is_none());
    }

    #[test]
    fn long_form_reads_back() -> Result {
        let x = TestState::new(&IPV6)?;
        let bitmap = [1, 2, 3, 4, 5, 6, 7, 8];
        let top = (5 << 32) | 65;
        x.set_received(top, &bitmap)?;
        assert_eq!(x.highest_seen(), top);
        let mut read = [0xee; 8];
        assert_eq!(x.received(&mut read)?, top);
        assert_eq!(read, bitmap);
        Ok(())
    }

    #[test]
    fn long_form_without_esn() -> Result {
        let x = TestState::new(&Parameters {
            replay_window: 33,
            ..INBOUND
        })?;
        x.set_received(7, &[0x7f, 0, 0, 0, 1, 0, 0, 0])?;
        let mut read = [0xee; 8];
        assert_eq!(x.received(&mut read)?, 7);
        assert_eq!(read, [0x7f, 0, 0, 0, 1, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn short_form_of_the_stack() -> Result {
        let x = TestState::changed(&INBOUND, Change::ShortWindow(40, 0b1011))?;
        let mut bitmap = [0xee; 4];
        assert_eq!(x.received(&mut bitmap)?, 40);
        assert!(received(&bitmap, 40, 32).eq([40, 39, 37]));
        // Nothing has come yet, whatever the bitmap says.
        let x = TestState::changed(&INBOUND, Change::ShortWindow(0, 0b1011))?;
        assert_eq!(x.received(&mut bitmap)?, 0);
        assert_eq!(bitmap, [0; 4]);
        Ok(())
    }

    #[test]
    fn short_form_reads_back() -> Result {
        let x = TestState::new(&INBOUND)?;
        for (top, numbers) in [(40, [40, 37, 35, 9]), (70, [70, 69, 60, 39])] {
            let mut bitmap = [0u8; 4];
            for number in numbers {
                let (byte, bit) = place(top, top - number, 32).ok_or(EINVAL)?;
                bitmap[byte] |= bit;
            }
            x.set_received(top.into(), &bitmap)?;
            let mut read = [0; 4];
            assert_eq!(x.received(&mut read)?, top.into());
            assert_eq!(read, bitmap);
            assert!(received(&read, top, 32).eq(numbers));
        }
        Ok(())
    }

    #[test]
    fn window_of_another_length() -> Result {
        let x = TestState::new(&IPV6)?;
        for bytes in [0, 4, 7, 9, 12] {
            let mut bitmap = [0; 12];
            assert_eq!(x.received(&mut bitmap[..bytes]), Err(EINVAL));
            assert_eq!(x.set_received(6 << 32, &bitmap[..bytes]), Err(EINVAL));
        }
        assert_eq!(x.highest_seen(), 5 << 32);
        Ok(())
    }

    #[test]
    fn no_window() -> Result {
        let x = TestState::new(&Parameters {
            replay_window: 0,
            ..INBOUND
        })?;
        x.set_received(9, &[])?;
        assert_eq!(x.received(&mut [])?, 9);
        assert_eq!(x.received(&mut [0; 4]), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn received_numbers_do_not_go_back() -> Result {
        let x = TestState::new(&IPV6)?;
        x.set_received((5 << 32) | 9, &[0xff; 8])?;
        assert_eq!(x.set_received((5 << 32) | 8, &[0; 8]), Err(ERANGE));
        let mut bitmap = [0; 8];
        assert_eq!(x.received(&mut bitmap)?, (5 << 32) | 9);
        assert_eq!(bitmap, [0xff; 8]);
        Ok(())
    }

    #[test]
    fn what_was_passed_over_counts_as_received() -> Result {
        let x = TestState::new(&INBOUND)?;
        let mut bitmap = [0; 4];
        let (byte, bit) = place(40, 3, 32).ok_or(EINVAL)?;
        bitmap[byte] |= bit;
        x.set_received(40, &bitmap)?;
        for top in [39, 40] {
            x.try_raise_received(top);
            assert_eq!(x.received(&mut bitmap)?, 40);
            assert!(received(&bitmap, 40, 32).eq([37]));
        }
        x.try_raise_received(43);
        assert_eq!(x.received(&mut bitmap)?, 43);
        assert!(received(&bitmap, 43, 32).eq([43, 42, 41, 37]));
        for top in [74, 75, 76, 1000] {
            x.try_raise_received(top);
            assert_eq!(x.received(&mut bitmap)?, top);
            assert_eq!(received(&bitmap, top as u32, 32).count(), 32);
        }
        Ok(())
    }

    #[test]
    fn what_was_passed_over_in_the_long_form() -> Result {
        // The window of 64 of the fixture, and one that ends within a word.
        let odd = Parameters {
            replay_window: 33,
            ..INBOUND
        };
        for (parameters, window, start) in [(&IPV6, 64, 5 << 32), (&odd, 33, 0)] {
            let x = TestState::new(parameters)?;
            let mut bitmap = [0; 8];
            x.set_received(start + 30, &bitmap)?;
            // Within a word, into the next one, around the end, and farther than the window.
            for (before, top) in [(30, 32), (32, 35), (35, 70), (70, 500)] {
                x.set_received(start + before, &[0; 8])?;
                x.try_raise_received(start + top);
                assert_eq!(x.received(&mut bitmap)?, start + top);
                let (before, top) = (before as u32, top as u32);
                let all = (before + 1..=top).rev().take(window as usize);
                assert!(received(&bitmap, top, window).eq(all));
            }
        }
        Ok(())
    }

    #[test]
    fn only_inbound_states_are_raised() -> Result {
        let x = TestState::new(&IPV4)?;
        x.try_raise_received(9);
        assert_eq!((x.highest_seen(), x.last_sent()), (0, 0));
        Ok(())
    }

    #[test]
    fn sent_numbers_do_not_go_back() -> Result {
        let esn = Parameters {
            esn: Some(3),
            ..IPV4
        };
        for (parameters, number) in [(&IPV4, 0xffff_fff0), (&esn, (4 << 32) | 1)] {
            let x = TestState::new(parameters)?;
            x.set_last_sent(number);
            assert_eq!(x.last_sent(), number);
            x.set_last_sent(number - 1);
            assert_eq!(x.last_sent(), number);
            x.set_last_sent(number + 1);
            assert_eq!(x.last_sent(), number + 1);
        }
        Ok(())
    }

    #[test]
    fn each_direction_has_its_own_numbers() -> Result {
        let x = TestState::new(&IPV4)?;
        assert_eq!(x.set_received(9, &[]), Err(EINVAL));
        assert_eq!((x.highest_seen(), x.last_sent()), (0, 0));
        let x = TestState::new(&INBOUND)?;
        x.set_last_sent(9);
        assert_eq!((x.highest_seen(), x.last_sent()), (0, 0));
        Ok(())
    }
}
