// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inline IPsec of one NIC: capabilities, SA tables and the processing of packets.
//!
//! There are SAs of the standard, for which the NIC adds and removes ESP itself (`packet`), and those of
//! the experimental crypto-only mode (`crypto`). What both share is here, what differs has the same file
//! names in both places.
//!
//! Administration commands ([`crate::admin`]) are executed one at a time; packets of any number of
//! queues are processed at the same time under a read lock. Destroying an SA takes the write lock, so
//! no packet is in flight under it when the command is answered, and its keys are erased by then. Packets of one SA
//! are encrypted beside each other, too, and leave in the order of their numbers (`turn`).

mod account;
mod ahead;
mod algorithm;
mod capability;
mod commands;
mod config;
mod counters;
mod crypto;
mod drop;
mod events;
pub mod faults;
mod key_table;
mod last;
mod object;
mod oldest;
mod opening;
mod packet;
mod receiver;
mod record;
mod room;
mod rx;
mod sa;
mod sent;
mod session;
mod sparse;
mod spi;
mod state_object;
mod table;
mod together;
mod turn;
mod tx;
mod waiting;

pub use config::IpsecConfig;
pub use drop::TxDrop;
pub use events::{EventStats, Events};
pub use key_table::KeyTable;
pub use rx::Inbound;
pub use turn::Turns;

use crate::frame::Frame;
use crate::frames::Frames;
use crate::misbehave::Misbehaviour;
use capability::Agreed;
pub use counters::Stats;
use counters::{Counters, Tally};
use espnic_wire::hdr::NetHdr48;
use faults::Faults;
use room::Room;
use session::Session;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use table::Tables;
use waiting::Waiting;

/// Inline IPsec of one NIC.
pub struct Ipsec {
    config: IpsecConfig,
    /// Taken before `tables`.
    agreed: Mutex<Agreed>,
    tables: RwLock<Tables>,
    counters: Counters,
    room: Room,
    /// The file for keys, if the user asked for one.
    key_table: Option<Arc<KeyTable>>,
    /// Events of SAs for the driver.
    pub events: Events,
    /// Faults on purpose.
    pub faults: Faults,
    /// Rules that are broken on purpose.
    pub misbehaviour: Arc<Misbehaviour>,
}

impl Ipsec {
    /// Makes the IPsec part with empty tables, as after a reset.
    pub fn new(config: IpsecConfig) -> Self {
        Self {
            config,
            agreed: Mutex::new(Agreed::new(config.x_ipsec)),
            tables: RwLock::new(Tables::default()),
            counters: Counters::default(),
            room: Room::new(config.delete_above),
            key_table: None,
            events: Events::default(),
            faults: Faults::default(),
            misbehaviour: Arc::default(),
        }
    }

    /// Writes the keys of all SAs to `table` as they are created.
    #[must_use]
    pub fn with_key_table(self, table: Option<Arc<KeyTable>>) -> Self {
        Self {
            key_table: table,
            ..self
        }
    }

    /// See [`crate::admin::Owner::reset`].
    fn forget(&self) {
        let mut agreed = self.agreed();
        *agreed = Agreed::new(self.config.x_ipsec);
        // Dropped outside the lock: with many SAs it takes long.
        let old = std::mem::take(&mut *self.write_tables());
        drop(old);
        self.events.clear();
        self.misbehaviour.reset();
    }

    /// Changes [`IpsecConfig::delete_above`]; a reset keeps it.
    pub fn delete_above(&self, mark: Option<u32>) {
        self.room.set_mark(mark);
    }

    /// Sets whether the driver has negotiated [`espnic_wire::feature::X_IPSEC`]; without it, the
    /// administration commands do not show the extension. Call it before `DRIVER_OK`; until then,
    /// [`IpsecConfig::x_ipsec`] counts.
    pub fn set_x_ipsec(&self, negotiated: bool) {
        self.agreed().x_ipsec = self.config.x_ipsec && negotiated;
    }

    /// Encrypts a frame that the driver marked with [`espnic_wire::hdr::F_SECURITY`] and appends what
    /// goes to the wire to `out`: the frame, or with [`espnic_wire::hdr::NetHdr12::gso_type`] its segments.
    /// None is longer than `longest` bytes.
    ///
    /// Completes the inner checksum if the header asks for it. The caller must check that the driver may
    /// ask for segmentation. A single frame is moved out of `frame`, one to be segmented stays; nothing is
    /// allocated if `out` has enough buffers. If the SA ends at one of several packets, those before it are
    /// sent, and the others counted.
    ///
    /// # Errors
    ///
    /// See [`TxDrop`]. Nothing was appended then, and the frame must not be sent.
    pub fn transmit(
        &self,
        hdr: &NetHdr48,
        frame: &mut Frame,
        longest: usize,
        out: &mut Frames,
    ) -> Result<(), TxDrop> {
        self.transmit_in_turn(hdr, frame, longest, out, &mut Turns::of_one())
    }

    /// The same for one of several threads, with what goes to the wire sent by [`Turns::send`]. `turns` are of frames
    /// in `out`.
    ///
    /// # Errors
    ///
    /// See [`Self::transmit`].
    pub fn transmit_in_turn(
        &self,
        hdr: &NetHdr48,
        frame: &mut Frame,
        longest: usize,
        out: &mut Frames,
        turns: &mut Turns,
    ) -> Result<(), TxDrop> {
        self.session(turns).transmit(hdr, frame, longest, out)
    }

    /// Processes a frame from the wire. ESP for which there is an SA is verified and decrypted, and the
    /// header says how that went. Crypto-only ESP is decrypted in place, that of other SAs becomes a plain
    /// frame, or is dropped: its frame is then empty. A packet that fails and is delivered stays as it came.
    /// Everything else, frame and header, is left alone.
    ///
    /// [`espnic_wire::hdr::F_DATA_VALID`] is set if the checksum inside the packet is right.
    pub fn receive(&self, inbound: &mut Inbound) {
        self.session(&mut Turns::of_one()).receive(inbound);
    }

    /// [`Ipsec::transmit`] for every frame of a batch; returns how many were dropped. A batch costs less
    /// than its frames one by one, above all with many SAs.
    pub fn transmit_all(
        &self,
        batch: &mut [(NetHdr48, Frame)],
        longest: usize,
        out: &mut Frames,
    ) -> usize {
        self.transmit_all_in_turn(batch, longest, out, &mut Turns::of_one())
    }

    /// The same for one of several threads, see [`Self::transmit_in_turn`].
    pub fn transmit_all_in_turn(
        &self,
        batch: &mut [(NetHdr48, Frame)],
        longest: usize,
        out: &mut Frames,
        turns: &mut Turns,
    ) -> usize {
        self.session(turns).transmit_all(batch, longest, out)
    }

    /// [`Ipsec::receive`] for every frame of a batch, which costs less than its frames one by one.
    pub fn receive_all(&self, batch: &mut [Inbound]) {
        self.session(&mut Turns::of_one()).receive_all(batch);
    }

    fn session<'a>(&'a self, turns: &'a mut Turns) -> Session<'a> {
        Session {
            tables: self.read_tables(),
            counters: &self.counters,
            events: &self.events,
            faults: &self.faults,
            room: &self.room,
            misbehaviour: &self.misbehaviour,
            tally: Tally::default(),
            waiting: Waiting::default(),
            turns,
        }
    }

    /// The present statistics.
    pub fn stats(&self) -> Stats<'_> {
        let (inb, outb) = self.read_tables().len();
        Stats {
            counters: &self.counters,
            ipsec_sa_in: inb as u64,
            ipsec_sa_out: outb as u64,
            ipsec_faults: self.faults.made(),
            ipsec_delete_requests: self.room.made(),
        }
    }

    fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
