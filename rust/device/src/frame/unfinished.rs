// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the sender of a frame has left to do: its checksum, and its segmentation.
//!
//! Such a frame exists between NICs of one process only. Whoever takes it passes that on to a driver
//! that has negotiated it, or does it.

/// The part that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Start of the TCP or UDP header, from the start of the frame. The checksum reaches from there to the
    /// end of the frame.
    pub start: u16,
    /// Offset of the checksum from there. The field has the sum of the pseudo header.
    pub offset: u16,
    /// The packet stands for several ones.
    pub cut: Option<Cut>,
}

/// How a TCP packet is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Version of IP: 4 or 6.
    pub family: u8,
    /// Bytes of data per segment, not 0.
    pub size: u16,
    /// Bytes of all headers, with which every segment begins.
    pub head: u16,
}

impl Cut {
    /// Number of segments of a frame of `len` bytes, and the bytes in all of them.
    pub fn on_wire(&self, len: usize) -> (usize, usize) {
        let head = usize::from(self.head);
        let data = len.saturating_sub(head);
        // A packet without data is a segment, too.
        let count = data.div_ceil(usize::from(self.size).max(1)).max(1);
        (count, data + count * head)
    }

    /// Length of the longest segment of a frame of `len` bytes.
    pub fn longest(&self, len: usize) -> usize {
        len.min(usize::from(self.head) + usize::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_with_their_headers() {
        let cut = Cut {
            family: 4,
            size: 1000,
            head: 54,
        };
        for (len, count, bytes, longest) in [
            (54, 1, 54, 54),
            (55, 1, 55, 55),
            (1054, 1, 1054, 1054),
            (1055, 2, 1109, 1054),
            (3054, 3, 3162, 1054),
        ] {
            assert_eq!(
                (cut.on_wire(len), cut.longest(len)),
                ((count, bytes), longest)
            );
        }
    }
}
