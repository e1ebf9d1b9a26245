// SPDX-License-Identifier: GPL-2.0

//! The NDIS layer: the NIC as a miniport driver's IPsec offload version 2, behind `/dev/espnic-ndis`.
//!
//! The rules are in the crate `espnic_ndis`; this module applies them to the NIC. An SA that is added
//! here is an XFRM state that the NIC offloads, made as `xfrm_user` makes one.
//!
//! `file` is the device, and `port` the adapter as an open file sees it. `ring` holds its records,
//! `table` its pended requests, and `later` carries those out. `request` and `translate` carry out OID
//! requests, on `information` from the caller. `handles` numbers the SAs, `hardware` describes the NIC,
//! `oob` records packets, and `submit` takes packets to send.
//!
//! Lock order: the namespace's XFRM mutex, then the state's lock, then the locks of this module. In
//! this module only `ports` is held while another lock is taken: the ring of each port. RTNL is never
//! taken under any of these. Notifier calls run under RTNL and take locks of this module only: the
//! adapter's configuration changes under it, and with it which SAs are left to software.
//! `Ipsec::follow` acts on that. It talks to the NIC, so it runs after all of these are released.

mod file;
mod handles;
mod hardware;
mod information;
mod later;
mod list;
mod miniport;
mod oob;
mod port;
mod request;
mod ring;
mod submit;
mod table;
mod translate;

use crate::{
    ipsec::Ipsec,
    nic::Nic, //
};
use handles::Handles;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use kernel_net::{
    net::{
        device::Device,
        xfrm::{
            self,
            Direction, //
        }, //
    },
    new_lock,
    sync::SpinLockBh, //
};
use miniport::Miniport;
use port::Port;
use ring::Body;

pub(crate) use file::Registrations;

/// The NDIS side of a NIC; empty without the module parameter.
pub(crate) struct Ndis(Option<Arc<Adapter>>);

/// The adapter that open files bind to.
#[pin_data]
struct Adapter {
    #[pin]
    miniport: SpinLockBh<Miniport>,
    /// The bound files.
    #[pin]
    ports: SpinLockBh<KVec<Arc<Port>>>,
    /// The union of the records that the bound files want.
    wants: Atomic<u32>,
    #[pin]
    handles: Handles,
}

impl Ndis {
    /// Makes the NDIS side if the module parameter is set.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        if !file::is_enabled() {
            return Ok(Self(None));
        }
        let adapter = Arc::pin_init(
            pin_init!(Adapter {
                miniport <- new_lock!(Miniport::new()),
                ports <- new_lock!(KVec::new()),
                wants: Atomic::new(0),
                handles <- Handles::new(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self(Some(adapter)))
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
    pub(crate) fn follow_features(&self, dev: &Device<Nic>) {
        self.with(|adapter| adapter.follow_features(dev));
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

impl Adapter {
    /// Whether any bound file wants records of `kind` (`WANT_`).
    fn wants(&self, kind: u32) -> bool {
        self.wants.load(Relaxed) & kind != 0
    }

    /// Adds a port. RTNL is held, so that the interface cannot leave unnoticed.
    fn attach(&self, port: Arc<Port>) -> Result {
        let mut ports = KVec::new();
        loop {
            let room = self.ports.lock().len().saturating_add(1);
            ports.reserve(room, GFP_KERNEL)?;
            let mut list = self.ports.lock();
            if list.len() >= room {
                continue;
            }
            for old in list.drain_all() {
                ports.push_within_capacity(old).map_err(|_| ENOMEM)?;
            }
            ports.push_within_capacity(port).map_err(|_| ENOMEM)?;
            core::mem::swap(&mut *list, &mut ports);
            self.update_wants(&list);
            return Ok(());
        }
    }

    /// Takes a port away again; nothing happens if it is not there.
    fn detach(&self, port: &Port) {
        let mut list = self.ports.lock();
        let at = list.iter().position(|p| core::ptr::eq(&**p, port));
        let removed = at.and_then(|at| list.remove(at).ok());
        self.update_wants(&list);
        drop(list);
        // Outside the lock: freeing a port sleeps.
        drop(removed);
    }

    fn update_wants(&self, ports: &[Arc<Port>]) {
        let wants = ports.iter().fold(0, |wants, port| wants | port.wants);
        self.wants.store(wants, Relaxed);
    }

    /// Stores a record in the ring of each bound file that wants its kind.
    fn push(&self, body: &Body) {
        self.ports.lock().iter().for_each(|port| port.push(body));
    }

    /// Ends the pended requests of all files whose work has not begun, at a reset or halt. May sleep.
    fn abort(&self) {
        let mut nth = 0usize;
        loop {
            // If a port goes meanwhile, one may be skipped. Its requests begin later, and are refused then.
            let port = self.ports.lock().get(nth).cloned();
            let Some(port) = port else {
                return;
            };
            port.abort(None);
            nth = nth.saturating_add(1);
        }
    }

    /// The interface leaves its namespace: the bound files lose it.
    fn leave(&self) {
        let ports = core::mem::replace(&mut *self.ports.lock(), KVec::new());
        self.wants.store(0, Relaxed);
        ports.iter().for_each(|port| port.remove());
    }
}
