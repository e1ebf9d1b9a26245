// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Command line.

mod value;

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use log::LevelFilter;

use crate::crypto::Backend;
use crate::fault::request::Request;
use crate::net::NetConfig;
use crate::words::{parse_mark, parse_speed};
use value::{parse_mac, parse_mtu, parse_name, parse_pairs, parse_poll, parse_sas, parse_switch};

const DEFAULT_MTU: u16 = 1500;
const DEFAULT_PAIRS: u16 = 2;
/// The speed of hardware NICs with inline IPsec.
const DEFAULT_SPEED: u32 = 100_000;
const DEFAULT_SAS: u32 = 4096;
/// Where there are enough processors: a quarter of what KVM takes for its virtual processors (`halt_poll_ns`).
const DEFAULT_POLL: Duration = Duration::from_micros(50);
/// An interface name has room for this many bytes (`IFNAMSIZ` with its zero byte).
const MAX_IFNAME: usize = 15;

const AFTER_HELP: &str = "\
Requests to a running process: espnic-device ctl --help

NIC keys:
  name=NAME         name in logs, captures and the control socket (required)
  socket=PATH       unix socket for QEMU's vfio-user-pci (required)
  port=PORT         wire:NAME, switch:NAME, tap:IFNAME or none [default: none]
  mac=ADDRESS       MAC address [default: 02:00:00:00:00:10 + number of the NIC]
  mtu=N             largest MTU, 68 to 65535 [default: 1500]
  queues=N          queue pairs, 1 to 8 [default: 2]
  ipsec=on|off      offer inline IPsec; off is a plain virtio NIC [default: on]
  x-ipsec=on|off    offer the experimental extension, which crypto and packet offload need, without which
                    inline IPsec is not offered, either [default: on]
  admin-vq=on|off   offer the administration queue [default: on]
  packed=on|off     offer packed queues [default: off]
  guest-csum=on|off let the driver have frames with unfinished checksums and large receives;
                    off needs ipsec=off [default: on]
  coalescing=on|off let the driver have interrupts held back [default: on]
  device-config=on|off
                    off: break the rules, have no device configuration [default: on]
  speed=N           speed of the link that the driver is told, in Mbit/s [default: 100000]
  sas=N             security associations of each direction, 1 to 1048576 [default: 4096]
  delete-above=N|none
                    with more than N inbound SAs, ask the driver for the deletion of the least
                    recently used one [default: none]
  antispoof=on|off  drop what the guest sends from other addresses than mac= [default: off]
  access-platform=on|off
                    let the guest's IOMMU map its memory for the NIC [default: on]
  poll-us=N         look up to N microseconds for work before sleeping, while work comes that soon; 0 to 1000
                    [default: 50 with two processors for each queue pair of all NICs, else 0]

Ports: NICs with the same wire:NAME receive all that one of them sends. At switch:NAME a frame
goes to the NIC that has its destination address, once that is known. tap:IFNAME opens or creates
a TAP interface of the host. A NIC with port none has no link.

Faults: NIC:FAULT with the words of a control request `fault NIC FAULT` joined by colons,
like n0:tx:drop:3:every:5. The control request `help` lists them all.

Misbehaviour: the fault `misbehave` lets a NIC break the rules of virtio, to try a driver, like
n0:misbehave:rx:id-out-of-range:1 or n0:misbehave:config:max-pairs:100. A list of them all is in
the answer to `help`, too.

Exit status: 0 after SIGTERM or SIGINT, 1 if the NIC cannot start or run, 2 for a wrong
command line.

Example: two NICs wired together, the first with IPsec
  espnic-device --nic name=n0,socket=/tmp/n0,port=wire:w \\
      --nic name=n1,socket=/tmp/n1,port=wire:w,ipsec=off --capture /tmp/wire.pcapng
  qemu-system-x86_64 -machine q35,memory-backend=mem \\
      -object memory-backend-memfd,id=mem,size=512M,share=on ... \\
      -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"path\":\"/tmp/n0\",\"type\":\"unix\"}}'";

/// A NIC that does IPsec ESP itself: a virtio network device for QEMU, served over vfio-user.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// A NIC; may be given several times
    #[arg(long = "nic", value_name = "KEY=VALUE,...", required = true)]
    pub nics: Vec<NicSpec>,

    /// Connect these NICs by a wire of their own; short for a common port=wire:NAME
    #[arg(long = "wire", value_name = "NAME,NAME...")]
    pub wires: Vec<WireSpec>,

    /// Write what is on the wire to this pcapng file, one interface per NIC
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,

    /// End the capture when its file has this size; K, M, G and T are powers of 1024, `none` is no limit
    #[arg(long, value_name = "SIZE", default_value = "4G", requires = "capture")]
    pub capture_limit: SizeLimit,

    /// Capture so many bytes of each frame only
    #[arg(long, value_name = "BYTES", requires = "capture",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub capture_snaplen: Option<u32>,

    /// Write the secret keys of all SAs to this file, for Wireshark to open the capture with
    #[arg(long, value_name = "FILE", requires = "capture")]
    pub capture_keys: Option<PathBuf>,

    /// Listen for control connections at this unix socket; `help` lists the requests
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Start with a fault; may be given several times
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<FaultSpec>,

    /// Least severe messages to show: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,

    /// Keep the right to all system calls; else the process gives up most of them when it is ready
    #[arg(long)]
    pub no_sandbox: bool,

    /// Crypto library for everything: ipsec-mb (x86-64) or aws-lc [default: for each algorithm the fastest that
    /// works here]
    #[arg(long, value_name = "NAME")]
    pub crypto: Option<Backend>,
}

/// What a NIC is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSpec {
    /// A wire inside the process.
    Wire(String),
    /// A switch inside the process.
    Switch(String),
    /// A TAP interface.
    Tap(String),
    /// Nothing.
    None,
}

/// `--nic`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Name.
    pub name: String,
    /// vfio-user socket.
    pub socket: PathBuf,
    /// Port; `None` if not given.
    pub port: Option<PortSpec>,
    /// MAC address; `None` if not given.
    pub mac: Option<[u8; 6]>,
    /// MTU.
    pub mtu: u16,
    /// Queue pairs.
    pub pairs: u16,
    /// `ipsec=on`
    pub ipsec: bool,
    /// `x-ipsec=on`
    pub x_ipsec: bool,
    /// `admin-vq=on`
    pub admin_vq: bool,
    /// `packed=on`
    pub packed: bool,
    /// `guest-csum=on`
    pub guest_csum: bool,
    /// `coalescing=on`
    pub coalescing: bool,
    /// `device-config=on`
    pub device_config: bool,
    /// Speed in Mbit/s.
    pub speed: u32,
    /// `sas=N`
    pub sas: u32,
    /// `delete-above=N`
    pub delete_above: Option<u32>,
    /// `antispoof=on`
    pub antispoof: bool,
    /// `access-platform=on`
    pub access_platform: bool,
    /// `poll-us=N`; `None` if not given.
    pub poll: Option<Duration>,
}

/// `--capture-limit`: bytes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimit(pub Option<u64>);

/// `--wire`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireSpec(pub Vec<String>);

/// `--fault`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// Name of the NIC.
    pub nic: String,
    /// What happens.
    pub request: Request,
}

impl FromStr for NicSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut name, mut socket) = (None, None);
        let mut spec = Self {
            name: String::new(),
            socket: PathBuf::new(),
            port: None,
            mac: None,
            mtu: DEFAULT_MTU,
            pairs: DEFAULT_PAIRS,
            ipsec: true,
            x_ipsec: true,
            admin_vq: true,
            packed: false,
            guest_csum: true,
            coalescing: true,
            device_config: true,
            speed: DEFAULT_SPEED,
            sas: DEFAULT_SAS,
            delete_above: None,
            antispoof: false,
            access_platform: true,
            poll: None,
        };
        let mut seen = HashSet::new();
        for item in text.split(',') {
            let (key, value) = item
                .split_once('=')
                .ok_or_else(|| format!("`{item}` is not KEY=VALUE"))?;
            if !seen.insert(key) {
                return Err(format!("`{key}` is given twice"));
            }
            match key {
                "name" => name = Some(parse_name(value)?),
                "socket" if value.is_empty() => return Err("`socket` needs a path".into()),
                "socket" => socket = Some(PathBuf::from(value)),
                "port" => spec.port = Some(value.parse()?),
                "mac" => spec.mac = Some(parse_mac(value)?),
                "mtu" => spec.mtu = parse_mtu(value)?,
                "queues" => spec.pairs = parse_pairs(value)?,
                "ipsec" => spec.ipsec = parse_switch(key, value)?,
                "x-ipsec" => spec.x_ipsec = parse_switch(key, value)?,
                "admin-vq" => spec.admin_vq = parse_switch(key, value)?,
                "packed" => spec.packed = parse_switch(key, value)?,
                "guest-csum" => spec.guest_csum = parse_switch(key, value)?,
                "coalescing" => spec.coalescing = parse_switch(key, value)?,
                "device-config" => spec.device_config = parse_switch(key, value)?,
                "speed" => spec.speed = parse_speed(value)?,
                "sas" => spec.sas = parse_sas(value)?,
                "delete-above" => spec.delete_above = parse_mark(value)?,
                "antispoof" => spec.antispoof = parse_switch(key, value)?,
                "access-platform" => spec.access_platform = parse_switch(key, value)?,
                "poll-us" => spec.poll = Some(parse_poll(value)?),
                _ => return Err(format!("unknown key `{key}`; --help lists the keys")),
            }
        }
        if spec.ipsec && !spec.guest_csum {
            return Err("`guest-csum=off` needs `ipsec=off`".into());
        }
        spec.name = name.ok_or("`name=NAME` is missing")?;
        spec.socket = socket.ok_or("`socket=PATH` is missing")?;
        Ok(spec)
    }
}

impl NicSpec {
    /// The configuration of this NIC as number `index`.
    pub fn config(&self, index: u8) -> NetConfig {
        NetConfig {
            mac: self
                .mac
                .unwrap_or([2, 0, 0, 0, 0, 0x10u8.wrapping_add(index)]),
            mtu: self.mtu,
            pairs: self.pairs,
            ipsec: self.ipsec,
            x_ipsec: self.x_ipsec,
            admin_vq: self.admin_vq,
            packed: self.packed,
            guest_csum: self.guest_csum,
            coalescing: self.coalescing,
            device_config: self.device_config,
            speed: self.speed,
            access_platform: self.access_platform,
            poll: self.poll.unwrap_or_default(),
        }
    }
}

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("wire", name)) => parse_name(name).map(Self::Wire),
            Some(("switch", name)) => parse_name(name).map(Self::Switch),
            Some(("tap", name)) if (1..=MAX_IFNAME).contains(&name.len()) => {
                Ok(Self::Tap(name.to_owned()))
            }
            Some(("tap", name)) => Err(format!("`{name}` cannot name an interface")),
            _ => Err(format!(
                "`{text}` is not a port: say wire:NAME, switch:NAME, tap:IFNAME or none"
            )),
        }
    }
}

impl FromStr for SizeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let (number, shift) = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((number, "K")) => (number, 10),
            Some((number, "M")) => (number, 20),
            Some((number, "G")) => (number, 30),
            Some((number, "T")) => (number, 40),
            _ => (text, 0),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .filter(|&bytes| bytes > 0)
            .map(|bytes| Self(Some(bytes)))
            .ok_or_else(|| format!("`{text}` is not a size like 500M or 1G, nor `none`"))
    }
}

impl FromStr for WireSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text
            .split(',')
            .map(parse_name)
            .collect::<Result<Vec<_>, _>>()?;
        if names.len() < 2 {
            return Err("a wire needs at least two NICs".into());
        }
        Ok(Self(names))
    }
}

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (nic, fault) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not NIC:FAULT; --help shows an example"))?;
        let words: Vec<_> = fault.split(':').collect();
        Ok(Self {
            nic: parse_name(nic)?,
            request: Request::parse(&words)?,
        })
    }
}

impl Display for PortSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(name) => write!(f, "wire:{name}"),
            Self::Switch(name) => write!(f, "switch:{name}"),
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Args {
    /// Parses the command line of the process. A wrong one ends the process with a message and
    /// status 2, `--help` and `--version` with status 0.
    pub fn from_command_line() -> Self {
        let mut args = Self::parse();
        if let Err(message) = args.resolve() {
            Self::command()
                .error(clap::error::ErrorKind::ValueValidation, message)
                .exit();
        }
        args
    }

    /// Checks the options against each other, and turns `--wire` into ports.
    pub fn resolve(&mut self) -> Result<(), String> {
        for (number, WireSpec(names)) in self.wires.iter().enumerate() {
            for name in names {
                let nic = self.nics.iter_mut().find(|nic| nic.name == *name);
                let nic =
                    nic.ok_or_else(|| format!("--wire names `{name}`, which no --nic has"))?;
                if let Some(port) = &nic.port {
                    return Err(format!(
                        "NIC `{name}` already has port={port}; leave out --wire"
                    ));
                }
                nic.port = Some(PortSpec::Wire(format!("--wire {number}")));
            }
        }
        self.check_unique()?;
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        self.choose_poll(processors);
        for fault in &self.faults {
            if !self.nics.iter().any(|nic| nic.name == fault.nic) {
                return Err(format!("--fault names `{}`, which no --nic has", fault.nic));
            }
        }
        Ok(())
    }

    /// Lets workers look for work before they sleep, unless something else was said, if there are so many
    /// processors that each worker has one, and the guest another.
    fn choose_poll(&mut self, processors: usize) {
        let workers: usize = self.nics.iter().map(|nic| usize::from(nic.pairs)).sum();
        let poll = match processors >= 2 * workers {
            true => DEFAULT_POLL,
            false => Duration::ZERO,
        };
        for nic in &mut self.nics {
            nic.poll.get_or_insert(poll);
        }
    }

    /// Names, sockets, MAC addresses and TAP interfaces belong to one NIC each.
    fn check_unique(&self) -> Result<(), String> {
        let (mut names, mut paths, mut taps) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut macs = HashSet::new();
        paths.extend(&self.control);
        for (index, nic) in self.nics.iter().enumerate() {
            if !names.insert(&nic.name) {
                return Err(format!("two NICs are named `{}`", nic.name));
            }
            if !paths.insert(&nic.socket) {
                return Err(format!("socket {} is used twice", nic.socket.display()));
            }
            let mac = nic.config(index as u8).mac;
            if !macs.insert(mac) {
                let shown = mac.map(|byte| format!("{byte:02x}")).join(":");
                return Err(format!(
                    "two NICs have the MAC address {shown}; set mac=ADDRESS"
                ));
            }
            if let Some(PortSpec::Tap(tap)) = &nic.port {
                if !taps.insert(tap) {
                    return Err(format!("two NICs use tap:{tap}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
