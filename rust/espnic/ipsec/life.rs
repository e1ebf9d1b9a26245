// SPDX-License-Identifier: GPL-2.0

//! The driver's data of an SA, and the life of its object.

use super::packet::{
    self,
    counted::Counted,
    told::Told, //
};
use kernel::sync::Arc;
use kernel_net::virtio::control::Waiter;

/// The driver's data of an SA.
pub(crate) struct Sa {
    pub(super) life: Life,
    /// ESN, inbound: the high half of the sequence number that the NIC has, or is about to get.
    pub(super) esn_hi: u32,
    /// ESN, inbound: the sequence number that the NIC must still get.
    pub(super) pending_seq: Option<u64>,
    /// The NIC does not have the object, so software does its work: the NIC did not take it back after a
    /// reset, or must not decrypt now.
    pub(super) absent: bool,
    /// It was made through the NDIS layer.
    pub(super) by_ndis: bool,
    /// Packet offload: what the path of packets needs.
    pub(super) packet: Option<Arc<packet::Sa>>,
    /// Packet offload: what the NIC has counted.
    pub(super) counted: Counted,
    /// Packet offload: what the NIC was told.
    pub(super) told: Option<Told>,
}

/// How far the life of an SA's object has come.
pub(super) enum Life {
    /// The object lives.
    Live,
    /// The object is being created again, or destroyed, under the living state; `deleted` if the state
    /// died meanwhile.
    Changing { deleted: bool },
    /// The command to destroy it is being sent.
    Sending,
    /// The command to destroy it was sent.
    Destroying(Arc<Waiter>),
}
