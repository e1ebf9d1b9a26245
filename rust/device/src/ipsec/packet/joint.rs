// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inbound packets of SAs of the standard that are decrypted together with others; see
//! [`crate::crypto::joint`].
//!
//! A packet is opened as if those in front of it had not come yet. If that turns out to make a difference, it
//! is opened once more by itself. So window, limits and counters are what they are for one packet after the other.

use super::super::rx::Inbound;
use super::super::together;
use super::rx::{Found, Told};
use crate::crypto::joint::Job;
use crate::frame::Frame;
use espnic_esp::engine::{self, CipherError};
use espnic_esp::seq;

/// A packet that waits.
#[derive(Clone, Copy)]
pub(in super::super) struct Begun<'a> {
    found: Found<'a>,
    /// Its number if it came now; none if it would be refused.
    number: Option<u64>,
    /// On purpose the NIC cannot decrypt it.
    unsupported: bool,
}

impl<'a> Begun<'a> {
    /// A packet that waits; see [`Found::process`].
    pub(in super::super) fn new(found: Found<'a>, unsupported: bool) -> Self {
        let number = found.receiver.expect(found.esp.seq);
        Self {
            found,
            number: number.ok().filter(|_| !unsupported),
            unsupported,
        }
    }

    /// Does the rest when those in front of it are done; `result` is that of [`together::Begun::job`].
    pub(in super::super) fn end(
        &self,
        told: &mut Told<'_>,
        inbound: &mut Inbound,
        result: Result<(), CipherError>,
    ) {
        let found = &self.found;
        // What was not opened with others, for whatever reason, is still to be opened.
        let opened = self
            .number
            .filter(|_| result != Err(CipherError::Unsupported));
        if let Some(number) = opened {
            if found.receiver.expect(found.esp.seq) == Ok(number) {
                return self.take(told, inbound, number, result);
            }
            if result.is_ok() {
                found.close(number, &mut inbound.frame);
            }
        }
        found.process(told, inbound, self.unsupported);
    }

    fn take(
        &self,
        told: &mut Told<'_>,
        inbound: &mut Inbound,
        number: u64,
        result: Result<(), CipherError>,
    ) {
        let (found, frame) = (&self.found, &mut inbound.frame);
        let (cipher, params) = (&found.sa.cipher, &found.sa.params);
        let len = frame.len();
        let looked = match result {
            Ok(()) => found.change(frame, |head, packet| {
                let opened = engine::end_open(cipher, params, seq::hi(number), packet)?;
                Ok(found.look(head, &opened))
            }),
            Err(error) => Err(error.into()),
        };
        let taken = found.take(told.events, number, looked, frame);
        found.conclude(told, inbound, len, taken);
    }
}

impl together::Begun for Begun<'_> {
    fn job<'a>(&'a self, frame: &'a mut Frame) -> Option<Job<'a>> {
        let (sa, esp) = (self.found.sa, &self.found.esp);
        let esn_hi = seq::hi(self.number?);
        let rest = frame.behind_headers(esp.offset)?;
        let packet = rest.get_mut(..esp.end.checked_sub(esp.offset)?)?;
        engine::check_length(&sa.params, packet).ok()?;
        Some(Job {
            cipher: sa.cipher.joint()?,
            esn_hi: sa.params.esn.then_some(esn_hi),
            esp: packet,
            result: Ok(()),
        })
    }
}
