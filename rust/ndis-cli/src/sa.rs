// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The information buffers of the SA requests.

use core::mem::offset_of;
use std::net::IpAddr;

use espnic_ndis::algorithm::{AlgorithmInfo, Authentication, Encryption};
use espnic_ndis::sa::{
    AddSa, AddSaEx, AddSaFixed, DeleteSa, Endpoints, Operation, SecurityAssociation, Spi, UpdateSa,
    ESN_SA, INBOUND, IPV6, MAX_EXTENSION_HEADERS,
};
use espnic_ndis::{Handle, Ptr, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};
use zeroize::Zeroizing;

use crate::args::{Direction, Sa};
use crate::device::Error;
use crate::key::Key;

/// A buffer that may hold keys.
pub type Buffer = Zeroizing<Vec<u8>>;

/// Alignment of the elements of a list.
const ALIGNMENT: usize = 8;

/// What ADD_SA and ADD_SA_EX have in common.
struct Bundle {
    count: u32,
    flags: u32,
    endpoints: Endpoints,
    sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
    keys: Buffer,
}

impl Bundle {
    fn new(sa: &Sa) -> Result<Self, Error> {
        let mut flags = match sa.dir {
            Direction::In => INBOUND,
            Direction::Out => 0,
        };
        let endpoints = match (sa.src, sa.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Endpoints::from_ipv4(src.octets(), dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                flags |= IPV6;
                Endpoints {
                    source: src.octets(),
                    destination: dst.octets(),
                }
            }
            _ => {
                return Err(Error::Usage(
                    "--src and --dst are addresses of different families".into(),
                ))
            }
        };
        let mut keys = Zeroizing::new(Vec::new());
        let both = [esp(sa, &mut keys)?, ah(sa, &mut keys)?];
        let mut sec_assoc = <[SecurityAssociation; MAX_EXTENSION_HEADERS]>::default();
        let mut count = 0;
        for (to, from) in sec_assoc.iter_mut().zip(both.into_iter().flatten()) {
            *to = from;
            count += 1;
        }
        if count == 0 {
            return Err(Error::Usage(
                "an SA needs an algorithm: --enc, --auth or --ah".into(),
            ));
        }
        Ok(Self {
            count,
            flags,
            endpoints,
            sec_assoc,
            keys,
        })
    }
}

/// Appends a key, and says where it is.
fn algorithm(
    id: u32,
    key: Option<&Key>,
    additional: u32,
    keys: &mut Buffer,
) -> Result<AlgorithmInfo, Error> {
    let bytes = match key {
        Some(key) => key.bytes().map_err(Error::Usage)?,
        None => &[],
    };
    let info = AlgorithmInfo {
        identifier: U32::new(id),
        key_length: U32::new(bytes.len() as u32),
        key_offset_bytes: U32::new(keys.len() as u32),
        additional_info: U32::new(additional),
    };
    append(keys, bytes);
    Ok(info)
}

fn esp(sa: &Sa, keys: &mut Buffer) -> Result<Option<SecurityAssociation>, Error> {
    if sa.enc.is_none() && sa.auth.is_none() {
        return Ok(None);
    }
    let mut esp = association(Operation::ESP, sa.spi, sa);
    if let Some(auth) = sa.auth {
        let id = Authentication::from(auth).0;
        esp.authentication_algorithm = algorithm(id, sa.auth_key.as_ref(), 0, keys)?;
    }
    if let Some(enc) = sa.enc {
        let id = Encryption::from(enc);
        let icv = if id.is_combined() { sa.icv } else { 0 };
        esp.encryption_algorithm = algorithm(id.0, sa.enc_key.as_ref(), icv, keys)?;
    }
    Ok(Some(esp))
}

fn ah(sa: &Sa, keys: &mut Buffer) -> Result<Option<SecurityAssociation>, Error> {
    let Some(id) = sa.ah else { return Ok(None) };
    let id = Authentication::from(id).0;
    let mut ah = association(Operation::AH, sa.ah_spi.unwrap_or(sa.spi), sa);
    ah.authentication_algorithm = algorithm(id, sa.ah_key.as_ref(), 0, keys)?;
    Ok(Some(ah))
}

/// An element of SecAssoc without algorithms.
fn association(operation: Operation, spi: u32, sa: &Sa) -> SecurityAssociation {
    SecurityAssociation {
        flags: U32::new(sa.esn.map_or(0, |_| ESN_SA)),
        operation: U32::new(operation.0),
        spi: Spi::new(spi),
        sequence_number_high_order: U32::new(sa.esn.unwrap_or(0)),
        ..Default::default()
    }
}

/// ADD_SA_EX.
pub fn add_ex(sa: &Sa) -> Result<Buffer, Error> {
    let bundle = Bundle::new(sa)?;
    let mut fixed = AddSaEx::new_zeroed();
    fixed.header = AddSaEx::HEADER;
    fixed.num_ext_hdrs = U32::new(bundle.count);
    fixed.flags = U32::new(bundle.flags);
    fixed.endpoints = bundle.endpoints;
    fixed.udp_esp_encapsulation = U32::new(sa.udp as u32);
    fixed.sec_assoc = bundle.sec_assoc;
    fixed.key_length = U32::new(bundle.keys.len() as u32);
    fixed.key_offset = U32::new(size_of::<AddSaEx>() as u32);
    let mut buffer = Zeroizing::new(Vec::with_capacity(size_of::<AddSaEx>() + bundle.keys.len()));
    buffer.extend_from_slice(fixed.as_bytes());
    buffer.extend_from_slice(&bundle.keys);
    Ok(buffer)
}

/// The handle in an answered ADD_SA_EX.
pub fn handle_ex(buffer: &[u8]) -> Option<Handle> {
    AddSaEx::handle(buffer).ok().flatten()
}

/// The list of ADD_SA, and where its elements start.
pub fn add_list(sas: &[&Sa]) -> Result<(Buffer, Vec<usize>), Error> {
    let mut buffer: Buffer = Zeroizing::new(Vec::new());
    let mut starts = Vec::new();
    for sa in sas {
        let bundle = Bundle::new(sa)?;
        let at = buffer.len();
        link(&mut buffer, starts.last(), offset_of!(AddSaFixed, next), at);
        starts.push(at);
        let mut fixed = AddSaFixed::new_zeroed();
        fixed.header = AddSa::HEADER;
        fixed.num_ext_hdrs = U32::new(bundle.count);
        fixed.flags = U32::new(bundle.flags);
        fixed.endpoints = bundle.endpoints;
        fixed.udp_esp_encapsulation = U32::new(sa.udp as u32);
        fixed.sec_assoc = bundle.sec_assoc;
        fixed.key_length = U32::new(bundle.keys.len() as u32);
        append(&mut buffer, fixed.as_bytes());
        append(&mut buffer, &bundle.keys);
        let end = buffer.len().max(at + size_of::<AddSa>());
        append_zeros(&mut buffer, end.next_multiple_of(ALIGNMENT));
    }
    Ok((buffer, starts))
}

/// The handles in an answered ADD_SA.
pub fn handles(buffer: &[u8], starts: &[usize]) -> Vec<Option<Handle>> {
    let read = |at: usize| {
        let at = at + offset_of!(AddSaFixed, offload_handle);
        let (pointer, _) = Ptr::read_from_prefix(buffer.get(at..)?).ok()?;
        pointer.handle()
    };
    starts.iter().map(|&at| read(at)).collect()
}

/// Writes `next` into the Next field of the element before.
fn link(buffer: &mut Buffer, before: Option<&usize>, field: usize, next: usize) {
    let Some(before) = before else { return };
    let at = before + field;
    if let Some(place) = buffer.get_mut(at..at + size_of::<Ptr>()) {
        place.copy_from_slice(Ptr(U64::new(next as u64)).as_bytes());
    }
}

/// Appends without leaving keys behind in memory that the vector grew out of.
fn append(buffer: &mut Buffer, bytes: &[u8]) {
    let wanted = buffer.len() + bytes.len();
    if wanted > buffer.capacity() {
        let mut larger = Vec::with_capacity(2 * wanted);
        larger.extend_from_slice(buffer);
        *buffer = Zeroizing::new(larger);
    }
    buffer.extend_from_slice(bytes);
}

fn append_zeros(buffer: &mut Buffer, end: usize) {
    while buffer.len() < end {
        append(buffer, &[0]);
    }
}

/// UPDATE_SA.
pub fn update(handle: u64, operation: u32, spi: u32, high: u32) -> Vec<u8> {
    let mut update = UpdateSa::new_zeroed();
    update.header = UpdateSa::HEADER;
    update.offload_handle = Ptr(U64::new(handle));
    update.operation = U32::new(operation);
    update.spi = Spi::new(spi);
    update.sequence_number_high_order = U32::new(high);
    update.as_bytes().to_vec()
}

/// The list of DELETE_SA.
pub fn delete(handles: &[u64]) -> Vec<u8> {
    let mut buffer = Vec::new();
    for (number, &handle) in handles.iter().enumerate() {
        let last = number + 1 == handles.len();
        let next = if last {
            0
        } else {
            (number + 1) * size_of::<DeleteSa>()
        };
        let mut delete = DeleteSa::new_zeroed();
        delete.header = DeleteSa::HEADER;
        delete.next = Ptr(U64::new(next as u64));
        delete.offload_handle = Ptr(U64::new(handle));
        buffer.extend_from_slice(delete.as_bytes());
    }
    buffer
}

#[cfg(test)]
#[path = "sa_tests.rs"]
mod tests;
