// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One virtqueue in memory that the guest has filled with whatever it likes.
//!
//! Memory is a writable part, next to it a read-only one, a hole behind them and a last writable page.

#![no_main]

use std::fs::File;
use std::sync::OnceLock;

use espnic_device::memory::{GuestMap, MapTable};
use espnic_device::virtio::chain::Chain;
use espnic_device::virtio::error::RingError;
use espnic_device::virtio::queue::{QueueSetup, VirtQueue};
use espnic_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes as _, GuestAddress};
use vmm_sys_util::tempfile::TempFile;

const START: u64 = 0x1000;
const WRITABLE: u64 = 0x2000;
const READ_ONLY: u64 = 0x1000;
const HOLE: u64 = 0x1000;
const LAST: u64 = 0x1000;
/// Bytes of the file: all but the hole.
const SIZE: u64 = WRITABLE + READ_ONLY + LAST;
/// Longest buffer that is copied.
const MOST: u64 = 0x8000;

/// What the device sees, and the same all writable.
struct Memory {
    device: GuestMap,
    guest: GuestMap,
}

fn view(file: &File, parts: &[(u64, u64, bool)]) -> GuestMap {
    let (mut table, mut offset) = (MapTable::default(), 0);
    for &(start, size, writable) in parts {
        let file = Some((file.try_clone().unwrap(), offset));
        table.map(start, size, writable, file).unwrap();
        offset += size;
    }
    table.view()
}

fn memory() -> &'static Memory {
    static MEMORY: OnceLock<Memory> = OnceLock::new();
    MEMORY.get_or_init(|| {
        let file = TempFile::new().unwrap().into_file();
        file.set_len(SIZE).unwrap();
        let read_only = START + WRITABLE;
        let last = read_only + READ_ONLY + HOLE;
        let parts = [
            (START, WRITABLE, true),
            (read_only, READ_ONLY, false),
            (last, LAST, true),
        ];
        Memory {
            device: view(&file, &parts),
            guest: view(&file, &[(0, SIZE, true)]),
        }
    })
}

fn read_only_part(guest: &GuestMap) -> Vec<u8> {
    let mut bytes = vec![0; READ_ONLY as usize];
    guest
        .read_slice(&mut bytes, GuestAddress(WRITABLE))
        .unwrap();
    bytes
}

fn setup(bytes: &mut Bytes<'_>) -> QueueSetup {
    let flags = bytes.u8();
    let mut area = || match bytes.u16() {
        0xffff => bytes.u64(),
        page => START + u64::from(page % 0x500) * 16,
    };
    let [desc, driver, device] = [area(), area(), area()];
    QueueSetup {
        size: match bytes.u8() {
            0xff => bytes.u16(),
            order => 1 << (order % 6),
        },
        desc,
        driver,
        device,
        packed: flags & 4 != 0,
        indirect: flags & 1 != 0,
        event_idx: flags & 2 != 0,
    }
}

/// Everything that may be done with a chain that was found good.
fn use_chain(mem: &GuestMap, chain: &Chain) {
    for (len, readable) in [(chain.readable_len(), true), (chain.writable_len(), false)] {
        if len > MOST {
            continue;
        }
        let mut data = vec![0x5a; len as usize];
        let copy = |at, data: &mut [u8]| match readable {
            true => chain.read(mem, at, data),
            false => chain.write(mem, at, data),
        };
        assert_eq!(copy(0, &mut data), Ok(()), "it was checked");
        let half = data.len() / 2;
        assert_eq!(copy(half as u64, &mut data[half..]), Ok(()));
        data.push(0);
        assert_eq!(copy(0, &mut data), Err(RingError::Size));
    }
}

fn run(mem: &GuestMap, setup: &QueueSetup, bytes: &mut Bytes<'_>) -> Result<(), RingError> {
    let mut queue = VirtQueue::start(setup, mem)?;
    let mut chain = Chain::default();
    for _ in 0..64 {
        match bytes.u8() % 8 {
            0..=4 => {
                if !queue.pop(mem, &mut chain)? {
                    break;
                }
                use_chain(mem, &chain);
                queue.push_used(mem, chain.head(), bytes.u8().into())?;
            }
            5 => queue.unpop(chain.head().slots),
            6 => {
                queue.publish(mem)?;
                queue.disable_kicks(mem)?;
            }
            _ => {
                queue.enable_kicks(mem)?;
                queue.has_work(mem)?;
            }
        }
    }
    queue.publish(mem).map(|_| ())
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let memory = memory();
    let zeroes = [0; SIZE as usize];
    memory.guest.write_slice(&zeroes, GuestAddress(0)).unwrap();
    let setup = setup(&mut bytes);
    let mut steps = Bytes(bytes.take(64));
    while !bytes.is_empty() {
        let at = u64::from(bytes.u16()) % SIZE;
        let part = bytes.u8();
        let part = bytes.take(part.into());
        let part = &part[..part.len().min((SIZE - at) as usize)];
        memory.guest.write_slice(part, GuestAddress(at)).unwrap();
    }
    let before = read_only_part(&memory.guest);
    let _ = run(&memory.device, &setup, &mut steps);
    assert!(
        read_only_part(&memory.guest) == before,
        "read-only memory has changed"
    );
});
