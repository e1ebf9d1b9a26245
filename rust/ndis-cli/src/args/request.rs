// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Words of the requests that have an information buffer.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use espnic_ndis::Oid;

use super::Tasks;
use crate::algorithm::{Authentication, Encryption};
use crate::key::Key;
use crate::value::{self, length, long_number, number, oid, port, window};

/// Enabled of an IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u32)]
pub enum Switch {
    /// As it is
    Keep = 0,
    /// On
    On = 1,
    /// Off
    Off = 2,
}

/// `encapsulation`
#[derive(Debug, clap::Args)]
pub struct Encapsulation {
    /// The new state of both IP versions [default: keep; without any word the state is shown]
    #[arg(value_enum)]
    pub state: Option<Switch>,
    /// The new state of IPv4 alone
    #[arg(long, value_enum)]
    pub ipv4: Option<Switch>,
    /// The new state of IPv6 alone
    #[arg(long, value_enum)]
    pub ipv6: Option<Switch>,
    /// EncapsulationType of what is switched on: 1 none, 2 802.3, 4 802.3 with a tag, 8 802.3 with
    /// a tag out of band, 0x10 LLC and SNAP
    #[arg(long = "type", value_name = "BITS", value_parser = number, default_value = "2")]
    pub kind: u32,
    /// HeaderSize of what is switched on: bytes before the IP header [default: that of --type]
    #[arg(long, value_name = "BYTES", value_parser = number)]
    pub header_size: Option<u32>,
}

impl Encapsulation {
    /// Whether nothing is to change.
    pub fn is_query(&self) -> bool {
        [self.state, self.ipv4, self.ipv6]
            .iter()
            .all(Option::is_none)
    }
}

/// How a request is sent.
#[derive(Debug, Default, clap::Args)]
pub struct Later {
    /// Have it completed later, with this RequestId: the answer is PENDING, and the completion comes as
    /// a record; outside of a session it is waited for
    #[arg(long, value_name = "ID", value_parser = long_number)]
    pub pending: Option<u64>,
}

/// `update`
#[derive(Debug, clap::Args)]
pub struct Update {
    /// OffloadHandle
    #[arg(value_parser = long_number)]
    pub handle: u64,
    /// SPI
    #[arg(long, value_parser = number)]
    pub spi: u32,
    /// The new upper half
    #[arg(long, value_parser = number)]
    pub high: u32,
    /// Operation of the SA
    #[arg(long, value_enum, default_value = "esp")]
    pub operation: Operation,
    /// How it is sent
    #[command(flatten)]
    pub later: Later,
}

/// `delete`
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// OffloadHandle
    #[arg(required = true, value_parser = long_number)]
    pub handles: Vec<u64>,
    /// How it is sent
    #[command(flatten)]
    pub later: Later,
}

/// Requests whose information buffer can be made from words.
#[derive(Debug, Subcommand)]
pub enum Made {
    /// OID_TCP_OFFLOAD_PARAMETERS
    Parameters(Parameters),
    /// OID_OFFLOAD_ENCAPSULATION
    Encapsulation(Encapsulation),
    /// ADD_SA_EX, or ADD_SA; what NDIS has no field for is not in the buffer
    Add(Add),
    /// UPDATE_SA
    Update(Update),
    /// DELETE_SA
    Delete(Delete),
}

/// Requests that the model can be asked.
#[derive(Debug, Subcommand)]
pub enum Asked {
    /// One that is made from words
    #[command(flatten)]
    Made(Made),
    /// Any OID with any buffer
    Raw(Raw),
    /// Requests from stdin, one per line, without the word "check"
    Session,
}

/// Value of an IPsec parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Setting {
    /// Leave it as it is
    Keep = 0,
    /// Neither
    Off = 1,
    /// Only AH
    Ah = 2,
    /// Only ESP
    Esp = 3,
    /// Both
    Both = 4,
}

/// `parameters`
#[derive(Debug, clap::Args)]
pub struct Parameters {
    /// IPsecV2: IPv4 and IPv6
    #[arg(long, value_enum, default_value = "keep")]
    pub ipsec: Setting,
    /// IPsecV2IPv4: NICs that offload IPv4 only
    #[arg(long, value_enum, default_value = "keep")]
    pub ipsec_ipv4: Setting,
    /// IPsecV1
    #[arg(long, value_enum, default_value = "keep")]
    pub ipsec_v1: Setting,
    /// The other offloads
    #[command(flatten)]
    pub tasks: Tasks,
    /// Leave the registry keywords alone
    #[arg(long)]
    pub skip_registry: bool,
}

/// Direction of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Inbound
    In,
    /// Outbound
    Out,
}

/// Operation of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u32)]
pub enum Operation {
    /// AH
    Ah = 1,
    /// ESP
    Esp = 2,
}

/// Mode of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Mode {
    /// Tunnel with `--udp tunnel`, else this driver makes it transport; NDIS has no field for it
    Derive = 0,
    /// Transport mode
    Transport = 1,
    /// Tunnel mode
    Tunnel = 2,
}

/// `UdpEspEncapsulation`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u32)]
pub enum UdpEsp {
    /// No UDP
    None = 0,
    /// UDP-encapsulated transport
    Transport = 1,
    /// UDP-encapsulated tunnel
    Tunnel = 2,
    /// Transport over UDP-encapsulated tunnel
    TransportOverUdpTunnel = 4,
    /// UDP-encapsulated transport over tunnel
    UdpTransportOverTunnel = 8,
}

/// `add`
#[derive(Debug, clap::Args)]
#[command(after_help = crate::offline::REFUSED)]
pub struct Add {
    /// Send ADD_SA instead of ADD_SA_EX
    #[arg(long)]
    pub add_sa: bool,
    /// ADD_SA with one SA per line of this file, in the words of the options below ("-": stdin)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Sa", "dir", "src", "dst", "spi"])]
    pub list: Option<PathBuf>,
    /// End at once, which deletes the SAs
    #[arg(long)]
    pub no_wait: bool,
    /// How it is sent
    #[command(flatten)]
    pub later: Later,

    /// What NDIS has no field for
    #[command(flatten)]
    pub envelope: Envelope,
    /// The SA, unless --list is given
    #[command(flatten)]
    pub sa: Option<Sa>,
}

/// What XFRM wants to know of all SAs of the request, and NDIS has no field for.
#[derive(Clone, Debug, clap::Args)]
pub struct Envelope {
    /// Transport or tunnel mode
    #[arg(long, value_enum, default_value = "derive")]
    pub mode: Mode,
    /// reqid, which policies name
    #[arg(long, value_parser = number, default_value = "0")]
    pub reqid: u32,
    /// Replay window in packets, at most 4096; 0 switches the check off
    #[arg(long, value_parser = window, default_value = "64")]
    pub window: u32,
    /// UDP source port [default: 4500]
    #[arg(
        long,
        value_name = "PORT",
        value_parser = port,
        default_value_t = 0,
        hide_default_value = true
    )]
    pub sport: u16,
    /// UDP destination port [default: 4500]
    #[arg(
        long,
        value_name = "PORT",
        value_parser = port,
        default_value_t = 0,
        hide_default_value = true
    )]
    pub dport: u16,
}

/// One SA bundle.
#[derive(Debug, clap::Args)]
pub struct Sa {
    /// Direction
    #[arg(long, value_enum)]
    pub dir: Direction,
    /// Source address
    #[arg(long, value_name = "ADDRESS")]
    pub src: IpAddr,
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    pub dst: IpAddr,
    /// SPI
    #[arg(long, value_parser = number)]
    pub spi: u32,
    /// Cipher
    #[arg(long, value_enum)]
    pub enc: Option<Encryption>,
    /// Its key, with the 4 bytes of salt behind it for AES-GCM: hex digits, @FILE with them, or "-"
    /// for stdin; null encryption has none
    #[arg(long, value_name = "KEY", requires = "enc")]
    pub enc_key: Option<Key>,
    /// Bytes of the ICV (AES-GCM)
    #[arg(long, value_parser = number, default_value = "16")]
    pub icv: u32,
    /// Authentication algorithm of ESP
    #[arg(long, value_enum, requires = "auth_key")]
    pub auth: Option<Authentication>,
    /// Its key
    #[arg(long, value_name = "KEY", requires = "auth")]
    pub auth_key: Option<Key>,
    /// Authentication algorithm of AH; with ESP algorithms too, AH is outside
    #[arg(long, value_enum, requires = "ah_key")]
    pub ah: Option<Authentication>,
    /// Its key
    #[arg(long, value_name = "KEY", requires = "ah")]
    pub ah_key: Option<Key>,
    /// SPI of AH if there is ESP, too [default: --spi]
    #[arg(long, value_parser = number)]
    pub ah_spi: Option<u32>,
    /// Extended sequence numbers, with this upper half
    #[arg(long, value_name = "HIGH", value_parser = number, num_args = 0..=1,
          default_missing_value = "0")]
    pub esn: Option<u32>,
    /// UDP encapsulation
    #[arg(long, value_enum, default_value = "none")]
    pub udp: UdpEsp,
}

/// A line of `add --list`.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
pub struct SaLine {
    /// The SA
    #[command(flatten)]
    pub sa: Sa,
}

/// `raw`
#[derive(Debug, clap::Args)]
pub struct Raw {
    /// OID, by name (also without what all names begin with) or number
    #[arg(value_parser = oid, help = value::oid_help())]
    pub oid: Oid,
    /// Information buffer: hex digits, @FILE with bytes, or "-" for hex digits from stdin
    #[arg(default_value = "")]
    pub buffer: String,
    /// Query instead of set
    #[arg(long)]
    pub query: bool,
    /// Any request type
    #[arg(long, value_name = "N", value_parser = number, conflicts_with = "query")]
    pub request_type: Option<u32>,
    /// The normal path instead of the direct one; all OIDs but those of SAs are on it
    #[arg(long)]
    pub normal: bool,
    /// Length of the buffer; zeros are appended
    #[arg(long, value_name = "BYTES", value_parser = length)]
    pub length: Option<u32>,
    /// RequestId, by which a request can be named that is pending: see --pending
    #[arg(long, value_name = "N", value_parser = long_number, default_value = "0",
          conflicts_with = "pending")]
    pub id: u64,
    /// How it is sent
    #[command(flatten)]
    pub later: Later,
    /// What NDIS has no field for
    #[command(flatten)]
    pub envelope: Envelope,
}
