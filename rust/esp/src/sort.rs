// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sorting in place that cannot fail. The sorts of `core` panic if an order contradicts itself, and in the
//! kernel objtool does not know that this way never returns.

/// Sorts by a key; elements with the same key come in any order. Heap sort: O(n log n) steps for any
/// content, no memory.
pub fn by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    let before = |a: &T, b: &T| key(a) < key(b);
    // The largest one is at the top of the heap, and goes behind it.
    for root in (0..list.len() / 2).rev() {
        sink(list, root, &before);
    }
    for end in (1..list.len()).rev() {
        list.swap(0, end);
        sink(list.get_mut(..end).unwrap_or_default(), 0, &before);
    }
}

/// Lets the element at `root` sink in a heap that is one but for it, so that no parent is before its
/// child.
fn sink<T>(heap: &mut [T], mut root: usize, before: &impl Fn(&T, &T) -> bool) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let child = match (heap.get(left), heap.get(right)) {
            (Some(a), Some(b)) if before(a, b) => right,
            (Some(_), _) => left,
            (None, _) => return,
        };
        match (heap.get(root), heap.get(child)) {
            (Some(a), Some(b)) if before(a, b) => heap.swap(root, child),
            _ => return,
        }
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_lists() {
        for list in [
            &mut [][..],
            &mut [1],
            &mut [2, 1],
            &mut [1, 2],
            &mut [3, 1, 2],
        ] {
            by_key(list, |&n| n);
            assert!(list.is_sorted());
        }
    }

    proptest! {
        #[test]
        fn sorts_as_core_does(list in proptest::collection::vec(any::<(u8, u16)>(), 0..300)) {
            let (mut ours, mut theirs) = (list.clone(), list);
            by_key(&mut ours, |&pair| pair);
            theirs.sort_unstable();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn only_the_key_counts(list in proptest::collection::vec(any::<(u8, u16)>(), 0..300)) {
            let mut sorted = list.clone();
            by_key(&mut sorted, |&(key, _)| core::cmp::Reverse(key));
            prop_assert!(sorted.is_sorted_by_key(|&(key, _)| core::cmp::Reverse(key)));
            let all = |mut list: Vec<_>| {
                list.sort_unstable();
                list
            };
            prop_assert_eq!(all(sorted), all(list));
        }
    }
}
