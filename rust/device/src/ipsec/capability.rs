// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities: those that the NIC offers, and those that the driver has accepted.
//!
//! 0x0803 has the number of SAs, and 0x0804 what SAs of the standard can be. 0x0fc0 says what
//! crypto-only SAs can be, and which of the combinations that 0x0804 seems to allow there are. A driver
//! that accepts an empty list in 0x0804 gets crypto-only SAs only.

use super::config::IpsecConfig;
use super::object;
use crate::admin::Refused;
use espnic_esp::replay::MAX_SIZE;
use espnic_wire::algorithm::{Cipher, Mac, Suite};
use espnic_wire::cap::{self, IpsecLimits, ListHdr, SaMode, XSaEntry};
use espnic_wire::read_zero_extended;
use espnic_wire::sa::{SaObject, OBJ_INB_SA, OBJ_OUTB_SA};
use zerocopy::IntoBytes;

/// Options that entries of [`cap::X_IPSEC_SA`] tell about.
pub(super) const X_OPTIONS: u32 = cap::OPT_ESN | cap::OPT_UDP_ENCAP;
/// Options of SAs of the standard in both modes.
const OPTIONS: u32 = X_OPTIONS | cap::OPT_SA_LIFETIME;
/// Those that only a tunnel has.
const TUNNEL_OPTIONS: u32 = cap::OPT_COPY_DSCP | cap::OPT_DEC_TTL | cap::OPT_COPY_DF | cap::OPT_ECN;
/// Longest key that an object without a tail can have, in bytes.
const KEY_IN_BASE: usize = 32;

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

    /// Whether the driver has accepted the algorithms, mode and options of `object`. `wanted` is the entry
    /// of [`cap::X_IPSEC_SA`] that has nothing else.
    pub(super) fn allows(&self, object: &SaObject, wanted: &XSaEntry) -> bool {
        let crypto_only = object::is_crypto_only(object);
        let exists = || self.caps.x_entries.iter().any(|one| wanted.is_within(one));
        (crypto_only || self.caps.allows(object)) && (!self.x_ipsec || exists())
    }
}

/// The ids of the capabilities; `x_ipsec` tells whether the extension is visible.
pub(super) fn ids(x_ipsec: bool) -> &'static [u16] {
    match x_ipsec {
        true => &[cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA],
        false => &[cap::IPSEC_RESOURCE, cap::IPSEC_SA],
    }
}

/// Data of a capability of a NIC with these limits; `x_ipsec` tells whether the extension is visible.
pub(super) fn get(limits: &IpsecLimits, x_ipsec: bool, id: u16) -> Result<Vec<u8>, Refused> {
    match id {
        cap::IPSEC_RESOURCE => Ok(limits.as_bytes().to_vec()),
        cap::IPSEC_SA => Ok(listed(&modes(x_ipsec))),
        cap::X_IPSEC_SA => Ok(listed(&x_entries())),
        _ => Err(Refused::MISSING),
    }
}

/// The data of a list capability.
fn listed<T: IntoBytes + zerocopy::Immutable>(entries: &[T]) -> Vec<u8> {
    let mut data = ListHdr::new(entries.len() as u8).as_bytes().to_vec();
    data.extend_from_slice(entries.as_bytes());
    data
}

/// What SAs of the standard can be. An AEAD and a long key need a tail.
fn modes(x_ipsec: bool) -> Vec<SaMode> {
    let of_kind = |kind| {
        let rows = Cipher::ALL.iter().map(|cipher| cipher.row());
        rows.filter(move |row| row.kind == kind)
    };
    let bits = |kind| of_kind(kind).fold(0u64, |bits, row| bits | (1 << row.id));
    let macs = Mac::ALL.iter().map(|mac| mac.row());
    let mac_bits = macs.clone().fold(0u64, |bits, row| bits | (1 << row.id));
    let longest = macs.map(|row| row.key_len).max().unwrap_or(0);
    let base = SaMode {
        max_replay_win_sz: MAX_SIZE.into(),
        options: OPTIONS.into(),
        cipher_algo: bits(cap::KIND_CIPHER).into(),
        hmac_algo: (bits(cap::KIND_MAC) | mac_bits).into(),
        // Lossless: ids of AEADs are small.
        aead_algo: (if x_ipsec {
            bits(cap::KIND_AEAD) as u32
        } else {
            0
        })
        .into(),
        max_cipher_key_len: (KEY_IN_BASE as u32).into(),
        max_auth_key_len: (if x_ipsec { longest } else { KEY_IN_BASE } as u32).into(),
        ..SaMode::default()
    };
    let tunnel = SaMode {
        mode: cap::MODE_ESP_TUNNEL,
        options: (OPTIONS | TUNNEL_OPTIONS).into(),
        ..base
    };
    let transport = SaMode {
        mode: cap::MODE_ESP_TRANSPORT,
        ..base
    };
    vec![tunnel, transport]
}

/// All suites in tunnel and in transport mode.
fn x_entries() -> Vec<XSaEntry> {
    let options = X_OPTIONS as u16;
    [cap::MODE_ESP_TUNNEL, cap::MODE_ESP_TRANSPORT]
        .into_iter()
        .flat_map(|mode| Suite::all().map(move |suite| suite.entry(mode, options)))
        .collect()
}

/// The capabilities that the driver has set. It cannot use others.
#[derive(Default)]
pub(super) struct DriverCaps {
    limits: Option<IpsecLimits>,
    modes: Option<Vec<SaMode>>,
    x_entries: Vec<XSaEntry>,
}

impl DriverCaps {
    /// Stores `data`, which the driver accepts; it must not exceed the capability of a NIC with the limits
    /// `most`. `x_ipsec` tells whether the extension is visible.
    pub(super) fn set(
        &mut self,
        most: &IpsecLimits,
        x_ipsec: bool,
        id: u16,
        data: &[u8],
    ) -> Result<(), Refused> {
        match id {
            cap::IPSEC_RESOURCE => self.set_limits(most, read_zero_extended(data)),
            cap::IPSEC_SA => self.set_modes(&modes(x_ipsec), data),
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

    fn set_modes(&mut self, offered: &[SaMode], data: &[u8]) -> Result<(), Refused> {
        let modes = list::<SaMode>(data);
        let is_offered = |mode: &SaMode| offered.iter().any(|offer| mode.is_within(offer));
        if !modes.iter().all(is_offered) {
            return Err(Refused::FIELD);
        }
        self.modes = Some(modes);
        Ok(())
    }

    /// Whether an SA of the standard may be what `object` says, as far as the standard can tell.
    fn allows(&self, object: &SaObject) -> bool {
        let (base, aead) = (&object.base, object.tail.aead_algo.get());
        let has = |mask: u64, id: u64| id == 0 || id < 64 && (mask >> id) & 1 != 0;
        let allows = |mode: &SaMode| {
            mode.mode == base.mode
                && base.options.get() & !u64::from(mode.options.get()) == 0
                && base.replay_win_sz.get() <= mode.max_replay_win_sz.get()
                && has(mode.cipher_algo.get(), base.cipher_algo.get())
                && has(mode.hmac_algo.get(), base.auth_algo.get())
                && has(mode.aead_algo.get().into(), aead.into())
                && u32::from(base.cipher_key.length.get()) <= mode.max_cipher_key_len.get()
                && u32::from(base.auth_key.length.get()) <= mode.max_auth_key_len.get()
        };
        self.modes.iter().flatten().any(allows)
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
        let limits = self.limits.filter(|_| self.modes.is_some())?;
        match obj_type {
            OBJ_OUTB_SA => Some(limits.outb_sa_limit.get()),
            OBJ_INB_SA => Some(limits.inb_sa_limit.get()),
            _ => None,
        }
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
