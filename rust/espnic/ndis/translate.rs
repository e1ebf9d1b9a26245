// SPDX-License-Identifier: GPL-2.0

//! Translation between NDIS and XFRM: SAs, algorithms, errors.

#[cfg(espnic_kunit)]
mod tests;

use espnic_ndis::{
    algorithm::{
        Authentication,
        Encryption, //
    },
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

/// Bytes of the salt after a key of AES-GCM.
const SALT_LEN: usize = 4;

/// A cipher that is not combined with authentication, and its NDIS identifiers by key length.
const CBC: &CStr = c"cbc(aes)";
const GCM: &CStr = c"rfc4106(gcm(aes))";
/// Null encryption with AES-GMAC, which XFRM has as one AEAD.
const GMAC: &CStr = c"rfc4543(gcm(aes))";

/// Encryption algorithms: identifier, XFRM's name, bytes of the key.
const ENCRYPTIONS: [(Encryption, &CStr, usize); 6] = [
    (Encryption::AES_GCM_128, GCM, 16),
    (Encryption::AES_GCM_192, GCM, 24),
    (Encryption::AES_GCM_256, GCM, 32),
    (Encryption::AES_CBC_128, CBC, 16),
    (Encryption::AES_CBC_192, CBC, 24),
    (Encryption::AES_CBC_256, CBC, 32),
];

/// Authentication algorithms: identifier, XFRM's name.
const AUTHENTICATIONS: [(Authentication, &CStr); 2] = [
    (Authentication::SHA_1, c"hmac(sha1)"),
    (Authentication::SHA_256, c"hmac(sha256)"),
];

/// AES-GMAC: identifier, bytes of the key.
const GMACS: [(Authentication, usize); 3] = [
    (Authentication::AES_GCM_128, 16),
    (Authentication::AES_GCM_192, 24),
    (Authentication::AES_GCM_256, 32),
];

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
    if let Some(gmac) = esp.integrity.as_ref().filter(|one| is_gmac(one.algorithm)) {
        return null_with(esp, gmac);
    }
    let cipher = esp.cipher.as_ref().ok_or(Status::NOT_SUPPORTED)?;
    let known = ENCRYPTIONS.iter().find(|known| known.0 == cipher.algorithm);
    let (_, name, _) = *known.ok_or(Status::NOT_SUPPORTED)?;
    let Some(integrity) = &esp.integrity else {
        if name != GCM || cipher.salt_length != SALT_LEN {
            return Err(Status::NOT_SUPPORTED);
        }
        return Ok(Algorithm::Aead {
            name,
            key: cipher.material,
            icv_bits: cipher.icv_length.saturating_mul(8),
        });
    };
    let auth = AUTHENTICATIONS
        .iter()
        .find(|known| known.0 == integrity.algorithm);
    let (_, auth) = *auth.ok_or(Status::NOT_SUPPORTED)?;
    if name != CBC {
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(Algorithm::CipherAndAuth {
        cipher: name,
        cipher_key: cipher.material,
        auth,
        auth_key: integrity.key,
        icv_bits: integrity.icv_length.saturating_mul(8),
    })
}

fn is_gmac(algorithm: Authentication) -> bool {
    GMACS.iter().any(|known| known.0 == algorithm)
}

/// Null encryption, named or by an empty slot, with AES-GMAC.
fn null_with<'a>(esp: &Esp<'a>, gmac: &Integrity<'a>) -> Result<Algorithm<'a>, Status> {
    let cipher = esp.cipher.as_ref().map(|cipher| cipher.algorithm);
    if cipher.is_some_and(|cipher| cipher != Encryption::NONE) {
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(Algorithm::Aead {
        name: GMAC,
        key: gmac.key,
        icv_bits: gmac.icv_length.saturating_mul(8),
    })
}

/// NDIS identifiers of a state's authentication and encryption; 0 for none or others.
pub(super) fn identifiers(x: &State) -> (u32, u32) {
    let encryption = |name: &[u8], key_len: usize| {
        ENCRYPTIONS
            .iter()
            .find(|known| known.1.to_bytes() == name && known.2 == key_len)
            .map_or(0, |known| known.0 .0)
    };
    if let Some(aead) = x.aead() {
        let key_len = aead.key.len().saturating_sub(SALT_LEN);
        if aead.name == GMAC.to_bytes() {
            let known = GMACS.iter().find(|known| known.1 == key_len);
            return known.map_or((0, 0), |known| (known.0 .0, Encryption::NONE.0));
        }
        return (0, encryption(aead.name, key_len));
    }
    let authentication = x.auth().and_then(|auth| {
        AUTHENTICATIONS
            .iter()
            .find(|known| known.1.to_bytes() == auth.name)
    });
    (
        authentication.map_or(0, |known| known.0 .0),
        x.cipher()
            .map_or(0, |cipher| encryption(cipher.name, cipher.key.len())),
    )
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
