// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program as a process of its own, and its NICs seen through vfio-user.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use espnic_device::transport::{DmaMap, Function, Region};
use serde_json::Value;
use vfio_bindings::bindings::vfio;
use vfio_user::Client;
use vmm_sys_util::tempdir::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_espnic-device");

pub struct Daemon {
    pub child: Child,
    /// What it has logged since it was ready.
    pub log: Arc<Mutex<Vec<String>>>,
    pub dir: TempDir,
}

impl Daemon {
    /// Two wired NICs with capture and control socket, ready.
    pub fn start() -> Self {
        Self::start_in(TempDir::new().unwrap())
    }

    /// The same in a directory in which something is already.
    pub fn start_in(dir: TempDir) -> Self {
        Self::spawn(Command::new(PROGRAM), dir, &["port=wire:w", "port=wire:w"])
    }

    /// The same, started through another program.
    pub fn start_with(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).arg(PROGRAM);
        Self::spawn(
            command,
            TempDir::new().unwrap(),
            &["port=wire:w", "port=wire:w"],
        )
    }

    /// The same in a network namespace of its own, with a NIC on each of two TAP interfaces.
    pub fn start_with_taps() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", PROGRAM]);
        Self::spawn(
            command,
            TempDir::new().unwrap(),
            &["port=tap:t0", "port=tap:t1"],
        )
    }

    fn spawn(mut command: Command, dir: TempDir, ports: &[&str]) -> Self {
        for (number, port) in ports.iter().enumerate() {
            command.args(["--nic", &format!("name=n{number},socket=n{number},{port}")]);
        }
        let mut child = command
            .current_dir(dir.as_path())
            .args(["--capture", "wire.pcapng", "--control", "control"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map(Result::unwrap);
        let mut before = Vec::new();
        let ready = lines.any(|line| {
            before.push(line.clone());
            line.ends_with("ready")
        });
        assert!(ready, "the program does not start: {before:?}");
        let log = Arc::new(Mutex::new(Vec::new()));
        let end = log.clone();
        std::thread::spawn(move || lines.for_each(|line| end.lock().unwrap().push(line)));
        Self { child, log, dir }
    }

    /// Runs a command in the network namespace of the process.
    pub fn in_namespace(&self, args: &[&str]) {
        let pid = self.child.id().to_string();
        let mut command = Command::new("nsenter");
        let status = command
            .args(["--net", "--target", &pid])
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.as_path().join(name)
    }

    pub fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.path("control")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        BufReader::new(stream)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap()
            .success());
    }

    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn ask(connection: &mut BufReader<UnixStream>, request: &str) -> Value {
    connection
        .get_mut()
        .write_all(format!("{request}\n").as_bytes())
        .unwrap();
    read_reply(connection)
}

pub fn read_reply(connection: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// A function behind a vfio-user socket, used as QEMU does.
pub struct Remote(Client);

/// MSI-X vectors of a NIC with two queue pairs.
const VECTORS: u16 = 8;

impl Remote {
    pub fn connect(path: &Path) -> Self {
        Self(Client::new(path).unwrap())
    }
}

fn index(region: Region) -> u32 {
    match region {
        Region::Bar(bar) => bar,
        Region::Config => vfio::VFIO_PCI_CONFIG_REGION_INDEX,
    }
}

fn set_irqs(client: &mut Client, data: u32, start: u32, count: u32, fds: &[i32]) {
    let flags = data | vfio::VFIO_IRQ_SET_ACTION_TRIGGER;
    client
        .set_irqs(vfio::VFIO_PCI_MSIX_IRQ_INDEX, flags, start, count, fds)
        .unwrap();
}

impl Function for Remote {
    fn region_len(&self, region: Region) -> u64 {
        self.0.region(index(region)).map_or(0, |region| region.size)
    }

    fn vectors(&self) -> u16 {
        VECTORS
    }

    fn read(&mut self, region: Region, offset: u64, data: &mut [u8]) {
        self.0.region_read(index(region), offset, data).unwrap();
    }

    fn write(&mut self, region: Region, offset: u64, data: &[u8]) {
        self.0.region_write(index(region), offset, data).unwrap();
    }

    fn dma_map(&mut self, map: DmaMap) {
        let (file, offset) = map.file.unwrap();
        self.0
            .dma_map(offset, map.address, map.size, file.as_raw_fd())
            .unwrap();
    }

    fn dma_unmap(&mut self, address: u64, size: u64) {
        self.0.dma_unmap(address, size).unwrap();
    }

    fn dma_unmap_all(&mut self) {
        unimplemented!("the client has no such request");
    }

    fn set_vector(&mut self, vector: u32, receiver: Option<File>) {
        let fds: Vec<_> = receiver.iter().map(|file| file.as_raw_fd()).collect();
        set_irqs(
            &mut self.0,
            vfio::VFIO_IRQ_SET_DATA_EVENTFD,
            vector,
            1,
            &fds,
        );
    }

    fn clear_vectors(&mut self) {
        set_irqs(&mut self.0, vfio::VFIO_IRQ_SET_DATA_NONE, 0, 0, &[]);
    }

    fn reset(&mut self) {
        self.0.reset().unwrap();
    }

    fn disconnected(&mut self) {
        self.0.shutdown().unwrap();
    }
}
