// SPDX-License-Identifier: GPL-2.0

//! Tests of received packets that belong to no device.

use super::{
    RxBuffer,
    RxSize,
    RxSkb, //
};
use crate::net::{
    ip::Family,
    page_pool::PagePool,
    skbuff::{
        tests::packet,
        TxChecksum, //
    }, //
};
use kernel::prelude::*;

/// A buffer of a pool of its own.
fn empty(size: RxSize) -> Result<RxBuffer> {
    PagePool::new(1)?.buffer(size).ok_or(ENOMEM)
}

/// A buffer that begins with these bytes.
fn buffer(bytes: &[u8]) -> Result<RxBuffer> {
    let buffer = empty(RxSize::Small)?;
    let fits = bytes.len() <= buffer.capacity() as usize;
    // SAFETY: The buffer is ours alone, and longer than `bytes`, as was asked.
    fits.then(|| unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.data(), bytes.len());
    })
    .ok_or(EINVAL)?;
    Ok(buffer)
}

#[kunit_tests(espnic_skbuff_receive)]
mod cases {
    use super::*;

    #[test]
    fn appended_pieces() -> Result {
        let mut skb = RxSkb(packet(b"0123")?);
        skb.append(buffer(b"abcdefgh")?, 6)?;
        assert_eq!(skb.len(), 10);
        assert_eq!(skb.head(), b"0123");
        let mut bytes = [0; 6];
        skb.copy_bits(2, &mut bytes)?;
        assert_eq!(&bytes, b"23abcd");
        // Only as much of the buffer as was said.
        assert_eq!(skb.copy_bits(5, &mut bytes), Err(EFAULT));
        Ok(())
    }

    #[test]
    fn pieces_that_do_not_fit() -> Result {
        let mut skb = RxSkb(packet(b"0123")?);
        assert_eq!(skb.append(buffer(b"")?, 0), Err(EINVAL));
        let longer = RxSize::Small.capacity() + 1;
        assert_eq!(skb.append(buffer(b"")?, longer), Err(EINVAL));
        assert_eq!(skb.append(buffer(b"")?, u32::MAX), Err(EINVAL));
        // MAX_SKB_FRAGS is 17 unless configured higher.
        for _ in 0..17 {
            skb.append(buffer(b"x")?, 1)?;
        }
        assert_eq!(skb.append(buffer(b"x")?, 1), Err(ENOSPC));
        assert_eq!(skb.len(), 21);
        Ok(())
    }

    #[test]
    fn buffers_leave_room() {
        // Behind 64 bytes of headroom, and in front of what the stack keeps of a packet.
        for (size, memory) in [(RxSize::Small, 2048), (RxSize::Large, 4096)] {
            let least = memory - 64 - 512;
            assert_eq!(size.truesize(), memory);
            assert!(size.capacity() >= least && size.capacity() <= memory - 64 - 256);
        }
        // The largest IP packet, with headers around it.
        assert!(RxSkb::capacity(RxSize::Large) > 0xffff + 100);
    }

    #[test]
    fn a_buffer_keeps_its_size() -> Result {
        for size in [RxSize::Small, RxSize::Large, RxSize::Xdp] {
            let mut buffer = empty(size)?;
            buffer.memory().fill(7);
            let (first, raw) = (buffer.as_ptr(), buffer.into_raw());
            // SAFETY: It comes from `into_raw`, and is given back once.
            let buffer = unsafe { RxBuffer::from_raw(raw) };
            assert_eq!(
                (buffer.as_ptr(), buffer.capacity()),
                (first, size.capacity())
            );
            assert!(buffer.bytes(u32::MAX).iter().all(|&byte| byte == 7));
        }
        Ok(())
    }

    #[test]
    fn whole_memory_is_appended() -> Result {
        let mut skb = RxSkb(packet(b"0123")?);
        let (mut buffer, size) = (empty(RxSize::Large)?, 4096);
        buffer.memory().fill(7);
        skb.append_memory(buffer, size)?;
        assert_eq!(skb.len(), 4 + size);
        let mut end = [0; 2];
        skb.copy_bits(2 + size, &mut end)?;
        assert_eq!(end, [7; 2]);
        for len in [0, size + 1] {
            let buffer = empty(RxSize::Large)?;
            assert_eq!(skb.append_memory(buffer, len), Err(EINVAL));
        }
        Ok(())
    }

    #[test]
    fn segments_in_one_packet() -> Result {
        let mut skb = RxSkb(packet(&[0; 60])?);
        assert!(!skb.set_gso(Family::V4, 0, 1, true) && !skb.set_gso(Family::V4, 1, 0, true));
        assert!(skb.gso().is_none());
        for (family, counted) in [(Family::V4, true), (Family::V6, false), (Family::V6, true)] {
            assert!(skb.set_gso(family, 1448, 3, counted));
            let gso = skb.gso().ok_or(EINVAL)?;
            assert!(gso.tcp == Some(family) && gso.untrusted != counted);
            assert_eq!((gso.size, gso.segments), (1448, 3));
        }
        Ok(())
    }

    #[test]
    fn checksum_to_be_done() -> Result {
        let mut skb = RxSkb(packet(&[0; 60])?);
        assert!(skb.tx_checksum() == TxChecksum::Done);
        assert!(skb.set_checksum_partial(34, 16));
        let partial = TxChecksum::Partial {
            start: 34,
            offset: 16,
        };
        assert!(skb.tx_checksum() == partial);
        skb.set_checksum_verified();
        assert!(skb.tx_checksum() == TxChecksum::Done);
        Ok(())
    }

    #[test]
    fn checksum_outside_of_the_packet() -> Result {
        let mut skb = RxSkb(packet(&[0; 60])?);
        for (start, offset) in [(61, 0), (50, 16), (60, 0), (0xffff, 0), (0, 0xffff)] {
            assert!(!skb.set_checksum_partial(start, offset));
        }
        assert!(skb.tx_checksum() == TxChecksum::Done);
        Ok(())
    }
}
