// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling: `ethtool -x`, `-X`, and `-n` and `-N` with `rx-flow-hash`.

use super::{
    Callbacks,
    Operations, //
};
use crate::{
    bindings,
    net::{
        netdevice::Device,
        netlink::ExtAck,
        operation_not_supported, //
    },
    rtnl, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

/// The sizes of what spreads received packets over the queues.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::RssSizes;
///
/// // A device that cannot do it.
/// assert_eq!(RssSizes::default(), RssSizes { table: 0, key: 0 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RssSizes {
    /// Entries of the table.
    pub table: u32,
    /// Bytes of the key.
    pub key: u32,
}

/// What the user wants of it.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::RssRequest;
///
/// fn uses_queue(request: &RssRequest<'_>, queue: u32) -> bool {
///     request.table.is_some_and(|table| table.contains(&queue))
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RssRequest<'a> {
    /// A table with numbers of queues in use, of the device's size; else it stays as it is.
    pub table: Option<&'a [u32]>,
    /// A key of the device's size; else it stays as it is.
    pub key: Option<&'a [u8]>,
}

/// Packets of one kind.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::HashFlow;
///
/// fn has_ports(flow: HashFlow) -> bool {
///     !matches!(flow, HashFlow::Ipv4 | HashFlow::Ipv6)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFlow {
    /// IPv4 that is neither TCP nor UDP.
    Ipv4,
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4.
    Udp4,
    /// IPv6 that is neither TCP nor UDP.
    Ipv6,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
}

impl HashFlow {
    /// `None` for kinds that are not told apart here.
    fn of(flow_type: u32) -> Option<Self> {
        Some(match flow_type {
            bindings::IPV4_FLOW => Self::Ipv4,
            bindings::TCP_V4_FLOW => Self::Tcp4,
            bindings::UDP_V4_FLOW => Self::Udp4,
            bindings::IPV6_FLOW => Self::Ipv6,
            bindings::TCP_V6_FLOW => Self::Tcp6,
            bindings::UDP_V6_FLOW => Self::Udp6,
            _ => return None,
        })
    }

    /// Also for kinds that are parts of one of these: IPv4 and IPv6 with other protocols.
    fn with(flow_type: u32) -> Option<Self> {
        match flow_type {
            bindings::SCTP_V4_FLOW
            | bindings::AH_ESP_V4_FLOW
            | bindings::AH_V4_FLOW
            | bindings::ESP_V4_FLOW => Some(Self::Ipv4),
            bindings::SCTP_V6_FLOW
            | bindings::AH_ESP_V6_FLOW
            | bindings::AH_V6_FLOW
            | bindings::ESP_V6_FLOW => Some(Self::Ipv6),
            other => Self::of(other),
        }
    }
}

/// What the hash of a packet is made of.
///
/// # Examples
///
/// ```
/// use kernel_net::net::ethtool::HashFields;
///
/// fn tells_connections_apart(fields: HashFields) -> bool {
///     fields == HashFields::Ports
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFields {
    /// There is none.
    Nothing,
    /// Both addresses.
    Addresses,
    /// Both addresses and both ports.
    Ports,
}

const ADDRESSES: u32 = bindings::RXH_IP_SRC | bindings::RXH_IP_DST;
const PORTS: u32 = ADDRESSES | bindings::RXH_L4_B_0_1 | bindings::RXH_L4_B_2_3;

impl HashFields {
    fn bits(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Addresses => ADDRESSES,
            Self::Ports => PORTS,
        }
    }

    /// `None` for other combinations.
    fn of(bits: u32) -> Option<Self> {
        Some(match bits {
            0 => Self::Nothing,
            ADDRESSES => Self::Addresses,
            PORTS => Self::Ports,
            _ => return None,
        })
    }
}

impl<T: Operations> Device<T> {
    /// Whether the user has chosen the table, so that it stays when the number of queues changes.
    pub fn has_user_table(&self, _rtnl: &rtnl::Held) -> bool {
        // SAFETY: The device lives as long as the reference, and RTNL is held.
        unsafe { bindings::netif_is_rxfh_configured(self.as_raw()) }
    }
}

impl<T: Operations> Callbacks<T> {
    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`.
    pub(super) unsafe extern "C" fn get_rx_ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::channels(unsafe { Device::from_raw(dev) }).current
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`.
    pub(super) unsafe extern "C" fn get_rxfh_key_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::rss_sizes(unsafe { Device::from_raw(dev) }).key
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`.
    pub(super) unsafe extern "C" fn get_rxfh_indir_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        T::rss_sizes(unsafe { Device::from_raw(dev) }).table
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with initialised room for a table and a key of their
    /// sizes, or without one or both.
    pub(super) unsafe extern "C" fn get_rxfh(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        let sizes = T::rss_sizes(dev);
        if sizes == RssSizes::default() {
            return operation_not_supported().to_errno();
        }
        // SAFETY: ethtool passes a structure for us to fill.
        let request = unsafe { &mut *request };
        // SAFETY: By the contract there is room for so many entries, or none.
        let table = unsafe { lent(request.indir, sizes.table) };
        // SAFETY: By the contract there is room for so many bytes, or none.
        let key = unsafe { lent(request.key, sizes.key) };
        T::rss(dev, table.unwrap_or_default(), key.unwrap_or_default());
        request.hfunc = TOEPLITZ;
        0
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a table and a key of their sizes, or without
    /// one or both, and with null or an extack that is valid during the call. The entries are numbers of queues in
    /// use. RTNL is held.
    pub(super) unsafe extern "C" fn set_rxfh(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_rxfh_param,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        let sizes = T::rss_sizes(dev);
        if sizes == RssSizes::default() {
            return operation_not_supported().to_errno();
        }
        // SAFETY: By the contract null or valid during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        // SAFETY: ethtool passes a valid request.
        let request = unsafe { &*request };
        if !matches!(request.hfunc, UNCHANGED | TOEPLITZ) {
            extack.set(c"Toeplitz is the only hash function");
            return operation_not_supported().to_errno();
        }
        // SAFETY: By the contract there are so many entries, or none.
        let table = unsafe { lent(request.indir, sizes.table) };
        // SAFETY: By the contract there are so many bytes, or none.
        let key = unsafe { lent(request.key, sizes.key) };
        let request = RssRequest {
            table: table.map(|table| &*table),
            key: key.map(|key| &*key),
        };
        from_result(|| T::set_rss(dev, request).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a structure to fill.
    pub(super) unsafe extern "C" fn get_rxfh_fields(
        dev: *mut bindings::net_device,
        request: *mut bindings::ethtool_rxfh_fields,
    ) -> c_int {
        // SAFETY: ethtool passes a structure for us to fill.
        let request = unsafe { &mut *request };
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        from_result(|| {
            let flow = HashFlow::with(request.flow_type).ok_or_else(operation_not_supported)?;
            request.data = T::hash_fields(dev, flow)?.bits();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by ethtool for a registered device of `T`, with a request, and with null or an extack that is valid
    /// during the call. RTNL is held.
    pub(super) unsafe extern "C" fn set_rxfh_fields(
        dev: *mut bindings::net_device,
        request: *const bindings::ethtool_rxfh_fields,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: ethtool passes a valid request.
        let request = unsafe { &*request };
        // SAFETY: By the contract; registered devices have initialised data and a bound parent.
        let dev = unsafe { Device::from_raw(dev) };
        // SAFETY: By the contract null or valid during the call, which `extack` does not outlive.
        let mut extack = unsafe { ExtAck::from_raw(extack) };
        from_result(|| {
            let Some(flow) = HashFlow::of(request.flow_type) else {
                extack.set(c"only IP, TCP and UDP are told apart");
                return Err(operation_not_supported());
            };
            let Some(fields) = HashFields::of(request.data) else {
                extack.set(c"a hash is of both addresses, and of both ports or none");
                return Err(EINVAL);
            };
            T::set_hash_fields(dev, flow, fields, &mut extack)?;
            Ok(0)
        })
    }
}

/// `hfunc`: as it is.
const UNCHANGED: u8 = bindings::ETH_RSS_HASH_NO_CHANGE as u8;
/// `hfunc`: the Toeplitz hash.
const TOEPLITZ: u8 = 1 << bindings::ETH_RSS_HASH_TOP_BIT;

/// The `len` values at `first`, or `None` if that is null.
///
/// # Safety
///
/// Otherwise so many are there, initialised, for this call of ethtool alone.
unsafe fn lent<'a, T>(first: *mut T, len: u32) -> Option<&'a mut [T]> {
    if first.is_null() {
        return None;
    }
    // SAFETY: By the contract. CAST: From 32 to 64 bits.
    Some(unsafe { core::slice::from_raw_parts_mut(first, len as usize) })
}
