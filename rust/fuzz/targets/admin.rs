// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Administration commands of a hostile driver, and the packets that it sends and receives in between.

#![no_main]

use espnic_device::crypto::Backend;
use espnic_device::filter::Verdict;
use espnic_device::frame::Frame;
use espnic_device::frames::Frames;
use espnic_device::ipsec::{Inbound, IpsecConfig};
use espnic_device::testing::Engine;
use espnic_fuzz::{sa, Bytes};
use espnic_wire::admin::{Reply, OK};
use espnic_wire::hdr::{NetHdr48, F_SECURITY, F_SECURITY_ERR, SEC_OK};
use libfuzzer_sys::fuzz_target;

/// SAs per direction.
const LIMIT: u32 = 4;
/// Longest frame on the wire.
const LONGEST: usize = 1518;
/// Most things that one input does.
const STEPS: usize = 40;

fn counter(ipsec: &Engine, name: &str) -> u64 {
    ipsec.counter(name).unwrap()
}

/// Executes a command with so much room for the answer.
fn execute(ipsec: &Engine, command: &[u8], room: usize) -> Vec<u8> {
    let mut writable = vec![0xee; room];
    let written = ipsec.admin(command, &mut writable);
    assert!(written <= room && (written >= 8 || written == room));
    assert!(writable[written..].iter().all(|&byte| byte == 0xee));
    writable.truncate(written);
    writable
}

/// Without the extension one capability is missing.
fn set_up(ipsec: &Engine, x_ipsec: bool) {
    sa::set_up(|command| {
        let reply = execute(ipsec, command, 4096);
        let reply = Reply::parse(&reply).unwrap();
        assert!(reply.status == OK || !x_ipsec);
        reply.result.to_vec()
    });
}

/// Sends a packet; what goes to the wire.
fn transmit(ipsec: &Engine, hdr: &NetHdr48, frame: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut given) = (Frames::default(), Frame::from(frame.to_vec()));
    let result = ipsec.transmit(hdr, &mut given, LONGEST, &mut out);
    let sent: Vec<_> = out.drain().map(Vec::from).collect();
    assert_eq!(result.is_ok(), !sent.is_empty(), "{result:?}");
    assert!(sent.iter().all(|one| one.len() <= LONGEST && one != frame));
    sent
}

fn receive(ipsec: &Engine, frame: &[u8]) {
    [Verdict::Pass, Verdict::Ipsec].map(|verdict| receive_by(ipsec, frame, verdict));
}

fn receive_by(ipsec: &Engine, frame: &[u8], verdict: Verdict) {
    let mut inbound = Inbound::new(frame.to_vec().into(), verdict);
    ipsec.receive(&mut inbound);
    let Inbound {
        hdr,
        frame: received,
        ..
    } = inbound;
    let done = hdr.has(F_SECURITY) && hdr.sec.sec_status == SEC_OK;
    assert_eq!(hdr.has(F_SECURITY_ERR), hdr.has(F_SECURITY) && !done);
    assert!(hdr.has(F_SECURITY) || hdr == NetHdr48::default());
    let dropped = verdict.is_ipsec() && received.is_empty() && hdr == NetHdr48::default();
    assert!(
        done || dropped || *received == *frame,
        "a refused packet has changed"
    );
}

fn step(ipsec: &Engine, bytes: &mut Bytes<'_>, wire: &mut Vec<Vec<u8>>) {
    match bytes.u8() % 8 {
        0 => {
            let room = usize::from(bytes.u16() % 1024);
            execute(ipsec, bytes.slice(), room);
        }
        1..=3 => {
            let command = sa::object_command(bytes);
            execute(ipsec, &command, 1024);
        }
        4 => {
            let (hdr, frame) = sa::packet(bytes);
            let sent = transmit(ipsec, &hdr, &frame);
            if !sent.is_empty() {
                *wire = sent;
            }
        }
        5 => receive(ipsec, bytes.slice()),
        6 => {
            for frame in wire {
                sa::patch(bytes, frame);
                receive(ipsec, frame);
            }
        }
        _ => match bytes.u8() % 8 {
            0 => ipsec.reset(),
            1 => set_up(ipsec, false),
            what => ipsec.set_x_ipsec(what & 1 != 0),
        },
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let start = bytes.u8();
    let x_ipsec = start & 2 == 0;
    let ipsec = Engine::new(IpsecConfig {
        libraries: bytes.choose(&[Backend::AwsLc, Backend::default()]).into(),
        inb_sa_limit: LIMIT,
        outb_sa_limit: LIMIT,
        x_ipsec,
        delete_above: (start & 4 != 0).then_some(1),
    });
    if start & 1 == 0 {
        set_up(&ipsec, x_ipsec);
    }
    let mut wire = Vec::new();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&ipsec, &mut bytes, &mut wire);
        let live = ["ipsec_sa_in", "ipsec_sa_out"].map(|name| counter(&ipsec, name));
        assert!(live.iter().all(|&count| count <= u64::from(LIMIT)));
    }
    ipsec.reset();
    set_up(&ipsec, x_ipsec);
});
