// SPDX-License-Identifier: GPL-2.0

//! What the policies and SAs have said of the last flows of a channel: a cache before the snapshot.
//!
//! It costs the same for any number of policies. Only what lets a packet pass is kept, and only for packets
//! that have a [`FlowKey`]. It ends with its snapshot, and when policies change.

#[cfg(espnic_kunit)]
mod tests;

use super::spd::Spd;
use espnic_esp::flow_key::FlowKey;
use kernel::prelude::*;

/// How many flows are known at most; a power of two.
const FLOWS: usize = 64;

/// How the packets of a flow pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As they are.
    Plain,
    /// Protected by the SA at this place of the snapshot.
    Under(u32),
}

/// Who brings a packet; the policies say other things of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The stack, or the wire in clear: no channel knows flows of both.
    Clear,
    /// The NIC, which has decrypted it under the SA with this number.
    Sa(u64),
}

/// A flow that may pass.
#[derive(Clone, Copy)]
struct Flow {
    key: FlowKey,
    from: From,
    way: Way,
}

/// A snapshot, and the flows that it was asked for.
pub(crate) struct Known {
    pub(super) spd: Spd,
    /// [`FLOWS`], or none if there was no memory.
    flows: KVec<Option<Flow>>,
    /// The number of changes of policies when the first of them was asked for.
    changes: u32,
}

impl Known {
    /// No flow is known yet. Sleeps. Without memory none will be, which only takes more time.
    pub(crate) fn new(spd: Spd) -> Self {
        Self {
            spd,
            flows: KVec::from_elem(None, FLOWS, GFP_KERNEL).unwrap_or_default(),
            changes: 0,
        }
    }

    /// How packets with this key pass, if that is known. `changes` is the number of changes of policies up to
    /// now. Per packet.
    pub(super) fn recall(&mut self, changes: u32, key: &FlowKey, from: From) -> Option<Way> {
        if changes != self.changes {
            self.changes = changes;
            self.flows.iter_mut().for_each(|flow| *flow = None);
        }
        let flow = self.flows.get(place(key))?.as_ref()?;
        (flow.key == *key && flow.from == from).then_some(flow.way)
    }

    /// Remembers an answer of the snapshot after a [`Self::recall`] without one. Per packet.
    pub(super) fn note(&mut self, key: FlowKey, from: From, way: Way) {
        if let Some(flow) = self.flows.get_mut(place(&key)) {
            *flow = Some(Flow { key, from, way });
        }
    }
}

fn place(key: &FlowKey) -> usize {
    key.hash() as usize % FLOWS
}

/// Where the receive side of a channel keeps it: NAPI takes it for a run and brings it back.
pub(crate) struct Shelf {
    known: Option<Known>,
    /// Grows with each new one.
    version: u32,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self {
            known: None,
            version: 0,
        }
    }

    /// Puts a new one there; drop the old one that is returned without a lock.
    #[must_use]
    pub(crate) fn replace(&mut self, new: Option<Known>) -> Option<Known> {
        self.version = self.version.wrapping_add(1);
        core::mem::replace(&mut self.known, new)
    }

    /// Takes what is there, with a number for [`Self::bring_back`].
    pub(crate) fn take(&mut self) -> (Option<Known>, u32) {
        (self.known.take(), self.version)
    }

    /// Brings it back, unless there is a new one; drop what is returned without a lock.
    #[must_use]
    pub(crate) fn bring_back(&mut self, known: Option<Known>, version: u32) -> Option<Known> {
        if version != self.version {
            return known;
        }
        core::mem::replace(&mut self.known, known)
    }
}
