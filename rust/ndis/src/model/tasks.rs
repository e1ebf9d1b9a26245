// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The other task offloads that settings switch: checksums and large sends (R3, R14, R142, R145).

use super::keywords::Keywords;
use crate::parameters::OffloadParameters;

/// The directions in which checksums are offloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directions {
    /// On send.
    pub transmit: bool,
    /// On receive.
    pub receive: bool,
}

impl Directions {
    const BOTH: Self = Self {
        transmit: true,
        receive: true,
    };

    /// By a keyword: 0 neither, 1 send, 2 receive, 3 and anything else both.
    fn by_keyword(value: Option<u32>) -> Self {
        value
            .filter(|&value| value <= 3)
            .map_or(Self::BOTH, |value| Self {
                transmit: value & 1 != 0,
                receive: value & 2 != 0,
            })
    }
}

/// Which checksums and large sends are enabled. None of them gives an adapter what its hardware lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// IP, TCP and UDP over IPv4, TCP and UDP over IPv6.
    pub checksums: [Directions; 5],
    /// Large sends: version 1, version 2 over IPv4 and over IPv6.
    pub lso: [bool; 3],
}

impl Tasks {
    /// Everything, the default.
    pub const ALL: Self = Self {
        checksums: [Directions::BOTH; 5],
        lso: [true; 3],
    };

    /// What the keywords enable.
    pub fn by_keywords(keywords: &Keywords) -> Self {
        Self {
            checksums: keywords.checksums.map(Directions::by_keyword),
            lso: keywords.lso.map(|value| value != Some(0)),
        }
    }

    /// What is enabled after OID_TCP_OFFLOAD_PARAMETERS; 0 leaves a setting as it was.
    #[must_use]
    pub fn with(mut self, parameters: &OffloadParameters) -> Self {
        for (place, setting) in self.checksums.iter_mut().zip(parameters.checksums()) {
            if let Some(value) = setting.checked_sub(1) {
                *place = Directions::by_keyword(Some(u32::from(value)));
            }
        }
        for (place, setting) in self.lso.iter_mut().zip(parameters.large_sends()) {
            if let Some(value) = setting.checked_sub(1) {
                *place = value != 0;
            }
        }
        self
    }

    /// The large sends that are possible, as in [`lso`](Self::lso): the adapter also calculates the
    /// checksums of IP and TCP of what it cuts (R145).
    pub fn large_sends(&self) -> [bool; 3] {
        let [ip, tcp4, _, tcp6, _] = self.checksums;
        let [v1, v2_ipv4, v2_ipv6] = self.lso;
        let ipv4 = ip.transmit && tcp4.transmit;
        [v1 && ipv4, v2_ipv4 && ipv4, v2_ipv6 && tcp6.transmit]
    }
}
