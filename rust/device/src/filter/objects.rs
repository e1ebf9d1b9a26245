// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Groups, classifiers and rules, and what needs what.

use super::agreed::Measure;
use super::matcher::{Matcher, MAX_TABLES};
use crate::admin::Refused;
use espnic_wire::filter::selector::{SelectorHdr, Selectors};
use espnic_wire::filter::{Frame, Group, Rule, RuleHdr, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE};
use std::collections::BTreeMap;

/// An object, and the data that QUERY gives back.
struct Kept<T> {
    object: T,
    data: Vec<u8>,
}

impl<T> Kept<T> {
    /// `len` bytes of `data` count; those that are missing read as zero.
    fn new(object: T, data: &[u8], len: usize) -> Self {
        let zeroes = std::iter::repeat(&0);
        let data = data.iter().chain(zeroes).take(len).copied().collect();
        Self { object, data }
    }
}

/// Objects of one type, by id.
type Kind<T> = BTreeMap<u32, Kept<T>>;

/// The ids of a group and of a classifier, whose rules are one table.
type TableId = (u32, u32);

/// All objects of a filter.
#[derive(Default)]
pub(super) struct Store {
    groups: Kind<Group>,
    classifiers: Kind<Selectors>,
    rules: Kind<Rule>,
    /// Number of rules in each table that the [`Matcher`] will have; never zero. It bounds what packets cost.
    tables: BTreeMap<TableId, u32>,
}

impl Store {
    pub(super) fn is_empty(&self) -> bool {
        // Rules need groups.
        self.groups.is_empty() && self.classifiers.is_empty()
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// See [`crate::admin::Objects::create`].
    pub(super) fn create(
        &mut self,
        by: &Measure<'_>,
        obj_type: u16,
        id: u32,
        data: &[u8],
    ) -> Result<(), Refused> {
        match obj_type {
            OBJ_GROUP => {
                vacant(&self.groups, id)?;
                by.limits.admit_group(id, count(&self.groups))?;
                self.put_group(id, data)
            }
            OBJ_CLASSIFIER => {
                vacant(&self.classifiers, id)?;
                by.limits.admit_classifier(id, count(&self.classifiers))?;
                self.put_classifier(by, id, data)
            }
            OBJ_RULE => {
                vacant(&self.rules, id)?;
                self.put_rule(by, id, data)
            }
            _ => Err(Refused::FIELD),
        }
    }

    /// See [`crate::admin::Objects::modify`].
    pub(super) fn modify(
        &mut self,
        by: &Measure<'_>,
        obj_type: u16,
        id: u32,
        data: &[u8],
    ) -> Result<(), Refused> {
        match obj_type {
            OBJ_GROUP => {
                self.idle_group(id)?;
                self.put_group(id, data)
            }
            OBJ_CLASSIFIER => {
                self.idle_classifier(id)?;
                self.put_classifier(by, id, data)
            }
            OBJ_RULE => {
                let old = self.take_rule(id)?;
                let result = self.put_rule(by, id, data);
                if result.is_err() {
                    self.keep_rule(id, old);
                }
                result
            }
            _ => Err(Refused::FIELD),
        }
    }

    /// See [`crate::admin::Objects::query`].
    pub(super) fn query(&self, obj_type: u16, id: u32) -> Result<Vec<u8>, Refused> {
        match obj_type {
            OBJ_GROUP => data(&self.groups, id),
            OBJ_CLASSIFIER => data(&self.classifiers, id),
            OBJ_RULE => data(&self.rules, id),
            _ => Err(Refused::FIELD),
        }
    }

    /// See [`crate::admin::Objects::destroy`].
    pub(super) fn destroy(&mut self, obj_type: u16, id: u32) -> Result<(), Refused> {
        match obj_type {
            OBJ_GROUP => {
                self.idle_group(id)?;
                self.groups.remove(&id);
            }
            OBJ_CLASSIFIER => {
                self.idle_classifier(id)?;
                self.classifiers.remove(&id);
            }
            OBJ_RULE => {
                self.take_rule(id)?;
            }
            _ => return Err(Refused::FIELD),
        }
        Ok(())
    }

    /// What packets are compared with.
    pub(super) fn matcher(&self) -> Matcher {
        let rules = self.rules.values().filter_map(|kept| {
            let rule = &kept.object;
            let group = self.groups.get(&rule.group_id)?;
            let classifier = self.classifiers.get(&rule.classifier_id)?;
            Some((group.object.priority.get(), &classifier.object, rule))
        });
        Matcher::new(rules)
    }

    fn put_group(&mut self, id: u32, data: &[u8]) -> Result<(), Refused> {
        let others = self.groups.iter().filter(|(&other, _)| other != id);
        let group = Group::parse(data, others.map(|(_, kept)| kept.object.priority.get()))?;
        let kept = Kept::new(group, data, size_of::<Group>());
        self.groups.insert(id, kept);
        Ok(())
    }

    fn put_classifier(&mut self, by: &Measure<'_>, id: u32, data: &[u8]) -> Result<(), Refused> {
        let most = by.limits.selectors_per_classifier;
        let classifier = Selectors::parse_classifier(data, by.selectors, most)?;
        let hdrs = size_of::<SelectorHdr>().saturating_mul(classifier.iter().count());
        // The header of the list is as long as that of a selector.
        let len = size_of::<SelectorHdr>()
            .saturating_add(hdrs)
            .saturating_add(classifier.key_len());
        let kept = Kept::new(classifier, data, len);
        self.classifiers.insert(id, kept);
        Ok(())
    }

    fn put_rule(&mut self, by: &Measure<'_>, id: u32, data: &[u8]) -> Result<(), Refused> {
        let hdr = RuleHdr::read(data);
        let (group, classifier) = (hdr.group_id.get(), hdr.classifier_id.get());
        by.limits
            .admit_rule(id, count(&self.rules), self.rules_of(group))?;
        if !self.groups.contains_key(&group) {
            return Err(Refused::FIELD);
        }
        let frame = Frame {
            limits: by.limits,
            actions: by.actions,
            classifier: &self
                .classifiers
                .get(&classifier)
                .ok_or(Refused::FIELD)?
                .object,
        };
        // Receive queues have the even numbers.
        let is_receive_queue = |queue| queue % 2 == 0 && queue / 2 < by.queue_pairs;
        let rule = Rule::parse(data, &frame, is_receive_queue)?;
        let is_new = !self.tables.contains_key(&(group, classifier));
        if is_new && self.tables.len() >= MAX_TABLES {
            return Err(Refused::RESOURCE);
        }
        let len = size_of::<RuleHdr>().saturating_add(rule.keys().len());
        self.keep_rule(id, Kept::new(rule, data, len));
        Ok(())
    }

    fn keep_rule(&mut self, id: u32, kept: Kept<Rule>) {
        let rules = self.tables.entry(table_of(&kept.object)).or_default();
        *rules = rules.saturating_add(1);
        self.rules.insert(id, kept);
    }

    fn take_rule(&mut self, id: u32) -> Result<Kept<Rule>, Refused> {
        let kept = self.rules.remove(&id).ok_or(Refused::MISSING)?;
        let table = table_of(&kept.object);
        if let Some(rules) = self.tables.get_mut(&table) {
            *rules = rules.saturating_sub(1);
            if *rules == 0 {
                self.tables.remove(&table);
            }
        }
        Ok(kept)
    }

    /// Number of rules of a group.
    fn rules_of(&self, group: u32) -> u32 {
        let tables = self.tables.range((group, 0)..=(group, u32::MAX));
        tables.fold(0, |sum, (_, &rules)| sum.saturating_add(rules))
    }

    /// Refuses a group that is missing or has rules.
    fn idle_group(&self, id: u32) -> Result<(), Refused> {
        self.groups.get(&id).ok_or(Refused::MISSING)?;
        idle(self.rules_of(id) == 0)
    }

    /// Refuses a classifier that is missing or has rules.
    fn idle_classifier(&self, id: u32) -> Result<(), Refused> {
        self.classifiers.get(&id).ok_or(Refused::MISSING)?;
        idle(!self.tables.keys().any(|&(_, classifier)| classifier == id))
    }
}

fn table_of(rule: &Rule) -> TableId {
    (rule.group_id, rule.classifier_id)
}

fn count<T>(kind: &Kind<T>) -> u32 {
    u32::try_from(kind.len()).unwrap_or(u32::MAX)
}

fn vacant<T>(kind: &Kind<T>, id: u32) -> Result<(), Refused> {
    match kind.contains_key(&id) {
        true => Err(Refused::EXISTS),
        false => Ok(()),
    }
}

fn data<T>(kind: &Kind<T>, id: u32) -> Result<Vec<u8>, Refused> {
    let kept = kind.get(&id).ok_or(Refused::MISSING)?;
    Ok(kept.data.clone())
}

fn idle(is_idle: bool) -> Result<(), Refused> {
    match is_idle {
        true => Ok(()),
        false => Err(Refused::BUSY),
    }
}
