// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC as a PCI function, for a transport.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::limit::Limit;
use crate::memory::{self, MapTable};
use crate::net;
use crate::nic::Nic;
use crate::pci::{self, ConfigSpace};
use crate::transport::{DmaMap, Function, Region};
use crate::virtio::common::{self, Effect};

/// End of the common configuration structure in its BAR.
const COMMON_END: u64 = pci::COMMON + common::LEN as u64;
const DEVICE_END: u64 = pci::DEVICE + pci::DEVICE_LEN;
const NOTIFY_END: u64 = pci::NOTIFY + pci::NOTIFY_LEN;

/// The function.
pub struct NicFunction {
    nic: Arc<Nic>,
    config: ConfigSpace,
    maps: MapTable,
    /// The rate limit for warnings about bad requests of the peer.
    warnings: Limit,
    /// The log has said that the peer can shrink its memory.
    unsealed: bool,
}

impl NicFunction {
    /// The function of `nic` in its reset state.
    pub fn new(nic: Arc<Nic>) -> Self {
        let config = ConfigSpace::new(nic.msix.count(), nic.config.device_config);
        Self {
            nic,
            config,
            maps: MapTable::default(),
            warnings: Limit::new(),
            unsealed: false,
        }
    }

    fn read_bar(&mut self, bar: u32, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if bar != pci::BAR_VIRTIO {
            // MSI-X table and pending bits live in the peer.
            return;
        }
        match offset {
            pci::COMMON..COMMON_END => {
                self.nic
                    .with_device(|device| common::read(&device.virtio, offset, data));
            }
            pci::ISR => data
                .iter_mut()
                .take(1)
                .for_each(|byte| *byte = self.nic.take_isr()),
            pci::DEVICE..DEVICE_END => {
                net::config::read(&self.nic, offset - pci::DEVICE, data);
            }
            _ => {}
        }
    }

    fn write_bar(&mut self, bar: u32, offset: u64, data: &[u8]) {
        if bar != pci::BAR_VIRTIO {
            return;
        }
        match offset {
            pci::COMMON..COMMON_END => self.write_common(offset, data),
            pci::NOTIFY..NOTIFY_END => {
                let queue = (offset - pci::NOTIFY) / pci::NOTIFY_MULTIPLIER;
                self.nic.notify(queue as u16);
            }
            _ => {}
        }
    }

    fn write_common(&mut self, offset: u64, data: &[u8]) {
        let nic = &self.nic;
        nic.with_device(
            |device| match common::write(&mut device.virtio, offset, data) {
                Effect::None => {}
                Effect::Reset => nic.reset(device),
                Effect::Start => nic.start(device),
                Effect::QueueStarted => nic.kick(),
                Effect::QueueReset => {
                    device.net.unanswered.clear();
                    nic.stats.queue_resets.inc();
                    net::rx::steer_again(nic, device);
                    net::announce::forget_stopped(nic, device);
                }
                Effect::QueueFailed(error) => nic.driver_error(device, error),
            },
        );
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if self.config.resets(offset, data) {
            self.reset();
            return;
        }
        self.config.write(offset, data);
        self.nic
            .msix_enabled
            .store(self.config.msix_enabled(), Ordering::SeqCst);
        let bus_master = self.config.bus_master();
        self.nic
            .with_device(|device| device.virtio.set_bus_master(bus_master));
        self.nic.kick();
    }

    /// Warns once if the peer can shrink its memory, and so end this process.
    fn check_seal(&mut self, map: &DmaMap) {
        let Some((file, _)) = &map.file else {
            return;
        };
        if !self.unsealed && !memory::is_sealed(file) {
            self.unsealed = true;
            log::warn!(
                "{}: the memory of the guest is not sealed against shrinking, which would end this process: \
                 use memory-backend-memfd",
                self.nic.name
            );
        }
    }

    /// Publishes the maps to the device; `taken` if an earlier map is missing.
    fn publish_maps(&mut self, taken: bool) {
        self.nic.port.set_guest(self.maps.memory());
        let view = Arc::new(self.maps.view());
        self.nic
            .with_device(|device| device.virtio.set_memory(view, taken));
        if !taken {
            // The worker may be waiting for it.
            self.nic.kick();
        }
    }
}

impl Function for NicFunction {
    fn region_len(&self, region: Region) -> u64 {
        match region {
            Region::Bar(pci::BAR_VIRTIO) => pci::BAR_VIRTIO_LEN.into(),
            Region::Bar(pci::BAR_MSIX) => pci::BAR_MSIX_LEN.into(),
            Region::Bar(_) => 0,
            Region::Config => pci::CONFIG_LEN as u64,
        }
    }

    fn vectors(&self) -> u16 {
        self.nic.msix.count()
    }

    fn read(&mut self, region: Region, offset: u64, data: &mut [u8]) {
        match region {
            Region::Bar(bar) if self.config.memory_enabled() => self.read_bar(bar, offset, data),
            Region::Bar(_) => data.fill(0xff),
            Region::Config => {
                self.config.read(offset, data);
                if self.config.hides(offset, data.len()) {
                    self.nic.misbehaviour.device_config_missed();
                }
                if let Some(window) = self.config.window(offset, data.len()) {
                    if let Some(data) = data.get_mut(..window.len) {
                        self.read_bar(window.bar, window.offset, data);
                    }
                }
            }
        }
    }

    fn write(&mut self, region: Region, offset: u64, data: &[u8]) {
        match region {
            Region::Bar(bar) if self.config.memory_enabled() => self.write_bar(bar, offset, data),
            Region::Bar(_) => {}
            Region::Config => match self.config.window(offset, data.len()) {
                Some(window) => {
                    let data = data.get(..window.len).unwrap_or_default();
                    self.write_bar(window.bar, window.offset, data);
                }
                None => self.write_config(offset, data),
            },
        }
    }

    fn dma_map(&mut self, map: DmaMap) {
        let (address, size) = (map.address, map.size);
        self.check_seal(&map);
        match self.maps.map(address, size, map.writable, map.file) {
            Ok(()) => self.publish_maps(false),
            // The guest cannot reach the device through this range; rings or buffers in it end in
            // DEVICE_NEEDS_RESET.
            Err(error) => log::log!(self.warnings.level(), "{}: {error}", self.nic.name),
        }
    }

    fn dma_unmap(&mut self, address: u64, size: u64) {
        if self.maps.unmap(address, size) == 0 {
            log::log!(
                self.warnings.level(),
                "{}: no memory to unmap at {address:#x}+{size:#x}",
                self.nic.name
            );
        }
        self.publish_maps(true);
    }

    fn dma_unmap_all(&mut self) {
        self.maps.clear();
        self.publish_maps(true);
    }

    fn set_vector(&mut self, vector: u32, receiver: Option<File>) {
        if let Err(error) = self.nic.msix.set(vector, receiver) {
            log::log!(
                self.warnings.level(),
                "{}: interrupt vector {vector}: {error}",
                self.nic.name
            );
        }
    }

    fn clear_vectors(&mut self) {
        self.nic.msix.clear();
    }

    fn reset(&mut self) {
        self.config.reset();
        self.nic.msix_enabled.store(false, Ordering::SeqCst);
        self.nic.with_device(|device| {
            device.virtio.set_bus_master(false);
            self.nic.reset(device);
        });
    }

    fn disconnected(&mut self) {
        self.reset();
        self.clear_vectors();
        self.dma_unmap_all();
    }
}
