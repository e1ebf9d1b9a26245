// SPDX-License-Identifier: GPL-2.0

//! Lists that grow by small steps, in parts that many snapshots share.
//!
//! Each part is older than the next one and much larger, and the youngest ones are by themselves. So a step sorts
//! or merges few elements, and who looks something up meets few parts.

#[cfg(espnic_kunit)]
mod tests;

use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// So many elements may be young: those that came since others last became a part.
pub(super) const YOUNG_MAX: usize = 32;

/// By so much a part is larger than the next one at least.
const GROWTH: usize = 8;

/// A part, with what is needed to look things up in it.
pub(super) trait Part: Sized {
    type Element;

    /// Joins parts, the oldest first, and younger elements. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn join(parts: &[&Self], young: &[Self::Element]) -> Result<Self>;

    /// The number of its elements.
    fn len(&self) -> usize;
}

/// The parts of a list.
pub(super) struct Parts<P> {
    old: KVVec<Arc<P>>,
    young: P,
}

impl<P: Part> Parts<P> {
    /// A list of these elements. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(elements: &[P::Element]) -> Result<Self> {
        Self::of(KVVec::new(), P::join(&[], elements)?)
    }

    fn of(mut old: KVVec<Arc<P>>, mut young: P) -> Result<Self> {
        if young.len() > YOUNG_MAX {
            old.push(Arc::new(young, GFP_KERNEL)?, GFP_KERNEL)?;
            young = P::join(&[], &[])?;
        }
        Ok(Self { old, young })
    }

    /// The list with some more elements, which are younger than the others. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with(&self, elements: &[P::Element]) -> Result<Self> {
        let count = self.young.len().saturating_add(elements.len());
        let stay = match count <= YOUNG_MAX {
            true => self.old.len(),
            false => self.large_parts(count),
        };
        self.join(stay, elements)
    }

    /// The same in one part. Sleeps, and takes time for each element.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn in_one_with(&self, elements: &[P::Element]) -> Result<Self> {
        self.join(0, elements)
    }

    /// The list with some more elements, and with no others than the `stay` oldest parts as they are.
    fn join(&self, stay: usize, elements: &[P::Element]) -> Result<Self> {
        let (stay, join) = self.old.split_at_checked(stay).ok_or(EINVAL)?;
        let mut parts = KVVec::with_capacity(join.len().saturating_add(1), GFP_KERNEL)?;
        for part in join {
            parts.push(&**part, GFP_KERNEL)?;
        }
        parts.push(&self.young, GFP_KERNEL)?;
        let young = P::join(&parts, elements)?;
        let mut old = KVVec::new();
        for part in stay {
            old.push(part.clone(), GFP_KERNEL)?;
        }
        Self::of(old, young)
    }

    /// How many parts are large enough to stay if `count` elements become a part. Each element is moved only
    /// [`GROWTH`] times before its part has grown by that factor.
    fn large_parts(&self, mut count: usize) -> usize {
        let mut stay = self.old.len();
        for part in self.old.iter().rev() {
            if part.len() >= count.saturating_mul(GROWTH) {
                break;
            }
            count = count.saturating_add(part.len());
            stay = stay.saturating_sub(1);
        }
        stay
    }

    /// The parts, the oldest first.
    pub(super) fn iter(&self) -> Iter<'_, P> {
        Iter {
            old: &self.old,
            young: Some(&self.young),
        }
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        self.iter()
            .fold(0, |sum, part| sum.saturating_add(part.len()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty() && self.young.len() == 0
    }
}

/// See [`Parts::iter`]. With a short name, which objtool wants.
pub(super) struct Iter<'a, P> {
    old: &'a [Arc<P>],
    young: Option<&'a P>,
}

impl<'a, P> Iterator for Iter<'a, P> {
    type Item = &'a P;

    fn next(&mut self) -> Option<&'a P> {
        let Some((first, rest)) = self.old.split_first() else {
            return self.young.take();
        };
        self.old = rest;
        Some(&**first)
    }
}

impl<P> DoubleEndedIterator for Iter<'_, P> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if let Some(young) = self.young.take() {
            return Some(young);
        }
        let (last, rest) = self.old.split_last()?;
        self.old = rest;
        Some(&**last)
    }
}
