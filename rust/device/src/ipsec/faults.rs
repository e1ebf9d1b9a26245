// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Faults on purpose that only the owner of the keys and tables can make.

use super::sa::Sa;
use super::table::Tables;
use crate::admin::Refused;
use espnic_esp::engine::Transform;
use espnic_esp::packet::{self, ESP_HLEN};
use espnic_esp::seq;
use espnic_wire::cap;
use espnic_wire::hdr::{self, NetHdr48};
use espnic_wire::sa::{SaObject, OBJ_INB_SA};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use zerocopy::FromBytes;

/// A pad length that is wrong in all packets that are not longer than it.
const WRONG_PAD_LEN: u8 = 255;

/// A family of algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `aes-gcm`
    AesGcm = 1,
    /// `chacha20-poly1305`
    ChaCha20Poly1305,
    /// `aes-gmac`
    AesGmac,
    /// `aes-cbc`, with any MAC.
    AesCbc,
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "aes-gcm" => Ok(Self::AesGcm),
            "chacha20-poly1305" => Ok(Self::ChaCha20Poly1305),
            "aes-gmac" => Ok(Self::AesGmac),
            "aes-cbc" => Ok(Self::AesCbc),
            _ => Err(format!(
                "`{word}` is not an algorithm: say aes-gcm, chacha20-poly1305, aes-gmac, aes-cbc or none"
            )),
        }
    }
}

impl Algorithm {
    fn of(object: &SaObject) -> Option<Self> {
        match (object.tail.aead_algo.get(), object.std.cipher_algo.get()) {
            (cap::AEAD_GCM, _) => Some(Self::AesGcm),
            (cap::AEAD_CHACHA20_POLY1305, _) => Some(Self::ChaCha20Poly1305),
            (_, cap::CIPHER_AES_CBC) => Some(Self::AesCbc),
            _ if object.std.auth_algo.get() == cap::MAC_GMAC_AES => Some(Self::AesGmac),
            _ => None,
        }
    }
}

/// The faults that are set.
pub struct Faults {
    padding: AtomicU32,
    delete_requests: AtomicU32,
    /// SAs per direction.
    limit: AtomicU32,
    /// Number of an [`Algorithm`], or 0.
    refused: AtomicU8,
    made: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            padding: AtomicU32::new(0),
            delete_requests: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
            refused: AtomicU8::new(0),
            made: AtomicU64::new(0),
        }
    }
}

impl Faults {
    /// The next `count` encrypted packets get an impossible pad length, but a right ICV. Only packets that
    /// are not longer than this pad length count.
    pub fn corrupt_padding(&self, count: u32) {
        self.padding.store(count, Ordering::Relaxed);
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

    /// No new SA can have this algorithm, although the capabilities say so.
    pub fn refuse(&self, algorithm: Option<Algorithm>) {
        let number = algorithm.map_or(0, |algorithm| algorithm as u8);
        self.refused.store(number, Ordering::Relaxed);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.corrupt_padding(0);
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
        // A shorter object will be refused anyway.
        let algorithm = SaObject::ref_from_prefix(object)
            .ok()
            .and_then(|(object, _)| Algorithm::of(object));
        algorithm.is_some_and(|algorithm| algorithm as u8 == refused)
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
        frames: impl Iterator<Item = &'a mut Vec<u8>>,
    ) {
        let Some(sa) = tables.outb.get(hdr.out.resource_id.get()) else {
            return;
        };
        let mut first = None;
        for (index, frame) in frames.enumerate() {
            let Some(esp) = packet::find(frame) else {
                return;
            };
            let first = *first.get_or_insert(seq::join(hdr.sec.esn_hi.get(), esp.seq));
            let esn_hi = seq::hi(first.saturating_add(index as u64));
            let Some(packet) = frame.get_mut(esp.offset..esp.end) else {
                return;
            };
            if fits(sa, packet) && self.take(&self.padding) {
                break_padding(sa, esn_hi, packet);
            }
        }
    }

    /// Takes one of the faults in `left` and counts it; false if none is left.
    fn take(&self, left: &AtomicU32) -> bool {
        let took = left.load(Ordering::Relaxed) > 0
            && left
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

/// Whether the pad length is wrong in this packet.
fn fits(sa: &Sa, packet: &[u8]) -> bool {
    let shape = &sa.params.shape;
    let around = ESP_HLEN + usize::from(shape.iv_len) + usize::from(shape.icv_len);
    packet.len() <= around + usize::from(WRONG_PAD_LEN)
}

/// Decrypts the packet, which has not left the NIC, changes it and encrypts it again. Only the second
/// form is ever sent, so the IV is used for one text.
fn break_padding(sa: &Sa, esn_hi: u32, packet: &mut [u8]) {
    let esn_hi = sa.params.esn.then_some(esn_hi);
    if sa.cipher.open(esn_hi, packet).is_err() {
        return;
    }
    let pad_len = packet.len() - usize::from(sa.params.shape.icv_len) - 2;
    if let Some(byte) = packet.get_mut(pad_len) {
        *byte = WRONG_PAD_LEN;
    }
    if sa.cipher.seal(esn_hi, packet).is_err() {
        // Never in the clear: the packet is overwritten, so that it cannot be decrypted.
        packet.iter_mut().skip(ESP_HLEN).for_each(|byte| *byte = 0);
    }
}
