// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI configuration space of the function: header, capabilities, write masks, and the layout of the
//! BARs that they announce (VIRTIO 1.4 section 4.1).

use espnic_wire::pci;

/// Size of configuration space in bytes; there is no PCI Express capability.
pub const CONFIG_LEN: usize = 256;
/// BAR of the virtio structures, and its size.
pub const BAR_VIRTIO: u32 = 0;
/// Size of [`BAR_VIRTIO`].
pub const BAR_VIRTIO_LEN: u32 = 0x4000;
/// BAR of MSI-X table and pending bits.
pub const BAR_MSIX: u32 = 1;
/// Size of [`BAR_MSIX`].
pub const BAR_MSIX_LEN: u32 = 0x1000;
const MSIX_PBA: u32 = 0x800;

/// Offsets of the virtio structures in [`BAR_VIRTIO`].
pub const COMMON: u64 = 0x0000;
/// ISR status byte.
pub const ISR: u64 = 0x1000;
/// Device configuration.
pub const DEVICE: u64 = 0x2000;
/// Length of the device configuration structure.
pub const DEVICE_LEN: u64 = 0x40;
/// Notification area.
pub const NOTIFY: u64 = 0x3000;
/// Bytes between the notification addresses of two queues.
pub const NOTIFY_MULTIPLIER: u64 = 4;
/// Length of the notification area.
pub const NOTIFY_LEN: u64 = 0x1000;

const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_INTX_OFF: u16 = 1 << 10;
const CAP_MSIX: usize = 0x40;
const CAP_COMMON: usize = 0x4c;
const CAP_NOTIFY: usize = 0x5c;
const CAP_ISR: usize = 0x70;
const CAP_DEVICE: usize = 0x80;
const CAP_PCI_CFG: usize = 0x90;
const PCI_CFG_DATA: usize = CAP_PCI_CFG + 16;
const CAP_AF: usize = 0xa4;
/// The control byte of the advanced features, and the bit that resets the function.
const AF_CONTROL: u64 = CAP_AF as u64 + 4;
const AF_RESET: u8 = 1;

const ID_VENDOR: u8 = 0x09;
const ID_MSIX: u8 = 0x11;
const ID_AF: u8 = 0x13;
/// Transactions pending, function-level reset.
const AF_OFFERED: u8 = 0x03;
const CFG_COMMON: u8 = 1;
const CFG_NOTIFY: u8 = 2;
const CFG_ISR: u8 = 3;
const CFG_DEVICE: u8 = 4;
const CFG_PCI: u8 = 5;

/// An access to a BAR through the `PCI_CFG` capability (4.1.4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which BAR.
    pub bar: u32,
    /// Offset in the BAR.
    pub offset: u64,
    /// Width: 1, 2 or 4 bytes.
    pub len: usize,
}

/// Configuration space: the bytes, and which bits of them can be written.
pub struct ConfigSpace {
    bytes: [u8; CONFIG_LEN],
    writable: [u8; CONFIG_LEN],
    vectors: u16,
    device_config: bool,
}

impl ConfigSpace {
    /// The function in its reset state, with `vectors` MSI-X vectors. `device_config` tells whether it
    /// has a device configuration, which a virtio network device must have.
    pub fn new(vectors: u16, device_config: bool) -> Self {
        let mut space = Self {
            bytes: [0; CONFIG_LEN],
            writable: [0; CONFIG_LEN],
            vectors,
            device_config,
        };
        space.header();
        space.capabilities();
        space
    }

    /// Returns to the reset state.
    pub fn reset(&mut self) {
        *self = Self::new(self.vectors, self.device_config);
    }

    fn header(&mut self) {
        self.put(0x00, &pci::VENDOR_ID.to_le_bytes());
        self.put(0x02, &pci::DEVICE_ID.to_le_bytes());
        let command = COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF;
        self.allow(COMMAND, &command.to_le_bytes());
        self.put(0x06, &[0x10]); // status: capability list
        self.put(0x08, &[1, 0, 0, 0x02]); // revision 1, Ethernet controller
        self.allow(0x0c, &[0xff]); // cache line size, without effect
        self.allow(0x10, &(!(BAR_VIRTIO_LEN - 1)).to_le_bytes());
        self.allow(0x14, &(!(BAR_MSIX_LEN - 1)).to_le_bytes());
        self.put(0x2c, &pci::SUBSYSTEM_VENDOR_ID.to_le_bytes());
        self.put(0x2e, &pci::SUBSYSTEM_DEVICE_ID.to_le_bytes());
        self.put(0x34, &[CAP_MSIX as u8]);
        self.allow(0x3c, &[0xff]); // interrupt line, without effect
    }

    fn capabilities(&mut self) {
        let control = self.vectors.saturating_sub(1);
        self.put(CAP_MSIX, &[ID_MSIX, CAP_COMMON as u8]);
        self.put(CAP_MSIX + 2, &control.to_le_bytes());
        self.put(CAP_MSIX + 4, &BAR_MSIX.to_le_bytes());
        self.put(CAP_MSIX + 8, &(MSIX_PBA | BAR_MSIX).to_le_bytes());
        self.allow(CAP_MSIX + 2, &0xc000u16.to_le_bytes()); // enable, function mask

        let common = super::virtio::common::LEN as u64;
        self.structure(CAP_COMMON, CAP_NOTIFY, 16, CFG_COMMON, COMMON, common);
        self.structure(CAP_NOTIFY, CAP_ISR, 20, CFG_NOTIFY, NOTIFY, NOTIFY_LEN);
        self.put(CAP_NOTIFY + 16, &(NOTIFY_MULTIPLIER as u32).to_le_bytes());
        if self.device_config {
            self.structure(CAP_ISR, CAP_DEVICE, 16, CFG_ISR, ISR, 1);
            self.structure(CAP_DEVICE, CAP_PCI_CFG, 16, CFG_DEVICE, DEVICE, DEVICE_LEN);
        } else {
            self.structure(CAP_ISR, CAP_PCI_CFG, 16, CFG_ISR, ISR, 1);
        }
        self.structure(CAP_PCI_CFG, CAP_AF, 20, CFG_PCI, 0, 0);
        self.allow(CAP_PCI_CFG + 4, &[0xff]);
        self.allow(CAP_PCI_CFG + 8, &[0xff; 8]);
        // Without PCI Express, this is how a guest resets one function.
        self.put(CAP_AF, &[ID_AF, 0, 6, AF_OFFERED]);
    }

    /// One `struct virtio_pci_cap` (4.1.4).
    fn structure(&mut self, at: usize, next: usize, len: u8, kind: u8, offset: u64, size: u64) {
        self.put(at, &[ID_VENDOR, next as u8, len, kind, BAR_VIRTIO as u8]);
        self.put(at + 8, &(offset as u32).to_le_bytes());
        self.put(at + 12, &(size as u32).to_le_bytes());
    }

    /// Reads; zero beyond the end.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = usize::try_from(at)
                .ok()
                .and_then(|at| self.bytes.get(at))
                .copied()
                .unwrap_or(0);
        }
    }

    /// Whether a read shows that the capability of the device configuration is missing, because it reads the
    /// pointer that should lead there.
    pub fn hides(&self, offset: u64, len: usize) -> bool {
        let link = CAP_ISR as u64 + 1;
        !self.device_config && offset <= link && link - offset < len as u64
    }

    /// Writes the bits that can be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, &byte) in (offset..).zip(data) {
            let Ok(at) = usize::try_from(at) else { return };
            if let (Some(old), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *old = (*old & !mask) | (byte & mask);
            }
        }
    }

    /// Whether writing `data` resets the function (Advanced Capabilities for Conventional PCI, FLR).
    pub fn resets(&self, offset: u64, data: &[u8]) -> bool {
        AF_CONTROL
            .checked_sub(offset)
            .and_then(|at| data.get(usize::try_from(at).ok()?))
            .is_some_and(|control| control & AF_RESET != 0)
    }

    /// Whether the function may access guest memory and send interrupts.
    pub fn bus_master(&self) -> bool {
        self.word(COMMAND) & COMMAND_MASTER != 0
    }

    /// Whether the function answers at its BARs.
    pub fn memory_enabled(&self) -> bool {
        self.word(COMMAND) & COMMAND_MEMORY != 0
    }

    /// Whether MSI-X is on.
    pub fn msix_enabled(&self) -> bool {
        self.word(CAP_MSIX + 2) & 0x8000 != 0
    }

    /// What an access at `offset` means if it goes to `pci_cfg_data`; `None` for other accesses, and
    /// for windows that the driver has not set up as 4.1.4.9.2 demands.
    pub fn window(&self, offset: u64, len: usize) -> Option<Window> {
        let width = self.dword(CAP_PCI_CFG + 12);
        let bar = u32::from(self.bytes.get(CAP_PCI_CFG + 4).copied().unwrap_or(0));
        let start = u64::from(self.dword(CAP_PCI_CFG + 8));
        let valid = offset == PCI_CFG_DATA as u64
            && matches!(width, 1 | 2 | 4)
            && start % u64::from(width) == 0
            && len >= width as usize;
        valid.then_some(Window {
            bar,
            offset: start,
            len: width as usize,
        })
    }

    fn word(&self, at: usize) -> u16 {
        self.dword(at) as u16
    }

    fn dword(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(at as u64, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        if let Some(to) = self.writable.get_mut(at..at + mask.len()) {
            to.copy_from_slice(mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(space: &ConfigSpace, at: usize) -> u32 {
        space.dword(at)
    }

    #[test]
    fn identity() {
        let space = ConfigSpace::new(6, true);
        assert_eq!(read(&space, 0), 0x1041_1af4);
        assert_eq!(read(&space, 8), 0x0200_0001);
        assert_eq!(read(&space, 0x2c), 0x0041_4553);
        let mut rom = [0xff; 4];
        space.read(0x100, &mut rom);
        assert_eq!(rom, [0; 4]);
    }

    #[test]
    fn capability_chain_ends_and_covers_everything() {
        let space = ConfigSpace::new(6, true);
        let (mut at, mut kinds, mut msix, mut resets) = (space.bytes[0x34], Vec::new(), 0, 0);
        while at != 0 {
            assert_eq!(at % 4, 0);
            let cap = &space.bytes[usize::from(at)..];
            match cap[0] {
                ID_VENDOR => kinds.push(cap[3]),
                ID_MSIX => msix = u16::from_le_bytes([cap[2], cap[3]]) + 1,
                ID_AF => resets = cap[3],
                other => panic!("unexpected capability {other:#x}"),
            }
            at = cap[1];
        }
        assert_eq!(resets, AF_OFFERED);
        assert_eq!(
            kinds,
            [CFG_COMMON, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI]
        );
        assert_eq!(msix, 6);
    }

    #[test]
    fn the_device_configuration_can_be_missing() {
        let mut space = ConfigSpace::new(6, false);
        for _ in 0..2 {
            let (mut at, mut kinds) = (space.bytes[CAP_COMMON + 1], vec![CFG_COMMON]);
            while at != 0 {
                let cap = &space.bytes[usize::from(at)..];
                if cap[0] == ID_VENDOR {
                    kinds.push(cap[3]);
                }
                at = cap[1];
            }
            assert_eq!(kinds, [CFG_COMMON, CFG_NOTIFY, CFG_ISR, CFG_PCI]);
            space.reset();
        }
        let link = CAP_ISR as u64 + 1;
        assert!(space.hides(link, 1) && space.hides(link - 1, 4));
        assert!(!space.hides(link + 1, 4) && !space.hides(link - 1, 1));
        assert!(!ConfigSpace::new(6, true).hides(link, 1));
    }

    #[test]
    fn only_masked_bits_are_writable() {
        let mut space = ConfigSpace::new(6, true);
        for at in (0..CONFIG_LEN as u64).step_by(4) {
            space.write(at, &[0xff; 4]);
        }
        assert_eq!(read(&space, 0), 0x1041_1af4);
        assert_eq!(read(&space, 0x10), !0x3fff);
        assert_eq!(read(&space, 0x14), !0xfff);
        assert_eq!(read(&space, 0x18), 0);
        assert_eq!(read(&space, CAP_MSIX), 0xc005_4c11);
        assert!(space.bus_master() && space.memory_enabled() && space.msix_enabled());
        space.reset();
        assert!(!space.bus_master() && !space.memory_enabled() && !space.msix_enabled());
    }

    #[test]
    fn one_bit_resets_the_function() {
        let mut space = ConfigSpace::new(6, true);
        for (offset, data, resets) in [
            (AF_CONTROL, &[1][..], true),
            (AF_CONTROL, &[0xff, 0xff], true),
            (AF_CONTROL - 1, &[0, 1], true),
            (AF_CONTROL - 4, &[0xff; 4], false),
            (AF_CONTROL, &[0xfe], false),
            (AF_CONTROL + 1, &[0xff], false),
            (AF_CONTROL, &[], false),
            (u64::MAX, &[0xff], false),
        ] {
            assert_eq!(space.resets(offset, data), resets, "{offset:#x} {data:?}");
        }
        // It reads as zero, and no transactions are pending.
        space.write(AF_CONTROL, &[0xff; 4]);
        assert_eq!(read(&space, AF_CONTROL as usize), 0);
    }

    #[test]
    fn window_needs_a_valid_setup() {
        let mut space = ConfigSpace::new(6, true);
        let data = PCI_CFG_DATA as u64;
        assert_eq!(space.window(data, 4), None);
        space.write(CAP_PCI_CFG as u64 + 8, &0x14u32.to_le_bytes());
        space.write(CAP_PCI_CFG as u64 + 12, &1u32.to_le_bytes());
        assert_eq!(
            space.window(data, 4),
            Some(Window {
                bar: 0,
                offset: 0x14,
                len: 1
            })
        );
        assert_eq!(space.window(data - 4, 4), None);
        space.write(CAP_PCI_CFG as u64 + 12, &3u32.to_le_bytes());
        assert_eq!(space.window(data, 4), None);
        space.write(CAP_PCI_CFG as u64 + 12, &8u32.to_le_bytes());
        assert_eq!(space.window(data, 8), None);
    }
}
