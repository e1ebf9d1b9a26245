// SPDX-License-Identifier: GPL-2.0

//! The adapter: its configuration, its SAs' numbers, and who gets its indications.

use super::{
    handles::Handles,
    hardware,
    listener::Listener,
    miniport::{
        Indications,
        Miniport, //
    },
    ring::Body, //
};
use crate::ipsec::Ipsec;
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
    net::netdevice::features as netif,
    new_lock,
    sync::SpinLockBh, //
};

/// The adapter that open files bind to.
#[pin_data]
pub(super) struct Adapter {
    #[pin]
    pub(super) miniport: SpinLockBh<Miniport>,
    /// The bound files.
    #[pin]
    listeners: SpinLockBh<KVec<Arc<Listener>>>,
    /// The union of the records that the bound files want.
    wants: Atomic<u32>,
    #[pin]
    pub(super) handles: Handles,
}

impl Adapter {
    /// Makes one without capabilities and without listeners.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                miniport <- new_lock!(Miniport::new()),
                listeners <- new_lock!(KVec::new()),
                wants: Atomic::new(0),
                handles <- Handles::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether any bound file wants records of `kind` (`WANT_`).
    pub(super) fn wants(&self, kind: u32) -> bool {
        self.wants.load(Relaxed) & kind != 0
    }

    /// Adds a listener. RTNL is held, so that the interface cannot leave unnoticed.
    pub(super) fn attach(&self, listener: Arc<Listener>) -> Result {
        let mut listeners = KVec::new();
        loop {
            let room = self.listeners.lock().len().saturating_add(1);
            listeners.reserve(room, GFP_KERNEL)?;
            let mut list = self.listeners.lock();
            if list.len() >= room {
                continue;
            }
            for old in list.drain_all() {
                listeners.push_within_capacity(old).map_err(|_| ENOMEM)?;
            }
            listeners
                .push_within_capacity(listener)
                .map_err(|_| ENOMEM)?;
            core::mem::swap(&mut *list, &mut listeners);
            self.update_wants(&list);
            return Ok(());
        }
    }

    /// Takes a listener away again; nothing happens if it is not there.
    pub(super) fn detach(&self, listener: &Listener) {
        let mut list = self.listeners.lock();
        let at = list.iter().position(|p| core::ptr::eq(&**p, listener));
        let removed = at.and_then(|at| list.remove(at).ok());
        self.update_wants(&list);
        drop(list);
        // Outside the lock: freeing a listener sleeps.
        drop(removed);
    }

    fn update_wants(&self, listeners: &[Arc<Listener>]) {
        let wants = listeners
            .iter()
            .fold(0, |wants, listener| wants | listener.wants);
        self.wants.store(wants, Relaxed);
    }

    /// Stores a record in the ring of each bound file that wants its kind.
    pub(super) fn push(&self, body: &Body) {
        self.listeners
            .lock()
            .iter()
            .for_each(|listener| listener.push(body));
    }

    /// Ends the pended requests of all files whose work has not begun, at a reset or halt. May sleep.
    pub(super) fn abort(&self) {
        let mut nth = 0usize;
        loop {
            // If a listener goes meanwhile, one may be skipped. Its requests begin later, and are refused
            // then.
            let listener = self.listeners.lock().get(nth).cloned();
            let Some(listener) = listener else {
                return;
            };
            listener.abort(None);
            nth = nth.saturating_add(1);
        }
    }

    /// The interface leaves its namespace: the bound files lose it.
    pub(super) fn leave(&self) {
        let listeners = core::mem::replace(&mut *self.listeners.lock(), KVec::new());
        self.wants.store(0, Relaxed);
        listeners.iter().for_each(|listener| listener.remove());
    }

    /// Records indications.
    pub(super) fn indicate(&self, indications: &Indications) {
        let both = [&indications.hardware, &indications.current];
        both.into_iter().flatten().for_each(|body| self.push(body));
    }

    /// Adapts the configuration to the netdev's features; whether `Ipsec::follow` has work then, which
    /// may have to wait for the NIC. RTNL held.
    pub(super) fn follow_features(&self, ipsec: &Ipsec, features: u64) -> bool {
        let on = features & netif::HW_ESP != 0;
        let mut miniport = self.miniport.lock();
        if miniport.settling {
            return false;
        }
        let tasks = miniport.model.tasks();
        let switched_on = features & miniport.switched_off();
        let by_others = miniport
            .model
            .external_tasks(hardware::switched_on(&tasks, switched_on));
        if by_others.current_config {
            let indications = miniport.indications(&by_others);
            drop(miniport);
            self.indicate(&indications);
            miniport = self.miniport.lock();
        }
        if miniport.follow_hardware(ipsec, features) {
            let hardware = miniport.hardware;
            let effects = miniport.model.hardware_changed(hardware);
            let indications = miniport.indications(&effects);
            drop(miniport);
            self.indicate(&indications);
            miniport = self.miniport.lock();
        }
        if miniport.model.snapshot().config.esp == on {
            return false;
        }
        let effects = miniport.switched_by_stack(ipsec, on);
        let indications = miniport.indications(&effects);
        drop(miniport);
        self.indicate(&indications);
        true
    }
}
