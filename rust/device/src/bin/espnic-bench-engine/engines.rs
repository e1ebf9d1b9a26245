// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NIC's engine, and batches that go through it.

use crate::compare::{Plan, BATCH};
use crate::packets::{self, Form, Kind};
use espnic_device::filter::Verdict;
use espnic_device::frame::Frame;
use espnic_device::frames::Frames;
use espnic_device::ipsec::{Inbound, IpsecConfig};
use espnic_device::testing::{self, Engine};
use espnic_wire::admin::Command;
use espnic_wire::hdr::NetHdr48;
use espnic_wire::sa;
use std::time::{Duration, Instant};

/// More than the longest frame.
const LONGEST: usize = 16384;

fn refused((status, qualifier): (u16, u16)) -> String {
    format!("command is refused: status {status}, qualifier {qualifier}")
}

/// An engine with room for `count` SAs of each direction.
pub fn new_engine(plan: &Plan, count: u32) -> Result<Engine, String> {
    let engine = Engine::new(IpsecConfig {
        libraries: plan.libraries,
        inb_sa_limit: count,
        outb_sa_limit: count,
        x_ipsec: true,
        delete_above: None,
    });
    testing::set_up(|command| engine.execute(command)).map_err(refused)?;
    Ok(engine)
}

/// An engine with `count` SAs of this type.
pub fn engine(plan: &Plan, kind: Kind, obj_type: u16, count: u32) -> Result<Engine, String> {
    let engine = new_engine(plan, count)?;
    for id in 0..count {
        let object = packets::object(kind, obj_type, id);
        engine.create(obj_type, id, &object).map_err(refused)?;
    }
    Ok(engine)
}

/// Destroys the SAs of [`engine`], the oldest first; none must be left.
pub fn destroy(engine: &Engine, obj_type: u16, count: u32) -> Result<(), String> {
    for id in 0..count {
        let command = Command::ObjDestroy { obj_type, id };
        engine.execute(command).map_err(refused)?;
    }
    let left = ["ipsec_sa_in", "ipsec_sa_out"].map(|name| engine.counter(name));
    match left {
        [Some(0), Some(0)] => Ok(()),
        _ => Err(format!("SAs are left: {left:?}")),
    }
}

/// A sender and a receiver.
pub struct Pair {
    kind: Kind,
    sender: Engine,
    receiver: Engine,
    out: Frames,
}

/// Chooses the SA of each frame.
pub type Choose<'a> = &'a mut dyn FnMut() -> u32;

impl Pair {
    /// With `count` SAs each.
    pub fn new(plan: &Plan, kind: Kind, count: u32) -> Result<Self, String> {
        let receiver = engine(plan, kind, sa::OBJ_INB_SA, count)?;
        Self::with_receiver(plan, kind, receiver, count)
    }

    /// With `count` SAs each, those of the receiver are there already.
    pub fn with_receiver(
        plan: &Plan,
        kind: Kind,
        receiver: Engine,
        count: u32,
    ) -> Result<Self, String> {
        Ok(Self {
            kind,
            sender: engine(plan, kind, sa::OBJ_OUTB_SA, count)?,
            receiver,
            out: Frames::default(),
        })
    }

    /// Has the outbound SAs.
    pub fn sender(&self) -> &Engine {
        &self.sender
    }

    /// Has the inbound SAs.
    pub fn receiver(&self) -> &Engine {
        &self.receiver
    }

    /// A batch for outbound SAs. As in the NIC, its frames are in buffers of earlier ones.
    fn batch(&mut self, len: usize, choose: Choose<'_>) -> Vec<(NetHdr48, Frame)> {
        let one = |n| {
            let (hdr, frame) = packets::frame(self.kind, choose(), n as u32, len);
            let mut buffer = self.out.buffer(frame.len());
            buffer.copy_from_slice(&frame);
            (hdr, buffer.into())
        };
        (0..BATCH).map(one).collect()
    }

    /// Keeps the buffers of a batch, as the NIC does when frames have reached a guest.
    fn recycle(&mut self, batch: impl IntoIterator<Item = Frame>) {
        batch.into_iter().for_each(|frame| self.out.recycle(frame));
    }

    /// One batch through `Ipsec::transmit_all`.
    pub fn encrypt(&mut self, len: usize, choose: Choose<'_>) -> Duration {
        let mut batch = self.batch(len, choose);
        let start = Instant::now();
        self.sender.transmit_all(&mut batch, LONGEST, &mut self.out);
        let time = start.elapsed();
        assert_eq!(self.out.len(), BATCH, "frames were dropped");
        let sent: Vec<_> = self.out.drain().collect();
        self.recycle(sent);
        time
    }

    /// One batch through `Ipsec::receive_all`, which the sender has encrypted.
    pub fn decrypt(&mut self, len: usize, choose: Choose<'_>) -> Duration {
        let mut batch = self.batch(len, choose);
        self.sender.transmit_all(&mut batch, LONGEST, &mut self.out);
        let verdict = match self.kind.form {
            Form::PacketTunnel => Verdict::Ipsec,
            _ => Verdict::Pass,
        };
        let inbound = |frame: Frame| Inbound::new(frame, verdict);
        let mut batch: Vec<_> = self.out.drain().map(inbound).collect();
        let start = Instant::now();
        self.receiver.receive_all(&mut batch);
        let time = start.elapsed();
        let done = |inbound: &Inbound| inbound.hdr.net.flags == self.kind.received();
        assert!(batch.iter().all(done), "packets were not decrypted");
        self.recycle(batch.into_iter().map(|inbound| inbound.frame));
        time
    }

    /// Either of both.
    pub fn run(&mut self, way: Way, len: usize, choose: Choose<'_>) -> Duration {
        match way {
            Way::Encrypt => self.encrypt(len, choose),
            Way::Decrypt => self.decrypt(len, choose),
        }
    }
}

/// The direction of a measurement.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Encrypt,
    /// A bare call compares the ICV, too, which every receiver has to do.
    Decrypt,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Encrypt, Self::Decrypt];

    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}
