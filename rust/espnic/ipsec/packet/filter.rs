// SPDX-License-Identifier: GPL-2.0

//! The rules of the NIC's flow filter that send ESP to IPsec. They name no SA: the NIC finds it by the SPI
//! and the destination.

#[cfg(espnic_kunit)]
mod tests;

use crate::control::Control;
use espnic_esp::ip::{
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    IPPROTO_ESP,
    IPPROTO_UDP,
    NAT_T_PORT, //
};
use espnic_wire::{
    admin::Command,
    filter::{
        selector::{
            Kind,
            Selector,
            Selectors, //
        },
        Action,
        Actions,
        Group,
        Limits,
        RuleHdr,
        MAX_KEYS,
        OBJ_CLASSIFIER,
        OBJ_GROUP,
        OBJ_RULE, //
    },
    U16,
    U32, //
};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// The only group.
const GROUP: u32 = 0;
/// The number of rules, each with a classifier of its own.
const RULES: u8 = 4;
/// Selectors of a classifier.
const SELECTORS: u8 = 3;
/// Room for a classifier in bytes: the header of the list, and three selectors with a header of 8 bytes
/// each, of which the longest has 40.
const CLASSIFIER_ROOM: usize = 8 + 3 * (8 + 40);
/// Room for a rule in bytes.
const RULE_ROOM: usize = size_of::<RuleHdr>() + MAX_KEYS;

/// A part of a rule: header, mask and key as bytes of the header that count and their value.
struct Part {
    kind: Kind,
    at: usize,
    value: [u8; 2],
    len: usize,
}

/// Ethernet with this EtherType.
fn ethernet(v6: bool) -> Part {
    let kind = if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    Part {
        kind: Kind::Eth,
        at: 12,
        value: kind.to_be_bytes(),
        len: 2,
    }
}

/// IP with this protocol.
fn ip(v6: bool, protocol: u8) -> Part {
    let (kind, at) = if v6 { (Kind::Ipv6, 6) } else { (Kind::Ipv4, 9) };
    Part {
        kind,
        at,
        value: [protocol, 0],
        len: 1,
    }
}

/// What is in IP: ESP, or UDP to the port of NAT-T.
fn upper(udp: bool) -> Part {
    if udp {
        Part {
            kind: Kind::Udp,
            at: 2,
            value: NAT_T_PORT.to_be_bytes(),
            len: 2,
        }
    } else {
        Part {
            kind: Kind::Esp,
            at: 0,
            value: [0; 2],
            len: 0,
        }
    }
}

/// The parts of rule `number`.
fn parts(number: u8) -> [Part; SELECTORS as usize] {
    let (v6, udp) = (number & 1 != 0, number & 2 != 0);
    let protocol = if udp { IPPROTO_UDP } else { IPPROTO_ESP };
    [ethernet(v6), ip(v6, protocol), upper(udp)]
}

impl Part {
    /// The header with `bytes` where it counts, and zeroes elsewhere; the first bytes, as many as the
    /// header has, are valid.
    fn fill(&self, bytes: [u8; 2]) -> [u8; 40] {
        let mut header = [0; 40];
        let place = header.iter_mut().skip(self.at).take(self.len);
        place.zip(bytes).for_each(|(to, from)| *to = from);
        header
    }

    fn selector(&self) -> Option<Selector> {
        let mask = self.fill([0xff; 2]);
        Selector::new(self.kind, false, mask.get(..self.kind.len())?)
    }
}

/// Whether a NIC with these capabilities can have the rules.
pub(in crate::ipsec) fn is_possible(
    limits: &Limits,
    selectors: &Selectors,
    actions: Actions,
) -> bool {
    let rules = u32::from(RULES);
    let kinds = [Kind::Eth, Kind::Ipv4, Kind::Ipv6, Kind::Udp, Kind::Esp];
    limits.groups.get() > GROUP
        && limits.classifiers.get() >= rules
        && limits.rules.get() >= rules
        && limits.rules_per_group.get() >= rules
        && limits.last_rule_priority >= RULES
        && limits.selectors_per_classifier >= SELECTORS
        && kinds.iter().all(|&kind| selectors.get(kind).is_some())
        && actions.has(Action::Ipsec)
}

/// Creates the objects; false if the NIC refuses one. Sleeps.
///
/// # Errors
///
/// Those of the commands.
pub(in crate::ipsec) fn set_up(control: &Control) -> Result<bool> {
    let group = Group {
        priority: U16::new(0),
    };
    if !create(control, OBJ_GROUP, GROUP, group.as_bytes())? {
        return Ok(false);
    }
    for number in 0..RULES {
        let mut room = [0; CLASSIFIER_ROOM];
        let object = classifier(number, &mut room).ok_or(EINVAL)?;
        if !create(control, OBJ_CLASSIFIER, number.into(), object)? {
            return Ok(false);
        }
        let mut room = [0; RULE_ROOM];
        let object = rule(number, &mut room).ok_or(EINVAL)?;
        if !create(control, OBJ_RULE, number.into(), object)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn create(control: &Control, obj_type: u16, id: u32, object: &[u8]) -> Result<bool> {
    let command = Command::ObjCreate {
        obj_type,
        id,
        object,
    };
    match control.execute(&command, object.len(), 0)?.result() {
        Ok(_) => Ok(true),
        // No answer that makes sense.
        Err(EIO) => Err(EIO),
        Err(_) => Ok(false),
    }
}

fn classifier(number: u8, room: &mut [u8]) -> Option<&[u8]> {
    let list = parts(number)
        .iter()
        .try_fold(Selectors::EMPTY, |list, part| list.with(part.selector()?))?;
    let len = list.write(room).ok()?;
    room.get(..len)
}

fn rule(number: u8, room: &mut [u8]) -> Option<&[u8]> {
    let parts = parts(number);
    let len = parts.iter().map(|part| part.kind.len()).sum::<usize>();
    let hdr = RuleHdr {
        group_id: U32::new(GROUP),
        classifier_id: U32::new(number.into()),
        // Each has its own (V104). Which is higher does not matter: no packet meets two of them.
        rule_priority: number,
        key_length: u8::try_from(len).ok()?,
        action: Action::Ipsec as u8,
        ..RuleHdr::default()
    };
    let keys = parts.iter().flat_map(|part| {
        let key = part.fill(part.value);
        key.into_iter().take(part.kind.len())
    });
    let (start, rest) = room.split_at_mut_checked(size_of::<RuleHdr>())?;
    start.copy_from_slice(hdr.as_bytes());
    rest.iter_mut().zip(keys).for_each(|(to, from)| *to = from);
    room.get(..size_of::<RuleHdr>().checked_add(len)?)
}
