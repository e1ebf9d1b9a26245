// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All of `rust/esp` that reads frames: finding ESP, checksums, segmentation.

#![no_main]

use espnic_esp::checksum::{complete, is_right, Sum};
use espnic_esp::engine::{Layout, Opened};
use espnic_esp::inner::checksum_is_right;
use espnic_esp::ip::{Address, Layers};
use espnic_esp::packet::{find, find_unsegmented, peek_spi, ESP_HLEN};
use espnic_esp::segment::{EspRequest, Request, Segments};
use espnic_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

/// RFC 1071 section 1, word by word.
fn slow(data: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in data.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn finding(frame: &[u8]) {
    let layers = Layers::find(frame);
    let whole = find_unsegmented(frame, &layers);
    if let Some(esp) = whole {
        assert!(esp.udp.is_none() && esp.end == frame.len());
    }
    let Some(esp) = find(frame, &layers) else {
        return;
    };
    assert!(esp.offset + ESP_HLEN <= esp.end && esp.end <= frame.len());
    assert_eq!(esp.spi.to_be_bytes(), frame[esp.offset..esp.offset + 4]);
    assert_eq!(esp.seq.to_be_bytes(), frame[esp.offset + 4..esp.offset + 8]);
    assert!(whole.is_some_and(|whole| whole.offset == esp.offset) || esp.udp.is_some());
    let [src, dst] = esp.addresses(frame).unwrap();
    assert!(esp.is_to(frame, &dst) && (src == dst || !esp.is_to(frame, &src)));
    if frame.len() >= 64 {
        assert_eq!(peek_spi(frame, &layers), esp.spi);
    }
}

fn address(bytes: &mut Bytes<'_>) -> Address {
    Address {
        family: bytes.choose(&[4, 6]),
        bytes: bytes.array(),
    }
}

/// The sum of both addresses.
fn sum_of(src: &Address, dst: &Address) -> Option<Sum> {
    Some(Sum::of(&src.bytes).and(Sum::of(&dst.bytes)))
}

fn checksums(bytes: &mut Bytes<'_>) {
    let (protocol, src, dst) = (bytes.u8(), address(bytes), address(bytes));
    let (start, offset, end) = (bytes.u16(), bytes.u16(), bytes.u16());
    let mut frame = bytes.rest().to_vec();
    assert_eq!(Sum::of(&frame).folded() % 0xffff, slow(&frame) % 0xffff);
    let segment_len = frame.len() as u32;
    if is_right(protocol, || sum_of(&src, &dst), &frame) {
        let numbers = [segment_len.to_be_bytes(), [0, 0, 0, protocol]].concat();
        let sum = [&src.bytes[..], &dst.bytes, &numbers, &frame].concat();
        assert_eq!(slow(&sum), 0xffff);
    }
    let before = frame.clone();
    let (start, offset, end) = (start.into(), offset.into(), end.into());
    if complete(&mut frame, start, offset, end) {
        let field = start + offset..start + offset + 2;
        assert!(field.end <= end && end <= frame.len());
        assert_eq!(frame[..field.start], before[..field.start]);
        assert_eq!(frame[field.end..], before[field.end..]);
        assert_ne!(frame[field], [0, 0]);
    } else {
        assert_eq!(frame, before);
    }
}

fn inner(bytes: &mut Bytes<'_>) {
    let (tunnel, next_header) = (bytes.u8() & 1 != 0, bytes.choose(&[4, 41, 6, 17, 50]));
    let [src, dst] = [address(bytes), address(bytes)];
    let opened = Opened {
        payload: bytes.rest(),
        next_header,
    };
    let right = checksum_is_right(&opened, tunnel, || sum_of(&src, &dst));
    assert!(!right || opened.payload.len() >= 8);
    assert!(!right || tunnel == matches!(next_header, 4 | 41));
}

/// Writes every segment; together they must have all of the data, in order.
fn write_all(frame: &[u8], request: &Request, segments: &Segments<'_>) {
    let head = request.tcp + usize::from(frame[request.tcp + 12] >> 4) * 4;
    let mut data: Vec<u8> = Vec::new();
    for index in 0..segments.count() {
        let mut out = vec![0xee; segments.len(index)];
        assert_eq!(segments.write(index, &mut out), Ok(()));
        assert!(out.len() <= segments.longest());
        let end = out.len() - segments.trailer_len(index);
        assert!(end - head <= request.size);
        data.extend(&out[head..end]);
        out.push(0);
        assert!(segments.write(index, &mut out).is_err());
    }
    assert_eq!(data, frame[head..]);
    let behind = segments.count();
    let mut out = vec![0; segments.len(behind)];
    assert!(segments.write(behind, &mut out).is_err());
}

fn segmentation(bytes: &mut Bytes<'_>) {
    let request = Request {
        family: bytes.choose(&[4, 6]),
        tcp: bytes.u16().into(),
        size: bytes.u16().into(),
    };
    let cbc = Layout {
        iv_len: 16,
        icv_len: 12,
        block: 16,
    };
    let esp = EspRequest {
        offset: bytes.u8().into(),
        layout: bytes.choose(&[Layout::aead(16), Layout::aead(8), cbc]),
        tunnel: bytes.u8() & 1 != 0,
        next_header: bytes.choose(&[4, 41, 6, 17]),
        seq: bytes.u64(),
        esn: bytes.u8() & 1 != 0,
    };
    let plain = bytes.u8() & 1 != 0;
    let frame = bytes.rest();
    let segments = if plain {
        Segments::plain(frame, &Layers::find(frame), &request)
    } else {
        Segments::in_esp(frame, &Layers::find(frame), &request, &esp)
    };
    if let Ok(segments) = segments {
        write_all(frame, &request, &segments);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    match bytes.u8() % 4 {
        0 => finding(bytes.rest()),
        1 => checksums(&mut bytes),
        2 => inner(&mut bytes),
        _ => segmentation(&mut bytes),
    }
});
