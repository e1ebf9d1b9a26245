// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Selectors: which bits of which header of a packet count.
//!
//! The same list is the capability, where its masks are what can be selected, and a classifier, where they
//! are what is selected. Masks have the byte order of the packet and follow each other without padding.

use crate::refusal::Refusal;
use crate::{put, Error};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// [`SelectorHdr::flags`] of a capability: parts of a field can be selected, too. The same number is the
/// flag of commands that create or modify a classifier with such masks.
pub const PARTIAL_MASK: u8 = 1;

/// Longest mask in bytes, that of IPv6.
pub const MAX_LEN: usize = 40;
/// Most selectors in a list: one of each kind.
pub const MAX_SELECTORS: usize = 7;

/// A header of a packet, or what is known of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Ethernet header, without VLAN tags.
    Eth = 1,
    /// IPv4 header, without options.
    Ipv4 = 2,
    /// IPv6 header; its next header is that of the last extension header.
    Ipv6 = 3,
    /// TCP header, without options.
    Tcp = 4,
    /// UDP header.
    Udp = 5,
    /// ESP header: SPI and sequence number.
    Esp = 6,
    /// Experimental, what IPsec has done: u8 flags (1: decrypted), u8 zero, be16 object type, be32 object
    /// id of the SA.
    XMeta = 0xf0,
}

impl Kind {
    /// All of them in ascending order.
    pub const ALL: [Self; MAX_SELECTORS] = [
        Self::Eth,
        Self::Ipv4,
        Self::Ipv6,
        Self::Tcp,
        Self::Udp,
        Self::Esp,
        Self::XMeta,
    ];

    /// The kind with this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == number)
    }

    /// Length of mask and key in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::Eth => 14,
            Self::Ipv4 | Self::Tcp => 20,
            Self::Ipv6 => MAX_LEN,
            Self::Udp | Self::Esp | Self::XMeta => 8,
        }
    }

    /// The lengths of its fields in bits, in their order. The control bits of TCP are a field each.
    const fn fields(self) -> &'static [u8] {
        match self {
            Self::Eth => &[48, 48, 16],
            Self::Ipv4 => &[4, 4, 6, 2, 16, 16, 3, 13, 8, 8, 16, 32, 32],
            Self::Ipv6 => &[4, 6, 2, 20, 16, 8, 8, 128, 128],
            Self::Tcp => &[16, 16, 32, 32, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1, 16, 16, 16],
            Self::Udp => &[16, 16, 16, 16],
            Self::Esp => &[32, 32],
            Self::XMeta => &[8, 8, 16, 32],
        }
    }

    /// The bytes that name the next header.
    const fn next_header(self) -> Option<(usize, usize)> {
        match self {
            Self::Eth => Some((12, 14)),
            Self::Ipv4 => Some((9, 10)),
            Self::Ipv6 => Some((6, 7)),
            _ => None,
        }
    }

    /// Its place in the order of headers: Ethernet, what is known of the packet, IP, what is in IP.
    const fn layer(self) -> u8 {
        match self {
            Self::Eth => 0,
            Self::XMeta => 1,
            Self::Ipv4 | Self::Ipv6 => 2,
            Self::Tcp | Self::Udp | Self::Esp => 3,
        }
    }
}

layout! {
    /// Start of a selector; its mask follows.
    pub struct SelectorHdr {
        /// The number of a [`Kind`].
        pub kind: u8,
        /// [`PARTIAL_MASK`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 2],
        /// Length of the mask in bytes.
        pub length: u8,
        /// Zero.
        pub reserved1: [u8; 3],
    }
}

/// One selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    kind: Kind,
    partial: bool,
    mask: [u8; MAX_LEN],
}

impl Selector {
    /// Of the header `kind`, with a `mask` of its length. `partial` is for capabilities, see
    /// [`PARTIAL_MASK`]. `None` if the mask has another length.
    pub fn new(kind: Kind, partial: bool, mask: &[u8]) -> Option<Self> {
        (mask.len() == kind.len()).then(|| Self::zero_extended(kind, partial, mask))
    }

    fn zero_extended(kind: Kind, partial: bool, from: &[u8]) -> Self {
        let mut mask = [0; MAX_LEN];
        for (to, from) in mask.iter_mut().take(kind.len()).zip(from) {
            *to = *from;
        }
        Self {
            kind,
            partial,
            mask,
        }
    }

    /// Which header it is about.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether parts of fields can be selected.
    pub const fn is_partial(&self) -> bool {
        self.partial
    }

    /// The mask, as long as the header.
    pub fn mask(&self) -> &[u8] {
        self.mask.get(..self.kind.len()).unwrap_or_default()
    }

    /// Every bit of the mask is one of `other`.
    fn is_part_of(&self, other: &Self) -> bool {
        self.mask
            .iter()
            .zip(&other.mask)
            .all(|(bits, all)| bits & !all == 0)
    }

    /// Every field is selected as far as `all` has it, or not at all.
    fn has_whole_fields(&self, all: &Self) -> bool {
        let mut start = 0u16;
        self.kind.fields().iter().all(|&bits| {
            let range = start..start.saturating_add(bits.into());
            start = range.end;
            let mut bits = range;
            let none = bits.clone().all(|bit| !self.bit(bit));
            none || bits.all(|bit| self.bit(bit) == all.bit(bit))
        })
    }

    /// Bit of the mask, counted in the order of the packet.
    fn bit(&self, bit: u16) -> bool {
        let byte = self.mask.get(usize::from(bit / 8)).copied().unwrap_or(0);
        byte.rotate_left(u32::from(bit % 8)) & 0x80 != 0
    }

    /// What names the next header is selected as a whole.
    fn selects_next_header(&self) -> bool {
        self.kind.next_header().is_none_or(|(from, to)| {
            let bytes = self.mask.get(from..to).unwrap_or_default();
            bytes.iter().all(|&byte| byte == 0xff)
        })
    }

    fn hdr(&self) -> SelectorHdr {
        SelectorHdr {
            kind: self.kind as u8,
            flags: if self.partial { PARTIAL_MASK } else { 0 },
            length: self.kind.len() as u8,
            ..SelectorHdr::default()
        }
    }
}

/// A list of selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selectors {
    list: [Option<Selector>; MAX_SELECTORS],
}

impl Selectors {
    /// An empty list.
    pub const EMPTY: Self = Self {
        list: [None; MAX_SELECTORS],
    };

    /// This list and `selector` behind it; `None` if it is full.
    #[must_use]
    pub fn with(mut self, selector: Selector) -> Option<Self> {
        let free = self.list.iter_mut().find(|place| place.is_none())?;
        *free = Some(selector);
        Some(self)
    }

    /// The selectors in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Selector> + '_ {
        self.list.iter().flatten()
    }

    /// The selector of this kind.
    pub fn get(&self, kind: Kind) -> Option<&Selector> {
        self.iter().find(|selector| selector.kind == kind)
    }

    /// Length of the keys of a rule in bytes.
    pub fn key_len(&self) -> usize {
        self.iter()
            .fold(0, |len, selector| len.saturating_add(selector.kind.len()))
    }

    /// Reads a capability that a driver sets.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if a selector is not known or has another length, or the list is not in ascending
    /// order.
    pub fn parse_capability(data: &[u8]) -> Result<Self, Refusal> {
        let list = Self::read(data)?;
        let mut numbers = list.iter().map(|selector| selector.kind as u8);
        let mut last = 0;
        Refusal::unless(numbers.all(|number| core::mem::replace(&mut last, number) < number))?;
        Ok(list)
    }

    /// Reads a capability that a device offers; selectors that are not known are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the data ends before the list does.
    pub fn known(data: &[u8]) -> Result<Self, Error> {
        let count = data.first().copied().unwrap_or(0);
        let mut rest = data.get(8..).unwrap_or_default();
        let mut list = Self::EMPTY;
        for _ in 0..count {
            let (hdr, mask) = SelectorHdr::read_from_prefix(rest).map_err(|_| Error::Truncated)?;
            let (mask, behind) = mask
                .split_at_checked(hdr.length.into())
                .ok_or(Error::Truncated)?;
            let partial = hdr.flags & PARTIAL_MASK != 0;
            let known = Kind::of(hdr.kind).and_then(|kind| Selector::new(kind, partial, mask));
            if let Some(longer) = known.and_then(|selector| list.with(selector)) {
                list = longer;
            }
            rest = behind;
        }
        Ok(list)
    }

    /// Reads a classifier; at most `most` selectors are allowed, and of each what `capability` has.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if there are no or too many selectors, if they are not in the order Ethernet
    /// (always), META, IPv4 or IPv6, and TCP, UDP or ESP, without a gap but for META; if one is not in the
    /// capability, has another length or selects what the capability does not have; or if one does not select
    /// as a whole what names the next header.
    pub fn parse_classifier(data: &[u8], capability: &Self, most: u8) -> Result<Self, Refusal> {
        Refusal::unless(data.first().is_some_and(|&count| count <= most))?;
        let list = Self::read(data)?;
        Refusal::unless(list.is_in_order() && list.iter().all(|one| capability.allows(one)))?;
        let names = |one: &Selector| {
            // META is no header, so nothing names it.
            let is_behind = |other: &Selector| {
                other.kind != Kind::XMeta && other.kind.layer() > one.kind.layer()
            };
            one.selects_next_header() || !list.iter().any(is_behind)
        };
        Refusal::unless(list.iter().all(names))?;
        Ok(list)
    }

    /// Whether every selector is one of `device`, with no more than its bits.
    pub fn is_within(&self, device: &Self) -> bool {
        self.iter().all(|one| {
            device
                .get(one.kind)
                .is_some_and(|all| one.is_part_of(all) && (!one.partial || all.partial))
        })
    }

    fn allows(&self, one: &Selector) -> bool {
        self.get(one.kind)
            .is_some_and(|all| one.is_part_of(all) && (all.partial || one.has_whole_fields(all)))
    }

    fn is_in_order(&self) -> bool {
        let mut layers = self.iter().map(|selector| selector.kind.layer());
        if layers.next() != Some(Kind::Eth.layer()) {
            return false;
        }
        let mut last = Kind::Eth.layer();
        layers.all(|layer| {
            let before = core::mem::replace(&mut last, layer);
            matches!((before, layer), (0, 1 | 2) | (1, 2) | (2, 3))
        })
    }

    /// All selectors, of which none may be unknown. What is missing at the end reads as zero.
    fn read(data: &[u8]) -> Result<Self, Refusal> {
        let count = data.first().copied().unwrap_or(0);
        let mut rest = data.get(8..).unwrap_or_default();
        let mut list = Self::EMPTY;
        for _ in 0..count {
            let hdr: SelectorHdr = crate::read_zero_extended(rest);
            let mask = rest.get(size_of::<SelectorHdr>()..).unwrap_or_default();
            let kind = Kind::of(hdr.kind).filter(|kind| kind.len() == usize::from(hdr.length));
            let kind = kind.ok_or(Refusal::FIELD)?;
            let partial = hdr.flags & PARTIAL_MASK != 0;
            let selector = Selector::zero_extended(kind, partial, mask);
            list = list.with(selector).ok_or(Refusal::FIELD)?;
            rest = mask.get(kind.len()..).unwrap_or_default();
        }
        Ok(list)
    }

    /// Writes the list to the start of `buf` and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if `buf` is too small.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let hdr = crate::cap::ListHdr::new(self.iter().count() as u8);
        let mut at = put(buf, 0, hdr.as_bytes())?;
        for selector in self.iter() {
            at = put(buf, at, selector.hdr().as_bytes())?;
            at = put(buf, at, selector.mask())?;
        }
        Ok(at)
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SelectorHdr>() == 8);
    assert!(offset_of!(SelectorHdr, flags) == 1);
    assert!(offset_of!(SelectorHdr, length) == 4);
};

#[cfg(test)]
#[path = "selector_tests.rs"]
pub(super) mod tests;
