// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Adapters, SAs and requests that the tests start from.

use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{self, Family, OffloadEncapsulation, Set};
use espnic_ndis::model::direct;
use espnic_ndis::model::{
    Adapter, Capabilities, Completion, Convention, Direct, Hardware, Keywords, Mode, Snapshot,
};
use espnic_ndis::offload::Offload;
use espnic_ndis::oid::RequestType;
use espnic_ndis::sa::build::{self, AddSaList, Addresses, Algorithm, Association, DeleteSaList};
use espnic_ndis::sa::{AddSa, AddSaEx, DeleteSa, Operation, Spi, UdpEsp};
use espnic_ndis::{Handle, Oid, Version, U32};
use zerocopy::IntoBytes as _;

/// Bytes for keys; each key in a bundle has other ones, so that a mix-up shows.
pub static KEY: [u8; 128] = {
    let mut key = [0; 128];
    let mut n = 0;
    while n < key.len() {
        key[n] = n as u8 + 1;
        n += 1;
    }
    key
};

pub const SOURCE: [u8; 4] = [192, 0, 2, 1];
pub const DESTINATION: [u8; 4] = [192, 0, 2, 2];

/// Everything that IPsecOV2 knows.
pub const EVERYTHING: Capabilities = Capabilities {
    encapsulation: encapsulation::IEEE_802_3,
    ipv4: true,
    ipv6: true,
    ipv4_options: true,
    ipv6_extension_headers: true,
    ah: true,
    esp: true,
    ah_esp_combined: true,
    transport: true,
    tunnel: true,
    transport_tunnel_combined: true,
    lso: true,
    esn: true,
    udp_esp: UdpEsp(0xf),
    authentication: Authentication::EVERY,
    encryption: Encryption::EVERY,
    capacity: 8,
};

/// Hardware with these IPsec capabilities and LSO.
pub fn hardware(ipsec: Capabilities) -> Hardware {
    let mut others = Offload::default();
    others.lso_v2.ipv4.encapsulation = U32::new(encapsulation::IEEE_802_3);
    others.lso_v2.ipv4.max_offload_size = U32::new(65535);
    Hardware { others, ipsec }
}

/// An NDIS 6.30 adapter with these IPsec capabilities, everything enabled.
pub fn adapter(ipsec: Capabilities) -> Adapter {
    Adapter::initialize(Version::V6_30, hardware(ipsec), Keywords::default())
}

/// What the direct path sees of it.
pub fn snapshot(ipsec: Capabilities) -> Snapshot {
    adapter(ipsec).snapshot()
}

/// A buffer for OID_OFFLOAD_ENCAPSULATION, the same for both IP versions.
pub fn encapsulate(set: Set, encapsulation_type: u32) -> Vec<u8> {
    let family = Family::new(set, encapsulation_type, 14);
    OffloadEncapsulation::new(family, family)
        .as_bytes()
        .to_vec()
}

/// An algorithm with the first `length` bytes of [`KEY`] from `start`.
pub fn algorithm<T>(
    identifier: T,
    start: usize,
    length: usize,
    info: u32,
) -> Algorithm<'static, T> {
    Algorithm {
        identifier,
        key: &KEY[start..start + length],
        additional_info: info,
    }
}

/// ESP with AES-GCM-128, key and salt, ICV of 16 bytes.
pub fn gcm(spi: u32) -> Association<'static> {
    Association {
        operation: Operation::ESP,
        spi: Spi::new(spi),
        esn: None,
        authentication: None,
        encryption: Some(algorithm(Encryption::AES_GCM_128, 0, 20, 16)),
    }
}

/// ESP with a cipher and an integrity algorithm of their usual key lengths.
pub fn esp(spi: u32, cipher: Encryption, integrity: Authentication) -> Association<'static> {
    let length = cipher.key_length().unwrap() + cipher.salt_length();
    let other = integrity.key_length().unwrap() + integrity.salt_length();
    Association {
        authentication: Some(algorithm(integrity, 40, other, 0)),
        encryption: Some(algorithm(cipher, 0, length, 16)),
        ..gcm(spi)
    }
}

/// AH with an integrity algorithm.
pub fn ah(spi: u32, integrity: Authentication) -> Association<'static> {
    let length = integrity.key_length().unwrap() + integrity.salt_length();
    Association {
        operation: Operation::AH,
        authentication: Some(algorithm(integrity, 80, length, 0)),
        encryption: None,
        ..gcm(spi)
    }
}

/// An outbound IPv4 bundle.
pub fn outbound<'a>(associations: &'a [Association<'a>]) -> build::Bundle<'a> {
    build::Bundle {
        inbound: false,
        addresses: Addresses::V4 {
            source: SOURCE,
            destination: DESTINATION,
        },
        udp_esp: UdpEsp::NONE,
        associations,
    }
}

/// An inbound IPv4 bundle: the same addresses, since the tests have one side only.
pub fn inbound<'a>(associations: &'a [Association<'a>]) -> build::Bundle<'a> {
    build::Bundle {
        inbound: true,
        ..outbound(associations)
    }
}

/// A buffer with an ADD_SA list. Each handle holds rubbish, which the miniport must overwrite.
pub fn add_sa(bundles: &[build::Bundle<'_>]) -> (Vec<u8>, Vec<usize>) {
    let mut buffer = vec![0; 16384];
    let mut list = AddSaList::new(&mut buffer);
    let offsets: Vec<usize> = bundles.iter().map(|one| list.push(one).unwrap()).collect();
    let length = list.len();
    buffer.truncate(length);
    for &offset in &offsets {
        AddSa::set_handle(&mut buffer, offset, Handle::new(0xdead_beef)).unwrap();
    }
    (buffer, offsets)
}

/// The handles of an ADD_SA list.
pub fn handles(buffer: &[u8], offsets: &[usize]) -> Vec<Option<Handle>> {
    let read = |&at| {
        AddSa::parse(buffer, at)
            .unwrap()
            .fixed
            .offload_handle
            .handle()
    };
    offsets.iter().map(read).collect()
}

/// A buffer with an ADD_SA_EX, its handle full of rubbish.
pub fn add_sa_ex(bundle: &build::Bundle<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 1024];
    let length = build::add_sa_ex(bundle, &mut buffer).unwrap();
    buffer.truncate(length);
    AddSaEx::set_handle(&mut buffer, Handle::new(0xdead_beef)).unwrap();
    buffer
}

/// A buffer with a DELETE_SA list.
pub fn delete_sa(handles: &[Option<Handle>]) -> Vec<u8> {
    let mut buffer = vec![0; handles.len() * size_of::<DeleteSa>()];
    let mut list = DeleteSaList::new(&mut buffer);
    for &handle in handles {
        list.push(handle).unwrap();
    }
    buffer
}

/// A direct set request.
pub fn set(oid: Oid) -> Direct {
    Direct {
        oid,
        request_type: RequestType::SET_INFORMATION,
        mode: Mode::ByPacket,
        convention: Convention::default(),
    }
}

/// Sends a direct set request.
pub fn send(at: &Snapshot, table: &Table, oid: Oid, buffer: &mut [u8]) -> Completion {
    direct::request(at, table, &set(oid), buffer)
}

/// Adds one bundle by ADD_SA and gives its handle, or how the request failed.
pub fn try_add(
    at: &Snapshot,
    table: &Table,
    bundle: &build::Bundle<'_>,
) -> Result<Handle, Completion> {
    try_add_mode(at, table, bundle, Mode::ByPacket)
}

/// The same in a mode that the sender names.
pub fn try_add_mode(
    at: &Snapshot,
    table: &Table,
    bundle: &build::Bundle<'_>,
    mode: Mode,
) -> Result<Handle, Completion> {
    let (mut buffer, offsets) = add_sa(std::slice::from_ref(bundle));
    let request = Direct {
        mode,
        ..set(Oid::ADD_SA)
    };
    let completion = direct::request(at, table, &request, &mut buffer);
    match handles(&buffer, &offsets)[0] {
        Some(handle) => {
            assert!(completion.status.is_success());
            Ok(handle)
        }
        None => {
            assert!(!completion.status.is_success());
            Err(completion)
        }
    }
}

/// Adds one bundle, which must succeed.
pub fn add(table: &Table, bundle: &build::Bundle<'_>, mode: Mode) -> Handle {
    try_add_mode(&snapshot(EVERYTHING), table, bundle, mode).unwrap()
}

/// A table with one outbound bundle, and its handle.
pub fn with_outbound(associations: &[Association<'_>], mode: Mode) -> (Table, Handle) {
    with(&outbound(associations), mode)
}

/// A table with one inbound bundle, and its handle.
pub fn with_inbound(associations: &[Association<'_>], mode: Mode) -> (Table, Handle) {
    with(&inbound(associations), mode)
}

fn with(bundle: &build::Bundle<'_>, mode: Mode) -> (Table, Handle) {
    let table = Table::new(8);
    let handle = add(&table, bundle, mode);
    (table, handle)
}
