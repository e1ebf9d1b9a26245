// SPDX-License-Identifier: GPL-2.0

//! What a device can do with programs, `NETDEV_XDP_ACT_*`.

use crate::bindings;

/// Programs that drop frames, pass them to the stack, and send them back.
pub const BASIC: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC;
/// Programs that give frames to other devices.
pub const REDIRECT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT;
/// Frames that programs of other devices give to this one.
pub const NDO_XMIT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT;
/// Memory of sockets (AF_XDP) that the device receives to and sends from: see [`super::umem`].
pub const XSK_ZEROCOPY: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_XSK_ZEROCOPY;
/// Programs may get frames in several pieces.
pub const RX_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_RX_SG;
/// Frames that programs of other devices give to this one may be in several pieces.
pub const NDO_XMIT_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT_SG;
