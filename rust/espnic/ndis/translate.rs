// SPDX-License-Identifier: GPL-2.0

//! Translation between NDIS and XFRM: SAs, algorithms, errors.

#[cfg(espnic_kunit)]
mod tests;

use super::algorithm::{
    self,
    Name, //
};
use espnic_esp::aead::SALT_LEN;
use espnic_ndis::{
    algorithm::Encryption,
    envelope::Request,
    model::{
        Bundle,
        Esp,
        Integrity,
        Mode, //
    },
    sa::{
        Address,
        UdpEsp, //
    },
    Status, //
};
use espnic_wire::algorithm::{
    Cipher,
    Mac, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ip::{
        self,
        Family, //
    },
    operation_not_supported,
    xfrm::{
        create::{
            Algorithm,
            Parameters, //
        },
        Direction,
        State, //
    }, //
};

/// The only port of UDP-ESP (R129), unless the request says otherwise.
const UDP_ESP_PORT: u16 = 4500;

/// The XFRM state that a bundle asks for.
///
/// # Errors
///
/// `NOT_SUPPORTED` if XFRM or the NIC does not have it; the values were checked before.
pub(super) fn parameters<'a>(
    bundle: &Bundle<'a>,
    request: &Request,
) -> Result<Parameters<'a>, Status> {
    let esp = bundle.esp.as_ref().ok_or(Status::NOT_SUPPORTED)?;
    if bundle.ah.is_some() {
        return Err(Status::NOT_SUPPORTED);
    }
    // XFRM's lookups have no wildcards.
    if bundle.source.is_unspecified() || bundle.destination.is_unspecified() {
        return Err(Status::NOT_SUPPORTED);
    }
    let (family, source) = address(&bundle.source);
    let (_, destination) = address(&bundle.destination);
    let (udp_ports, udp_tunnel) = match bundle.udp {
        UdpEsp::NONE => (None, false),
        UdpEsp::TRANSPORT => (Some(ports(request)), false),
        UdpEsp::TUNNEL => (Some(ports(request)), true),
        _ => return Err(Status::NOT_SUPPORTED),
    };
    Ok(Parameters {
        direction: match bundle.inbound {
            true => Direction::In,
            false => Direction::Out,
        },
        family,
        // An XFRM state has a mode. NDIS tells the mode with each packet; the default is transport.
        tunnel: udp_tunnel || matches!(bundle.mode, Mode::Tunnel),
        source,
        destination,
        spi: esp.spi.get(),
        reqid: request.reqid,
        algorithm: algorithm(esp)?,
        udp_ports,
        esn: esp.esn,
        replay_window: request.replay_window,
    })
}

fn address(address: &Address) -> (Family, ip::Address) {
    match address {
        Address::V4(bytes) => {
            let mut padded = [0; 16];
            padded
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            (Family::V4, padded)
        }
        Address::V6(bytes) => (Family::V6, *bytes),
    }
}

fn ports(request: &Request) -> (u16, u16) {
    let port = |bytes| match u16::from_be_bytes(bytes) {
        0 => UDP_ESP_PORT,
        port => port,
    };
    (port(request.source_port), port(request.destination_port))
}

fn algorithm<'a>(esp: &Esp<'a>) -> Result<Algorithm<'a>, Status> {
    if let Some(integrity) = &esp.integrity {
        if let Some(gmac) = algorithm::cipher(Name::Authentication(integrity.algorithm)) {
            return null_with(esp, gmac, integrity);
        }
    }
    let cipher = esp.cipher.as_ref().ok_or(Status::NOT_SUPPORTED)?;
    let known =
        algorithm::cipher(Name::Encryption(cipher.algorithm)).ok_or(Status::NOT_SUPPORTED)?;
    let Some(integrity) = &esp.integrity else {
        if known.needs_mac() || cipher.salt_length != SALT_LEN {
            return Err(Status::NOT_SUPPORTED);
        }
        return Ok(Algorithm::Aead {
            name: known.row().linux,
            key: cipher.material,
            icv_bits: cipher.icv_length.saturating_mul(8),
        });
    };
    let mac = algorithm::mac(integrity.algorithm).ok_or(Status::NOT_SUPPORTED)?;
    if !known.needs_mac() {
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(Algorithm::CipherAndAuth {
        cipher: known.row().linux,
        cipher_key: cipher.material,
        auth: mac.row().linux,
        auth_key: integrity.key,
        icv_bits: integrity.icv_length.saturating_mul(8),
    })
}

/// Null encryption, named or by an empty slot, with AES-GMAC.
fn null_with<'a>(
    esp: &Esp<'a>,
    gmac: Cipher,
    integrity: &Integrity<'a>,
) -> Result<Algorithm<'a>, Status> {
    let cipher = esp.cipher.as_ref().map(|cipher| cipher.algorithm);
    if cipher.is_some_and(|cipher| cipher != Encryption::NONE) {
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(Algorithm::Aead {
        name: gmac.row().linux,
        key: integrity.key,
        icv_bits: integrity.icv_length.saturating_mul(8),
    })
}

/// NDIS identifiers of a state's authentication and encryption; 0 for none or others.
pub(super) fn identifiers(x: &State) -> (u32, u32) {
    let named = |name: &[u8], key_len| algorithm::name(Cipher::in_linux(name)?, key_len);
    let of = |name| match name {
        None => (0, 0),
        Some(Name::Encryption(one)) => (0, one.0),
        Some(Name::Authentication(one)) => (one.0, Encryption::NONE.0),
    };
    if let Some(aead) = x.aead() {
        return of(named(aead.name, aead.key.len().saturating_sub(SALT_LEN)));
    }
    let mac = x.auth().and_then(|auth| Mac::in_linux(auth.name));
    let authentication = mac.and_then(algorithm::mac_name);
    let cipher = x.cipher();
    let (_, encryption) = of(cipher.and_then(|cipher| named(cipher.name, cipher.key.len())));
    (authentication.map_or(0, |one| one.0), encryption)
}

/// The status of an SA that could not be added. Its values were checked before.
pub(super) fn add_status(error: Error) -> Status {
    match error {
        ENOSPC | ENOMEM => Status::RESOURCES,
        // The values are valid, but the stack or the NIC does not support them.
        EINVAL => Status::NOT_SUPPORTED,
        ENODEV => Status::NOT_ACCEPTED,
        // The NIC is being reset or does not answer, or the SA died at once. The other SAs of the
        // request would fail, too.
        EAGAIN | ENXIO | EINTR | ESRCH | ETIMEDOUT => Status::REQUEST_ABORTED,
        error if error == operation_not_supported() => Status::NOT_SUPPORTED,
        // For example, an SA with the same SPI and destination exists.
        _ => Status::FAILURE,
    }
}
