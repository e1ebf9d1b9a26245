// SPDX-License-Identifier: GPL-2.0

//! The adapter's configuration: the model of a miniport, the keywords, what is indicated.

use super::{
    hardware,
    ring::Body, //
};
use crate::ipsec::{
    left::Versions,
    Ipsec, //
};
use espnic_ndis::{
    envelope::{
        INDICATION_BUFFER,
        KEYWORD_CHECKSUMS,
        KEYWORD_DISABLE_TASK_OFFLOAD,
        KEYWORD_ENABLED_OFFLOAD,
        KEYWORD_IPSEC_V1_IPV4,
        KEYWORD_IPSEC_V2,
        KEYWORD_IPSEC_V2_IPV4,
        KEYWORD_LSO, //
    },
    keyword,
    model::{
        self,
        segment::Limits,
        Capabilities,
        Effects,
        Hardware,
        Keywords,
        Snapshot,
        State,
        Tasks, //
    },
    offload::Offload,
    Oid,
    Status,
    Version, //
};
use kernel::prelude::*;
use kernel_net::net::netdevice::features as netif;

/// The netdev's features that IPsec offload consists of.
pub(super) const FEATURES: u64 = netif::HW_ESP | netif::HW_ESP_TX_CSUM | netif::GSO_ESP;

/// The model of the adapter and what goes with it.
pub(super) struct Miniport {
    pub(super) model: model::Adapter,
    pub(super) hardware: Hardware,
    /// The netdev's features from which `hardware` was made.
    pub(super) features: u64,
    /// The netdev's features are being changed to those of the configuration, one by one.
    pub(super) settling: bool,
    /// The system-wide keywords. They belong to the transport, but XFRM has none. So the miniport starts
    /// with IPsec offload disabled if they say so.
    disable_task_offload: Option<u32>,
    enabled_offload: Option<u32>,
    /// The stack, not NDIS, has switched ESP off, which leaves the receive side on.
    off_by_stack: bool,
}

/// Indications to be made after the lock is released: codes with images.
pub(super) struct Indications {
    pub(super) hardware: Option<Body>,
    pub(super) current: Option<Body>,
}

impl Miniport {
    pub(super) fn new() -> Self {
        let hardware = Hardware {
            others: Offload::default(),
            ipsec: Capabilities::NONE,
        };
        Self {
            model: model::Adapter::initialize(Version::V6_30, hardware, Keywords::default()),
            hardware,
            features: 0,
            settling: false,
            disable_task_offload: None,
            enabled_offload: None,
            off_by_stack: false,
        }
    }

    pub(super) fn initialize(&mut self, ipsec: &Ipsec, features: u64) {
        self.hardware = hardware::of(ipsec, features);
        self.features = features;
        self.start(ipsec, self.model.version());
    }

    pub(super) fn start(&mut self, ipsec: &Ipsec, version: Version) {
        let keywords = *self.model.keywords();
        let state = self.model.state();
        self.model = model::Adapter::initialize(version, self.hardware, keywords);
        // A setting that the netdev cannot have as the keywords say is off.
        let tasks = hardware::possible(&self.model.tasks());
        self.model.external_tasks(tasks);
        if self.disable_task_offload == Some(1) || self.enabled_offload == Some(0) {
            self.model.external_change(false);
        }
        // A reset of the NIC may be under way.
        self.model.set_state(state);
        self.off_by_stack = false;
        self.tell(ipsec);
    }

    /// Tells the NIC's IPsec side which SAs must be left to software (C44).
    fn tell(&self, ipsec: &Ipsec) {
        let snapshot = self.model.snapshot();
        // NDIS cannot switch off what it cannot name.
        let esp = snapshot.config.esp || self.off_by_stack || !snapshot.hardware.esp;
        let (ipv4, ipv6) = self.model.versions();
        let off = Versions {
            ipv4: !(esp && ipv4),
            ipv6: !(esp && ipv6),
        };
        let processed = self.model.processed();
        let waiting = Versions {
            ipv4: !(processed.esp && processed.ipv4),
            ipv6: !(processed.esp && processed.ipv6),
        };
        ipsec.set_by_ndis(off, waiting);
    }

    /// Carries out a set request on the normal path.
    pub(super) fn set(&mut self, ipsec: &Ipsec, oid: Oid, information: &[u8]) -> Effects {
        let obeys = |tasks: &Tasks| hardware::possible(tasks) == *tasks;
        let effects = self.model.set_if(oid, information, obeys);
        if effects.completion.status == Status::SUCCESS {
            // Even if the stack switched it before, NDIS decides now.
            self.off_by_stack &= oid != Oid::PARAMETERS;
            self.tell(ipsec);
        }
        effects
    }

    /// Follows the stack, which has switched ESP on or off.
    pub(super) fn switched_by_stack(&mut self, ipsec: &Ipsec, on: bool) -> Effects {
        let effects = self.model.external_change(on);
        self.off_by_stack = !on;
        self.tell(ipsec);
        effects
    }

    /// Takes over the netdev's features; true if that changes the hardware's capabilities.
    pub(super) fn follow_hardware(&mut self, ipsec: &Ipsec, features: u64) -> bool {
        let before = self.features;
        // Without ESP the dependent features are off, too, which says nothing about the hardware.
        self.features = match features & netif::HW_ESP {
            0 => (features & !FEATURES) | (self.features & FEATURES),
            _ => features,
        };
        // The same is true of features that the settings have switched off, and of those that the
        // stack switches off with them.
        let off = self.switched_off();
        self.features = (self.features & !off) | (before & off);
        let hardware = hardware::of(ipsec, self.features);
        let changed = hardware != self.hardware;
        self.hardware = hardware;
        changed
    }

    /// The features that settings of checksums and large sends have switched off.
    pub(super) fn switched_off(&self) -> u64 {
        let off = hardware::features(&self.model.tasks())
            .into_iter()
            .filter(|(_, on)| !on)
            .fold(0, |off, (bit, _)| off | bit);
        match off & netif::HW_CSUM {
            0 => off,
            _ => off | netif::HW_ESP_TX_CSUM | netif::GSO_ESP,
        }
    }

    pub(super) fn set_resetting(&mut self, resetting: bool) {
        self.model.set_state(match resetting {
            true => State::Resetting,
            false => State::Running,
        });
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.model.snapshot()
    }

    /// The limits of large sends in the reported configuration.
    pub(super) fn limits(&self) -> Limits {
        Limits::of(self.model.current())
    }

    pub(super) fn version(&self) -> Version {
        self.model.version()
    }

    /// Writes NDIS_OFFLOAD with what is enabled, as a protocol driver gets it when it binds (R138);
    /// returns the number of bytes.
    pub(super) fn configuration(&self, buffer: &mut [u8; INDICATION_BUFFER]) -> u32 {
        buffer.fill(0);
        let written = self.model.current().encode(self.model.version(), buffer);
        written.map_or(0, |length| length as u32)
    }

    /// SaOffloadCapacity of the hardware.
    pub(super) fn capacity(&self) -> u32 {
        self.hardware.ipsec.capacity
    }

    /// Whether receive processing was set going.
    pub(super) fn has_encapsulation(&self) -> bool {
        self.model.processing()
    }

    /// Sets or deletes a registry keyword, which takes effect at the next restart.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an unknown keyword and for a value without a meaning.
    pub(super) fn set_keyword(&mut self, name: u32, value: Option<u32>) -> Result {
        let name = match name {
            KEYWORD_DISABLE_TASK_OFFLOAD => {
                return set_switch(&mut self.disable_task_offload, value)
            }
            KEYWORD_ENABLED_OFFLOAD => return set_switch(&mut self.enabled_offload, value),
            name => keyword_name(name).ok_or(EINVAL)?,
        };
        let known = self.model.keywords_mut().set(name, value);
        known.then_some(()).ok_or(EINVAL)
    }

    /// The value of a registry keyword.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an unknown keyword.
    pub(super) fn keyword(&self, name: u32) -> Result<Option<u32>> {
        match name {
            KEYWORD_DISABLE_TASK_OFFLOAD => Ok(self.disable_task_offload),
            KEYWORD_ENABLED_OFFLOAD => Ok(self.enabled_offload),
            name => keyword_name(name)
                .and_then(|name| self.model.keywords().get(name))
                .ok_or(EINVAL),
        }
    }

    pub(super) fn indications(&self, effects: &Effects) -> Indications {
        let image = |status: Status, image: &Offload| {
            let mut buffer = [0; INDICATION_BUFFER];
            let length = image.encode(self.model.version(), &mut buffer).ok()?;
            Some(Body::Indication {
                status: status.0,
                length,
                buffer,
            })
        };
        Indications {
            hardware: effects
                .hardware_capabilities
                .then(|| {
                    let code = Status::TASK_OFFLOAD_HARDWARE_CAPABILITIES;
                    image(code, self.model.hardware())
                })
                .flatten(),
            current: effects
                .current_config
                .then(|| image(Status::TASK_OFFLOAD_CURRENT_CONFIG, self.model.current()))
                .flatten(),
        }
    }
}

fn set_switch(switch: &mut Option<u32>, value: Option<u32>) -> Result {
    if value.is_some_and(|value| value > 1) {
        return Err(EINVAL);
    }
    *switch = value;
    Ok(())
}

fn keyword_name(name: u32) -> Option<&'static str> {
    match name {
        KEYWORD_IPSEC_V2 => Some(keyword::IPSEC_V2),
        KEYWORD_IPSEC_V2_IPV4 => Some(keyword::IPSEC_V2_IPV4),
        KEYWORD_IPSEC_V1_IPV4 => Some(keyword::IPSEC_V1_IPV4),
        _ => {
            let granular = |names: &[&'static str], first: u32| {
                let at = name.checked_sub(first)? as usize;
                names.get(at).copied()
            };
            granular(&keyword::CHECKSUMS, KEYWORD_CHECKSUMS)
                .or_else(|| granular(&keyword::LSO, KEYWORD_LSO))
        }
    }
}
