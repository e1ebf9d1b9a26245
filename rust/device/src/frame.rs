// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A frame on its way through the NIC, with what was found of its headers.
//!
//! They are looked at once, when the frame comes out of the guest's memory or from a host's interface.
//! From then on they travel with it, also through a wire to another NIC. Whoever changes bytes says where:
//! only then, and only if headers may have changed, they are looked at again. Encryption and decryption
//! of crypto-only ESP leave all headers as they are.

mod blank;
pub mod unfinished;

use espnic_esp::ip::Layers;
use std::ops::Deref;

pub use blank::Blank;
pub use unfinished::{Cut, Unfinished};

/// A frame. Its bytes can be read like a slice.
///
/// It is one word, because it goes through several lists on its way. The rest stays where it is, and is used again
/// with the buffer ([`Blank`]). The default is a frame without bytes, and takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame(Option<Box<Content>>);

/// What is known of a frame, in one line of the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Content {
    bytes: Vec<u8>,
    /// Those of `bytes`, always.
    layers: Layers,
    /// What its sender has left to do. The bytes stay as they are meanwhile.
    unfinished: Option<Unfinished>,
}

const _: () = {
    assert!(size_of::<Frame>() == 8);
    assert!(size_of::<Content>() == 64);
};

impl Content {
    /// Cold, so that it does not stand in the way of packets whose headers stay as they are.
    #[cold]
    fn look_again(&mut self) {
        self.layers = Layers::find(&self.bytes);
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Some(content) => &content.bytes,
            None => &[],
        }
    }
}

impl From<Vec<u8>> for Frame {
    /// Looks at the headers.
    fn from(bytes: Vec<u8>) -> Self {
        Blank::from(bytes).into()
    }
}

impl From<Frame> for Vec<u8> {
    fn from(frame: Frame) -> Self {
        frame.0.map_or_else(Vec::new, |content| content.bytes)
    }
}

impl Frame {
    /// Its headers.
    #[inline(always)]
    pub fn layers(&self) -> &Layers {
        match &self.0 {
            Some(content) => &content.layers,
            None => &Layers::NONE,
        }
    }

    /// Its bytes and its headers: one look at where they are instead of two.
    #[inline(always)]
    pub fn parts(&self) -> (&[u8], &Layers) {
        match &self.0 {
            Some(content) => (&content.bytes, &content.layers),
            None => (&[], &Layers::NONE),
        }
    }

    /// What its sender has left to do.
    #[inline(always)]
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.0.as_ref()?.unfinished.as_ref()
    }

    /// Leaves this to whoever receives the frame.
    pub fn leave(&mut self, unfinished: Option<Unfinished>) {
        if let Some(content) = &mut self.0 {
            content.unfinished = unfinished;
        }
    }

    /// Takes over what its sender has left to do.
    pub fn take_unfinished(&mut self) -> Option<Unfinished> {
        self.0.as_mut()?.unfinished.take()
    }

    fn cut(&self) -> Option<&Cut> {
        self.unfinished()?.cut.as_ref()
    }

    /// The number of frames, and of bytes, that a wire would carry in place of this frame.
    #[inline]
    pub fn on_wire(&self) -> (usize, usize) {
        let whole = (1, self.len());
        self.cut().map_or(whole, |cut| cut.on_wire(self.len()))
    }

    /// Length of the longest of them.
    #[inline]
    pub fn longest_on_wire(&self) -> usize {
        let len = self.len();
        self.cut().map_or(len, |cut| cut.longest(len))
    }

    /// Memory of the frame's buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        let content = self.0.as_ref();
        content.map_or(0, |content| content.bytes.capacity())
    }

    /// Gives memory back that the frame does not need; `least` bytes may stay.
    pub fn shrink_to(&mut self, least: usize) {
        if let Some(content) = &mut self.0 {
            content.bytes.shrink_to(least);
        }
    }

    /// Length of the longest frame with VLAN tags like those of this one, if packets have up to `mtu`
    /// bytes.
    #[inline]
    pub fn longest(&self, mtu: u16) -> usize {
        self.layers().link_len() + usize::from(mtu)
    }

    /// Changes bytes from `from` on: `action` gets those in front, and those. `None`, and nothing is done,
    /// if the frame ends before.
    // Always: it stands around the encryption of every packet.
    #[inline(always)]
    pub fn change<R>(
        &mut self,
        from: usize,
        action: impl FnOnce(&[u8], &mut [u8]) -> R,
    ) -> Option<R> {
        let content = self.0.as_mut()?;
        debug_assert_eq!(content.unfinished, None);
        // Asked before, while the compiler may know what the answer is.
        let in_headers = from < content.layers.end_of_headers();
        let (front, rest) = content.bytes.split_at_mut_checked(from)?;
        let result = action(front, rest);
        if in_headers {
            content.look_again();
        }
        debug_assert_eq!(content.layers, Layers::find(&content.bytes));
        Some(result)
    }

    /// The bytes from `from` on, to be changed; `None` if there may be headers among them.
    // Always: encryption and decryption of every packet use it.
    #[inline(always)]
    pub fn behind_headers(&mut self, from: usize) -> Option<&mut [u8]> {
        let content = self.0.as_mut()?;
        match from >= content.layers.end_of_headers() {
            true => content.bytes.get_mut(from..),
            false => None,
        }
    }

    /// Makes another frame of it: `action` gets all bytes. Then its headers are looked at.
    pub fn rewrite<R>(&mut self, action: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let content = self.0.get_or_insert_default();
        debug_assert_eq!(content.unfinished, None);
        let result = action(&mut content.bytes);
        content.look_again();
        result
    }

    /// Cuts the frame to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.rewrite(|bytes| bytes.truncate(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_do_not_count_as_packet() {
        let longest = |bytes: &[u8]| Frame::from(bytes.to_vec()).longest(1500);
        let mut frame = vec![0; 60];
        assert_eq!(longest(&frame), 1514);
        assert_eq!(longest(&[]), 1514);
        frame[12] = 0x81;
        assert_eq!(longest(&frame), 1518);
        frame[16] = 0x88;
        frame[17] = 0xa8;
        assert_eq!(longest(&frame), 1522);
        frame[20] = 0x81;
        assert_eq!(longest(&frame), 1522);
        assert_eq!(longest(&frame[..14]), 1514);
    }

    proptest! {
        /// Whatever is changed, and be it a header.
        #[test]
        fn layers_are_those_of_the_bytes(
            mut bytes in prop::collection::vec(any::<u8>(), 40..80),
            kind in prop::sample::select(vec![[0x08, 0x00, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0]]),
            from in 0usize..90,
            value: u8,
        ) {
            bytes[12..15].copy_from_slice(&kind);
            let len = bytes.len();
            let mut frame = Frame::from(bytes);
            let done = frame.change(from, |front, rest| {
                rest.fill(value);
                front.len()
            });
            prop_assert_eq!(done, (from <= len).then_some(from));
            prop_assert_eq!(frame.layers(), &Layers::find(&frame));
            frame.truncate(from);
            prop_assert_eq!(frame.layers(), &Layers::find(&frame));
        }
    }
}
