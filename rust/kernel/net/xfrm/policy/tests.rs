// SPDX-License-Identifier: GPL-2.0

//! Tests of what is read from a policy.

use super::{
    fixture::{
        PolicyChange,
        PolicyParameters,
        TestPolicy,
        OUTBOUND,
        SUBNETS,
        TUNNEL, //
    },
    PolicyAction,
    PolicyDirection,
    Template, //
};
use crate::net::{
    ip::Family,
    xfrm::{
        selector::{
            PortMask,
            Selector, //
        },
        state::Mode, //
    }, //
};
use kernel::prelude::*;

#[kunit_tests(espnic_xfrm_policy)]
mod cases {
    use super::*;

    #[test]
    fn outbound_policy_with_a_tunnel() -> Result {
        let policy = TestPolicy::new(&OUTBOUND)?;
        assert_eq!(policy.direction(), Some(PolicyDirection::Out));
        assert_eq!((policy.priority(), policy.if_id()), (1000, 0));
        assert_eq!(policy.family(), Some(Family::V4));
        assert_eq!(policy.action(), PolicyAction::Allow);
        assert_eq!(policy.selector(), SUBNETS);
        assert!(policy.is_packet_offload() && policy.is_main_type());
        assert!(!policy.has_mark() && !policy.has_security_context());
        assert!(!policy.means_icmp_errors());
        let mut templates = policy.templates();
        assert_eq!(templates.next(), Some(TUNNEL));
        assert_eq!(templates.next(), None);
        Ok(())
    }

    #[test]
    fn directions() -> Result {
        for direction in [
            PolicyDirection::In,
            PolicyDirection::Out,
            PolicyDirection::Fwd,
        ] {
            let policy = TestPolicy::new(&PolicyParameters {
                direction,
                ..OUTBOUND
            })?;
            assert_eq!(policy.direction(), Some(direction));
        }
        let policy = TestPolicy::changed(&OUTBOUND, PolicyChange::NoDirection)?;
        assert_eq!(policy.direction(), None);
        Ok(())
    }

    #[test]
    fn bypass_for_ports_and_block() -> Result {
        let ike = Selector {
            protocol: 17,
            dst_port: PortMask {
                port: 500,
                mask: u16::MAX,
            },
            ifindex: 3,
            user: 1000,
            ..SUBNETS
        };
        let policy = TestPolicy::new(&PolicyParameters {
            selector: ike,
            templates: &[],
            ..OUTBOUND
        })?;
        assert_eq!(policy.selector(), ike);
        assert_eq!(policy.templates().count(), 0);
        let policy = TestPolicy::new(&PolicyParameters {
            action: PolicyAction::Block,
            templates: &[],
            ..OUTBOUND
        })?;
        assert_eq!(policy.action(), PolicyAction::Block);
        Ok(())
    }

    #[test]
    fn templates_from_the_inside_to_the_outside() -> Result {
        let inner = Template {
            mode: Mode::Transport,
            protocol: 108,
            family: Some(Family::V6),
            src: [0x20; 16],
            dst: [0x30; 16],
            spi: 0x0102_0304,
            reqid: 0,
            optional: true,
            any_algorithm: false,
        };
        let policy = TestPolicy::new(&PolicyParameters {
            templates: &[inner, TUNNEL],
            ..OUTBOUND
        })?;
        let mut templates = policy.templates();
        assert_eq!(templates.next(), Some(inner));
        assert_eq!(templates.next(), Some(TUNNEL));
        assert_eq!(templates.next(), None);
        let other = Template {
            mode: Mode::Other,
            ..TUNNEL
        };
        let policy = TestPolicy::new(&PolicyParameters {
            templates: &[other],
            ..OUTBOUND
        })?;
        assert_eq!(policy.templates().next(), Some(other));
        Ok(())
    }

    #[test]
    fn no_more_templates_than_there_is_room_for() -> Result {
        // XFRM_MAX_DEPTH is 6.
        let full = [TUNNEL; 6];
        let policy = TestPolicy::new(&PolicyParameters {
            templates: &full,
            ..OUTBOUND
        })?;
        assert_eq!(policy.templates().count(), 6);
        let policy = TestPolicy::changed(&OUTBOUND, PolicyChange::Templates(u8::MAX))?;
        assert_eq!(policy.templates().count(), 6);
        Ok(())
    }

    #[test]
    fn addresses_without_stale_bytes() -> Result {
        let policy = TestPolicy::new(&PolicyParameters {
            selector: Selector {
                src: [0xee; 16],
                ..SUBNETS
            },
            templates: &[Template {
                dst: [0xdd; 16],
                ..TUNNEL
            }],
            ..OUTBOUND
        })?;
        assert_eq!(policy.selector().src[3..5], [0xee, 0]);
        let template = policy.templates().next().ok_or(ENOENT)?;
        assert_eq!(template.dst[3..5], [0xdd, 0]);
        Ok(())
    }

    #[test]
    fn both_families_at_once() -> Result {
        // AF_UNSPEC is 0.
        let policy = TestPolicy::changed(
            &PolicyParameters {
                selector: Selector {
                    src: [0xee; 16],
                    ..SUBNETS
                },
                ..OUTBOUND
            },
            PolicyChange::Family(0),
        )?;
        assert_eq!((policy.family(), policy.selector().family), (None, None));
        assert_eq!(policy.selector().src, [0xee; 16]);
        Ok(())
    }

    #[test]
    fn what_is_asked_for_besides() -> Result {
        let changed = |change| TestPolicy::changed(&OUTBOUND, change);
        assert!(!changed(PolicyChange::Sub)?.is_main_type());
        assert!(changed(PolicyChange::Mark)?.has_mark());
        assert_eq!(changed(PolicyChange::Interface(9))?.if_id(), 9);
        // XFRM_POLICY_LOCALOK is 1, XFRM_POLICY_ICMP 2.
        assert!(!changed(PolicyChange::Flags(1))?.means_icmp_errors());
        assert!(changed(PolicyChange::Flags(2))?.means_icmp_errors());
        Ok(())
    }
}
