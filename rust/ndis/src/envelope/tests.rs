// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the numbers.

use super::*;

#[test]
fn ioctl_numbers_are_those_of_the_c_macros() {
    assert_eq!(IOCTL_BIND, 0xc0e8_e500);
    assert_eq!(IOCTL_REQUEST, 0xc048_e501);
    assert_eq!(IOCTL_LIST, 0xc020_e502);
    assert_eq!(IOCTL_INFO, 0x8038_e503);
    assert_eq!(IOCTL_SET_KEYWORD, 0x4010_e504);
    assert_eq!(IOCTL_GET_KEYWORD, 0xc010_e505);
    assert_eq!(IOCTL_RESTART, 0x4008_e506);
    assert_eq!(IOCTL_PEND, 0xc048_e507);
    assert_eq!(IOCTL_CANCEL, 0x4008_e508);
    assert_eq!(IOCTL_SUBMIT, 0xc038_e509);
}

#[test]
fn the_longest_record_is_a_completed_addition() {
    let head = size_of::<Record>();
    assert_eq!(
        MAX_RECORD,
        head + size_of::<Completed>() + MAX_HANDLES * size_of::<u64>()
    );
    assert!(head + size_of::<Indication>() + INDICATION_BUFFER <= MAX_RECORD);
    assert!(head + size_of::<Received>() + MAX_BYTES <= MAX_RECORD);
    assert!(head + size_of::<Sent>() + MAX_BYTES <= MAX_RECORD);
}
