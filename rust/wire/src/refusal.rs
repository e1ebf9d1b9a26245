// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why what an administration command carries is refused.

use crate::admin;

/// Status and qualifier of a refusal. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`admin::EINVAL`] and so on; never [`admin::OK`].
    pub status: u16,
    /// The `Q_` constant that goes with it.
    pub qualifier: u16,
}

impl Refusal {
    /// A field has a value that is not allowed.
    pub const FIELD: Self = Self::new(admin::EINVAL, admin::Q_INVALID_FIELD);
    /// No room for one more.
    pub const FULL: Self = Self::new(admin::ENOSPC, admin::Q_NORESOURCE);
    /// Other objects need this one.
    pub const BUSY: Self = Self::new(admin::EBUSY, admin::Q_INVALID_COMMAND);

    const fn new(status: u16, qualifier: u16) -> Self {
        Self { status, qualifier }
    }

    /// [`Refusal::FIELD`] unless `condition` holds.
    pub(crate) fn unless(condition: bool) -> Result<(), Self> {
        if condition {
            Ok(())
        } else {
            Err(Self::FIELD)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_commands() {
        let numbers = |refusal: Refusal| (refusal.status, refusal.qualifier);
        assert_eq!(numbers(Refusal::FIELD), (22, 3));
        assert_eq!(numbers(Refusal::FULL), (28, 6));
        assert_eq!(numbers(Refusal::BUSY), (16, 1));
        assert_eq!(Refusal::unless(true), Ok(()));
        assert_eq!(Refusal::unless(false), Err(Refusal::FIELD));
    }
}
