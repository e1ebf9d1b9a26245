// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's side: registers and rings.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use espnic_device::function::NicFunction;
use espnic_device::nic::Nic;
use espnic_device::pci;
use espnic_device::testing;
use espnic_device::transport::{Function, Region};
use espnic_device::virtio::common::reg;
use espnic_device::virtio::status;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{HdrLen, NetHdr48};
use vm_memory::{Bytes, GuestAddress};

use super::{pump, Memory, MAP_BORDER, MEM_END, MEM_START};

// No test uses all of them.
#[allow(unused_imports)]
pub use super::features::{coalescing, ipsec, large_receive, plain, receive_filters, tso};
pub use super::ring::{Lent, Notice, Ring};

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const RX: u16 = 0;
pub const TX: u16 = 1;
pub const CTRL: u16 = 2;
/// Of a NIC with one pair.
pub const EVENT: u16 = 3;
/// Of a NIC with one pair that offers the extension.
pub const ADMIN: u16 = 4;

pub const QUEUE_SIZE: u16 = 16;
/// How long a NIC of another process may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Every queue has this much room for its rings.
const RING_ROOM: u64 = 0x4000;
/// Queues of a NIC with as many pairs as there can be.
const MAX_RINGS: u64 = 19;
/// Buffers are taken from here on.
const BUFFERS: u64 = MEM_START + 0x5_0000;
const BUFFERS_END: u64 = MAP_BORDER + 0x10_0000;

pub struct Driver {
    /// The NIC, if it is in this process; else its own threads work.
    nic: Option<Arc<Nic>>,
    pub function: Box<dyn Function>,
    pub memory: Memory,
    pub rings: Vec<Ring>,
    /// The chains of packed rings that the device has.
    pub lent: Vec<Lent>,
    /// Interrupt receivers: every signal writes eight bytes.
    pub vectors: Vec<UnixStream>,
    pub features: u128,
    /// How long to wait for a NIC of another process.
    pub patience: Duration,
    next_buffer: u64,
    rx_buffers: Vec<RxBuffer>,
}

/// A buffer in an RX queue.
struct RxBuffer {
    queue: u16,
    head: u16,
    address: u64,
}

impl Driver {
    /// Drives a NIC of this process.
    pub fn local(nic: Arc<Nic>) -> Self {
        let function = Box::new(NicFunction::new(nic.clone()));
        Self::new(Some(nic), function)
    }

    /// Drives a NIC of another process.
    pub fn remote(function: Box<dyn Function>) -> Self {
        Self::new(None, function)
    }

    fn new(nic: Option<Arc<Nic>>, function: Box<dyn Function>) -> Self {
        let ring = |index: u64| Ring::new(MEM_START + index * RING_ROOM, QUEUE_SIZE);
        let mut driver = Self {
            nic,
            function,
            memory: Memory::new(),
            rings: (0..MAX_RINGS).map(ring).collect(),
            lent: Vec::new(),
            vectors: Vec::new(),
            features: 0,
            patience: PATIENCE,
            next_buffer: BUFFERS,
            rx_buffers: Vec::new(),
        };
        driver.memory.attach(&mut *driver.function);
        driver.power_on();
        driver
    }

    pub fn nic(&self) -> &Arc<Nic> {
        self.nic.as_ref().expect("the NIC is in another process")
    }

    /// Whether the NIC is in this process.
    pub fn is_local(&self) -> bool {
        self.nic.is_some()
    }

    /// Lets a NIC of this process work; one elsewhere does by itself.
    fn settle(&self) {
        if let Some(nic) = &self.nic {
            pump(nic);
        }
    }

    /// What firmware and the PCI core do: memory, bus mastering, MSI-X.
    pub fn power_on(&mut self) {
        self.function.write(Region::Config, 4, &6u16.to_le_bytes());
        self.function
            .write(Region::Config, 0x42, &0x8005u16.to_le_bytes());
        self.vectors.clear();
        for vector in 0..self.function.vectors() {
            let (receiver, sender) = UnixStream::pair().unwrap();
            receiver.set_nonblocking(true).unwrap();
            self.vectors.push(receiver);
            self.function
                .set_vector(vector.into(), Some(OwnedFd::from(sender).into()));
        }
    }

    pub fn read(&mut self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.function.read(Region::Bar(0), offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    pub fn write(&mut self, offset: u64, value: u64, len: usize) {
        self.function
            .write(Region::Bar(0), offset, &value.to_le_bytes()[..len]);
    }

    pub fn status(&mut self) -> u8 {
        self.read(reg::STATUS, 1) as u8
    }

    pub fn set_status(&mut self, bits: u8) -> u8 {
        let value = self.status() | bits;
        self.write(reg::STATUS, value.into(), 1);
        self.status()
    }

    pub fn reset(&mut self) {
        self.write(reg::STATUS, 0, 1);
        assert_eq!(self.status(), 0);
        for ring in &mut self.rings {
            *ring = Ring::new(ring.base, QUEUE_SIZE);
        }
        self.next_buffer = BUFFERS;
        self.lent.clear();
        self.rx_buffers.clear();
    }

    pub fn offered(&mut self) -> u128 {
        (0..4).fold(0, |set, select| {
            self.write(reg::DEVICE_FEATURE_SELECT, select, 4);
            set | (u128::from(self.read(reg::DEVICE_FEATURE, 4)) << (32 * select))
        })
    }

    /// Reset to `FEATURES_OK`; `false` if the device refuses.
    pub fn negotiate(&mut self, features: u128) -> bool {
        self.reset();
        self.set_status(status::ACKNOWLEDGE);
        self.set_status(status::DRIVER);
        self.write_features(features);
        self.features = features;
        self.set_status(status::FEATURES_OK) & status::FEATURES_OK != 0
    }

    pub fn write_features(&mut self, features: u128) {
        for select in 0..4 {
            self.write(reg::DRIVER_FEATURE_SELECT, select, 4);
            self.write(
                reg::DRIVER_FEATURE,
                (features >> (32 * select)) as u32 as u64,
                4,
            );
        }
    }

    pub fn select(&mut self, queue: u16) {
        self.write(reg::QUEUE_SELECT, queue.into(), 2);
    }

    /// Sets up and enables a queue; its vector is its index + 1.
    pub fn enable(&mut self, queue: u16) {
        let ring = self.rings[usize::from(queue)];
        self.memory
            .view
            .write_slice(&vec![0; RING_ROOM as usize], GuestAddress(ring.base))
            .unwrap();
        self.lent.retain(|lent| lent.queue != queue);
        if self.features & mask(feature::EVENT_IDX) != 0 {
            self.want_interrupts(queue, &Notice::At(0));
        }
        self.select(queue);
        self.write(reg::QUEUE_SIZE, ring.size.into(), 2);
        self.write(reg::QUEUE_VECTOR, u64::from(queue) + 1, 2);
        for (register, area) in [
            (reg::QUEUE_DESC, ring.desc()),
            (reg::QUEUE_DRIVER, ring.avail()),
            (reg::QUEUE_DEVICE, ring.used()),
        ] {
            self.write(register, area & 0xffff_ffff, 4);
            self.write(register + 4, area >> 32, 4);
        }
        self.write(reg::QUEUE_ENABLE, 1, 2);
        assert_eq!(self.read(reg::QUEUE_ENABLE, 2), 1, "queue {queue}");
    }

    /// Tries to enable a queue whose rings are outside memory.
    pub fn enable_nowhere(&mut self, queue: u16) {
        self.select(queue);
        self.write(reg::QUEUE_DESC, MEM_END, 8);
        self.write(reg::QUEUE_ENABLE, 1, 2);
    }

    /// From reset to `DRIVER_OK`.
    pub fn start(&mut self, features: u128) {
        let admin = features & mask(feature::ADMIN_VQ) != 0;
        let queues = [RX, TX, CTRL].into_iter().chain(admin.then_some(ADMIN));
        self.start_with(features, queues);
    }

    /// The same with the first queues, as far as they are there.
    pub fn start_queues(&mut self, features: u128, count: u16) {
        self.start_with(features, 0..count);
    }

    /// The same with these queues, as far as they are there.
    pub fn start_with(&mut self, features: u128, queues: impl IntoIterator<Item = u16>) {
        assert!(self.negotiate(features));
        self.write(reg::CONFIG_VECTOR, 0, 2);
        for queue in queues {
            self.select(queue);
            if self.read(reg::QUEUE_SIZE, 2) != 0 {
                self.enable(queue);
            }
        }
        self.set_status(status::DRIVER_OK);
        self.clear_events();
    }

    pub fn clear_events(&mut self) {
        for vector in 0..self.vectors.len() as u16 {
            self.events(vector);
        }
    }

    /// Interrupts of `vector` since the last look.
    pub fn events(&self, vector: u16) -> u64 {
        let mut receiver = &self.vectors[usize::from(vector)];
        let mut count = 0;
        while receiver.read_exact(&mut [0; 8]).is_ok() {
            count += 1;
        }
        count
    }

    pub fn buffer(&mut self, len: u32) -> u64 {
        let address = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(8);
        assert!(self.next_buffer <= BUFFERS_END, "out of test memory");
        address
    }

    pub fn put(&self, address: u64, data: &[u8]) {
        self.memory
            .view
            .write_slice(data, GuestAddress(address))
            .unwrap();
    }

    pub fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory
            .view
            .read_slice(&mut data, GuestAddress(address))
            .unwrap();
        data
    }

    pub fn get16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.get(address, 2).try_into().unwrap())
    }

    pub fn notify(&mut self, queue: u16) {
        let offset = pci::NOTIFY + u64::from(queue) * pci::NOTIFY_MULTIPLIER;
        self.write(offset, queue.into(), 2);
    }

    pub fn kick(&mut self, queue: u16) {
        self.notify(queue);
        self.settle();
    }

    pub fn hdr_len(&self) -> HdrLen {
        HdrLen::of(self.features)
    }

    /// Puts header and frame into one chain of the TX queue and waits until it is used.
    pub fn send(&mut self, hdr: &NetHdr48, frame: &[u8]) {
        self.send_on(TX, hdr, frame);
    }

    /// The same in another queue.
    pub fn send_on(&mut self, queue: u16, hdr: &NetHdr48, frame: &[u8]) {
        let hdr = hdr.prefix(self.hdr_len()).to_vec();
        let (at, data) = (
            self.buffer(hdr.len() as u32),
            self.buffer(frame.len() as u32),
        );
        self.put(at, &hdr);
        self.put(data, frame);
        let head = self.chain(
            queue,
            &[(at, hdr.len() as u32, 0), (data, frame.len() as u32, 0)],
        );
        self.kick(queue);
        assert_eq!(self.next_used(queue), Some((head, 0)));
    }

    pub fn post_rx(&mut self, len: u32) {
        self.post_rx_on(RX, len);
    }

    pub fn post_rx_on(&mut self, queue: u16, len: u32) {
        let address = self.buffer(len);
        let head = self.chain(queue, &[(address, len, WRITE)]);
        self.rx_buffers.push(RxBuffer {
            queue,
            head,
            address,
        });
    }

    /// How many buffers of an RX queue the device has.
    pub fn waiting_buffers(&self, queue: u16) -> usize {
        let buffers = self.rx_buffers.iter();
        buffers.filter(|buffer| buffer.queue == queue).count()
    }

    pub fn post_rx_at(&mut self, address: u64, len: u32) {
        let head = self.chain(RX, &[(address, len, WRITE)]);
        self.rx_buffers.push(RxBuffer {
            queue: RX,
            head,
            address,
        });
    }

    /// The next received frame and its header.
    pub fn receive(&mut self) -> Option<(NetHdr48, Vec<u8>)> {
        self.receive_on(RX)
    }

    /// The same from another queue.
    pub fn receive_on(&mut self, queue: u16) -> Option<(NetHdr48, Vec<u8>)> {
        self.settle();
        let hdr_len = self.hdr_len();
        let first = self.used_buffer(queue)?;
        let hdr = NetHdr48::read(&first, hdr_len).unwrap();
        let mut frame = first[hdr_len.bytes()..].to_vec();
        for _ in 1..hdr.net.num_buffers.get() {
            frame.extend(
                self.used_buffer(queue)
                    .expect("all buffers of a frame are used together"),
            );
        }
        Some((hdr, frame))
    }

    fn used_buffer(&mut self, queue: u16) -> Option<Vec<u8>> {
        let (id, len) = self.next_used(queue)?;
        let at = self
            .rx_buffers
            .iter()
            .position(|buffer| (buffer.queue, buffer.head) == (queue, id))
            .unwrap();
        let address = self.rx_buffers.remove(at).address;
        Some(self.get(address, len as usize))
    }

    /// Sends a request on the control or administration queue; the reply as far as it was written.
    pub fn request(&mut self, queue: u16, readable: &[u8], writable: u32) -> Vec<u8> {
        let free = self.next_buffer;
        let (request, reply) = (self.buffer(readable.len() as u32), self.buffer(writable));
        self.put(request, readable);
        let mut parts = Vec::new();
        if !readable.is_empty() {
            parts.push((request, readable.len() as u32, 0));
        }
        if writable > 0 {
            parts.push((reply, writable, WRITE));
        }
        self.chain(queue, &parts);
        self.kick(queue);
        let (_, len) = self.next_used(queue).expect("every request is answered");
        // Nobody uses the buffers any more.
        self.next_buffer = free;
        self.get(reply, len as usize)
    }

    /// The counter with this name. Those of the port have the prefix `port.`.
    pub fn counter(&self, name: &str) -> u64 {
        testing::counter(self.nic(), name).expect(name)
    }
}
