// SPDX-License-Identifier: GPL-2.0

//! ESP offload: the life of an SA.
//!
//! An SA is a slot in the driver's state table and an object in the NIC, under the same id and with
//! the same generation. The slot outlives both the state and the object:
//!
//! * [`Ipsec::add`] creates the object and waits for the NIC's word;
//! * [`Ipsec::delete`], which must not sleep, posts the DESTROY if there are memory and room for it;
//! * [`Ipsec::free`] makes up for that, waits until the NIC has destroyed the object, then releases the
//!   slot.
//!
//! If the NIC never answers, the slot stays taken, so that no packet of the old SA can be taken for
//! one of a new SA. A reset of the NIC destroys all objects; `reinstall` creates those of the live states
//! again. It also takes objects out of the NIC while software must do the work.

mod algorithm;
mod capability;
mod check;
pub(crate) mod crypto;
pub(crate) mod left;
mod life;
mod object;
pub(crate) mod packet;
pub(crate) mod reinstall;
mod removal;

use crate::{
    control::Control,
    counters::counters, //
};
use capability::Capabilities;
use check::Supported;
use espnic_esp::seq;
#[cfg(espnic_ndis)]
use espnic_wire::cap::XSaEntry;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    }, //
};
use kernel_net::net::{
    netlink::ExtAck,
    xfrm::{
        Committed,
        Direction,
        Handle,
        Reservation,
        State,
        StateTable, //
    }, //
};
use left::{
    Left,
    Reasons, //
};
use life::{
    Doomed,
    Life,
    OfPacket, //
};
use packet::{
    check::Checked,
    counted::Counted,
    database::Database, //
};

pub(crate) use life::Sa;

/// The IPsec side of a NIC.
#[pin_data]
pub(crate) struct Ipsec {
    #[pin]
    pub(crate) states: StateTable<Sa>,
    /// Whether a state names the interface itself, not a bond above it.
    names_interface: fn(&State) -> bool,
    /// Set once the driver and the NIC have agreed.
    capabilities: SetOnce<Capabilities>,
    /// Held while an SA is added or freed, and while objects come and go under living states.
    #[pin]
    mode: Mutex<Mode>,
    /// Dead SAs whose objects are still needed; changes under `mode`, but for additions.
    #[pin]
    doomed: Doomed,
    /// Which SAs must be left to software; `follow` acts on it.
    wanted: Reasons,
    pub(crate) counters: Counters,
    /// Whether the NIC may lack an outbound SA.
    some_absent: Atomic<bool>,
    /// The policies of packet offload.
    #[pin]
    pub(crate) database: Database,
    /// After a reset the NIC has refused the rules without which it has no packet offload.
    filter_refused: Atomic<bool>,
    /// The number of SAs of packet offload that were taken and not freed.
    packet_sas: Atomic<u32>,
}

counters! {
    /// What happened to SAs and to the NIC since the start.
    shared struct Counters {
        /// SAs that were taken.
        added: c"ipsec_sa_added",
        /// SAs whose state the stack has deleted.
        deleted: c"ipsec_sa_deleted",
        /// SAs that cannot be offloaded.
        refused: c"ipsec_sa_refused",
        /// SAs that went from the NIC to software.
        left: c"ipsec_sa_left_to_software",
        /// SAs of packet offload of which the NIC knows that the user has changed them.
        changed: c"ipsec_sa_changed",
        /// Commands for SAs that failed.
        control_errors: c"ipsec_control_errors",
        /// Resets that the NIC has survived.
        resets: c"nic_resets",
    }
}

/// So many packets may go out under a state while its copy takes its place.
const COPY_MARGIN: u64 = 1024;

/// An SA that passed the checks of its mode.
enum Wanted<'a> {
    Crypto(Supported<'a>),
    Packet(Checked<'a>),
}

/// Whether commands may be sent now, and for which SAs.
#[derive(Clone, Copy, Default)]
struct Mode {
    /// The NIC is being reset.
    resetting: bool,
    /// What [`Ipsec::follow`] saw last.
    left: Left,
}

impl Ipsec {
    /// `names_interface` says of a state whether it names the interface itself, not a bond above it.
    pub(crate) fn new(names_interface: fn(&State) -> bool) -> impl PinInit<Self> {
        pin_init!(Self {
            states <- StateTable::new(),
            names_interface,
            capabilities: SetOnce::new(),
            mode <- new_mutex!(Mode::default()),
            doomed <- Doomed::new(),
            wanted: Reasons::new(),
            counters: Counters::default(),
            some_absent: Atomic::new(false),
            database <- Database::new(),
            filter_refused: Atomic::new(false),
            packet_sas: Atomic::new(0),
        })
    }

    /// Agrees with the NIC on what is offloaded. Before the netdev is registered. Sleeps.
    pub(crate) fn set_up(&self, control: &Control) -> Result {
        let mut capabilities = Capabilities::negotiate(control)?;
        if capabilities.has_packet_offload() && !packet::filter::set_up(control).unwrap_or(false) {
            self.counters.control_errors.add(1);
            capabilities = capabilities.without_packet_offload();
        }
        // Object ids are below the limits, as slots are.
        self.states
            .set_limit(Direction::In, capabilities.limit_in)?;
        self.states
            .set_limit(Direction::Out, capabilities.limit_out)?;
        self.capabilities.populate(capabilities);
        Ok(())
    }

    /// The number of SAs of one direction that the NIC takes.
    #[cfg(espnic_ndis)]
    pub(crate) fn limit(&self, direction: Direction) -> u32 {
        match (self.capabilities.as_ref(), direction) {
            (None, _) => 0,
            (Some(capabilities), Direction::In) => capabilities.limit_in,
            (Some(capabilities), Direction::Out) => capabilities.limit_out,
        }
    }

    /// Whether the NIC offers everything in `entry`.
    #[cfg(espnic_ndis)]
    pub(crate) fn offers(&self, entry: &XSaEntry) -> bool {
        self.capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.offers(entry))
    }

    fn check<'a>(&self, x: &'a State) -> Result<Supported<'a>, &'static CStr> {
        let none = c"espnic: the NIC has no ESP crypto offload";
        let capabilities = self.capabilities.as_ref().ok_or(none)?;
        crypto::check::supported(x, capabilities, self.is_below_bond(x))
    }

    fn check_packet<'a>(&self, x: &'a State) -> Result<Checked<'a>, &'static CStr> {
        let capabilities = self.with_packet_offload().ok_or(packet::check::NONE)?;
        packet::check::checked(x, capabilities, self.is_below_bond(x))
    }

    /// The capabilities, if the NIC has packet offload.
    fn with_packet_offload(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref().filter(|capabilities| {
            capabilities.has_packet_offload() && !self.filter_refused.load(Relaxed)
        })
    }

    /// Whether the NIC has packet offload.
    pub(crate) fn has_packet_offload(&self) -> bool {
        self.with_packet_offload().is_some()
    }

    /// Whether there are SAs of packet offload.
    pub(crate) fn has_packet_sas(&self) -> bool {
        self.packet_sas.load(Relaxed) != 0
    }

    /// The SA of packet offload behind `handle`, if it is one. No sleeping.
    pub(crate) fn packet_sa(&self, handle: Handle) -> Option<Arc<packet::Sa>> {
        self.states
            .with_data(handle, |sa| Some(sa.packet.as_ref()?.sa.clone()))?
    }

    /// Checks `x` by the rules of its mode, and what only a new state must fulfil.
    fn check_new<'a>(&self, x: &'a State) -> Result<Wanted<'a>, &'static CStr> {
        if x.is_packet_offload() {
            let mut checked = self.check_packet(x)?;
            checked
                .use_up(x.usage())
                .map_err(|_| c"espnic: a limit is used up already, take a new key")?;
            return Ok(Wanted::Packet(checked));
        }
        if x.direction() == Some(Direction::Out) && x.has_last_high_half() {
            return Err(c"espnic: the sequence numbers are nearly used up, take a new key");
        }
        self.check(x).map(Wanted::Crypto)
    }

    /// Takes `x` by committing its slot, or refuses it with an extack message. Process context. `wait` is that
    /// of [`Self::bury`].
    ///
    /// # Errors
    ///
    /// `EINVAL` for an SA that cannot be offloaded, else why the NIC did not create the object.
    pub(crate) fn add<'a>(
        &self,
        control: &Control,
        x: &State,
        slot: Reservation<'a, Sa>,
        extack: &mut ExtAck,
        wait: impl FnOnce(),
    ) -> Result<Committed<'a>> {
        let mut wanted = self.check_new(x).map_err(|message| {
            self.counters.refused.add(1);
            extack.set(message);
            EINVAL
        })?;
        let mode = self.mode.lock();
        if matches!(wanted, Wanted::Packet(_)) && self.wanted.is_lent() {
            self.counters.refused.add(1);
            extack.set(c"espnic: a socket (AF_XDP) has a queue without copies");
            return Err(EINVAL);
        }
        let handle = slot.handle();
        let added = if mode.resetting {
            Err(EAGAIN)
        } else {
            // SAs that are deleted already must not take its room.
            self.bury_locked(control, wait);
            self.create(control, x, handle, &mut wanted)
        };
        match added {
            Ok(data) => {
                let committed = self.keep(slot, data);
                self.counters.added.add(1);
                Ok(committed)
            }
            Err(error) => {
                self.counters.control_errors.add(1);
                extack.set(failure(error));
                if error == ETIMEDOUT {
                    // The NIC may have the object, so the slot stays taken. If it was only late, this
                    // destroys the object, which would stay unused.
                    let _ = object::destroy(control, handle, GFP_KERNEL);
                    slot.leak();
                }
                Err(error)
            }
        }
    }

    /// Creates the object of a new SA, unless it must be left to software, and returns the driver's data.
    fn create(
        &self,
        control: &Control,
        x: &State,
        handle: Handle,
        wanted: &mut Wanted<'_>,
    ) -> Result<Sa> {
        let mut data = Sa {
            life: Life::Live,
            esn_hi: seq::hi(x.highest_seen()),
            pending_seq: None,
            absent: false,
            by_ndis: false,
            packet: None,
        };
        match wanted {
            Wanted::Crypto(_) if handle.direction == Direction::In && self.is_left(x, handle) => {
                data.absent = true;
            }
            Wanted::Crypto(supported) => crypto::object::create(control, x, handle, supported)?,
            Wanted::Packet(checked) => {
                self.follow_copied(x, handle.direction, checked);
                self.database.make_sign()?;
                self.database.expect_sa()?;
                let sa = checked.sa(x, handle, self.database.next_sa())?;
                let room = KBox::new_uninit(GFP_KERNEL)?;
                let number = checked.number();
                let told = packet::object::create(control, x, handle, checked, number, &[])?;
                let counted = Counted::default();
                data.packet = Some(room.write(OfPacket { sa, counted, told }));
            }
        }
        Ok(data)
    }

    /// Makes the NIC begin behind the numbers of the state of which `x` is a copy, if it is one, as a key manager
    /// makes it that moves an SA: those that the copy has may be as old as the last reading.
    fn follow_copied(&self, x: &State, direction: Direction, checked: &mut Checked<'_>) {
        let (reqid, spi) = (x.reqid(), x.spi());
        match direction {
            Direction::Out => {
                if let Some(last) = self.database.last_possible(reqid, spi) {
                    checked.not_before(last.saturating_add(COPY_MARGIN));
                }
            }
            Direction::In => {
                if let Some(seen) = self.database.highest_seen(reqid, spi) {
                    checked.nothing_up_to(seen);
                }
            }
        }
    }

    /// Stores the data of an SA that was taken.
    fn keep<'a>(&self, slot: Reservation<'a, Sa>, data: Sa) -> Committed<'a> {
        if data.absent {
            self.counters.left.add(1);
        }
        let packet = data.packet.as_ref().map(|packet| packet.sa.clone());
        let committed = slot.commit(data);
        if let Some(sa) = packet {
            self.packet_sas.fetch_add(1, Relaxed);
            self.database.sa_added(sa);
        }
        committed
    }

    /// Expires all states, so that key managers make new ones: the interface goes down, and the stack
    /// would delete them without notifying the key managers. Sleeps.
    ///
    /// States of a bond stay, because the bond moves them to another NIC.
    pub(crate) fn expire_all(&self) {
        for direction in [Direction::In, Direction::Out] {
            self.for_each_live(direction, |_, x| {
                if !self.is_below_bond(x) {
                    x.expire();
                }
            });
        }
    }

    /// Whether the state is one of a bond above the interface.
    fn is_below_bond(&self, x: &State) -> bool {
        !(self.names_interface)(x)
    }

    fn for_each_live(&self, direction: Direction, mut action: impl FnMut(Handle, &State)) {
        let mut from = 0;
        while let Some((handle, x)) = self.states.next_live(direction, from) {
            from = handle.id.saturating_add(1);
            action(handle, &x);
        }
    }

    /// Counts a reset that the NIC has survived.
    pub(crate) fn count_reset(&self) {
        self.counters.resets.add(1);
    }
}

/// The extack message for an SA that finds no room.
pub(crate) const TABLE_FULL: &CStr = c"espnic: the NIC's table of security associations is full";

/// The extack message for an SA that the NIC did not create.
fn failure(error: Error) -> &'static CStr {
    match error {
        ENOSPC => TABLE_FULL,
        ENOMEM => c"espnic: out of memory",
        ETIMEDOUT => c"espnic: the NIC did not answer in time",
        ENODEV => c"espnic: the NIC's control queue is broken, bind the driver again",
        EBUSY => c"espnic: the NIC's control queue is full, try again",
        EAGAIN | ENXIO => c"espnic: the NIC is being reset, try again",
        _ => c"espnic: the NIC refused the security association",
    }
}
