// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The error of a command.

/// The reason for which a command did nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line is wrong.
    Usage(String),
    /// The command failed; the message says why.
    Failed(String),
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}
