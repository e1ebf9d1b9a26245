// SPDX-License-Identifier: GPL-2.0

//! The driver's data of an SA, and the life of its object.

use super::packet::{
    self,
    counted::Counted,
    told::Told, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_net::{
    net::xfrm::Handle,
    new_lock,
    sync::SpinLockBh,
    virtio::control::Waiter, //
};

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
    /// What only packet offload needs: every slot of the table has room for the rest.
    pub(super) packet: Option<KBox<OfPacket>>,
}

/// The driver's data of an SA of packet offload.
pub(super) struct OfPacket {
    /// What the path of packets needs.
    pub(super) sa: Arc<packet::Sa>,
    /// What the NIC has counted.
    pub(super) counted: Counted,
    /// What the NIC was told.
    pub(super) told: Told,
}

/// How far the life of an SA's object has come.
pub(super) enum Life {
    /// The object lives.
    Live,
    /// The object is being created again, or destroyed, under the living state; `deleted` if the state
    /// died meanwhile.
    Changing { deleted: bool },
    /// The command to destroy it is being sent, or will be when the packets under way are sent.
    Sending,
    /// The command to destroy it was sent.
    Destroying(Arc<Waiter>),
}

/// Outbound SAs whose states are dead. Their objects stay until the NIC has sent the packets that it has
/// got for them: it would drop those.
#[pin_data]
pub(super) struct Doomed {
    #[pin]
    list: SpinLockBh<KVec<Handle>>,
}

impl Doomed {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_lock!(KVec::new()),
        })
    }

    /// Adds one. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn add(&self, handle: Handle) -> Result {
        Ok(self.list.lock().push(handle, GFP_ATOMIC)?)
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> KVec<Handle> {
        core::mem::take(&mut *self.list.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }
}
