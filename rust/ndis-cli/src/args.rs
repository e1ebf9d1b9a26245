// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Command line.

use std::error::Error as _;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use espnic_ndis::envelope::{WANT_ALL, WANT_INDICATIONS, WANT_RECEIVE, WANT_SEND};
use espnic_ndis::Version;

use crate::algorithm::{Authentication, Encryption};
use crate::key::Key;
use crate::keyword::{self, Keyword};
use crate::value::{length, long_number, number, port, seconds, version, window};

const AFTER_HELP: &str = "\
The SAs of a process end with it, as those of an NDIS transport do: `add` therefore stays until
it gets SIGINT or SIGTERM, and `session` takes commands from its standard input, one per line,
until that ends.

Exit status: 0 if the NIC did what was asked, 1 if it refused (the NDIS status says why) or cannot
be reached, 2 for a wrong command line.

Example, as root, with the module loaded as `modprobe espnic ndis=1`:
  espnic-ndis -i espnic0 capabilities
  espnic-ndis -i espnic0 encapsulation on
  espnic-ndis -i espnic0 add --dir out --src 192.0.2.1 --dst 192.0.2.2 --spi 0x1000 \\
      --enc aes-gcm-128 --enc-key @/run/key --mode transport --reqid 1
  espnic-ndis -i espnic0 list
  espnic-ndis -i espnic0 follow --receive";

/// NDIS IPsec offload (IPsecOV2) requests to an espnic NIC
#[derive(Debug, Parser)]
#[command(name = "espnic-ndis", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// The network interface
    #[arg(short, long, value_name = "NAME")]
    pub interface: String,

    /// Print JSON: one object per line
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// A line of a session: the same commands, without the options before them.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
pub struct Line {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what the NIC can offload and what of it is on
    Capabilities {
        /// Only one of the two
        #[arg(value_enum)]
        which: Option<Which>,
    },
    /// Switch IPsec offload on or off (OID_TCP_OFFLOAD_PARAMETERS)
    Parameters(Parameters),
    /// Announce the encapsulation, which starts the offloads (OID_OFFLOAD_ENCAPSULATION), or show it
    Encapsulation {
        /// The new state
        #[arg(value_enum)]
        state: Option<Switch>,
        /// Encapsulation bits; 2 is 802.3
        #[arg(long = "type", value_name = "BITS", value_parser = number, default_value = "2")]
        kind: u32,
    },
    /// Show or change the registry keywords, which count from the next restart on
    Keyword {
        /// Name, like '*IPsecOffloadV2' [default: all]
        #[arg(value_parser = keyword::find)]
        name: Option<&'static Keyword>,
        /// New value; "delete" takes the keyword away
        value: Option<keyword::Value>,
    },
    /// Start the miniport again, from the keywords
    Restart {
        /// Come up as this NDIS version, like 6.30
        #[arg(long, value_name = "VERSION", value_parser = version)]
        ndis: Option<Version>,
    },
    /// Add SAs
    Add(Add),
    /// Set the upper half of an SA's sequence number (UPDATE_SA)
    Update {
        /// OffloadHandle
        #[arg(value_parser = long_number)]
        handle: u64,
        /// SPI
        #[arg(long, value_parser = number)]
        spi: u32,
        /// The new upper half
        #[arg(long, value_parser = number)]
        high: u32,
        /// Operation of the SA
        #[arg(long, value_enum, default_value = "esp")]
        operation: Operation,
    },
    /// Delete SAs (one DELETE_SA for all of them)
    Delete {
        /// OffloadHandle
        #[arg(required = true, value_parser = long_number)]
        handles: Vec<u64>,
    },
    /// Show all SAs that the NIC has, also those of other programs
    List,
    /// Show records as they come: indications, OOB data of packets
    Follow(Follow),
    /// Show what the device knows about this interface and about itself
    Info,
    /// Send any OID with any buffer and show the answer
    Raw(Raw),
    /// Read commands from standard input, one per line, and keep their SAs until it ends
    Session,
}

/// Which capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// What the NIC can do
    Hardware,
    /// What is on
    Current,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
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
    /// The NIC derives it
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
    #[arg(long, value_enum, requires = "enc_key")]
    pub enc: Option<Encryption>,
    /// Its key, with the salt behind it for AES-GCM: hex digits, @FILE with them, or "-" for stdin
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

/// `follow`
#[derive(Debug, clap::Args)]
pub struct Follow {
    /// Status indications; all kinds of records if no kind is named
    #[arg(long)]
    pub indications: bool,
    /// OOB data of received packets
    #[arg(long)]
    pub receive: bool,
    /// OOB data of sent packets
    #[arg(long)]
    pub send: bool,
    /// Answer SaDeleteReq as a transport does: delete the inbound SA, then the outbound one
    #[arg(long)]
    pub answer: bool,
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = long_number)]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub time: Option<Duration>,
}

impl Follow {
    /// Records to be shown (`WANT_*`).
    pub fn shown(&self) -> u32 {
        let flag = |on, bit| if on { bit } else { 0 };
        let named = flag(self.indications, WANT_INDICATIONS)
            | flag(self.receive, WANT_RECEIVE)
            | flag(self.send, WANT_SEND);
        if named == 0 {
            WANT_ALL
        } else {
            named
        }
    }

    /// Records that are needed: SaDeleteReq comes with a received packet.
    pub fn wanted(&self) -> u32 {
        self.shown() | if self.answer { WANT_RECEIVE } else { 0 }
    }
}

/// `raw`
#[derive(Debug, clap::Args)]
pub struct Raw {
    /// Number of the OID
    #[arg(value_parser = number)]
    pub oid: u32,
    /// Information buffer: hex digits, @FILE with bytes, or "-" for hex digits from stdin
    #[arg(default_value = "")]
    pub buffer: String,
    /// Query instead of set
    #[arg(long)]
    pub query: bool,
    /// Any request type
    #[arg(long, value_name = "N", value_parser = number, conflicts_with = "query")]
    pub request_type: Option<u32>,
    /// The normal path instead of the direct one
    #[arg(long)]
    pub normal: bool,
    /// Length of the buffer; zeros are appended
    #[arg(long, value_name = "BYTES", value_parser = length)]
    pub length: Option<u32>,
    /// RequestId
    #[arg(long, value_name = "N", value_parser = long_number, default_value = "0")]
    pub id: u64,
    /// What NDIS has no field for
    #[command(flatten)]
    pub envelope: Envelope,
}

/// What to say of a wrong command line in place of clap's words, which may repeat a part of a key, or
/// the buffer of `raw` with keys in it.
pub fn guarded<T: AsRef<OsStr>>(
    error: &clap::Error,
    words: impl IntoIterator<Item = T>,
) -> Option<String> {
    let mut words = words.into_iter();
    let secret = words.any(|word| {
        let word = word.as_ref().to_string_lossy();
        word.contains("-key") || word == "raw"
    });
    if !secret || !error.use_stderr() {
        return None;
    }
    let mut text = error.kind().to_string();
    // An argument that is not known may be the second half of a key.
    if error.kind() != ErrorKind::UnknownArgument {
        let argument = error.get(ContextKind::InvalidArg);
        text.extend(argument.map(|argument| format!(": {argument}")));
    }
    // What our own parsers say does not repeat the value.
    text.extend(error.source().map(|source| format!(": {source}")));
    Some(text + "; see --help")
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
