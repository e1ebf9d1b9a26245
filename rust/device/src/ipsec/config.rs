// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The configuration of a NIC's IPsec part.

use crate::crypto::Libraries;
use espnic_wire::sa::OBJ_INB_SA;

/// The configuration of a NIC's IPsec part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpsecConfig {
    /// Crypto libraries of all SAs.
    pub libraries: Libraries,
    /// Largest number of inbound SAs.
    pub inb_sa_limit: u32,
    /// Largest number of outbound SAs.
    pub outb_sa_limit: u32,
    /// Whether the experimental extension is offered; without it there are only SAs of the standard.
    pub x_ipsec: bool,
    /// With more inbound SAs the NIC asks for the deletion of the one that was used least recently.
    pub delete_above: Option<u32>,
}

impl Default for IpsecConfig {
    fn default() -> Self {
        Self {
            libraries: Libraries::default(),
            inb_sa_limit: 4096,
            outb_sa_limit: 4096,
            x_ipsec: true,
            delete_above: None,
        }
    }
}

impl IpsecConfig {
    /// Largest number of SAs of this object type.
    pub(super) fn limit(&self, obj_type: u16) -> u32 {
        match obj_type {
            OBJ_INB_SA => self.inb_sa_limit,
            _ => self.outb_sa_limit,
        }
    }
}
