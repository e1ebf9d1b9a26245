// SPDX-License-Identifier: GPL-2.0

//! Tests of locks and of the completion.

use super::{
    Completion,
    SpinLockBh,
    SpinLockIrq, //
};
use crate::new_lock;
use kernel::prelude::*;

// An assertion that fails ends the thread where it is, so none is made under a lock.
#[kunit_tests(espnic_sync)]
mod cases {
    use super::*;

    #[test]
    fn softirq_lock_excludes() -> Result {
        let lock: Pin<KBox<SpinLockBh<u32>>> = KBox::pin_init(new_lock!(1u32), GFP_KERNEL)?;
        let mut guard = lock.lock();
        *guard = 2;
        let excluded = lock.try_lock().is_none();
        drop(guard);
        assert!(excluded);
        let guard = lock.try_lock().ok_or(EBUSY)?;
        let (value, excluded) = (*guard, lock.try_lock().is_none());
        drop(guard);
        assert!(value == 2 && excluded);
        // Given back by both.
        assert!(lock.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn interrupt_lock_excludes() -> Result {
        let lock: Pin<KBox<SpinLockIrq<u32>>> = KBox::pin_init(new_lock!(1u32), GFP_KERNEL)?;
        let mut guard = lock.lock();
        *guard = 2;
        let excluded = lock.try_lock().is_none();
        drop(guard);
        assert!(excluded);
        let guard = lock.try_lock().ok_or(EBUSY)?;
        let (value, excluded) = (*guard, lock.try_lock().is_none());
        drop(guard);
        assert!(value == 2 && excluded);
        // Given back by both.
        assert!(lock.try_lock().is_some());
        Ok(())
    }

    #[test]
    fn locks_of_their_own() -> Result {
        let first: Pin<KBox<SpinLockBh<()>>> = KBox::pin_init(new_lock!(()), GFP_KERNEL)?;
        let second: Pin<KBox<SpinLockBh<()>>> = KBox::pin_init(new_lock!(()), GFP_KERNEL)?;
        let guard = first.lock();
        let other_is_free = second.try_lock().is_some();
        drop(guard);
        assert!(other_is_free);
        Ok(())
    }

    #[test]
    fn completion_is_for_good() -> Result {
        let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        assert!(!done.wait_timeout(1));
        done.complete_all();
        assert!(done.wait_timeout(0) && done.wait_timeout(1000));
        Ok(())
    }
}
