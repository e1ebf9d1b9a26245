// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The address table of a switch.
//!
//! A configured address belongs to the guest of its NIC. Another NIC of the same guest can take it over, as
//! under a bond whose interfaces share an address; a NIC of another guest cannot. Any other address belongs
//! to the port that last sent from it, whichever guest has that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::mac::MacAddress;
use crate::memory::MemoryId;

/// Most addresses that are learned per port; a guest can send from as many as it likes.
const MAX_LEARNED: usize = 256;
/// An address that is not used for so long is forgotten (Linux's bridges have
/// the same default, `BR_DEFAULT_AGEING_TIME`).
const AGE: Duration = Duration::from_secs(300);
/// The same after a reset of its NIC. Not at once: its driver is about to come back, and others must not
/// get its frames meanwhile.
const AGE_AFTER_RESET: Duration = Duration::from_secs(30);
/// The interval at which a full port looks for addresses that can be forgotten.
const SEARCH_PERIOD: Duration = Duration::from_secs(1);

/// A configured address.
struct Fixed {
    owner: usize,
    /// The port that last sent from it.
    port: usize,
}

/// A learned address.
struct Learned {
    port: usize,
    until: Instant,
}

#[derive(Default)]
struct Port {
    guest: Option<MemoryId>,
    /// Number of addresses learned.
    learned: usize,
    /// The next time to look for addresses that can be forgotten.
    search: Option<Instant>,
}

/// The addresses of all ports.
#[derive(Default)]
pub(super) struct Addresses {
    fixed: HashMap<MacAddress, Fixed>,
    learned: HashMap<MacAddress, Learned>,
    ports: Vec<Port>,
}

impl Addresses {
    /// Adds a port, which has this number, with a NIC that has this address.
    pub(super) fn add_port(&mut self, port: usize, mac: MacAddress) {
        if self.ports.len() <= port {
            self.ports.resize_with(port + 1, Port::default);
        }
        self.fixed.insert(mac, Fixed { owner: port, port });
    }

    /// Names the guest that has the NIC at `port`. Without one, what was learned there is forgotten.
    pub(super) fn set_guest(&mut self, port: usize, guest: Option<MemoryId>) {
        if let Some(port) = self.ports.get_mut(port) {
            port.guest = guest;
        }
        if guest.is_some() {
            return;
        }
        self.learned.retain(|_, learned| learned.port != port);
        self.count();
        for fixed in self.fixed.values_mut() {
            if fixed.port == port {
                fixed.port = fixed.owner;
            }
        }
    }

    /// The NIC at `port` was reset.
    pub(super) fn reset(&mut self, port: usize, now: Instant) {
        for learned in self.learned.values_mut() {
            if learned.port == port {
                learned.until = learned.until.min(now + AGE_AFTER_RESET);
            }
        }
    }

    /// Learns from a frame that came from this address and port `from`. `false` if the address does not
    /// belong to that port now.
    pub(super) fn learn(&mut self, address: &MacAddress, from: usize, now: Instant) -> bool {
        if let Some(fixed) = self.fixed.get(address) {
            let own = fixed.owner == from || self.same_guest(fixed.owner, from);
            if let Some(fixed) = self.fixed.get_mut(address).filter(|_| own) {
                fixed.port = from;
            }
            return own;
        }
        let before = self.learned.get(address).map(|learned| learned.port);
        if before != Some(from) {
            if !self.has_room(from, now) {
                return false;
            }
            self.add(before, from);
        }
        let learned = Learned {
            port: from,
            until: now + AGE,
        };
        self.learned.insert(*address, learned);
        true
    }

    /// The driver of the NIC at `port` wants frames to this address; false if it belongs to another guest. An
    /// address that is known stays where it is until it is sent from: a bond gives all of its NICs the same.
    pub(super) fn claim(&mut self, address: &MacAddress, port: usize, now: Instant) -> bool {
        if let Some(fixed) = self.fixed.get(address) {
            return fixed.owner == port || self.same_guest(fixed.owner, port);
        }
        if self.find(address, now).is_none() {
            // Without room for it, frames to it go to all.
            self.learn(address, port, now);
        }
        true
    }

    /// The port for a frame to this address, if it is known. Group addresses are never known.
    pub(super) fn find(&self, address: &MacAddress, now: Instant) -> Option<usize> {
        if let Some(fixed) = self.fixed.get(address) {
            return Some(fixed.port);
        }
        let learned = self.learned.get(address)?;
        (now < learned.until).then_some(learned.port)
    }

    fn same_guest(&self, a: usize, b: usize) -> bool {
        let guest = |port: usize| self.ports.get(port).and_then(|port| port.guest);
        guest(a).is_some() && guest(a) == guest(b)
    }

    /// Whether one more address can be learned at `port`.
    fn has_room(&mut self, port: usize, now: Instant) -> bool {
        let full = |all: &Self| all.ports.get(port).is_none_or(|p| p.learned >= MAX_LEARNED);
        if !full(self) {
            return true;
        }
        let Some(state) = self.ports.get_mut(port) else {
            return false;
        };
        if state.search.is_some_and(|search| now < search) {
            return false;
        }
        state.search = Some(now + SEARCH_PERIOD);
        self.learned.retain(|_, learned| now < learned.until);
        self.count();
        !full(self)
    }

    /// Moves the count of an address from the port `before` to the port `to`.
    fn add(&mut self, before: Option<usize>, to: usize) {
        if let Some(port) = before.and_then(|port| self.ports.get_mut(port)) {
            port.learned = port.learned.saturating_sub(1);
        }
        if let Some(port) = self.ports.get_mut(to) {
            port.learned += 1;
        }
    }

    fn count(&mut self) {
        self.ports.iter_mut().for_each(|port| port.learned = 0);
        for learned in self.learned.values() {
            if let Some(port) = self.ports.get_mut(learned.port) {
                port.learned += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Address of the NIC at a port, or of something else.
    fn mac(last: u8) -> MacAddress {
        [2, 0, 0, 0, 0, last]
    }

    /// Of the number `n`.
    fn other(n: usize) -> MacAddress {
        [2, 1, 0, 0, (n >> 8) as u8, n as u8]
    }

    /// Three NICs; the first two have one guest.
    fn addresses() -> (Addresses, Instant) {
        let mut addresses = Addresses::default();
        for (port, guest) in [7, 7, 8].into_iter().enumerate() {
            addresses.add_port(port, mac(port as u8));
            addresses.set_guest(port, Some(MemoryId::new(1, guest)));
        }
        (addresses, Instant::now())
    }

    #[test]
    fn a_configured_address_stays_with_its_guest() {
        let (mut all, now) = addresses();
        // Before anybody has sent.
        assert_eq!(all.find(&mac(0), now), Some(0));
        assert!(!all.learn(&mac(0), 2, now));
        assert_eq!(all.find(&mac(0), now), Some(0));
        // A bond of the first two fails over, and back.
        for port in [0, 1, 0, 1] {
            assert!(all.learn(&mac(0), port, now));
            assert_eq!(all.find(&mac(0), now + 1000 * SECOND), Some(port));
        }
        // Without its guest the second one has no right to it.
        all.set_guest(1, None);
        assert_eq!(all.find(&mac(0), now), Some(0));
        assert!(!all.learn(&mac(0), 1, now));
        // Nobody's guest is not the same guest.
        all.set_guest(2, None);
        assert!(!all.learn(&mac(1), 2, now));
    }

    #[test]
    fn one_port_cannot_take_the_room_of_others() {
        let (mut all, now) = addresses();
        for number in 0..2 * MAX_LEARNED {
            let learned = all.learn(&other(number), 2, now);
            assert_eq!(learned, number < MAX_LEARNED);
        }
        assert!(all.learn(&other(1000), 0, now));
        // Not even by moving them.
        assert!(!all.learn(&other(1000), 2, now));
        assert_eq!(all.find(&other(1000), now), Some(0));
        // One that moves away makes room.
        assert!(all.learn(&other(3), 0, now));
        assert!(all.learn(&other(1000), 2, now));
        assert_eq!(all.find(&other(1000), now), Some(2));
    }

    #[test]
    fn a_claim_takes_nothing_away() {
        let (mut all, now) = addresses();
        // The address of another guest's NIC, and that of another NIC of the same guest.
        assert!(!all.claim(&mac(0), 2, now));
        assert!(all.claim(&mac(0), 1, now) && all.claim(&mac(0), 0, now));
        assert_eq!(all.find(&mac(0), now), Some(0));
        // One that nobody has, and one that somebody has.
        assert!(all.claim(&other(0), 1, now));
        assert_eq!(all.find(&other(0), now), Some(1));
        assert!(all.claim(&other(0), 2, now));
        assert_eq!(all.find(&other(0), now), Some(1));
        assert!(all.learn(&other(0), 2, now));
        assert_eq!(all.find(&other(0), now), Some(2));
        assert!(all.claim(&other(0), 1, now + AGE));
        assert_eq!(all.find(&other(0), now + AGE), Some(1));
    }

    #[test]
    fn addresses_age() {
        let (mut all, now) = addresses();
        for number in 0..MAX_LEARNED {
            assert!(all.learn(&other(number), 2, now));
        }
        let later = now + AGE - SECOND;
        assert_eq!(all.find(&other(0), later), Some(2));
        assert!(all.learn(&other(0), 2, later));
        assert!(!all.learn(&other(1000), 2, later));
        let later = now + AGE;
        assert_eq!(all.find(&other(1), later), None);
        assert_eq!(all.find(&other(0), later), Some(2));
        assert!(all.learn(&other(1000), 2, later));
        assert_eq!(all.ports[2].learned, 2);
    }

    #[test]
    fn addresses_go_with_their_nic() {
        let (mut all, now) = addresses();
        all.learn(&other(0), 0, now);
        all.learn(&other(1), 1, now);
        all.learn(&other(2), 1, now);
        all.reset(1, now);
        assert_eq!(all.find(&other(1), now), Some(1));
        // The driver is back and goes on with one of them.
        all.learn(&other(2), 1, now + SECOND);
        let later = now + AGE_AFTER_RESET;
        assert_eq!(all.find(&other(1), later), None);
        assert_eq!(all.find(&other(2), later), Some(1));
        assert_eq!(all.find(&other(0), later), Some(0));
        all.set_guest(1, None);
        assert_eq!(all.find(&other(2), now), None);
        assert_eq!((all.ports[1].learned, all.ports[0].learned), (0, 1));
    }
}
