// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Information buffers from words, and `encode`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use espnic_ndis::encapsulation::{
    Family, OffloadEncapsulation, IEEE_802_3_P_AND_Q, IEEE_LLC_SNAP_ROUTED,
};
use espnic_ndis::parameters::{OffloadParameters, SKIP_REGISTRY_UPDATE};
use espnic_ndis::{Oid, U32};
use serde_json::json;
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

use super::add::Addition;
use super::Done;
use crate::args::{Encapsulation, Encode, Made, Parameters, Switch};
use crate::error::Error;
use crate::sa::{self, Buffer};
use crate::{key, show};

/// Revision of NDIS_OFFLOAD_PARAMETERS that is sent: the first with IPsecV2 (NDIS 6.1).
const PARAMETERS_REVISION: u8 = 2;

/// NDIS_OFFLOAD_PARAMETERS.
pub fn parameters(words: &Parameters) -> Vec<u8> {
    let mut parameters = OffloadParameters::new(PARAMETERS_REVISION).unwrap_or_default();
    parameters.ipsec_v1 = words.ipsec_v1 as u8;
    parameters.ipsec_v2 = words.ipsec as u8;
    parameters.ipsec_v2_ipv4 = words.ipsec_ipv4 as u8;
    words.tasks.fill(&mut parameters);
    if words.skip_registry {
        parameters.flags = U32::new(SKIP_REGISTRY_UPDATE);
    }
    let length = usize::from(parameters.header.size.get());
    let mut buffer = parameters.as_bytes().to_vec();
    buffer.truncate(length);
    buffer
}

/// NDIS_OFFLOAD_ENCAPSULATION. Type and size are zero unless an IP version is switched on.
pub fn encapsulation(words: &Encapsulation) -> Vec<u8> {
    let header = words.header_size.unwrap_or(match words.kind {
        IEEE_802_3_P_AND_Q => 18,
        IEEE_LLC_SNAP_ROUTED => 22,
        _ => 14,
    });
    let family = |own: Option<Switch>| {
        let state = own.or(words.state).unwrap_or(Switch::Keep);
        let only_on = |value| if state == Switch::On { value } else { 0 };
        Family {
            enabled: U32::new(state as u32),
            encapsulation_type: U32::new(only_on(words.kind)),
            header_size: U32::new(only_on(header)),
        }
    };
    OffloadEncapsulation::new(family(words.ipv4), family(words.ipv6))
        .as_bytes()
        .to_vec()
}

/// OID and information buffer of a request.
pub fn made(request: &Made) -> Result<(Oid, Buffer), Error> {
    Ok(match request {
        Made::Parameters(words) => (Oid::PARAMETERS, Zeroizing::new(parameters(words))),
        Made::Encapsulation(words) if words.is_query() => {
            return Err(Error::Usage("a set needs on, off or keep".into()))
        }
        Made::Encapsulation(words) => (Oid::ENCAPSULATION, Zeroizing::new(encapsulation(words))),
        Made::Add(words) => {
            let Addition { oid, buffer, .. } = Addition::new(words)?;
            (oid, buffer)
        }
        Made::Update(words) => (Oid::UPDATE_SA, Zeroizing::new(sa::update(words))),
        Made::Delete(words) => (Oid::DELETE_SA, Zeroizing::new(sa::delete(&words.handles)?)),
    })
}

/// `encode`
pub fn encode(words: &Encode, json: bool) -> Result<Done, Error> {
    let (oid, buffer) = made(&words.request)?;
    let file = words.out.as_deref();
    if let Some(path) = file {
        write(path, &buffer)?;
    }
    let digits = Zeroizing::new(key::digits(&buffer));
    if json {
        let value = json!({
            "ok": true,
            "oid": oid.to_string(),
            "length": buffer.len(),
            "buffer": file.is_none().then_some(digits.as_str()),
        });
        show::print(true, &value)?;
    } else if file.is_none() {
        show::write(&Zeroizing::new(format!("{}\n", digits.as_str())))?;
    }
    Ok(Done::ok(true))
}

/// A file that only its owner can read, since there may be keys in it.
fn write(path: &Path, buffer: &[u8]) -> Result<(), Error> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(buffer))
        .map_err(|error| Error::Failed(format!("cannot write {}: {error}", path.display())))
}
