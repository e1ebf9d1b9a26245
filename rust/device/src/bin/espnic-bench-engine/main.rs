// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measures the speed of the NIC's ESP engine, as ratios within one run.
//!
//! It compares the engine (from frame and packet header to the frame for the wire, and back) with the bare
//! AES-GCM calls that it makes, AES-CBC with OpenSSL's, packet offload with crypto offload, and many SAs with
//! one. Both sides take turns, so that they see the same machine; each figure is the median of many rounds.
//! Frames are prepared outside the measured time.

#![deny(unsafe_code)]

mod bare;
mod compare;
mod engines;
mod few;
mod life;
mod many;
#[allow(unsafe_code)]
mod openssl;
mod packets;
mod scale;

use clap::Parser;
use compare::{Plan, Row, BATCH};
use espnic_device::crypto::Backend;
use scale::Scale;
use std::process::ExitCode;
use std::time::Duration;

/// Measure the ESP engine of espnic-device.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Milliseconds per measurement
    #[arg(long, default_value_t = 400, value_name = "MS")]
    time: u64,
    /// SAs of the measurement with many SAs
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    sas: u32,
    /// Also let N SAs of each direction come, carry packets and go, in packet and in crypto offload
    #[arg(long, default_value_t = 0, value_name = "N")]
    scale: u32,
    /// Only measurements whose name contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Crypto library of the engine: ipsec-mb (x86-64) or aws-lc [default: the fastest]
    #[arg(long, value_name = "NAME")]
    crypto: Option<Backend>,
}

fn print_table(rows: &[Row], memory: Option<f64>, scales: &[Scale]) {
    println!(
        "{:48} {:>10} {:>10} {:>7} {:>7}",
        "", "ns/packet", "against", "ratio", "target"
    );
    for row in rows {
        let target = row
            .target
            .map_or_else(String::new, |target| format!("{target:.2}"));
        let verdict = match row.target {
            Some(target) if row.ratio < target => "missed",
            _ => "",
        };
        println!(
            "{:48} {:10.1} {:10.1} {:7.2} {:>7} {verdict}",
            row.name, row.ns[0], row.ns[1], row.ratio, target
        );
    }
    if let Some(memory) = memory {
        println!("memory per SA: {memory:.0} bytes");
    }
    for scale in scales {
        println!("{scale}");
    }
}

fn print_json(backend: Backend, rows: &[Row], memory: Option<f64>, scales: &[Scale]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.name,
                "ns": row.ns[0],
                "against_ns": row.ns[1],
                "ratio": row.ratio,
                "target": row.target,
                "reached": row.target.map(|target| row.ratio >= target),
            })
        })
        .collect();
    let object = serde_json::json!({
        "crypto": backend.name(),
        "batch": BATCH,
        "rows": rows,
        "memory_per_sa": memory,
        "scale": scales,
    });
    println!("{object}");
}

fn run(args: &Args) -> Result<(), String> {
    let plan = Plan {
        backend: args.crypto.unwrap_or_default(),
        libraries: args.crypto.map(Into::into).unwrap_or_default(),
        time: Duration::from_millis(args.time),
        sas: args.sas.max(2),
        only: args.only.clone(),
    };
    // First, before there is freed memory that could be used again.
    let scales = scale::come_carry_and_go(&plan, args.scale)?;
    let (many, memory) = many::against_one_sa(&plan)?;
    let mut rows = few::against_libraries(&plan)?;
    rows.extend(few::packet_offload(&plan)?);
    rows.extend(few::cbc_hmac(&plan)?);
    rows.extend(many);
    rows.extend(many::many_keys(&plan)?);
    rows.extend(life::come_and_go(&plan)?);
    if args.json {
        print_json(plan.backend, &rows, memory, &scales);
    } else {
        print_table(&rows, memory, &scales);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espnic-bench-engine: {error}");
            ExitCode::FAILURE
        }
    }
}
