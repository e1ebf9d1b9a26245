// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Standardised keywords of the registry (Microsoft: "Using Registry Values to Enable and Disable
//! Task Offloading", "Enumeration Keywords").

use crate::parameters::IpsecSetting;

/// IPsec offload version 1, IPv4.
pub const IPSEC_V1_IPV4: &str = "*IPsecOffloadV1IPv4";
/// IPsec offload version 2, both IP versions.
pub const IPSEC_V2: &str = "*IPsecOffloadV2";
/// IPsec offload version 2 of an adapter that offloads IPv4 only.
pub const IPSEC_V2_IPV4: &str = "*IPsecOffloadV2IPv4";
/// Checksums: IP, TCP and UDP over IPv4, TCP and UDP over IPv6. 0 neither, 1 send, 2 receive, 3 both.
pub const CHECKSUMS: [&str; 5] = [
    "*IPChecksumOffloadIPv4",
    "*TCPChecksumOffloadIPv4",
    "*UDPChecksumOffloadIPv4",
    "*TCPChecksumOffloadIPv6",
    "*UDPChecksumOffloadIPv6",
];
/// Large sends: version 1, version 2 over IPv4 and over IPv6. 0 off, 1 on.
pub const LSO: [&str; 3] = ["*LsoV1IPv4", "*LsoV2IPv4", "*LsoV2IPv6"];
/// System-wide, under `Services\TCPIP\Parameters`: 1 turns every task offload off.
pub const DISABLE_TASK_OFFLOAD: &str = "DisableTaskOffload";
/// System-wide, under `Services\Ipsec`: 0 turns IPsec offload off.
pub const ENABLED_OFFLOAD: &str = "EnabledOffload";

/// What an IPsec keyword without a value means: AH and ESP.
pub const DEFAULT: u32 = 3;

/// The setting that the value of an IPsec keyword stands for: keyword 0 is setting 1, and so on.
pub fn setting(value: u32) -> Option<IpsecSetting> {
    match value {
        0 => Some(IpsecSetting::DISABLED),
        1 => Some(IpsecSetting::AH_ENABLED),
        2 => Some(IpsecSetting::ESP_ENABLED),
        3 => Some(IpsecSetting::AH_AND_ESP_ENABLED),
        _ => None,
    }
}

/// The value of an IPsec keyword that stands for a setting; none for no change.
pub fn value(setting: IpsecSetting) -> Option<u32> {
    match setting {
        IpsecSetting::DISABLED => Some(0),
        IpsecSetting::AH_ENABLED => Some(1),
        IpsecSetting::ESP_ENABLED => Some(2),
        IpsecSetting::AH_AND_ESP_ENABLED => Some(3),
        _ => None,
    }
}
