// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Received packets that are decrypted, and of which nothing else has been done yet.
//!
//! A cipher writes the end of a text, and the ICV that it has computed, last. Who reads them at once waits. So some
//! packets are decrypted before the first of them is looked at. From then on both are done in turns: a look is work
//! for the processor while a cipher ends with another packet, and comes equally long after each decryption.

use espnic_esp::aead::TAG_LEN;

/// The most packets; see [`espnic_esp::engine::begin_open`].
const MOST: usize = 8;
/// With so many bytes no more packets are added, so that what was decrypted is still in the first-level cache when
/// its checksum is verified.
const WARM: usize = 16 << 10;

/// A packet that is decrypted.
pub(super) trait Packet {
    /// Its length in bytes.
    fn len(&self) -> usize;
}

/// Room for a packet, in one line of the cache.
#[repr(C, align(64))]
pub(super) struct Place<P> {
    /// For the ICV that the packet should have. First, so that it is aligned: a cipher writes it in one piece.
    pub(super) computed: [u8; TAG_LEN],
    /// `None` if nothing is left to be done.
    pub(super) begun: Option<P>,
}

/// The packets, each at its index in a chunk modulo [`MOST`].
pub(super) struct Places<P>([Place<P>; MOST]);

impl<P> Places<P> {
    pub(super) const EMPTY: Self = Self(
        [const {
            Place {
                computed: [0; TAG_LEN],
                begun: None,
            }
        }; MOST],
    );
}

/// Which packets of a chunk they are; they follow each other. Apart from their places, so that it is in registers.
#[derive(Default)]
pub(super) struct Opening {
    /// The index of the first one.
    first: usize,
    /// The index behind the last one.
    next: usize,
    /// Bytes of all of them.
    bytes: usize,
}

impl Opening {
    /// Whether there is room for the packet that comes next.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.next - self.first < MOST && self.bytes < WARM
    }

    /// Adds the packet that comes next, for which there must be room. `open` finds its place empty.
    #[inline(always)]
    pub(super) fn add<P: Packet>(
        &mut self,
        places: &mut Places<P>,
        open: impl FnOnce(&mut Option<P>, &mut [u8; TAG_LEN]),
    ) {
        let Place { computed, begun } = &mut places.0[self.next % MOST];
        *begun = None;
        open(begun, computed);
        self.bytes += begun.as_ref().map_or(0, P::len);
        self.next += 1;
    }

    /// Takes the packet that was added first, with its index.
    #[inline(always)]
    pub(super) fn take<'p, P: Packet>(
        &mut self,
        places: &'p Places<P>,
    ) -> Option<(usize, &'p Place<P>)> {
        if self.first == self.next {
            return None;
        }
        let index = self.first;
        let place = &places.0[index % MOST];
        self.bytes -= place.begun.as_ref().map_or(0, P::len);
        self.first += 1;
        Some((index, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of this length.
    impl Packet for usize {
        fn len(&self) -> usize {
            *self
        }
    }

    /// How many of these packets are decrypted before the first is looked at.
    fn count(lens: &[Option<usize>]) -> usize {
        let (mut opening, mut places) = (Opening::default(), Places::EMPTY);
        for len in lens {
            if !opening.has_room() {
                break;
            }
            opening.add(&mut places, |place, _| *place = *len);
        }
        opening.next
    }

    #[test]
    fn what_is_decrypted_fits_the_first_level_cache() {
        for (lens, expected) in [
            (&[][..], 0),
            (&[WARM], 1),
            (&[WARM, 60, 60], 1),
            (&[WARM - 1, 60, 60], 2),
            (&[9000; 5], 2),
            (&[1500; 20], MOST),
            (&[60; MOST - 1], MOST - 1),
        ] {
            let lens: Vec<_> = lens.iter().copied().map(Some).collect();
            assert_eq!(count(&lens), expected, "{lens:?}");
        }
        // What nobody looks at is not there.
        assert_eq!(count(&[Some(WARM - 1), None, None, Some(1), Some(1)]), 4);
    }

    #[test]
    fn packets_come_in_their_order_and_make_room() {
        let (mut opening, mut places) = (Opening::default(), Places::EMPTY);
        let (mut added, mut taken) = (0, 0);
        while taken < 50 {
            if opening.has_room() {
                opening.add(&mut places, |place, computed| {
                    assert_eq!(*place, None);
                    (*place, computed[0]) = ((added % 3 != 0).then_some(4000), added as u8);
                });
                added += 1;
            } else {
                let (index, place) = opening.take(&places).unwrap();
                assert_eq!((index, place.computed[0]), (taken, taken as u8));
                assert_eq!(place.begun, (taken % 3 != 0).then_some(4000));
                taken += 1;
            }
        }
        while let Some((index, _)) = opening.take(&places) {
            assert_eq!(index, taken);
            taken += 1;
        }
        assert_eq!((taken, opening.bytes), (added, 0));
    }
}
