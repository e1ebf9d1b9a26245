// SPDX-License-Identifier: GPL-2.0

//! Running a program with a frame.

#[cfg(espnic_kunit)]
mod tests;
mod umem;

use super::{
    pieces::{
        self,
        List,
        Pieces,
        HEAD, //
    },
    Active,
    Frame, //
};
use crate::{
    bindings,
    net::{
        napi::Poll,
        skbuff::{
            RxBuffer,
            RxSize,
            RxSkb,
            SkBuff, //
        }, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Bytes of the shortest frame: an Ethernet header.
const ETH_HLEN: u32 = 14;

/// A received frame that a program can see: in one piece, with room around it, or also in others behind that.
///
/// # Invariants
///
/// The buffer is one of [`RxSize::Xdp`]. The `len` bytes of its memory from `start` on end before what belongs to the
/// stack, and are at least an Ethernet header. `pieces` are those of the buffer.
///
/// # Examples
///
/// ```
/// use kernel_net::net::{
///     skbuff::RxBuffer,
///     xdp::RxFrame, //
/// };
///
/// /// The EtherType of a frame of `len` bytes that is behind a header of 12 bytes.
/// fn ethertype(buffer: RxBuffer, len: u32) -> Option<[u8; 2]> {
///     let frame = RxFrame::new(buffer, 12, len).ok()?;
///     frame.first().get(12..)?.first_chunk().copied()
/// }
/// ```
pub struct RxFrame {
    /// Dropped before the buffer, where their list is.
    pieces: Pieces,
    buffer: RxBuffer,
    start: u32,
    /// Of the first piece.
    len: u32,
}

impl RxFrame {
    /// The bytes `skip..skip + len` that the device wrote to `buffer`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no buffer for programs, or the range does not lie in it, or is shorter than an Ethernet
    /// header; the buffer is freed.
    pub fn new(buffer: RxBuffer, skip: u16, len: u32) -> Result<Self> {
        let end = u32::from(skip).checked_add(len).ok_or(EINVAL)?;
        if buffer.size() != RxSize::Xdp || end > buffer.capacity() || len < ETH_HLEN {
            return Err(EINVAL);
        }
        let start = buffer.size().headroom().wrapping_add(u32::from(skip));
        // SAFETY: It is a buffer of this size, which the frame keeps, and whose end it leaves alone.
        let pieces = unsafe { Pieces::none(&buffer) };
        // INVARIANT: Checked above: the capacity is what is between headroom and end.
        Ok(Self {
            pieces,
            buffer,
            start,
            len,
        })
    }

    /// Appends the first `len` bytes that the device wrote to `buffer`, as another piece.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are none, or not in the buffer, or it is no buffer for programs; `ENOSPC` if there are too many
    /// pieces. The buffer is freed.
    pub fn append(&mut self, buffer: RxBuffer, len: u32) -> Result {
        if len > buffer.capacity() {
            return Err(EINVAL);
        }
        let offset = buffer.size().headroom();
        self.pieces.add(buffer, offset, len)
    }

    /// Appends the first `len` bytes of a buffer's [memory](RxBuffer::memory), as another piece.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn append_memory(&mut self, buffer: RxBuffer, len: u32) -> Result {
        self.pieces.add(buffer, 0, len)
    }

    /// A copy of a packet in what `buffer` gives, with `skip` bytes more in front than all frames have. It is in several
    /// pieces if it is longer than one can be.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`] and [`Self::append`]; `ENOMEM` if there is no buffer.
    pub fn copy(
        skip: u16,
        skb: &SkBuff,
        mut buffer: impl FnMut() -> Option<RxBuffer>,
    ) -> Result<Self> {
        let mut at = skb.len().min(Self::CAPACITY.saturating_sub(skip.into()));
        let mut copy = Self::new(buffer().ok_or(ENOMEM)?, skip, at)?;
        skb.copy_bits(0, copy.first_mut())?;
        while at < skb.len() {
            let mut piece = buffer().ok_or(ENOMEM)?;
            let rest = skb.len().saturating_sub(at) as usize;
            let room = piece.memory();
            let count = room.len().min(rest);
            skb.copy_bits(at, room.get_mut(..count).unwrap_or_default())?;
            copy.append_memory(piece, count as u32)?;
            at = at.saturating_add(count as u32);
        }
        Ok(copy)
    }

    /// The longest frame in one piece.
    pub const CAPACITY: u32 = RxSize::Xdp.capacity();

    /// Bytes in the frame.
    #[inline]
    pub fn len(&self) -> u32 {
        let more = self.pieces.list().map_or(0, List::len);
        self.len.saturating_add(more)
    }

    /// Whether the frame has no bytes; none is so.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes over what a program has made of the first piece: returns how many bytes of metadata are in front. `None` if
    /// that is not in the memory.
    fn follow(&mut self, xdp: &bindings::xdp_buff) -> Option<u8> {
        let begin = self.buffer.as_ptr().addr();
        let offset = |ptr: *mut c_void| u32::try_from(ptr.addr().checked_sub(begin)?).ok();
        let (start, end) = (offset(xdp.data)?, offset(xdp.data_end)?);
        let len = end.checked_sub(start).filter(|&len| len >= ETH_HLEN)?;
        if end > self.buffer.size().end() {
            return None;
        }
        let meta = start.checked_sub(offset(xdp.data_meta)?)?;
        // INVARIANT: Checked above.
        (self.start, self.len) = (start, len);
        u8::try_from(meta).ok()
    }

    fn data(&self) -> *mut u8 {
        self.buffer.as_ptr().wrapping_add(self.start as usize)
    }

    /// The first piece.
    pub fn first(&self) -> &[u8] {
        // SAFETY: By the invariant so many bytes of the buffer's memory are there, which is ours. They are initialised
        // as far as Rust is concerned: see `RxBuffer::bytes`.
        unsafe { core::slice::from_raw_parts(self.data(), self.len as usize) }
    }

    /// The first piece, to be changed.
    fn first_mut(&mut self) -> &mut [u8] {
        self.split_mut().0
    }

    /// The first piece, to be changed, and what follows it.
    pub fn split_mut(&mut self) -> (&mut [u8], impl Iterator<Item = &[u8]>) {
        // SAFETY: As above, and nobody else has them: the frame is borrowed to be changed. The other pieces are in other
        // memory.
        let first = unsafe { core::slice::from_raw_parts_mut(self.data(), self.len as usize) };
        (first, self.pieces.list().into_iter().flat_map(List::iter))
    }

    /// Calls `read` with the first bytes of the frame, in which all headers are that anybody reads.
    fn with_head<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        pieces::with_head(self.first(), self.pieces.list(), read)
    }

    /// Gives the memory of all pieces away.
    fn give_up(self) {
        core::mem::forget(self);
    }

    /// Makes a packet of the frame. In a run of NAPI.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the frame is freed.
    fn into_skb(self, poll: &Poll<'_>) -> Result<RxSkb> {
        let Self {
            pieces,
            buffer,
            start,
            len,
        } = self;
        // Building a packet forgets it.
        let count = pieces.list().map_or(0, List::count);
        // SAFETY: By the invariant the bytes lie in front of what belongs to the stack.
        let built = unsafe { RxSkb::build_at(poll, buffer, start, len) };
        let mut skb = match built {
            Ok(skb) => skb,
            Err(buffer) => {
                // In this order: the list is in the buffer.
                drop(pieces);
                drop(buffer);
                return Err(ENOMEM);
            }
        };
        let flags = pieces.flags();
        core::mem::forget(pieces);
        if count > 0 {
            // SAFETY: They were in the list, and are given up. Building the packet has cleared nothing but their number.
            unsafe { skb.adopt_pieces(count as u8, flags, HEAD as u32) }?;
        }
        Ok(skb)
    }
}

/// What has become of a frame.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xdp::Verdict;
///
/// /// Whether the frame is lost, though the program has not dropped it.
/// fn failed(verdict: &Verdict) -> bool {
///     matches!(verdict, Verdict::Aborted | Verdict::Lost)
/// }
/// ```
pub enum Verdict {
    /// A packet for the stack.
    Pass {
        /// The packet.
        skb: RxSkb,
        /// Its begin or its end has moved.
        moved: bool,
    },
    /// To be sent where it came from.
    Transmit(Frame),
    /// Another device or CPU has it, after [`Poll::flush_redirects`].
    Redirected,
    /// It was to be redirected, and must not be.
    Refused,
    /// Dropped, as the program wanted.
    Dropped,
    /// Dropped, because the program has failed, or said something that is no action; it is traced.
    Aborted,
    /// It could not be sent on, or there was no memory, and it is lost.
    Lost,
}

/// What a program says of a packet that it cannot change.
///
/// # Examples
///
/// ```
/// use kernel_net::net::xdp::Judgement;
///
/// fn may_pass(judgement: Judgement) -> bool {
///     judgement == Judgement::Pass
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It may go to the stack.
    Pass,
    /// It is to be dropped.
    Drop,
    /// It is to be sent on, to wherever.
    Divert,
    /// The program has failed, or said something that is no action; it is traced.
    Abort,
}

impl Active<'_> {
    /// Runs the program with a frame of the queue of this run, and does what it says, where `may_redirect` is true of
    /// the begin of what it has made of a frame that is to be redirected.
    pub fn run(
        &self,
        poll: &Poll<'_>,
        mut frame: RxFrame,
        may_redirect: impl FnOnce(&[u8]) -> bool,
    ) -> Verdict {
        let before = (frame.start, frame.len());
        let Some((action, mut xdp)) = self.execute(poll, &mut frame) else {
            return Verdict::Lost;
        };
        let Some(meta) = frame.follow(&xdp) else {
            return Verdict::Lost;
        };
        match action {
            bindings::xdp_action_XDP_PASS => {
                let moved = before != (frame.start, frame.len());
                pass(poll, frame, moved, meta)
            }
            bindings::xdp_action_XDP_DROP => Verdict::Dropped,
            bindings::xdp_action_XDP_TX => self.transmit(poll, frame, &mut xdp),
            bindings::xdp_action_XDP_REDIRECT if !frame.with_head(may_redirect) => Verdict::Refused,
            bindings::xdp_action_XDP_REDIRECT => {
                // SAFETY: The program has just said so of this frame, in this run of NAPI. The device is that of the
                // run.
                let sent =
                    unsafe { bindings::xdp_do_redirect(poll.netdev(), &mut xdp, self.as_raw()) };
                if sent != 0 {
                    return Verdict::Lost;
                }
                frame.give_up();
                Verdict::Redirected
            }
            other => {
                self.complain(poll, other);
                Verdict::Aborted
            }
        }
    }

    /// Makes a frame to be sent of one that `xdp` describes.
    fn transmit(&self, poll: &Poll<'_>, frame: RxFrame, xdp: &mut bindings::xdp_buff) -> Verdict {
        // SAFETY: The structure describes the memory of `frame`, which is ours, as the program left it.
        let converted = unsafe { bindings::xdp_convert_buff_to_frame(xdp) };
        let Some(ptr) = NonNull::new(converted) else {
            self.trace(poll, bindings::xdp_action_XDP_TX);
            return Verdict::Lost;
        };
        frame.give_up();
        // SAFETY: The structure is where the memory begins, which four divides. It has the memory now, with all
        // pieces that it lists.
        Verdict::Transmit(unsafe { Frame::from_raw(ptr) })
    }

    /// Runs the program with a copy of a packet of the queue of this run, and only tells what it says.
    pub fn judge(&self, poll: &Poll<'_>, mut copy: RxFrame) -> Judgement {
        let Some((action, _)) = self.execute(poll, &mut copy) else {
            return Judgement::Drop;
        };
        match action {
            bindings::xdp_action_XDP_PASS => Judgement::Pass,
            bindings::xdp_action_XDP_DROP => Judgement::Drop,
            bindings::xdp_action_XDP_TX | bindings::xdp_action_XDP_REDIRECT => Judgement::Divert,
            other => {
                self.complain(poll, other);
                Judgement::Abort
            }
        }
    }

    /// Runs the program; returns its action, and what it has made of the first piece. `None` if the context that runs
    /// has no pool, of which frames are, or the program takes no frames in several pieces.
    fn execute(&self, poll: &Poll<'_>, frame: &mut RxFrame) -> Option<(u32, bindings::xdp_buff)> {
        if frame.pieces.list().is_some() && !self.takes_pieces() {
            return None;
        }
        let mut xdp = describe(poll, frame)?;
        // SAFETY: The program exists, and is one for XDP, by the invariant. This is a run of NAPI, as the token says.
        // The structure describes memory that is ours, with an end for the shared info, and the queue of the run,
        // whose device is registered.
        let action = unsafe { bindings::bpf_prog_run_xdp(self.as_raw(), &mut xdp) };
        // SAFETY: It describes the frame, and the program was run with it.
        unsafe { frame.pieces.follow(&xdp) };
        Some((action, xdp))
    }

    /// What is to be said of an action that drops a frame and is none.
    fn complain(&self, poll: &Poll<'_>, action: u32) {
        if action != bindings::xdp_action_XDP_ABORTED {
            // SAFETY: The device is registered, and the program exists by the invariant.
            unsafe {
                bindings::bpf_warn_invalid_xdp_action(poll.netdev(), self.as_raw(), action);
            }
        }
        self.trace(poll, action);
    }

    fn trace(&self, poll: &Poll<'_>, action: u32) {
        // SAFETY: The device is registered, and the program exists by the invariant.
        unsafe { bindings::trace_xdp_exception(poll.netdev(), self.as_raw(), action) }
    }
}

/// Describes a frame to C; `None` if the context that runs has no pool, of which frames are.
fn describe(poll: &Poll<'_>, frame: &RxFrame) -> Option<bindings::xdp_buff> {
    let queue = &poll.receiving()?.queue;
    let size = frame.buffer.size().truesize();
    let memory = frame.buffer.as_ptr().cast();
    let mut xdp = MaybeUninit::<bindings::xdp_buff>::zeroed();
    // SAFETY: The structure is valid for writes, and the queue registered.
    unsafe { bindings::xdp_init_buff(xdp.as_mut_ptr(), size, queue.as_raw()) };
    let flags = frame.pieces.flags();
    // SAFETY: As above. By its invariant the frame is so in the memory, which has `size` bytes, at the end of which is
    // the list of the other pieces if the flags say so.
    unsafe {
        bindings::xdp_prepare_buff(xdp.as_mut_ptr(), memory, frame.start, frame.len, flags);
    }
    // SAFETY: Zeros are a value of it, and it was filled in.
    Some(unsafe { xdp.assume_init() })
}

/// Makes a packet of a frame, with so many bytes of metadata in front of it.
fn pass(poll: &Poll<'_>, frame: RxFrame, moved: bool, meta: u8) -> Verdict {
    let Ok(mut skb) = frame.into_skb(poll) else {
        return Verdict::Lost;
    };
    if meta > 0 {
        // SAFETY: They are in the memory, in front of the frame: see `follow`.
        unsafe { skb.set_metadata(meta) };
    }
    Verdict::Pass { skb, moved }
}

impl Poll<'_> {
    /// Sends what programs have [redirected](Verdict::Redirected) in this run. Before its end.
    pub fn flush_redirects(&self) {
        // SAFETY: This is a run of NAPI by the invariant, in which frames were redirected, or none.
        unsafe { bindings::xdp_do_flush() }
    }
}
