// SPDX-License-Identifier: GPL-2.0

//! A sign in outgoing packets of packet offload: the stack relies on the device to protect them.
//!
//! Such a packet comes to the driver in clear and as any other, perhaps long after the stack has sent it
//! (X88). But the stack shows it to the driver before, in `xdo_dev_offload_ok`, and what is put into its
//! secpath there stays: copies, clones and segments have it, too.
//!
//! The secpath names a state that is no SA, and no offload. So neither the stack nor another device that gets
//! the packet finds anything to do. If the packet comes in somewhere on this host, because somebody has
//! redirected it, it passes where no policy demands protection, as it would without a secpath, and nowhere
//! else: no template is for a state without a protocol (`xfrm_policy_ok()`).

#[cfg(espnic_kunit)]
mod tests;

use crate::{
    bindings,
    net::skbuff::{
        PeekSkb,
        SkBuff, //
    }, //
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::prelude::*;

const DEAD: u8 = bindings::XFRM_STATE_DEAD as u8;

/// What signed packets have in common.
///
/// # Invariants
///
/// `extensions` is a reference of ours to the extensions of an skb: a secpath alone, to which nobody writes
/// any more. Its one state is `state`, to which it holds a reference.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     skbuff::SkBuff,
///     xfrm::{
///         OutputSkb,
///         Sign, //
///     }, //
/// };
///
/// /// `offload_ok` of packet offload.
/// fn offload_ok(sign: &Sign, skb: &mut OutputSkb<'_>) -> bool {
///     skb.sign(sign).is_ok()
/// }
///
/// /// Whether a packet that is to be transmitted in clear must be dropped.
/// fn is_late(sign: &Sign, skb: &SkBuff) -> bool {
///     skb.has_sign(sign)
/// }
/// ```
pub struct Sign {
    extensions: NonNull<bindings::skb_ext>,
    state: NonNull<bindings::xfrm_state>,
}

// SAFETY: References to extensions and states may end in any context but a hard interrupt, on any CPU.
unsafe impl Send for Sign {}
// SAFETY: By the invariant nobody writes to either; the counts of references are atomic.
unsafe impl Sync for Sign {}

/// The state of a sign, while nothing else has it.
///
/// # Invariants
///
/// The reference is ours.
struct Unnamed(NonNull<bindings::xfrm_state>);

impl Unnamed {
    fn new() -> Result<Self> {
        // The initial namespace, because no reference to it is needed.
        // SAFETY: It is always there.
        let state = unsafe { bindings::xfrm_state_alloc(&raw mut bindings::init_net) };
        let state = NonNull::new(state).ok_or(ENOMEM)?;
        // It is zeroed: transport mode, no protocol, a selector for all packets. The stack frees what is
        // dead.
        // SAFETY: Nobody else knows the state.
        unsafe { (*state.as_ptr()).km.state = DEAD };
        // INVARIANT: The reference is that of the new state.
        Ok(Self(state))
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the invariant; it ends here.
        unsafe { bindings::xfrm_state_put(self.0.as_ptr()) };
    }
}

impl Sign {
    /// Makes a sign. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let state = Unnamed::new()?;
        // SAFETY: The caller may sleep. Null or a new skb that nobody else knows.
        let skb = unsafe { SkBuff::from_raw(bindings::alloc_skb(0)) }.ok_or(ENOMEM)?;
        // SAFETY: The skb is valid and ours alone.
        unsafe { name(skb.as_raw(), state.0) }?;
        // SAFETY: The skb has a secpath, so it has extensions.
        let extensions = unsafe { bindings::skb_hold_extensions(skb.as_raw()) };
        // INVARIANT: The reference was just made, and the skb, which goes now, has nothing but the secpath.
        Ok(Self {
            extensions: NonNull::new(extensions).ok_or(ENOMEM)?,
            state: state.0,
        })
    }
}

impl core::ops::Drop for Sign {
    fn drop(&mut self) {
        // SAFETY: By the invariant the reference is ours; it ends here.
        unsafe { bindings::__skb_ext_put(self.extensions.as_ptr()) }
    }
}

/// Gives an skb a secpath that names `state` and no offload.
///
/// # Safety
///
/// The skb is valid, without a secpath, and nobody else has it.
unsafe fn name(skb: *mut bindings::sk_buff, state: NonNull<bindings::xfrm_state>) -> Result {
    // SAFETY: By the contract.
    let sp = unsafe { bindings::secpath_set(skb) };
    if sp.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: The caller has a reference.
    unsafe { bindings::xfrm_state_hold(state.as_ptr()) };
    // SAFETY: Not null, so it is a new secpath that no other skb shares, with room for more than one. It owns
    // the reference from here on.
    unsafe {
        (*sp).xvec[0] = state.as_ptr();
        (*sp).len = 1;
    }
    Ok(())
}

/// A packet that the stack is about to protect, or to have protected.
///
/// # Invariants
///
/// Nobody else has the `struct sk_buff` during the lifetime.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::OutputSkb;
///
/// fn offload_ok(skb: &OutputSkb<'_>) -> bool {
///     !skb.is_gso()
/// }
/// ```
pub struct OutputSkb<'a>(PeekSkb<'a>);

impl<'a> OutputSkb<'a> {
    /// # Safety
    ///
    /// `ptr` is an skb that is valid, and that nobody else has, during the lifetime.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // INVARIANT: By the contract.
        // SAFETY: By the contract; writes of ours need `&mut self`.
        Self(unsafe { PeekSkb::from_raw(ptr) })
    }

    /// Signs the packet. A secpath of its receipt is lost, as it is when the stack itself protects a packet
    /// (`xfrm_output()`). Per packet, no sleeping.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the packet must not be sent then.
    pub fn sign(&mut self, sign: &Sign) -> Result {
        let skb = self.0.as_raw();
        // SAFETY: The skb is valid and nobody else has it, by the invariant.
        if unsafe { (*skb).active_extensions } == 0 {
            // SAFETY: As above, and it has no extensions that would be lost. By the invariant of the sign
            // there is a reference to its extensions, of which the secpath is valid.
            unsafe { bindings::skb_share_secpath(skb, sign.extensions.as_ptr()) };
            return Ok(());
        }
        // SAFETY: The skb is valid and nobody else has it, by the invariant.
        unsafe { bindings::secpath_reset(skb) };
        // SAFETY: As above, and it has no secpath any more. The sign has a reference to the state.
        unsafe { name(skb, sign.state) }
    }
}

impl<'a> Deref for OutputSkb<'a> {
    type Target = PeekSkb<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl SkBuff {
    /// Whether the packet has this sign. Per packet.
    pub fn has_sign(&self, sign: &Sign) -> bool {
        // SAFETY: The skb is valid by its type invariant, so nobody writes the field meanwhile.
        if unsafe { (*self.as_raw()).active_extensions } == 0 {
            return false;
        }
        // SAFETY: The skb is valid. Who shares a secpath does not write to it.
        unsafe { bindings::skb_last_state(self.as_raw()) == sign.state.as_ptr() }
    }
}
