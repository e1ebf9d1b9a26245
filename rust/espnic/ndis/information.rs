// SPDX-License-Identifier: GPL-2.0

//! Information buffers, copied from the caller's memory.

use espnic_ndis::{
    envelope::{
        Request,
        MAX_BUFFER, //
    },
    sa::{
        AddSa,
        AddSaEx, //
    },
    Handle,
    Oid, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use kernel_net::random;

/// A copy of an information buffer. It may hold keys, so its drop erases it.
pub(super) struct Information(KVVec<u8>);

impl Drop for Information {
    fn drop(&mut self) {
        random::erase(&mut self.0);
    }
}

impl Information {
    /// Copies the caller's information buffer, or the first part of one that is too long.
    pub(super) fn read(request: &Request) -> Result<Self> {
        Self::copy(request.buffer, Self::length(request))
    }

    /// Copies other memory of the caller that must be erased after use.
    pub(super) fn copy(address: u64, length: usize) -> Result<Self> {
        let mut user = Self::user(address, length)?.reader();
        let mut copy = Self(KVVec::new());
        // The length is set before the copy begins, so that the part of a failed copy is erased, too.
        copy.0.resize(length, 0, GFP_KERNEL)?;
        user.read_slice(&mut copy.0)?;
        Ok(copy)
    }

    /// The bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of handles in a buffer of [`Self::into_handles`].
    pub(super) fn handles(&self) -> u32 {
        u32::try_from(self.0.len() / size_of::<u64>()).unwrap_or(0)
    }

    /// Reduces the buffer of an addition to the handles of its elements, 0 for NULL, and erases the rest.
    /// `None` for other requests.
    pub(super) fn into_handles(mut self, request: &Request) -> Option<Self> {
        let count = match Oid(request.oid) {
            Oid::ADD_SA_EX => {
                let handle = AddSaEx::handle(&self.0).ok().flatten();
                self.put_handle(0, handle)
            }
            Oid::ADD_SA => self.gather_handles(),
            _ => return None,
        };
        let length = count.saturating_mul(size_of::<u64>());
        if let Some(rest) = self.0.get_mut(length..) {
            random::erase(rest);
        }
        self.0.truncate(length);
        Some(self)
    }

    /// Gathers the handles of a list in place. An element is longer than a handle, so none is overwritten
    /// before it is read.
    fn gather_handles(&mut self) -> usize {
        let mut count = 0;
        let mut at = Some(0);
        while let Some(offset) = at {
            let Ok(element) = AddSa::parse(&self.0, offset) else {
                break;
            };
            at = element.next();
            let handle = element.fixed.offload_handle.handle();
            count = self.put_handle(count, handle);
        }
        count
    }

    /// Writes the handle number `at`; returns the number of the next one.
    fn put_handle(&mut self, at: usize, handle: Option<Handle>) -> usize {
        let start = at.saturating_mul(size_of::<u64>());
        let bytes = handle.map_or(0, Handle::get).to_ne_bytes();
        let to = self.0.get_mut(start..).unwrap_or_default();
        to.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        at.saturating_add(1)
    }

    /// Copies it back to where it came from.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn write_back(&self, request: &Request) -> Result {
        let user = Self::user(request.buffer, Self::length(request))?;
        user.writer().write_slice(&self.0)
    }

    /// The number of bytes of the caller's buffer that are read.
    fn length(request: &Request) -> usize {
        request.buffer_length.min(MAX_BUFFER) as usize
    }

    fn user(address: u64, length: usize) -> Result<UserSlice> {
        let address = usize::try_from(address).map_err(|_| EFAULT)?;
        Ok(UserSlice::new(UserPtr::from_addr(address), length))
    }
}
