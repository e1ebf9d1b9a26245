// SPDX-License-Identifier: GPL-2.0

//! Tests of the sign of packet offload.

use super::{
    OutputSkb,
    Sign, //
};
use crate::{
    bindings,
    net::skbuff::{
        tests::packet,
        SkBuff, //
    }, //
};
use kernel::prelude::*;

/// Signs a packet, as a driver does when the stack asks it.
fn put(skb: &mut SkBuff, sign: &Sign) -> Result {
    // SAFETY: The skb is valid and the test's alone.
    unsafe { OutputSkb::from_raw(skb.as_raw()) }.sign(sign)
}

/// How many states the packet's secpath has, and whether it asks for an offload.
fn secpath(skb: &SkBuff) -> (bool, bool) {
    // SAFETY: The skb is valid and the test's alone.
    let (last, offload) = unsafe {
        (
            bindings::skb_last_state(skb.as_raw()),
            bindings::xfrm_offload(skb.as_raw()),
        )
    };
    (!last.is_null(), !offload.is_null())
}

#[kunit_tests(espnic_xfrm_sign)]
mod cases {
    use super::*;

    #[test]
    fn stays_with_clones_and_beyond_its_maker() -> Result {
        let (sign, other) = (Sign::new()?, Sign::new()?);
        let mut skb = packet(b"packet")?;
        assert!(!skb.has_sign(&sign));
        put(&mut skb, &sign)?;
        assert!(skb.has_sign(&sign) && !skb.has_sign(&other));
        // SAFETY: The skb is valid and ours; the test may sleep.
        let clone = unsafe { bindings::skb_clone(skb.as_raw(), kernel::bindings::GFP_KERNEL) };
        // SAFETY: Null or a new skb that nobody else knows.
        let clone = unsafe { SkBuff::from_raw(clone) }.ok_or(ENOMEM)?;
        drop(skb);
        assert!(clone.has_sign(&sign));
        drop(sign);
        assert_eq!(secpath(&clone), (true, false));
        Ok(())
    }

    #[test]
    fn no_offload_for_the_stack() -> Result {
        let sign = Sign::new()?;
        let mut skb = packet(b"packet")?;
        put(&mut skb, &sign)?;
        assert_eq!(secpath(&skb), (true, false));
        assert!(skb.tx_offload().is_none());
        // A packet may be shown to the driver again.
        put(&mut skb, &sign)?;
        assert!(skb.has_sign(&sign));
        assert_eq!(secpath(&skb), (true, false));
        Ok(())
    }
}
