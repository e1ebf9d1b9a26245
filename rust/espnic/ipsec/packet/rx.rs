// SPDX-License-Identifier: GPL-2.0

//! Received packets: those that the NIC has decrypted, and those that should have been protected.
//!
//! The stack checks nothing of either (X83): it takes a decrypted packet for good, and a clear one, too, if
//! an offloaded policy is for it. So both checks are here.

#[cfg(espnic_kunit)]
mod tests;
mod verdict;

use super::{
    super::{
        crypto::rx::Marked,
        Ipsec, //
    },
    database::Database,
    known::{
        From,
        Known,
        Way, //
    },
    sa::Sa, //
};
use crate::counters::counters;
use espnic_esp::{
    flow_frame::FlowFrame,
    flow_key::FlowKey,
    ip::{
        IPPROTO_TCP,
        NAT_T_PORT, //
    },
    seq, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48,
        Verdict, //
    },
    sa as wire, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::{
    ip::Family,
    napi::Poll,
    skbuff::RxSkb,
    xfrm::{
        Direction,
        Handle,
        RxMark,
        RxStatus, //
    }, //
};
use verdict::{
    admit,
    allowed,
    Form,
    Refusal, //
};

counters! {
    /// What happened to incoming packets of packet offload since the start.
    struct Counters {
        /// Decrypted by the NIC, and as the policies demand.
        packets: c"ipsec_packet_rx_packets",
        /// Bytes of these packets, in clear.
        bytes: c"ipsec_packet_rx_bytes",
        /// Decrypted under an SA that was deleted meanwhile.
        stale: c"ipsec_packet_rx_drop_stale",
        /// The NIC reported an error.
        failed: c"ipsec_packet_rx_drop_failed",
        /// Decrypted, but not a packet that the SA or the policies allow.
        mismatched: c"ipsec_packet_rx_drop_policy",
        /// Decrypted while another device takes the interface's frames.
        diverted: c"ipsec_packet_rx_drop_diverted",
        /// There was no memory for the secpath.
        no_memory: c"ipsec_packet_rx_drop_no_memory",
        /// In clear, but a policy demands protection, or the packet does not show whether one does.
        clear: c"ipsec_packet_rx_drop_clear",
        /// In clear, and a policy blocks it.
        blocked: c"ipsec_packet_rx_drop_blocked",
        /// ESP of an SA of packet offload that the NIC left as it was.
        unprocessed: c"ipsec_packet_rx_drop_esp",
    }
}

impl Counters {
    pub(crate) fn dropped(&self) -> u64 {
        [
            &self.stale,
            &self.failed,
            &self.mismatched,
            &self.diverted,
            &self.no_memory,
            &self.clear,
            &self.blocked,
            &self.unprocessed,
        ]
        .into_iter()
        .fold(0, |sum, counter| sum.wrapping_add(counter.get()))
    }
}

/// Whether the NIC has taken the packet through an SA of packet offload.
pub(crate) fn is_processed(header: &NetHdr48) -> bool {
    header.has(hdr::F_SECURITY | hdr::F_X_SEC) && header.sec.sec_op == hdr::SEC_OP_STANDARD
}

/// What a run of NAPI keeps from packet to packet.
pub(crate) struct Run {
    pub(crate) view: View,
    last: Option<Last>,
}

/// The snapshot of a run.
pub(crate) struct View {
    /// The policies and SAs, if there are any.
    pub(crate) known: Option<Known>,
    /// Of the snapshot, for its shelf.
    pub(crate) version: u32,
    /// The [`Database::changes`] of when the snapshot was taken, or before.
    changes: u32,
}

/// The SA of the packet before. Most packets have the same, and share its mark.
struct Last {
    handle: Handle,
    sa: Arc<Sa>,
    /// The highest number of its packets so far.
    seen: u64,
    /// That of its first packet.
    mark: Option<RxMark>,
    /// The flow of the last packet that was allowed, if it has a short form.
    flow: Option<FlowKey>,
    /// Set when the flow has had two packets, or its first one in the run was of a flow that the snapshot knew: most that
    /// come alone are not worth it.
    allowed: Option<Allowed>,
}

/// The packets of a flow that is allowed.
struct Allowed {
    /// What the NIC says of each: decrypted under the SA, without an error.
    verdict: Verdict,
    frame: FlowFrame,
    /// The [`View::changes`] of the answer.
    changes: u32,
}

impl Run {
    /// `changes` was read before the snapshot was taken from its shelf.
    pub(crate) fn new((known, version): (Option<Known>, u32), changes: u32) -> Self {
        Self {
            view: View {
                known,
                version,
                changes,
            },
            last: None,
        }
    }
}

impl Run {
    /// Whether nobody is to be asked for any packet now.
    pub(crate) fn has_no_policies(&self, database: &Database) -> bool {
        self.view.known.is_none() && self.view.changes == database.changes()
    }
}

impl View {
    /// The [`Database::changes`] up to which the last answer holds.
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// Answers a question to the snapshot; `None` without one.
    ///
    /// A policy is in force for packets of this run, too, when the stack has added it. The stack replaces one by
    /// adding the new one and deleting the old one; where the latter is found dead the former may be missing.
    /// So a newer snapshot is asked then, which `renew` takes.
    fn ask<R>(
        &mut self,
        database: &Database,
        renew: impl Fn(&mut Self),
        question: impl Fn(&mut Known, u32) -> R,
    ) -> Option<R> {
        loop {
            let known = self.known.as_mut();
            let answer = known.map(|known| question(known, self.changes));
            let changes = database.changes();
            if changes == self.changes {
                return answer;
            }
            renew(self);
            self.changes = changes;
        }
    }
}

impl Last {
    fn new(handle: Handle, sa: Arc<Sa>) -> Self {
        Self {
            handle,
            seen: sa.seen(),
            sa,
            mark: None,
            flow: None,
            allowed: None,
        }
    }

    /// Of which family a packet is that is like the one before, if the SA lives: it may pass, and is no ESP itself.
    #[inline(always)]
    fn goes_on_as_before(
        &mut self,
        database: &Database,
        header: &NetHdr48,
        frame: &[u8],
    ) -> Option<Family> {
        // What held for the packet before holds for the flow, until policies change: the snapshot is the
        // same, too, because a run takes another one for such a change only.
        let allowed = self.allowed.as_ref()?;
        if allowed.verdict != header.verdict() || !allowed.frame.matches(frame) {
            return None;
        }
        let (changes, v6) = (allowed.changes, allowed.frame.is_v6());
        let may_pass = self.goes_on(header.sec.seq_half.get()) && changes == database.changes();
        may_pass.then_some(if v6 { Family::V6 } else { Family::V4 })
    }

    /// What a packet is, if it may pass; the outer `None` without a snapshot.
    #[inline(never)]
    fn ask(
        &mut self,
        database: &Database,
        view: &mut View,
        renew: impl Fn(&mut View),
        header: &NetHdr48,
        frame: &[u8],
    ) -> Option<Option<Form>> {
        let key = key(frame);
        let found = view.ask(database, renew, |known, changes| {
            allows(known, changes, &self.sa, frame, key)
        });
        let (answer, was_known) = found.map_or((None, false), |(form, known)| (Some(form), known));
        let flow = key.filter(|_| answer == Some(Some(Form::Clear)));
        let again = flow.filter(|_| self.flow.map_or(was_known, |before| flow == Some(before)));
        self.flow = flow;
        self.allowed = again.map(|key| Allowed {
            verdict: header.verdict(),
            frame: FlowFrame::of(&key),
            changes: view.changes,
        });
        answer
    }

    /// Notes the number of a packet, of which the NIC tells the low half; false if the SA is dead. What was seen
    /// is noted before the packet is taken, so that a state that goes on from there takes none of them again.
    fn goes_on(&mut self, low: u32) -> bool {
        let ahead = low.wrapping_sub(seq::lo(self.seen));
        if ahead.wrapping_sub(1) < AHEAD_MAX {
            let number = self.seen.wrapping_add(ahead.into());
            self.sa.raise_seen(self.seen, number);
            self.seen = number;
        }
        self.sa.is_alive()
    }

    /// Marks a packet as one of the SA.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the state is gone, `ENOMEM`.
    fn put_mark(&mut self, ipsec: &Ipsec, skb: &mut RxSkb) -> Result {
        if let Some(mark) = &mut self.mark {
            return skb.share_rx_mark(mark);
        }
        let state = ipsec.states.get(self.handle).ok_or(ENOENT)?;
        skb.set_rx_offload(state, RxStatus::Success)?;
        self.mark = skb.rx_mark();
        Ok(())
    }

    /// Notes of a packet that it came under the SA; the stack does the rest.
    ///
    /// # Errors
    ///
    /// As [`Self::put_mark`].
    fn put_state(&self, ipsec: &Ipsec, skb: &mut RxSkb) -> Result {
        skb.set_rx_state(ipsec.states.get(self.handle).ok_or(ENOENT)?)
    }
}

/// So far may a number be ahead of the one before; what looks farther is behind it.
const AHEAD_MAX: u32 = 1 << 31;

/// Marks a packet as [`mark`] does and delivers it if it is like one before it, which got the mark; gives others back. No
/// other device takes frames. In a run of NAPI.
#[inline(always)]
pub(crate) fn follow(
    database: &Database,
    run: &mut Run,
    poll: &Poll<'_>,
    header: &NetHdr48,
    skb: RxSkb,
    counters: &Counters,
) -> Option<RxSkb> {
    let Some(last) = &mut run.last else {
        return Some(skb);
    };
    let Some(family) = last.goes_on_as_before(database, header, skb.head()) else {
        return Some(skb);
    };
    let Some(mark) = &mut last.mark else {
        return Some(skb);
    };
    let len = skb.len();
    let left = poll.receive_marked(skb, family, mark).err();
    if left.is_none() {
        counters.packets.count();
        counters.bytes.add(len.into());
    }
    left
}

/// Marks a packet that the NIC has decrypted; `None` if it had to be dropped. In a run of NAPI.
pub(crate) fn mark(
    ipsec: &Ipsec,
    run: &mut Run,
    renew: impl Fn(&mut View),
    diverted: bool,
    header: &NetHdr48,
    mut skb: RxSkb,
    counters: &Counters,
) -> Option<Marked> {
    if header.has(hdr::F_SECURITY_ERR) || header.sec.sec_status != hdr::SEC_OK {
        counters.failed.count();
        return None;
    }
    let low = header.sec.seq_half.get();
    let found = find(ipsec, &mut run.last, header);
    let Some(last) = found.and_then(|last| last.goes_on(low).then_some(last)) else {
        counters.stale.count();
        return None;
    };
    let allowed = last.ask(&ipsec.database, &mut run.view, renew, header, skb.head());
    let Some(Some(form)) = allowed else {
        match allowed {
            Some(_) => counters.mismatched.count(),
            None => counters.stale.count(),
        }
        return None;
    };
    if diverted {
        // It could leave the machine in clear.
        counters.diverted.count();
        return None;
    }
    let noted = match form {
        Form::Clear => last.put_mark(ipsec, &mut skb),
        Form::Esp => last.put_state(ipsec, &mut skb),
    };
    if let Err(error) = noted {
        match error {
            ENOENT => counters.stale.count(),
            _ => counters.no_memory.count(),
        }
        return None;
    }
    counters.packets.count();
    counters.bytes.add(skb.len().into());
    let alone = form == Form::Esp;
    Some(Marked {
        alone,
        ..Marked::from(skb)
    })
}

/// The SA that the NIC names, in `last`.
fn find<'a>(ipsec: &Ipsec, last: &'a mut Option<Last>, header: &NetHdr48) -> Option<&'a mut Last> {
    let handle = handle(header)?;
    if last.as_ref().is_none_or(|last| last.handle != handle) {
        *last = ipsec.packet_sa(handle).map(|sa| Last::new(handle, sa));
    }
    last.as_mut()
}

/// The name of the SA that the NIC names.
fn handle(header: &NetHdr48) -> Option<Handle> {
    let handle = Handle {
        id: header.out.resource_id.get(),
        direction: Direction::In,
        generation: header.sec.generation.get(),
    };
    (header.out.resource_type.get() == wire::OBJ_INB_SA).then_some(handle)
}

/// As [`allowed`], for most packets from memory, as the second result says. `changes` is [`Database::changes`], `key` that
/// of the frame.
fn allows(
    known: &mut Known,
    changes: u32,
    sa: &Sa,
    frame: &[u8],
    key: Option<FlowKey>,
) -> (Option<Form>, bool) {
    let from = From::Sa(sa.number);
    if key.is_some_and(|key| known.recall(changes, &key, from).is_some()) {
        return (Some(Form::Clear), true);
    }
    let form = allowed(&known.spd, sa, frame);
    if let Some(key) = key.filter(|_| form == Some(Form::Clear)) {
        known.note(key, from, Way::Plain);
    }
    (form, false)
}

/// The short form of the flow of a decrypted frame, if the policies say the same of all packets of the flow.
fn key(frame: &[u8]) -> Option<FlowKey> {
    // Only some packets of such a flow may be ESP.
    FlowKey::of_frame(frame).filter(|key| !key.is_udp_with(NAT_T_PORT))
}

/// Whether a packet that the NIC has not decrypted may go to the stack; counts it if not. In a run of
/// NAPI. `renew` is that of [`mark`].
pub(crate) fn admits(
    database: &Database,
    run: &mut Run,
    renew: impl Fn(&mut View),
    frame: &[u8],
    counters: &Counters,
) -> bool {
    let answer = run.view.ask(database, renew, |known, changes| {
        recall_or_admit(known, changes, frame)
    });
    let counter = match answer {
        None | Some(Ok(())) => return true,
        Some(Err(Refusal::Unprocessed)) => &counters.unprocessed,
        Some(Err(Refusal::Clear)) => &counters.clear,
        Some(Err(Refusal::Blocked)) => &counters.blocked,
    };
    counter.count();
    false
}

/// As [`admit`], for most packets from memory. `changes` is [`Database::changes`].
// Always: as a call it would cost received packets more than what it does.
#[inline(always)]
fn recall_or_admit(known: &mut Known, changes: u32, frame: &[u8]) -> Result<(), Refusal> {
    // A flow of UDP may have ESP in some of its packets.
    let key = FlowKey::of_frame(frame).filter(|key| key.protocol() == IPPROTO_TCP);
    if key.is_some_and(|key| known.recall(changes, &key, From::Clear).is_some()) {
        return Ok(());
    }
    admit(&known.spd, frame)?;
    if let Some(key) = key {
        known.note(key, From::Clear, Way::Plain);
    }
    Ok(())
}
