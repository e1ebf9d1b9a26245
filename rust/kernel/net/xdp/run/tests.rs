// SPDX-License-Identifier: GPL-2.0

//! Tests of frames that no program has seen.

use super::RxFrame;
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
        assert_eq!(frame.bytes(), [7; 60]);
        frame.bytes_mut().fill(8);
        assert_eq!(frame.bytes(), [8; 60]);
        Ok(())
    }

    #[test]
    fn copies() -> Result {
        let skb = packet(b"0123456789abcdefgh")?;
        let copy = RxFrame::copy(empty(RxSize::Xdp)?, 0, &skb)?;
        assert_eq!(copy.bytes(), b"0123456789abcdefgh");
        let short = packet(b"0123")?;
        assert!(RxFrame::copy(empty(RxSize::Xdp)?, 0, &short).is_err());
        Ok(())
    }
}
