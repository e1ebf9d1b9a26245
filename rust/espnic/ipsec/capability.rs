// SPDX-License-Identifier: GPL-2.0

//! Negotiation of the NIC's IPsec capabilities (VIRTIO 1.4, 2.13).

#[cfg(espnic_kunit)]
pub(super) mod tests;

use super::check::Supported;
use crate::control::Control;
use espnic_wire::{
    admin::{
        self,
        Command, //
    },
    bitmap,
    cap::{
        self,
        IpsecLimits,
        XSaEntry, //
    }, //
};
use kernel::prelude::*;

/// The commands that the driver uses, as a bitmap of opcodes: it never reads an object back.
const OPCODES: u64 = admin::OPS_ALL & !admin::op_bit(admin::OP_OBJ_QUERY);

/// Upper bound for the SAs of one direction, even if the NIC offers more: their table takes 16 MiB.
const LIMIT_MAX: u32 = 1 << 18;

/// Room for any capability that the driver reads, in bytes.
const CAP_ROOM: usize = 512;

/// The negotiated capabilities.
pub(super) struct Capabilities {
    /// Ids of inbound SA objects are below this.
    pub(super) limit_in: u32,
    /// Ids of outbound SA objects are below this.
    pub(super) limit_out: u32,
    entries: KVec<XSaEntry>,
}

impl Capabilities {
    /// Reads what the NIC offers, and accepts all of it.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` if it lacks a command or capability, otherwise those of the commands.
    pub(super) fn negotiate(control: &Control) -> Result<Self> {
        use_commands(control)?;
        let ids = control.execute(
            &Command::CapIdListQuery,
            0,
            bitmap::size_for(cap::X_IPSEC_SA),
        )?;
        let ids = ids.result()?;
        for id in [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA] {
            if !bitmap::get(ids, id) {
                return Err(ENOTSUPP);
            }
        }
        let limits: IpsecLimits = accept(control, cap::IPSEC_RESOURCE, |data| {
            Ok((
                espnic_wire::read_zero_extended(data),
                size_of::<IpsecLimits>(),
            ))
        })?;
        accept(control, cap::IPSEC_SA, |data| {
            let modes = cap::entries::<cap::SaMode>(data).map_err(|_| EIO)?;
            Ok(((), list_len(size_of_val(modes))))
        })?;
        let entries = accept(control, cap::X_IPSEC_SA, |data| {
            let list = cap::entries::<XSaEntry>(data).map_err(|_| EIO)?;
            let mut entries = KVec::new();
            entries.extend_from_slice(list, GFP_KERNEL)?;
            Ok((entries, list_len(size_of_val(list))))
        })?;
        Ok(Self {
            limit_in: limits.inb_sa_limit.get().min(LIMIT_MAX),
            limit_out: limits.outb_sa_limit.get().min(LIMIT_MAX),
            entries,
        })
    }

    /// Whether one entry of the NIC's list covers `entry`.
    #[cfg(espnic_ndis)]
    pub(super) fn offers(&self, entry: &XSaEntry) -> bool {
        self.entries.iter().any(|offered| entry.is_within(offered))
    }

    /// Whether the NIC supports such an SA.
    pub(super) fn allows(&self, sa: &Supported<'_>) -> bool {
        let algorithm = &sa.algorithm;
        self.entries.iter().any(|entry| {
            entry.mode == sa.mode
                && entry.kind == algorithm.kind
                && entry.algo.get() == algorithm.cipher
                && entry.mac.get() == algorithm.mac
                && sa.options & !u32::from(entry.flags.get()) == 0
                && entry.allows(algorithm.key.len(), usize::from(algorithm.icv_len))
        })
    }
}

fn list_len(entries: usize) -> usize {
    size_of::<cap::ListHdr>().saturating_add(entries)
}

/// Chooses the commands.
fn use_commands(control: &Control) -> Result {
    let offered = control.execute(&Command::ListQuery, 0, 8)?;
    let offered = offered.result()?;
    let used = OPCODES.to_le_bytes();
    if !bitmap::is_subset(&used, offered) {
        return Err(ENOTSUPP);
    }
    control
        .execute(&Command::ListUse(&used), used.len(), 0)?
        .result()
        .map(|_| ())
}

/// Reads capability `id` and accepts it as it is; `parse` also says how many bytes it has.
fn accept<T>(
    control: &Control,
    id: u16,
    parse: impl FnOnce(&[u8]) -> Result<(T, usize)>,
) -> Result<T> {
    let answer = control.execute(&Command::DeviceCapGet(id), 0, CAP_ROOM)?;
    let data = answer.result()?;
    let (value, len) = parse(data)?;
    let data = data.get(..len).ok_or(EIO)?;
    let set = Command::DriverCapSet { id, data };
    control.execute(&set, data.len(), 0)?.result()?;
    Ok(value)
}
