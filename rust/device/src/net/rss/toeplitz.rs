// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The Toeplitz hash (VIRTIO 1.4 section 5.1.6.4.3; Microsoft, "RSS Hashing Functions").
//!
//! Each bit of the input that is set adds, without carry, the 32 bits of the key that begin at its place. The
//! sums of four bits are worked out when the key is set.

use espnic_wire::rss::KEY_MAX;

/// Longest input: the addresses of IPv6, and ports.
pub const INPUT_MAX: usize = 36;
/// Groups of four bits in it.
const NIBBLES: usize = 2 * INPUT_MAX;

/// A key.
pub struct Toeplitz {
    /// For each group of the input, what its values add.
    sums: Box<[[u32; 16]; NIBBLES]>,
}

impl Toeplitz {
    /// Of a key of up to [`KEY_MAX`] bytes; a shorter one counts as if zeros followed.
    pub fn new(key: &[u8]) -> Self {
        let mut padded = [0; KEY_MAX];
        padded
            .iter_mut()
            .zip(key)
            .for_each(|(to, from)| *to = *from);
        let mut sums = Box::new([[0; 16]; NIBBLES]);
        for (group, sums) in sums.iter_mut().enumerate() {
            for (value, sum) in (0u8..).zip(sums) {
                *sum = (0..4)
                    .filter(|bit| value & (8 >> bit) != 0)
                    .fold(0, |sum, bit| sum ^ window(&padded, 4 * group + bit));
            }
        }
        Self { sums }
    }

    /// The hash of `input`, of which up to [`INPUT_MAX`] bytes count.
    pub fn hash<'a>(&self, input: impl IntoIterator<Item = &'a u8>) -> u32 {
        let nibbles = input
            .into_iter()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .zip(self.sums.iter());
        nibbles.fold(0, |hash, (nibble, sums)| {
            hash ^ sums.get(usize::from(nibble)).copied().unwrap_or(0)
        })
    }
}

/// The 32 bits of the key from `bit` on.
fn window(key: &[u8; KEY_MAX], bit: usize) -> u32 {
    let bytes = key.iter().skip(bit / 8).chain(std::iter::repeat(&0));
    let five = bytes
        .take(5)
        .fold(0, |all, &byte| (all << 8) | u64::from(byte));
    (five >> (8 - bit % 8)) as u32
}

/// The key of Microsoft's examples ("Verifying the RSS Hash Calculation").
#[cfg(test)]
pub const EXAMPLE_KEY: [u8; KEY_MAX] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, bit by bit.
    fn slow(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| {
            let byte = bytes.get(at / 8).copied().unwrap_or(0);
            u32::from((byte >> (7 - at % 8)) & 1)
        };
        (0..8 * input.len())
            .filter(|&at| bit(input, at) == 1)
            .fold(0, |hash, at| {
                hash ^ (at..at + 32).fold(0, |window, at| (window << 1) | bit(key, at))
            })
    }

    proptest! {
        #[test]
        fn tables_give_what_the_definition_says(
            key in prop::collection::vec(any::<u8>(), 0..=KEY_MAX),
            input in prop::collection::vec(any::<u8>(), 0..=INPUT_MAX),
        ) {
            prop_assert_eq!(Toeplitz::new(&key).hash(&input), slow(&key, &input));
        }
    }
}
