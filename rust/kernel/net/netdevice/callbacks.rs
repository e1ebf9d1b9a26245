// SPDX-License-Identifier: GPL-2.0

//! The C callbacks of `struct net_device_ops`.

use super::{
    Device,
    Operations,
    Stats64, //
};
use crate::{
    bindings,
    net::{
        netlink::ExtAck,
        skbuff::SkBuff,
        xdp::{
            Given,
            Program, //
        }, //
    },
    rtnl, //
};
use core::{
    any::TypeId,
    marker::PhantomData,
    ptr::addr_of, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The table and its functions.
pub(super) struct Callbacks<T>(PhantomData<T>);

impl<T: Operations> Callbacks<T> {
    const NETDEV_OPS: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_tx_timeout: Some(Self::tx_timeout),
        ndo_get_stats64: Some(Self::get_stats64),
        ndo_fix_features: Some(Self::fix_features),
        ndo_set_features: Some(Self::set_features),
        ndo_set_rx_mode: Some(Self::set_rx_mode),
        ndo_vlan_rx_add_vid: Some(Self::vlan_rx_add_vid),
        ndo_vlan_rx_kill_vid: Some(Self::vlan_rx_kill_vid),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_set_mac_address: Some(Self::set_mac_address),
        ndo_bpf: match T::XDP {
            true => Some(Self::bpf),
            false => None,
        },
        ndo_xdp_xmit: match T::XDP {
            true => Some(Self::xdp_xmit),
            false => None,
        },
        ndo_xsk_wakeup: match T::XDP {
            true => Some(super::umem::wakeup_callback::<T>),
            false => None,
        },
        // SAFETY: All fields are optional functions.
        ..unsafe { core::mem::zeroed() }
    };

    /// The table. One function, so one address: it tells our devices from others.
    #[inline(never)]
    pub(super) fn netdev_ops() -> &'static bindings::net_device_ops {
        const { &Self::NETDEV_OPS }
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The stack calls with RTNL held.
        let rtnl = unsafe { rtnl::Held::assume() };
        dev.open_polling();
        from_result(|| {
            T::open(dev, rtnl).inspect_err(|_| dev.close_polling())?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        T::stop(dev);
        dev.close_polling();
        0
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T` with an skb that it gives away.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: The stack gives us a valid skb, and NETDEV_TX_OK says that we own it.
        if let Some(skb) = unsafe { SkBuff::from_raw(skb) } {
            T::start_xmit(dev, skb.queue(), skb);
        }
        bindings::netdev_tx_NETDEV_TX_OK
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: c_uint) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // CAST: A device has fewer queues than that.
        T::tx_timeout(dev, queue as u16);
    }

    /// # Safety
    ///
    /// Called by the stack for a device of `T` that it registers, or that is registered.
    unsafe extern "C" fn fix_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: By the contract; such devices have initialised data and a bound parent.
        T::fix_features(unsafe { Device::from_raw(dev) }, features)
    }

    /// # Safety
    ///
    /// Called by the stack for a device of `T` that it registers, or that is registered.
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> c_int {
        // SAFETY: By the contract; such devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| T::set_features(dev, features).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn set_rx_mode(dev: *mut bindings::net_device) {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::set_rx_mode(unsafe { Device::from_raw(dev) });
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn vlan_rx_add_vid(
        dev: *mut bindings::net_device,
        _protocol: bindings::__be16,
        id: u16,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| T::vlan_rx_add_vid(dev, id).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`.
    unsafe extern "C" fn vlan_rx_kill_vid(
        dev: *mut bindings::net_device,
        _protocol: bindings::__be16,
        id: u16,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| T::vlan_rx_kill_vid(dev, id).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`, with RTNL held and a `struct sockaddr` that has
    /// an address of Ethernet, or more.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        address: *mut c_void,
    ) -> c_int {
        /// Where the address begins: behind the family.
        const SA_DATA: usize = 2;
        // SAFETY: By the contract. This refuses what is no address of a station.
        let checked = to_result(unsafe { bindings::eth_prepare_mac_addr_change(dev, address) });
        // SAFETY: By the contract. The bytes have no alignment.
        let mac = unsafe { address.byte_add(SA_DATA).cast::<[u8; 6]>().read() };
        from_result(|| {
            checked?;
            // SAFETY: By the contract; registered devices have initialised data and a bound parent.
            T::set_mac_address(unsafe { Device::from_raw(dev) }, mac)?;
            // SAFETY: By the contract, with the address that was checked.
            unsafe { bindings::eth_commit_mac_addr_change(dev, address) };
            // The address is part of what the interface receives.
            // SAFETY: By the contract; registered devices have initialised data and a bound parent.
            T::set_rx_mode(unsafe { Device::from_raw(dev) });
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T`, with RTNL held. A program that the request has is one for
    /// XDP, of which a reference is ours if this succeeds.
    unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        request: *mut bindings::netdev_bpf,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The stack passes a valid request.
        let command = unsafe { bindings::bpf_command(request) };
        if command == bindings::bpf_netdev_command_XDP_SETUP_XSK_POOL {
            // SAFETY: It is a request of this kind, and the rest is the contract.
            return unsafe { super::umem::set_up(dev, request) };
        }
        if command != bindings::bpf_netdev_command_XDP_SETUP_PROG {
            return EINVAL.to_errno();
        }
        // SAFETY: It is a request of this kind.
        let raw = unsafe { bindings::bpf_setup_prog(request) };
        // SAFETY: The pointer is null or valid during the request.
        let mut extack = unsafe { ExtAck::from_raw(bindings::bpf_setup_extack(request)) };
        // SAFETY: The stack calls with RTNL held.
        let rtnl = unsafe { rtnl::Held::assume() };
        from_result(|| {
            // SAFETY: Null, or a program of which the stack has a reference.
            let program = unsafe { Program::get(raw) };
            T::set_program(dev, program, &mut extack, rtnl)?;
            if !raw.is_null() {
                // SAFETY: The stack's reference, which is ours now; the driver has another one.
                unsafe { bindings::bpf_prog_put(raw) };
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the stack in a softirq, for a registered device of `T` with `count` frames, of which as many as it
    /// returns are given away, the first ones.
    unsafe extern "C" fn xdp_xmit(
        dev: *mut bindings::net_device,
        count: c_int,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> c_int {
        let Ok(count @ 1..) = usize::try_from(count) else {
            return 0;
        };
        if flags & !bindings::XDP_XMIT_FLAGS_MASK != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: The stack passes so many pointers, and does not change them meanwhile.
        let frames = unsafe { core::slice::from_raw_parts(frames, count) };
        // SAFETY: The frames are valid, and we say below which ones we have taken.
        let mut frames = unsafe { Given::new(frames) };
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::xdp_xmit(unsafe { Device::from_raw(dev) }, &mut frames);
        // CAST: No more than `count`.
        frames.taken() as c_int
    }

    /// # Safety
    ///
    /// Called by the stack for a registered device of `T` with a structure to fill.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        out: *mut bindings::rtnl_link_stats64,
    ) {
        let mut stats = Stats64::default();
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::stats64(unsafe { Device::from_raw(dev) }, &mut stats);
        // SAFETY: The stack passes an initialised structure for us to fill, which nobody else uses
        // meanwhile.
        let out = unsafe { &mut *out };
        out.rx_packets = stats.rx_packets;
        out.rx_bytes = stats.rx_bytes;
        out.tx_packets = stats.tx_packets;
        out.tx_bytes = stats.tx_bytes;
        out.rx_dropped = stats.rx_dropped;
        out.tx_dropped = stats.tx_dropped;
        out.rx_errors = stats.rx_errors;
    }
}

/// Whether a device of the stack was made here for `T`.
///
/// # Safety
///
/// `dev` is a live device.
pub(crate) unsafe fn is_made_for<T: Operations>(dev: *mut bindings::net_device) -> bool {
    // SAFETY: By the contract; set before the device is registered, and not changed.
    let ops = unsafe { addr_of!((*dev).netdev_ops).read() };
    if !core::ptr::eq(ops, Callbacks::<T>::netdev_ops()) {
        return false;
    }
    // Tables of equal contents may lie at one address, so ours tell that the device is one of this
    // module's, and only the type tells which.
    // SAFETY: Only devices with a `Private` have one of our tables, and this is its first field,
    // whatever the type.
    let id = unsafe { bindings::netdev_priv(dev).cast::<TypeId>().read() };
    id == TypeId::of::<T>()
}
