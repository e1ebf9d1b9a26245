// SPDX-License-Identifier: GPL-2.0

//! Tests of which policies are taken, and of what is said of the others.

use super::{
    check,
    Action, //
};
use espnic_esp::selector::PortMask;
use kernel::prelude::*;
use kernel_net::net::{
    ip::Family,
    xfrm::{
        self,
        policy::fixture::{
            PolicyChange,
            PolicyParameters,
            TestPolicy, //
        },
        state::Mode,
        Direction,
        PolicyAction,
        PolicyDirection,
        Template, //
    }, //
};

/// The index of the interface that the policies are offloaded to.
const INTERFACE: i32 = 5;

const fn v4(last: u8) -> [u8; 16] {
    [192, 0, 2, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

const TUNNEL: Template = Template {
    reqid: 7,
    mode: Mode::Tunnel,
    protocol: 50,
    family: Some(Family::V4),
    src: v4(1),
    dst: v4(2),
    spi: 0,
    optional: false,
    any_algorithm: true,
};

/// UDP from port 4500 to a network.
const SELECTOR: xfrm::Selector = xfrm::Selector {
    family: Some(Family::V4),
    src: v4(1),
    src_len: 32,
    dst: v4(0),
    dst_len: 24,
    protocol: 17,
    src_port: xfrm::PortMask {
        port: 4500,
        mask: 0xffff,
    },
    dst_port: xfrm::PortMask { port: 0, mask: 0 },
    ifindex: 0,
    user: 0,
};

const OUT: PolicyParameters<'static> = PolicyParameters {
    direction: PolicyDirection::Out,
    priority: 42,
    selector: SELECTOR,
    action: PolicyAction::Allow,
    templates: &[TUNNEL],
};

fn refusal(parameters: &PolicyParameters<'_>) -> Result<Option<&'static CStr>> {
    let policy = TestPolicy::new(parameters)?;
    Ok(check(&policy, INTERFACE).err())
}

fn changed(change: PolicyChange) -> Result<Option<&'static CStr>> {
    let policy = TestPolicy::changed(&OUT, change)?;
    Ok(check(&policy, INTERFACE).err())
}

/// What is said of an outbound policy with one template.
fn with(template: Template) -> Result<Option<&'static CStr>> {
    refusal(&PolicyParameters {
        templates: &[template],
        ..OUT
    })
}

#[kunit_tests(espnic_ipsec_policy)]
mod cases {
    use super::*;

    #[test]
    fn all_of_a_policy_is_kept() -> Result {
        let policy = TestPolicy::new(&OUT)?;
        let checked = check(&policy, INTERFACE).map_err(|_| EINVAL)?;
        assert!(checked.direction == Direction::Out && checked.priority == 42);
        let selector = checked.selector;
        assert_eq!((selector.family, selector.protocol), (4, 17));
        assert_eq!((selector.src, selector.src_len), (v4(1), 32));
        assert_eq!((selector.dst, selector.dst_len), (v4(0), 24));
        let port = PortMask {
            port: 4500,
            mask: 0xffff,
        };
        assert_eq!(selector.src_port, port);
        assert_eq!(selector.dst_port, PortMask::default());
        let Action::Protect(template) = checked.action else {
            return Err(EINVAL);
        };
        let [src, dst] = template.tunnel.ok_or(EINVAL)?;
        assert_eq!((template.reqid, template.spi), (7, 0));
        assert_eq!((src.bytes, dst.bytes), (v4(1), v4(2)));
        Ok(())
    }

    #[test]
    fn holes_and_blocks() -> Result {
        for direction in [PolicyDirection::In, PolicyDirection::Out] {
            let plain = PolicyParameters {
                direction,
                templates: &[],
                ..OUT
            };
            let action = |action| -> Result<Action> {
                let policy = TestPolicy::new(&PolicyParameters { action, ..plain })?;
                Ok(check(&policy, INTERFACE).map_err(|_| EINVAL)?.action)
            };
            assert_eq!(action(PolicyAction::Allow)?, Action::Hole);
            assert_eq!(action(PolicyAction::Block)?, Action::Block);
        }
        Ok(())
    }

    #[test]
    fn forwarded_packets() -> Result {
        let fwd = PolicyParameters {
            direction: PolicyDirection::Fwd,
            ..OUT
        };
        let message =
            Some(c"espnic: policies of direction fwd stay with the stack, do not offload them");
        assert_eq!(refusal(&fwd)?, message);
        assert_eq!(changed(PolicyChange::NoDirection)?, message);
        Ok(())
    }

    #[test]
    fn kinds_of_policies() -> Result {
        let marks = Some(c"espnic: a policy with a mark or an interface id cannot be offloaded");
        assert_eq!(changed(PolicyChange::Mark)?, marks);
        assert_eq!(changed(PolicyChange::Interface(3))?, marks);
        assert_eq!(
            changed(PolicyChange::Sub)?,
            Some(c"espnic: sub-policies cannot be offloaded")
        );
        // `XFRM_POLICY_ICMP`.
        assert_eq!(
            changed(PolicyChange::Flags(2))?,
            Some(c"espnic: a policy for the packets that ICMP errors quote cannot be offloaded")
        );
        Ok(())
    }

    #[test]
    fn selectors() -> Result {
        let interface = Some(c"espnic: a selector with another interface cannot be offloaded");
        let user = Some(c"espnic: a selector with a user cannot be offloaded");
        for (ifindex, uid, message) in [
            (INTERFACE, 0, None),
            (INTERFACE + 1, 0, interface),
            (0, 1, user),
        ] {
            let selector = xfrm::Selector {
                ifindex,
                user: uid,
                ..SELECTOR
            };
            assert_eq!(refusal(&PolicyParameters { selector, ..OUT })?, message);
        }
        Ok(())
    }

    #[test]
    fn templates() -> Result {
        assert_eq!(with(TUNNEL)?, None);
        assert_eq!(
            with(Template {
                protocol: 51,
                ..TUNNEL
            })?,
            Some(c"espnic: only policies for ESP can be offloaded")
        );
        assert_eq!(
            with(Template {
                optional: true,
                ..TUNNEL
            })?,
            Some(c"espnic: a policy with an optional template cannot be offloaded")
        );
        assert_eq!(
            with(Template {
                any_algorithm: false,
                ..TUNNEL
            })?,
            Some(c"espnic: a policy that names algorithms cannot be offloaded")
        );
        assert_eq!(
            with(Template { reqid: 0, ..TUNNEL })?,
            Some(c"espnic: an outbound policy without a request id cannot be offloaded")
        );
        assert_eq!(
            with(Template {
                mode: Mode::Other,
                ..TUNNEL
            })?,
            Some(c"espnic: only policies for transport and tunnel mode can be offloaded")
        );
        assert_eq!(
            with(Template {
                src: [0; 16],
                ..TUNNEL
            })?,
            Some(c"espnic: an outbound tunnel needs both addresses in its policy")
        );
        assert_eq!(
            refusal(&PolicyParameters {
                templates: &[TUNNEL, TUNNEL],
                ..OUT
            })?,
            Some(c"espnic: a policy with more than one template cannot be offloaded")
        );
        Ok(())
    }
}
