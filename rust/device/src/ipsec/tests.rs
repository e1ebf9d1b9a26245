// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests through the public interface only: bytes of administration commands, frames, counters.

mod admin;
mod ciphers;
mod faults;
mod hostile;
mod many;
mod nat;
mod numbers;
mod packet;
mod packets;
mod room;
mod segments;

use super::*;
use crate::crypto::{Backend, Libraries};
use crate::testing::{self, frame, object, Engine, SPI};
use espnic_wire::admin::{Command, Reply, EINVAL, OK, OPS_ALL, Q_INVALID_FIELD};
use espnic_wire::cap::{self, IpsecLimits, ListHdr};
use espnic_wire::hdr::{self, F_SECURITY, F_SECURITY_ERR, F_X_SEC};
use espnic_wire::sa as wire;
use espnic_wire::sa::{SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use zerocopy::IntoBytes;

const INVALID_FIELD: (u16, u16) = (EINVAL, Q_INVALID_FIELD);
const DONE: (u16, u16) = (OK, 0);
const TYPES: [u16; 2] = [OBJ_OUTB_SA, OBJ_INB_SA];

fn new(backend: Backend) -> Engine {
    with_libraries(backend.into())
}

fn with_libraries(libraries: Libraries) -> Engine {
    Engine::new(IpsecConfig {
        libraries,
        inb_sa_limit: 64,
        outb_sa_limit: 64,
        x_ipsec: true,
        delete_above: None,
    })
}

/// Executes a command; returns status, qualifier and result.
fn run(ipsec: &Engine, command: Command<'_>) -> ((u16, u16), Vec<u8>) {
    run_bytes(ipsec, &testing::bytes(command))
}

fn run_bytes(ipsec: &Engine, readable: &[u8]) -> ((u16, u16), Vec<u8>) {
    let mut writable = [0xee; 4096];
    let written = ipsec.admin(readable, &mut writable);
    assert!(writable[written..].iter().all(|&byte| byte == 0xee));
    let reply = Reply::parse(&writable[..written]).unwrap();
    ((reply.status, reply.qualifier), reply.result.to_vec())
}

fn status(ipsec: &Engine, command: Command<'_>) -> (u16, u16) {
    run(ipsec, command).0
}

fn set_up(ipsec: &Engine) {
    assert_eq!(testing::set_up(|command| ipsec.execute(command)), Ok(()));
}

fn ready(backend: Backend) -> Engine {
    let ipsec = new(backend);
    set_up(&ipsec);
    ipsec
}

fn create(ipsec: &Engine, obj_type: u16, id: u32, object: &SaObject) -> (u16, u16) {
    match ipsec.create(obj_type, id, object) {
        Ok(()) => DONE,
        Err(refused) => refused,
    }
}

fn destroy(ipsec: &Engine, obj_type: u16, id: u32) -> (u16, u16) {
    status(ipsec, Command::ObjDestroy { obj_type, id })
}

fn counter(ipsec: &Engine, name: &str) -> u64 {
    ipsec.counter(name).unwrap()
}

/// Longest frame on the wires of these tests.
const LONGEST: usize = 1518;

/// Sends a frame that becomes one: it is then what goes on the wire. Else it stays.
fn send(ipsec: &Engine, hdr: &NetHdr48, frame: &mut Vec<u8>) -> Result<(), TxDrop> {
    let (mut out, mut given) = (Frames::default(), Frame::from(frame.clone()));
    ipsec.transmit(hdr, &mut given, LONGEST, &mut out)?;
    assert!(given.is_empty(), "it was moved");
    let sent: Vec<_> = out.drain().collect();
    let [one] = sent.try_into().unwrap();
    *frame = one.into();
    Ok(())
}

/// Receives a frame, which has the same length afterwards.
fn receive_bytes(ipsec: &Engine, bytes: &mut [u8], hdr: &mut NetHdr48) {
    let mut inbound = Inbound::from(Frame::from(bytes.to_vec()));
    inbound.hdr = *hdr;
    ipsec.receive(&mut inbound);
    bytes.copy_from_slice(&inbound.frame);
    *hdr = inbound.hdr;
}

/// Status of a received frame, `None` if it was left alone.
fn received(ipsec: &Engine, frame: &mut [u8]) -> Option<u8> {
    let mut hdr = NetHdr48::default();
    receive_bytes(ipsec, frame, &mut hdr);
    if !hdr.has(F_SECURITY) {
        assert_eq!(hdr, NetHdr48::default());
        return None;
    }
    assert!(hdr.has(F_X_SEC));
    assert_eq!(hdr.has(F_SECURITY_ERR), hdr.sec.sec_status != hdr::SEC_OK);
    Some(hdr.sec.sec_status)
}
