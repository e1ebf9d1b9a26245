// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Transmission: from the guest's queue to the wire.

mod source;

use espnic_esp::checksum;
use espnic_esp::ip::{ETH_HLEN, IPPROTO_TCP, IPPROTO_UDP, MAX_LINK_HLEN, UDP_HLEN};
use espnic_esp::packet;
use espnic_esp::segment::{Request, Segments};
use espnic_wire::feature;
use espnic_wire::hdr::{self, HdrLen, NetHdr48};

use super::lane::Lane;
use super::state::Device;
use super::{announce, used, BATCH, FRAMES};
use crate::finish;
use crate::frame::{Cut, Frame, Unfinished};
use crate::frames::Frames;
use crate::ipsec::Turns;
use crate::memory::GuestMap;
use crate::misbehave::{Deed, Queue};
use crate::nic::Nic;
use crate::stats::Counter;
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;
use crate::virtio::queue::VirtQueue;
use crate::virtio::Virtio;
use source::Source;

/// Longest frame that may be segmented: the largest IP packet, and room for the headers around it.
const MAX_GSO_FRAME: usize = 65535 + 255;
/// Least data of a segment, in bytes, Linux's `TCP_MIN_GSO_SIZE`: the smallest MSS that Linux allows,
/// 48 (`TCP_MIN_SND_MSS`), less the 40 bytes that TCP has for options.
const MIN_GSO_SIZE: usize = 8;
/// Length of a TCP header without options, in bytes.
const TCP_HLEN: usize = 20;
/// Most segments of one frame: 64 KiB in segments of 32 bytes. It keeps a guest from burning this
/// process's time with tiny segments.
const MAX_SEGMENTS: usize = 2048;

/// Most segments of a frame that the NIC at the other end of a wire may have to cut: 64 KiB in those of the
/// smallest MTU that IPv4 hosts must accept (RFC 1122 section 3.3.2), 576 bytes. Smaller ones cost the sender's
/// time.
const MAX_LEFT: usize = 128;

/// The rules by which frames are checked and changed; they stay until the next reset.
struct Rules {
    hdr_len: HdrLen,
    mtu: u16,
    csum: bool,
    ipsec: bool,
    x_ipsec: bool,
    tso4: bool,
    tso6: bool,
    /// The other end of the wire is a NIC of this process, which takes unfinished frames.
    leaves: bool,
}

impl Rules {
    fn new(virtio: &Virtio, mtu: u16, leaves: bool) -> Self {
        Self {
            hdr_len: HdrLen::of(virtio.negotiated()),
            mtu,
            csum: virtio.has(feature::CSUM),
            ipsec: virtio.has(feature::IPSEC),
            x_ipsec: virtio.has(feature::X_IPSEC),
            tso4: virtio.has(feature::HOST_TSO4),
            tso6: virtio.has(feature::HOST_TSO6),
            leaves,
        }
    }

    /// Longest frame that the driver may hand over.
    fn longest(&self) -> usize {
        match self.tso4 || self.tso6 {
            true => MAX_GSO_FRAME,
            false => self.longest_sent(),
        }
    }

    /// Longest frame that can be sent as it is, with any VLAN tags.
    fn longest_sent(&self) -> usize {
        usize::from(self.mtu) + MAX_LINK_HLEN
    }

    /// Whether the frame is for IPsec. This includes a frame with only one of the two flags: IPsec refuses
    /// it, so it never goes out in the clear.
    fn protected(&self, hdr: &NetHdr48) -> bool {
        self.ipsec && hdr.has(hdr::F_SECURITY) || self.x_ipsec && hdr.has(hdr::F_X_SEC)
    }

    /// IP version of the packets that `hdr` wants segmented; `None` if that was not negotiated or
    /// `hdr` is incomplete.
    fn segmented_family(&self, hdr: &NetHdr48, len: usize) -> Option<u8> {
        let size = usize::from(hdr.net.gso_size.get());
        let fits = hdr.has(hdr::F_NEEDS_CSUM)
            && usize::from(hdr.net.csum_offset.get()) == checksum::TCP_FIELD
            && size >= MIN_GSO_SIZE
            && len / size < MAX_SEGMENTS;
        match hdr.net.gso_type {
            hdr::GSO_TCPV4 if fits && self.tso4 => Some(4),
            hdr::GSO_TCPV6 if fits && self.tso6 => Some(6),
            _ => None,
        }
    }
}

/// The work done for a queue while the lock was held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Chains that were taken.
    pub chains: usize,
    /// There may be more.
    pub busy: bool,
}

/// What a worker does when it finds a transmit queue empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It looks again soon: the driver need not notify.
    Look,
    /// It sleeps: the driver is asked for notifications.
    Sleep,
}

/// Whether the driver has given chains to a pair in use. They may be such that nothing can be sent.
pub fn is_waiting(nic: &Nic, pair: u16) -> bool {
    let device = nic.data_plane();
    let virtio = &device.virtio;
    if pair >= device.net.active_pairs() || !virtio.running() || !virtio.rings_present() {
        return false;
    }
    let queue = virtio.queue(2 * pair + 1);
    // An error is found by who takes the chain.
    queue.is_some_and(|(queue, _)| queue.has_work(virtio.memory()) != Ok(false))
}

/// Sends a batch of queue pair `pair`, up to `most` chains, and fewer if they become many frames. The worker does
/// `then` if there are none.
pub fn run(
    nic: &Nic,
    device: &Device,
    lane: &mut Lane,
    pair: u16,
    most: usize,
    then: Then,
) -> Result<Turn, RingError> {
    if nic.misbehaviour.stalls() {
        return Ok(Turn::default());
    }
    let rules = Rules::new(&device.virtio, nic.config.mtu, nic.port.takes_unfinished());
    let mem = device.virtio.memory();
    let Some((mut queue, vector)) = device.virtio.queue(2 * pair + 1) else {
        return Ok(Turn::default());
    };
    queue.disable_kicks(mem)?;
    let batch = Batch(lane);
    let own = &mut *batch.0;
    let mut chain = own.chains.pop().unwrap_or_default();
    let taken = take_batch(nic, own, &mut queue, mem, &rules, &mut chain, most);
    own.chains.push(chain);
    // Also after an error, because complete frames must be sent.
    flush(nic, &rules, own);
    let sent = std::mem::take(&mut own.sent);
    nic.stats.tx_frames.add(sent.frames as u64);
    nic.stats.tx_bytes.add(sent.bytes as u64);
    send(nic, own);
    drop(batch);
    let chains = taken?;
    let notify = announce::show(nic, mem, &mut queue, &mut lane.tx_moderator, chains, false)?;
    let more = chains == 0 && then == Then::Sleep && queue.enable_kicks(mem)?;
    if notify && !nic.misbehaviour.takes(Deed::Silent) {
        nic.interrupt_queue(vector);
    }
    Ok(Turn {
        chains,
        busy: chains > 0 || more,
    })
}

/// The lane of a batch. If the worker fails in the middle of it, others do not wait for its packets.
struct Batch<'a>(&'a mut Lane);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.turns.end();
    }
}

/// Sends what is in `lane.wire`, each frame when all with lower numbers of its SA have gone.
fn send(nic: &Nic, lane: &mut Lane) {
    let Lane { turns, wire, .. } = lane;
    turns.send(wire, |frames| nic.port.send(frames));
}

/// Moves the frames of up to `most` chains to `lane.wire`, or on to the port; returns how many chains
/// there were.
fn take_batch(
    nic: &Nic,
    lane: &mut Lane,
    queue: &mut VirtQueue,
    mem: &GuestMap,
    rules: &Rules,
    chain: &mut Chain,
    most: usize,
) -> Result<usize, RingError> {
    let places = queue.places(mem);
    // Misbehaviour is for those who know the whole chain.
    let may = !nic.misbehaviour.active();
    // Chains that follow each other are mostly alike.
    let mut alone = may;
    let (mut count, mut frames) = (0, 0);
    while count < most && frames < FRAMES {
        let only = match alone {
            true => queue.pop_readable(&places),
            false => None,
        };
        if only.is_none() && !queue.pop_at(&places, chain)? {
            break;
        }
        count += 1;
        alone = only.is_some() || may && chain.is_single();
        let before = lane.wire.len();
        match &only {
            Some((_, buffer)) => take(nic, buffer, rules, lane)?,
            None if chain.writable_len() > 0 => return Err(RingError::Direction),
            None => take(nic, &(&*chain, mem), rules, lane)?,
        }
        frames += lane.wire.len().saturating_sub(before);
        if lane.wire.len() >= BATCH {
            send(nic, lane);
        }
        match only {
            Some((head, _)) => queue.push_at(&places, head, 0)?,
            None => used::give_back(nic, Queue::Tx, queue, &places, chain, 0)?,
        }
    }
    Ok(count)
}

/// Appends the frame in `source`, ready for the wire, to `lane.wire`, unless it must not go there.
fn take(nic: &Nic, source: &impl Source, rules: &Rules, lane: &mut Lane) -> Result<(), RingError> {
    let stats = &nic.stats;
    let hdr_len = rules.hdr_len.bytes();
    let Some(len) = source
        .len()
        .and_then(|len| len.checked_sub(hdr_len))
        .filter(|&len| len >= ETH_HLEN)
    else {
        stats.tx_drop_short.inc();
        return Ok(());
    };
    if len > rules.longest() {
        stats.tx_drop_long.inc();
        return Ok(());
    }
    // Read to where it stays: what is moved right after it was written stalls.
    let mut hdr = NetHdr48::default();
    source.read_header(hdr.prefix_mut(rules.hdr_len))?;
    let gso = hdr.net.gso_type != hdr::GSO_NONE;
    if !gso && len > rules.longest_sent() {
        // Not copied, because its buffer would be much larger than other buffers.
        stats.tx_drop_long.inc();
        return Ok(());
    }
    let mut buffer = lane.wire.buffer(len);
    if let Err(error) = source.read(hdr_len, &mut buffer) {
        lane.wire.recycle(buffer);
        return Err(error);
    }
    let frame = Frame::from(buffer);
    if waits_for_others(rules, &hdr, &frame) {
        lane.tx_batch.push((hdr, frame));
        lane.tx_bytes += len;
        return Ok(());
    }
    // Frames stay in their order.
    flush(nic, rules, lane);
    lane.wire.push(frame);
    let Lane { wire, turns, .. } = lane;
    match prepare(nic, rules, &hdr, wire, turns) {
        Ok(()) => lane.sent.count(1, len),
        Err(drop) => drop.inc(),
    }
    Ok(())
}

/// Whether the frame is for an SA and becomes one packet. Such frames cost less in a batch.
fn waits_for_others(rules: &Rules, hdr: &NetHdr48, frame: &Frame) -> bool {
    rules.protected(hdr)
        && hdr.net.gso_type == hdr::GSO_NONE
        && frame.len() <= frame.longest(rules.mtu)
}

/// Moves the waiting batch through IPsec to `lane.wire`.
fn flush(nic: &Nic, rules: &Rules, lane: &mut Lane) {
    if lane.tx_batch.is_empty() {
        return;
    }
    let (count, before) = (lane.tx_batch.len(), std::mem::take(&mut lane.tx_bytes));
    // IPsec sends frames without tags only.
    let longest = ETH_HLEN + usize::from(rules.mtu);
    let dropped = nic.ipsec.transmit_all_in_turn(
        &mut lane.tx_batch,
        longest,
        &mut lane.wire,
        &mut lane.turns,
    );
    // Sent frames have been moved away, so dropped ones are left.
    let left = match dropped {
        0 => 0,
        _ => lane.tx_batch.iter().map(|(_, frame)| frame.len()).sum(),
    };
    lane.sent.count(count - dropped, before - left);
    nic.stats.tx_drop_ipsec.add(dropped as u64);
    for (_, frame) in lane.tx_batch.drain(..) {
        lane.wire.recycle(frame);
    }
}

/// Makes the last frame of `out` ready for the wire, where it may become several ones. On failure removes it
/// and returns the counter of the reason.
fn prepare<'a>(
    nic: &'a Nic,
    rules: &Rules,
    hdr: &NetHdr48,
    out: &mut Frames,
    turns: &mut Turns,
) -> Result<(), &'a Counter> {
    if hdr.net.gso_type != hdr::GSO_NONE || rules.protected(hdr) {
        let mut frame = out.pop().unwrap_or_default();
        let result = prepare_apart(nic, rules, hdr, &mut frame, out, turns);
        out.recycle(frame);
        return result;
    }
    let result = match out.last_mut() {
        Some(frame) => prepare_plain(nic, rules, hdr, frame),
        None => Ok(()),
    };
    if result.is_err() {
        out.truncate(out.len().saturating_sub(1));
    }
    result
}

/// The same for a frame that is sent as it is but for its checksum.
fn prepare_plain<'a>(
    nic: &'a Nic,
    rules: &Rules,
    hdr: &NetHdr48,
    frame: &mut Frame,
) -> Result<(), &'a Counter> {
    if frame.len() > frame.longest(rules.mtu) {
        return Err(&nic.stats.tx_drop_long);
    }
    if rules.csum && hdr.has(hdr::F_NEEDS_CSUM) && !checksum(rules, hdr, frame) {
        return Err(&nic.stats.tx_drop_csum);
    }
    Ok(())
}

/// Appends what becomes of `frame` in IPsec or by segmentation to `out`. On failure appends nothing.
fn prepare_apart<'a>(
    nic: &'a Nic,
    rules: &Rules,
    hdr: &NetHdr48,
    frame: &mut Frame,
    out: &mut Frames,
    turns: &mut Turns,
) -> Result<(), &'a Counter> {
    let stats = &nic.stats;
    let longest = frame.longest(rules.mtu);
    let family = match hdr.net.gso_type {
        hdr::GSO_NONE if frame.len() > longest => return Err(&stats.tx_drop_long),
        hdr::GSO_NONE => None,
        _ => Some(
            rules
                .segmented_family(hdr, frame.len())
                .ok_or(&stats.tx_drop_gso)?,
        ),
    };
    let (false, Some(family)) = (rules.protected(hdr), family) else {
        return nic
            .ipsec
            .transmit_in_turn(hdr, frame, longest, out, turns)
            .map_err(|_| &stats.tx_drop_ipsec);
    };
    let count = segment(rules, hdr, frame, family, longest, out).ok_or(&stats.tx_drop_gso)?;
    stats.tx_segments.add(count as u64);
    Ok(())
}

/// Appends the segments of `frame` to `out`, or leaves them to who receives it; returns their number.
/// `None`, and nothing is appended, if the headers are not what `hdr` says or a segment would be longer than
/// `longest`.
fn segment(
    rules: &Rules,
    hdr: &NetHdr48,
    frame: &mut Frame,
    family: u8,
    longest: usize,
    out: &mut Frames,
) -> Option<usize> {
    let request = Request {
        family,
        tcp: hdr.net.csum_start.get().into(),
        size: hdr.net.gso_size.get().into(),
    };
    let segments = Segments::plain(frame, frame.layers(), &request).ok()?;
    if segments.longest() > longest {
        return None;
    }
    let (count, head) = (segments.count(), segments.head_len());
    if !rules.leaves || count > MAX_LEFT || !is_common(hdr, frame) {
        finish::write(frame, &segments, out)?;
        return Some(count);
    }
    let cut = Cut {
        family,
        size: hdr.net.gso_size.get(),
        head: u16::try_from(head).ok()?,
    };
    // What fits one packet needs its checksum only.
    frame.leave(Some(unfinished(hdr, (count > 1).then_some(cut))));
    out.push(std::mem::take(frame));
    Some(count)
}

/// Completes the checksum, or leaves that to who receives the frame. `false` if it is outside the frame.
fn checksum(rules: &Rules, hdr: &NetHdr48, frame: &mut Frame) -> bool {
    if rules.leaves && is_common(hdr, frame) {
        frame.leave(Some(unfinished(hdr, None)));
        return true;
    }
    let (start, offset) = (hdr.net.csum_start.get(), hdr.net.csum_offset.get());
    finish::complete(frame, start, offset)
}

/// Whether the checksum is that of TCP or UDP right in an IP packet that is all of the frame. Others are
/// completed at once, and so is ESP in UDP: IPsec of the receiving NIC takes what is complete.
fn is_common(hdr: &NetHdr48, frame: &Frame) -> bool {
    let Some(ip) = frame.layers().packet(frame.len()) else {
        return false;
    };
    let (start, field) = (hdr.net.csum_start.get(), hdr.net.csum_offset.get());
    let (header, own) = match ip.protocol {
        IPPROTO_TCP => (TCP_HLEN, checksum::TCP_FIELD),
        IPPROTO_UDP => (UDP_HLEN, checksum::UDP_FIELD),
        _ => return false,
    };
    let whole = !ip.fragment && ip.end == frame.len() && ip.transport + header <= ip.end;
    let meant = ip.transport == usize::from(start) && own == usize::from(field);
    whole && meant && packet::range(frame, frame.layers()).is_none()
}

/// What `hdr` asks for and is left to the receiver.
fn unfinished(hdr: &NetHdr48, cut: Option<Cut>) -> Unfinished {
    Unfinished {
        start: hdr.net.csum_start.get(),
        offset: hdr.net.csum_offset.get(),
        cut,
    }
}
