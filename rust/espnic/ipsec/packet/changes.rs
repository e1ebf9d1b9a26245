// SPDX-License-Identifier: GPL-2.0

//! What the user changes about a living state: its limits, what counts for them already, and the ports of ESP
//! in UDP.
//!
//! XFRM tells nobody (X16). But it adds a second state and deletes it for that, which is when the driver looks.
//! Counters may also be set at any time (X38), which shows at the next reading.

use super::{
    super::{
        object,
        Ipsec, //
    },
    object::describe,
    told::Told, //
};
use crate::control::Control;
use espnic_wire::admin::Command;
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    Handle,
    State, //
};

impl Ipsec {
    /// Tells the NIC what the user has changed about SAs of packet offload of which a copy has gone. Sleeps.
    pub(crate) fn follow_changes(&self, control: &Control) {
        // Without memory the next reading makes up for it.
        for handle in self.database.take_copied().unwrap_or_default() {
            if let Some(x) = self.states.get(handle) {
                self.follow_change(control, handle, &x);
            }
        }
    }

    /// The same for one SA. If the NIC does not take it, this is tried again at the next reading; until then
    /// the stack follows the new limits by what the NIC counts.
    pub(super) fn follow_change(&self, control: &Control, handle: Handle, x: &State) {
        let told = self
            .states
            .with_data(handle, |sa| Some(sa.packet.as_ref()?.told));
        let Some(told) = told.flatten() else {
            return;
        };
        let news = Told::of(x, told.iv_xor, self.used_before(handle, x, told.used));
        if news == told {
            return;
        }
        let mode = self.mode.lock();
        if mode.resetting {
            // The NIC gets all of the SA after it.
            return;
        }
        match self.tell(control, handle, x, &news) {
            Ok(()) => {
                self.states.with_data(handle, |sa| {
                    if let Some(packet) = &mut sa.packet {
                        packet.told = news;
                    }
                });
                self.counters.changed.add(1);
            }
            Err(_) => self.counters.control_errors.add(1),
        }
    }

    /// The packets and bytes that count for the limits of `x` and that the NIC does not count, at least
    /// `known` ones.
    fn used_before(&self, handle: Handle, x: &State, known: (u64, u64)) -> (u64, u64) {
        // In this order: what is told to the stack meanwhile must not count twice.
        let usage = x.usage();
        let counted = self
            .states
            .with_data(handle, |sa| Some(sa.packet.as_ref()?.counted.known()))
            .flatten();
        let counted = counted.unwrap_or(usage);
        (
            usage.0.saturating_sub(counted.0).max(known.0),
            usage.1.saturating_sub(counted.1).max(known.1),
        )
    }

    fn tell(&self, control: &Control, handle: Handle, x: &State, news: &Told) -> Result {
        let mut checked = self.check_packet(x).map_err(|_| EINVAL)?;
        checked.use_up(news.used).inspect_err(|_| {
            x.check_expire();
        })?;
        let (obj_type, id) = object::name(handle);
        // The NIC goes on with its own number.
        let number = checked.number();
        let describe = |object: &mut _| describe(object, x, handle, &checked, number, news.iv_xor);
        object::send(control, describe, &[], |object| Command::ObjModify {
            obj_type,
            id,
            object,
        })
    }
}
