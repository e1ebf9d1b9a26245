// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control queue (VIRTIO 1.4 section 5.1.6.5).
//!
//! A request is [`CtrlHdr`] and the command's data; the reply is one ack byte and, for some
//! commands, a result.
//!
//! Experimental class [`CLASS_X_ADMIN`], command [`X_ADMIN_EXEC`]: the data is a complete readable
//! part of an administration command ([`crate::admin`]) and the result a complete writable part,
//! because a driver on Linux cannot reach the administration queue. [`OK`] says that the command was
//! executed or refused *as administration command* (see its status). [`ERR`] says that it was not
//! executed: feature 127 is missing, there are fewer than 24 readable or 8 result bytes, or more than
//! [`X_ADMIN_MAX`] of either.

use crate::{U16, U32};

layout! {
    /// Start of a control request.
    pub struct CtrlHdr {
        /// One of the `CLASS_` constants.
        pub class: u8,
        /// Command within the class.
        pub command: u8,
    }
}

const _: () = assert!(size_of::<CtrlHdr>() == 2);

/// Ack: the command was carried out.
pub const OK: u8 = 0;
/// Ack: the command was refused.
pub const ERR: u8 = 1;

/// Class of receive modes; needs [`crate::feature::CTRL_RX`]. The data is one byte: 0 (off) or 1 (on).
pub const CLASS_RX: u8 = 0;
/// In [`CLASS_RX`]: receive everything.
pub const RX_PROMISC: u8 = 0;
/// In [`CLASS_RX`]: receive all multicast.
pub const RX_ALLMULTI: u8 = 1;
/// In [`CLASS_RX`]: receive all unicast. This and those below need [`crate::feature::CTRL_RX_EXTRA`], too.
pub const RX_ALLUNI: u8 = 2;
/// In [`CLASS_RX`]: receive no multicast.
pub const RX_NOMULTI: u8 = 3;
/// In [`CLASS_RX`]: receive no unicast.
pub const RX_NOUNI: u8 = 4;
/// In [`CLASS_RX`]: receive no broadcast.
pub const RX_NOBCAST: u8 = 5;

/// Class of Ethernet addresses.
pub const CLASS_MAC: u8 = 1;
/// In [`CLASS_MAC`]: receive what is for these addresses; needs [`crate::feature::CTRL_RX`]. The data is a
/// table of unicast and one of multicast addresses. Each is a count (le32) and so many addresses of six bytes.
pub const MAC_TABLE_SET: u8 = 0;

/// In [`CLASS_MAC`]: the interface has this address; needs [`crate::feature::CTRL_MAC_ADDR`]. The data are its
/// six bytes.
pub const MAC_ADDR_SET: u8 = 1;

/// Class of VLANs; needs [`crate::feature::CTRL_VLAN`]. The data is a VLAN id (le16), 0 to 4095.
pub const CLASS_VLAN: u8 = 2;
/// In [`CLASS_VLAN`]: receive the packets of this VLAN.
pub const VLAN_ADD: u8 = 0;
/// In [`CLASS_VLAN`]: do not receive them any more.
pub const VLAN_DEL: u8 = 1;

/// Multiqueue class.
pub const CLASS_MQ: u8 = 4;
/// In [`CLASS_MQ`]: use this many queue pairs (le16).
pub const MQ_VQ_PAIRS_SET: u8 = 0;
/// In [`CLASS_MQ`]: choose receive queues by this table ([`crate::rss`]); needs [`crate::feature::RSS`].
pub const MQ_RSS_CONFIG: u8 = 1;
/// In [`CLASS_MQ`]: hash so ([`crate::rss`]); needs [`crate::feature::HASH_REPORT`].
pub const MQ_HASH_CONFIG: u8 = 2;

/// Class of what the driver can receive; needs [`crate::feature::CTRL_GUEST_OFFLOADS`].
pub const CLASS_GUEST_OFFLOADS: u8 = 5;
/// In [`CLASS_GUEST_OFFLOADS`]: receive this only. The data is a set of feature bits below 64 (le64).
pub const GUEST_OFFLOADS_SET: u8 = 0;

/// Class of what holds notifications of used buffers back.
pub const CLASS_NOTF_COAL: u8 = 6;
/// In [`CLASS_NOTF_COAL`]: for all transmit queues; needs [`crate::feature::NOTF_COAL`]. The data is a
/// [`Coalescing`].
pub const NOTF_COAL_TX_SET: u8 = 0;
/// In [`CLASS_NOTF_COAL`]: the same for all receive queues.
pub const NOTF_COAL_RX_SET: u8 = 1;
/// In [`CLASS_NOTF_COAL`]: for one queue; needs [`crate::feature::VQ_NOTF_COAL`]. The data is a
/// [`QueueCoalescing`].
pub const NOTF_COAL_VQ_SET: u8 = 2;
/// In [`CLASS_NOTF_COAL`]: asks for that of one queue; needs the same feature. The data is a [`QueueIndex`], the
/// result a [`Coalescing`].
pub const NOTF_COAL_VQ_GET: u8 = 3;

layout! {
    /// When a notification of used buffers is sent: with so many packets, or so long after the first of them. If
    /// either is 0, after every packet.
    pub struct Coalescing {
        /// Packets.
        pub max_packets: U32,
        /// Microseconds.
        pub max_usecs: U32,
    }
}

layout! {
    /// A receive or transmit queue.
    pub struct QueueIndex {
        /// Index of the virtqueue.
        pub vq_index: U16,
        /// Ignored by the device.
        pub reserved: U16,
    }
}

layout! {
    /// [`Coalescing`] of one queue.
    pub struct QueueCoalescing {
        /// The queue.
        pub queue: QueueIndex,
        /// What is set for it.
        pub coalescing: Coalescing,
    }
}

const _: () = assert!(size_of::<QueueCoalescing>() == 12);

/// Experimental class: administration commands.
pub const CLASS_X_ADMIN: u8 = 0xe0;
/// In [`CLASS_X_ADMIN`]: execute one administration command.
pub const X_ADMIN_EXEC: u8 = 0;
/// Largest readable and largest writable part of [`X_ADMIN_EXEC`] in bytes, without [`CtrlHdr`] and
/// ack byte.
pub const X_ADMIN_MAX: usize = 4096;

impl CtrlHdr {
    /// Header in front of an administration command.
    pub const X_ADMIN: Self = Self {
        class: CLASS_X_ADMIN,
        command: X_ADMIN_EXEC,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn header_is_class_then_command() {
        assert_eq!(CtrlHdr::X_ADMIN.as_bytes(), [0xe0, 0]);
    }

    #[test]
    fn coalescing_is_packets_then_time() {
        let command = QueueCoalescing {
            queue: QueueIndex {
                vq_index: 0x0102.into(),
                reserved: 0.into(),
            },
            coalescing: Coalescing {
                max_packets: 0x0304.into(),
                max_usecs: 0x0506_0708.into(),
            },
        };
        let bytes = [2, 1, 0, 0, 4, 3, 0, 0, 8, 7, 6, 5];
        assert_eq!(command.as_bytes(), bytes);
    }
}
