// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What SAs of the standard may be, and what their objects say.

use super::super::object;
use crate::admin::Refused;
use espnic_esp::encap::{self, Field, Outer};
use espnic_esp::lifetime::Limits;
use espnic_esp::replay::{self, Window};
use espnic_wire::cap;
use espnic_wire::event::MASK_ALL;
use espnic_wire::sa::{self, SaObject, SaTail};
use espnic_wire::state::bitmap_len;
use espnic_wire::tunnel::Tunnel;

/// Flags that SAs of the standard may have.
const FLAGS: u16 = sa::TAIL_MATCH_ADDR
    | sa::TAIL_DELIVER_ERR
    | sa::TAIL_NO_UDP_PORT_CHECK
    | sa::TAIL_SEQ_VALID
    | sa::TAIL_BITMAP_VALID
    | sa::TAIL_MAY_WRAP;
/// Options that only mean something outbound.
const OUTBOUND_OPTIONS: u32 = cap::OPT_DEC_TTL | cap::OPT_COPY_DF;

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

/// The limits of an SA, 0 for none.
pub(super) fn limits(object: &SaObject) -> Limits {
    let base = &object.base;
    Limits {
        soft_packets: base.packets_soft_limit.get(),
        soft_bytes: base.bytes_soft_limit.get(),
        hard_packets: base.packets_hard_limit.get(),
        hard_bytes: base.bytes_hard_limit.get(),
    }
}

/// The window of an object with `bitmap` behind its tail; what lacks of that reads as zero.
pub(super) fn window(object: &SaObject, bitmap: &[u8]) -> Option<Window<Box<[u64]>>> {
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

/// What a tunnel adds, which the driver must say; `None` in transport mode.
pub(super) fn tunnel(object: &SaObject) -> Result<Option<encap::Tunnel>, Refused> {
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
