// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities: those that the NIC offers, and those that the driver has accepted.
//!
//! Both standard capabilities are listed, because a device with IPsec must list them. 0x0803 has the
//! number of SAs; 0x0804, what standard SAs can be, is an empty list, because the NIC has none: a
//! standard SA is therefore refused for its mode. 0x0fc0 says what crypto-only SAs can be.

use super::config::IpsecConfig;
use crate::admin::Refused;
use crate::crypto::Hash;
use espnic_wire::cap::{self, IpsecLimits, ListHdr, SaMode, XSaEntry};
use espnic_wire::read_zero_extended;
use espnic_wire::sa::{OBJ_INB_SA, OBJ_OUTB_SA};
use zerocopy::IntoBytes;

/// The agreement of the NIC and its driver since the last reset.
pub(super) struct Agreed {
    /// Whether the extension is visible.
    pub(super) x_ipsec: bool,
    /// The NIC has told the driver a limit of SAs that is too high, on purpose.
    pub(super) exaggerated: bool,
    /// Capabilities that the driver has set.
    pub(super) caps: DriverCaps,
}

impl Agreed {
    /// The agreement after a reset.
    pub(super) fn new(x_ipsec: bool) -> Self {
        Self {
            x_ipsec,
            exaggerated: false,
            caps: DriverCaps::default(),
        }
    }

    /// The limits that the driver is told, for a NIC with this configuration.
    pub(super) fn limits(&self, config: &IpsecConfig) -> IpsecLimits {
        let least = if self.exaggerated { u32::MAX } else { 0 };
        IpsecLimits {
            inb_sa_limit: config.inb_sa_limit.max(least).into(),
            outb_sa_limit: config.outb_sa_limit.max(least).into(),
        }
    }
}

/// The ids of the capabilities; `x_ipsec` tells whether the extension is visible.
pub(super) fn ids(x_ipsec: bool) -> &'static [u16] {
    match x_ipsec {
        true => &[cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA],
        false => &[cap::IPSEC_RESOURCE, cap::IPSEC_SA],
    }
}

/// Data of a capability of a NIC with these limits.
pub(super) fn get(limits: &IpsecLimits, id: u16) -> Result<Vec<u8>, Refused> {
    match id {
        cap::IPSEC_RESOURCE => Ok(limits.as_bytes().to_vec()),
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

/// Key lengths of AES.
const AES_KEYS: u32 = cap::length_bit(16 / 4) | cap::length_bit(24 / 4) | cap::length_bit(32 / 4);

/// Kind, cipher or AEAD, MAC, key lengths and ICV lengths of all kinds of crypto-only SAs.
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

/// The capabilities that the driver has set. It cannot use others.
#[derive(Default)]
pub(super) struct DriverCaps {
    limits: Option<IpsecLimits>,
    /// 0x0804 has been set, to the empty list.
    standard: bool,
    x_entries: Vec<XSaEntry>,
}

impl DriverCaps {
    /// Stores `data`, which the driver accepts; it must not exceed the capability of a NIC with the limits
    /// `most`.
    pub(super) fn set(&mut self, most: &IpsecLimits, id: u16, data: &[u8]) -> Result<(), Refused> {
        match id {
            cap::IPSEC_RESOURCE => self.set_limits(most, read_zero_extended(data)),
            cap::IPSEC_SA => self.set_standard(data),
            cap::X_IPSEC_SA => self.set_x_entries(data),
            _ => Err(Refused::MISSING),
        }
    }

    fn set_limits(&mut self, most: &IpsecLimits, limits: IpsecLimits) -> Result<(), Refused> {
        if limits.inb_sa_limit.get() > most.inb_sa_limit.get()
            || limits.outb_sa_limit.get() > most.outb_sa_limit.get()
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

    /// Ids of SAs of this object type are below this. `None` until the driver has set both standard
    /// capabilities.
    pub(super) fn limit(&self, obj_type: u16) -> Option<u32> {
        let limits = self.limits.filter(|_| self.standard)?;
        match obj_type {
            OBJ_OUTB_SA => Some(limits.outb_sa_limit.get()),
            OBJ_INB_SA => Some(limits.inb_sa_limit.get()),
            _ => None,
        }
    }

    /// The entries for crypto-only SAs; empty unless the driver has set them.
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
