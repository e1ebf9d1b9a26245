// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One SA: the checked object of the driver, and the parts that the data path needs.

use super::algorithm;
use super::capability::Agreed;
use super::crypto::sa::Numbers;
use super::last::Last;
use super::object;
use super::packet::sa::Packet;
use super::sparse::{Sparse, Whole};
use super::{crypto, packet};
use crate::admin::Refused;
use crate::crypto::{Cipher, Libraries};
use espnic_esp::engine::Params;
use espnic_esp::ip::{Address, Ports};
use espnic_esp::packet::Esp;
use espnic_wire::cap;
use espnic_wire::sa::{self, SaBase, SaObject};
use subtle::ConstantTimeEq;
use zerocopy::FromBytes;

/// An SA. Its keys are erased when it is dropped.
///
/// With many SAs each packet waits for the memory of its own, so it is two cache lines, the first of which has
/// all that an outbound packet of a crypto-only SA needs.
#[repr(C, align(64))]
pub(super) struct Sa {
    /// The expanded keys.
    pub(super) cipher: Cipher,
    /// The other parameters of the engine.
    pub(super) params: Params,
    /// SPI as a number.
    pub(super) spi: u32,
    /// The value that [`espnic_wire::hdr::SecExt::generation`] must have.
    pub(super) generation: u16,
    udp: Option<Udp>,
    /// Tunnel mode, else transport mode.
    pub(super) tunnel: bool,
    /// What `mode` says.
    pub(super) crypto_only: bool,
    // From here on the second line.
    /// Its last use.
    pub(super) last: Last,
    /// What differs between crypto-only SAs and those of the standard.
    pub(super) mode: Mode,
    /// The object as it was created.
    object: Box<Sparse>,
    /// Object id.
    pub(super) id: u32,
    /// Destination of inbound packets; of no family if any will do.
    dst: Address,
}

const LINE: usize = 64;
const _: () = assert!(std::mem::offset_of!(Sa, last) == LINE && size_of::<Sa>() == 2 * LINE);
// The same in a table with free places.
const _: () = assert!(size_of::<Option<Sa>>() == size_of::<Sa>());

/// What differs between crypto-only SAs and those of the standard.
pub(super) enum Mode {
    /// Crypto-only.
    Crypto(Numbers),
    /// Of the standard. Apart, so that crypto-only SAs stay small.
    Packet(Box<Packet>),
}

/// UDP encapsulation.
struct Udp {
    ports: Ports,
    /// Ports are compared.
    check: bool,
}

impl Sa {
    /// Checks the `object` of a CREATE or MODIFY and expands its key.
    pub(super) fn new(
        libraries: Libraries,
        agreed: &Agreed,
        obj_type: u16,
        id: u32,
        object: &[u8],
    ) -> Result<Self, Refused> {
        let stored = object::whole(object, agreed.x_ipsec);
        let view = object::view(&stored)?;
        object::check(view, obj_type)?;
        match object::is_crypto_only(view) {
            true => crypto::sa::check(view)?,
            false => packet::check::check(view, agreed.x_ipsec)?,
        }
        let (suite, cipher) = algorithm::choose(libraries, view, agreed)?;
        let params = Params {
            layout: suite.layout(),
            esn: object::has_option(view, cap::OPT_ESN),
            iv_xor: object::iv_xor(view, suite)?,
        };
        let crypto_only = object::is_crypto_only(view);
        let mode = match crypto_only {
            true => Mode::Crypto(Numbers::of(view)),
            false => {
                let bitmap = object.get(size_of::<SaObject>()..).unwrap_or_default();
                let packet = Packet::new(view, bitmap, agreed.x_ipsec, params.layout)?;
                Mode::Packet(Box::new(packet))
            }
        };
        let check = !object::has_flag(view, sa::TAIL_NO_UDP_PORT_CHECK);
        Ok(Self {
            cipher,
            params,
            spi: view.base.spi.get(),
            generation: view.tail.generation.get(),
            udp: object::ports(view).map(|ports| Udp { ports, check }),
            tunnel: view.base.mode == cap::MODE_ESP_TUNNEL,
            crypto_only,
            last: Last::new(0),
            mode,
            object: Box::new(Sparse::new(&stored)),
            id,
            dst: object::destination(view),
        })
    }

    /// Whether an inbound packet with the SPI of this SA, found in `frame`, belongs to it. An SA of the
    /// standard only takes packets that a rule of the flow filter sent to IPsec.
    #[inline(always)]
    pub(super) fn takes(&self, esp: &Esp, frame: &[u8], by_rule: bool) -> bool {
        let encapsulated = match (&self.udp, esp.udp) {
            (None, None) => true,
            (Some(udp), Some(ports)) => !udp.check || udp.ports.dst == ports.dst,
            _ => false,
        };
        encapsulated
            && (esp.is_to(frame, &self.dst) || self.dst.family == 0)
            && (by_rule || self.crypto_only)
    }

    /// As much of it an outbound packet of a crypto-only SA needs, in bytes.
    pub(super) const FOR_OUTBOUND: usize = LINE;

    /// Whether the destination counts for [`Self::takes`] (2), and the UDP port if it has one (1). A greater value is
    /// more specific.
    // One number: two flags would be written to memory one by one and read together, which stalls.
    #[inline(always)]
    pub(super) fn compared(&self) -> u8 {
        let port = self.udp.as_ref().is_none_or(|udp| udp.check);
        2 * u8::from(self.dst.family != 0) + u8::from(port)
    }

    /// Whether [`Self::compared`] is as great as it can be.
    #[inline(always)]
    pub(super) fn compares_all(&self) -> bool {
        self.compared() == 3
    }

    /// Whether an outbound packet may have this encapsulation.
    pub(super) fn sends_from(&self, ports: Option<Ports>) -> bool {
        match (&self.udp, ports) {
            (None, None) => true,
            (Some(udp), Some(ports)) => !udp.check || udp.ports == ports,
            _ => false,
        }
    }

    /// The object as QUERY returns it: without keys and salt. The standard includes the keys, but no driver
    /// needs them back, and a NIC should not reveal them. Without the extension the object ends where the
    /// standard's does.
    pub(super) fn query(&self, x_ipsec: bool) -> Result<Vec<u8>, Refused> {
        let mut object = self.object.whole();
        SaObject::mut_from_bytes(object.as_mut_slice())
            .map_err(|_| Refused::FIELD)?
            .clear_keys();
        let len = if x_ipsec {
            object.len()
        } else {
            size_of::<SaBase>()
        };
        Ok(object.iter().copied().take(len).collect())
    }

    /// The object as it was created, keys included.
    pub(super) fn object(&self) -> Whole {
        self.object.whole()
    }

    /// Prepares to take the place of `old`, which a MODIFY replaces. Addresses, UDP ports, limits, the tunnel
    /// header and the events may differ, and with crypto-only SAs the highest sequence number; mode, SPI,
    /// algorithms, keys, window, generation and IVs may not.
    pub(super) fn replace(&mut self, old: &Self) -> Result<(), Refused> {
        let (new, kept) = (self.object.whole(), old.object.whole());
        let same = object::fixed(object::view(&new)?).ct_eq(&object::fixed(object::view(&kept)?));
        if !bool::from(same) {
            return Err(Refused::FIELD);
        }
        // Even if the NIC drew it: one key has one sequence of IVs.
        self.params.iv_xor = old.params.iv_xor;
        if let (Mode::Crypto(numbers), Mode::Crypto(old)) = (&mut self.mode, &old.mode) {
            if object::given_seq(object::view(&new)?).is_none() {
                numbers.continue_from(old);
            }
        }
        Ok(())
    }

    /// Takes over from `old`, which is replaced, while no packet is in flight.
    pub(super) fn take_over(&self, old: &Self) {
        self.last.take_over(&old.last);
        if let (Mode::Packet(packet), Mode::Packet(old)) = (&self.mode, &old.mode) {
            packet.take_over(old);
        }
    }
}
