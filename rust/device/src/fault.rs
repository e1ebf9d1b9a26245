// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose: damage to the next frames of one direction of a NIC.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::net::frame;

/// IP protocol number of ESP.
const ESP: u8 = 50;
/// ESP header and IV of the AEAD algorithms; ciphertext follows.
const ESP_CLEAR_LEN: usize = 16;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the NIC to the wire.
    Tx,
    /// From the wire to the NIC.
    Rx,
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One bit of the last byte of the ESP packet, which belongs to the ICV.
    CorruptIcv,
    /// One bit of the first ciphertext byte.
    CorruptPayload,
}

/// The names by which faults are set.
pub const NAMES: &str = "tx|rx corrupt-icv|corrupt-payload COUNT";

impl FromStr for Direction {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "tx" => Ok(Self::Tx),
            "rx" => Ok(Self::Rx),
            _ => Err(format!("`{word}` is not a direction: say tx or rx")),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "corrupt-icv" => Ok(Self::CorruptIcv),
            "corrupt-payload" => Ok(Self::CorruptPayload),
            _ => Err(format!(
                "`{word}` is not a fault: say corrupt-icv or corrupt-payload"
            )),
        }
    }
}

#[derive(Default)]
struct Pending {
    corrupt_icv: AtomicU32,
    corrupt_payload: AtomicU32,
}

impl Pending {
    fn counter(&self, kind: Kind) -> &AtomicU32 {
        match kind {
            Kind::CorruptIcv => &self.corrupt_icv,
            Kind::CorruptPayload => &self.corrupt_payload,
        }
    }
}

/// The faults of one NIC that are still to come.
#[derive(Default)]
pub struct Faults {
    tx: Pending,
    rx: Pending,
}

impl Faults {
    /// Damages the next `count` ESP frames; 0 stops it.
    pub fn set(&self, direction: Direction, kind: Kind, count: u32) {
        self.pending(direction)
            .counter(kind)
            .store(count, Ordering::Relaxed);
    }

    /// Stops all faults.
    pub fn clear(&self) {
        for direction in [Direction::Tx, Direction::Rx] {
            for kind in [Kind::CorruptIcv, Kind::CorruptPayload] {
                self.set(direction, kind, 0);
            }
        }
    }

    /// Damages `frame` if a fault is pending and it is ESP; says whether it did.
    pub fn apply(&self, direction: Direction, frame: &mut [u8]) -> bool {
        let pending = self.pending(direction);
        let mut damaged = false;
        for kind in [Kind::CorruptIcv, Kind::CorruptPayload] {
            let counter = pending.counter(kind);
            if counter.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let Some(byte) = target(kind, frame) else {
                continue;
            };
            let took = |left: u32| left.checked_sub(1);
            if counter
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, took)
                .is_ok()
            {
                *byte ^= 1;
                damaged = true;
            }
        }
        damaged
    }

    fn pending(&self, direction: Direction) -> &Pending {
        match direction {
            Direction::Tx => &self.tx,
            Direction::Rx => &self.rx,
        }
    }
}

fn target(kind: Kind, frame: &mut [u8]) -> Option<&mut u8> {
    let packet = frame::parse(frame)?;
    if packet.protocol != ESP || packet.fragment {
        return None;
    }
    let esp = frame.get_mut(packet.transport..packet.end)?;
    match kind {
        Kind::CorruptIcv => esp.last_mut(),
        Kind::CorruptPayload => esp.get_mut(ESP_CLEAR_LEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 with protocol 50 and 40 bytes of ESP, 6 bytes of Ethernet padding.
    fn esp_frame() -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..].copy_from_slice(&[0x08, 0x00]);
        frame.extend([
            0x45, 0, 0, 60, 0, 0, 0, 0, 64, ESP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0; 46]);
        frame
    }

    fn damaged(faults: &Faults, direction: Direction) -> Option<usize> {
        let mut frame = esp_frame();
        let told = faults.apply(direction, &mut frame);
        let at = frame.iter().zip(esp_frame()).position(|(a, b)| *a != b);
        assert_eq!(told, at.is_some());
        at
    }

    #[test]
    fn counts_down_per_direction() {
        let faults = Faults::default();
        faults.set(Direction::Tx, Kind::CorruptIcv, 2);
        assert_eq!(damaged(&faults, Direction::Rx), None);
        assert_eq!(damaged(&faults, Direction::Tx), Some(14 + 60 - 1));
        assert_eq!(damaged(&faults, Direction::Tx), Some(14 + 60 - 1));
        assert_eq!(damaged(&faults, Direction::Tx), None);
        faults.set(Direction::Rx, Kind::CorruptPayload, 5);
        assert_eq!(damaged(&faults, Direction::Rx), Some(14 + 20 + 16));
        faults.clear();
        assert_eq!(damaged(&faults, Direction::Rx), None);
    }

    #[test]
    fn other_frames_are_left_alone() {
        let faults = Faults::default();
        faults.set(Direction::Tx, Kind::CorruptIcv, 1);
        let mut udp = esp_frame();
        udp[14 + 9] = 17;
        assert!(!faults.apply(Direction::Tx, &mut udp));
        assert!(!faults.apply(Direction::Tx, &mut [0; 10]));
        assert!(damaged(&faults, Direction::Tx).is_some());
    }
}
