// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory for SAs and expanded keys, close together. With many SAs the TLB cannot hold all of their pages,
//! and a TLB miss takes as long as a packet. So they lie in regions of the size of a huge page. The first
//! region becomes one when it is full, later ones from the beginning. Regions stay out of core dumps and
//! swap. This module has `unsafe` because it hands out memory.

use std::alloc::{alloc, dealloc, Layout};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// A huge page of x86-64 and of most others.
const REGION: usize = 2 << 20;

/// Places for values of one type. Memory with a value in it is never freed.
pub(crate) struct Arena<T> {
    regions: Mutex<Regions>,
    of: PhantomData<T>,
}

/// The regions of an arena, by address.
struct Regions {
    parts: BTreeMap<usize, Part>,
    /// The regions that have room.
    open: BTreeSet<usize>,
}

/// One region.
struct Part {
    base: NonNull<u8>,
    /// Places from here on have never been used, and have no memory yet.
    fresh: usize,
    /// Places that were used.
    free: Vec<usize>,
    /// It is a huge page, or about to become one.
    huge: bool,
}

// SAFETY: the memory belongs to the arena, not to a thread.
unsafe impl Send for Part {}

impl<T> Arena<T> {
    const COUNT: usize = REGION / size_of::<T>();
    const LAYOUT: Layout = {
        assert!(Self::COUNT > 0 && align_of::<T>() <= REGION);
        match Layout::from_size_align(REGION, REGION) {
            Ok(layout) => layout,
            Err(_) => panic!("the size is a power of two"),
        }
    };

    pub(crate) const fn new() -> Self {
        Self {
            regions: Mutex::new(Regions {
                parts: BTreeMap::new(),
                open: BTreeSet::new(),
            }),
            of: PhantomData,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `value` into a place; `None` if there is no memory.
    pub(crate) fn put(&'static self, value: T) -> Option<Placed<T>> {
        let mut regions = self.lock();
        let (base, at) = regions.take_place::<T>(Self::LAYOUT)?;
        let filled = regions.filled::<T>(base);
        drop(regions);
        // SAFETY: `at` is below `COUNT`, so the place is within the region; it is aligned, because the
        // region is and sizes are multiples of alignments; and nobody else has it.
        let at = unsafe { base.cast::<T>().add(at) };
        // SAFETY: as above.
        unsafe { at.write(value) };
        if filled {
            // Outside the lock, so that other NICs do not wait. The region stays, because the place is
            // in use.
            make_huge(base);
        }
        Some(Placed { arena: self, at })
    }

    /// Drops a value.
    ///
    /// # Safety
    ///
    /// `at` must come from [`Placed::into_raw`] of a value of this arena, and be used by nobody from now on.
    pub(crate) unsafe fn drop_raw(&'static self, at: NonNull<T>) {
        drop(Placed { arena: self, at });
    }

    fn take_back(&self, at: NonNull<T>) {
        let base = at.as_ptr() as usize & !(REGION - 1);
        let place = (at.as_ptr() as usize - base) / size_of::<T>();
        let Some(unused) = self.lock().give_back(base, place) else {
            return;
        };
        unhide(unused);
        // SAFETY: from `alloc` with this layout, and no place of it is in use.
        unsafe { dealloc(unused.as_ptr(), Self::LAYOUT) };
    }
}

impl Regions {
    /// Takes an unused place; returns it with its region, which is new if the others are full.
    fn take_place<T>(&mut self, layout: Layout) -> Option<(NonNull<u8>, usize)> {
        let open = self.open.first().copied();
        let base = match open {
            Some(base) => base,
            None => self.add(layout)?,
        };
        let part = self.parts.get_mut(&base)?;
        let at = part.take();
        if !part.has_room::<T>() {
            self.open.remove(&base);
        }
        Some((part.base, at))
    }

    fn add(&mut self, layout: Layout) -> Option<usize> {
        // SAFETY: the layout has a size.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        hide(base);
        let part = Part {
            base,
            fresh: 0,
            free: Vec::new(),
            huge: !self.parts.is_empty(),
        };
        let address = base.as_ptr() as usize;
        if part.huge {
            begin_huge(base);
        }
        self.parts.insert(address, part);
        self.open.insert(address);
        Some(address)
    }

    /// Whether the region at `base` has just become full for the first time.
    fn filled<T>(&mut self, base: NonNull<u8>) -> bool {
        let part = self.parts.get_mut(&(base.as_ptr() as usize));
        part.is_some_and(|part| {
            let full = part.fresh == Arena::<T>::COUNT;
            full && !std::mem::replace(&mut part.huge, full)
        })
    }

    /// Takes a place back. Returns its region, which is the caller's then, if no place of it is in use; one is
    /// kept for the next value.
    fn give_back(&mut self, base: usize, place: usize) -> Option<NonNull<u8>> {
        let last = self.parts.len() == 1;
        let part = self.parts.get_mut(&base)?;
        part.free.push(place);
        self.open.insert(base);
        if part.free.len() != part.fresh || last {
            return None;
        }
        self.open.remove(&base);
        self.parts.remove(&base).map(|part| part.base)
    }
}

/// Keeps a region out of core dumps and swap, as far as the system lets it. Pages are locked when they are
/// first used, so that a region still takes no more memory than it needs.
fn hide(base: NonNull<u8>) {
    // SAFETY: the region is ours, and its content stays as it is.
    let hidden = unsafe { libc::madvise(base.as_ptr().cast(), REGION, libc::MADV_DONTDUMP) };
    say_if_failed(hidden, "core dumps");
    // SAFETY: as above.
    let locked = unsafe { libc::mlock2(base.as_ptr().cast(), REGION, libc::MLOCK_ONFAULT) };
    say_if_failed(locked, "swap");
}

/// Undoes [`hide`] before the allocator gets the region back.
fn unhide(base: NonNull<u8>) {
    // SAFETY: the region is ours, and its content stays as it is. A failure leaves it hidden.
    unsafe {
        libc::munlock(base.as_ptr().cast(), REGION);
        libc::madvise(base.as_ptr().cast(), REGION, libc::MADV_DODUMP);
    }
}

fn say_if_failed(result: libc::c_int, place: &str) {
    static SAID: Once = Once::new();
    if result != 0 {
        let error = io::Error::last_os_error();
        SAID.call_once(|| {
            log::warn!("keys may get into {place}: {error}; a higher `ulimit -l` may help");
        });
    }
}

impl Part {
    fn has_room<T>(&self) -> bool {
        !self.free.is_empty() || self.fresh < Arena::<T>::COUNT
    }

    /// Takes an unused place; there must be room.
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}

/// Lets a region be one huge page from its first use on. It takes all of its memory at once, which is little
/// beside what full regions take.
fn begin_huge(base: NonNull<u8>) {
    #[cfg(target_os = "linux")]
    // SAFETY: the region is ours, and nothing is in it. A failure leaves it as it is.
    unsafe {
        libc::madvise(base.as_ptr().cast(), REGION, libc::MADV_HUGEPAGE);
    }
}

/// Makes a region one huge page. Only the first one, when it is full: the kernel copies it, and waits for all
/// processors meanwhile, which on a busy machine takes long. Kernels that cannot do it leave the region as it
/// is.
fn make_huge(base: NonNull<u8>) {
    #[cfg(target_os = "linux")]
    // SAFETY: the region is ours, and its content stays as it is.
    unsafe {
        libc::madvise(base.as_ptr().cast(), REGION, libc::MADV_COLLAPSE);
    }
}

impl<T> Placed<T> {
    /// Gives the value away, as one pointer. It is dropped by [`Arena::drop_raw`].
    pub(crate) fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).at
    }
}

/// A value in an arena.
pub(crate) struct Placed<T: 'static> {
    arena: &'static Arena<T>,
    at: NonNull<T>,
}

// SAFETY: owns its value, as a box does.
unsafe impl<T: Send> Send for Placed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Placed<T> {}

impl<T> Deref for Placed<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the place has a value and is ours until we are dropped.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Placed<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Placed<T> {
    fn drop(&mut self) {
        // SAFETY: the place has a value, which nobody uses any more.
        unsafe { self.at.drop_in_place() };
        self.arena.take_back(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::{Zeroize, ZeroizeOnDrop};

    #[derive(Zeroize, ZeroizeOnDrop)]
    #[repr(align(64))]
    struct Value([u8; 1264]);

    #[test]
    fn places_are_apart_and_used_again() {
        static ARENA: Arena<Value> = Arena::new();
        let count = 2 * Arena::<Value>::COUNT + 3;
        let byte = |n: usize| (n % 251) as u8;
        let fill = || (0..count).map(|n| Some(ARENA.put(Value([byte(n); 1264])).unwrap()));
        let mut values: Vec<_> = fill().collect();
        let whole = |values: &[Option<Placed<Value>>]| {
            let right = |(n, value): (usize, &Option<Placed<Value>>)| {
                value
                    .as_ref()
                    .is_none_or(|value| value.0 == [byte(n); 1264])
            };
            values.iter().enumerate().all(right)
        };
        assert!(whole(&values));
        assert_eq!(ARENA.lock().parts.len(), 3);
        for value in values.iter_mut().step_by(2) {
            *value = None;
        }
        assert!(whole(&values));
        for n in (0..count).step_by(2) {
            values[n] = ARENA.put(Value([byte(n); 1264]));
        }
        assert!(whole(&values));
        assert_eq!(ARENA.lock().parts.len(), 3);
        values.clear();
        assert_eq!(ARENA.lock().parts.len(), 1);
    }

    /// The kernel's flags of the memory at `at`, and whether there is a limit for locked memory.
    fn flags_of(at: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(a, b)| number(a).zip(number(b))) {
                inside = (start..end).contains(&at);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("there is no memory at {at:#x}");
    }

    #[test]
    fn regions_stay_out_of_dumps_and_swap() {
        static ARENA: Arena<Value> = Arena::new();
        let value = ARENA.put(Value([1; 1264])).unwrap();
        let flags = flags_of(value.at.as_ptr() as usize);
        let has = |flag: &str| flags.iter().any(|have| have == flag);
        assert!(has("dd"), "{flags:?}");
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let unlimited = limits
            .lines()
            .filter(|line| line.starts_with("Max locked memory"))
            .any(|line| line.contains("unlimited"));
        assert!(has("lo") || !unlimited, "{flags:?}");
    }

    #[test]
    fn what_was_there_is_erased() {
        static ARENA: Arena<Value> = Arena::new();
        let _kept = ARENA.put(Value([1; 1264])).unwrap();
        let value = ARENA.put(Value([2; 1264])).unwrap();
        let at = value.at;
        drop(value);
        // SAFETY: the region is still there, because of the other value, and its memory was written.
        assert!(unsafe { at.as_ref() }.0.iter().all(|&byte| byte == 0));
    }
}
