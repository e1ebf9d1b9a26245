// SPDX-License-Identifier: GPL-2.0

//! Speed and duplex mode of the link.

#[cfg(espnic_kunit)]
mod tests;

use kernel_net::net::ethtool::Link;

/// What `ethtool` shows: what the NIC has reported last, or what the user has set since.
pub(crate) struct Settings {
    reported: Link,
    shown: Link,
}

impl Settings {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            reported: Link::UNKNOWN,
            shown: Link::UNKNOWN,
        }
    }

    /// Takes a report of the NIC. What the user has set stays until the NIC reports something else.
    pub(crate) fn report(&mut self, link: Link) {
        if link != self.reported {
            self.reported = link;
            self.shown = link;
        }
    }

    /// Takes what the user has set.
    pub(crate) fn set(&mut self, link: Link) {
        self.shown = link;
    }

    /// What to show.
    pub(crate) fn shown(&self) -> Link {
        self.shown
    }
}
