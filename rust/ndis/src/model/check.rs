// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checks of one bundle, from the bytes of the request to a [`Bundle`] (R53-R64).
//!
//! NDIS checks nothing (R37). A structure that contradicts itself is INVALID_DATA (a buffer that is
//! too short INVALID_LENGTH); a form or algorithm outside of the current configuration is
//! NOT_SUPPORTED, also when it has only just left it (R52, C27, C32).

use super::bundle::{Ah, Bundle, Cipher, Esp, Integrity, Mode};
use super::capabilities::Capabilities;
use super::refusal::Refusal;
use super::table::Offloaded;
use crate::algorithm::AlgorithmInfo;
use crate::sa::{BundleView, Operation, SecurityAssociation, Spi, UdpEsp, ESN_SA, INBOUND, IPV6};
use crate::Status;

/// Where the salt of AES-GCM and AES-GMAC is. The documentation does not say (C13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Salt {
    /// KeyLength counts the key and the 4 bytes of salt that follow it: 20, 28 or 36.
    #[default]
    InKeyLength,
    /// KeyLength counts the key alone: 16, 24 or 32; the 4 bytes of salt follow in the key buffer.
    BehindKey,
}

/// Unit of AdditionalInfo, the ICV length of AES-GCM. The documentation does not say (C13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IcvUnit {
    /// 8, 12 or 16.
    #[default]
    Bytes,
    /// 64, 96 or 128.
    Bits,
}

/// What AuthenticationAlgorithm may hold beside a combined-mode cipher. The documentation says that
/// it is not to be used; policies of Windows name the algorithm there, too (C13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeated {
    /// Nothing, or the cipher once more: its identifier, with no key or with that of the cipher.
    /// Nothing comes of it.
    #[default]
    Accepted,
    /// Nothing.
    Refused,
}

/// The readings of what the documentation leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Convention {
    /// Place of the salt.
    pub salt: Salt,
    /// Unit of the ICV length.
    pub icv_unit: IcvUnit,
    /// A combined-mode cipher that is named as authentication once more.
    pub repeated: Repeated,
}

/// Checks a bundle against itself and against the current configuration.
///
/// `mode` is the sender's choice of transport or tunnel.
///
/// # Errors
///
/// [`Status::INVALID_DATA`], [`Status::INVALID_LENGTH`] or [`Status::NOT_SUPPORTED`], with the rule
/// that it comes from.
pub fn bundle<'a>(
    view: &BundleView<'a>,
    config: &Capabilities,
    mode: Mode,
    convention: Convention,
) -> Result<Bundle<'a>, Refusal> {
    require(view.flags & !(INBOUND | IPV6) == 0, "R55")?;
    let (esp, ah) = parts(view)?;
    let udp = udp(view.udp_esp, ah.is_some())?;
    let mode = resolve(mode, udp)?;
    let keys = Keys {
        view,
        config,
        convention,
    };
    // The AH part makes up for an ESP part without integrity (C18).
    let esp = match esp {
        Some(sa) => Some(keys.esp(sa, ah.is_some())?),
        None => None,
    };
    let ah = match ah {
        Some(sa) => Some(keys.ah(sa)?),
        None => None,
    };
    require(keys.disjoint(view.associations()?), "R59")?;
    let bundle = Bundle {
        inbound: view.is_inbound(),
        source: view.source(),
        destination: view.destination(),
        udp,
        mode,
        esp,
        ah,
    };
    match Offloaded::of(&bundle).missing(config) {
        Some(rules) => Err(Refusal::new(Status::NOT_SUPPORTED, rules)),
        None => Ok(bundle),
    }
}

fn require(holds: bool, rules: &'static str) -> Result<(), Refusal> {
    if holds {
        Ok(())
    } else {
        Err(invalid(rules))
    }
}

fn support(holds: bool, rules: &'static str) -> Result<(), Refusal> {
    if holds {
        Ok(())
    } else {
        Err(Refusal::new(Status::NOT_SUPPORTED, rules))
    }
}

const fn invalid(rules: &'static str) -> Refusal {
    Refusal::new(Status::INVALID_DATA, rules)
}

type Parts<'a> = (
    Option<&'a SecurityAssociation>,
    Option<&'a SecurityAssociation>,
);

/// The ESP and the AH element: one of them, or ESP and then AH (R53, R54).
fn parts<'a>(view: &BundleView<'a>) -> Result<Parts<'a>, Refusal> {
    let associations = view.associations()?;
    match associations {
        [one] if one.operation() == Operation::ESP => Ok((Some(one), None)),
        [one] if one.operation() == Operation::AH => Ok((None, Some(one))),
        [esp, ah] if esp.operation() == Operation::ESP && ah.operation() == Operation::AH => {
            Ok((Some(esp), Some(ah)))
        }
        [_] => Err(invalid("R53")),
        _ => Err(invalid("R54")),
    }
}

/// UDP encapsulation is nothing or one subtype, and goes with a single ESP only (R53, R63).
fn udp(udp: UdpEsp, has_ah: bool) -> Result<UdpEsp, Refusal> {
    require(udp.name().is_some(), "R63")?;
    require(udp == UdpEsp::NONE || !has_ah, "R53 R63")?;
    Ok(udp)
}

/// The mode that the subtype implies, if the sender does not say another (C14).
fn resolve(mode: Mode, udp: UdpEsp) -> Result<Mode, Refusal> {
    let implied = match udp {
        UdpEsp::TRANSPORT => Mode::Transport,
        UdpEsp::TUNNEL => Mode::Tunnel,
        _ => return Ok(mode),
    };
    require(mode == Mode::ByPacket || mode == implied, "C14")?;
    Ok(implied)
}

/// Reads algorithms with their keys.
struct Keys<'v, 'a> {
    view: &'v BundleView<'a>,
    config: &'v Capabilities,
    convention: Convention,
}

impl<'a> Keys<'_, 'a> {
    fn esp(&self, sa: &SecurityAssociation, has_ah: bool) -> Result<Esp<'a>, Refusal> {
        let cipher = self.cipher(&sa.encryption_algorithm)?;
        let integrity = match self.repeats(sa) {
            true => None,
            false => self.integrity(&sa.authentication_algorithm)?,
        };
        let combined = cipher.is_some_and(|cipher| cipher.algorithm.is_combined());
        // A combined-mode cipher stands alone; any other needs an authentication algorithm (R57,
        // C18).
        require(!(combined && integrity.is_some()), "R57")?;
        let authenticated = combined || integrity.is_some() || (has_ah && cipher.is_some());
        require(authenticated, "R106 C18")?;
        Ok(Esp {
            spi: spi(sa)?,
            cipher,
            integrity,
            esn: esn(sa)?,
        })
    }

    /// Whether the authentication of an ESP association is its combined-mode cipher once more. The
    /// identifiers of the two have the same numbers.
    fn repeats(&self, sa: &SecurityAssociation) -> bool {
        let (cipher, other) = (&sa.encryption_algorithm, &sa.authentication_algorithm);
        let bare = AlgorithmInfo {
            identifier: cipher.identifier,
            ..AlgorithmInfo::default()
        };
        let keyed = AlgorithmInfo {
            additional_info: other.additional_info,
            ..*cipher
        };
        let info = other.additional_info.get();
        self.convention.repeated == Repeated::Accepted
            && cipher.encryption().is_combined()
            && (*other == bare
                || (*other == keyed && (info == 0 || info == cipher.additional_info.get())))
    }

    fn ah(&self, sa: &SecurityAssociation) -> Result<Ah<'a>, Refusal> {
        require(sa.encryption_algorithm.is_zero(), "R56")?;
        let integrity = self.integrity(&sa.authentication_algorithm)?;
        Ok(Ah {
            spi: spi(sa)?,
            integrity: integrity.ok_or(invalid("R56"))?,
            esn: esn(sa)?,
        })
    }

    /// `None` for a slot that is not used (identifier 0).
    fn cipher(&self, info: &AlgorithmInfo) -> Result<Option<Cipher<'a>>, Refusal> {
        let algorithm = info.encryption();
        if algorithm.is_empty() {
            return Ok(None);
        }
        let key = algorithm.key_length().ok_or(invalid("R60"))?;
        // Only supported algorithms are checked further.
        support(self.config.encryption.contains(algorithm), "R60")?;
        let salt_length = algorithm.salt_length();
        let material = self.material(info, key, salt_length)?;
        let icv_length = if algorithm.is_combined() {
            self.gcm_icv(info.additional_info.get())?
        } else {
            0
        };
        Ok(Some(Cipher {
            algorithm,
            material,
            salt_length,
            icv_length,
        }))
    }

    /// `None` for a slot that is not used (identifier 0).
    fn integrity(&self, info: &AlgorithmInfo) -> Result<Option<Integrity<'a>>, Refusal> {
        let algorithm = info.authentication();
        if algorithm.is_empty() {
            return Ok(None);
        }
        let key = algorithm.key_length().ok_or(invalid("R60"))?;
        support(self.config.authentication.contains(algorithm), "R60")?;
        Ok(Some(Integrity {
            algorithm,
            key: self.material(info, key, algorithm.salt_length())?,
            icv_length: algorithm.icv_length(),
        }))
    }

    /// The key and the salt behind it, inside the SA's key buffer (R59).
    fn material(&self, info: &AlgorithmInfo, key: usize, salt: usize) -> Result<&'a [u8], Refusal> {
        const LENGTH: Refusal = invalid("R37 C13");
        let whole = key.checked_add(salt).ok_or(LENGTH)?;
        let mut range = *info;
        let named = match self.convention.salt {
            Salt::InKeyLength => whole,
            Salt::BehindKey => {
                range.key_length = u32::try_from(whole).map_err(|_| LENGTH)?.into();
                key
            }
        };
        require(
            usize::try_from(info.key_length.get()) == Ok(named),
            LENGTH.rules,
        )?;
        Ok(self.view.key(&range)?)
    }

    /// Whether the keys follow one another rather than share bytes (R59), all of them: the AH part
    /// of a bundle has its own.
    fn disjoint(&self, associations: &[SecurityAssociation]) -> bool {
        let spans = || associations.iter().flat_map(|sa| self.spans(sa));
        spans().enumerate().all(|(n, (start, end))| {
            spans()
                .skip(n.saturating_add(1))
                .all(|(other, other_end)| end <= other || other_end <= start)
        })
    }

    /// Where the keys of an association start and end, without those of no length.
    fn spans(&self, sa: &SecurityAssociation) -> impl Iterator<Item = (u64, u64)> {
        let (cipher, integrity) = (&sa.encryption_algorithm, &sa.authentication_algorithm);
        let parts = [
            (cipher, cipher.encryption().salt_length()),
            (integrity, integrity.authentication().salt_length()),
        ];
        let behind_key = self.convention.salt == Salt::BehindKey;
        // A cipher that is named twice has its key once.
        let count = if self.repeats(sa) { 1 } else { 2 };
        parts
            .map(|(info, salt)| {
                let start = u64::from(info.key_offset_bytes.get());
                let salt = if behind_key { salt as u64 } else { 0 };
                let length = match info.identifier.get() {
                    0 => 0,
                    _ => u64::from(info.key_length.get()).saturating_add(salt),
                };
                (start, start.saturating_add(length))
            })
            .into_iter()
            .take(count)
            .filter(|(start, end)| start != end)
    }

    /// ICV length of AES-GCM in bytes (R58).
    fn gcm_icv(&self, info: u32) -> Result<u32, Refusal> {
        match (self.convention.icv_unit, info) {
            (IcvUnit::Bytes, 8) | (IcvUnit::Bits, 64) => Ok(8),
            (IcvUnit::Bytes, 12) | (IcvUnit::Bits, 96) => Ok(12),
            (IcvUnit::Bytes, 16) | (IcvUnit::Bits, 128) => Ok(16),
            _ => Err(invalid("R58 C13")),
        }
    }
}

/// SPI 0 is never on the wire (RFC 4303 section 2.1), and behind UDP it would mean IKE.
fn spi(sa: &SecurityAssociation) -> Result<Spi, Refusal> {
    require(sa.spi.get() != 0, "R37")?;
    Ok(sa.spi)
}

/// The first upper 32 bits of an ESN SA (R64).
fn esn(sa: &SecurityAssociation) -> Result<Option<u32>, Refusal> {
    require(sa.flags.get() & !ESN_SA == 0, "R37 R64")?;
    Ok(sa.is_esn().then(|| sa.sequence_number_high_order.get()))
}
