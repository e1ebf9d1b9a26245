// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec: its first commands, SAs, and packets for them. Each is good, until the
//! fuzzer's patches are applied.

use crate::Bytes;
use espnic_wire::admin::{Command, OPS_ALL};
use espnic_wire::cap;
use espnic_wire::hdr::{NetHdr48, F_SECURITY, F_X_SEC, SEC_OP_CRYPTO_ONLY};
use espnic_wire::sa::{self, SaObject, SaTail, OBJ_OUTB_SA};
use zerocopy::{FromZeros, IntoBytes};

const SPI: u32 = 0x1001;

/// The bytes of a command.
pub fn command(command: Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let len = command.write(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// Executes, by `execute`, what a driver does before its first SA: it takes everything that is offered.
/// `execute` returns the result.
pub fn set_up(mut execute: impl FnMut(&[u8]) -> Vec<u8>) {
    execute(&command(Command::ListUse(&OPS_ALL.to_le_bytes())));
    for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA] {
        let data = execute(&command(Command::DeviceCapGet(id)));
        execute(&command(Command::DriverCapSet { id, data: &data }));
    }
}

/// AES-GCM-128, IPv4 to 10.0.0.2, crypto-only; sender and receiver have the same key.
pub fn object(obj_type: u16) -> SaObject {
    let mut object = SaObject::new_zeroed();
    object.std.mode = cap::MODE_ESP_TRANSPORT;
    object.std.spi = SPI.into();
    object.std.salt = [9, 8, 7, 6];
    object.std.cipher_key.length = 16.into();
    object.std.cipher_key.data[..16].fill(0x42);
    object.tail.tail_len = SaTail::LEN.into();
    object.tail.aead_algo = cap::AEAD_GCM.into();
    object.tail.icv_len = 16;
    let mut flags = sa::TAIL_CRYPTO_ONLY | sa::TAIL_DELIVER_ERR;
    if obj_type == OBJ_OUTB_SA {
        object.std.direction = sa::DIR_OUT;
        object.tail.iv_mode = sa::IV_SEQ_XOR;
        object.tail.iv_xor = 0x0102_0304_0506_0708.into();
    } else {
        object.std.direction = sa::DIR_IN;
        flags |= sa::TAIL_MATCH_ADDR;
        object.tail.peer_family = 4;
        object.tail.peer_dst[..4].copy_from_slice(&[10, 0, 0, 2]);
    }
    object.tail.tail_flags = flags.into();
    object
}

/// An IPv4 frame to 10.0.0.2 for the SA `id`, as the driver hands it over, and its header.
pub fn frame(id: u32, seq: u32, payload: &[u8]) -> (NetHdr48, Vec<u8>) {
    let behind = crate::esp::trailer(payload.len(), 4, 0, 6);
    let mut esp = [SPI.to_be_bytes(), seq.to_be_bytes(), [0; 4], [0; 4]].concat();
    esp.extend(payload);
    esp.extend(&behind);
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
    hdr.sec.sec_op = SEC_OP_CRYPTO_ONLY;
    hdr.sec.esp_offset = 34.into();
    hdr.sec.trailer_len = (behind.len() as u16 + 16).into();
    (hdr, frame)
}

/// Overwrites up to three parts of `target` where and with what the fuzzer says.
pub fn patch(bytes: &mut Bytes<'_>, target: &mut [u8]) {
    for _ in 0..bytes.u8() % 4 {
        let (at, len) = (usize::from(bytes.u16()), usize::from(bytes.u8() % 16));
        for (to, from) in target.iter_mut().skip(at).zip(bytes.take(len)) {
            *to = *from;
        }
    }
}

/// A command about an object, with some of its bytes changed.
pub fn object_command(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let obj_type = bytes.choose(&[OBJ_OUTB_SA, sa::OBJ_INB_SA]);
    let (kind, id) = (bytes.u8() % 4, u32::from(bytes.u8() % 4));
    let mut object = object(obj_type);
    patch(bytes, object.as_mut_bytes());
    let object = object.as_bytes();
    let mut all = command(match kind {
        0 => Command::ObjCreate {
            obj_type,
            id,
            object,
        },
        1 => Command::ObjModify {
            obj_type,
            id,
            object,
        },
        2 => Command::ObjQuery { obj_type, id },
        _ => Command::ObjDestroy { obj_type, id },
    });
    patch(bytes, &mut all);
    all
}

/// A packet to be sent, with some of its bytes, and of its header's, changed.
pub fn packet(bytes: &mut Bytes<'_>) -> (NetHdr48, Vec<u8>) {
    let (id, seq) = (u32::from(bytes.u8() % 4), u32::from(bytes.u16()));
    let (mut hdr, mut frame) = frame(id, seq, bytes.slice());
    patch(bytes, hdr.as_mut_bytes());
    patch(bytes, &mut frame);
    (hdr, frame)
}
