// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Transmission: from the guest's queue to the wire.

use espnic_esp::checksum;
use espnic_wire::feature;
use espnic_wire::hdr::{self, HdrLen, NetHdr48};

use super::{frame, Device, BATCH, L2_OVERHEAD};
use crate::ipsec::Frames;
use crate::memory::GuestMap;
use crate::nic::Nic;
use crate::virtio::chain::Chain;
use crate::virtio::queue::RingError;

/// What a frame is checked and changed by; the same for all frames until the next reset.
struct Rules {
    hdr_len: HdrLen,
    max_frame: usize,
    csum: bool,
    ipsec: bool,
}

/// Sends a batch of queue pair `pair`. `false` if there was nothing to send.
pub fn run(nic: &Nic, device: &mut Device, pair: u16) -> Result<bool, RingError> {
    let rules = Rules {
        hdr_len: device.hdr_len(),
        max_frame: usize::from(nic.config.mtu) + L2_OVERHEAD,
        csum: device.virtio.has(feature::CSUM),
        ipsec: device.virtio.has(feature::IPSEC),
    };
    let mem = device.virtio.memory();
    let Device { virtio, net } = device;
    let Some((queue, vector)) = virtio.queue(2 * pair + 1) else {
        return Ok(false);
    };
    let mut chain = net.chains.pop().unwrap_or_default();
    queue.disable_kicks(&mem)?;
    let mut count = 0;
    while count < BATCH && queue.pop(&mem, &mut chain)? {
        count += 1;
        if chain.writable_len() > 0 {
            return Err(RingError::Direction);
        }
        take(nic, &mem, &chain, &rules, &mut net.wire)?;
        for frame in net.wire.drain() {
            nic.port.send(frame);
        }
        queue.push_used(&mem, chain.head(), 0)?;
    }
    let notify = queue.publish(&mem)?;
    let more = count == 0 && queue.enable_kicks(&mem)?;
    net.chains.push(chain);
    if notify {
        nic.interrupt_queue(vector);
    }
    Ok(count > 0 || more)
}

/// Appends the frame in `chain`, ready for the wire, to `out`, unless it must not go there.
fn take(
    nic: &Nic,
    mem: &GuestMap,
    chain: &Chain,
    rules: &Rules,
    out: &mut Frames,
) -> Result<(), RingError> {
    let stats = &nic.stats;
    let hdr_len = rules.hdr_len.bytes();
    let Some(len) = usize::try_from(chain.readable_len())
        .ok()
        .and_then(|len| len.checked_sub(hdr_len))
        .filter(|&len| len >= frame::ETH_LEN)
    else {
        stats.tx_drop_short.inc();
        return Ok(());
    };
    if len > rules.max_frame {
        stats.tx_drop_long.inc();
        return Ok(());
    }
    let mut bytes = [0; size_of::<NetHdr48>()];
    chain.read(mem, 0, bytes.get_mut(..hdr_len).unwrap_or_default())?;
    let hdr = NetHdr48::read(&bytes, rules.hdr_len).unwrap_or_default();
    let mut frame = vec![0; len];
    chain.read(mem, hdr_len as u64, &mut frame)?;
    if hdr.net.gso_type != hdr::GSO_NONE {
        stats.tx_drop_gso.inc();
        return Ok(());
    }
    let secured = rules.ipsec && hdr.has(hdr::F_SECURITY);
    if secured {
        if let Err(error) = nic.ipsec.transmit(&hdr, &mut frame, rules.max_frame, out) {
            log::trace!("{}: frame for an SA is dropped: {error}", nic.name);
            stats.tx_drop_ipsec.inc();
            return Ok(());
        }
    } else {
        if rules.csum && hdr.has(hdr::F_NEEDS_CSUM) && !complete_csum(&hdr, &mut frame) {
            stats.tx_drop_csum.inc();
            return Ok(());
        }
        out.push(frame);
    }
    stats.tx_frames.inc();
    stats.tx_bytes.add(len as u64);
    Ok(())
}

/// Completes the checksum, which reaches to the end of the frame.
fn complete_csum(hdr: &NetHdr48, frame: &mut [u8]) -> bool {
    let (start, offset) = (hdr.net.csum_start.get(), hdr.net.csum_offset.get());
    let end = frame.len();
    checksum::complete(frame, start.into(), offset.into(), end)
}
