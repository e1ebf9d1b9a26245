// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Queue pairs beside each other: a thread for each does what its worker does, and fills its rings itself.
//!
//! What counts is the processor time of each thread, so other work on the machine does not: a rate is what the
//! threads carry if each has a core. What a thread sleeps is not in it; threads that send packets of one SA of the
//! standard may sleep until those of another have gone. So there is the rate by the clock, too.

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use espnic_device::frames::Frames;
use espnic_device::net::steer;
use espnic_device::worker::{process_step, Step};
use espnic_wire::hdr::{HdrLen, NetHdr48};

use crate::guest::Guest;
use crate::measure::{self, all_done, Parts, Plan, Result, Sink, Work, BATCH, WHOLE};
use crate::memory::{Form, Shape};
use crate::packets;

/// The numbers of pairs that are compared.
pub const PAIRS: [u16; 3] = [1, 2, 4];
/// They take turns this often; the median counts.
const ROUNDS: usize = 5;

/// What the threads do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From ring to wire.
    Send(Work),
    /// The same under packet offload, with one SA for all pairs or with one for each.
    Protect {
        /// One for all.
        one: bool,
    },
    /// From wire to ring; frames without ESP.
    Receive,
}

/// Packets per second of processor time, and per second by the clock, with as many pairs as [`PAIRS`] says.
pub fn rates(plan: &Plan, way: Way, len: usize) -> Result<[[f64; PAIRS.len()]; 2]> {
    let mut rounds = [(); 2].map(|()| PAIRS.map(|_| Vec::new()));
    for _ in 0..ROUNDS {
        for (index, pairs) in PAIRS.into_iter().enumerate() {
            let rates = rate(plan, way, len, pairs)?;
            for (rounds, rate) in rounds.iter_mut().zip(rates) {
                if let Some(rounds) = rounds.get_mut(index) {
                    rounds.push(rate);
                }
            }
        }
    }
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates.get(ROUNDS / 2).copied().unwrap_or_default()
    };
    Ok(rounds.map(|rounds| rounds.map(median)))
}

fn rate(plan: &Plan, way: Way, len: usize, pairs: u16) -> Result<[f64; 2]> {
    let esp = match way {
        Way::Send(work) => work.esp(),
        Way::Protect { .. } => true,
        Way::Receive => false,
    };
    let guest = measure::wide_guest(plan, esp, false, Sink::default(), pairs)?;
    let start = Barrier::new(pairs.into());
    let rates = thread::scope(|scope| {
        let threads: Vec<_> = (0..pairs)
            .map(|pair| {
                let (guest, start) = (&guest, &start);
                scope.spawn(move || match way {
                    Way::Send(work) => send(guest, start, plan.time, pair, esp, &work.frame(len)),
                    Way::Protect { one } => {
                        let sa = if one { 0 } else { pair };
                        let packet = packets::tunnelled(sa, len);
                        send(guest, start, plan.time, pair, esp, &packet)
                    }
                    Way::Receive => receive(guest, start, plan.time, pair, len),
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread failed".to_owned())?)
            .collect::<Result<Vec<[f64; 2]>>>()
    })?;
    let [mut worked, mut passed] = [0.0; 2];
    for [one, other] in rates {
        worked += one;
        passed += other;
    }
    Ok([worked, passed])
}

/// Does batches until the time is over; returns the packets per second of processor time, and by the clock.
fn repeat(
    start: &Barrier,
    time: Duration,
    mut batch: impl FnMut() -> Result<()>,
) -> Result<[f64; 2]> {
    batch()?;
    start.wait();
    let (begin, before) = (Instant::now(), processor_time()?);
    let mut packets = 0;
    while begin.elapsed() < time {
        batch()?;
        packets += u64::from(BATCH);
    }
    let passed = begin.elapsed();
    let took = processor_time()?.saturating_sub(before);
    Ok([took, passed].map(|time| packets as f64 / time.as_secs_f64().max(1e-9)))
}

/// The processor time of this thread. It gives up the processor first: the kernel counts then at the latest.
fn processor_time() -> Result<Duration> {
    thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat");
    let text = text.map_err(|error| error.to_string())?;
    let time = text.split(' ').next().and_then(|word| word.parse().ok());
    time.map(Duration::from_nanos)
        .ok_or_else(|| "the kernel does not say how long a thread has run".to_owned())
}

fn send(
    guest: &Guest,
    start: &Barrier,
    time: Duration,
    pair: u16,
    esp: bool,
    (hdr, frame): &(NetHdr48, Vec<u8>),
) -> Result<[f64; 2]> {
    let hdr_len = HdrLen::of(measure::features(esp, false));
    let data = [hdr.prefix(hdr_len), frame].concat();
    let shape = measure::shape(Parts::Direct, hdr_len.bytes(), frame.len());
    let (memory, queue) = (&guest.memory, 2 * pair + 1);
    memory.prepare(queue, &shape, Some(&data))?;
    repeat(start, time, || {
        let before = memory.used(queue, &shape)?;
        memory.offer(queue, &shape, BATCH)?;
        process_step(&guest.nic, Step::Transmit(pair));
        all_done(memory, queue, &shape, before, BATCH)
    })
}

fn receive(
    guest: &Guest,
    start: &Barrier,
    time: Duration,
    pair: u16,
    len: usize,
) -> Result<[f64; 2]> {
    let shape = Shape::new(Form::Direct, &[WHOLE], BATCH);
    let (memory, queue) = (&guest.memory, 2 * pair);
    memory.prepare(queue, &shape, None)?;
    let frame = of_pair(pair, guest.nic.active_pairs(), len);
    let mut frames = Frames::default();
    repeat(start, time, || {
        let before = memory.used(queue, &shape)?;
        memory.offer(queue, &shape, BATCH)?;
        for _ in 0..BATCH {
            let mut buffer = frames.buffer(frame.len());
            buffer.copy_from_slice(&frame);
            frames.push(buffer);
        }
        guest.nic.backlog.push(&mut frames);
        process_step(&guest.nic, Step::Arrive(pair));
        process_step(&guest.nic, Step::Deliver(pair));
        all_done(memory, queue, &shape, before, BATCH)
    })
}

/// A frame of a flow that belongs to this pair.
fn of_pair(pair: u16, pairs: u16, len: usize) -> Vec<u8> {
    let (_, frame) = Work::Plain.frame(len);
    let with_port = |port: u16| {
        let mut frame = frame.clone();
        if let Some(field) = frame.get_mut(34..36) {
            field.copy_from_slice(&port.to_be_bytes());
        }
        frame
    };
    let fits = |frame: &Vec<u8>| steer::place(&frame.clone().into(), pairs) == pair;
    (0..u16::MAX).map(with_port).find(fits).unwrap_or(frame)
}
