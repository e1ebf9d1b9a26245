// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The library's functions for AES-GCM, and expanded keys for them in as little memory as they need on this
//! processor.
//!
//! `struct gcm_key_data` has room for the functions that use most of it, those for AVX-512. Others leave
//! its end alone, which with many SAs would only take memory and time. The library tells which processor it
//! works for, but not what its functions use, so that is tried out: they can use no more than was expanded.

use super::super::super::arena::{Arena, Placed};
use super::super::super::prefetch::Lines;
use super::super::super::suite::KeyError;
use super::super::{sys, Manager};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::OnceLock;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Expands a key: (key, expanded key).
type Expand = unsafe extern "C" fn(*const std::ffi::c_void, *mut sys::gcm_key_data);

const WHOLE: usize = size_of::<sys::gcm_key_data>();

/// The beginning of a `struct gcm_key_data`, which the library wants aligned to 64 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
struct Memory<const LEN: usize>([u8; LEN]);

const _: () = assert!(align_of::<sys::gcm_key_data>() <= align_of::<Memory<WHOLE>>());

impl<const LEN: usize> Memory<LEN> {
    /// Takes as much of `expanded` as there is room for.
    fn place(arena: &'static Arena<Self>, expanded: &Memory<WHOLE>) -> Option<Placed<Self>> {
        let mut placed = arena.put(Self([0; LEN]))?;
        for (to, from) in placed.0.iter_mut().zip(&expanded.0) {
            *to = *from;
        }
        Some(placed)
    }
}

impl Memory<WHOLE> {
    /// Expands `key` where the memory is: to return it would leave copies of the key on the stack.
    ///
    /// # Safety
    ///
    /// `expand` must be the library's function for keys of this length.
    unsafe fn fill(&mut self, expand: Expand, key: &[u8]) {
        // SAFETY: the caller vouches for the key, and the memory has the size and alignment of
        // `gcm_key_data`.
        unsafe { expand(key.as_ptr().cast(), (&raw mut self.0).cast()) };
    }
}

/// The number of bytes, from the first one, that `expand` writes; for keys of `key_len` bytes.
///
/// # Safety
///
/// `expand` must be the library's function for keys of this length.
unsafe fn used(expand: Expand, key_len: usize) -> usize {
    let key = vec![0; key_len];
    let [zeroes, ones] = [0, 0xff].map(|byte| {
        let mut memory = Memory([byte; WHOLE]);
        // SAFETY: the caller's promise.
        unsafe { memory.fill(expand, &key) };
        memory
    });
    // What it has written is the same in both.
    let same = |(a, b): (&u8, &u8)| a == b;
    let last = zeroes.0.iter().zip(&ones.0).rposition(same);
    last.map_or(0, |last| last + 1)
}

/// A line of a cache.
const LINE: usize = 64;
/// Length of a block of AES.
const BLOCK: usize = 16;
/// A text of so many blocks needs the same of a key as a longer one.
const MANY: usize = 32;

/// Which lines of an expanded key the functions read, a bit for each, that of the first one lowest: at index n for
/// a text of n blocks, the last of which may be shorter; at the last index for any with more.
type Needed = [u32; MANY + 1];

/// Tries out what the functions need: what changes their results when it is not as it was.
///
/// # Safety
///
/// The functions must be the library's for keys of `key_len` bytes.
unsafe fn needed(expand: Expand, crypt: [Crypt; 2], key_len: usize, used: usize) -> Needed {
    let mut key = Memory([0; WHOLE]);
    // SAFETY: the caller's promise.
    unsafe { key.fill(expand, &vec![0; key_len]) };
    let mut needed = [0; MANY + 1];
    for (blocks, lines) in needed.iter_mut().enumerate() {
        let len = BLOCK * if blocks == MANY { 3 * MANY } else { blocks };
        // SAFETY: the caller's promise; all of the key is there.
        let right = unsafe { results(crypt, &key, len) };
        for line in 0..used.div_ceil(LINE) {
            let flip = |key: &mut Memory<WHOLE>| {
                let bytes = key.0.iter_mut().take(used);
                let bytes = bytes.skip(line * LINE).take(LINE);
                bytes.for_each(|byte| *byte = !*byte);
            };
            flip(&mut key);
            // SAFETY: as above.
            let differs = unsafe { results(crypt, &key, len) } != right;
            flip(&mut key);
            *lines |= u32::from(differs) << line;
        }
    }
    needed
}

/// What the functions make of a text of `len` bytes.
///
/// # Safety
///
/// The functions must be the library's, and `key` as long as they expect.
unsafe fn results(crypt: [Crypt; 2], key: &Memory<WHOLE>, len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let mut all = Vec::new();
    // The library reads 16 bytes of both.
    let (nonce, aad) = ([7; 16], [9; 16]);
    for function in crypt {
        let mut context = MaybeUninit::<sys::gcm_context_data>::uninit();
        let (mut tag, at) = ([0; 16], text.as_mut_ptr());
        let (nonce, aad) = (nonce.as_ptr(), aad.as_ptr());
        // SAFETY: as in `AesGcm::call`; the caller vouches for function and key.
        unsafe {
            let (key, context) = (key.0.as_ptr().cast(), context.as_mut_ptr());
            let tag = tag.as_mut_ptr();
            function(key, context, at, at, len as u64, nonce, aad, 8, tag, 16);
        }
        all.extend_from_slice(&text);
        all.extend_from_slice(&tag);
    }
    all
}

static SMALL: Arena<Memory<512>> = Arena::new();
static MEDIUM: Arena<Memory<768>> = Arena::new();
static LARGE: Arena<Memory<WHOLE>> = Arena::new();

/// What a key takes.
#[derive(Clone, Copy)]
enum Size {
    /// SSE, AVX2, and AVX-512 without VAES: eight powers of the GHASH key and what belongs to them.
    Small,
    /// AVX2 with VAES: 16 powers.
    Medium,
    /// AVX-512 with VAES: 32 powers.
    Large,
}

impl Size {
    /// `used` is what [`used()`] said.
    const fn of(used: usize) -> Self {
        match used {
            0..=512 => Self::Small,
            513..=768 => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// Encrypts or decrypts a message: (key, context, out, in, length, nonce, AAD, its length, tag, its
/// length).
pub(super) type Crypt = unsafe extern "C" fn(
    *const sys::gcm_key_data,
    *mut sys::gcm_context_data,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);

/// The functions for one key length.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    key_len: usize,
    expand: Expand,
    /// See [`used()`].
    #[cfg(test)]
    used: usize,
    needed: Needed,
    size: Size,
    pub(super) encrypt: Crypt,
    pub(super) decrypt: Crypt,
}

impl Functions {
    /// For AES-128, 192 and 256; `None` if the library does not work on this processor.
    fn load() -> Option<[Self; 3]> {
        let manager = Manager::new().ok()?;
        let all = manager.fields();
        let functions = |key_len, expand: Option<Expand>, encrypt: Option<Crypt>, decrypt| {
            let (expand, encrypt, decrypt) = (expand?, encrypt?, decrypt?);
            // SAFETY: the function is that for keys of this length.
            let used = unsafe { used(expand, key_len) };
            // SAFETY: the functions are those for keys of this length.
            let needed = unsafe { needed(expand, [encrypt, decrypt], key_len, used) };
            Some(Self {
                key_len,
                expand,
                #[cfg(test)]
                used,
                needed,
                size: Size::of(used),
                encrypt,
                decrypt,
            })
        };
        Some([
            functions(16, all.gcm128_pre, all.gcm128_enc, all.gcm128_dec)?,
            functions(24, all.gcm192_pre, all.gcm192_enc, all.gcm192_dec)?,
            functions(32, all.gcm256_pre, all.gcm256_enc, all.gcm256_dec)?,
        ])
    }

    pub(super) fn for_key(key: &[u8]) -> Result<&'static Self, KeyError> {
        static LOADED: OnceLock<Option<[Functions; 3]>> = OnceLock::new();
        let all = LOADED.get_or_init(Self::load).as_ref();
        let all = all.ok_or(KeyError::Unavailable)?;
        let fits = |functions: &&Self| functions.key_len == key.len();
        all.iter().find(fits).ok_or(KeyError::Length)
    }
}

/// The functions and the expanded key of an SA, in as little memory as SAs have. Zeroised when it is
/// dropped.
pub(super) struct Key {
    pub(super) functions: &'static Functions,
    /// In the arena of the size that the functions need, and ours.
    at: NonNull<u8>,
}

// SAFETY: owns its memory, as a box does, and the functions belong to no thread.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    /// Expands `key`, which must have the length of the `functions`. `None` if it has not, or if there is no
    /// memory.
    pub(super) fn expand(functions: &'static Functions, key: &[u8]) -> Option<Self> {
        if key.len() != functions.key_len {
            return None;
        }
        let mut expanded = Memory([0; WHOLE]);
        // SAFETY: as it must be, see above.
        unsafe { expanded.fill(functions.expand, key) };
        let at = match functions.size {
            Size::Small => Memory::place(&SMALL, &expanded)?.into_raw().cast(),
            Size::Medium => Memory::place(&MEDIUM, &expanded)?.into_raw().cast(),
            Size::Large => Memory::place(&LARGE, &expanded)?.into_raw().cast(),
        };
        Some(Self { functions, at })
    }

    /// For the functions. Behind what they use there may be no memory.
    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const sys::gcm_key_data {
        self.at.as_ptr().cast()
    }

    /// What the functions read of it for a text of `len` bytes.
    #[inline]
    pub(super) fn lines(&self, len: usize) -> Lines {
        let blocks = len.div_ceil(BLOCK).min(MANY);
        Lines::new(self.at.as_ptr(), self.functions.needed[blocks])
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it was placed in the arena of this size, and nobody else has the pointer.
        unsafe {
            match self.functions.size {
                Size::Small => SMALL.drop_raw(self.at.cast()),
                Size::Medium => MEDIUM.drop_raw(self.at.cast()),
                Size::Large => LARGE.drop_raw(self.at.cast()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key`, which has the length that it must have, expanded into memory full of `byte`.
    fn expanded(functions: &Functions, key: &[u8], byte: u8) -> Memory<WHOLE> {
        assert_eq!(key.len(), functions.key_len);
        let mut memory = Memory([byte; WHOLE]);
        // SAFETY: the function is that for keys of this length.
        unsafe { memory.fill(functions.expand, key) };
        memory
    }

    /// Encrypts and decrypts `len` bytes with the library's functions; both texts and both tags.
    fn both_ways(functions: &Functions, key: &Memory<WHOLE>, len: usize) -> Vec<u8> {
        // SAFETY: the functions are the library's, and so long is a key.
        let all = unsafe { results([functions.encrypt, functions.decrypt], key, len) };
        let decrypted = all.get(len + 16..2 * len + 16).unwrap();
        assert!(decrypted
            .iter()
            .enumerate()
            .all(|(n, &byte)| byte == n as u8));
        all
    }

    /// For every length of a key, with text of all lengths up to some hundred bytes and of many up to 9000.
    fn for_all_lengths(check: impl Fn(&Functions, &[u8], usize)) {
        for (functions, key_len) in Functions::load().unwrap().iter().zip([16, 24, 32]) {
            let key: Vec<u8> = (0..key_len).map(|n| n * 7 + 1).collect();
            let lengths = (0..700).chain((700..9000).step_by(13)).chain([1400, 9000]);
            lengths.for_each(|len| check(functions, &key, len));
        }
    }

    #[test]
    fn functions_read_no_more_than_is_kept() {
        for_all_lengths(|functions, key, len| {
            let [whole, poisoned] = [0, 0xa5].map(|byte| expanded(functions, key, byte));
            assert!(poisoned.0[functions.used..]
                .iter()
                .all(|&byte| byte == 0xa5));
            let [right, other] = [&whole, &poisoned].map(|key| both_ways(functions, key, len));
            assert!(right == other, "{len} bytes, key of {}", key.len());
        });
    }

    /// The test above would notice.
    #[test]
    fn functions_read_what_is_kept() {
        for functions in &Functions::load().unwrap() {
            let key = vec![3; functions.key_len];
            let [whole, mut less] = [0, 0].map(|byte| expanded(functions, &key, byte));
            less.0[functions.used - 1] ^= 1;
            let differs =
                |len| both_ways(functions, &whole, len) != both_ways(functions, &less, len);
            assert!((0..1024).any(differs));
        }
    }

    /// The lines that are not loaded ahead make no difference, whatever is in them.
    #[test]
    fn functions_read_what_is_loaded_ahead_only() {
        for_all_lengths(|functions, key, len| {
            let whole = expanded(functions, key, 0);
            let needed = functions.needed[len.div_ceil(BLOCK).min(MANY)];
            let mut changed = expanded(functions, key, 0);
            for (line, bytes) in changed.0.chunks_mut(LINE).enumerate() {
                if (needed >> line) & 1 == 0 {
                    bytes.fill(0x5a);
                }
            }
            let crypt = [functions.encrypt, functions.decrypt];
            // SAFETY: the functions are the library's, and so long is a key.
            let [right, other] = [&whole, &changed].map(|key| unsafe { results(crypt, key, len) });
            assert!(right == other, "{len} bytes, key of {}", key.len());
        });
    }

    #[test]
    fn short_texts_need_less_of_a_key() {
        for functions in Functions::load().unwrap() {
            let lines = |blocks: usize| functions.needed[blocks].count_ones() as usize;
            let all = functions.used.div_ceil(LINE);
            // Round keys, and at least one power of the GHASH key.
            assert!(lines(1) >= 3);
            assert!((1..=MANY).all(|blocks| lines(blocks) >= lines(blocks - 1)));
            // AES-128 and 192 have fewer rounds than there is room for.
            assert!((all - 1..=all).contains(&lines(MANY)));
            if all == 20 {
                assert!(lines(4) <= 8, "{}", lines(4));
            }
        }
    }

    #[test]
    fn keys_take_one_of_the_known_sizes() {
        for functions in &Functions::load().unwrap() {
            assert!(
                [496, 752, 1264].contains(&functions.used),
                "{}",
                functions.used
            );
        }
    }

    /// Every size works, not only that of this processor.
    #[test]
    fn larger_memory_than_needed_works() {
        for functions in Functions::load().unwrap() {
            let key = vec![5; functions.key_len];
            let expanded = expanded(&functions, &key, 0);
            for len in [512, 768, WHOLE]
                .into_iter()
                .filter(|&len| len >= functions.used)
            {
                let size = Size::of(len);
                let functions = Box::leak(Box::new(Functions { size, ..functions }));
                let placed = Key::expand(functions, &key).unwrap();
                // SAFETY: so many bytes are there.
                let kept = unsafe { std::slice::from_raw_parts(placed.as_ptr().cast::<u8>(), len) };
                assert!(kept == &expanded.0[..len]);
                assert!(placed.as_ptr().is_aligned());
            }
            let static_functions = Box::leak(Box::new(functions));
            assert!(Key::expand(static_functions, &[5; 17]).is_none());
        }
    }
}
