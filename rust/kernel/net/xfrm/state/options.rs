// SPDX-License-Identifier: GPL-2.0

//! What a user may ask for with a state besides addresses, algorithms and numbers.

use super::{
    changing,
    fixed,
    State, //
};
use crate::{
    bindings,
    net::xfrm::selector::Selector, //
};

/// What a user asks for with a state besides the rest.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::State;
///
/// /// Whether the DSCP of the inner header goes to the outer one.
/// fn copies_dscp(x: &State) -> bool {
///     x.is_tunnel() && !x.flags().dont_encap_dscp
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// No congestion marks between inner and outer header, `XFRM_STATE_NOECN`.
    pub no_ecn: bool,
    /// Outer IPv4 headers without DF, `XFRM_STATE_NOPMTUDISC`.
    pub no_pmtu_discovery: bool,
    /// The DSCP of the outer header goes to the inner one, `XFRM_STATE_DECAP_DSCP`.
    pub decap_dscp: bool,
    /// The DSCP of the inner header does not go to the outer one, `XFRM_SA_XFLAG_DONT_ENCAP_DSCP`.
    pub dont_encap_dscp: bool,
    /// ICMP errors that quote packets of the selector are right, too, `XFRM_STATE_ICMP`.
    pub icmp: bool,
    /// The source address does not count (route optimisation), `XFRM_STATE_WILDRECV`.
    pub wild_receive: bool,
    /// A tunnel takes both families inside, `XFRM_STATE_AF_UNSPEC`.
    pub any_family: bool,
}

impl State {
    /// What the user has asked for besides, in `props.flags` and `props.extra_flags`.
    pub fn flags(&self) -> Flags {
        let flags = u32::from(fixed!(self, props.flags));
        let extra = fixed!(self, props.extra_flags);
        Flags {
            no_ecn: flags & bindings::XFRM_STATE_NOECN != 0,
            no_pmtu_discovery: flags & bindings::XFRM_STATE_NOPMTUDISC != 0,
            decap_dscp: flags & bindings::XFRM_STATE_DECAP_DSCP != 0,
            dont_encap_dscp: extra & bindings::XFRM_SA_XFLAG_DONT_ENCAP_DSCP != 0,
            icmp: flags & bindings::XFRM_STATE_ICMP != 0,
            wild_receive: flags & bindings::XFRM_STATE_WILDRECV != 0,
            any_family: flags & bindings::XFRM_STATE_AF_UNSPEC != 0,
        }
    }

    /// The packets inside. The user may change it for a live state. Takes the state's lock: not for
    /// callbacks that hold it.
    pub fn selector(&self) -> Selector {
        // SAFETY: The structure is there by the type invariant, and writers have the lock.
        let raw = self.locked(|| unsafe { (*self.as_raw()).sel });
        Selector::of(&raw)
    }

    /// The mark that packets get, as value and mask; a mask of 0 sets none. The user may change it for a
    /// live state; meanwhile one may be old and the other new. Takes no lock: in any context.
    pub fn output_mark(&self) -> (u32, u32) {
        (
            changing!(self, props.smark.v),
            changing!(self, props.smark.m),
        )
    }

    /// The XFRM interface that it is for, 0 for none. Takes no lock: in any context.
    pub fn if_id(&self) -> u32 {
        changing!(self, if_id)
    }

    /// The CPU that it is for, `None` for all. Takes no lock: in any context.
    pub fn cpu(&self) -> Option<u32> {
        Some(changing!(self, pcpu_num)).filter(|&cpu| cpu != u32::MAX)
    }
}
