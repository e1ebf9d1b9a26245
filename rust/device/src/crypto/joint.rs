// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several packets with AES-CBC and HMAC, sealed or opened together.
//!
//! HMAC and CBC encryption of one packet cannot be parallel, but those of several can. The library for one
//! packet does the work where there are too few packets.

use super::cbc_hmac::EspCbcHmac;
use super::suite::MOST_JOINT;
use espnic_esp::engine::{CipherError, Transform};

#[cfg(target_arch = "x86_64")]
use super::cbc_hmac::{append_high_half, Keys};
#[cfg(target_arch = "x86_64")]
use super::ct_eq::ct_eq;
#[cfg(target_arch = "x86_64")]
use super::ipsec_mb::cbc_hmac::{run_all, Packet, Packets, Step};
#[cfg(target_arch = "x86_64")]
use espnic_esp::engine::MAX_ICV_LEN;
#[cfg(target_arch = "x86_64")]
use espnic_wire::algorithm::Mac;

/// A packet, and what has become of it.
pub struct Job<'a> {
    /// The transform of its SA.
    pub cipher: &'a EspCbcHmac,
    /// See [`Transform`].
    pub esn_hi: Option<u32>,
    /// See [`Transform`].
    pub esp: &'a mut [u8],
    /// That of [`Transform::seal`] or [`Transform::open`].
    pub result: Result<(), CipherError>,
}

/// The most packets of a call.
pub const MOST: usize = MOST_JOINT;

/// The packets of a call; fewer if some are none.
pub type Jobs<'a> = [Option<Job<'a>>; MOST];

impl Job<'_> {
    fn alone(&mut self, way: Way) {
        self.result = match way {
            Way::Seal => self.cipher.seal(self.esn_hi, self.esp),
            Way::Open => self.cipher.open(self.esn_hi, self.esp),
        };
    }

    /// Gives the packet's ICV to `copy`, if the packet has all parts.
    #[cfg(target_arch = "x86_64")]
    fn copy_icv(&mut self, copy: impl FnOnce(&mut [u8]) -> Option<()>) {
        let end = self.cipher.end(self.esp).ok();
        end.and_then(|end| self.esp.get_mut(end..)).and_then(copy);
    }
}

#[derive(Clone, Copy)]
enum Way {
    Seal,
    Open,
}

/// [`Transform::seal`] for all packets. One that fails does not disturb the others.
pub fn seal_all(jobs: &mut Jobs<'_>) {
    run(Way::Seal, jobs);
}

/// [`Transform::open`] for all packets. One that fails does not disturb the others.
pub fn open_all(jobs: &mut Jobs<'_>) {
    run(Way::Open, jobs);
}

#[cfg(not(target_arch = "x86_64"))]
fn run(way: Way, jobs: &mut Jobs<'_>) {
    jobs.iter_mut().flatten().for_each(|job| job.alone(way));
}

#[cfg(target_arch = "x86_64")]
fn run(way: Way, jobs: &mut Jobs<'_>) {
    let together = are_together(jobs);
    for (job, together) in jobs.iter_mut().zip(together) {
        if let Some(job) = job.as_mut().filter(|_| !together) {
            job.alone(way);
        }
    }
    match way {
        Way::Seal => seal_together(jobs, &together),
        Way::Open => open_together(jobs, &together),
    }
}

/// How many packets it takes until working on them together is faster (measured, see the benchmark).
#[cfg(target_arch = "x86_64")]
const fn least(mac: Mac) -> usize {
    match mac {
        Mac::HmacSha1 => 4,
        // Processors have instructions for it, which the other library uses.
        Mac::HmacSha256 => 8,
        Mac::HmacSha384 | Mac::HmacSha512 => 2,
    }
}

/// Which packets are worked on together.
#[cfg(target_arch = "x86_64")]
fn are_together(jobs: &Jobs<'_>) -> [bool; MOST] {
    // Packets of each MAC, by its place among all.
    let mut counts = [0; Mac::ALL.len()];
    for job in jobs.iter().flatten().filter(|job| job.cipher.is_joint()) {
        if let Some(count) = counts.get_mut(job.cipher.mac as usize) {
            *count += 1;
        }
    }
    let enough = |cipher: &EspCbcHmac| {
        // Where there is one library for everything, it takes single packets, too.
        let count = counts.get(cipher.mac as usize);
        cipher.is_joint()
            && (cipher.many.is_none() || count.is_some_and(|&count| count >= least(cipher.mac)))
    };
    jobs.each_ref()
        .map(|job| job.as_ref().is_some_and(|job| enough(job.cipher)))
}

/// Room for the ICVs of all packets.
#[cfg(target_arch = "x86_64")]
type Icvs = [[u8; MAX_ICV_LEN]; MOST];

/// The packets that are worked on together, with room for their ICVs. With ESN the high half is where the ICV
/// will be, or was.
#[cfg(target_arch = "x86_64")]
fn packets<'a>(jobs: &'a mut Jobs<'_>, together: &[bool; MOST], icvs: &'a mut Icvs) -> Packets<'a> {
    let mut packets = [const { None }; MOST];
    let all = jobs.iter_mut().zip(together).zip(icvs);
    for (place, ((job, together), icv)) in packets.iter_mut().zip(all) {
        if let Some(job) = job.as_mut().filter(|_| *together) {
            *place = packet(job, icv);
        }
    }
    packets
}

#[cfg(target_arch = "x86_64")]
fn packet<'a>(job: &'a mut Job<'_>, icv: &'a mut [u8; MAX_ICV_LEN]) -> Option<Packet<'a>> {
    let cipher = job.cipher;
    let Keys::IpsecMb(keys) = cipher.many.as_ref().unwrap_or(&cipher.keys) else {
        return None;
    };
    let end = cipher.end(job.esp).ok()?;
    Some(Packet {
        keys,
        end,
        hashed: append_high_half(job.esp, end, job.esn_hi),
        esp: job.esp,
        icv: icv.get_mut(..cipher.icv_len)?,
    })
}

/// The results of a step, which are errors until something else is known.
#[cfg(target_arch = "x86_64")]
const UNKNOWN: [Result<(), CipherError>; MOST] = [Err(CipherError::Unsupported); MOST];

#[cfg(target_arch = "x86_64")]
fn seal_together(jobs: &mut Jobs<'_>, together: &[bool; MOST]) {
    let (mut icvs, mut results) = ([[0; MAX_ICV_LEN]; MOST], UNKNOWN);
    let mut packets = packets(jobs, together, &mut icvs);
    run_all(Step::Encrypt, &mut packets);
    run_all(Step::Mac, &mut packets);
    for (packet, result) in packets.into_iter().zip(&mut results) {
        if let Some(packet) = packet {
            let icv = packet.esp.get_mut(packet.end..);
            *result = icv
                .filter(|icv| icv.len() == packet.icv.len())
                .map(|icv| icv.copy_from_slice(packet.icv))
                .ok_or(CipherError::Unsupported);
        }
    }
    for (job, result) in chosen(jobs, together, results) {
        job.result = result;
    }
}

#[cfg(target_arch = "x86_64")]
fn open_together(jobs: &mut Jobs<'_>, together: &[bool; MOST]) {
    let (mut received, mut computed) = ([[0; MAX_ICV_LEN]; MOST], [[0; MAX_ICV_LEN]; MOST]);
    let mut results = UNKNOWN;
    for (job, icv) in chosen(jobs, together, received.iter_mut()) {
        job.copy_icv(|packet| {
            icv.get_mut(..packet.len())
                .map(|icv| icv.copy_from_slice(packet))
        });
    }
    let mut packets = packets(jobs, together, &mut computed);
    run_all(Step::Mac, &mut packets);
    for ((place, received), result) in packets.iter_mut().zip(&received).zip(&mut results) {
        let is_right = |packet: &mut Packet<'_>| {
            received
                .get(..packet.icv.len())
                .is_some_and(|received| ct_eq(packet.icv, received))
        };
        if place.as_mut().is_some_and(|packet| !is_right(packet)) {
            (*place, *result) = (None, Err(CipherError::Auth));
        }
    }
    run_all(Step::Decrypt, &mut packets);
    for (packet, result) in packets.iter().zip(&mut results) {
        if packet.is_some() {
            *result = Ok(());
        }
    }
    for (job, (received, result)) in chosen(jobs, together, received.iter().zip(results)) {
        job.copy_icv(|packet| {
            received
                .get(..packet.len())
                .map(|icv| packet.copy_from_slice(icv))
        });
        job.result = result;
    }
}

/// The packets that are worked on together, each with something.
#[cfg(target_arch = "x86_64")]
fn chosen<'a, 'b, T>(
    jobs: &'a mut Jobs<'b>,
    together: &'a [bool; MOST],
    things: impl IntoIterator<Item = T> + 'a,
) -> impl Iterator<Item = (&'a mut Job<'b>, T)> {
    let all = jobs.iter_mut().zip(together).zip(things);
    all.filter_map(|((job, together), thing)| Some((job.as_mut().filter(|_| *together)?, thing)))
}
