// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The data plane's view of guest memory.
//!
//! Nearly everything lies in one map, often in the one that was asked for last, and is found with few
//! instructions. What crosses a border goes through `vm-memory`, which may take ten times as long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use super::header;
use super::stretch::{Stretch, WritableStretch};

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    AtomicAccess, ByteValued, Bytes, GuestAddress, GuestMemory, GuestMemoryBackend,
    GuestMemoryError, GuestMemoryMmap, GuestRegionMmap, MmapRegion, Permissions, VolatileMemory,
    VolatileRef, VolatileSlice,
};

/// One map of a view.
pub(super) struct Area {
    /// First and last address.
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) writable: bool,
    pub(super) region: Arc<GuestRegionMmap>,
}

impl Area {
    #[inline(always)]
    fn has(&self, addr: u64, last: u64) -> bool {
        self.start <= addr && last <= self.last
    }
}

/// An immutable view of guest memory.
#[derive(Default)]
pub struct GuestMap {
    ram: GuestMemoryMmap,
    /// The same maps, in the order of their addresses.
    areas: Vec<Area>,
    /// The one that was found last; a hint.
    recent: AtomicUsize,
}

impl GuestMap {
    /// The view of these maps, which are sorted and do not overlap.
    pub(super) fn new(areas: Vec<Area>) -> Self {
        let regions = areas.iter().map(|area| area.region.clone()).collect();
        Self {
            // Only emptiness can fail here.
            ram: GuestMemoryMmap::from_arc_regions(regions).unwrap_or_default(),
            areas,
            recent: AtomicUsize::new(0),
        }
    }

    /// The map that all of the range lies in.
    #[inline(always)]
    fn area(&self, addr: u64, last: u64) -> Option<&Area> {
        match self.areas.get(self.recent.load(Ordering::Relaxed)) {
            Some(area) if area.has(addr, last) => Some(area),
            _ => self.other_area(addr, last),
        }
    }

    #[inline(never)]
    fn other_area(&self, addr: u64, last: u64) -> Option<&Area> {
        let index = self.areas.partition_point(|area| area.last < addr);
        let area = self.areas.get(index).filter(|area| area.has(addr, last))?;
        self.recent.store(index, Ordering::Relaxed);
        Some(area)
    }

    /// The map that the range lies in, and where, if the range is not empty, does not cross a border, and may
    /// be written if that is wanted.
    #[inline(always)]
    fn place(&self, addr: u64, len: usize, write: bool) -> Option<(&MmapRegion, usize)> {
        let last = addr.checked_add((len as u64).checked_sub(1)?)?;
        let area = self.area(addr, last)?;
        if write && !area.writable {
            return None;
        }
        Some((&area.region, (addr - area.start) as usize))
    }

    #[inline(always)]
    fn slice(&self, addr: u64, len: usize, write: bool) -> Option<VolatileSlice<'_>> {
        let (map, at) = self.place(addr, len, write)?;
        map.get_slice(at, len).ok()
    }

    #[inline(always)]
    fn value<T: ByteValued>(&self, addr: u64, write: bool) -> Option<VolatileRef<'_, T>> {
        let (map, at) = self.place(addr, size_of::<T>(), write)?;
        map.get_ref(at).ok()
    }

    /// Whether the guest has the whole range, and it may be written if that is wanted.
    #[inline]
    pub fn has(&self, addr: u64, len: usize, write: bool) -> bool {
        let access = match write {
            true => Permissions::Write,
            false => Permissions::Read,
        };
        self.place(addr, len, write).is_some() || self.check_range(GuestAddress(addr), len, access)
    }

    /// The range, if it is not empty and lies in one map. Otherwise [`Self::get`] has to be asked for each part.
    #[inline(always)]
    pub fn stretch(&self, addr: u64, len: usize) -> Option<Stretch<'_>> {
        let (map, start) = self.place(addr, len, false)?;
        Some(Stretch::new(map, start, len))
    }

    /// The same if all of it may be written.
    #[inline(always)]
    pub fn writable_stretch(&self, addr: u64, len: usize) -> Option<WritableStretch<'_>> {
        let (map, start) = self.place(addr, len, true)?;
        Some(WritableStretch::new(map, start, len))
    }

    /// Copies guest memory to `to`.
    ///
    /// # Errors
    ///
    /// If it is not mapped.
    #[inline]
    pub fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), GuestMemoryError> {
        #[cfg(debug_assertions)]
        super::copied::from_guest(to.len());
        match self.slice(addr, to.len(), false) {
            Some(slice) => {
                slice.copy_to(to);
                Ok(())
            }
            None => self.read_slice(to, GuestAddress(addr)),
        }
    }

    /// Copies guest memory to `to`, like [`Self::read`]. Quicker if that is the header of a packet.
    ///
    /// # Errors
    ///
    /// If it is not mapped.
    #[inline(always)]
    pub fn read_header(&self, addr: u64, to: &mut [u8]) -> Result<(), GuestMemoryError> {
        if let Some(slice) = self.slice(addr, to.len(), false) {
            if header::load(&slice, to) {
                #[cfg(debug_assertions)]
                super::copied::from_guest(to.len());
                return Ok(());
            }
        }
        self.read(addr, to)
    }

    /// Copies `from` to guest memory.
    ///
    /// # Errors
    ///
    /// If it is not mapped, or only for reading.
    #[inline]
    pub fn write(&self, addr: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        #[cfg(debug_assertions)]
        super::copied::to_guest(from.len());
        match self.slice(addr, from.len(), true) {
            Some(slice) => {
                slice.copy_from(from);
                Ok(())
            }
            None => self.write_slice(from, GuestAddress(addr)),
        }
    }

    /// Reads a value. Another thread that writes it at the same time may tear it, unless it is aligned and not
    /// larger than a word.
    ///
    /// # Errors
    ///
    /// If it is not mapped.
    #[inline]
    pub fn get<T: ByteValued>(&self, addr: u64) -> Result<T, GuestMemoryError> {
        match self.value::<T>(addr, false) {
            Some(place) => Ok(place.load()),
            None => self.read_obj(GuestAddress(addr)),
        }
    }

    /// Writes a value; see [`Self::get`].
    ///
    /// # Errors
    ///
    /// If it is not mapped, or only for reading.
    #[inline]
    pub fn put<T: ByteValued>(&self, addr: u64, value: T) -> Result<(), GuestMemoryError> {
        match self.value::<T>(addr, true) {
            Some(place) => {
                place.store(value);
                Ok(())
            }
            None => self.write_obj(value, GuestAddress(addr)),
        }
    }

    /// Loads a value in one go.
    ///
    /// # Errors
    ///
    /// If it is not mapped, or `addr` is not a multiple of its size.
    #[inline]
    pub fn load_at<T: AtomicAccess>(
        &self,
        addr: u64,
        order: Ordering,
    ) -> Result<T, GuestMemoryError> {
        match self.slice(addr, size_of::<T>(), false) {
            Some(slice) => slice.load(0, order).map_err(Into::into),
            None => self.load(GuestAddress(addr), order),
        }
    }

    /// Stores a value in one go.
    ///
    /// # Errors
    ///
    /// If it is not mapped, or only for reading, or `addr` is not a multiple of its size.
    #[inline]
    pub fn store_at<T: AtomicAccess>(
        &self,
        addr: u64,
        value: T,
        order: Ordering,
    ) -> Result<(), GuestMemoryError> {
        match self.slice(addr, size_of::<T>(), true) {
            Some(slice) => slice.store(value, 0, order).map_err(Into::into),
            None => self.store(value, GuestAddress(addr), order),
        }
    }

    fn allows(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        if !access.has_write() || count == 0 {
            return true;
        }
        let last = addr.0.saturating_add(count as u64 - 1);
        let mut read_only = self.areas.iter().filter(|area| !area.writable);
        !read_only.any(|area| addr.0 <= area.last && last >= area.start)
    }
}

/// `vm-memory` ignores the kind of access for plain memory; here read-only maps are respected,
/// because a write to one would be a fault of this process.
impl GuestMemory for GuestMap {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.allows(addr, count, access) && GuestMemoryBackend::check_range(&self.ram, addr, count)
    }

    fn get_slices(
        &self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'_, BS<'_, Self::Bitmap>>, GuestMemoryError> {
        if !self.allows(addr, count, access) {
            return Err(GuestMemoryError::InvalidGuestAddress(addr));
        }
        Ok(GuestMemoryBackend::get_slices(&self.ram, addr, count))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::super::MapTable;
    use super::*;
    use proptest::prelude::*;

    // The maps of `table`: 0x1000 and 0x2000 are memory and touch, 0x5000 is read-only, 0x8000 is a hole. Each
    // has 0x1000 bytes.

    #[test]
    fn what_crosses_a_border_is_found_like_the_rest() {
        let view = table().view();
        let data: Vec<u8> = (0..64).collect();
        for addr in [0x1000, 0x1fc0, 0x1fe0, 0x1fff, 0x2000, 0x2fc0] {
            let mut back = [0; 64];
            view.write(addr, &data).unwrap();
            view.read(addr, &mut back).unwrap();
            assert_eq!(back[..], data, "{addr:#x}");
            assert!(view.has(addr, 64, true));
            let value: u64 = view.get(addr).unwrap();
            assert_eq!(value.to_le_bytes(), data[..8]);
            view.put(addr, !value).unwrap();
            assert_eq!(view.get::<u64>(addr).unwrap(), !value);
        }
    }

    /// Accesses of `len` bytes at `addr`: to read, and to write.
    fn allowed(view: &GuestMap, addr: u64, len: usize) -> (bool, bool) {
        let reads = view.read(addr, &mut vec![0; len]).is_ok();
        let writes = view.write(addr, &vec![0; len]).is_ok();
        assert_eq!(view.has(addr, len, false), reads, "{addr:#x}+{len}");
        assert_eq!(view.has(addr, len, true), writes, "{addr:#x}+{len}");
        (reads, writes)
    }

    #[test]
    fn access_ends_with_the_maps() {
        let view = table().view();
        let (all, read, none) = ((true, true), (true, false), (false, false));
        for (addr, len, expected) in [
            // Ends at the border of the last map, and one byte behind it.
            (0x2f00, 0x100, all),
            (0x2f01, 0x100, none),
            (0xfff, 2, none),
            (0x1000, 0x2000, all),
            (0x1000, 0x2001, none),
            (0x5000, 0x1000, read),
            (0x5000, 0x1001, none),
            (0x8000, 1, none),
            (0x7fff, 2, none),
            // Around the end of the address space.
            (u64::MAX, 1, none),
            (u64::MAX, 2, none),
            (u64::MAX - 7, 16, none),
            (0, 1, none),
        ] {
            assert_eq!(allowed(&view, addr, len), expected, "{addr:#x}+{len}");
            // The hint is another one now.
            assert_eq!(allowed(&view, 0x1800, 8), all);
            assert_eq!(allowed(&view, addr, len), expected, "{addr:#x}+{len}");
        }
        assert!(view.put(0x5000, 1u32).is_err() && view.get::<u32>(0x5ffe).is_err());
    }

    #[test]
    fn headers_are_read_like_the_rest() {
        let view = table().view();
        let bytes: Vec<u8> = (0..48).collect();
        for addr in [0x1000, 0x1fe0, 0x1ff8, 0x2fe0, 0x5000, 0x8000] {
            let written = view.write(addr, &bytes).is_ok();
            for len in [7, 12, 20, 32, 48] {
                let (mut header, mut same) = (vec![0; len], vec![0; len]);
                let read = view.read(addr, &mut same).is_ok();
                assert_eq!(view.read_header(addr, &mut header).is_ok(), read);
                if read && written {
                    assert_eq!((&header[..], &same[..]), (&bytes[..len], &bytes[..len]));
                }
            }
        }
    }

    #[test]
    fn no_bytes_need_no_map() {
        let view = table().view();
        for addr in [0x1000, 0x2000, 0x5000] {
            assert_eq!(allowed(&view, addr, 0), (true, true));
        }
        assert!(view.stretch(0x1000, 0).is_none());
    }

    #[test]
    fn atomic_access_is_aligned() {
        let view = table().view();
        view.store_at(0x1ffe, 0x1234u16, Ordering::Release).unwrap();
        let load = |addr| view.load_at::<u16>(addr, Ordering::Acquire);
        assert_eq!(load(0x1ffe).unwrap(), 0x1234);
        for addr in [0x1001, 0x1fff, 0x2fff, 0x3000, 0x8000, u64::MAX] {
            assert!(load(addr).is_err(), "{addr:#x}");
            let stored = view.store_at(addr, 0u16, Ordering::Release);
            assert!(stored.is_err(), "{addr:#x}");
        }
        assert!(load(0x5000).is_ok());
        assert!(view.store_at(0x5000, 0u16, Ordering::Release).is_err());
    }

    #[test]
    fn a_view_is_what_it_was_when_it_was_made() {
        let mut maps = table();
        let before = maps.view();
        assert_eq!(allowed(&before, 0x2800, 8), (true, true));
        maps.unmap(0x2000, 0x1000);
        assert_eq!(allowed(&before, 0x2800, 8), (true, true));
        let after = maps.view();
        assert_eq!(allowed(&after, 0x2800, 8), (false, false));
        assert_eq!(allowed(&after, 0x1ffc, 8), (false, false));
        assert_eq!(allowed(&after, 0x1ff8, 8), (true, true));
        assert_eq!(allowed(&GuestMap::default(), 0x1000, 1), (false, false));
        assert_eq!(allowed(&MapTable::default().view(), 0, 1), (false, false));
    }

    proptest! {
        /// Whatever is asked for before, the answer is that of `vm-memory`.
        #[test]
        fn ranges_are_those_of_vm_memory(
            asked in prop::collection::vec((0u64..0x9000, 1usize..0x2800), 1..20),
        ) {
            let view = table().view();
            for (addr, len) in asked {
                let (reads, writes) = allowed(&view, addr, len);
                let check = |access| view.check_range(GuestAddress(addr), len, access);
                prop_assert_eq!(reads, check(Permissions::Read));
                prop_assert_eq!(writes, check(Permissions::Write));
                let mut bytes = vec![0; len];
                let slow = view.read_slice(&mut bytes, GuestAddress(addr));
                prop_assert_eq!(reads, slow.is_ok());
            }
        }
    }
}
