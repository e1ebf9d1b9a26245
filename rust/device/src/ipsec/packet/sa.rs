// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What SAs of the standard may be, and what they know of their packets: numbers, limits, window.
//!
//! Packets of several queues change that at the same time, under one lock for each SA.

use super::super::drop::{RxDrop, TxDrop};
use super::super::events::Events;
use super::super::object;
use crate::admin::Refused;
use espnic_esp::decap::{self, Rules};
use espnic_esp::encap::{self, Field, Outer, Template};
use espnic_esp::engine::{Error, Layout};
use espnic_esp::lifetime::{Batch, Lifetime, Limits, Outbound, Sequence};
use espnic_esp::replay::{self, Verdict, Window};
use espnic_wire::cap;
use espnic_wire::event::{Event, Kind, MASK_ALL};
use espnic_wire::sa::{self, SaObject, SaTail};
use espnic_wire::state::{bitmap_len, SaState};
use espnic_wire::tunnel::Tunnel;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Flags that SAs of the standard may have.
const FLAGS: u16 = sa::TAIL_MATCH_ADDR
    | sa::TAIL_DELIVER_ERR
    | sa::TAIL_NO_UDP_PORT_CHECK
    | sa::TAIL_SEQ_VALID
    | sa::TAIL_BITMAP_VALID
    | sa::TAIL_MAY_WRAP;
/// Options that only mean something outbound.
const OUTBOUND_OPTIONS: u32 = cap::OPT_DEC_TTL | cap::OPT_COPY_DF;

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

/// What has ended, or is about to, and what was counted then.
#[derive(Clone, Copy)]
pub(super) struct News {
    soft: bool,
    hard: bool,
    overflow: bool,
    packets: u64,
    bytes: u64,
    seq: u64,
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
    state: Mutex<Sent>,
}

#[derive(Clone)]
struct Sent {
    outbound: Outbound,
    /// The last identification of an outer IPv4 header.
    id: u16,
    /// Packets after a hard limit or the last number.
    beyond: u64,
}

/// Numbers for packets that are sent together.
pub(super) struct Numbers {
    /// How many of the packets may go.
    pub(super) count: u32,
    /// 64-bit sequence number of the first one.
    pub(super) first: u64,
    /// Its identification, see [`encap::Number::id`].
    pub(super) id: u16,
    /// Why the others may not.
    pub(super) end: TxDrop,
    /// What is to be reported.
    pub(super) news: News,
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
    state: Mutex<Received>,
}

#[derive(Clone)]
struct Received {
    window: Window<Box<[u64]>>,
    lifetime: Lifetime,
    refused: Refusals,
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
    /// Of an object that has passed [`check`]. `bitmap` is what is behind its tail.
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
        if news.soft || news.hard || news.overflow {
            self.report_some(id, news, events);
        }
    }

    #[cold]
    fn report_some(&self, id: u32, news: &News, events: &Events) {
        let res_type = match self.way {
            Way::Out(_) => sa::OBJ_OUTB_SA,
            Way::In(_) => sa::OBJ_INB_SA,
        };
        let kinds = [
            (news.soft, Kind::SoftLimit),
            (news.hard, Kind::HardLimit),
            (news.overflow, Kind::Overflow),
        ];
        for (_, kind) in kinds.into_iter().filter(|(is, _)| *is) {
            if kind.is_in(self.event_mask) {
                events.push(Event {
                    kind: (kind as u16).into(),
                    res_type: res_type.into(),
                    id: id.into(),
                    packets: news.packets.into(),
                    bytes: news.bytes.into(),
                    seq: news.seq.into(),
                });
            }
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
                let limits = state.lifetime.limits();
                *state = old.lock().clone();
                state.lifetime.set_limits(limits);
            }
            _ => (),
        }
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
            tunnel: tunnel(object)?,
            udp: object::ports(object),
            spi: object.base.spi.get(),
            layout,
        };
        let state = Sent {
            outbound: Outbound::new(limits(object), Sequence::new(last, esn, may_wrap)),
            id: 0,
            beyond: 0,
        };
        Ok(Self {
            template,
            state: Mutex::new(state),
        })
    }

    /// Takes numbers for `batch`, as many as there are, and counts its packets.
    pub(super) fn number(&self, batch: &Batch, needs_id: bool) -> Numbers {
        let mut state = self.lock();
        let over = state.outbound.lifetime.admits(batch) < batch.packets;
        let sent = state.outbound.send(batch);
        let count = sent.counted.passed;
        let id = state.id.wrapping_add(1);
        if needs_id {
            // Truncated: it starts again after 65536 packets.
            state.id = state.id.wrapping_add(count as u16);
        }
        let beyond = batch.packets.saturating_sub(count);
        state.beyond = state.beyond.saturating_add(beyond.into());
        Numbers {
            count,
            first: sent.first,
            id,
            end: if over {
                TxDrop::Limit
            } else {
                TxDrop::Sequence
            },
            news: News {
                soft: sent.counted.soft,
                hard: sent.counted.hard,
                overflow: sent.overflow,
                packets: state.outbound.lifetime.packets(),
                bytes: state.outbound.lifetime.bytes(),
                seq: state.outbound.last(),
            },
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

impl Receiver {
    fn new(object: &SaObject, bitmap: &[u8], layout: Layout) -> Result<Self, Refused> {
        let tunnel = object.base.mode == cap::MODE_ESP_TUNNEL;
        let state = Received {
            window: window(object, bitmap).ok_or(Refused::FIELD)?,
            lifetime: Lifetime::new(limits(object)),
            refused: Refusals::default(),
        };
        Ok(Self {
            rules: Rules {
                tunnel,
                dscp: object::has_option(object, cap::OPT_COPY_DSCP),
                ecn: object::has_option(object, cap::OPT_ECN),
                layout,
            },
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

    /// Takes an authentic packet with this number and this many bytes.
    pub(super) fn accept(&self, number: u64, bytes: u32) -> Result<Accepted, RxDrop> {
        let mut state = self.lock();
        judge(state.window.accept(number))?;
        let counted = state.lifetime.count(&Batch::one(bytes));
        if counted.passed == 0 {
            return Err(RxDrop::Limit);
        }
        Ok(Accepted {
            soft: state.lifetime.is_past_soft(),
            news: News {
                soft: counted.soft,
                hard: counted.hard,
                overflow: false,
                packets: state.lifetime.packets(),
                bytes: state.lifetime.bytes(),
                seq: state.window.top(),
            },
        })
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

/// The window of an object with `bitmap` behind its tail; what lacks of that reads as zero.
fn window(object: &SaObject, bitmap: &[u8]) -> Option<Window<Box<[u64]>>> {
    let size = object.base.replay_win_sz.get();
    let esn = object::has_option(object, cap::OPT_ESN);
    let top = object::given_seq(object).unwrap_or(0);
    let bits = vec![0; replay::words(size)?].into_boxed_slice();
    let mut window = Window::new(size, esn, top, bits)?;
    if object::has_flag(object, sa::TAIL_BITMAP_VALID) {
        let mut whole = vec![0; bitmap_len(size)?];
        for (to, from) in whole.iter_mut().zip(bitmap) {
            *to = *from;
        }
        window.import(top, &whole).then_some(())?;
    }
    Some(window)
}

fn judge(verdict: Verdict) -> Result<(), RxDrop> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Replay => Err(RxDrop::Replay),
        Verdict::Late => Err(RxDrop::Late),
    }
}

/// Refuses what the NIC cannot honour. What the capabilities tell is checked elsewhere.
pub(in super::super) fn check(object: &SaObject, x_ipsec: bool) -> Result<(), Refused> {
    let limits = limits(object);
    let counted = object::has_option(object, cap::OPT_SA_LIFETIME) || limits == Limits::default();
    let fine = counted
        && limits.are_in_order()
        && numbers_fit(object)
        && ports_fit(object)
        && options_fit(object)
        && (!x_ipsec || tail_fits(object));
    fine.then_some(()).ok_or(Refused::FIELD)
}

fn tail_fits(object: &SaObject) -> bool {
    let tail = &object.tail;
    tail.tail_flags.get() & !FLAGS == 0
        && tail.tail_len.get() >= SaTail::LEN
        && tail.event_mask.get() & !MASK_ALL == 0
        && object::encapsulation_agrees(object)
        && bitmap_fits(object)
        && (!object::has_flag(object, sa::TAIL_MATCH_ADDR) || matches!(tail.family, 4 | 6))
}

/// A bitmap belongs to the highest number of an inbound SA, and its tail is as long as that needs.
fn bitmap_fits(object: &SaObject) -> bool {
    let len = bitmap_len(object.base.replay_win_sz.get());
    let given = usize::from(object.tail.tail_len.get().saturating_sub(SaTail::LEN));
    !object::has_flag(object, sa::TAIL_BITMAP_VALID)
        || object::has_flag(object, sa::TAIL_SEQ_VALID)
            && object.base.direction == sa::DIR_IN
            && len.is_some_and(|len| len > 0 && given >= len)
}

/// With ESN the high half is inferred by the window, so there is one. Without ESN no number has a high
/// half, unless they may go on.
fn numbers_fit(object: &SaObject) -> bool {
    let esn = object::has_option(object, cap::OPT_ESN);
    let outbound = object.base.direction == sa::DIR_OUT;
    let window = object.base.replay_win_sz.get();
    let long = esn || outbound && object::has_flag(object, sa::TAIL_MAY_WRAP);
    let seq = object::given_seq(object).unwrap_or(0);
    (outbound || !esn || window != 0)
        && window <= replay::MAX_SIZE
        && (long || seq <= u32::MAX.into())
}

/// Whoever sends in UDP knows both ports.
fn ports_fit(object: &SaObject) -> bool {
    let inbound = object.base.direction == sa::DIR_IN;
    object::ports(object).is_none_or(|ports| inbound || ports.src != 0 && ports.dst != 0)
}

fn options_fit(object: &SaObject) -> bool {
    object.base.direction == sa::DIR_OUT || !object::has_option(object, OUTBOUND_OPTIONS)
}

fn limits(object: &SaObject) -> Limits {
    let base = &object.base;
    Limits {
        soft_packets: base.packets_soft_limit.get(),
        soft_bytes: base.bytes_soft_limit.get(),
        hard_packets: base.packets_hard_limit.get(),
        hard_bytes: base.bytes_hard_limit.get(),
    }
}

/// What a tunnel adds, which the driver must say; `None` in transport mode.
fn tunnel(object: &SaObject) -> Result<Option<encap::Tunnel>, Refused> {
    if object.base.mode != cap::MODE_ESP_TUNNEL {
        return Ok(None);
    }
    let header = Tunnel::of(&object.base).map_err(|_| Refused::FIELD)?;
    let copies = |option| object::has_option(object, option);
    let (outer, hop_limit, dscp) = match header.ok_or(Refused::FIELD)? {
        Tunnel::V4 {
            src,
            dst,
            dscp,
            df,
            ttl,
        } => {
            let df = field(copies(cap::OPT_COPY_DF), df);
            (Outer::V4 { src, dst, df }, ttl, dscp)
        }
        Tunnel::V6 {
            src,
            dst,
            flow_label,
            hop_limit,
            dscp,
        } => {
            let label = Field::Set(flow_label);
            (Outer::V6 { src, dst, label }, hop_limit, dscp)
        }
    };
    Ok(Some(encap::Tunnel {
        outer,
        hop_limit,
        dscp: field(copies(cap::OPT_COPY_DSCP), dscp),
        ecn: copies(cap::OPT_ECN),
        dec_ttl: copies(cap::OPT_DEC_TTL),
    }))
}

fn field<T>(copy: bool, value: T) -> Field<T> {
    match copy {
        true => Field::Copy,
        false => Field::Set(value),
    }
}
