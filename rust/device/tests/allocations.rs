// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Once it is warm, the data plane allocates nothing, however many packets pass.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use espnic_device::net::NetConfig;
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use support::driver::{self, Driver, RX, TX, WRITE};
use support::{config, packets, pump, Rig};

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

/// Rounds of `frames`, each of them in a buffer of the guest, from `a` to the receive queues of `pairs`
/// pairs of `b`. The last rounds must not allocate.
fn rounds(a: &mut Driver, b: &mut Driver, pairs: u16, frames: &[(NetHdr48, Vec<u8>)]) {
    let rx = b.buffer(2048);
    let mut buffers = Vec::new();
    for (hdr, frame) in frames {
        let data = [hdr.prefix(a.hdr_len()), frame].concat();
        let at = a.buffer(data.len() as u32);
        a.put(at, &data);
        buffers.push((at, data.len() as u32));
    }
    let mut counts = Vec::new();
    for _ in 0..100 {
        for _ in 0..driver::QUEUE_SIZE {
            for pair in 0..pairs {
                b.chain(RX + 2 * pair, &[(rx, 2048, WRITE)]);
            }
        }
        for &(at, len) in &buffers {
            a.chain(TX, &[(at, len, 0)]);
        }
        counts.push(allocations(a, b));
        for pair in 0..pairs {
            while b.next_used(RX + 2 * pair).is_some() {}
        }
        // Buffers that were not used are offered again: from a fresh start.
        b.reset();
        let features = driver::plain() | if pairs > 1 { mask(feature::MQ) } else { 0 };
        b.start_queues(features, 2 * pairs + 1);
        if pairs > 1 {
            let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, pairs as u8, 0];
            assert_eq!(b.request(2 * pairs, &request, 1), [ctrl::OK]);
        }
    }
    assert!(b.counter("rx_frames") >= 100 * frames.len() as u64);
    assert!(counts[..2].iter().sum::<u64>() > 0, "nothing is counted");
    assert_eq!(counts[20..].iter().sum::<u64>(), 0, "{counts:?}");
}

#[test]
fn packets_cost_no_allocation() {
    for pairs in [1, 4] {
        let mut rig = Rig::default();
        let mut a = rig.nic(config(1));
        let mut b = rig.nic(NetConfig { pairs, ..config(2) });
        a.start(driver::plain() | driver::tso());
        b.start_queues(driver::plain(), 3);
        let mut gso = NetHdr48::default();
        gso.net.flags = hdr::F_NEEDS_CSUM;
        gso.net.gso_type = hdr::GSO_TCPV4;
        gso.net.gso_size = 1400.into();
        gso.net.csum_start = 34.into();
        gso.net.csum_offset = 16.into();
        let frames = [
            (NetHdr48::default(), packets::udp(60)),
            (gso, packets::tcp_partial(false, 1, 7000)),
            (NetHdr48::default(), packets::udp(1400)),
            (NetHdr48::default(), packets::esp(9, 1)),
        ];
        rounds(&mut a, &mut b, pairs, &frames);
    }
}
