// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The information buffers of the SA requests.

use std::net::IpAddr;

use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::sa::build::{
    self, AddSaList, Addresses, Algorithm, Association, Bundle, DeleteSaList,
};
use espnic_ndis::sa::{AddSa, AddSaEx, DeleteSa, Operation, Spi, UdpEsp};
use espnic_ndis::{Fault, Handle};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

use crate::algorithm;
use crate::args::{Direction, Sa, Update};
use crate::error::Error;
use crate::key::Key;

type Integrity<'a> = Algorithm<'a, Authentication>;
type Cipher<'a> = Algorithm<'a, Encryption>;

/// A buffer that may hold keys.
pub type Buffer = Zeroizing<Vec<u8>>;

/// Alignment of the elements of a list.
const ALIGNMENT: usize = espnic_ndis::sa::view::ALIGNMENT;

/// The SAs of a bundle: ESP, AH, or both.
fn associations(sa: &Sa) -> Result<Vec<Association<'_>>, Error> {
    let both: Vec<_> = [esp(sa)?, ah(sa)?].into_iter().flatten().collect();
    if both.is_empty() {
        return Err(Error::Usage(
            "an SA needs an algorithm: --enc, --auth or --ah".into(),
        ));
    }
    Ok(both)
}

/// An algorithm with its key, which has the one length that it takes.
fn algorithm<'a, T>(
    identifier: T,
    name: &str,
    (length, salt): (Option<usize>, usize),
    key: Option<&'a Key>,
    info: u32,
) -> Result<Algorithm<'a, T>, Error> {
    let key = key.map_or(Ok(&[][..]), Key::bytes).map_err(Error::Usage)?;
    let length = length.unwrap_or(0);
    let whole = length.saturating_add(salt);
    if key.len() != whole {
        let parts = match salt {
            0 => String::new(),
            salt => format!(" ({length} of key, {salt} of salt)"),
        };
        let found = key.len();
        let text = format!("{name} takes {whole} bytes{parts}, not {found}");
        return Err(Error::Usage(text));
    }
    Ok(Algorithm {
        identifier,
        key,
        additional_info: info,
    })
}

fn integrity(auth: algorithm::Authentication, key: Option<&Key>) -> Result<Integrity<'_>, Error> {
    let id = Authentication::from(auth);
    let name = algorithm::authentication(id.0);
    let lengths = (id.key_length(), id.salt_length());
    algorithm(id, &name, lengths, key, 0)
}

fn cipher(enc: algorithm::Encryption, key: Option<&Key>, icv: u32) -> Result<Cipher<'_>, Error> {
    let id = Encryption::from(enc);
    let icv = if id.is_combined() { icv } else { 0 };
    let name = algorithm::encryption(id.0);
    let lengths = (id.key_length(), id.salt_length());
    algorithm(id, &name, lengths, key, icv)
}

fn esp(sa: &Sa) -> Result<Option<Association<'_>>, Error> {
    let authentication = sa.auth.map(|auth| integrity(auth, sa.auth_key.as_ref()));
    let encryption = sa.enc.map(|enc| cipher(enc, sa.enc_key.as_ref(), sa.icv));
    let esp = Association {
        operation: Operation::ESP,
        spi: Spi::new(sa.spi),
        esn: sa.esn,
        authentication: authentication.transpose()?,
        encryption: encryption.transpose()?,
    };
    Ok((esp.authentication.is_some() || esp.encryption.is_some()).then_some(esp))
}

fn ah(sa: &Sa) -> Result<Option<Association<'_>>, Error> {
    let Some(id) = sa.ah else { return Ok(None) };
    Ok(Some(Association {
        operation: Operation::AH,
        spi: Spi::new(sa.ah_spi.unwrap_or(sa.spi)),
        esn: sa.esn,
        authentication: Some(integrity(id, sa.ah_key.as_ref())?),
        encryption: None,
    }))
}

fn bundle<'a>(sa: &Sa, associations: &'a [Association<'a>]) -> Result<Bundle<'a>, Error> {
    let addresses = match (sa.src, sa.dst) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Addresses::V4 {
            source: source.octets(),
            destination: destination.octets(),
        },
        (IpAddr::V6(source), IpAddr::V6(destination)) => Addresses::V6 {
            source: source.octets(),
            destination: destination.octets(),
        },
        _ => {
            return Err(Error::Usage(
                "--src and --dst are addresses of different families".into(),
            ))
        }
    };
    Ok(Bundle {
        inbound: sa.dir == Direction::In,
        addresses,
        udp_esp: UdpEsp(sa.udp as u32),
        associations,
    })
}

/// Bytes of all keys.
fn key_length(associations: &[Association<'_>]) -> usize {
    let one = |sa: &Association<'_>| {
        sa.authentication.map_or(0, |one| one.key.len())
            + sa.encryption.map_or(0, |one| one.key.len())
    };
    associations.iter().map(one).sum()
}

fn too_large(fault: Fault) -> Error {
    Error::Usage(format!("the SA does not fit into a request: {fault:?}"))
}

/// ADD_SA_EX.
pub fn add_ex(sa: &Sa) -> Result<Buffer, Error> {
    let both = associations(sa)?;
    let mut buffer = Zeroizing::new(vec![0; size_of::<AddSaEx>() + key_length(&both)]);
    build::add_sa_ex(&bundle(sa, &both)?, &mut buffer).map_err(too_large)?;
    Ok(buffer)
}

/// The handle in an answered ADD_SA_EX.
pub fn handle_ex(buffer: &[u8]) -> Option<Handle> {
    AddSaEx::handle(buffer).ok().flatten()
}

/// The list of ADD_SA, and where its elements start.
pub fn add_list(sas: &[&Sa]) -> Result<(Buffer, Vec<usize>), Error> {
    let all = sas.iter().map(|sa| associations(sa));
    let all: Vec<_> = all.collect::<Result<_, _>>()?;
    let element = |both: &Vec<_>| size_of::<AddSa>() + key_length(both) + ALIGNMENT;
    let mut buffer = Zeroizing::new(vec![0; all.iter().map(element).sum()]);
    let mut list = AddSaList::new(&mut buffer);
    let mut starts = Vec::new();
    for (sa, both) in sas.iter().zip(&all) {
        starts.push(list.push(&bundle(sa, both)?).map_err(too_large)?);
    }
    let length = list.len();
    buffer.truncate(length);
    Ok((buffer, starts))
}

/// The handles in an answered ADD_SA.
pub fn handles(buffer: &[u8], starts: &[usize]) -> Vec<Option<Handle>> {
    let read = |&at: &usize| AddSa::parse(buffer, at).ok()?.fixed.offload_handle.handle();
    starts.iter().map(read).collect()
}

/// UPDATE_SA.
pub fn update(words: &Update) -> Vec<u8> {
    let operation = Operation(words.operation as u32);
    let handle = Handle::new(words.handle);
    let update = build::update_sa(handle, operation, Spi::new(words.spi), words.high);
    update.as_bytes().to_vec()
}

/// The list of DELETE_SA.
pub fn delete(handles: &[u64]) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; handles.len() * size_of::<DeleteSa>()];
    let mut list = DeleteSaList::new(&mut buffer);
    for &handle in handles {
        list.push(Handle::new(handle)).map_err(too_large)?;
    }
    Ok(buffer)
}

#[cfg(test)]
#[path = "sa_tests.rs"]
mod tests;
