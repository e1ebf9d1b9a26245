// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checksums and segments: what a guest leaves to the NIC, and a NIC to the one that receives the frame.

use crate::frame::{Frame, Unfinished};
use crate::frames::Frames;
use espnic_esp::checksum;
use espnic_esp::segment::{Request, Segments};

/// Appends `frame` to `out`, complete, or the segments that it stands for; then its buffer is left in
/// `frame`. `false`, and nothing is appended, if that is impossible.
pub fn finish(frame: &mut Frame, out: &mut Frames) -> bool {
    let Some(left) = frame.take_unfinished() else {
        out.push(std::mem::take(frame));
        return true;
    };
    match left.cut {
        None => {
            let done = complete(frame, left.start, left.offset);
            if done {
                out.push(std::mem::take(frame));
            }
            done
        }
        Some(_) => cut(frame, &left, out).is_some(),
    }
}

/// Completes the checksum from `start` to the end of the frame, `offset` bytes after `start`. `false` if
/// the field is not in the frame.
pub fn complete(frame: &mut Frame, start: u16, offset: u16) -> bool {
    let complete = |_: &[u8], rest: &mut [u8]| {
        let end = rest.len();
        checksum::complete(rest, 0, offset.into(), end)
    };
    frame.change(start.into(), complete).unwrap_or(false)
}

fn cut(frame: &Frame, left: &Unfinished, out: &mut Frames) -> Option<()> {
    let cut = left.cut?;
    let request = Request {
        family: cut.family,
        tcp: left.start.into(),
        size: cut.size.into(),
    };
    let segments = Segments::plain(frame, frame.layers(), &request).ok()?;
    write(frame, &segments, out)
}

/// Appends the segments of `frame` to `out`. `None`, and nothing is appended, if that is impossible.
pub fn write(frame: &Frame, segments: &Segments<'_>, out: &mut Frames) -> Option<()> {
    let before = out.len();
    for index in 0..segments.count() {
        let len = segments.len(index);
        let mut segment = out.buffer(len);
        if segments.write(index, &mut segment).is_err() {
            out.truncate(before);
            return None;
        }
        // All headers but the lengths are those of the frame.
        out.push(Frame::with_layers(segment, frame.layers().ending_at(len)));
    }
    Some(())
}
