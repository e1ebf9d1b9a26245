// SPDX-License-Identifier: GPL-2.0

//! An adapter as an open file sees it: bound to an interface, and to who may use it.

use crate::{
    ndis::{
        adapter::Adapter,
        listener::Listener, //
    },
    nic::Nic, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::namespace::{
    HeldDevice,
    Namespace, //
};

/// A bound adapter.
pub(super) struct Port {
    pub(super) adapter: Arc<Adapter>,
    pub(super) listener: Arc<Listener>,
    pub(super) namespace: Namespace,
    pub(super) index: u32,
    /// The number of the open file, never 0.
    pub(super) owner: u32,
}

impl Deref for Port {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.listener
    }
}

impl Port {
    /// Holds the interface, so that it cannot leave. Do not hold it while copying the caller's memory,
    /// which may take for ever.
    ///
    /// # Errors
    ///
    /// `EPERM` for callers without `CAP_NET_ADMIN`; `ENODEV` if it is gone.
    pub(super) fn device(&self) -> Result<HeldDevice<Nic>> {
        self.check_caller()?;
        self.device_unchecked()
    }

    /// Whether the caller may use the interface.
    ///
    /// # Errors
    ///
    /// `EPERM` for callers without `CAP_NET_ADMIN`.
    pub(super) fn check_caller(&self) -> Result {
        let may = self.namespace.may_administrate();
        may.then_some(()).ok_or(EPERM)
    }

    /// [`Self::device`] without the check: for closing the file, and after [`Self::check_caller`].
    pub(super) fn device_unchecked(&self) -> Result<HeldDevice<Nic>> {
        if self.is_removed() {
            return Err(ENODEV);
        }
        let dev = self.namespace.device::<Nic>(self.index);
        let dev = dev.map_err(|_| ENODEV)?;
        if dev.data().ndis.is(&self.adapter) {
            Ok(dev)
        } else {
            Err(ENODEV)
        }
    }
}
