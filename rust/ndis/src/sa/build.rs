// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Writing SA requests into the caller's buffer, for the tool and for tests.
//!
//! Elements stand behind one another at multiples of 8, Next is the offset of the next one. The keys
//! of an element follow one another in the order of its algorithms: of each association first the
//! encryption key, then the authentication key.

use super::view::ALIGNMENT;
use super::{
    AddSa, AddSaEx, AddSaFixed, DeleteSa, Endpoints, Operation, SecurityAssociation, Spi, UdpEsp,
    UpdateSa, ESN_SA, INBOUND, IPV6, MAX_EXTENSION_HEADERS,
};
use crate::algorithm::{AlgorithmInfo, Authentication, Encryption};
use crate::bytes::put;
use crate::{Fault, Handle, Ptr, U32, U64};
use core::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Both addresses of an SA, network order. Zero: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// SrcAddr.
        source: [u8; 4],
        /// DestAddr.
        destination: [u8; 4],
    },
    /// IPv6.
    V6 {
        /// SrcAddr.
        source: [u8; 16],
        /// DestAddr.
        destination: [u8; 16],
    },
}

/// An authentication algorithm ([`Authentication`]) or an encryption algorithm ([`Encryption`]).
#[derive(Clone, Copy)]
pub struct Algorithm<'a, T> {
    /// Which one.
    pub identifier: T,
    /// Its key; with AES-GCM the salt behind it.
    pub key: &'a [u8],
    /// AES-GCM: bytes of the ICV. Else 0.
    pub additional_info: u32,
}

/// An element of SecAssoc.
#[derive(Clone, Copy)]
pub struct Association<'a> {
    /// AH or ESP.
    pub operation: Operation,
    /// SPI.
    pub spi: Spi,
    /// Upper half of the sequence number of an SA with extended sequence numbers.
    pub esn: Option<u32>,
    /// Authentication algorithm.
    pub authentication: Option<Algorithm<'a, Authentication>>,
    /// Encryption algorithm.
    pub encryption: Option<Algorithm<'a, Encryption>>,
}

/// What one element of an ADD_SA list, or an ADD_SA_EX, says.
#[derive(Clone, Copy)]
pub struct Bundle<'a> {
    /// For received packets.
    pub inbound: bool,
    /// Addresses, in tunnel mode those of the tunnel.
    pub addresses: Addresses,
    /// UDP encapsulation.
    pub udp_esp: UdpEsp,
    /// One association, or ESP and AH.
    pub associations: &'a [Association<'a>],
}

impl Bundle<'_> {
    fn flags(&self) -> U32 {
        let inbound = if self.inbound { INBOUND } else { 0 };
        let ipv6 = match self.addresses {
            Addresses::V4 { .. } => 0,
            Addresses::V6 { .. } => IPV6,
        };
        U32::new(inbound | ipv6)
    }

    fn endpoints(&self) -> Endpoints {
        match self.addresses {
            Addresses::V4 {
                source,
                destination,
            } => Endpoints::from_ipv4(source, destination),
            Addresses::V6 {
                source,
                destination,
            } => Endpoints {
                source,
                destination,
            },
        }
    }

    /// Writes the keys to `at` and returns SecAssoc, NumExtHdrs and the length of the keys.
    fn write(&self, buffer: &mut [u8], at: usize) -> Result<Associations, Fault> {
        if self.associations.len() > MAX_EXTENSION_HEADERS {
            return Err(Fault::Count);
        }
        let mut keys = Keys { buffer, at, len: 0 };
        let mut written = Associations::default();
        for (to, from) in written.sec_assoc.iter_mut().zip(self.associations) {
            *to = from.write(&mut keys)?;
            written.count = written.count.saturating_add(1);
        }
        written.key_length = keys.len;
        Ok(written)
    }
}

#[derive(Default)]
struct Associations {
    sec_assoc: [SecurityAssociation; MAX_EXTENSION_HEADERS],
    count: u32,
    key_length: usize,
}

/// The key buffer of an element, which grows from `at`.
struct Keys<'a> {
    buffer: &'a mut [u8],
    at: usize,
    len: usize,
}

impl Keys<'_> {
    fn add(&mut self, identifier: u32, key: &[u8], info: u32) -> Result<AlgorithmInfo, Fault> {
        let written = AlgorithmInfo {
            identifier: U32::new(identifier),
            key_length: number(key.len())?,
            key_offset_bytes: number(self.len)?,
            additional_info: U32::new(info),
        };
        let end = put(self.buffer, self.at.saturating_add(self.len), key)?;
        self.len = end.saturating_sub(self.at);
        Ok(written)
    }
}

impl Association<'_> {
    fn write(&self, keys: &mut Keys<'_>) -> Result<SecurityAssociation, Fault> {
        let mut written = SecurityAssociation {
            flags: U32::new(if self.esn.is_some() { ESN_SA } else { 0 }),
            operation: U32::new(self.operation.0),
            spi: self.spi,
            sequence_number_high_order: U32::new(self.esn.unwrap_or(0)),
            ..SecurityAssociation::default()
        };
        if let Some(Algorithm {
            identifier,
            key,
            additional_info,
        }) = self.encryption
        {
            written.encryption_algorithm = keys.add(identifier.0, key, additional_info)?;
        }
        if let Some(Algorithm {
            identifier,
            key,
            additional_info,
        }) = self.authentication
        {
            written.authentication_algorithm = keys.add(identifier.0, key, additional_info)?;
        }
        Ok(written)
    }
}

fn number(n: usize) -> Result<U32, Fault> {
    u32::try_from(n).map(U32::new).map_err(|_| Fault::Size)
}

/// Zeros from `from` to the next multiple of [`ALIGNMENT`] that is `least` or more; that offset.
fn pad(buffer: &mut [u8], from: usize, least: usize) -> Result<usize, Fault> {
    let too_long = Fault::Length { needed: usize::MAX };
    let end = from.max(least);
    let end = end.checked_next_multiple_of(ALIGNMENT).ok_or(too_long)?;
    let padding = buffer
        .get_mut(from..end)
        .ok_or(Fault::Length { needed: end })?;
    padding.fill(0);
    Ok(end)
}

/// Where a list ends, and where its last element keeps Next.
struct Chain {
    next: Option<usize>,
    end: usize,
}

impl Chain {
    /// Links the element from `at` to `end`, whose Next is at `next`, to the one before.
    fn link(&mut self, buffer: &mut [u8], at: usize, next: usize, end: usize) -> Result<(), Fault> {
        if let Some(before) = self.next {
            let offset = u64::try_from(at).map_err(|_| Fault::Size)?;
            put(buffer, before, U64::new(offset).as_bytes())?;
        }
        self.next = Some(next);
        self.end = end;
        Ok(())
    }
}

/// A list for OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA.
pub struct AddSaList<'a> {
    buffer: &'a mut [u8],
    chain: Chain,
}

impl<'a> AddSaList<'a> {
    /// An empty list at the start of the buffer.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        let chain = Chain { next: None, end: 0 };
        Self { buffer, chain }
    }

    /// Appends an element and returns its offset. If that fails the list is as before.
    pub fn push(&mut self, bundle: &Bundle<'_>) -> Result<usize, Fault> {
        let at = self.chain.end;
        let keys_at = at.saturating_add(size_of::<AddSaFixed>());
        let written = bundle.write(self.buffer, keys_at)?;
        let fixed = AddSaFixed {
            header: AddSa::HEADER,
            num_ext_hdrs: U32::new(written.count),
            flags: bundle.flags(),
            endpoints: bundle.endpoints(),
            udp_esp_encapsulation: U32::new(bundle.udp_esp.0),
            sec_assoc: written.sec_assoc,
            key_length: number(written.key_length)?,
            ..AddSaFixed::default()
        };
        put(self.buffer, at, fixed.as_bytes())?;
        let keys_end = keys_at.saturating_add(written.key_length);
        let end = pad(self.buffer, keys_end, at.saturating_add(size_of::<AddSa>()))?;
        let next = at.saturating_add(offset_of!(AddSaFixed, next));
        self.chain.link(self.buffer, at, next, end)?;
        Ok(at)
    }

    /// Length of the list in bytes.
    pub fn len(&self) -> usize {
        self.chain.end
    }

    /// Whether the list has no element.
    pub fn is_empty(&self) -> bool {
        self.chain.end == 0
    }
}

/// A list for OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA.
pub struct DeleteSaList<'a> {
    buffer: &'a mut [u8],
    chain: Chain,
}

impl<'a> DeleteSaList<'a> {
    /// An empty list at the start of the buffer.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        let chain = Chain { next: None, end: 0 };
        Self { buffer, chain }
    }

    /// Appends an element and returns its offset. If that fails the list is as before.
    pub fn push(&mut self, handle: Option<Handle>) -> Result<usize, Fault> {
        let at = self.chain.end;
        let element = DeleteSa {
            header: DeleteSa::HEADER,
            offload_handle: Ptr::from(handle),
            ..DeleteSa::default()
        };
        let end = put(self.buffer, at, element.as_bytes())?;
        let next = at.saturating_add(offset_of!(DeleteSa, next));
        self.chain.link(self.buffer, at, next, end)?;
        Ok(at)
    }

    /// Length of the list in bytes.
    pub fn len(&self) -> usize {
        self.chain.end
    }

    /// Whether the list has no element.
    pub fn is_empty(&self) -> bool {
        self.chain.end == 0
    }
}

/// Writes a buffer for OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX and returns its length.
pub fn add_sa_ex(bundle: &Bundle<'_>, buffer: &mut [u8]) -> Result<usize, Fault> {
    let keys_at = size_of::<AddSaEx>();
    let written = bundle.write(buffer, keys_at)?;
    let fixed = AddSaEx {
        header: AddSaEx::HEADER,
        num_ext_hdrs: U32::new(written.count),
        flags: bundle.flags(),
        endpoints: bundle.endpoints(),
        udp_esp_encapsulation: U32::new(bundle.udp_esp.0),
        sec_assoc: written.sec_assoc,
        key_length: number(written.key_length)?,
        key_offset: number(keys_at)?,
        ..AddSaEx::default()
    };
    put(buffer, 0, fixed.as_bytes())?;
    Ok(keys_at.saturating_add(written.key_length))
}

/// The structure for OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA.
pub fn update_sa(handle: Option<Handle>, operation: Operation, spi: Spi, high: u32) -> UpdateSa {
    UpdateSa {
        header: UpdateSa::HEADER,
        offload_handle: Ptr::from(handle),
        operation: U32::new(operation.0),
        spi,
        sequence_number_high_order: U32::new(high),
        ..UpdateSa::default()
    }
}
