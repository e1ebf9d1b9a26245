// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device configuration space (VIRTIO 1.4 section 5.1.4): read-only.

use std::mem::offset_of;

use espnic_wire::config::{NetConfig as Layout, DUPLEX_FULL, STATUS_LINK_UP};
use espnic_wire::rss::{HASH_TYPES, KEY_MAX, TABLE_MAX};
use zerocopy::IntoBytes;

use crate::nic::Nic;

/// Reads `data.len()` bytes at `offset`; zero beyond the end. A misbehaviour may replace a field if any
/// byte of it is read.
pub fn read(nic: &Nic, offset: u64, data: &mut [u8]) {
    let (config, link_up) = (&nic.config, nic.port.link_up());
    let end = offset.saturating_add(data.len() as u64);
    let reads = |at: usize| offset < at as u64 + 2 && end > at as u64;
    let max_pairs = match reads(offset_of!(Layout, max_virtqueue_pairs)) {
        true => nic.misbehaviour.max_pairs(config.pairs),
        false => config.pairs,
    };
    let mtu = match reads(offset_of!(Layout, mtu)) {
        true => nic.misbehaviour.mtu(config.mtu),
        false => config.mtu,
    };
    let layout = Layout {
        mac: nic.live.mac(),
        status: if link_up { STATUS_LINK_UP } else { 0 }.into(),
        max_virtqueue_pairs: max_pairs.into(),
        mtu: mtu.into(),
        speed: nic.live.speed().into(),
        duplex: DUPLEX_FULL,
        rss_max_key_size: KEY_MAX as u8,
        rss_max_indirection_table_length: (TABLE_MAX as u16).into(),
        supported_hash_types: HASH_TYPES.into(),
        ..Layout::default()
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = layout.as_bytes().get(start..).unwrap_or_default();
    for (index, byte) in data.iter_mut().enumerate() {
        *byte = rest.get(index).copied().unwrap_or(0);
    }
}
