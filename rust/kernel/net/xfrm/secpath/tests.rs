// SPDX-License-Identifier: GPL-2.0

//! Tests of marks that packets share.

use super::{
    RxStatus,
    State,
    SPARE, //
};
use crate::{
    bindings,
    net::{
        skbuff::{
            tests::packet,
            RxSkb, //
        },
        xfrm::create::fixture::{
            Change,
            TestState,
            IPV4, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// A packet with the result of the device.
fn marked(x: &State, status: RxStatus) -> Result<RxSkb> {
    let mut skb = RxSkb::of(packet(b"ESP")?);
    skb.set_rx_offload(ARef::from(x), status)?;
    Ok(skb)
}

/// Whether XFRM would take the packet for one that the device has decrypted.
fn is_pending(skb: &RxSkb) -> bool {
    // SAFETY: The skb is valid and the test's alone.
    !unsafe { bindings::xfrm_offload(skb.as_raw()) }.is_null()
}

#[kunit_tests(espnic_xfrm_secpath)]
mod cases {
    use super::*;

    #[test]
    fn shared_mark() -> Result {
        let x = TestState::new(&IPV4)?;
        let first = marked(&x, RxStatus::Success)?;
        let mut mark = first.esp_mark(&x).ok_or(ENOENT)?;
        // One reference for all that share it.
        assert_eq!(x.references(), 2);
        let mut others = [packet(b"a")?, packet(b"b")?].map(RxSkb::of);
        for skb in &mut others {
            assert!(!is_pending(skb));
            skb.share_esp_mark(&mut mark)?;
            assert!(is_pending(skb));
            // XFRM is through with it.
            mark.set_pending(false);
            assert!(!is_pending(skb) && !is_pending(&first));
        }
        assert_eq!(others[0].share_esp_mark(&mut mark), Err(EBUSY));
        drop((first, mark));
        assert_eq!(x.references(), 2);
        drop(others);
        assert_eq!(x.references(), 1);
        Ok(())
    }

    #[test]
    fn references_of_the_mark() -> Result {
        let x = TestState::new(&IPV4)?;
        let first = marked(&x, RxStatus::Success)?;
        let mut mark = first.esp_mark(&x).ok_or(ENOENT)?;
        // XFRM takes it for one that receive offload has seen.
        // SAFETY: The skb is valid and the test's alone, and has offload data.
        let flags = unsafe { (*bindings::xfrm_offload(first.as_raw())).flags };
        assert_eq!(flags, bindings::CRYPTO_DONE | bindings::XFRM_GRO);
        mark.set_pending(false);
        // More than are taken at a time.
        for _ in 0..u32::from(SPARE) + 1 {
            let (extensions, output_mark) = mark.share();
            assert_eq!(output_mark, 0);
            assert!(is_pending(&first));
            // SAFETY: The reference was given to the test, which has no other ones.
            unsafe { bindings::skb_put_extensions(extensions, 0) };
            mark.set_pending(false);
        }
        drop((first, mark));
        assert_eq!(x.references(), 1);
        Ok(())
    }

    #[test]
    fn nothing_is_pending_after_the_run() -> Result {
        let x = TestState::new(&IPV4)?;
        let first = marked(&x, RxStatus::Success)?;
        let mut mark = first.esp_mark(&x).ok_or(ENOENT)?;
        let mut dropped = RxSkb::of(packet(b"a")?);
        dropped.share_esp_mark(&mut mark)?;
        drop(dropped);
        assert!(is_pending(&first));
        drop(mark);
        assert!(!is_pending(&first));
        Ok(())
    }

    #[test]
    fn marks_that_are_not_shared() -> Result {
        let x = TestState::new(&IPV4)?;
        assert!(marked(&x, RxStatus::AuthFailed)?.esp_mark(&x).is_none());
        assert!(marked(&x, RxStatus::BadSyntax)?.esp_mark(&x).is_none());
        assert!(RxSkb::of(packet(b"clear")?).esp_mark(&x).is_none());
        // Of a state for an XFRM interface.
        let x = TestState::changed(&IPV4, Change::Interface(9))?;
        assert!(marked(&x, RxStatus::Success)?.esp_mark(&x).is_none());
        Ok(())
    }
}
