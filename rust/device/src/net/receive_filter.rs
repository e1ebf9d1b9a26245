// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The frames that a driver wants, by Ethernet address and VLAN (VIRTIO 1.4 section 5.1.6.5, "Packet Receive
//! Filtering", "Setting MAC Address Filtering", "VLAN Filtering").
//!
//! A driver that has not negotiated `CTRL_RX` or `CTRL_VLAN` gets frames whatever their address or VLAN. The
//! data plane reads the filter under the device's lock, which it has anyway.

use espnic_esp::ip::{be16, ETHERTYPE_VLAN};
use espnic_wire::ctrl;
use espnic_wire::feature;

use crate::mac::{is_group, MacAddress};
use crate::memory::GuestMap;
use crate::stats::{Counter, VirtioStats};
use crate::virtio::chain::Chain;
use crate::virtio::error::RingError;

/// Most addresses that are kept of each of the two tables. With more the driver gets all frames of that kind,
/// which the standard allows.
pub const MAX_ADDRESSES: usize = 128;
/// VLAN ids of IEEE 802.1Q.
const VLANS: u16 = 4096;
/// The bits of a tag that are the VLAN id.
const VLAN_ID: u16 = VLANS - 1;
const BROADCAST: MacAddress = [0xff; 6];
/// Length of the number in front of a table.
const COUNT: usize = 4;

/// What the driver has chosen.
#[derive(Debug, Default)]
pub struct ReceiveFilter {
    /// The modes that are on: bit `n` is command `n` of the class.
    modes: u8,
    unicast: Addresses,
    multicast: Addresses,
    /// One bit for each VLAN; empty if no VLAN was ever added.
    vlans: Vec<u64>,
}

/// The addresses of a table.
#[derive(Debug, PartialEq, Eq)]
pub enum Addresses {
    /// These, in order.
    Some(Vec<MacAddress>),
    /// Too many to be kept: all.
    All,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Addresses {
    fn have(&self, address: &MacAddress) -> bool {
        match self {
            Self::Some(addresses) => addresses.binary_search(address).is_ok(),
            Self::All => true,
        }
    }
}

impl ReceiveFilter {
    /// Switches a mode on (1) or off (0); `extra`: those of `CTRL_RX_EXTRA` are there. `None`, and nothing
    /// changes, for anything else.
    pub fn set_mode(&mut self, mode: u8, on: u8, extra: bool) -> Option<()> {
        let last = match extra {
            true => ctrl::RX_NOBCAST,
            false => ctrl::RX_ALLMULTI,
        };
        if mode > last {
            return None;
        }
        match on {
            0 => self.modes &= !(1 << mode),
            1 => self.modes |= 1 << mode,
            _ => return None,
        }
        Some(())
    }

    /// Replaces the tables of unicast and of multicast addresses.
    pub fn set_addresses(&mut self, [unicast, multicast]: [Addresses; 2]) {
        (self.unicast, self.multicast) = (unicast, multicast);
    }

    /// Adds or deletes a VLAN. `None`, and nothing changes, if there is no such VLAN or command.
    pub fn change_vlan(&mut self, command: u8, vlan: u16) -> Option<()> {
        if vlan >= VLANS {
            return None;
        }
        let (word, bit) = place_of(vlan);
        match command {
            ctrl::VLAN_ADD => {
                self.vlans.resize(usize::from(VLANS / 64), 0);
                *self.vlans.get_mut(word)? |= bit;
            }
            ctrl::VLAN_DEL => {
                // One that is not there is deleted already.
                if let Some(word) = self.vlans.get_mut(word) {
                    *word &= !bit;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn is_on(&self, mode: u8) -> bool {
        self.modes & (1 << mode) != 0
    }

    /// Whether frames to `address` are wanted by a NIC whose own address is `own`.
    fn wants(&self, own: &MacAddress, address: &MacAddress) -> bool {
        if *address == BROADCAST {
            return !self.is_on(ctrl::RX_NOBCAST);
        }
        let (table, all, none) = match is_group(address) {
            false => (&self.unicast, ctrl::RX_ALLUNI, ctrl::RX_NOUNI),
            true => (&self.multicast, ctrl::RX_ALLMULTI, ctrl::RX_NOMULTI),
        };
        !self.is_on(none) && (address == own || self.is_on(all) || table.have(address))
    }

    /// Whether frames of this VLAN are wanted. Id 0 is no VLAN: the tag has a priority only.
    fn wants_vlan(&self, vlan: u16) -> bool {
        let (word, bit) = place_of(vlan);
        vlan == 0 || self.vlans.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The word and the bit of a VLAN.
fn place_of(vlan: u16) -> (usize, u64) {
    (usize::from(vlan / 64), 1 << (vlan % 64))
}

/// The address that a frame is for, in a word; `None` if the frame has less than one.
#[inline(always)]
fn start(frame: &[u8]) -> Option<u64> {
    let word = frame.first_chunk().map(|word| u64::from_be_bytes(*word));
    word.map(|word| word >> 16)
}

/// The filter with what it depends on, for a batch of frames.
pub struct Screen<'a> {
    filter: &'a ReceiveFilter,
    own: MacAddress,
    /// The same as [`start`] has it, if frames to it are wanted: most frames are to it.
    quick: Option<u64>,
    addresses: bool,
    vlans: bool,
}

impl<'a> Screen<'a> {
    /// Of a device whose address is `own`, and whose driver `has` negotiated features; `None` if it has not
    /// negotiated to choose.
    pub fn of(
        filter: &'a ReceiveFilter,
        has: impl Fn(u32) -> bool,
        own: impl FnOnce() -> MacAddress,
    ) -> Option<Self> {
        let (addresses, vlans) = (has(feature::CTRL_RX), has(feature::CTRL_VLAN));
        let all = addresses && filter.is_on(ctrl::RX_PROMISC);
        ((addresses || vlans) && !all).then(|| {
            let own = own();
            let [a, b, c, d, e, f] = own;
            Self {
                filter,
                own,
                quick: start(&[a, b, c, d, e, f, 0, 0]).filter(|_| filter.wants(&own, &own)),
                addresses,
                vlans,
            }
        })
    }

    /// The counter of the reason why a frame is not wanted.
    #[inline]
    pub fn refusal<'s>(&self, stats: &'s VirtioStats, frame: &[u8]) -> Option<&'s Counter> {
        let quick = self.quick.is_some() && self.quick == start(frame);
        if self.addresses && !quick {
            let to = frame.first_chunk();
            if !to.is_some_and(|to| self.filter.wants(&self.own, to)) {
                return Some(&stats.rx_drop_address);
            }
        }
        if self.vlans && be16(frame, 12) == Some(ETHERTYPE_VLAN) {
            let tag = be16(frame, 14);
            if !tag.is_some_and(|tag| self.filter.wants_vlan(tag & VLAN_ID)) {
                return Some(&stats.rx_drop_vlan);
            }
        }
        None
    }
}

/// Reads both tables of the command, `len` bytes from `at` on; surplus is ignored. `None` if there are fewer
/// bytes than they need.
pub fn read_tables(
    mem: &GuestMap,
    chain: &Chain,
    at: usize,
    len: usize,
) -> Result<Option<[Addresses; 2]>, RingError> {
    let Some((unicast, used)) = read_table(mem, chain, at, len)? else {
        return Ok(None);
    };
    let rest = read_table(mem, chain, at + used, len - used)?;
    Ok(rest.map(|(multicast, _)| [unicast, multicast]))
}

/// Reads one of them; also returns how many bytes it has.
fn read_table(
    mem: &GuestMap,
    chain: &Chain,
    at: usize,
    len: usize,
) -> Result<Option<(Addresses, usize)>, RingError> {
    let mut count = [0; COUNT];
    if len < COUNT {
        return Ok(None);
    }
    chain.read(mem, at as u64, &mut count)?;
    let count = u32::from_le_bytes(count) as usize;
    if count > (len - COUNT) / size_of::<MacAddress>() {
        return Ok(None);
    }
    let used = COUNT + count * size_of::<MacAddress>();
    if count > MAX_ADDRESSES {
        return Ok(Some((Addresses::All, used)));
    }
    let mut addresses = vec![MacAddress::default(); count];
    chain.read(mem, (at + COUNT) as u64, addresses.as_flattened_mut())?;
    addresses.sort_unstable();
    Ok(Some((Addresses::Some(addresses), used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddress = [2, 0, 0, 0, 0, 1];
    const OTHER: MacAddress = [2, 0, 0, 0, 0, 2];
    const GROUP_A: MacAddress = [0x33, 0x33, 0, 0, 0, 1];
    const GROUP_B: MacAddress = [1, 0, 0x5e, 0, 0, 1];
    const ALL: [MacAddress; 5] = [OWN, OTHER, GROUP_A, GROUP_B, BROADCAST];

    fn wanted(filter: &ReceiveFilter) -> Vec<MacAddress> {
        let wanted = ALL.into_iter();
        wanted.filter(|to| filter.wants(&OWN, to)).collect()
    }

    fn with(modes: &[u8]) -> ReceiveFilter {
        let mut filter = ReceiveFilter::default();
        for &mode in modes {
            filter.set_mode(mode, 1, true).unwrap();
        }
        filter
    }

    #[test]
    fn at_first_only_its_own_and_broadcast() {
        assert_eq!(wanted(&ReceiveFilter::default()), [OWN, BROADCAST]);
    }

    /// What suppresses is stronger than what allows.
    #[test]
    fn modes_work_together() {
        use ctrl::{RX_ALLMULTI, RX_ALLUNI, RX_NOBCAST, RX_NOMULTI, RX_NOUNI};
        let multicast = [OWN, GROUP_A, GROUP_B, BROADCAST];
        for (modes, expected) in [
            (&[RX_ALLMULTI][..], &multicast[..]),
            (&[RX_ALLUNI], &[OWN, OTHER, BROADCAST]),
            (&[RX_ALLUNI, RX_ALLMULTI], &ALL),
            (&[RX_NOBCAST], &[OWN]),
            (&[RX_NOUNI], &[BROADCAST]),
            (&[RX_NOUNI, RX_ALLUNI], &[BROADCAST]),
            (&[RX_NOMULTI, RX_ALLMULTI], &[OWN, BROADCAST]),
            (&[RX_NOUNI, RX_NOMULTI, RX_NOBCAST], &[]),
        ] {
            assert_eq!(wanted(&with(modes)), expected, "{modes:?}");
        }
    }

    /// A frame to the own address takes a shorter way, whose answer is the same.
    #[test]
    fn frames_are_judged_like_their_addresses() {
        let stats = VirtioStats::default();
        for modes in 0..1 << (ctrl::RX_NOBCAST + 1) {
            let filter = ReceiveFilter {
                modes,
                ..ReceiveFilter::default()
            };
            let screen = Screen::of(&filter, |_| true, || OWN);
            assert_eq!(screen.is_none(), filter.is_on(ctrl::RX_PROMISC));
            let Some(screen) = screen else {
                continue;
            };
            for to in ALL {
                for len in [6, 7, 8, 60] {
                    let mut frame = to.to_vec();
                    frame.resize(len, 0xff);
                    let wanted = screen.refusal(&stats, &frame).is_none();
                    assert_eq!(wanted, filter.wants(&OWN, &to), "{modes:#x} {to:?} {len}");
                }
            }
            assert!(screen.refusal(&stats, &OWN[..5]).is_some());
        }
    }

    #[test]
    fn modes_end() {
        for mode in 1..=ctrl::RX_NOBCAST {
            let mut filter = with(&[mode]);
            let group = Addresses::Some(vec![GROUP_A]);
            filter.set_addresses([Addresses::default(), group]);
            assert_ne!(wanted(&filter), [OWN, GROUP_A, BROADCAST], "{mode}");
            assert_eq!(filter.set_mode(mode, 0, true), Some(()));
            assert_eq!(wanted(&filter), [OWN, GROUP_A, BROADCAST], "{mode}");
        }
    }

    #[test]
    fn modes_that_do_not_exist_are_refused() {
        let mut filter = ReceiveFilter::default();
        for (mode, on, extra) in [
            (ctrl::RX_ALLUNI, 1, false),
            (ctrl::RX_NOBCAST, 1, false),
            (ctrl::RX_NOBCAST + 1, 1, true),
            (0xff, 1, true),
            (ctrl::RX_PROMISC, 2, true),
            (ctrl::RX_ALLMULTI, 0xff, true),
        ] {
            assert_eq!(filter.set_mode(mode, on, extra), None, "{mode} {on}");
        }
        assert_eq!(filter.modes, 0);
    }

    #[test]
    fn tables_name_addresses() {
        let mut filter = ReceiveFilter::default();
        let table = |address| Addresses::Some(vec![address]);
        filter.set_addresses([table(OTHER), table(GROUP_A)]);
        assert_eq!(wanted(&filter), [OWN, OTHER, GROUP_A, BROADCAST]);
        filter.set_addresses([Addresses::default(), Addresses::All]);
        assert_eq!(wanted(&filter), [OWN, GROUP_A, GROUP_B, BROADCAST]);
        filter.set_addresses([Addresses::All, Addresses::default()]);
        assert_eq!(wanted(&filter), [OWN, OTHER, BROADCAST]);
    }

    #[test]
    fn vlans_come_and_go() {
        let mut filter = ReceiveFilter::default();
        let wanted = |filter: &ReceiveFilter| -> Vec<u16> {
            (0..VLANS).filter(|&vlan| filter.wants_vlan(vlan)).collect()
        };
        assert_eq!(filter.change_vlan(ctrl::VLAN_DEL, 7), Some(()));
        assert_eq!(wanted(&filter), [0]);
        for vlan in [1, 63, 64, 4095] {
            assert_eq!(filter.change_vlan(ctrl::VLAN_ADD, vlan), Some(()));
        }
        assert_eq!(wanted(&filter), [0, 1, 63, 64, 4095]);
        for (command, vlan) in [(ctrl::VLAN_ADD, 4096), (ctrl::VLAN_DEL, 0xffff), (2, 64)] {
            assert_eq!(filter.change_vlan(command, vlan), None);
        }
        assert_eq!(filter.change_vlan(ctrl::VLAN_DEL, 64), Some(()));
        assert_eq!(wanted(&filter), [0, 1, 63, 4095]);
    }
}
