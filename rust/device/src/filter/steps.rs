// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the filter costs, counted in steps: time is not the same twice, and a test that measures it finds
//! nothing on a fast machine. Only tests count.

/// A step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A packet is looked up in a table.
    Table,
    /// A byte of a packet is taken for that.
    Byte,
    /// A rule is put into a table.
    Rule,
}

/// Notes a step.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn count(_: Step) {}

#[cfg(test)]
pub(super) use counted::{count, of};

#[cfg(test)]
mod counted {
    use super::Step;
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<[usize; 3]> = const { Cell::new([0; 3]) };
    }

    /// Notes a step of this thread.
    pub(in super::super) fn count(step: Step) {
        let mut steps = STEPS.get();
        steps[step as usize] += 1;
        STEPS.set(steps);
    }

    /// The steps that `work` takes: tables, bytes and rules.
    pub(in super::super) fn of(work: impl FnOnce()) -> [usize; 3] {
        STEPS.set([0; 3]);
        work();
        STEPS.get()
    }
}
