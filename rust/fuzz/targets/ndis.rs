// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS buffers and packets: readers, requests of the normal and of the direct path, the model of the send
//! path and of the receive path.

#![no_main]

use espnic_fuzz::ndis::{self, bundle, fixture, frame, inside, table::Table, Sas};
use espnic_fuzz::{sa, Bytes};
use espnic_ndis::encapsulation::OffloadEncapsulation;
use espnic_ndis::indication::StatusIndication;
use espnic_ndis::model::packet::{classify, classify_head, may_coalesce, parse, Class, Plain};
use espnic_ndis::model::send::check;
use espnic_ndis::model::{direct, Backend as _, Convention, Direct, Mode, SendSlots, Verdict};
use espnic_ndis::offload::Offload;
use espnic_ndis::oid::RequestType;
use espnic_ndis::oob::Receive;
use espnic_ndis::parameters::OffloadParameters;
use espnic_ndis::request::OidRequest;
use espnic_ndis::sa::{AddSa, AddSaEx, DeleteSa, UpdateSa};
use espnic_ndis::{Handle, Oid};
use espnic_ndis_cli::decode::{structures, Keys};
use libfuzzer_sys::fuzz_target;
use zerocopy::IntoBytes as _;

/// Bytes of an ADD_SA element without keys, and of a DELETE_SA element.
const ADD_LEN: usize = 0xa8;
const DELETE_LEN: usize = 0x18;

fn single(buffer: &[u8]) {
    if let Ok(view) = AddSaEx::parse(buffer) {
        bundle(buffer, &view);
    }
    let _ = (AddSaEx::handle(buffer), UpdateSa::parse(buffer));
    if let Ok((_, contents)) = StatusIndication::parse(buffer) {
        assert!(inside(buffer, contents));
    }
    if let Ok(offload) = Offload::parse(buffer) {
        assert_eq!(offload.ipsec_v2().is_some(), buffer[1] >= 2);
    }
    let _ = OffloadEncapsulation::parse(buffer);
    let _ = (OffloadParameters::parse(buffer), OidRequest::parse(buffer));
}

/// What the tool shows of the bytes, as the buffer of any OID.
fn decoding(buffer: &[u8]) {
    for oid in OIDS.map(Some).into_iter().chain([None]) {
        for one in structures(oid, buffer, Keys::Shown).unwrap_or_default() {
            assert!(one.at < buffer.len());
            assert!(!one.text().is_empty() && one.json().is_object());
        }
    }
}

/// Every reader.
fn reading(buffer: &mut [u8]) {
    single(buffer);
    decoding(buffer);
    lists(buffer);
}

/// Follows the lists that the bytes may be: they go forward, so they have an end.
fn lists(buffer: &mut [u8]) {
    let (mut at, mut behind) = (Some(0), 0);
    while let Some(offset) = at {
        assert!(offset >= behind && offset % 8 == 0);
        let Ok(element) = AddSa::parse(buffer, offset) else {
            break;
        };
        assert!(inside(buffer, element.fixed.as_bytes()));
        if let Ok(view) = element.bundle() {
            bundle(buffer, &view);
        }
        (behind, at) = (offset + ADD_LEN, element.next());
        AddSa::set_handle(buffer, offset, Handle::new(u64::MAX)).unwrap();
    }
    let (mut at, mut behind) = (Some(0), 0);
    while let Some(offset) = at {
        assert!(offset >= behind && offset % 8 == 0);
        let Ok(element) = DeleteSa::parse(buffer, offset) else {
            break;
        };
        (behind, at) = (offset + DELETE_LEN, element.next);
    }
}

const OIDS: [Oid; 9] = [
    Oid::ADD_SA,
    Oid::ADD_SA_EX,
    Oid::UPDATE_SA,
    Oid::DELETE_SA,
    Oid::PARAMETERS,
    Oid::ENCAPSULATION,
    Oid::CURRENT_CONFIG,
    Oid::HARDWARE_CAPABILITIES,
    Oid::ADD_SA,
];

/// Requests one after the other, to one adapter.
fn requests(bytes: &mut Bytes<'_>) {
    let mut adapter = fixture::adapter(fixture::EVERYTHING);
    let capacity = fixture::EVERYTHING.capacity;
    let table = Table::new(capacity as usize);
    for _ in 0..16 {
        if bytes.is_empty() {
            break;
        }
        let (oid, how) = (bytes.choose(&OIDS), bytes.u8());
        let mut buffer = ndis::buffer(bytes);
        sa::patch(bytes, &mut buffer);
        let (len, before) = (buffer.len(), table.offloaded());
        let completion = match how % 4 {
            0 => adapter.set(oid, &buffer).completion,
            1 => adapter.query(oid, &mut buffer),
            _ => {
                let request = Direct {
                    oid,
                    request_type: RequestType::SET_INFORMATION,
                    mode: [Mode::ByPacket, Mode::Transport, Mode::Tunnel][usize::from(how / 4) % 3],
                    convention: Convention::default(),
                };
                direct::request(&adapter.snapshot(), &table, &request, &mut buffer)
            }
        };
        assert_eq!(buffer.len(), len);
        assert!(completion.done as usize <= len, "{completion:?}");
        assert!(completion.status.name().is_some());
        assert!(table.offloaded() <= capacity);
        let grew = table.offloaded() > before;
        assert!(!grew || matches!(oid, Oid::ADD_SA | Oid::ADD_SA_EX));
    }
}

fn packets(bytes: &mut Bytes<'_>) {
    let whole = usize::from(bytes.u16());
    let packet = bytes.rest();
    if let Some(ip) = parse(packet) {
        assert!(ip.header <= packet.len() && ip.length <= packet.len());
        let left_alone = classify(packet) == Class::Plain(Plain::Fragment);
        assert_eq!(left_alone, ip.fragment);
    }
    match classify(packet) {
        Class::Protected(found) => {
            assert!(found.offset + 8 <= packet.len() && !may_coalesce(packet));
        }
        Class::Plain(plain) => assert_eq!(may_coalesce(packet), plain == Plain::NoIpsec),
    }
    let _ = classify_head(packet, whole);
}

/// A packet to be sent with whatever words, by an adapter that has SAs.
fn sending(bytes: &mut Bytes<'_>) {
    let sas = Sas::new(false);
    let (which, large_send) = (bytes.u8(), bytes.u32());
    let mut handle = || match bytes.u8() % 5 {
        0 => 0,
        1 => sas.gcm.get(),
        2 => sas.pair.get(),
        3 => sas.cbc.get(),
        _ => u64::MAX,
    };
    let slots = SendSlots {
        ipsec: handle(),
        tunnel: handle(),
        header: bytes.u32().into(),
        large_send: large_send.into(),
    };
    let mut packet = sas.packet(which, bytes.slice());
    sa::patch(bytes, &mut packet);
    match check(true, &fixture::EVERYTHING, &slots, &packet, &sas.table) {
        Verdict::Plain => assert!(slots.ipsec == 0, "in the clear"),
        Verdict::Crypto(job) => {
            let headers = [job.esp, job.ah];
            assert!(headers.iter().flatten().all(|at| at + 8 <= packet.len()));
            let mut segments = job.segments.iter().flat_map(|plan| plan.iter());
            assert!(segments.all(|one| one.start + one.payload <= packet.len()));
        }
        Verdict::Fail(status) => assert!(!status.is_success()),
    }
}

/// A packet from the wire, and the words for it.
fn receiving(bytes: &mut Bytes<'_>) {
    let sas = Sas::new(true);
    let mut packet = match bytes.u8() {
        0xff => bytes.slice().to_vec(),
        which => sas.packet(which, bytes.slice()),
    };
    sa::patch(bytes, &mut packet);
    packet.truncate(packet.len().saturating_sub(bytes.u8().into()));
    let len = packet.len();
    let report = frame::receive_with(&fixture::EVERYTHING, &sas.table, &mut packet);
    assert_eq!(packet.len(), len);
    let record = report.record();
    let word = Receive::from_word(record.ipsec);
    assert!(word.crypto_done || record.ipsec == 0);
    assert!(word.crypto_done || !word.next_crypto_done);
    assert!(word.status.name().is_some());
    assert!(record.header == 0 || record.ipsec & !6 == 0);
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let what = bytes.u8() % 8;
    match what {
        0 => reading(&mut bytes.rest().to_vec()),
        1 | 2 => {
            let mut buffer = ndis::buffer(&mut bytes);
            sa::patch(&mut bytes, &mut buffer);
            reading(&mut buffer);
        }
        3 | 4 => requests(&mut bytes),
        5 => packets(&mut bytes),
        6 => receiving(&mut bytes),
        _ => sending(&mut bytes),
    }
});
