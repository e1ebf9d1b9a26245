// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An adapter's configuration: what it can do, what is enabled, what it has reported (R1-R28).
//!
//! [`Adapter`] is plain data for the caller to keep under a lock. Requests on the normal path are
//! its methods; NDIS serialises those. The direct path works on a [`Snapshot`] instead, so that it
//! needs no lock (R31). It also has NDIS's own part: the keywords that NDIS stores (R14) and the
//! queries that NDIS answers from what was reported last (R19).

use super::capabilities::Capabilities;
use super::completion::Completion;
use super::image;
use super::keywords::{Enabled, Keywords};
use super::refusal::Refusal;
use super::tasks::Tasks;
use crate::encapsulation::{Family, OffloadEncapsulation, Set};
use crate::offload::Offload;
use crate::parameters::{OffloadParameters, SKIP_REGISTRY_UPDATE};
use crate::{Oid, Status, Version};
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
    /// A reset is under way; SAs stay, but are not in use (C30).
    Resetting,
    /// The hardware does not answer; SAs stay (C30).
    LowPower,
    /// It was removed, by surprise or not; every request is NOT_ACCEPTED (R40).
    Removed,
}

impl State {
    /// The refusal of all requests in this state, if any.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let rules = match self {
            Self::Running | Self::Paused => return None,
            Self::Resetting => "R40 C6",
            Self::LowPower => "R40 C30",
            Self::Removed => "R40",
        };
        Some(Refusal::new(Status::NOT_ACCEPTED, rules))
    }
}

/// The part of the adapter that the direct path needs, at one moment.
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

/// The effects of a request on the normal path, or of a change from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// How the request ended.
    pub completion: Completion,
    /// Something else is enabled than before, whether or not the report can say it.
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

/// The miniport's last reports, as NDIS remembers them.
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
    /// Enabled by the settings for both IP versions.
    v2: Enabled,
    /// Enabled by the settings for adapters that offload IPv4 only.
    v2_ipv4: Enabled,
    /// Checksums and large sends.
    tasks: Tasks,
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
            v2: Enabled::by_keyword(keywords.v2),
            v2_ipv4: Enabled::by_keyword(keywords.v2_ipv4),
            tasks: Tasks::by_keywords(&keywords),
            ipv4: Encapsulation::Unset,
            ipv6: Encapsulation::Unset,
            state: State::Running,
            reported: nothing,
        };
        adapter.report(true);
        adapter
    }

    /// Halts and initialises it again, with the keywords as they are now (R14). That ends neither a
    /// reset nor a removal.
    pub fn restart(&mut self) {
        let before = self.state;
        *self = Self::initialize(self.version, self.hardware, self.keywords);
        if matches!(before, State::Resetting | State::Removed) {
            self.state = before;
        }
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

    /// The hardware's capabilities as last reported. NDIS answers the query with them (R19).
    pub fn hardware(&self) -> &Offload {
        &self.reported.hardware
    }

    /// The configuration as last reported, which never exceeds what is enabled (R11).
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

    /// Whether received packets of any IP version are processed (R112).
    pub fn processing(&self) -> bool {
        self.processed().is_offered()
    }

    /// The capabilities for processing received packets: those that are enabled, for the IP versions that
    /// OID_OFFLOAD_ENCAPSULATION has set going (R15).
    pub fn processed(&self) -> Capabilities {
        let on = |encapsulation| matches!(encapsulation, Encapsulation::On(_));
        self.config().of_versions(on(self.ipv4), on(self.ipv6))
    }

    /// Which checksums and large sends the settings enable, as far as the hardware has them.
    pub fn tasks(&self) -> Tasks {
        self.tasks
    }

    /// A set request on the normal path, for a miniport that can switch each offload by itself.
    pub fn set(&mut self, oid: Oid, buffer: &[u8]) -> Effects {
        self.set_if(oid, buffer, |_| true)
    }

    /// A set request on the normal path. Checksums and large sends that the miniport cannot switch as
    /// they are wanted, says `obeys`, are INVALID_DATA, and nothing changes (R142, C41).
    pub fn set_if(
        &mut self,
        oid: Oid,
        buffer: &[u8],
        obeys: impl FnOnce(&Tasks) -> bool,
    ) -> Effects {
        self.try_set(oid, buffer, obeys)
            .unwrap_or_else(|refusal| Effects::none(refusal.into()))
    }

    /// As [`Self::set_if`], with the rule that a refusal comes from.
    ///
    /// # Errors
    ///
    /// The refusal; nothing has changed.
    pub fn try_set(
        &mut self,
        oid: Oid,
        buffer: &[u8],
        obeys: impl FnOnce(&Tasks) -> bool,
    ) -> Result<Effects, Refusal> {
        self.admit(oid)?;
        let before = self.enabled();
        let keywords = match oid {
            Oid::PARAMETERS => self.set_parameters(buffer, obeys)?,
            Oid::ENCAPSULATION => self.set_encapsulation(buffer)?,
            _ => return Err(Refusal::new(Status::NOT_SUPPORTED, "R39")),
        };
        self.report(false);
        Ok(Effects {
            completion: Completion::success(buffer.len()),
            changed: self.enabled() != before,
            hardware_capabilities: false,
            // After every set, whether or not it changed anything (R9, R10).
            current_config: true,
            keywords,
        })
    }

    /// A query on the normal path. NDIS answers it without the miniport, whatever the state of that
    /// (R19); only an adapter that is gone has no answers (R40).
    pub fn query(&self, oid: Oid, buffer: &mut [u8]) -> Completion {
        self.try_query(oid, buffer).unwrap_or_else(Completion::from)
    }

    /// The same, with the rule that a refusal comes from.
    ///
    /// # Errors
    ///
    /// The refusal; nothing was written.
    pub fn try_query(&self, oid: Oid, buffer: &mut [u8]) -> Result<Completion, Refusal> {
        self.known(oid)?;
        let written = match oid {
            Oid::CURRENT_CONFIG => self.reported.current.encode(self.version, buffer),
            Oid::HARDWARE_CAPABILITIES => self.reported.hardware.encode(self.version, buffer),
            Oid::ENCAPSULATION => {
                let image = OffloadEncapsulation::new(answer(self.ipv4), answer(self.ipv6));
                crate::bytes::put(buffer, 0, image.as_bytes())
            }
            Oid::PARAMETERS => return Err(Refusal::new(Status::NOT_SUPPORTED, "R13")),
            _ => return Err(Refusal::new(Status::NOT_SUPPORTED, "R39")),
        };
        written.map(Completion::success).map_err(|fault| Refusal {
            needed: fault.needed(),
            ..Refusal::new(Status::BUFFER_TOO_SHORT, "R20")
        })
    }

    /// Follows a change of the hardware below (R21), for instance under a MUX driver.
    pub fn hardware_changed(&mut self, hardware: Hardware) -> Effects {
        self.change(true, |adapter| adapter.hardware = hardware)
    }

    /// Something other than NDIS switched IPsec offload on or off. The keywords stay.
    pub fn external_change(&mut self, on: bool) -> Effects {
        self.change(false, |adapter| {
            adapter.v2 = if on { Enabled::BOTH } else { Enabled::NEITHER };
            adapter.v2_ipv4 = adapter.v2;
        })
    }

    /// Something other than NDIS switched checksums or large sends, or they cannot be switched as the
    /// keywords say. The keywords stay.
    pub fn external_tasks(&mut self, tasks: Tasks) -> Effects {
        self.change(false, |adapter| adapter.tasks = tasks)
    }

    /// A change that no request made, of the hardware or of what is enabled.
    fn change(&mut self, hardware: bool, make: impl FnOnce(&mut Self)) -> Effects {
        let before = self.enabled();
        make(self);
        self.report(hardware);
        let changed = self.enabled() != before;
        Effects {
            changed,
            hardware_capabilities: hardware,
            current_config: changed,
            ..Effects::none(Completion::with(Status::SUCCESS))
        }
    }

    /// The checks for every request (R39, R40).
    fn known(&self, oid: Oid) -> Result<(), Refusal> {
        match self.state {
            State::Removed => Err(Refusal::new(Status::NOT_ACCEPTED, "R40")),
            _ if oid.name().is_none() => Err(Refusal::new(Status::INVALID_OID, "R39")),
            _ => Ok(()),
        }
    }

    /// The checks for a request that comes down to the miniport.
    fn admit(&self, oid: Oid) -> Result<(), Refusal> {
        match self.state.refusal() {
            Some(refusal) => Err(refusal),
            None => self.known(oid),
        }
    }

    /// What is enabled. NDIS_OFFLOAD cannot say that IPsec is enabled for IPv6 only.
    fn enabled(&self) -> (Offload, Capabilities) {
        (self.reported.current, self.config())
    }

    fn set_parameters(
        &mut self,
        buffer: &[u8],
        obeys: impl FnOnce(&Tasks) -> bool,
    ) -> Result<Option<Keywords>, Refusal> {
        // A miniport that offloads nothing has no use for the OID (R12).
        if !self.offers_anything() {
            return Err(Refusal::new(Status::NOT_SUPPORTED, "R12"));
        }
        let parameters = OffloadParameters::parse(buffer)?;
        let flags = parameters.flags.get();
        if !parameters.has_known_values() || flags & !SKIP_REGISTRY_UPDATE != 0 {
            return Err(Refusal::new(Status::INVALID_DATA, "R12 C34"));
        }
        let tasks = self.tasks.with(&parameters);
        if tasks != self.tasks && !obeys(&tasks) {
            return Err(Refusal::new(Status::INVALID_DATA, "R142 C41"));
        }
        self.tasks = tasks;
        let store = flags & SKIP_REGISTRY_UPDATE == 0;
        if store {
            self.keywords.store(&parameters);
        }
        self.v1 = self.v1.with(parameters.ipsec_v1());
        self.v2 = self.v2.with(parameters.ipsec_v2());
        self.v2_ipv4 = self.v2_ipv4.with(parameters.ipsec_v2_ipv4());
        Ok(store.then_some(self.keywords))
    }

    /// The settings that this adapter obeys: those for both IP versions where IPv6 is offloaded
    /// (R6), the others where only IPv4 is (R7).
    fn obeyed(&self) -> Enabled {
        if self.hardware.ipsec.ipv6 {
            self.v2
        } else {
            self.v2_ipv4
        }
    }

    fn set_encapsulation(&mut self, buffer: &[u8]) -> Result<Option<Keywords>, Refusal> {
        // A miniport that offloads nothing has no use for the OID (R139).
        if !self.offers_anything() {
            return Err(Refusal::new(Status::NOT_SUPPORTED, "R139"));
        }
        let request = OffloadEncapsulation::parse(buffer)?;
        let supported = self.encapsulations();
        let next = |now: Encapsulation, family: Family| match family.enabled() {
            // R140, C39.
            _ if !family.is_legal() => Err(Refusal::new(Status::INVALID_PARAMETER, "R140 C39")),
            Set::NO_CHANGE => Ok(now),
            Set::OFF => Ok(Encapsulation::Off),
            Set::ON if family.encapsulation_type.get() & supported != 0 => {
                Ok(Encapsulation::On(family))
            }
            _ => Err(Refusal::new(Status::INVALID_PARAMETER, "R16")),
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
        self.offered().encapsulation | image::encapsulations(&self.hardware.others)
    }

    fn offers_anything(&self) -> bool {
        self.offered().is_offered() || self.encapsulations() != 0
    }

    /// IPsecOV2 of the hardware.
    fn offered(&self) -> Capabilities {
        self.ipsec_beside(&self.hardware.others)
    }

    /// IPsecOV2 of the hardware beside these other offloads, as far as this NDIS version has it.
    fn ipsec_beside(&self, others: &Offload) -> Capabilities {
        if self.version < Version::V6_1 {
            return Capabilities::NONE;
        }
        Capabilities {
            // Hardware that offers IPsec at all does so for IPv4.
            ipv4: true,
            // Without LSO there is nothing that could hold for IPsec packets too (R24).
            lso: self.hardware.ipsec.lso && image::has_large_send(others),
            ..self.hardware.ipsec
        }
        .reported()
    }

    /// Whether offloads for IPv4 and for IPv6 are on, as OID_OFFLOAD_ENCAPSULATION has it. Until that
    /// comes, the default configuration holds.
    pub fn versions(&self) -> (bool, bool) {
        let on = |encapsulation| encapsulation != Encapsulation::Off;
        (on(self.ipv4), on(self.ipv6))
    }

    /// The other offloads as they are enabled (R17, R142).
    fn others(&self) -> Offload {
        let (ipv4, ipv6) = self.versions();
        let others = image::of_versions(&self.hardware.others, ipv4, ipv6);
        image::of_tasks(&others, &self.tasks)
    }

    /// IPsecOV2 as it is enabled (R8, R17).
    fn config(&self) -> Capabilities {
        let (ipv4, ipv6) = self.versions();
        let enabled = self.obeyed();
        self.ipsec_beside(&self.others())
            .of_versions(ipv4, ipv6)
            .enabled(enabled.ah, enabled.esp)
    }

    /// Reports the current state to NDIS.
    fn report(&mut self, hardware: bool) {
        if hardware {
            let offered = self.offered();
            self.reported.hardware =
                image::with_ipsec(&self.hardware.others, offered, Enabled::BOTH);
        }
        self.reported.current = image::with_ipsec(&self.others(), self.config(), self.v1);
    }
}

/// The answer to a query of OID_OFFLOAD_ENCAPSULATION for one IP version.
fn answer(encapsulation: Encapsulation) -> Family {
    match encapsulation {
        Encapsulation::On(family) => family,
        Encapsulation::Unset | Encapsulation::Off => Family::new(Set::OFF, 0, 0),
    }
}
