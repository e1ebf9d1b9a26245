// SPDX-License-Identifier: GPL-2.0 OR MIT

//! MSI-X vectors as event descriptors. Address, data and mask of a vector live in the peer; the
//! device only signals.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use nix::fcntl::{fcntl, FcntlArg, OFlag};

/// The vectors of one function. Signalling takes no lock.
pub struct Msix {
    vectors: Vec<ArcSwapOption<File>>,
    signalled: AtomicU64,
}

impl Msix {
    /// `count` vectors without a receiver.
    pub fn new(count: u16) -> Self {
        Self {
            vectors: (0..count).map(|_| ArcSwapOption::empty()).collect(),
            signalled: AtomicU64::new(0),
        }
    }

    /// Number of vectors.
    pub fn count(&self) -> u16 {
        self.vectors.len() as u16
    }

    /// Replaces the receiver of `vector`; `None` removes it. Unknown vectors are ignored. A receiver that
    /// is full loses signals instead of keeping the sender; one that cannot be made so is refused, and
    /// the vector has none then.
    pub fn set(&self, vector: u32, receiver: Option<File>) -> io::Result<()> {
        let Some(slot) = self.vectors.get(vector as usize) else {
            return Ok(());
        };
        let result = receiver.as_ref().map_or(Ok(()), never_blocks);
        slot.store(receiver.filter(|_| result.is_ok()).map(Into::into));
        result
    }

    /// Removes all receivers.
    pub fn clear(&self) {
        for slot in &self.vectors {
            slot.store(None);
        }
    }

    /// Signals `vector`. A vector without receiver is disabled: nothing happens, and the answer is
    /// `false`.
    pub fn signal(&self, vector: u16) -> bool {
        let Some(slot) = self.vectors.get(usize::from(vector)) else {
            return false;
        };
        let Some(file) = &*slot.load() else {
            return false;
        };
        // One attempt, because a receiver that is no event descriptor may accept a part only.
        if let Err(error) = (&**file).write(&1u64.to_ne_bytes()) {
            log::debug!("interrupt vector {vector}: {error}");
            return false;
        }
        self.signalled.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Interrupts sent so far.
    pub fn signalled(&self) -> u64 {
        self.signalled.load(Ordering::Relaxed)
    }
}

fn never_blocks(receiver: &File) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(receiver, FcntlArg::F_GETFL)?);
    fcntl(receiver, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_full_receiver_does_not_block() {
        let msix = Msix::new(1);
        let (_reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        msix.set(0, Some(File::from(OwnedFd::from(writer))))
            .unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let lost = (0..1_000_000).any(|_| !msix.signal(0));
            sender.send((lost, msix.signal(0)))
        });
        let (lost, more) = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(lost && !more);
    }

    #[test]
    fn signals_reach_the_receiver_of_their_vector() {
        let msix = Msix::new(2);
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        msix.set(1, Some(File::from(OwnedFd::from(writer))))
            .unwrap();
        assert!(!msix.signal(0));
        assert!(msix.signal(1));
        assert!(!msix.signal(2));
        assert!(!msix.signal(0xffff));
        let mut value = [0; 8];
        reader.read_exact(&mut value).unwrap();
        assert_eq!(u64::from_ne_bytes(value), 1);
        msix.set(9, None).unwrap();
        msix.clear();
        assert!(!msix.signal(1));
        assert_eq!(msix.signalled(), 1);
    }
}
