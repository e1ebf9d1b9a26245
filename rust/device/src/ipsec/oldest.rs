// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The search for the SA that was used least recently.
//!
//! A look at all SAs takes long when there are many, so a call looks at some of them only, and what was found in
//! the end serves many calls: an SA that is used becomes younger, and none becomes older.

use std::collections::{BinaryHeap, VecDeque};

/// The last use of an SA, and its id.
pub(super) type Use = (u64, u32);

/// Parts of the table that a call looks at.
const STEP: usize = 16;
/// The number of SAs that a search finds.
const KEEP: usize = 1024;

/// What is searched.
pub(super) trait Uses {
    /// The SAs in a part of the table that count; `None` behind the last one.
    fn part(&self, index: usize) -> Option<impl Iterator<Item = Use>>;

    /// Whether the SA counts, and was last used then.
    fn is_last(&self, last: Use) -> bool;
}

/// What a call has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The SA with the earliest last use; of several the one with the lowest id.
    Oldest(Use),
    /// There is none.
    Nothing,
    /// That is not known yet.
    Later,
}

/// The search.
#[derive(Default)]
pub(super) struct Oldest {
    /// The first uses after `after` of when it was found, in their order.
    list: VecDeque<Use>,
    after: Use,
    search: Option<Search>,
}

/// A search under way.
struct Search {
    after: Use,
    /// When it began. What was used later has been used since.
    began: u64,
    /// The next part to look at.
    part: usize,
    /// The first uses so far.
    found: BinaryHeap<Use>,
}

impl Oldest {
    /// The SA with the earliest last use after `after`. It is `now`.
    pub(super) fn next(&mut self, uses: &impl Uses, now: u64, after: Use) -> Found {
        if after >= self.after {
            if let Some(oldest) = self.first(uses, after) {
                return Found::Oldest(oldest);
            }
        }
        let search = self.search.take().filter(|search| search.after == after);
        let mut search = search.unwrap_or_else(|| Search {
            after,
            began: now,
            part: 0,
            found: BinaryHeap::new(),
        });
        for _ in 0..=STEP {
            let Some(part) = uses.part(search.part) else {
                return self.end(search, uses);
            };
            search.look_at(part);
        }
        self.search = Some(search);
        Found::Later
    }

    /// The first one of the list after `after`.
    fn first(&mut self, uses: &impl Uses, after: Use) -> Option<Use> {
        // What was used since, or is gone, never counts again.
        while self.list.front().is_some_and(|&one| !uses.is_last(one)) {
            self.list.pop_front();
        }
        let mut rest = self.list.iter().copied().filter(|&one| one > after);
        rest.find(|&one| uses.is_last(one))
    }

    /// Keeps what was found.
    fn end(&mut self, search: Search, uses: &impl Uses) -> Found {
        let is_all = search.found.len() < KEEP;
        self.after = search.after;
        self.list = search.found.into_sorted_vec().into();
        match self.first(uses, search.after) {
            Some(oldest) => Found::Oldest(oldest),
            None if is_all => Found::Nothing,
            None => Found::Later,
        }
    }
}

impl Search {
    fn look_at(&mut self, part: impl Iterator<Item = Use>) {
        self.part += 1;
        for one in part.filter(|&one| one > self.after && one.0 <= self.began) {
            self.found.push(one);
            if self.found.len() > KEEP {
                self.found.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    const PART: usize = 8;

    /// The last uses of SAs, by id; 0 if there is none. Counts what is looked at.
    #[derive(Default)]
    struct Model {
        last: Vec<u64>,
        looks: Cell<usize>,
    }

    impl Uses for Model {
        fn part(&self, index: usize) -> Option<impl Iterator<Item = Use>> {
            let ids = index * PART..((index + 1) * PART).min(self.last.len());
            let there = ids.start < self.last.len();
            self.looks.set(self.looks.get() + ids.len());
            let uses = ids.map(|id| (self.last[id], id as u32));
            there.then(|| uses.filter(|one| one.0 != 0))
        }

        fn is_last(&self, (at, id): Use) -> bool {
            self.last[id as usize] == at
        }
    }

    impl Model {
        fn oldest(&self, after: Use) -> Option<Use> {
            let all = (0..).zip(&self.last).map(|(id, &at)| (at, id));
            all.filter(|one| one.0 != 0 && *one > after).min()
        }
    }

    proptest! {
        /// Whatever is used, comes or goes, also while a search is under way.
        #[test]
        fn what_is_found_is_the_oldest(
            count in 1usize..600,
            steps in prop::collection::vec((0usize..600, 0u8..8, any::<bool>()), 1..300),
        ) {
            let mut model = Model { last: (1..=count as u64).collect(), ..Model::default() };
            let (mut oldest, mut now, mut passed) = (Oldest::default(), count as u64, (0, 0));
            for (id, what, passes) in steps {
                now += 1;
                match what {
                    // Nothing happens.
                    0..=2 => (),
                    // It goes, or what is gone comes again.
                    3 => model.last[id % count] = 0,
                    _ => model.last[id % count] = now,
                }
                match oldest.next(&model, now, passed) {
                    Found::Oldest(found) => {
                        prop_assert_eq!(Some(found), model.oldest(passed));
                        passed = if passes { found } else { (0, 0) };
                    }
                    Found::Nothing => {
                        let left = model.oldest(passed);
                        // At most what was used while the search was under way.
                        prop_assert!(left.is_none_or(|left| count > STEP * PART || left.0 > now));
                        passed = (0, 0);
                    }
                    Found::Later => prop_assert!(count > STEP * PART),
                }
            }
        }
    }

    #[test]
    fn a_call_looks_at_few_and_most_at_none() {
        let count = 100_000;
        let mut model = Model {
            last: (1..=count).collect(),
            ..Model::default()
        };
        let (mut oldest, mut most, mut calls, mut found) = (Oldest::default(), 0, 0, 0);
        for now in count + 1..=count + 20_000 {
            let before = model.looks.get();
            calls += 1;
            if let Found::Oldest((at, id)) = oldest.next(&model, now, (0, 0)) {
                found += 1;
                assert_eq!(at, found);
                model.last[id as usize] = now;
            }
            most = most.max(model.looks.get() - before);
        }
        assert!(most <= (STEP + 1) * PART);
        // A search of all takes 736 calls, and serves 1024 more.
        assert!(found > calls / 2, "{found} of {calls}");
    }

    #[test]
    fn what_comes_behind_a_search_is_not_forgotten() {
        let count = 300;
        let mut model = Model {
            last: (1..=count).collect(),
            ..Model::default()
        };
        model.last[5] = 0;
        let mut oldest = Oldest::default();
        assert_eq!(oldest.next(&model, 1000, (0, 0)), Found::Later);
        // It comes where the search has been, and all others are used after that.
        model.last = (2000..2000 + count).collect();
        model.last[5] = 1001;
        let found = |found: &Found| matches!(found, Found::Oldest(_));
        let mut calls = (0..20).map(|call| oldest.next(&model, 3000 + call, (0, 0)));
        assert_eq!(calls.find(found), Some(Found::Oldest((1001, 5))));
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let (mut oldest, mut model) = (Oldest::default(), Model::default());
        assert_eq!(oldest.next(&model, 5, (0, 0)), Found::Nothing);
        model.last = vec![3, 0, 2, 2];
        let mut next = |after| oldest.next(&model, 5, after);
        assert_eq!(next((0, 0)), Found::Oldest((2, 2)));
        assert_eq!(next((2, 2)), Found::Oldest((2, 3)));
        assert_eq!(next((2, 3)), Found::Oldest((3, 0)));
        assert_eq!(next((3, 0)), Found::Nothing);
        // Those that were passed are found again.
        assert_eq!(next((0, 0)), Found::Oldest((2, 2)));
    }
}
