// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SAs and packets for the engines.

use espnic_device::crypto::Suite;
use espnic_device::testing::{self, ESP};
use espnic_esp::checksum::{Sum, TCP_FIELD};
use espnic_wire::algorithm::Mac;
use espnic_wire::cap;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{self, SaObject};
use espnic_wire::tunnel::Tunnel;

/// Length of the Ethernet and of the IPv4 header.
const ETH: usize = 14;
const IPV4: usize = 20;
/// Pad length and next header; there is no padding.
const TRAILER: usize = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// 10.0.0.1 and 10.0.0.2.
const ADDRESSES: [u8; 8] = [10, 0, 0, 1, 10, 0, 0, 2];

/// Where ESP ends, and who adds it.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// Crypto offload, transport mode.
    Transport,
    /// Crypto offload of a tunnel over IPv4.
    Tunnel,
    /// Packet offload of the same tunnel.
    PacketTunnel,
}

/// What ESP carries.
#[derive(Clone, Copy, PartialEq)]
pub enum Content {
    /// TCP. The NIC completes the checksum before it encrypts, and verifies it after it has decrypted.
    Tcp,
    /// UDP without a checksum (RFC 768), of which the NIC does nothing but the cryptography.
    Udp,
}

/// A kind of SA, and of packets for it.
#[derive(Clone, Copy, PartialEq)]
pub struct Kind {
    pub suite: Suite,
    pub form: Form,
    pub content: Content,
}

impl Kind {
    /// AES-GCM-128 in transport mode.
    pub const fn gcm(content: Content) -> Self {
        Self {
            suite: Suite::AesGcm { icv_len: 16 },
            form: Form::Transport,
            content,
        }
    }

    /// Header, IV: where the text of an ESP packet starts in a frame.
    pub fn text(self) -> usize {
        ESP + 8 + usize::from(self.suite.layout().iv_len)
    }

    /// The flags of a packet that was decrypted.
    pub fn received(self) -> u8 {
        hdr::F_SECURITY
            | hdr::F_X_SEC
            | match self.content {
                Content::Tcp => hdr::F_DATA_VALID,
                Content::Udp => 0,
            }
    }
}

/// The cipher key of an SA; each has another one.
pub fn key(id: u32) -> [u8; 16] {
    let mut key = [0x42; 16];
    key[..4].copy_from_slice(&id.to_le_bytes());
    key
}

/// The MAC keys of all SAs consist of this byte.
pub const MAC_KEY: u8 = 0x11;

const fn spi(id: u32) -> u32 {
    // Arbitrary bits, as an IKE daemon draws them, and no SPI twice.
    (id + 256).wrapping_mul(0x9e37_79b1)
}

/// The SA of [`testing::object`] with what is its own.
pub fn object(kind: Kind, obj_type: u16, id: u32) -> SaObject {
    let mut object = testing::object(obj_type);
    object.base.obj_id = id.into();
    object.base.spi = spi(id).into();
    object.base.cipher_key.data[..16].copy_from_slice(&key(id));
    object.tail.iv_xor = (0x5555_5555_5555 ^ u64::from(id)).into();
    if let Suite::AesCbc(mac) = kind.suite {
        set_cbc(&mut object, mac);
    }
    if kind.form != Form::Transport {
        object.base.mode = cap::MODE_ESP_TUNNEL;
    }
    if kind.form == Form::PacketTunnel {
        set_standard(&mut object);
    }
    object
}

fn set_cbc(object: &mut SaObject, mac: Mac) {
    object.tail.aead_algo = 0.into();
    object.base.cipher_algo = cap::CIPHER_AES_CBC.into();
    object.base.auth_algo = match mac {
        Mac::HmacSha1 => cap::MAC_HMAC_SHA1,
        Mac::HmacSha256 => cap::MAC_HMAC_SHA256,
        Mac::HmacSha384 => cap::MAC_HMAC_SHA384,
        Mac::HmacSha512 => cap::MAC_HMAC_SHA512,
    }
    .into();
    object.tail.icv_len = mac.row().icv_len as u8;
    object.base.auth_key.length = (mac.row().key_len as u16).into();
    object.base.auth_key.data.fill(MAC_KEY);
    object.tail.auth_key_ext.fill(MAC_KEY);
    object.base.salt = [0; 4];
    if object.base.direction == sa::DIR_OUT {
        object.tail.iv_mode = sa::IV_DEVICE;
        object.tail.iv_xor = 0.into();
    }
}

/// An SA of the standard.
fn set_standard(object: &mut SaObject) {
    let crypto_only = sa::TAIL_CRYPTO_ONLY | sa::TAIL_DELIVER_ERR;
    object.tail.tail_flags = (object.tail.tail_flags.get() & !crypto_only).into();
    if object.base.direction == sa::DIR_OUT {
        let outer = Tunnel::V4 {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            dscp: 0,
            df: true,
            ttl: 64,
        };
        outer.put(&mut object.base);
    }
}

/// A frame for the outbound SA `id`, whose text has `len` bytes to encrypt, and its header.
pub fn frame(kind: Kind, id: u32, seq: u32, len: usize) -> (NetHdr48, Vec<u8>) {
    match kind.form {
        Form::PacketTunnel => plain(kind, id, len),
        _ => esp(kind, id, seq, len),
    }
}

fn esp(kind: Kind, id: u32, seq: u32, len: usize) -> (NetHdr48, Vec<u8>) {
    let layout = kind.suite.layout();
    let icv_len = usize::from(layout.icv_len);
    let mut hdr = testing::hdr(id, TRAILER + icv_len);
    let mut frame = link();
    let esp_len = kind.text() - ESP + len + icv_len;
    frame.extend(ipv4(50, esp_len));
    frame.extend(spi(id).to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.resize(kind.text(), 0);
    let (next_header, start) = match kind.form {
        Form::Transport => (protocol(kind.content), frame.len()),
        _ => (4, frame.len() + IPV4),
    };
    let inner = match kind.form {
        Form::Transport => transport(kind.content, len - TRAILER),
        _ => packet(kind.content, len - TRAILER),
    };
    frame.extend(inner);
    frame.extend([0, next_header]);
    frame.resize(frame.len() + icv_len, 0);
    ask(&mut hdr, kind.content, start);
    (hdr, frame)
}

/// What the driver hands over under packet offload.
fn plain(kind: Kind, id: u32, len: usize) -> (NetHdr48, Vec<u8>) {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
    hdr.out.resource_id = id.into();
    hdr.out.resource_type = sa::OBJ_OUTB_SA.into();
    hdr.sec.generation = testing::GENERATION.into();
    let mut frame = link();
    frame.extend(packet(kind.content, len - TRAILER));
    ask(&mut hdr, kind.content, ETH + IPV4);
    (hdr, frame)
}

/// Asks for the checksum of what starts at `start`, if it has one.
fn ask(hdr: &mut NetHdr48, content: Content, start: usize) {
    if content == Content::Tcp {
        hdr.net.flags |= hdr::F_NEEDS_CSUM;
        hdr.net.csum_start = (start as u16).into();
        hdr.net.csum_offset = (TCP_FIELD as u16).into();
    }
}

/// An Ethernet header.
fn link() -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0]);
    frame
}

/// An IPv4 header in front of `len` bytes.
fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(((IPV4 + len) as u16).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(ADDRESSES);
    espnic_esp::checksum::complete_ipv4(&mut header);
    header
}

/// An IPv4 packet of `len` bytes.
fn packet(content: Content, len: usize) -> Vec<u8> {
    let mut packet = ipv4(protocol(content), len - IPV4);
    packet.extend(transport(content, len - IPV4));
    packet
}

fn protocol(content: Content) -> u8 {
    match content {
        Content::Tcp => TCP,
        Content::Udp => UDP,
    }
}

/// A TCP or UDP packet of `len` bytes. The checksum of TCP is that of the pseudo header alone.
fn transport(content: Content, len: usize) -> Vec<u8> {
    let mut bytes = [1000u16, 2000].map(u16::to_be_bytes).concat();
    match content {
        Content::Tcp => {
            let sum = Sum::of(&ADDRESSES).plus(TCP.into()).plus(len as u32);
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff]);
            bytes.extend(sum.folded().to_be_bytes());
            bytes.extend([0, 0]);
        }
        Content::Udp => {
            bytes.extend((len as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
    }
    bytes.resize(len, 0xa5);
    bytes
}
