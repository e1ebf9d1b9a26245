// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The AES-GCM calls of a library, without an engine.

use crate::compare::BATCH;
use crate::engines::Way;
use crate::packets::{self, Content, Kind};
use espnic_device::crypto::{AnyAead, Lines};
use espnic_esp::aead::Aead;
use std::time::{Duration, Instant};

/// Bare calls with many keys load them ahead as the engine does.
const AHEAD: usize = Lines::AHEAD;
const PARTS: usize = Lines::PARTS;
const BURST: usize = Lines::BURST;
const NONCE: [u8; 12] = [7; 12];
const AAD: [u8; 8] = [9; 8];

#[inline]
fn call(way: Way, key: &AnyAead, start: usize, frame: &mut [u8], len: usize) {
    let (text, icv) = frame[start..].split_at_mut(len);
    let done = match way {
        Way::Encrypt => key.seal(&NONCE, &AAD, text, icv),
        Way::Decrypt => key.open(&NONCE, &AAD, text, icv),
    };
    assert_eq!(done, Ok(()), "the library has failed");
}

/// A batch of bare calls over memory that is laid out like frames. Each call uses the first of two equal
/// keys; the second prepares the packets to decrypt.
pub fn bare<'a>(len: usize, way: Way, choose: &mut dyn FnMut() -> [&'a AnyAead; 2]) -> Duration {
    let kind = Kind::gcm(Content::Udp);
    let start = kind.text();
    let keys: Vec<_> = (0..BATCH).map(|_| choose()).collect();
    let mut batch: Vec<_> = (0..BATCH)
        .map(|n| packets::frame(kind, 0, n as u32, len).1)
        .collect();
    if way == Way::Decrypt {
        for ([_, key], frame) in keys.iter().zip(&mut batch) {
            call(Way::Encrypt, key, start, frame, len);
        }
    }
    let same = keys.iter().all(|key| std::ptr::eq(key[0], keys[0][0]));
    let mut lines: Vec<_> = keys
        .iter()
        .filter(|_| !same)
        .map(|key| key[0].lines(len))
        .collect();
    let mut load = |index: usize, is_first: bool| match lines.get_mut(index) {
        Some(lines) if is_first => lines.prefetch_one(),
        Some(lines) => lines.prefetch_some(),
        None => (),
    };
    let time = Instant::now();
    for index in 0..AHEAD {
        load(index, true);
        (0..PARTS.min(AHEAD - 1 - index)).for_each(|_| load(index, false));
    }
    for (index, (key, frame)) in keys.iter().zip(&mut batch).enumerate() {
        if index % BURST == 0 {
            (0..BURST).for_each(|next| load(index + AHEAD + next, true));
        }
        (1..=PARTS).for_each(|part| load(index + AHEAD - part, false));
        call(way, key[0], start, frame, len);
    }
    time.elapsed()
}
