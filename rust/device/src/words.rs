// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers in requests, on the command line and at the control socket.

/// A number of SAs, or none.
pub(crate) fn parse_mark(word: &str) -> Result<Option<u32>, String> {
    match word {
        "none" => Ok(None),
        _ => number(word).map(Some),
    }
}

/// A number of 32 bits.
pub(crate) fn number(word: &str) -> Result<u32, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a number from 0 to {}", u32::MAX))
}
