// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The process: NICs, wires, capture and control, from start to clean end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::Arc;
use std::thread;

use nix::sys::prctl;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use thiserror::Error;

use crate::args::{Args, NicSpec, PortSpec};
use crate::control::Control;
use crate::crypto::{random, Libraries};
use crate::function::NicFunction;
use crate::ipsec::{Ipsec, IpsecConfig, KeyTable};
use crate::nic::Nic;
use crate::ports::capture::{Capture, Limits};
use crate::ports::switch::Switch;
use crate::ports::tap::TapPort;
use crate::ports::wire::Wire;
use crate::ports::{Attachment, Port, RxBacklog, Unplugged, Wakeups};
use crate::sandbox::{self, SandboxError};
use crate::socket;
use crate::stats::PortStats;
use crate::transport::{Transport, TransportError};
use crate::vfu::VfioUser;
use crate::worker::Workers;

/// Why the process cannot start or go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The capture file cannot be created.
    #[error("cannot create the capture file {0}: {1}")]
    Capture(PathBuf, io::Error),
    /// The file for the keys cannot be created.
    #[error("cannot create the key file {0}: {1}")]
    Keys(PathBuf, io::Error),
    /// Frames are missing in the capture file.
    #[error("the capture is not complete: {0}")]
    CaptureLoss(io::Error),
    /// A TAP interface cannot be opened.
    #[error("cannot open the TAP interface {0}: {1}; it must not be in use, and creating one needs CAP_NET_ADMIN")]
    Tap(String, io::Error),
    /// The crypto library cannot be used.
    #[error("the crypto library {0} does not work on this machine: leave out --crypto")]
    Crypto(&'static str),
    /// The system has no random numbers.
    #[error("there are no random numbers")]
    Randomness,
    /// System calls cannot be limited.
    #[error("cannot give up system calls: {0}; start with --no-sandbox")]
    Sandbox(#[from] SandboxError),
    /// A socket cannot be used.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// The system has no thread or descriptor left.
    #[error("the system has no resources left: {0}")]
    Resources(#[from] io::Error),
}

enum Event {
    /// A signal asks the process to end.
    Stop,
    /// A thread that must not end has ended.
    Failed(DaemonError),
}

/// A socket file, removed at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Runs until a signal (`Ok`) or a failure.
pub fn run(args: &Args) -> Result<(), DaemonError> {
    // A core dump would have keys and packets. This also keeps other processes of the user from tracing
    // this one.
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    // Before there are threads, which would not be restricted.
    if !args.no_sandbox {
        sandbox::drop_capabilities(has_taps(args))?;
        keep_files(args)?;
    }
    let (events, inbox) = mpsc::channel();
    watch_signals(events.clone())?;
    // The sockets first: if another process has them, its capture must stay.
    let mut sockets = Vec::new();
    let transports = args
        .nics
        .iter()
        .map(|spec| listen(&spec.socket, &mut sockets, VfioUser::bind))
        .collect::<Result<Vec<_>, _>>()?;
    let control = match &args.control {
        Some(path) => Some(listen(path, &mut sockets, |path| {
            socket::bind(path).map_err(TransportError::Socket)
        })?),
        None => None,
    };
    let capture = open_capture(args)?;
    let nics = build_nics(args, capture.as_ref())?;
    let workers = nics
        .iter()
        .map(Workers::spawn)
        .collect::<Result<Vec<Workers>, _>>()?;
    for (nic, transport) in nics.iter().zip(transports) {
        spawn_transport(nic, transport, events.clone())?;
    }
    if let Some(listener) = control {
        let control = Arc::new(Control::new(nics, capture.clone()));
        let serve = move || {
            if let Err(error) = control.serve(&listener) {
                let _ = events.send(Event::Failed(error.into()));
            }
        };
        thread::Builder::new().name("control".into()).spawn(serve)?;
    }
    if !args.no_sandbox {
        enter_sandbox(args)?;
    }
    log::info!("ready");
    let result = match inbox.recv() {
        Ok(Event::Stop) | Err(_) => Ok(()),
        Ok(Event::Failed(error)) => Err(error),
    };
    log::info!("stopping");
    // The workers go first, so that the capture is complete when it is flushed.
    drop(workers);
    let flushed = capture.map_or(Ok(()), |capture| capture.flush());
    result.and(flushed.map_err(DaemonError::CaptureLoss))
}

/// Restricts the removal of files to the directories of the sockets.
fn keep_files(args: &Args) -> Result<(), DaemonError> {
    let sockets = args.nics.iter().map(|nic| &nic.socket);
    let directories = sockets
        .chain(&args.control)
        .filter_map(|socket| socket.parent())
        .map(|directory| match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        });
    if !sandbox::keep_files(directories)? {
        log::debug!("this kernel has no Landlock: the right to remove files stays");
    }
    Ok(())
}

/// Gives up most system calls. Afterwards nothing can be opened.
fn enter_sandbox(args: &Args) -> Result<(), DaemonError> {
    // The library opens its source of randomness at its first use.
    random::fill(&mut [0; 8]).map_err(|_| DaemonError::Randomness)?;
    Ok(sandbox::enter(has_taps(args))?)
}

fn has_taps(args: &Args) -> bool {
    let is_tap = |nic: &NicSpec| matches!(nic.port, Some(PortSpec::Tap(_)));
    args.nics.iter().any(is_tap)
}

/// Handles signals. The first one asks for an orderly end. The second one ends the process at once,
/// because a thread may be blocked, for example by a capture that is a pipe without a reader.
fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut end = vec![SIGTERM, SIGINT];
    if !ignores_hangup() {
        end.push(SIGHUP);
    }
    let mut signals = Signals::new(end)?;
    let watch = move || {
        for (earlier, signal) in signals.forever().enumerate() {
            if earlier > 0 {
                let _ = low_level::emulate_default_handler(signal);
            }
            let _ = events.send(Event::Stop);
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map(drop)
}

/// Whether the process was started by nohup or the like, so that it must outlive its terminal.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| (mask >> (SIGHUP - 1)) & 1 != 0)
}

fn open_capture(args: &Args) -> Result<Option<Arc<Capture>>, DaemonError> {
    let Some(path) = &args.capture else {
        return Ok(None);
    };
    let names: Vec<_> = args.nics.iter().map(|nic| nic.name.as_str()).collect();
    let limits = Limits {
        file: args.capture_limit.0,
        frame: args.capture_snaplen,
    };
    Capture::create(path, &names, limits)
        .map(|capture| Some(Arc::new(capture)))
        .map_err(|error| DaemonError::Capture(path.clone(), error))
}

fn open_key_table(args: &Args) -> Result<Option<Arc<KeyTable>>, DaemonError> {
    let Some(path) = &args.capture_keys else {
        return Ok(None);
    };
    log::warn!(
        "the secret keys of all SAs are written to {}",
        path.display()
    );
    KeyTable::create(path)
        .map(|table| Some(Arc::new(table)))
        .map_err(|error| DaemonError::Keys(path.clone(), error))
}

fn listen<T>(
    path: &Path,
    sockets: &mut Vec<SocketFile>,
    bind: impl FnOnce(&Path) -> Result<T, TransportError>,
) -> Result<T, TransportError> {
    let listener = bind(path)?;
    sockets.push(SocketFile(path.to_owned()));
    Ok(listener)
}

fn build_nics(args: &Args, capture: Option<&Arc<Capture>>) -> Result<Vec<Arc<Nic>>, DaemonError> {
    let libraries = args.crypto.map_or_else(Libraries::default, Libraries::from);
    for backend in libraries.all() {
        if !backend.is_available() {
            return Err(DaemonError::Crypto(backend.name()));
        }
    }
    log::info!(
        "crypto library: {}, for AES-CBC with HMAC {}, for several such packets {}",
        libraries.aead,
        libraries.cbc_hmac,
        libraries.cbc_hmac_many
    );
    let key_table = open_key_table(args)?;
    let mut networks = Networks::default();
    let mut nics = Vec::new();
    for (index, spec) in args.nics.iter().enumerate() {
        let capture = capture.map(|capture| (capture.clone(), index as u32));
        let ipsec = Ipsec::new(IpsecConfig {
            libraries,
            x_ipsec: spec.ipsec && spec.x_ipsec,
            delete_above: spec.delete_above,
            inb_sa_limit: spec.sas,
            outb_sa_limit: spec.sas,
        })
        .with_key_table(key_table.clone());
        nics.push(Arc::new(build_nic(
            spec,
            index as u8,
            ipsec,
            capture,
            &mut networks,
        )?));
    }
    for fault in &args.faults {
        for nic in nics.iter().filter(|nic| nic.name == fault.nic) {
            nic.set_fault(&fault.request);
        }
    }
    Ok(nics)
}

/// The wires and switches of the process, by name.
#[derive(Default)]
struct Networks {
    wires: HashMap<String, Arc<Wire>>,
    switches: HashMap<String, Arc<Switch>>,
}

fn build_nic(
    spec: &NicSpec,
    index: u8,
    ipsec: Ipsec,
    capture: Option<(Arc<Capture>, u32)>,
    networks: &mut Networks,
) -> Result<Nic, DaemonError> {
    let stats = Arc::new(PortStats::default());
    let config = spec.config(index);
    let wakeups = Arc::new(Wakeups::new(config.pairs));
    let backlog = Arc::new(RxBacklog::new(wakeups.clone(), stats.clone()));
    let port: Box<dyn Port> = match spec.port.as_ref().unwrap_or(&PortSpec::None) {
        PortSpec::None => Box::new(Unplugged),
        PortSpec::Wire(name) => Box::new(
            networks
                .wires
                .entry(name.clone())
                .or_default()
                .connect(backlog.clone()),
        ),
        PortSpec::Switch(name) => Box::new(
            networks
                .switches
                .entry(name.clone())
                .or_default()
                .connect(backlog.clone(), config.mac),
        ),
        PortSpec::Tap(name) => Box::new(
            TapPort::open(name, backlog.clone(), capture.clone())
                .map_err(|error| DaemonError::Tap(name.clone(), error))?,
        ),
    };
    let mut port = Attachment::new(port, capture, stats);
    if spec.antispoof {
        port = port.only_from(config.mac);
    }
    Ok(Nic::new(&spec.name, config, ipsec, port, backlog, wakeups))
}

fn spawn_transport(
    nic: &Arc<Nic>,
    transport: VfioUser,
    events: Sender<Event>,
) -> Result<(), DaemonError> {
    let mut function = NicFunction::new(nic.clone());
    let serve = move || {
        if let Err(error) = transport.serve(&mut function) {
            let _ = events.send(Event::Failed(error.into()));
        }
    };
    thread::Builder::new()
        .name(format!("vfio-user {}", nic.name))
        .spawn(serve)?;
    Ok(())
}
