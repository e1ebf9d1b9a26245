// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measures what a packet costs in the whole NIC, from ring to wire and from wire to ring, without QEMU.
//!
//! Rings and buffers are in shared memory that is mapped as QEMU maps it. The driver's side fills them
//! outside of the measured time; the wire takes and gives frames without a look at them. So a figure is what
//! queue, copy and the NIC's own work cost, on one core. Beside each stands the bare copy of the same bytes.

mod guest;
mod measure;
mod memory;
mod packets;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use espnic_device::crypto::Backend;
use guest::{RX, TX};
use measure::{Parts, Plan, Times, Work, BATCH};

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
    /// Only measurements whose name contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Crypto library: ipsec-mb (x86-64) or aws-lc [default: the fastest]
    #[arg(long, value_name = "NAME")]
    crypto: Option<Backend>,
}

/// One line of the result.
struct Row {
    name: String,
    times: Times,
    /// Most nanoseconds; none if the row is for the record.
    target: Option<f64>,
}

/// The rows so far, and which are wanted.
struct Rows<'a> {
    only: &'a str,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn add(
        &mut self,
        name: String,
        target: Option<f64>,
        measure: impl FnOnce() -> Result<Times, String>,
    ) -> Result<(), String> {
        if name.contains(self.only) {
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

fn all(plan: &Plan, only: &str) -> Result<Vec<Row>, String> {
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
    for (esp, what) in [(false, "plain"), (true, "ESP")] {
        let name = format!("TX {what} {LONG} B, cut from large packets");
        rows.add(name, None, || measure::segment(plan, esp, LONG))?;
    }
    Ok(rows.rows)
}

fn print_table(rows: &[Row]) {
    println!(
        "{:42} {:>10} {:>10} {:>6} {:>7}",
        "", "ns/packet", "bare copy", "times", "target"
    );
    for row in rows {
        let [ns, copy] = row.times;
        let times = ns / copy.max(0.1);
        let target = row
            .target
            .map_or_else(String::new, |most| format!("{most:.0}"));
        let missed = row.target.is_some_and(|most| ns > most);
        let verdict = if missed { "missed" } else { "" };
        println!(
            "{:42} {ns:10.1} {copy:10.1} {times:6.1} {target:>7} {verdict}",
            row.name
        );
    }
}

fn print_json(backend: Backend, rows: &[Row]) {
    let row = |row: &Row| {
        let [ns, copy] = row.times;
        serde_json::json!({
            "name": row.name,
            "ns": ns,
            "copy_ns": copy,
            "target_ns": row.target,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let object = serde_json::json!({
        "crypto": backend.name(),
        "batch": BATCH,
        "rows": rows,
    });
    println!("{object}");
}

fn run(args: &Args) -> Result<(), String> {
    let plan = Plan {
        backend: args.crypto.unwrap_or_default(),
        time: Duration::from_millis(args.time),
    };
    let rows = all(&plan, &args.only)?;
    match args.json {
        true => print_json(plan.backend, &rows),
        false => print_table(&rows),
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
