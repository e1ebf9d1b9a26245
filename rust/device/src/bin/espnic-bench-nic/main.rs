// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measures what a packet costs in the whole NIC, from ring to wire and from wire to ring, without QEMU.
//!
//! Rings and buffers are in shared memory that is mapped as QEMU maps it. The driver's side fills them
//! outside of the measured time; the wire takes and gives frames without a look at them. So a figure is what
//! queue, copy and the NIC's own work cost, on one core. Split and packed queues take turns; beside them
//! stands the bare copy of the same bytes. What is judged is the split form, which NICs have by default. The rows
//! "calls" let the NIC's worker run by itself, and count system calls.

mod calls;
mod guest;
mod measure;
mod memory;
mod packets;
mod pairs;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use espnic_device::crypto::Backend;
use guest::{RX, TX};
use measure::{Parts, Plan, Times, Work, BATCH};
use pairs::{Way, PAIRS};

/// Most nanoseconds per packet that rings and copy may cost for a frame of [`LONG`] bytes.
const TARGET: f64 = 120.0;
/// Lengths of the frames, without ESP.
const SHORT: usize = 64;
const LONG: usize = 1448;

/// Measure the whole NIC: espnic-device without QEMU.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Milliseconds per measurement
    #[arg(long, default_value_t = 400, value_name = "MS")]
    time: u64,
    /// Only measurements whose name contains this; repeatable
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Crypto library: ipsec-mb (x86-64) or aws-lc [default: the fastest]
    #[arg(long, value_name = "NAME")]
    crypto: Option<Backend>,
}

/// Two queue pairs shall carry this many times what one carries.
const PAIRS_TARGET: f64 = 1.7;

/// Packets per second with several queue pairs.
struct PairsRow {
    name: String,
    /// Of processor time.
    rates: [f64; PAIRS.len()],
    /// By the clock, which tells only where each pair has a core.
    by_clock: [f64; PAIRS.len()],
}

/// One line of the result.
struct Row {
    name: String,
    times: Times,
    /// Most nanoseconds; none if the row is for the record.
    target: Option<f64>,
}

/// Whether a measurement is one of those that are asked for: all, if there are none.
fn is_wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|text| name.contains(text))
}

/// The rows so far, and which are wanted.
struct Rows<'a> {
    only: &'a [String],
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn add(
        &mut self,
        name: String,
        target: Option<f64>,
        measure: impl FnOnce() -> Result<Times, String>,
    ) -> Result<(), String> {
        if is_wanted(&name, self.only) {
            let times = measure().map_err(|error| format!("{name}: {error}"))?;
            self.rows.push(Row {
                name,
                times,
                target,
            });
        }
        Ok(())
    }
}

const FORMS: [(Parts, &str); 3] = [
    (Parts::Direct, "direct"),
    (Parts::Pair, "header apart"),
    (Parts::Indirect, "indirect"),
];
const WORKS: [(Work, &str); 3] = [
    (Work::Plain, "plain"),
    (Work::Checksum, "checksum"),
    (Work::Esp, "ESP"),
];

fn all(plan: &Plan, only: &[String]) -> Result<Vec<Row>, String> {
    let rows = Vec::new();
    let mut rows = Rows { only, rows };
    for len in [SHORT, LONG] {
        let target = (len == LONG).then_some(TARGET);
        for (parts, form) in FORMS {
            let name = format!("rings and copy TX {len} B, {form}");
            rows.add(name, target, || measure::rings(plan, TX, parts, len))?;
        }
        let name = format!("rings and copy RX {len} B");
        rows.add(name, target, || {
            measure::rings(plan, RX, Parts::Direct, len)
        })?;
    }
    for (work, what) in WORKS {
        for len in [SHORT, LONG] {
            for (parts, form) in FORMS {
                let name = format!("TX {what} {len} B, {form}");
                rows.add(name, None, || measure::transmit(plan, work, parts, len))?;
            }
            let name = format!("RX {what} {len} B");
            rows.add(name, None, || measure::receive(plan, work, false, len))?;
        }
        let name = format!("RX {what} {LONG} B, several buffers");
        rows.add(name, None, || measure::receive(plan, work, true, LONG))?;
    }
    for len in [SHORT, LONG] {
        let (work, parts) = (Work::EspAlone, Parts::Direct);
        let name = format!("TX ESP alone {len} B, direct");
        rows.add(name, None, || measure::transmit(plan, work, parts, len))?;
        let name = format!("RX ESP alone {len} B");
        rows.add(name, None, || measure::receive(plan, work, false, len))?;
    }
    for (esp, what) in [(false, "plain"), (true, "ESP")] {
        let name = format!("TX {what} {LONG} B, cut from large packets");
        rows.add(name, None, || measure::segment(plan, esp, LONG))?;
    }
    Ok(rows.rows)
}

fn beside(plan: &Plan, only: &[String]) -> Result<Vec<PairsRow>, String> {
    let ways = [
        (Way::Send(Work::Plain), "TX plain"),
        (Way::Send(Work::Esp), "TX ESP"),
        (Way::Protect { one: false }, "TX packet"),
        (Way::Protect { one: true }, "TX packet, one SA"),
        (Way::Receive, "RX plain"),
    ];
    let mut rows = Vec::new();
    for (way, what) in ways {
        let name = format!("queue pairs {what} {LONG} B");
        if is_wanted(&name, only) {
            let [rates, by_clock] =
                pairs::rates(plan, way, LONG).map_err(|error| format!("{name}: {error}"))?;
            rows.push(PairsRow {
                name,
                rates,
                by_clock,
            });
        }
    }
    Ok(rows)
}

fn print_pairs(rows: &[PairsRow]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "Millions of packets per second with {PAIRS:?} queue pairs, and times that of one; by the clock"
    );
    for PairsRow {
        name,
        rates,
        by_clock,
    } in rows
    {
        let [one, two, four] = rates.map(|rate| rate / 1e6);
        let (twice, fourfold) = (two / one, four / one);
        let verdict = if twice < PAIRS_TARGET { "missed" } else { "" };
        let [clock_one, clock_two, clock_four] = by_clock.map(|rate| rate / 1e6);
        println!(
            "{name:42} {one:6.2} {two:6.2} {four:6.2} {twice:6.2} {fourfold:6.2} {PAIRS_TARGET:5} {verdict:6} \
             {clock_one:6.2} {clock_two:6.2} {clock_four:6.2}"
        );
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "{:42} {:>8} {:>8} {:>10} {:>6} {:>7}",
        "", "split", "packed", "bare copy", "times", "target"
    );
    for row in rows {
        let [ns, packed, copy] = row.times;
        let times = ns / copy.max(0.1);
        let target = row
            .target
            .map_or_else(String::new, |most| format!("{most:.0}"));
        let missed = row.target.is_some_and(|most| ns > most);
        let verdict = if missed { "missed" } else { "" };
        println!(
            "{:42} {ns:8.1} {packed:8.1} {copy:10.1} {times:6.1} {target:>7} {verdict}",
            row.name
        );
    }
}

fn print_json(backend: Backend, rows: &[Row], pairs: &[PairsRow], calls: &[calls::Row]) {
    let row = |row: &Row| {
        let [ns, packed, copy] = row.times;
        serde_json::json!({
            "name": row.name,
            "ns": ns,
            "packed_ns": packed,
            "copy_ns": copy,
            "target_ns": row.target,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let row = |row: &PairsRow| {
        serde_json::json!({
            "name": row.name,
            "pairs": PAIRS,
            "packets_per_second": row.rates,
            "packets_per_second_by_clock": row.by_clock,
            "target_times": PAIRS_TARGET,
        })
    };
    let pairs: Vec<_> = pairs.iter().map(row).collect();
    let object = serde_json::json!({
        "crypto": backend.name(),
        "batch": BATCH,
        "rows": rows,
        "pairs": pairs,
        "calls": calls::json(calls),
    });
    println!("{object}");
}

fn run(args: &Args) -> Result<(), String> {
    let plan = Plan {
        backend: args.crypto.unwrap_or_default(),
        time: Duration::from_millis(args.time),
        poll: Duration::ZERO,
    };
    let rows = all(&plan, &args.only)?;
    let pairs = beside(&plan, &args.only)?;
    let calls = calls::rows(&plan, LONG, &args.only)?;
    if args.json {
        print_json(plan.backend, &rows, &pairs, &calls);
    } else {
        print_table(&rows);
        print_pairs(&pairs);
        calls::print(&calls);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espnic-bench-nic: {error}");
            ExitCode::FAILURE
        }
    }
}
