// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which rule a refusal comes from.

use crate::fixture::{self, add_sa, add_sa_ex, ah, delete_sa, esp, gcm, outbound, EVERYTHING};
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::Set;
use espnic_ndis::model::{direct, Capabilities, Direct, Refusal, State};
use espnic_ndis::oid::RequestType;
use espnic_ndis::parameters::OffloadParameters;
use espnic_ndis::sa::build::{self, Association};
use espnic_ndis::sa::{Operation, Spi, UdpEsp};
use espnic_ndis::{Handle, Oid, Status, Version};
use zerocopy::IntoBytes as _;

fn refused(ipsec: Capabilities, request: &Direct, buffer: &mut [u8]) -> Refusal {
    direct::try_request(&fixture::snapshot(ipsec), &Table::new(8), request, buffer).unwrap_err()
}

fn rules(ipsec: Capabilities, sas: &[Association<'_>]) -> &'static str {
    rules_of(ipsec, &outbound(sas))
}

fn rules_of(ipsec: Capabilities, bundle: &build::Bundle<'_>) -> &'static str {
    let single = refused(ipsec, &fixture::set(Oid::ADD_SA_EX), &mut add_sa_ex(bundle));
    let bundles = std::slice::from_ref(bundle);
    let list = refused(ipsec, &fixture::set(Oid::ADD_SA), &mut add_sa(bundles).0);
    assert_eq!(single, list, "R72");
    single.rules
}

#[test]
fn of_a_bundle_whose_form_is_wrong() {
    let [one, two] = [gcm(1), ah(2, Authentication::SHA_1)];
    assert_eq!(rules(EVERYTHING, &[two, one]), "R54");
    let unknown = Association {
        operation: Operation(3),
        ..one
    };
    assert_eq!(rules(EVERYTHING, &[unknown]), "R53");
    assert_eq!(rules(EVERYTHING, &[]), "R53");
    assert_eq!(rules(EVERYTHING, &[gcm(0)]), "R37");
    let mut short = one;
    short.encryption = Some(fixture::algorithm(Encryption::AES_GCM_128, 0, 16, 16));
    assert_eq!(rules(EVERYTHING, &[short]), "R37 C13");
    short.encryption = Some(fixture::algorithm(Encryption::AES_GCM_128, 0, 20, 15));
    assert_eq!(rules(EVERYTHING, &[short]), "R58 C13");
    let both = Association {
        authentication: Some(fixture::algorithm(Authentication::SHA_1, 40, 20, 0)),
        ..one
    };
    assert_eq!(rules(EVERYTHING, &[both]), "R57");
    let bare = Association {
        authentication: None,
        ..esp(1, Encryption::AES_CBC_128, Authentication::SHA_1)
    };
    assert_eq!(rules(EVERYTHING, &[bare]), "R106 C18");
    let udp = build::Bundle {
        udp_esp: UdpEsp(3),
        ..outbound(std::slice::from_ref(&one))
    };
    assert_eq!(rules_of(EVERYTHING, &udp), "R63");
}

#[test]
fn of_a_bundle_that_is_not_covered() {
    let without = |change: &dyn Fn(&mut Capabilities)| {
        let mut left = EVERYTHING;
        change(&mut left);
        left
    };
    let (one, with_ah) = (gcm(1), ah(1, Authentication::SHA_1));
    let left = without(&|all| all.encryption = Encryption::AES_CBC_128);
    assert_eq!(rules(left, &[one]), "R60");
    let left = without(&|all| all.ah = false);
    assert_eq!(rules(left, &[with_ah]), "R52 C32");
    let esn = Association {
        esn: Some(1),
        ..one
    };
    assert_eq!(rules(without(&|all| all.esn = false), &[esn]), "R64");
    let udp = build::Bundle {
        udp_esp: UdpEsp::TUNNEL,
        ..outbound(std::slice::from_ref(&one))
    };
    assert_eq!(
        rules_of(without(&|all| all.udp_esp = UdpEsp(1)), &udp),
        "R63"
    );
    let full = without(&|all| all.capacity = 0);
    assert_eq!(rules(full, &[one]), "R49 C27");
}

#[test]
fn of_a_request_that_is_none() {
    let set = fixture::set;
    let of = |request: &Direct, buffer: &mut [u8]| refused(EVERYTHING, request, buffer);
    let refusal = of(&set(Oid::ADD_SA_EX), &mut [0; 8]);
    assert_eq!((refusal.rules, refusal.needed), ("R38", 0xaa));
    assert_eq!(of(&set(Oid::ADD_SA_EX), &mut [0; 0xb0]).rules, "R37 C3");
    assert_eq!(of(&set(Oid(0x1234)), &mut []).rules, "R39");
    assert_eq!(of(&set(Oid::PARAMETERS), &mut []).rules, "R29 R39");
    let query = Direct {
        request_type: RequestType::QUERY_INFORMATION,
        ..set(Oid::DELETE_SA)
    };
    assert_eq!(of(&query, &mut []).rules, "R29");
    let mut broken = delete_sa(&[Handle::new(1)]);
    broken[8] = 4;
    assert_eq!(of(&set(Oid::DELETE_SA), &mut broken).rules, "R81 C6");
    let mut update = build::update_sa(Handle::new(9), Operation::ESP, Spi::new(1), 1);
    let rules = |update: &mut [u8]| of(&set(Oid::UPDATE_SA), update).rules;
    assert_eq!(rules(update.as_mut_bytes()), "R78");
    update.offload_handle = None.into();
    assert_eq!(rules(update.as_mut_bytes()), "R74 R78");
    for (state, rules) in [
        (State::Resetting, "R40 C6"),
        (State::LowPower, "R40 C30"),
        (State::Removed, "R40"),
    ] {
        let mut busy = fixture::snapshot(EVERYTHING);
        busy.state = state;
        let request = set(Oid::DELETE_SA);
        let refusal = direct::try_request(&busy, &Table::new(1), &request, &mut []).unwrap_err();
        assert_eq!(refusal, Refusal::new(Status::NOT_ACCEPTED, rules));
    }
    let mut without = fixture::snapshot(Capabilities::NONE);
    without.hardware = Capabilities::NONE;
    let request = set(Oid::DELETE_SA);
    let refusal = direct::try_request(&without, &Table::new(1), &request, &mut []).unwrap_err();
    assert_eq!(refusal, Refusal::new(Status::NOT_SUPPORTED, "R39"));
    let mut old = fixture::snapshot(EVERYTHING);
    old.version = Version::V6_20;
    let request = set(Oid::ADD_SA_EX);
    let refusal = direct::try_request(&old, &Table::new(1), &request, &mut []).unwrap_err();
    assert_eq!(refusal, Refusal::new(Status::NOT_SUPPORTED, "R71"), "6.20");
}

#[test]
fn of_the_normal_path() {
    let mut adapter = fixture::adapter(EVERYTHING);
    let mut parameters = OffloadParameters::new(2).unwrap();
    parameters.ipsec_v2 = 7;
    let rules = |result: Result<_, Refusal>| result.map(|_| ()).unwrap_err().rules;
    let buffer = parameters.as_bytes();
    assert_eq!(
        rules(adapter.try_set(Oid::PARAMETERS, buffer, |_| true)),
        "R12 C34"
    );
    let buffer = fixture::encapsulate(Set::ON, 0x10);
    assert_eq!(
        rules(adapter.try_set(Oid::ENCAPSULATION, &buffer, |_| true)),
        "R16"
    );
    assert_eq!(
        rules(adapter.try_set(Oid::CURRENT_CONFIG, &[], |_| true)),
        "R39"
    );
    let rules = |result: Result<_, Refusal>| result.map(|_| ()).unwrap_err();
    let refusal = rules(adapter.try_query(Oid::CURRENT_CONFIG, &mut []));
    assert_eq!((refusal.rules, refusal.needed > 0), ("R20", true));
    let refusal = rules(adapter.try_query(Oid::PARAMETERS, &mut []));
    assert_eq!(refusal.rules, "R13");
    adapter.set_state(State::Removed);
    let refusal = rules(adapter.try_query(Oid::CURRENT_CONFIG, &mut []));
    assert_eq!(refusal, Refusal::new(Status::NOT_ACCEPTED, "R40"));
}
