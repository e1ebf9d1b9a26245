// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control queue (VIRTIO 1.4 section 5.1.6.5) and the administration queue (2.13). Both carry
//! administration commands to the same place: the former in the experimental class `X_ADMIN`.

use std::time::Instant;

use espnic_wire::feature::{self, mask};
use espnic_wire::{admin, ctrl};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

use super::receive_filter::{read_tables, ReceiveFilter};
use super::rss::{self, Rss};
use super::state::Device;
use super::unanswered::Unanswered;
use super::{announce, coalesce, rx, used, BATCH};
use crate::memory::GuestMap;
use crate::misbehave::{Deed, Queue};
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::{VirtQueue, MAX_QUEUE_SIZE};

const CTRL_HDR: usize = size_of::<ctrl::CtrlHdr>();
const ACK: usize = 1;
/// What a driver can switch on and off, of that which is offered.
const OFFLOADS: [u32; 3] = [
    feature::GUEST_CSUM,
    feature::GUEST_TSO4,
    feature::GUEST_TSO6,
];
/// Start of the readable and of the writable part of an administration command.
const MIN_READABLE: usize = size_of::<admin::CmdHdr>();
const MIN_WRITABLE: usize = size_of::<admin::ReplyHdr>();

/// Most answers that are late at a time.
const MAX_UNANSWERED: usize = MAX_QUEUE_SIZE as usize;
/// The bytes in place of the rest of a truncated answer.
const RUBBISH: u8 = 0xa5;

/// Answers a batch of control commands. `false` if there was none.
pub fn run(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    let mut settings = Settings::take(nic, device);
    let index = 2 * device.pairs(&nic.config);
    let busy = run_queue(nic, device, index, |mem, chain| {
        command(nic, mem, chain, &mut settings)
    });
    // Also after an error: these commands were carried out.
    device.net.receive_filter = settings.filter;
    device.net.rss = settings.rss;
    let (coalescing, coalesces_anew) = settings.coalescing.finish();
    device.net.coalescing = coalescing;
    if coalesces_anew {
        announce::apply(nic, device);
        nic.kick();
    }
    device.net.set_guest_offloads(settings.offloads);
    let active = settings.pairs;
    if active != device.net.active_pairs() {
        log::debug!("{}: {active} active queue pairs", nic.name);
        device.net.set_active_pairs(active);
    }
    if settings.spread {
        rx::steer_again(nic, device);
        nic.kick();
    }
    busy
}

/// Whether [`run`] and [`run_admin`] have nothing to do. Late answers do not count.
pub fn is_idle(nic: &Nic, device: &Device) -> bool {
    let queues = [2 * device.pairs(&nic.config), nic.config.admin_queue()];
    queues.into_iter().all(|index| {
        let queue = device.virtio.queue(index);
        queue.is_none_or(|(queue, _)| queue.is_idle(device.virtio.memory()) == Ok(true))
    })
}

/// Answers a batch of administration commands. `false` if there was none.
pub fn run_admin(nic: &Nic, device: &mut Device) -> Result<bool, RingError> {
    run_queue(nic, device, nic.config.admin_queue(), |mem, chain| {
        admin_command(nic, mem, chain)
    })
}

fn run_queue(
    nic: &Nic,
    device: &mut Device,
    index: u16,
    mut answer: impl FnMut(&GuestMap, &Chain) -> Result<u32, RingError>,
) -> Result<bool, RingError> {
    let mem = device.virtio.memory();
    let net = &mut device.net;
    let Some((mut queue, vector)) = device.virtio.queue(index) else {
        return Ok(false);
    };
    let queue = &mut *queue;
    let mut chain = std::mem::take(&mut net.chain);
    queue.disable_kicks(mem)?;
    let mut count = answer_late(&mut net.unanswered, index, queue, mem)?;
    while count < BATCH && queue.pop(mem, &mut chain)? {
        count += 1;
        nic.stats.ctrl_commands.inc();
        let written = answer(mem, &chain)?;
        let answered = Unanswered {
            queue: index,
            head: chain.head(),
            written,
            due: Instant::now(),
        };
        conclude(nic, &mut net.unanswered, answered, queue, mem, &chain)?;
    }
    let notify = queue.publish(mem)?;
    let more = count == 0 && queue.enable_kicks(mem)?;
    net.chain = chain;
    if notify {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0 || more)
}

/// Gives back late answers that are due; returns how many.
fn answer_late(
    unanswered: &mut Vec<Unanswered>,
    index: u16,
    queue: &mut VirtQueue,
    mem: &GuestMap,
) -> Result<usize, RingError> {
    if unanswered.is_empty() {
        return Ok(0);
    }
    let now = Instant::now();
    let is_due = |answer: &Unanswered| answer.queue == index && answer.due <= now;
    let (due, rest) = std::mem::take(unanswered)
        .into_iter()
        .partition::<Vec<_>, _>(is_due);
    *unanswered = rest;
    for answer in &due {
        queue.push_used(mem, answer.head, answer.written)?;
    }
    Ok(due.len())
}

/// Gives an answer back, or applies a misbehaviour that is due.
fn conclude(
    nic: &Nic,
    unanswered: &mut Vec<Unanswered>,
    mut answer: Unanswered,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    chain: &Chain,
) -> Result<(), RingError> {
    let misbehaviour = &nic.misbehaviour;
    if misbehaviour.takes(Deed::Never) {
        return Ok(());
    }
    if misbehaviour.takes(Deed::Truncated) {
        answer.written = truncate(mem, chain, answer.written)?;
    }
    let room = unanswered.len() < MAX_UNANSWERED;
    if let Some(time) = room.then(|| misbehaviour.lateness()).flatten() {
        answer.due += time;
        unanswered.push(answer);
        return Ok(());
    }
    let places = queue.places(mem);
    used::give_back(nic, Queue::Ctrl, queue, &places, chain, answer.written)
}

/// Spoils the second half of an answer of `written` bytes; returns the length of the first.
fn truncate(mem: &GuestMap, chain: &Chain, written: u32) -> Result<u32, RingError> {
    let half = written / 2;
    let rest = vec![RUBBISH; (written - half) as usize];
    chain.write(mem, half.into(), &rest)?;
    Ok(half)
}

/// What the driver can change.
struct Settings {
    negotiated: u128,
    /// Active queue pairs.
    pairs: u16,
    /// What it can receive, as a set of features.
    offloads: u128,
    /// What it wants to receive.
    filter: ReceiveFilter,
    /// How long interrupts are held back.
    coalescing: coalesce::Draft,
    /// How it wants frames to be hashed and spread.
    rss: Rss,
    /// Frames are to be spread anew.
    spread: bool,
}

impl Settings {
    /// Those of the device, which has neither receive filter nor table meanwhile, and no limits for interrupts.
    fn take(nic: &Nic, device: &mut Device) -> Self {
        let queues = 0..2 * device.pairs(&nic.config);
        let running = queues.filter(|&index| device.virtio.runs(index));
        let running = running.fold(0, |set, index| set | (1 << index));
        let limits = std::mem::take(&mut device.net.coalescing);
        Self {
            negotiated: device.virtio.negotiated(),
            pairs: device.net.active_pairs(),
            offloads: device.net.guest_offloads(),
            filter: std::mem::take(&mut device.net.receive_filter),
            coalescing: coalesce::Draft::new(limits, running),
            rss: std::mem::take(&mut device.net.rss),
            spread: false,
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.negotiated & mask(bit) != 0
    }

    /// Uses so many pairs, and spreads packets anew.
    fn use_pairs(&mut self, pairs: u16) {
        self.spread = true;
        self.pairs = pairs;
    }

    /// `None`, and nothing changes, if a feature is among them that is not one of receiving or was not
    /// negotiated (5.1.6.5, "Setting Offloads State").
    fn set_offloads(&mut self, offloads: u64) -> Option<()> {
        let known = OFFLOADS.iter().fold(0, |set, &bit| set | mask(bit));
        let offloads = u128::from(offloads);
        if offloads & !(known & self.negotiated) != 0 {
            return None;
        }
        self.offloads = offloads;
        Some(())
    }
}

/// The argument of a command with `len` bytes of data; `None` if they are too few.
fn argument<const LEN: usize>(
    mem: &GuestMap,
    chain: &Chain,
    len: usize,
) -> Result<Option<[u8; LEN]>, RingError> {
    let mut argument = [0; LEN];
    if len < LEN {
        return Ok(None);
    }
    chain.read(mem, CTRL_HDR as u64, &mut argument)?;
    Ok(Some(argument))
}

/// The first bytes of the data of a command, of which there are `len`; fewer if there are no more.
fn beginning<'a>(
    mem: &GuestMap,
    chain: &Chain,
    len: usize,
    room: &'a mut [u8],
) -> Result<&'a [u8], RingError> {
    let count = len.min(room.len());
    let bytes = room.get_mut(..count).unwrap_or_default();
    chain.read(mem, CTRL_HDR as u64, bytes)?;
    Ok(bytes)
}

/// Writes how long the interrupts of a queue are held back behind the ack; returns the bytes written there, or
/// `None` if there is no such queue, or no room.
fn tell_coalescing(
    mem: &GuestMap,
    chain: &Chain,
    data: usize,
    writable: usize,
    settings: &Settings,
) -> Result<Option<usize>, RingError> {
    const LEN: usize = size_of::<ctrl::Coalescing>();
    let mut room = [0; size_of::<ctrl::QueueIndex>()];
    let data = beginning(mem, chain, data, &mut room)?;
    let set = settings.coalescing.get(data);
    let Some(set) = set.filter(|_| writable >= LEN) else {
        return Ok(None);
    };
    chain.write(mem, ACK as u64, set.as_bytes())?;
    Ok(Some(LEN))
}

/// The data of a command about hashes, of which there are `len` bytes; those that no command has are left out.
fn hash_data(mem: &GuestMap, chain: &Chain, len: usize) -> Result<Vec<u8>, RingError> {
    let mut bytes = vec![0; len.min(rss::COMMAND_MAX)];
    chain.read(mem, CTRL_HDR as u64, &mut bytes)?;
    Ok(bytes)
}

/// Carries out one control command; returns the bytes written.
fn command(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    settings: &mut Settings,
) -> Result<u32, RingError> {
    let (readable, writable) = lengths(chain);
    if writable < ACK {
        // No room for an answer: an error of the driver that harms only itself.
        nic.stats.ctrl_refused.inc();
        return Ok(0);
    }
    let mut hdr = [0; CTRL_HDR];
    if readable >= CTRL_HDR {
        chain.read(mem, 0, &mut hdr)?;
    }
    let data = readable.saturating_sub(CTRL_HDR);
    let written = match hdr {
        [ctrl::CLASS_X_ADMIN, ctrl::X_ADMIN_EXEC] if settings.has(feature::X_IPSEC) => {
            x_admin_command(nic, mem, chain, data, writable - ACK)?
        }
        [ctrl::CLASS_NOTF_COAL, ctrl::NOTF_COAL_VQ_GET] if settings.has(feature::VQ_NOTF_COAL) => {
            tell_coalescing(mem, chain, data, writable - ACK, settings)?
        }
        _ => set(nic, mem, chain, hdr, data, settings)?.map(|()| 0),
    };
    let ack = match written {
        Some(_) => ctrl::OK,
        None => {
            log::debug!("{}: control command {hdr:?} refused", nic.name);
            nic.stats.ctrl_refused.inc();
            ctrl::ERR
        }
    };
    chain.write(mem, 0, &[ack])?;
    Ok((ACK + written.unwrap_or(0)) as u32)
}

/// Carries out a command that changes a setting, with `data` bytes of data; `None`, and nothing changes, if it
/// is refused.
fn set(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    hdr: [u8; CTRL_HDR],
    data: usize,
    settings: &mut Settings,
) -> Result<Option<()>, RingError> {
    Ok(match hdr {
        [ctrl::CLASS_RX, mode] if settings.has(feature::CTRL_RX) => {
            let extra = settings.has(feature::CTRL_RX_EXTRA);
            let on = argument(mem, chain, data)?.map(u8::from_le_bytes);
            on.and_then(|on| settings.filter.set_mode(mode, on, extra))
        }
        [ctrl::CLASS_MAC, ctrl::MAC_TABLE_SET] if settings.has(feature::CTRL_RX) => {
            let tables = read_tables(mem, chain, CTRL_HDR, data)?;
            tables.map(|tables| settings.filter.set_addresses(tables))
        }
        [ctrl::CLASS_MAC, ctrl::MAC_ADDR_SET] if settings.has(feature::CTRL_MAC_ADDR) => {
            // In the configuration before the command is given back (5.1.6.5.2.1).
            let mac = argument(mem, chain, data)?;
            mac.filter(|mac| nic.set_mac(*mac)).map(|_| ())
        }
        [ctrl::CLASS_VLAN, change] if settings.has(feature::CTRL_VLAN) => {
            let vlan = argument(mem, chain, data)?.map(u16::from_le_bytes);
            vlan.and_then(|vlan| settings.filter.change_vlan(change, vlan))
        }
        [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET] if settings.has(feature::MQ) => {
            let pairs = argument(mem, chain, data)?.map(u16::from_le_bytes);
            pairs
                .filter(|pairs| (1..=nic.config.pairs).contains(pairs))
                .map(|pairs| {
                    settings.rss.forget_table();
                    settings.use_pairs(pairs);
                })
        }
        [ctrl::CLASS_MQ, ctrl::MQ_RSS_CONFIG] if settings.has(feature::RSS) => {
            let data = hash_data(mem, chain, data)?;
            let pairs = settings.rss.set(&data, nic.config.pairs);
            pairs.map(|pairs| settings.use_pairs(pairs))
        }
        [ctrl::CLASS_MQ, ctrl::MQ_HASH_CONFIG] if settings.has(feature::HASH_REPORT) => {
            settings.rss.set_hash(&hash_data(mem, chain, data)?)
        }
        [ctrl::CLASS_NOTF_COAL, command] => {
            let mut room = [0; size_of::<ctrl::QueueCoalescing>()];
            let data = beginning(mem, chain, data, &mut room)?;
            let negotiated = settings.negotiated;
            let has = |bit| negotiated & mask(bit) != 0;
            settings.coalescing.change(command, data, has)
        }
        [ctrl::CLASS_GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET]
            if settings.has(feature::CTRL_GUEST_OFFLOADS) =>
        {
            let offloads = argument(mem, chain, data)?.map(u64::from_le_bytes);
            offloads.and_then(|offloads| settings.set_offloads(offloads))
        }
        _ => None,
    })
}

/// Carries out an administration command in a control command; returns the bytes written behind the ack,
/// or `None` for lengths that are not allowed.
fn x_admin_command(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    readable: usize,
    writable: usize,
) -> Result<Option<usize>, RingError> {
    let fits = (MIN_READABLE..=ctrl::X_ADMIN_MAX).contains(&readable)
        && (MIN_WRITABLE..=ctrl::X_ADMIN_MAX).contains(&writable);
    if !fits {
        return Ok(None);
    }
    execute(nic, mem, chain, CTRL_HDR, readable, ACK, writable).map(Some)
}

/// Carries out one command of the administration queue; returns the bytes written.
fn admin_command(nic: &Nic, mem: &GuestMap, chain: &Chain) -> Result<u32, RingError> {
    let (readable, writable) = lengths(chain);
    // Length alone never fails a command: surplus is ignored, missing input reads as zero.
    let (readable, writable) = (
        readable.min(ctrl::X_ADMIN_MAX),
        writable.min(ctrl::X_ADMIN_MAX),
    );
    if readable == 0 || writable == 0 {
        nic.stats.ctrl_refused.inc();
        return Ok(0);
    }
    execute(nic, mem, chain, 0, readable, 0, writable).map(|written| written as u32)
}

/// Copies the command, which may contain keys, executes it and writes the result.
fn execute(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    from: usize,
    readable: usize,
    to: usize,
    writable: usize,
) -> Result<usize, RingError> {
    let mut request = Zeroizing::new(vec![0; readable]);
    let mut reply = vec![0; writable];
    chain.read(mem, from as u64, &mut request)?;
    let written = nic.administer(&request, &mut reply).min(writable);
    chain.write(mem, to as u64, reply.get(..written).unwrap_or_default())?;
    Ok(written)
}

fn lengths(chain: &Chain) -> (usize, usize) {
    let limit = |len: u64| usize::try_from(len).unwrap_or(usize::MAX);
    (limit(chain.readable_len()), limit(chain.writable_len()))
}
