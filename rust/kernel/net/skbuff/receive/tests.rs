// SPDX-License-Identifier: GPL-2.0

//! Tests of received packets that belong to no device.

use super::{
    RxBuffer,
    RxSkb, //
};
use crate::net::skbuff::{
    tests::packet,
    TxChecksum, //
};
use kernel::prelude::*;

/// A buffer that begins with these bytes.
fn buffer(bytes: &[u8]) -> Result<RxBuffer> {
    let buffer = RxBuffer::new().ok_or(ENOMEM)?;
    let fits = bytes.len() <= RxBuffer::capacity() as usize;
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
        let longer = RxBuffer::capacity() + 1;
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
        assert_eq!(RxBuffer::TRUESIZE, 2048);
        assert!(RxBuffer::capacity() >= 1500 && RxBuffer::capacity() <= 2048 - 64 - 256);
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
