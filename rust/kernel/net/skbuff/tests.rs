// SPDX-License-Identifier: GPL-2.0

//! Tests of socket buffers that belong to no device.

use super::{
    PeekSkb,
    SkBuff,
    TxChecksum, //
};
use crate::bindings;
use kernel::prelude::*;

/// A packet with these bytes in one piece.
pub(crate) fn packet(bytes: &[u8]) -> Result<SkBuff> {
    let len = u32::try_from(bytes.len()).map_err(|_| EINVAL)?;
    // SAFETY: The caller may sleep. The buffer gets room for `len` bytes.
    let skb = unsafe {
        bindings::__alloc_skb(
            len,
            kernel::bindings::GFP_KERNEL,
            0,
            kernel::bindings::NUMA_NO_NODE,
        )
    };
    // SAFETY: Null or a new skb that nobody else knows.
    let skb = unsafe { SkBuff::from_raw(skb) }.ok_or(ENOMEM)?;
    // SAFETY: The new skb is empty and has room for `len` bytes, which `skb_put()` returns.
    unsafe {
        let to: *mut u8 = bindings::skb_put(skb.as_raw(), len).cast();
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
    }
    Ok(skb)
}

#[kunit_tests(espnic_skbuff)]
mod cases {
    use super::*;

    #[test]
    fn bytes_in_one_piece() -> Result {
        let skb = packet(b"0123456789")?;
        assert_eq!((skb.len(), skb.is_empty()), (10, false));
        assert_eq!(skb.head(), b"0123456789");
        let mut bytes = [0; 4];
        skb.copy_bits(6, &mut bytes)?;
        assert_eq!(&bytes, b"6789");
        Ok(())
    }

    #[test]
    fn bytes_behind_the_end() -> Result {
        let skb = packet(b"0123456789")?;
        let mut bytes = [0xaa; 4];
        for offset in [7, 10, 11, 0x7fff_ffff, 0xffff_fffe, u32::MAX] {
            assert_eq!(skb.copy_bits(offset, &mut bytes), Err(EFAULT));
        }
        assert_eq!(bytes, [0xaa; 4]);
        Ok(())
    }

    #[test]
    fn empty_packet() -> Result {
        let skb = packet(b"")?;
        assert!(skb.is_empty() && skb.head().is_empty());
        assert_eq!(skb.copy_bits(0, &mut [0]), Err(EFAULT));
        assert_eq!(skb.copy_bits(0, &mut []), Ok(()));
        Ok(())
    }

    #[test]
    fn no_segmentation_asked_for() -> Result {
        let skb = packet(b"0123456789")?;
        assert!(skb.gso().is_none());
        // SAFETY: The skb stays for the look.
        let peek = unsafe { PeekSkb::from_raw(skb.as_raw()) };
        assert!(!peek.is_gso() && !peek.is_untrusted_gso());
        Ok(())
    }

    #[test]
    fn no_checksum_asked_for() -> Result {
        assert!(packet(b"0123456789")?.tx_checksum() == TxChecksum::Done);
        Ok(())
    }
}
