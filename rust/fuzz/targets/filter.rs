// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver may send for packet offload: filter objects and capabilities, tunnel headers; and what a
//! device may answer: states and events.

#![no_main]

use espnic_fuzz::ndis::inside;
use espnic_fuzz::Bytes;
use espnic_wire::event::{Event, Kind as EventKind};
use espnic_wire::filter::selector::{Kind, Selector, Selectors};
use espnic_wire::filter::{Action, Actions, Frame, Group, Limits, Rule, RuleHdr, MAX_KEYS};
use espnic_wire::read_zero_extended;
use espnic_wire::sa::SaBase;
use espnic_wire::state::{bitmap_len, SaState};
use espnic_wire::tunnel::Tunnel;
use libfuzzer_sys::fuzz_target;

/// Everything that can be selected.
fn everything(partial: bool) -> Selectors {
    Kind::ALL.into_iter().fold(Selectors::EMPTY, |list, kind| {
        let all = Selector::new(kind, partial, &[0xff; 40][..kind.len()]);
        all.and_then(|all| list.with(all)).unwrap()
    })
}

fn written(list: &Selectors) -> Vec<u8> {
    let mut buffer = vec![0xee; 400];
    let len = list.write(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

fn capabilities(data: &[u8]) {
    if let Ok(list) = Selectors::parse_capability(data) {
        let again = written(&list);
        assert_eq!(Selectors::parse_capability(&again), Ok(list));
        assert_eq!(Selectors::known(&again), Ok(list));
        assert!(list.is_within(&list));
    }
    let _ = Selectors::known(data);
    if let Ok(set) = Actions::parse(data) {
        let (again, len) = set.data();
        assert_eq!(Actions::parse(&again[..len]), Ok(set));
        assert!(Actions::known(data) == set);
    }
    let limits: Limits = read_zero_extended(data);
    assert!(limits.is_within(&limits));
}

fn rules(bytes: &mut Bytes<'_>) {
    let (partial, most, actions) = (bytes.u8() & 1 != 0, bytes.u8(), bytes.u8());
    let limits: Limits = read_zero_extended(&bytes.array::<20>());
    let classifier = bytes.slice();
    let data = bytes.rest();
    let capability = everything(partial);
    let Ok(classifier) = Selectors::parse_classifier(classifier, &capability, most) else {
        return;
    };
    assert!(classifier.is_within(&everything(true)) && classifier.key_len() <= MAX_KEYS);
    assert!(classifier.get(Kind::Eth).is_some());
    let numbers = (1..5).filter(|number| actions & (1 << number) != 0);
    let frame = Frame {
        limits: &limits,
        actions: numbers
            .filter_map(Action::of)
            .fold(Actions::default(), Actions::with),
        classifier: &classifier,
    };
    if let Ok(rule) = Rule::parse(data, &frame, |queue| queue % 2 == 0) {
        assert!(frame.actions.has(rule.action) && rule.priority < limits.last_rule_priority);
        assert!(rule.action != Action::Queue || rule.queue % 2 == 0);
        assert_eq!(rule.keys().len(), classifier.key_len());
        assert_eq!(RuleHdr::read(data).group_id.get(), rule.group_id);
    }
}

fn tunnels(data: &[u8]) {
    let std: SaBase = read_zero_extended(data);
    if let Ok(Some(tunnel)) = Tunnel::of(&std) {
        let mut other = std;
        tunnel.put(&mut other);
        assert_eq!(Tunnel::of(&other), Ok(Some(tunnel)));
    }
}

fn answers(data: &[u8]) {
    if let Ok((state, words)) = SaState::parse(data) {
        assert_eq!(bitmap_len(state.window.get()), Some(words.len()));
        assert!(inside(data, words));
        let mut buffer = [0; 600];
        let len = state.write(words, &mut buffer).unwrap();
        assert_eq!(SaState::parse(&buffer[..len]), Ok((state, words)));
    }
    match Event::read(data) {
        Ok(event) => {
            let kind = EventKind::of(event.kind.get());
            assert!(kind.is_none_or(|kind| kind.is_in(!0)));
        }
        Err(_) => assert!(data.len() < Event::LEN),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    match bytes.u8() % 5 {
        0 => capabilities(bytes.rest()),
        1 => rules(&mut bytes),
        2 => tunnels(bytes.rest()),
        3 => answers(bytes.rest()),
        _ => {
            let data = bytes.rest();
            let group = Group::parse(data, []).unwrap();
            assert!(Group::parse(data, [group.priority.get()]).is_err());
        }
    }
});
