// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Constants and layouts against the crate windows-sys, which is generated from Microsoft's metadata.
//! It has the structures of version 2 not at all and NDIS_OFFLOAD in revision 1 only.

#![allow(clippy::panic)]

mod support;

use core::mem::{offset_of, size_of};
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{self, Set};
use espnic_ndis::object::{ObjectHeader, ObjectType};
use espnic_ndis::offload::{self, v1_udp_esp, Checksum, IpsecV1, LsoV1, LsoV2, Offload};
use espnic_ndis::oid::RequestType;
use espnic_ndis::oob::CryptoStatus;
use espnic_ndis::parameters::{self, IpsecSetting, OffloadParameters};
use espnic_ndis::sa::{self, UdpEsp};
use espnic_ndis::{Oid, Status};
use support::rules;
use windows_sys::Wdk::NetworkManagement::Ndis as wdk;
use windows_sys::Win32::Foundation as nt;

/// Value and name of named constants; with `every`, these are all that the type has.
macro_rules! same_names {
    ($type:ident: $($ours:ident $theirs:ident,)*) => {
        $(
            assert_eq!(i128::try_from($type::$ours.0).ok(), Some(i128::from(wdk::$theirs)),
                       stringify!($theirs));
            assert_eq!($type::$ours.name(), Some(stringify!($theirs)));
            assert_eq!($type::from_name(stringify!($theirs)), Some($type::$ours));
        )*
    };
    (every $type:ident: $($ours:ident $theirs:ident,)*) => {
        same_names!($type: $($ours $theirs,)*);
        assert_eq!($type::ALL, [$($type::$ours),*], "one is missing here");
    };
}

/// Values of constants without a type of their own.
macro_rules! same_values {
    ($($ours:expr, $theirs:ident;)*) => {
        $(assert_eq!(u64::try_from($ours).ok(), Some(u64::from(wdk::$theirs)), stringify!($theirs));)*
    };
}

/// Size and offsets.
macro_rules! same_layout {
    ($ours:ty, $theirs:ty: $($field:ident $their_field:ident,)*) => {
        assert_eq!(size_of::<$ours>(), size_of::<$theirs>(), stringify!($theirs));
        $(assert_eq!(offset_of!($ours, $field), offset_of!($theirs, $their_field),
                     "{}.{}", stringify!($theirs), stringify!($their_field));)*
    };
}

#[test]
fn object_identifiers() {
    same_names! { every Oid:
        ADD_SA OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
        DELETE_SA OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
        UPDATE_SA OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
        ADD_SA_EX OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
        CURRENT_CONFIG OID_TCP_OFFLOAD_CURRENT_CONFIG,
        PARAMETERS OID_TCP_OFFLOAD_PARAMETERS,
        HARDWARE_CAPABILITIES OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES,
        ENCAPSULATION OID_OFFLOAD_ENCAPSULATION,
        TASK_OFFLOAD OID_TCP_TASK_OFFLOAD,
        V1_ADD_SA OID_TCP_TASK_IPSEC_ADD_SA,
        V1_DELETE_SA OID_TCP_TASK_IPSEC_DELETE_SA,
        V1_ADD_UDPESP_SA OID_TCP_TASK_IPSEC_ADD_UDPESP_SA,
        V1_DELETE_UDPESP_SA OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA,
    }
    same_names! { RequestType:
        QUERY_INFORMATION NdisRequestQueryInformation,
        SET_INFORMATION NdisRequestSetInformation,
        QUERY_STATISTICS NdisRequestQueryStatistics,
    }
}

#[test]
fn object_types_and_revisions() {
    same_names! { every ObjectType:
        DEFAULT NDIS_OBJECT_TYPE_DEFAULT,
        OID_REQUEST NDIS_OBJECT_TYPE_OID_REQUEST,
        STATUS_INDICATION NDIS_OBJECT_TYPE_STATUS_INDICATION,
        MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES,
        OFFLOAD NDIS_OBJECT_TYPE_OFFLOAD,
        OFFLOAD_ENCAPSULATION NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION,
    }
    same_values! {
        sa::AddSa::HEADER.revision, NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
        sa::AddSaEx::HEADER.revision, NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
        sa::UpdateSa::HEADER.revision, NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;
        sa::DeleteSa::HEADER.revision, NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1;
        parameters::LAST_REVISION, NDIS_OFFLOAD_PARAMETERS_REVISION_5;
        offload::LAST_REVISION, NDIS_OFFLOAD_REVISION_6;
        1u8, NDIS_OFFLOAD_ENCAPSULATION_REVISION_1;
        1u8, NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1;
        1u8, NDIS_STATUS_INDICATION_REVISION_1;
        1u8, NDIS_OID_REQUEST_REVISION_1;
        2u8, NDIS_OID_REQUEST_REVISION_2;
    }
}

#[test]
fn algorithms() {
    same_names! { every Authentication:
        MD5 IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5,
        SHA_1 IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1,
        SHA_256 IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256,
        AES_GCM_128 IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128,
        AES_GCM_192 IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192,
        AES_GCM_256 IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256,
    }
    same_names! { every Encryption:
        NONE IPSEC_OFFLOAD_V2_ENCRYPTION_NONE,
        DES_CBC IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC,
        TRIPLE_DES_CBC IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC,
        AES_GCM_128 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
        AES_GCM_192 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192,
        AES_GCM_256 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256,
        AES_CBC_128 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128,
        AES_CBC_192 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192,
        AES_CBC_256 IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256,
    }
}

#[test]
fn flags_of_security_associations() {
    same_values! {
        sa::MAX_EXTENSION_HEADERS, IPSEC_OFFLOAD_V2_MAX_EXTENSION_HEADERS;
        sa::INBOUND, IPSEC_OFFLOAD_V2_INBOUND;
        sa::IPV6, IPSEC_OFFLOAD_V2_IPv6;
        sa::ESN_SA, IPSEC_OFFLOAD_V2_ESN_SA;
    }
    same_names! { every UdpEsp:
        NONE IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE,
        TRANSPORT IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
        TUNNEL IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
        TRANSPORT_OVER_UDP_TUNNEL IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL,
        UDP_TRANSPORT_OVER_TUNNEL IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL,
    }
    rules(&[55]);
}

#[test]
fn crypto_status() {
    same_names! { every CryptoStatus:
        SUCCESS CRYPTO_SUCCESS,
        GENERIC_ERROR CRYPTO_GENERIC_ERROR,
        TRANSPORT_AH_AUTH_FAILED CRYPTO_TRANSPORT_AH_AUTH_FAILED,
        TRANSPORT_ESP_AUTH_FAILED CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
        TUNNEL_AH_AUTH_FAILED CRYPTO_TUNNEL_AH_AUTH_FAILED,
        TUNNEL_ESP_AUTH_FAILED CRYPTO_TUNNEL_ESP_AUTH_FAILED,
        INVALID_PACKET_SYNTAX CRYPTO_INVALID_PACKET_SYNTAX,
        INVALID_PROTOCOL CRYPTO_INVALID_PROTOCOL,
    }
}

#[test]
fn settings() {
    same_names! { every IpsecSetting:
        NO_CHANGE NDIS_OFFLOAD_PARAMETERS_NO_CHANGE,
        DISABLED NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED,
        AH_ENABLED NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED,
        ESP_ENABLED NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED,
        AH_AND_ESP_ENABLED NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED,
    }
    same_names! { every Set:
        NO_CHANGE NDIS_OFFLOAD_SET_NO_CHANGE,
        ON NDIS_OFFLOAD_SET_ON,
        OFF NDIS_OFFLOAD_SET_OFF,
    }
    same_values! {
        IpsecSetting::DISABLED.0, NDIS_OFFLOAD_PARAMETERS_IPSECV1_DISABLED;
        IpsecSetting::AH_ENABLED.0, NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED;
        IpsecSetting::ESP_ENABLED.0, NDIS_OFFLOAD_PARAMETERS_IPSECV1_ESP_ENABLED;
        IpsecSetting::AH_AND_ESP_ENABLED.0, NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_AND_ESP_ENABLED;
        parameters::TX_RX_ENABLED, NDIS_OFFLOAD_PARAMETERS_TX_RX_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_PARAMETERS_LSOV1_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_PARAMETERS_LSOV2_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_PARAMETERS_CONNECTION_OFFLOAD_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_PARAMETERS_RSC_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_PARAMETERS_USO_ENABLED;
        parameters::ENABLED, NDIS_OFFLOAD_SET_OFF;
        parameters::SKIP_REGISTRY_UPDATE, NDIS_OFFLOAD_PARAMETERS_SKIP_REGISTRY_UPDATE;
        offload::NOT_SUPPORTED, NDIS_OFFLOAD_NOT_SUPPORTED;
        offload::SUPPORTED, NDIS_OFFLOAD_SUPPORTED;
        offload::FLAGS_GROUP_CHECKSUM_CAPABILITIES, NDIS_OFFLOAD_FLAGS_GROUP_CHECKSUM_CAPABILITIES;
        offload::AND_TCP_CHECKSUM_COEXISTENCE, IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE;
        offload::AND_UDP_CHECKSUM_COEXISTENCE, IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE;
        encapsulation::NOT_SUPPORTED, NDIS_ENCAPSULATION_NOT_SUPPORTED;
        encapsulation::NULL, NDIS_ENCAPSULATION_NULL;
        encapsulation::IEEE_802_3, NDIS_ENCAPSULATION_IEEE_802_3;
        encapsulation::IEEE_802_3_P_AND_Q, NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q;
        encapsulation::IEEE_802_3_P_AND_Q_IN_OOB, NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB;
        encapsulation::IEEE_LLC_SNAP_ROUTED, NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED;
        v1_udp_esp::TRANSPORT_IKE, IPSEC_TPT_UDPESP_ENCAPTYPE_IKE;
        v1_udp_esp::TUNNEL_IKE, IPSEC_TUN_UDPESP_ENCAPTYPE_IKE;
        v1_udp_esp::TRANSPORT_OVER_TUNNEL_IKE, IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_IKE;
        v1_udp_esp::TRANSPORT_OVER_PURE_TUNNEL_IKE, IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_IKE;
        v1_udp_esp::TRANSPORT_OTHER, IPSEC_TPT_UDPESP_ENCAPTYPE_OTHER;
        v1_udp_esp::TUNNEL_OTHER, IPSEC_TUN_UDPESP_ENCAPTYPE_OTHER;
        v1_udp_esp::TRANSPORT_OVER_TUNNEL_OTHER, IPSEC_TPTOVERTUN_UDPESP_ENCAPTYPE_OTHER;
        v1_udp_esp::TRANSPORT_OVER_PURE_TUNNEL_OTHER, IPSEC_TPT_UDPESP_OVER_PURE_TUN_ENCAPTYPE_OTHER;
    }
}

/// The statuses that are NTSTATUS values as well. The 0xC001xxxx ones are other numbers there.
#[test]
fn statuses() {
    let same = [
        (Status::SUCCESS, nt::STATUS_SUCCESS),
        (Status::PENDING, nt::STATUS_PENDING),
        (
            Status::INDICATION_REQUIRED,
            nt::STATUS_NDIS_INDICATION_REQUIRED,
        ),
        (Status::BUFFER_OVERFLOW, nt::STATUS_BUFFER_OVERFLOW),
        (Status::FAILURE, nt::STATUS_UNSUCCESSFUL),
        (Status::INVALID_PARAMETER, nt::STATUS_INVALID_PARAMETER),
        (
            Status::INVALID_DEVICE_REQUEST,
            nt::STATUS_INVALID_DEVICE_REQUEST,
        ),
        (Status::RESOURCES, nt::STATUS_INSUFFICIENT_RESOURCES),
        (Status::NOT_SUPPORTED, nt::STATUS_NOT_SUPPORTED),
        (Status::INVALID_STATE, nt::STATUS_INVALID_DEVICE_STATE),
        (Status::SEND_ABORTED, nt::STATUS_NDIS_REQUEST_ABORTED),
        (Status::PAUSED, nt::STATUS_NDIS_PAUSED),
        (
            Status::UNSUPPORTED_REVISION,
            nt::STATUS_NDIS_UNSUPPORTED_REVISION,
        ),
        (Status::LOW_POWER_STATE, nt::STATUS_NDIS_LOW_POWER_STATE),
    ];
    for (ours, theirs) in same {
        assert_eq!(ours.0.to_ne_bytes(), theirs.to_ne_bytes(), "{ours}");
    }
    let others = [
        (Status::INVALID_LENGTH, nt::STATUS_NDIS_INVALID_LENGTH),
        (Status::INVALID_DATA, nt::STATUS_NDIS_INVALID_DATA),
        (Status::BUFFER_TOO_SHORT, nt::STATUS_NDIS_BUFFER_TOO_SHORT),
        (Status::INVALID_OID, nt::STATUS_NDIS_INVALID_OID),
        (Status::REQUEST_ABORTED, nt::STATUS_NDIS_REQUEST_ABORTED),
    ];
    for (ours, theirs) in others {
        assert_eq!(ours.0 >> 16, 0xc001, "{ours}");
        assert_ne!(ours.0.to_ne_bytes(), theirs.to_ne_bytes(), "{ours}");
    }
}

#[test]
fn layouts_of_revision_1() {
    same_layout! { ObjectHeader, wdk::NDIS_OBJECT_HEADER:
    object_type Type, revision Revision, size Size, }
    same_layout! { Checksum, wdk::NDIS_TCP_IP_CHECKSUM_OFFLOAD:
    ipv4_transmit IPv4Transmit, ipv4_receive IPv4Receive,
    ipv6_transmit IPv6Transmit, ipv6_receive IPv6Receive, }
    same_layout! { LsoV1, wdk::NDIS_TCP_LARGE_SEND_OFFLOAD_V1: ipv4 IPv4, }
    same_layout! { LsoV2, wdk::NDIS_TCP_LARGE_SEND_OFFLOAD_V2: ipv4 IPv4, ipv6 IPv6, }
    assert_eq!(
        offset_of!(LsoV1, bits),
        offset_of!(wdk::NDIS_TCP_LARGE_SEND_OFFLOAD_V1_0, _bitfield)
    );
    assert_eq!(
        offset_of!(LsoV2, ipv6_bits) - offset_of!(LsoV2, ipv6),
        offset_of!(wdk::NDIS_TCP_LARGE_SEND_OFFLOAD_V2_1, _bitfield)
    );
    same_layout! { IpsecV1, wdk::NDIS_IPSEC_OFFLOAD_V1:
    encapsulation Supported, ipv4_ah IPv4AH, ipv4_esp IPv4ESP, }
    macro_rules! supported {
        ($($field:ident $their_field:ident,)*) => {
            $(assert_eq!(offset_of!(IpsecV1, $field),
                         offset_of!(wdk::NDIS_IPSEC_OFFLOAD_V1_0, $their_field));)*
        };
    }
    supported! {
        encapsulation Encapsulation, ah_esp_combined AhEspCombined,
        transport_tunnel_combined TransportTunnelCombined, ipv4_options IPv4Options, flags Flags,
    }
    assert_eq!(
        offload::size(1).map(usize::from),
        Ok(size_of::<wdk::NDIS_OFFLOAD>())
    );
    macro_rules! offload {
        ($($field:ident $their_field:ident,)*) => {
            $(assert_eq!(offset_of!(Offload, $field), offset_of!(wdk::NDIS_OFFLOAD, $their_field));)*
        };
    }
    offload! {
        header Header, checksum Checksum, lso_v1 LsoV1, ipsec_v1 IPsecV1, lso_v2 LsoV2, flags Flags,
    }
}

#[test]
fn layout_of_parameters_revision_1() {
    type Theirs = wdk::NDIS_OFFLOAD_PARAMETERS;
    assert_eq!(
        parameters::size(1).map(usize::from),
        Ok(size_of::<Theirs>())
    );
    macro_rules! same {
        ($($field:ident $their_field:ident,)*) => {
            $(assert_eq!(offset_of!(OffloadParameters, $field), offset_of!(Theirs, $their_field));)*
        };
    }
    same! {
        header Header, ipv4_checksum IPv4Checksum, tcp_ipv4_checksum TCPIPv4Checksum,
        udp_ipv4_checksum UDPIPv4Checksum, tcp_ipv6_checksum TCPIPv6Checksum,
        udp_ipv6_checksum UDPIPv6Checksum, lso_v1 LsoV1, ipsec_v1 IPsecV1, lso_v2_ipv4 LsoV2IPv4,
        lso_v2_ipv6 LsoV2IPv6, tcp_connection_ipv4 TcpConnectionIPv4,
        tcp_connection_ipv6 TcpConnectionIPv6, flags Flags,
    }
}
