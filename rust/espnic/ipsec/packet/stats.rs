// SPDX-License-Identifier: GPL-2.0

//! What the NIC has counted: the driver reads it from time to time, and tells the stack.
//!
//! The NIC itself stops an SA at its hard limit. That the limit was reached the stack learns at the next
//! reading, and then expires the state as it would have done by its own count.

use super::{
    super::{
        object,
        Ipsec, //
    },
    counted::Numbers, //
};
use crate::control::Control;
use espnic_wire::{
    admin::Command,
    state::{
        bitmap_len,
        SaState,
        OBJ_INB_STATE,
        OBJ_OUTB_STATE, //
    }, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    Direction,
    Handle,
    State, //
};

/// The time between two readings, in milliseconds.
pub(crate) const INTERVAL_MS: u32 = 500;

impl Ipsec {
    /// Tells the stack what was counted for a state since the last call. In the callback of that name: no
    /// sleeping, and no lock of the state.
    pub(crate) fn update_stats(&self, x: &State, handle: Handle) {
        let news = self.states.with_data(handle, |sa| sa.counted.take());
        let Some(news) = news.filter(|news| *news != Numbers::default()) else {
            return;
        };
        x.add_usage(news.packets, news.bytes);
        x.add_failures(&news.failures);
    }

    /// Reads the counters and numbers of the SAs of packet offload from the NIC, if it is time for that, and
    /// tells the stack. Returns whether there are any. Sleeps.
    pub(crate) fn read_states(&self, control: &Control) -> bool {
        if !self.has_packet_sas() {
            return false;
        }
        if self.database.is_time(INTERVAL_MS) {
            self.read_all(control);
        }
        true
    }

    /// Reads all of them now; false if one could not be read. Sleeps.
    pub(crate) fn read_all(&self, control: &Control) -> bool {
        let mut all = true;
        for direction in [Direction::Out, Direction::In] {
            self.for_each_live(direction, |handle, x| {
                if self.is_packet(handle) {
                    all &= self.read(control, handle, x).is_ok();
                }
            });
        }
        all
    }

    fn read(&self, control: &Control, handle: Handle, x: &State) -> Result {
        let mode = self.mode.lock();
        if mode.resetting {
            return Err(EAGAIN);
        }
        let (_, id) = object::name(handle);
        let (obj_type, window) = match handle.direction {
            Direction::In => (OBJ_INB_STATE, x.replay_window()),
            Direction::Out => (OBJ_OUTB_STATE, 0),
        };
        let room = bitmap_len(window).ok_or(EINVAL)?;
        let query = Command::ObjQuery { obj_type, id };
        let answer = control.execute(&query, 0, SaState::LEN.saturating_add(room))?;
        let (state, bitmap) = SaState::parse(answer.result()?).map_err(|_| EIO)?;
        self.states.with_data(handle, |sa| sa.counted.set(&state));
        drop(mode);
        match handle.direction {
            Direction::Out => x.set_last_sent(state.seq.get()),
            // The bitmap has another length if the NIC has another window, and then says nothing.
            Direction::In if bitmap.len() == room => {
                let _ = x.set_received(state.seq.get(), bitmap);
            }
            Direction::In => {}
        }
        x.check_expire();
        Ok(())
    }
}
