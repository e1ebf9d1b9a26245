// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The registry keywords of one adapter and what they enable (R3-R7, R14).

use crate::keyword::{self, IPSEC_V1_IPV4, IPSEC_V2, IPSEC_V2_IPV4};
use crate::parameters::{IpsecSetting, OffloadParameters};

/// Values of the standardised keywords; `None` for one that the registry does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keywords {
    /// `*IPsecOffloadV1IPv4`.
    pub v1_ipv4: Option<u32>,
    /// `*IPsecOffloadV2`: both IP versions.
    pub v2: Option<u32>,
    /// `*IPsecOffloadV2IPv4`: adapters that offload IPv4 only.
    pub v2_ipv4: Option<u32>,
    /// Checksums, in the order of [`keyword::CHECKSUMS`].
    pub checksums: [Option<u32>; 5],
    /// Large sends, in the order of [`keyword::LSO`].
    pub lso: [Option<u32>; 3],
}

/// Which protocols are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// AH, both directions.
    pub ah: bool,
    /// ESP, both directions.
    pub esp: bool,
}

impl Enabled {
    /// Both protocols.
    pub const BOTH: Self = Self {
        ah: true,
        esp: true,
    };
    /// Neither.
    pub const NEITHER: Self = Self {
        ah: false,
        esp: false,
    };

    /// What a keyword enables (R4). One that is missing enables both, which is the default (R5);
    /// so does a value that has no meaning.
    pub fn by_keyword(value: Option<u32>) -> Self {
        value
            .and_then(keyword::setting)
            .map_or(Self::BOTH, |setting| Self::BOTH.with(setting))
    }

    /// What is enabled after a setting (R8). `NO_CHANGE` leaves it as it was.
    #[must_use]
    pub fn with(self, setting: IpsecSetting) -> Self {
        setting.enabled().map_or(self, |(ah, esp)| Self { ah, esp })
    }
}

impl Keywords {
    /// Reads every keyword there is, including those that no user interface shows (R3).
    pub fn read(mut registry: impl FnMut(&'static str) -> Option<u32>) -> Self {
        Self {
            v1_ipv4: registry(IPSEC_V1_IPV4),
            v2: registry(IPSEC_V2),
            v2_ipv4: registry(IPSEC_V2_IPV4),
            checksums: keyword::CHECKSUMS.map(&mut registry),
            lso: keyword::LSO.map(&mut registry),
        }
    }

    /// The value of a keyword, `None` inside for one that is not set; `None` for an unknown name.
    pub fn get(&self, name: &str) -> Option<Option<u32>> {
        let mut copy = *self;
        copy.place(name).map(|(place, _)| *place)
    }

    /// Where the value of a keyword is, and the highest one that has a meaning.
    fn place(&mut self, name: &str) -> Option<(&mut Option<u32>, u32)> {
        let granular = |names: &[&str]| names.iter().position(|one| *one == name);
        match name {
            IPSEC_V1_IPV4 => Some((&mut self.v1_ipv4, 3)),
            IPSEC_V2 => Some((&mut self.v2, 3)),
            IPSEC_V2_IPV4 => Some((&mut self.v2_ipv4, 3)),
            _ => match granular(&keyword::CHECKSUMS) {
                Some(at) => self.checksums.get_mut(at).map(|place| (place, 3)),
                None => {
                    let at = granular(&keyword::LSO)?;
                    self.lso.get_mut(at).map(|place| (place, 1))
                }
            },
        }
    }

    /// Sets or removes a keyword; `false` for an unknown name or a value without a meaning.
    pub fn set(&mut self, name: &str, value: Option<u32>) -> bool {
        let Some((place, most)) = self.place(name) else {
            return false;
        };
        if value.is_some_and(|value| value > most) {
            return false;
        }
        *place = value;
        true
    }

    /// Stores the settings of OID_TCP_OFFLOAD_PARAMETERS, as NDIS does before it passes them on
    /// (R14); "no change" leaves a keyword alone.
    pub fn store(&mut self, parameters: &OffloadParameters) {
        let pairs = [
            (&mut self.v1_ipv4, parameters.ipsec_v1()),
            (&mut self.v2, parameters.ipsec_v2()),
            (&mut self.v2_ipv4, parameters.ipsec_v2_ipv4()),
        ];
        for (place, setting) in pairs {
            if let Some(value) = keyword::value(setting) {
                *place = Some(value);
            }
        }
        let checksums = self.checksums.iter_mut().zip(parameters.checksums());
        let lso = self.lso.iter_mut().zip(parameters.large_sends());
        for (place, setting) in checksums.chain(lso) {
            if let Some(value) = setting.checked_sub(1) {
                *place = Some(u32::from(value));
            }
        }
    }
}
