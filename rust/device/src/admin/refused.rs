// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reasons for refusing administration commands.

use espnic_wire::admin;
use espnic_wire::refusal::Refusal;

/// The reason for which a command was refused. Such a command has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// [`admin::EINVAL`] and so on.
    pub status: u16,
    /// The `Q_` constant that goes with it.
    pub qualifier: u16,
}

impl Refused {
    /// No command of this group, or not in use.
    pub const OPCODE: Self = Self::new(admin::EINVAL, admin::Q_INVALID_OPCODE);
    /// A field has a value that is not allowed.
    pub const FIELD: Self = Self::new(admin::EINVAL, admin::Q_INVALID_FIELD);
    /// There is no such capability or object.
    pub const MISSING: Self = Self::new(admin::ENXIO, admin::Q_INVALID_FIELD);
    /// There is an object with this id.
    pub const EXISTS: Self = Self::new(admin::EEXIST, admin::Q_INVALID_FIELD);
    /// Not while there are objects.
    pub const BUSY: Self = Self::new(admin::EBUSY, admin::Q_INVALID_COMMAND);
    /// No room for one more, or the crypto library does not take the key.
    pub const RESOURCE: Self = Self::new(admin::ENOSPC, admin::Q_NORESOURCE);
    /// No such group of members.
    pub const GROUP: Self = Self::new(admin::EINVAL, admin::Q_INVALID_GROUP);
    /// No such member of the group.
    pub const MEMBER: Self = Self::new(admin::EINVAL, admin::Q_INVALID_MEMBER);

    const fn new(status: u16, qualifier: u16) -> Self {
        Self { status, qualifier }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status, refusal.qualifier)
    }
}
