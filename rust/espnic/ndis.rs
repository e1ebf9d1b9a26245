// SPDX-License-Identifier: GPL-2.0

//! The NDIS layer: the NIC as a miniport driver's IPsec offload version 2, behind `/dev/espnic-ndis`.
//!
//! The rules are in the crate `espnic_ndis`; this module applies them to the NIC. An SA that is added
//! here is an XFRM state that the NIC offloads, made as `xfrm_user` makes one.
//!
//! It has two halves. The one in this folder knows SAs and never the netdev: `adapter` is what the NIC
//! is to NDIS, with `miniport` as its configuration, from what `hardware` says of the NIC, and `handles`
//! as the numbers of its SAs. `oob` records packets for the `listener` of each open file, in `ring`;
//! `table` keeps requests that pend, with their `information`. `translate` and `algorithm` have both
//! languages for an SA. The half in `user` stands on the netdev and does what processes ask for.
//!
//! Lock order: the namespace's XFRM mutex, then the state's lock, then the locks of this module. In
//! this module only `listeners` is held while another lock is taken: the ring of each listener. RTNL is
//! never taken under any of these. Notifier calls run under RTNL and take locks of this module only: the
//! adapter's configuration changes under it, and with it which SAs are left to software.
//! `Ipsec::follow` acts on that. It talks to the NIC, so it runs after all of these are released.

mod adapter;
mod algorithm;
mod handles;
mod hardware;
mod information;
mod listener;
mod miniport;
mod oob;
mod ring;
mod table;
mod translate;
mod user;

use crate::ipsec::Ipsec;
use adapter::Adapter;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    compat,
    net::xfrm::{
        self,
        Direction, //
    }, //
};

pub(crate) use user::file::Registrations;

/// Whether the module parameter asks for the device.
fn is_enabled() -> bool {
    compat::parameter(&crate::module_parameters::ndis) != 0
}

/// The NDIS side of a NIC; empty without the module parameter.
pub(crate) struct Ndis(Option<Arc<Adapter>>);

impl Ndis {
    /// Makes the NDIS side if the module parameter is set.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        if !is_enabled() {
            return Ok(Self(None));
        }
        Adapter::new().map(|adapter| Self(Some(adapter)))
    }

    /// Takes over what the driver and the NIC have negotiated. Before the netdev is registered.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn set_up(&self, ipsec: &Ipsec, features: u64) -> Result {
        let Some(adapter) = &self.0 else {
            return Ok(());
        };
        for direction in [Direction::In, Direction::Out] {
            let limit = ipsec.limit(direction);
            adapter.handles.set_limit(direction, limit)?;
        }
        adapter.miniport.lock().initialize(ipsec, features);
        Ok(())
    }

    fn is(&self, adapter: &Arc<Adapter>) -> bool {
        self.0.as_ref().is_some_and(|own| Arc::ptr_eq(own, adapter))
    }

    fn with(&self, act: impl FnOnce(&Adapter)) {
        if let Some(adapter) = &self.0 {
            act(adapter);
        }
    }

    /// Gives a number to a state that the NIC has taken.
    pub(crate) fn sa_added(&self, handle: xfrm::Handle) {
        self.with(|adapter| adapter.handles.added(handle));
    }

    /// Ends the number of a state that died. Does not sleep.
    pub(crate) fn sa_deleted(&self, handle: xfrm::Handle) {
        self.with(|adapter| adapter.handles.deleted(handle));
    }

    /// Notes that the NIC has destroyed a state's object.
    pub(crate) fn sa_freed(&self, handle: xfrm::Handle) {
        self.with(|adapter| adapter.handles.freed(handle));
    }

    /// Adapts the configuration to the netdev's features, which may have changed. RTNL held.
    ///
    /// True if `Ipsec::follow` has work then, which sleeps.
    pub(crate) fn follow_features(&self, ipsec: &Ipsec, features: u64) -> bool {
        let adapter = self.0.as_deref();
        adapter.is_some_and(|adapter| adapter.follow_features(ipsec, features))
    }

    /// The interface leaves its namespace. RTNL held.
    pub(crate) fn leave(&self) {
        self.with(Adapter::leave);
    }

    /// Notes that a reset of the NIC begins or has ended.
    pub(crate) fn set_resetting(&self, resetting: bool) {
        self.with(|adapter| {
            adapter.miniport.lock().set_resetting(resetting);
            if resetting {
                adapter.abort();
            }
        });
    }
}
