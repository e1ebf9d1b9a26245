// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec: administration commands, an SA in each direction, packets for it.

use std::convert::Infallible;

use espnic_device::testing::{self, SPI};
use espnic_wire::admin::{self, Command, Reply};
use espnic_wire::ctrl::{self, CtrlHdr};
use espnic_wire::filter::Action;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use espnic_wire::tunnel::Tunnel;
use zerocopy::IntoBytes;

use super::driver::{self, Driver, ADMIN, CTRL};
use super::{config, packets, Rig};

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
            let reply = driver.request(queue, &framed(bytes), 1025);
            assert_eq!(reply[0], ctrl::OK);
            reply[1..].to_vec()
        }
    };
    // V140 and V131, of every command of these tests.
    assert_eq!(reply.len() % 8, 0);
    let reply = Reply::parse(&reply).unwrap();
    assert_eq!(reply.status == 0, reply.qualifier == 0);
    (reply.status, reply.qualifier, reply.result.to_vec())
}

pub fn done(driver: &mut Driver, queue: u16, what: Command<'_>) -> Vec<u8> {
    let (status, qualifier, result) = execute(driver, queue, &testing::bytes(what));
    assert_eq!((status, qualifier), (admin::OK, admin::Q_OK));
    result
}

pub fn set_up(driver: &mut Driver, queue: u16) {
    let set_up = testing::set_up(|command| Ok::<_, Infallible>(done(driver, queue, command)));
    assert_eq!(set_up, Ok(()));
}

/// Makes rules that take ESP through IPsec with this action. Call [`set_up`] before.
pub fn make_rules(driver: &mut Driver, queue: u16, action: Action) {
    let mut execute = |command: Command<'_>| Ok::<_, Infallible>(done(driver, queue, command));
    assert_eq!(testing::filter::set_up(&mut execute), Ok(()));
    let made = testing::filter::protect(action as u8, &mut execute);
    assert_eq!(made, Ok(()));
}

/// The outer header of tunnels.
pub const OUTER: Tunnel = Tunnel::V4 {
    src: [192, 0, 2, 1],
    dst: [192, 0, 2, 2],
    dscp: 0,
    df: true,
    ttl: 64,
};

/// An SA of the standard with AES-GCM-128, for a tunnel with that header.
pub fn tunnel(obj_type: u16) -> SaObject {
    let mut object = testing::tunnel(obj_type, &OUTER);
    if obj_type == OBJ_INB_SA {
        object.base.replay_win_sz = 64.into();
        object.tail.dst[..4].copy_from_slice(&[192, 0, 2, 2]);
    }
    object
}

pub fn create(driver: &mut Driver, obj_type: u16, id: u32) {
    let object = testing::object(obj_type);
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

/// Two NICs on one wire: the first has the outbound SA 3, the second the inbound SA 4.
pub fn pair() -> (Driver, Driver) {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::ipsec() | driver::tso());
    b.start(driver::ipsec());
    set_up(&mut a, CTRL);
    set_up(&mut b, CTRL);
    create(&mut a, OBJ_OUTB_SA, 3);
    create(&mut b, OBJ_INB_SA, 4);
    (a, b)
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
    testing::correct(&mut frame);
    (testing::hdr(id, 18), frame)
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
    let mut hdr = testing::hdr(id, 0);
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = size.into();
    hdr.net.csum_start = 50.into();
    hdr.net.csum_offset = 16.into();
    hdr.sec.next_header = 6;
    (hdr, frame)
}
