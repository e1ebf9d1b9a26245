// SPDX-License-Identifier: GPL-2.0 OR MIT

//! AES-CBC with HMAC. The library works on many packets at once, and takes for one as long as for all of
//! them. So they come in bursts: jobs that are in memory of the caller, and done when the call returns.

use super::super::suite::{KeyError, CBC_START, IV_START, MOST_JOINT as MOST};
use super::{sys, Manager};
use espnic_esp::engine::{CipherError, LONG_IV_LEN};
use espnic_wire::algorithm::Mac;
use std::cell::RefCell;
use zeroize::{Zeroize, ZeroizeOnDrop};

thread_local! {
    /// Jobs are in it only while [`Jobs::run`] runs.
    static MANAGER: RefCell<Option<Manager>> = const { RefCell::new(None) };
}

/// Round keys of AES-256, which has the most, and hashed blocks of SHA-512, whose state is largest.
/// The library wants 16-byte alignment.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
struct Expanded {
    encrypt: [u8; 240],
    decrypt: [u8; 240],
    ipad: [u8; 64],
    opad: [u8; 64],
}

/// Keys, expanded once. Zeroised when they are dropped.
pub struct CbcHmac {
    expanded: Box<Expanded>,
    key_len: u64,
    hash: sys::IMB_HASH_ALG,
}

impl CbcHmac {
    /// Expands a cipher key of 16, 24 or 32 bytes and a MAC key of the length that `mac` takes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], or [`KeyError::Unavailable`] if the library fails its self-test.
    pub fn new(cipher_key: &[u8], mac: Mac, mac_key: &[u8]) -> Result<Self, KeyError> {
        if !matches!(cipher_key.len(), 16 | 24 | 32) {
            return Err(KeyError::Length);
        }
        if mac_key.len() != mac.row().key_len {
            return Err(KeyError::Length);
        }
        let hash = match mac {
            Mac::HmacSha1 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_1,
            Mac::HmacSha256 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_256,
            Mac::HmacSha384 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_384,
            Mac::HmacSha512 => sys::IMB_HASH_ALG_IMB_AUTH_HMAC_SHA_512,
        };
        let mut expanded = Box::new(Expanded {
            encrypt: [0; 240],
            decrypt: [0; 240],
            ipad: [0; 64],
            opad: [0; 64],
        });
        with_manager(|manager| expand(manager, cipher_key, hash, mac_key, &mut expanded))
            .map_err(|_| KeyError::Unavailable)?;
        Ok(Self {
            expanded,
            key_len: cipher_key.len() as u64,
            hash,
        })
    }

    /// See [`super::super::cbc_hmac::Keys::encrypt`].
    pub(in super::super) fn encrypt(
        &self,
        esp: &mut [u8],
        end: usize,
        hashed: usize,
        icv: &mut [u8],
    ) -> Result<(), CipherError> {
        self.run_cipher(Step::Encrypt, esp, end)?;
        self.mac(esp.get(..hashed).ok_or(CipherError::Unsupported)?, icv)
    }

    /// See [`super::super::cbc_hmac::Keys::decrypt`].
    pub(in super::super) fn decrypt(&self, esp: &mut [u8], end: usize) -> Result<(), CipherError> {
        self.run_cipher(Step::Decrypt, esp, end)
    }

    /// See [`super::super::cbc_hmac::Keys::mac`].
    pub(in super::super) fn mac(&self, data: &[u8], icv: &mut [u8]) -> Result<(), CipherError> {
        let mut jobs = Jobs::default();
        self.describe_hash(jobs.next()?, data.as_ptr(), data.len(), icv);
        jobs.count = 1;
        // SAFETY: the job's data and ICV are borrowed until this returns.
        let done = unsafe { jobs.run(Step::Mac, self.kind(Step::Mac)) };
        done.map_err(|_| CipherError::Unsupported)
    }

    fn run_cipher(&self, step: Step, esp: &mut [u8], end: usize) -> Result<(), CipherError> {
        let mut packet = Packet {
            keys: self,
            esp,
            end,
            hashed: 0,
            icv: &mut [],
        };
        let done = packet.run(step, self.kind(step));
        if done == Err(Failure::Broken) {
            esp.fill(0);
        }
        done.map_err(|_| CipherError::Unsupported)
    }

    fn kind(&self, step: Step) -> Kind {
        match step {
            Step::Mac => Kind::Hash(self.hash),
            Step::Encrypt | Step::Decrypt => Kind::Cipher(self.key_len),
        }
    }

    /// A job for the text of the packet `esp` up to `end`, in place.
    fn describe_cipher(
        &self,
        job: &mut sys::IMB_JOB,
        esp: &mut [u8],
        end: usize,
    ) -> Result<(), CipherError> {
        let text = end.checked_sub(CBC_START).filter(|_| end <= esp.len());
        let text = text.ok_or(CipherError::Unsupported)?;
        let base = esp.as_mut_ptr();
        job.enc_keys = self.expanded.encrypt.as_ptr().cast();
        job.dec_keys = self.expanded.decrypt.as_ptr().cast();
        job.key_len_in_bytes = self.key_len;
        job.__bindgen_anon_1.src = base;
        job.__bindgen_anon_2.dst = base.wrapping_add(CBC_START);
        job.__bindgen_anon_3.cipher_start_src_offset_in_bytes = CBC_START as u64;
        job.__bindgen_anon_4.msg_len_to_cipher_in_bytes = text as u64;
        job.iv = base.wrapping_add(IV_START);
        job.iv_len_in_bytes = LONG_IV_LEN as u64;
        Ok(())
    }

    /// A job for the MAC of `len` bytes at `data`.
    fn describe_hash(&self, job: &mut sys::IMB_JOB, data: *const u8, len: usize, icv: &mut [u8]) {
        job.__bindgen_anon_1.src = data;
        job.hash_start_src_offset_in_bytes = 0;
        job.__bindgen_anon_5.msg_len_to_hash_in_bytes = len as u64;
        job.auth_tag_output = icv.as_mut_ptr();
        job.auth_tag_output_len_in_bytes = icv.len() as u64;
        job.u.HMAC._hashed_auth_key_xor_ipad = self.expanded.ipad.as_ptr();
        job.u.HMAC._hashed_auth_key_xor_opad = self.expanded.opad.as_ptr();
    }
}

/// What is done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    /// Its text is encrypted.
    Encrypt,
    /// Its text is decrypted.
    Decrypt,
    /// Its ICV is computed.
    Mac,
}

/// What jobs have to have in common to be done together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// AES-CBC with keys of this length.
    Cipher(u64),
    Hash(sys::IMB_HASH_ALG),
}

/// One of several packets that are worked on together.
pub(in super::super) struct Packet<'a> {
    /// The keys of its SA.
    pub(in super::super) keys: &'a CbcHmac,
    /// From the ESP header to the end of the ICV.
    pub(in super::super) esp: &'a mut [u8],
    /// The end of the text.
    pub(in super::super) end: usize,
    /// How much is authenticated.
    pub(in super::super) hashed: usize,
    /// Room for the computed ICV, of its length.
    pub(in super::super) icv: &'a mut [u8],
}

impl Packet<'_> {
    /// Alone.
    fn run(&mut self, step: Step, kind: Kind) -> Result<(), Failure> {
        let mut jobs = Jobs::default();
        let describe = |job| self.describe(step, job);
        jobs.next()
            .and_then(describe)
            .map_err(|_| Failure::Refused)?;
        jobs.count = 1;
        // SAFETY: the job's text, IV, data and ICV are borrowed by the packet, which nobody uses before this
        // returns.
        unsafe { jobs.run(step, kind) }
    }

    fn describe(&mut self, step: Step, job: &mut sys::IMB_JOB) -> Result<(), CipherError> {
        match step {
            Step::Encrypt | Step::Decrypt => self.keys.describe_cipher(job, self.esp, self.end),
            Step::Mac => {
                let data = self
                    .esp
                    .get(..self.hashed)
                    .ok_or(CipherError::Unsupported)?;
                let (data, len) = (data.as_ptr(), data.len());
                self.keys.describe_hash(job, data, len, self.icv);
                Ok(())
            }
        }
    }
}

/// Packets that are worked on together; fewer if some are none.
pub(in super::super) type Packets<'a> = [Option<Packet<'a>>; MOST];

/// Does `step` to all packets; one to which it cannot be done becomes none. Those with the same algorithms are
/// worked on together, whatever their keys and lengths are.
pub(in super::super) fn run_all(step: Step, packets: &mut Packets<'_>) {
    let mut left = [false; MOST];
    for (left, packet) in left.iter_mut().zip(packets.iter()) {
        *left = packet.is_some();
    }
    while let Some(kind) = first_kind(step, packets, &left) {
        let mut members = [false; MOST];
        for ((member, left), packet) in members.iter_mut().zip(&mut left).zip(packets.iter()) {
            *member = *left && kind_of(step, packet) == Some(kind);
            *left &= !*member;
        }
        run_kind(step, kind, packets, &members);
    }
}

fn kind_of(step: Step, packet: &Option<Packet<'_>>) -> Option<Kind> {
    packet.as_ref().map(|packet| packet.keys.kind(step))
}

/// The kind of the first packet that is left.
fn first_kind(step: Step, packets: &Packets<'_>, left: &[bool; MOST]) -> Option<Kind> {
    let mut left = packets.iter().zip(left).filter(|(_, &left)| left);
    left.next().and_then(|(packet, _)| kind_of(step, packet))
}

/// Does `step` to the members, which are of this kind.
fn run_kind(step: Step, kind: Kind, packets: &mut Packets<'_>, members: &[bool; MOST]) {
    let mut jobs = Jobs::default();
    for place in chosen(packets, members) {
        let describe = |packet: &mut Packet<'_>| packet.describe(step, jobs.next()?);
        match place.as_mut().map(describe) {
            Some(Ok(())) => jobs.count += 1,
            _ => *place = None,
        }
    }
    // SAFETY: each job's text, IV, data and ICV are borrowed by its packet, which nobody uses before this
    // returns.
    let result = unsafe { jobs.run(step, kind) };
    if let Err(failure) = result {
        for place in chosen(packets, members) {
            after_failure(step, kind, failure, place);
        }
    }
}

fn chosen<'a, 'b>(
    packets: &'a mut Packets<'b>,
    members: &'a [bool; MOST],
) -> impl Iterator<Item = &'a mut Option<Packet<'b>>> {
    let all = packets.iter_mut().zip(members);
    all.filter_map(|(place, &member)| member.then_some(place))
}

/// The library refuses all jobs if it refuses one, so each is tried alone.
#[cold]
fn after_failure(step: Step, kind: Kind, failure: Failure, place: &mut Option<Packet<'_>>) {
    let Some(packet) = place else {
        return;
    };
    let result = match failure {
        Failure::Refused => packet.run(step, kind),
        Failure::Broken => Err(Failure::Broken),
    };
    if result == Err(Failure::Broken) {
        packet.esp.fill(0);
    }
    if result.is_err() {
        *place = None;
    }
}

/// Why jobs were not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// None of them has begun.
    Refused,
    /// Nobody knows what has become of the packets.
    Broken,
}

/// Jobs that are done together.
struct Jobs {
    jobs: [sys::IMB_JOB; MOST],
    count: usize,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            // SAFETY: structures of numbers, pointers and optional functions: zero is a value for all.
            jobs: unsafe { std::mem::zeroed() },
            count: 0,
        }
    }
}

impl Jobs {
    /// The next job, which is empty; it counts as soon as it is counted.
    fn next(&mut self) -> Result<&mut sys::IMB_JOB, CipherError> {
        self.jobs
            .get_mut(self.count)
            .ok_or(CipherError::Unsupported)
    }

    /// Runs all jobs to their end.
    ///
    /// # Safety
    ///
    /// What the jobs point to must be valid, and what they write to must be used by nobody else, until this
    /// returns.
    unsafe fn run(&mut self, step: Step, kind: Kind) -> Result<(), Failure> {
        let count = self.count as u32;
        if count == 0 {
            return Ok(());
        }
        let mut result = Err(Failure::Refused);
        let worked = with_manager(|manager| {
            let (all, jobs) = (manager.fields(), self.jobs.as_mut_ptr());
            let direction = match step {
                Step::Decrypt => sys::IMB_CIPHER_DIRECTION_IMB_DIR_DECRYPT,
                _ => sys::IMB_CIPHER_DIRECTION_IMB_DIR_ENCRYPT,
            };
            let cbc = sys::IMB_CIPHER_MODE_IMB_CIPHER_CBC;
            // SAFETY: the manager is valid and used by this thread only; there are `count` jobs, and the
            // caller vouches for what they point to. The library checks lengths and for null pointers, and
            // refuses all jobs if one is not complete. It keeps none.
            let done = unsafe {
                match (kind, all.submit_cipher_burst, all.submit_hash_burst) {
                    (Kind::Cipher(len), Some(submit), _) => {
                        submit(manager.as_ptr(), jobs, count, cbc, direction, len as _)
                    }
                    (Kind::Hash(hash), _, Some(submit)) => {
                        submit(manager.as_ptr(), jobs, count, hash)
                    }
                    _ => 0,
                }
            };
            result = match done {
                done if done == count && self.are_completed() => Ok(()),
                0 => Err(Failure::Refused),
                _ => Err(Failure::Broken),
            };
            result.map_err(|_| CipherError::Unsupported)
        });
        worked.map_err(|_| result.err().unwrap_or(Failure::Refused))
    }

    fn are_completed(&self) -> bool {
        let mut jobs = self.jobs.iter().take(self.count);
        jobs.all(|job| job.status == sys::IMB_STATUS_IMB_STATUS_COMPLETED)
    }
}

/// Expands both keys.
fn expand(
    manager: &Manager,
    cipher_key: &[u8],
    hash: sys::IMB_HASH_ALG,
    mac_key: &[u8],
    expanded: &mut Expanded,
) -> Result<(), CipherError> {
    let all = manager.fields();
    let expand = match cipher_key.len() {
        16 => all.keyexp_128,
        24 => all.keyexp_192,
        32 => all.keyexp_256,
        _ => None,
    };
    let expand = expand.ok_or(CipherError::Unsupported)?;
    // SAFETY: the key has the length that the function was chosen for; the arrays have room for the
    // most round keys (15 of 16 bytes) and are aligned to 16 bytes by their offsets.
    unsafe {
        expand(
            cipher_key.as_ptr().cast(),
            expanded.encrypt.as_mut_ptr().cast(),
            expanded.decrypt.as_mut_ptr().cast(),
        );
    }
    // SAFETY: the manager is valid, the key readable for its length, and the arrays have room for the
    // largest hash state (64 bytes).
    unsafe {
        sys::imb_hmac_ipad_opad(
            manager.as_ptr(),
            hash,
            mac_key.as_ptr().cast(),
            mac_key.len(),
            expanded.ipad.as_mut_ptr().cast(),
            expanded.opad.as_mut_ptr().cast(),
        );
    }
    Ok(())
}

/// Calls `work` with the manager of this thread, which is replaced if `work` fails: nothing may stay in
/// it that points to buffers of a caller.
fn with_manager(work: impl FnOnce(&Manager) -> Result<(), CipherError>) -> Result<(), CipherError> {
    MANAGER.with_borrow_mut(|slot| {
        let manager = match slot {
            Some(manager) => manager,
            None => slot.insert(Manager::new().map_err(|_| CipherError::Unsupported)?),
        };
        work(manager).inspect_err(|_| *slot = None)
    })
}
