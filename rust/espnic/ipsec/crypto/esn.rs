// SPDX-License-Identifier: GPL-2.0

//! Sequence numbers (ESN) that move without packets: the NIC hears of them.

use super::{
    super::{
        object::{
            name,
            send, //
        },
        Ipsec, //
    },
    object, //
};
use crate::control::Control;
use espnic_esp::seq;
use espnic_wire::admin::Command;
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    Direction,
    Handle,
    State, //
};

impl Ipsec {
    /// Compares the high half of an inbound ESN state with that of the NIC. If they differ, returns true,
    /// and the caller must schedule [`Self::tell_sequence`]. Per packet, under the state's lock, no
    /// sleeping.
    ///
    /// The NIC follows the sequence numbers of the packets; this is for jumps that it cannot see, such as
    /// `XFRM_MSG_NEWAE`.
    pub(crate) fn sequence_moved(&self, x: &State, handle: Handle) -> bool {
        if handle.direction != Direction::In {
            return false;
        }
        let number = x.highest_seen_locked();
        let moved = self.states.with_data(handle, |sa| {
            // Under packet offload the NIC knows better.
            let moved = sa.packet.is_none() && sa.esn_hi != seq::hi(number);
            if moved {
                sa.esn_hi = seq::hi(number);
                sa.pending_seq = Some(number);
            }
            moved
        });
        moved.unwrap_or(false)
    }

    /// Sends the sequence numbers that have moved to the NIC. Sleeps.
    pub(crate) fn tell_sequence(&self, control: &Control) {
        let mode = self.mode.lock();
        if mode.resetting {
            return;
        }
        self.for_each_live(Direction::In, |handle, x| {
            let pending_seq = self
                .states
                .with_data(handle, |sa| sa.pending_seq.take().filter(|_| !sa.absent));
            if let Some(number) = pending_seq.flatten() {
                if self.modify(control, x, handle, number).is_err() {
                    // The NIC goes on with the numbers of the packets; the next jump tries again.
                    self.counters.control_errors.add(1);
                }
            }
        });
    }

    fn modify(&self, control: &Control, x: &State, handle: Handle, number: u64) -> Result {
        let supported = self.check(x).map_err(|_| EINVAL)?;
        let (obj_type, id) = name(handle);
        let describe = |object: &mut _| object::describe(object, x, handle, &supported, number);
        send(control, describe, &[], |object| Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }
}
