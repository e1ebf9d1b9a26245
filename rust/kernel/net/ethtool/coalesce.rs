// SPDX-License-Identifier: GPL-2.0

//! The moderation of interrupts: `ethtool -c`, `-C` and `--per-queue`.

use super::{
    Callbacks,
    Operations, //
};
use crate::{
    bindings,
    net::{
        netdevice::Device,
        netlink::ExtAck, //
    }, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

/// How long the interrupts of a queue are held back.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::Moderation;
///
/// let every_packet = Moderation::default();
/// assert_eq!((every_packet.usecs, every_packet.frames), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moderation {
    /// An interrupt comes so many microseconds after the first packet that it is for.
    pub usecs: u32,
    /// It comes earlier, with the last one of so many packets. 0: only the time counts.
    pub frames: u32,
}

/// The moderation of both directions.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::{
///     Coalesce,
///     Moderation, //
/// };
///
/// let wanted = Coalesce {
///     tx: Moderation { usecs: 50, frames: 16 },
///     adaptive_rx: true,
///     ..Coalesce::default()
/// };
/// assert_eq!(wanted.rx, Moderation::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalesce {
    /// Receiving.
    pub rx: Moderation,
    /// Sending.
    pub tx: Moderation,
    /// The driver chooses the moderation of receiving by what comes.
    pub adaptive_rx: bool,
}

impl Coalesce {
    /// What a request of ethtool asks for.
    ///
    /// # Safety
    ///
    /// `request` is valid for reads.
    unsafe fn read(request: *const bindings::ethtool_coalesce) -> Self {
        // SAFETY: By the contract.
        let request = unsafe { &*request };
        Self {
            rx: Moderation {
                usecs: request.rx_coalesce_usecs,
                frames: request.rx_max_coalesced_frames,
            },
            tx: Moderation {
                usecs: request.tx_coalesce_usecs,
                frames: request.tx_max_coalesced_frames,
            },
            adaptive_rx: request.use_adaptive_rx_coalesce != 0,
        }
    }

    /// Fills in the answer to a request.
    ///
    /// # Safety
    ///
    /// `out` is valid for writes, and nobody else uses it meanwhile.
    unsafe fn write(self, out: *mut bindings::ethtool_coalesce) {
        // SAFETY: By the contract.
        let out = unsafe { &mut *out };
        out.rx_coalesce_usecs = self.rx.usecs;
        out.rx_max_coalesced_frames = self.rx.frames;
        out.tx_coalesce_usecs = self.tx.usecs;
        out.tx_max_coalesced_frames = self.tx.frames;
        out.use_adaptive_rx_coalesce = self.adaptive_rx.into();
    }
}

impl<T: Operations> Callbacks<T> {
    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a structure to fill.
    pub(super) unsafe extern "C" fn get_coalesce(
        dev: *mut bindings::net_device,
        out: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| {
            // SAFETY: By the contract.
            unsafe { T::coalesce(dev)?.write(out) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a request that changes nothing but what is among
    /// `supported_coalesce_params`, and with null or an extack that is valid during the call.
    pub(super) unsafe extern "C" fn set_coalesce(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: By the contract.
        let wanted = unsafe { Coalesce::read(request) };
        // SAFETY: By the contract null or valid during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        from_result(|| T::set_coalesce(dev, wanted, &mut extack).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a structure to fill.
    pub(super) unsafe extern "C" fn get_per_queue_coalesce(
        dev: *mut bindings::net_device,
        queue: u32,
        out: *mut bindings::ethtool_coalesce,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| {
            // SAFETY: By the contract.
            unsafe { T::queue_coalesce(dev, queue)?.write(out) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a request as that of [`Self::set_coalesce`].
    pub(super) unsafe extern "C" fn set_per_queue_coalesce(
        dev: *mut bindings::net_device,
        queue: u32,
        request: *mut bindings::ethtool_coalesce,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: By the contract.
        let wanted = unsafe { Coalesce::read(request) };
        from_result(|| T::set_queue_coalesce(dev, queue, wanted).map(|()| 0))
    }
}
