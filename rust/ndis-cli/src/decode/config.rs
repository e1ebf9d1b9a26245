// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Configuration: what is offered, what is on, and what switches it; NDIS's own structures.

use std::mem::offset_of;

use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{self, Family, OffloadEncapsulation};
use espnic_ndis::indication::StatusIndication;
use espnic_ndis::offload::{
    self, Checksum, ChecksumPart, IpsecV1, IpsecV2, Lso, LsoV1, LsoV2, Offload,
};
use espnic_ndis::parameters::{self, IpsecSetting, OffloadParameters, SKIP_REGISTRY_UPDATE};
use espnic_ndis::request::OidRequest;
use espnic_ndis::sa::UdpEsp;
use espnic_ndis::{Fault, Status};
use zerocopy::FromBytes;

use super::{hex, mask, named, Structure};
use crate::offload::{checksum_fields, IPV4_CHECKSUM, IPV6_CHECKSUM};

const ENCAPSULATIONS: [(u32, &str); 5] = [
    (encapsulation::NULL, "NULL"),
    (encapsulation::IEEE_802_3, "IEEE_802_3"),
    (encapsulation::IEEE_802_3_P_AND_Q, "IEEE_802_3_P_AND_Q"),
    (
        encapsulation::IEEE_802_3_P_AND_Q_IN_OOB,
        "IEEE_802_3_P_AND_Q_IN_OOB",
    ),
    (encapsulation::IEEE_LLC_SNAP_ROUTED, "IEEE_LLC_SNAP_ROUTED"),
];
const FLAGS: [(u32, &str); 3] = [
    (
        offload::FLAGS_GROUP_CHECKSUM_CAPABILITIES,
        "GROUP_CHECKSUM_CAPABILITIES",
    ),
    (
        offload::AND_TCP_CHECKSUM_COEXISTENCE,
        "AND_TCP_CHECKSUM_COEXISTENCE",
    ),
    (
        offload::AND_UDP_CHECKSUM_COEXISTENCE,
        "AND_UDP_CHECKSUM_COEXISTENCE",
    ),
];

/// NDIS_OFFLOAD_PARAMETERS.
pub(super) fn parameters(buffer: &[u8]) -> Result<Structure, Fault> {
    use OffloadParameters as P;
    let set = P::parse(buffer)?;
    let size = usize::from(parameters::size(set.header.revision)?);
    let mut one = Structure::new("NDIS_OFFLOAD_PARAMETERS", 0);
    one.header(&set.header);
    for (at, name, value) in [
        (
            offset_of!(P, ipv4_checksum),
            "IPv4Checksum",
            set.ipv4_checksum,
        ),
        (
            offset_of!(P, tcp_ipv4_checksum),
            "TCPIPv4Checksum",
            set.tcp_ipv4_checksum,
        ),
        (
            offset_of!(P, udp_ipv4_checksum),
            "UDPIPv4Checksum",
            set.udp_ipv4_checksum,
        ),
        (
            offset_of!(P, tcp_ipv6_checksum),
            "TCPIPv6Checksum",
            set.tcp_ipv6_checksum,
        ),
        (
            offset_of!(P, udp_ipv6_checksum),
            "UDPIPv6Checksum",
            set.udp_ipv6_checksum,
        ),
    ] {
        one.add(at, name, named(checksum_setting(value), value.into()));
    }
    let ipsec = |value: u8| named(IpsecSetting(value).name(), value.into());
    let switch = |value: u8| named(switch_setting(value), value.into());
    let later = [
        (offset_of!(P, lso_v1), "LsoV1", switch(set.lso_v1)),
        (offset_of!(P, ipsec_v1), "IPsecV1", ipsec(set.ipsec_v1)),
        (
            offset_of!(P, lso_v2_ipv4),
            "LsoV2IPv4",
            switch(set.lso_v2_ipv4),
        ),
        (
            offset_of!(P, lso_v2_ipv6),
            "LsoV2IPv6",
            switch(set.lso_v2_ipv6),
        ),
        (
            offset_of!(P, tcp_connection_ipv4),
            "TcpConnectionIPv4",
            switch(set.tcp_connection_ipv4),
        ),
        (
            offset_of!(P, tcp_connection_ipv6),
            "TcpConnectionIPv6",
            switch(set.tcp_connection_ipv6),
        ),
        (
            offset_of!(P, flags),
            "Flags",
            mask(
                set.flags.get(),
                [(SKIP_REGISTRY_UPDATE, "SKIP_REGISTRY_UPDATE")],
            ),
        ),
        (offset_of!(P, ipsec_v2), "IPsecV2", ipsec(set.ipsec_v2)),
        (
            offset_of!(P, ipsec_v2_ipv4),
            "IPsecV2IPv4",
            ipsec(set.ipsec_v2_ipv4),
        ),
        (offset_of!(P, rsc_ipv4), "RscIPv4", switch(set.rsc_ipv4)),
        (offset_of!(P, rsc_ipv6), "RscIPv6", switch(set.rsc_ipv6)),
        (
            offset_of!(P, encapsulated_packet_task_offload),
            "EncapsulatedPacketTaskOffload",
            switch(set.encapsulated_packet_task_offload),
        ),
        (
            offset_of!(P, encapsulation_types),
            "EncapsulationTypes",
            hex(set.encapsulation_types.into()),
        ),
        (
            offset_of!(P, encapsulation_protocol_parameters),
            "EncapsulationProtocolParameters",
            hex(set.encapsulation_protocol_parameters.get().into()),
        ),
        (
            offset_of!(P, udp_segmentation_ipv4),
            "UdpSegmentation.IPv4",
            switch(set.udp_segmentation_ipv4),
        ),
        (
            offset_of!(P, udp_segmentation_ipv6),
            "UdpSegmentation.IPv6",
            switch(set.udp_segmentation_ipv6),
        ),
    ];
    for (at, name, value) in later.into_iter().filter(|(at, ..)| *at < size) {
        one.add(at, name, value);
    }
    Ok(one)
}

fn checksum_setting(value: u8) -> Option<&'static str> {
    let names = ["NO_CHANGE", "TX_RX_DISABLED", "TX_ENABLED_RX_DISABLED"];
    let more = ["RX_ENABLED_TX_DISABLED", "TX_RX_ENABLED"];
    names.into_iter().chain(more).nth(value.into())
}

fn switch_setting(value: u8) -> Option<&'static str> {
    ["NO_CHANGE", "DISABLED", "ENABLED"]
        .into_iter()
        .nth(value.into())
}

/// NDIS_OFFLOAD_ENCAPSULATION.
pub(super) fn encapsulation(buffer: &[u8]) -> Result<Structure, Fault> {
    let set = OffloadEncapsulation::parse(buffer)?;
    let mut one = Structure::new("NDIS_OFFLOAD_ENCAPSULATION", 0);
    one.header(&set.header);
    for (at, name, family) in [
        (offset_of!(OffloadEncapsulation, ipv4), "IPv4", set.ipv4),
        (offset_of!(OffloadEncapsulation, ipv6), "IPv6", set.ipv6),
    ] {
        let enabled = named(family.enabled().name(), family.enabled().0.into());
        let member = |member| format!("{name}.{member}");
        one.add(at + offset_of!(Family, enabled), member("Enabled"), enabled);
        let kind = mask(family.encapsulation_type.get(), ENCAPSULATIONS);
        let offset = at + offset_of!(Family, encapsulation_type);
        one.add(offset, member("EncapsulationType"), kind);
        let size = family.header_size.get();
        one.add(
            at + offset_of!(Family, header_size),
            member("HeaderSize"),
            size,
        );
    }
    Ok(one)
}

/// NDIS_OFFLOAD.
pub(super) fn offload(buffer: &[u8], place: usize) -> Result<Structure, Fault> {
    let image = Offload::parse(buffer)?;
    let mut one = Structure::new("NDIS_OFFLOAD", place);
    one.header(&image.header);
    checksums(&mut one, &image.checksum);
    let base = offset_of!(Offload, lso_v1);
    lso(&mut one, base, "LsoV1.IPv4", &image.lso_v1.ipv4);
    let bits = hex(image.lso_v1.bits.get().into());
    one.add(base + offset_of!(LsoV1, bits), "LsoV1.IPv4.Options", bits);
    v1(&mut one, &image.ipsec_v1);
    let base = offset_of!(Offload, lso_v2);
    lso(&mut one, base, "LsoV2.IPv4", &image.lso_v2.ipv4);
    let ipv6 = base + offset_of!(LsoV2, ipv6);
    lso(&mut one, ipv6, "LsoV2.IPv6", &image.lso_v2.ipv6);
    let bits = hex(image.lso_v2.ipv6_bits.get().into());
    one.add(
        base + offset_of!(LsoV2, ipv6_bits),
        "LsoV2.IPv6.Options",
        bits,
    );
    let flags = mask(image.flags.get(), FLAGS);
    one.add(offset_of!(Offload, flags), "Flags", flags);
    if let Some(ipsec) = image.ipsec_v2() {
        v2(&mut one, ipsec);
    }
    Ok(one)
}

fn checksums(one: &mut Structure, checksum: &Checksum) {
    let base = offset_of!(Offload, checksum);
    for (at, name, part) in [
        (
            offset_of!(Checksum, ipv4_transmit),
            "IPv4Transmit",
            checksum.ipv4_transmit,
        ),
        (
            offset_of!(Checksum, ipv4_receive),
            "IPv4Receive",
            checksum.ipv4_receive,
        ),
        (
            offset_of!(Checksum, ipv6_transmit),
            "IPv6Transmit",
            checksum.ipv6_transmit,
        ),
        (
            offset_of!(Checksum, ipv6_receive),
            "IPv6Receive",
            checksum.ipv6_receive,
        ),
    ] {
        let kind = mask(part.encapsulation.get(), ENCAPSULATIONS);
        one.add(base + at, format!("Checksum.{name}.Encapsulation"), kind);
        let offset = base + at + offset_of!(ChecksumPart, bits);
        let fields = if name.starts_with("IPv4") {
            IPV4_CHECKSUM
        } else {
            IPV6_CHECKSUM
        };
        let bits = mask(part.bits.get(), checksum_fields(fields));
        one.add(offset, format!("Checksum.{name}.Bits"), bits);
    }
}

fn lso(one: &mut Structure, at: usize, name: &str, lso: &Lso) {
    let kind = mask(lso.encapsulation.get(), ENCAPSULATIONS);
    one.add(at, format!("{name}.Encapsulation"), kind);
    let size = lso.max_offload_size.get();
    let offset = at + offset_of!(Lso, max_offload_size);
    one.add(offset, format!("{name}.MaxOffLoadSize"), size);
    let count = lso.min_segment_count.get();
    let offset = at + offset_of!(Lso, min_segment_count);
    one.add(offset, format!("{name}.MinSegmentCount"), count);
}

fn v1(one: &mut Structure, ipsec: &IpsecV1) {
    let base = offset_of!(Offload, ipsec_v1);
    for (at, name, word) in [
        (
            offset_of!(IpsecV1, encapsulation),
            "Encapsulation",
            ipsec.encapsulation,
        ),
        (
            offset_of!(IpsecV1, ah_esp_combined),
            "AhEspCombined",
            ipsec.ah_esp_combined,
        ),
        (
            offset_of!(IpsecV1, transport_tunnel_combined),
            "TransportTunnelCombined",
            ipsec.transport_tunnel_combined,
        ),
        (
            offset_of!(IpsecV1, ipv4_options),
            "IPv4Options",
            ipsec.ipv4_options,
        ),
        (offset_of!(IpsecV1, flags), "Flags", ipsec.flags),
        (offset_of!(IpsecV1, ipv4_ah), "IPv4AH", ipsec.ipv4_ah),
        (offset_of!(IpsecV1, ipv4_esp), "IPv4ESP", ipsec.ipv4_esp),
    ] {
        one.add(base + at, format!("IPsecV1.{name}"), hex(word.get().into()));
    }
}

fn v2(one: &mut Structure, ipsec: &IpsecV2) {
    let base = offset_of!(Offload, ipsec_v2);
    let kind = mask(ipsec.encapsulation.get(), ENCAPSULATIONS);
    one.add(base, "IPsecV2.Encapsulation", kind);
    for (n, (name, value)) in crate::offload::flags(ipsec).into_iter().enumerate() {
        let at = base + offset_of!(IpsecV2, ipv6_supported) + n;
        one.add(at, format!("IPsecV2.{name}"), value);
    }
    let udp = UdpEsp::ALL
        .iter()
        .filter_map(|one| Some((one.0, one.name()?)));
    let auth = Authentication::ALL
        .iter()
        .filter_map(|one| Some((one.0, one.name()?)));
    let enc = Encryption::ALL
        .iter()
        .filter_map(|one| Some((one.0, one.name()?)));
    for (at, name, value) in [
        (
            offset_of!(IpsecV2, udp_esp),
            "IPsecV2.UdpEsp",
            mask(ipsec.udp_esp().0, udp),
        ),
        (
            offset_of!(IpsecV2, authentication_algorithms),
            "IPsecV2.AuthenticationAlgorithms",
            mask(ipsec.authentication().0, auth),
        ),
        (
            offset_of!(IpsecV2, encryption_algorithms),
            "IPsecV2.EncryptionAlgorithms",
            mask(ipsec.encryption().0, enc),
        ),
    ] {
        one.add(base + at, name, value);
    }
    let capacity = ipsec.sa_offload_capacity.get();
    let offset = base + offset_of!(IpsecV2, sa_offload_capacity);
    one.add(offset, "IPsecV2.SaOffloadCapacity", capacity);
}

/// NDIS_OID_REQUEST. Its information buffer is elsewhere.
pub(super) fn request(buffer: &[u8]) -> Result<Structure, Fault> {
    let request = OidRequest::parse(buffer)?;
    let mut one = Structure::new("NDIS_OID_REQUEST", 0);
    one.header(&request.header);
    let kind = request.request_type();
    let at = offset_of!(OidRequest, request_type);
    one.add(at, "RequestType", named(kind.name(), kind.0.into()));
    let port = request.port_number.get();
    one.add(offset_of!(OidRequest, port_number), "PortNumber", port);
    let timeout = request.timeout.get();
    one.add(offset_of!(OidRequest, timeout), "Timeout", timeout);
    let id = hex(request.request_id.get());
    one.add(offset_of!(OidRequest, request_id), "RequestId", id);
    let oid = named(request.oid().name(), request.oid().0.into());
    one.add(offset_of!(OidRequest, oid), "Oid", oid);
    let pointer = hex(request.information_buffer.get());
    let at = offset_of!(OidRequest, information_buffer);
    one.add(at, "InformationBuffer", pointer);
    for (at, name, value) in [
        (
            offset_of!(OidRequest, information_buffer_length),
            "InformationBufferLength",
            request.information_buffer_length,
        ),
        (
            offset_of!(OidRequest, bytes_done),
            "BytesReadOrWritten",
            request.bytes_done,
        ),
        (
            offset_of!(OidRequest, bytes_needed),
            "BytesNeeded",
            request.bytes_needed,
        ),
    ] {
        one.add(at, name, value.get());
    }
    Ok(one)
}

/// NDIS_STATUS_INDICATION, and the NDIS_OFFLOAD behind it if there is one.
pub(super) fn indication(buffer: &[u8]) -> Result<Vec<Structure>, Fault> {
    let needed = usize::from(StatusIndication::SIZE_1);
    let (head, rest) =
        StatusIndication::read_from_prefix(buffer).map_err(|_| Fault::Length { needed })?;
    let mut one = Structure::new("NDIS_STATUS_INDICATION", 0);
    one.header(&head.header);
    let status = Status(head.status_code.get());
    let code = named(status.name(), status.0.into());
    one.add(
        offset_of!(StatusIndication, status_code),
        "StatusCode",
        code,
    );
    let at = hex(head.status_buffer.get());
    one.add(
        offset_of!(StatusIndication, status_buffer),
        "StatusBuffer",
        at,
    );
    let size = head.status_buffer_size.get();
    let at = offset_of!(StatusIndication, status_buffer_size);
    one.add(at, "StatusBufferSize", size);
    let behind = offload(rest, size_of::<StatusIndication>());
    Ok(std::iter::once(one).chain(behind.ok()).collect())
}
