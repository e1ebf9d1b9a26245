// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The error of a command.

/// The reason for which a command did nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line is wrong.
    Usage(String),
    /// It could not be done; a sentence.
    Failed(String),
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}
