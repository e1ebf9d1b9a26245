// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The measurements. What is compared takes turns, a batch each; the median of all batches counts.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use espnic_device::crypto::Backend;
use espnic_device::frames::Frames;
use espnic_device::ipsec::{Ipsec, IpsecConfig};
use espnic_device::net::NetConfig;
use espnic_device::nic::Nic;
use espnic_device::ports::{Attachment, Port, RxBacklog, Totals, Wakeups};
use espnic_device::stats::PortStats;
use espnic_device::testing;
use espnic_device::virtio::chain::Chain;
use espnic_device::virtio::error::RingError;
use espnic_device::virtio::queue::VirtQueue;
use espnic_device::worker::{process_step, Step};
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{HdrLen, NetHdr48};

use crate::guest::{Guest, RX, TX};
use crate::memory::{Form, Memory, Shape};
use crate::packets;

/// Packets per batch, as the NIC takes them from a queue.
pub const BATCH: u16 = 64;
/// Packets that a large one becomes, and large ones per batch.
const SEGMENTS: u16 = 40;
const LARGE: u16 = 8;
/// Length of a driver's buffer for a whole frame, and of one that several make up.
pub const WHOLE: u32 = 1536;
const PIECE: u32 = 512;
/// The fragments of a large packet, as Linux has them.
const PAGE: u32 = 4096;

/// Nanoseconds per packet with split queues, with packed queues, and of the bare copy of the bytes.
pub type Times = [f64; 3];
/// Whether queues are packed, in this order.
const FORMS: [bool; 2] = [false, true];
pub type Result<T> = std::result::Result<T, String>;
/// Does a batch and says how long the measured part of it took.
type Side<'a> = &'a mut dyn FnMut() -> Result<Duration>;

/// What all measurements have in common.
pub struct Plan {
    pub backend: Backend,
    pub time: Duration,
    /// How long workers look for work before they sleep.
    pub poll: Duration,
}

fn median(mut rounds: Vec<Duration>, packets: u16) -> f64 {
    rounds.sort();
    let middle = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    middle.as_nanos() as f64 / f64::from(packets)
}

/// Lets all take turns until the time is over; a batch has this number of packets.
fn compare(plan: &Plan, packets: u16, mut sides: [Side<'_>; 3]) -> Result<Times> {
    let mut rounds = [(); 3].map(|()| Vec::new());
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < plan.time || count < 20 {
        for (side, rounds) in sides.iter_mut().zip(&mut rounds) {
            rounds.push(side()?);
        }
        count += 1;
    }
    Ok(rounds.map(|rounds| median(rounds, packets)))
}

/// Copies the bytes of a batch from guest memory into buffers or back.
fn copy(memory: &Memory, queue: u16, shape: &Shape, buffers: &mut [Vec<u8>]) -> Result<Duration> {
    let slices: Vec<_> = (0..)
        .zip(buffers.iter())
        .filter_map(|(chain, buffer)| memory.buffers(queue, shape, chain, buffer.len()))
        .collect();
    let start = Instant::now();
    for (slice, buffer) in slices.iter().zip(&mut *buffers) {
        match queue {
            TX => _ = slice.copy_to(&mut buffer[..]),
            _ => slice.copy_from(&buffer[..]),
        }
        black_box(buffer);
    }
    Ok(start.elapsed())
}

/// A wire that takes frames away, and remembers the last one if that is wanted.
#[derive(Default)]
pub struct Sink {
    last: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Port for Sink {
    fn send(&self, frames: &mut Frames) -> Totals {
        if let Some(Ok(mut last)) = self.last.as_ref().map(|last| last.lock()) {
            *last = frames.iter().last().map_or(Vec::new(), |f| f.to_vec());
        }
        frames.truncate(0);
        Totals::default()
    }

    fn link_up(&self) -> bool {
        true
    }
}

pub fn features(esp: bool, packed: bool) -> u128 {
    let plain = [
        feature::VERSION_1,
        feature::INDIRECT_DESC,
        feature::EVENT_IDX,
        feature::CSUM,
        feature::GUEST_CSUM,
        feature::MRG_RXBUF,
        feature::CTRL_VQ,
        feature::HOST_TSO4,
    ];
    let ipsec = [feature::OUT_NET_HEADER, feature::IPSEC, feature::X_IPSEC];
    let more = if esp { &ipsec[..] } else { &[] };
    let form = packed.then_some(&feature::RING_PACKED);
    let all = plain.iter().chain(more).chain(form);
    all.fold(0, |set, &bit| set | mask(bit))
}

/// A guest whose driver uses ESP or does not, with SAs if so.
fn guest(plan: &Plan, esp: bool, packed: bool, sink: Sink) -> Result<Guest> {
    wide_guest(plan, esp, packed, sink, 1)
}

/// A guest with split queues, and one with packed queues.
fn guests(plan: &Plan, esp: bool) -> Result<[Guest; 2]> {
    let [split, packed] = FORMS.map(|packed| guest(plan, esp, packed, Sink::default()));
    Ok([split?, packed?])
}

/// The same with several queue pairs, all of them in use.
pub fn wide_guest(plan: &Plan, esp: bool, packed: bool, sink: Sink, pairs: u16) -> Result<Guest> {
    let config = NetConfig {
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        pairs,
        ipsec: true,
        x_ipsec: true,
        admin_vq: false,
        packed: true,
        guest_csum: true,
        coalescing: true,
        device_config: true,
        speed: 25_000,
        access_platform: true,
        poll: plan.poll,
    };
    let wakeups = Arc::new(Wakeups::new(config.pairs));
    let stats = Arc::new(PortStats::default());
    let backlog = Arc::new(RxBacklog::new(wakeups.clone(), stats.clone()));
    let port = Attachment::new(Box::new(sink), None, stats);
    let engine = Ipsec::new(IpsecConfig {
        libraries: plan.backend.into(),
        ..IpsecConfig::default()
    });
    let nic = Nic::new("bench", config, engine, port, backlog, wakeups);
    let guest = Guest::new(Arc::new(nic), features(esp, packed))?;
    if esp {
        guest.add_sas()?;
    }
    let nic = &guest.nic;
    nic.with_device(|device| device.net.set_active_pairs(pairs));
    Ok(guest)
}

/// How a driver hands over header and frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// One descriptor.
    Direct,
    /// A descriptor each.
    Pair,
    /// The same in an indirect table.
    Indirect,
}

/// What a frame asks of the NIC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Plain,
    /// The TCP checksum.
    Checksum,
    /// ESP, and the checksum inside.
    Esp,
    /// ESP by itself.
    EspAlone,
}

impl Work {
    pub fn frame(self, len: usize) -> (NetHdr48, Vec<u8>) {
        match self {
            Self::Plain => packets::plain(len),
            Self::Checksum => packets::with_checksum(len),
            Self::Esp => packets::protected(len),
            Self::EspAlone => packets::protected_plain(len),
        }
    }

    /// Whether the driver has SAs for it.
    pub fn esp(self) -> bool {
        matches!(self, Self::Esp | Self::EspAlone)
    }
}

pub fn shape(parts: Parts, hdr: usize, frame: usize) -> Shape {
    let (hdr, frame) = (hdr as u32, frame as u32);
    match parts {
        Parts::Direct => Shape::new(Form::Direct, &[hdr + frame], BATCH),
        Parts::Pair => Shape::new(Form::Direct, &[hdr, frame], BATCH),
        Parts::Indirect => Shape::new(Form::Indirect, &[hdr, frame], BATCH),
    }
}

pub fn all_done(memory: &Memory, queue: u16, shape: &Shape, before: u16, count: u16) -> Result<()> {
    match memory.used(queue, shape)?.wrapping_sub(before) {
        done if done == count => Ok(()),
        done => Err(format!("the NIC has used {done} chains instead of {count}")),
    }
}

/// Lets the NIC send a batch of all chains; returns how long that took.
fn send_batch(guest: &Guest, shape: &Shape) -> Result<Duration> {
    let before = guest.memory.used(TX, shape)?;
    guest.memory.offer(TX, shape, shape.chains)?;
    let start = Instant::now();
    process_step(&guest.nic, Step::Transmit(0));
    let time = start.elapsed();
    all_done(&guest.memory, TX, shape, before, shape.chains)?;
    Ok(time)
}

/// Lets NICs send batches of chains with `data`, each of which becomes `packets` packets.
fn send(plan: &Plan, esp: bool, shape: &Shape, data: &[u8], packets: u16) -> Result<Times> {
    let guests = guests(plan, esp)?;
    for guest in &guests {
        guest.memory.prepare(TX, shape, Some(data))?;
    }
    let [split, packed] = &guests;
    let mut buffers = vec![vec![0; data.len()]; shape.chains.into()];
    let sides: [Side<'_>; 3] = [
        &mut || send_batch(split, shape),
        &mut || send_batch(packed, shape),
        &mut || copy(&split.memory, TX, shape, &mut buffers),
    ];
    let batch = shape.chains * packets;
    let times = compare(plan, batch, sides)?;
    for guest in &guests {
        let sent = guest.nic.port.stats.tx_frames.get();
        if sent == 0 || sent % u64::from(batch) != 0 {
            return Err(format!("{sent} frames were sent"));
        }
    }
    Ok(times)
}

/// Frames of `len` bytes from ring to wire; see [`Work`].
pub fn transmit(plan: &Plan, work: Work, parts: Parts, len: usize) -> Result<Times> {
    let esp = work.esp();
    let hdr_len = HdrLen::of(features(esp, false));
    let (hdr, frame) = work.frame(len);
    let data = [hdr.prefix(hdr_len), &frame].concat();
    let shape = shape(parts, hdr_len.bytes(), frame.len());
    send(plan, esp, &shape, &data, 1)
}

/// Large packets that become frames of `len` bytes, ESP not counted; the times are per frame on the wire.
pub fn segment(plan: &Plan, esp: bool, len: usize) -> Result<Times> {
    let hdr_len = HdrLen::of(features(esp, false));
    let (hdr, frame) = packets::large(len, SEGMENTS.into(), esp);
    let data = [hdr.prefix(hdr_len), &frame].concat();
    let headers = (frame.len() % PAGE as usize) as u32;
    let mut parts = vec![hdr_len.bytes() as u32, headers];
    parts.extend(vec![PAGE; frame.len() / PAGE as usize]);
    let shape = Shape::new(Form::Indirect, &parts, LARGE);
    send(plan, esp, &shape, &data, SEGMENTS)
}

/// A frame as a NIC sends it.
fn on_wire(plan: &Plan, work: Work, len: usize) -> Result<Vec<u8>> {
    let esp = work.esp();
    let last = Arc::new(Mutex::new(Vec::new()));
    let sink = Sink {
        last: Some(last.clone()),
    };
    let guest = guest(plan, esp, false, sink)?;
    let hdr_len = HdrLen::of(features(esp, false));
    let (hdr, frame) = work.frame(len);
    let data = [hdr.prefix(hdr_len), &frame].concat();
    let shape = shape(Parts::Direct, hdr_len.bytes(), frame.len());
    guest.memory.prepare(TX, &shape, Some(&data))?;
    guest.memory.offer(TX, &shape, 1)?;
    let nic = &guest.nic;
    process_step(nic, Step::Transmit(0));
    let frame = last.lock().map(|mut last| std::mem::take(&mut *last));
    frame
        .ok()
        .filter(|frame| !frame.is_empty())
        .ok_or_else(|| "no frame was sent".to_owned())
}

/// Lets a NIC receive a batch of this frame in the chains of `shape`; returns how long that took.
fn receive_batch(
    guest: &Guest,
    shape: &Shape,
    frame: &[u8],
    frames: &mut Frames,
) -> Result<Duration> {
    let before = guest.memory.used(RX, shape)?;
    guest.memory.offer(RX, shape, shape.chains)?;
    for _ in 0..BATCH {
        let mut buffer = frames.buffer(frame.len());
        buffer.copy_from_slice(frame);
        frames.push(buffer);
    }
    let nic = &guest.nic;
    nic.backlog.push(frames);
    let start = Instant::now();
    process_step(nic, Step::Arrive(0));
    process_step(nic, Step::Deliver(0));
    let time = start.elapsed();
    all_done(&guest.memory, RX, shape, before, shape.chains)?;
    Ok(time)
}

/// Checks that a NIC has received frames, decrypted them if they have ESP, and confirmed their checksums if
/// they have any.
fn check_received(guest: &Guest, work: Work) -> Result<()> {
    let nic = &guest.nic;
    let ipsec = |name| testing::counter(nic, name).unwrap_or(0);
    let frames = nic.stats.rx_frames.get();
    let (decrypted, confirmed) = (
        ipsec("ipsec_rx_packets"),
        nic.stats.rx_csum_valid.get() + ipsec("ipsec_rx_csum_valid"),
    );
    let expected = match work {
        Work::Plain => (0, 0),
        Work::Checksum => (0, frames),
        Work::Esp => (frames, frames),
        Work::EspAlone => (frames, 0),
    };
    if frames == 0 || (decrypted, confirmed) != expected {
        return Err(format!(
            "of {frames} frames {decrypted} were decrypted, {confirmed} had a right checksum"
        ));
    }
    Ok(())
}

/// Frames of `len` bytes, ESP not counted, from wire to ring. `small`: the driver gives mergeable buffers of
/// which a long frame takes several.
pub fn receive(plan: &Plan, work: Work, small: bool, len: usize) -> Result<Times> {
    let frame = on_wire(plan, work, len)?;
    let esp = work.esp();
    let guests = guests(plan, esp)?;
    let all = HdrLen::of(features(esp, false)).bytes() + frame.len();
    let part = if small { PIECE } else { WHOLE + 48 };
    let chains = BATCH * all.div_ceil(part as usize) as u16;
    let shape = Shape::new(Form::Direct, &[part], chains);
    for guest in &guests {
        guest.memory.prepare(RX, &shape, None)?;
    }
    let [split, packed] = &guests;
    let whole = Shape::new(Form::Direct, &[all as u32], BATCH);
    let mut buffers = vec![vec![0; all]; BATCH.into()];
    let [mut one, mut other] = [(); 2].map(|()| Frames::default());
    let sides: [Side<'_>; 3] = [
        &mut || receive_batch(split, &shape, &frame, &mut one),
        &mut || receive_batch(packed, &shape, &frame, &mut other),
        &mut || copy(&split.memory, RX, &whole, &mut buffers),
    ];
    let times = compare(plan, BATCH, sides)?;
    for guest in &guests {
        check_received(guest, work)?;
    }
    Ok(times)
}

/// A queue without a NIC.
struct Bare {
    memory: Memory,
    ring: VirtQueue,
    chain: Chain,
    buffers: Vec<Vec<u8>>,
}

impl Bare {
    fn new(queue: u16, packed: bool, shape: &Shape, data: &[u8]) -> Result<Self> {
        let memory = Memory::new(packed)?;
        memory.prepare(queue, shape, (queue == TX).then_some(data))?;
        let ring = VirtQueue::start(&memory.setup(queue), &memory.view);
        Ok(Self {
            ring: ring.map_err(|error| error.to_string())?,
            memory,
            chain: Chain::default(),
            buffers: vec![data.to_vec(); BATCH.into()],
        })
    }

    fn batch(&mut self, queue: u16, shape: &Shape, hdr_len: usize) -> Result<Duration> {
        let before = self.memory.used(queue, shape)?;
        self.memory.offer(queue, shape, BATCH)?;
        let start = Instant::now();
        let moved = self.pass(queue, hdr_len);
        let time = start.elapsed();
        moved.map_err(|error| error.to_string())?;
        all_done(&self.memory, queue, shape, before, BATCH)?;
        Ok(time)
    }

    /// In the way of the NIC: to send, the header apart from the frame.
    fn pass(&mut self, queue: u16, hdr_len: usize) -> std::result::Result<(), RingError> {
        let (mem, ring, chain) = (&self.memory.view, &mut self.ring, &mut self.chain);
        ring.disable_kicks(mem)?;
        let places = ring.places(mem);
        let mut single = true;
        for buffer in &mut self.buffers {
            let len = buffer.len() as u32;
            let (hdr, frame) = buffer.split_at_mut(hdr_len);
            if queue == RX {
                let Some((head, room)) = ring.pop_writable(&places) else {
                    break;
                };
                room.write_packet(hdr, frame).ok_or(RingError::Size)?;
                ring.push_at(&places, head, len)?;
                continue;
            }
            let only = match single {
                true => ring.pop_readable(&places),
                false => None,
            };
            if let Some((head, bytes)) = only {
                bytes.read_header(hdr).ok_or(RingError::Size)?;
                bytes.read(hdr_len, frame).ok_or(RingError::Size)?;
                ring.push_at(&places, head, 0)?;
            } else if ring.pop_at(&places, chain)? {
                single = chain.is_single();
                chain.read_header(mem, hdr)?;
                chain.read(mem, hdr_len as u64, frame)?;
                ring.push_at(&places, chain.head(), 0)?;
            } else {
                break;
            }
        }
        ring.publish(mem)?;
        Ok(())
    }
}

/// A queue by itself, without a NIC: chains are taken, their bytes copied, and given back. What the rings
/// and the copy cost of a frame of `len` bytes.
pub fn rings(plan: &Plan, queue: u16, parts: Parts, len: usize) -> Result<Times> {
    let (hdr, frame) = packets::plain(len);
    let hdr_len = HdrLen::of(features(false, false));
    let data = [hdr.prefix(hdr_len), &frame].concat();
    let shape = shape(parts, hdr_len.bytes(), frame.len());
    let hdr_len = hdr_len.bytes();
    let mut split = Bare::new(queue, false, &shape, &data)?;
    let mut packed = Bare::new(queue, true, &shape, &data)?;
    let copied = Memory::new(false)?;
    let mut others = vec![data.clone(); BATCH.into()];
    let sides: [Side<'_>; 3] = [
        &mut || split.batch(queue, &shape, hdr_len),
        &mut || packed.batch(queue, &shape, hdr_len),
        &mut || copy(&copied, queue, &shape, &mut others),
    ];
    compare(plan, BATCH, sides)
}
