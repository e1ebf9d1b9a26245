// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets as the driver has written them: in a single buffer, or across a chain.

use crate::memory::{GuestMap, Stretch};
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;

/// Where header and frame are that the driver has written.
pub(super) trait Source {
    fn len(&self) -> Option<usize>;
    fn read_header(&self, to: &mut [u8]) -> Result<(), RingError>;
    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), RingError>;
}

/// In one place.
impl Source for Stretch<'_> {
    #[inline(always)]
    fn len(&self) -> Option<usize> {
        Some(self.size())
    }

    #[inline(always)]
    fn read_header(&self, to: &mut [u8]) -> Result<(), RingError> {
        Stretch::read_header(self, to).ok_or(RingError::Size)
    }

    #[inline(always)]
    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), RingError> {
        Stretch::read(self, at, to).ok_or(RingError::Size)
    }
}

impl Source for (&Chain, &GuestMap) {
    #[inline(always)]
    fn len(&self) -> Option<usize> {
        usize::try_from(self.0.readable_len()).ok()
    }

    #[inline(always)]
    fn read_header(&self, to: &mut [u8]) -> Result<(), RingError> {
        self.0.read_header(self.1, to)
    }

    #[inline(always)]
    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), RingError> {
        self.0.read(self.1, at as u64, to)
    }
}
