// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reception: from the wire to the guest's queue.
//!
//! Frames wait in the backlog until the driver gives buffers; when the backlog is full, it drops and counts
//! them. With several active queue pairs frames wait for each queue separately, so that a queue without
//! buffers does not stop the others.
//!
//! The worker of a queue pair takes the frames of its part of the backlog, in their order. A frame for the
//! queue of another pair goes into the inbox of that pair: it was decrypted, or a rule has sent it there.

mod put;

use espnic_wire::feature;
use espnic_wire::hdr;

use super::lane::Lane;
use super::pending::{Pending, Room};
use super::receive_filter::Screen;
use super::state::Device;
use super::{announce, steer, BATCH};
use crate::filter::{Matcher, Verdict};
use crate::finish::finish;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::ipsec::Inbound;
use crate::nic::Nic;
use crate::ports::Totals;
use crate::spare;
use crate::virtio::error::RingError;
use put::{put, Delivery, Rules, Told};

/// Takes a batch out of the part of the backlog for `pair`, drops frames that the driver does not want or that
/// are too long for it, applies the flow filter, does IPsec and spreads the frames over the active queue pairs
/// (V100). `false` if there were none.
pub fn arrive(nic: &Nic, device: &Device, pair: u16) -> bool {
    let (virtio, net) = (&device.virtio, &device.net);
    let Some(mut lane) = net.lane(pair) else {
        return false;
    };
    let lane = &mut *lane;
    // With one queue, frames without a buffer stay in the backlog.
    let count = match net.active_pairs() {
        1 if !lane.pending.is_empty() => 0,
        _ => BATCH,
    };
    nic.backlog
        .take(pair, count, &mut lane.arrived, &mut lane.done);
    let some = !lane.arrived.is_empty();
    nic.port.received(&mut lane.arrived);
    let has = |bit| virtio.has(bit);
    let screen = Screen::of(&net.receive_filter, has, || nic.live.mac());
    let rules = nic.filter.current();
    filter(nic, screen.as_ref(), rules.as_deref(), lane);
    if virtio.has(feature::IPSEC) {
        nic.ipsec.receive_all(&mut lane.received);
    }
    let hashing = net.rss.task(virtio.has(feature::HASH_REPORT));
    let mut received = std::mem::take(&mut lane.received);
    let mut stay = Stay::new(device, pair, &lane.pending);
    if stay.alone && rules.is_none() && hashing.is_none() {
        stay.let_all_wait(nic, &mut lane.done, &mut received);
    } else {
        for inbound in &mut received {
            if inbound.frame.is_empty() {
                // IPsec has dropped and counted it.
                lane.done.push(std::mem::take(&mut inbound.frame));
                continue;
            }
            inbound.verdict = again(nic, rules.as_deref(), inbound);
            let named = hashing.and_then(|task| task.apply(&mut inbound.hdr, &inbound.frame));
            stay.let_wait(nic, device, pair, lane, inbound, named);
        }
    }
    if stay.frames < received.len() {
        received.retain(|inbound| !inbound.frame.is_empty());
    }
    lane.pending.append(&mut received, stay.bytes);
    lane.received = received;
    hand_over(nic, device, lane);
    if let Some(inbox) = net.inbox(pair) {
        inbox.note(&lane.pending);
    }
    some
}

/// Gives frames for the queues of other pairs to their workers.
fn hand_over(nic: &Nic, device: &Device, lane: &mut Lane) {
    let mut last = None;
    for (pair, inbound) in lane.strays.drain(..) {
        if let Some(before) = last.replace(pair).filter(|&before| before != pair) {
            nic.wake(before);
        }
        let directed = inbound.is_directed();
        let left = match device.net.inbox(pair) {
            Some(inbox) => inbox.push(inbound),
            None => Some(inbound),
        };
        if let Some(inbound) = left {
            nic.stats.rx_drop_no_buffers.inc();
            lane.done.push(inbound.frame);
        } else if directed {
            nic.filter.stats().queue.inc();
        }
    }
    if let Some(last) = last {
        nic.wake(last);
    }
}

/// A frame of which the filter says this, for one buffer.
#[inline(always)]
fn inbound(frame: Frame, verdict: Verdict) -> Inbound {
    let mut inbound = Inbound::new(frame, verdict);
    inbound.hdr.net.num_buffers = 1.into();
    inbound
}

/// Drops what the driver does not want, what is too long for it, and what a rule drops.
fn filter(nic: &Nic, screen: Option<&Screen<'_>>, rules: Option<&Matcher>, lane: &mut Lane) {
    let refusal = |frame: &Frame| match screen.and_then(|screen| screen.refusal(&nic.stats, frame))
    {
        None if frame.longest_on_wire() > frame.longest(nic.config.mtu) => {
            Some(&nic.stats.rx_drop_long)
        }
        counter => counter,
    };
    if rules.is_none() && lane.arrived.iter().all(|frame| refusal(frame).is_none()) {
        let all = lane.arrived.drain();
        let all = all.map(|frame| inbound(frame, Verdict::Pass));
        lane.received.extend(all);
        return;
    }
    let mut by_rule = 0;
    let mut arrived = std::mem::take(&mut lane.arrived);
    for frame in arrived.drain() {
        if let Some(counter) = refusal(&frame) {
            counter.add(frame.on_wire().0 as u64);
            lane.done.push(frame);
            continue;
        }
        let verdict = rules.map_or(Verdict::Pass, |rules| rules.verdict(&frame, None));
        match verdict {
            Verdict::Drop => {
                nic.filter.stats().drop.inc();
                lane.done.push(frame);
            }
            Verdict::Ipsec | Verdict::IpsecAgain => {
                by_rule += 1;
                for_ipsec(nic, lane, frame, verdict);
            }
            Verdict::Pass | Verdict::Queue(_) => lane.received.push(inbound(frame, verdict)),
        }
    }
    lane.arrived = arrived;
    if by_rule > 0 {
        nic.filter.stats().ipsec.add(by_rule);
    }
}

/// Passes a frame that a rule has chosen to IPsec, which takes what is finished.
fn for_ipsec(nic: &Nic, lane: &mut Lane, mut frame: Frame, verdict: Verdict) {
    if !finish(&mut frame, &mut lane.finished) {
        nic.stats.rx_drop_long.inc();
    }
    lane.done.push(frame);
    let whole = lane.finished.drain();
    lane.received
        .extend(whole.map(|frame| inbound(frame, verdict)));
}

/// What the filter says to what came out of IPsec. Only a packet that was decrypted has anything new to
/// look at, and there is one more pass at most (V84): a second rule that names IPsec has no effect.
fn again(nic: &Nic, rules: Option<&Matcher>, inbound: &Inbound) -> Verdict {
    let Inbound {
        hdr,
        frame,
        verdict: first,
    } = inbound;
    let decrypted = hdr.has(hdr::F_SECURITY) && !hdr.has(hdr::F_SECURITY_ERR);
    match rules {
        Some(rules) if decrypted && *first == Verdict::IpsecAgain => {
            nic.filter.stats().again.inc();
            rules.verdict(frame, Some(hdr.out.resource_id.get()))
        }
        _ => *first,
    }
}

/// The frames of a batch that stay where they are until they become the ones that wait, and their memory.
struct Stay {
    frames: usize,
    bytes: usize,
    /// As much room there is for them.
    room: Room,
    /// There is no other queue.
    alone: bool,
}

impl Stay {
    /// For the queue of the worker of `own`, where `pending` waits.
    fn new(device: &Device, own: u16, pending: &Pending) -> Self {
        Self {
            frames: 0,
            bytes: 0,
            room: pending.room(),
            alone: own == 0 && device.net.active_pairs() == 1 && device.virtio.runs(0),
        }
    }

    /// Lets frames wait for the only queue, or drops them: no rule and no table says anything else.
    fn let_all_wait(&mut self, nic: &Nic, done: &mut Vec<Frame>, received: &mut [Inbound]) {
        for Inbound { frame, .. } in received {
            // IPsec has dropped and counted one that is empty.
            let dropped = frame.is_empty();
            if !dropped && self.room.is_more_than(self.frames, self.bytes) {
                self.frames += 1;
                self.bytes = self.bytes.saturating_add(frame.capacity());
                continue;
            }
            nic.stats.rx_drop_no_buffers.add((!dropped).into());
            done.push(std::mem::take(frame));
        }
    }

    /// Lets a frame that the worker of `own` has received wait for the queue that a rule, the driver's table (`named`:
    /// this pair, if there is a table) or its hash chooses, or drops it. One that does not stay leaves an empty one.
    #[inline(always)]
    fn let_wait(
        &mut self,
        nic: &Nic,
        device: &Device,
        own: u16,
        lane: &mut Lane,
        inbound: &mut Inbound,
        named: Option<u16>,
    ) {
        let pair = match (inbound.verdict, named) {
            (Verdict::Queue(queue), _) => in_use(device, queue),
            (Verdict::Drop, _) => None,
            // There is no other queue for it (V176).
            (_, Some(pair)) => in_use(device, 2 * pair),
            _ if self.alone || is_own(device, own, inbound) => Some(own),
            _ => choose(device, &inbound.frame),
        };
        let filter = nic.filter.stats();
        let counter = match (pair, inbound.verdict) {
            (_, Verdict::Drop) => &filter.drop,
            (None, Verdict::Queue(_)) => &filter.drop_queue,
            (None, _) if named.is_some() => &nic.stats.rx_drop_queue,
            (Some(pair), _) if pair != own => {
                lane.strays.push((pair, std::mem::take(inbound)));
                return;
            }
            (Some(_), _) if self.room.is_more_than(self.frames, self.bytes) => {
                if inbound.is_directed() {
                    filter.queue.inc();
                }
                self.frames += 1;
                self.bytes = self.bytes.saturating_add(inbound.frame.capacity());
                return;
            }
            _ => &nic.stats.rx_drop_no_buffers,
        };
        counter.inc();
        lane.done.push(std::mem::take(&mut inbound.frame));
    }
}

/// Whether the frame is for the queue of the worker that has received it: the sender has looked at its hash
/// before, and only decryption can have changed what that is made of.
fn is_own(device: &Device, own: u16, inbound: &Inbound) -> bool {
    !inbound.hdr.has(hdr::F_SECURITY)
        && own < device.net.active_pairs()
        && device.virtio.runs(2 * own)
}

/// The pair of a receive queue that a rule or the driver's table names; `None` if the queue is in reset, or the
/// driver does not use it (V97, V176).
fn in_use(device: &Device, queue: u16) -> Option<u16> {
    let pair = queue / 2;
    (pair < device.net.active_pairs() && device.virtio.runs(queue)).then_some(pair)
}

/// The pair for `frame`: the one of the active pairs that its hash names, or the next one with a running
/// receive queue (V51). `None` if no queue runs.
fn choose(device: &Device, frame: &Frame) -> Option<u16> {
    let active = device.net.active_pairs();
    let first = steer::place(frame, active);
    (first..active)
        .chain(0..first)
        .find(|pair| device.virtio.runs(2 * pair))
}

/// Steers the waiting frames again, because the number of active pairs or the driver's table has changed, or a
/// queue was reset. Those for a queue that is no longer in use are dropped, if a rule (V97) or the table (V176) has
/// sent them there.
pub fn steer_again(nic: &Nic, device: &mut Device) {
    let mut all = Vec::new();
    for (pair, (lane, inbox)) in (0..).zip(device.net.all_lanes()) {
        inbox.take(&mut lane.pending);
        all.extend(lane.pending.drain().map(|inbound| (pair, inbound)));
        inbox.note(&lane.pending);
    }
    let table = device.net.rss.task(false);
    for (before, inbound) in all {
        let frame = &inbound.frame;
        let named = table.and_then(|task| task.pair(frame));
        let (pair, dropped) = match (inbound.is_directed(), named) {
            (true, _) => (in_use(device, 2 * before), &nic.filter.stats().drop_queue),
            (false, Some(pair)) => (in_use(device, 2 * pair), &nic.stats.rx_drop_queue),
            (false, None) => {
                let pair = choose(device, frame).unwrap_or(0);
                (Some(pair), &nic.stats.rx_drop_no_buffers)
            }
        };
        match pair.and_then(|pair| device.net.lane(pair)) {
            Some(mut lane) => lane.pending.push(inbound),
            None => dropped.inc(),
        }
    }
}

/// Delivers the frames that wait for the queue of `pair`. `false` if none could be delivered.
pub fn deliver(nic: &Nic, device: &Device, pair: u16) -> Result<bool, RingError> {
    let rules = Rules::of(device);
    let mem = device.virtio.memory();
    let (Some(mut lane), Some(inbox)) = (device.net.lane(pair), device.net.inbox(pair)) else {
        return Ok(false);
    };
    let Lane {
        pending,
        chains,
        done,
        finished,
        segments,
        rx_moderator,
        ..
    } = &mut *lane;
    inbox.take(pending);
    let Some((mut queue, vector)) = device.virtio.queue(2 * pair) else {
        return Ok(false);
    };
    queue.disable_kicks(mem)?;
    let places = queue.places(mem);
    // Misbehaviour is for those who know the whole chain.
    let mut whole = !nic.misbehaviour.active();
    let (mut taken, mut delivered, mut told) = (false, Totals::default(), Told::default());
    // Frames that are done with, and are still in front of those that wait.
    let mut count = 0;
    let result = loop {
        let Some(Inbound { hdr, frame, .. }) = pending.get(count) else {
            break Ok(());
        };
        let left = frame.unfinished();
        let delivery = match left.is_none_or(|left| rules.allow(left)) {
            true => put(
                nic, chains, &mut queue, &places, &rules, hdr, frame, &mut whole,
            ),
            // It is not one frame for this driver.
            false => Ok(Delivery::NoRoom),
        };
        match delivery {
            Ok(Delivery::Done { valid }) => {
                told.note(valid, left);
                delivered.count(1, frame.len());
            }
            Ok(Delivery::NoRoom) if left.is_some() => {
                let now = frame.on_wire().0;
                release(pending, count, finished, *segments, done);
                (count, *segments, taken) = (0, now, true);
                finish_first(nic, pending, finished, done);
                continue;
            }
            Ok(Delivery::NoRoom) => nic.stats.rx_drop_no_room.inc(),
            Ok(Delivery::NoBuffer) => break Ok(()),
            Err(error) => break Err(error),
        }
        count += 1;
    };
    taken |= count > 0;
    if finished.spare() < *segments {
        release(pending, count, finished, *segments, done);
        count = 0;
    }
    let rest = pending.take(count).map(|inbound| inbound.frame);
    nic.backlog.give_back(pair, done.drain(..).chain(rest));
    nic.stats.rx_frames.add(delivered.frames as u64);
    nic.stats.rx_bytes.add(delivered.bytes as u64);
    told.count(&nic.stats);
    inbox.note(pending);
    result?;
    let dry = !pending.is_empty();
    if announce::show(nic, mem, &mut queue, rx_moderator, delivered.frames, dry)? {
        nic.interrupt_queue(vector);
    }
    Ok(taken)
}

/// Takes the `count` oldest frames out, which are done with. Their buffers are for the segments of unfinished frames
/// if there are fewer than `segments` for them.
fn release(
    pending: &mut Pending,
    count: usize,
    finished: &mut Frames,
    segments: usize,
    done: &mut Vec<Frame>,
) {
    for Inbound { frame, .. } in pending.take(count) {
        match finished.spare() < segments && !spare::is_large(frame.capacity()) {
            true => finished.recycle(frame),
            false => done.push(frame),
        }
    }
}

/// Does what the sender of the oldest frame has left to do. The segments take its place.
fn finish_first(nic: &Nic, pending: &mut Pending, finished: &mut Frames, done: &mut Vec<Frame>) {
    let Some(inbound) = pending.pop() else {
        return;
    };
    let Inbound {
        hdr,
        mut frame,
        verdict,
    } = inbound;
    if !finish(&mut frame, finished) {
        nic.stats.rx_drop_no_room.inc();
    }
    done.push(frame);
    for frame in finished.drain().rev() {
        pending.push_front(Inbound {
            hdr,
            frame,
            verdict,
        });
    }
}
