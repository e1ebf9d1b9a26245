// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The keys of SAs in a file for Wireshark, its table `esp_sa`, with which it opens captures.
//!
//! For test networks. With the file, everything that its SAs protect can be read and forged. So only its
//! owner can open it, and it exists only on request.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use espnic_wire::algorithm::{Cipher, Mac, Suite};
use espnic_wire::cap;
use espnic_wire::sa::{self, SaObject, KEY_MAX};
use zeroize::Zeroizing;

use super::object as stored;
use super::sa::Sa;
use crate::limit::Limit;

/// Only the owner can read or write the file.
const MODE: u32 = 0o600;
/// More than the text of an SA with the longest keys, so that no reallocation leaves key bytes behind.
const TEXT: usize = 2048;
/// Wireshark's word for any address.
const ANY: &str = "*";

/// The open file.
pub struct KeyTable {
    path: PathBuf,
    file: File,
    warnings: Limit,
}

impl KeyTable {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(path)?;
        // It may have been there, with another mode.
        file.set_permissions(Permissions::from_mode(MODE))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            warnings: Limit::new(),
        })
    }

    /// Appends the entry of an SA. Algorithms that Wireshark does not open have none.
    pub(super) fn add(&self, sa: &Sa) {
        let object = sa.object();
        let Some(text) = stored::view(&object).ok().and_then(entry) else {
            return;
        };
        // One write, so that entries of several NICs do not mix.
        if let Err(error) = (&self.file).write_all(text.as_bytes()) {
            log::log!(
                self.warnings.level(),
                "the key of an SA is missing in {}: {error}",
                self.path.display()
            );
        }
    }
}

/// The lines of one SA: two if it does not say which family its packets are of.
fn entry(object: &SaObject) -> Option<Zeroizing<String>> {
    let (encryption, authentication) = algorithms(object)?;
    let mut rooms = Zeroizing::new([[0; KEY_MAX]; 2]);
    let [key_room, auth_room] = &mut *rooms;
    let key = object.cipher_key(key_room).ok()?;
    let salt: &[u8] = match object.tail.aead_algo.get() {
        0 => &[],
        _ => &object.base.salt,
    };
    let auth_key = object.auth_key(auth_room).ok()?;
    let families: &[u8] = match object.tail.family {
        4 => &[4],
        6 => &[6],
        _ => &[4, 6],
    };
    let numbers = match object.base.options.get() & u64::from(cap::OPT_ESN) {
        0 => "32-bit",
        _ => "64-bit",
    };
    let mut text = Zeroizing::new(String::with_capacity(TEXT));
    for family in families {
        let (src, dst) = addresses(object);
        let spi = object.base.spi.get();
        let _ = write!(
            text,
            "\"IPv{family}\",\"{src}\",\"{dst}\",\"{spi:#010x}\",\"{encryption}\",\""
        );
        append_hex(&mut text, &[key, salt]);
        let _ = write!(text, "\",\"{authentication}\",\"");
        append_hex(&mut text, &[auth_key]);
        let _ = writeln!(text, "\",\"{numbers}\"");
    }
    Some(text)
}

/// Wireshark's names of the algorithms: encryption and authentication.
fn algorithms(object: &SaObject) -> Option<(&'static str, &'static str)> {
    let suite = Suite::of(object)?;
    match suite.cipher() {
        Cipher::AesGcm => match object.tail.icv_len {
            8 => Some(("AES-GCM with 8 octet ICV [RFC4106]", "NULL")),
            12 => Some(("AES-GCM with 12 octet ICV [RFC4106]", "NULL")),
            _ => Some(("AES-GCM with 16 octet ICV [RFC4106]", "NULL")),
        },
        Cipher::AesCbc => Some(("AES-CBC [RFC3602]", hmac(suite.mac()?))),
        Cipher::ChaCha20Poly1305 | Cipher::AesGmac => None,
    }
}

fn hmac(mac: Mac) -> &'static str {
    match mac {
        Mac::HmacSha1 => "HMAC-SHA-1-96 [RFC2404]",
        Mac::HmacSha256 => "HMAC-SHA-256-128 [RFC4868]",
        Mac::HmacSha384 => "HMAC-SHA-384-192 [RFC4868]",
        Mac::HmacSha512 => "HMAC-SHA-512-256 [RFC4868]",
    }
}

/// Source and destination. A NAT may change the source of packets in UDP.
fn addresses(object: &SaObject) -> (String, String) {
    let tail = &object.tail;
    let src = match tail.encap_mode {
        sa::ENCAP_NONE => address(tail.family, &tail.src),
        _ => ANY.to_owned(),
    };
    (src, address(tail.family, &tail.dst))
}

/// The address as text, or any if it is zero: then the driver has not given one.
fn address(family: u8, bytes: &[u8; 16]) -> String {
    let [a, b, c, d, ..] = *bytes;
    match family {
        4 if [a, b, c, d] != [0; 4] => Ipv4Addr::new(a, b, c, d).to_string(),
        6 if *bytes != [0; 16] => Ipv6Addr::from(*bytes).to_string(),
        _ => ANY.to_owned(),
    }
}

/// Appends nothing for no bytes.
fn append_hex(text: &mut String, parts: &[&[u8]]) {
    let mut bytes = parts.iter().copied().flatten().peekable();
    if bytes.peek().is_none() {
        return;
    }
    text.push_str("0x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::tempdir::TempDir;
    use zerocopy::FromZeros;

    fn gcm() -> SaObject {
        let mut object = SaObject::new_zeroed();
        object.base.spi = 0xabc.into();
        object.base.salt = [1, 2, 3, 4];
        object.base.cipher_key.length = 16.into();
        object.base.cipher_key.data[..16].copy_from_slice(&[0x42; 16]);
        object.tail.aead_algo = cap::AEAD_GCM.into();
        object.tail.icv_len = 12;
        object
    }

    #[test]
    fn addresses_are_named_if_known() {
        let mut object = gcm();
        let rest = "\"0x00000abc\",\"AES-GCM with 12 octet ICV [RFC4106]\",\
                    \"0x4242424242424242424242424242424201020304\",\"NULL\",\"\",\"32-bit\"\n";
        let text = |object: &SaObject| entry(object).unwrap().to_string();
        assert_eq!(
            text(&object),
            format!("\"IPv4\",\"*\",\"*\",{rest}\"IPv6\",\"*\",\"*\",{rest}")
        );
        object.tail.family = 4;
        object.tail.dst[..4].copy_from_slice(&[10, 0, 0, 2]);
        assert_eq!(text(&object), format!("\"IPv4\",\"*\",\"10.0.0.2\",{rest}"));
        object.tail.src[..4].copy_from_slice(&[10, 0, 0, 1]);
        let both = format!("\"IPv4\",\"10.0.0.1\",\"10.0.0.2\",{rest}");
        assert_eq!(text(&object), both);
        object.tail.encap_mode = sa::ENCAP_UDP;
        assert_eq!(text(&object), format!("\"IPv4\",\"*\",\"10.0.0.2\",{rest}"));
        object.tail.family = 6;
        object.tail.dst = Ipv6Addr::from(0xfd00_0000_0000_0000_0000_0000_0000_0002).octets();
        assert_eq!(text(&object), format!("\"IPv6\",\"*\",\"fd00::2\",{rest}"));
    }

    #[test]
    fn long_keys_and_esn() {
        let mut object = gcm();
        object.tail.family = 4;
        object.tail.aead_algo = 0.into();
        object.base.cipher_algo = cap::CIPHER_AES_CBC.into();
        object.base.auth_algo = cap::MAC_HMAC_SHA512.into();
        object.base.auth_key.length = 64.into();
        object.base.auth_key.data = [0xaa; 32];
        object.tail.auth_key_ext = [0xbb; 32];
        object.base.options = u64::from(cap::OPT_ESN).into();
        let expected = format!(
            "\"AES-CBC [RFC3602]\",\"0x{}\",\"HMAC-SHA-512-256 [RFC4868]\",\"0x{}{}\",\"64-bit\"\n",
            "42".repeat(16),
            "aa".repeat(32),
            "bb".repeat(32)
        );
        let text = entry(&object).unwrap();
        assert!(text.ends_with(&expected), "{}", *text);
        assert!(text.capacity() == TEXT);
        object.base.cipher_algo = 0.into();
        object.base.auth_algo = cap::MAC_GMAC_AES.into();
        assert!(entry(&object).is_none());
    }

    #[test]
    fn only_the_owner_reads_the_file() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("keys");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _table = KeyTable::create(&path).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (0, 0o600));
        assert!(KeyTable::create(dir.as_path()).is_err());
    }
}
