// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Capabilities and objects of the flow filter, as a driver makes them.

use espnic_wire::admin::Command;
use espnic_wire::filter::selector::{Kind, SelectorHdr};
use espnic_wire::filter::{
    Group, RuleHdr, CAP_ACTIONS, CAP_LIMITS, CAP_SELECTORS, OBJ_CLASSIFIER, OBJ_GROUP, OBJ_RULE,
};
use zerocopy::IntoBytes;

/// The capabilities of the filter.
pub const CAPABILITIES: [u16; 3] = [CAP_LIMITS, CAP_SELECTORS, CAP_ACTIONS];

/// What a rule says of one header.
#[derive(Clone, Debug)]
pub struct Part {
    kind: Kind,
    mask: Vec<u8>,
    key: Vec<u8>,
}

impl Part {
    /// The header has to be there.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            mask: vec![0; kind.len()],
            key: vec![0; kind.len()],
        }
    }

    /// The header has these bytes at `at`.
    #[must_use]
    pub fn with(self, at: usize, bytes: &[u8]) -> Self {
        let whole = vec![u8::MAX; bytes.len()];
        self.masked(at, bytes, &whole)
    }

    /// The header has the bits of `bytes` that are in `mask` at `at`.
    #[must_use]
    pub fn masked(mut self, at: usize, bytes: &[u8], mask: &[u8]) -> Self {
        for (offset, (byte, mask)) in bytes.iter().zip(mask).enumerate() {
            if let Some(key) = self.key.get_mut(at + offset) {
                *key = *byte;
            }
            if let Some(to) = self.mask.get_mut(at + offset) {
                *to = *mask;
            }
        }
        self
    }

    /// The kind of the header.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Mask and key, as long as the header.
    pub fn mask_and_key(&self) -> (&[u8], &[u8]) {
        (&self.mask, &self.key)
    }
}

/// IPv4, or IPv6, with this protocol.
pub fn ip(v6: bool, protocol: u8) -> [Part; 2] {
    let (kind, eth, at) = match v6 {
        false => (Kind::Ipv4, [0x08, 0x00], 9),
        true => (Kind::Ipv6, [0x86, 0xdd], 6),
    };
    [
        Part::new(Kind::Eth).with(12, &eth),
        Part::new(kind).with(at, &[protocol]),
    ]
}

/// ESP with this SPI.
pub fn esp(v6: bool, spi: u32) -> Vec<Part> {
    let [eth, ip] = ip(v6, 50);
    let esp = Part::new(Kind::Esp).with(0, &spi.to_be_bytes());
    vec![eth, ip, esp]
}

/// ESP.
pub fn any_esp(v6: bool) -> Vec<Part> {
    let [eth, ip] = ip(v6, 50);
    vec![eth, ip, Part::new(Kind::Esp)]
}

/// UDP to this port.
pub fn udp(v6: bool, port: u16) -> Vec<Part> {
    let [eth, ip] = ip(v6, 17);
    let udp = Part::new(Kind::Udp).with(2, &port.to_be_bytes());
    vec![eth, ip, udp]
}

/// Data of a group.
pub fn group(priority: u16) -> Vec<u8> {
    let group = Group {
        priority: priority.into(),
    };
    group.as_bytes().to_vec()
}

/// Data of a classifier.
pub fn classifier(parts: &[Part]) -> Vec<u8> {
    let mut data = vec![parts.len() as u8, 0, 0, 0, 0, 0, 0, 0];
    for part in parts {
        let hdr = SelectorHdr {
            kind: part.kind as u8,
            length: part.mask.len() as u8,
            ..SelectorHdr::default()
        };
        data.extend(hdr.as_bytes());
        data.extend(&part.mask);
    }
    data
}

/// Data of a rule. The length of the keys is filled in.
pub fn rule(mut hdr: RuleHdr, parts: &[Part]) -> Vec<u8> {
    let keys: Vec<u8> = parts.iter().flat_map(|part| part.key.clone()).collect();
    hdr.key_length = keys.len() as u8;
    [hdr.as_bytes(), &keys].concat()
}

/// Start of a rule.
pub fn rule_hdr(group: u32, classifier: u32, priority: u8, action: u8) -> RuleHdr {
    RuleHdr {
        group_id: group.into(),
        classifier_id: classifier.into(),
        rule_priority: priority,
        action,
        ..RuleHdr::default()
    }
}

/// Executes, by `execute`, what makes a filter ready whose opcodes are in use: it takes all capabilities.
///
/// # Errors
///
/// The first one of `execute`, which otherwise returns the result of the command.
pub fn set_up<E>(mut execute: impl FnMut(Command<'_>) -> Result<Vec<u8>, E>) -> Result<(), E> {
    for id in CAPABILITIES {
        let data = execute(Command::DeviceCapGet(id))?;
        execute(Command::DriverCapSet { id, data: &data })?;
    }
    Ok(())
}

/// Executes, by `execute`, what takes ESP through IPsec: a group, and a classifier and a rule for ESP in
/// each of IPv4, IPv6, and UDP over either.
///
/// # Errors
///
/// The first one of `execute`.
pub fn protect<E>(
    action: u8,
    mut execute: impl FnMut(Command<'_>) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let mut create = |obj_type, id, object: &[u8]| {
        execute(Command::ObjCreate {
            obj_type,
            id,
            object,
        })
    };
    create(OBJ_GROUP, 0, &group(1))?;
    let all = [
        any_esp(false),
        any_esp(true),
        udp(false, 4500),
        udp(true, 4500),
    ];
    for (id, parts) in (0..).zip(&all) {
        create(OBJ_CLASSIFIER, id, &classifier(parts))?;
        let hdr = rule_hdr(0, id, id as u8, action);
        create(OBJ_RULE, id, &rule(hdr, parts))?;
    }
    Ok(())
}
