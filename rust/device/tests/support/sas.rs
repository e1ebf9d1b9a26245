// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec: administration commands, an SA in each direction, packets for it.

use espnic_wire::admin::{self, Command, Reply};
use espnic_wire::cap;
use espnic_wire::ctrl::{self, CtrlHdr};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{self, SaObject, SaTail};
use zerocopy::{FromZeros, IntoBytes};

use super::driver::{Driver, ADMIN, CTRL};
use super::packets;

pub const SPI: u32 = 0x1001;

pub fn command(command: Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let len = command.write(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// The command in the frame of the control queue.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut request = CtrlHdr::X_ADMIN.as_bytes().to_vec();
    request.extend(bytes);
    request
}

/// Executes a command; status, qualifier and result.
pub fn execute(driver: &mut Driver, queue: u16, bytes: &[u8]) -> (u16, u16, Vec<u8>) {
    let reply = match queue {
        ADMIN => driver.request(ADMIN, bytes, 1024),
        _ => {
            let reply = driver.request(CTRL, &framed(bytes), 1025);
            assert_eq!(reply[0], ctrl::OK);
            reply[1..].to_vec()
        }
    };
    let reply = Reply::parse(&reply).unwrap();
    (reply.status, reply.qualifier, reply.result.to_vec())
}

pub fn done(driver: &mut Driver, queue: u16, what: Command<'_>) -> Vec<u8> {
    let (status, qualifier, result) = execute(driver, queue, &command(what));
    assert_eq!((status, qualifier), (admin::OK, admin::Q_OK));
    result
}

pub fn set_up(driver: &mut Driver, queue: u16) {
    done(
        driver,
        queue,
        Command::ListUse(&admin::OPS_ALL.to_le_bytes()),
    );
    for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA] {
        let data = done(driver, queue, Command::DeviceCapGet(id));
        done(driver, queue, Command::DriverCapSet { id, data: &data });
    }
}

pub fn object(obj_type: u16) -> SaObject {
    let mut object = SaObject::new_zeroed();
    object.std.mode = cap::MODE_ESP_TRANSPORT;
    object.std.spi = SPI.into();
    object.std.cipher_key.length = 16.into();
    object.std.cipher_key.data[..16].copy_from_slice(&[0x42; 16]);
    object.tail.tail_len = SaTail::LEN.into();
    object.tail.aead_algo = cap::AEAD_GCM.into();
    object.tail.icv_len = 16;
    object.tail.epoch = 7.into();
    let mut flags = sa::TAIL_CRYPTO_ONLY | sa::TAIL_DELIVER_ERR;
    if obj_type == sa::OBJ_OUTB_SA {
        object.std.direction = sa::DIR_OUT;
        object.tail.iv_mode = sa::IV_SEQ_XOR;
        object.tail.iv_xor = 0x55.into();
    } else {
        object.std.direction = sa::DIR_IN;
        flags |= sa::TAIL_MATCH_ADDR;
        object.tail.peer_family = 4;
        object.tail.peer_dst[..4].copy_from_slice(&[10, 0, 0, 2]);
    }
    object.tail.tail_flags = flags.into();
    object
}

pub fn create(driver: &mut Driver, obj_type: u16, id: u32) {
    let object = object(obj_type);
    done(
        driver,
        CTRL,
        Command::ObjCreate {
            obj_type,
            id,
            object: object.as_bytes(),
        },
    );
}

/// An IPv4 frame with ESP around `clear`, which ends with next header and is 4-aligned, as the
/// driver hands it over.
pub fn esp(id: u32, clear: &[u8]) -> (NetHdr48, Vec<u8>) {
    let mut frame = packets::udp(0)[..34].to_vec();
    frame.extend(SPI.to_be_bytes());
    frame.extend(1u32.to_be_bytes());
    frame.extend([0; 8]);
    frame.extend(clear);
    frame.extend([0; 16]);
    frame[14 + 9] = 50;
    let len = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    (esp_hdr(id), frame)
}

fn esp_hdr(id: u32) -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
    hdr.out.resource_id = id.into();
    hdr.sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    hdr.sec.esp_offset = 34.into();
    hdr.sec.trailer_len = 18.into();
    hdr.sec.epoch = 7.into();
    hdr
}

/// A UDP segment with only the pseudo header's sum, and the empty ESP trailer.
pub fn clear_payload() -> Vec<u8> {
    let mut clear = packets::udp_partial(34)[34..].to_vec();
    clear.extend([0, 17]);
    assert_eq!(clear.len() % 4, 0);
    clear
}

/// A TCP packet in ESP of transport mode that the NIC is to segment to `size` bytes of data each.
pub fn esp_gso(id: u32, len: usize, size: u16) -> (NetHdr48, Vec<u8>) {
    let mut frame = packets::tcp_partial(false, 1, len);
    let esp = [&SPI.to_be_bytes()[..], &1u32.to_be_bytes(), &[0; 8]].concat();
    frame.splice(34..34, esp);
    frame[14 + 9] = 50;
    let mut hdr = esp_hdr(id);
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = size.into();
    hdr.net.csum_start = 50.into();
    hdr.net.csum_offset = 16.into();
    hdr.sec.trailer_len = 0.into();
    hdr.sec.next_header = 6;
    (hdr, frame)
}
