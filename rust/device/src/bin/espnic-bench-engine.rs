// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Measures the speed of the NIC's ESP engine, as ratios within one run.
//!
//! It compares the engine (from frame and packet header to the frame for the wire, and back) with the bare
//! AES-GCM calls that it makes, and many SAs with one. Both sides take turns, so that they see the same
//! machine; each figure is the median of many rounds. Frames are prepared outside the measured time.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use espnic_device::crypto::{AnyAead, Backend};
use espnic_device::frame::Frame;
use espnic_device::frames::Frames;
use espnic_device::ipsec::{Inbound, IpsecConfig};
use espnic_device::testing::{self, Engine, ESP, ICV};
use espnic_esp::aead::Aead;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{self, SaObject};

/// Frames per batch, as the NIC takes them from a queue.
const BATCH: usize = 64;
/// Offset of the text: ESP header and IV.
const TEXT: usize = ESP + 16;
const LONGEST: usize = 16384;

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
    /// Only measurements whose name contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Crypto library of the engine: ipsec-mb (x86-64) or aws-lc [default: the fastest]
    #[arg(long, value_name = "NAME")]
    crypto: Option<Backend>,
}

/// One line of the result.
struct Row {
    name: String,
    /// Nanoseconds per packet of the engine, and of what it is compared with.
    ns: [f64; 2],
    /// The second divided by the first: 1 means as fast as the bare library call, less means slower.
    ratio: f64,
    /// The least ratio; none if the row is for the record.
    target: Option<f64>,
}

/// The median, in nanoseconds per packet.
fn median(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    let middle = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    middle.as_nanos() as f64 / BATCH as f64
}

/// The measurements that the user has chosen.
struct Plan {
    backend: Backend,
    time: Duration,
    sas: u32,
    only: String,
}

/// Lets both sides take turns until the time is over. A side does one batch and returns how long the
/// measured part took.
fn compare(
    plan: &Plan,
    name: String,
    target: Option<f64>,
    judged: &mut dyn FnMut() -> Duration,
    other: &mut dyn FnMut() -> Duration,
) -> Option<Row> {
    if !name.contains(&plan.only) {
        return None;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < plan.time || a.len() < 20 {
        // The order alternates, because the second side finds warmer caches.
        if a.len() % 2 == 0 {
            a.push(judged());
            b.push(other());
        } else {
            b.push(other());
            a.push(judged());
        }
    }
    let ns = [median(a), median(b)];
    Some(Row {
        name,
        ns,
        ratio: ns[1] / ns[0],
        target,
    })
}

/// A small and fast generator to choose SAs with (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// The key of an SA; each has another one.
fn key(id: u32) -> [u8; 16] {
    let mut key = [0x42; 16];
    key[..4].copy_from_slice(&id.to_le_bytes());
    key
}

const fn spi(id: u32) -> u32 {
    // Arbitrary bits, as an IKE daemon draws them, and no SPI twice.
    (id + 256).wrapping_mul(0x9e37_79b1)
}

/// The SA of [`testing::object`] with what is its own.
fn object(obj_type: u16, id: u32) -> SaObject {
    let mut object = testing::object(obj_type);
    object.base.obj_id = id.into();
    object.base.spi = spi(id).into();
    object.base.cipher_key.data[..16].copy_from_slice(&key(id));
    object.tail.iv_xor = (0x5555_5555_5555 ^ u64::from(id)).into();
    object
}

/// An engine with `count` SAs of this type.
fn engine(backend: Backend, obj_type: u16, count: u32) -> Result<Engine, String> {
    let refused =
        |(status, qualifier)| format!("command is refused: status {status}, qualifier {qualifier}");
    let engine = Engine::new(IpsecConfig {
        libraries: backend.into(),
        inb_sa_limit: count,
        outb_sa_limit: count,
        x_ipsec: true,
        delete_above: None,
    });
    testing::set_up(|command| engine.execute(command)).map_err(refused)?;
    for id in 0..count {
        let object = object(obj_type, id);
        engine.create(obj_type, id, &object).map_err(refused)?;
    }
    Ok(engine)
}

/// A frame with `len` bytes to encrypt, for an outbound SA.
fn frame(id: u32, seq: u32, len: usize) -> (NetHdr48, Vec<u8>) {
    // No padding; the next header is one without a checksum to verify.
    let (hdr, mut frame) = testing::frame(id, seq, &vec![0xa5; len - 2]);
    frame[ESP..ESP + 4].copy_from_slice(&spi(id).to_be_bytes());
    frame[TEXT + len - 1] = 59;
    (hdr, frame)
}

/// Chooses the SA of each frame.
type Choose<'a> = &'a mut dyn FnMut() -> u32;

/// A batch for outbound SAs.
fn batch(len: usize, choose: Choose<'_>) -> Vec<(NetHdr48, Frame)> {
    let one = |n| {
        let (hdr, frame) = frame(choose(), n as u32, len);
        (hdr, Frame::from(frame))
    };
    (0..BATCH).map(one).collect()
}

/// One batch through `Ipsec::transmit`.
fn encrypt(ipsec: &Engine, out: &mut Frames, len: usize, choose: Choose<'_>) -> Duration {
    let mut batch = batch(len, choose);
    let start = Instant::now();
    ipsec.transmit_all(&mut batch, LONGEST, out);
    let time = start.elapsed();
    assert_eq!(out.len(), BATCH, "frames were dropped");
    out.drain().for_each(drop);
    time
}

/// One batch through `Ipsec::receive`, which `sender` has encrypted.
fn decrypt(
    ipsec: &Engine,
    sender: &Engine,
    out: &mut Frames,
    len: usize,
    choose: Choose<'_>,
) -> Duration {
    let mut batch = batch(len, choose);
    sender.transmit_all(&mut batch, LONGEST, out);
    let mut batch: Vec<_> = out.drain().map(Inbound::from).collect();
    let start = Instant::now();
    ipsec.receive_all(&mut batch);
    let time = start.elapsed();
    let done = |inbound: &Inbound| inbound.hdr.net.flags == hdr::F_SECURITY | hdr::F_X_SEC;
    assert!(batch.iter().all(done), "packets were not decrypted");
    time
}

/// A call of the library.
#[derive(Clone, Copy, PartialEq)]
enum Bare {
    Encrypt,
    /// Decryption with the comparison of the ICV, which every receiver needs.
    Decrypt,
}

const NONCE: [u8; 12] = [7; 12];
const AAD: [u8; 8] = [9; 8];

impl Bare {
    #[inline]
    fn call(self, key: &AnyAead, frame: &mut [u8], len: usize) {
        let (text, icv) = frame[TEXT..].split_at_mut(len);
        let done = match self {
            Self::Encrypt => key.seal(&NONCE, &AAD, text, icv),
            Self::Decrypt => key.open(&NONCE, &AAD, text, icv),
        };
        assert_eq!(done, Ok(()), "the library has failed");
    }
}

/// The number of packets by which bare calls with many keys load them ahead.
const AHEAD: usize = 3;

/// A batch of bare calls over memory that is laid out like frames. Each call uses the first of two equal
/// keys; the second prepares the packets to decrypt.
fn bare<'a>(len: usize, call: Bare, choose: &mut dyn FnMut() -> [&'a AnyAead; 2]) -> Duration {
    let keys: Vec<_> = (0..BATCH).map(|_| choose()).collect();
    let mut batch: Vec<_> = (0..BATCH).map(|n| frame(0, n as u32, len).1).collect();
    if call == Bare::Decrypt {
        for ([_, key], frame) in keys.iter().zip(&mut batch) {
            Bare::Encrypt.call(key, frame, len);
        }
    }
    let same = keys.iter().all(|key| std::ptr::eq(key[0], keys[0][0]));
    let regions: Vec<_> = keys
        .iter()
        .filter(|_| !same)
        .map(|key| key[0].region())
        .collect();
    let start = Instant::now();
    regions
        .iter()
        .take(AHEAD)
        .for_each(|region| region.prefetch());
    for (index, (key, frame)) in keys.iter().zip(&mut batch).enumerate() {
        if let Some(region) = regions.get(index + AHEAD) {
            region.prefetch();
        }
        call.call(key[0], frame, len);
    }
    start.elapsed()
}

/// Engine against the bare calls of its own library and of aws-lc.
fn against_libraries(plan: &Plan) -> Result<Vec<Row>, String> {
    let backend = plan.backend;
    let (sender, receiver) = (
        engine(backend, sa::OBJ_OUTB_SA, 1)?,
        engine(backend, sa::OBJ_INB_SA, 1)?,
    );
    let mut rows = Vec::new();
    let mut libraries = vec![backend];
    libraries.extend(Backend::ALL.iter().filter(|&&other| other != backend));
    for library in libraries {
        let aead = library
            .aes_gcm(&key(0), ICV)
            .map_err(|error| error.to_string())?;
        for (len, target) in [(64, 0.5), (1400, 0.85), (9000, 0.95)] {
            let target = (library == backend).then_some(target);
            let (mut out, mut other) = (Frames::default(), Frames::default());
            rows.extend(compare(
                plan,
                format!("encrypt {len} B / bare {library}"),
                target,
                &mut || encrypt(&sender, &mut out, len, &mut || 0),
                &mut || bare(len, Bare::Encrypt, &mut || [&aead; 2]),
            ));
            rows.extend(compare(
                plan,
                format!("decrypt {len} B / bare {library}"),
                target,
                &mut || decrypt(&receiver, &sender, &mut other, len, &mut || 0),
                &mut || bare(len, Bare::Decrypt, &mut || [&aead; 2]),
            ));
        }
    }
    Ok(rows)
}

/// Many SAs against one; the engines with many come first.
fn against_one_sa(plan: &Plan) -> Result<(Vec<Row>, Memory), String> {
    let (backend, sas) = (plan.backend, plan.sas);
    let before = resident();
    let inbound = engine(backend, sa::OBJ_INB_SA, sas)?;
    let memory = Memory::since(before, sas);
    let outbound = engine(backend, sa::OBJ_OUTB_SA, sas)?;
    let (one_out, one_in) = (
        engine(backend, sa::OBJ_OUTB_SA, 1)?,
        engine(backend, sa::OBJ_INB_SA, 1)?,
    );
    let mut rows = Vec::new();
    let hot = sas / 2;
    for (name, target, is_hot) in [("random", 0.8, false), ("one hot", 0.95, true)] {
        let mut random = Random(0x0123_4567_89ab_cdef);
        let mut choose = move || if is_hot { hot } else { random.below(sas) };
        let (mut out, mut other) = (Frames::default(), Frames::default());
        rows.extend(compare(
            plan,
            format!("encrypt 1400 B, {sas} SAs, {name} / 1 SA"),
            Some(target),
            &mut || encrypt(&outbound, &mut out, 1400, &mut choose),
            &mut || encrypt(&one_out, &mut other, 1400, &mut || 0),
        ));
        rows.extend(compare(
            plan,
            format!("decrypt 1400 B, {sas} SAs, {name} / 1 SA"),
            Some(target),
            &mut || decrypt(&inbound, &outbound, &mut out, 1400, &mut choose),
            &mut || decrypt(&one_in, &one_out, &mut other, 1400, &mut || 0),
        ));
    }
    Ok((rows, memory))
}

/// The library alone with many keys against one: the bound that memory sets for any engine.
fn many_keys(plan: &Plan) -> Result<Vec<Row>, String> {
    let keys = || {
        let key = |id| plan.backend.aes_gcm(&key(id), ICV);
        let keys: Result<Vec<_>, _> = (0..plan.sas).map(key).collect();
        keys.map_err(|error| error.to_string())
    };
    let (keys, others) = (keys()?, keys()?);
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut choose = || {
        let index = random.below(plan.sas) as usize;
        [&keys[index], &others[index]]
    };
    let calls = [("encrypt", Bare::Encrypt), ("decrypt", Bare::Decrypt)];
    let row = |(name, call): (&str, Bare)| {
        compare(
            plan,
            format!("bare {name} 1400 B, {} keys, random / 1 key", plan.sas),
            None,
            &mut || bare(1400, call, &mut choose),
            &mut || bare(1400, call, &mut || [&keys[0], &others[0]]),
        )
    };
    Ok(calls.into_iter().filter_map(row).collect())
}

/// The memory of an SA in the NIC.
struct Memory {
    bytes_per_sa: f64,
}

impl Memory {
    fn since(before: usize, sas: u32) -> Self {
        Self {
            bytes_per_sa: resident().saturating_sub(before) as f64 / f64::from(sas),
        }
    }
}

/// Resident bytes of this process; zero if they cannot be read.
fn resident() -> usize {
    let page = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok())
        .unwrap_or(0)
        * page
}

fn print_table(rows: &[Row], memory: &Memory) {
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
    println!("memory per SA: {:.0} bytes", memory.bytes_per_sa);
}

fn print_json(backend: Backend, rows: &[Row], memory: &Memory) {
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
        "memory_per_sa": memory.bytes_per_sa,
    });
    println!("{object}");
}

fn run(args: &Args) -> Result<(), String> {
    let plan = Plan {
        backend: args.crypto.unwrap_or_default(),
        time: Duration::from_millis(args.time),
        sas: args.sas.max(2),
        only: args.only.clone(),
    };
    // First, before there is freed memory that could be used again.
    let (many, memory) = against_one_sa(&plan)?;
    let mut rows = against_libraries(&plan)?;
    rows.extend(many);
    rows.extend(many_keys(&plan)?);
    if args.json {
        print_json(plan.backend, &rows, &memory);
    } else {
        print_table(&rows, &memory);
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
