// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Command line.

use std::error::Error as _;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use espnic_ndis::envelope::{WANT_ALL, WANT_BYTES, WANT_INDICATIONS, WANT_RECEIVE, WANT_SEND};
use espnic_ndis::{Oid, Version};

use crate::keyword::{self, Keyword};
use crate::offline::Offer;
use crate::value::{self, long_number, oid, seconds, version};

mod request;
mod submit;
mod tasks;

pub use request::{
    Add, Asked, Delete, Direction, Encapsulation, Envelope, Later, Made, Mode, Operation,
    Parameters, Raw, Sa, SaLine, Setting, Switch, UdpEsp, Update,
};
pub use submit::Submit;
pub use tasks::Tasks;

const AFTER_HELP: &str = "\
The SAs of a process end with it, as those of an NDIS transport do: `add` therefore stays until
it gets SIGINT or SIGTERM, and `session` takes commands from its standard input, one per line,
until that ends.

`decode`, `encode` and `check` need neither a NIC nor root.

Exit status: 0 if the NIC did what was asked, 1 if it refused (the NDIS status says why) or cannot
be reached, 2 for a wrong command line. So it is with the model, for `check`.

Examples, the first three anywhere, the others as root with the module loaded as
`modprobe espnic ndis=1`:
  espnic-ndis decode @oid-buffer.bin
  espnic-ndis encode update 0x1000001 --spi 0x1000 --high 1
  espnic-ndis check --ndis 6.20 raw ADD_SA_EX @oid-buffer.bin
  espnic-ndis -i espnic0 capabilities
  espnic-ndis -i espnic0 encapsulation on
  espnic-ndis -i espnic0 add --dir out --src 192.0.2.1 --dst 192.0.2.2 --spi 0x1000 \\
      --enc aes-gcm-128 --enc-key @key --mode transport --reqid 1 &
  espnic-ndis -i espnic0 list
  espnic-ndis -i espnic0 follow --receive";

/// NDIS IPsec offload (IPsecOV2) requests to an espnic NIC
#[derive(Debug, Parser)]
#[command(name = "espnic-ndis", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// The network interface, for all commands but `decode`, `encode` and `check`
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,

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
    /// Switch IPsec offload, checksums and large sends on or off (OID_TCP_OFFLOAD_PARAMETERS)
    Parameters(Parameters),
    /// Announce the encapsulation, which starts the offloads (OID_OFFLOAD_ENCAPSULATION), or show it
    Encapsulation(Encapsulation),
    /// Show or change the registry keywords, which count from the next restart on
    #[command(after_help = keyword::HELP)]
    Keyword {
        /// Name, like '*IPsecOffloadV2' [default: all]
        #[arg(value_parser = keyword::find)]
        name: Option<&'static Keyword>,
        /// New value; "delete" takes the keyword away
        value: Option<keyword::Value>,
    },
    /// Start the miniport again, from the keywords
    Restart {
        /// Come up as this NDIS version
        #[arg(long, value_name = "VERSION", value_parser = version, help = value::version_help("Come up as this NDIS version"))]
        ndis: Option<Version>,
    },
    /// Add SAs
    Add(Add),
    /// Set the upper half of an SA's sequence number (UPDATE_SA)
    Update(Update),
    /// Delete SAs (one DELETE_SA for all of them)
    Delete(Delete),
    /// End the pending requests of this session with a RequestId; those under way go on
    Cancel {
        /// RequestId
        #[arg(value_parser = long_number)]
        id: u64,
    },
    /// Show all SAs that the NIC has, also those of other programs
    List,
    /// Show records as they come: indications, OOB data of packets
    Follow(Follow),
    /// Submit a packet with its OOB data; the module checks it, and does not send it
    Submit(Submit),
    /// Show what the device knows about this interface and about itself
    Info,
    /// Send any OID with any buffer and show the answer
    Raw(Raw),
    /// Show what an information buffer says, member by member; needs no NIC
    #[command(allow_missing_positional = true)]
    Decode(Decode),
    /// Make the information buffer of a request; needs no NIC
    Encode(Encode),
    /// Ask the model of a miniport what it says to a request, and by which rule; needs no NIC
    Check(Check),
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

/// `decode`
#[derive(Debug, clap::Args)]
pub struct Decode {
    /// OID whose buffer it is, by name or number [default: told by the header]
    #[arg(value_parser = oid)]
    pub oid: Option<Oid>,
    /// Information buffer of a set, or what a query returned: hex digits, @FILE with bytes or hex
    /// digits, or "-" for hex digits from stdin
    pub buffer: String,
    /// Show the keys, too
    #[arg(long)]
    pub show_keys: bool,
}

/// `encode`
#[derive(Debug, clap::Args)]
pub struct Encode {
    /// Write the bytes to this file, which must not be there, instead of hex digits to stdout
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The request
    #[command(subcommand)]
    pub request: Made,
}

/// `check`
#[derive(Debug, clap::Args)]
pub struct Check {
    /// NDIS version of the miniport
    #[arg(long, value_name = "VERSION", value_parser = version, default_value = "6.30",
          help = value::version_help("NDIS version of the miniport"))]
    pub ndis: Version,
    /// What it offers: "nic" (this NIC), "all", "none", or @FILE with an NDIS_OFFLOAD
    #[arg(long, value_name = "WHAT", default_value = "nic")]
    pub offers: Offer,
    /// What OID_TCP_OFFLOAD_PARAMETERS has switched on
    #[arg(long, value_enum, default_value = "both")]
    pub enabled: Setting,
    /// The request; "session" takes requests from stdin, one per line, for the same miniport
    #[command(subcommand)]
    pub request: Asked,
}

/// A line of `check session`.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
pub struct CheckLine {
    /// The request
    #[command(subcommand)]
    pub request: Asked,
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
    /// The first bytes of the packets, too, in clear; not in a session
    #[arg(long)]
    pub bytes: bool,
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

    /// What is needed for it: SaDeleteReq comes with a received packet.
    pub fn wanted(&self) -> u32 {
        let flag = |on, bit| if on { bit } else { 0 };
        self.shown() | flag(self.answer, WANT_RECEIVE) | flag(self.bytes, WANT_BYTES)
    }
}

/// What to say of a wrong command line in place of clap's words, which may repeat a part of a key, or
/// the buffer of `raw` or `decode` with keys in it, or a packet in clear.
pub fn guarded<T: AsRef<OsStr>>(
    error: &clap::Error,
    words: impl IntoIterator<Item = T>,
) -> Option<String> {
    let mut words = words.into_iter();
    let secret = words.any(|word| {
        let word = word.as_ref().to_string_lossy();
        word.contains("-key") || ["raw", "decode", "submit"].contains(&&*word)
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
