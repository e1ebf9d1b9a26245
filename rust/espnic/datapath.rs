// SPDX-License-Identifier: GPL-2.0

//! The path of a packet through the driver, in both directions.
//!
//! It stands above the queues of a channel, the IPsec part of a packet, and the NDIS layer, which records
//! packets.

pub(crate) mod xdp;

use crate::{
    channel::Channel,
    ipsec::{
        crypto::{
            self,
            rx::Marked, //
        },
        packet::{
            self,
            rx::View, //
        }, //
    },
    nic::Nic,
    rss,
    rx::{
        self,
        Batch, //
    },
    tx::Tx, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48, //
    },
    U16, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu, //
    }, //
};
use kernel_net::net::{
    ip::Family,
    napi::{
        Poll,
        Polled, //
    },
    netdevice::Device,
    skbuff::{
        Gso,
        RxSkb,
        SkBuff,
        TxChecksum, //
    },
    xfrm::{
        input::EspPlace,
        RxStatus, //
    }, //
};

/// The description of a packet for the NIC.
struct Described {
    header: NetHdr48,
    gso: Option<Gso>,
    /// XFRM has left the packet's encryption to the NIC.
    esp: bool,
}

/// Transmits `skb` or drops and counts it.
pub(crate) fn transmit(dev: &Device<Nic>, channel: &Channel, mut skb: SkBuff) {
    let nic = dev.data();
    let described = describe(nic, &skb);
    let mut tx = channel.tx.lock();
    match described {
        Ok(Described {
            mut header,
            gso,
            esp,
        }) => {
            if esp {
                tx.counters.ipsec.count(&skb, gso);
            } else if !follow_policies(dev, &mut tx, &mut skb, gso, &mut header) {
                // As below.
                tx.end(dev);
                return;
            }
            tx.send(dev, header.prefix(nic.header), skb, gso);
        }
        Err(reason) => {
            tx.counters.ipsec.count_drop(reason);
            // Returning drops `skb`, because without the NIC's crypto it is clear text. The NIC may
            // not have been kicked for the packets before it.
            tx.end(dev);
        }
    }
}

/// Does with a packet as the offloaded policies say; false if it must be dropped, which is counted.
fn follow_policies(
    dev: &Device<Nic>,
    tx: &mut Tx,
    skb: &mut SkBuff,
    gso: Option<Gso>,
    header: &mut NetHdr48,
) -> bool {
    let database = &dev.data().ipsec.database;
    let outside = packet::tx::Outside {
        source: || dev.mac_address(),
        is_own: |frame: &[u8]| packet::own::is_made_by_stack(dev, frame),
    };
    let protected = match &mut tx.known {
        Some(known) => packet::tx::describe(known, database.changes(), skb, gso, outside, header),
        None => Ok(false),
    };
    match protected {
        Ok(true) => tx.counters.packet.count(skb.len(), gso),
        Ok(false) if database.has_signed(skb) => {
            tx.counters.packet.count_drop(packet::tx::Drop::Late);
            return false;
        }
        Ok(false) => {}
        Err(reason) => {
            tx.counters.packet.count_drop(reason);
            return false;
        }
    }
    true
}

/// Writes the header for `skb`, or says why it must be dropped.
fn describe(nic: &Nic, skb: &SkBuff) -> Result<Described, crypto::tx::Drop> {
    let gso = skb.gso();
    let mut header = plain_header(skb, gso);
    let Some(request) = skb.tx_offload() else {
        let esp = false;
        return Ok(Described { header, gso, esp });
    };
    let result = crypto::tx::describe(&nic.ipsec, skb, gso, &request, &mut header);
    nic.ndis.sent(skb, gso, &request, &header, result.is_ok());
    let esp = true;
    result.map(|()| Described { header, gso, esp })
}

fn plain_header(skb: &SkBuff, gso: Option<Gso>) -> NetHdr48 {
    let mut header = NetHdr48::default();
    if let TxChecksum::Partial { start, offset } = skb.tx_checksum() {
        header.net.flags = hdr::F_NEEDS_CSUM;
        header.net.csum_start = U16::new(start);
        header.net.csum_offset = U16::new(offset);
    }
    if let Some(gso) = gso {
        header.net.gso_size = U16::new(gso.size);
        // We ask for TCP only; a packet with `GSO_NONE` and a size is dropped by the NIC.
        header.net.gso_type = match gso.tcp {
            Some(Family::V4) => hdr::GSO_TCPV4,
            Some(Family::V6) => hdr::GSO_TCPV6,
            None => hdr::GSO_NONE,
        };
    }
    header
}

/// What a run of NAPI keeps from packet to packet.
struct Run {
    crypto: crypto::rx::Run,
    packet: packet::rx::Run,
    /// Whether the stack is told the NIC's hashes.
    reports_hash: bool,
}

/// Frees sent packets, receives new ones, and says whether there is more to do.
pub(crate) fn poll(dev: &Device<Nic>, channel: &Channel, poll: &Poll<'_>) -> Polled {
    let mut tx = channel.tx.lock();
    tx.clean(dev, poll);
    let sends_on = tx.send_lent(dev, dev.data().header, poll.budget());
    drop(tx);
    let polled = receive(dev, channel, poll);
    if let Polled::Done(1..) = polled {
        if channel.adaptive.measure(&channel.received) {
            dev.schedule_work();
        }
    }
    match sends_on {
        true => Polled::Again,
        false => polled,
    }
}

/// Delivers up to a budget of packets and says whether the NIC may have more.
///
/// The queue's lock is not held while a packet is in the stack.
fn receive(dev: &Device<Nic>, channel: &Channel, poll: &Poll<'_>) -> Polled {
    let nic = dev.data();
    let program = nic.xdp.program(poll);
    let mut done = 0;
    let mut batch = Batch::new();
    let changes = nic.ipsec.database.changes();
    let mut run = Run {
        crypto: crypto::rx::Run::new(poll.has_receive_offload()),
        packet: packet::rx::Run::new(channel.rx.lock().shelf.take(), changes),
        reports_hash: nic.rss.reports(),
    };
    let guard = rcu::read_lock();
    while done < poll.budget() {
        let limit = poll.budget().saturating_sub(done);
        let taken = match &program {
            None => {
                let mut rx = channel.rx.lock();
                rx.collect(poll, nic.header, &mut batch, limit)
            }
            Some(program) => xdp::receive(dev, channel, poll, &mut run, program, &mut batch, limit),
        };
        if taken == 0 {
            break;
        }
        done = done.saturating_add(taken);
        for (header, skb) in batch.drain() {
            deliver(nic, channel, poll, &guard, &mut run, header, skb);
        }
    }
    drop(guard);
    let view = &mut run.packet.view;
    let mut rx = channel.rx.lock();
    let old = rx.shelf.bring_back(view.known.take(), view.version);
    let is_full = rx.refill(poll, done);
    drop(rx);
    drop(old);
    if is_full {
        // If the budget is used up, NAPI polls again.
        Polled::Done(done)
    } else {
        // Stay in polling mode: without buffers there are no events.
        Polled::Again
    }
}

/// Takes the newest snapshot for the rest of a run.
fn renew(channel: &Channel, view: &mut View) {
    let mut rx = channel.rx.lock();
    let old = rx.shelf.bring_back(view.known.take(), view.version);
    (view.known, view.version) = rx.shelf.take();
    drop(rx);
    drop(old);
}

fn deliver(
    nic: &Nic,
    channel: &Channel,
    poll: &Poll<'_>,
    guard: &rcu::Guard,
    run: &mut Run,
    header: &NetHdr48,
    mut skb: RxSkb,
) {
    let counters = &channel.received;
    let Some(segments) = rx::offload::apply(&nic.vdev, header, &mut skb) else {
        counters.malformed.count();
        return;
    };
    nic.ndis.received(&nic.ipsec, header, &skb);
    let diverted = nic.diverted.load(Relaxed);
    if run.reports_hash {
        rss::tell(header, &mut skb);
    }
    if !diverted && header.has(hdr::F_SECURITY) {
        match follow(nic, channel, poll, guard, run, header, skb) {
            Some(left) => skb = left,
            None => return,
        }
    }
    // GRO would decrypt ESP in software before the other device gets the frame.
    let alone = diverted && EspPlace::find(skb.head()).is_some();
    let Some(marked) = mark(nic, channel, run, diverted, header, skb) else {
        return;
    };
    let alone = alone || marked.alone;
    let Marked {
        skb, esp, direct, ..
    } = marked;
    let len = skb.len();
    let Ok(packet) = skb.into_packet(poll) else {
        counters.malformed.count();
        return;
    };
    counters.note(header, segments.into(), len);
    // The policies of the UDP socket are not for the packet inside, so a decrypted packet goes to XFRM
    // before the socket sees it (X73). Other ESP goes there because receive offload does nothing else (X94).
    let left = match esp {
        Some(place) if direct || place.in_udp && packet.is_for_us() => {
            poll.receive_esp(guard, packet, place).err()
        }
        _ => Some(packet),
    };
    match left {
        Some(packet) if alone => poll.receive_single(packet),
        Some(packet) => poll.receive(packet),
        None => {}
    }
}

/// Delivers a packet that the NIC has decrypted and that is like one before it, and gives others back. No other device
/// takes frames.
// Always: most packets of IPsec go this way, and others leave it soon.
#[inline(always)]
fn follow(
    nic: &Nic,
    channel: &Channel,
    poll: &Poll<'_>,
    guard: &rcu::Guard,
    run: &mut Run,
    header: &NetHdr48,
    skb: RxSkb,
) -> Option<RxSkb> {
    let (database, counters) = (&nic.ipsec.database, &channel.received);
    let len = skb.len();
    let left = match run.crypto.follow(|| database.changes(), header, &skb) {
        Some((place, mark)) => {
            let left = poll.receive_marked_esp(guard, skb, place, mark).err();
            if left.is_none() {
                counters.ipsec.count(RxStatus::Success, len);
            }
            left
        }
        None => {
            let (run, counters) = (&mut run.packet, &counters.packet);
            packet::rx::follow(database, run, poll, header, skb, counters)
        }
    };
    if left.is_none() {
        // What IPsec has processed is one packet.
        counters.note(header, 1, len);
    }
    left
}

/// Checks a packet, and marks it if the NIC has processed it; `None` if it had to be dropped.
// Never: it is large, and most packets of IPsec do not need it.
#[inline(never)]
fn mark(
    nic: &Nic,
    channel: &Channel,
    run: &mut Run,
    diverted: bool,
    header: &NetHdr48,
    skb: RxSkb,
) -> Option<Marked> {
    let counters = &channel.received;
    let renew = |view: &mut View| renew(channel, view);
    if packet::rx::is_processed(header) {
        let counters = &counters.packet;
        let run = &mut run.packet;
        return packet::rx::mark(&nic.ipsec, run, renew, diverted, header, skb, counters);
    }
    let database = &nic.ipsec.database;
    if !packet::rx::admits(
        database,
        &mut run.packet,
        renew,
        skb.head(),
        &counters.packet,
    ) {
        return None;
    }
    let changes = run.packet.view.changes();
    let (run, counters) = (&mut run.crypto, &counters.ipsec);
    crypto::rx::mark(&nic.ipsec, run, changes, diverted, header, skb, counters)
}
