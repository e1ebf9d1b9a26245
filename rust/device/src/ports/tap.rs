// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A TAP interface of the host as wire.

use std::io;
use std::sync::Arc;

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::capture::Capture;
use super::{Inbox, Port, Volume};
use crate::ipsec::Frames;

/// Largest frame that a TAP interface can deliver: MTU 65535, Ethernet header, VLAN tag.
const MAX_FRAME: usize = 65535 + 18;

/// An open TAP interface.
pub struct TapPort {
    device: Arc<SyncDevice>,
}

impl TapPort {
    /// Opens the TAP interface `name`, or creates it for as long as the process lives, and sets it
    /// up if it may. What arrives there goes to `inbox` and to the capture.
    pub fn open(
        name: &str,
        inbox: Arc<Inbox>,
        capture: Option<(Arc<Capture>, u32)>,
    ) -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .packet_information(false)
            .inherit_enable_state()
            .build_sync()?;
        if let Err(error) = device.enabled(true) {
            log::warn!("cannot set interface {name} up ({error}): use `ip link set {name} up`");
        }
        let device = Arc::new(device);
        let reader = device.clone();
        let name = name.to_owned();
        std::thread::Builder::new()
            .name(format!("tap {name}"))
            .spawn(move || receive(&reader, &name, &inbox, capture.as_ref()))?;
        Ok(Self { device })
    }
}

impl Port for TapPort {
    fn send(&self, frames: &mut Frames) -> Volume {
        let mut lost = Volume::default();
        for frame in frames.iter() {
            // A TAP write puts the frame into the host's receive queue and does not wait.
            if let Err(error) = self.device.send(frame) {
                log::debug!("TAP interface takes no frame: {error}");
                lost.add(frame);
            }
        }
        frames.truncate(0);
        lost
    }

    fn link_up(&self) -> bool {
        true
    }
}

fn receive(device: &SyncDevice, name: &str, inbox: &Inbox, capture: Option<&(Arc<Capture>, u32)>) {
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        match device.recv(&mut buffer) {
            Ok(len) => {
                let frame = buffer.get(..len).unwrap_or_default();
                if let Some((capture, interface)) = capture {
                    capture.write(*interface, [frame]);
                }
                inbox.copy(frame);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::error!("TAP interface {name} is gone: {error}");
                return;
            }
        }
    }
}
