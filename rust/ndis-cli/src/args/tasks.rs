// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Words of OID_TCP_OFFLOAD_PARAMETERS for checksums and large sends.

use clap::ValueEnum;
use espnic_ndis::parameters::OffloadParameters;

use super::Switch;

/// Value of a checksum's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Checksum {
    /// Leave it as it is
    Keep = 0,
    /// Neither direction
    Off = 1,
    /// On send only
    Send = 2,
    /// On receive only
    Receive = 3,
    /// Both directions
    Both = 4,
}

/// Checksums and large sends of `parameters`.
#[derive(Clone, Debug, clap::Args)]
pub struct Tasks {
    /// All checksums that are not named by themselves; this NIC has those of TCP and UDP together
    #[arg(long, value_enum, default_value = "keep")]
    pub checksums: Checksum,
    /// IPv4Checksum
    #[arg(long, value_enum, value_name = "CHECKSUM")]
    pub checksum_ipv4: Option<Checksum>,
    /// TCPIPv4Checksum
    #[arg(long, value_enum, value_name = "CHECKSUM")]
    pub checksum_tcp_ipv4: Option<Checksum>,
    /// UDPIPv4Checksum
    #[arg(long, value_enum, value_name = "CHECKSUM")]
    pub checksum_udp_ipv4: Option<Checksum>,
    /// TCPIPv6Checksum
    #[arg(long, value_enum, value_name = "CHECKSUM")]
    pub checksum_tcp_ipv6: Option<Checksum>,
    /// UDPIPv6Checksum
    #[arg(long, value_enum, value_name = "CHECKSUM")]
    pub checksum_udp_ipv6: Option<Checksum>,
    /// Large sends of version 2 that are not named by themselves
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "keep")]
    pub lso: Switch,
    /// LsoV2IPv4
    #[arg(long, value_enum, value_name = "SWITCH")]
    pub lso_ipv4: Option<Switch>,
    /// LsoV2IPv6
    #[arg(long, value_enum, value_name = "SWITCH")]
    pub lso_ipv6: Option<Switch>,
    /// LsoV1, which this NIC has not
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "keep")]
    pub lso_v1: Switch,
}

impl Tasks {
    /// Writes the members that they stand for.
    pub fn fill(&self, parameters: &mut OffloadParameters) {
        let sum = |own: Option<Checksum>| own.unwrap_or(self.checksums) as u8;
        parameters.ipv4_checksum = sum(self.checksum_ipv4);
        parameters.tcp_ipv4_checksum = sum(self.checksum_tcp_ipv4);
        parameters.udp_ipv4_checksum = sum(self.checksum_udp_ipv4);
        parameters.tcp_ipv6_checksum = sum(self.checksum_tcp_ipv6);
        parameters.udp_ipv6_checksum = sum(self.checksum_udp_ipv6);
        parameters.lso_v1 = large_send(self.lso_v1);
        parameters.lso_v2_ipv4 = large_send(self.lso_ipv4.unwrap_or(self.lso));
        parameters.lso_v2_ipv6 = large_send(self.lso_ipv6.unwrap_or(self.lso));
    }
}

/// The value of a large send's parameter, whose "off" is the "on" of an encapsulation.
fn large_send(switch: Switch) -> u8 {
    match switch {
        Switch::Keep => 0,
        Switch::Off => 1,
        Switch::On => 2,
    }
}
