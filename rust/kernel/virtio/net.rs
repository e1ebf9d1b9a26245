// SPDX-License-Identifier: GPL-2.0

//! Network devices on the virtio bus: where [`crate::virtio`] and [`crate::net`] meet.
//!
//! A [`Driver`] takes virtio devices, and the [`Adapter`] makes a network device for each of them, which it
//! owns. That network device has the virtio device as its parent, and holds the queues; the virtio device
//! leads to the network device by its `priv` field. Neither half knows of the other one.
//!
//! # Examples
//!
//! A whole driver.
//!
//! ```
//! use kernel::{
//!     new_mutex,
//!     sync::Mutex, //
//! };
//! use kernel_net::{
//!     net::{
//!         ethtool::{
//!             self,
//!             Link,
//!             Setting, //
//!         },
//!         napi::{
//!             Poll,
//!             Polled, //
//!         },
//!         netdevice::{
//!             self,
//!             Device,
//!             RxQueueStats,
//!             Stats64,
//!             TxQueueStats,
//!             Unregistered, //
//!         },
//!         netlink::ExtAck,
//!         skbuff::SkBuff,
//!         xfrm, //
//!     },
//!     rtnl,
//!     virtio::{
//!         self,
//!         net::{
//!             Queues,
//!             Restart, //
//!         }, //
//!     }, //
//! };
//!
//! /// The data of an interface that drops all packets, and takes no SA.
//! #[pin_data]
//! struct Null {
//!     #[pin]
//!     queues: Mutex<Option<Queues>>,
//!     #[pin]
//!     states: xfrm::StateTable<()>,
//! }
//!
//! impl Null {
//!     fn new(queues: Queues) -> impl PinInit<Self, Error> {
//!         try_pin_init!(Self {
//!             queues <- new_mutex!(Some(queues)),
//!             states <- xfrm::StateTable::new(),
//!         })
//!     }
//! }
//!
//! impl netdevice::Operations for Null {
//!     type Parent = virtio::DeviceRef;
//!
//!     fn open(dev: &Device<Self>, _rtnl: &rtnl::Held) -> Result {
//!         dev.enable_polling();
//!         dev.start_queue(0);
//!         Ok(())
//!     }
//!
//!     fn stop(dev: &Device<Self>) {
//!         dev.disable_tx();
//!     }
//!
//!     fn start_xmit(_dev: &Device<Self>, _queue: u16, skb: SkBuff) {
//!         drop(skb);
//!     }
//!
//!     fn poll(_dev: &Device<Self>, _poll: &Poll<'_>) -> Polled {
//!         Polled::Done(0)
//!     }
//!
//!     fn rearm(_dev: &Device<Self>, _index: u16) -> bool {
//!         false
//!     }
//!
//!     fn work(_dev: &Device<Self>) {}
//!
//!     fn tx_timeout(_dev: &Device<Self>, _queue: u16) {}
//!
//!     fn fix_features(_dev: &Device<Self>, features: u64) -> u64 {
//!         features
//!     }
//!
//!     fn stats64(_dev: &Device<Self>, _stats: &mut Stats64) {}
//!
//!     fn rx_queue_stats(_dev: &Device<Self>, _queue: u16) -> RxQueueStats {
//!         Default::default()
//!     }
//!
//!     fn tx_queue_stats(_dev: &Device<Self>, _queue: u16) -> TxQueueStats {
//!         Default::default()
//!     }
//! }
//!
//! impl virtio::net::Operations for Null {
//!     fn vq_callback(dev: &Device<Self>, queue: u16) {
//!         if let Some(napi) = dev.napi(usize::from(queue / 2)) {
//!             napi.schedule();
//!         }
//!     }
//!
//!     fn reset_prepare(dev: &Device<Self>) {
//!         let guard = rtnl::lock();
//!         dev.disable_polling();
//!         drop(guard);
//!         let queues = dev.data().queues.lock().take();
//!         drop(queues);
//!     }
//!
//!     fn reset_done(dev: &Device<Self>, restart: &mut Restart<'_, Self>) -> Result {
//!         *dev.data().queues.lock() = Some(restart.find_vqs(false)?);
//!         restart.ready();
//!         Ok(())
//!     }
//! }
//!
//! impl ethtool::Operations for Null {
//!     const DRIVER: &'static CStr = c"null";
//!     const STATISTICS: &'static [&'static CStr] = &[];
//!
//!     fn statistics(_dev: &Device<Self>, _out: &mut ethtool::Statistics<'_>) {}
//!
//!     fn channels(_dev: &Device<Self>) -> Setting {
//!         Setting { current: 1, max: 1 }
//!     }
//!
//!     fn set_channels(_dev: &Device<Self>, _count: u32, _rtnl: &rtnl::Held) -> Result {
//!         Ok(())
//!     }
//!
//!     fn rings(_dev: &Device<Self>) -> (Setting, Setting) {
//!         Default::default()
//!     }
//!
//!     fn set_rings(_dev: &Device<Self>, _rx: u32, _tx: u32, extack: &mut ExtAck) -> Result {
//!         extack.set(c"null: rings cannot be resized");
//!         Err(EINVAL)
//!     }
//!
//!     fn link(_dev: &Device<Self>) -> Link {
//!         Link::UNKNOWN
//!     }
//!
//!     fn set_link(_dev: &Device<Self>, _link: Link) {}
//! }
//!
//! kernel_net::has_states!(Null, (), states);
//!
//! impl xfrm::Operations for Null {
//!     const NO_SLOT: &'static CStr = c"null: SAs cannot be offloaded";
//!
//!     fn state_add<'a>(
//!         _dev: &'a Device<Self>,
//!         _x: &xfrm::State,
//!         _slot: xfrm::Reservation<'a, ()>,
//!         _extack: &mut ExtAck,
//!     ) -> Result<xfrm::Committed<'a>> {
//!         Err(EINVAL)
//!     }
//!
//!     fn offload_ok(
//!         _dev: &Device<Self>,
//!         _skb: &mut xfrm::OutputSkb<'_>,
//!         _x: &xfrm::State,
//!         _handle: xfrm::Handle,
//!     ) -> bool {
//!         false
//!     }
//!
//!     fn state_advance_esn(_dev: &Device<Self>, _x: &xfrm::State, _handle: xfrm::Handle) {}
//!
//!     fn state_delete(_dev: &Device<Self>, _handle: xfrm::Handle) {}
//!
//!     fn state_free(dev: &Device<Self>, handle: xfrm::Handle) {
//!         drop(dev.data().states.retire(handle));
//!     }
//! }
//!
//! kernel_net::virtio_device_table!(TABLE, [virtio::DeviceId::net(0x1af4)]);
//!
//! struct Driver;
//!
//! impl virtio::net::Driver for Driver {
//!     type Net = Null;
//!
//!     const ID_TABLE: virtio::IdTable = &TABLE;
//!     const FEATURES: &'static [u32] = &[];
//!
//!     fn validate(_dev: &virtio::Validation<'_>) -> Result {
//!         Ok(())
//!     }
//!
//!     fn queue_pairs(_dev: &virtio::Device) -> u16 {
//!         1
//!     }
//!
//!     fn probe(net: &mut Unregistered<Null>) -> Result {
//!         let queues = net.find_vqs(false)?;
//!         net.init(Null::new(queues))?;
//!         net.ready();
//!         net.set_mac_address(None);
//!         Ok(())
//!     }
//! }
//!
//! // In the module's data, where it registers the driver.
//! type Registration = kernel::driver::Registration<virtio::net::Adapter<Driver>>;
//! ```

mod adapter;
mod events;
mod queues;
mod receive;
mod transmit;

pub use adapter::Adapter;
pub use queues::Queues;
pub use receive::{
    RxQueue,
    RxRoom, //
};
pub use transmit::{
    TxError,
    TxPacket,
    TxQueue, //
};

use super::{
    DeviceRef,
    IdTable,
    Validation, //
};
use crate::net::{
    ethtool,
    netdevice::{
        self,
        Device,
        Unregistered, //
    },
    xfrm, //
};
use kernel::prelude::*;

/// The callbacks of a driver of network devices on the virtio bus. `Self` is the driver's data.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub trait Operations: netdevice::Operations<Parent = DeviceRef> {
    /// A used buffer or more appeared in virtqueue `queue`. Hard interrupt.
    fn vq_callback(dev: &Device<Self>, queue: u16);

    /// Stops using the device before a reset: stops traffic, drops all queues. RTNL not held, may
    /// sleep; the stack's queues are detached already. If queues are left, the reset is cancelled.
    fn reset_prepare(dev: &Device<Self>);

    /// Takes the device into use again after a reset: new queues, then [`Restart::ready`], then all
    /// state that the device has lost. RTNL not held, may sleep.
    fn reset_done(dev: &Device<Self>, restart: &mut Restart<'_, Self>) -> Result;
}

/// A driver of virtio network functions.
///
/// [`crate::virtio::net`] has the example of a whole driver.
pub trait Driver: 'static {
    /// The data of the network devices that the driver makes.
    type Net: Operations + ethtool::Operations + xfrm::Operations;

    /// The devices that the driver takes.
    const ID_TABLE: IdTable;

    /// The feature bits that the driver knows, each below 128.
    const FEATURES: &'static [u32];

    /// Looks at the offered features before they are accepted. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENODEV` leaves the device to other drivers.
    fn validate(dev: &Validation<'_>) -> Result;

    /// The number of queue pairs of the network device, each with a NAPI context. Sleeps.
    fn queue_pairs(dev: &super::Device) -> u16;

    /// Completes the network device, which is registered when this returns: sets up its queues and its
    /// data, takes the virtio device into use. Sleeps.
    ///
    /// # Errors
    ///
    /// Any; the network device is taken down, and the virtio device not bound.
    fn probe(net: &mut Unregistered<Self::Net>) -> Result;
}

/// The virtio device between a reset and its use: the right to give it new queues.
///
/// # Examples
///
/// ```
/// use kernel_net::virtio::net::{
///     Operations,
///     Queues,
///     Restart, //
/// };
///
/// fn restart<T: Operations>(restart: &mut Restart<'_, T>) -> Result<Queues> {
///     let queues = restart.find_vqs(true)?;
///     // Here the driver puts the queues where events find them.
///     restart.ready();
///     Ok(queues)
/// }
/// ```
pub struct Restart<'a, T: Operations>(&'a Device<T>);
