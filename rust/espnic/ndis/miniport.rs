// SPDX-License-Identifier: GPL-2.0

//! The adapter's configuration: requests on the normal path, the netdev's features, indications.

use super::{
    hardware,
    port::Port,
    ring::Body,
    Adapter, //
};
use crate::{
    ipsec::{
        left::Versions,
        Ipsec, //
    },
    nic::Nic, //
};
use espnic_ndis::{
    envelope::{
        Request,
        INDICATION_BUFFER,
        KEYWORD_CHECKSUMS,
        KEYWORD_DISABLE_TASK_OFFLOAD,
        KEYWORD_ENABLED_OFFLOAD,
        KEYWORD_IPSEC_V1_IPV4,
        KEYWORD_IPSEC_V2,
        KEYWORD_IPSEC_V2_IPV4,
        KEYWORD_LSO,
        QUERY,
        SET, //
    },
    keyword,
    model::{
        self,
        segment::Limits,
        Capabilities,
        Completion,
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
use kernel_net::{
    net::device::{
        feature as netif,
        Device, //
    },
    rtnl, //
};

/// The netdev's features that IPsec offload consists of.
const FEATURES: u64 = netif::HW_ESP | netif::HW_ESP_TX_CSUM | netif::GSO_ESP;

/// The model of the adapter and what goes with it.
pub(super) struct Miniport {
    model: model::Adapter,
    hardware: Hardware,
    /// The netdev's features from which `hardware` was made.
    features: u64,
    /// The netdev's features are being changed to those of the configuration, one by one.
    settling: bool,
    /// The system-wide keywords. They belong to the transport, but XFRM has none. So the miniport starts
    /// with IPsec offload disabled if they say so.
    disable_task_offload: Option<u32>,
    enabled_offload: Option<u32>,
    /// The stack, not NDIS, has switched ESP off, which leaves the receive side on.
    off_by_stack: bool,
}

/// Indications to be made after the lock is released: codes with images.
struct Indications {
    hardware: Option<Body>,
    current: Option<Body>,
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

    fn start(&mut self, ipsec: &Ipsec, version: Version) {
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
    fn set(&mut self, ipsec: &Ipsec, oid: Oid, information: &[u8]) -> Effects {
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
    fn switched_by_stack(&mut self, ipsec: &Ipsec, on: bool) -> Effects {
        let effects = self.model.external_change(on);
        self.off_by_stack = !on;
        self.tell(ipsec);
        effects
    }

    /// Takes over the netdev's features; true if that changes the hardware's capabilities.
    fn follow_hardware(&mut self, ipsec: &Ipsec, features: u64) -> bool {
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
    fn switched_off(&self) -> u64 {
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

    fn indications(&self, effects: &Effects) -> Indications {
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

impl Adapter {
    /// Carries out a request on the normal path.
    pub(super) fn perform(
        &self,
        port: &Port,
        dev: &Device<Nic>,
        request: &Request,
        information: &mut [u8],
    ) -> Completion {
        let oid = Oid(request.oid);
        match request.request_type {
            QUERY => self.miniport.lock().model.query(oid, information),
            SET => self.set(port, dev, oid, information),
            _ => Completion::with(Status::NOT_SUPPORTED),
        }
    }

    fn set(&self, port: &Port, dev: &Device<Nic>, oid: Oid, information: &[u8]) -> Completion {
        // Taken first, so that configuration and features change together, and not after the
        // interface has gone to another namespace.
        let rtnl = rtnl::lock();
        if port.is_removed() {
            return Completion::with(Status::NOT_ACCEPTED);
        }
        let nic = dev.data();
        let mut miniport = self.miniport.lock();
        let before = miniport.model.tasks();
        let effects = miniport.set(&nic.ipsec, oid, information);
        drop(miniport);
        self.carry_out(dev, &effects, &before, &rtnl);
        // Other users of RTNL must not wait for the NIC, which may be slow.
        drop(rtnl);
        nic.ipsec.follow(&nic.control);
        effects.completion
    }

    /// Changes the netdev's features to those of the configuration, then indicates that. Switches
    /// checksums and large sends where their settings differ from `before`.
    fn carry_out(&self, dev: &Device<Nic>, effects: &Effects, before: &Tasks, rtnl: &rtnl::Guard) {
        let mut miniport = self.miniport.lock();
        let esp = miniport.snapshot().config.esp;
        let after = hardware::features(&miniport.model.tasks());
        let (mut on, mut off) = (0, 0);
        for ((bit, was), (_, is)) in hardware::features(before).into_iter().zip(after) {
            match (was, is) {
                (false, true) => on |= bit,
                (true, false) => off |= bit,
                _ => {}
            }
        }
        // Except features that `ethtool -K` had switched off before.
        on &= miniport.features;
        if effects.changed && (dev.features() & netif::HW_ESP != 0) != esp {
            *(if esp { &mut on } else { &mut off }) |= FEATURES;
        }
        if on | off != 0 {
            // The notifier calls `follow_features`, which must ignore half of the change.
            miniport.settling = true;
            drop(miniport);
            dev.want_features(off, false, rtnl);
            dev.want_features(on, true, rtnl);
            self.miniport.lock().settling = false;
            self.follow_features(dev);
        } else {
            drop(miniport);
        }
        let indications = self.miniport.lock().indications(effects);
        self.indicate(&indications);
    }

    fn indicate(&self, indications: &Indications) {
        let both = [&indications.hardware, &indications.current];
        both.into_iter().flatten().for_each(|body| self.push(body));
    }

    /// Adapts the configuration to the netdev's features. RTNL held.
    pub(super) fn follow_features(&self, dev: &Device<Nic>) {
        let features = dev.features();
        let on = features & netif::HW_ESP != 0;
        let mut miniport = self.miniport.lock();
        if miniport.settling {
            return;
        }
        let tasks = miniport.model.tasks();
        let switched_on = features & miniport.switched_off();
        let by_others = miniport
            .model
            .external_tasks(hardware::switched_on(&tasks, switched_on));
        if by_others.current_config {
            let indications = miniport.indications(&by_others);
            drop(miniport);
            self.indicate(&indications);
            miniport = self.miniport.lock();
        }
        if miniport.follow_hardware(&dev.data().ipsec, features) {
            let hardware = miniport.hardware;
            let effects = miniport.model.hardware_changed(hardware);
            let indications = miniport.indications(&effects);
            drop(miniport);
            self.indicate(&indications);
            miniport = self.miniport.lock();
        }
        if miniport.model.snapshot().config.esp == on {
            return;
        }
        let effects = miniport.switched_by_stack(&dev.data().ipsec, on);
        let indications = miniport.indications(&effects);
        drop(miniport);
        self.indicate(&indications);
        // `Ipsec::follow` may have to wait for the NIC.
        dev.schedule_work();
    }

    /// Halts the miniport and initialises it from its keywords; `version` 0 keeps the NDIS version. The
    /// caller deletes the SAs, and then calls `Ipsec::follow`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a version that is not known; `ENODEV` if the interface has left.
    pub(super) fn restart(&self, port: &Port, dev: &Device<Nic>, version: u32) -> Result {
        let new = Version(version);
        if version != 0 && !Version::WITH_IPSEC_V2.contains(&new) {
            return Err(EINVAL);
        }
        // As in `set`.
        let rtnl = rtnl::lock();
        if port.is_removed() {
            return Err(ENODEV);
        }
        let mut miniport = self.miniport.lock();
        let now = miniport.model.version();
        let before = miniport.model.tasks();
        miniport.start(&dev.data().ipsec, if version == 0 { now } else { new });
        drop(miniport);
        let effects = Effects {
            completion: Completion::with(Status::SUCCESS),
            changed: true,
            hardware_capabilities: true,
            current_config: true,
            keywords: None,
        };
        self.carry_out(dev, &effects, &before, &rtnl);
        Ok(())
    }
}
