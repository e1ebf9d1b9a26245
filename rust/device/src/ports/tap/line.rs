// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a port needs of an interface.

use std::io;

/// The operations on an interface that the port needs.
pub(super) trait Line: Send + Sync + 'static {
    /// Waits for a frame and returns its length.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&self, frame: &[u8]) -> io::Result<usize>;
}
