// SPDX-License-Identifier: GPL-2.0

//! Running a program in the memory of a socket.

use super::{
    pass,
    RxFrame,
    Verdict, //
};
use crate::{
    bindings,
    net::{
        napi::Poll,
        skbuff::RxSize,
        xdp::{
            umem::UmemBuffer,
            Active, //
        }, //
    }, //
};
use core::ptr::addr_of;

/// Where a frame is in a socket's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    end: usize,
    meta: usize,
}

impl Place {
    fn of(buffer: &UmemBuffer) -> Self {
        let xdp = buffer.as_raw();
        // SAFETY: The structure exists as long as the buffer, and nobody writes to it now.
        unsafe {
            Self {
                start: addr_of!((*xdp).data).read().addr(),
                end: addr_of!((*xdp).data_end).read().addr(),
                meta: addr_of!((*xdp).data_meta).read().addr(),
            }
        }
    }

    fn len(self) -> Option<u32> {
        u32::try_from(self.end.checked_sub(self.start)?).ok()
    }

    /// Bytes of metadata in front of the frame.
    fn meta(self) -> Option<u8> {
        u8::try_from(self.start.checked_sub(self.meta)?).ok()
    }
}

impl Active<'_> {
    /// Runs the program with a frame of the queue of this run, in the memory of a socket, and does what it says. Only what
    /// is redirected stays there. User space can change the frame at any time, so nobody should have looked at it.
    pub fn run_in_place(&self, poll: &Poll<'_>, buffer: UmemBuffer) -> Verdict {
        let before = Place::of(&buffer);
        let (action, redirected) = buffer.with_list(|xdp| {
            // SAFETY: The program exists, and is one for XDP, by the invariant. This is a run of NAPI, as the token says.
            // The structure describes memory of the pool, and its queue is that of the run's device, which is registered.
            let action = unsafe { bindings::bpf_prog_run_xdp(self.as_raw(), xdp) };
            if action != bindings::xdp_action_XDP_REDIRECT {
                return (action, false);
            }
            // SAFETY: The program has just said so of this frame, in this run of NAPI. The device is that of the run.
            let sent = unsafe { bindings::xdp_do_redirect(poll.netdev(), xdp, self.as_raw()) };
            (action, sent == 0)
        });
        if redirected {
            buffer.give_up();
            return Verdict::Redirected;
        }
        match action {
            bindings::xdp_action_XDP_PASS | bindings::xdp_action_XDP_TX => {}
            bindings::xdp_action_XDP_DROP => return Verdict::Dropped,
            bindings::xdp_action_XDP_REDIRECT => return Verdict::Lost,
            other => {
                self.complain(poll, other);
                return Verdict::Aborted;
            }
        }
        let after = Place::of(&buffer);
        let Some((frame, meta)) = copy(poll, &buffer, after) else {
            return Verdict::Lost;
        };
        drop(buffer);
        match action {
            bindings::xdp_action_XDP_PASS => {
                let moved = (before.start, before.end) != (after.start, after.end);
                pass(poll, frame, moved, meta)
            }
            _ => self.send_back(poll, frame),
        }
    }

    fn send_back(&self, poll: &Poll<'_>, frame: RxFrame) -> Verdict {
        match super::describe(poll, &frame) {
            Some(mut xdp) => self.transmit(poll, frame, &mut xdp),
            None => Verdict::Lost,
        }
    }
}

/// Copies what a program has left of a frame, with its metadata, of which it returns the length; `None` if there is no room
/// for it.
fn copy(poll: &Poll<'_>, buffer: &UmemBuffer, place: Place) -> Option<(RxFrame, u8)> {
    let (len, meta) = (place.len()?, place.meta()?);
    let to = poll.buffer(RxSize::Xdp)?;
    let frame = RxFrame::new(to, 0, len).ok()?;
    let before = u32::from(meta);
    let memory = frame.data().wrapping_sub(meta.into()).cast();
    let count = before.saturating_add(len);
    // SAFETY: The structure describes so many bytes: the verifier and the helpers keep a program from anything else. There is
    // room for the frame, by the invariant of it, and in front of it for 256 bytes.
    unsafe { bindings::umem_read(buffer.as_raw(), before, memory, count) };
    Some((frame, meta))
}
