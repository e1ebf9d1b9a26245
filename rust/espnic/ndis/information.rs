// SPDX-License-Identifier: GPL-2.0

//! What a request is about, copied out of the caller's memory.

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

/// Information in the kernel: it may hold keys, and is erased at the end.
pub(super) struct Information(KVVec<u8>);

impl Drop for Information {
    fn drop(&mut self) {
        random::erase(&mut self.0);
    }
}

impl Information {
    /// Copies the caller's information buffer, of one that is too long the first part.
    pub(super) fn read(request: &Request) -> Result<Self> {
        Self::copy(request.buffer, Self::length(request))
    }

    /// Copies something else of the caller's that must not stay in memory.
    pub(super) fn copy(address: u64, length: usize) -> Result<Self> {
        let mut user = Self::user(address, length)?.reader();
        let mut copy = Self(KVVec::new());
        // Has its length before the copy begins: what came of one that fails is erased, too.
        copy.0.resize(length, 0, GFP_KERNEL)?;
        user.read_slice(&mut copy.0)?;
        Ok(copy)
    }

    /// What is in it, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many handles there are in one of nothing else.
    pub(super) fn handles(&self) -> u32 {
        u32::try_from(self.0.len() / size_of::<u64>()).unwrap_or(0)
    }

    /// The handles of an addition's elements, 0 for NULL, and nothing else; `None` of other requests.
    /// What was there is erased.
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

    /// Those of a list: an element is longer than a handle, so that none is overwritten before it is read.
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

    /// Writes the handle number `at`; the number of the next one.
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

    /// Bytes of the caller's buffer that are looked at.
    fn length(request: &Request) -> usize {
        request.buffer_length.min(MAX_BUFFER) as usize
    }

    fn user(address: u64, length: usize) -> Result<UserSlice> {
        let address = usize::try_from(address).map_err(|_| EFAULT)?;
        Ok(UserSlice::new(UserPtr::from_addr(address), length))
    }
}
