// SPDX-License-Identifier: GPL-2.0

//! Tests of which states are taken, and of what is said of the others.

use super::supported;
use crate::ipsec::capability::{
    tests::nic,
    Capabilities, //
};
use espnic_wire::{
    cap::XSaEntry,
    U16,
    U32, //
};
use kernel::prelude::*;
use kernel_net::net::xfrm::{
    create::{
        fixture::{
            Change,
            TestState,
            IPV4,
            IPV6, //
        },
        Algorithm,
        Parameters, //
    },
    Direction, //
};

/// A NIC that does AES-GCM of all lengths in both modes, with ESN and UDP encapsulation.
fn gcm() -> Result<Capabilities> {
    let entry = |mode| XSaEntry {
        mode,
        kind: 3,
        flags: U16::new(3),
        algo: U16::new(1),
        mac: U16::new(0),
        key_lens: U32::new(0xa8),
        icv_lens: U32::new(0x8880),
    };
    nic(&[entry(1), entry(2)])
}

fn refusal(x: &TestState) -> Result<Option<&'static CStr>> {
    Ok(supported(x, &gcm()?, false).err())
}

/// What is said of a change to a state.
fn changed(parameters: &Parameters<'_>, change: Change) -> Result<Option<&'static CStr>> {
    refusal(&TestState::changed(parameters, change)?)
}

#[kunit_tests(espnic_ipsec_check)]
mod cases {
    use super::*;

    #[test]
    fn transport_mode() -> Result {
        let (x, nic) = (TestState::new(&IPV4)?, gcm()?);
        let supported = supported(&x, &nic, false).map_err(|_| EINVAL)?;
        assert_eq!(
            (supported.mode, supported.family, supported.options),
            (2, 4, 0)
        );
        assert!(supported.encapsulation.is_none());
        assert_eq!(supported.algorithm.key, b"0123456789abcdef");
        Ok(())
    }

    #[test]
    fn tunnel_mode_with_esn() -> Result {
        let (x, nic) = (TestState::new(&IPV6)?, gcm()?);
        let supported = supported(&x, &nic, false).map_err(|_| EINVAL)?;
        assert_eq!(
            (supported.mode, supported.family, supported.options),
            (1, 6, 1)
        );
        Ok(())
    }

    #[test]
    fn packet_offload() -> Result {
        let message = Some(c"espnic: packet offload is not supported, use crypto offload");
        assert_eq!(changed(&IPV4, Change::Packet)?, message);
        assert_eq!(changed(&IPV4, Change::Acquire)?, message);
        Ok(())
    }

    #[test]
    fn other_protocols() -> Result {
        // AH and IPComp.
        for protocol in [51, 108] {
            assert_eq!(
                changed(&IPV4, Change::Protocol(protocol))?,
                Some(c"espnic: only ESP can be offloaded")
            );
        }
        Ok(())
    }

    #[test]
    fn numbers_that_wrap() -> Result {
        assert_eq!(
            changed(&IPV4, Change::MayWrap)?,
            Some(c"espnic: sequence numbers that wrap are not supported")
        );
        Ok(())
    }

    #[test]
    fn compression_and_padding() -> Result {
        assert_eq!(
            changed(&IPV4, Change::Compression)?,
            Some(c"espnic: compression is not supported")
        );
        assert_eq!(
            changed(&IPV4, Change::TfcPadding)?,
            Some(c"espnic: traffic flow confidentiality padding is not supported")
        );
        Ok(())
    }

    #[test]
    fn marks_of_inbound_states_only() -> Result {
        assert_eq!(
            changed(&IPV6, Change::Mark)?,
            Some(c"espnic: a mark on an inbound state is not supported")
        );
        assert_eq!(changed(&IPV4, Change::Mark)?, None);
        Ok(())
    }

    #[test]
    fn long_replay_windows() -> Result {
        assert_eq!(changed(&IPV6, Change::Window(4096))?, None);
        assert_eq!(
            changed(&IPV6, Change::Window(4097))?,
            Some(c"espnic: replay windows of more than 4096 packets are not supported")
        );
        Ok(())
    }

    #[test]
    fn other_modes() -> Result {
        // Route optimisation, BEET, IP-TFS.
        for mode in [2, 3, 4, 5] {
            assert_eq!(
                changed(&IPV4, Change::Mode(mode))?,
                Some(c"espnic: only transport and tunnel mode can be offloaded")
            );
        }
        Ok(())
    }

    #[test]
    fn other_families() -> Result {
        assert_eq!(
            changed(&IPV4, Change::Family(0))?,
            Some(c"espnic: only IPv4 and IPv6 can be offloaded")
        );
        Ok(())
    }

    #[test]
    fn esp_in_tcp() -> Result {
        assert_eq!(
            changed(&IPV4, Change::TcpEncapsulation)?,
            Some(c"espnic: only UDP encapsulation can be offloaded")
        );
        Ok(())
    }

    #[test]
    fn esp_in_udp_of_other_devices() -> Result {
        let x = TestState::new(&Parameters {
            udp_ports: Some((4500, 4500)),
            ..IPV4
        })?;
        assert_eq!(
            supported(&x, &gcm()?, true).err(),
            Some(c"espnic: ESP in UDP is not supported under a bond")
        );
        let nic = gcm()?;
        let supported = supported(&x, &nic, false).map_err(|_| EINVAL)?;
        assert!(supported.encapsulation.is_some() && supported.options == 2);
        Ok(())
    }

    #[test]
    fn what_the_nic_lacks() -> Result {
        let x = TestState::new(&IPV4)?;
        assert_eq!(
            supported(&x, &nic(&[])?, false).err(),
            Some(c"espnic: the NIC does not support this mode and algorithm")
        );
        Ok(())
    }

    #[test]
    fn unknown_lengths() -> Result {
        let x = TestState::new(&Parameters {
            direction: Direction::In,
            algorithm: Algorithm::Aead {
                name: c"rfc4106(gcm(aes))",
                key: b"0123456789abcdef",
                icv_bits: 128,
            },
            ..IPV4
        })?;
        assert_eq!(
            refusal(&x)?,
            Some(c"espnic: this key length cannot be offloaded")
        );
        Ok(())
    }
}
