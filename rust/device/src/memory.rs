// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Guest memory as the peer maps it for DMA.
//!
//! [`MapTable`] is the transport's list of maps; after every change it is turned into a [`GuestMap`],
//! an immutable view that the data plane holds while it works. Maps without a file descriptor (ROM,
//! PAM areas during boot) are holes: known, but not accessible. Read-only maps are never written.

#[cfg(debug_assertions)]
pub mod copied;
mod guest_map;
mod header;
mod stretch;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::fcntl::{fcntl, FcntlArg, SealFlag};
use thiserror::Error;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryRegion, GuestRegionMmap};

use guest_map::Area;
pub use guest_map::GuestMap;
pub use stretch::{Stretch, WritableStretch};

/// Most maps of one peer. Each is a mapping of the process, which can have only some ten thousand, and
/// every change costs time in proportion to their number. A guest without IOMMU has about twenty.
const MAX_MAPS: usize = 1024;

/// Why a map was refused.
#[derive(Debug, Error)]
pub enum MapError {
    /// The range is empty or wraps around the address space.
    #[error("range {0:#x}+{1:#x} is empty or wraps")]
    Range(u64, u64),
    /// The range touches an earlier map.
    #[error("range {0:#x}+{1:#x} overlaps an existing map")]
    Overlap(u64, u64),
    /// The peer has as many maps as it can have.
    #[error("range {0:#x}+{1:#x} is refused: there are {MAX_MAPS} maps already")]
    Many(u64, u64),
    /// The file ends before the range does: an access would kill the process.
    #[error("the memory behind {0:#x}+{1:#x} is shorter than the range")]
    Short(u64, u64),
    /// The file could not be mapped.
    #[error("cannot map guest memory: {0}")]
    Mmap(#[from] MmapRegionError),
}

/// An identity for the memory of a guest: peers that map the same file have the same guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryId {
    device: u64,
    inode: u64,
}

impl MemoryId {
    /// The file with this inode number on this device (`stat(2)`).
    pub const fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

struct Mapping {
    start: u64,
    last: u64,
    writable: bool,
    /// `None` for a hole.
    region: Option<Arc<GuestRegionMmap>>,
}

/// The DMA maps of one peer.
#[derive(Default)]
pub struct MapTable {
    maps: Vec<Mapping>,
}

impl MapTable {
    /// Adds `size` bytes at guest address `start`, backed by `file` at `offset`, or a hole.
    pub fn map(
        &mut self,
        start: u64,
        size: u64,
        writable: bool,
        file: Option<(File, u64)>,
    ) -> Result<(), MapError> {
        let last = size
            .checked_sub(1)
            .and_then(|rest| start.checked_add(rest))
            .ok_or(MapError::Range(start, size))?;
        if self.maps.iter().any(|m| start <= m.last && last >= m.start) {
            return Err(MapError::Overlap(start, size));
        }
        if self.maps.len() >= MAX_MAPS {
            return Err(MapError::Many(start, size));
        }
        let region = match file {
            Some((file, offset)) => Some(map_file(start, size, writable, file, offset)?),
            None => None,
        };
        self.maps.push(Mapping {
            start,
            last,
            writable,
            region,
        });
        self.maps.sort_by_key(|m| m.start);
        Ok(())
    }

    /// Removes every map that touches the range and returns how many. Peers name exactly an earlier
    /// map; a range that cuts one removes all of it, so that nothing stays accessible by mistake.
    pub fn unmap(&mut self, start: u64, size: u64) -> usize {
        let Some(last) = size.checked_sub(1).and_then(|rest| start.checked_add(rest)) else {
            return 0;
        };
        let before = self.maps.len();
        self.maps.retain(|m| start > m.last || last < m.start);
        before - self.maps.len()
    }

    /// Removes all maps.
    pub fn clear(&mut self) {
        self.maps.clear();
    }

    /// The identity of the memory, from the file behind its lowest address; `None` if no memory is mapped.
    pub fn memory(&self) -> Option<MemoryId> {
        let region = self.maps.iter().find_map(|map| map.region.as_ref())?;
        let file = region.file_offset()?.file().metadata().ok()?;
        Some(MemoryId::new(file.dev(), file.ino()))
    }

    /// The present state as a view for the data plane.
    pub fn view(&self) -> GuestMap {
        let area = |map: &Mapping| {
            Some(Area {
                start: map.start,
                last: map.last,
                writable: map.writable,
                region: map.region.clone()?,
            })
        };
        GuestMap::new(self.maps.iter().filter_map(area).collect())
    }
}

/// Whether `file` is sealed against shrinking. Access to memory beyond the end of its file is a fatal fault.
pub fn is_sealed(file: &File) -> bool {
    fcntl(file, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK))
}

fn map_file(
    start: u64,
    size: u64,
    writable: bool,
    file: File,
    offset: u64,
) -> Result<Arc<GuestRegionMmap>, MapError> {
    let meta = file.metadata().map_err(MmapRegionError::Mmap)?;
    if meta.is_file() && offset.checked_add(size).is_none_or(|end| end > meta.len()) {
        return Err(MapError::Short(start, size));
    }
    let protection = if writable {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_READ
    };
    let length = usize::try_from(size).map_err(|_| MapError::Range(start, size))?;
    let mapping = MmapRegionBuilder::new(length)
        .with_mmap_prot(protection)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .with_file_offset(FileOffset::new(file, offset))
        .build()?;
    GuestRegionMmap::new(mapping, GuestAddress(start))
        .map(Arc::new)
        .ok_or(MapError::Range(start, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemory, Permissions};

    fn memory_file(size: u64) -> File {
        let file = vmm_sys_util::tempfile::TempFile::new().unwrap().into_file();
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn memory_is_known_by_its_file() {
        let (one, two) = (memory_file(0x4000), memory_file(0x4000));
        let of = |files: &[Option<&File>]| {
            let mut table = MapTable::default();
            for (index, file) in files.iter().enumerate() {
                let file = file.map(|file| (file.try_clone().unwrap(), 0));
                table
                    .map(0x1000 * index as u64, 0x1000, true, file)
                    .unwrap();
            }
            table.memory()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[None]), None);
        assert!(of(&[Some(&one)]).is_some());
        assert_eq!(of(&[Some(&one), Some(&two)]), of(&[None, Some(&one)]));
        assert_ne!(of(&[Some(&one)]), of(&[Some(&two)]));
    }

    pub(super) fn table() -> MapTable {
        let file = memory_file(0x4000);
        let mut table = MapTable::default();
        let part = |offset| Some((file.try_clone().unwrap(), offset));
        table.map(0x1000, 0x1000, true, part(0)).unwrap();
        table.map(0x2000, 0x1000, true, part(0x2000)).unwrap();
        table.map(0x5000, 0x1000, false, part(0x3000)).unwrap();
        table.map(0x8000, 0x1000, true, None).unwrap();
        table
    }

    #[test]
    fn a_buffer_may_cross_two_maps() {
        let view = table().view();
        let data: Vec<u8> = (0..64).collect();
        let mut back = [0; 64];
        view.write_slice(&data, GuestAddress(0x1fe0)).unwrap();
        view.read_slice(&mut back, GuestAddress(0x1fe0)).unwrap();
        assert_eq!(back[..], data);
    }

    #[test]
    fn holes_and_gaps_are_not_accessible() {
        let view = table().view();
        for (addr, count) in [
            (0x8000, 4),
            (0x3000, 1),
            (0x2ffe, 4),
            (u64::MAX - 1, 4),
            (0, 4),
        ] {
            assert!(!GuestMemory::check_range(
                &view,
                GuestAddress(addr),
                count,
                Permissions::Read
            ));
            assert!(view
                .write_slice(&vec![0; count], GuestAddress(addr))
                .is_err());
        }
    }

    #[test]
    fn read_only_maps_are_read_only() {
        let view = table().view();
        let addr = GuestAddress(0x5000);
        assert!(GuestMemory::check_range(&view, addr, 16, Permissions::Read));
        assert!(!GuestMemory::check_range(
            &view,
            addr,
            16,
            Permissions::Write
        ));
        assert!(view.write_slice(&[1], addr).is_err());
        assert!(view.read_slice(&mut [0; 16], addr).is_ok());
    }

    #[test]
    fn unmap_and_map_again() {
        let mut table = table();
        assert_eq!(table.unmap(0x2000, 0x1000), 1);
        assert_eq!(table.unmap(0x2000, 0x1000), 0);
        assert!(!GuestMemory::check_range(
            &table.view(),
            GuestAddress(0x2000),
            1,
            Permissions::Read
        ));
        table
            .map(0x2000, 0x1000, true, Some((memory_file(0x1000), 0)))
            .unwrap();
        table.clear();
        assert!(!GuestMemory::check_range(
            &table.view(),
            GuestAddress(0x1000),
            1,
            Permissions::Read
        ));
    }

    #[test]
    fn a_seal_is_seen() {
        use nix::sys::memfd::{memfd_create, MFdFlags};
        let file = File::from(memfd_create(c"ram", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.set_len(0x1000).unwrap();
        assert!(!is_sealed(&file) && !is_sealed(&memory_file(0x1000)));
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
        assert!(!is_sealed(&file));
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        assert!(is_sealed(&file) && file.set_len(0).is_err());
    }

    #[test]
    fn maps_are_limited() {
        let mut table = MapTable::default();
        let mut map = |number: u64| table.map(number * 0x1000, 0x1000, true, None);
        assert!((0..1024).all(|number| map(number).is_ok()));
        for _ in 0..2 {
            assert!(matches!(map(1024), Err(MapError::Many(0x40_0000, 0x1000))));
        }
        assert_eq!(table.unmap(0x5000, 0x1000), 1);
        let file = Some((memory_file(0x1000), 0));
        table.map(0x40_0000, 0x1000, true, file).unwrap();
    }

    #[test]
    fn bad_maps_are_refused() {
        let mut table = table();
        assert!(matches!(
            table.map(0x9000, 0, true, None),
            Err(MapError::Range(..))
        ));
        assert!(matches!(
            table.map(u64::MAX, 2, true, None),
            Err(MapError::Range(..))
        ));
        assert!(matches!(
            table.map(0x1800, 0x10, true, None),
            Err(MapError::Overlap(..))
        ));
        let short = memory_file(0x100);
        assert!(matches!(
            table.map(0x10000, 0x4000, true, Some((short, 0))),
            Err(MapError::Short(..))
        ));
    }
}
