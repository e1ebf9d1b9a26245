// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Events of SAs, experimental: limits that are reached, numbers that run out, a peer behind a NAT that
//! has moved.
//!
//! They come through a queue of their own, behind the control queue. The driver posts buffers of at
//! least [`Event::LEN`] bytes, and the NIC writes one record into each.

use crate::{Error, U16, U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// What has happened. The number is that of the record, and of the bit in
/// [`crate::sa::SaTail::event_mask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A soft limit was reached, of packets or of bytes.
    SoftLimit = 1,
    /// A hard limit was reached; the SA does nothing more.
    HardLimit = 2,
    /// There is no sequence number left; the SA sends nothing more.
    Overflow = 3,
    /// ESP in UDP came from another address or port, and was authentic. The record is a [`Mapping`].
    NatMapping = 4,
    /// Events were lost for want of buffers: the state of any SA may have changed.
    Lost = 5,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SoftLimit,
        Self::HardLimit,
        Self::Overflow,
        Self::NatMapping,
        Self::Lost,
    ];

    /// The kind with this number.
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u16 == number)
    }

    /// Its bit in [`crate::sa::SaTail::event_mask`].
    pub const fn mask(self) -> u64 {
        1u64.rotate_left(self as u32)
    }

    /// Whether an SA with this `mask` reports it. That events were lost is always reported.
    pub const fn is_in(self, mask: u64) -> bool {
        matches!(self, Self::Lost) || mask & self.mask() != 0
    }
}

/// Bits of [`crate::sa::SaTail::event_mask`] that an SA may have.
pub const MASK_ALL: u64 = Kind::SoftLimit.mask()
    | Kind::HardLimit.mask()
    | Kind::Overflow.mask()
    | Kind::NatMapping.mask();

layout! {
    /// The record.
    pub struct Event {
        /// The number of a [`Kind`].
        pub kind: U16,
        /// Object type of the SA ([`crate::sa`]); 0 with [`Kind::Lost`].
        pub res_type: U16,
        /// Object id of the SA.
        pub id: U32,
        /// Packets that the SA has processed.
        pub packets: U64,
        /// Bytes that the SA has processed.
        pub bytes: U64,
        /// Last (outbound) or highest (inbound) sequence number, 64 bits.
        pub seq: U64,
    }
}

impl Event {
    /// Length of a record in bytes.
    pub const LEN: usize = 32;

    /// Reads the record in a buffer of which the NIC has written `data`. A number of
    /// [`Event::kind`] that is not known is for the reader to ignore, see [`Kind::of`].
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the record is not complete.
    pub fn read(data: &[u8]) -> Result<Self, Error> {
        match Self::read_from_prefix(data) {
            Ok((event, _)) => Ok(event),
            Err(_) => Err(Error::Truncated),
        }
    }
}

layout! {
    /// The record of a [`Kind::NatMapping`]: where the packets come from now.
    pub struct Mapping {
        /// [`Kind::NatMapping`].
        pub kind: U16,
        /// Object type of the SA ([`crate::sa`]).
        pub res_type: U16,
        /// Object id of the SA.
        pub id: U32,
        /// Source address of the packets, network order; IPv4 in the first 4 bytes.
        pub src: [u8; 16],
        /// UDP source port of the packets.
        pub port: U16,
        /// Family of [`Mapping::src`]: 4 or 6.
        pub family: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Mapping {
    /// What the record `event` says; `None` if it is about something else.
    pub fn of(event: &Event) -> Option<Self> {
        let is_mapping = Kind::of(event.kind.get()) == Some(Kind::NatMapping);
        Self::read_from_bytes(event.as_bytes())
            .ok()
            .filter(|_| is_mapping)
    }
}

impl From<Mapping> for Event {
    fn from(mapping: Mapping) -> Self {
        zerocopy::transmute!(mapping)
    }
}

/// Index of the event queue of a device with `max_pairs` queue pairs, of which the driver has negotiated
/// `several` ([`crate::feature::MQ`] or [`crate::feature::RSS`]) or only one: it follows the control queue.
pub const fn queue_index(several: bool, max_pairs: u16) -> u16 {
    let pairs = if several { max_pairs } else { 1 };
    pairs.saturating_mul(2).saturating_add(1)
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Event>() == Event::LEN);
    assert!(offset_of!(Event, res_type) == 2);
    assert!(offset_of!(Event, id) == 4);
    assert!(offset_of!(Event, packets) == 8);
    assert!(offset_of!(Event, bytes) == 16);
    assert!(offset_of!(Event, seq) == 24);
    assert!(size_of::<Mapping>() == Event::LEN);
    assert!(offset_of!(Mapping, src) == 8);
    assert!(offset_of!(Mapping, port) == 24);
    assert!(offset_of!(Mapping, family) == 26);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bits_agree() {
        let numbers = Kind::ALL.map(|kind| kind as u16);
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u16), Some(kind));
            assert_eq!(kind.mask(), 1 << (kind as u16));
        }
        assert_eq!([0, 6, 0xffff].map(Kind::of), [None; 3]);
        assert_eq!(MASK_ALL, 0x1e);
    }

    #[test]
    fn an_sa_reports_what_its_mask_has() {
        assert!(Kind::HardLimit.is_in(4) && !Kind::HardLimit.is_in(!4));
        assert!(Kind::Lost.is_in(0));
        assert!(!Kind::SoftLimit.is_in(1), "bit 0 is no event");
    }

    #[test]
    fn a_record_is_little_endian_and_whole() {
        let event = Event {
            kind: U16::new(Kind::Overflow as u16),
            res_type: U16::new(crate::sa::OBJ_OUTB_SA),
            id: U32::new(7),
            packets: U64::new(0x0102_0304_0506_0708),
            bytes: U64::new(2),
            seq: U64::new(0xffff_ffff),
        };
        let mut bytes = event.as_bytes().to_vec();
        assert_eq!(bytes[..8], [3, 0, 3, 2, 7, 0, 0, 0]);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        bytes.push(9);
        assert_eq!(Event::read(&bytes), Ok(event));
        for len in 0..Event::LEN {
            assert_eq!(Event::read(&bytes[..len]), Err(Error::Truncated));
        }
    }

    #[test]
    fn a_mapping_is_a_record() {
        let mapping = Mapping {
            kind: U16::new(Kind::NatMapping as u16),
            res_type: U16::new(crate::sa::OBJ_INB_SA),
            id: U32::new(7),
            src: [9; 16],
            port: U16::new(61000),
            family: 6,
            reserved: [0; 5],
        };
        let mut event = Event::from(mapping);
        assert_eq!(event.as_bytes()[..10], [4, 0, 4, 2, 7, 0, 0, 0, 9, 9]);
        assert_eq!(event.as_bytes()[24..], [0x48, 0xee, 6, 0, 0, 0, 0, 0]);
        assert_eq!(Mapping::of(&event), Some(mapping));
        event.kind = U16::new(Kind::SoftLimit as u16);
        assert_eq!(Mapping::of(&event), None);
    }

    #[test]
    fn the_queue_is_behind_the_control_queue() {
        assert_eq!(queue_index(false, 8), 3);
        assert_eq!(queue_index(true, 8), 17);
        assert_eq!(queue_index(true, 0x8000), u16::MAX);
    }
}
