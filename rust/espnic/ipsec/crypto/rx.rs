// SPDX-License-Identifier: GPL-2.0

//! Received ESP packets: telling the stack what the NIC did.

#[cfg(espnic_kunit)]
mod tests;

use super::super::Ipsec;
use crate::counters::counters;
use espnic_esp::{
    ip::{
        IPPROTO_IPIP,
        IPPROTO_IPV6,
        IPPROTO_TCP,
        IPPROTO_UDP, //
    },
    seq, //
};
use espnic_wire::{
    hdr::{
        self,
        NetHdr48,
        Verdict, //
    },
    sa, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};
use kernel_net::net::{
    skbuff::{
        RxSkb,
        SkBuff, //
    },
    xfrm::{
        input::{
            EspFrame,
            EspPlace, //
        },
        EspMark,
        RxStatus,
        State, //
    }, //
};

counters! {
    /// What happened to incoming ESP packets since the start.
    struct Counters {
        /// Verified and decrypted by the NIC.
        packets: c"ipsec_rx_packets",
        /// Bytes of these packets.
        bytes: c"ipsec_rx_bytes",
        /// The ICV is wrong.
        auth_failed: c"ipsec_rx_auth_failed",
        /// Padding or length are wrong.
        format_failed: c"ipsec_rx_format_failed",
        /// Left to the stack as they came, for its software.
        unprocessed: c"ipsec_rx_unprocessed",
        /// Decrypted under an SA that was deleted meanwhile.
        stale: c"ipsec_rx_drop_stale",
        /// There was no memory for the secpath.
        no_memory: c"ipsec_rx_drop_no_memory",
        /// Not a packet of the SA that the NIC named.
        mismatched: c"ipsec_rx_drop_mismatch",
        /// Decrypted while another device takes the interface's frames.
        diverted: c"ipsec_rx_drop_diverted",
    }
}

/// A packet for the stack, and the place of its ESP header if the NIC has processed it.
pub(crate) struct Marked {
    pub(crate) skb: RxSkb,
    pub(crate) esp: Option<EspPlace>,
    /// It goes to XFRM without a look at it by receive offload.
    pub(crate) direct: bool,
    /// Receive offload must not see it.
    pub(crate) alone: bool,
}

impl From<RxSkb> for Marked {
    fn from(skb: RxSkb) -> Self {
        Self {
            skb,
            esp: None,
            direct: false,
            alone: false,
        }
    }
}

/// What a run of NAPI keeps from packet to packet.
pub(crate) struct Run {
    /// Receive offload is on, which would hand ESP to XFRM.
    direct: bool,
    last: Option<Last>,
}

/// The SA of the packet before. Most packets have the same, and share its mark.
struct Last {
    id: u32,
    generation: u16,
    /// Alive when its first packet came. If it dies meanwhile, XFRM drops what comes later in the run.
    state: ARef<State>,
    /// Length of the ICV, in bytes.
    icv_len: usize,
    /// The frame of its first packet, which was looked at.
    frame: Option<EspFrame>,
    /// That of its first packet.
    mark: Option<EspMark>,
    next: Option<Next>,
}

/// What packets are like that go the way of one before without another look: straight to XFRM, with its mark.
struct Next {
    /// What the NIC said of it: decrypted under the SA, without an error.
    verdict: Verdict,
    frame: EspFrame,
    /// How often policies had changed when they let it pass; they say the same of all such frames.
    changes: u32,
}

impl Run {
    /// `direct` says whether receive offload is on.
    pub(crate) fn new(direct: bool) -> Self {
        let last = None;
        Self { direct, last }
    }

    /// Where ESP is in a packet that goes the way of one before without another look, and the mark to share. If policies
    /// have changed as often as `changes` says, it may pass, and nothing that [`mark`] looks at is different.
    #[inline(always)]
    pub(crate) fn follow(
        &mut self,
        changes: impl FnOnce() -> u32,
        header: &NetHdr48,
        skb: &SkBuff,
    ) -> Option<(EspPlace, &mut EspMark)> {
        let last = self.last.as_mut()?;
        let next = last.next.as_ref()?;
        if next.verdict != header.verdict() {
            return None;
        }
        let place = next.frame.find_whole(skb.head(), skb.len())?;
        if !last.holds_plain(place, skb.head()) || next.changes != changes() {
            return None;
        }
        Some((place, last.mark.as_mut()?))
    }

    /// The state that the NIC names, if it is alive.
    fn find(&mut self, ipsec: &Ipsec, header: &NetHdr48) -> Option<&mut Last> {
        if header.out.resource_type.get() != sa::OBJ_INB_SA {
            return None;
        }
        let (id, generation) = (header.out.resource_id.get(), header.sec.generation.get());
        let is_same = |last: &Last| last.id == id && last.generation == generation;
        if !self.last.as_ref().is_some_and(is_same) {
            self.last = ipsec
                .states
                .get_incoming(id, generation)
                .map(|state| Last::new(id, generation, state));
        }
        self.last.as_mut()
    }
}

impl Last {
    fn new(id: u32, generation: u16, state: ARef<State>) -> Self {
        Self {
            id,
            generation,
            icv_len: state.icv_bits().map_or(0, |bits| bits as usize / 8),
            state,
            frame: None,
            mark: None,
            next: None,
        }
    }

    /// Where ESP is, if the packet is one of the SA: see [`place`].
    fn place(&mut self, header: &NetHdr48, skb: &SkBuff) -> Option<EspPlace> {
        let known = self.frame.as_ref();
        let known = known.and_then(|known| known.find(skb.head()));
        if let Some(place) = known.filter(|place| is_at(header, *place)) {
            return Some(place);
        }
        let place = place(&self.state, header, skb)?;
        self.frame = EspFrame::of(skb.head(), place);
        Some(place)
    }

    /// Marks a packet as decrypted under the SA. XFRM must get it next.
    fn put_mark(&mut self, skb: &mut RxSkb) -> Result {
        if let Some(mark) = &mut self.mark {
            return skb.share_esp_mark(mark);
        }
        skb.set_rx_offload(self.state.clone(), RxStatus::Success)?;
        self.mark = skb.esp_mark(&self.state);
        Ok(())
    }

    /// Whether what the ESP at `place` protects is no ESP, AH or IPComp, as its next header says (RFC 4303
    /// section 2.6). Those XFRM would go on with.
    #[inline(always)]
    fn holds_plain(&self, place: EspPlace, frame: &[u8]) -> bool {
        let trailer = place.end().checked_sub(self.icv_len);
        let next = trailer.and_then(|end| frame.get(end.checked_sub(1)?));
        next.is_some_and(|next| PLAIN.contains(next))
    }

    /// Lets packets like this one, which has got the mark, go its way.
    fn note(&mut self, header: &NetHdr48, changes: u32) {
        self.next = self.frame.map(|frame| Next {
            verdict: header.verdict(),
            frame,
            changes,
        });
    }
}

/// The next headers of nearly all packets.
const PLAIN: [u8; 4] = [IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPIP, IPPROTO_IPV6];

impl Counters {
    pub(crate) fn dropped(&self) -> u64 {
        [
            &self.stale,
            &self.no_memory,
            &self.mismatched,
            &self.diverted,
        ]
        .into_iter()
        .fold(0, |sum, counter| sum.wrapping_add(counter.get()))
    }

    pub(crate) fn count(&self, status: RxStatus, len: u32) {
        let counter = match status {
            RxStatus::Success => {
                self.bytes.add(len.into());
                &self.packets
            }
            RxStatus::AuthFailed => &self.auth_failed,
            RxStatus::BadSyntax => &self.format_failed,
        };
        counter.count();
    }
}

/// Marks a packet that the NIC processed; `None` if it had to be dropped. It passed when policies had changed as often as
/// `changes` says.
///
/// A decrypted packet that cannot be marked is dropped: without the mark the stack would decrypt it
/// once more (X64). So is one whose frame another device may take (`diverted`): it could leave the
/// machine in clear.
pub(crate) fn mark(
    ipsec: &Ipsec,
    run: &mut Run,
    changes: u32,
    diverted: bool,
    header: &NetHdr48,
    mut skb: RxSkb,
    counters: &Counters,
) -> Option<Marked> {
    if !header.has(hdr::F_SECURITY | hdr::F_X_SEC) {
        return Some(skb.into());
    }
    let Some(status) = status(header) else {
        // As it came: the stack decrypts it in software.
        counters.unprocessed.count();
        return Some(skb.into());
    };
    let direct = run.direct && !diverted;
    let Some(last) = run.find(ipsec, header) else {
        counters.stale.count();
        return None;
    };
    let Some(place) = last.place(header, &skb) else {
        counters.mismatched.count();
        return None;
    };
    if diverted && status == RxStatus::Success {
        counters.diverted.count();
        return None;
    }
    if status == RxStatus::AuthFailed && other_high_half(&last.state, header, &skb) {
        // Software decrypts it. That advances the replay state, after which the driver sends the
        // new high half to the NIC.
        counters.unprocessed.count();
        return Some(skb.into());
    }
    let is_sound = skb.trim_esp(place);
    let direct = direct && is_sound && !place.in_udp;
    let marked = if direct && status == RxStatus::Success && last.holds_plain(place, skb.head()) {
        last.note(header, changes);
        last.put_mark(&mut skb)
    } else {
        skb.set_rx_offload(last.state.clone(), status)
    };
    if marked.is_err() {
        counters.no_memory.count();
        return None;
    }
    counters.count(status, skb.len());
    Some(Marked {
        skb,
        esp: is_sound.then_some(place),
        direct,
        alone: false,
    })
}

/// How the NIC's check went; `None` if it left the packet as it came.
pub(crate) fn status(header: &NetHdr48) -> Option<RxStatus> {
    if header.sec.sec_op != hdr::SEC_OP_CRYPTO_ONLY {
        return None;
    }
    match (header.has(hdr::F_SECURITY_ERR), header.sec.sec_status) {
        (false, hdr::SEC_OK) => Some(RxStatus::Success),
        (true, hdr::SEC_AUTH) => Some(RxStatus::AuthFailed),
        (true, hdr::SEC_FORMAT | hdr::SEC_LENGTH) => Some(RxStatus::BadSyntax),
        _ => None,
    }
}

/// Whether the stack infers another high half of the sequence number (ESN) than the NIC did. A key
/// manager may move the state's number (`XFRM_MSG_NEWAE`) without a call to the driver (X38).
fn other_high_half(state: &State, header: &NetHdr48, skb: &SkBuff) -> bool {
    let at = usize::from(header.sec.esp_offset.get()).saturating_add(4);
    let low = skb.head().get(at..).and_then(|rest| rest.first_chunk());
    // Without ESN the state's lock is not taken: anybody can send packets that fail.
    state.is_esn()
        && low.is_some_and(|&low| {
            let window = state.replay_window().max(1);
            let high = seq::infer_hi(state.highest_seen(), window, u32::from_be_bytes(low));
            high != header.sec.seq_half.get()
        })
}

/// Where ESP is, if the packet is one of `state`. The stack does not look the SA up again, so
/// address, protocol and SPI are compared here (X61).
fn place(state: &State, header: &NetHdr48, skb: &SkBuff) -> Option<EspPlace> {
    let frame = skb.head();
    let place = EspPlace::find(frame)?;
    let spi = frame.get(place.offset()..)?.first_chunk()?;
    let fits = is_at(header, place)
        && place.in_udp == state.encapsulation().is_some()
        && Some(place.family()) == state.family()
        && place.destination(frame)? == state.destination()
        && u32::from_be_bytes(*spi) == state.spi();
    fits.then_some(place)
}

/// Whether the NIC found ESP there.
#[inline]
fn is_at(header: &NetHdr48, place: EspPlace) -> bool {
    place.offset() == usize::from(header.sec.esp_offset.get())
}
