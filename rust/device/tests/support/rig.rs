// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtual machine without QEMU: guest memory, a virtio driver that is as good or bad as a test
//! wants it, and NICs that are driven through [`Function`], as a transport does. The fuzz targets
//! (`rust/fuzz`) use it, too.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use espnic_device::crypto::Backend;
use espnic_device::ipsec::{Ipsec, IpsecConfig, KeyTable};
use espnic_device::memory::{GuestMap, MapTable};
use espnic_device::net::NetConfig;
use espnic_device::nic::Nic;
use espnic_device::ports::capture::Capture;
use espnic_device::ports::wire::Wire;
use espnic_device::ports::{Attachment, Port, RxBacklog, Unplugged, Wakeups};
use espnic_device::stats::PortStats;
use espnic_device::transport::{DmaMap, Function};
use espnic_device::worker;
use vmm_sys_util::tempfile::TempFile;

use super::driver;

/// Guest memory: two maps that touch at [`MAP_BORDER`], in the other order in the file.
pub const MEM_START: u64 = 0x10_0000;
pub const MAP_BORDER: u64 = 0x20_0000;
pub const MEM_END: u64 = 0x40_0000;

pub fn config(last: u8) -> NetConfig {
    NetConfig {
        mac: [2, 0, 0, 0, 0, last],
        mtu: 1500,
        pairs: 1,
        ipsec: true,
        x_ipsec: true,
        admin_vq: true,
        guest_csum: true,
        coalescing: true,
        packed: true,
        device_config: true,
        speed: 25_000,
        access_platform: true,
        poll: Duration::ZERO,
    }
}

/// The memory of one guest, as the guest sees it.
pub struct Memory {
    file: File,
    /// Where it starts in the file.
    start: u64,
    pub view: GuestMap,
}

impl Memory {
    pub fn new() -> Self {
        let file = TempFile::new().unwrap().into_file();
        file.set_len(2 * (MEM_END - MEM_START)).unwrap();
        Self::in_file(file, 0)
    }

    /// Other memory of the same guest, for its second NIC.
    pub fn beside(&self) -> Self {
        Self::in_file(self.file.try_clone().unwrap(), MEM_END - MEM_START)
    }

    fn in_file(file: File, start: u64) -> Self {
        let mut table = MapTable::default();
        for map in Self::maps(&file, start) {
            table.map(map.address, map.size, true, map.file).unwrap();
        }
        Self {
            file,
            start,
            view: table.view(),
        }
    }

    fn maps(file: &File, base: u64) -> [DmaMap; 2] {
        let map = |start: u64, end: u64, offset: u64| DmaMap {
            address: start,
            size: end - start,
            writable: true,
            file: Some((file.try_clone().unwrap(), base + offset)),
        };
        [
            map(MEM_START, MAP_BORDER, MEM_END - MAP_BORDER),
            map(MAP_BORDER, MEM_END, 0),
        ]
    }

    /// Gives the first or the second of the two maps to a function.
    pub fn attach_part(&self, function: &mut dyn Function, part: usize) {
        for map in Self::maps(&self.file, self.start)
            .into_iter()
            .skip(part)
            .take(1)
        {
            function.dma_map(map);
        }
    }

    /// Gives the memory to a function, as QEMU does at start.
    pub fn attach(&self, function: &mut dyn Function) {
        for map in Self::maps(&self.file, self.start) {
            function.dma_map(map);
        }
    }
}

/// Builds NICs on one wire.
#[derive(Default)]
pub struct Rig {
    wire: Arc<Wire>,
    pub capture: Option<Arc<Capture>>,
    pub keys: Option<Arc<KeyTable>>,
    count: u32,
}

impl Rig {
    pub fn nic(&mut self, config: NetConfig) -> driver::Driver {
        let wire = self.wire.clone();
        self.build(config, |backlog| Box::new(wire.connect(backlog)))
    }

    pub fn unplugged(&mut self, config: NetConfig) -> driver::Driver {
        self.build(config, |_| Box::new(Unplugged))
    }

    /// A NIC with a port of the test's own.
    pub fn build(
        &mut self,
        config: NetConfig,
        port: impl FnOnce(Arc<RxBacklog>) -> Box<dyn Port>,
    ) -> driver::Driver {
        let wakeups = Arc::new(Wakeups::new(config.pairs));
        let stats = Arc::new(PortStats::default());
        let backlog = Arc::new(RxBacklog::new(wakeups.clone(), stats.clone()));
        let capture = self.capture.clone().map(|capture| (capture, self.count));
        let port = Attachment::new(port(backlog.clone()), capture, stats);
        let ipsec = Ipsec::new(IpsecConfig {
            libraries: Backend::AwsLc.into(),
            x_ipsec: config.ipsec && config.x_ipsec,
            ..IpsecConfig::default()
        })
        .with_key_table(self.keys.clone());
        let name = format!("n{}", self.count);
        self.count += 1;
        let nic = Arc::new(Nic::new(&name, config, ipsec, port, backlog, wakeups));
        driver::Driver::local(nic)
    }
}

/// Lets the data plane of `nic` work until nothing is left to do. Panics if that never happens.
pub fn pump(nic: &Nic) {
    for _ in 0..10_000 {
        if !worker::process(nic) {
            return;
        }
    }
    panic!("the data plane does not come to rest");
}
