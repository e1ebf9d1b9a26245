// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What becomes of a frame that is sent.

/// What goes to the wire of a frame. Small, so that it is returned in registers: read back from memory it would
/// cost each packet some nanoseconds.
#[derive(Default)]
pub(super) struct Sent {
    /// Frames on the wire.
    pub(super) frames: u32,
    /// Bytes in all of them. A frame of at most 64 KiB does not become 2^32 bytes.
    pub(super) bytes: u32,
}
