// SPDX-License-Identifier: GPL-2.0

//! Tests of frames that no program has seen.

use super::{
    RxFrame,
    HEAD, //
};
use crate::net::{
    page_pool::PagePool,
    skbuff::{
        tests::packet,
        RxBuffer,
        RxSize, //
    }, //
};
use kernel::prelude::*;

fn empty(size: RxSize) -> Result<RxBuffer> {
    PagePool::new(1)?.buffer(size).ok_or(ENOMEM)
}

#[kunit_tests(espnic_xdp_run)]
mod cases {
    use super::*;

    #[test]
    fn which_frames_there_can_be() -> Result {
        let most = RxSize::Xdp.capacity();
        // A page with 256 bytes in front, and behind it what the stack keeps of a packet.
        assert!(most <= 4096 - 256 - 256 && most >= 4096 - 512 - 512);
        for (skip, len, fits) in [
            (0, 14, true),
            (0, most, true),
            (48, most - 48, true),
            (0, 13, false),
            (0, most + 1, false),
            (48, most - 47, false),
            (u16::MAX, u32::MAX, false),
        ] {
            let frame = RxFrame::new(empty(RxSize::Xdp)?, skip, len);
            assert_eq!(frame.map(|frame| frame.len()).ok(), fits.then_some(len));
        }
        for size in [RxSize::Small, RxSize::Large] {
            assert!(RxFrame::new(empty(size)?, 0, 60).is_err());
        }
        Ok(())
    }

    #[test]
    fn where_a_frame_is() -> Result {
        let mut buffer = empty(RxSize::Xdp)?;
        buffer.memory().fill(7);
        let mut frame = RxFrame::new(buffer, 12, 60)?;
        assert_eq!(frame.first(), [7; 60]);
        frame.first_mut().fill(8);
        assert_eq!(frame.first(), [8; 60]);
        Ok(())
    }

    #[test]
    fn copies() -> Result {
        let skb = packet(b"0123456789abcdefgh")?;
        let copy = RxFrame::copy(0, &skb, || empty(RxSize::Xdp).ok())?;
        assert_eq!(copy.first(), b"0123456789abcdefgh");
        assert!(RxFrame::copy(0, &skb, || None).is_err());
        let short = packet(b"0123")?;
        assert!(RxFrame::copy(0, &short, || empty(RxSize::Xdp).ok()).is_err());
        Ok(())
    }

    #[test]
    fn copies_in_pieces() -> Result {
        let mut bytes = KVec::new();
        for n in 0..10_000u32 {
            bytes.push((n * 7 + n / 251) as u8, GFP_KERNEL)?;
        }
        let skb = packet(&bytes)?;
        let mut copy = RxFrame::copy(48, &skb, || empty(RxSize::Xdp).ok())?;
        let first = (RxSize::Xdp.capacity() - 48) as usize;
        assert_eq!(copy.len(), 10_000);
        let (begin, rest) = copy.split_mut();
        let mut at = first;
        assert_eq!(begin, bytes.get(..first).ok_or(EINVAL)?);
        for piece in rest {
            let end = at + piece.len();
            assert_eq!(piece, bytes.get(at..end).ok_or(EINVAL)?);
            at = end;
        }
        assert_eq!(at, 10_000);
        // The second buffer is missing.
        let mut one = Some(empty(RxSize::Xdp)?);
        assert!(RxFrame::copy(48, &skb, || one.take()).is_err());
        Ok(())
    }

    #[test]
    fn which_pieces_there_can_be() -> Result {
        let mut frame = RxFrame::new(empty(RxSize::Xdp)?, 12, 60)?;
        let most = RxSize::Xdp.capacity();
        for (size, len) in [
            (RxSize::Xdp, 0),
            (RxSize::Xdp, most + 1),
            (RxSize::Xdp, u32::MAX),
            (RxSize::Small, 1),
            (RxSize::Large, 1),
        ] {
            assert_eq!(frame.append(empty(size)?, len), Err(EINVAL));
        }
        assert_eq!(frame.append_memory(empty(RxSize::Xdp)?, 4097), Err(EINVAL));
        assert_eq!(frame.len(), 60);
        frame.append_memory(empty(RxSize::Xdp)?, 4096)?;
        // MAX_SKB_FRAGS is 17 unless configured higher.
        for _ in 0..16 {
            frame.append(empty(RxSize::Xdp)?, most)?;
        }
        assert_eq!(frame.append(empty(RxSize::Xdp)?, 1), Err(ENOSPC));
        assert_eq!(frame.len(), 60 + 4096 + 16 * most);
        Ok(())
    }

    #[test]
    fn headers_are_read_across_pieces() -> Result {
        let mut frame = RxFrame::new(empty(RxSize::Xdp)?, 0, 60)?;
        frame.first_mut().fill(1);
        assert_eq!(frame.with_head(|head| head.len()), 60);
        for (value, len) in [(2, 40), (3, 4096)] {
            let mut piece = empty(RxSize::Xdp)?;
            piece.memory().fill(value);
            frame.append_memory(piece, len)?;
        }
        frame.with_head(|head| {
            assert_eq!(head.len(), HEAD);
            assert!(head.starts_with(&[1; 60]));
            assert_eq!(head.get(60..100), Some([2; 40].as_slice()));
            assert!(head.ends_with(&[3; 100]));
        });
        Ok(())
    }

    #[test]
    fn memory_of_pieces_comes_back() -> Result {
        let mut pool = PagePool::new(64)?;
        let mut frame = RxFrame::new(empty(RxSize::Xdp)?, 0, 60)?;
        let mut piece = pool.buffer(RxSize::Xdp).ok_or(ENOMEM)?;
        let place = piece.memory().as_ptr();
        frame.append(piece, 1)?;
        drop(frame);
        // It comes back by the ring of pages, behind those that wait there already: none.
        let mut found = false;
        for _ in 0..128 {
            let mut buffer = pool.buffer(RxSize::Xdp).ok_or(ENOMEM)?;
            found |= buffer.memory().as_ptr() == place;
        }
        assert!(found);
        Ok(())
    }
}
