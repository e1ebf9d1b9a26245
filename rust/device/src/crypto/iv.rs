// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Unpredictable IVs (RFC 3602 section 3).
//!
//! Each thread encrypts a counter under a random key of its own (NIST SP 800-38A appendix C): as
//! unpredictable as AES, never twice the same in a thread, and about as cheap as one block.

use super::{AnyAead, Backend};
use espnic_esp::aead::{Aead, TAG_LEN};
use espnic_esp::engine::{CipherError, LONG_IV_LEN};
use std::cell::RefCell;
use zeroize::Zeroizing;

/// A source for each library, so that an SA has all of its cryptography from one.
const SOURCES: usize = 2;

struct Source {
    key: AnyAead,
    prefix: [u8; 4],
    counter: u64,
}

thread_local! {
    static SOURCE: RefCell<[Option<Source>; SOURCES]> = const { RefCell::new([None, None]) };
}

impl Source {
    fn new(backend: Backend) -> Result<Self, CipherError> {
        let mut key = Zeroizing::new([0; 32]);
        let mut prefix = [0; 4];
        for random in [&mut key[..], &mut prefix] {
            aws_lc_rs::rand::fill(random).map_err(|_| CipherError::Unsupported)?;
        }
        let key = backend
            .aes_gcm(&key[..], TAG_LEN)
            .map_err(|_| CipherError::Unsupported)?;
        Ok(Self {
            key,
            prefix,
            counter: 0,
        })
    }

    /// The key stream of GCM is AES of (prefix, counter, block number), and these are never repeated.
    fn next(&mut self) -> Result<[u8; LONG_IV_LEN], CipherError> {
        self.counter += 1;
        let nonce = espnic_esp::aead::nonce(&self.prefix, &self.counter.to_be_bytes());
        let (mut block, mut tag) = ([0; LONG_IV_LEN], [0; TAG_LEN]);
        self.key.seal(&nonce, &[], &mut block, &mut tag)?;
        Ok(block)
    }
}

/// The next IV, made by `backend`.
pub(super) fn unpredictable(backend: Backend) -> Result<[u8; LONG_IV_LEN], CipherError> {
    SOURCE.with_borrow_mut(|[ipsec_mb, aws_lc]| {
        let source = match backend {
            Backend::IpsecMb => ipsec_mb,
            Backend::AwsLc => aws_lc,
        };
        match source {
            Some(source) => source.next(),
            None => source.insert(Source::new(backend)?).next(),
        }
    })
}
