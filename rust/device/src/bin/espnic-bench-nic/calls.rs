// SPDX-License-Identifier: GPL-2.0 OR MIT

//! System calls per packet, with the NIC's own worker.
//!
//! The driver's side runs beside the worker. It rings the doorbell only when the NIC asks for that, and wants an
//! interrupt for received packets when it has seen all others, as a driver does that rests between them. It wants
//! none for sent ones. The NIC counts the calls itself, where it makes them. A doorbell is a message of QEMU in
//! [`DOORBELL`] calls of the NIC; here it is a function call.

use std::fs;
use std::hint;
use std::time::{Duration, Instant};

use espnic_device::frames::Frames;
use espnic_device::worker::Workers;
use espnic_wire::hdr::HdrLen;

use crate::guest::{Guest, RX, TX};
use crate::is_wanted;
use crate::measure::{self, Parts, Plan, Result, Sink, Work, WHOLE};
use crate::memory::{Form, Shape};

/// The calls with which the crate `vfio_user` takes a message of QEMU that writes a register and is not answered:
/// `recvmsg` for the header, `read` for what is written where, and `read` for the value.
const DOORBELL: u64 = 3;
/// How long workers look for work before they sleep, in microseconds.
const POLLS: [u64; 2] = [0, 50];
/// The time between two packets.
const PACE: Duration = Duration::from_micros(20);
/// Chains of a queue, and packets that are on their way at most.
const CHAINS: u16 = 256;
const MOST: u16 = 128;
/// Packets that are given together.
const GROUP: u16 = 32;
/// Packets before the measurement, in which the worker learns how soon work comes.
const BEFORE: u64 = 1000;
/// How long a packet may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How packets come.
#[derive(Clone, Copy)]
enum Load {
    /// The next one when the one before has gone.
    Alone,
    /// One each [`PACE`].
    Paced,
    /// As fast as they go.
    Flood,
}

const LOADS: [(Load, &str); 3] = [
    (Load::Alone, "one at a time"),
    (Load::Paced, "one in 20 us"),
    (Load::Flood, "all at once"),
];

/// What was counted.
#[derive(Clone, Copy, Default)]
struct Counts {
    packets: u64,
    doorbells: u64,
    wakes: u64,
    sleeps: u64,
    interrupts: u64,
    /// Processor time of the worker, in nanoseconds.
    processor: u64,
}

/// One line of the result.
pub struct Row {
    name: String,
    poll: u64,
    counts: Counts,
    /// Nanoseconds per packet.
    time: f64,
}

impl Counts {
    /// Those of a NIC since its start.
    fn of(guest: &Guest, packets: u64) -> Result<Self> {
        let nic = &guest.nic;
        let workers = nic.worker_stats();
        Ok(Self {
            packets,
            doorbells: nic.stats.kicks.get(),
            wakes: workers.wakes.get(),
            sleeps: workers.sleeps.get(),
            interrupts: nic.msix.signalled(),
            processor: worker_time()?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            doorbells: self.doorbells - before.doorbells,
            wakes: self.wakes - before.wakes,
            sleeps: self.sleeps - before.sleeps,
            interrupts: self.interrupts - before.interrupts,
            processor: self.processor - before.processor,
        }
    }

    fn each(&self, count: u64) -> f64 {
        count as f64 / self.packets.max(1) as f64
    }

    fn calls(&self) -> f64 {
        self.each(DOORBELL * self.doorbells + self.wakes + self.sleeps + self.interrupts)
    }
}

/// Processor time of the workers of this process, in nanoseconds.
fn worker_time() -> Result<u64> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?;
    let mut all = 0;
    for thread in threads.flatten() {
        let text = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        if text("comm").starts_with("nic ") {
            let time = text("schedstat");
            all += time
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
        }
    }
    Ok(all)
}

/// The driver's side, and for received packets the other end of the wire.
struct Side {
    guest: Guest,
    queue: u16,
    shape: Shape,
    frame: Vec<u8>,
    frames: Frames,
    /// Packets that were given, and those that were seen to be used.
    given: u64,
    done: u64,
    seen: u16,
}

impl Side {
    fn new(plan: &Plan, queue: u16, packed: bool, len: usize) -> Result<Self> {
        let guest = measure::wide_guest(plan, false, packed, Sink::default(), 1)?;
        let (hdr, frame) = Work::Plain.frame(len);
        let hdr_len = HdrLen::of(measure::features(false, packed));
        let (shape, data) = match queue {
            RX => (Shape::new(Form::Direct, &[WHOLE], CHAINS), None),
            _ => {
                let mut shape = measure::shape(Parts::Direct, hdr_len.bytes(), frame.len());
                shape.chains = CHAINS;
                (shape, Some([hdr.prefix(hdr_len), &frame].concat()))
            }
        };
        guest.memory.prepare(queue, &shape, data.as_deref())?;
        let mut side = Self {
            guest,
            queue,
            shape,
            frame,
            frames: Frames::default(),
            given: 0,
            done: 0,
            seen: 0,
        };
        if queue == RX {
            side.offer(CHAINS)?;
            side.guest.memory.want_interrupt(RX, &side.shape, 0)?;
        } else {
            side.guest.memory.want_no_interrupt(queue)?;
        }
        Ok(side)
    }

    fn offer(&mut self, count: u16) -> Result<()> {
        let memory = &self.guest.memory;
        if memory.offer_and_ask(self.queue, &self.shape, count)? {
            self.guest.notify(self.queue);
        }
        Ok(())
    }

    fn give(&mut self, count: u16) -> Result<()> {
        self.given += u64::from(count);
        if self.queue == TX {
            return self.offer(count);
        }
        for _ in 0..count {
            let mut buffer = self.frames.buffer(self.frame.len());
            buffer.copy_from_slice(&self.frame);
            self.frames.push(buffer);
        }
        self.guest.nic.backlog.push(&mut self.frames);
        Ok(())
    }

    /// Looks at what is used; returns how many packets are on their way.
    fn look(&mut self) -> Result<u16> {
        let used = self.guest.memory.used(self.queue, &self.shape)?;
        let news = used.wrapping_sub(self.seen);
        if news > 0 {
            self.done += u64::from(news);
            self.seen = used;
            if self.queue == RX {
                self.offer(news)?;
                self.guest.take_interrupts(RX);
                let memory = &self.guest.memory;
                memory.want_interrupt(RX, &self.shape, used)?;
            }
        }
        Ok((self.given - self.done) as u16)
    }

    /// Waits until at most `most` packets are on their way.
    fn wait(&mut self, most: u16) -> Result<()> {
        let start = Instant::now();
        while self.look()? > most {
            if start.elapsed() > PATIENCE {
                return Err("the NIC does not work".to_owned());
            }
            hint::spin_loop();
        }
        Ok(())
    }

    /// Passes packets until `end` says so.
    fn run(&mut self, load: Load, end: impl Fn(&Self) -> bool) -> Result<()> {
        let mut next = Instant::now();
        while !end(self) {
            match load {
                Load::Alone => {
                    self.give(1)?;
                    self.wait(0)?;
                }
                Load::Paced => {
                    while Instant::now() < next {
                        self.look()?;
                        hint::spin_loop();
                    }
                    self.wait(MOST)?;
                    self.give(1)?;
                    // What was missed is not made up for.
                    next = Instant::now().max(next + PACE);
                }
                Load::Flood => {
                    self.wait(MOST - GROUP)?;
                    self.give(GROUP)?;
                }
            }
        }
        self.wait(0)
    }
}

fn measure(plan: &Plan, mut side: Side, load: Load) -> Result<(Counts, f64)> {
    let workers = Workers::spawn(&side.guest.nic).map_err(|error| error.to_string())?;
    side.run(load, |side| side.given >= BEFORE)?;
    let before = Counts::of(&side.guest, side.done)?;
    let start = Instant::now();
    side.run(load, |_| start.elapsed() >= plan.time)?;
    let took = start.elapsed();
    let counts = Counts::of(&side.guest, side.done)?.since(&before);
    drop(workers);
    Ok((counts, counts.each(took.as_nanos() as u64)))
}

/// The rows that are wanted; see [`is_wanted`].
pub fn rows(plan: &Plan, len: usize, only: &[String]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (queue, way) in [(TX, "TX"), (RX, "RX")] {
        for (load, how) in LOADS {
            for (packed, form) in [(false, ""), (true, ", packed")] {
                let name = format!("calls {way} {len} B, {how}{form}");
                if is_wanted(&name, only) {
                    rows.extend(polls(plan, queue, packed, load, len, &name)?);
                }
            }
        }
    }
    Ok(rows)
}

/// The rows of one name, which differ in how long workers look for work.
fn polls(
    plan: &Plan,
    queue: u16,
    packed: bool,
    load: Load,
    len: usize,
    name: &str,
) -> Result<Vec<Row>> {
    let row = |poll| {
        let plan = Plan {
            poll: Duration::from_micros(poll),
            ..*plan
        };
        let side = Side::new(&plan, queue, packed, len);
        let measured = side.and_then(|side| measure(&plan, side, load));
        let (counts, time) = measured.map_err(|error| format!("{name}: {error}"))?;
        Ok(Row {
            name: name.to_owned(),
            poll,
            counts,
            time,
        })
    };
    POLLS.into_iter().map(row).collect()
}

/// A table.
pub fn print(rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "{:42} {:>5} {:>6} {:>9} {:>6} {:>6} {:>10} {:>8} {:>8}",
        "per packet", "poll", "calls", "doorbells", "wakes", "sleeps", "interrupts", "ns", "worker"
    );
    for Row {
        name,
        poll,
        counts,
        time,
    } in rows
    {
        let [doorbells, wakes, sleeps, interrupts, processor] = [
            counts.doorbells,
            counts.wakes,
            counts.sleeps,
            counts.interrupts,
            counts.processor,
        ]
        .map(|count| counts.each(count));
        println!(
            "{name:42} {poll:5} {:6.3} {doorbells:9.3} {wakes:6.3} {sleeps:6.3} {interrupts:10.3} {time:8.0} {processor:8.0}",
            counts.calls()
        );
    }
}

/// For programs.
pub fn json(rows: &[Row]) -> Vec<serde_json::Value> {
    let row = |Row {
                   name,
                   poll,
                   counts,
                   time,
               }: &Row| {
        serde_json::json!({
            "name": name,
            "poll_us": poll,
            "packets": counts.packets,
            "calls": counts.calls(),
            "doorbells": counts.each(counts.doorbells),
            "wakes": counts.each(counts.wakes),
            "sleeps": counts.each(counts.sleeps),
            "interrupts": counts.each(counts.interrupts),
            "ns": time,
            "worker_ns": counts.each(counts.processor),
        })
    };
    rows.iter().map(row).collect()
}
