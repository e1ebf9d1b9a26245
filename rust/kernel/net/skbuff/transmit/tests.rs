// SPDX-License-Identifier: GPL-2.0

//! Tests of headers of packets to transmit.

use super::super::{
    tests::packet,
    SkBuff, //
};
use crate::bindings;
use kernel::prelude::*;

const HEADER: &[u8; 14] = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0";
const FRAME: &[u8] = b"stale headers.payload";

/// Another structure for the same bytes, as packet sockets take it.
fn clone_of(skb: &SkBuff) -> Result<SkBuff> {
    // SAFETY: The skb is valid and ours; the caller may sleep.
    let clone = unsafe { bindings::skb_clone(skb.as_raw(), kernel::bindings::GFP_KERNEL) };
    // SAFETY: Null or a new skb that nobody else knows.
    unsafe { SkBuff::from_raw(clone) }.ok_or(ENOMEM)
}

#[kunit_tests(espnic_skbuff_transmit)]
mod cases {
    use super::*;

    #[test]
    fn header_of_a_packet_that_nobody_shares() -> Result {
        let mut skb = packet(FRAME)?;
        let before = skb.head().as_ptr();
        skb.set_ethernet(HEADER)?;
        assert_eq!(skb.head()[..14], *HEADER);
        assert_eq!(&skb.head()[14..], b"payload");
        assert_eq!(skb.head().as_ptr(), before);
        Ok(())
    }

    #[test]
    fn clones_keep_their_header() -> Result {
        let mut skb = packet(FRAME)?;
        let clone = clone_of(&skb)?;
        skb.set_ethernet(HEADER)?;
        assert_eq!(skb.head()[..14], *HEADER);
        assert_eq!(&skb.head()[14..], b"payload");
        assert_eq!(clone.head(), FRAME);
        Ok(())
    }

    #[test]
    fn no_room_for_a_header() -> Result {
        let mut skb = packet(&FRAME[..13])?;
        assert_eq!(skb.set_ethernet(HEADER), Err(EINVAL));
        assert_eq!(skb.head(), &FRAME[..13]);
        Ok(())
    }

    #[test]
    fn where_the_stack_has_put_ip() -> Result {
        let skb = packet(FRAME)?;
        // ETH_P_IPV6 of include/uapi/linux/if_ether.h.
        // SAFETY: The skb is valid and ours.
        unsafe { bindings::skb_set_network(skb.as_raw(), 0x86dd, 0) };
        assert_eq!(skb.protocol(), 0x86dd);
        assert_eq!(skb.network_offset(), Some(0));
        // SAFETY: The skb is valid and ours, and longer than that.
        unsafe { bindings::skb_pull(skb.as_raw(), 1) };
        assert_eq!(skb.network_offset(), None);
        Ok(())
    }
}
