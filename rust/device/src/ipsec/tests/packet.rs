// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs of the standard: plain frames in, plain frames out.

mod hostile;
mod limits;
mod lookup;
mod modes;
mod nat;
mod refused;
mod replay;
mod segments;
mod state;
mod together;
mod turns;
mod wire;

use super::*;
use crate::filter::Verdict;
use espnic_esp::checksum::complete;
use espnic_wire::tunnel::Tunnel;

/// Offset of the IP header in a frame.
const IP: usize = 14;

/// What ESP goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Transport mode, over IPv6 or IPv4.
    Transport { v6: bool },
    /// A tunnel over IPv6 or IPv4.
    Tunnel { v6: bool },
}

const PATHS: [Path; 4] = [
    Path::Transport { v6: false },
    Path::Transport { v6: true },
    Path::Tunnel { v6: false },
    Path::Tunnel { v6: true },
];

impl Path {
    fn is_tunnel(self) -> bool {
        matches!(self, Self::Tunnel { .. })
    }

    /// The outer header is IPv6.
    fn v6(self) -> bool {
        match self {
            Self::Transport { v6 } | Self::Tunnel { v6 } => v6,
        }
    }

    /// Versions of IP of the packets that can go through.
    fn inner(self) -> &'static [bool] {
        match self {
            Self::Transport { v6: false } => &[false],
            Self::Transport { v6: true } => &[true],
            Self::Tunnel { .. } => &[false, true],
        }
    }

    /// Where ESP ends.
    fn destination(self) -> Vec<u8> {
        match self {
            Self::Transport { v6: false } => vec![10, 0, 0, 2],
            Self::Transport { v6: true } => vec![0xfe; 16],
            Self::Tunnel { v6: false } => vec![192, 0, 2, 2],
            Self::Tunnel { v6: true } => vec![0x22; 16],
        }
    }
}

fn tunnel(v6: bool) -> Tunnel {
    match v6 {
        false => Tunnel::V4 {
            src: [192, 0, 2, 1],
            dst: [192, 0, 2, 2],
            dscp: 0,
            df: true,
            ttl: 64,
        },
        true => Tunnel::V6 {
            src: [0x11; 16],
            dst: [0x22; 16],
            flow_label: 0xabcde,
            hop_limit: 64,
            dscp: 0,
        },
    }
}

fn set_flags(object: &mut SaObject, on: u16, off: u16) {
    object.tail.tail_flags = (object.tail.tail_flags.get() & !off | on).into();
}

fn add_option(object: &mut SaObject, option: u32) {
    object.base.options = (object.base.options.get() | u64::from(option)).into();
}

/// An SA of the standard with AES-GCM-128; inbound without a replay window.
fn sa(obj_type: u16, path: Path) -> SaObject {
    convert(super::object(obj_type), path)
}

/// The crypto-only SA `object` as one of the standard.
fn convert(mut object: SaObject, path: Path) -> SaObject {
    set_flags(
        &mut object,
        0,
        super::wire::TAIL_CRYPTO_ONLY | super::wire::TAIL_DELIVER_ERR,
    );
    object.base.mode = match path.is_tunnel() {
        true => cap::MODE_ESP_TUNNEL,
        false => cap::MODE_ESP_TRANSPORT,
    };
    if object.base.direction == super::wire::DIR_IN {
        object.tail.family = if path.v6() { 6 } else { 4 };
        object.tail.dst = [0; 16];
        let dst = path.destination();
        object.tail.dst[..dst.len()].copy_from_slice(&dst);
    } else if path.is_tunnel() {
        tunnel(path.v6()).put(&mut object.base);
    }
    object
}

/// With UDP encapsulation.
fn in_udp(mut object: SaObject) -> SaObject {
    add_option(&mut object, cap::OPT_UDP_ENCAP);
    object.base.udp_sport = 4500.into();
    object.base.udp_dport = 4500.into();
    object.tail.encap_mode = super::wire::ENCAP_UDP;
    object
}

/// With extended sequence numbers, and inbound a window of 64 packets.
fn with_esn(mut object: SaObject) -> SaObject {
    add_option(&mut object, cap::OPT_ESN);
    if object.base.direction == super::wire::DIR_IN {
        object.base.replay_win_sz = 64.into();
    }
    object
}

/// Starts behind the number `seq`.
fn behind(mut object: SaObject, seq: u64) -> SaObject {
    set_flags(&mut object, super::wire::TAIL_SEQ_VALID, 0);
    object.tail.seq = seq.into();
    object
}

/// A sender with outbound SA 1 and a receiver with inbound SA 2.
fn connect(outbound: &SaObject, inbound: &SaObject) -> (Engine, Engine) {
    let (a, b) = (ready(Backend::default()), ready(Backend::default()));
    assert_eq!(create(&a, OBJ_OUTB_SA, 1, outbound), DONE);
    assert_eq!(create(&b, OBJ_INB_SA, 2, inbound), DONE);
    (a, b)
}

/// Two NICs with plain SAs of this path.
fn pair(path: Path) -> (Engine, Engine) {
    connect(&sa(OBJ_OUTB_SA, path), &sa(OBJ_INB_SA, path))
}

const OVER_V4: Path = Path::Tunnel { v6: false };

/// The header of a plain frame for outbound SA 1.
fn plain_hdr() -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = F_SECURITY | F_X_SEC;
    hdr.out.resource_id = 1.into();
    hdr.out.resource_type = OBJ_OUTB_SA.into();
    hdr.sec.generation = testing::GENERATION.into();
    hdr
}

/// A frame with an IP packet from 10.0.0.1 to 10.0.0.2, or between two IPv6 addresses.
fn ip(v6: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend([[0xfd; 16], [0xfe; 16]].concat());
    } else {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((20 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        testing::correct(&mut frame);
    }
    frame.extend(payload);
    frame
}

/// Folded sum of the pseudo header.
fn pseudo(v6: bool, protocol: u8, len: usize) -> u16 {
    let addresses: Vec<u8> = match v6 {
        true => [[0xfd; 16], [0xfe; 16]].concat(),
        false => vec![10, 0, 0, 1, 10, 0, 0, 2],
    };
    let words = addresses
        .chunks(2)
        .map(|word| (u64::from(word[0]) << 8) | u64::from(word[1]));
    let mut sum = words.sum::<u64>() + u64::from(protocol) + len as u64;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A UDP packet whose checksum is left to the NIC, and what it is to be when it arrives.
fn udp(v6: bool, data: &[u8]) -> (NetHdr48, Vec<u8>, Vec<u8>) {
    let len = 8 + data.len();
    let head = [1000, 2000, len as u16, pseudo(v6, 17, len)];
    let mut datagram = head.map(u16::to_be_bytes).concat();
    datagram.extend(data);
    let frame = ip(v6, 17, &datagram);
    let start = frame.len() - len;
    let mut hdr = plain_hdr();
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = (start as u16).into();
    hdr.net.csum_offset = 6.into();
    let mut whole = frame.clone();
    let end = whole.len();
    assert!(complete(&mut whole, start, 6, end));
    (hdr, frame, whole)
}

/// Sends a frame; returns what goes on the wire.
fn transmit(a: &Engine, hdr: &NetHdr48, frame: &[u8]) -> Result<Vec<Vec<u8>>, TxDrop> {
    let (mut out, mut given) = (Frames::default(), Frame::from(frame.to_vec()));
    // Something that must stay.
    out.push(vec![9; 60]);
    let result = a.transmit(hdr, &mut given, LONGEST, &mut out);
    let mut sent: Vec<_> = out.drain().map(Vec::from).collect();
    assert_eq!(sent.remove(0), [9; 60]);
    assert!(sent.iter().all(|one| one.len() <= LONGEST && one != frame));
    assert_eq!(result.is_ok(), !sent.is_empty(), "{result:?}");
    result.map(|()| sent)
}

/// Sends a frame that becomes one.
fn one(a: &Engine, hdr: &NetHdr48, frame: &[u8]) -> Vec<u8> {
    let sent = transmit(a, hdr, frame).unwrap();
    let [one] = sent.try_into().unwrap();
    one
}

/// The next ESP packet of outbound SA 1.
fn next(a: &Engine) -> Vec<u8> {
    let (hdr, frame, _) = udp(false, b"the next packet");
    one(a, &hdr, &frame)
}

/// Receives a frame that a rule sends to IPsec; what comes out is empty if it was dropped.
fn by_rule(b: &Engine, frame: &[u8]) -> (NetHdr48, Vec<u8>) {
    let mut inbound = Inbound::new(frame.to_vec().into(), Verdict::Ipsec);
    b.receive(&mut inbound);
    (inbound.hdr, inbound.frame.into())
}

/// Whether a frame is delivered as a plain one; if not, it is dropped.
fn passes(b: &Engine, frame: &[u8]) -> bool {
    let (hdr, frame) = by_rule(b, frame);
    assert_eq!(hdr.has(F_SECURITY), !frame.is_empty());
    assert!(!hdr.has(F_SECURITY_ERR));
    !frame.is_empty()
}

fn modify(ipsec: &Engine, obj_type: u16, id: u32, object: &SaObject) -> (u16, u16) {
    let object = object.as_bytes();
    let modify = Command::ObjModify {
        obj_type,
        id,
        object,
    };
    status(ipsec, modify)
}
