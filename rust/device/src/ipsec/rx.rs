// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames from the wire, and what their headers say to the driver.

use super::sa::Sa;
use crate::filter::Verdict;
use crate::frame::Frame;
use espnic_wire::hdr::{self, NetHdr48, SecExt};
use espnic_wire::sa as wire;

/// A frame from the wire, on its way to the driver.
#[derive(Debug, Default)]
pub struct Inbound {
    /// The header for the driver.
    pub hdr: NetHdr48,
    /// The frame. One that IPsec has dropped is empty.
    pub frame: Frame,
    /// What the flow filter says. If it does not send the frame to IPsec, only crypto-only SAs take it.
    pub verdict: Verdict,
}

impl Inbound {
    /// A frame of which the flow filter says this.
    #[inline(always)]
    pub fn new(frame: Frame, verdict: Verdict) -> Self {
        Self {
            hdr: NetHdr48::default(),
            frame,
            verdict,
        }
    }

    /// Whether a rule of the flow filter sends it to the queue for which it waits, so that no other queue may get it.
    #[inline]
    pub fn is_directed(&self) -> bool {
        matches!(self.verdict, Verdict::Queue(_))
    }

    /// Whether a rule of the flow filter sends it to IPsec.
    #[inline]
    pub(super) fn by_rule(&self) -> bool {
        self.verdict.is_ipsec()
    }
}

impl From<Frame> for Inbound {
    /// A frame that meets no rule.
    fn from(frame: Frame) -> Self {
        Self::new(frame, Verdict::Pass)
    }
}

/// Marks `hdr` as that of a packet that went through IPsec under `sa`, with this result. `extension` is
/// [`hdr::F_X_SEC`], or 0 if the driver does not know that part of the header.
#[inline]
pub(super) fn mark(hdr: &mut NetHdr48, sa: &Sa, sec_status: u8, extension: u8) {
    hdr.net.flags |= hdr::F_SECURITY | extension;
    if sec_status != hdr::SEC_OK {
        hdr.net.flags |= hdr::F_SECURITY_ERR;
    }
    hdr.out.resource_id = sa.id.into();
    hdr.out.resource_type = wire::OBJ_INB_SA.into();
    // Field by field: building a header first and copying it costs more than all of this.
    let sec = &mut hdr.sec;
    *sec = SecExt::default();
    sec.sec_status = sec_status;
    sec.generation = sa.generation.into();
}
