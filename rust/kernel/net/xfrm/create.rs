// SPDX-License-Identifier: GPL-2.0

//! States that the driver makes, in the way of `xfrm_user`: built, offloaded, put into the SAD,
//! audited, announced to the key managers.
//!
//! C header: [`include/net/xfrm.h`](srctree/include/net/xfrm.h)

use super::{
    modify::Configuring,
    state::{
        Address,
        Family,
        IPPROTO_ESP,
        REPLAY_WINDOW_MAX, //
    },
    Direction,
    State, //
};
use crate::{
    bindings,
    net::{
        device::{
            Device,
            Operations, //
        },
        operation_not_supported, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

/// The algorithms of an ESP state, by their names in the kernel's crypto API. Has no `Debug`: it
/// carries the key.
#[derive(Clone, Copy)]
pub enum Algorithm<'a> {
    /// Encryption and authentication in one, such as `rfc4106(gcm(aes))`.
    Aead {
        /// The name.
        name: &'a CStr,
        /// Key and salt.
        key: &'a [u8],
        /// ICV length in bits.
        icv_bits: u32,
    },
    /// Encryption, such as `cbc(aes)`, and authentication, such as `hmac(sha256)`.
    CipherAndAuth {
        /// The cipher's name.
        cipher: &'a CStr,
        /// The cipher's key.
        cipher_key: &'a [u8],
        /// The authentication's name.
        auth: &'a CStr,
        /// The authentication's key.
        auth_key: &'a [u8],
        /// ICV length in bits.
        icv_bits: u32,
    },
}

/// An ESP state for [`Configuring::add`]. Has no `Debug`: it carries the key.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    /// The direction.
    pub direction: Direction,
    /// The (outer) address family.
    pub family: Family,
    /// Tunnel mode; else transport mode.
    pub tunnel: bool,
    /// The (outer) source address; zero for any.
    pub source: Address,
    /// The (outer) destination address.
    pub destination: Address,
    /// The SPI.
    pub spi: u32,
    /// What policies name the state by; 0 for nothing.
    pub reqid: u32,
    /// The algorithms with their keys.
    pub algorithm: Algorithm<'a>,
    /// UDP source and destination port of RFC 3948.
    pub udp_ports: Option<(u16, u16)>,
    /// With extended sequence numbers: the high half that the numbers start with.
    pub esn: Option<u32>,
    /// The replay window in packets, of inbound states.
    pub replay_window: u32,
}

/// A state that is not in the SAD yet.
struct Draft(NonNull<bindings::xfrm_state>);

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: The draft has the only reference, nobody else changes the state.
        unsafe {
            (*self.as_raw()).km.state = DEAD;
            bindings::xfrm_state_put(self.as_raw());
        }
    }
}

const DEAD: u8 = bindings::XFRM_STATE_DEAD as u8;
const VALID: u8 = bindings::XFRM_STATE_VALID as u8;
const VOID: u8 = bindings::XFRM_STATE_VOID as u8;

impl Configuring<'_> {
    /// Makes a state that `dev` offloads, in crypto mode, and puts it into the SAD. `prepare` runs
    /// when the device has taken the state and nobody else knows it. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the stack or the device does not support it; `EEXIST`:
    /// there is such a state; `ENODEV`: the device is leaving; `EOPNOTSUPP`: the
    /// stack has no such algorithm, or the device left it to software; others as the device says.
    pub fn add<T: Operations>(
        &self,
        dev: &Device<T>,
        parameters: &Parameters<'_>,
        prepare: impl FnOnce(&State),
    ) -> Result<ARef<State>> {
        let draft = self.draft(parameters)?;
        draft.offload(self, dev, parameters.direction)?;
        // SAFETY: The draft keeps the state alive.
        prepare(unsafe { State::from_raw(draft.as_raw()) });
        draft.publish()
    }

    fn draft(&self, parameters: &Parameters<'_>) -> Result<Draft> {
        // SAFETY: The namespace is live.
        let x = unsafe { bindings::xfrm_state_alloc(self.namespace().as_raw()) };
        let draft = Draft(NonNull::new(x).ok_or(ENOMEM)?);
        draft.set_identity(parameters);
        draft.set_algorithm(&parameters.algorithm)?;
        draft.set_encapsulation(parameters.udp_ports)?;
        // SAFETY: The state has what its type needs.
        to_result(unsafe { bindings::__xfrm_init_state(x, core::ptr::null_mut()) })?;
        draft.set_replay(parameters)?;
        // SAFETY: As above; the replay state is complete.
        to_result(unsafe { bindings::xfrm_init_replay(x, core::ptr::null_mut()) })?;
        Ok(draft)
    }
}

impl Draft {
    fn as_raw(&self) -> *mut bindings::xfrm_state {
        self.0.as_ptr()
    }

    fn set_identity(&self, parameters: &Parameters<'_>) {
        let family = match parameters.family {
            Family::V4 => bindings::AF_INET,
            Family::V6 => bindings::AF_INET6,
        };
        let (mode, selected, any_family) = if parameters.tunnel {
            // Both families may be inside.
            let flag = bindings::XFRM_STATE_AF_UNSPEC;
            (bindings::XFRM_MODE_TUNNEL, bindings::AF_UNSPEC, flag)
        } else {
            (bindings::XFRM_MODE_TRANSPORT, family, 0)
        };
        let esn = parameters.esn.map_or(0, |_| bindings::XFRM_STATE_ESN);
        // SAFETY: Nobody else knows the state.
        let x = unsafe { &mut *self.as_raw() };
        x.id.proto = IPPROTO_ESP;
        x.id.spi = parameters.spi.to_be();
        x.id.daddr.in6.in6_u.u6_addr8 = parameters.destination;
        x.props.saddr.in6.in6_u.u6_addr8 = parameters.source;
        x.props.family = family as u16;
        x.props.mode = mode as u8;
        x.props.reqid = parameters.reqid;
        x.props.flags = (any_family | esn) as u8;
        x.sel.family = selected as u16;
        x.lft.soft_byte_limit = u64::MAX;
        x.lft.hard_byte_limit = u64::MAX;
        x.lft.soft_packet_limit = u64::MAX;
        x.lft.hard_packet_limit = u64::MAX;
        x.dir = match parameters.direction {
            Direction::In => bindings::xfrm_sa_dir_XFRM_SA_DIR_IN,
            Direction::Out => bindings::xfrm_sa_dir_XFRM_SA_DIR_OUT,
        } as u8;
    }

    fn set_algorithm(&self, algorithm: &Algorithm<'_>) -> Result {
        match *algorithm {
            Algorithm::Aead {
                name,
                key,
                icv_bits,
            } => self.set_aead(name, key, icv_bits),
            Algorithm::CipherAndAuth {
                cipher,
                cipher_key,
                auth,
                auth_key,
                icv_bits,
            } => {
                self.set_auth(auth, auth_key, icv_bits)?;
                self.set_cipher(cipher, cipher_key)
            }
        }
    }

    fn set_aead(&self, name: &CStr, key: &[u8], icv_bits: u32) -> Result {
        let bits = i32::try_from(icv_bits).map_err(|_| EINVAL)?;
        // SAFETY: The name is a C string. The answer is null or static.
        let known = unsafe { bindings::xfrm_aead_get_byname(name.as_char_ptr(), bits, 1) };
        // SAFETY: As above.
        let known = unsafe { known.as_ref() }.ok_or_else(operation_not_supported)?;
        let key_bits = bit_length(key)?;
        let aead: NonNull<bindings::xfrm_algo_aead> = allocate(key.len())?;
        // SAFETY: The structure was allocated with room for the key; the state owns it from here on.
        // An AEAD's description has that member of the union.
        unsafe {
            let aead = aead.as_ptr();
            copy_name(&mut (*aead).alg_name, name);
            (*aead).alg_key_len = key_bits;
            (*aead).alg_icv_len = icv_bits;
            copy_key((*aead).alg_key.as_mut_ptr(), key);
            let x = self.as_raw();
            (*x).aead = aead;
            (*x).props.ealgo = known.desc.sadb_alg_id;
            (*x).geniv = known.uinfo.aead.geniv;
        }
        Ok(())
    }

    fn set_auth(&self, name: &CStr, key: &[u8], icv_bits: u32) -> Result {
        // SAFETY: The name is a C string. The answer is null or static.
        let known = unsafe { bindings::xfrm_aalg_get_byname(name.as_char_ptr(), 1) };
        // SAFETY: As above.
        let known = unsafe { known.as_ref() }.ok_or_else(operation_not_supported)?;
        // SAFETY: An authentication's description has that member of the union.
        if icv_bits > u32::from(unsafe { known.uinfo.auth.icv_fullbits }) {
            return Err(EINVAL);
        }
        let key_bits = bit_length(key)?;
        let auth: NonNull<bindings::xfrm_algo_auth> = allocate(key.len())?;
        // SAFETY: The structure was allocated with room for the key; the state owns it from here on.
        unsafe {
            let auth = auth.as_ptr();
            copy_name(&mut (*auth).alg_name, name);
            (*auth).alg_key_len = key_bits;
            (*auth).alg_trunc_len = icv_bits;
            copy_key((*auth).alg_key.as_mut_ptr(), key);
            let x = self.as_raw();
            (*x).aalg = auth;
            (*x).props.aalgo = known.desc.sadb_alg_id;
        }
        Ok(())
    }

    fn set_cipher(&self, name: &CStr, key: &[u8]) -> Result {
        // SAFETY: The name is a C string. The answer is null or static.
        let known = unsafe { bindings::xfrm_ealg_get_byname(name.as_char_ptr(), 1) };
        // SAFETY: As above.
        let known = unsafe { known.as_ref() }.ok_or_else(operation_not_supported)?;
        let key_bits = bit_length(key)?;
        let cipher: NonNull<bindings::xfrm_algo> = allocate(key.len())?;
        // SAFETY: The structure was allocated with room for the key; the state owns it from here on.
        // A cipher's description has that member of the union.
        unsafe {
            let cipher = cipher.as_ptr();
            copy_name(&mut (*cipher).alg_name, name);
            (*cipher).alg_key_len = key_bits;
            copy_key((*cipher).alg_key.as_mut_ptr(), key);
            let x = self.as_raw();
            (*x).ealg = cipher;
            (*x).props.ealgo = known.desc.sadb_alg_id;
            (*x).geniv = known.uinfo.encr.geniv;
        }
        Ok(())
    }

    fn set_encapsulation(&self, ports: Option<(u16, u16)>) -> Result {
        let Some((source, destination)) = ports else {
            return Ok(());
        };
        let encap: NonNull<bindings::xfrm_encap_tmpl> = allocate(0)?;
        // SAFETY: The structure is zeroed; the state owns it from here on.
        unsafe {
            let encap = encap.as_ptr();
            (*encap).encap_type = bindings::UDP_ENCAP_ESPINUDP as u16;
            (*encap).encap_sport = source.to_be();
            (*encap).encap_dport = destination.to_be();
            (*self.as_raw()).encap = encap;
        }
        Ok(())
    }

    fn set_replay(&self, parameters: &Parameters<'_>) -> Result {
        let x = self.as_raw();
        // SAFETY: The state is live.
        unsafe { bindings::xfrm_replay_notify_defaults(x) };
        let inbound = parameters.direction == Direction::In;
        let window = if inbound { parameters.replay_window } else { 0 };
        if window > REPLAY_WINDOW_MAX {
            return Err(EINVAL);
        }
        let Some(high) = parameters.esn else {
            if window <= u32::BITS {
                // SAFETY: Nobody else knows the state.
                unsafe { (*x).props.replay_window = window as u8 };
                return Ok(());
            }
            return self.set_long_replay(window, |_| {});
        };
        // The stack wants a window for inbound ESN states.
        self.set_long_replay(if inbound { window.max(1) } else { 0 }, |esn| {
            if inbound {
                esn.seq_hi = high;
            } else {
                esn.oseq_hi = high;
            }
        })
    }

    /// Sets both copies of the long form of the replay state.
    fn set_long_replay(
        &self,
        window: u32,
        set: impl Fn(&mut bindings::xfrm_replay_state_esn),
    ) -> Result {
        let words = window.div_ceil(u32::BITS);
        let new = || -> Result<NonNull<bindings::xfrm_replay_state_esn>> {
            let mut esn: NonNull<bindings::xfrm_replay_state_esn> =
                allocate(words as usize * size_of::<u32>())?;
            // SAFETY: The structure is zeroed and ours.
            let fields = unsafe { esn.as_mut() };
            fields.bmp_len = words;
            fields.replay_window = window;
            set(fields);
            Ok(esn)
        };
        let x = self.as_raw();
        // SAFETY: Nobody else knows the state, which owns the structures from here on.
        unsafe {
            (*x).replay_esn = new()?.as_ptr();
            (*x).preplay_esn = new()?.as_ptr();
        }
        Ok(())
    }

    /// Has `dev` take the state; software only is an error.
    fn offload<T: Operations>(
        &self,
        configuring: &Configuring<'_>,
        dev: &Device<T>,
        direction: Direction,
    ) -> Result {
        let x = self.as_raw();
        let request = bindings::xfrm_user_offload {
            ifindex: dev.index(),
            flags: match direction {
                Direction::In => bindings::XFRM_OFFLOAD_INBOUND as u8,
                Direction::Out => 0,
            },
        };
        // SAFETY: All fields may be zero.
        let mut extack: bindings::netlink_ext_ack = unsafe { core::mem::zeroed() };
        // SAFETY: The state is complete, the namespace live, the caller may sleep.
        unsafe {
            bindings::xfrm_set_type_offload(x, true);
            let net = configuring.namespace().as_raw();
            to_result(bindings::xfrm_dev_state_add(net, x, &request, &mut extack))?;
        }
        // Crypto mode ends in software without an error.
        // SAFETY: The state is ours.
        let taker = unsafe { (*x).xso.dev };
        if taker.is_null() {
            return Err(operation_not_supported());
        }
        if core::ptr::eq(taker, dev.as_raw()) {
            return Ok(());
        }
        // The device is leaving, and the stack took the one that its routes name. The draft's end
        // frees the offload, but does not delete it.
        // SAFETY: The state is offloaded.
        unsafe { bindings::xfrm_dev_state_delete(x) };
        Err(ENODEV)
    }

    /// Puts the state into the SAD and tells the world.
    fn publish(self) -> Result<ARef<State>> {
        let x = self.as_raw();
        // SAFETY: The draft has a reference. The new one is the SAD's, if it takes the state.
        let added = unsafe {
            bindings::xfrm_state_tryget(x);
            to_result(bindings::xfrm_state_add(x))
        };
        // SAFETY: We have a reference.
        unsafe { bindings::xfrm_audit_state_add(x, i32::from(added.is_ok())) };
        if let Err(error) = added {
            // SAFETY: The device has the state; the SAD does not, so its reference is ours.
            unsafe {
                (*x).km.state = DEAD;
                bindings::xfrm_dev_state_delete(x);
                bindings::xfrm_state_put(x);
            }
            return Err(error);
        }
        core::mem::forget(self);
        // SAFETY: We have a reference. The state may be deleted already, with its device for one,
        // which needs none of the locks that we hold: its own one keeps a dead state dead.
        unsafe {
            bindings::xfrm_state_lock(x);
            if (*x).km.state == VOID {
                (*x).km.state = VALID;
            }
            bindings::xfrm_state_unlock(x);
        }
        super::modify::announce(x, bindings::XFRM_MSG_NEWSA);
        // SAFETY: The draft's reference is ours now. CAST: `State` is transparent.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(x).cast()) })
    }
}

/// Allocates a zeroed `A` with `more` bytes behind it, for the kernel to free.
fn allocate<A>(more: usize) -> Result<NonNull<A>> {
    let size = size_of::<A>().checked_add(more).ok_or(EINVAL)?;
    // SAFETY: No preconditions; sleeps.
    NonNull::new(unsafe { bindings::kzalloc(size) }.cast()).ok_or(ENOMEM)
}

fn copy_name(field: &mut [c_char; 64], name: &CStr) {
    // The last byte stays zero.
    let room = field.iter_mut().take(63);
    room.zip(name.to_bytes())
        .for_each(|(to, &from)| *to = from as c_char);
}

fn bit_length(key: &[u8]) -> Result<u32> {
    let bits = key.len().checked_mul(8).ok_or(EINVAL)?;
    u32::try_from(bits).map_err(|_| EINVAL)
}

/// # Safety
///
/// `to` is valid for writes of the key's length.
unsafe fn copy_key(to: *mut c_char, key: &[u8]) {
    // SAFETY: By the contract.
    unsafe { core::ptr::copy_nonoverlapping(key.as_ptr(), to.cast(), key.len()) }
}
