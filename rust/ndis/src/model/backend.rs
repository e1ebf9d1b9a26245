// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of SAs that the model needs from an adapter.

use super::bundle::Bundle;
#[cfg(not(kernel))]
use super::table::Offloaded;
use crate::sa::{Operation, Spi};
use crate::{Handle, Status};

/// The SA table of an adapter.
///
/// Every method takes `&self` and may be called by several requests at the same time: direct
/// requests are serialised neither among themselves nor with others (R31). The implementation has
/// its own locks. Whether a method may sleep is between it and the caller of the model, which
/// itself never blocks; a caller that must not sleep (R32) pends the request, see `Pending` of the
/// module `pending`.
pub trait Backend {
    /// Installs a bundle and names it. The handle was never used for another bundle before.
    ///
    /// # Errors
    ///
    /// * [`Status::RESOURCES`]: the table is full or memory is short. The model looks at
    ///   [`offloaded`](Self::offloaded) first, but the last word, which must be atomic, is here.
    /// * [`Status::NOT_ACCEPTED`], [`Status::REQUEST_ABORTED`]: the adapter is leaving or being
    ///   reset. The whole request ends so, and everything that it installed is removed again,
    ///   unless [`RemoveError::Aborted`] keeps it.
    /// * Any other: this bundle is not offloaded; other elements of the list still may be.
    fn add(&self, bundle: &Bundle<'_>) -> Result<Handle, Status>;

    /// Removes a bundle and frees what it holds. The handle is dead from then on (R76).
    ///
    /// # Errors
    ///
    /// See [`RemoveError`]. A bundle that is still there is marked
    /// ([`Offloaded::deleting`](super::table::Offloaded::deleting)) and receives nothing any more
    /// (R85).
    fn remove(&self, handle: Handle) -> Result<(), RemoveError>;

    /// Sets the upper 32 bits of the sequence number of the SA in the bundle `handle` that has this
    /// protocol and SPI; nothing else changes (R77). The same value again is no error.
    ///
    /// # Errors
    ///
    /// See [`UpdateError`].
    fn update(
        &self,
        handle: Handle,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError>;

    /// Bundles in the table now. An ESP and AH pair of one element counts once (R50).
    fn offloaded(&self) -> u32;
}

/// The reason for which a bundle was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// No bundle has this handle. The request succeeds all the same (C6).
    Unknown,
    /// The adapter is being reset or is leaving.
    Leaving,
    /// A reset cut the work short: the bundle is still there, and so is its handle.
    Aborted,
}

impl RemoveError {
    /// The status of DELETE_SA: one of the four that it may have (R82).
    pub const fn status(self) -> Status {
        match self {
            Self::Unknown => Status::SUCCESS,
            Self::Leaving => Status::NOT_ACCEPTED,
            Self::Aborted => Status::REQUEST_ABORTED,
        }
    }
}

/// The reason for which a sequence number was not updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// No bundle has this handle (R78).
    Unknown,
    /// The bundle has no SA of this protocol and SPI (C26).
    Mismatch,
    /// The SA has no extended sequence numbers (R79).
    NoEsn,
    /// The value is lower than the SA's: packets would repeat their IV or be taken twice (R151).
    Backward,
    /// The adapter is being reset or is leaving.
    Leaving,
    /// A reset cut the work short.
    Aborted,
}

impl UpdateError {
    /// The rules that it comes from.
    pub const fn rules(self) -> &'static str {
        match self {
            Self::Unknown => "R78",
            Self::Mismatch => "R78 C26",
            Self::NoEsn => "R79",
            Self::Backward => "R151",
            Self::Leaving => "R40",
            Self::Aborted => "R41",
        }
    }

    /// The status of UPDATE_SA.
    pub const fn status(self) -> Status {
        match self {
            Self::Unknown | Self::Mismatch | Self::NoEsn | Self::Backward => {
                Status::INVALID_PARAMETER
            }
            Self::Leaving => Status::NOT_ACCEPTED,
            Self::Aborted => Status::REQUEST_ABORTED,
        }
    }
}

/// Upper halves of the sequence numbers of a bundle, for those parts that have extended ones: what
/// a table in memory keeps for [`Backend::update`].
#[cfg(not(kernel))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperHalves {
    /// That of ESP.
    pub esp: Option<u32>,
    /// That of AH.
    pub ah: Option<u32>,
}

#[cfg(not(kernel))]
impl UpperHalves {
    /// The upper halves with which a new bundle starts (R64).
    pub fn of(bundle: &Bundle<'_>) -> Self {
        Self {
            esp: bundle.esp.and_then(|esp| esp.esn),
            ah: bundle.ah.and_then(|ah| ah.esn),
        }
    }

    /// Sets the upper half of the part of `shape` with this protocol and SPI.
    ///
    /// # Errors
    ///
    /// There is no such part, it has no extended numbers, or its number is higher.
    pub fn update(
        &mut self,
        shape: &Offloaded,
        operation: Operation,
        spi: Spi,
        high: u32,
    ) -> Result<(), UpdateError> {
        if shape.spi(operation) != Some(spi) {
            return Err(UpdateError::Mismatch);
        }
        let now = match operation {
            Operation::AH => self.ah.as_mut(),
            _ => self.esp.as_mut(),
        };
        let now = now.ok_or(UpdateError::NoEsn)?;
        if high < *now {
            return Err(UpdateError::Backward);
        }
        *now = high;
        Ok(())
    }
}
