// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every segment against one that is built from nothing, in the plainest way.

use super::*;
use crate::engine::tests::Gcm;
use crate::engine::{open, seal, Params};
use crate::inner::checksum_is_right;
use crate::ip::Address;
use crate::packet::{find, Esp};
use proptest::prelude::*;
use std::collections::HashSet;

const SPI: u32 = 0x1234_5678;

fn carry(data: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in data.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    Transport,
    Tunnel,
}

/// What a connection sends: everything that a packet is made of.
#[derive(Clone, Debug)]
struct Flow {
    mode: Mode,
    outer_v6: bool,
    inner_v6: bool,
    /// Words of options in the IPv4 header next to TCP; not in transport mode.
    ip_options: usize,
    tcp_options: usize,
    vlan: bool,
    layout: Layout,
    flags: u8,
    tcp_seq: u32,
    id: u16,
    esp_seq: u64,
    data: Vec<u8>,
    size: usize,
}

impl Flow {
    fn tcp_over_v6(&self) -> bool {
        if self.mode == Mode::Tunnel {
            self.inner_v6
        } else {
            self.outer_v6
        }
    }

    fn next_header(&self) -> u8 {
        match (self.mode, self.inner_v6) {
            (Mode::Tunnel, true) => 41,
            (Mode::Tunnel, false) => 4,
            _ => 6,
        }
    }

    fn addresses(v6: bool, outer: bool) -> Vec<u8> {
        let len = if v6 { 16 } else { 4 };
        let mut bytes = vec![0x20 + u8::from(outer); len];
        bytes.extend(vec![0x40 + u8::from(outer); len]);
        bytes
    }

    /// An IP packet around `payload`.
    fn ip(
        &self,
        v6: bool,
        outer: bool,
        options: usize,
        id: u16,
        protocol: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut ip;
        if v6 {
            ip = vec![0x60, 0x01, 0x02, 0x03];
            ip.extend((payload.len() as u16).to_be_bytes());
            ip.extend([protocol, 63]);
            ip.extend(Self::addresses(true, outer));
        } else {
            let hlen = 20 + 4 * options;
            ip = vec![0x40 | (hlen / 4) as u8, 0x28];
            ip.extend(((hlen + payload.len()) as u16).to_be_bytes());
            ip.extend(id.to_be_bytes());
            ip.extend([0x40, 0, 63, protocol, 0, 0]);
            ip.extend(Self::addresses(false, outer));
            ip.extend(vec![1; 4 * options]);
            let sum = !carry(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        ip.extend(payload);
        ip
    }

    fn pseudo(&self, len: usize) -> u16 {
        let outer = self.mode != Mode::Tunnel;
        let mut pseudo = Self::addresses(self.tcp_over_v6(), outer);
        pseudo.extend((len as u32).to_be_bytes());
        pseudo.extend([0, 6]);
        carry(&pseudo)
    }

    fn tcp(&self, seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let hlen = 20 + 4 * self.tcp_options;
        let mut tcp = vec![0x12, 0x34, 0x56, 0x78];
        tcp.extend(seq.to_be_bytes());
        tcp.extend([9, 9, 9, 9, (hlen as u8 / 4) << 4, flags, 1, 2, 0, 0, 0, 0]);
        tcp.extend(vec![1; 4 * self.tcp_options]);
        tcp.extend(data);
        tcp
    }

    /// The frame with TCP packet `tcp`; `trailer` is what an ESP packet has behind it.
    fn frame(&self, tcp: &[u8], id: u16, esp_seq: u64, trailer: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        if self.vlan {
            frame.extend([0x81, 0, 0, 5]);
        }
        frame.extend(if self.outer_v6 { [0x86, 0xdd] } else { [8, 0] });
        let ip = match self.mode {
            Mode::Plain => self.ip(self.outer_v6, true, self.ip_options, id, 6, tcp),
            Mode::Transport | Mode::Tunnel => {
                let mut esp = SPI.to_be_bytes().to_vec();
                esp.extend((esp_seq as u32).to_be_bytes());
                esp.extend(vec![0; self.layout.iv_len.into()]);
                if self.mode == Mode::Tunnel {
                    esp.extend(self.ip(self.inner_v6, false, self.ip_options, id, 6, tcp));
                } else {
                    esp.extend(tcp);
                }
                esp.extend(trailer);
                self.ip(self.outer_v6, true, 0, id, 50, &esp)
            }
        };
        frame.extend(ip);
        frame
    }

    /// What the driver hands over, and where TCP starts.
    fn whole(&self) -> (Vec<u8>, Request) {
        let mut tcp = self.tcp(self.tcp_seq, self.flags, &self.data);
        let partial = self.pseudo(tcp.len());
        tcp[16..18].copy_from_slice(&partial.to_be_bytes());
        let frame = self.frame(&tcp, self.id, self.esp_seq, &[]);
        let request = Request {
            family: if self.tcp_over_v6() { 6 } else { 4 },
            tcp: frame.len() - tcp.len(),
            size: self.size,
        };
        (frame, request)
    }

    fn esp_offset(&self) -> usize {
        if self.outer_v6 {
            54
        } else {
            34
        }
    }

    fn esp_request(&self) -> EspRequest {
        EspRequest {
            offset: self.esp_offset(),
            layout: self.layout,
            tunnel: self.mode == Mode::Tunnel,
            next_header: self.next_header(),
            seq: self.esp_seq,
            esn: true,
        }
    }

    fn segments<'a>(&self, frame: &'a [u8], request: &Request) -> Result<Segments<'a>, Error> {
        match self.mode {
            Mode::Plain => Segments::plain(frame, &Layers::find(frame), request),
            _ => Segments::in_esp(frame, &Layers::find(frame), request, &self.esp_request()),
        }
    }

    /// All segments, each as if it were sent alone.
    fn reference(&self) -> Vec<Vec<u8>> {
        let mut parts: Vec<&[u8]> = self.data.chunks(self.size).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        let one = |(i, data): (usize, &&[u8])| {
            let mut flags = self.flags;
            if i > 0 {
                flags &= 0x7f;
            }
            if i < last {
                flags &= !0x09;
            }
            let seq = self.tcp_seq.wrapping_add((i * self.size) as u32);
            let mut tcp = self.tcp(seq, flags, data);
            let pseudo = self.pseudo(tcp.len());
            tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
            let sum = match !carry(&tcp) {
                0 => 0xffff,
                sum => sum,
            };
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
            let mut trailer = vec![];
            if self.mode != Mode::Plain {
                let inner = match (self.mode, self.inner_v6) {
                    (Mode::Tunnel, true) => 40,
                    (Mode::Tunnel, false) => 20 + 4 * self.ip_options,
                    _ => 0,
                };
                let mut pad = 0u8;
                while (inner + tcp.len() + usize::from(pad) + 2) % usize::from(self.layout.block)
                    != 0
                {
                    pad += 1;
                    trailer.push(pad);
                }
                trailer.extend([pad, self.next_header()]);
                trailer.extend(vec![0; self.layout.icv_len.into()]);
            }
            let id = self.id.wrapping_add(i as u16);
            self.frame(&tcp, id, self.esp_seq + i as u64, &trailer)
        };
        parts.iter().enumerate().map(one).collect()
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    let mode = prop::sample::select(&[Mode::Plain, Mode::Transport, Mode::Tunnel][..]);
    let cbc = Layout {
        iv_len: 16,
        icv_len: 32,
        block: 16,
    };
    let layout = prop::sample::select(vec![Layout::aead(16), Layout::aead(8), cbc]);
    // Sequence numbers anywhere, and shortly before the low half wraps.
    let esp_seq = prop_oneof![1u64..1 << 40, 0xffff_fff0u64..=0xffff_ffff];
    let size = prop_oneof![1usize..40, 500usize..3000];
    let shape_of_frame = (
        mode,
        any::<(bool, bool, bool)>(),
        0usize..4,
        0usize..10,
        layout,
    );
    let numbers = (any::<(u8, u32, u16)>(), esp_seq, size);
    (shape_of_frame, numbers, 0usize..30).prop_flat_map(|(frame, numbers, count)| {
        let most = (numbers.2 * count).min(12000);
        let data = prop::collection::vec(any::<u8>(), most / 2..=most);
        (Just(frame), Just(numbers), data).prop_map(|(frame, numbers, data)| {
            let (mode, (outer_v6, inner_v6, vlan), ip_options, tcp_options, layout) = frame;
            let ((flags, tcp_seq, id), esp_seq, size) = numbers;
            Flow {
                mode,
                outer_v6,
                inner_v6,
                ip_options: if mode == Mode::Transport {
                    0
                } else {
                    ip_options
                },
                tcp_options,
                vlan: vlan && mode == Mode::Plain,
                layout,
                flags,
                tcp_seq,
                id,
                esp_seq,
                data,
                size,
            }
        })
    })
}

fn example(mode: Mode) -> Flow {
    Flow {
        mode,
        outer_v6: false,
        inner_v6: true,
        ip_options: 0,
        tcp_options: 3,
        vlan: false,
        layout: Layout::aead(16),
        flags: 0x99,
        tcp_seq: 0xffff_ff00,
        id: 0xffff,
        esp_seq: 0xffff_fffe,
        data: (0..5000u32).map(|n| n as u8).collect(),
        size: 1400,
    }
}

proptest! {
    #[test]
    fn segments_are_those_of_the_reference(flow in flow()) {
        let (frame, request) = flow.whole();
        let segments = flow.segments(&frame, &request).unwrap();
        let expected = flow.reference();
        prop_assert_eq!(segments.count(), expected.len());
        let mut data = Vec::new();
        for (i, expected) in expected.iter().enumerate() {
            // Whatever the buffer had before, but for the ICV, which is not written.
            let mut out = vec![0; segments.len(i)];
            segments.write(i, &mut out).unwrap();
            prop_assert_eq!(&out, expected, "segment {}", i);
            let end = out.len() - segments.trailer_len(i);
            let start = end.saturating_sub(flow.size.min(flow.data.len() - i * flow.size));
            data.extend_from_slice(&out[start..end]);
        }
        prop_assert_eq!(data, flow.data);
    }

    #[test]
    fn every_sealed_segment_opens(flow in flow(), iv_xor: u64, esn: bool) {
        let flow = Flow { layout: Layout::aead(16), ..flow };
        prop_assume!(flow.mode != Mode::Plain);
        let (frame, request) = flow.whole();
        let segments = Segments::in_esp(&frame, &Layers::find(&frame), &request, &flow.esp_request()).unwrap();
        let gcm = Gcm::esp(&[5; 16]);
        let params = Params { layout: flow.layout, esn, iv_xor };
        let (mut ivs, mut bytes) = (HashSet::new(), 0);
        for i in 0..segments.count() {
            let mut out = vec![0xee; segments.len(i)];
            segments.write(i, &mut out).unwrap();
            let number = segments.seq(i).unwrap();
            let found = find(&out, &Layers::find(&out)).unwrap();
            let Esp { offset, end, seq, spi, .. } = found;
            let addresses = found.addresses(&out);
            prop_assert_eq!((offset, end), (flow.esp_offset(), out.len()));
            prop_assert_eq!((u64::from(seq), spi), (number & 0xffff_ffff, SPI));
            let hi = (number >> 32) as u32;
            let esp = &mut out[offset..];
            prop_assert_eq!(seal(&gcm, &params, hi, segments.trailer_len(i), esp), Ok(()));
            prop_assert!(ivs.insert(esp[8..16].to_vec()));
            let opened = open(&gcm, &params, hi, esp).unwrap();
            prop_assert_eq!(opened.next_header, flow.next_header());
            let tunnel = flow.mode == Mode::Tunnel;
            let sum = |[src, dst]: [Address; 2]| Sum::of(&src.bytes).and(Sum::of(&dst.bytes));
            prop_assert!(checksum_is_right(&opened, tunnel, || addresses.map(sum)));
            bytes += opened.payload.len();
        }
        let headers = frame.len() - flow.esp_offset() - 16 - flow.data.len();
        prop_assert_eq!(bytes, flow.data.len() + segments.count() * headers);
    }

    #[test]
    fn any_frame_is_cut_or_refused(
        flow in flow(), flips in prop::collection::vec((0usize..120, any::<u8>()), 0..4), cut in 0usize..200
    ) {
        let (mut frame, request) = flow.whole();
        for (at, bits) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= bits;
            }
        }
        frame.truncate(frame.len().saturating_sub(cut));
        if let Ok(segments) = flow.segments(&frame, &request) {
            for i in 0..segments.count() {
                let mut out = vec![0; segments.len(i)];
                prop_assert_eq!(segments.write(i, &mut out), Ok(()));
            }
        }
    }
}

#[test]
fn what_the_request_says_must_be_so() {
    let refused = |flow: &Flow, change: fn(&mut Vec<u8>, &mut Request)| {
        let (mut frame, mut request) = flow.whole();
        assert!(flow.segments(&frame, &request).is_ok());
        change(&mut frame, &mut request);
        flow.segments(&frame, &request).err()
    };
    for mode in [Mode::Plain, Mode::Transport, Mode::Tunnel] {
        let flow = example(mode);
        let headers = Some(Error::Headers);
        assert_eq!(refused(&flow, |_, r| r.family ^= 2), headers);
        assert_eq!(refused(&flow, |_, r| r.tcp += 4), headers);
        assert_eq!(refused(&flow, |_, r| r.tcp = 60000), headers);
        assert_eq!(refused(&flow, |_, r| r.tcp = usize::MAX), headers);
        assert_eq!(refused(&flow, |f, _| f[12] = 9), headers);
        assert_eq!(refused(&flow, |f, _| f[14] = 0x65), headers);
        assert_eq!(refused(&flow, |_, r| r.size = 0), Some(Error::Size));
        // TCP header shorter than it can be, and longer than the frame.
        assert_eq!(refused(&flow, |f, r| f[r.tcp + 12] = 0x40), headers);
        assert_eq!(refused(&flow, |f, r| f.truncate(r.tcp + 21)), headers);
        let big = Flow {
            data: vec![0; 70000],
            ..flow
        };
        assert_eq!(refused(&big, |_, r| r.size = 65535), Some(Error::Size));
    }
    let inside = |change: fn(&mut EspRequest)| {
        let flow = example(Mode::Tunnel);
        let (frame, request) = flow.whole();
        let mut esp = flow.esp_request();
        change(&mut esp);
        Segments::in_esp(&frame, &Layers::find(&frame), &request, &esp).err()
    };
    assert_eq!(inside(|_| ()), None);
    assert_eq!(inside(|esp| esp.offset += 8), Some(Error::Headers));
    assert_eq!(inside(|esp| esp.offset = usize::MAX), Some(Error::Headers));
    assert_eq!(inside(|esp| esp.next_header = 4), Some(Error::Headers));
    assert_eq!(inside(|esp| esp.tunnel = false), Some(Error::Headers));
    assert_eq!(inside(|esp| esp.esn = false), Some(Error::Sequence));
    assert_eq!(inside(|esp| esp.seq = u64::MAX - 2), Some(Error::Sequence));
    assert_eq!(inside(|esp| esp.seq = u64::MAX - 3), None);
}

#[test]
fn a_buffer_of_another_length_is_refused() {
    let flow = example(Mode::Tunnel);
    let (frame, request) = flow.whole();
    let segments = flow.segments(&frame, &request).unwrap();
    let len = segments.longest();
    for wrong in [0, len - 1, len + 1] {
        assert_eq!(segments.write(0, &mut vec![0; wrong]), Err(Error::Buffer));
    }
    assert_eq!(
        segments.write(4, &mut vec![0; segments.len(4)]),
        Err(Error::Buffer)
    );
    assert_eq!(
        (segments.count(), segments.seq(3)),
        (4, Some(0x1_0000_0001))
    );
}

#[path = "segment_extension_tests.rs"]
mod extensions;
