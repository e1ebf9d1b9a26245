// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;

fn order(words: &str) -> Result<Order, String> {
    Order::parse(&words.split(' ').collect::<Vec<_>>())
}

fn made(misbehaviour: &Misbehaviour, words: &str) -> u64 {
    let list = misbehaviour.made();
    list.iter().find(|(name, _)| name == words).unwrap().1
}

#[test]
fn every_kind_has_words_and_a_place_of_its_own() {
    let all: Vec<_> = Kind::all().collect();
    assert_eq!(all.len(), KINDS);
    for (index, kind) in all.into_iter().enumerate() {
        assert_eq!(kind.index(), index);
        let value = match kind {
            Kind::Other(Deed::Late | Deed::Mtu) => " 9",
            _ => "",
        };
        let parsed = order(&format!("{}{value} 3", kind.words())).unwrap();
        assert_eq!((parsed.kind, parsed.count), (kind, 3));
        assert_eq!(parsed.value, if value.is_empty() { 0 } else { 9 });
        let form = |form: &&str| {
            let words = kind.words();
            let (place, what) = words.split_once(' ').unwrap();
            form.contains(place) && form.contains(what)
        };
        assert!(order::FORMS.iter().any(form), "{}", kind.words());
    }
}

#[test]
fn wrong_words_are_refused() {
    for words in [
        "rx",
        "rx twice",
        "rx twice 1 2",
        "rx late 5 1",
        "ctrl late 5",
        "ctrl late x 5",
        "tx num-buffers 1",
        "config mtu 65536 1",
        "rx twice -1",
        "sa nothing 1",
    ] {
        let error = order(words).unwrap_err();
        assert!(error.contains("misbehave") || error.contains(" is not "));
    }
    let error = order("pci no-device-config 1").unwrap_err();
    assert!(error.contains("device-config=off"), "{error}");
}

#[test]
fn it_ends_after_its_count_and_when_it_is_cleared() {
    let misbehaviour = Misbehaviour::default();
    assert!(!misbehaviour.active());
    misbehaviour.set(&order("rx num-buffers 2").unwrap());
    misbehaviour.set(&order("tx twice 1").unwrap());
    assert!(misbehaviour.takes(Deed::NumBuffers) && misbehaviour.takes(Deed::NumBuffers));
    assert!(!misbehaviour.takes(Deed::NumBuffers));
    assert!(misbehaviour.active());
    assert_eq!(misbehaviour.takes_used(Queue::Rx), None);
    assert_eq!(misbehaviour.takes_used(Queue::Tx), Some(Used::Twice));
    assert!(!misbehaviour.active());
    assert_eq!(made(&misbehaviour, "rx num-buffers"), 2);
    assert_eq!(made(&misbehaviour, "tx twice"), 1);
    misbehaviour.set(&order("tx twice 9").unwrap());
    misbehaviour.set(&order("config mtu 67 9").unwrap());
    assert_eq!(misbehaviour.mtu(1500), 67);
    misbehaviour.clear();
    assert!(!misbehaviour.active());
    assert_eq!(misbehaviour.takes_used(Queue::Tx), None);
    assert_eq!(misbehaviour.mtu(1500), 1500);
    assert_eq!(made(&misbehaviour, "config mtu"), 1);
}
