// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NDIS_OFFLOAD in words.

use espnic_ndis::offload::{
    ChecksumPart, IpsecV2, Lso, Offload, AND_TCP_CHECKSUM_COEXISTENCE, AND_UDP_CHECKSUM_COEXISTENCE,
};
use espnic_ndis::sa::UdpEsp;
use serde_json::{json, Map, Value};

use crate::algorithm;

/// Fields of a checksum over IPv4, in their order in the structure.
pub const IPV4_CHECKSUM: &[&str] = &["IpOptions", "TcpOptions", "Tcp", "Udp", "Ip"];
/// And over IPv6.
pub const IPV6_CHECKSUM: &[&str] = &["IpExtensionHeaders", "TcpOptions", "Tcp", "Udp"];

/// What an NDIS_OFFLOAD says; null if the buffer does not hold one.
pub fn json(buffer: &[u8]) -> Value {
    let Ok(offload) = Offload::parse(buffer) else {
        return Value::Null;
    };
    let flags = offload.flags.get();
    json!({
        "revision": offload.header.revision,
        "flags": format!("{flags:#x}"),
        "with_tcp_checksum": flags & AND_TCP_CHECKSUM_COEXISTENCE != 0,
        "with_udp_checksum": flags & AND_UDP_CHECKSUM_COEXISTENCE != 0,
        "checksum_ipv4_send": checksum(&offload.checksum.ipv4_transmit, IPV4_CHECKSUM),
        "checksum_ipv4_receive": checksum(&offload.checksum.ipv4_receive, IPV4_CHECKSUM),
        "checksum_ipv6_send": checksum(&offload.checksum.ipv6_transmit, IPV6_CHECKSUM),
        "checksum_ipv6_receive": checksum(&offload.checksum.ipv6_receive, IPV6_CHECKSUM),
        "lso_v1_ipv4": lso(&offload.lso_v1.ipv4),
        "lso_v2_ipv4": lso(&offload.lso_v2.ipv4),
        "lso_v2_ipv6": lso(&offload.lso_v2.ipv6),
        "ipsec_v1_encapsulation": format!("{:#x}", offload.ipsec_v1.encapsulation.get()),
        "ipsec_v2": offload.ipsec_v2().map(ipsec_v2),
    })
}

/// What the checksums of a packet are calculated or checked for.
fn checksum(part: &ChecksumPart, fields: &[&'static str]) -> Vec<&'static str> {
    let bits = part.bits.get();
    checksum_fields(fields)
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// The first bit and the name of every field of checksums; each has two bits.
pub fn checksum_fields<'a>(
    fields: &'a [&'static str],
) -> impl Iterator<Item = (u32, &'static str)> + 'a {
    let bits = (0..).step_by(2).map(|shift| 1 << shift);
    bits.zip(fields.iter().copied())
}

/// Largest large send in bytes, null for none.
fn lso(lso: &Lso) -> Value {
    match lso.max_offload_size.get() {
        0 => Value::Null,
        size => json!(size),
    }
}

/// The members of one byte, yes or no, in their order in the structure.
pub fn flags(ipsec: &IpsecV2) -> [(&'static str, u8); 11] {
    [
        ("IPv6Supported", ipsec.ipv6_supported),
        ("IPv4Options", ipsec.ipv4_options),
        (
            "IPv6NonIPsecExtensionHeaders",
            ipsec.ipv6_non_ipsec_extension_headers,
        ),
        ("Ah", ipsec.ah),
        ("Esp", ipsec.esp),
        ("AhEspCombined", ipsec.ah_esp_combined),
        ("Transport", ipsec.transport),
        ("Tunnel", ipsec.tunnel),
        ("TransportTunnelCombined", ipsec.transport_tunnel_combined),
        ("LsoSupported", ipsec.lso_supported),
        ("ExtendedSequenceNumbers", ipsec.extended_sequence_numbers),
    ]
}

/// The capabilities of IPsec, by the names in the structure.
fn ipsec_v2(ipsec: &IpsecV2) -> Value {
    let mut members = Map::new();
    let encapsulation = ipsec.encapsulation.get();
    members.insert("Encapsulation".into(), json!(format!("{encapsulation:#x}")));
    for (name, flag) in flags(ipsec) {
        members.insert(name.into(), json!(flag != 0));
    }
    let udp = ipsec.udp_esp();
    let udp: Vec<String> = UdpEsp::ALL
        .iter()
        .filter(|one| udp.0 & one.0 != 0)
        .map(UdpEsp::to_string)
        .collect();
    members.insert("UdpEsp".into(), json!(udp));
    let auth = ipsec.authentication().each();
    let auth: Vec<String> = auth.map(|one| algorithm::authentication(one.0)).collect();
    members.insert("AuthenticationAlgorithms".into(), json!(auth));
    let enc = ipsec.encryption().each();
    let enc: Vec<String> = enc.map(|one| algorithm::encryption(one.0)).collect();
    members.insert("EncryptionAlgorithms".into(), json!(enc));
    let capacity = ipsec.sa_offload_capacity.get();
    members.insert("SaOffloadCapacity".into(), json!(capacity));
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use espnic_ndis::{Version, U32};

    fn image(version: Version) -> Vec<u8> {
        let mut offload = Offload::default();
        offload.ipsec_v2.esp = 1;
        offload.ipsec_v2.encryption_algorithms = U32::new(0x28);
        offload.ipsec_v2.udp_esp = U32::new(3);
        offload.lso_v2.ipv4.max_offload_size = U32::new(65535);
        offload.checksum.ipv4_transmit.bits = U32::new(0x110);
        offload.checksum.ipv6_receive.bits = U32::new(0x41);
        let mut buffer = vec![0; 0xd8];
        let length = offload.encode(version, &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn capabilities_are_named_as_the_structure_names_them() {
        let value = json(&image(Version::V6_30));
        assert_eq!(value["revision"], 3);
        assert_eq!(value["lso_v2_ipv4"], 65535);
        assert_eq!(value["checksum_ipv4_send"], json!(["Tcp", "Ip"]));
        assert_eq!(value["checksum_ipv4_receive"], json!([]));
        let ipv6 = &value["checksum_ipv6_receive"];
        assert_eq!(ipv6, &json!(["IpExtensionHeaders", "Udp"]));
        let ipsec = &value["ipsec_v2"];
        assert_eq!(ipsec["Esp"], true);
        assert_eq!(ipsec["Ah"], false);
        assert_eq!(
            ipsec["EncryptionAlgorithms"],
            json!(["aes-gcm-128", "aes-gcm-256"])
        );
        assert_eq!(ipsec["AuthenticationAlgorithms"], json!([]));
        assert_eq!(ipsec["UdpEsp"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_first_revision_has_no_version_2() {
        assert_eq!(json(&image(Version::V6_0))["ipsec_v2"], Value::Null);
        assert_eq!(json(&[0; 16]), Value::Null);
    }
}
