// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts that are held back (rules V180 to V184 of the checklist).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use espnic_device::net::NetConfig;
use espnic_device::virtio::common::reg;
use espnic_device::worker::Workers;
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use support::driver::{self, Driver, CTRL, QUEUE_SIZE, RX, TX};
use support::failure::wait;
use support::misbehaviour::misbehave;
use support::ring::{Notice, Ring};
use support::{config, packets, Rig, MAP_BORDER, MEM_START};

/// Longer than a test takes: only packets end it.
const LONG: u32 = 600_000_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// The first example is a NIC whose workers sleep, the second one whose workers look for work.
const POLLS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1)];

/// Drivers that want an interrupt for everything.
fn features() -> u128 {
    (driver::plain() | driver::coalescing()) & !mask(feature::EVENT_IDX)
}

fn pair_with(features: u128, poll: Duration) -> (Driver, Driver) {
    let mut rig = Rig::default();
    let nic = |last| NetConfig {
        poll,
        ..config(last)
    };
    let (mut a, mut b) = (rig.nic(nic(1)), rig.nic(nic(2)));
    a.start(features);
    b.start(features);
    (a, b)
}

fn pair() -> (Driver, Driver) {
    pair_with(features(), Duration::ZERO)
}

fn command(driver: &mut Driver, command: u8, words: &[u32], room: u32) -> Vec<u8> {
    let mut request = vec![ctrl::CLASS_NOTF_COAL, command];
    words
        .iter()
        .for_each(|word| request.extend(word.to_le_bytes()));
    driver.request(CTRL, &request, room)
}

/// Sets the limits of a queue: packets, microseconds.
fn set(driver: &mut Driver, queue: u16, packets: u32, micros: u32) {
    let words = [queue.into(), packets, micros];
    assert_eq!(
        command(driver, ctrl::NOTF_COAL_VQ_SET, &words, 1),
        [ctrl::OK]
    );
}

/// The limits of a queue; `None` if the command is refused.
fn get(driver: &mut Driver, queue: u16) -> Option<[u32; 2]> {
    let answer = command(driver, ctrl::NOTF_COAL_VQ_GET, &[queue.into()], 9);
    let (&ack, result) = answer.split_first().unwrap();
    let word = |at: usize| u32::from_le_bytes(result[at..at + 4].try_into().unwrap());
    match ack {
        ctrl::OK => Some([word(0), word(4)]),
        _ => {
            assert!(result.is_empty());
            None
        }
    }
}

/// Sends frames one by one, which the other side receives; how many interrupts each of them made there.
fn receive(a: &mut Driver, b: &mut Driver, count: usize) -> Vec<u64> {
    let each = (0..count).map(|_| {
        b.post_rx(1600);
        a.send(&NetHdr48::default(), &packets::udp(20));
        assert!(b.receive().is_some(), "the frame itself is not held back");
        b.events(RX + 1)
    });
    each.collect()
}

fn counters(driver: &Driver) -> [u64; 2] {
    ["interrupts_held", "interrupts_timed"].map(|name| driver.counter(name))
}

#[test]
fn every_packet_interrupts_until_something_is_set() {
    let (mut a, mut b) = pair();
    assert_eq!(receive(&mut a, &mut b, 3), [1, 1, 1]);
    assert_eq!([RX, TX].map(|queue| get(&mut b, queue)), [Some([0, 0]); 2]);
    for (packets, micros) in [(0, LONG), (9, 0), (1, LONG), (0, 0)] {
        set(&mut b, RX, packets, micros);
        assert_eq!(receive(&mut a, &mut b, 2), [1, 1]);
    }
    assert_eq!(counters(&b), [0, 0]);
}

#[test]
fn packets_received_wait_for_others() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 4, LONG);
    assert_eq!(receive(&mut a, &mut b, 9), [0, 0, 0, 1, 0, 0, 0, 1, 0]);
    assert_eq!(counters(&b), [7, 0]);
    // The other queue has its own.
    assert_eq!(get(&mut b, TX), Some([0, 0]));
    b.clear_events();
    b.send(&NetHdr48::default(), &packets::udp(20));
    assert_eq!((b.events(TX + 1), b.events(RX + 1)), (1, 0));
}

#[test]
fn packets_sent_wait_for_others() {
    let (mut a, _b) = pair();
    let words = [3, LONG];
    assert_eq!(
        command(&mut a, ctrl::NOTF_COAL_TX_SET, &words, 1),
        [ctrl::OK]
    );
    a.clear_events();
    let each = [(); 7].map(|()| {
        a.send(&NetHdr48::default(), &packets::udp(20));
        a.events(TX + 1)
    });
    assert_eq!(each, [0, 0, 1, 0, 0, 1, 0]);
    // Commands are not held back.
    a.clear_events();
    assert_eq!(get(&mut a, TX), Some([3, LONG]));
    assert_eq!(a.events(CTRL + 1), 1);
}

/// The driver may need them to give new ones.
#[test]
fn half_a_ring_does_not_wait() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 1000, LONG);
    let each = receive(&mut a, &mut b, usize::from(QUEUE_SIZE));
    assert_eq!(each.iter().sum::<u64>(), 2);
    assert_eq!((each[7], each[15]), (1, 1));
}

#[test]
fn packets_without_a_buffer_do_not_wait() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 1000, LONG);
    assert_eq!(receive(&mut a, &mut b, 1), [0]);
    a.send(&NetHdr48::default(), &packets::udp(20));
    assert!(b.receive().is_none());
    assert_eq!(b.events(RX + 1), 1);
}

#[test]
fn changed_limits_are_looked_at_at_once() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 7, LONG);
    receive(&mut a, &mut b, 5);
    for (packets, told) in [(6, 0), (5, 1), (4, 0)] {
        set(&mut b, RX, packets, LONG);
        assert_eq!(b.events(RX + 1), told, "{packets} packets");
    }
    receive(&mut a, &mut b, 1);
    b.clear_events();
    let words = [0, 0];
    assert_eq!(
        command(&mut b, ctrl::NOTF_COAL_RX_SET, &words, 1),
        [ctrl::OK]
    );
    assert_eq!(b.events(RX + 1), 1);
    set(&mut b, RX, 7, LONG);
    assert_eq!(b.events(RX + 1), 0);
}

/// What the driver does not want to be told of when the limit is reached, it is not told of later.
#[test]
fn who_wants_no_interrupt_gets_none() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 2, LONG);
    b.want_interrupts(RX, &Notice::None);
    assert_eq!(receive(&mut a, &mut b, 2), [0, 0]);
    b.want_interrupts(RX, &Notice::All);
    assert_eq!(receive(&mut a, &mut b, 2), [0, 1]);

    let (mut a, mut b) = pair_with(features() | mask(feature::EVENT_IDX), Duration::ZERO);
    set(&mut b, RX, 4, LONG);
    // It was passed while the interrupt was held back.
    b.want_interrupts(RX, &Notice::At(1));
    assert_eq!(receive(&mut a, &mut b, 8), [0, 0, 0, 1, 0, 0, 0, 0]);
    // The driver has seen all of them meanwhile.
    receive(&mut a, &mut b, 3);
    b.want_interrupts(RX, &Notice::At(12));
    assert_eq!(receive(&mut a, &mut b, 1), [0]);
}

#[test]
fn a_reset_ends_it() {
    let (mut a, mut b) = pair();
    for (name, packets) in [(ctrl::NOTF_COAL_RX_SET, 3), (ctrl::NOTF_COAL_TX_SET, 4)] {
        assert_eq!(command(&mut b, name, &[packets, LONG], 1), [ctrl::OK]);
    }
    [RX, TX].map(|queue| set(&mut b, queue, 5, LONG));
    receive(&mut a, &mut b, 2);
    b.clear_events();
    // A queue has what was set for all of its kind then.
    for queue in [RX, TX] {
        b.select(queue);
        b.write(reg::QUEUE_RESET, 1, 2);
        assert_eq!(get(&mut b, queue), None, "it does not run");
        let ring = &mut b.rings[usize::from(queue)];
        *ring = Ring::new(ring.base, QUEUE_SIZE);
        b.enable(queue);
    }
    assert_eq!(
        [RX, TX].map(|queue| get(&mut b, queue)),
        [Some([3, LONG]), Some([4, LONG])]
    );
    assert_eq!(receive(&mut a, &mut b, 3), [0, 0, 1]);
    receive(&mut a, &mut b, 1);
    // The device has nothing, and tells nothing of what was before.
    b.start(features());
    assert_eq!(b.events(RX + 1), 0);
    assert_eq!([RX, TX].map(|queue| get(&mut b, queue)), [Some([0, 0]); 2]);
    assert_eq!(receive(&mut a, &mut b, 1), [1]);
}

#[test]
fn bad_commands_are_refused() {
    let (mut a, _b) = pair();
    let refused = |a: &mut Driver, name, words: &[u32], room| {
        let before = a.counter("ctrl_refused");
        assert_eq!(
            command(a, name, words, room),
            [ctrl::ERR],
            "{name} {words:?}"
        );
        assert_eq!(a.counter("ctrl_refused"), before + 1);
    };
    for (name, words) in [
        (ctrl::NOTF_COAL_TX_SET, &[][..]),
        (ctrl::NOTF_COAL_TX_SET, &[5]),
        (ctrl::NOTF_COAL_RX_SET, &[5]),
        (ctrl::NOTF_COAL_VQ_SET, &[0, 5]),
        // The control queue, and one that there is not.
        (ctrl::NOTF_COAL_VQ_SET, &[2, 5, 5]),
        (ctrl::NOTF_COAL_VQ_SET, &[0xffff, 5, 5]),
        (ctrl::NOTF_COAL_VQ_GET, &[]),
        (ctrl::NOTF_COAL_VQ_GET, &[2]),
        (ctrl::NOTF_COAL_VQ_GET, &[31]),
        (4, &[0, 5, 5]),
    ] {
        refused(&mut a, name, words, 9);
    }
    // No room for the answer, or for a part of it.
    for room in [1, 2, 8] {
        refused(&mut a, ctrl::NOTF_COAL_VQ_GET, &[0], room);
    }
    assert_eq!([RX, TX].map(|queue| get(&mut a, queue)), [Some([0, 0]); 2]);
    // Each feature has its own commands.
    for (bit, commands) in [
        (
            feature::NOTF_COAL,
            [ctrl::NOTF_COAL_TX_SET, ctrl::NOTF_COAL_RX_SET],
        ),
        (
            feature::VQ_NOTF_COAL,
            [ctrl::NOTF_COAL_VQ_SET, ctrl::NOTF_COAL_VQ_GET],
        ),
    ] {
        a.start(features() & !mask(bit));
        commands.map(|name| refused(&mut a, name, &[0, 5, 5], 9));
    }
}

fn spawn(drivers: [&Driver; 2]) -> [Workers; 2] {
    drivers.map(|driver| Workers::spawn(driver.nic()).unwrap())
}

/// Waits for an interrupt of a queue.
fn interrupt(driver: &Driver, queue: u16) {
    wait(PATIENCE, || driver.events(queue + 1) > 0);
}

/// The NIC's own clock ends it, whether its worker sleeps or looks for work.
#[test]
fn interrupts_come_in_time() {
    const MICROS: u32 = 30_000;
    for poll in POLLS {
        let (mut a, mut b) = pair_with(features(), poll);
        set(&mut b, RX, 5, MICROS);
        let _workers = spawn([&a, &b]);
        for round in 1..=3 {
            b.clear_events();
            let start = Instant::now();
            for _ in 0..2 {
                b.post_rx(1600);
                let hdr = vec![0; 12];
                let frame = [hdr, packets::udp(20)].concat();
                let at = a.buffer(frame.len() as u32);
                a.put(at, &frame);
                a.chain(TX, &[(at, frame.len() as u32, 0)]);
                a.notify(TX);
            }
            interrupt(&b, RX);
            assert!(start.elapsed() >= Duration::from_micros(MICROS.into()));
            assert_eq!(b.counter("rx_frames"), 2 * round);
            wait(PATIENCE, || counters(&b)[1] == round);
            while b.next_entry(RX).is_some() {}
            while a.next_entry(TX).is_some() {}
        }
    }
}

/// Limits that become shorter wake a worker that sleeps for the longer time.
#[test]
fn a_shorter_time_counts_at_once() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 5, LONG);
    let _workers = spawn([&a, &b]);
    b.post_rx(1600);
    let at = a.buffer(200);
    a.chain(TX, &[(at, 94, 0)]);
    a.notify(TX);
    wait(PATIENCE, || counters(&b)[0] == 1);
    let words = [0u32, 5, 1000];
    let mut request = vec![ctrl::CLASS_NOTF_COAL, ctrl::NOTF_COAL_VQ_SET];
    words
        .iter()
        .for_each(|word| request.extend(word.to_le_bytes()));
    let (command, ack) = (b.buffer(16), b.buffer(1));
    b.put(command, &request);
    b.chain(CTRL, &[(command, 14, 0), (ack, 1, driver::WRITE)]);
    b.notify(CTRL);
    interrupt(&b, RX);
}

/// Memory that is missing for a moment when the time is over.
#[test]
fn it_waits_for_memory() {
    let (mut a, mut b) = pair();
    set(&mut b, RX, 5, 1000);
    receive(&mut a, &mut b, 1);
    b.clear_events();
    let size = MAP_BORDER - MEM_START;
    b.function.dma_unmap(MEM_START, size);
    let _workers = spawn([&a, &b]);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(b.events(RX + 1), 0);
    b.memory.attach_part(&mut *b.function, 0);
    interrupt(&b, RX);
    assert_eq!(b.counter("needs_reset"), 0);
}

/// Nor is the misbehaviour forgotten that keeps interrupts away.
#[test]
fn silent_queues_stay_silent() {
    let (mut a, b) = pair();
    set(&mut a, TX, 5, 1000);
    misbehave(&a, "tx silent 1");
    a.send(&NetHdr48::default(), &packets::udp(20));
    a.clear_events();
    let _workers = spawn([&a, &b]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((a.events(TX + 1), counters(&a)), (0, [1, 0]));
    a.chain(TX, &[(MEM_START + 0x6_0000, 94, 0)]);
    a.notify(TX);
    interrupt(&a, TX);
}

/// A driver that looks at its queue only when it is told to gets everything, whatever the limits are.
#[test]
fn no_interrupt_is_lost() {
    for poll in POLLS {
        let (mut a, mut b) = pair_with(features() | mask(feature::EVENT_IDX), poll);
        let _workers = spawn([&a, &b]);
        let frame = [vec![0; 12], packets::udp(20)].concat();
        let (at, buffers) = (a.buffer(200), b.buffer(16 * 256));
        a.put(at, &frame);
        for number in 0..8 {
            b.chain(RX, &[(buffers + 256 * number, 256, driver::WRITE)]);
        }
        b.notify(RX);
        let (mut sent, mut received, mut change) = (0u32, 0u32, 0);
        while received < 4000 {
            if sent >= change {
                change += 500;
                while b.next_entry(CTRL).is_some() {}
                let words = [5 + sent % 7, 200 + sent];
                let request = [
                    &[ctrl::CLASS_NOTF_COAL, ctrl::NOTF_COAL_RX_SET][..],
                    words.map(u32::to_le_bytes).as_flattened(),
                ]
                .concat();
                let (from, ack) = (b.buffer(16), b.buffer(1));
                b.put(from, &request);
                b.chain(CTRL, &[(from, 10, 0), (ack, 1, driver::WRITE)]);
                b.notify(CTRL);
            }
            // A burst of one to eight, which the queue has room for.
            for _ in 0..1 + sent % 8 {
                while a.next_entry(TX).is_some() {}
                a.chain(TX, &[(at, frame.len() as u32, 0)]);
                a.notify(TX);
                sent += 1;
                wait(PATIENCE, || a.used_idx(TX) == sent as u16);
            }
            while received < sent {
                while let Some((head, _)) = b.next_used(RX) {
                    let buffer = buffers + 256 * u64::from(head % 8);
                    b.chain(RX, &[(buffer, 256, driver::WRITE)]);
                    received += 1;
                }
                b.notify(RX);
                let ring = b.rings[usize::from(RX)];
                let place = match b.packed() {
                    true => ring.used_at,
                    false => ring.used_seen,
                };
                b.want_interrupts(RX, &Notice::At(place));
                // What came in between has had no interrupt.
                if b.used_idx(RX) == ring.used_seen && received < sent {
                    interrupt(&b, RX);
                }
            }
        }
        assert!(counters(&b)[1] > 0, "the time never ended it");
    }
}
