// SPDX-License-Identifier: GPL-2.0

//! Tests of the extack messages of refused requests.

use super::ExtAck;
use crate::bindings;
use core::ptr::null_mut;
use kernel::prelude::*;

/// What is in a structure after `messages` were set.
fn text_after(messages: &[&'static CStr]) -> Option<&'static CStr> {
    // SAFETY: All fields are pointers and integers: zero is a value of each.
    let mut raw: bindings::netlink_ext_ack = unsafe { core::mem::zeroed() };
    // SAFETY: Valid for writes, and outlives the value.
    let mut extack = unsafe { ExtAck::from_raw(&mut raw) };
    messages.iter().for_each(|message| extack.set(message));
    if raw._msg.is_null() {
        return None;
    }
    // SAFETY: Not null, so it is one of the messages, which are static.
    Some(unsafe { CStr::from_char_ptr(raw._msg) })
}

#[kunit_tests(espnic_netlink)]
mod cases {
    use super::*;

    #[test]
    fn nothing_said() {
        assert_eq!(text_after(&[]), None);
    }

    #[test]
    fn message_with_its_end() {
        assert_eq!(text_after(&[c"driver: no"]), Some(c"driver: no"));
    }

    #[test]
    fn last_message_counts() {
        assert_eq!(text_after(&[c"first", c"second"]), Some(c"second"));
    }

    #[test]
    fn nobody_listens() {
        // SAFETY: Null is allowed.
        unsafe { ExtAck::from_raw(null_mut()) }.set(c"unheard");
    }
}
