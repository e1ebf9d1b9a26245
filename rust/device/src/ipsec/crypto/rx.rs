// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets of crypto-only SAs.

use super::super::counters::{Counters, Tally};
use super::super::drop::RxDrop;
use super::super::faults::Faults;
use super::super::opening;
use super::super::rx::{mark, Inbound};
use super::super::sa::{Mode, Sa};
use super::super::together;
use super::sa::Numbers;
use crate::crypto::joint::Job;
use crate::frame::Frame;
use espnic_esp::aead::TAG_LEN;
use espnic_esp::checksum::UDP_FIELD;
use espnic_esp::engine::{self, Error, Progress};
use espnic_esp::inner;
use espnic_esp::ip::UDP_HLEN;
use espnic_esp::packet::{self, Esp};
use espnic_wire::hdr::{self, NetHdr48};

/// A packet that is decrypted, and of which nothing else has been done; see [`engine::begin_open`]. One with
/// [`Self::waits`] is not even decrypted.
#[must_use]
#[derive(Clone, Copy)]
pub(in super::super) struct Begun<'a> {
    sa: &'a Sa,
    // Small, and no more than is needed, because it waits in memory.
    offset: u32,
    end: u32,
    seq: u32,
    esn_hi: u32,
    v6: bool,
    in_udp: bool,
    progress: Progress,
}

/// Decrypts a packet with its SA, and writes what is left to do to `begun`. If it was refused, its header says
/// so, and nothing is left.
///
/// Its number is inferred while those in front of it may not have been verified. That is so with several
/// queues, too, and makes no difference unless numbers jump by half of their space. `computed` is for its ICV.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn begin<'a>(
    counters: &Counters,
    faults: &Faults,
    sa: &'a Sa,
    numbers: &Numbers,
    esp: &Esp,
    inbound: &mut Inbound,
    begun: &mut Option<Begun<'a>>,
    computed: &mut [u8; TAG_LEN],
) {
    let esn_hi = numbers.infer_esn_hi(esp.seq);
    let rest = inbound.frame.behind_headers(esp.offset);
    let packet = rest.and_then(|rest| rest.get_mut(..esp.end - esp.offset));
    let progress = match packet {
        Some(_) if faults.is_unsupported() => Err(Error::Unsupported),
        // With others; until then it only has to look like one.
        Some(packet) if sa.cipher.opens_joint() => {
            engine::check_length(&sa.params, packet).map(|()| Progress::Verified)
        }
        Some(packet) => engine::begin_open(&sa.cipher, &sa.params, esn_hi, packet, computed),
        None => Err(Error::Length),
    };
    match progress {
        // To its place at once: as a result it would be copied, in other parts than those just written,
        // which stalls.
        Ok(progress) => {
            *begun = Some(Begun {
                sa,
                // Not beyond the frame, whose length fits.
                offset: esp.offset as u32,
                end: esp.end as u32,
                seq: esp.seq,
                esn_hi,
                v6: esp.v6,
                in_udp: esp.udp.is_some(),
                progress,
            });
        }
        Err(error) => refuse(counters, sa, esp.offset as u32, esn_hi, error, inbound),
    }
}

/// Counts a packet that has an SA and is refused, and says so to the driver.
#[cold]
fn refuse(
    counters: &Counters,
    sa: &Sa,
    offset: u32,
    esn_hi: u32,
    error: Error,
    inbound: &mut Inbound,
) {
    let drop = RxDrop::from(error);
    counters.refused(drop);
    fill(&mut inbound.hdr, sa, offset, esn_hi, drop.status());
}

impl Begun<'_> {
    /// Whether it is decrypted together with others; see [`crate::crypto::joint`].
    #[inline(always)]
    pub(in super::super) fn waits(&self) -> bool {
        self.sa.cipher.opens_joint()
    }

    /// Does the rest. `now` is the time of [`super::super::room::Room`].
    #[inline(always)]
    pub(in super::super) fn end(
        &self,
        counters: &Counters,
        tally: &mut Tally,
        inbound: &mut Inbound,
        computed: &[u8; TAG_LEN],
        now: u64,
    ) {
        let sa = self.sa;
        let frame: &[u8] = &inbound.frame;
        let len = frame.len();
        let checksum = match self.look(frame, computed) {
            Ok(checksum) => checksum,
            Err(error) => return self.give_up(counters, inbound, error),
        };
        if let Mode::Crypto(numbers) = &sa.mode {
            numbers.verified(self.esn_hi, self.seq);
        }
        sa.last.set(now);
        tally.received(checksum, len);
        if self.in_udp {
            forget_udp_checksum(self.offset as usize, &mut inbound.frame);
        }
        let hdr = &mut inbound.hdr;
        fill(hdr, sa, self.offset, self.esn_hi, hdr::SEC_OK);
        if checksum {
            hdr.net.flags |= hdr::F_DATA_VALID;
        }
    }

    /// Refuses a packet that could not be opened. It is as it came.
    #[cold]
    pub(in super::super) fn refuse(
        &self,
        counters: &Counters,
        inbound: &mut Inbound,
        error: Error,
    ) {
        refuse(counters, self.sa, self.offset, self.esn_hi, error, inbound);
    }

    /// Verifies the packet and looks at what is in it; tells whether the checksum there is right.
    #[inline(always)]
    fn look(&self, frame: &[u8], computed: &[u8; TAG_LEN]) -> Result<bool, Error> {
        let sa = self.sa;
        let packet = frame.get(self.offset as usize..self.end as usize);
        let packet = packet.ok_or(Error::Length)?;
        engine::verify(&sa.cipher, packet, self.progress, computed)?;
        let opened = engine::opened(&sa.params.layout, packet)?;
        let addresses = || packet::address_sum(frame, self.v6);
        Ok(inner::checksum_is_right(&opened, sa.tunnel, addresses))
    }

    /// Refuses a decrypted packet. It is then as it came.
    #[cold]
    fn give_up(&self, counters: &Counters, inbound: &mut Inbound, error: Error) {
        let (sa, esn_hi) = (self.sa, self.esn_hi);
        let restore = |_: &[u8], rest: &mut [u8]| {
            let packet = rest.get_mut(..self.end.saturating_sub(self.offset) as usize);
            let packet = packet.ok_or(Error::Length)?;
            match error {
                Error::Auth => engine::close(&sa.cipher, &sa.params, esn_hi, packet),
                _ => engine::hide(&sa.cipher, &sa.params, esn_hi, packet),
            }
        };
        let restored = inbound.frame.change(self.offset as usize, restore);
        let error = match restored {
            Some(Ok(())) => error,
            other => {
                // It cannot happen, as the packet was opened; a text must not be seen even so.
                inbound.frame.truncate(0);
                other.and_then(Result::err).unwrap_or(error)
            }
        };
        refuse(counters, sa, self.offset, esn_hi, error, inbound);
    }
}

// One line of the cache.
const _: () = assert!(size_of::<opening::Place<Begun<'_>>>() == 64);

impl opening::Packet for Begun<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        (self.end - self.offset) as usize
    }
}

impl together::Begun for Begun<'_> {
    fn job<'a>(&'a self, frame: &'a mut Frame) -> Option<Job<'a>> {
        let rest = frame.behind_headers(self.offset as usize)?;
        Some(Job {
            cipher: self.sa.cipher.joint()?,
            esn_hi: self.sa.params.esn.then_some(self.esn_hi),
            esp: rest.get_mut(..self.end.checked_sub(self.offset)? as usize)?,
            result: Ok(()),
        })
    }
}

/// Takes the checksum out of the UDP header in front of ESP at `offset`: it was that of the ciphertext, and
/// the ICV has proven more (RFC 3948, section 2.1). Zero is none.
#[inline(never)]
fn forget_udp_checksum(offset: usize, frame: &mut Frame) {
    frame.change(offset - UDP_HLEN + UDP_FIELD, |_, rest| {
        if let Some(checksum) = rest.first_chunk_mut::<2>() {
            *checksum = [0; 2];
        }
    });
}

/// Writes to `hdr` the result for a packet that has an SA.
#[inline(always)]
fn fill(hdr: &mut NetHdr48, sa: &Sa, offset: u32, esn_hi: u32, sec_status: u8) {
    mark(hdr, sa, sec_status, hdr::F_X_SEC);
    let sec = &mut hdr.sec;
    sec.sec_op = hdr::SEC_OP_CRYPTO_ONLY;
    // At most 62.
    sec.esp_offset = (offset as u16).into();
    sec.seq_half = esn_hi.into();
}
