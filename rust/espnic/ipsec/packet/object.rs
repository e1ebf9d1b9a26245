// SPDX-License-Identifier: GPL-2.0

//! SA objects of packet offload.

#[cfg(espnic_kunit)]
mod tests;

use super::{
    super::object,
    check::{
        self,
        Checked, //
    },
    policy,
    sa::{
        Parameters,
        Sa, //
    },
    told::Told, //
};
use crate::{
    control::Control,
    events, //
};
use espnic_wire::{
    admin::Command,
    cap,
    sa::{
        self,
        SaObject,
        SaTail, //
    },
    U16,
    U32,
    U64, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    net::{
        ip::Family,
        xfrm::{
            Direction,
            Handle,
            State, //
        }, //
    },
    random, //
};

/// Fills the zeroed `object` for `x`, with `number` as the last one that was used or seen, and `iv_xor` as the
/// random part of IVs that are made of it. It then holds the key: erase it after use.
pub(super) fn describe(
    object: &mut SaObject,
    x: &State,
    handle: Handle,
    checked: &Checked<'_>,
    number: u64,
    iv_xor: u64,
) {
    let supported = &checked.supported;
    let base = &mut object.base;
    base.mode = supported.mode;
    base.direction = match checked.direction {
        Direction::In => sa::DIR_IN,
        Direction::Out => sa::DIR_OUT,
    };
    base.obj_id = U32::new(handle.id);
    base.spi = U32::new(x.spi());
    base.options = U64::new(u64::from(checked.options));
    base.replay_win_sz = U32::new(checked.window);
    if let Some(tunnel) = &checked.tunnel {
        tunnel.put(base);
    }
    let limits = &checked.limits;
    let limit = |limit: Option<u64>| U64::new(limit.unwrap_or(0));
    base.packets_soft_limit = limit(limits.soft_packets);
    base.packets_hard_limit = limit(limits.hard_packets);
    base.bytes_soft_limit = limit(limits.soft_bytes);
    base.bytes_hard_limit = limit(limits.hard_bytes);
    let tail = &mut object.tail;
    tail.tail_len = U16::new(SaTail::LEN);
    tail.tail_flags = U16::new(sa::TAIL_MATCH_ADDR | sa::TAIL_SEQ_VALID);
    tail.family = supported.family;
    tail.generation = U16::new(handle.generation);
    tail.dst = x.destination();
    tail.src = x.source();
    tail.seq = U64::new(number);
    tail.event_mask = U64::new(events::MASK);
    if let Some(encap) = supported.encapsulation {
        tail.encap_mode = sa::ENCAP_UDP;
        base.udp_sport = U16::new(encap.source_port);
        base.udp_dport = U16::new(encap.destination_port);
    }
    supported.algorithm.write(object);
    if checked.direction == Direction::Out && !supported.algorithm.suite.cipher().needs_mac() {
        object.tail.iv_mode = sa::IV_SEQ_XOR;
        object.tail.iv_xor = U64::new(iv_xor);
    }
}

/// Makes the NIC create the object of `x`, with `number` as the last one that was used or seen, and the
/// window as `bitmap` says, unless that is empty. Returns what it was told. Sleeps.
///
/// # Errors
///
/// Those of [`Control::execute`], and what the NIC answers.
pub(in crate::ipsec) fn create(
    control: &Control,
    x: &State,
    handle: Handle,
    checked: &Checked<'_>,
    number: u64,
    bitmap: &[u8],
) -> Result<Told> {
    let (obj_type, id) = object::name(handle);
    let tail_len = usize::from(SaTail::LEN).saturating_add(bitmap.len());
    let tail_len = u16::try_from(tail_len).map_err(|_| EINVAL)?;
    // Drawn anew for every installation, so that no IV of an earlier one comes again.
    let told = Told::of(x, random::u64(), checked.used);
    let describe = |object: &mut SaObject| {
        describe(object, x, handle, checked, number, told.iv_xor);
        if !bitmap.is_empty() {
            let tail = &mut object.tail;
            tail.tail_len = U16::new(tail_len);
            tail.tail_flags = U16::new(tail.tail_flags.get() | sa::TAIL_BITMAP_VALID);
        }
    };
    object::send(control, describe, bitmap, |object| Command::ObjCreate {
        obj_type,
        id,
        object,
    })?;
    Ok(told)
}

impl Checked<'_> {
    /// The number that the NIC begins with.
    pub(in crate::ipsec) fn number(&self) -> u64 {
        self.number
    }

    /// Makes the NIC begin behind `number` at least.
    pub(in crate::ipsec) fn not_before(&mut self, number: u64) {
        self.number = self.number.max(number);
    }

    /// Makes the NIC take nothing up to `seen`.
    pub(in crate::ipsec) fn nothing_up_to(&mut self, seen: u64) {
        self.seen = self.seen.max(seen);
        self.not_before(check::behind(self.seen, self.window));
    }

    /// What the path of packets needs of the SA `age`, counted from the first one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(in crate::ipsec) fn sa(&self, x: &State, handle: Handle, age: u64) -> Result<Arc<Sa>> {
        let family = x.family().unwrap_or(Family::V4);
        let parameters = Parameters {
            handle,
            number: age,
            spi: x.spi(),
            reqid: x.reqid(),
            tunnel: x.is_tunnel(),
            src: policy::address(family, x.source()),
            dst: policy::address(family, x.destination()),
            in_udp: self.supported.encapsulation.is_some(),
            selector: self.selector,
            first: self.number,
            seen: self.seen,
        };
        Arc::pin_init(Sa::new(parameters), GFP_KERNEL)
    }

    /// Whether it stops after so many packets or bytes.
    pub(in crate::ipsec) fn has_limits(&self) -> bool {
        self.options & cap::OPT_SA_LIFETIME != 0
    }

    /// Lowers the limits by packets and bytes that were counted elsewhere.
    ///
    /// # Errors
    ///
    /// `EINVAL` if nothing is left.
    pub(in crate::ipsec) fn use_up(&mut self, (packets, bytes): (u64, u64)) -> Result {
        // The stack has told of soft limits that are passed.
        let soft =
            |limit: Option<u64>, used: u64| limit?.checked_sub(used).filter(|&left| left > 0);
        let hard = |limit: Option<u64>, used: u64| match limit {
            None => Ok(None),
            Some(limit) if limit <= used => Err(EINVAL),
            Some(limit) => Ok(Some(limit.saturating_sub(used))),
        };
        let limits = &mut self.limits;
        limits.soft_packets = soft(limits.soft_packets, packets);
        limits.soft_bytes = soft(limits.soft_bytes, bytes);
        limits.hard_packets = hard(limits.hard_packets, packets)?;
        limits.hard_bytes = hard(limits.hard_bytes, bytes)?;
        self.used = (packets, bytes);
        Ok(())
    }

    /// Whether the NIC checks for replays.
    pub(in crate::ipsec) fn has_window(&self) -> bool {
        self.window != 0
    }

    /// Whether no number may follow this one.
    pub(in crate::ipsec) fn is_last(&self, number: u64) -> bool {
        number >= self.last_number
    }
}
