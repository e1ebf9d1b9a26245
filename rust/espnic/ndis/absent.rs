// SPDX-License-Identifier: GPL-2.0

//! The NDIS layer of a module that was built without it.

use crate::ipsec::Ipsec;
use espnic_wire::hdr::NetHdr48;
use kernel::prelude::*;
use kernel_net::{
    compat,
    net::{
        skbuff::{
            Gso,
            SkBuff, //
        },
        xfrm::{
            Handle,
            TxOffload, //
        }, //
    }, //
};

/// No NDIS side.
pub(crate) struct Ndis;

/// No device.
pub(crate) struct Registrations;

impl Registrations {
    pub(crate) fn new() -> Result<Option<Pin<KBox<Self>>>> {
        if compat::parameter(&crate::module_parameters::ndis) != 0 {
            pr_warn!("built without ESPNIC_NDIS: the parameter ndis has no effect\n");
        }
        Ok(None)
    }
}

impl Ndis {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self)
    }

    pub(crate) fn set_up(&self, _ipsec: &Ipsec, _features: u64) -> Result {
        Ok(())
    }

    pub(crate) fn sa_added(&self, _handle: Handle) {}

    pub(crate) fn sa_deleted(&self, _handle: Handle) {}

    pub(crate) fn sa_freed(&self, _handle: Handle) {}

    pub(crate) fn follow_features(&self, _ipsec: &Ipsec, _features: u64) -> bool {
        false
    }

    pub(crate) fn leave(&self) {}

    pub(crate) fn set_resetting(&self, _resetting: bool) {}

    pub(crate) fn received(&self, _ipsec: &Ipsec, _header: &NetHdr48, _skb: &SkBuff) {}

    pub(crate) fn sent(
        &self,
        _skb: &SkBuff,
        _gso: Option<Gso>,
        _request: &TxOffload<'_>,
        _header: &NetHdr48,
        _accepted: bool,
    ) {
    }
}
