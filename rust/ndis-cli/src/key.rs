// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keys and other bytes from the command line. Key bytes are wiped, and never shown. They cannot be wiped
//! from the command line itself, so keys in files are safer.

use std::convert::Infallible;
use std::fmt::{self, Debug, Formatter, Write as _};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::input;

const WRONG: &str = "hex digits wanted, two per byte";

/// Key material from the command line.
///
/// A wrong one is an error only when it is used: the parser of the command line would repeat it.
#[derive(Clone)]
pub struct Key(Result<Zeroizing<Vec<u8>>, String>);

impl Key {
    /// The bytes, or the fault of the key.
    pub fn bytes(&self) -> Result<&[u8], String> {
        match &self.0 {
            Ok(bytes) => Ok(bytes),
            Err(text) => Err(format!("a key is wrong: {text}")),
        }
    }

    /// Hex digits, `@FILE`, or `-`.
    fn parse(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let path = match text.strip_prefix('@') {
            None if text != "-" => return hex(text),
            path => path.unwrap_or(text),
        };
        from_file(path)
    }
}

impl Debug for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl FromStr for Key {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Self::parse(text)))
    }
}

/// Hex digits, `@FILE` with the bytes themselves, or `-` for hex digits from standard input.
pub fn buffer(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    match text.strip_prefix('@') {
        Some(path) => input::read(path),
        None if text == "-" => from_file("-"),
        None => hex(text),
    }
}

/// The bytes whose hex digits are in a file, or with "-" in standard input.
pub fn from_file(path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let data = input::read(path)?;
    let text = std::str::from_utf8(&data).map_err(|_| WRONG)?;
    hex(text)
}

/// Bytes from a file that has them as they are or as hex digits. NDIS structures do not start with a
/// character.
pub fn bytes_or_hex(data: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, String> {
    match std::str::from_utf8(&data) {
        Ok(text) if data.first().is_some_and(u8::is_ascii) => hex(text),
        _ => Ok(data),
    }
}

/// Hex digits of bytes.
pub fn digits(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes from hex digits; white space and colons between bytes, and 0x in front, are allowed. The
/// message does not repeat the digits, which may be a key.
pub fn hex(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    // Room for all, so that the vector does not move, and wiped also if what follows is wrong.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let mut high = None;
    for c in text.chars() {
        if (c.is_ascii_whitespace() || c == ':') && high.is_none() {
            continue;
        }
        let digit = c
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .ok_or(WRONG)?;
        match high.take() {
            None => high = Some(digit),
            Some(first) => bytes.push((first << 4) | digit),
        }
    }
    if high.is_some() {
        return Err(WRONG.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_read_and_wrong_ones_not_repeated() {
        assert_eq!(*hex("0x00ff 10:2a\n").unwrap(), [0, 255, 16, 42]);
        assert_eq!(digits(&[0, 255, 16]), "00ff10");
        assert_eq!(*hex("").unwrap(), Vec::<u8>::new());
        for wrong in ["123", "zz", "1 2"] {
            assert!(!hex(wrong).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn a_key_does_not_show_its_bytes() {
        let key: Key = "0badc0de".parse().unwrap();
        assert_eq!(format!("{key:?}"), "Key");
        assert_eq!(key.bytes().unwrap(), [0x0b, 0xad, 0xc0, 0xde]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let key: Key = "@/nonexistent/key".parse().unwrap();
        let error = key.bytes().unwrap_err();
        assert!(error.contains("/nonexistent/key"), "{error}");
    }
}
