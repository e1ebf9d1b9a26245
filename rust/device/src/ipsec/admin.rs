// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Administration commands of the self group (VIRTIO 1.4 section 2.13): frame, order of the checks,
//! list of opcodes. Capabilities and objects have their own modules.

use super::caps::{DeviceCaps, DriverCaps};
use super::refused::Refused;
use super::{objects, Ipsec};
use crate::misbehave::Deed;
use espnic_wire::admin::{self, CmdHdr, ReplyHdr, Request};
use espnic_wire::{bitmap, cap, read_zero_extended, U64};
use zerocopy::IntoBytes;

/// What the driver has agreed to since the last reset.
pub(super) struct AdminState {
    /// Bitmap of the opcodes that are legal now.
    opcodes: u64,
    /// Whether the extension is visible.
    x_ipsec: bool,
    /// The driver was told of more SAs than there can be.
    exaggerated: bool,
    /// Capabilities that the driver has set.
    pub(super) caps: DriverCaps,
}

impl AdminState {
    /// After a reset: only LIST_QUERY and LIST_USE are legal.
    pub(super) fn new(x_ipsec: bool) -> Self {
        Self {
            opcodes: admin::OPS_INITIAL,
            x_ipsec,
            exaggerated: false,
            caps: DriverCaps::default(),
        }
    }

    /// See [`Ipsec::set_x_ipsec`].
    pub(super) fn set_x_ipsec(&mut self, on: bool) {
        self.x_ipsec = on;
    }

    /// Order of the checks: group, opcode, member.
    fn check(&self, hdr: &CmdHdr) -> Result<(), Refused> {
        if hdr.group_type.get() != admin::GROUP_SELF {
            return Err(Refused::GROUP);
        }
        if !bitmap::get(self.opcodes.to_le_bytes().as_slice(), hdr.opcode.get()) {
            return Err(Refused::OPCODE);
        }
        if hdr.group_member_id.get() != 0 {
            return Err(Refused::MEMBER);
        }
        Ok(())
    }

    /// LIST_USE replaces the list, if it only names what LIST_QUERY reports.
    fn list_use(&mut self, list: &[u8]) -> Result<Vec<u8>, Refused> {
        if !bitmap::is_subset(list, &admin::OPS_ALL.to_le_bytes()) {
            return Err(Refused::FIELD);
        }
        self.opcodes = read_zero_extended::<U64>(list).get();
        Ok(Vec::new())
    }
}

/// See [`Ipsec::admin`].
pub(super) fn execute(ipsec: &Ipsec, readable: &[u8], writable: &mut [u8]) -> usize {
    let request = Request::parse(readable);
    ipsec.counters.admin_commands.inc();
    let (hdr, result) = match dispatch(ipsec, &request) {
        Ok(result) => (ReplyHdr::default(), result),
        Err(refused) => {
            ipsec.counters.admin_errors.inc();
            log::debug!(
                "administration command {:#x} is refused: status {}, qualifier {}",
                request.hdr.opcode.get(),
                refused.status,
                refused.qualifier
            );
            (reply_hdr(refused), Vec::new())
        }
    };
    let mut written = 0;
    for (to, from) in writable
        .iter_mut()
        .zip(hdr.as_bytes().iter().chain(&result))
    {
        *to = *from;
        written += 1;
    }
    written
}

fn reply_hdr(refused: Refused) -> ReplyHdr {
    ReplyHdr {
        status: refused.status.into(),
        status_qualifier: refused.qualifier.into(),
        ..ReplyHdr::default()
    }
}

/// Whether the driver is told that there can be more SAs than is true.
fn exaggerates(ipsec: &Ipsec, request: &Request<'_>) -> bool {
    request.hdr.opcode.get() == admin::OP_DEVICE_CAP_GET
        && request.cap().0.id.get() == cap::IPSEC_RESOURCE
        && ipsec.misbehaviour.takes(Deed::SaLimits)
}

/// Checks and executes a command; returns its result.
fn dispatch(ipsec: &Ipsec, request: &Request<'_>) -> Result<Vec<u8>, Refused> {
    let mut state = ipsec.lock_state();
    state.check(&request.hdr)?;
    state.exaggerated |= exaggerates(ipsec, request);
    let device = DeviceCaps::new(&ipsec.config, state.x_ipsec, state.exaggerated);
    match request.hdr.opcode.get() {
        admin::OP_LIST_QUERY => Ok(admin::OPS_ALL.to_le_bytes().to_vec()),
        admin::OP_LIST_USE => state.list_use(request.data),
        admin::OP_CAP_ID_LIST_QUERY => device.ids(),
        admin::OP_DEVICE_CAP_GET => device.get(request.cap().0.id.get()),
        admin::OP_DRIVER_CAP_SET => {
            let (hdr, data) = request.cap();
            let live = ipsec.read_tables().len() != (0, 0);
            state.caps.set(&device, hdr.id.get(), data, live)?;
            Ok(Vec::new())
        }
        admin::OP_OBJ_CREATE => objects::create(ipsec, &state.caps, request),
        admin::OP_OBJ_MODIFY => objects::modify(ipsec, &state.caps, request),
        admin::OP_OBJ_QUERY => objects::query(ipsec, &state.caps, request),
        admin::OP_OBJ_DESTROY => objects::destroy(ipsec, &state.caps, request),
        _ => Err(Refused::OPCODE),
    }
}
