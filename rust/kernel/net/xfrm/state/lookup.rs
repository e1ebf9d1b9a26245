// SPDX-License-Identifier: GPL-2.0

//! States that are found by what packets show.

use super::State;
use crate::{
    bindings,
    net::{
        ip::{
            Address,
            Family, //
        },
        netdevice::{
            Device,
            Operations, //
        }, //
    }, //
};
use core::ptr::NonNull;
use kernel::sync::aref::ARef;

/// An address as the stack has it in states.
fn raw_address(address: &Address) -> bindings::xfrm_address_t {
    bindings::xfrm_address_t {
        in6: bindings::in6_addr {
            in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr8: *address },
        },
    }
}

impl State {
    /// The state for ESP packets to `dst` with this SPI in the namespace of `dev`, if there is one without a
    /// mark. It may be of either direction, and dead. Does not sleep; any context but a hard interrupt.
    pub fn find_esp<T: Operations>(
        dev: &Device<T>,
        family: Family,
        dst: &Address,
        spi: u32,
    ) -> Option<ARef<Self>> {
        let dst = raw_address(dst);
        // CAST: The numbers of address families are small.
        let family = family.number() as u16;
        // SAFETY: The device is live by its type invariant, and is in a namespace. The address outlives the
        // call.
        let x = unsafe { bindings::xfrm_find_esp(dev.as_raw(), &dst, spi.to_be(), family) };
        // INVARIANT: The state comes with a reference, and the stack treats it as those that devices have: it
        // has been in the table, so that only what is documented to change does.
        // SAFETY: That reference becomes the `ARef`'s. CAST: `State` is transparent over `xfrm_state`.
        NonNull::new(x).map(|x| unsafe { ARef::from_raw(x.cast()) })
    }

    /// Tells the key managers that authentic packets of an inbound state with ESP in UDP come from another
    /// address or port than the state has, `XFRM_MSG_MAPPING`. The stack does so for what it decrypts itself
    /// (RFC 7296, section 2.23); it tells less often if the user has set an interval, and nothing of a state
    /// without UDP. The state stays as it is: they decide.
    ///
    /// Does not sleep, and must not run at the same time twice for one state.
    pub fn report_mapping(&self, source: &Address, port: u16) {
        let mut source = raw_address(source);
        // SAFETY: The structure is there by the type invariant, and the address during the call. An error says
        // that nobody listens, or that there is no memory now.
        unsafe { bindings::km_new_mapping(self.as_raw(), &mut source, port.to_be()) };
    }
}
