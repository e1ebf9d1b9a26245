// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reading and writing layouts at offsets that are not trusted.

use crate::Status;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A fault of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The buffer ends too early; this many bytes from its start are needed.
    Length {
        /// Bytes that the buffer must have at least.
        needed: usize,
    },
    /// The header has another object type.
    Type,
    /// The header has a revision that is not supported.
    Revision,
    /// The header's Size is below that of its revision.
    Size,
    /// Next does not lead forward to an aligned offset behind the element and inside the buffer.
    Link,
    /// NumExtHdrs is neither 1 nor 2.
    Count,
    /// A key lies outside of the key buffer, or the key buffer outside of its element.
    Key,
}

impl Fault {
    /// The status for a request whose buffer has this fault.
    pub fn status(self) -> Status {
        match self {
            Self::Length { .. } => Status::INVALID_LENGTH,
            _ => Status::INVALID_DATA,
        }
    }

    /// BytesNeeded of the request, 0 where the length is not the fault.
    pub fn needed(self) -> u32 {
        match self {
            Self::Length { needed } => u32::try_from(needed).unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

/// The bytes from `at` to `at + len`.
pub(crate) fn range(buffer: &[u8], at: usize, len: usize) -> Result<&[u8], Fault> {
    let end = at
        .checked_add(len)
        .ok_or(Fault::Length { needed: usize::MAX })?;
    buffer.get(at..end).ok_or(Fault::Length { needed: end })
}

/// A view of a `T` at `at`.
pub(crate) fn view<T>(buffer: &[u8], at: usize) -> Result<&T, Fault>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let bytes = range(buffer, at, size_of::<T>())?;
    T::ref_from_bytes(bytes).map_err(|_| Fault::Length { needed: usize::MAX })
}

/// A copy of the first `len` bytes of a `T` at `at`, the rest zero. Bytes of `T` behind `len` belong
/// to the tail padding or to a later revision.
pub(crate) fn prefix<T>(buffer: &[u8], at: usize, len: usize) -> Result<T, Fault>
where
    T: FromBytes + IntoBytes,
{
    let bytes = range(buffer, at, len)?;
    let mut value = T::new_zeroed();
    for (to, from) in value.as_mut_bytes().iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(value)
}

/// Copies `bytes` to `at` and returns the offset behind them.
pub(crate) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) -> Result<usize, Fault> {
    let end = at
        .checked_add(bytes.len())
        .ok_or(Fault::Length { needed: usize::MAX })?;
    buffer
        .get_mut(at..end)
        .ok_or(Fault::Length { needed: end })?
        .copy_from_slice(bytes);
    Ok(end)
}
