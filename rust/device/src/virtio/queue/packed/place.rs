// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Places in a packed ring, together with the wrap counter there (VIRTIO 1.4 section 2.8.1).

use virtio_bindings::bindings::virtio_ring::{
    VRING_PACKED_DESC_F_AVAIL, VRING_PACKED_DESC_F_USED, VRING_PACKED_EVENT_F_WRAP_CTR,
};

/// Flags of a descriptor, which the wrap counter gives their meaning.
const AVAIL: u16 = 1 << VRING_PACKED_DESC_F_AVAIL;
const USED: u16 = 1 << VRING_PACKED_DESC_F_USED;
/// The wrap counter in an event (2.8.14).
const EVENT_WRAP: u16 = 1 << VRING_PACKED_EVENT_F_WRAP_CTR;

/// A place on the way twice around a ring: the first time the wrap counter is 1, the second time 0. A ring
/// has at most 2^14 descriptors, so all sums fit.
///
/// It has 32 bits, because the compiler loads so many: of a neighbour that was just written by itself, too, which
/// stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// The index of the descriptor.
    #[inline]
    pub(super) fn slot(self, size: u16) -> u16 {
        match self.wrap(size) {
            true => self.0 as u16,
            false => self.0 as u16 - size,
        }
    }

    #[inline]
    fn wrap(self, size: u16) -> bool {
        self.0 < u32::from(size)
    }

    /// The place `by` descriptors further on, up to twice the size.
    #[inline]
    pub(super) fn forward(self, by: u16, size: u16) -> Self {
        let (place, twice) = (self.0 + u32::from(by), 2 * u32::from(size));
        Self(if place < twice { place } else { place - twice })
    }

    /// The place `by` descriptors back, up to twice the size.
    #[inline]
    pub(super) fn back(self, by: u16, size: u16) -> Self {
        self.forward(2 * size - by, size)
    }

    /// Whether a descriptor here with these flags is available: `AVAIL` is the wrap counter, `USED` is not.
    #[inline]
    pub(super) fn is_available(self, flags: u16, size: u16) -> bool {
        let wanted = if self.wrap(size) { AVAIL } else { USED };
        flags & (AVAIL | USED) == wanted
    }

    /// The flags of a used descriptor here: both are the wrap counter.
    #[inline]
    pub(super) fn used_flags(self, size: u16) -> u16 {
        match self.wrap(size) {
            true => AVAIL | USED,
            false => 0,
        }
    }

    /// The place as an event names it.
    pub(super) fn event(self, size: u16) -> u16 {
        let wrap = if self.wrap(size) { EVENT_WRAP } else { 0 };
        self.slot(size) | wrap
    }

    /// The place that an event names. One that is not in the ring becomes one that is.
    pub(super) fn of_event(event: u16, size: u16) -> Self {
        let first = Self(((event & !EVENT_WRAP) % size).into());
        match event & EVENT_WRAP {
            0 => first.forward(size, size),
            _ => first,
        }
    }

    /// How many descriptors it is behind `start`, less than two rounds.
    #[inline]
    pub(super) fn behind(self, start: Self, size: u16) -> u16 {
        self.back(start.0 as u16, size).0 as u16
    }

    /// Whether it is `start` or behind it, and before `end`, which is less than two rounds from `start`.
    pub(super) fn is_between(self, start: Self, end: Self, size: u16) -> bool {
        self.behind(start, size) < end.behind(start, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 5;

    fn at(by: u16) -> Place {
        Place::default().forward(by, SIZE)
    }

    #[test]
    fn the_wrap_counter_changes_with_each_round() {
        let mut place = Place::default();
        for number in 0..4 * SIZE {
            let first = number / SIZE % 2 == 0;
            assert_eq!(place.slot(SIZE), number % SIZE);
            // 2.8.1: the bits are numbers 7 and 15.
            let (avail, used) = (1 << 7, 1 << 15);
            assert_eq!(place.used_flags(SIZE), if first { avail | used } else { 0 });
            assert_eq!(place.is_available(avail | 3, SIZE), first);
            assert_eq!(place.is_available(used | 3, SIZE), !first);
            assert!(!place.is_available(avail | used, SIZE) && !place.is_available(0, SIZE));
            let event = number % SIZE + if first { 1 << 15 } else { 0 };
            assert_eq!(place.event(SIZE), event);
            assert_eq!(Place::of_event(event, SIZE), place);
            place = place.forward(1, SIZE);
        }
        assert_eq!(place, Place::default());
    }

    #[test]
    fn back_undoes_forward() {
        for start in 0..2 * SIZE {
            for by in 0..=2 * SIZE {
                let there = at(start).forward(by, SIZE);
                assert_eq!(there.back(by, SIZE), at(start), "{start}+{by}");
                assert_eq!(there, at((start + by) % (2 * SIZE)));
            }
        }
    }

    #[test]
    fn an_event_is_met_by_what_passes_it() {
        for start in 0..2 * SIZE {
            for by in 0..=SIZE {
                for event in 0..2 * SIZE {
                    let end = at(start).forward(by, SIZE);
                    let met = at(event).is_between(at(start), end, SIZE);
                    let passed = (0..by).any(|step| at(start).forward(step, SIZE) == at(event));
                    assert_eq!(met, passed, "{event} in {start}+{by}");
                }
            }
        }
    }

    #[test]
    fn events_outside_the_ring_do_no_harm() {
        for event in [SIZE, 0x7fff, 0x8000 + SIZE, 0xffff] {
            assert!(Place::of_event(event, SIZE).slot(SIZE) < SIZE);
        }
    }
}
