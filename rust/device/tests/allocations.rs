// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Once it is warm, the data plane allocates nothing, however many packets pass.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use espnic_device::net::NetConfig;
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::filter::Action;
use espnic_wire::hdr::{self, NetHdr48};
use support::driver::{self, Driver, CTRL, RX, TX, WRITE};
use support::{config, packets, pump, sas, Rig};

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: passes everything on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; all memory is from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while both NICs work off what waits.
fn allocations(a: &Driver, b: &Driver) -> u64 {
    COUNT.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    pump(a.nic());
    pump(b.nic());
    COUNTING.store(false, Ordering::Relaxed);
    COUNT.load(Ordering::Relaxed)
}

/// Puts the frames into buffers of the guest; their addresses and lengths.
fn prepare(a: &mut Driver, frames: &[(NetHdr48, Vec<u8>)]) -> Vec<(u64, u32)> {
    let mut buffers = Vec::new();
    for (hdr, frame) in frames {
        let data = [hdr.prefix(a.hdr_len()), frame].concat();
        let at = a.buffer(data.len() as u32);
        a.put(at, &data);
        buffers.push((at, data.len() as u32));
    }
    buffers
}

/// Rounds of the frames in `buffers`, of which `wire` arrive in all at the `pairs` pairs of `b`. `refill`
/// gives `b` its buffers. The last rounds must not allocate.
fn rounds(
    a: &mut Driver,
    b: &mut Driver,
    pairs: u16,
    buffers: &[(u64, u32)],
    wire: usize,
    refill: impl Fn(&mut Driver),
) {
    let mut counts = Vec::new();
    for _ in 0..100 {
        refill(b);
        for &(at, len) in buffers {
            a.chain(TX, &[(at, len, 0)]);
        }
        counts.push(allocations(a, b));
        let mut arrived = 0;
        for pair in 0..pairs {
            while b.next_used(RX + 2 * pair).is_some() {
                arrived += 1;
            }
        }
        assert_eq!(arrived, wire);
    }
    assert!(counts[..2].iter().sum::<u64>() > 0, "nothing is counted");
    assert_eq!(counts[20..].iter().sum::<u64>(), 0, "{counts:?}");
}

fn gso() -> (NetHdr48, Vec<u8>) {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_NEEDS_CSUM;
    hdr.net.gso_type = hdr::GSO_TCPV4;
    hdr.net.gso_size = 1400.into();
    hdr.net.csum_start = 34.into();
    hdr.net.csum_offset = 16.into();
    (hdr, packets::tcp_partial(false, 1, 7000))
}

fn plain(frame: Vec<u8>) -> (NetHdr48, Vec<u8>) {
    (NetHdr48::default(), frame)
}

// One test, because others would be counted with it.
#[test]
fn packets_cost_no_allocation() {
    several_pairs();
    esp();
}

fn several_pairs() {
    let mut rig = Rig::default();
    let mut a = rig.nic(config(1));
    let mut b = rig.nic(NetConfig {
        pairs: 4,
        ..config(2)
    });
    a.start(driver::plain() | driver::tso());
    let frames = [
        plain(packets::udp(60)),
        gso(),
        plain(packets::udp(1400)),
        plain(packets::esp(9, 1)),
    ];
    let buffers = prepare(&mut a, &frames);
    rounds(&mut a, &mut b, 4, &buffers, 8, |b| {
        // Buffers that were not used are offered again: from a fresh start.
        b.start_queues(driver::plain() | mask(feature::MQ), 9);
        let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, 4, 0];
        assert_eq!(b.request(8, &request, 1), [ctrl::OK]);
        let rx = b.buffer(2048);
        for _ in 0..driver::QUEUE_SIZE {
            for pair in 0..4 {
                b.chain(RX + 2 * pair, &[(rx, 2048, WRITE)]);
            }
        }
    });
}

fn esp() {
    let (mut a, mut b) = sas::pair();
    sas::make_rules(&mut b, CTRL, Action::IpsecAgain);
    let frames = [
        sas::esp(3, &sas::clear_payload()),
        sas::esp_gso(3, 7000, 1400),
        gso(),
    ];
    let buffers = prepare(&mut a, &frames);
    let rx = b.buffer(2048);
    rounds(&mut a, &mut b, 1, &buffers, 11, |b| {
        for _ in 0..11 {
            b.chain(RX, &[(rx, 2048, WRITE)]);
        }
    });
    assert_eq!(a.counter("ipsec_tx_packets"), 600);
    assert_eq!(b.counter("ipsec_rx_packets"), 600);
    assert_eq!(b.counter("ipsec_rx_csum_valid"), 500);
    assert_eq!(b.counter("filter_again"), 600);
}
