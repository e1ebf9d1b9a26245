// SPDX-License-Identifier: GPL-2.0 OR MIT

use clap::Parser;

use espnic_ndis::sa::UpdateSa;

use super::*;
use crate::args::{Command, Operation as Word};
use crate::args::{Line, SaLine};

const KEY: &str = "000102030405060708090a0b0c0d0e0f10111213";

fn sa(words: &str) -> Sa {
    SaLine::try_parse_from(words.split_whitespace()).unwrap().sa
}

fn gcm(more: &str) -> Sa {
    sa(&format!(
        "--dir in --src 192.0.2.1 --dst 192.0.2.2 --spi 0x1000 --enc aes-gcm-128 --enc-key {KEY} {more}"
    ))
}

#[test]
fn add_sa_ex_is_what_its_view_reads() {
    let buffer = add_ex(&gcm("--icv 12 --esn 7 --udp transport")).unwrap();
    let view = AddSaEx::parse(&buffer).unwrap();
    assert!(view.is_inbound() && !view.is_ipv6());
    assert_eq!(view.source(), espnic_ndis::sa::Address::V4([192, 0, 2, 1]));
    assert_eq!(view.udp_esp.0, 1);
    let [esp] = view.associations().unwrap() else {
        panic!("one element")
    };
    assert_eq!(esp.operation(), Operation::ESP);
    assert_eq!(esp.spi.get(), 0x1000);
    assert!(esp.is_esn());
    assert_eq!(esp.sequence_number_high_order.get(), 7);
    assert!(esp.authentication_algorithm.is_zero());
    assert_eq!(esp.encryption_algorithm.additional_info.get(), 12);
    let key = view.key(&esp.encryption_algorithm).unwrap();
    assert_eq!(key.len(), 20);
    assert_eq!(key.last(), Some(&0x13));
    assert_eq!(handle_ex(&buffer), None);
}

#[test]
fn esp_and_ah_are_two_elements_and_their_keys_follow_one_another() {
    let (auth, ah) = ("aa".repeat(20), "bb".repeat(32));
    let line = format!(
        "--dir out --src 2001:db8::1 --dst 2001:db8::2 --spi 1 --enc aes-cbc-128 \
        --enc-key 00112233445566778899aabbccddeeff --auth sha1 --auth-key {auth} --ah sha256 --ah-key {ah} \
        --ah-spi 2"
    );
    let buffer = add_ex(&sa(&line)).unwrap();
    let view = AddSaEx::parse(&buffer).unwrap();
    assert!(view.is_ipv6() && !view.is_inbound());
    let [esp, ah] = view.associations().unwrap() else {
        panic!("two elements")
    };
    assert_eq!((esp.spi.get(), ah.spi.get()), (1, 2));
    assert_eq!(ah.operation(), Operation::AH);
    assert_eq!(view.key(&esp.authentication_algorithm).unwrap(), [0xaa; 20]);
    assert_eq!(view.key(&esp.encryption_algorithm).unwrap().len(), 16);
    assert_eq!(view.key(&ah.authentication_algorithm).unwrap(), [0xbb; 32]);
    assert_eq!(view.key_data().len(), 16 + 20 + 32);
}

#[test]
fn a_list_is_linked_and_takes_its_handles_back() {
    let sas = [gcm(""), gcm("--icv 8"), gcm("")];
    let (mut buffer, starts) = add_list(&sas.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(starts.len(), 3);
    let mut at = Some(0);
    for (number, &start) in starts.iter().enumerate() {
        assert_eq!(at, Some(start));
        let view = AddSa::parse(&buffer, start).unwrap();
        assert_eq!(view.bundle().unwrap().key_data().len(), 20);
        at = view.next();
        let handle = Handle::new(number as u64);
        AddSa::set_handle(&mut buffer, start, handle).unwrap();
    }
    assert_eq!(at, None);
    let found = handles(&buffer, &starts);
    assert_eq!(found, [None, Handle::new(1), Handle::new(2)]);
}

#[test]
fn update_and_delete_are_what_their_views_read() {
    let line = "update 9 --spi 0x1000 --high 3".split_whitespace();
    let Command::Update(words) = Line::try_parse_from(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(words.operation, Word::Esp);
    let update = UpdateSa::parse(&update(&words)).unwrap();
    assert_eq!(update.handle(), Handle::new(9));
    assert_eq!(update.operation(), Operation::ESP);
    assert_eq!(update.sequence_number_high_order.get(), 3);
    let buffer = delete(&[5, 6]).unwrap();
    let first = DeleteSa::parse(&buffer, 0).unwrap();
    let second = DeleteSa::parse(&buffer, first.next.unwrap()).unwrap();
    assert_eq!(
        (first.handle, second.handle),
        (Handle::new(5), Handle::new(6))
    );
    assert_eq!(second.next, None);
}

#[test]
fn what_cannot_be_an_sa_is_a_wrong_command_line() {
    let usage = |sa: Sa| matches!(add_ex(&sa), Err(Error::Usage(_)));
    assert!(usage(sa(
        "--dir in --src 192.0.2.1 --dst ::1 --spi 1 --ah sha1 --ah-key 00"
    )));
    assert!(usage(sa(
        "--dir in --src 192.0.2.1 --dst 192.0.2.2 --spi 1"
    )));
    let wrong = sa("--dir in --src ::1 --dst ::2 --spi 1 --ah sha1 --ah-key 0xzz");
    let Err(Error::Usage(text)) = add_ex(&wrong) else {
        panic!("accepted")
    };
    assert!(!text.contains("zz"), "{text}");
}

#[test]
fn a_key_has_the_length_of_its_algorithm() {
    let ends = "--dir in --src ::1 --dst ::2 --spi 1";
    for (words, length, wanted) in [
        (
            "--enc aes-gcm-128 --enc-key",
            16,
            "takes 20 bytes (16 of key, 4 of salt), not 16",
        ),
        (
            "--enc aes-gcm-256 --enc-key",
            32,
            "takes 36 bytes (32 of key, 4 of salt), not 32",
        ),
        (
            "--enc aes-cbc-192 --auth sha1 --enc-key",
            16,
            "aes-cbc-192 takes 24 bytes, not 16",
        ),
        ("--ah sha256 --ah-key", 20, "sha256 takes 32 bytes, not 20"),
        (
            "--ah aes-gmac-128 --ah-key",
            16,
            "aes-gmac-128 takes 20 bytes (16 of key, 4",
        ),
        ("--enc null --enc-key", 1, "null takes 0 bytes, not 1"),
    ] {
        let key = "00".repeat(length);
        let auth = if words.contains("sha1") {
            format!("--auth-key {}", "00".repeat(20))
        } else {
            String::new()
        };
        let words = format!("{ends} {auth} {words} {key}");
        let Err(Error::Usage(text)) = add_ex(&sa(&words)) else {
            panic!("accepted: {words}")
        };
        assert!(text.contains(wanted), "{text}");
    }
    let auth = "00".repeat(20);
    let null = sa(&format!("{ends} --enc null --auth sha1 --auth-key {auth}"));
    assert!(add_ex(&null).is_ok(), "null encryption has no key");
    assert!(add_ex(&sa(&format!("{ends} --enc aes-gcm-128"))).is_err());
}
