// SPDX-License-Identifier: GPL-2.0

//! States for KUnit tests: as the stack has them when it calls `xdo_dev_state_add`, but in no list and
//! without a device.

use super::{
    allocate,
    Algorithm,
    Draft,
    Parameters, //
};
use crate::{
    bindings,
    net::{
        ip::Family,
        xfrm::{
            Direction,
            State, //
        }, //
    }, //
};
use kernel::prelude::*;

/// What makes a state another one than its [`Parameters`] say.
///
/// The tests of [`State`] show its use.
#[derive(Clone, Copy)]
pub enum Change {
    /// Packet offload is asked for.
    Packet,
    /// The state is larval.
    Acquire,
    /// Another protocol than ESP.
    Protocol(u8),
    /// `XFRM_MODE_` constants.
    Mode(u8),
    /// `AF_` constants.
    Family(u16),
    /// The outgoing sequence number may wrap.
    MayWrap,
    /// There is a compression algorithm.
    Compression,
    /// Traffic flow confidentiality padding.
    TfcPadding,
    /// Only packets with a mark.
    Mark,
    /// The name of the IV generator.
    IvGenerator(&'static CStr),
    /// TCP instead of UDP around ESP.
    TcpEncapsulation,
    /// The number that was sent or received last.
    Number(u64),
    /// The replay window of an ESN state, in packets.
    Window(u32),
    /// Counted packets and bytes.
    Usage(u64, u64),
    /// `XFRM_STATE_` flags, all of them, and `XFRM_SA_XFLAG_` ones.
    Flags(u8, u32),
    /// Value and mask of the mark that packets get.
    OutputMark(u32, u32),
    /// For an XFRM interface.
    Interface(u32),
    /// For a CPU.
    Cpu(u32),
    /// Bounds of the protocol and source port of the packets inside.
    Selector {
        /// The protocol.
        protocol: u8,
        /// The source port.
        src_port: u16,
    },
    /// Soft and hard limit of packets, then of bytes.
    Limits([u64; 4]),
    /// The highest number that was received and the bitmap of a window of up to 32 packets without ESN.
    ShortWindow(u32, u32),
    /// Alive, as after it was put into the SAD.
    Valid,
}

/// A state that nobody but the test knows.
///
/// The tests of [`State`] show its use.
///
/// # Invariants
///
/// The draft is as complete as one that is offloaded.
pub struct TestState(Draft);

impl TestState {
    /// Makes a state of the initial namespace. Sleeps.
    ///
    /// # Errors
    ///
    /// As of [`Configuring::add`](super::super::modify::Configuring::add), before a device is asked.
    pub fn new(parameters: &Parameters<'_>) -> Result<Self> {
        // SAFETY: The initial namespace is always live.
        let draft = unsafe { Draft::new(&raw mut bindings::init_net, parameters) }?;
        draft.set_replay(parameters)?;
        // SAFETY: By the type invariant of the draft nobody else knows the state.
        unsafe {
            (*draft.as_raw()).xso.set_dir(match parameters.direction {
                Direction::In => bindings::XFRM_DEV_OFFLOAD_IN as u8,
                Direction::Out => bindings::XFRM_DEV_OFFLOAD_OUT as u8,
            });
            (*draft.as_raw())
                .xso
                .set_type(bindings::XFRM_DEV_OFFLOAD_CRYPTO as u8);
        }
        // INVARIANT: Identity, algorithms, ports, numbers and direction are set.
        Ok(Self(draft))
    }

    /// Makes a state with a change. Sleeps.
    ///
    /// # Errors
    ///
    /// As of [`Self::new`].
    pub fn changed(parameters: &Parameters<'_>, change: Change) -> Result<Self> {
        let state = Self::new(parameters)?;
        state.change(parameters.direction, change)?;
        Ok(state)
    }

    fn change(&self, direction: Direction, change: Change) -> Result {
        let x = self.0.as_raw();
        // SAFETY: By the type invariant of the draft nobody else knows the state. Only `changed` calls
        // this, so that no Rust reference to it has been made either. What pointers are set to or point
        // to is allocated for the state.
        unsafe {
            match change {
                Change::Packet => (*x).xso.set_type(bindings::XFRM_DEV_OFFLOAD_PACKET as u8),
                Change::Acquire => {
                    let flag = bindings::XFRM_DEV_OFFLOAD_FLAG_ACQ as u8;
                    (*x).xso.set_flags(flag);
                }
                Change::Protocol(protocol) => (*x).id.proto = protocol,
                Change::Mode(mode) => (*x).props.mode = mode,
                Change::Family(family) => (*x).props.family = family,
                Change::MayWrap => (*x).props.extra_flags = bindings::XFRM_SA_XFLAG_OSEQ_MAY_WRAP,
                Change::Compression => {
                    (*x).calg = allocate::<bindings::xfrm_algo>(0)?.as_ptr();
                }
                Change::TfcPadding => (*x).tfcpad = 1400,
                Change::Mark => (*x).mark.m = u32::MAX,
                Change::IvGenerator(name) => (*x).geniv = name.as_char_ptr().cast(),
                Change::TcpEncapsulation => {
                    let encap = allocate::<bindings::xfrm_encap_tmpl>(0)?.as_ptr();
                    // TCP_ENCAP_ESPINTCP of include/uapi/linux/udp.h.
                    (*encap).encap_type = 7;
                    (*x).encap = encap;
                }
                Change::Number(number) => Self::set_number(x, direction, number),
                Change::Window(window) => (*(*x).replay_esn).replay_window = window,
                Change::Usage(packets, bytes) => {
                    (*x).curlft.packets = packets;
                    (*x).curlft.bytes = bytes;
                }
                Change::Flags(flags, extra) => {
                    (*x).props.flags = flags;
                    (*x).props.extra_flags = extra;
                }
                Change::OutputMark(value, mask) => {
                    ((*x).props.smark.v, (*x).props.smark.m) = (value, mask);
                }
                Change::Interface(id) => (*x).if_id = id,
                Change::Cpu(cpu) => (*x).pcpu_num = cpu,
                Change::Selector { protocol, src_port } => {
                    (*x).sel.proto = protocol;
                    ((*x).sel.sport, (*x).sel.sport_mask) = (src_port.to_be(), u16::MAX);
                }
                Change::Limits([soft_packets, hard_packets, soft_bytes, hard_bytes]) => {
                    (*x).lft.soft_packet_limit = soft_packets;
                    (*x).lft.hard_packet_limit = hard_packets;
                    (*x).lft.soft_byte_limit = soft_bytes;
                    (*x).lft.hard_byte_limit = hard_bytes;
                }
                Change::ShortWindow(top, bitmap) => {
                    ((*x).replay.seq, (*x).replay.bitmap) = (top, bitmap);
                }
                Change::Valid => (*x).km.state = bindings::XFRM_STATE_VALID as u8,
            }
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As in [`Self::change`].
    unsafe fn set_number(x: *mut bindings::xfrm_state, direction: Direction, number: u64) {
        let (high, low) = ((number >> 32) as u32, number as u32);
        // SAFETY: By the contract; a state with a long form of the replay state owns it.
        unsafe {
            let esn = (*x).replay_esn;
            match direction {
                Direction::In if esn.is_null() => (*x).replay.seq = low,
                Direction::Out if esn.is_null() => (*x).replay.oseq = low,
                Direction::In => ((*esn).seq_hi, (*esn).seq) = (high, low),
                Direction::Out => ((*esn).oseq_hi, (*esn).oseq) = (high, low),
            }
        }
    }

    /// What was counted for key managers: packets that had come before, that were too late, and whose ICV
    /// was wrong; and whether the state was used.
    pub fn counted(&self) -> (u32, u32, u32, bool) {
        let x = self.0.as_raw();
        // SAFETY: The draft keeps the structure. Volatile reads of words may race.
        unsafe {
            (
                (&raw const (*x).stats.replay).read_volatile(),
                (&raw const (*x).stats.replay_window).read_volatile(),
                (&raw const (*x).stats.integrity_failed).read_volatile(),
                (&raw const (*x).curlft.use_time).read_volatile() != 0,
            )
        }
    }

    /// How many references there are.
    pub fn references(&self) -> i32 {
        // SAFETY: The draft keeps the structure. A volatile read of the counter may race.
        unsafe { (&raw const (*self.0.as_raw()).refcnt.refs.counter).read_volatile() }
    }
}

impl core::ops::Deref for TestState {
    type Target = State;

    fn deref(&self) -> &State {
        // SAFETY: By the type invariant the state is as complete as one that a device is about to be given,
        // and the draft has a reference, which cannot end before the borrow.
        unsafe { State::from_raw(self.0.as_raw()) }
    }
}

/// AES-128-GCM with an ICV of 16 bytes.
pub const GCM: Algorithm<'static> = Algorithm::Aead {
    name: c"rfc4106(gcm(aes))",
    key: b"0123456789abcdefSALT",
    icv_bits: 128,
};

/// AES-128-CBC with HMAC-SHA-256.
pub const CBC: Algorithm<'static> = Algorithm::CipherAndAuth {
    cipher: c"cbc(aes)",
    cipher_key: b"0123456789abcdef",
    auth: c"hmac(sha256)",
    auth_key: b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef",
    icv_bits: 128,
};

/// From 192.0.2.1 to 198.51.100.2 in transport mode, SPI 0x01020304, [`GCM`].
pub const IPV4: Parameters<'static> = Parameters {
    direction: Direction::Out,
    family: Family::V4,
    tunnel: false,
    source: [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    destination: [198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    spi: 0x0102_0304,
    reqid: 77,
    algorithm: GCM,
    udp_ports: None,
    esn: None,
    replay_window: 0,
};

/// Inbound, from 2001:db8::1 to 2001:db8::2 in tunnel mode, with ESN and a window of 64 packets.
pub const IPV6: Parameters<'static> = Parameters {
    direction: Direction::In,
    family: Family::V6,
    tunnel: true,
    source: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    esn: Some(5),
    replay_window: 64,
    ..IPV4
};
