// SPDX-License-Identifier: GPL-2.0

//! Tests of pools that belong to no queue.

use super::PagePool;
use crate::net::skbuff::RxSize;
use kernel::prelude::*;

#[kunit_tests(espnic_page_pool)]
mod cases {
    use super::*;

    #[test]
    fn memory_is_used_again() -> Result {
        let mut pool = PagePool::new(64)?;
        let mut buffer = pool.buffer(RxSize::Large).ok_or(ENOMEM)?;
        let first = buffer.memory().as_ptr();
        drop(buffer);
        // It comes back by the ring of pages, behind those that wait there already: none.
        let mut found = false;
        for _ in 0..128 {
            let mut buffer = pool.buffer(RxSize::Large).ok_or(ENOMEM)?;
            found |= buffer.memory().as_ptr() == first;
        }
        assert!(found);
        Ok(())
    }

    #[test]
    fn buffers_do_not_overlap() -> Result {
        let mut pool = PagePool::new(64)?;
        for size in [RxSize::Small, RxSize::Large, RxSize::Xdp] {
            let mut one = pool.buffer(size).ok_or(ENOMEM)?;
            let mut two = pool.buffer(size).ok_or(ENOMEM)?;
            one.memory().fill(1);
            two.memory().fill(2);
            assert_eq!(one.memory().len(), size.truesize() as usize);
            assert!(one.memory().iter().all(|&byte| byte == 1));
        }
        Ok(())
    }

    #[test]
    fn buffers_outlive_their_pool() -> Result {
        let mut pool = PagePool::new(1)?;
        let mut buffer = pool.buffer(RxSize::Small).ok_or(ENOMEM)?;
        drop(pool);
        buffer.memory().fill(3);
        Ok(())
    }

    #[test]
    fn more_than_a_pool_keeps() -> Result {
        let mut pool = PagePool::new(u32::MAX)?;
        assert!(pool.buffer(RxSize::Small).is_some());
        Ok(())
    }
}
