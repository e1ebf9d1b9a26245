// SPDX-License-Identifier: GPL-2.0

//! Tests of which states packet offload takes, and of what is said of the others.

use super::checked;
use crate::ipsec::capability::{
    tests::packet_nic,
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
        Parameters, //
    },
    Direction, //
};

/// All options of the standard.
const OPTIONS: u32 = 0x7f;

/// AES-GCM of all lengths in one mode, with ESN and UDP encapsulation.
fn gcm(mode: u8) -> XSaEntry {
    XSaEntry {
        mode,
        kind: 3,
        flags: U16::new(3),
        algo: U16::new(1),
        mac: U16::new(0),
        key_lens: U32::new(0xa8),
        icv_lens: U32::new(0x8880),
    }
}

/// A NIC that has packet offload for AES-GCM.
pub(in crate::ipsec::packet) fn nic() -> Result<Capabilities> {
    packet_nic(&[gcm(1), gcm(2)], OPTIONS)
}

fn refusal(x: &TestState) -> Result<Option<&'static CStr>> {
    Ok(checked(x, &nic()?, false).err())
}

/// What is said of a change to a state.
fn changed(parameters: &Parameters<'_>, change: Change) -> Result<Option<&'static CStr>> {
    refusal(&TestState::changed(parameters, change)?)
}

/// What is said of a state in UDP with these ports.
fn in_udp(direction: Direction, ports: (u16, u16)) -> Result<Option<&'static CStr>> {
    refusal(&TestState::new(&Parameters {
        direction,
        udp_ports: Some(ports),
        ..IPV4
    })?)
}

#[kunit_tests(espnic_ipsec_packet_check)]
mod cases {
    use super::*;

    #[test]
    fn both_modes_and_directions() -> Result {
        assert_eq!(refusal(&TestState::new(&IPV4)?)?, None);
        assert_eq!(refusal(&TestState::new(&IPV6)?)?, None);
        let (x, nic) = (TestState::new(&IPV6)?, nic()?);
        let checked = checked(&x, &nic, false).map_err(|_| EINVAL)?;
        assert!(checked.window == 64 && checked.tunnel.is_none());
        assert!(checked.direction == Direction::In);
        // Behind what has been seen there may be anything, so the window begins anew.
        let seen = x.highest_seen();
        let expected = if seen == 0 { 0 } else { seen + 64 };
        assert_eq!(checked.number, expected);
        Ok(())
    }

    #[test]
    fn what_has_been_sent_is_not_sent_again() -> Result {
        let (x, nic) = (TestState::changed(&IPV4, Change::Number(9))?, nic()?);
        let checked = checked(&x, &nic, false).map_err(|_| EINVAL)?;
        assert_eq!(checked.number, 9);
        assert_eq!(
            changed(&IPV4, Change::Number(u32::MAX.into()))?,
            Some(c"espnic: the sequence numbers are nearly used up, take a new key")
        );
        Ok(())
    }

    #[test]
    fn below_a_bond() -> Result {
        let x = TestState::new(&IPV4)?;
        assert_eq!(
            checked(&x, &nic()?, true).err(),
            Some(c"espnic: packet offload is not supported under a bond")
        );
        Ok(())
    }

    #[test]
    fn what_the_nic_lacks() -> Result {
        let x = TestState::new(&Parameters {
            tunnel: true,
            ..IPV4
        })?;
        let message = Some(c"espnic: the NIC does not support this combination in packet offload");
        // No options at all, so no ECN.
        let poor = packet_nic(&[gcm(1), gcm(2)], 0)?;
        assert_eq!(checked(&x, &poor, false).err(), message);
        assert_eq!(changed(&IPV6, Change::Window(65))?, message);
        Ok(())
    }

    #[test]
    fn marks_and_interfaces() -> Result {
        let message =
            Some(c"espnic: packet offload with a mark or an interface id is not supported");
        assert_eq!(changed(&IPV4, Change::Mark)?, message);
        assert_eq!(changed(&IPV4, Change::Interface(1))?, message);
        assert_eq!(
            changed(&IPV4, Change::Cpu(0))?,
            Some(c"espnic: packet offload of an SA for one CPU is not supported")
        );
        assert_eq!(
            changed(&IPV4, Change::OutputMark(1, 1))?,
            Some(c"espnic: packet offload with an output mark is not supported outbound")
        );
        assert_eq!(changed(&IPV6, Change::OutputMark(1, 1))?, None);
        Ok(())
    }

    #[test]
    fn flags() -> Result {
        // XFRM_STATE_WILDRECV, XFRM_STATE_ICMP.
        assert_eq!(
            changed(&IPV4, Change::Flags(8, 0))?,
            Some(c"espnic: packet offload for any destination is not supported")
        );
        assert_eq!(
            changed(&IPV4, Change::Flags(16, 0))?,
            Some(c"espnic: packet offload of an SA for ICMP errors is not supported")
        );
        Ok(())
    }

    #[test]
    fn limits() -> Result {
        const NONE: u64 = u64::MAX;
        assert_eq!(changed(&IPV4, Change::Limits([1, 2, NONE, 5]))?, None);
        // A soft limit that the hard one comes before, or with, does not count.
        let x = TestState::changed(&IPV4, Change::Limits([2, 2, 3, 2]))?;
        let nic = nic()?;
        let limits = checked(&x, &nic, false).map_err(|_| EINVAL)?.limits;
        assert_eq!((limits.soft_packets, limits.soft_bytes), (None, None));
        assert!(limits.hard_packets.is_some() && limits.hard_bytes.is_some());
        assert_eq!(
            changed(&IPV4, Change::Limits([NONE, 0, NONE, NONE]))?,
            Some(c"espnic: a limit of nothing is not supported")
        );
        Ok(())
    }

    #[test]
    fn esp_in_udp() -> Result {
        assert_eq!(in_udp(Direction::Out, (4500, 9))?, None);
        assert_eq!(in_udp(Direction::In, (9, 4500))?, None);
        assert_eq!(
            in_udp(Direction::In, (4500, 9))?,
            Some(c"espnic: packet offload takes UDP encapsulation to port 4500 only")
        );
        assert_eq!(
            in_udp(Direction::Out, (0, 4500))?,
            Some(c"espnic: UDP encapsulation needs both ports")
        );
        Ok(())
    }
}
