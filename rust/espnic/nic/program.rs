// SPDX-License-Identifier: GPL-2.0

//! What a program for received frames (XDP) needs of the whole NIC: one frame at a time, and, if the program does not take
//! several pieces, each in one buffer.

use super::Nic;
use crate::config::{
    can_receive_small,
    mtu_max, //
};
use kernel::prelude::*;
use kernel_net::{
    net::{
        netdevice::{
            features as netif,
            Device, //
        },
        netlink::ExtAck,
        operation_not_supported,
        xdp::Program, //
    },
    rtnl, //
};

impl Nic {
    /// Runs another program from now on, or none. RTNL held. Sleeps.
    ///
    /// # Errors
    ///
    /// If the NIC is not fit for a program, with a message; never without one.
    pub(crate) fn set_program(
        &self,
        dev: &Device<Self>,
        program: Option<Program>,
        extack: &mut ExtAck,
        rtnl: &rtnl::Held,
    ) -> Result {
        match program {
            Some(program) => {
                self.prepare_for_program(dev, &program, extack, rtnl)?;
                self.xdp.replace(Some(program));
            }
            None => {
                self.xdp.replace(None);
                self.end_programs(dev, rtnl);
            }
        }
        Ok(())
    }

    fn prepare_for_program(
        &self,
        dev: &Device<Self>,
        program: &Program,
        extack: &mut ExtAck,
        rtnl: &rtnl::Held,
    ) -> Result {
        let most = mtu_max(&self.vdev, !program.takes_pieces());
        if dev.mtu() > most {
            extack.set(c"espnic: the MTU is too large for a program without BPF_F_XDP_HAS_FRAGS");
            return Err(EINVAL);
        }
        if !can_receive_small(&self.vdev) {
            extack.set(c"espnic: XDP needs large receives off, and this NIC cannot switch them");
            return Err(operation_not_supported());
        }
        self.xdp.want(true);
        dev.update_features(rtnl);
        if dev.features() & netif::GRO_HW != 0 {
            self.xdp.want(false);
            extack.set(c"espnic: the NIC has not switched large receives (rx-gro-hw) off for XDP");
            return Err(EIO);
        }
        dev.set_max_mtu(most, rtnl);
        self.use_room_for_programs(true);
        Ok(())
    }

    fn end_programs(&self, dev: &Device<Self>, rtnl: &rtnl::Held) {
        self.use_room_for_programs(false);
        dev.set_max_mtu(mtu_max(&self.vdev, false), rtnl);
        self.xdp.want(false);
        dev.update_features(rtnl);
    }

    /// Has new buffers leave room for programs, or not. Those that the NIC has stay as they are.
    fn use_room_for_programs(&self, on: bool) {
        for channel in &self.channels {
            channel.rx.lock().programs = on;
        }
    }
}
