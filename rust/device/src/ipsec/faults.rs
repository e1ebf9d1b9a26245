// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose that only the owner of the keys and tables can make.

use super::object;
use super::sa::{Mode, Sa};
use super::table::Tables;
use crate::admin::Refused;
use crate::frame::Frame;
use espnic_esp::engine::Transform;
use espnic_esp::packet::{self, ESP_HLEN};
use espnic_esp::seq;
use espnic_wire::algorithm::{Cipher, Suite};
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::OBJ_INB_SA;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};

/// A pad length that is wrong in all packets that are not longer than it.
const WRONG_PAD_LEN: u8 = 255;

/// The faults that are set.
pub struct Faults {
    padding: AtomicU32,
    unsupported: AtomicU32,
    delete_requests: AtomicU32,
    /// SAs per direction.
    limit: AtomicU32,
    /// [`number`] of the cipher that no new SA can have, or 0.
    refused: AtomicU8,
    made: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            padding: AtomicU32::new(0),
            unsupported: AtomicU32::new(0),
            delete_requests: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
            refused: AtomicU8::new(0),
            made: AtomicU64::new(0),
        }
    }
}

impl Faults {
    /// The next `count` packets get an impossible pad length, but a right ICV. Only packets that are not longer
    /// than this pad length count, and none in UDP over IPv6, whose checksum would be wrong.
    pub fn corrupt_padding(&self, count: u32) {
        self.padding.store(count, Ordering::Relaxed);
    }

    /// The next `count` packets that are received under an SA are ones that the NIC cannot process, and
    /// does not touch.
    pub fn leave_unsupported(&self, count: u32) {
        self.unsupported.store(count, Ordering::Relaxed);
    }

    /// With the next `count` packets that are received under an SA the driver is asked to delete the
    /// SA.
    pub fn request_deletion(&self, count: u32) {
        self.delete_requests.store(count, Ordering::Relaxed);
    }

    /// The tables are full with `limit` SAs per direction. Those beyond it that exist stay.
    pub fn limit_sas(&self, limit: Option<u32>) {
        self.limit
            .store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// No new SA can have this cipher, whatever its MAC, although the capabilities say so.
    pub fn refuse(&self, cipher: Option<Cipher>) {
        self.refused
            .store(cipher.map_or(0, number), Ordering::Relaxed);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.corrupt_padding(0);
        self.leave_unsupported(0);
        self.request_deletion(0);
        self.limit_sas(None);
        self.refuse(None);
    }

    /// Faults that were made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Whether a new SA is taken.
    pub(super) fn admit(
        &self,
        tables: &Tables,
        obj_type: u16,
        object: &[u8],
    ) -> Result<(), Refused> {
        let (inb, outb) = tables.len();
        let used = if obj_type == OBJ_INB_SA { inb } else { outb };
        let error = if used >= self.limit.load(Ordering::Relaxed) as usize {
            Refused::RESOURCE
        } else if self.refuses(object) {
            Refused::FIELD
        } else {
            return Ok(());
        };
        self.count();
        Err(error)
    }

    fn refuses(&self, object: &[u8]) -> bool {
        let refused = self.refused.load(Ordering::Relaxed);
        object::view(&object::whole(object, true))
            .ok()
            .and_then(Suite::of)
            .is_some_and(|suite| number(suite.cipher()) == refused)
    }

    /// Whether the NIC cannot process a received packet that has an SA.
    #[inline]
    pub(super) fn is_unsupported(&self) -> bool {
        self.take(&self.unsupported)
    }

    /// Whether [`Self::mark`] may have something to do.
    #[inline]
    pub(super) fn are_marking(&self) -> bool {
        self.delete_requests.load(Ordering::Relaxed) != 0
    }

    /// Marks a received packet, whose header is `hdr`, if such a fault is due.
    #[inline]
    pub(super) fn mark(&self, hdr: &mut NetHdr48) {
        if hdr.has(hdr::F_SECURITY) && self.take(&self.delete_requests) {
            hdr.sec.ndis_flags |= hdr::NDIS_SA_DELETE_REQ;
        }
    }

    /// Whether encrypted frames may have to be given to [`Self::spoil`].
    #[inline]
    pub(super) fn spoil_padding(&self) -> bool {
        self.padding.load(Ordering::Relaxed) != 0
    }

    /// Gives encrypted `frames` a wrong pad length while that fault is set. They come from the frame with the
    /// header `hdr`.
    #[inline(never)]
    pub(super) fn spoil<'a>(
        &self,
        tables: &Tables,
        hdr: &NetHdr48,
        frames: impl Iterator<Item = &'a mut Frame>,
    ) {
        let Some(sa) = tables.outb.get(hdr.out.resource_id.get()) else {
            return;
        };
        let mut first = None;
        for (index, frame) in frames.enumerate() {
            let Some(esp) = packet::find(frame, frame.layers()) else {
                return;
            };
            let esn_hi = match &sa.mode {
                // Of the first packet, as the driver says.
                Mode::Crypto(_) => {
                    let first = *first.get_or_insert(seq::join(hdr.sec.seq_half.get(), esp.seq));
                    seq::hi(first.saturating_add(index as u64))
                }
                Mode::Packet(mode) => mode.esn_hi_sent(esp.seq),
            };
            if esp.end == frame.len() && fits(sa, esp.end - esp.offset) && self.take(&self.padding)
            {
                frame.change(esp.offset, |_, packet| break_padding(sa, esn_hi, packet));
            }
        }
    }

    /// Takes one of the faults in `left` and counts it; false if none is left.
    // Always: it is asked for every packet, and there is nearly never one.
    #[inline(always)]
    fn take(&self, left: &AtomicU32) -> bool {
        left.load(Ordering::Relaxed) != 0 && self.take_one(left)
    }

    #[cold]
    fn take_one(&self, left: &AtomicU32) -> bool {
        let took = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if took {
            self.count();
        }
        took
    }

    fn count(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }
}

/// A number from 1.
fn number(cipher: Cipher) -> u8 {
    cipher as u8 + 1
}

/// Whether the pad length is wrong in a packet of this length.
fn fits(sa: &Sa, len: usize) -> bool {
    let layout = &sa.params.layout;
    let around = ESP_HLEN + usize::from(layout.iv_len) + usize::from(layout.icv_len);
    len <= around + usize::from(WRONG_PAD_LEN)
}

/// Decrypts the packet, which has not left the NIC, changes it and encrypts it again. Only the second
/// form is ever sent, so the IV is used for one text.
fn break_padding(sa: &Sa, esn_hi: u32, packet: &mut [u8]) {
    let esn_hi = sa.params.esn.then_some(esn_hi);
    if sa.cipher.open(esn_hi, packet).is_err() {
        return;
    }
    let pad_len = packet.len() - usize::from(sa.params.layout.icv_len) - 2;
    if let Some(byte) = packet.get_mut(pad_len) {
        *byte = WRONG_PAD_LEN;
    }
    if sa.cipher.seal(esn_hi, packet).is_err() {
        // Never in the clear: the packet is overwritten, so that it cannot be decrypted.
        packet.iter_mut().skip(ESP_HLEN).for_each(|byte| *byte = 0);
    }
}
