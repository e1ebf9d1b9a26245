// SPDX-License-Identifier: GPL-2.0

//! Headers of packets to transmit.

#[cfg(espnic_kunit)]
mod tests;

use super::SkBuff;
use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Length of an Ethernet header, in bytes.
const ETH_HLEN: usize = 14;

impl SkBuff {
    /// The EtherType of the packet as the stack knows it, as a number. The frame's own need not be there
    /// yet, see [`Self::set_ethernet`].
    #[inline]
    pub fn protocol(&self) -> u16 {
        // SAFETY: The skb is valid by the invariant, so nobody writes the field meanwhile.
        unsafe { bindings::skb_protocol(self.as_raw()) }
    }

    /// Offset of the IP header from the frame's start, in bytes. `None` if it is in front of that, or not
    /// where a `u16` reaches.
    #[inline]
    pub fn network_offset(&self) -> Option<u16> {
        // SAFETY: The skb is valid by the invariant; the offset is a difference of two of its fields.
        unsafe { bindings::skb_network_offset(self.as_raw()) }
            .try_into()
            .ok()
    }

    /// Writes the Ethernet header at the frame's start: destination, source and EtherType, in network
    /// order.
    ///
    /// A forwarded packet of a tunnel under packet offload comes with room for one and nothing in it, not
    /// even zeros: the stack does not know the next hop of the tunnel (X82). Clones, such as those of packet
    /// sockets, keep what they have: if there are any the linear part is copied first. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if the linear part is shorter than the header. The packet is as before, and must
    /// not be sent.
    pub fn set_ethernet(&mut self, header: &[u8; ETH_HLEN]) -> Result {
        if self.head().len() < ETH_HLEN {
            return Err(EINVAL);
        }
        // SAFETY: The skb is valid and ours by the invariant. No reference into its data is there, because
        // of `&mut self`.
        to_result(unsafe { bindings::skb_cow_head(self.as_raw(), 0) })?;
        // SAFETY: The skb is valid and ours by the invariant, so nobody writes the field meanwhile.
        let to = unsafe { (*self.as_raw()).data };
        // SAFETY: The linear part has so many bytes, as was asked above, which copying it does not change.
        // Headers in it are now ours alone: nobody else reads or writes them.
        unsafe { core::ptr::copy_nonoverlapping(header.as_ptr(), to, ETH_HLEN) };
        Ok(())
    }
}
