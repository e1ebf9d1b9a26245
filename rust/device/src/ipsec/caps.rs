// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities: what the NIC offers and what the driver has taken of it.
//!
//! Both standard capabilities are listed, because a device with IPsec must list them. 0x0803 has the
//! number of SAs; 0x0804, what standard SAs can be, is an empty list, because the NIC has none: a
//! standard SA is therefore refused for its mode. 0x0fc0 says what crypto-only SAs can be.

use super::config::IpsecConfig;
use super::refused::Refused;
use crate::crypto::Hash;
use espnic_wire::cap::{self, IpsecLimits, ListHdr, SaMode, XSaEntry};
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use espnic_wire::{bitmap, read_zero_extended};
use zerocopy::IntoBytes;

/// What the NIC offers.
pub(super) struct DeviceCaps {
    limits: IpsecLimits,
    x_ipsec: bool,
}

impl DeviceCaps {
    /// Of a NIC with this configuration; `x_ipsec` tells whether the extension is visible,
    /// `exaggerated` that the limits shall be as large as a number can be.
    pub(super) fn new(config: &IpsecConfig, x_ipsec: bool, exaggerated: bool) -> Self {
        let least = if exaggerated { u32::MAX } else { 0 };
        let limits = IpsecLimits {
            inb_sa_limit: config.inb_sa_limit.max(least).into(),
            outb_sa_limit: config.outb_sa_limit.max(least).into(),
        };
        Self { limits, x_ipsec }
    }

    fn list(&self) -> &'static [u16] {
        if self.x_ipsec {
            &[cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA]
        } else {
            &[cap::IPSEC_RESOURCE, cap::IPSEC_SA]
        }
    }

    /// Bitmap of capability ids.
    pub(super) fn ids(&self) -> Result<Vec<u8>, Refused> {
        let max = self.list().iter().copied().max().unwrap_or(0);
        let mut ids = vec![0; bitmap::size_for(max)];
        for &id in self.list() {
            bitmap::set(&mut ids, id).map_err(|_| Refused::MISSING)?;
        }
        Ok(ids)
    }

    /// Data of a capability.
    pub(super) fn get(&self, id: u16) -> Result<Vec<u8>, Refused> {
        if !self.list().contains(&id) {
            return Err(Refused::MISSING);
        }
        match id {
            cap::IPSEC_RESOURCE => Ok(self.limits.as_bytes().to_vec()),
            cap::IPSEC_SA => Ok(ListHdr::new(0).as_bytes().to_vec()),
            cap::X_IPSEC_SA => {
                let entries = x_entries();
                let mut data = ListHdr::new(entries.len() as u8).as_bytes().to_vec();
                data.extend_from_slice(entries.as_bytes());
                Ok(data)
            }
            _ => Err(Refused::MISSING),
        }
    }
}

/// Key lengths of AES.
const AES_KEYS: u32 = cap::length_bit(16 / 4) | cap::length_bit(24 / 4) | cap::length_bit(32 / 4);

/// Kind, cipher or AEAD, MAC, key lengths and ICV lengths of all that crypto-only SAs can be.
const SUITES: [(u8, u64, u64, u32, u32); 7] = [
    (
        cap::KIND_AEAD,
        cap::AEAD_GCM as u64,
        0,
        AES_KEYS,
        cap::length_bit(8) | cap::length_bit(12) | cap::length_bit(16),
    ),
    (
        cap::KIND_AEAD,
        cap::AEAD_CHACHA20_POLY1305 as u64,
        0,
        cap::length_bit(32 / 4),
        cap::length_bit(16),
    ),
    (
        cap::KIND_MAC,
        0,
        cap::MAC_GMAC_AES,
        AES_KEYS,
        cap::length_bit(16),
    ),
    cbc(cap::MAC_HMAC_SHA1, Hash::Sha1),
    cbc(cap::MAC_HMAC_SHA256, Hash::Sha256),
    cbc(cap::MAC_HMAC_SHA384, Hash::Sha384),
    cbc(cap::MAC_HMAC_SHA512, Hash::Sha512),
];

const fn cbc(mac: u64, hash: Hash) -> (u8, u64, u64, u32, u32) {
    let icv_lens = cap::length_bit(hash.icv_len());
    (
        cap::KIND_CIPHER,
        cap::CIPHER_AES_CBC,
        mac,
        AES_KEYS,
        icv_lens,
    )
}

/// All suites in tunnel and in transport mode.
fn x_entries() -> Vec<XSaEntry> {
    let entry = |mode, (kind, algo, mac, key_lens, icv_lens): (u8, u64, u64, u32, u32)| XSaEntry {
        mode,
        kind,
        flags: ((cap::OPT_ESN | cap::OPT_UDP_ENCAP) as u16).into(),
        algo: (algo as u16).into(),
        mac: (mac as u16).into(),
        key_lens: key_lens.into(),
        icv_lens: icv_lens.into(),
    };
    [cap::MODE_ESP_TUNNEL, cap::MODE_ESP_TRANSPORT]
        .into_iter()
        .flat_map(|mode| SUITES.map(|suite| entry(mode, suite)))
        .collect()
}

/// What the driver has set. What it has not set cannot be used.
#[derive(Default)]
pub(super) struct DriverCaps {
    limits: Option<IpsecLimits>,
    /// 0x0804 has been set, to the empty list.
    standard: bool,
    x_entries: Vec<XSaEntry>,
}

impl DriverCaps {
    /// DRIVER_CAP_SET: `data` must not exceed what the device has, and no object may be `live`.
    pub(super) fn set(
        &mut self,
        device: &DeviceCaps,
        id: u16,
        data: &[u8],
        live: bool,
    ) -> Result<(), Refused> {
        if !device.list().contains(&id) {
            return Err(Refused::MISSING);
        }
        if live {
            return Err(Refused::BUSY);
        }
        match id {
            cap::IPSEC_RESOURCE => self.set_limits(device, read_zero_extended(data)),
            cap::IPSEC_SA => self.set_standard(data),
            cap::X_IPSEC_SA => self.set_x_entries(data),
            _ => Err(Refused::MISSING),
        }
    }

    fn set_limits(&mut self, device: &DeviceCaps, limits: IpsecLimits) -> Result<(), Refused> {
        if limits.inb_sa_limit.get() > device.limits.inb_sa_limit.get()
            || limits.outb_sa_limit.get() > device.limits.outb_sa_limit.get()
        {
            return Err(Refused::FIELD);
        }
        self.limits = Some(limits);
        Ok(())
    }

    fn set_standard(&mut self, data: &[u8]) -> Result<(), Refused> {
        if !list::<SaMode>(data).is_empty() {
            return Err(Refused::FIELD);
        }
        self.standard = true;
        Ok(())
    }

    fn set_x_entries(&mut self, data: &[u8]) -> Result<(), Refused> {
        let offered = x_entries();
        let entries = list::<XSaEntry>(data);
        if !entries
            .iter()
            .all(|entry| offered.iter().any(|offer| entry.is_within(offer)))
        {
            return Err(Refused::FIELD);
        }
        self.x_entries = entries;
        Ok(())
    }

    /// Ids of SAs of this object type are below this.
    ///
    /// Object commands are refused as not supported until the driver has set both standard
    /// capabilities, and for types that do not exist.
    pub(super) fn limit(&self, obj_type: u16) -> Result<u32, Refused> {
        let limits = self
            .limits
            .filter(|_| self.standard)
            .ok_or(Refused::OPCODE)?;
        match obj_type {
            OBJ_OUTB_SA => Ok(limits.outb_sa_limit.get()),
            OBJ_INB_SA => Ok(limits.inb_sa_limit.get()),
            _ => Err(Refused::FIELD),
        }
    }

    /// What crypto-only SAs may be; empty unless the driver has set it.
    pub(super) fn x_entries(&self) -> &[XSaEntry] {
        &self.x_entries
    }
}

/// The entries of a list capability; those that `data` lacks are zero.
fn list<T>(data: &[u8]) -> Vec<T>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes,
{
    let hdr: ListHdr = read_zero_extended(data);
    let entry = |n: usize| {
        let at = size_of::<ListHdr>() + n * size_of::<T>();
        read_zero_extended(data.get(at..).unwrap_or_default())
    };
    (0..usize::from(hdr.count)).map(entry).collect()
}
