// SPDX-License-Identifier: GPL-2.0

//! What the NIC has counted: the driver reads it from time to time, and tells the stack.
//!
//! The NIC itself stops an SA at its hard limit, or after its last number. It says so by an event, at which
//! the driver reads what was counted; the stack then expires the state as it would have done by its own
//! count.

use super::{
    super::{
        object,
        Ipsec, //
    },
    check::last_number,
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

/// What became of a reading of all SAs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There are none.
    Nothing,
    /// The last one was not long ago.
    Early,
    /// They were read.
    Done,
}

impl Ipsec {
    /// Tells the stack what was counted for a state since the last call. In the callback of that name: no
    /// sleeping, and no lock of the state.
    pub(crate) fn update_stats(&self, x: &State, handle: Handle) {
        if let Some(sa) = self.packet_sa(handle) {
            // Who reads the number may give it to the state that comes after this one, so it must not be
            // behind the NIC's.
            match sa.is_inbound() {
                false => x.try_set_last_sent(sa.last_possible().min(last_number(x))),
                true => x.try_raise_received(sa.seen().min(last_number(x))),
            }
        }
        let news = self
            .states
            .with_data(handle, |sa| Some(sa.packet.as_mut()?.counted.take()));
        let Some(news) = news.flatten().filter(|news| *news != Numbers::default()) else {
            return;
        };
        x.add_usage(news.packets, news.bytes);
        x.add_failures(&news.failures);
    }

    /// Reads the counters and numbers of the SAs of packet offload from the NIC, if it is time for that, and
    /// tells the stack. It is time at once if events were `lost`. Sleeps.
    pub(crate) fn read_states(&self, control: &Control, lost: bool) -> Reading {
        if !self.has_packet_sas() {
            return Reading::Nothing;
        }
        let interval = if lost { 0 } else { INTERVAL_MS };
        let read = || {
            self.read_all(control);
        };
        match self.database.read_if_due(interval, read) {
            true => Reading::Done,
            false => Reading::Early,
        }
    }

    /// The same for one SA, if it is there, at once. Sleeps.
    pub(crate) fn read_named(&self, control: &Control, direction: Direction, id: u32) {
        let Some((handle, x)) = self.states.live(direction, id) else {
            return;
        };
        if self.is_packet(handle) {
            // If this fails, the next reading of all makes up for it.
            let _ = self.read(control, handle, &x, |_, _| Ok(()));
        }
    }

    fn read_all(&self, control: &Control) {
        for direction in [Direction::Out, Direction::In] {
            self.for_each_live(direction, |handle, x| {
                if self.is_packet(handle) {
                    // What cannot be read now is read the next time.
                    let _ = self.read(control, handle, x, |_, _| Ok(()));
                }
            });
        }
    }

    /// Reads what the NIC has counted for an SA, and its numbers; `keep` gets the last number and, inbound,
    /// the bitmap of the window. Sleeps.
    ///
    /// # Errors
    ///
    /// `EAGAIN` during a reset; those of the command and of `keep`.
    pub(in crate::ipsec) fn read(
        &self,
        control: &Control,
        handle: Handle,
        x: &State,
        keep: impl FnOnce(u64, &[u8]) -> Result,
    ) -> Result {
        self.follow_change(control, handle, x);
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
        self.states.with_data(handle, |sa| {
            if let Some(packet) = &mut sa.packet {
                packet.counted.set(&state);
            }
        });
        drop(mode);
        match handle.direction {
            Direction::Out => {
                x.set_last_sent(state.seq.get());
                if state.seq.get() >= last_number(x) {
                    // The NIC sends nothing more.
                    x.expire();
                    return Ok(());
                }
            }
            Direction::In => self.set_received(x, handle, state.seq.get(), bitmap),
        }
        if state.packets.get() != 0 {
            x.check_expire();
        }
        // The bitmap has another length if the NIC has another window, and then says nothing.
        if bitmap.len() != room {
            return Err(EIO);
        }
        keep(state.seq.get(), bitmap)
    }

    /// Tells the stack of the window of an inbound SA.
    fn set_received(&self, x: &State, handle: Handle, top: u64, bitmap: &[u8]) {
        let Some(sa) = self.packet_sa(handle).filter(|sa| !sa.is_only_told(top)) else {
            return;
        };
        // A bitmap of another length is not taken, nor what is older than what the stack knows by now.
        if x.set_received(top, bitmap).is_ok() {
            sa.raise_seen(sa.seen(), top);
        }
    }
}
