// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Counts what is copied from guest memory and to it, in builds with debug assertions: a test compares that with
//! what must be copied. Values, of which rings are made, do not count.

use std::cell::Cell;

thread_local! {
    static COPIED: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

fn add(more: [usize; 2]) {
    let [from, to] = COPIED.get();
    COPIED.set([from + more[0] as u64, to + more[1] as u64]);
}

/// Bytes are copied from guest memory.
pub(super) fn from_guest(len: usize) {
    add([len, 0]);
}

/// Bytes are copied to guest memory.
pub(super) fn to_guest(len: usize) {
    add([0, len]);
}

/// Bytes that this thread has copied from guest memory and to it since it last asked.
pub fn take() -> [u64; 2] {
    COPIED.replace([0; 2])
}
