// SPDX-License-Identifier: GPL-2.0

//! Tests of which received packets may go to the stack.

use super::{
    super::{
        database::Database,
        known::Known,
        policy::{
            fixture,
            Action, //
        },
        sa::{
            Parameters,
            Sa, //
        },
        sas::Sas,
        spd::{
            Policies,
            Spd, //
        }, //
    },
    admits,
    is_processed,
    verdict::{
        admit,
        allowed,
        Form,
        Refusal, //
    },
    Counters,
    Last,
    Run,
    View, //
};
use espnic_esp::{
    ip::Address,
    selector::Selector, //
};
use espnic_wire::hdr::{
    self,
    NetHdr48, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};
use kernel_net::net::{
    ip::Family,
    xfrm::{
        Direction,
        Handle,
        PolicyHandle, //
    }, //
};

const SPI: u32 = 0x0102_0304;

/// From 10.0.0.2 to 10.0.0.1 with this protocol and, behind the header, these bytes.
fn frame(protocol: u8, flags: u8, payload: [u8; 12]) -> [u8; 46] {
    let mut frame = [0; 46];
    let head = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let ip = [
        0x45, 0, 0, 32, 0, 0, flags, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
    ];
    let parts = [head.as_slice(), &ip, &payload];
    let bytes = parts.into_iter().flatten().copied();
    frame
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    frame
}

const ESP: [u8; 12] = [1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0];
/// To port 4500, and ESP behind.
const UDP_ESP: [u8; 12] = [0x30, 0x39, 0x11, 0x94, 0, 12, 0, 0, 1, 2, 3, 4];

fn address(last: u8) -> Address {
    Address {
        family: 4,
        bytes: [10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

fn sa(in_udp: bool, selector: Selector) -> Result<Arc<Sa>> {
    let parameters = Parameters {
        handle: Handle {
            id: 0,
            direction: Direction::In,
            generation: 1,
        },
        number: 0,
        spi: SPI,
        reqid: 7,
        tunnel: false,
        src: address(2),
        dst: address(1),
        in_udp,
        selector,
        first: 0,
        seen: 0,
    };
    Arc::pin_init(Sa::new(parameters), GFP_KERNEL)
}

/// A snapshot with an inbound policy for UDP with this action, and one SA.
fn spd(action: Option<Action>, sa: &Arc<Sa>) -> Result<Spd> {
    spd_for(17, action, sa)
}

/// The same with a policy for another protocol.
fn spd_for(protocol: u8, action: Option<Action>, sa: &Arc<Sa>) -> Result<Spd> {
    let mut policies = KVVec::new();
    if let Some(action) = action {
        let selector = Selector {
            family: 4,
            protocol,
            ..Selector::default()
        };
        policies.push(fixture::policy(selector, action)?, GFP_KERNEL)?;
    }
    Ok(Spd {
        inbound: Arc::new(Policies::new(&policies)?, GFP_KERNEL)?,
        sas: Arc::new(Sas::empty()?.with(&[sa.clone()], 1)?, GFP_KERNEL)?,
        ..Spd::empty()?
    })
}

fn is_allowed(spd: &Spd, sa: &Sa, frame: &[u8]) -> bool {
    allowed(spd, sa, frame) == Some(Form::Clear)
}

#[kunit_tests(espnic_ipsec_packet_rx)]
mod cases {
    use super::*;

    #[test]
    fn which_packets_the_nic_has_decrypted() {
        let mut header = NetHdr48::default();
        assert!(!is_processed(&header));
        header.net.flags = 16 | 128;
        assert!(is_processed(&header));
        header.sec.sec_op = 1;
        assert!(!is_processed(&header));
    }

    #[test]
    fn clear_packets_of_a_protected_flow() -> Result {
        let sa = sa(false, Selector::default())?;
        let protect = Action::Protect(fixture::transport(7));
        let clear = frame(17, 0, [0; 12]);
        let cases = [
            (None, Ok(())),
            (Some(Action::Hole), Ok(())),
            (Some(Action::Block), Err(Refusal::Blocked)),
            (Some(protect), Err(Refusal::Clear)),
        ];
        for (action, passes) in cases {
            assert_eq!(admit(&spd(action, &sa)?, &clear), passes);
        }
        // Not of the flow, and no IP.
        let spd = spd(Some(protect), &sa)?;
        assert_eq!(admit(&spd, &frame(6, 0, [0; 12])), Ok(()));
        assert_eq!(admit(&spd, &[0; 60]), Ok(()));
        Ok(())
    }

    #[test]
    fn frames_that_may_hide_a_packet() -> Result {
        let sa = sa(false, Selector::default())?;
        let with = |kind: &[u8]| {
            let mut frame = [0; 60];
            frame[12..12 + kind.len()].copy_from_slice(kind);
            frame
        };
        let doubtful = [
            // Three tags, of both kinds; an IPv4 header that is too short, or of IPv6, and the other way round.
            with(&[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0, 0x45]),
            with(&[
                0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x88, 0xa8, 0, 3, 8, 0, 0x45,
            ]),
            with(&[8, 0, 0x44]),
            with(&[8, 0, 0x60]),
            with(&[0x86, 0xdd, 0x45]),
        ];
        // ARP, PPPoE, MPLS, and a length in place of a type: IP behind these is for other devices, or for nobody.
        let others = [[8, 6], [0x88, 0x64], [0x88, 0x47], [0, 46]].map(|kind| with(&kind));
        let protect = Action::Protect(fixture::transport(7));
        let none = Spd::empty()?;
        for spd in [&spd(Some(protect), &sa)?, &spd(None, &sa)?] {
            for frame in &doubtful {
                assert_eq!(admit(spd, frame), Err(Refusal::Clear));
                assert_eq!(admit(&none, frame), Ok(()));
                // Cut off in the headers.
                assert_eq!(admit(spd, &frame[..15]), Err(Refusal::Clear));
            }
            for frame in &others {
                assert_eq!(admit(spd, frame), Ok(()));
            }
        }
        Ok(())
    }

    #[test]
    fn numbers_that_were_seen() -> Result {
        let sa = sa(false, Selector::default())?;
        let mut last = Last::new(sa.handle, sa.clone());
        // In order, late, ahead, twice, and behind the end of 32 bits.
        let numbers = [1, 3, 2, 0x7000_0000, 3, 0xe000_0000, 0xffff_ffff, 5, 4, 5];
        let seen = numbers.map(|number| {
            assert!(last.goes_on(number));
            sa.seen()
        });
        let wrapped = (1 << 32) + 5;
        let ahead = [0x7000_0000, 0x7000_0000, 0xe000_0000, 0xffff_ffff];
        assert_eq!(seen[..3], [1, 3, 3]);
        assert_eq!(seen[3..7], ahead);
        assert_eq!(seen[7..], [wrapped; 3]);
        // Another queue was farther.
        sa.raise_seen(0, wrapped + 5);
        assert!(last.goes_on(6));
        assert_eq!(sa.seen(), wrapped + 5);
        // What a dead SA sees is noted, and not taken.
        sa.kill();
        assert!(!last.goes_on(20));
        assert_eq!(sa.seen(), (1 << 32) + 20);
        Ok(())
    }

    #[test]
    fn esp_that_the_nic_left() -> Result {
        let left = Err(Refusal::Unprocessed);
        let plain = sa(false, Selector::default())?;
        let spd_plain = spd(None, &plain)?;
        assert_eq!(admit(&spd_plain, &frame(50, 0, ESP)), left);
        // A first fragment has the SPI, too.
        assert_eq!(admit(&spd_plain, &frame(50, 0x20, ESP)), left);
        // Of another SA, which is software's.
        assert_eq!(admit(&spd_plain, &frame(50, 0, [9; 12])), Ok(()));
        assert_eq!(admit(&spd_plain, &frame(17, 0, UDP_ESP)), Ok(()));
        let spd_udp = spd(None, &sa(true, Selector::default())?)?;
        assert_eq!(admit(&spd_udp, &frame(17, 0, UDP_ESP)), left);
        assert_eq!(admit(&spd_udp, &frame(50, 0, ESP)), Ok(()));
        plain.kill();
        assert_eq!(admit(&spd_plain, &frame(50, 0, ESP)), Ok(()));
        Ok(())
    }

    #[test]
    fn a_policy_that_was_replaced() -> Result {
        let sa = sa(false, Selector::default())?;
        let clear = frame(17, 0, [0; 12]);
        let protected = || spd(Some(Action::Protect(fixture::transport(7))), &sa).map(Known::new);
        let database = KBox::pin_init(Database::new(), GFP_KERNEL)?;
        let counters = Counters::default();
        // The run's snapshot is without the policy, as if it were dead, and the newer one has it.
        let old = (Some(Known::new(spd(None, &sa)?)), 0);
        let mut run = Run::new(old, database.changes());
        let renew = |view: &mut View| view.known = protected().ok();
        assert!(admits(&database, &mut run, renew, &clear, &counters));
        database.delete_policy(PolicyHandle::new(1).ok_or(EINVAL)?);
        assert!(!admits(&database, &mut run, renew, &clear, &counters));
        assert_eq!((counters.clear.get(), counters.dropped()), (1, 1));
        Ok(())
    }

    #[test]
    fn what_is_allowed_until_policies_change() -> Result {
        let sa = sa(false, Selector::default())?;
        let protected = spd(Some(Action::Protect(fixture::transport(7))), &sa)?;
        let database = KBox::pin_init(Database::new(), GFP_KERNEL)?;
        let mut run = Run::new((Some(Known::new(protected)), 0), database.changes());
        let mut last = Last::new(sa.handle, sa.clone());
        let renew = |view: &mut View| view.known = spd(None, &sa).ok().map(Known::new);
        let header = NetHdr48::default();
        let (udp, tcp) = (frame(17, 0, [0; 12]), frame(6, 0, [0; 12]));
        let mut ask = |last: &mut Last, frame: &[u8]| {
            last.ask(&database, &mut run.view, &renew, &header, frame)
        };
        let recalls = |last: &mut Last, header: &NetHdr48, frame: &[u8]| {
            let family = last.goes_on_as_before(&database, header, frame);
            family == Some(Family::V4)
        };
        // From the third packet of a flow on it is known without a look at the policies.
        assert!(!recalls(&mut last, &header, &udp));
        assert_eq!(ask(&mut last, &udp), Some(Some(Form::Clear)));
        assert!(!recalls(&mut last, &header, &udp));
        assert_eq!(ask(&mut last, &udp), Some(Some(Form::Clear)));
        assert!(recalls(&mut last, &header, &udp) && !recalls(&mut last, &header, &tcp));
        assert_eq!(ask(&mut last, &tcp), Some(None));
        // What is not allowed ends it.
        assert!(!recalls(&mut last, &header, &udp));
        for _ in 0..2 {
            assert_eq!(ask(&mut last, &udp), Some(Some(Form::Clear)));
        }
        // The NIC says something else: an error, another SA.
        let other = |change: fn(&mut NetHdr48)| {
            let mut other = header;
            change(&mut other);
            other
        };
        let failed = other(|header| header.net.flags = hdr::F_SECURITY_ERR);
        let of_another = other(|header| header.out.resource_id = 9.into());
        assert!(!recalls(&mut last, &failed, &udp) && !recalls(&mut last, &of_another, &udp));
        assert!(recalls(&mut last, &header, &udp));
        // Its number is noted.
        let next = other(|header| header.sec.seq_half = 5.into());
        assert!(recalls(&mut last, &next, &udp));
        assert_eq!(sa.seen(), 5);
        // In the next run, with the same snapshot, one packet is enough.
        let mut last = Last::new(sa.handle, sa.clone());
        assert!(!recalls(&mut last, &header, &udp));
        assert_eq!(ask(&mut last, &udp), Some(Some(Form::Clear)));
        assert!(recalls(&mut last, &header, &udp));
        // Policies have changed.
        database.delete_policy(PolicyHandle::new(1).ok_or(EINVAL)?);
        assert!(!recalls(&mut last, &header, &udp));
        assert_eq!(ask(&mut last, &udp), Some(None));
        Ok(())
    }

    #[test]
    fn nothing_is_allowed_under_a_dead_sa() -> Result {
        let sa = sa(false, Selector::default())?;
        let protected = spd(Some(Action::Protect(fixture::transport(7))), &sa)?;
        let database = KBox::pin_init(Database::new(), GFP_KERNEL)?;
        let mut run = Run::new((Some(Known::new(protected)), 0), database.changes());
        let mut last = Last::new(sa.handle, sa.clone());
        let (header, udp) = (NetHdr48::default(), frame(17, 0, [0; 12]));
        for _ in 0..2 {
            last.ask(&database, &mut run.view, |_| {}, &header, &udp);
        }
        assert!(last.goes_on_as_before(&database, &header, &udp).is_some());
        sa.kill();
        assert!(last.goes_on_as_before(&database, &header, &udp).is_none());
        Ok(())
    }

    #[test]
    fn decrypted_packets_outside_selector_or_policy() -> Result {
        let protect = |reqid| Some(Action::Protect(fixture::transport(reqid)));
        let (udp, tcp) = (frame(17, 0, [0; 12]), frame(6, 0, [0; 12]));
        let any = sa(false, Selector::default())?;
        assert!(is_allowed(&spd(protect(7), &any)?, &any, &udp));
        assert!(is_allowed(&spd(protect(0), &any)?, &any, &udp));
        assert!(!is_allowed(&spd(protect(8), &any)?, &any, &udp));
        assert!(!is_allowed(&spd(protect(7), &any)?, &any, &tcp));
        assert!(!is_allowed(&spd(Some(Action::Hole), &any)?, &any, &udp));
        assert!(!is_allowed(&spd(None, &any)?, &any, &udp));
        let only_tcp = sa(
            false,
            Selector {
                protocol: 6,
                ..Selector::default()
            },
        )?;
        assert!(!is_allowed(&spd(protect(7), &only_tcp)?, &only_tcp, &udp));
        // ESP inside is the stack's, but not that of an SA of packet offload, a fragment, AH, or in UDP; IKE is
        // no ESP.
        let inner = |protocol| Ok::<_, Error>(spd_for(protocol, protect(7), &any)?);
        let other = frame(50, 0, [9; 12]);
        assert_eq!(allowed(&inner(50)?, &any, &other), Some(Form::Esp));
        assert_eq!(allowed(&inner(17)?, &any, &other), None);
        for esp in [frame(50, 0, ESP), frame(50, 0x20, [9; 12])] {
            assert_eq!(allowed(&inner(50)?, &any, &esp), None);
        }
        assert!(!is_allowed(&inner(51)?, &any, &frame(51, 0, ESP)));
        assert!(!is_allowed(&inner(17)?, &any, &frame(17, 0, UDP_ESP)));
        let mut ike = UDP_ESP;
        ike[8..].fill(0);
        assert!(is_allowed(&inner(17)?, &any, &frame(17, 0, ike)));
        Ok(())
    }
}
