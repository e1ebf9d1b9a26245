// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inline IPsec of one NIC: administration commands, SA tables and the processing of packets.
//!
//! What exists is the experimental crypto-only mode ([`espnic_wire::sa::TAIL_CRYPTO_ONLY`]) with
//! AES-GCM. Standard SAs, for which the NIC would add and remove ESP itself, are refused, and the
//! capabilities say so.
//!
//! Commands are executed one at a time; packets of any number of queues are processed at the same
//! time under a read lock. Destroying an SA takes the write lock, so no packet is in flight under it
//! when the command is answered, and its keys are erased by then.

mod admin;
mod caps;
mod counters;
mod objects;
mod sa;
mod table;

use crate::crypto::Backend;
use admin::AdminState;
use counters::Counters;
use espnic_esp::engine::{self, Error};
use espnic_esp::packet::{self, Esp};
use espnic_wire::hdr::{self, NetHdr48, SecExt};
use espnic_wire::sa as wire;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use table::Tables;

/// How the IPsec part of a NIC is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpsecConfig {
    /// Crypto library of all SAs.
    pub backend: Backend,
    /// Largest number of inbound SAs.
    pub inb_sa_limit: u32,
    /// Largest number of outbound SAs.
    pub outb_sa_limit: u32,
    /// Whether the experimental extension is offered; without it no SA can be created.
    pub x_ipsec: bool,
}

impl Default for IpsecConfig {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            inb_sa_limit: 4096,
            outb_sa_limit: 4096,
            x_ipsec: true,
        }
    }
}

/// Why a packet of the guest was not sent. It must never reach the wire then, in whatever form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxDrop {
    /// The header names no outbound SA that exists.
    #[error("no such SA")]
    NoSa,
    /// Epoch or SPI are not those of the SA that has this id now.
    #[error("the SA has been replaced")]
    Stale,
    /// The frame is not the ESP packet that the header describes.
    #[error("not the ESP packet that the header describes")]
    Format,
    /// Not crypto-only, to be segmented, or more than the cipher can do.
    #[error("not supported")]
    Unsupported,
}

/// Inline IPsec of one NIC.
pub struct Ipsec {
    config: IpsecConfig,
    /// Taken before `tables`.
    state: Mutex<AdminState>,
    tables: RwLock<Tables>,
    counters: Counters,
}

impl Ipsec {
    /// With empty tables, as after a reset.
    pub fn new(config: IpsecConfig) -> Self {
        Self {
            config,
            state: Mutex::new(AdminState::new(config.x_ipsec)),
            tables: RwLock::new(Tables::default()),
            counters: Counters::default(),
        }
    }

    /// Virtio reset: forgets capabilities, the list of opcodes and all SAs, and erases their keys.
    /// Counters stay.
    pub fn reset(&self) {
        let mut state = self.lock_state();
        *state = AdminState::new(self.config.x_ipsec);
        *self.write_tables() = Tables::default();
    }

    /// The driver has (or has not) negotiated [`espnic_wire::feature::X_IPSEC`]: without it, the
    /// administration commands do not show the extension. To be called before `DRIVER_OK`; until
    /// then, [`IpsecConfig::x_ipsec`] counts.
    pub fn set_x_ipsec(&self, negotiated: bool) {
        self.lock_state()
            .set_x_ipsec(self.config.x_ipsec && negotiated);
    }

    /// Executes a complete administration command (without the frame of the control queue) and
    /// returns the number of bytes written to `writable`.
    ///
    /// Missing input reads as zero and output that has no room is discarded. Every answer has a
    /// status, as far as `writable` has room for one.
    pub fn admin(&self, readable: &[u8], writable: &mut [u8]) -> usize {
        admin::execute(self, readable, writable)
    }

    /// Encrypts a frame that the driver marked with [`hdr::F_SECURITY`].
    ///
    /// The inner checksum has to be complete already.
    ///
    /// # Errors
    ///
    /// See [`TxDrop`]. The frame must not be sent then.
    pub fn transmit(&self, hdr: &NetHdr48, frame: &mut [u8]) -> Result<(), TxDrop> {
        let result = self.protect(hdr, frame);
        self.counters.transmitted(result, frame.len());
        result
    }

    fn protect(&self, hdr: &NetHdr48, frame: &mut [u8]) -> Result<(), TxDrop> {
        let crypto_only = hdr.has(hdr::F_X_SEC) && hdr.sec.sec_op == hdr::SEC_OP_CRYPTO_ONLY;
        if !crypto_only || hdr.net.gso_type != hdr::GSO_NONE {
            return Err(TxDrop::Unsupported);
        }
        if !matches!(hdr.out.resource_type.get(), 0 | wire::OBJ_OUTB_SA) {
            return Err(TxDrop::NoSa);
        }
        let tables = self.read_tables();
        let sa = tables
            .outbound(hdr.out.resource_id.get())
            .ok_or(TxDrop::NoSa)?;
        let esp = packet::find(frame).ok_or(TxDrop::Format)?;
        if sa.epoch != hdr.sec.epoch.get() || sa.spi != esp.spi {
            return Err(TxDrop::Stale);
        }
        if esp.offset != usize::from(hdr.sec.esp_offset.get()) || esp.end != frame.len() {
            return Err(TxDrop::Format);
        }
        let packet = frame.get_mut(esp.offset..).ok_or(TxDrop::Format)?;
        let (esn_hi, trailer_len) = (hdr.sec.esn_hi.get(), hdr.sec.trailer_len.get());
        engine::seal(&sa.cipher, &sa.params, esn_hi, trailer_len, packet).map_err(|error| {
            match error {
                Error::Length | Error::Format => TxDrop::Format,
                Error::Auth | Error::Unsupported => TxDrop::Unsupported,
            }
        })
    }

    /// Processes a frame from the wire. ESP for which there is an SA is verified and decrypted in
    /// place and `hdr` says how that went; a packet that fails stays as it came. Everything else,
    /// frame and header, is left alone.
    pub fn receive(&self, frame: &mut [u8], hdr: &mut NetHdr48) {
        let Some(esp) = packet::find(frame) else {
            return;
        };
        let len = frame.len();
        let Some(packet) = frame.get_mut(esp.offset..esp.end) else {
            return;
        };
        let tables = self.read_tables();
        let Some(sa) = tables.inbound(esp.spi, &esp.dst) else {
            self.counters.rx_no_sa.inc();
            return;
        };
        // Without ESN, the high part is not authenticated and counts as zero.
        let esn_hi = 0;
        let result = engine::open(&sa.cipher, &sa.params, esn_hi, packet);
        self.counters.received(result, len);
        fill_received(hdr, sa, &esp, esn_hi, result);
    }

    /// Name and value of every counter; `ipsec_sa_in` and `ipsec_sa_out` are the present numbers of
    /// SAs.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let (inb, outb) = self.read_tables().len();
        let mut list = self.counters.list();
        list.push(("ipsec_sa_in", inb as u64));
        list.push(("ipsec_sa_out", outb as u64));
        list
    }

    fn lock_state(&self) -> MutexGuard<'_, AdminState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in `hdr` what became of a packet that has an SA.
fn fill_received(
    hdr: &mut NetHdr48,
    sa: &sa::Sa,
    esp: &Esp,
    esn_hi: u32,
    result: Result<(), Error>,
) {
    let sec_status = match result {
        Ok(()) => hdr::SEC_OK,
        Err(Error::Auth) => hdr::SEC_AUTH,
        Err(Error::Format) => hdr::SEC_FORMAT,
        Err(Error::Length) => hdr::SEC_LENGTH,
        Err(Error::Unsupported) => hdr::SEC_UNSUPPORTED,
    };
    hdr.net.flags |= hdr::F_SECURITY | hdr::F_X_SEC;
    if sec_status != hdr::SEC_OK {
        hdr.net.flags |= hdr::F_SECURITY_ERR;
    }
    hdr.out.resource_id = sa.id.into();
    hdr.out.resource_type = wire::OBJ_INB_SA.into();
    hdr.sec = SecExt {
        sec_op: hdr::SEC_OP_CRYPTO_ONLY,
        sec_status,
        // At most 54.
        esp_offset: (esp.offset as u16).into(),
        esn_hi: esn_hi.into(),
        epoch: sa.epoch.into(),
        ..SecExt::default()
    };
}

#[cfg(test)]
mod tests;
