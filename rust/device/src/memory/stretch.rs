// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Ranges of guest memory that lie in one map. They are looked for once, and then used many times.

use super::header;
use std::sync::atomic::Ordering;
use vm_memory::{
    AtomicAccess, AtomicInteger, ByteValued, MmapRegion, VolatileMemory, VolatileSlice,
};

/// A range of guest memory that lies in one map.
#[derive(Clone, Copy)]
pub struct Stretch<'a> {
    map: &'a MmapRegion,
    start: usize,
    len: usize,
}

impl<'a> Stretch<'a> {
    #[inline(always)]
    pub(super) fn new(map: &'a MmapRegion, start: usize, len: usize) -> Self {
        Self { map, start, len }
    }

    /// Where a value at `at` is; `None` if it does not end within the range.
    // Always: a result in memory that is read back at once stalls.
    #[inline(always)]
    fn place<T>(&self, at: usize) -> Option<usize> {
        let fits = at <= self.len.checked_sub(size_of::<T>())?;
        fits.then(|| self.start + at)
    }

    /// Length in bytes, never 0.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.len
    }

    /// As [`super::GuestMap::read_header`], from the start of the range. `None` if the range ends before.
    #[inline(always)]
    pub fn read_header(&self, to: &mut [u8]) -> Option<()> {
        let slice = self.slice(0, to.len())?;
        if !header::load(&slice, to) {
            slice.copy_to(to);
        }
        Some(())
    }

    /// As [`super::GuestMap::read`], at an offset from the start of the range. `None` if the range ends before.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [u8]) -> Option<()> {
        self.slice(at, to.len())?.copy_to(to);
        Some(())
    }

    #[inline(always)]
    fn slice(&self, at: usize, len: usize) -> Option<VolatileSlice<'a>> {
        let fits = at <= self.len.checked_sub(len)?;
        #[cfg(debug_assertions)]
        super::copied::from_guest(if fits { len } else { 0 });
        match fits {
            true => self.map.get_slice(self.start + at, len).ok(),
            false => None,
        }
    }

    /// As [`super::GuestMap::get`], at an offset from the start of the range.
    #[inline(always)]
    pub fn get<T: ByteValued>(&self, at: usize) -> Option<T> {
        let place = self.map.get_ref(self.place::<T>(at)?).ok()?;
        Some(place.load())
    }

    /// As [`super::GuestMap::load_at`], at an offset from the start of the range.
    #[inline(always)]
    pub fn load_at<T: AtomicAccess>(&self, at: usize, order: Ordering) -> Option<T> {
        let place = self.map.get_atomic_ref::<T::A>(self.place::<T>(at)?).ok()?;
        Some(place.load(order).into())
    }
}

/// The same of memory that may be written.
#[derive(Clone, Copy)]
pub struct WritableStretch<'a>(Stretch<'a>);

impl<'a> WritableStretch<'a> {
    #[inline(always)]
    pub(super) fn new(map: &'a MmapRegion, start: usize, len: usize) -> Self {
        Self(Stretch::new(map, start, len))
    }

    /// Copies a header, and the rest of a packet behind it, to the start of the range. `None`, and nothing is
    /// written, if the packet would not end within it.
    #[inline(always)]
    pub fn write_packet(&self, front: &[u8], rest: &[u8]) -> Option<()> {
        let len = front.len().checked_add(rest.len())?;
        if len > self.0.len {
            return None;
        }
        let place = self.0.map.get_slice(self.0.start, len).ok()?;
        let behind = place.offset(front.len()).ok()?;
        if !header::store(&place, front) {
            place.copy_from(front);
        }
        behind.copy_from(rest);
        #[cfg(debug_assertions)]
        super::copied::to_guest(len);
        Some(())
    }

    /// As [`super::GuestMap::put`], at an offset from the start of the range. `None`, and nothing is
    /// written, if the value would not end within it.
    #[inline(always)]
    pub fn put<T: ByteValued>(&self, at: usize, value: T) -> Option<()> {
        let place = self.0.map.get_ref(self.0.place::<T>(at)?).ok()?;
        place.store(value);
        Some(())
    }

    /// As [`super::GuestMap::store_at`], in the same way.
    #[inline(always)]
    pub fn store_at<T: AtomicAccess>(&self, at: usize, value: T, order: Ordering) -> Option<()> {
        let place = self.0.map.get_atomic_ref::<T::A>(self.0.place::<T>(at)?);
        place.ok()?.store(value.into(), order);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::super::GuestMap;
    use super::*;

    // The maps of `table`: 0x1000 and 0x2000 are memory and touch, 0x5000 is read-only, 0x8000 is a hole. Each
    // has 0x1000 bytes.

    #[test]
    fn a_stretch_lies_in_one_map() {
        let view = table().view();
        view.put(0x1ff8, 0x1122_3344u32).unwrap();
        let found = view.stretch(0x1ff0, 16).unwrap();
        assert_eq!(found.get::<u32>(8), Some(0x1122_3344));
        assert_eq!(found.load_at(8, Ordering::Acquire), Some(0x1122_3344u32));
        for (addr, len) in [(0x1ff0, 17), (0x2ff0, 17), (0x7000, 1), (u64::MAX - 2, 1)] {
            assert!(view.stretch(addr, len).is_none(), "{addr:#x}");
        }
        assert!(view.stretch(0x1000, usize::MAX).is_none());
        assert!(view.stretch(0x5000, 16).is_some());
    }

    #[test]
    fn what_is_not_within_a_stretch_is_not_there() {
        let view = table().view();
        let found = view.stretch(0x1ff0, 10).unwrap();
        for (at, there) in [
            (0, true),
            (6, true),
            (7, false),
            (10, false),
            (usize::MAX, false),
        ] {
            assert_eq!(found.get::<u32>(at).is_some(), there, "{at}");
            // Nor is what is not aligned, if it has to be loaded in one go.
            let aligned = there && at % 4 == 0;
            assert_eq!(
                found.load_at::<u32>(at, Ordering::Acquire).is_some(),
                aligned,
                "{at}"
            );
        }
        assert_eq!(view.stretch(0x1ff0, 3).unwrap().get::<u32>(0), None);
    }

    #[test]
    fn only_writable_memory_is_written() {
        let view = table().view();
        let found = view.writable_stretch(0x1ff0, 10).unwrap();
        assert_eq!(found.put(4, 0x1122_3344u32), Some(()));
        assert_eq!(found.store_at(2, 0x5566u16, Ordering::Release), Some(()));
        assert_eq!(view.get::<u64>(0x1ff0).unwrap(), 0x1122_3344_5566_0000);
        for at in [7, 10, usize::MAX] {
            assert_eq!(found.put(at, !0u32), None, "{at}");
            assert_eq!(found.store_at(at, !0u32, Ordering::Release), None, "{at}");
        }
        // It is not aligned.
        assert_eq!(found.store_at(6, !0u32, Ordering::Release), None);
        assert_eq!(view.get::<u64>(0x1ff4).unwrap(), 0x1122_3344);
        for (addr, len) in [(0x5000, 16), (0x1ff0, 17), (0x8000, 1), (0x1000, 0)] {
            assert!(view.writable_stretch(addr, len).is_none(), "{addr:#x}");
        }
    }

    #[test]
    fn packets_are_read_as_far_as_they_go() {
        let view = table().view();
        let bytes: Vec<u8> = (0..64).collect();
        view.write(0x1fc0, &bytes).unwrap();
        let found = view.stretch(0x1fc0, 60).unwrap();
        assert_eq!(found.size(), 60);
        for len in [0, 5, 12, 48, 60] {
            let mut back = vec![0; len];
            assert_eq!(found.read_header(&mut back), Some(()));
            assert_eq!(back, bytes[..len]);
            let at = 60 - len;
            assert_eq!(found.read(at, &mut back), Some(()));
            assert_eq!(back, bytes[at..60]);
            assert_eq!(found.read(at + 1, &mut back), None);
        }
        let mut long = [0; 61];
        assert_eq!(
            (found.read_header(&mut long), found.read(0, &mut long)),
            (None, None)
        );
        assert_eq!(found.read(usize::MAX, &mut [0; 2]), None);
    }

    #[test]
    fn packets_are_written_whole_or_not_at_all() {
        let view = table().view();
        for len in [5, 12, 20, 32, 48] {
            let (front, rest) = (vec![7; len], [9; 30]);
            view.write(0x1100, &[0; 100]).unwrap();
            let read = |view: &GuestMap| {
                let mut back = [0; 100];
                view.read(0x1100, &mut back).unwrap();
                back
            };
            let short = view.writable_stretch(0x1100, len + 29).unwrap();
            assert_eq!(short.write_packet(&front, &rest), None);
            assert_eq!(read(&view), [0; 100]);
            let room = view.writable_stretch(0x1100, len + 30).unwrap();
            assert_eq!(room.write_packet(&front, &rest), Some(()));
            let written = read(&view);
            assert_eq!(written[..len], front);
            assert_eq!(written[len..len + 30], rest);
            assert!(written[len + 30..].iter().all(|&byte| byte == 0), "{len}");
        }
    }
}
