// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Very many SAs in both directions: they come, carry packets, and go. Everything is for the record.

use crate::compare::{Plan, Random, BATCH};
use crate::engines::{destroy, Pair, Way};
use crate::many::resident;
use crate::packets::{Content, Form, Kind};
use espnic_wire::sa;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Batches of packets in each direction, over SAs that are chosen at random.
const BATCHES: usize = 1000;
/// Length of their texts.
const LEN: usize = 1400;
const SEED: u64 = 0xfedc_ba98_7654_3210;

/// What was measured with one kind of SA.
#[derive(Serialize)]
pub struct Scale {
    mode: &'static str,
    /// SAs of each direction.
    sas: u32,
    /// To create those of both directions, one after the other.
    create_seconds: f64,
    /// Memory of the process that came with them, per SA.
    bytes_per_sa: f64,
    /// Packets in each direction.
    packets: usize,
    encrypt_ns: f64,
    decrypt_ns: f64,
    /// To destroy those of both directions, one after the other.
    destroy_seconds: f64,
    /// Memory of the process that is left, as a part of what came.
    left: f64,
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |seconds: f64| seconds * 1e6 / (2.0 * f64::from(self.sas));
        let mega = self.bytes_per_sa * 2.0 * f64::from(self.sas) / 1e6;
        write!(
            f,
            "{} SAs of each direction, {} offload: created in {:.1} s ({:.1} us each), {mega:.0} MB ({:.0} bytes each); \
             {} packets each way: {:.0} ns to encrypt, {:.0} ns to decrypt; destroyed in {:.1} s ({:.1} us each), \
             {:.0} % of the memory left",
            self.sas,
            self.mode,
            self.create_seconds,
            each(self.create_seconds),
            self.bytes_per_sa,
            self.packets,
            self.encrypt_ns,
            self.decrypt_ns,
            self.destroy_seconds,
            each(self.destroy_seconds),
            self.left * 100.0,
        )
    }
}

/// Both modes with `count` SAs of each direction; nothing, if that is 0.
pub fn come_carry_and_go(plan: &Plan, count: u32) -> Result<Vec<Scale>, String> {
    let modes = [("packet", Form::PacketTunnel), ("crypto", Form::Tunnel)];
    let wanted = modes.into_iter().filter(|_| count > 0);
    wanted
        .map(|(mode, form)| {
            let kind = Kind {
                form,
                ..Kind::gcm(Content::Tcp)
            };
            measure(plan, mode, kind, count)
        })
        .collect()
}

fn measure(plan: &Plan, mode: &'static str, kind: Kind, count: u32) -> Result<Scale, String> {
    let before = resident();
    let start = Instant::now();
    let mut pair = Pair::new(plan, kind, count)?;
    let create_seconds = start.elapsed().as_secs_f64();
    let came = resident().saturating_sub(before) as f64;
    let mut random = Random(SEED);
    let mut choose = || random.below(count);
    let packets = BATCHES * BATCH;
    let [encrypt_ns, decrypt_ns] = Way::BOTH.map(|way| {
        let times = (0..BATCHES).map(|_| pair.run(way, LEN, &mut choose));
        times.sum::<Duration>().as_nanos() as f64 / packets as f64
    });
    let start = Instant::now();
    destroy(pair.sender(), sa::OBJ_OUTB_SA, count)?;
    destroy(pair.receiver(), sa::OBJ_INB_SA, count)?;
    let destroy_seconds = start.elapsed().as_secs_f64();
    let left = resident().saturating_sub(before) as f64;
    Ok(Scale {
        mode,
        sas: count,
        create_seconds,
        bytes_per_sa: came / (2.0 * f64::from(count)),
        packets,
        encrypt_ns,
        decrypt_ns,
        destroy_seconds,
        left: left / came.max(1.0),
    })
}
