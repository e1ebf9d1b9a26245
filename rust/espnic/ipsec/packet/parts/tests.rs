// SPDX-License-Identifier: GPL-2.0

//! Tests of what it costs to add to a list.

use super::{
    Part,
    Parts,
    YOUNG_MAX, //
};
use kernel::prelude::*;

/// A part that knows its numbers only: the first, how many, and how many it took to make it.
#[derive(Default)]
struct Counted {
    first: usize,
    len: usize,
    moved: usize,
}

impl Part for Counted {
    type Element = usize;

    fn join(parts: &[&Self], young: &[usize]) -> Result<Self> {
        let mut all = Self::default();
        for part in parts.iter().filter(|part| part.len != 0) {
            if all.len == 0 {
                all.first = part.first;
            }
            all.len += part.len;
            all.moved += part.moved;
        }
        if let Some(&first) = young.first().filter(|_| all.len == 0) {
            all.first = first;
        }
        all.len += young.len();
        all.moved += all.len;
        Ok(all)
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// How many elements were moved to fill a list with so many, and its parts. An error if one is not in its place.
fn fill(count: usize) -> Result<(usize, usize)> {
    let mut list = Parts::<Counted>::new(&[])?;
    for element in 0..count {
        list = list.with(&[element])?;
    }
    let mut next = 0;
    for part in list.iter().filter(|part| part.len != 0) {
        if part.first != next {
            return Err(EINVAL);
        }
        next += part.len;
    }
    if (next, list.len()) != (count, count) {
        return Err(EINVAL);
    }
    Ok((
        list.iter().fold(0, |sum, part| sum + part.moved),
        list.iter().count(),
    ))
}

#[kunit_tests(espnic_ipsec_parts)]
mod cases {
    use super::*;

    #[test]
    fn one_more_costs_little() -> Result {
        for count in [0, 1, YOUNG_MAX, YOUNG_MAX + 1, 1000, 20_000] {
            let (moved, parts) = fill(count)?;
            assert!(moved <= 40 * count && parts <= 8);
        }
        Ok(())
    }

    #[test]
    fn all_in_one() -> Result {
        let mut list = Parts::<Counted>::new(&[])?;
        for element in 0..1000 {
            list = list.with(&[element])?;
        }
        assert!(list.iter().filter(|part| part.len != 0).count() > 1);
        let list = list.in_one_with(&[1000])?;
        assert_eq!(list.iter().filter(|part| part.len != 0).count(), 1);
        assert_eq!(list.len(), 1001);
        assert!(!list.is_empty() && Parts::<Counted>::new(&[])?.is_empty());
        Ok(())
    }
}
