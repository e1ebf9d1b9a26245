// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An SA table in memory, with its own lock, as an adapter has one.

use espnic_ndis::model::leave::Whole;
use espnic_ndis::model::{
    Backend, Bundle, Lookup, Offloaded, RemoveError, UpdateError, UpperHalves,
};
use espnic_ndis::sa::{Operation, Spi};
use espnic_ndis::{Handle, Status};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One bundle as the table keeps it.
#[derive(Clone)]
pub struct Entry {
    pub shape: Offloaded,
    pub high: UpperHalves,
    /// Keys: of the cipher with its salt, of the integrity algorithm of ESP, of AH.
    pub keys: [Vec<u8>; 3],
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Handle, Entry>,
    /// Handles that were given out.
    handles: u64,
    /// Why it takes no additions.
    closed: Option<Status>,
    /// Why it takes no requests at all and lends nothing to packets.
    held: Option<Status>,
    /// The addition with this number (from 0) fails like this.
    refusals: BTreeMap<u64, Status>,
    additions: u64,
    /// Handles in the order in which they were removed.
    removed: Vec<Handle>,
    remove_error: Option<RemoveError>,
}

/// The handle of the addition with this number (from 1): an address of the upper half, as those of a
/// miniport are, so that one that loses bits on its way is seen.
pub fn handle_number(number: u64) -> Handle {
    Handle::new(0xffff_8000_0000_0000 + number * 0x10).unwrap()
}

/// The table.
pub struct Table {
    inner: Mutex<Inner>,
    capacity: usize,
}

impl Table {
    pub fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::default(),
            capacity,
        }
    }

    /// The addition with this number (from 0) will fail like this.
    pub fn refuse(&self, number: u64, status: Status) {
        self.inner.lock().unwrap().refusals.insert(number, status);
    }

    /// Every removal will fail like this.
    pub fn refuse_removal(&self, error: Option<RemoveError>) {
        self.inner.lock().unwrap().remove_error = error;
    }

    pub fn entry(&self, handle: Handle) -> Option<Entry> {
        self.inner.lock().unwrap().entries.get(&handle).cloned()
    }

    pub fn removed(&self) -> Vec<Handle> {
        self.inner.lock().unwrap().removed.clone()
    }
}

impl Backend for Table {
    fn add(&self, bundle: &Bundle<'_>) -> Result<Handle, Status> {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.additions;
        inner.additions += 1;
        if let Some(why) = inner.held.or(inner.closed) {
            return Err(why);
        }
        if let Some(status) = inner.refusals.get(&number) {
            return Err(*status);
        }
        if inner.entries.len() >= self.capacity {
            return Err(Status::RESOURCES);
        }
        // No handle ever names two bundles, one after the other.
        inner.handles += 1;
        let handle = handle_number(inner.handles);
        let esp = bundle.esp;
        let entry = Entry {
            shape: Offloaded::of(bundle),
            high: UpperHalves::of(bundle),
            keys: [
                esp.and_then(|esp| esp.cipher)
                    .map_or(vec![], |cipher| cipher.material.to_vec()),
                esp.and_then(|esp| esp.integrity)
                    .map_or(vec![], |integrity| integrity.key.to_vec()),
                bundle.ah.map_or(vec![], |ah| ah.integrity.key.to_vec()),
            ],
        };
        inner.entries.insert(handle, entry);
        Ok(handle)
    }

    fn remove(&self, handle: Handle) -> Result<(), RemoveError> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(why) = inner.held {
            return Err(match why {
                Status::REQUEST_ABORTED => RemoveError::Aborted,
                _ => RemoveError::Leaving,
            });
        }
        if let Some(error) = inner.remove_error {
            if let Some(entry) = inner.entries.get_mut(&handle) {
                entry.shape.deleting = true;
            }
            return Err(error);
        }
        inner.entries.remove(&handle).ok_or(RemoveError::Unknown)?;
        inner.removed.push(handle);
        Ok(())
    }

    fn update(
        &self,
        handle: Handle,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(why) = inner.held {
            return Err(match why {
                Status::REQUEST_ABORTED => UpdateError::Aborted,
                _ => UpdateError::Leaving,
            });
        }
        let entry = inner.entries.get_mut(&handle);
        let entry = entry.ok_or(UpdateError::Unknown)?;
        entry.high.update(&entry.shape, operation, spi, high)
    }

    fn offloaded(&self) -> u32 {
        self.inner.lock().unwrap().entries.len() as u32
    }
}

impl Lookup for Table {
    fn by_handle(&self, handle: Handle) -> Option<Offloaded> {
        if self.inner.lock().unwrap().held.is_some() {
            return None;
        }
        self.entry(handle).map(|entry| entry.shape)
    }

    fn find(&self, hits: impl Fn(&Offloaded) -> bool) -> Option<(Handle, Offloaded)> {
        let inner = self.inner.lock().unwrap();
        inner
            .entries
            .iter()
            .filter(|_| inner.held.is_none())
            .find(|(_, entry)| hits(&entry.shape))
            .map(|(handle, entry)| (*handle, entry.shape))
    }
}

impl Whole for Table {
    fn close(&self, why: Status) {
        let mut inner = self.inner.lock().unwrap();
        inner.closed = Some(why);
        inner.entries.clear();
    }

    fn hold(&self, why: Status) {
        self.inner.lock().unwrap().held = Some(why);
    }

    fn open(&self) {
        let mut inner = self.inner.lock().unwrap();
        (inner.closed, inner.held) = (None, None);
    }
}
