// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capability commands: the capabilities that a NIC offers, and those that the driver accepts.

use super::refused::Refused;
use espnic_wire::admin::Request;
use espnic_wire::bitmap;

/// A part of a NIC that has capabilities. Its functions are called one at a time.
pub trait Owner {
    /// The ids of its capabilities, as far as the driver can see them now.
    fn ids(&self) -> &'static [u16];

    /// Data of one of these capabilities.
    ///
    /// # Errors
    ///
    /// [`Refused::MISSING`] if there is none.
    fn get(&self, id: u16) -> Result<Vec<u8>, Refused>;

    /// Stores the part `data` of one of these capabilities that the driver accepts, in place of the last
    /// one. Called only while no objects need it.
    ///
    /// # Errors
    ///
    /// [`Refused::FIELD`] if that exceeds the NIC's capability.
    fn set(&self, id: u16, data: &[u8]) -> Result<(), Refused>;

    /// Whether there are objects that need the accepted capabilities.
    fn has_objects(&self) -> bool;

    /// Forgets accepted capabilities and destroys all objects, in a reset of the virtio device.
    fn reset(&self);
}

/// CAP_ID_LIST_QUERY: a bitmap of all ids.
pub(super) fn ids(owners: &[&dyn Owner]) -> Result<Vec<u8>, Refused> {
    let all = || owners.iter().flat_map(|owner| owner.ids());
    let mut bits = vec![0; bitmap::size_for(all().copied().max().unwrap_or(0))];
    for &id in all() {
        bitmap::set(&mut bits, id).map_err(|_| Refused::MISSING)?;
    }
    Ok(bits)
}

/// DEVICE_CAP_GET.
pub(super) fn get(owners: &[&dyn Owner], request: &Request<'_>) -> Result<Vec<u8>, Refused> {
    let id = request.cap().0.id.get();
    owner(owners, id)?.get(id)
}

/// DRIVER_CAP_SET.
pub(super) fn set(owners: &[&dyn Owner], request: &Request<'_>) -> Result<(), Refused> {
    let (hdr, data) = request.cap();
    let owner = owner(owners, hdr.id.get())?;
    if owner.has_objects() {
        return Err(Refused::BUSY);
    }
    owner.set(hdr.id.get(), data)
}

fn owner<'a>(owners: &[&'a dyn Owner], id: u16) -> Result<&'a dyn Owner, Refused> {
    let has = |owner: &&&dyn Owner| owner.ids().contains(&id);
    owners.iter().find(has).copied().ok_or(Refused::MISSING)
}
