// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests through the public interface only: bytes of administration commands, frames, counters.

mod admin;
mod ciphers;
mod faults;
mod hostile;
mod nat;
mod numbers;
mod packets;
mod room;
mod segments;

use super::*;
use crate::crypto::Backend;
use espnic_wire::admin::{Command, Reply, EINVAL, OK, OPS_ALL, Q_INVALID_FIELD};
use espnic_wire::cap::{self, IpsecLimits, ListHdr};
use espnic_wire::hdr::{self, F_SECURITY, F_SECURITY_ERR, F_X_SEC};
use espnic_wire::sa as wire;
use espnic_wire::sa::{SaObject, SaTail, OBJ_INB_SA, OBJ_OUTB_SA};
use zerocopy::{FromZeros, IntoBytes};

const SPI: u32 = 0x1001;
const INVALID_FIELD: (u16, u16) = (EINVAL, Q_INVALID_FIELD);
const DONE: (u16, u16) = (OK, 0);
const TYPES: [u16; 2] = [OBJ_OUTB_SA, OBJ_INB_SA];

fn new(backend: Backend) -> Ipsec {
    Ipsec::new(IpsecConfig {
        libraries: backend.into(),
        inb_sa_limit: 64,
        outb_sa_limit: 64,
        x_ipsec: true,
        delete_above: None,
    })
}

/// Executes a command; returns status, qualifier and result.
fn run(ipsec: &Ipsec, command: Command<'_>) -> ((u16, u16), Vec<u8>) {
    let mut readable = [0; 4096];
    let len = command.write(&mut readable).unwrap();
    run_bytes(ipsec, &readable[..len])
}

fn run_bytes(ipsec: &Ipsec, readable: &[u8]) -> ((u16, u16), Vec<u8>) {
    let mut writable = [0xee; 4096];
    let written = ipsec.admin(readable, &mut writable);
    assert!(writable[written..].iter().all(|&byte| byte == 0xee));
    let reply = Reply::parse(&writable[..written]).unwrap();
    ((reply.status, reply.qualifier), reply.result.to_vec())
}

fn status(ipsec: &Ipsec, command: Command<'_>) -> (u16, u16) {
    run(ipsec, command).0
}

/// What a driver does before its first SA: takes everything that is offered.
fn set_up(ipsec: &Ipsec) {
    assert_eq!(
        status(ipsec, Command::ListUse(&OPS_ALL.to_le_bytes())),
        DONE
    );
    for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA] {
        let (got, data) = run(ipsec, Command::DeviceCapGet(id));
        assert_eq!(got, DONE);
        assert_eq!(
            status(ipsec, Command::DriverCapSet { id, data: &data }),
            DONE
        );
    }
}

fn ready(backend: Backend) -> Ipsec {
    let ipsec = new(backend);
    set_up(&ipsec);
    ipsec
}

/// AES-128 SA, IPv4 10.0.0.2, epoch 7.
fn object(obj_type: u16) -> SaObject {
    let mut object = SaObject::new_zeroed();
    object.std.mode = cap::MODE_ESP_TRANSPORT;
    object.std.spi = SPI.into();
    object.std.salt = [9, 8, 7, 6];
    object.std.cipher_key.length = 16.into();
    object.std.cipher_key.data[..16].copy_from_slice(&[0x42; 16]);
    object.tail.tail_len = SaTail::LEN.into();
    object.tail.aead_algo = cap::AEAD_GCM.into();
    object.tail.icv_len = 16;
    object.tail.epoch = 7.into();
    let mut flags = wire::TAIL_CRYPTO_ONLY | wire::TAIL_DELIVER_ERR;
    if obj_type == OBJ_OUTB_SA {
        object.std.direction = wire::DIR_OUT;
        object.tail.iv_mode = wire::IV_SEQ_XOR;
        object.tail.iv_xor = 0x0102_0304_0506_0708.into();
    } else {
        object.std.direction = wire::DIR_IN;
        flags |= wire::TAIL_MATCH_ADDR;
        object.tail.peer_family = 4;
        object.tail.peer_dst[..4].copy_from_slice(&[10, 0, 0, 2]);
    }
    object.tail.tail_flags = flags.into();
    object
}

fn create(ipsec: &Ipsec, obj_type: u16, id: u32, object: &SaObject) -> (u16, u16) {
    status(
        ipsec,
        Command::ObjCreate {
            obj_type,
            id,
            object: object.as_bytes(),
        },
    )
}

fn destroy(ipsec: &Ipsec, obj_type: u16, id: u32) -> (u16, u16) {
    status(ipsec, Command::ObjDestroy { obj_type, id })
}

fn counter(ipsec: &Ipsec, name: &str) -> u64 {
    ipsec
        .counters()
        .into_iter()
        .find(|(other, _)| *other == name)
        .unwrap()
        .1
}

/// An IPv4 frame to 10.0.0.2 as the driver hands it over, and its header.
fn frame(id: u32, seq: u32, payload: &[u8]) -> (NetHdr48, Vec<u8>) {
    let pad_len = (4 - (payload.len() + 2) % 4) % 4;
    let mut esp = [SPI.to_be_bytes(), seq.to_be_bytes(), [0; 4], [0; 4]].concat();
    esp.extend(payload);
    esp.extend((1..=pad_len).map(|n| n as u8));
    esp.extend([pad_len as u8, 6]);
    esp.extend([0; 16]);
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + esp.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(esp);

    let mut hdr = NetHdr48::default();
    hdr.net.flags = F_SECURITY | F_X_SEC;
    hdr.out.resource_id = id.into();
    hdr.out.resource_type = OBJ_OUTB_SA.into();
    hdr.sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    hdr.sec.esp_offset = 34.into();
    hdr.sec.trailer_len = (pad_len as u16 + 2 + 16).into();
    hdr.sec.epoch = 7.into();
    (hdr, frame)
}

/// Longest frame on the wires of these tests.
const LONGEST: usize = 1518;

/// Sends a frame that becomes one: it is then what goes on the wire. Else it stays.
fn send(ipsec: &Ipsec, hdr: &NetHdr48, frame: &mut Vec<u8>) -> Result<(), TxDrop> {
    let (mut out, mut given) = (Frames::default(), frame.clone());
    ipsec.transmit(hdr, &mut given, LONGEST, &mut out)?;
    assert!(given.is_empty(), "it was moved");
    let sent: Vec<_> = out.drain().collect();
    let [one] = sent.try_into().unwrap();
    *frame = one;
    Ok(())
}

/// Status of a received frame, `None` if it was left alone.
fn received(ipsec: &Ipsec, frame: &mut [u8]) -> Option<u8> {
    let mut hdr = NetHdr48::default();
    ipsec.receive(frame, &mut hdr);
    if !hdr.has(F_SECURITY) {
        assert_eq!(hdr, NetHdr48::default());
        return None;
    }
    assert!(hdr.has(F_X_SEC));
    assert_eq!(hdr.has(F_SECURITY_ERR), hdr.sec.sec_status != hdr::SEC_OK);
    Some(hdr.sec.sec_status)
}
