// SPDX-License-Identifier: GPL-2.0

//! The list of the NIC's SAs.

use super::{
    handles::Found,
    port::Port,
    translate, //
};
use crate::nic::Nic;
use espnic_ndis::{
    envelope::{
        Entry,
        List,
        DIRECTION_IN,
        DIRECTION_OUT,
        ENTRY_DELETE_REQUESTED,
        ENTRY_ESN,
        MODE_TRANSPORT,
        MODE_TUNNEL,
        OWNER_OTHER,
        OWNER_THIS,
        OWNER_XFRM, //
    },
    sa::UdpEsp, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use kernel_net::net::{
    ip::Family,
    xfrm::{
        Direction,
        State, //
    }, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// The place where a walk goes on, a direction and a slot. The caller gets it as a number.
struct Cursor(Direction, u32);

impl Cursor {
    const OUT: u64 = 1 << 32;

    /// Reads the number; 0 is the beginning.
    fn from_number(number: u64) -> Option<Self> {
        let direction = match number & !u64::from(u32::MAX) {
            0 => Direction::In,
            Self::OUT => Direction::Out,
            _ => return None,
        };
        Some(Self(direction, number as u32))
    }

    fn to_number(&self) -> u64 {
        match self.0 {
            Direction::In => u64::from(self.1),
            Direction::Out => Self::OUT | u64::from(self.1),
        }
    }

    /// The next live SA.
    fn next(&mut self, port: &Port) -> Option<Found> {
        let handles = &port.adapter.handles;
        loop {
            if let Some(found) = handles.next(self.0, self.1, |_| true) {
                self.1 = found.state.id.saturating_add(1);
                return Some(found);
            }
            match self.0 {
                Direction::In => *self = Self(Direction::Out, 0),
                Direction::Out => return None,
            }
        }
    }
}

/// Writes the next part of the list.
pub(super) fn fill(port: &Port, list: &mut List) -> Result {
    if list.entry_size as usize != size_of::<Entry>() || list.reserved != 0 {
        return Err(EINVAL);
    }
    let mut cursor = Cursor::from_number(list.cursor).ok_or(EINVAL)?;
    port.device()?;
    let length = (list.capacity as usize)
        .checked_mul(size_of::<Entry>())
        .ok_or(EINVAL)?;
    let address = usize::try_from(list.entries).map_err(|_| EFAULT)?;
    let mut out = UserSlice::new(UserPtr::from_addr(address), length).writer();
    list.count = 0;
    while list.count < list.capacity {
        let Some(found) = cursor.next(port) else {
            list.cursor = 0;
            return Ok(());
        };
        // Not held while the entry is written, because access to the caller's memory may take for ever.
        let dev = port.device()?;
        let entry = describe(port, dev.data(), &found);
        drop(dev);
        if let Some(entry) = entry {
            out.write_slice(entry.as_bytes())?;
            list.count = list.count.saturating_add(1);
        }
        if kernel::current!().signal_pending() {
            break;
        }
    }
    list.cursor = cursor.to_number();
    Ok(())
}

/// Describes an SA; `None` if it has just died.
fn describe(port: &Port, nic: &Nic, found: &Found) -> Option<Entry> {
    let x = nic.ipsec.states.get(found.state)?;
    let mut entry = Entry::new_zeroed();
    entry.handle = found.number.get();
    (entry.packets, entry.bytes) = x.usage();
    entry.source = x.source();
    entry.destination = x.destination();
    entry.spi = x.spi().to_be_bytes();
    entry.reqid = x.reqid();
    (entry.authentication, entry.encryption) = translate::identifiers(&x);
    entry.icv_length = x.icv_bits().unwrap_or(0) / 8;
    describe_sequence(&x, found.state.direction, &mut entry);
    entry.family = match x.family()? {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    entry.mode = if x.is_tunnel() {
        MODE_TUNNEL
    } else {
        MODE_TRANSPORT
    };
    entry.owner = match found.owner {
        0 => OWNER_XFRM,
        owner if owner == port.owner => OWNER_THIS,
        _ => OWNER_OTHER,
    };
    if let Some(encap) = x.encapsulation() {
        entry.udp_esp = match x.is_tunnel() {
            true => UdpEsp::TUNNEL.0,
            false => UdpEsp::TRANSPORT.0,
        };
        entry.source_port = encap.source_port.to_be_bytes();
        entry.destination_port = encap.destination_port.to_be_bytes();
    }
    if found.delete_requested {
        entry.flags |= ENTRY_DELETE_REQUESTED;
    }
    Some(entry)
}

fn describe_sequence(x: &State, direction: Direction, entry: &mut Entry) {
    let number = match direction {
        Direction::In => x.highest_seen(),
        Direction::Out => x.last_sent(),
    };
    entry.direction = match direction {
        Direction::In => DIRECTION_IN,
        Direction::Out => DIRECTION_OUT,
    };
    entry.sequence_high = (number >> 32) as u32;
    entry.sequence_low = number as u32;
    entry.replay_window = x.replay_window();
    if x.is_esn() {
        entry.flags |= ENTRY_ESN;
    }
}
