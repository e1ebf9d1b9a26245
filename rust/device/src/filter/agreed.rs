// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities: what the filter offers, and what the driver has accepted of it.

use crate::admin::Refused;
use espnic_wire::filter::selector::{Kind, Selector, Selectors, MAX_LEN};
use espnic_wire::filter::{self as wire, Action, Actions, Limits};
use espnic_wire::read_zero_extended;
use zerocopy::IntoBytes;

/// Groups. Few, because a packet goes through all of them.
const GROUPS: u32 = 16;
/// Classifiers.
const CLASSIFIERS: u32 = 64;
/// Rules. The standard compares their ids with this and with the limit of a group, so both are one.
const RULES: u32 = 1024;
/// The priorities of rules are below this.
const LAST_PRIORITY: u8 = u8::MAX;
/// Ethernet, META, IP, and what is in IP.
const SELECTORS: u8 = 4;
/// Room for the list of all selectors.
const ROOM: usize = 256;

/// What the NIC and its driver have, as far as it matters for rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Rules may take packets through IPsec.
    pub ipsec: bool,
    /// Rules may look at what IPsec has done, because there is the extension.
    pub x_ipsec: bool,
    /// Queue pairs, whose receive queues rules may name.
    pub pairs: u16,
}

/// The ids of the capabilities. They show together (V90).
pub(super) const IDS: [u16; 3] = [wire::CAP_LIMITS, wire::CAP_SELECTORS, wire::CAP_ACTIONS];

fn limits() -> Limits {
    Limits {
        groups: GROUPS.into(),
        classifiers: CLASSIFIERS.into(),
        rules: RULES.into(),
        rules_per_group: RULES.into(),
        last_rule_priority: LAST_PRIORITY,
        selectors_per_classifier: SELECTORS,
        ..Limits::default()
    }
}

/// Every bit of every header.
fn selectors(terms: Terms) -> Selectors {
    let all = Kind::ALL.into_iter();
    let kinds = all.filter(|&kind| kind != Kind::XMeta || terms.x_ipsec);
    kinds.fold(Selectors::EMPTY, |list, kind| {
        let mask = [u8::MAX; MAX_LEN];
        let selector = Selector::new(kind, true, mask.get(..kind.len()).unwrap_or_default());
        selector.and_then(|one| list.with(one)).unwrap_or(list)
    })
}

fn actions(terms: Terms) -> Actions {
    let plain = Actions::default().with(Action::Drop).with(Action::Queue);
    match terms.ipsec {
        true => plain.with(Action::Ipsec).with(Action::IpsecAgain),
        false => plain,
    }
}

/// Data of a capability of a NIC with these terms.
pub(super) fn get(terms: Terms, id: u16) -> Result<Vec<u8>, Refused> {
    match id {
        wire::CAP_LIMITS => Ok(limits().as_bytes().to_vec()),
        wire::CAP_SELECTORS => {
            let mut data = vec![0; ROOM];
            let written = selectors(terms).write(&mut data);
            data.truncate(written.map_err(|_| Refused::RESOURCE)?);
            Ok(data)
        }
        wire::CAP_ACTIONS => {
            let (data, len) = actions(terms).data();
            Ok(data.into_iter().take(len).collect())
        }
        _ => Err(Refused::MISSING),
    }
}

/// The capabilities that the driver has set.
#[derive(Default)]
pub(super) struct Agreed {
    limits: Option<Limits>,
    selectors: Option<Selectors>,
    actions: Option<Actions>,
}

/// What objects are measured by.
pub(super) struct Measure<'a> {
    /// How much there can be.
    pub(super) limits: &'a Limits,
    /// What classifiers can select.
    pub(super) selectors: &'a Selectors,
    /// What rules can do.
    pub(super) actions: Actions,
    /// Queue pairs that the driver has negotiated.
    pub(super) queue_pairs: u16,
}

impl Agreed {
    /// Stores what the driver accepts of a capability.
    pub(super) fn set(&mut self, terms: Terms, id: u16, data: &[u8]) -> Result<(), Refused> {
        match id {
            wire::CAP_LIMITS => {
                let set: Limits = read_zero_extended(data);
                self.limits = Some(within(set, |set| set.is_within(&limits()))?);
            }
            wire::CAP_SELECTORS => {
                let set = Selectors::parse_capability(data)?;
                self.selectors = Some(within(set, |set| set.is_within(&selectors(terms)))?);
            }
            wire::CAP_ACTIONS => {
                let set = Actions::parse(data)?;
                self.actions = Some(within(set, |set| set.is_within(actions(terms)))?);
            }
            _ => return Err(Refused::MISSING),
        }
        Ok(())
    }

    /// What objects are measured by; `None` until the driver has set all three capabilities.
    pub(super) fn measure(&self, terms: Terms) -> Option<Measure<'_>> {
        Some(Measure {
            limits: self.limits.as_ref()?,
            selectors: self.selectors.as_ref()?,
            actions: self.actions?,
            queue_pairs: terms.pairs,
        })
    }
}

fn within<T>(set: T, is_within: impl FnOnce(&T) -> bool) -> Result<T, Refused> {
    match is_within(&set) {
        true => Ok(set),
        false => Err(Refused::FIELD),
    }
}
