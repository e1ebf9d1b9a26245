// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The SA requests.

use std::mem::offset_of;

use espnic_ndis::algorithm::{AlgorithmInfo, Authentication, Encryption};
use espnic_ndis::sa::{
    AddSa, AddSaEx, AddSaFixed, BundleView, DeleteSa, SecurityAssociation, UpdateSa, ESN_SA,
    INBOUND, IPV6,
};
use espnic_ndis::{Fault, Handle, ObjectHeader, U32};
use serde_json::{json, Value};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{hex, mask, named, Keys, Structure};
use crate::command::address_of;
use crate::key;

fn handle(handle: Option<Handle>) -> Value {
    handle.map_or(json!("NULL"), |handle| json!(hex(handle.get())))
}

/// The list of ADD_SA.
pub(super) fn add_list(buffer: &[u8], keys: Keys) -> Result<Vec<Structure>, Fault> {
    let mut found: Vec<Structure> = Vec::new();
    let mut at = Some(0);
    while let Some(offset) = at {
        let element = match AddSa::parse(buffer, offset) {
            Ok(element) => element,
            Err(fault) => {
                cut(&mut found, offset, fault)?;
                break;
            }
        };
        at = element.next();
        let fixed = element.fixed;
        let mut one = Structure::new("IPSEC_OFFLOAD_V2_ADD_SA", offset);
        one.header(&fixed.header);
        let next = fixed.next.get();
        one.add(offset_of!(AddSaFixed, next), "Next", hex(next));
        let bundle = element.bundle();
        let places = Places {
            num_ext_hdrs: offset_of!(AddSaFixed, num_ext_hdrs),
            flags: offset_of!(AddSaFixed, flags),
            endpoints: offset_of!(AddSaFixed, endpoints),
            offload_handle: offset_of!(AddSaFixed, offload_handle),
            udp: offset_of!(AddSaFixed, udp_esp_encapsulation),
            sec_assoc: offset_of!(AddSaFixed, sec_assoc),
        };
        let offload_handle = fixed.offload_handle.handle();
        match bundle {
            Ok(view) => places.describe(&mut one, &view, offload_handle, keys),
            Err(fault) => one.fail(fault),
        }
        let length = fixed.key_length.get();
        one.add(offset_of!(AddSaFixed, key_length), "KeyLength", length);
        found.push(one);
    }
    Ok(found)
}

/// A list ends here: a fault of the first element is one of all.
fn cut(found: &mut [Structure], offset: usize, fault: Fault) -> Result<(), Fault> {
    let last = found.last_mut().ok_or(fault)?;
    let words = super::words(fault);
    last.fault = Some(format!(
        "its Next, {offset:#x}, leads to no element: {words}"
    ));
    Ok(())
}

/// ADD_SA_EX.
pub(super) fn add_ex(buffer: &[u8], keys: Keys) -> Result<Structure, Fault> {
    let parsed = AddSaEx::parse(buffer);
    if let Err(fault @ (Fault::Type | Fault::Revision | Fault::Size)) = parsed {
        return Err(fault);
    }
    let mut fixed = AddSaEx::new_zeroed();
    let needed = usize::from(AddSaEx::SIZE_1);
    if buffer.len() < needed {
        return Err(Fault::Length { needed });
    }
    for (to, from) in fixed.as_mut_bytes().iter_mut().zip(buffer).take(needed) {
        *to = *from;
    }
    let mut one = Structure::new("IPSEC_OFFLOAD_V2_ADD_SA_EX", 0);
    one.header(&fixed.header);
    let places = Places {
        num_ext_hdrs: offset_of!(AddSaEx, num_ext_hdrs),
        flags: offset_of!(AddSaEx, flags),
        endpoints: offset_of!(AddSaEx, endpoints),
        offload_handle: offset_of!(AddSaEx, offload_handle),
        udp: offset_of!(AddSaEx, udp_esp_encapsulation),
        sec_assoc: offset_of!(AddSaEx, sec_assoc),
    };
    match parsed {
        Ok(view) => places.describe(&mut one, &view, fixed.offload_handle.handle(), keys),
        Err(fault) => one.fail(fault),
    }
    for (at, name, value) in [
        (
            offset_of!(AddSaEx, key_length),
            "KeyLength",
            fixed.key_length,
        ),
        (
            offset_of!(AddSaEx, key_offset),
            "KeyOffset",
            fixed.key_offset,
        ),
    ] {
        one.add(at, name, value.get());
    }
    // SourceSwitchPortId and VlanId say nothing, and in an ADD_SA that was taken for this one a key
    // starts there.
    Ok(one)
}

/// Where a structure has what both forms of addition have.
struct Places {
    num_ext_hdrs: usize,
    flags: usize,
    endpoints: usize,
    offload_handle: usize,
    udp: usize,
    sec_assoc: usize,
}

impl Places {
    fn describe(
        &self,
        one: &mut Structure,
        view: &BundleView<'_>,
        offload_handle: Option<Handle>,
        keys: Keys,
    ) {
        let count = view.num_ext_hdrs();
        one.add(self.num_ext_hdrs, "NumExtHdrs", count);
        let flags = mask(view.flags, [(INBOUND, "INBOUND"), (IPV6, "IPv6")]);
        one.add(self.flags, "Flags", flags);
        let (family, step) = if view.is_ipv6() {
            ("IPv6", 16)
        } else {
            ("IPv4", 4)
        };
        let name = |address| format!("{family}Endpoints.{address}");
        let source = address_of(&view.source()).to_string();
        one.add(self.endpoints, name("SrcAddr"), source);
        let destination = address_of(&view.destination()).to_string();
        one.add(self.endpoints + step, name("DestAddr"), destination);
        one.add(self.offload_handle, "OffloadHandle", handle(offload_handle));
        let udp = named(view.udp_esp.name(), view.udp_esp.0.into());
        one.add(self.udp, "UdpEspEncapsulation", udp);
        match view.associations() {
            Ok(associations) => {
                for (n, sa) in associations.iter().enumerate() {
                    let at = self.sec_assoc + n * size_of::<SecurityAssociation>();
                    association(one, at, n, sa, view, keys);
                }
            }
            Err(fault) => one.fail(fault),
        }
    }
}

fn association(
    one: &mut Structure,
    at: usize,
    n: usize,
    sa: &SecurityAssociation,
    view: &BundleView<'_>,
    keys: Keys,
) {
    let name = |member: &str| format!("SecAssoc[{n}].{member}");
    let place = |member: usize| at + member;
    let flags = mask(sa.flags.get(), [(ESN_SA, "ESN_SA")]);
    one.add(
        place(offset_of!(SecurityAssociation, flags)),
        name("Flags"),
        flags,
    );
    let operation = named(sa.operation().name(), sa.operation().0.into());
    let offset = place(offset_of!(SecurityAssociation, operation));
    one.add(offset, name("Operation"), operation);
    let spi = format!("{:#010x}", sa.spi.get());
    one.add(
        place(offset_of!(SecurityAssociation, spi)),
        name("Spi"),
        spi,
    );
    let info = &sa.authentication_algorithm;
    let id = info.identifier.get();
    let offset = place(offset_of!(SecurityAssociation, authentication_algorithm));
    let identifier = named(Authentication(id).name(), id.into());
    let prefix = name("AuthenticationAlgorithm");
    algorithm(one, offset, &prefix, identifier, info, view, keys);
    let info = &sa.encryption_algorithm;
    let id = info.identifier.get();
    let offset = place(offset_of!(SecurityAssociation, encryption_algorithm));
    let identifier = named(Encryption(id).name(), id.into());
    let prefix = name("EncryptionAlgorithm");
    algorithm(one, offset, &prefix, identifier, info, view, keys);
    let high = sa.sequence_number_high_order.get();
    let offset = place(offset_of!(SecurityAssociation, sequence_number_high_order));
    one.add(offset, name("SequenceNumberHighOrder"), high);
}

fn algorithm(
    one: &mut Structure,
    at: usize,
    prefix: &str,
    identifier: String,
    info: &AlgorithmInfo,
    view: &BundleView<'_>,
    keys: Keys,
) {
    if info.is_zero() {
        one.add(at, prefix, "none");
        return;
    }
    one.add(at, format!("{prefix}.Identifier"), identifier);
    let mut number = |offset: usize, member: &str, value: U32| {
        one.add(at + offset, format!("{prefix}.{member}"), value.get());
    };
    number(
        offset_of!(AlgorithmInfo, key_length),
        "KeyLength",
        info.key_length,
    );
    number(
        offset_of!(AlgorithmInfo, key_offset_bytes),
        "KeyOffsetBytes",
        info.key_offset_bytes,
    );
    number(
        offset_of!(AlgorithmInfo, additional_info),
        "AdditionalInfo",
        info.additional_info,
    );
    match (view.key(info), keys) {
        (Ok(key), Keys::Shown) => one.add(at, format!("{prefix} key"), key::digits(key)),
        (Ok(_), Keys::Hidden) => {}
        (Err(fault), _) => one.fail(fault),
    }
}

/// UPDATE_SA.
pub(super) fn update(buffer: &[u8]) -> Result<Structure, Fault> {
    let update = UpdateSa::parse(buffer)?;
    let mut one = Structure::new("IPSEC_OFFLOAD_V2_UPDATE_SA", 0);
    one.header(&update.header);
    let offset = offset_of!(UpdateSa, offload_handle);
    one.add(offset, "OffloadHandle", handle(update.handle()));
    let operation = named(update.operation().name(), update.operation().0.into());
    one.add(offset_of!(UpdateSa, operation), "Operation", operation);
    let spi = format!("{:#010x}", update.spi.get());
    one.add(offset_of!(UpdateSa, spi), "Spi", spi);
    let high = update.sequence_number_high_order.get();
    let offset = offset_of!(UpdateSa, sequence_number_high_order);
    one.add(offset, "SequenceNumberHighOrder", high);
    Ok(one)
}

/// The list of DELETE_SA.
pub(super) fn delete_list(buffer: &[u8]) -> Result<Vec<Structure>, Fault> {
    let mut found = Vec::new();
    let mut at = Some(0);
    while let Some(offset) = at {
        let element = match DeleteSa::parse(buffer, offset) {
            Ok(element) => element,
            Err(fault) => {
                cut(&mut found, offset, fault)?;
                break;
            }
        };
        at = element.next;
        let mut one = Structure::new("IPSEC_OFFLOAD_V2_DELETE_SA", offset);
        let rest = buffer.get(offset..).unwrap_or_default();
        if let Ok((header, _)) = ObjectHeader::read_from_prefix(rest) {
            one.header(&header);
        }
        let next = element.next.map_or(0, |next| next as u64);
        one.add(offset_of!(DeleteSa, next), "Next", hex(next));
        let place = offset_of!(DeleteSa, offload_handle);
        one.add(place, "OffloadHandle", handle(element.handle));
        found.push(one);
    }
    Ok(found)
}
