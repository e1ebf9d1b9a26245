// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A NIC with a hostile guest: registers, rings, buffers, packets from both sides. Whatever it did, the NIC
//! works after a reset.

#![no_main]

use espnic_device::net::NetConfig;
use espnic_device::transport::Region;
use espnic_device::virtio::common::LEN;
use espnic_fuzz::guest::driver::{self, Driver, ADMIN, CTRL, INDIRECT, QUEUE_SIZE, TX, WRITE};
use espnic_fuzz::guest::{config, packets, pump, Rig, MEM_END, MEM_START};
use espnic_fuzz::{sa, Bytes};
use espnic_wire::admin::Reply;
use espnic_wire::ctrl::{CtrlHdr, CLASS_MQ, MQ_HASH_CONFIG, MQ_RSS_CONFIG};
use espnic_wire::feature::{self, mask};
use espnic_wire::hdr::NetHdr48;
use espnic_wire::rss::{HashConfig, RssHead, RssTail, HASH_TYPES, KEY_MAX};
use libfuzzer_sys::fuzz_target;
use zerocopy::IntoBytes as _;

/// Queues of a NIC with two pairs: these, control, events, administration.
const QUEUES: u16 = 7;
/// Most things that one input does.
const STEPS: usize = 60;
/// Where most indirect tables and rubbish are.
const TABLES: u64 = MEM_START + 0x3_0000;

struct Guest {
    driver: Driver,
    peer: Driver,
    /// [`Self::set_up`] was done since the driver's start, which is when its memory is free again.
    is_set_up: bool,
}

fn features(bytes: &mut Bytes<'_>) -> u128 {
    let choice = bytes.u8();
    let mut set = driver::plain();
    for (bit, more) in [
        (1, driver::ipsec()),
        (2, driver::tso()),
        (4, mask(feature::ADMIN_VQ)),
        (8, mask(feature::MQ)),
        (64, driver::receive_filters() | driver::coalescing()),
        (128, mask(feature::RSS) | mask(feature::HASH_REPORT)),
    ] {
        if choice & bit != 0 {
            set |= more;
        }
    }
    if choice & 16 != 0 {
        set &= !mask(feature::EVENT_IDX);
    }
    if choice & 32 != 0 {
        set |= mask(feature::RING_PACKED);
    }
    set
}

/// An address that is in memory, most of the time.
fn address(bytes: &mut Bytes<'_>) -> u64 {
    match bytes.u8() {
        0xff => bytes.u64(),
        0xfe => TABLES,
        0xfd => MEM_END - u64::from(bytes.u8()),
        page => MEM_START + u64::from(page) * 0x1000 + u64::from(bytes.u8()),
    }
}

fn queue(bytes: &mut Bytes<'_>) -> u16 {
    u16::from(bytes.u8()) % QUEUES
}

/// A command that says how packets are hashed and spread, with something wrong in it, or nothing.
fn scaling_command(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (types, entries) = (HASH_TYPES & u32::from(bytes.u8()), 1 << (bytes.u8() % 8));
    let key_len = bytes.u8() % (KEY_MAX as u8 + 2);
    let mut command = match bytes.u8() % 2 {
        0 => {
            let head = RssHead {
                hash_types: types.into(),
                table_mask: (entries - 1).into(),
                unclassified: u16::from(bytes.u8() & 1).into(),
            };
            let tail = RssTail {
                max_tx_vq: u16::from(bytes.u8() % 4).into(),
                key_len,
            };
            let table = (0..entries).flat_map(|_| u16::from(bytes.u8() & 1).to_le_bytes());
            let table: Vec<u8> = table.collect();
            let parts = [head.as_bytes(), &table, tail.as_bytes()];
            [&[CLASS_MQ, MQ_RSS_CONFIG][..], &parts.concat()].concat()
        }
        _ => {
            let config = HashConfig {
                hash_types: types.into(),
                key_len,
                ..HashConfig::default()
            };
            [&[CLASS_MQ, MQ_HASH_CONFIG][..], config.as_bytes()].concat()
        }
    };
    command.extend((0..key_len).map(|byte| byte.wrapping_mul(37)));
    sa::patch(bytes, &mut command);
    command
}

impl Guest {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let mut rig = Rig::default();
        let two = NetConfig {
            pairs: 2,
            ..config(1)
        };
        let (mut driver, mut peer) = (rig.nic(two), rig.nic(config(2)));
        driver.start_queues(features(bytes), QUEUES);
        peer.start(driver::plain());
        Self {
            driver,
            peer,
            is_set_up: false,
        }
    }

    fn descriptor(&mut self, bytes: &mut Bytes<'_>) {
        let table = match bytes.u8() {
            0xff => TABLES,
            queue => self.driver.rings[usize::from(queue) % usize::from(QUEUES)].desc(),
        };
        let (index, flags) = (u16::from(bytes.u8()) % QUEUE_SIZE, bytes.u8().into());
        let len = match bytes.u8() {
            0xff => bytes.u32(),
            len => u32::from(len) * 16,
        };
        let address = address(bytes);
        self.driver
            .desc(table, index, address, len, flags, bytes.u8().into());
    }

    /// Puts bytes into a chain as a driver with good manners would, followed by room for an answer.
    fn chain(&mut self, queue: u16, data: &[u8], room: u32, indirect: bool) {
        let (at, answer) = (
            self.driver.buffer(data.len() as u32),
            self.driver.buffer(room),
        );
        self.driver.put(at, data);
        let parts = [(at, data.len() as u32, 0), (answer, room, WRITE)];
        let used: Vec<_> = parts.into_iter().filter(|part| part.1 > 0).collect();
        if !indirect {
            self.driver.chain(queue, &used);
        } else {
            let table = self.driver.buffer(32);
            for (index, &(at, len, flags)) in used.iter().enumerate() {
                let (index, more) = (index as u16, u16::from(index + 1 < used.len()));
                self.driver
                    .desc(table, index, at, len, flags | more, index + 1);
            }
            let whole = (table, 16 * used.len() as u32, INDIRECT);
            self.driver.chain(queue, &[whole]);
        }
        self.kick(queue);
    }

    fn kick(&mut self, queue: u16) {
        self.driver.notify(queue);
        pump(self.driver.nic());
    }

    /// With or without `MQ` or `RSS` the control queue is another one.
    fn control(&self) -> u16 {
        if self.driver.features & (mask(feature::MQ) | mask(feature::RSS)) != 0 {
            4
        } else {
            CTRL
        }
    }

    fn send(&mut self, bytes: &mut Bytes<'_>) {
        let (hdr, frame) = match bytes.u8() % 4 {
            0 => sa::packet(bytes),
            1 => {
                let mut hdr = NetHdr48::default();
                sa::patch(bytes, hdr.as_mut_bytes());
                (hdr, packets::tcp_partial(bytes.u8() & 1 != 0, 7, 3000))
            }
            _ => {
                let mut hdr = NetHdr48::default();
                sa::patch(bytes, hdr.as_mut_bytes());
                (hdr, bytes.slice().to_vec())
            }
        };
        let mut data = hdr.prefix(self.driver.hdr_len()).to_vec();
        data.extend(frame);
        let queue = bytes.choose(&[TX, TX, 3]);
        self.chain(queue, &data, 0, bytes.u8() & 1 != 0);
    }

    fn command(&mut self, bytes: &mut Bytes<'_>) {
        let command = match bytes.u8() % 8 {
            0 | 4 => bytes.slice().to_vec(),
            1 | 5 => sa::filter_command(bytes),
            7 => {
                let command = scaling_command(bytes);
                return self.chain(self.control(), &command, 1, false);
            }
            _ => sa::object_command(bytes),
        };
        let (queue, framed) = match bytes.u8() % 4 {
            0 => (bytes.choose(&[ADMIN, 6]), command),
            // The other classes of the control queue.
            3 => (self.control(), command),
            _ => (
                self.control(),
                [CtrlHdr::X_ADMIN.as_bytes(), &command].concat(),
            ),
        };
        self.chain(queue, &framed, 600, false);
    }

    /// The driver's first commands, in the control queue.
    fn set_up(&mut self) {
        self.is_set_up = true;
        let queue = self.control();
        let mut execute = |command: &[u8]| {
            let framed = [CtrlHdr::X_ADMIN.as_bytes(), command].concat();
            let answer = self.driver.buffer(0);
            self.chain(queue, &framed, 1100, false);
            let answer = answer + (framed.len() as u64).next_multiple_of(8);
            let answer = self.driver.get(answer + 1, 1099);
            Reply::parse(&answer).map_or_else(|_| Vec::new(), |reply| reply.result.to_vec())
        };
        sa::set_up(&mut execute);
        sa::make_rules(&mut execute);
    }

    fn registers(&mut self, bytes: &mut Bytes<'_>) {
        let (offset, width) = (u64::from(bytes.u8()), 1 << (bytes.u8() % 4));
        match bytes.u8() % 8 {
            0 => {
                self.driver.read(offset * 16, width);
            }
            1 => {
                let value = bytes.u64().to_le_bytes();
                let function = &mut self.driver.function;
                function.write(Region::Config, offset, &value[..width]);
            }
            2 => {
                let mut value = [0; 8];
                let function = &mut self.driver.function;
                function.read(Region::Config, offset, &mut value[..width]);
            }
            _ => {
                let value = bytes.u64();
                self.driver.write(offset % LEN as u64, value, width);
            }
        }
        pump(self.driver.nic());
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.u8() % 14 {
            0..=2 => self.descriptor(bytes),
            3 | 4 => {
                let (queue, head) = (queue(bytes), u16::from(bytes.u8() % 18));
                self.driver.offer(queue, head);
                self.kick(queue);
            }
            5 => {
                let at = TABLES + u64::from(bytes.u16()) % 0x1_0000;
                let data = bytes.slice();
                self.driver.put(at, &data[..data.len().min(0x1000)]);
            }
            6 | 7 => self.registers(bytes),
            8 | 9 => self.send(bytes),
            10 => self.command(bytes),
            11 => match bytes.u8() % 4 {
                0 => {
                    // It may have switched the registers off in the configuration space.
                    self.driver.power_on();
                    self.driver.start_queues(features(bytes), QUEUES);
                    self.is_set_up = false;
                }
                _ if !self.is_set_up => self.set_up(),
                _ => (),
            },
            12 => {
                let queue = bytes.choose(&[0, 0, 2]);
                self.chain(queue, &[], u32::from(bytes.u16() % 2000), false);
            }
            _ => self.peer_sends(bytes),
        }
    }

    fn peer_sends(&mut self, bytes: &mut Bytes<'_>) {
        let frame = match bytes.u8() % 3 {
            0 => bytes.slice().to_vec(),
            1 => packets::esp(0x1001, bytes.u8().into()),
            _ => sa::packet(bytes).1,
        };
        if (14..=1514).contains(&frame.len()) {
            self.peer.send(&NetHdr48::default(), &frame);
        }
        pump(self.driver.nic());
    }

    /// The NIC must work again for a driver that starts from the beginning.
    fn recover(&mut self) {
        self.driver.power_on();
        self.driver.start(driver::plain());
        pump(self.driver.nic());
        self.driver.post_rx(1600);
        self.peer.send(&NetHdr48::default(), &packets::udp(60));
        let received = self.driver.receive().map(|(_, frame)| frame);
        assert_eq!(received, Some(packets::udp(60)));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let mut guest = Guest::new(&mut bytes);
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        guest.step(&mut bytes);
    }
    guest.recover();
});
