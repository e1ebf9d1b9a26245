// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control queue and administration queue, and IPsec through both of them (V161, section 2.13).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use espnic_device::net::NetConfig;
use espnic_device::testing;
use espnic_wire::admin::{self, Command};
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa;
use support::driver::{self, Driver, Notice, ADMIN, CTRL, TX};
use support::sas::{clear_payload, create, done, esp, esp_gso, execute, framed, set_up};
use support::{config, packets, Rig};
use zerocopy::IntoBytes;

fn all() -> u128 {
    driver::ipsec() | mask(feature::ADMIN_VQ)
}

fn started(features: u128) -> Driver {
    let mut driver = Rig::default().nic(config(1));
    driver.start(features);
    driver
}

#[test]
fn unknown_commands_and_bad_frames_are_refused() {
    let mut driver = started(all());
    let good = framed(&testing::bytes(Command::ListQuery));
    let mut huge = good.clone();
    huge.resize(ctrl::X_ADMIN_MAX + 3, 0);
    let cases: &[(&[u8], u32)] = &[
        (&[], 1),
        (&[ctrl::CLASS_X_ADMIN], 100),
        (&[ctrl::CLASS_X_ADMIN, ctrl::X_ADMIN_EXEC], 100),
        (&[ctrl::CLASS_X_ADMIN, 1, 0, 0], 100),
        (&[ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, 1, 0], 1),
        (&[0, 0, 1], 1),
        (&[0xff, 0xff], 9),
        (&good[..25], 100),
        (&good, 1),
        (&good, 8),
        (&good, ctrl::X_ADMIN_MAX as u32 + 2),
        (&huge, 100),
    ];
    for (number, (request, writable)) in cases.iter().enumerate() {
        let reply = driver.request(CTRL, request, *writable);
        assert_eq!(reply, [ctrl::ERR], "case {number}");
        assert_eq!(driver.counter("ctrl_refused"), number as u64 + 1);
    }
    // Without room for the ack nothing can be written; the chain is given back all the same.
    assert!(driver.request(CTRL, &good, 0).is_empty());
    assert_eq!(driver.counter("needs_reset"), 0);
    assert_eq!(driver.request(CTRL, &good, 9)[..3], [ctrl::OK, 0, 0]);
}

#[test]
fn limits_are_inclusive() {
    let mut driver = started(all());
    let mut request = framed(&testing::bytes(Command::ListQuery));
    request.resize(ctrl::X_ADMIN_MAX + 2, 0);
    let reply = driver.request(CTRL, &request, ctrl::X_ADMIN_MAX as u32 + 1);
    assert_eq!(reply[0], ctrl::OK);
}

#[test]
fn without_the_extension_the_class_is_unknown() {
    let mut driver = started(driver::ipsec() & !mask(feature::X_IPSEC));
    let request = framed(&testing::bytes(Command::ListQuery));
    assert_eq!(driver.request(CTRL, &request, 100), [ctrl::ERR]);
}

#[test]
fn both_queues_answer_alike() {
    for queue in [CTRL, ADMIN] {
        let mut driver = started(all());
        let list = done(&mut driver, queue, Command::ListQuery);
        assert_eq!(list[..8], admin::OPS_ALL.to_le_bytes());
        // Before LIST_USE only the two list commands are legal.
        let caps = testing::bytes(Command::CapIdListQuery);
        let (status, qualifier, _) = execute(&mut driver, queue, &caps);
        assert_eq!(
            (status, qualifier),
            (admin::EINVAL, admin::Q_INVALID_OPCODE)
        );
        set_up(&mut driver, queue);
        let (status, ..) = execute(&mut driver, queue, &caps);
        assert_eq!(status, admin::OK);
        // A reset forgets the list.
        driver.start(all());
        let (status, ..) = execute(&mut driver, queue, &caps);
        assert_eq!(status, admin::EINVAL);
    }
}

#[test]
fn what_the_kernel_asks_on_the_admin_queue_is_answered() {
    let mut driver = started(driver::plain() | mask(feature::ADMIN_VQ));
    // LIST_QUERY for the SR-IOV group, with room for eight bytes of result.
    let mut list = testing::bytes(Command::ListQuery);
    list[2] = 1;
    let reply = driver.request(ADMIN, &list, 16);
    assert_eq!(reply[..4], [22, 0, 4, 0]);
    let reply = driver.request(ADMIN, &testing::bytes(Command::CapIdListQuery), 16);
    assert_eq!(reply[..4], [22, 0, 2, 0]);
    assert_eq!(driver.events(ADMIN + 1), 1);
    // Length alone never fails a command, and every chain comes back.
    assert!(driver.request(ADMIN, &[], 8).is_empty());
    assert!(driver.request(ADMIN, &list, 0).is_empty());
    driver.request(ADMIN, &[0], 8);
    driver.request(ADMIN, &vec![0; 5000], 6000);
}

/// V142: commands that wait together are carried out in their order.
#[test]
fn commands_of_one_queue_keep_their_order() {
    for queue in [CTRL, ADMIN] {
        let mut driver = started(all());
        set_up(&mut driver, queue);
        let object = testing::object(sa::OBJ_OUTB_SA);
        let (obj_type, id) = (sa::OBJ_OUTB_SA, 5);
        let create = Command::ObjCreate {
            obj_type,
            id,
            object: object.as_bytes(),
        };
        let destroy = Command::ObjDestroy { obj_type, id };
        let commands = [create, create, destroy, destroy, create];
        let front = usize::from(queue == CTRL);
        let replies = commands.map(|command| {
            let bytes = testing::bytes(command);
            let request = if queue == CTRL { framed(&bytes) } else { bytes };
            let len = request.len() as u32;
            let (at, reply) = (driver.buffer(len), driver.buffer(16));
            driver.put(at, &request);
            driver.chain(
                queue,
                &[(at, len, 0), (reply, 8 + front as u32, driver::WRITE)],
            );
            reply
        });
        driver.kick(queue);
        let statuses = replies.map(|reply| {
            assert!(driver.next_used(queue).is_some());
            driver.get(reply + front as u64, 2)[0]
        });
        let [exists, missing] = [admin::EEXIST, admin::ENXIO].map(|status| status as u8);
        assert_eq!(statuses, [0, exists, 0, missing, 0]);
    }
}

#[test]
fn the_control_queue_honours_event_idx() {
    let mut driver = started(all());
    for round in 1..=40u16 {
        driver.request(CTRL, &[9, 9], 1);
        let place = match driver.packed() {
            // Each request has two descriptors.
            true => 2 * round % (2 * driver::QUEUE_SIZE),
            false => round,
        };
        assert_eq!(driver.wanted_kicks(CTRL), Notice::At(place));
    }
}

#[test]
fn esp_crosses_the_wire_encrypted() {
    let mut rig = Rig::default();
    let (mut a, mut b, mut spy) = (rig.nic(config(1)), rig.nic(config(2)), rig.nic(config(3)));
    for driver in [&mut a, &mut b, &mut spy] {
        driver.start(driver::ipsec());
        driver.post_rx(1600);
    }
    set_up(&mut a, CTRL);
    set_up(&mut b, CTRL);
    create(&mut a, sa::OBJ_OUTB_SA, 3);
    create(&mut b, sa::OBJ_INB_SA, 4);
    let (mut hdr, frame) = esp(3, &clear_payload());
    // The inner checksum is completed before encryption, up to the trailer.
    hdr.net.flags |= hdr::F_NEEDS_CSUM;
    hdr.net.csum_start = 50.into();
    hdr.net.csum_offset = packets::UDP_FIELD.into();
    a.send(&hdr, &frame);

    let (seen, wire) = spy.receive().unwrap();
    assert_eq!(seen.net.flags & hdr::F_SECURITY, 0);
    assert_eq!(wire.len(), frame.len());
    assert_ne!(wire[50..66], frame[50..66]);

    let (seen, opened) = b.receive().unwrap();
    assert_eq!(
        seen.net.flags,
        hdr::F_SECURITY | hdr::F_X_SEC | hdr::F_DATA_VALID
    );
    assert_eq!(
        (seen.out.resource_id.get(), seen.sec.generation.get()),
        (4, 7)
    );
    assert_eq!(
        (seen.sec.sec_status, seen.sec.esp_offset.get()),
        (hdr::SEC_OK, 34)
    );
    let udp = packets::udp(34);
    assert_eq!(opened[50..50 + udp.len() - 34], udp[34..]);
    for (driver, counter) in [(&a, "ipsec_tx_packets"), (&b, "ipsec_rx_packets")] {
        assert_eq!(driver.counter(counter), 1);
    }
}

/// Frames for SAs are encrypted together, but none overtakes another.
#[test]
fn frames_of_all_kinds_stay_in_order() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    a.start(driver::ipsec() | driver::tso());
    b.start(driver::plain());
    set_up(&mut a, CTRL);
    create(&mut a, sa::OBJ_OUTB_SA, 3);
    let plain = |len| (NetHdr48::default(), packets::udp(len));
    let frames = [
        esp(3, &[0; 44]),
        esp(3, &[0; 84]),
        plain(10),
        esp(3, &[0; 24]),
        // No such SA; one beyond the MTU.
        esp(9, &[0; 64]),
        esp(3, &vec![0; 2000]),
        esp_gso(3, 1000, 800),
        esp(3, &[0; 4]),
    ];
    let mut bytes = 0;
    for (index, (hdr, frame)) in frames.iter().enumerate() {
        bytes += if matches!(index, 4 | 5) {
            0
        } else {
            frame.len() as u64
        };
        let data = [hdr.prefix(a.hdr_len()), frame].concat();
        let at = a.buffer(data.len() as u32);
        a.put(at, &data);
        a.chain(TX, &[(at, data.len() as u32, 0)]);
        b.post_rx(1600);
    }
    a.kick(TX);
    let arrived: Vec<_> = std::iter::from_fn(|| b.receive())
        .map(|(_, frame)| frame.len())
        .collect();
    let len = |index: usize| frames[index].1.len();
    // Headers up to the IV, TCP header, data, padding with trailer, ICV.
    let segment = |data: usize| 50 + 20 + data + 4 + 16;
    let wanted = [
        len(0),
        len(1),
        len(2),
        len(3),
        segment(800),
        segment(200),
        len(7),
    ];
    assert_eq!(arrived, wanted);
    assert_eq!((a.counter("tx_frames"), a.counter("tx_bytes")), (6, bytes));
    let drops = ["tx_drop_ipsec", "tx_drop_long", "ipsec_tx_packets"];
    assert_eq!(drops.map(|name| a.counter(name)), [1, 1, 6]);
}

/// Else its number would count for an SA whose driver never sees the packet.
#[test]
fn what_is_too_long_for_the_driver_is_not_decrypted() {
    let mut rig = Rig::default();
    let mut a = rig.nic(NetConfig {
        mtu: 9000,
        ..config(1)
    });
    let mut b = rig.nic(config(2));
    for driver in [&mut a, &mut b] {
        driver.start(driver::ipsec());
        set_up(driver, CTRL);
    }
    create(&mut a, sa::OBJ_OUTB_SA, 3);
    create(&mut b, sa::OBJ_INB_SA, 4);
    let (hdr, frame) = esp(3, &vec![0; 2000]);
    b.post_rx(4000);
    a.send(&hdr, &frame);
    assert!(b.receive().is_none());
    assert_eq!(a.counter("ipsec_tx_packets"), 1);
    let seen = ["rx_drop_long", "ipsec_rx_packets"].map(|name| b.counter(name));
    assert_eq!(seen, [1, 0]);
}

#[test]
fn reset_destroys_sas() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    b.start(driver::plain());
    b.post_rx(1600);
    a.start(driver::ipsec());
    set_up(&mut a, CTRL);
    create(&mut a, sa::OBJ_OUTB_SA, 3);
    assert_eq!(a.counter("ipsec_sa_out"), 1);
    a.start(driver::ipsec());
    assert_eq!(a.counter("ipsec_sa_out"), 0);
    let (hdr, frame) = esp(3, &clear_payload());
    a.send(&hdr, &frame);
    assert!(b.receive().is_none());
    assert_eq!(a.counter("tx_drop_ipsec"), 1);
}

#[test]
fn a_frame_half_marked_for_ipsec_is_never_sent() {
    let mut rig = Rig::default();
    let (mut a, mut b) = (rig.nic(config(1)), rig.nic(config(2)));
    b.start(driver::plain());
    b.post_rx(1600);
    a.start(driver::ipsec() | driver::tso());
    set_up(&mut a, CTRL);
    create(&mut a, sa::OBJ_OUTB_SA, 3);
    let frames = [esp(3, &clear_payload()), esp_gso(3, 3000, 1000)];
    for (mut hdr, frame) in frames {
        hdr.net.flags &= !hdr::F_SECURITY;
        a.send(&hdr, &frame);
    }
    assert!(b.receive().is_none());
    let counters = ["tx_drop_ipsec", "ipsec_tx_drop_unsupported", "tx_frames"];
    assert_eq!(counters.map(|name| a.counter(name)), [2, 2, 0]);
    // What the bit means, only the extension says.
    a.start(driver::plain());
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_X_SEC;
    a.send(&hdr, &packets::udp(10));
    assert_eq!(b.receive().unwrap().1, packets::udp(10));
}
