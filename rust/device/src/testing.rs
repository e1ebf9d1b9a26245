// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver does for IPsec, without a driver: its first commands, an SA for each direction, and
//! packets for them.
//!
//! Unit tests, integration tests, fuzz targets and the benchmark of the engine share it; the NIC itself
//! does not use it. Everything here is good: a test that wants something bad changes what it gets.

pub mod filter;

use crate::admin::{Admin, Table};
use crate::control::stats::NicStats;
use crate::ipsec::{Ipsec, IpsecConfig};
use crate::nic::Nic;
use espnic_esp::checksum::complete_ipv4;
use espnic_wire::admin::{Command, Reply, OPS_ALL};
use espnic_wire::cap;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{self, SaObject, SaTail, OBJ_OUTB_SA};
use espnic_wire::tunnel::Tunnel;
use std::ops::Deref;
use zerocopy::{FromZeros, IntoBytes};

/// The SPI of [`object`] and of [`frame`].
pub const SPI: u32 = 0x1001;
/// The generation of [`object`] and of [`frame`].
pub const GENERATION: u16 = 7;
/// Offset of the IP header in [`frame`].
const IP: usize = 14;
/// Offset of the ESP header in [`frame`]: Ethernet and IPv4.
pub const ESP: usize = 34;
/// Length of the ICV of [`object`].
pub const ICV: usize = 16;
/// The capabilities that a driver takes before its first SA.
const CAPABILITIES: [u16; 3] = [cap::IPSEC_RESOURCE, cap::IPSEC_SA, cap::X_IPSEC_SA];
/// Room for any command, and for any answer.
const ROOM: usize = 8192;

/// The bytes of a command.
///
/// # Panics
///
/// If it is longer than any command may be.
#[allow(clippy::expect_used)]
pub fn bytes(command: Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; ROOM];
    let len = command.write(&mut bytes).expect("a command that fits");
    bytes.truncate(len);
    bytes
}

/// Executes, by `execute`, what a driver does before its first SA: it takes everything that is offered.
///
/// # Errors
///
/// The first one of `execute`, which otherwise returns the result of the command.
pub fn set_up<E>(mut execute: impl FnMut(Command<'_>) -> Result<Vec<u8>, E>) -> Result<(), E> {
    execute(Command::ListUse(&OPS_ALL.to_le_bytes()))?;
    for id in CAPABILITIES {
        let data = execute(Command::DeviceCapGet(id))?;
        execute(Command::DriverCapSet { id, data: &data })?;
    }
    Ok(())
}

/// A crypto-only SA with AES-GCM-128, IPv4 to 10.0.0.2. Sender and receiver have the same key.
pub fn object(obj_type: u16) -> SaObject {
    let mut object = SaObject::new_zeroed();
    object.base.mode = cap::MODE_ESP_TRANSPORT;
    object.base.spi = SPI.into();
    object.base.salt = [9, 8, 7, 6];
    object.base.cipher_key.length = 16.into();
    object.base.cipher_key.data[..16].fill(0x42);
    object.tail.tail_len = SaTail::LEN.into();
    object.tail.aead_algo = cap::AEAD_GCM.into();
    object.tail.icv_len = ICV as u8;
    object.tail.generation = GENERATION.into();
    let mut flags = sa::TAIL_CRYPTO_ONLY | sa::TAIL_DELIVER_ERR;
    if obj_type == OBJ_OUTB_SA {
        object.base.direction = sa::DIR_OUT;
        object.tail.iv_mode = sa::IV_SEQ_XOR;
        object.tail.iv_xor = 0x0102_0304_0506_0708.into();
    } else {
        object.base.direction = sa::DIR_IN;
        flags |= sa::TAIL_MATCH_ADDR;
        object.tail.family = 4;
        object.tail.dst[..4].copy_from_slice(&[10, 0, 0, 2]);
    }
    object.tail.tail_flags = flags.into();
    object
}

/// An SA of the standard with the same key, for a tunnel with this outer header.
pub fn tunnel(obj_type: u16, outer: &Tunnel) -> SaObject {
    let mut object = object(obj_type);
    let flags = object.tail.tail_flags.get() & !(sa::TAIL_CRYPTO_ONLY | sa::TAIL_DELIVER_ERR);
    object.tail.tail_flags = flags.into();
    object.base.mode = cap::MODE_ESP_TUNNEL;
    if obj_type == OBJ_OUTB_SA {
        outer.put(&mut object.base);
    }
    object
}

/// The header of a packet for the outbound SA `id`, which is one of [`object`]; `trailer_len` counts
/// padding, pad length, next header and ICV.
pub fn hdr(id: u32, trailer_len: usize) -> NetHdr48 {
    let mut hdr = NetHdr48::default();
    hdr.net.flags = hdr::F_SECURITY | hdr::F_X_SEC;
    hdr.out.resource_id = id.into();
    hdr.out.resource_type = OBJ_OUTB_SA.into();
    hdr.sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    hdr.sec.esp_offset = (ESP as u16).into();
    hdr.sec.trailer_len = (trailer_len as u16).into();
    hdr.sec.generation = GENERATION.into();
    hdr
}

/// An IPv4 frame from 10.0.0.1 to 10.0.0.2 for the outbound SA `id`, as the driver hands it over, and
/// its header.
pub fn frame(id: u32, seq: u32, payload: &[u8]) -> (NetHdr48, Vec<u8>) {
    let pad_len = (4 - (payload.len() + 2) % 4) % 4;
    let mut esp = [SPI.to_be_bytes(), seq.to_be_bytes(), [0; 4], [0; 4]].concat();
    esp.extend(payload);
    esp.extend((1..=pad_len).map(|n| n as u8));
    esp.extend([pad_len as u8, 6]);
    esp.extend([0; ICV]);
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + esp.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    correct(&mut frame);
    frame.extend(esp);
    (hdr(id, pad_len + 2 + ICV), frame)
}

/// Makes the checksum of the IPv4 header of a frame without tags and options right.
pub fn correct(frame: &mut [u8]) {
    frame.get_mut(IP..ESP).map(complete_ipv4);
}

/// Inline IPsec with administration commands of its own, without the rest of a NIC.
pub struct Engine {
    ipsec: Ipsec,
    admin: Admin,
}

impl Deref for Engine {
    type Target = Ipsec;

    fn deref(&self) -> &Ipsec {
        &self.ipsec
    }
}

impl Engine {
    /// After a reset.
    pub fn new(config: IpsecConfig) -> Self {
        Self {
            ipsec: Ipsec::new(config),
            admin: Admin::default(),
        }
    }

    fn table(&self) -> Table<'_> {
        Table {
            owners: vec![&self.ipsec],
            kinds: vec![&self.ipsec],
        }
    }

    /// See [`Admin::execute`].
    pub fn admin(&self, readable: &[u8], writable: &mut [u8]) -> usize {
        self.admin.execute(&self.table(), readable, writable)
    }

    /// See [`Admin::reset`].
    pub fn reset(&self) {
        self.admin.reset(&self.table());
    }

    /// Executes a command; returns its result.
    ///
    /// # Errors
    ///
    /// Status and qualifier if the command is refused, and an impossible status if there is no answer.
    pub fn execute(&self, command: Command<'_>) -> Result<Vec<u8>, (u16, u16)> {
        let mut writable = vec![0; ROOM];
        let written = self.admin(&bytes(command), &mut writable);
        let reply = writable.get(..written).map(Reply::parse);
        match reply {
            Some(Ok(reply)) if reply.status == 0 => Ok(reply.result.to_vec()),
            Some(Ok(reply)) => Err((reply.status, reply.qualifier)),
            _ => Err((u16::MAX, 0)),
        }
    }

    /// Creates an SA.
    ///
    /// # Errors
    ///
    /// See [`Self::execute`].
    pub fn create(&self, obj_type: u16, id: u32, object: &SaObject) -> Result<(), (u16, u16)> {
        let create = Command::ObjCreate {
            obj_type,
            id,
            object: object.as_bytes(),
        };
        self.execute(create).map(drop)
    }

    /// The counter with this name; `None` if there is none. Those of the commands are among them.
    pub fn counter(&self, name: &str) -> Option<u64> {
        let engine = serde_json::to_value(self.ipsec.stats()).ok()?;
        let admin = serde_json::to_value(self.admin.stats()).ok()?;
        engine.get(name).or(admin.get(name))?.as_u64()
    }
}

/// The counter of `nic` with this name; `None` if there is none. Those of the port have the prefix
/// `port.`.
pub fn counter(nic: &Nic, name: &str) -> Option<u64> {
    let stats = serde_json::to_value(NicStats::of(nic)).ok()?;
    let counter = match name.strip_prefix("port.") {
        Some(name) => stats.get("port")?.get(name),
        None => ["virtio", "workers", "filter", "ipsec"]
            .iter()
            .find_map(|part| stats.get(part)?.get(name)),
    };
    counter?.as_u64()
}
