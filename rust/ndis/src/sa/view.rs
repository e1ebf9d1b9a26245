// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reading SA requests from untrusted buffers.
//!
//! Next is an offset from the start of the buffer; 0 ends the list. It leads forward to a multiple
//! of 8 behind the fixed part of its element, so elements do not overlap and lists end.

use super::{
    AddSa, AddSaEx, AddSaFixed, Address, DeleteSa, Endpoints, SecurityAssociation, UpdateSa,
};
use super::{UdpEsp, INBOUND, IPV6, MAX_EXTENSION_HEADERS};
use crate::algorithm::AlgorithmInfo;
use crate::bytes::{prefix, put, range, view};
use crate::{Fault, Handle, ObjectHeader, Ptr};
use core::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Alignment of the elements of a list.
pub const ALIGNMENT: usize = 8;

/// Where the list goes on behind the element from `at` to `end`; `None` at its end.
fn follow(buffer: &[u8], end: usize, next: Ptr) -> Result<Option<usize>, Fault> {
    if next == Ptr::NULL {
        return Ok(None);
    }
    let next = usize::try_from(next.get()).map_err(|_| Fault::Link)?;
    if next < end || next & (ALIGNMENT - 1) != 0 || next >= buffer.len() {
        return Err(Fault::Link);
    }
    Ok(Some(next))
}

/// Checks a header of type DEFAULT against the one that is written.
fn check(header: &ObjectHeader, expected: ObjectHeader) -> Result<(), Fault> {
    header.check(
        crate::object::ObjectType(expected.object_type),
        expected.revision,
        expected.size.get(),
    )
}

/// `n` as a number of bytes.
fn bytes(n: zerocopy::little_endian::U32) -> Result<usize, Fault> {
    usize::try_from(n.get()).map_err(|_| Fault::Key)
}

/// What ADD_SA and ADD_SA_EX say about one bundle.
#[derive(Clone, Copy)]
pub struct BundleView<'a> {
    num_ext_hdrs: u32,
    /// [`INBOUND`], [`IPV6`].
    pub flags: u32,
    /// Addresses as they stand in the structure; [`BundleView::source`] picks the union member.
    pub endpoints: &'a Endpoints,
    /// UdpEspEncapsulation.
    pub udp_esp: UdpEsp,
    /// Both elements of SecAssoc; [`BundleView::associations`] has those that count.
    pub sec_assoc: &'a [SecurityAssociation; MAX_EXTENSION_HEADERS],
    /// The key buffer.
    key_data: &'a [u8],
}

impl<'a> BundleView<'a> {
    /// NumExtHdrs as it stands in the structure.
    pub fn num_ext_hdrs(&self) -> u32 {
        self.num_ext_hdrs
    }

    /// The elements of SecAssoc that count: one or two.
    pub fn associations(&self) -> Result<&'a [SecurityAssociation], Fault> {
        let count = match self.num_ext_hdrs {
            1 => 1,
            2 => 2,
            _ => return Err(Fault::Count),
        };
        self.sec_assoc.get(..count).ok_or(Fault::Count)
    }

    /// Whether the bundle is for received packets.
    pub fn is_inbound(&self) -> bool {
        self.flags & INBOUND != 0
    }

    /// Whether the bundle has IPv6 addresses.
    pub fn is_ipv6(&self) -> bool {
        self.flags & IPV6 != 0
    }

    /// SrcAddr.
    pub fn source(&self) -> Address {
        if self.is_ipv6() {
            Address::V6(self.endpoints.source)
        } else {
            Address::V4(self.endpoints.ipv4().0)
        }
    }

    /// DestAddr.
    pub fn destination(&self) -> Address {
        if self.is_ipv6() {
            Address::V6(self.endpoints.destination)
        } else {
            Address::V4(self.endpoints.ipv4().1)
        }
    }

    /// The whole key buffer.
    pub fn key_data(&self) -> &'a [u8] {
        self.key_data
    }

    /// The key of an algorithm: a range of the key buffer.
    pub fn key(&self, algorithm: &AlgorithmInfo) -> Result<&'a [u8], Fault> {
        let start = bytes(algorithm.key_offset_bytes)?;
        let len = bytes(algorithm.key_length)?;
        range(self.key_data, start, len).map_err(|_| Fault::Key)
    }
}

/// An element of the list of OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA.
#[derive(Clone, Copy)]
pub struct AddSaView<'a> {
    buffer: &'a [u8],
    at: usize,
    next: Option<usize>,
    /// The element without its keys.
    pub fixed: &'a AddSaFixed,
}

impl AddSa {
    /// The element at offset `at`. A fault means that the list cannot be followed any further.
    pub fn parse(buffer: &[u8], at: usize) -> Result<AddSaView<'_>, Fault> {
        range(buffer, at, usize::from(Self::SIZE_1))?;
        let fixed: &AddSaFixed = view(buffer, at)?;
        check(&fixed.header, Self::HEADER)?;
        let end = at.saturating_add(size_of::<AddSaFixed>());
        Ok(AddSaView {
            buffer,
            at,
            next: follow(buffer, end, fixed.next)?,
            fixed,
        })
    }

    /// Writes the handle of the element, NULL for `None`, at offset `at`.
    pub fn set_handle(buffer: &mut [u8], at: usize, handle: Option<Handle>) -> Result<(), Fault> {
        let at = at.saturating_add(offset_of!(AddSaFixed, offload_handle));
        put(buffer, at, Ptr::from(handle).as_bytes()).map(|_| ())
    }
}

impl<'a> AddSaView<'a> {
    /// Offset of this element.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Offset of the next element.
    pub fn next(&self) -> Option<usize> {
        self.next
    }

    /// What the element says. A fault concerns this element only.
    pub fn bundle(&self) -> Result<BundleView<'a>, Fault> {
        let fixed = self.fixed;
        let start = self.at.saturating_add(size_of::<AddSaFixed>());
        let key_data = range(self.buffer, start, bytes(fixed.key_length)?)?;
        if self
            .next
            .is_some_and(|next| start.saturating_add(key_data.len()) > next)
        {
            return Err(Fault::Key);
        }
        Ok(BundleView {
            num_ext_hdrs: fixed.num_ext_hdrs.get(),
            flags: fixed.flags.get(),
            endpoints: &fixed.endpoints,
            udp_esp: UdpEsp(fixed.udp_esp_encapsulation.get()),
            sec_assoc: &fixed.sec_assoc,
            key_data,
        })
    }
}

/// ADD_SA_EX without its tail padding, which need not be in the buffer.
const EX_FIXED: usize = AddSaEx::SIZE_1 as usize;

impl AddSaEx {
    /// The structure at the start of the buffer. The keys lie behind it.
    pub fn parse(buffer: &[u8]) -> Result<BundleView<'_>, Fault> {
        let _ = range(buffer, 0, EX_FIXED)?;
        check(view(buffer, 0)?, Self::HEADER)?;
        let field = |at| view::<crate::U32>(buffer, at);
        let key_length = bytes(*field(offset_of!(Self, key_length))?)?;
        let key_offset = bytes(*field(offset_of!(Self, key_offset))?)?;
        let key_data = if key_length == 0 {
            &[]
        } else if key_offset < EX_FIXED {
            return Err(Fault::Key);
        } else {
            range(buffer, key_offset, key_length)?
        };
        Ok(BundleView {
            num_ext_hdrs: field(offset_of!(Self, num_ext_hdrs))?.get(),
            flags: field(offset_of!(Self, flags))?.get(),
            endpoints: view(buffer, offset_of!(Self, endpoints))?,
            udp_esp: UdpEsp(field(offset_of!(Self, udp_esp_encapsulation))?.get()),
            sec_assoc: view(buffer, offset_of!(Self, sec_assoc))?,
            key_data,
        })
    }

    /// Writes the handle, NULL for `None`.
    pub fn set_handle(buffer: &mut [u8], handle: Option<Handle>) -> Result<(), Fault> {
        let at = offset_of!(Self, offload_handle);
        put(buffer, at, Ptr::from(handle).as_bytes()).map(|_| ())
    }

    /// Reads the handle.
    pub fn handle(buffer: &[u8]) -> Result<Option<Handle>, Fault> {
        Ok(view::<Ptr>(buffer, offset_of!(Self, offload_handle))?.handle())
    }
}

impl UpdateSa {
    /// The structure at the start of the buffer.
    pub fn parse(buffer: &[u8]) -> Result<Self, Fault> {
        let update: Self = prefix(buffer, 0, usize::from(Self::SIZE_1))?;
        check(&update.header, Self::HEADER)?;
        Ok(update)
    }
}

/// An element of the list of OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA.
#[derive(Clone, Copy, Debug)]
pub struct DeleteSaView {
    /// The bundle to delete.
    pub handle: Option<Handle>,
    /// Offset of the next element.
    pub next: Option<usize>,
}

impl DeleteSa {
    /// The element at offset `at`.
    pub fn parse(buffer: &[u8], at: usize) -> Result<DeleteSaView, Fault> {
        let delete: &Self = view(buffer, at)?;
        check(&delete.header, Self::HEADER)?;
        let end = at.saturating_add(size_of::<Self>());
        Ok(DeleteSaView {
            handle: delete.offload_handle.handle(),
            next: follow(buffer, end, delete.next)?,
        })
    }
}
