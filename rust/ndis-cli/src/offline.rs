// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A miniport without a NIC: the model, with a table of SAs in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::str::FromStr;

use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::IEEE_802_3;
use espnic_ndis::model::{
    Adapter, Backend, Bundle, Capabilities, Hardware, Keywords, Offloaded, RemoveError,
    UpdateError, UpperHalves,
};
use espnic_ndis::offload::{
    two_bits, Checksum, ChecksumPart, Lso, LsoV2, Offload, AND_TCP_CHECKSUM_COEXISTENCE,
    AND_UDP_CHECKSUM_COEXISTENCE,
};
use espnic_ndis::sa::{Operation, Spi, UdpEsp};
use espnic_ndis::{Handle, Status, Version, U32};

use crate::{input, key};

/// What `add --help` says about this NIC.
pub const REFUSED: &str = "\
This NIC has aes-gcm-* alone, aes-cbc-* with sha1 or sha256, and null with aes-gmac-*.
It always refuses, with NDIS_STATUS_NOT_SUPPORTED: des-cbc, 3des-cbc, md5, --ah, --udp
transport-over-udp-tunnel and udp-transport-over-tunnel, and addresses of zeros. `capabilities`
shows what is on now; `check add` says which rule a refusal comes from.";

/// Largest large send of this NIC.
const LSO_SIZE: u32 = 65535;
/// SAs that this NIC takes unless told otherwise, and those of "all".
const CAPACITY: u32 = 1024;

/// Two-bit fields of checksums (IP options, TCP options, TCP, UDP) and of large sends over IPv6.
const CHECKSUMS: [u32; 4] = [0, 2, 4, 6];
const TCP_OPTIONS: u32 = 2;

/// Algorithms of this NIC.
const CIPHERS: [Encryption; 7] = [
    Encryption::NONE,
    Encryption::AES_GCM_128,
    Encryption::AES_GCM_192,
    Encryption::AES_GCM_256,
    Encryption::AES_CBC_128,
    Encryption::AES_CBC_192,
    Encryption::AES_CBC_256,
];

const AUTHENTICATIONS: [Authentication; 5] = [
    Authentication::SHA_1,
    Authentication::SHA_256,
    Authentication::AES_GCM_128,
    Authentication::AES_GCM_192,
    Authentication::AES_GCM_256,
];

/// What this NIC offers.
fn nic() -> Capabilities {
    let ciphers = CIPHERS.iter().fold(0, |mask, one| mask | one.0);
    Capabilities {
        encapsulation: IEEE_802_3,
        ipv4: true,
        ipv6: true,
        esp: true,
        transport: true,
        tunnel: true,
        lso: true,
        esn: true,
        udp_esp: UdpEsp(UdpEsp::TRANSPORT.0 | UdpEsp::TUNNEL.0),
        authentication: AUTHENTICATIONS
            .iter()
            .fold(Authentication(0), |mask, one| mask | *one),
        encryption: Encryption(ciphers),
        capacity: CAPACITY,
        ..Capabilities::NONE
    }
}

/// Everything that IPsecOV2 knows.
fn all() -> Capabilities {
    Capabilities {
        ipv4_options: true,
        ipv6_extension_headers: true,
        ah: true,
        ah_esp_combined: true,
        transport_tunnel_combined: true,
        udp_esp: UdpEsp(0xf),
        authentication: Authentication::EVERY,
        encryption: Encryption::EVERY,
        ..nic()
    }
}

/// Large sends and checksum flags beside IPsec.
fn others() -> Offload {
    let large = Lso {
        encapsulation: U32::new(IEEE_802_3),
        max_offload_size: U32::new(LSO_SIZE),
        min_segment_count: U32::new(2),
    };
    let every = ChecksumPart {
        encapsulation: U32::new(IEEE_802_3),
        bits: U32::new(
            CHECKSUMS
                .iter()
                .fold(0, |bits, &at| bits | two_bits(at, true)),
        ),
    };
    Offload {
        checksum: Checksum {
            ipv4_transmit: every,
            ipv4_receive: every,
            ipv6_transmit: every,
            ipv6_receive: every,
        },
        lso_v2: LsoV2 {
            ipv4: large,
            ipv6: large,
            ipv6_bits: U32::new(two_bits(TCP_OPTIONS, true)),
        },
        flags: U32::new(AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE),
        ..Offload::default()
    }
}

/// What a miniport offers.
#[derive(Clone, Debug)]
pub enum Offer {
    /// The capabilities of this NIC, and the refusals of its driver.
    Nic,
    /// Everything.
    All,
    /// Nothing.
    None,
    /// The capabilities in an NDIS_OFFLOAD.
    Image(Box<Offload>),
}

impl FromStr for Offer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nic" => Ok(Self::Nic),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => {
                let path = text.strip_prefix('@');
                let path = path.ok_or("neither nic, all, none nor @FILE")?;
                let bytes = key::bytes_or_hex(input::read(path)?)?;
                let image = Offload::parse(&bytes)
                    .map_err(|fault| format!("no NDIS_OFFLOAD: {}", crate::decode::words(fault)))?;
                Ok(Self::Image(Box::new(image)))
            }
        }
    }
}

impl Offer {
    fn hardware(&self) -> Hardware {
        let (others, ipsec) = match self {
            Self::Nic => (others(), nic()),
            Self::All => (others(), all()),
            Self::None => (Offload::default(), Capabilities::NONE),
            Self::Image(image) => (
                **image,
                image.ipsec_v2().map_or(Capabilities::NONE, Into::into),
            ),
        };
        Hardware { others, ipsec }
    }

    /// A miniport of this version that offers it, as it is after initialisation.
    pub fn adapter(&self, version: Version) -> Adapter {
        Adapter::initialize(version, self.hardware(), Keywords::default())
    }
}

/// An SA.
struct Entry {
    shape: Offloaded,
    high: UpperHalves,
}

/// SAs without keys.
pub struct Table {
    entries: RefCell<BTreeMap<Handle, Entry>>,
    /// Those that were given out.
    handles: Cell<u64>,
    /// It refuses what this driver does.
    driver: bool,
    /// The rule of its last refusal.
    pub rules: Cell<&'static str>,
}

impl Table {
    /// An empty one for a miniport that offers this.
    pub fn new(offer: &Offer) -> Self {
        Self {
            entries: RefCell::default(),
            handles: Cell::new(0),
            driver: matches!(offer, Offer::Nic),
            rules: Cell::new(""),
        }
    }
}

impl Backend for Table {
    fn add(&self, bundle: &Bundle<'_>) -> Result<Handle, Status> {
        let any = bundle.source.is_unspecified() || bundle.destination.is_unspecified();
        if self.driver && any {
            self.rules.set("C15");
            return Err(Status::NOT_SUPPORTED);
        }
        let number = self.handles.get().saturating_add(1);
        self.handles.set(number);
        let handle = Handle::new(number).ok_or(Status::RESOURCES)?;
        let entry = Entry {
            shape: Offloaded::of(bundle),
            high: UpperHalves::of(bundle),
        };
        self.entries.borrow_mut().insert(handle, entry);
        Ok(handle)
    }

    fn remove(&self, handle: Handle) -> Result<(), RemoveError> {
        let removed = self.entries.borrow_mut().remove(&handle);
        removed.map(|_| ()).ok_or(RemoveError::Unknown)
    }

    fn update(
        &self,
        handle: Handle,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&handle).ok_or(UpdateError::Unknown)?;
        entry.high.update(&entry.shape, operation, spi, high)
    }

    fn offloaded(&self) -> u32 {
        u32::try_from(self.entries.borrow().len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm;

    #[test]
    fn the_help_of_add_names_what_this_nic_refuses() {
        for one in Authentication::ALL {
            let name = algorithm::authentication(one.0);
            let name = name.trim_end_matches("-128").trim_end_matches("-192");
            let name = name.trim_end_matches("-256");
            let (has, not) = REFUSED.split_once("refuses").unwrap();
            let offered = nic().authentication.contains(*one);
            assert_eq!(has.contains(name), offered, "{name}");
            assert_eq!(not.contains(name), !offered, "{name}");
        }
        for one in Encryption::ALL {
            let name = algorithm::encryption(one.0);
            let family = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let (has, not) = REFUSED.split_once("refuses").unwrap();
            let offered = nic().encryption.contains(*one);
            assert_eq!(has.contains(family), offered, "{name}");
            assert_eq!(not.contains(family), !offered, "{name}");
        }
    }

    #[test]
    fn offers_have_names_or_files() {
        assert!(matches!("nic".parse(), Ok(Offer::Nic)));
        assert!(Offer::Image(Box::new(others())).hardware().ipsec == Capabilities::NONE);
        for wrong in ["some", "@/nonexistent", "@/dev/null"] {
            assert!(wrong.parse::<Offer>().is_err(), "{wrong}");
        }
    }
}
