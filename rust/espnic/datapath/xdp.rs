// SPDX-License-Identifier: GPL-2.0

//! Frames between the NIC and programs (XDP).
//!
//! A program sees plain frames before anybody else. What it passes or redirects is then compared with the inbound
//! policies of packet offload, as the program left it, like any frame that came in clear: the stack compares nothing.
//!
//! What the NIC has taken through IPsec a program sees as a copy, in the form that the stack gets; it can have the packet
//! dropped, and nothing else: the packet itself goes to the stack unchanged, with its SA. What a program wants to send
//! on of these is dropped.

use super::{
    renew,
    Run, //
};
use crate::{
    channel::Channel,
    ipsec::packet::rx::{
        self as policies,
        View, //
    },
    nic::Nic,
    rx::{
        self,
        frames::{
            Form,
            Received, //
        },
        Batch,
        BATCH, //
    },
    tx::Tx, //
};
use espnic_esp::checksum;
use espnic_wire::hdr::{
    self,
    HdrLen,
    NetHdr48, //
};
use kernel::{
    cpu::CpuId,
    sync::atomic::Relaxed, //
};
use kernel_net::net::{
    napi::Poll,
    netdevice::Device,
    skbuff::RxSkb,
    xdp::{
        umem::UmemBuffer,
        Active,
        Frame,
        Given,
        Judgement,
        RxFrame,
        Verdict, //
    }, //
};

/// Takes up to `limit` frames, at most [`BATCH`], from the queue, and does with each what the program says. What passes
/// goes to `batch`, which is empty. Returns how many were taken.
#[inline(never)]
pub(super) fn receive(
    dev: &Device<Nic>,
    channel: &Channel,
    poll: &Poll<'_>,
    run: &mut Run,
    program: &Active<'_>,
    batch: &mut Batch<RxSkb>,
    limit: u32,
) -> u32 {
    let nic = dev.data();
    let mut frames = Batch::new();
    let form = Form {
        header: nic.header,
        pieces: program.takes_pieces(),
        in_place: run.packet.has_no_policies(&nic.ipsec.database),
    };
    let mut rx = channel.rx.lock();
    let taken = rx.collect_frames(poll, form, &mut frames, limit);
    drop(rx);
    let mut sent = [const { None }; BATCH];
    let mut places = sent.iter_mut();
    let mut passing = batch.places();
    let mut redirected = false;
    for (&header, frame) in frames.drain() {
        let mut header = header;
        channel.received.xdp.packets.count();
        let packet = match frame {
            Received::Ipsec(skb, copy) => may_pass(channel, poll, program, copy).then_some(skb),
            Received::Plain(frame) => {
                let outcome = act(nic, channel, poll, run, program, &mut header, frame);
                settle(outcome, &mut redirected, &mut places)
            }
            Received::InPlace(buffer) => {
                let outcome = act_in_place(channel, poll, program, &mut header, buffer);
                settle(outcome, &mut redirected, &mut places)
            }
        };
        if let Some(skb) = packet {
            // There are as many places as frames.
            if let Some((place, slot)) = passing.next() {
                (*place, *slot) = (header, Some(skb));
            }
        }
    }
    if redirected {
        poll.flush_redirects();
    }
    send_back(dev, channel, &mut sent);
    taken
}

/// What has become of a plain frame.
enum Outcome {
    Packet(RxSkb),
    Frame(Frame),
    Redirected,
    Gone,
}

/// Takes the packet out, if there is one, and puts a frame to be sent into the next place.
fn settle<'a>(
    outcome: Outcome,
    redirected: &mut bool,
    places: &mut impl Iterator<Item = &'a mut Option<Frame>>,
) -> Option<RxSkb> {
    match outcome {
        Outcome::Packet(skb) => return Some(skb),
        Outcome::Gone => {}
        Outcome::Redirected => *redirected = true,
        Outcome::Frame(frame) => {
            // There are as many places as frames.
            if let Some(place) = places.next() {
                *place = Some(frame);
            }
        }
    }
    None
}

/// Runs the program with a plain frame. Afterwards `header` says what still holds of the packet.
fn act(
    nic: &Nic,
    channel: &Channel,
    poll: &Poll<'_>,
    run: &mut Run,
    program: &Active<'_>,
    header: &mut NetHdr48,
    mut frame: RxFrame,
) -> Outcome {
    let received = &channel.received;
    if !complete(header, &mut frame) {
        received.malformed.count();
        return Outcome::Gone;
    }
    let len = frame.len();
    // A CPU map leads to the stack, past `deliver`.
    let may_redirect = |frame: &[u8]| {
        let renew = |view: &mut View| renew(channel, view);
        let run = &mut run.packet;
        policies::admits(&nic.ipsec.database, run, renew, frame, &received.packet)
    };
    let verdict = program.run(poll, frame, may_redirect);
    follow(received, header, len, verdict)
}

/// The same in the memory of a socket.
fn act_in_place(
    channel: &Channel,
    poll: &Poll<'_>,
    program: &Active<'_>,
    header: &mut NetHdr48,
    buffer: UmemBuffer,
) -> Outcome {
    let received = &channel.received;
    received.xdp.in_place.count();
    let len = buffer.len();
    follow(received, header, len, program.run_in_place(poll, buffer))
}

/// Counts what has become of a frame of `len` bytes.
fn follow(received: &rx::Counters, header: &mut NetHdr48, len: u32, verdict: Verdict) -> Outcome {
    let (counter, outcome) = match verdict {
        Verdict::Pass { skb, moved } => {
            if moved {
                // The checksum that was verified may be another one.
                header.net.flags &= !hdr::F_DATA_VALID;
            }
            return Outcome::Packet(skb);
        }
        Verdict::Transmit(frame) => (&received.xdp.sent, Outcome::Frame(frame)),
        Verdict::Redirected => (&received.xdp.redirects, Outcome::Redirected),
        // The policies have counted it.
        Verdict::Refused => return Outcome::Gone,
        Verdict::Dropped => (&received.xdp.drops, Outcome::Gone),
        Verdict::Aborted => (&received.xdp.aborted, Outcome::Gone),
        Verdict::Lost => (&received.xdp.lost, Outcome::Gone),
    };
    counter.count();
    consumed(received, len);
    outcome
}

/// Notes a frame that came, and of which the stack sees nothing.
fn consumed(received: &rx::Counters, len: u32) {
    received.packets.count();
    received.bytes.add(len.into());
}

/// Computes the checksum that the NIC has left to us, which a program does not know of. False if it is at an impossible
/// place.
fn complete(header: &mut NetHdr48, frame: &mut RxFrame) -> bool {
    if !header.has(hdr::F_NEEDS_CSUM) {
        return true;
    }
    let (start, offset) = (header.net.csum_start.get(), header.net.csum_offset.get());
    header.net.flags = header.net.flags & !hdr::F_NEEDS_CSUM | hdr::F_DATA_VALID;
    let (first, rest) = frame.split_mut();
    checksum::complete_in_pieces(first, start.into(), offset.into(), rest)
}

/// Whether the program lets a packet pass that the NIC has taken through IPsec; `copy` is one of it.
fn may_pass(channel: &Channel, poll: &Poll<'_>, program: &Active<'_>, copy: RxFrame) -> bool {
    let received = &channel.received;
    let len = copy.len();
    let counter = match program.judge(poll, copy) {
        Judgement::Pass => return true,
        Judgement::Drop => &received.xdp.drops,
        Judgement::Divert => &received.xdp.ipsec,
        Judgement::Abort => &received.xdp.aborted,
    };
    counter.count();
    consumed(received, len);
    false
}

/// Sends frames from the queue of their channel.
fn send_back(dev: &Device<Nic>, channel: &Channel, frames: &mut [Option<Frame>]) {
    let mut frames = frames.iter_mut().filter_map(Option::take).peekable();
    if frames.peek().is_none() {
        return;
    }
    let header = dev.data().header;
    let mut tx = channel.tx.lock();
    for frame in frames {
        // What does not go out is counted.
        drop(tx.send_frame(dev, header, frame));
    }
    tx.end_frames(dev);
}

/// Transmits frames that programs have redirected to the interface.
pub(crate) fn transmit(dev: &Device<Nic>, frames: &mut Given<'_>) {
    let nic = dev.data();
    let active = nic.active.load(Relaxed).max(1);
    let index = CpuId::current().as_u32().checked_rem(active);
    let channel = index
        .and_then(|index| u16::try_from(index).ok())
        .and_then(|index| nic.channel(index));
    if let Some(channel) = channel.filter(|_| dev.is_running()) {
        give(dev, &mut channel.tx.lock(), nic.header, frames);
    }
}

fn give(dev: &Device<Nic>, tx: &mut Tx, header: HdrLen, frames: &mut Given<'_>) {
    while frames.offer(|frame| tx.send_frame(dev, header, frame)) {}
    tx.end_frames(dev);
}
