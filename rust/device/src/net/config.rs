// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device configuration space (VIRTIO 1.4 section 5.1.4): read-only.

use espnic_wire::config::{NetConfig as Layout, STATUS_LINK_UP};
use zerocopy::IntoBytes;

use super::NetConfig;

/// Reads `data.len()` bytes at `offset`; zero beyond the end.
pub fn read(config: &NetConfig, link_up: bool, offset: u64, data: &mut [u8]) {
    let layout = Layout {
        mac: config.mac,
        status: if link_up { STATUS_LINK_UP } else { 0 }.into(),
        max_virtqueue_pairs: config.pairs.into(),
        mtu: config.mtu.into(),
        ..Layout::default()
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = layout.as_bytes().get(start..).unwrap_or_default();
    for (index, byte) in data.iter_mut().enumerate() {
        *byte = rest.get(index).copied().unwrap_or(0);
    }
}
