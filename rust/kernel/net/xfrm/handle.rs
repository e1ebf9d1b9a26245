// SPDX-License-Identifier: GPL-2.0

//! How a state is named in the stack and in the device.

use kernel::prelude::*;

/// The direction of a state.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::Direction;
///
/// for direction in [Direction::In, Direction::Out] {
///     assert!(direction == Direction::In || direction == Direction::Out);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device decrypts.
    In,
    /// The device encrypts.
    Out,
}

/// A name for a state that the driver took: slot id, direction and generation.
///
/// Never zero as a number, because zero means "not offloaded" to the stack.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xfrm::{
///     Direction,
///     Handle, //
/// };
///
/// let first = Handle {
///     id: 7,
///     direction: Direction::Out,
///     generation: 1,
/// };
/// // The slot was used again: another state.
/// assert!(first != Handle { generation: 2, ..first });
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// The slot, from 0; also the id of the device's object.
    pub id: u32,
    /// The direction; each has slots of its own.
    pub direction: Direction,
    /// The generation: how often the slot was used, modulo 2^16.
    pub generation: u16,
}

impl Handle {
    const OUT: u64 = 1 << 32;
    /// Keeps the handle of slot 0 from being zero.
    const VALID: u64 = 1 << 33;

    /// What larval states have instead: no handle has this bit alone.
    pub(crate) const LARVAL: c_ulong = 1 << 34;

    pub(crate) fn to_raw(self) -> c_ulong {
        let out = match self.direction {
            Direction::In => 0,
            Direction::Out => Self::OUT,
        };
        ((u64::from(self.generation) << 48) | Self::VALID | out | u64::from(self.id)) as c_ulong
    }

    pub(crate) fn from_raw(raw: c_ulong) -> Self {
        let raw = raw as u64;
        Self {
            id: raw as u32,
            direction: if raw & Self::OUT != 0 {
                Direction::Out
            } else {
                Direction::In
            },
            generation: (raw >> 48) as u16,
        }
    }
}
