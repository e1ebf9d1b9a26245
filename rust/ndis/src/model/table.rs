// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Offloaded SAs for the data path: without keys, only the properties that match and shape packets.

use super::bundle::{Bundle, Esp, Mode};
use super::capabilities::Capabilities;
use super::packet::{self, Protected, AH_HEADER};
use crate::algorithm::{Authentication, Encryption};
use crate::sa::{Address, Operation, Spi, UdpEsp};
use crate::Handle;

/// One offloaded bundle without its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloaded {
    /// Inbound, else outbound.
    pub inbound: bool,
    /// Its deletion was asked for but did not succeed: it receives nothing any more (R85).
    pub deleting: bool,
    /// Source address; unspecified matches every one.
    pub source: Address,
    /// Destination address; unspecified matches every one.
    pub destination: Address,
    /// UDP encapsulation.
    pub udp: UdpEsp,
    /// Transport, tunnel, or as each packet says.
    pub mode: Mode,
    /// Shape of the ESP part.
    pub esp: Option<EspShape>,
    /// Shape of the AH part.
    pub ah: Option<AhShape>,
    /// Some part of it has extended sequence numbers.
    pub esn: bool,
    /// The cipher of the ESP part, null encryption included.
    pub encryption: Encryption,
    /// The integrity algorithms of its parts.
    pub authentication: Authentication,
}

/// The layout of an SA's ESP in a packet. Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspShape {
    /// SPI.
    pub spi: Spi,
    /// Initialisation vector.
    pub iv: usize,
    /// Integrity value, 0 if the AH part authenticates alone.
    pub icv: usize,
    /// Payload and trailer fill a multiple of this.
    pub alignment: usize,
    /// Where the initialisation vector comes from.
    pub iv_source: IvSource,
}

/// The layout of an SA's AH in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AhShape {
    /// SPI.
    pub spi: Spi,
    /// Integrity value, in bytes.
    pub icv: usize,
}

/// The source of the initialisation vector, which the NIC always fills in (R107 by analogy, C28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IvSource {
    /// There is none.
    None,
    /// From the sequence number, so that none repeats under a key: AES-GCM and AES-GMAC.
    Sequence,
    /// Unpredictable: ciphers in CBC mode.
    Random,
}

impl AhShape {
    /// NextHeader of the header at `offset` and where it ends; `None` if its length does not fit
    /// (RFC 4302 section 2.2).
    pub fn header(&self, packet: &[u8], offset: usize) -> Option<(u8, usize)> {
        let next = packet::byte(packet, offset)?;
        let words = usize::from(packet::byte(packet, offset.checked_add(1)?)?);
        let length = words.checked_add(2)?.checked_mul(4)?;
        let end = offset.checked_add(length)?;
        let least = AH_HEADER.checked_add(self.icv)?;
        (length >= least && end <= packet.len()).then_some((next, end))
    }
}

impl Offloaded {
    /// The properties of a bundle that the data path keeps.
    pub fn of(bundle: &Bundle<'_>) -> Self {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let cipher = |esp: Esp<'_>| {
            // ESP without a cipher is null encryption in all but name.
            esp.cipher
                .map_or(Encryption::NONE, |cipher| cipher.algorithm)
        };
        let of_esp = bundle.esp.and_then(|esp| esp.integrity);
        let of_ah = bundle.ah.map(|ah| ah.integrity);
        Self {
            inbound: bundle.inbound,
            deleting: false,
            source: bundle.source,
            destination: bundle.destination,
            udp: bundle.udp,
            mode: bundle.mode,
            esn: bundle.esp.is_some_and(|esp| esp.esn.is_some())
                || bundle.ah.is_some_and(|ah| ah.esn.is_some()),
            encryption: bundle.esp.map_or(Encryption(0), cipher),
            authentication: [of_esp, of_ah]
                .into_iter()
                .flatten()
                .fold(Authentication(0), |all, one| all | one.algorithm),
            esp: bundle.esp.map(|esp| {
                let cipher = cipher(esp);
                let combined = esp.cipher.map_or(0, |cipher| cipher.icv_length);
                let separate = esp.integrity.map_or(0, |integrity| integrity.icv_length);
                // Null encryption has no vector of its own; AES-GMAC brings one.
                let of_gmac = esp
                    .integrity
                    .filter(|_| cipher == Encryption::NONE)
                    .map_or(0, |integrity| integrity.algorithm.iv_length());
                EspShape {
                    spi: esp.spi,
                    iv: cipher.iv_length().max(of_gmac),
                    icv: size(combined.max(separate)),
                    alignment: cipher.alignment(),
                    iv_source: match cipher {
                        _ if cipher.is_combined() || of_gmac > 0 => IvSource::Sequence,
                        Encryption::NONE => IvSource::None,
                        _ => IvSource::Random,
                    },
                }
            }),
            ah: bundle.ah.map(|ah| AhShape {
                spi: ah.spi,
                icv: size(ah.integrity.icv_length),
            }),
        }
    }

    /// Whether a configuration has everything that the bundle needs: for its addition, and, since
    /// the configuration may have changed since then, for each of its packets (R8, R28, R115).
    pub fn is_covered_by(&self, config: &Capabilities) -> bool {
        self.missing(config).is_none()
    }

    /// The rules that speak of the first capability that the bundle needs and a configuration
    /// lacks.
    pub fn missing(&self, config: &Capabilities) -> Option<&'static str> {
        let protocols = match (self.esp, self.ah) {
            (Some(_), Some(_)) => config.ah_esp_combined,
            (Some(_), None) => config.esp,
            (None, Some(_)) => config.ah,
            (None, None) => false,
        };
        let version = match self.destination {
            Address::V4(_) => config.ipv4,
            Address::V6(_) => config.ipv6,
        };
        let mode = match self.mode {
            Mode::ByPacket => config.transport || config.tunnel,
            Mode::Transport => config.transport,
            Mode::Tunnel => config.tunnel,
        };
        let nested = matches!(
            self.udp,
            UdpEsp::TRANSPORT_OVER_UDP_TUNNEL | UdpEsp::UDP_TRANSPORT_OVER_TUNNEL
        );
        let needs = [
            (protocols, "R52 C32"),
            (version, "R52 C35"),
            (mode, "R52 C32"),
            (!self.esn || config.esn, "R64"),
            (!nested || config.transport_tunnel_combined, "R63"),
            (config.udp_esp.0 & self.udp.0 == self.udp.0, "R63"),
            (config.encryption.contains(self.encryption), "R60"),
            (config.authentication.contains(self.authentication), "R60"),
        ];
        needs
            .into_iter()
            .find_map(|(holds, rules)| (!holds).then_some(rules))
    }

    /// Whether something checks integrity; no packet goes without (R106).
    pub fn authenticates(&self) -> bool {
        self.ah.is_some() || self.esp.is_some_and(|esp| esp.icv > 0)
    }

    /// The SPI of one protocol.
    pub fn spi(&self, operation: Operation) -> Option<Spi> {
        match operation {
            Operation::AH => self.ah.map(|ah| ah.spi),
            _ => self.esp.map(|esp| esp.spi),
        }
    }

    /// Whether the addresses are those of the SA: an address that the SA has must be equal (R113),
    /// one that it leaves open does not matter (R61, C15).
    pub fn accepts(&self, source: Address, destination: Address) -> bool {
        let fits = |own: Address, packet: Address| own.is_unspecified() || own == packet;
        fits(self.source, source) && fits(self.destination, destination)
    }

    /// Whether this is the inbound SA of a received packet, by SPI and addresses. The protocol is
    /// compared later, since a difference has a CryptoStatus of its own. With an AH and ESP pair,
    /// AH comes first in the packet.
    ///
    /// Inside of a tunnel payload there is only a transport payload to process: no word says that
    /// a second tunnel was opened (R118). An SA that leaves its mode open is used as one there.
    pub fn receives(&self, packet: &Protected, inner: bool) -> bool {
        let first = self.ah.map(|ah| ah.spi).or(self.esp.map(|esp| esp.spi));
        self.inbound
            && !self.deleting
            && !(inner && self.mode == Mode::Tunnel)
            && first == Some(packet.spi)
            && self.accepts(packet.ip.source, packet.ip.destination)
            && self.encapsulates(packet.udp, inner)
    }

    /// Whether the subtype allows a packet with or without UDP header at this depth (R132-R135):
    /// 0x1 and 0x2 have UDP in front of their only ESP, 0x4 in front of the outer, 0x8 of the
    /// inner.
    pub(super) fn encapsulates(&self, udp: bool, inner: bool) -> bool {
        match self.udp {
            UdpEsp::TRANSPORT | UdpEsp::TUNNEL => udp && !inner,
            UdpEsp::TRANSPORT_OVER_UDP_TUNNEL => udp != inner,
            UdpEsp::UDP_TRANSPORT_OVER_TUNNEL => udp == inner,
            _ => !udp,
        }
    }
}

/// Finds offloaded bundles; the NIC's table as the data path uses it (R65).
pub trait Lookup {
    /// The bundle that a handle names.
    fn by_handle(&self, handle: Handle) -> Option<Offloaded>;

    /// A bundle for which `hits` holds.
    fn find(&self, hits: impl Fn(&Offloaded) -> bool) -> Option<(Handle, Offloaded)>;
}
