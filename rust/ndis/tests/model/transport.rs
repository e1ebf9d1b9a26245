// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What binds the side above the miniport.

use crate::fixture::*;
use crate::rules;
use crate::table::Table;
use espnic_ndis::algorithm::Encryption;
use espnic_ndis::model::check::bundle;
use espnic_ndis::model::transport::{answer, Moved, Outgoing, Switches, Transport, Way};
use espnic_ndis::model::{Backend, Capabilities, Convention, Mode};
use espnic_ndis::oob::Receive;
use espnic_ndis::sa::build::{self, Association};
use espnic_ndis::sa::AddSa;
use espnic_ndis::{Handle, Oid, Status};

/// Whether the transport would ask for a bundle of one association.
fn may_add(transport: &Transport, association: Association<'_>) -> bool {
    may_add_to(transport, association, false)
}

fn may_add_to(transport: &Transport, association: Association<'_>, is_inbound: bool) -> bool {
    let associations = [association];
    let asked = build::Bundle {
        inbound: is_inbound,
        ..outbound(&associations)
    };
    let (buffer, _) = add_sa(&[asked]);
    let view = AddSa::parse(&buffer, 0).unwrap().bundle().unwrap();
    let bundle = bundle(&view, &EVERYTHING, Mode::ByPacket, Convention::default());
    transport.may_add(&bundle.unwrap())
}

fn transport(config: Capabilities) -> Transport {
    Transport::new(config, Switches::default())
}

fn handle(value: u64) -> Handle {
    Handle::new(value).unwrap()
}

#[test]
fn only_the_last_report_counts() {
    rules(&[28]);
    let mut adapter = adapter(EVERYTHING);
    let mut transport = transport(adapter.snapshot().config);
    assert!(may_add(&transport, gcm(0x100)));
    let mut less = hardware(EVERYTHING);
    less.ipsec.encryption = Encryption::AES_GCM_256;
    adapter.hardware_changed(less);
    transport.reported(adapter.snapshot().config);
    assert!(!may_add(&transport, gcm(0x100)));
    // The miniport refuses what was not reported, should the transport ask all the same.
    let refused = try_add(
        &adapter.snapshot(),
        &Table::new(8),
        &outbound(&[gcm(0x100)]),
    );
    assert_eq!(refused.unwrap_err().status, Status::NOT_SUPPORTED);
    let mut esn = gcm(0x100);
    esn.esn = Some(0);
    transport.reported(Capabilities {
        esn: false,
        ..EVERYTHING
    });
    assert!(!may_add(&transport, esn) && may_add(&transport, gcm(0x100)));
}

#[test]
fn the_transport_counts_for_itself() {
    rules(&[51]);
    let few = Capabilities {
        capacity: 2,
        ..EVERYTHING
    };
    let mut transport = transport(few);
    assert!(may_add(&transport, gcm(0x100)));
    transport.added(2);
    assert!(!may_add(&transport, gcm(0x100)));
    transport.deleted(1);
    assert!(may_add(&transport, gcm(0x100)));
    // And the miniport never takes more, even if the transport miscounts.
    let table = Table::new(8);
    let results =
        [1, 2, 3].map(|spi| try_add(&snapshot(few), &table, &outbound(&[gcm(spi)])).is_ok());
    assert_eq!(results, [true, true, false]);
}

#[test]
fn system_wide_switches() {
    rules(&[28, 141]);
    for (task_offload_disabled, ipsec_disabled) in [(true, false), (false, true), (false, false)] {
        let switches = Switches {
            task_offload_disabled,
            ipsec_disabled,
        };
        let transport = Transport::new(EVERYTHING, switches);
        let on = !task_offload_disabled && !ipsec_disabled;
        assert_eq!(may_add(&transport, gcm(0x100)), on);
        assert_eq!(transport.may_set_encapsulation(), !task_offload_disabled);
    }
}

const PACKET: Outgoing = Outgoing {
    mode: Mode::Transport,
    large: false,
    fragments: false,
    authenticated: true,
};

#[test]
fn no_lso_with_a_tunnel() {
    rules(&[104]);
    let transport = transport(EVERYTHING);
    for (mode, large, large_send) in [
        (Mode::Transport, true, true),
        (Mode::Transport, false, false),
        (Mode::Tunnel, true, false),
        (Mode::ByPacket, true, false),
    ] {
        let way = transport.way(&Outgoing {
            mode,
            large,
            ..PACKET
        });
        assert_eq!(way, Way::Offload { large_send });
    }
    let without = self::transport(Capabilities {
        lso: false,
        ..EVERYTHING
    });
    let large = Outgoing {
        large: true,
        ..PACKET
    };
    assert_eq!(without.way(&large), Way::Offload { large_send: false });
}

#[test]
fn what_is_never_offloaded() {
    rules(&[105, 106, 109]);
    let transport = transport(EVERYTHING);
    assert_eq!(transport.way(&PACKET), Way::Offload { large_send: false });
    let fragments = Outgoing {
        fragments: true,
        ..PACKET
    };
    assert_eq!(transport.way(&fragments), Way::Software);
    // Above a load-balancing miniport nothing is offloaded, in neither direction.
    let balanced = transport.balanced();
    assert_eq!(balanced.way(&PACKET), Way::Software);
    for is_inbound in [false, true] {
        assert!(may_add_to(&transport, gcm(0x100), is_inbound));
        assert!(!may_add_to(&balanced, gcm(0x100), is_inbound));
    }
    let open = Outgoing {
        authenticated: false,
        ..PACKET
    };
    assert_eq!(transport.way(&open), Way::Never);
    let without = self::transport(Capabilities::NONE);
    assert_eq!(without.way(&PACKET), Way::Software);
}

#[test]
fn a_delete_request_is_answered_inbound_first() {
    rules(&[87, 86]);
    let (arrived, other) = (handle(1), handle(2));
    for crypto_done in [false, true] {
        let asked = |sa_delete_req| Receive {
            sa_delete_req,
            crypto_done,
            ..Receive::default()
        };
        let deletes = |word: Receive, outbound| answer(word.word(), arrived, outbound).collect();
        let both: Vec<Handle> = deletes(asked(true), Some(other));
        assert_eq!(both, [arrived, other]);
        let one: Vec<Handle> = deletes(asked(true), None);
        assert_eq!(one, [arrived]);
        let none: Vec<Handle> = deletes(asked(false), Some(other));
        assert!(none.is_empty());
    }
}

#[test]
fn a_route_that_moves() {
    rules(&[91]);
    let (old, new) = (Table::new(8), Table::new(8));
    let pair = |table: &Table| {
        let one = add(table, &inbound(&[gcm(0x100)]), Mode::Transport);
        (one, add(table, &outbound(&[gcm(0x200)]), Mode::Transport))
    };
    let (inbound, outbound) = pair(&old);
    let mut moved = Moved::from_old(inbound, outbound);
    // Until they were added there, the stack does IPsec itself.
    assert_eq!(moved.outbound(), None);
    let (there, back) = pair(&new);
    moved.added(there, back);
    assert_eq!(moved.outbound(), Some(back));
    // The old adapter keeps its SAs until they expire and DELETE_SA comes.
    assert_eq!(old.offloaded(), 2);
    let mut deletes = 0;
    for handle in moved.expired().collect::<Vec<_>>() {
        let mut buffer = delete_sa(&[Some(handle)]);
        let done = send(&snapshot(EVERYTHING), &old, Oid::DELETE_SA, &mut buffer);
        assert_eq!(done.status, Status::SUCCESS);
        deletes += 1;
    }
    assert_eq!((deletes, old.offloaded(), new.offloaded()), (2, 0, 2));
    assert_eq!(moved.expired().count(), 0);
}
