// SPDX-License-Identifier: GPL-2.0

//! The queues of a network device: one receive and one transmit queue per pair, then the control queue, then
//! the event queue.

use super::{
    events::netdev_of,
    receive::{
        RxQueue,
        RxRoom, //
    },
    transmit::{
        TxPacket,
        TxQueue, //
    },
    Operations,
    Restart, //
};
use crate::{
    bindings,
    net::netdevice::{
        with_ready,
        Unregistered, //
    },
    virtio::{
        control::{
            ControlQueue,
            Exchange, //
        },
        event::{
            EventBuffer,
            EventQueue, //
        },
        set::{
            QueueSet,
            Wanted, //
        },
        virtqueue::Virtqueue,
        DeviceRef, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The queues of a driver.
///
/// # Examples
///
/// ```
/// use kernel_net::{
///     net::netdevice::Unregistered,
///     virtio::net::Operations, //
/// };
///
/// fn set_up<T: Operations>(net: &mut Unregistered<T>) -> Result {
///     let queues = net.find_vqs(true)?;
///     assert_eq!(queues.receive.len(), queues.transmit.len());
///     Ok(())
/// }
/// ```
pub struct Queues {
    /// One per pair.
    pub receive: KVec<RxQueue>,
    /// One per pair.
    pub transmit: KVec<TxQueue>,
    /// The control queue, if asked for.
    pub control: Option<ControlQueue>,
    /// The event queue, if asked for.
    pub events: Option<EventQueue>,
}

/// The queues besides the pairs.
#[derive(Clone, Copy)]
enum Besides {
    Nothing,
    Control,
    ControlAndEvents,
}

impl Besides {
    fn control(wanted: bool) -> Self {
        match wanted {
            true => Self::Control,
            false => Self::Nothing,
        }
    }
}

impl<T: Operations> Unregistered<T> {
    /// Sets DRIVER_OK: from now on the virtio device may use the queues. Once; after
    /// [`Unregistered::init`], or events are lost.
    pub fn ready(&mut self) {
        self.parent().ready();
    }

    /// Sets up the virtio device's queue pairs and, with `control`, a control queue; used buffers are
    /// reported to [`Operations::vq_callback`] once there is data. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` while queues are left; `ENOMEM`, or what the transport says (`ENOENT`: the device lacks a
    /// queue).
    pub fn find_vqs(&mut self, control: bool) -> Result<Queues> {
        self.find(Besides::control(control))
    }

    /// As [`Self::find_vqs`], with a control queue and an event queue. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Self::find_vqs`].
    pub fn find_vqs_with_events(&mut self) -> Result<Queues> {
        self.find(Besides::ControlAndEvents)
    }

    fn find(&mut self, besides: Besides) -> Result<Queues> {
        // SAFETY: The parent was bound for this network device, which was made for `T`.
        unsafe { Queues::find::<T>(self.parent(), self.pairs(), besides) }
    }
}

impl<T: Operations> Restart<'_, T> {
    /// Sets DRIVER_OK: from now on the device may use the queues.
    pub fn ready(&mut self) {
        self.0.parent().ready();
    }

    /// As [`Unregistered::find_vqs`]. The old queues must be dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Unregistered::find_vqs`].
    pub fn find_vqs(&mut self, control: bool) -> Result<Queues> {
        self.find(Besides::control(control))
    }

    /// As [`Unregistered::find_vqs_with_events`]. The old queues must be dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Unregistered::find_vqs`].
    pub fn find_vqs_with_events(&mut self) -> Result<Queues> {
        self.find(Besides::ControlAndEvents)
    }

    fn find(&mut self, besides: Besides) -> Result<Queues> {
        let dev = self.0;
        // There are as many as when the device was made.
        let pairs = dev.napis().len() as u16;
        // SAFETY: The parent was bound for this network device, which was made for `T`.
        unsafe { Queues::find::<T>(dev.parent(), pairs, besides) }
    }
}

/// All queues in their order, with names for logs and for `/proc/interrupts`.
fn wanted(pairs: u16, besides: Besides) -> Result<KVec<Wanted>> {
    let mut all = KVec::new();
    for pair in 0..pairs {
        let receive = Wanted::new::<RxRoom>(fmt!("input.{pair}"))?;
        all.push(receive, GFP_KERNEL)?;
        let transmit = Wanted::new::<TxPacket>(fmt!("output.{pair}"))?;
        all.push(transmit, GFP_KERNEL)?;
    }
    if let Besides::Control | Besides::ControlAndEvents = besides {
        let control = Wanted::new::<KBox<Exchange>>(fmt!("control"))?;
        all.push(control, GFP_KERNEL)?;
    }
    if let Besides::ControlAndEvents = besides {
        let events = Wanted::new::<KBox<EventBuffer>>(fmt!("events"))?;
        all.push(events, GFP_KERNEL)?;
    }
    Ok(all)
}

impl Queues {
    /// Finds the queues of `dev`.
    ///
    /// # Safety
    ///
    /// The network device for which `dev` was bound was made for `T`.
    unsafe fn find<T: Operations>(dev: &DeviceRef, pairs: u16, besides: Besides) -> Result<Self> {
        // SAFETY: By the contract the network device was made for `T`, which the callback demands.
        let set = unsafe { QueueSet::find(dev, wanted(pairs, besides)?, queue_callback::<T>)? };
        // SAFETY: The set is new, and that is what it was found for.
        unsafe { Self::hand_out(&set, pairs) }
    }

    /// Makes the queues of a new set.
    ///
    /// # Safety
    ///
    /// The set was found for what [`wanted`] says of so many pairs, and this is the only call for it.
    unsafe fn hand_out(set: &Arc<QueueSet>, pairs: u16) -> Result<Self> {
        let mut this = Self {
            receive: KVec::new(),
            transmit: KVec::new(),
            control: None,
            events: None,
        };
        let mut queues = set.queues();
        for _ in 0..pairs {
            let (Some(rx), Some(tx)) = (queues.next(), queues.next()) else {
                return Err(ENOENT);
            };
            // SAFETY: The set's queues are in the order of `wanted`, and each is taken once.
            let receive = unsafe { Virtqueue::new(rx, set) };
            this.receive.push(RxQueue::new(receive), GFP_KERNEL)?;
            // SAFETY: The set's queues are in that order, and each is taken once.
            let transmit = unsafe { Virtqueue::new(tx, set) };
            this.transmit.push(TxQueue::new(transmit)?, GFP_KERNEL)?;
        }
        // SAFETY: What follows the pairs is the control queue, and is taken once.
        this.control = queues.next().map(|vq| unsafe { Virtqueue::new(vq, set) });
        // SAFETY: What is left then is the event queue, and is taken once.
        this.events = queues.next().map(|vq| unsafe { Virtqueue::new(vq, set) });
        Ok(this)
    }
}

/// # Safety
///
/// Called by the virtio core, in a hard interrupt, with a queue that was found for `T`.
unsafe extern "C" fn queue_callback<T: Operations>(vq: *mut bindings::virtqueue) {
    // SAFETY: The queue is live and keeps its device and its number.
    let (vdev, index) = unsafe { ((*vq).vdev, (*vq).index) };
    // SAFETY: The device has queues, so it is bound, and live.
    let net = unsafe { netdev_of(vdev) };
    // SAFETY: `priv` is null or the device made for `T`. Taking that down resets the virtio device, says
    // that there is no data, and waits for running callbacks, before the data is dropped.
    unsafe { with_ready(net, |dev| T::vq_callback(dev, index as u16)) }
}
