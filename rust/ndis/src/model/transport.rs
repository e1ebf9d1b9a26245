// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The side above the miniport, as far as the interface binds it: what it may offload, how it
//! answers SaDeleteReq, what it does when a route moves (R28, R51, R87, R91, R104-R106, R109).

use super::bundle::{Bundle, Mode};
use super::capabilities::Capabilities;
use super::table::Offloaded;
use crate::oob::Receive;
use crate::Handle;

/// System-wide switches ([`crate::keyword`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// `DisableTaskOffload` is 1: no task offload at all.
    pub task_offload_disabled: bool,
    /// `EnabledOffload` is 0: no IPsec offload.
    pub ipsec_disabled: bool,
}

/// The transport's view of one adapter.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    config: Capabilities,
    switches: Switches,
    /// Packets of the adapter go through a load-balancing miniport.
    balanced: bool,
    /// Bundles that it has offloaded, by its own count (R51).
    offloaded: u32,
}

/// What a packet that the transport is about to send needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Transport or tunnel.
    pub mode: Mode,
    /// It is larger than a segment.
    pub large: bool,
    /// It is larger than the MTU and no segments can be made of it: IP fragmentation.
    pub fragments: bool,
    /// AH or ESP authenticates it.
    pub authenticated: bool,
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The SA must not be used like this.
    Never,
    /// The transport does the cryptography itself.
    Software,
    /// The NIC does it.
    Offload {
        /// The NIC also cuts it into segments; else the transport has done so.
        large_send: bool,
    },
}

impl Transport {
    /// The view of a newly bound adapter with this configuration.
    pub fn new(config: Capabilities, switches: Switches) -> Self {
        Self {
            config,
            switches,
            balanced: false,
            offloaded: 0,
        }
    }

    /// The same above a load-balancing miniport, through which nothing is offloaded, neither on
    /// send nor on receive (R109).
    #[must_use]
    pub fn balanced(self) -> Self {
        Self {
            balanced: true,
            ..self
        }
    }

    /// The adapter reported another configuration; from now on only that counts (R28).
    pub fn reported(&mut self, config: Capabilities) {
        self.config = config;
    }

    /// Whether to set OID_OFFLOAD_ENCAPSULATION: not where the registry has switched task offload
    /// off (R141).
    pub fn may_set_encapsulation(&self) -> bool {
        !self.switches.task_offload_disabled
    }

    /// Whether to ask the adapter for this bundle: its last report covers it (R28), and there is
    /// room by the transport's own count (R51).
    pub fn may_add(&self, bundle: &Bundle<'_>) -> bool {
        !self.balanced
            && !self.switches.task_offload_disabled
            && !self.switches.ipsec_disabled
            && self.offloaded < self.config.capacity
            && Offloaded::of(bundle).is_covered_by(&self.config)
    }

    /// That many bundles were offloaded.
    pub fn added(&mut self, bundles: u32) {
        self.offloaded = self.offloaded.saturating_add(bundles);
    }

    /// That many bundles were deleted.
    pub fn deleted(&mut self, bundles: u32) {
        self.offloaded = self.offloaded.saturating_sub(bundles);
    }

    /// How to send a packet whose SA is offloaded.
    pub fn way(&self, packet: &Outgoing) -> Way {
        if !packet.authenticated {
            return Way::Never;
        }
        if packet.fragments || self.balanced || !self.config.is_offered() {
            return Way::Software;
        }
        Way::Offload {
            large_send: packet.large && self.config.lso && packet.mode == Mode::Transport,
        }
    }
}

/// The handles to delete, each in a request of its own and in this order, when a packet arrived
/// with this slot 1 (R87): if it says SaDeleteReq, the inbound SA of the packet, then the outbound
/// SA that corresponds to it. CryptoDone does not matter (R86).
pub fn answer(
    slot: u64,
    inbound: Handle,
    outbound: Option<Handle>,
) -> impl Iterator<Item = Handle> {
    let asked = Receive::from_word(slot).sa_delete_req;
    [Some(inbound), outbound]
        .into_iter()
        .flatten()
        .filter(move |_| asked)
}

/// A pair of SAs whose route has moved from one adapter to another (R91).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// On the old adapter, until they expire: inbound and outbound.
    old: Option<(Handle, Handle)>,
    /// On the new adapter.
    new: Option<(Handle, Handle)>,
}

impl Moved {
    /// The route has just moved.
    pub fn from_old(inbound: Handle, outbound: Handle) -> Self {
        Self {
            old: Some((inbound, outbound)),
            new: None,
        }
    }

    /// The SAs were added to the new adapter.
    pub fn added(&mut self, inbound: Handle, outbound: Handle) {
        self.new = Some((inbound, outbound));
    }

    /// The SA for packets to send on the new adapter; `None`: the stack does IPsec itself.
    pub fn outbound(&self) -> Option<Handle> {
        self.new.map(|(_, outbound)| outbound)
    }

    /// The SAs have expired: what to delete from the old adapter by DELETE_SA, once.
    pub fn expired(&mut self) -> impl Iterator<Item = Handle> {
        self.old
            .take()
            .into_iter()
            .flat_map(|(inbound, outbound)| [inbound, outbound])
    }
}
