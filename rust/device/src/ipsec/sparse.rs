// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SA objects in little memory: there are many, and most of their bytes are zero.

use espnic_wire::sa::SaObject;
use zeroize::Zeroizing;

const LEN: usize = size_of::<SaObject>();
const WORD: usize = size_of::<u64>();

const _: () = assert!(LEN % WORD == 0 && LEN / WORD <= u64::BITS as usize);

/// The bytes of an [`SaObject`]. Erased when they are dropped.
pub(super) type Whole = Box<Zeroizing<[u8; LEN]>>;

/// An [`SaObject`] without its words that are zero. Erased when it is dropped.
pub(super) struct Sparse {
    /// Bit *n*: word *n* is there.
    present: u64,
    words: Zeroizing<Box<[u64]>>,
}

impl Sparse {
    pub(super) fn new(object: &[u8; LEN]) -> Self {
        let words = || {
            let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
            object.chunks_exact(WORD).map(word)
        };
        let present = words()
            .rev()
            .fold(0, |bits, word| (bits << 1) | u64::from(word != 0));
        // The capacity is exact, so no reallocation leaves key bytes behind.
        let mut kept = Vec::with_capacity(present.count_ones() as usize);
        kept.extend(words().filter(|&word| word != 0));
        Self {
            present,
            words: Zeroizing::new(kept.into_boxed_slice()),
        }
    }

    pub(super) fn whole(&self) -> Whole {
        let mut whole = Box::new(Zeroizing::new([0; LEN]));
        let places = whole.chunks_exact_mut(WORD).enumerate();
        let places = places.filter(|(index, _)| (self.present >> index) & 1 != 0);
        for ((_, place), word) in places.zip(self.words.iter()) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in proptest::collection::vec((0..LEN, any::<u8>()), 0..80)) {
            let mut object = [0; LEN];
            for (at, byte) in bytes {
                object[at] = byte;
            }
            let sparse = Sparse::new(&object);
            prop_assert!(**sparse.whole() == object);
            prop_assert!(sparse.words.iter().all(|&word| word != 0));
        }
    }

    #[test]
    fn full_and_empty() {
        for byte in [0, 0xff] {
            assert!(**Sparse::new(&[byte; LEN]).whole() == [byte; LEN]);
        }
    }
}
