// SPDX-License-Identifier: GPL-2.0

//! Tests of what is read from a state.

use super::{
    Family,
    Flags,
    Mode,
    State, //
};
use crate::net::xfrm::{
    create::{
        fixture::{
            Change,
            TestState,
            CBC,
            IPV4,
            IPV6, //
        },
        Parameters, //
    },
    Direction, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// [`IPV4`] with ESN.
const ESN: Parameters<'static> = Parameters {
    esn: Some(0),
    ..IPV4
};

fn changed(parameters: &Parameters<'_>, change: Change) -> Result<TestState> {
    TestState::changed(parameters, change)
}

#[kunit_tests(espnic_xfrm_state)]
mod cases {
    use super::*;

    #[test]
    fn references_are_counted() -> Result {
        let x = TestState::new(&IPV4)?;
        assert_eq!(x.references(), 1);
        let first: ARef<State> = (&*x).into();
        let second = first.clone();
        assert_eq!(x.references(), 3);
        drop(first);
        assert_eq!(x.references(), 2);
        drop(second);
        assert_eq!(x.references(), 1);
        Ok(())
    }

    #[test]
    fn identity_of_an_outbound_state() -> Result {
        let x = TestState::new(&IPV4)?;
        assert!(x.direction() == Some(Direction::Out));
        assert!(x.family() == Some(Family::V4) && x.mode() == Mode::Transport && !x.is_tunnel());
        assert_eq!((x.protocol(), x.spi(), x.reqid()), (50, 0x0102_0304, 77));
        assert_eq!(
            x.source(),
            [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(x.destination()[..4], [198, 51, 100, 2]);
        assert!(!x.is_esn() && !x.may_wrap() && !x.is_packet_offload() && !x.is_acquire());
        assert!(!x.has_mark() && !x.has_compression() && !x.has_tfc_padding());
        assert!(x.encapsulation().is_none());
        Ok(())
    }

    #[test]
    fn identity_of_an_inbound_state() -> Result {
        let x = TestState::new(&IPV6)?;
        assert!(x.direction() == Some(Direction::In));
        assert!(x.family() == Some(Family::V6) && x.mode() == Mode::Tunnel && x.is_tunnel());
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(x.destination(), address);
        assert!(x.is_esn());
        Ok(())
    }

    #[test]
    fn ipv4_address_without_stale_bytes() -> Result {
        let x = TestState::new(&Parameters {
            source: [0xee; 16],
            destination: [0xdd; 16],
            ..IPV4
        })?;
        assert_eq!(
            x.source(),
            [0xee, 0xee, 0xee, 0xee, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(x.destination()[3..5], [0xdd, 0]);
        Ok(())
    }

    #[test]
    fn other_modes_and_families() -> Result {
        // XFRM_MODE_BEET is 4, XFRM_MODE_IPTFS 5; AF_KEY is 15.
        assert!(changed(&IPV4, Change::Mode(4))?.mode() == Mode::Other);
        assert!(changed(&IPV4, Change::Mode(5))?.mode() == Mode::Other);
        assert!(changed(&IPV4, Change::Family(15))?.family().is_none());
        assert_eq!(changed(&IPV4, Change::Protocol(51))?.protocol(), 51);
        Ok(())
    }

    #[test]
    fn what_is_asked_for_besides() -> Result {
        assert!(changed(&IPV4, Change::Packet)?.is_packet_offload());
        assert!(changed(&IPV4, Change::Acquire)?.is_acquire());
        assert!(changed(&IPV4, Change::MayWrap)?.may_wrap());
        assert!(changed(&IPV4, Change::Compression)?.has_compression());
        assert!(changed(&IPV4, Change::TfcPadding)?.has_tfc_padding());
        assert!(changed(&IPV4, Change::Mark)?.has_mark());
        Ok(())
    }

    #[test]
    fn flags_one_by_one() -> Result {
        let flags = |flags, extra| -> Result<Flags> {
            Ok(changed(&IPV4, Change::Flags(flags, extra))?.flags())
        };
        let none = Flags::default();
        assert_eq!(flags(0, 0)?, none);
        // XFRM_STATE_NOECN is 1, DECAP_DSCP 2, NOPMTUDISC 4, WILDRECV 8, ICMP 16, AF_UNSPEC 32, ESN 128;
        // XFRM_SA_XFLAG_DONT_ENCAP_DSCP is 1, OSEQ_MAY_WRAP 2.
        let cases = [
            (
                1,
                0,
                Flags {
                    no_ecn: true,
                    ..none
                },
            ),
            (
                2,
                0,
                Flags {
                    decap_dscp: true,
                    ..none
                },
            ),
            (
                4,
                0,
                Flags {
                    no_pmtu_discovery: true,
                    ..none
                },
            ),
            (
                8,
                0,
                Flags {
                    wild_receive: true,
                    ..none
                },
            ),
            (16, 0, Flags { icmp: true, ..none }),
            (
                32,
                0,
                Flags {
                    any_family: true,
                    ..none
                },
            ),
            (128, 2, none),
            (
                0,
                1,
                Flags {
                    dont_encap_dscp: true,
                    ..none
                },
            ),
        ];
        for (value, extra, expected) in cases {
            assert_eq!(flags(value, extra)?, expected);
        }
        assert!(TestState::new(&IPV6)?.flags().any_family);
        Ok(())
    }

    #[test]
    fn marks_interfaces_and_cpus() -> Result {
        let x = TestState::new(&IPV4)?;
        assert_eq!((x.output_mark(), x.if_id(), x.cpu()), ((0, 0), 0, None));
        let mark = changed(&IPV4, Change::OutputMark(7, 0xff))?.output_mark();
        assert_eq!(mark, (7, 0xff));
        assert_eq!(changed(&IPV4, Change::Interface(9))?.if_id(), 9);
        assert_eq!(changed(&IPV4, Change::Cpu(0))?.cpu(), Some(0));
        Ok(())
    }

    #[test]
    fn packets_inside() -> Result {
        let all = TestState::new(&IPV6)?.selector();
        assert_eq!((all.family, all.protocol, all.src_len), (None, 0, 0));
        let selector = changed(
            &IPV4,
            Change::Selector {
                protocol: 17,
                src_port: 500,
            },
        )?
        .selector();
        assert_eq!((selector.family, selector.protocol), (Some(Family::V4), 17));
        assert_eq!(
            (selector.src_port.port, selector.src_port.mask),
            (500, 0xffff)
        );
        assert_eq!((selector.dst_port.port, selector.dst_port.mask), (0, 0));
        Ok(())
    }

    #[test]
    fn aead_and_its_key() -> Result {
        let x = TestState::new(&IPV4)?;
        let aead = x.aead().ok_or(ENOENT)?;
        assert_eq!(aead.name, b"rfc4106(gcm(aes))");
        assert_eq!(aead.key, b"0123456789abcdefSALT");
        assert_eq!((aead.icv_bits, x.icv_bits()), (128, Some(128)));
        assert_eq!(x.iv_generator(), b"seqiv");
        assert!(x.auth().is_none() && x.cipher().is_none());
        Ok(())
    }

    #[test]
    fn cipher_and_authentication() -> Result {
        let x = TestState::new(&Parameters {
            algorithm: CBC,
            ..IPV4
        })?;
        let (cipher, auth) = (x.cipher().ok_or(ENOENT)?, x.auth().ok_or(ENOENT)?);
        assert_eq!(cipher.name, b"cbc(aes)");
        assert_eq!(cipher.key, b"0123456789abcdef");
        assert_eq!(auth.name, b"hmac(sha256)");
        assert_eq!(auth.key, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef");
        assert_eq!((auth.icv_bits, x.icv_bits()), (128, Some(128)));
        assert_eq!(x.iv_generator(), b"echainiv");
        assert!(x.aead().is_none());
        Ok(())
    }

    #[test]
    fn udp_and_tcp_around_esp() -> Result {
        let x = TestState::new(&Parameters {
            udp_ports: Some((4500, 10_001)),
            ..IPV4
        })?;
        let encap = x.encapsulation().ok_or(ENOENT)?;
        assert!(encap.is_udp);
        assert_eq!((encap.source_port, encap.destination_port), (4500, 10_001));
        let tcp = changed(&IPV4, Change::TcpEncapsulation)?;
        assert!(tcp.encapsulation().is_some_and(|encap| !encap.is_udp));
        Ok(())
    }

    #[test]
    fn replay_windows() -> Result {
        let window = |replay_window, esn| -> Result<u32> {
            let parameters = Parameters {
                direction: Direction::In,
                replay_window,
                esn,
                ..IPV4
            };
            Ok(TestState::new(&parameters)?.replay_window())
        };
        // Up to 32 packets have room in the state itself; the stack wants one packet for ESN.
        assert_eq!((window(0, None)?, window(32, None)?), (0, 32));
        assert_eq!((window(33, None)?, window(4096, None)?), (33, 4096));
        assert_eq!((window(0, Some(0))?, window(128, Some(0))?), (1, 128));
        assert_eq!(window(4097, None).err(), Some(EINVAL));
        assert_eq!(TestState::new(&ESN)?.replay_window(), 0);
        Ok(())
    }

    #[test]
    fn sequence_numbers() -> Result {
        assert_eq!(TestState::new(&IPV6)?.highest_seen(), 5 << 32);
        let number = Change::Number(0x0000_0007_8000_0001);
        assert_eq!(
            changed(&IPV6, number)?.highest_seen(),
            0x0000_0007_8000_0001
        );
        assert_eq!(changed(&ESN, number)?.last_sent(), 0x0000_0007_8000_0001);
        // Without ESN there is the low half only, and each direction has its own number.
        let x = changed(&IPV4, number)?;
        assert_eq!((x.last_sent(), x.highest_seen()), (0x8000_0001, 0));
        let inbound = Parameters {
            direction: Direction::In,
            ..IPV4
        };
        let x = changed(&inbound, number)?;
        assert_eq!((x.last_sent(), x.highest_seen()), (0, 0x8000_0001));
        assert_eq!(x.highest_seen_locked(), 0x8000_0001);
        Ok(())
    }

    #[test]
    fn last_high_half_of_numbers() -> Result {
        let last = |number| -> Result<bool> {
            Ok(changed(&ESN, Change::Number(number))?.has_last_high_half())
        };
        assert!(!last(0)? && !last(0xffff_fffe_fffe_ffff)?);
        assert!(last(0xffff_fffe_ffff_0000)? && last(0xffff_ffff_0000_0000)? && last(u64::MAX)?);
        // Without ESN the stack itself ends the state.
        assert!(!changed(&IPV4, Change::Number(u64::MAX))?.has_last_high_half());
        Ok(())
    }

    #[test]
    fn counted_packets_and_bytes() -> Result {
        assert_eq!(TestState::new(&IPV4)?.usage(), (0, 0));
        assert_eq!(changed(&IPV4, Change::Usage(3, 4200))?.usage(), (3, 4200));
        Ok(())
    }

    #[test]
    fn unknown_algorithms() {
        use crate::net::xfrm::create::Algorithm;
        let algorithm = Algorithm::Aead {
            name: c"rfc0000(rot13)",
            key: b"0123456789abcdefSALT",
            icv_bits: 128,
        };
        let error = TestState::new(&Parameters { algorithm, ..IPV4 }).err();
        // EOPNOTSUPP of include/uapi/asm-generic/errno.h.
        assert_eq!(error.map(|error| error.to_errno()), Some(-95));
    }
}
