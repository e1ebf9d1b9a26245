// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Keys and other bytes from the command line. Key bytes are wiped, and never shown.

use std::convert::Infallible;
use std::fmt::{self, Debug, Formatter, Write as _};
use std::io::Read;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Longest input that is read from a file or stdin.
const MOST: u64 = 1 << 20;

/// Key material from the command line.
///
/// A wrong one is an error only when it is used: the parser of the command line would repeat it.
#[derive(Clone)]
pub struct Key(Result<Zeroizing<Vec<u8>>, String>);

impl Key {
    /// The bytes, or what is wrong with the key.
    pub fn bytes(&self) -> Result<&[u8], String> {
        match &self.0 {
            Ok(bytes) => Ok(bytes),
            Err(text) => Err(format!("a key is wrong: {text}")),
        }
    }

    /// Hex digits, `@FILE`, or `-`.
    fn parse(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let digits = match text.strip_prefix('@') {
            Some(path) => read(path)?,
            None if text == "-" => read("-")?,
            None => Zeroizing::new(text.as_bytes().to_vec()),
        };
        let digits = Zeroizing::new(
            String::from_utf8(digits.to_vec()).map_err(|_| "a key is written in hex digits")?,
        );
        hex(&digits).map(Zeroizing::new)
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

/// What is in a file, or with "-" in standard input.
pub fn read(path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut data = Zeroizing::new(Vec::new());
    let result = if path == "-" {
        std::io::stdin().take(MOST).read_to_end(&mut data)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut data))
    };
    result.map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(data)
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
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    const WRONG: &str = "hex digits wanted, two per byte";
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 2);
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
        assert_eq!(hex("0x00ff 10:2a\n").unwrap(), [0, 255, 16, 42]);
        assert_eq!(digits(&[0, 255, 16]), "00ff10");
        assert_eq!(hex("").unwrap(), Vec::<u8>::new());
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
