// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Layouts and constants against the headers of mingw-w64: a C compiler checks what Rust says. They
//! have NDIS_IPSEC_OFFLOAD_V2 and the first three revisions of NDIS_OFFLOAD and
//! NDIS_OFFLOAD_PARAMETERS, but no SA request and no out-of-band data.
//!
//! Needs clang and the headers, which may be in another folder, `ESPNIC_MINGW_INCLUDE`.

#![allow(clippy::unwrap_used, clippy::panic)]

use core::fmt::Write as _;
use core::mem::{offset_of, size_of};
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::offload::{self, Checksum, IpsecV1, IpsecV2, LsoV1, LsoV2, Offload};
use espnic_ndis::parameters::{self, OffloadParameters};
use espnic_ndis::{ObjectHeader, Oid};
use std::io::Write as _;
use std::process::{Command, Stdio};

const HEAD: &str = "\
#define _WIN32_WINNT 0x0A00
#define UM_NDIS630 1
#include <stddef.h>
#include <winsock2.h>
#include <ws2ipdef.h>
#include <windows.h>
#include <ntddndis.h>
";

/// What the compiler says about these assertions: nothing if they hold.
fn compile(assertions: &str) -> Result<(), String> {
    let headers = option_env!("ESPNIC_MINGW_INCLUDE").unwrap_or_default();
    let mut clang = Command::new("clang")
        .args([
            "--target=x86_64-w64-mingw32",
            "-fsyntax-only",
            "-isystem",
            headers,
        ])
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut source = clang.stdin.take().unwrap();
    source.write_all(HEAD.as_bytes()).unwrap();
    source.write_all(assertions.as_bytes()).unwrap();
    drop(source);
    let output = clang.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn equal(source: &mut String, expression: &str, value: u64) {
    writeln!(
        source,
        "_Static_assert(({expression}) == {value}ull, \"{expression} is not {value}\");"
    )
    .unwrap();
}

/// Offsets, with the names in C.
macro_rules! offsets {
    ($source:ident, $ours:ident, $theirs:literal: $($field:ident $their_field:literal,)*) => {
        $(equal(&mut $source, concat!("offsetof(", $theirs, ", ", $their_field, ")"),
                offset_of!($ours, $field) as u64);)*
    };
}

/// Size and offsets.
macro_rules! layout {
    ($source:ident, $ours:ident, $theirs:literal: $($field:ident $their_field:literal,)*) => {
        equal(&mut $source, concat!("sizeof(", $theirs, ")"), size_of::<$ours>() as u64);
        offsets!($source, $ours, $theirs: $($field $their_field,)*);
    };
}

#[test]
#[cfg_attr(not(mingw), ignore = "needs clang and the headers of mingw-w64-common")]
fn capabilities() {
    let mut c = String::new();
    layout! { c, ObjectHeader, "NDIS_OBJECT_HEADER":
    object_type "Type", revision "Revision", size "Size", }
    layout! { c, Checksum, "NDIS_TCP_IP_CHECKSUM_OFFLOAD":
    ipv4_transmit "IPv4Transmit", ipv4_receive "IPv4Receive",
    ipv6_transmit "IPv6Transmit", ipv6_receive "IPv6Receive", }
    layout! { c, LsoV1, "NDIS_TCP_LARGE_SEND_OFFLOAD_V1": ipv4 "IPv4", }
    layout! { c, LsoV2, "NDIS_TCP_LARGE_SEND_OFFLOAD_V2": ipv4 "IPv4", ipv6 "IPv6", }
    layout! { c, IpsecV1, "NDIS_IPSEC_OFFLOAD_V1":
    encapsulation "Supported.Encapsulation", ah_esp_combined "Supported.AhEspCombined",
    transport_tunnel_combined "Supported.TransportTunnelCombined",
    ipv4_options "Supported.IPv4Options", flags "Supported.Flags",
    ipv4_ah "IPv4AH", ipv4_esp "IPv4ESP", }
    layout! { c, IpsecV2, "NDIS_IPSEC_OFFLOAD_V2":
    encapsulation "Encapsulation", ipv6_supported "IPv6Supported", ipv4_options "IPv4Options",
    ipv6_non_ipsec_extension_headers "IPv6NonIPsecExtensionHeaders", ah "Ah", esp "Esp",
    ah_esp_combined "AhEspCombined", transport "Transport", tunnel "Tunnel",
    transport_tunnel_combined "TransportTunnelCombined", lso_supported "LsoSupported",
    extended_sequence_numbers "ExtendedSequenceNumbers", udp_esp "UdpEsp",
    authentication_algorithms "AuthenticationAlgorithms",
    encryption_algorithms "EncryptionAlgorithms", sa_offload_capacity "SaOffloadCapacity", }
    offsets! { c, Offload, "NDIS_OFFLOAD":
    header "Header", checksum "Checksum", lso_v1 "LsoV1", ipsec_v1 "IPsecV1", lso_v2 "LsoV2",
    flags "Flags", ipsec_v2 "IPsecV2", rsc "Rsc",
    encapsulated_gre "EncapsulatedPacketTaskOffloadGre", }
    for revision in 1..=3 {
        let size = offload::size(revision).unwrap();
        equal(
            &mut c,
            &format!("NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_{revision}"),
            size.into(),
        );
    }
    compile(&c).unwrap_or_else(|text| panic!("{text}"));
}

#[test]
#[cfg_attr(not(mingw), ignore = "needs clang and the headers of mingw-w64-common")]
fn settings() {
    let mut c = String::new();
    offsets! { c, OffloadParameters, "NDIS_OFFLOAD_PARAMETERS":
    header "Header", ipv4_checksum "IPv4Checksum", tcp_ipv4_checksum "TCPIPv4Checksum",
    udp_ipv4_checksum "UDPIPv4Checksum", tcp_ipv6_checksum "TCPIPv6Checksum",
    udp_ipv6_checksum "UDPIPv6Checksum", lso_v1 "LsoV1", ipsec_v1 "IPsecV1",
    lso_v2_ipv4 "LsoV2IPv4", lso_v2_ipv6 "LsoV2IPv6",
    tcp_connection_ipv4 "TcpConnectionIPv4", tcp_connection_ipv6 "TcpConnectionIPv6",
    flags "Flags", ipsec_v2 "IPsecV2", ipsec_v2_ipv4 "IPsecV2IPv4", rsc_ipv4 "RscIPv4",
    rsc_ipv6 "RscIPv6", encapsulated_packet_task_offload "EncapsulatedPacketTaskOffload",
    encapsulation_types "EncapsulationTypes", }
    for revision in 1..=3 {
        let size = parameters::size(revision).unwrap();
        equal(
            &mut c,
            &format!("NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_{revision}"),
            size.into(),
        );
    }
    compile(&c).unwrap_or_else(|text| panic!("{text}"));
}

#[test]
#[cfg_attr(not(mingw), ignore = "needs clang and the headers of mingw-w64-common")]
fn constants() {
    let mut c = String::new();
    let named = |value: u32, name: Option<&'static str>| (name.unwrap(), u64::from(value));
    let all = (Oid::ALL.iter().map(|oid| named(oid.0, oid.name())))
        .chain(
            Authentication::ALL
                .iter()
                .map(|one| named(one.0, one.name())),
        )
        .chain(Encryption::ALL.iter().map(|one| named(one.0, one.name())))
        .chain([
            ("IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE", 2),
            ("IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE", 4),
        ]);
    for (name, value) in all {
        equal(&mut c, name, value);
    }
    compile(&c).unwrap_or_else(|text| panic!("{text}"));
}

/// Without this the other tests might pass because nothing is compiled at all.
#[test]
#[cfg_attr(not(mingw), ignore = "needs clang and the headers of mingw-w64-common")]
fn a_wrong_offset_is_noticed() {
    let mut c = String::new();
    equal(&mut c, "offsetof(NDIS_OFFLOAD, IPsecV2)", 0x74);
    let text = compile(&c).unwrap_err();
    assert!(text.contains("IPsecV2) is not 116"), "{text}");
}
