// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets of SAs of the standard: window, decryption, limits, decapsulation.
//!
//! A packet that fails is dropped, or delivered as it came if the SA wants it so; its text is never
//! visible. What the SA counts is only changed by authentic packets.

use super::super::counters::{Counters, Tally};
use super::super::drop::RxDrop;
use super::super::events::Events;
use super::super::faults::Faults;
use super::super::rx::mark;
use super::super::sa::Sa;
use super::news::{News, Peer};
use super::sa::{Packet, Receiver, Way};
use crate::frame::Frame;
use espnic_esp::decap;
use espnic_esp::engine::{self, Error, Transform};
use espnic_esp::inner;
use espnic_esp::ip::{
    put_be16, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETH_HLEN, IPPROTO_TCP, IPPROTO_UDP,
};
use espnic_esp::packet::{self, Esp};
use espnic_esp::seq;
use espnic_wire::hdr::{self, NetHdr48};

/// Length of the two Ethernet addresses, which stay.
const ADDRESSES: usize = ETH_HLEN - 2;

/// What is known of the checksum in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksum {
    /// Nothing, or it is wrong.
    Unknown,
    /// It is that of other addresses, which a NAT has changed, or none; the ICV has proven more (RFC 3948,
    /// section 3.1.2).
    Needless,
    /// It is right.
    Right,
}

/// An authentic packet that has become a plain one.
struct Opened {
    /// 64-bit sequence number.
    number: u64,
    checksum: Checksum,
    /// The SA is past a soft limit.
    soft: bool,
}

/// See [`super::super::Ipsec::receive`], of a packet with its SA. `now` is the time of
/// [`super::super::room::Room`].
#[inline(never)]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn process(
    counters: &Counters,
    tally: &mut Tally,
    faults: &Faults,
    events: &Events,
    sa: &Sa,
    mode: &Packet,
    esp: &Esp,
    frame: &mut Frame,
    hdr: &mut NetHdr48,
    now: u64,
) {
    let Way::In(receiver) = &mode.way else {
        return;
    };
    let len = frame.len();
    let extension = if mode.x_ipsec { hdr::F_X_SEC } else { 0 };
    let result = match faults.is_unsupported() {
        true => Err(Error::Unsupported.into()),
        false => open(sa, receiver, esp, frame, |news| {
            mode.report(sa.id, news, events)
        }),
    };
    match result {
        Ok(opened) => {
            sa.last.set(now);
            tally.received(opened.checksum == Checksum::Right, len);
            mark(hdr, sa, hdr::SEC_OK, extension);
            opened.describe(hdr);
        }
        Err(drop) => {
            counters.refused(drop);
            receiver.refuse(drop);
            if mode.delivers(drop) {
                mark(hdr, sa, drop.status(), extension);
                // At most 62.
                hdr.sec.esp_offset = (esp.offset as u16).into();
            } else {
                counters.rx_dropped.inc();
                frame.truncate(0);
            }
        }
    }
}

impl Opened {
    /// Tells the driver of it.
    fn describe(&self, hdr: &mut NetHdr48) {
        if self.checksum != Checksum::Unknown {
            hdr.net.flags |= hdr::F_DATA_VALID;
        }
        if self.soft {
            hdr.net.flags |= hdr::F_SOFT_EXPIRY_WARN;
        }
        // The driver knows the high one from the packets before.
        hdr.sec.seq_half = seq::lo(self.number).into();
    }
}

impl Packet {
    /// Whether the driver gets a packet that fails like this. Dummy packets are for nobody.
    fn delivers(&self, drop: RxDrop) -> bool {
        self.delivers_errors && drop != RxDrop::Content(decap::Error::Dummy)
    }
}

/// `report` gets what is to be reported when the packet is authentic.
fn open(
    sa: &Sa,
    receiver: &Receiver,
    esp: &Esp,
    frame: &mut Frame,
    report: impl Fn(&News),
) -> Result<Opened, RxDrop> {
    let number = match receiver.expect(esp.seq) {
        Err(RxDrop::Limit) => {
            // MODIFY may have set a limit that was reached already: nobody has been told.
            report(&receiver.recount());
            return Err(RxDrop::Limit);
        }
        expected => expected?,
    };
    let peer = match receiver.watches_peer {
        true => Peer::of_packet(esp, frame),
        false => None,
    };
    let decrypt = |head: &[u8], rest: &mut [u8]| {
        let packet = rest.get_mut(..esp.end - esp.offset).ok_or(Error::Length)?;
        let opened = engine::open(&sa.cipher, &sa.params, seq::hi(number), packet)?;
        let is_right =
            inner::checksum_is_right(&opened, sa.tunnel, || packet::address_sum(head, esp.v6));
        let natted = !sa.tunnel
            && esp.udp.is_some()
            && matches!(opened.next_header, IPPROTO_TCP | IPPROTO_UDP);
        let checksum = match (is_right, natted) {
            (true, _) => Checksum::Right,
            (false, true) => Checksum::Needless,
            (false, false) => Checksum::Unknown,
        };
        // At most an IP packet.
        Ok((opened.payload.len() as u32, checksum))
    };
    let opened: Result<_, Error> = frame
        .change(esp.offset, decrypt)
        .unwrap_or(Err(Error::Length));
    if opened == Err(Error::Format) {
        // Its ICV is right, so it is in the window from now on (RFC 4303, section 3.4.3).
        report(&receiver.accept(number, 0, None)?.news);
    }
    let (bytes, checksum) = opened?;
    let accepted = receiver.accept(number, bytes, peer);
    if let Ok(accepted) = &accepted {
        report(&accepted.news);
    }
    let taken = accepted.and_then(|accepted| strip(receiver, esp, frame).map(|()| accepted.soft));
    if taken.is_err() {
        close(sa, esp, number, frame);
    }
    taken.map(|soft| Opened {
        number,
        checksum,
        soft,
    })
}

/// Makes a plain frame of one whose packet is decrypted: Ethernet addresses, the EtherType of what comes
/// out, and that.
fn strip(receiver: &Receiver, esp: &Esp, frame: &mut Frame) -> Result<(), RxDrop> {
    let mut bytes = Vec::from(std::mem::take(frame));
    let result = match bytes.get_mut(ETH_HLEN..esp.end) {
        Some(packet) => receiver.rules.strip(packet, esp.offset - ETH_HLEN),
        None => Err(decap::Error::Headers),
    };
    if let Ok(packet) = &result {
        // What was in front of the packet has room for the Ethernet header.
        let start = packet.range.start;
        bytes.truncate(ETH_HLEN + packet.range.end);
        bytes.copy_within(..ADDRESSES, start);
        let kind = match packet.v6 {
            true => ETHERTYPE_IPV6,
            false => ETHERTYPE_IPV4,
        };
        put_be16(&mut bytes, start + ADDRESSES, kind);
        bytes.drain(..start);
    }
    *frame = bytes.into();
    Ok(result.map(drop)?)
}

/// Makes the packet again what came from the wire: under its IV there is only one ciphertext.
fn close(sa: &Sa, esp: &Esp, number: u64, frame: &mut Frame) {
    let esn_hi = sa.params.esn.then_some(seq::hi(number));
    let encrypt = |_: &[u8], rest: &mut [u8]| {
        let packet = rest.get_mut(..esp.end - esp.offset)?;
        sa.cipher.seal(esn_hi, packet).ok()
    };
    if frame.change(esp.offset, encrypt).flatten().is_none() {
        // It cannot happen, as the packet was opened; a text must not be seen even so.
        frame.truncate(0);
    }
}
