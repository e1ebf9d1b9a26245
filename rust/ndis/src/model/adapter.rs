// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An adapter's configuration: what it can do, what is enabled, what it has reported (R1-R28).
//!
//! [`Adapter`] is plain data for the caller to keep under a lock. Requests on the normal path are
//! its methods; NDIS serialises those. The direct path works on a [`Snapshot`] instead, so that it
//! needs no lock (R31). It also has NDIS's own part: the keywords that NDIS stores (R14) and the
//! queries that NDIS answers from what was reported last (R19).

use super::capabilities::Capabilities;
use super::direct::Completion;
use super::keywords::{Enabled, Keywords};
use crate::encapsulation::{Family, OffloadEncapsulation, Set};
use crate::offload::{
    IpsecV1, Offload, AND_TCP_CHECKSUM_COEXISTENCE, AND_UDP_CHECKSUM_COEXISTENCE,
};
use crate::parameters::{IpsecSetting, OffloadParameters, SKIP_REGISTRY_UPDATE};
use crate::{Oid, Status, Version, U32};
use zerocopy::IntoBytes as _;

/// What the hardware can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Everything but IPsecV2: checksums, LSO, IPsecV1, Flags. Header and IPsecV2 are not looked
    /// at.
    pub others: Offload,
    /// IPsecV2.
    pub ipsec: Capabilities,
}

/// State of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// No data moves; SAs stay (C30).
    Paused,
    /// A reset is under way; it removes the SAs (C30).
    Resetting,
    /// The hardware does not answer.
    LowPower,
    /// It was removed, by surprise or not; every request is NOT_ACCEPTED (R40).
    Removed,
}

/// What the direct path needs to know of the adapter, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// NDIS version of the miniport.
    pub version: Version,
    /// State.
    pub state: State,
    /// What the hardware can do.
    pub hardware: Capabilities,
    /// What is enabled, and thus what requests may ask for.
    pub config: Capabilities,
}

/// What a request on the normal path, or a change from elsewhere, did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// How the request ended.
    pub completion: Completion,
    /// Something else is enabled than before.
    pub changed: bool,
    /// NDIS_STATUS_TASK_OFFLOAD_HARDWARE_CAPABILITIES is to be indicated, with
    /// [`Adapter::hardware`].
    pub hardware_capabilities: bool,
    /// NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG is to be indicated after that, with
    /// [`Adapter::current`].
    pub current_config: bool,
    /// The registry is to hold these from now on.
    pub keywords: Option<Keywords>,
}

impl Effects {
    const fn none(completion: Completion) -> Self {
        Self {
            completion,
            changed: false,
            hardware_capabilities: false,
            current_config: false,
            keywords: None,
        }
    }
}

/// The encapsulation of one IP version, as OID_OFFLOAD_ENCAPSULATION set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encapsulation {
    /// Never set: the default configuration holds, but receive processing has not started (R15).
    Unset,
    On(Family),
    Off,
}

/// What NDIS remembers of the miniport's reports.
#[derive(Clone, Copy, Debug)]
struct Reported {
    hardware: Offload,
    current: Offload,
}

/// One adapter.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    version: Version,
    hardware: Hardware,
    keywords: Keywords,
    v1: Enabled,
    v2: Enabled,
    ipv4: Encapsulation,
    ipv6: Encapsulation,
    state: State,
    reported: Reported,
}

impl Adapter {
    /// Initialises the adapter from its keywords and reports both images to NDIS (R1).
    pub fn initialize(version: Version, hardware: Hardware, keywords: Keywords) -> Self {
        let nothing = Reported {
            hardware: Offload::default(),
            current: Offload::default(),
        };
        let mut adapter = Self {
            version,
            hardware,
            keywords,
            v1: Enabled::by_keyword(keywords.v1_ipv4),
            v2: keywords.enabled(hardware.ipsec.ipv6),
            ipv4: Encapsulation::Unset,
            ipv6: Encapsulation::Unset,
            state: State::Running,
            reported: nothing,
        };
        adapter.report(true);
        adapter
    }

    /// Halts and initialises it again, with the keywords as they are now (R14).
    pub fn restart(&mut self) {
        *self = Self::initialize(self.version, self.hardware, self.keywords);
    }

    /// NDIS version of the miniport.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The registry keywords.
    pub fn keywords(&self) -> &Keywords {
        &self.keywords
    }

    /// The registry keywords, to be changed; they count from the next [`restart`](Self::restart).
    pub fn keywords_mut(&mut self) -> &mut Keywords {
        &mut self.keywords
    }

    /// What the hardware can do, as it was reported last. NDIS answers the query with it (R19).
    pub fn hardware(&self) -> &Offload {
        &self.reported.hardware
    }

    /// What is enabled, as it was reported last: never more than what is enabled (R11).
    pub fn current(&self) -> &Offload {
        &self.reported.current
    }

    /// State.
    pub fn state(&self) -> State {
        self.state
    }

    /// Changes the state. A removed adapter stays so.
    pub fn set_state(&mut self, state: State) {
        if self.state != State::Removed {
            self.state = state;
        }
    }

    /// What the direct path needs.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: self.version,
            state: self.state,
            hardware: self.offered(),
            config: self.config(),
        }
    }

    /// Whether received packets are processed: something is enabled and OID_OFFLOAD_ENCAPSULATION
    /// has set it going (R15, R112).
    pub fn processing(&self) -> bool {
        let on = |family| matches!(family, Encapsulation::On(_));
        self.config().is_offered() && (on(self.ipv4) || on(self.ipv6))
    }

    /// A set request on the normal path.
    pub fn set(&mut self, oid: Oid, buffer: &[u8]) -> Effects {
        if let Err(status) = self.admit(oid) {
            return Effects::none(Completion::with(status));
        }
        let before = self.reported.current;
        let result = match oid {
            Oid::PARAMETERS => self.set_parameters(buffer),
            Oid::ENCAPSULATION => self.set_encapsulation(buffer),
            _ => Err(Completion::with(Status::NOT_SUPPORTED)),
        };
        match result {
            Ok(keywords) => {
                self.report(false);
                Effects {
                    completion: Completion::success(buffer.len()),
                    changed: self.reported.current != before,
                    hardware_capabilities: false,
                    // After every set, whether or not it changed anything (R9, R10).
                    current_config: true,
                    keywords,
                }
            }
            Err(completion) => Effects::none(completion),
        }
    }

    /// A query on the normal path. NDIS answers it without the miniport (R19).
    pub fn query(&self, oid: Oid, buffer: &mut [u8]) -> Completion {
        if let Err(status) = self.admit(oid) {
            return Completion::with(status);
        }
        let written = match oid {
            Oid::CURRENT_CONFIG => self.reported.current.encode(self.version, buffer),
            Oid::HARDWARE_CAPABILITIES => self.reported.hardware.encode(self.version, buffer),
            Oid::ENCAPSULATION => {
                let image = OffloadEncapsulation::new(answer(self.ipv4), answer(self.ipv6));
                crate::bytes::put(buffer, 0, image.as_bytes())
            }
            // OID_TCP_OFFLOAD_PARAMETERS can only be set (R13).
            _ => return Completion::with(Status::NOT_SUPPORTED),
        };
        match written {
            Ok(bytes) => Completion::success(bytes),
            Err(fault) => Completion {
                status: Status::BUFFER_TOO_SHORT,
                done: 0,
                needed: fault.needed(),
            },
        }
    }

    /// The hardware below is another one (R21), for instance under a MUX driver.
    pub fn hardware_changed(&mut self, hardware: Hardware) -> Effects {
        let before = self.reported.current;
        self.hardware = hardware;
        self.report(true);
        let changed = self.reported.current != before;
        Effects {
            changed,
            hardware_capabilities: true,
            current_config: changed,
            ..Effects::none(Completion::with(Status::SUCCESS))
        }
    }

    /// Something other than NDIS switched IPsec offload on or off. The keywords stay.
    pub fn external_change(&mut self, on: bool) -> Effects {
        let before = self.reported.current;
        self.v2 = if on { Enabled::BOTH } else { Enabled::NEITHER };
        self.report(false);
        let changed = self.reported.current != before;
        Effects {
            changed,
            current_config: changed,
            ..Effects::none(Completion::with(Status::SUCCESS))
        }
    }

    /// What every request on the normal path meets first (R39, R40).
    fn admit(&self, oid: Oid) -> Result<(), Status> {
        match self.state {
            State::Removed | State::Resetting => Err(Status::NOT_ACCEPTED),
            _ if oid.name().is_none() => Err(Status::INVALID_OID),
            _ => Ok(()),
        }
    }

    fn set_parameters(&mut self, buffer: &[u8]) -> Result<Option<Keywords>, Completion> {
        // A miniport that offloads nothing has no use for the OID (R12).
        if !self.offers_anything() {
            return Err(Completion::with(Status::NOT_SUPPORTED));
        }
        let invalid = || Completion::with(Status::INVALID_DATA);
        let parameters = OffloadParameters::parse(buffer)?;
        let settings = [
            parameters.ipsec_v1(),
            parameters.ipsec_v2(),
            parameters.ipsec_v2_ipv4(),
        ];
        let flags = parameters.flags.get();
        let known = settings.iter().all(|setting| setting.name().is_some());
        if !known || flags & !SKIP_REGISTRY_UPDATE != 0 {
            return Err(invalid());
        }
        let store = flags & SKIP_REGISTRY_UPDATE == 0;
        if store {
            self.keywords.store(&parameters);
        }
        self.v1 = self.v1.with(parameters.ipsec_v1());
        self.v2 = self.v2.with(self.v2_setting(&parameters));
        Ok(store.then_some(self.keywords))
    }

    /// The member that this adapter obeys (R6, R7).
    fn v2_setting(&self, parameters: &OffloadParameters) -> IpsecSetting {
        if self.hardware.ipsec.ipv6 {
            parameters.ipsec_v2()
        } else {
            parameters.ipsec_v2_ipv4()
        }
    }

    fn set_encapsulation(&mut self, buffer: &[u8]) -> Result<Option<Keywords>, Completion> {
        let request = OffloadEncapsulation::parse(buffer)?;
        let supported = self.encapsulations();
        let next = |now: Encapsulation, family: Family| match family.enabled() {
            Set::NO_CHANGE => Ok(now),
            Set::OFF => Ok(Encapsulation::Off),
            Set::ON if family.encapsulation_type.get() & supported != 0 => {
                Ok(Encapsulation::On(family))
            }
            _ => Err(Completion::with(Status::INVALID_PARAMETER)),
        };
        let (ipv4, ipv6) = (
            next(self.ipv4, request.ipv4)?,
            next(self.ipv6, request.ipv6)?,
        );
        (self.ipv4, self.ipv6) = (ipv4, ipv6);
        Ok(None)
    }

    /// Encapsulations that any offload supports (R16).
    fn encapsulations(&self) -> u32 {
        let others = &self.hardware.others;
        let checksum = &others.checksum;
        let words = [
            checksum.ipv4_transmit.encapsulation,
            checksum.ipv4_receive.encapsulation,
            checksum.ipv6_transmit.encapsulation,
            checksum.ipv6_receive.encapsulation,
            others.lso_v1.ipv4.encapsulation,
            others.lso_v2.ipv4.encapsulation,
            others.lso_v2.ipv6.encapsulation,
            others.ipsec_v1.encapsulation,
        ];
        words
            .iter()
            .fold(self.offered().encapsulation, |all, word| all | word.get())
    }

    fn offers_anything(&self) -> bool {
        self.offered().is_offered() || self.encapsulations() != 0
    }

    /// IPsecOV2 of the hardware, as far as this NDIS version has it.
    fn offered(&self) -> Capabilities {
        if self.version < Version::V6_1 {
            return Capabilities::NONE;
        }
        let others = &self.hardware.others;
        let lso = others.lso_v1.ipv4.max_offload_size.get()
            | others.lso_v2.ipv4.max_offload_size.get()
            | others.lso_v2.ipv6.max_offload_size.get();
        Capabilities {
            // Without LSO there is nothing that could hold for IPsec packets too (R24).
            lso: self.hardware.ipsec.lso && lso != 0,
            ..self.hardware.ipsec
        }
        .reported()
    }

    /// IPsecOV2 as it is enabled. With offloads off for both IP versions nothing is (R17).
    fn config(&self) -> Capabilities {
        if self.is_off() {
            return Capabilities::NONE;
        }
        let offered = self.offered();
        Capabilities {
            ipv6: offered.ipv6 && self.ipv6 != Encapsulation::Off,
            ..offered
        }
        .enabled(self.v2.ah, self.v2.esp)
    }

    fn is_off(&self) -> bool {
        self.ipv4 == Encapsulation::Off
            && (self.ipv6 == Encapsulation::Off || !self.hardware.ipsec.ipv6)
    }

    /// Tells NDIS what holds now.
    fn report(&mut self, hardware: bool) {
        if hardware {
            self.reported.hardware = self.image(self.offered(), Enabled::BOTH);
        }
        self.reported.current = if self.is_off() {
            Offload::default()
        } else {
            self.image(self.config(), self.v1)
        };
    }

    /// NDIS_OFFLOAD with this much of IPsec; its header comes with the version when it is encoded.
    fn image(&self, ipsec: Capabilities, v1: Enabled) -> Offload {
        let mut image = self.hardware.others;
        let coexistence = AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE;
        if !ipsec.is_offered() {
            image.flags = U32::new(image.flags.get() & !coexistence);
        }
        image.ipsec_v1 = enabled_v1(&image.ipsec_v1, v1);
        image.ipsec_v2 = ipsec.into();
        image
    }
}

/// What is left of version 1 when only these protocols are enabled.
fn enabled_v1(hardware: &IpsecV1, enabled: Enabled) -> IpsecV1 {
    let mut left = *hardware;
    let none = U32::new(0);
    if !enabled.ah {
        left.ipv4_ah = none;
    }
    if !enabled.esp {
        left.ipv4_esp = none;
    }
    if enabled != Enabled::BOTH {
        left.ah_esp_combined = none;
    }
    if left.ipv4_ah == none && left.ipv4_esp == none {
        return IpsecV1::default();
    }
    left
}

/// The answer to a query of OID_OFFLOAD_ENCAPSULATION for one IP version.
fn answer(encapsulation: Encapsulation) -> Family {
    match encapsulation {
        Encapsulation::On(family) => family,
        Encapsulation::Unset | Encapsulation::Off => Family {
            enabled: U32::new(Set::OFF.0),
            ..Family::default()
        },
    }
}
