// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest without a virtual machine: its memory, and the registers of its NIC.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use espnic_device::function::NicFunction;
use espnic_device::nic::Nic;
use espnic_device::pci;
use espnic_device::testing;
use espnic_device::transport::{Function, Region};
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_wire::admin::{Command, Reply};
use espnic_wire::feature::{self, mask};
use espnic_wire::sa;
use espnic_wire::tunnel::Tunnel;
use zerocopy::IntoBytes;

use crate::memory::Memory;
use crate::packets;

/// The queues of the first pair.
pub const RX: u16 = 0;
pub const TX: u16 = 1;

/// The outer header of tunnels.
const OUTER: Tunnel = Tunnel::V4 {
    src: [10, 0, 0, 1],
    dst: [10, 0, 0, 2],
    dscp: 0,
    df: true,
    ttl: 64,
};

/// A guest and its NIC.
pub struct Guest {
    pub memory: Memory,
    pub nic: Arc<Nic>,
    function: NicFunction,
    /// The other ends of the interrupts.
    vectors: Vec<UnixStream>,
}

impl Guest {
    /// Powers a guest on that drives `nic` with these features.
    pub fn new(nic: Arc<Nic>, features: u128) -> Result<Self, String> {
        let mut guest = Self {
            memory: Memory::new(features & mask(feature::RING_PACKED) != 0)?,
            function: NicFunction::new(nic.clone()),
            nic,
            vectors: Vec::new(),
        };
        for map in guest.memory.maps() {
            guest.function.dma_map(map);
        }
        guest.power_on().map_err(|error| error.to_string())?;
        guest.start(features)?;
        Ok(guest)
    }

    /// What firmware and the PCI core do: bus mastering and MSI-X.
    fn power_on(&mut self) -> std::io::Result<()> {
        self.function.write(Region::Config, 4, &6u16.to_le_bytes());
        let msix = 0x8005u16.to_le_bytes();
        self.function.write(Region::Config, 0x42, &msix);
        for vector in 0..self.function.vectors() {
            let (receiver, sender) = UnixStream::pair()?;
            receiver.set_nonblocking(true)?;
            sender.set_nonblocking(true)?;
            self.vectors.push(receiver);
            let sender = File::from(OwnedFd::from(sender));
            self.function.set_vector(vector.into(), Some(sender));
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, value: u64, len: usize) {
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..len).unwrap_or(&bytes);
        self.function.write(Region::Bar(0), offset, bytes);
    }

    /// Takes the interrupts of a queue that have come. There is no room for very many.
    pub fn take_interrupts(&self, queue: u16) {
        let receiver = self.vectors.get(usize::from(queue) + 1);
        let some =
            |mut receiver: &UnixStream| receiver.read(&mut [0; 1024]).is_ok_and(|len| len > 0);
        while receiver.is_some_and(some) {}
    }

    /// Rings the doorbell of a queue.
    pub fn notify(&mut self, queue: u16) {
        let offset = pci::NOTIFY + u64::from(queue) * pci::NOTIFY_MULTIPLIER;
        self.write(offset, queue.into(), 2);
    }

    fn set_status(&mut self, value: u8) -> Result<(), String> {
        self.write(reg::STATUS, value.into(), 1);
        let mut data = [0; 1];
        self.function.read(Region::Bar(0), reg::STATUS, &mut data);
        match data {
            [status] if status == value => Ok(()),
            [status] => Err(format!("the NIC's status is {status:#x}, not {value:#x}")),
        }
    }

    /// What a driver does (VIRTIO 1.4, 3.1.1).
    fn start(&mut self, features: u128) -> Result<(), String> {
        let mut steps = 0;
        for step in [0, status::ACKNOWLEDGE, status::DRIVER] {
            steps |= step;
            self.set_status(steps)?;
        }
        for select in 0..4u64 {
            self.write(reg::DRIVER_FEATURE_SELECT, select, 4);
            let word = (features >> (32 * select)) as u32;
            self.write(reg::DRIVER_FEATURE, word.into(), 4);
        }
        steps |= status::FEATURES_OK;
        self.set_status(steps)?;
        for queue in 0..2 * self.nic.config.pairs {
            let setup = self.memory.setup(queue);
            self.write(reg::QUEUE_SELECT, queue.into(), 2);
            self.write(reg::QUEUE_SIZE, setup.size.into(), 2);
            self.write(reg::QUEUE_VECTOR, u64::from(queue) + 1, 2);
            self.write(reg::QUEUE_DESC, setup.desc, 8);
            self.write(reg::QUEUE_DRIVER, setup.driver, 8);
            self.write(reg::QUEUE_DEVICE, setup.device, 8);
            self.write(reg::QUEUE_ENABLE, 1, 2);
        }
        self.set_status(steps | status::DRIVER_OK)
    }

    /// Adds an SA for each direction, with the key of the other's, and for each queue pair an outbound one of the
    /// standard.
    pub fn add_sas(&self) -> Result<(), String> {
        let execute = |command: Command<'_>| {
            let mut answer = vec![0; 8192];
            let written = self.nic.administer(&testing::bytes(command), &mut answer);
            match answer.get(..written).map(Reply::parse) {
                Some(Ok(reply)) if reply.status == 0 => Ok(reply.result.to_vec()),
                Some(Ok(reply)) => Err(format!("a command is refused: status {}", reply.status)),
                _ => Err("a command is not answered".to_owned()),
            }
        };
        testing::set_up(execute)?;
        for obj_type in [sa::OBJ_OUTB_SA, sa::OBJ_INB_SA] {
            let object = testing::object(obj_type);
            let object = object.as_bytes();
            execute(Command::ObjCreate {
                obj_type,
                id: 0,
                object,
            })?;
        }
        for pair in 0..self.nic.config.pairs {
            execute(Command::ObjCreate {
                obj_type: sa::OBJ_OUTB_SA,
                id: packets::standard_sa(pair),
                object: testing::tunnel(sa::OBJ_OUTB_SA, &OUTER).as_bytes(),
            })?;
        }
        Ok(())
    }
}
