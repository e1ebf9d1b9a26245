// SPDX-License-Identifier: GPL-2.0

//! Which SAs the driver takes.
//!
//! XFRM leaves nearly all checks to the driver. What is not listed here is refused, each with
//! a sentence of its own. The error is never `EOPNOTSUPP`: that would turn the SA into a software
//! SA without a word (contract R1.11).

use super::capability::Capabilities;
use espnic_wire::cap;
use kernel::prelude::*;
use kernel_net::net::xfrm::state::{
    Aead,
    Family,
    Mode,
    State, //
};

const IPPROTO_ESP: u8 = 50;
const SALT_LEN: usize = 4;

/// The parameters of an SA that passed; `key` is the state's own memory.
pub(super) struct Supported<'a> {
    pub(super) mode: u8,
    pub(super) family: u8,
    pub(super) key: &'a [u8],
    pub(super) salt: [u8; SALT_LEN],
    pub(super) icv_len: u8,
}

/// Checks `x`; the error is the sentence for the user.
pub(super) fn supported<'a>(
    x: &'a State,
    capabilities: &Capabilities,
) -> Result<Supported<'a>, &'static CStr> {
    if x.is_packet_offload() || x.is_acquire() {
        return Err(c"espnic: packet offload is not supported, use crypto offload");
    }
    if x.protocol() != IPPROTO_ESP {
        return Err(c"espnic: only ESP can be offloaded");
    }
    if x.is_encapsulated() {
        return Err(c"espnic: UDP or TCP encapsulation is not supported");
    }
    if x.is_esn() {
        return Err(c"espnic: extended sequence numbers are not supported");
    }
    if x.may_wrap() {
        // IVs are made of sequence numbers: they would come again.
        return Err(c"espnic: sequence numbers that wrap are not supported");
    }
    if x.has_compression() {
        return Err(c"espnic: compression is not supported");
    }
    if x.has_tfc_padding() {
        return Err(c"espnic: traffic flow confidentiality padding is not supported");
    }
    let (mode, family) = mode_and_family(x)?;
    let aead = aead(x)?;
    let (key, salt) = split_key(&aead)?;
    let icv_len = icv_len(&aead)?;
    if !capabilities.allows(mode, cap::AEAD_GCM, key.len(), usize::from(icv_len)) {
        return Err(c"espnic: the NIC does not support this mode, key or ICV length");
    }
    Ok(Supported {
        mode,
        family,
        key,
        salt,
        icv_len,
    })
}

fn mode_and_family(x: &State) -> Result<(u8, u8), &'static CStr> {
    let family = x
        .family()
        .ok_or(c"espnic: only IPv4 and IPv6 can be offloaded")?;
    let number = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    match (x.mode(), family) {
        (Mode::Transport, _) => Ok((cap::MODE_ESP_TRANSPORT, number)),
        (Mode::Tunnel, Family::V4) if x.inner_family() == Some(Family::V4) => {
            Ok((cap::MODE_ESP_TUNNEL, number))
        }
        (Mode::Tunnel, _) => Err(c"espnic: tunnels other than IPv4 in IPv4 are not supported"),
        (Mode::Other, _) => Err(c"espnic: only transport and tunnel mode can be offloaded"),
    }
}

fn aead(x: &State) -> Result<Aead<'_>, &'static CStr> {
    let aead = x.aead().filter(|_| !x.has_auth() && !x.has_cipher());
    aead.filter(|aead| aead.name == b"rfc4106(gcm(aes))")
        .filter(|_| x.is_seqiv())
        .ok_or(c"espnic: only rfc4106(gcm(aes)) can be offloaded")
}

fn split_key<'a>(aead: &Aead<'a>) -> Result<(&'a [u8], [u8; SALT_LEN]), &'static CStr> {
    let message = c"espnic: only AES keys of 128 and 256 bits can be offloaded";
    let (key, salt) = aead.key.split_last_chunk().ok_or(message)?;
    match key.len() {
        16 | 32 => Ok((key, *salt)),
        _ => Err(message),
    }
}

fn icv_len(aead: &Aead<'_>) -> Result<u8, &'static CStr> {
    match aead.icv_bits {
        128 => Ok(16),
        _ => Err(c"espnic: only an ICV of 128 bits can be offloaded"),
    }
}
