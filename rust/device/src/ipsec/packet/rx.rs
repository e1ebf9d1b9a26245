// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets of SAs of the standard: window, decryption, limits, decapsulation.
//!
//! A packet that fails is dropped, or delivered as it came if the SA wants it so; its text is never
//! visible. What the SA counts is only changed by authentic packets.

use super::super::counters::{Counters, Tally};
use super::super::drop::RxDrop;
use super::super::events::Events;
use super::super::rx::{mark, Inbound};
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

/// What is known of the content of an authentic packet.
#[derive(Clone, Copy)]
pub(super) struct Content {
    /// Its length.
    bytes: u32,
    checksum: Checksum,
}

/// An authentic packet that has become a plain one.
pub(super) struct Opened {
    /// 64-bit sequence number.
    number: u64,
    checksum: Checksum,
    /// The SA is past a soft limit.
    soft: bool,
}

/// Who is told of packets.
pub(in super::super) struct Told<'a> {
    pub(in super::super) counters: &'a Counters,
    pub(in super::super) tally: &'a mut Tally,
    pub(in super::super) events: &'a Events,
    /// The time of [`super::super::room::Room`].
    pub(in super::super) now: u64,
}

/// A packet that was found, with its SA.
#[derive(Clone, Copy)]
pub(in super::super) struct Found<'a> {
    pub(super) sa: &'a Sa,
    mode: &'a Packet,
    pub(super) receiver: &'a Receiver,
    pub(super) esp: Esp,
}

impl<'a> Found<'a> {
    /// `None` if `mode`, which is that of `sa`, is not inbound.
    pub(in super::super) fn new(sa: &'a Sa, mode: &'a Packet, esp: Esp) -> Option<Self> {
        let Way::In(receiver) = &mode.way else {
            return None;
        };
        Some(Self {
            sa,
            mode,
            receiver,
            esp,
        })
    }

    /// See [`super::super::Ipsec::receive`]. `unsupported`: on purpose the NIC cannot.
    #[inline(never)]
    pub(in super::super) fn process(
        &self,
        told: &mut Told<'_>,
        inbound: &mut Inbound,
        unsupported: bool,
    ) {
        let len = inbound.frame.len();
        let result = match unsupported {
            true => Err(Error::Unsupported.into()),
            false => self.open(told.events, &mut inbound.frame),
        };
        self.conclude(told, inbound, len, result);
    }

    /// Tells what has become of a packet, whose frame had `len` bytes.
    pub(super) fn conclude(
        &self,
        told: &mut Told<'_>,
        inbound: &mut Inbound,
        len: usize,
        result: Result<Opened, RxDrop>,
    ) {
        let (sa, mode, hdr) = (self.sa, self.mode, &mut inbound.hdr);
        let extension = if mode.x_ipsec { hdr::F_X_SEC } else { 0 };
        match result {
            Ok(opened) => {
                sa.last.set(told.now);
                told.tally.received(opened.checksum == Checksum::Right, len);
                mark(hdr, sa, hdr::SEC_OK, extension);
                opened.describe(hdr);
            }
            Err(drop) => {
                told.counters.refused(drop);
                self.receiver.refuse(drop);
                if mode.delivers(drop) {
                    mark(hdr, sa, drop.status(), extension);
                    // At most 62.
                    hdr.sec.esp_offset = (self.esp.offset as u16).into();
                } else {
                    told.counters.rx_dropped.inc();
                    inbound.frame.truncate(0);
                }
            }
        }
    }

    fn open(&self, events: &Events, frame: &mut Frame) -> Result<Opened, RxDrop> {
        let number = match self.receiver.expect(self.esp.seq) {
            Err(RxDrop::Limit) => {
                // MODIFY may have set a limit that was reached already: nobody has been told.
                self.report(&self.receiver.recount(), events);
                return Err(RxDrop::Limit);
            }
            expected => expected?,
        };
        let (cipher, params) = (&self.sa.cipher, &self.sa.params);
        let looked = self.change(frame, |head, packet| {
            let opened = engine::open(cipher, params, seq::hi(number), packet)?;
            Ok(self.look(head, &opened))
        });
        self.take(events, number, looked, frame)
    }

    /// Changes the packet in a frame: `action` gets what is in front of it, and the packet.
    pub(super) fn change<R>(
        &self,
        frame: &mut Frame,
        action: impl FnOnce(&[u8], &mut [u8]) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let Esp { offset, end, .. } = self.esp;
        let changed = frame.change(offset, |head, rest| {
            action(head, rest.get_mut(..end - offset).ok_or(Error::Length)?)
        });
        changed.unwrap_or(Err(Error::Length))
    }

    /// Looks at the content of a packet.
    pub(super) fn look(&self, head: &[u8], opened: &engine::Opened<'_>) -> Content {
        let (sa, esp) = (self.sa, &self.esp);
        let is_right =
            inner::checksum_is_right(opened, sa.tunnel, || packet::address_sum(head, esp.v6));
        let natted = !sa.tunnel
            && esp.udp.is_some()
            && matches!(opened.next_header, IPPROTO_TCP | IPPROTO_UDP);
        let checksum = match (is_right, natted) {
            (true, _) => Checksum::Right,
            (false, true) => Checksum::Needless,
            (false, false) => Checksum::Unknown,
        };
        Content {
            // At most an IP packet.
            bytes: opened.payload.len() as u32,
            checksum,
        }
    }

    /// Takes a packet with this number that was opened or refused by the engine, and makes a plain one of it.
    pub(super) fn take(
        &self,
        events: &Events,
        number: u64,
        looked: Result<Content, Error>,
        frame: &mut Frame,
    ) -> Result<Opened, RxDrop> {
        let receiver = self.receiver;
        if looked.is_err_and(|error| error == Error::Format) {
            // Its ICV is right, so it is in the window from now on (RFC 4303, section 3.4.3).
            self.report(&receiver.accept(number, 0, None)?.news, events);
        }
        let Content { bytes, checksum } = looked?;
        let peer = match receiver.watches_peer {
            true => Peer::of_packet(&self.esp, frame),
            false => None,
        };
        let accepted = receiver.accept(number, bytes, peer);
        if let Ok(accepted) = &accepted {
            self.report(&accepted.news, events);
        }
        let taken = accepted.and_then(|accepted| self.strip(frame).map(|()| accepted.soft));
        if taken.is_err() {
            self.close(number, frame);
        }
        taken.map(|soft| Opened {
            number,
            checksum,
            soft,
        })
    }

    fn report(&self, news: &News, events: &Events) {
        self.mode.report(self.sa.id, news, events);
    }

    /// Makes a plain frame of one whose packet is decrypted: Ethernet addresses, the EtherType of what comes
    /// out, and that.
    fn strip(&self, frame: &mut Frame) -> Result<(), RxDrop> {
        let result = frame.rewrite(|bytes| {
            let Some(packet) = bytes.get_mut(ETH_HLEN..self.esp.end) else {
                return Err(decap::Error::Headers);
            };
            let offset = self.esp.offset - ETH_HLEN;
            let packet = self.receiver.rules.strip(packet, offset)?;
            // What was in front of the packet has room for the Ethernet header.
            let start = packet.range.start;
            bytes.truncate(ETH_HLEN + packet.range.end);
            bytes.copy_within(..ADDRESSES, start);
            let kind = match packet.v6 {
                true => ETHERTYPE_IPV6,
                false => ETHERTYPE_IPV4,
            };
            put_be16(bytes, start + ADDRESSES, kind);
            bytes.drain(..start);
            Ok(())
        });
        Ok(result?)
    }

    /// Makes the packet again what came from the wire: under its IV there is only one ciphertext.
    pub(super) fn close(&self, number: u64, frame: &mut Frame) {
        let esn_hi = self.sa.params.esn.then_some(seq::hi(number));
        let closed = self.change(frame, |_, packet| {
            Ok(self.sa.cipher.seal(esn_hi, packet)?)
        });
        if closed.is_err() {
            // It cannot happen, as the packet was opened; a text must not be seen even so.
            frame.truncate(0);
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
