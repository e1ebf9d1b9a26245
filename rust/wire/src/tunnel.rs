// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The tunnel header in an SA object: [`SaBase::param_type`] and [`SaBase::param`].
//!
//! The standard has IPv4 addresses as little-endian numbers, 10.0.0.1 as the bytes 1, 0, 0, 10, and IPv6
//! addresses in network order. In a [`Tunnel`] all of them are in network order.

use crate::refusal::Refusal;
use crate::sa::{SaBase, PARAM_IPV4, PARAM_IPV6, PARAM_NONE};
use crate::U32;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Largest DSCP (RFC 2474).
const MAX_DSCP: u8 = 63;
/// Largest flow label (RFC 6437).
const MAX_FLOW_LABEL: u32 = 0xf_ffff;

layout! {
    /// Form of [`SaBase::param`] with [`PARAM_IPV4`].
    pub struct ParamV4 {
        /// Source address, as a number.
        pub src: U32,
        /// Destination address, as a number.
        pub dst: U32,
        /// DSCP, at most 63.
        pub dscp: u8,
        /// Don't fragment: 0 or 1.
        pub df: u8,
        /// Time to live, at least 1.
        pub ttl: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// Form of [`SaBase::param`] with [`PARAM_IPV6`].
    pub struct ParamV6 {
        /// Source address, network order.
        pub src: [u8; 16],
        /// Destination address, network order.
        pub dst: [u8; 16],
        /// Flow label, 20 bits.
        pub flow_label: U32,
        /// Hop limit, at least 1.
        pub hop_limit: u8,
        /// DSCP, at most 63.
        pub dscp: u8,
        /// Zero.
        pub reserved: [u8; 2],
    }
}

/// The outer header of a tunnel, as the driver gives it. Which of it is used depends on the options of
/// the SA: a DSCP or DF that is copied is not taken from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IPv4.
    V4 {
        /// Source address, network order.
        src: [u8; 4],
        /// Destination address, network order.
        dst: [u8; 4],
        /// DSCP, at most 63.
        dscp: u8,
        /// Don't fragment.
        df: bool,
        /// Time to live, at least 1.
        ttl: u8,
    },
    /// IPv6.
    V6 {
        /// Source address, network order.
        src: [u8; 16],
        /// Destination address, network order.
        dst: [u8; 16],
        /// Flow label, 20 bits.
        flow_label: u32,
        /// Hop limit, at least 1.
        hop_limit: u8,
        /// DSCP, at most 63.
        dscp: u8,
    },
}

impl Tunnel {
    /// The tunnel header of the object `base`; `None` if it has none. Reserved fields are ignored.
    ///
    /// # Errors
    ///
    /// [`Refusal::FIELD`] if the type is not known, or a field is out of its range: a DSCP above 63, a DF
    /// other than 0 and 1, a flow label of more than 20 bits, a TTL or hop limit of 0.
    pub fn of(base: &SaBase) -> Result<Option<Self>, Refusal> {
        match base.param_type {
            PARAM_NONE => Ok(None),
            PARAM_IPV4 => Self::ipv4(&base.param).map(Some),
            PARAM_IPV6 => Self::ipv6(&base.param).map(Some),
            _ => Err(Refusal::FIELD),
        }
    }

    fn ipv4(param: &[u8]) -> Result<Self, Refusal> {
        let (raw, _) = ParamV4::read_from_prefix(param).map_err(|_| Refusal::FIELD)?;
        Refusal::unless(raw.dscp <= MAX_DSCP && raw.df <= 1 && raw.ttl > 0)?;
        Ok(Self::V4 {
            src: raw.src.get().to_be_bytes(),
            dst: raw.dst.get().to_be_bytes(),
            dscp: raw.dscp,
            df: raw.df == 1,
            ttl: raw.ttl,
        })
    }

    fn ipv6(param: &[u8]) -> Result<Self, Refusal> {
        let (raw, _) = ParamV6::read_from_prefix(param).map_err(|_| Refusal::FIELD)?;
        let flow_label = raw.flow_label.get();
        Refusal::unless(raw.dscp <= MAX_DSCP && flow_label <= MAX_FLOW_LABEL && raw.hop_limit > 0)?;
        Ok(Self::V6 {
            src: raw.src,
            dst: raw.dst,
            flow_label,
            hop_limit: raw.hop_limit,
            dscp: raw.dscp,
        })
    }

    /// Writes it into the object `base`.
    pub fn put(&self, base: &mut SaBase) {
        base.param = [0; 40];
        match *self {
            Self::V4 {
                src,
                dst,
                dscp,
                df,
                ttl,
            } => {
                let raw = ParamV4 {
                    src: U32::new(u32::from_be_bytes(src)),
                    dst: U32::new(u32::from_be_bytes(dst)),
                    dscp,
                    df: df.into(),
                    ttl,
                    reserved: 0,
                };
                base.param_type = PARAM_IPV4;
                copy(&mut base.param, raw.as_bytes());
            }
            Self::V6 {
                src,
                dst,
                flow_label,
                hop_limit,
                dscp,
            } => {
                let raw = ParamV6 {
                    src,
                    dst,
                    flow_label: U32::new(flow_label),
                    hop_limit,
                    dscp,
                    reserved: [0; 2],
                };
                base.param_type = PARAM_IPV6;
                copy(&mut base.param, raw.as_bytes());
            }
        }
    }
}

fn copy(to: &mut [u8; 40], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<ParamV4>() == 12);
    assert!(offset_of!(ParamV4, dst) == 4);
    assert!(offset_of!(ParamV4, dscp) == 8);
    assert!(offset_of!(ParamV4, df) == 9);
    assert!(offset_of!(ParamV4, ttl) == 10);
    assert!(size_of::<ParamV6>() == 40);
    assert!(offset_of!(ParamV6, dst) == 16);
    assert!(offset_of!(ParamV6, flow_label) == 32);
    assert!(offset_of!(ParamV6, hop_limit) == 36);
    assert!(offset_of!(ParamV6, dscp) == 37);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    const V4: Tunnel = Tunnel::V4 {
        src: [10, 0, 0, 1],
        dst: [192, 0, 2, 9],
        dscp: 46,
        df: true,
        ttl: 64,
    };
    const V6: Tunnel = Tunnel::V6 {
        src: [0x11; 16],
        dst: [0x22; 16],
        flow_label: 0xa_bcde,
        hop_limit: 255,
        dscp: 63,
    };

    fn object(tunnel: &Tunnel) -> SaBase {
        let mut base = SaBase::new_zeroed();
        base.param = [0xee; 40];
        tunnel.put(&mut base);
        base
    }

    #[test]
    fn what_is_written_reads_back() {
        for tunnel in [V4, V6] {
            assert_eq!(Tunnel::of(&object(&tunnel)), Ok(Some(tunnel)));
        }
        assert_eq!(Tunnel::of(&SaBase::new_zeroed()), Ok(None));
    }

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let base = object(&V4);
        assert_eq!(base.param_type, 4);
        assert_eq!(base.param[..12], [1, 0, 0, 10, 9, 2, 0, 192, 46, 1, 64, 0]);
        assert_eq!(base.param[12..], [0; 28]);
        let base = object(&V6);
        assert_eq!(
            (base.param_type, base.param[15], base.param[16]),
            (6, 0x11, 0x22)
        );
        assert_eq!(base.param[32..], [0xde, 0xbc, 0x0a, 0, 255, 63, 0, 0]);
    }

    #[test]
    fn fields_out_of_their_range_are_refused() {
        for (tunnel, at, good, bad) in [
            (V4, 8, 63, 64),
            (V4, 9, 0, 2),
            (V4, 10, 1, 0),
            (V6, 34, 0x0f, 0x10),
            (V6, 35, 0, 1),
            (V6, 36, 1, 0),
            (V6, 37, 0, 64),
        ] {
            let mut base = object(&tunnel);
            base.param[at] = good;
            assert!(Tunnel::of(&base).is_ok(), "{at} {good}");
            base.param[at] = bad;
            assert_eq!(Tunnel::of(&base), Err(Refusal::FIELD), "{at} {bad}");
        }
        let mut base = object(&V4);
        for param_type in [1, 2, 3, 5, 7, 255] {
            base.param_type = param_type;
            assert_eq!(Tunnel::of(&base), Err(Refusal::FIELD));
        }
    }

    #[test]
    fn reserved_fields_are_ignored() {
        let mut base = object(&V4);
        base.param[11..].fill(0xff);
        assert_eq!(Tunnel::of(&base), Ok(Some(V4)));
        let mut base = object(&V6);
        base.param[38..].fill(0xff);
        assert_eq!(Tunnel::of(&base), Ok(Some(V6)));
    }
}
