// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Outbound packets of SAs of the standard: segment, complete checksums, encapsulate, encrypt.
//!
//! Whatever is refused stays in the caller's frame, so nothing of it can go out in the clear. A number is
//! only taken when everything that can be wrong with the packet has been looked at.

use super::super::counters::Counters;
use super::super::drop::TxDrop;
use super::super::events::Events;
use super::super::sa::Sa;
use super::super::sent::Sent;
use super::super::tx::check_generation;
use super::super::waiting::Outgoing;
use super::news::News;
use super::sa::{Numbers, Packet, Sender, Way};
use crate::frame::{Blank, Frame};
use crate::frames::Frames;
use espnic_esp::checksum;
use espnic_esp::encap::{Number, Plan};
use espnic_esp::engine;
use espnic_esp::ip::{put_be16, Ip, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETH_HLEN};
use espnic_esp::lifetime::Batch;
use espnic_esp::packet::ESP_HLEN;
use espnic_esp::segment::{Request, Segments};
use espnic_esp::seq;
use espnic_wire::hdr::{self, NetHdr48};

/// Length of the two Ethernet addresses, which stay.
const ADDRESSES: usize = ETH_HLEN - 2;

/// See [`super::super::tx::protect`], of an SA that was found.
#[inline(never)]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn protect(
    sa: &Sa,
    mode: &Packet,
    counters: &Counters,
    events: &Events,
    hdr: &NetHdr48,
    frame: &mut Frame,
    outgoing: &mut Outgoing<'_>,
) -> Result<Sent, TxDrop> {
    if hdr.net.gso_type == hdr::GSO_NONE {
        let (mut one, mut result) = ([(*hdr, std::mem::take(frame))], Err(TxDrop::Format));
        protect_all::<1>(sa, mode, events, &mut one, outgoing, |_, sent| {
            result = sent;
        });
        let [(_, left)] = one;
        *frame = left;
        return result;
    }
    let before = outgoing.out.len();
    let way = Transmission::new(sa, mode, events, outgoing)?;
    way.check_mark(hdr)?;
    let sent = way.segmented(hdr, frame, counters, outgoing);
    sent.inspect_err(|_| outgoing.truncate(before))
}

/// The same for at most `N` packets of one SA that are not to be segmented. They get numbers in a row, so
/// they can be sent in one piece however many use the SA. `each` learns what becomes of each of them, the header of
/// which it gets, in no order.
#[inline(never)]
pub(in super::super) fn protect_all<const N: usize>(
    sa: &Sa,
    mode: &Packet,
    events: &Events,
    packets: &mut [(NetHdr48, Frame)],
    outgoing: &mut Outgoing<'_>,
    mut each: impl FnMut(&NetHdr48, Result<Sent, TxDrop>),
) {
    debug_assert!(packets.len() <= N);
    let way = match Transmission::new(sa, mode, events, outgoing) {
        Ok(way) => way,
        Err(drop) => return packets.iter().for_each(|(hdr, _)| each(hdr, Err(drop))),
    };
    let mut plans = [const { None }; N];
    for ((hdr, frame), plan) in packets.iter().zip(&mut plans) {
        match way.plan_single(hdr, frame) {
            Ok(good) => *plan = Some(good),
            Err(drop) => each(hdr, Err(drop)),
        }
    }
    let good = plans.iter().flatten();
    let batches = good.map(|plan| (Batch::one(payload_len(plan, sa)), plan.needs_id));
    let numbers = way.number(batches, outgoing);
    let (mut index, mut ids) = (0, 0);
    for ((hdr, frame), plan) in packets.iter_mut().zip(&plans) {
        let Some(plan) = plan else {
            continue;
        };
        if index == numbers.count {
            each(hdr, Err(numbers.end));
            continue;
        }
        let number = numbers.nth(index, ids);
        index += 1;
        ids += u32::from(plan.needs_id);
        each(hdr, way.single(plan, &number, hdr, frame, outgoing));
    }
}

/// The SA of a packet, and what it must fit.
struct Transmission<'a> {
    sa: &'a Sa,
    mode: &'a Packet,
    sender: &'a Sender,
    events: &'a Events,
    /// Most bytes of a frame on the wire.
    longest: usize,
}

impl<'a> Transmission<'a> {
    fn new(
        sa: &'a Sa,
        mode: &'a Packet,
        events: &'a Events,
        outgoing: &Outgoing<'_>,
    ) -> Result<Self, TxDrop> {
        let Way::Out(sender) = &mode.way else {
            return Err(TxDrop::NoSa);
        };
        Ok(Self {
            sa,
            mode,
            sender,
            events,
            longest: outgoing.longest,
        })
    }

    /// Whether the header names this kind of SA, and this generation; without the extension it cannot.
    fn check_mark(&self, hdr: &NetHdr48) -> Result<(), TxDrop> {
        if !self.mode.x_ipsec {
            return Ok(());
        }
        if hdr.sec.sec_op != hdr::SEC_OP_STANDARD {
            return Err(TxDrop::Unsupported);
        }
        check_generation(self.sa, hdr.sec.generation.get())
    }

    /// Looks at everything that can be wrong with a frame that is one packet.
    fn plan_single(&self, hdr: &NetHdr48, frame: &Frame) -> Result<Plan, TxDrop> {
        self.check_mark(hdr)?;
        let ip = frame.layers().packet(frame.len());
        let ip = ip.filter(is_untagged).ok_or(TxDrop::Format)?;
        if hdr.has(hdr::F_NEEDS_CSUM) && !checksum_fits(hdr, &ip) {
            return Err(TxDrop::Format);
        }
        self.plan(frame.get(..ip.end).ok_or(TxDrop::Format)?)
    }

    /// Sends the packet for which this plan was made.
    fn single(
        &self,
        plan: &Plan,
        number: &Number,
        hdr: &NetHdr48,
        frame: &mut Frame,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<Sent, TxDrop> {
        if hdr.has(hdr::F_NEEDS_CSUM) {
            complete_checksum(hdr, plan, frame).ok_or(TxDrop::Format)?;
        }
        let clear = frame.get(..ETH_HLEN + plan.packet_len);
        let clear = clear.ok_or(TxDrop::Format)?;
        let mut buffer = outgoing.out.buffer(ETH_HLEN + plan.len);
        let room = buffer
            .get_mut(plan.room..)
            .and_then(|room| room.get_mut(..clear.len()))
            .ok_or(TxDrop::Format)?;
        room.copy_from_slice(clear);
        let bytes = buffer.len() as u32;
        self.finish(plan, number, clear, buffer, outgoing)?;
        outgoing.out.recycle(std::mem::take(frame));
        Ok(Sent { frames: 1, bytes })
    }

    fn segmented(
        &self,
        hdr: &NetHdr48,
        frame: &Frame,
        counters: &Counters,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<Sent, TxDrop> {
        let segments = cut(hdr, frame)?;
        let count = u32::try_from(segments.count()).map_err(|_| TxDrop::Format)?;
        let end = segments.count().saturating_sub(1);
        // All others are like the first.
        let [first, last] = [
            self.plan_segment(&segments, 0, outgoing.out)?,
            self.plan_segment(&segments, end, outgoing.out)?,
        ];
        let batch = Batch {
            packets: count,
            each: payload_len(&first, self.sa),
            last: payload_len(&last, self.sa),
        };
        let needs_id = first.needs_id || last.needs_id;
        let numbers = self.number([(batch, needs_id)].into_iter(), outgoing);
        count_beyond(&numbers, count, counters)?;
        let mut sent = Sent {
            frames: 0,
            bytes: 0,
        };
        for index in 0..numbers.count {
            let number = numbers.nth(index, index);
            let index = index as usize;
            let plan = if index == end { &last } else { &first };
            let len = segments.len(index);
            let mut buffer = outgoing.out.buffer(ETH_HLEN + plan.len);
            let room = buffer
                .get_mut(plan.room..)
                .and_then(|room| room.get_mut(..len));
            segments.write(index, room.ok_or(TxDrop::Format)?)?;
            sent.bytes += buffer.len() as u32;
            self.finish(plan, &number, frame, buffer, outgoing)?;
            sent.frames += 1;
        }
        Ok(sent)
    }

    /// Takes numbers, and reports what ends with them.
    fn number(
        &self,
        batches: impl Iterator<Item = (Batch, bool)>,
        outgoing: &mut Outgoing<'_>,
    ) -> Numbers {
        let report = |news: &News| self.mode.report(self.sa.id, news, self.events);
        let at = outgoing.out.len();
        self.sender.number(batches, outgoing.turns, at, report)
    }

    /// What becomes of the packet in a frame that ends with it.
    fn plan(&self, frame: &[u8]) -> Result<Plan, TxDrop> {
        let packet = frame.get(ETH_HLEN..).ok_or(TxDrop::Format)?;
        let plan = self.sender.template.plan(packet)?;
        if ETH_HLEN + plan.len > self.longest {
            return Err(TxDrop::Long);
        }
        Ok(plan)
    }

    fn plan_segment(
        &self,
        segments: &Segments<'_>,
        index: usize,
        out: &mut Frames,
    ) -> Result<Plan, TxDrop> {
        let mut segment = out.buffer(segments.len(index));
        let written = segments.write(index, &mut segment);
        let plan = written
            .map_err(TxDrop::from)
            .and_then(|()| self.plan(&segment));
        out.recycle(segment);
        plan
    }

    /// Writes everything around the packet in `buffer`, and sends it encrypted, or lets it wait for that.
    /// `clear` starts with the Ethernet header.
    fn finish(
        &self,
        plan: &Plan,
        number: &Number,
        clear: &[u8],
        mut buffer: Blank,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<(), TxDrop> {
        let (sa, template) = (self.sa, &self.sender.template);
        let (link, packet) = buffer
            .split_at_mut_checked(ETH_HLEN)
            .ok_or(TxDrop::Format)?;
        template.wrap(plan, number, packet)?;
        let kind = match packet.first().map(|first| first >> 4) {
            Some(6) => ETHERTYPE_IPV6,
            _ => ETHERTYPE_IPV4,
        };
        for (to, from) in link.iter_mut().zip(clear).take(ADDRESSES) {
            *to = *from;
        }
        put_be16(link, ADDRESSES, kind);
        let esp = packet.get_mut(plan.esp..).ok_or(TxDrop::Format)?;
        let (esn_hi, trailer_len) = (seq::hi(number.seq), plan.trailer_len);
        // A checksum of ciphertext has to be made when that is there.
        if sa.cipher.joint().is_some() && !template.has_checksum(plan) {
            engine::begin_seal(&sa.cipher, &sa.params, esn_hi, trailer_len, esp)?;
            outgoing.wait(sa, ETH_HLEN + plan.esp, esn_hi, buffer.into());
            return Ok(());
        }
        engine::seal(&sa.cipher, &sa.params, esn_hi, trailer_len, esp)?;
        template.finish(plan, packet)?;
        outgoing.out.push(buffer);
        Ok(())
    }
}

impl Numbers {
    /// Those of packet `index`, of which there are fewer than [`Self::count`], if `ids` packets before it have
    /// an identification.
    fn nth(&self, index: u32, ids: u32) -> Number {
        Number {
            seq: self.first.saturating_add(index.into()),
            // Truncated as the counter is.
            id: self.id.wrapping_add(ids as u16),
        }
    }
}

/// Counts segments of one frame that have no number; there are `count` in all. They are never sent. If that is all of
/// them it is an error, which counts once more.
fn count_beyond(numbers: &Numbers, count: u32, counters: &Counters) -> Result<(), TxDrop> {
    let beyond = u64::from(count.saturating_sub(numbers.count));
    if numbers.count == 0 {
        counters.dropped(numbers.end, beyond.saturating_sub(1));
        return Err(numbers.end);
    }
    if beyond > 0 {
        counters.dropped(numbers.end, beyond);
    }
    Ok(())
}

/// Bytes that ESP carries, as the stack counts them: without padding.
fn payload_len(plan: &Plan, sa: &Sa) -> u32 {
    let around = plan.esp + ESP_HLEN + usize::from(sa.params.layout.iv_len) + plan.trailer_len;
    // At most an IP packet.
    plan.len.saturating_sub(around) as u32
}

fn is_untagged(ip: &Ip) -> bool {
    ip.network == ETH_HLEN
}

fn cut<'a>(hdr: &NetHdr48, frame: &'a Frame) -> Result<Segments<'a>, TxDrop> {
    let family = match hdr.net.gso_type {
        hdr::GSO_TCPV4 => 4,
        hdr::GSO_TCPV6 => 6,
        _ => return Err(TxDrop::Unsupported),
    };
    let fits = hdr.has(hdr::F_NEEDS_CSUM)
        && usize::from(hdr.net.csum_offset.get()) == checksum::TCP_FIELD
        && frame.layers().ip().is_some_and(|ip| is_untagged(&ip));
    if !fits {
        return Err(TxDrop::Format);
    }
    let request = Request {
        family,
        tcp: hdr.net.csum_start.get().into(),
        size: hdr.net.gso_size.get().into(),
    };
    Ok(Segments::plain(frame, frame.layers(), &request)?)
}

/// Whether the checksum is that of something behind the header `ip`.
fn checksum_fits(hdr: &NetHdr48, ip: &Ip) -> bool {
    let start = usize::from(hdr.net.csum_start.get());
    let field = start + usize::from(hdr.net.csum_offset.get());
    start >= ip.transport && field + size_of::<u16>() <= ip.end
}

/// Completes the checksum, which reaches to the end of the packet.
fn complete_checksum(hdr: &NetHdr48, plan: &Plan, frame: &mut Frame) -> Option<()> {
    let start = usize::from(hdr.net.csum_start.get());
    let offset = usize::from(hdr.net.csum_offset.get());
    let len = (ETH_HLEN + plan.packet_len).checked_sub(start)?;
    let complete = |_: &[u8], rest: &mut [u8]| checksum::complete(rest, 0, offset, len);
    frame.change(start, complete)?.then_some(())
}
