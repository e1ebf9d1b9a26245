// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What crypto-only SAs may be, and their sequence numbers.

use super::super::object;
use crate::admin::Refused;
use espnic_esp::replay::MAX_SIZE;
use espnic_esp::seq;
use espnic_wire::cap;
use espnic_wire::sa::{self, SaObject, SaTail};
use std::sync::atomic::{AtomicU64, Ordering};

/// Flags that crypto-only SAs may have. The last one says something about sequence numbers, which in
/// this mode are the driver's, and changes nothing here.
const FLAGS: u16 = sa::TAIL_CRYPTO_ONLY
    | sa::TAIL_MATCH_ADDR
    | sa::TAIL_DELIVER_ERR
    | sa::TAIL_NO_UDP_PORT_CHECK
    | sa::TAIL_SEQ_VALID
    | sa::TAIL_MAY_WRAP;

/// Options that crypto-only SAs may have.
const OPTIONS: u32 = cap::OPT_ESN | cap::OPT_UDP_ENCAP;

/// Sequence numbers of an inbound SA, as far as the NIC has to know them.
pub(in super::super) struct Numbers {
    /// Highest sequence number that was verified.
    top: AtomicU64,
    /// Replay window in packets.
    window: u32,
    /// Inbound with ESN; the others do not count.
    needed: bool,
}

impl Numbers {
    pub(in super::super) fn of(object: &SaObject) -> Self {
        let window = object.base.replay_win_sz.get();
        Self {
            top: AtomicU64::new(object::given_seq(object).unwrap_or(0)),
            window,
            // See `window_fits`.
            needed: window != 0,
        }
    }

    /// High half of the sequence number of an inbound packet. Without ESN it is not authenticated and
    /// counts as zero.
    #[inline]
    pub(super) fn infer_esn_hi(&self, lo: u32) -> u32 {
        if !self.needed {
            return 0;
        }
        seq::infer_hi(self.top.load(Ordering::Relaxed), self.window, lo)
    }

    /// Notes that an inbound packet with this sequence number has a right ICV.
    #[inline]
    pub(super) fn verified(&self, esn_hi: u32, lo: u32) {
        if !self.needed {
            return;
        }
        let seq = seq::join(esn_hi, lo);
        // Nothing else is published with the number, so no order is needed.
        let ahead = |top| seq::is_ahead(seq, top).then_some(seq);
        let _ = self
            .top
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, ahead);
    }

    /// Goes on where `old` is.
    pub(in super::super) fn continue_from(&mut self, old: &Self) {
        self.top = old.top.load(Ordering::Relaxed).into();
    }
}

/// In this mode the NIC checks no replay, counts no lifetime and has no events: an SA that asks for them
/// is refused rather than created without.
pub(in super::super) fn check(object: &SaObject) -> Result<(), Refused> {
    let (base, tail) = (&object.base, &object.tail);
    let limits = [
        base.packets_soft_limit,
        base.bytes_soft_limit,
        base.packets_hard_limit,
        base.bytes_hard_limit,
        tail.event_mask,
    ];
    let fine = tail.tail_flags.get() & !FLAGS == 0
        && base.options.get() & !u64::from(OPTIONS) == 0
        && tail.tail_len.get() >= SaTail::LEN
        && limits.iter().all(|limit| limit.get() == 0)
        && window_fits(object)
        && encapsulation_fits(object)
        && is_found(object);
    fine.then_some(()).ok_or(Refused::FIELD)
}

/// A replay window is given exactly where it is needed, inbound with ESN.
fn window_fits(object: &SaObject) -> bool {
    let window = object.base.replay_win_sz.get();
    if object.base.direction == sa::DIR_IN && object::has_option(object, cap::OPT_ESN) {
        (1..=MAX_SIZE).contains(&window)
    } else {
        window == 0
    }
}

/// UDP encapsulation is over IPv4.
fn encapsulation_fits(object: &SaObject) -> bool {
    let plain = object.tail.encap_mode == sa::ENCAP_NONE;
    object::encapsulation_agrees(object) && (plain || matches!(object.tail.family, 0 | 4))
}

/// An inbound SA is found by its address and delivers failed packets.
fn is_found(object: &SaObject) -> bool {
    let needed = sa::TAIL_MATCH_ADDR | sa::TAIL_DELIVER_ERR;
    object.base.direction == sa::DIR_OUT
        || object.tail.tail_flags.get() & needed == needed && matches!(object.tail.family, 4 | 6)
}
