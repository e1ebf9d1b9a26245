// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver with several queue pairs that are all in use, and SAs that are used from all queues.

use std::time::Duration;

use espnic_device::net::NetConfig;
use espnic_device::testing::{self, GENERATION};
use espnic_wire::admin::{Command, Reply};
use espnic_wire::ctrl;
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_OUTB_SA};
use zerocopy::IntoBytes;

use super::driver::{self, Driver, QUEUE_SIZE, WRITE};
use super::{config, packets, sas};

pub const PAIRS: u16 = 4;
pub const CTRL: u16 = 2 * PAIRS;
/// Room for a frame.
const ROOM: u32 = 512;
/// Where a frame has its number, behind Ethernet, IPv4 and TCP.
pub const NUMBER: usize = 54;

pub fn features() -> u128 {
    driver::ipsec() | driver::tso() | mask(feature::MQ)
}

/// The workers of the first NIC look for work before they sleep, those of the second do not.
pub fn wide(last: u8) -> NetConfig {
    NetConfig {
        pairs: PAIRS,
        poll: match last {
            1 => Duration::from_millis(1),
            _ => Duration::ZERO,
        },
        ..config(last)
    }
}

pub fn execute(driver: &Driver, command: Command<'_>) -> Result<Vec<u8>, u16> {
    let mut answer = vec![0; 8192];
    let written = driver
        .nic()
        .administer(&testing::bytes(command), &mut answer);
    match Reply::parse(&answer[..written]) {
        Ok(reply) if reply.status == 0 => Ok(reply.result.to_vec()),
        _ => Err(u16::from_le_bytes([answer[0], answer[1]])),
    }
}

/// SAs of the standard, one for each pair.
pub fn object(obj_type: u16, id: u16) -> SaObject {
    let mut object = sas::tunnel(obj_type);
    object.base.spi = (0x2000 + u32::from(id)).into();
    object
}

pub fn add_sas(driver: &Driver, obj_type: u16) {
    testing::set_up(|command| execute(driver, command)).unwrap();
    for id in 0..PAIRS {
        let object = object(obj_type, id);
        let create = Command::ObjCreate {
            obj_type,
            id: id.into(),
            object: object.as_bytes(),
        };
        execute(driver, create).unwrap();
    }
}

/// The header of a frame of this flow, and the frame. The SAs are used from all queues.
pub fn frame(flow: u16, number: u32, protected: bool) -> (NetHdr48, Vec<u8>) {
    let mut frame = packets::tcp_partial(false, 1000 + flow, 60);
    frame[NUMBER..NUMBER + 4].copy_from_slice(&number.to_be_bytes());
    let mut hdr = NetHdr48::default();
    if protected {
        hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
        hdr.out.resource_id = u32::from(flow % PAIRS).into();
        hdr.out.resource_type = OBJ_OUTB_SA.into();
        hdr.sec.generation = GENERATION.into();
    }
    (hdr, frame)
}

/// A driver whose queues all have buffers of their own, which are used in turn.
pub struct Busy {
    pub driver: Driver,
    /// Of the first buffer.
    buffers: u64,
}

impl Busy {
    pub fn new(mut driver: Driver) -> Self {
        driver.start_queues(features(), CTRL + 1);
        let buffers = driver.buffer(u32::from(2 * PAIRS * QUEUE_SIZE) * ROOM);
        let mut busy = Self { driver, buffers };
        assert_eq!(busy.set_pairs(PAIRS), [ctrl::OK]);
        busy.fill();
        busy
    }

    fn buffer(&self, queue: u16, slot: u16) -> u64 {
        self.buffers + u64::from(queue * QUEUE_SIZE + slot) * u64::from(ROOM)
    }

    pub fn set_pairs(&mut self, pairs: u16) -> Vec<u8> {
        let [lo, hi] = pairs.to_le_bytes();
        let request = [ctrl::CLASS_MQ, ctrl::MQ_VQ_PAIRS_SET, lo, hi];
        self.driver.request(CTRL, &request, 1)
    }

    /// Gives all receive buffers.
    pub fn fill(&mut self) {
        (0..PAIRS).for_each(|pair| self.fill_queue(2 * pair));
    }

    pub fn fill_queue(&mut self, queue: u16) {
        for slot in 0..QUEUE_SIZE {
            self.give(queue, slot);
        }
        self.driver.notify(queue);
    }

    /// Gives a buffer to a queue, which has it at this place.
    pub fn give(&mut self, queue: u16, slot: u16) {
        let at = self.buffer(queue, slot);
        assert_eq!(self.driver.chain(queue, &[(at, ROOM, WRITE)]), slot);
    }

    /// Resets the device and starts it again, as a driver that forgets everything.
    pub fn restart(&mut self) {
        self.driver.start_queues(features(), CTRL + 1);
        // All but those that the test has anyway.
        self.buffers = self.driver.buffer(u32::from(2 * PAIRS * QUEUE_SIZE) * ROOM);
        assert_eq!(self.set_pairs(PAIRS), [ctrl::OK]);
        self.fill();
    }

    /// Sends if the queue has room.
    pub fn send(&mut self, pair: u16, hdr: &NetHdr48, frame: &[u8]) -> bool {
        let queue = 2 * pair + 1;
        while self.driver.next_entry(queue).is_some() {}
        let ring = self.driver.rings[usize::from(queue)];
        if ring.avail_idx.wrapping_sub(ring.used_seen) >= QUEUE_SIZE {
            return false;
        }
        let slot = ring.avail_idx % QUEUE_SIZE;
        let bytes = [hdr.prefix(self.driver.hdr_len()), frame].concat();
        let at = self.buffer(queue, slot);
        self.driver.put(at, &bytes);
        let len = bytes.len() as u32;
        assert_eq!(self.driver.chain(queue, &[(at, len, 0)]), slot);
        self.driver.notify(queue);
        true
    }

    /// The next frame that a queue has received; its buffer is given again.
    pub fn take(&mut self, pair: u16) -> Option<Vec<u8>> {
        let queue = 2 * pair;
        let (head, len) = self.driver.next_used(queue)?;
        let bytes = self.driver.get(self.buffer(queue, head), len as usize);
        self.give(queue, head);
        self.driver.notify(queue);
        Some(bytes[self.driver.hdr_len().bytes()..].to_vec())
    }
}
