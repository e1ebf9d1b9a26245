// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A buffer that becomes a frame.

use super::{Content, Frame};
use espnic_esp::ip::Layers;
use std::ops::{Deref, DerefMut};

/// A buffer, mostly that of a frame which is done with. Its bytes can be written, and nobody has looked at them.
#[derive(Debug, Default)]
pub struct Blank(Box<Content>);

impl Deref for Blank {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl DerefMut for Blank {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0.bytes
    }
}

impl From<Vec<u8>> for Blank {
    fn from(bytes: Vec<u8>) -> Self {
        let mut blank = Self::default();
        blank.0.bytes = bytes;
        blank
    }
}

impl From<Frame> for Option<Blank> {
    /// The default has none.
    #[inline(always)]
    fn from(frame: Frame) -> Self {
        frame.0.map(Blank)
    }
}

impl From<Blank> for Frame {
    /// Looks at the headers.
    #[inline]
    fn from(blank: Blank) -> Self {
        let layers = Layers::find(&blank);
        Self::with_layers(blank, layers)
    }
}

impl Frame {
    /// Of bytes whose headers are known: it is a copy, or a segment, of another frame.
    #[inline]
    pub fn with_layers(blank: Blank, layers: Layers) -> Self {
        debug_assert_eq!(layers, Layers::find(&blank));
        let Blank(mut content) = blank;
        content.layers = layers;
        content.unfinished = None;
        Self(Some(content))
    }
}

impl Blank {
    /// Memory of the buffer.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.0.bytes.capacity()
    }

    /// Gives it this length. What was in it stays: clearing it would cost as much as the copy that fills it.
    #[inline]
    pub fn resize(&mut self, len: usize) {
        let bytes = &mut self.0.bytes;
        bytes.reserve_exact(len.saturating_sub(bytes.len()));
        bytes.resize(len, 0);
    }

    /// Puts a copy of `bytes` in.
    pub fn fill(&mut self, bytes: &[u8]) {
        let own = &mut self.0.bytes;
        own.clear();
        own.reserve_exact(bytes.len());
        own.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Unfinished;
    use espnic_esp::ip::ETH_HLEN;

    /// The start of an IPv4 packet, with so many bytes in all.
    fn bytes(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([0x08, 0x00, 0x45, 0, 0, 46]);
        bytes.resize(len, 7);
        bytes
    }

    #[test]
    fn a_frame_in_a_used_buffer_is_like_a_new_one() {
        let mut frame = Frame::from(bytes(60));
        frame.leave(Some(Unfinished {
            start: 34,
            offset: 16,
            cut: None,
        }));
        let at = frame.as_ptr();
        let mut blank = Option::<Blank>::from(frame).unwrap();
        blank.fill(&[9; 40]);
        let frame = Frame::from(blank);
        assert_eq!((&frame, frame.as_ptr()), (&vec![9; 40].into(), at));
        let mut blank = Option::<Blank>::from(frame).unwrap();
        blank.resize(60);
        assert_eq!(&blank[..40], [9; 40]);
        blank.copy_from_slice(&bytes(60));
        let layers = Layers::find(&bytes(60));
        assert_eq!(Frame::with_layers(blank, layers), bytes(60).into());
    }

    #[test]
    fn the_default_has_no_buffer() {
        let mut none = Frame::default();
        assert_eq!((&*none, none.capacity()), (&[][..], 0));
        assert_eq!(none.layers(), &Layers::find(&[]));
        none.leave(Some(Unfinished {
            start: 34,
            offset: 16,
            cut: None,
        }));
        assert_eq!((none.unfinished(), none.on_wire()), (None, (1, 0)));
        assert_eq!(none.change(0, |_, _| ()), None);
        assert!(none.behind_headers(ETH_HLEN).is_none());
        assert!(Option::<Blank>::from(none).is_none());
    }
}
