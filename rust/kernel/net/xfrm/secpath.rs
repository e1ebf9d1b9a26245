// SPDX-License-Identifier: GPL-2.0

//! What a packet says of its offload: `struct sec_path` with a `struct xfrm_offload`.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)

#[cfg(espnic_kunit)]
mod tests;

use super::{
    handle::Direction,
    state::State, //
};
use crate::{
    bindings,
    net::skbuff::{
        RxSkb,
        SkBuff, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// The offload part of a packet to transmit: stack-built ESP whose crypto the device must do.
///
/// # Examples
///
/// ```
/// use kernel_net::net::skbuff::SkBuff;
///
/// /// The SPI of a packet that the device must encrypt.
/// fn spi(skb: &SkBuff) -> Option<u32> {
///     Some(skb.tx_offload()?.state.spi())
/// }
/// ```
pub struct TxOffload<'a> {
    /// The SA; the skb holds a reference.
    pub state: &'a State,
    /// `xo->seq.low`; it may be ahead of the packet (X50).
    pub seq_low: u32,
    /// `xo->seq.hi`.
    pub seq_hi: u32,
    /// The next header of the ESP trailer.
    pub next_header: u8,
}

/// The result of the device's check of a received packet.
///
/// # Examples
///
/// ```
/// use kernel::sync::aref::ARef;
/// use kernel_net::net::{
///     skbuff::RxSkb,
///     xfrm::{
///         RxStatus,
///         State, //
///     }, //
/// };
///
/// fn decrypted(skb: &mut RxSkb, state: ARef<State>) -> Result {
///     skb.set_rx_offload(state, RxStatus::Success)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RxStatus {
    /// Authenticated and decrypted.
    Success,
    /// The ICV does not match; the packet is as received.
    AuthFailed,
    /// Not well-formed ESP; the packet is as received.
    BadSyntax,
}

impl RxStatus {
    fn flags(self, tunnel: bool) -> u32 {
        match self {
            Self::Success => bindings::CRYPTO_SUCCESS,
            Self::AuthFailed if tunnel => bindings::CRYPTO_TUNNEL_ESP_AUTH_FAILED,
            Self::AuthFailed => bindings::CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
            Self::BadSyntax => bindings::CRYPTO_INVALID_PACKET_SYNTAX,
        }
    }
}

/// A mark of [`RxSkb::set_rx_offload`], for further packets of the same state with the same result.
///
/// Packets that share it cost less than those with a mark each. It keeps the state, and so the state's
/// interface, alive: do not keep it beyond a run of NAPI.
///
/// # Invariants
///
/// Of the references to `extensions`, those of an skb, one is ours, and `spare` more. Those in `active` are
/// valid. There is a secpath with offload data among them. Who adds to the extensions of an skb makes a copy if they
/// are shared (`skb_ext_add()`); what else the stack notes there is true of all packets of the state that
/// are no IPsec themselves (X92).
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     skbuff::RxSkb,
///     xfrm::RxMark, //
/// };
///
/// /// Marks all packets as the first one, which is marked already.
/// fn mark(first: &RxSkb, others: &mut [RxSkb]) -> Result {
///     let mut mark = first.rx_mark().ok_or(EINVAL)?;
///     others
///         .iter_mut()
///         .try_for_each(|skb| skb.share_rx_mark(&mut mark))
/// }
/// ```
pub struct RxMark {
    extensions: NonNull<bindings::skb_ext>,
    active: u8,
    /// The mark that the state gives its packets (`skb->mark`).
    mark: u32,
    /// References for packets to come: taking many at a time costs less.
    spare: u16,
}

/// A mark of [`RxSkb::set_rx_offload`] for further ESP packets of the same state, which the device has decrypted and
/// that go to XFRM one after the other.
///
/// `xfrm_input()` takes the mark of offload off a packet (`olen`) when it is through with it, and nobody else asks for
/// it until the run of NAPI ends: what it has decrypted waits for the next NAPI context of this CPU (X95). So one
/// secpath does for all packets of the run, and is marked for one of them at a time.
///
/// # Invariants
///
/// `path` is in the extensions of `mark`. Its last state has offload data that says [`RxStatus::Success`].
///
/// # Examples
///
/// ```
/// use kernel::sync::rcu;
/// use kernel_net::net::{
///     napi::Poll,
///     skbuff::RxSkb,
///     xfrm::{
///         input::EspPlace,
///         EspMark, //
///     }, //
/// };
///
/// /// Receives the next packet of the SA of `mark`.
/// fn receive(poll: &Poll<'_>, mut skb: RxSkb, place: EspPlace, mark: &mut EspMark) -> Result {
///     if !poll.has_receive_offload() || !skb.trim_esp(place) {
///         return Err(EINVAL);
///     }
///     skb.share_esp_mark(mark)?;
///     let packet = skb.into_packet(poll).map_err(|_| EINVAL)?;
///     poll.receive_esp(&rcu::read_lock(), packet, place)
///         .map_err(|_| EINVAL)
/// }
/// ```
pub struct EspMark {
    mark: RxMark,
    path: NonNull<bindings::sec_path>,
}

impl EspMark {
    /// Says of the packets that have the mark that XFRM is still to take them, or is through with them.
    #[inline]
    fn set_pending(&mut self, pending: bool) {
        // SAFETY: By the invariant the secpath is there as long as our reference. Other CPUs only come to these
        // packets after the run; see the type.
        unsafe { (*self.path.as_ptr()).olen = u8::from(pending) };
    }

    /// The extensions for the packet that XFRM gets next, with a reference that goes to the caller, and its
    /// `skb->mark`.
    #[inline]
    pub(super) fn share(&mut self) -> (*mut bindings::skb_ext, u32) {
        self.set_pending(true);
        self.mark.share()
    }
}

impl Drop for EspMark {
    fn drop(&mut self) {
        // XFRM may have dropped the last packet on its way.
        self.set_pending(false);
    }
}

/// How many references are taken at a time.
const SPARE: u16 = 64;

impl RxMark {
    /// The extensions for a packet, with a reference that goes to the caller, and its `skb->mark`.
    #[inline]
    pub(super) fn share(&mut self) -> (*mut bindings::skb_ext, u32) {
        (self.take_reference(), self.mark)
    }

    /// The extensions, with a reference that goes to the caller.
    #[inline]
    fn take_reference(&mut self) -> *mut bindings::skb_ext {
        let extensions = self.extensions.as_ptr();
        if self.spare == 0 {
            // SAFETY: By the invariant one of the references is ours.
            unsafe { bindings::skb_spare_extensions(extensions, SPARE.into()) };
            self.spare = SPARE;
        }
        // INVARIANT: The caller gets the reference.
        self.spare = self.spare.wrapping_sub(1);
        extensions
    }
}

impl Drop for RxMark {
    fn drop(&mut self) {
        // SAFETY: By the invariant the references are ours; they end here.
        unsafe { bindings::skb_put_extensions(self.extensions.as_ptr(), self.spare.into()) }
    }
}

impl SkBuff {
    /// The offload request of a packet to transmit, if it carries one.
    ///
    /// A secpath alone says nothing: forwarded packets carry that of their receipt (X44).
    pub fn tx_offload(&self) -> Option<TxOffload<'_>> {
        // SAFETY: The skb is valid by its type invariant.
        let xo = unsafe { bindings::xfrm_offload(self.as_raw()) };
        if xo.is_null() {
            return None;
        }
        // Clones of the skb share it: copies are taken, no reference.
        // SAFETY: Not null, so it is in the skb's secpath, to which we keep the reference. Who shares a
        // secpath does not write to it (`skb_ext_add()` makes a copy first).
        let (flags, low, high, next_header) =
            unsafe { ((*xo).flags, (*xo).seq.low, (*xo).seq.hi, (*xo).proto) };
        if flags & bindings::XFRM_XMIT == 0 {
            return None;
        }
        // SAFETY: The skb is valid. With offload data the secpath is not empty, so the answer is its
        // last state: one that a device took, with a reference that lasts as long as the skb.
        let state = unsafe { State::from_raw(bindings::xfrm_input_state(self.as_raw())) };
        (state.direction() == Some(Direction::Out)).then_some(TxOffload {
            state,
            seq_low: low,
            seq_hi: high,
            next_header,
        })
    }
}

impl RxSkb {
    /// Marks the packet as handled by the device under `state`, with its result.
    ///
    /// Under packet offload the packet is the one inside, in clear, and goes to the stack like any other.
    /// The stack believes [`RxStatus::Success`] and asks no policy (X83), so the driver must have found that
    /// the packet is one of the state's selector and of a policy that wants this state; with any other
    /// result the stack drops it and counts nothing. Receive offload may merge it with packets of its flow
    /// that have no mark (X84): those the driver must have dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the caller must then drop the packet, because it may be decrypted (X63).
    pub fn set_rx_offload(&mut self, state: ARef<State>, status: RxStatus) -> Result {
        let flags = status.flags(state.is_tunnel());
        let sp = self.push_rx_state(state)?;
        // SAFETY: The skb's secpath, which no other skb shares.
        unsafe { (*sp.as_ptr()).olen = (*sp.as_ptr()).olen.wrapping_add(1) };
        // SAFETY: The skb is valid and ours alone.
        let xo = unsafe { bindings::xfrm_offload(self.as_raw()) };
        if xo.is_null() {
            // The secpath has states without offload data.
            return Err(ENOMEM);
        }
        // SAFETY: Not null, so it is in the secpath that no other skb shares.
        unsafe {
            (*xo).flags = bindings::CRYPTO_DONE;
            (*xo).status = flags;
        }
        Ok(())
    }

    /// Notes that the packet came under `state`, as software does: the stack asks its policies for it, and
    /// decrypts what is ESP in it. So for ESP in a packet that the device has decrypted under packet offload,
    /// of which [`Self::set_rx_offload`] would say that it is clear (X92). Receive offload forgets such a note:
    /// the packet must not go through it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the caller must then drop the packet.
    pub fn set_rx_state(&mut self, state: ARef<State>) -> Result {
        self.push_rx_state(state).map(|_| ())
    }

    /// Puts a state on top of the packet's secpath, which no other skb then shares.
    fn push_rx_state(&mut self, state: ARef<State>) -> Result<NonNull<bindings::sec_path>> {
        // SAFETY: The skb is valid and ours alone.
        let sp = unsafe { bindings::secpath_set(self.as_raw()) };
        let Some(path) = NonNull::new(sp) else {
            return Err(ENOMEM);
        };
        // SAFETY: Not null, so `secpath_set()` has made a secpath that no other skb shares.
        let len = usize::from(unsafe { (*sp).len });
        if len >= bindings::XFRM_MAX_DEPTH as usize {
            return Err(ENOMEM);
        }
        // Software sets the mark when it looks the state up (X74).
        // SAFETY: The skb is ours alone, and `state` is a reference. C reads the mark of the state.
        unsafe { bindings::xfrm_set_output_mark(self.as_raw(), state.as_raw()) };
        // SAFETY: As for the length, and there is room for one more. The secpath owns the reference
        // from here on. CAST: `State` is transparent over `xfrm_state`.
        unsafe {
            (*sp).xvec[len] = ARef::into_raw(state).cast().as_ptr();
            (*sp).len = (*sp).len.wrapping_add(1);
        }
        Ok(path)
    }

    /// The mark of [`Self::set_rx_offload`], to be shared; `None` without one.
    pub fn rx_mark(&self) -> Option<RxMark> {
        // SAFETY: The skb is valid and ours alone.
        if unsafe { bindings::xfrm_offload(self.as_raw()) }.is_null() {
            return None;
        }
        // SAFETY: It has a secpath, so it has extensions.
        let extensions = unsafe { bindings::skb_hold_extensions(self.as_raw()) };
        // INVARIANT: The reference was just made, and goes to the result.
        Some(RxMark {
            extensions: NonNull::new(extensions)?,
            spare: 0,
            // SAFETY: The skb is valid.
            active: unsafe { (*self.as_raw()).active_extensions },
            // SAFETY: As above.
            mark: unsafe { bindings::skb_mark(self.as_raw()) },
        })
    }

    /// The mark of [`Self::set_rx_offload`] with [`RxStatus::Success`], to be shared with packets that come
    /// later in this run of NAPI. `None` if it has another one, or if they must not share it: packets that go on
    /// to an XFRM interface (`if_id`) may be looked at by another CPU at once, and so may all on a kernel
    /// where softirqs interrupt each other (`PREEMPT_RT`).
    pub fn esp_mark(&self, state: &State) -> Option<EspMark> {
        // SAFETY: The skb is valid and ours alone.
        let xo = unsafe { bindings::xfrm_offload(self.as_raw()) };
        // SAFETY: Null, or in the secpath of the skb, which nobody writes to meanwhile.
        let is_success = !xo.is_null() && unsafe { (*xo).status } == bindings::CRYPTO_SUCCESS;
        if !is_success || state.if_id() != 0 || cfg!(CONFIG_PREEMPT_RT) {
            return None;
        }
        // As receive offload does with each packet (X94).
        // SAFETY: It is in the secpath of the skb, as above.
        unsafe { (*xo).flags |= bindings::XFRM_GRO };
        // SAFETY: The skb is valid.
        let path = NonNull::new(unsafe { bindings::skb_sec_path(self.as_raw()) })?;
        // INVARIANT: Both are of this skb, whose offload data was looked at.
        Some(EspMark {
            mark: self.rx_mark()?,
            path,
        })
    }

    /// Marks the packet as the one that `mark` is from, for [`Poll::receive_esp`], to which it must go next, before
    /// any other packet with this mark: the conditions of [`Self::set_rx_offload`] hold. What is
    /// in it must be no ESP, AH or IPComp itself, whose state XFRM would add to the secpath of all.
    ///
    /// [`Poll::receive_esp`]: crate::net::napi::Poll::receive_esp
    ///
    /// # Errors
    ///
    /// As [`Self::share_rx_mark`].
    #[inline]
    pub fn share_esp_mark(&mut self, mark: &mut EspMark) -> Result {
        self.share_rx_mark(&mut mark.mark)?;
        mark.set_pending(true);
        Ok(())
    }

    /// Marks the packet as the one that `mark` is from: the conditions of [`Self::set_rx_offload`] hold.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it has a mark, or other extensions, already.
    #[inline]
    pub fn share_rx_mark(&mut self, mark: &mut RxMark) -> Result {
        if self.has_extensions() {
            return Err(EBUSY);
        }
        let extensions = mark.take_reference();
        // SAFETY: The skb is valid and ours alone, and has no extensions that would be lost. By the
        // invariant of `mark` those in `active` are valid; the reference comes with them.
        unsafe {
            bindings::skb_share_extensions(self.as_raw(), extensions, mark.active, mark.mark)
        };
        Ok(())
    }

    /// Whether the packet has extensions, such as a mark.
    #[inline]
    pub(super) fn has_extensions(&self) -> bool {
        // SAFETY: The skb is valid and ours alone.
        unsafe { (*self.as_raw()).active_extensions != 0 }
    }
}
