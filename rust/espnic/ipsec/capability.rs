// SPDX-License-Identifier: GPL-2.0

//! Negotiation of the NIC's IPsec capabilities (VIRTIO 1.4, 2.13).

#[cfg(espnic_kunit)]
pub(super) mod tests;

use super::packet::filter;
use crate::control::{
    Answer,
    Control, //
};
use espnic_wire::{
    admin::{
        self,
        Command, //
    },
    bitmap,
    cap::{
        self,
        IpsecLimits,
        SaMode,
        XSaEntry, //
    },
    filter::{
        selector::Selectors,
        Actions,
        Limits,
        CAP_ACTIONS,
        CAP_LIMITS,
        CAP_SELECTORS, //
    }, //
};
use kernel::prelude::*;

/// The commands that the driver needs, as a bitmap of opcodes.
const OPCODES: u64 = admin::OPS_ALL & !QUERY;
/// The one that it needs for packet offload, to read what the NIC has counted.
const QUERY: u64 = admin::op_bit(admin::OP_OBJ_QUERY);

/// Upper bound for the SAs of one direction, even if the NIC offers more. Their table takes 64 MiB then, but it
/// grows with the SAs.
const LIMIT_MAX: u32 = 1 << 20;

/// Room for any capability that the driver reads, in bytes.
const CAP_ROOM: usize = 512;
/// Room for the list of selectors, or of actions, that the driver writes, in bytes.
const FILTER_ROOM: usize = 256;

/// The negotiated capabilities.
pub(super) struct Capabilities {
    /// Ids of inbound SA objects are below this.
    pub(super) limit_in: u32,
    /// Ids of outbound SA objects are below this.
    pub(super) limit_out: u32,
    entries: KVec<XSaEntry>,
    /// What SAs of packet offload can be; empty without packet offload.
    modes: KVec<SaMode>,
}

impl Capabilities {
    /// Reads what the NIC offers, and accepts all of it.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` if it lacks a command or capability, otherwise those of the commands.
    pub(super) fn negotiate(control: &Control) -> Result<Self> {
        let queries = use_commands(control)?;
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
        let mut modes = accept(control, cap::IPSEC_SA, |data| {
            let list = cap::entries::<SaMode>(data).map_err(|_| EIO)?;
            let mut modes = KVec::new();
            modes.extend_from_slice(list, GFP_KERNEL)?;
            Ok((modes, list_len(size_of_val(list))))
        })?;
        if !queries || !accept_filter(control, ids)? {
            modes.clear();
        }
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
            modes,
        })
    }

    /// Whether the NIC has packet offload.
    pub(super) fn has_packet_offload(&self) -> bool {
        !self.modes.is_empty()
    }

    /// Goes without packet offload.
    pub(super) fn without_packet_offload(mut self) -> Self {
        self.modes.clear();
        self
    }

    /// Whether SAs of packet offload can have a mode, these options and a replay window of so many packets.
    pub(super) fn has_mode(&self, mode: u8, options: u32, window: u32) -> bool {
        self.modes.iter().any(|one| {
            one.mode == mode
                && options & !one.options.get() == 0
                && window <= one.max_replay_win_sz.get()
        })
    }

    /// Whether one entry of the NIC's list covers `entry`.
    pub(super) fn offers(&self, entry: &XSaEntry) -> bool {
        self.entries.iter().any(|offered| entry.is_within(offered))
    }
}

fn list_len(entries: usize) -> usize {
    size_of::<cap::ListHdr>().saturating_add(entries)
}

/// Chooses the commands; true if objects can be read.
fn use_commands(control: &Control) -> Result<bool> {
    let offered = control.execute(&Command::ListQuery, 0, 8)?;
    let offered = offered.result()?;
    if !bitmap::is_subset(&OPCODES.to_le_bytes(), offered) {
        return Err(ENOTSUPP);
    }
    let queries = bitmap::is_subset(&QUERY.to_le_bytes(), offered);
    let used = if queries { OPCODES | QUERY } else { OPCODES };
    let used = used.to_le_bytes();
    control
        .execute(&Command::ListUse(&used), used.len(), 0)?
        .result()?;
    Ok(queries)
}

/// Accepts the capabilities of the flow filter, if there are all; true if they are enough for packet
/// offload.
fn accept_filter(control: &Control, ids: &[u8]) -> Result<bool> {
    let needed = [CAP_LIMITS, CAP_SELECTORS, CAP_ACTIONS];
    if !needed.iter().all(|&id| bitmap::get(ids, id)) {
        return Ok(false);
    }
    let limits: Limits = accept(control, CAP_LIMITS, |data| {
        Ok((espnic_wire::read_zero_extended(data), size_of::<Limits>()))
    })?;
    // Lists without the members that are not known, which must not be accepted.
    let selectors = Selectors::known(get(control, CAP_SELECTORS)?.result()?).map_err(|_| EIO)?;
    let mut room = [0; FILTER_ROOM];
    let len = selectors.write(&mut room).map_err(|_| EIO)?;
    set(control, CAP_SELECTORS, room.get(..len).ok_or(EIO)?)?;
    let actions = Actions::known(get(control, CAP_ACTIONS)?.result()?);
    let (data, len) = actions.data();
    set(control, CAP_ACTIONS, data.get(..len).ok_or(EIO)?)?;
    Ok(filter::is_possible(&limits, &selectors, actions))
}

fn get(control: &Control, id: u16) -> Result<Answer> {
    control.execute(&Command::DeviceCapGet(id), 0, CAP_ROOM)
}

fn set(control: &Control, id: u16, data: &[u8]) -> Result {
    let set = Command::DriverCapSet { id, data };
    control.execute(&set, data.len(), 0)?.result()?;
    Ok(())
}

/// Reads capability `id` and accepts it as it is; `parse` also says how many bytes it has.
fn accept<T>(
    control: &Control,
    id: u16,
    parse: impl FnOnce(&[u8]) -> Result<(T, usize)>,
) -> Result<T> {
    let answer = get(control, id)?;
    let data = answer.result()?;
    let (value, len) = parse(data)?;
    set(control, id, data.get(..len).ok_or(EIO)?)?;
    Ok(value)
}
