// SPDX-License-Identifier: GPL-2.0

//! Tests of work.

use super::{
    Run,
    Task, //
};
use crate::sync::Completion;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

#[pin_data]
struct Seen {
    runs: Atomic<u32>,
    #[pin]
    begun: Completion,
    #[pin]
    go: Completion,
}

struct Waiting(Arc<Seen>);

impl Run for Waiting {
    fn run(&self) {
        self.0.begun.complete_all();
        self.0.go.wait_timeout(5000);
        self.0.runs.fetch_add(1, Relaxed);
    }
}

fn seen() -> Result<Arc<Seen>> {
    Arc::pin_init(
        pin_init!(Seen {
            runs: Atomic::new(0),
            begun <- Completion::new(),
            go <- Completion::new(),
        }),
        GFP_KERNEL,
    )
}

#[kunit_tests(espnic_work)]
mod cases {
    use super::*;

    #[test]
    fn a_drop_waits_for_the_run() -> Result {
        let seen = seen()?;
        let task = KBox::pin_init(Task::new(Waiting(seen.clone())), GFP_KERNEL)?;
        task.schedule();
        let begun = seen.begun.wait_timeout(5000);
        seen.go.complete_all();
        drop(task);
        assert!(begun);
        assert_eq!(seen.runs.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn one_that_nobody_wants_does_not_run() -> Result {
        let seen = seen()?;
        drop(KBox::pin_init(
            Task::new(Waiting(seen.clone())),
            GFP_KERNEL,
        )?);
        assert_eq!(seen.runs.load(Relaxed), 0);
        Ok(())
    }
}
