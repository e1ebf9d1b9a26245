// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What SAs of the standard know of their packets: numbers, limits, window.
//!
//! Packets of several queues change that at the same time, under one lock for each SA. It is held for a moment only:
//! neither encryption nor decryption is under it. How packets leave in the order of their numbers nevertheless is in
//! [`super::super::turn`].

use super::super::drop::{RxDrop, TxDrop};
use super::super::events::Events;
use super::super::object;
use super::super::turn::{Turns, Turnstile};
use super::check;
use super::ident::Identifications;
use super::news::{News, Peer};
use crate::admin::Refused;
use espnic_esp::decap::{self, Rules};
use espnic_esp::encap::Template;
use espnic_esp::engine::{Error, Layout};
use espnic_esp::lifetime::{Batch, Counted, Lifetime, Outbound, Sequence};
use espnic_esp::replay::{Verdict, Window};
use espnic_esp::seq;
use espnic_wire::cap;
use espnic_wire::event::Kind;
use espnic_wire::sa::{self, SaObject};
use espnic_wire::state::{bitmap_len, SaState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part of an SA that crypto-only SAs do not have.
pub(in super::super) struct Packet {
    /// Headers have the part of the extension.
    pub(in super::super) x_ipsec: bool,
    /// Packets that fail are delivered as they came.
    pub(super) delivers_errors: bool,
    /// See [`sa::SaTail::event_mask`].
    event_mask: u64,
    pub(super) way: Way,
}

/// The direction.
pub(super) enum Way {
    Out(Sender),
    In(Receiver),
}

/// An outbound SA.
pub(super) struct Sender {
    /// What packets get.
    pub(super) template: Template,
    /// Of outer IPv4 headers; none if none is needed.
    ids: Option<Identifications>,
    state: Mutex<Sent>,
}

#[derive(Clone)]
struct Sent {
    outbound: Outbound,
    /// Packets after a hard limit or the last number.
    beyond: u64,
    /// How far they have gone.
    turnstile: Arc<Turnstile>,
}

/// Numbers for packets that are sent together.
pub(super) struct Numbers {
    /// How many of the packets may go.
    pub(super) count: u32,
    /// 64-bit sequence number of the first one.
    pub(super) first: u64,
    /// The first identification, see [`espnic_esp::encap::Number::id`].
    pub(super) id: u16,
    /// Why the others may not.
    pub(super) end: TxDrop,
}

/// A packet that was taken.
pub(super) struct Accepted {
    /// The SA is past a soft limit.
    pub(super) soft: bool,
    /// What is to be reported.
    pub(super) news: News,
}

/// An inbound SA.
pub(super) struct Receiver {
    /// What becomes of packets.
    pub(super) rules: Rules,
    /// The driver wants to know where packets in UDP come from.
    pub(super) watches_peer: bool,
    state: Mutex<Received>,
}

#[derive(Clone)]
struct Received {
    window: Window<Box<[u64]>>,
    lifetime: Lifetime,
    refused: Refusals,
    /// Where packets in UDP come from, as far as the driver knows.
    peer: Option<Peer>,
}

/// Packets that were refused, by reason.
#[derive(Clone, Copy, Default)]
struct Refusals {
    auth: u64,
    replay: u64,
    late: u64,
    format: u64,
    limit: u64,
}

impl Packet {
    /// Of an object that has passed [`check::check`]. `bitmap` is what is behind its tail.
    pub(in super::super) fn new(
        object: &SaObject,
        bitmap: &[u8],
        x_ipsec: bool,
        layout: Layout,
    ) -> Result<Self, Refused> {
        let way = match object.base.direction {
            sa::DIR_OUT => Way::Out(Sender::new(object, layout)?),
            _ => Way::In(Receiver::new(object, bitmap, layout)?),
        };
        Ok(Self {
            x_ipsec,
            // So it is without the extension, too, which alone can ask for something else.
            delivers_errors: !x_ipsec || object::has_flag(object, sa::TAIL_DELIVER_ERR),
            event_mask: object.tail.event_mask.get(),
            way,
        })
    }

    /// Lets the driver know of `news` of this SA, whose object id is `id`, as far as it wants to.
    #[inline]
    pub(super) fn report(&self, id: u32, news: &News, events: &Events) {
        if news.any() {
            let res_type = match self.way {
                Way::Out(_) => sa::OBJ_OUTB_SA,
                Way::In(_) => sa::OBJ_INB_SA,
            };
            news.report(self.event_mask, res_type, id, events);
        }
    }

    /// Goes on where `old` is, with limits of its own. No packet is in flight under either.
    pub(in super::super) fn take_over(&self, old: &Self) {
        match (&self.way, &old.way) {
            (Way::Out(new), Way::Out(old)) => {
                let mut state = new.lock();
                let limits = state.outbound.lifetime.limits();
                *state = old.lock().clone();
                state.outbound.lifetime.set_limits(limits);
            }
            (Way::In(new), Way::In(old)) => {
                let mut state = new.lock();
                let (limits, peer) = (state.lifetime.limits(), state.peer);
                *state = old.lock().clone();
                state.lifetime.set_limits(limits);
                state.peer = peer;
            }
            _ => (),
        }
    }

    /// High half of the number of a packet that was just sent and has `lo` in its header. For faults.
    pub(in super::super) fn esn_hi_sent(&self, lo: u32) -> u32 {
        let Way::Out(sender) = &self.way else {
            return 0;
        };
        let last = sender.lock().outbound.last();
        // Others may have been sent since, but not as many as there are numbers with one high half.
        let borrow = u32::from(lo > last as u32);
        seq::hi(last).wrapping_sub(borrow)
    }

    /// What it has counted, and the bitmap of its window.
    pub(in super::super) fn state(&self) -> (SaState, Vec<u8>) {
        match &self.way {
            Way::Out(sender) => (sender.state(), Vec::new()),
            Way::In(receiver) => receiver.state(),
        }
    }
}

impl Sender {
    fn new(object: &SaObject, layout: Layout) -> Result<Self, Refused> {
        let esn = object::has_option(object, cap::OPT_ESN);
        let may_wrap = object::has_flag(object, sa::TAIL_MAY_WRAP);
        let last = object::given_seq(object).unwrap_or(0);
        let template = Template {
            tunnel: check::tunnel(object)?,
            udp: object::ports(object),
            spi: object.base.spi.get(),
            layout,
        };
        let state = Sent {
            outbound: Outbound::new(check::limits(object), Sequence::new(last, esn, may_wrap)),
            beyond: 0,
            turnstile: Turnstile::new(last),
        };
        Ok(Self {
            ids: Identifications::of(&template)?,
            template,
            state: Mutex::new(state),
        })
    }

    /// Takes numbers for the packets of all `batches`, as many as there are, and counts the packets. They come
    /// behind the first `at` frames that `turns` are of. A batch comes with whether its packets need identifications,
    /// too. `report` gets what is to be reported.
    pub(super) fn number(
        &self,
        batches: impl Iterator<Item = (Batch, bool)>,
        turns: &mut Turns,
        at: usize,
        mut report: impl FnMut(&News),
    ) -> Numbers {
        let (mut count, mut ids, mut end) = (0, 0, None);
        let mut state = self.lock();
        let first = state.outbound.last().saturating_add(1);
        for (batch, needs_id) in batches {
            let (passed, why) = state.send(&batch, &mut report);
            count += passed;
            ids += if needs_id { passed } else { 0 };
            end = end.or(why);
        }
        if count > 0 {
            turns.add(&state.turnstile, first, count, at);
        }
        drop(state);
        let taken = self.ids.as_ref().filter(|_| ids > 0);
        Numbers {
            count,
            first,
            id: taken.map_or(0, |taken| taken.take(ids)),
            end: end.unwrap_or(TxDrop::Limit),
        }
    }

    fn state(&self) -> SaState {
        let state = self.lock();
        SaState {
            packets: state.outbound.lifetime.packets().into(),
            bytes: state.outbound.lifetime.bytes().into(),
            seq: state.outbound.last().into(),
            limit_drop: state.beyond.into(),
            ..SaState::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    /// Lets as many packets of `batch` go as limits and numbers allow, and tells why not all if so.
    fn send(&mut self, batch: &Batch, report: &mut impl FnMut(&News)) -> (u32, Option<TxDrop>) {
        let admitted = self.outbound.lifetime.admits(batch);
        let sent = self.outbound.send(batch);
        let passed = sent.counted.passed;
        let news = News {
            soft: sent.counted.soft,
            hard: sent.counted.hard,
            overflow: sent.overflow,
            moved: None,
            packets: self.outbound.lifetime.packets(),
            bytes: self.outbound.lifetime.bytes(),
            seq: self.outbound.last(),
        };
        if news.any() {
            report(&news);
        }
        let beyond = batch.packets.saturating_sub(passed);
        self.beyond = self.beyond.saturating_add(beyond.into());
        // What came first; a limit if both did.
        let why = match passed == admitted {
            true => TxDrop::Limit,
            false => TxDrop::Sequence,
        };
        (passed, (beyond > 0).then_some(why))
    }
}

impl Receiver {
    fn new(object: &SaObject, bitmap: &[u8], layout: Layout) -> Result<Self, Refused> {
        let tunnel = object.base.mode == cap::MODE_ESP_TUNNEL;
        let state = Received {
            window: check::window(object, bitmap).ok_or(Refused::FIELD)?,
            lifetime: Lifetime::new(check::limits(object)),
            refused: Refusals::default(),
            peer: Peer::of_object(object),
        };
        let mask = object.tail.event_mask.get();
        Ok(Self {
            rules: Rules {
                tunnel,
                dscp: object::has_option(object, cap::OPT_COPY_DSCP),
                ecn: object::has_option(object, cap::OPT_ECN),
                layout,
            },
            watches_peer: object::ports(object).is_some() && Kind::NatMapping.is_in(mask),
            state: Mutex::new(state),
        })
    }

    /// The whole number of a packet with `lo` in its header, if it is worth decryption.
    pub(super) fn expect(&self, lo: u32) -> Result<u64, RxDrop> {
        let state = self.lock();
        if state.lifetime.is_over() {
            return Err(RxDrop::Limit);
        }
        let number = state.window.number(lo);
        judge(state.window.check(number)).map(|()| number)
    }

    /// Takes an authentic packet with this number and this many bytes, which comes from `peer` if that is
    /// watched.
    pub(super) fn accept(
        &self,
        number: u64,
        bytes: u32,
        peer: Option<Peer>,
    ) -> Result<Accepted, RxDrop> {
        let mut state = self.lock();
        let is_newest = number > state.window.top();
        judge(state.window.accept(number))?;
        let counted = state.lifetime.count(&Batch::one(bytes));
        if counted.passed == 0 {
            return Err(RxDrop::Limit);
        }
        let moved = peer
            .filter(|_| is_newest)
            .and_then(|peer| state.follow(peer));
        Ok(Accepted {
            soft: state.lifetime.is_past_soft(),
            news: state.news(&counted, moved),
        })
    }

    /// What is to be reported of limits when a packet comes after the hard one.
    pub(super) fn recount(&self) -> News {
        let mut state = self.lock();
        let counted = state.lifetime.count(&Batch::one(0));
        state.news(&counted, None)
    }

    /// Counts a packet that was refused. Dummy packets do nothing wrong.
    pub(super) fn refuse(&self, drop: RxDrop) {
        let refused = &mut self.lock().refused;
        let counter = match drop {
            RxDrop::Content(decap::Error::Dummy) => return,
            RxDrop::Engine(Error::Auth) => &mut refused.auth,
            RxDrop::Engine(_) | RxDrop::Content(_) => &mut refused.format,
            RxDrop::Replay => &mut refused.replay,
            RxDrop::Late => &mut refused.late,
            RxDrop::Limit => &mut refused.limit,
        };
        *counter = counter.saturating_add(1);
    }

    fn state(&self) -> (SaState, Vec<u8>) {
        let state = self.lock();
        let size = state.window.size();
        let mut bitmap = vec![0; bitmap_len(size).unwrap_or(0)];
        // It has the length.
        let _ = state.window.export(&mut bitmap);
        let counted = SaState {
            packets: state.lifetime.packets().into(),
            bytes: state.lifetime.bytes().into(),
            seq: state.window.top().into(),
            auth_fail: state.refused.auth.into(),
            replay_drop: state.refused.replay.into(),
            replay_late: state.refused.late.into(),
            format_fail: state.refused.format.into(),
            limit_drop: state.refused.limit.into(),
            window: size.into(),
        };
        (counted, bitmap)
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    fn news(&self, counted: &Counted, moved: Option<Peer>) -> News {
        News {
            soft: counted.soft,
            hard: counted.hard,
            overflow: false,
            moved,
            packets: self.lifetime.packets(),
            bytes: self.lifetime.bytes(),
            seq: self.window.top(),
        }
    }

    /// Where the packets come from now, if that is another place than before. Only a packet with a higher
    /// number than all others tells: one that was overtaken comes from where the peer was, and without a window
    /// one that comes again may come from anywhere (RFC 7296, section 2.23).
    fn follow(&mut self, peer: Peer) -> Option<Peer> {
        let known = self.peer.replace(peer)?;
        (known != peer).then_some(peer)
    }
}

fn judge(verdict: Verdict) -> Result<(), RxDrop> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Replay => Err(RxDrop::Replay),
        Verdict::Late => Err(RxDrop::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// Both find the number fresh before either has decrypted the packet.
    #[test]
    fn a_packet_that_two_queues_get_at_once_passes_once() {
        let mut object = SaObject::new_zeroed();
        object.base.replay_win_sz = 64.into();
        let receiver = Receiver::new(&object, &[], Layout::aead(16)).unwrap_or_else(|_| panic!());
        let numbers = [receiver.expect(7), receiver.expect(7)];
        assert_eq!(numbers, [Ok(7), Ok(7)]);
        assert!(receiver.accept(7, 100, None).is_ok());
        assert_eq!(receiver.accept(7, 100, None).err(), Some(RxDrop::Replay));
        assert_eq!(receiver.state().0.packets.get(), 1);
    }
}
