// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What needs neither a NIC nor root: `encode`, `decode`, `check`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::process::Output;

use serde_json::{json, Value};

const GCM: &str = "add --dir in --src 192.0.2.1 --dst 192.0.2.2 --spi 0x1000 --enc aes-gcm-128 \
    --enc-key 000102030405060708090a0b0c0d0e0f10111213";
const KEY: &str = "0001020304";

fn run(line: &str, stdin: &str) -> Output {
    support::finish(support::tool(line), stdin)
}

/// What it prints; it must end with a status.
fn text(line: &str, status: i32) -> String {
    let output = run(line, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap() + &error
}

fn json(line: &str, status: i32) -> Value {
    let text = text(&format!("--json {line}"), status);
    serde_json::from_str(&text).unwrap()
}

fn encoded(words: &str) -> String {
    text(&format!("encode {words}"), 0).trim().to_owned()
}

fn rules(words: &str) -> Value {
    let value = json(&format!("check {words}"), 1);
    assert_eq!(value["ok"], false, "{value}");
    for why in value["why"].as_array().unwrap() {
        assert!(why["says"].is_string(), "{value}");
    }
    value["rules"].clone()
}

#[test]
fn what_is_encoded_is_decoded() {
    for (words, structure, member, wanted) in [
        (
            GCM,
            "IPSEC_OFFLOAD_V2_ADD_SA_EX",
            "SecAssoc[0].Spi",
            json!("0x00001000"),
        ),
        (
            GCM,
            "IPSEC_OFFLOAD_V2_ADD_SA_EX",
            "IPv4Endpoints.DestAddr",
            json!("192.0.2.2"),
        ),
        (
            &format!("{GCM} --add-sa --esn 7"),
            "IPSEC_OFFLOAD_V2_ADD_SA",
            "SecAssoc[0].SequenceNumberHighOrder",
            json!(7),
        ),
        (
            "update 0x1000001 --spi 5 --high 3 --operation ah",
            "IPSEC_OFFLOAD_V2_UPDATE_SA",
            "Operation",
            json!("0x1 IPsecOffloadV2Ah"),
        ),
        (
            "delete 7",
            "IPSEC_OFFLOAD_V2_DELETE_SA",
            "OffloadHandle",
            json!("0x7"),
        ),
        (
            "parameters --ipsec esp --skip-registry",
            "NDIS_OFFLOAD_PARAMETERS",
            "Flags",
            json!("0x1 SKIP_REGISTRY_UPDATE"),
        ),
        (
            "encapsulation --ipv4 on --type 0x10",
            "NDIS_OFFLOAD_ENCAPSULATION",
            "IPv4.HeaderSize",
            json!(22),
        ),
    ] {
        let value = json(&format!("decode {}", encoded(words)), 0);
        let first = &value["structures"][0];
        assert_eq!(first["structure"], structure, "{words}");
        assert_eq!(first["members"][member], wanted, "{value}");
    }
}

#[test]
fn an_ip_version_that_is_not_on_has_zeros() {
    let buffer = encoded("encapsulation --ipv6 off");
    assert_eq!(
        &buffer[8..],
        "000000000000000000000000020000000000000000000000"
    );
    let on = encoded("encapsulation on --ipv6 keep --header-size 18");
    assert_eq!(&on[8..], "010000000200000012000000000000000000000000000000");
}

#[test]
fn checksums_and_large_sends_are_named_together_or_alone() {
    let members = |words: &str| encoded(&format!("parameters {words}"))[8..26].to_owned();
    assert_eq!(members("--ipsec esp"), "000000000000000000");
    assert_eq!(
        members("--checksums both --checksum-ipv4 send --lso on --lso-ipv6 off"),
        "020404040400000201"
    );
    assert_eq!(
        members("--checksum-tcp-ipv4 off --checksum-udp-ipv6 receive --lso-v1 on"),
        "000100000302000000"
    );
    let answer = json("check parameters --checksums off --lso keep", 0);
    assert_eq!(answer["status"], "NDIS_STATUS_SUCCESS");
}

#[test]
fn keys_are_shown_to_who_asks_for_them() {
    for words in [GCM.to_owned(), format!("{GCM} --add-sa")] {
        let buffer = encoded(&words);
        assert!(buffer.contains(KEY));
        for form in ["", "--json "] {
            let shown = text(&format!("{form}decode {buffer}"), 0);
            assert!(
                shown.contains("AES_GCM_128") && !shown.contains(KEY),
                "{shown}"
            );
            let shown = text(&format!("{form}decode --show-keys {buffer}"), 0);
            assert!(shown.contains(KEY), "{shown}");
        }
        // Taken for another structure it shows none, either.
        for oid in [
            "ADD_SA",
            "ADD_SA_EX",
            "UPDATE_SA",
            "DELETE_SA",
            "PARAMETERS",
        ] {
            let output = run(&format!("decode {oid} {buffer}"), "");
            let shown = String::from_utf8(output.stdout).unwrap();
            assert!(!shown.contains(KEY), "{shown}");
        }
    }
}

#[test]
fn buffers_come_from_files_and_from_standard_input() {
    let folder = std::env::temp_dir().join(format!("espnic-ndis-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let (bytes, digits) = (folder.join("bytes"), folder.join("digits"));
    let words = format!("encode --out {} delete 1 2", bytes.display());
    assert_eq!(text(&words, 0), "");
    assert!(
        text(&words, 1).contains("cannot write"),
        "it is there already"
    );
    std::fs::write(&digits, encoded("delete 1 2") + "\n").unwrap();
    for path in [&bytes, &digits] {
        let value = json(&format!("decode @{}", path.display()), 0);
        assert_eq!(value["structures"].as_array().unwrap().len(), 2);
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let output = run("decode -", &encoded("delete 9"));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("OffloadHandle") && shown.contains("0x9"),
        "{shown}"
    );
}

#[test]
fn what_a_query_returns_is_decoded() {
    let shown = text("check raw CURRENT_CONFIG --query --normal --length 256", 0);
    for wanted in [
        "NDIS_OFFLOAD at",
        "IPsecV2.SaOffloadCapacity",
        "AES_CBC_256",
    ] {
        assert!(shown.contains(wanted), "{shown}");
    }
    let value = json(
        "check --ndis 6.1 raw ENCAPSULATION --query --normal --length 28",
        0,
    );
    let first = &value["structures"][0]["members"];
    assert_eq!(first["IPv4.Enabled"], "0x2 NDIS_OFFLOAD_SET_OFF");
}

#[test]
fn what_is_no_structure_is_the_fault_of_the_command_line() {
    for (words, wanted) in [
        ("decode 00", "shorter than a header"),
        ("decode 0g", "hex digits"),
        ("decode 80", "shorter than a header"),
        ("decode 80011234", "name the OID"),
        ("decode 0101aa00", "name the OID"),
        ("decode ADD_SA_EX 8001aa00", "170 bytes are needed"),
        ("decode ADD_SA_EX 8002aa00", "170 bytes are needed"),
        ("decode OID_TCP_TASK_IPSEC_ADD_SA 00112233", "not known"),
        ("decode NOTHING 8001aa00", "ADD_SA_EX"),
        ("decode @/nonexistent", "/nonexistent"),
        ("encode encapsulation", "on, off or keep"),
        (
            "encode add --dir in --src ::1 --dst ::2 --spi 1",
            "needs an algorithm",
        ),
        (
            "check --offers @/nonexistent update 1 --spi 1 --high 1",
            "/nonexistent",
        ),
        ("check --ndis 6.99 update 1 --spi 1 --high 1", "6.30"),
        ("check raw ADD_SA 8", "hex digits"),
        ("list", "-i NAME"),
    ] {
        let shown = text(words, 2);
        assert!(shown.contains(wanted), "{words}: {shown}");
    }
}

#[test]
fn a_list_is_decoded_as_far_as_it_goes() {
    let buffer = encoded("delete 1 2");
    let broken = buffer[..64].to_owned();
    let value = json(&format!("decode {broken}"), 1);
    let fault = value["structures"][0]["fault"].as_str().unwrap();
    assert!(fault.contains("0x18"), "{fault}");
    // The key lies outside of the buffer.
    let short = &encoded(GCM)[..2 * 0xb8];
    let shown = text(&format!("decode {short}"), 1);
    assert!(shown.contains("wrong: "), "{shown}");
}

#[test]
fn the_model_says_which_rule_refuses() {
    assert_eq!(
        json(&format!("check {GCM}"), 0)["status"],
        "NDIS_STATUS_SUCCESS"
    );
    assert_eq!(rules(&format!("--enabled off {GCM}")), json!(["R60"]));
    assert_eq!(rules(&format!("--offers none {GCM}")), json!(["R39"]));
    assert_eq!(rules(&format!("--ndis 6.20 {GCM}")), json!(["R71"]));
    assert_eq!(rules(&format!("{GCM} --icv 15")), json!(["R58", "C13"]));
    assert_eq!(
        rules(&format!("{GCM} --udp transport-over-udp-tunnel")),
        json!(["R63"])
    );
    let zeros = GCM.replace("192.0.2.1", "0.0.0.0");
    assert_eq!(rules(&zeros), json!(["C15"]));
    assert_eq!(json(&format!("check --offers all {zeros}"), 0)["ok"], true);
    assert_eq!(rules("update 1 --spi 1 --high 1"), json!(["R78"]));
    assert_eq!(rules("raw PARAMETERS 00 --query --normal"), json!(["R13"]));
    assert_eq!(rules("raw 0x1234"), json!(["R39"]));
    assert_eq!(rules("encapsulation on --type 0x10"), json!(["R16"]));
    let shown = text(&format!("check {GCM} --icv 15"), 1);
    assert!(
        shown.contains("R58") && shown.contains("AdditionalInfo"),
        "{shown}"
    );
    assert_eq!(
        json("check encapsulation on", 0)["indications"][0],
        "NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG"
    );
}

#[test]
fn of_a_list_each_element_has_its_rule() {
    let file = std::env::temp_dir().join(format!("espnic-ndis-list-{}", std::process::id()));
    let line = &GCM[4..];
    std::fs::write(&file, format!("{line}\n{line} --icv 9\n")).unwrap();
    let value = json(&format!("check add --list {}", file.display()), 0);
    std::fs::remove_file(&file).unwrap();
    let elements = value["elements"].as_array().unwrap();
    assert_eq!(elements[0]["handle"], "0x1");
    assert_eq!(elements[1]["handle"], Value::Null);
    assert_eq!(elements[1]["rules"], json!(["R58", "C13"]));
}

#[test]
fn an_offer_can_be_an_image() {
    let value = "a703";
    let mut image = format!("{value}9c00") + &"00".repeat(0x98);
    // IPsecV2: Esp, Tunnel, AES-GCM-256, room for one.
    for (at, digits) in [(0x78, "01"), (0x7b, "01"), (0x88, "20"), (0x8c, "01")] {
        image.replace_range(2 * at..2 * at + 2, digits);
    }
    let file = std::env::temp_dir().join(format!("espnic-ndis-image-{}", std::process::id()));
    std::fs::write(&file, image).unwrap();
    let offers = format!("--offers @{}", file.display());
    assert_eq!(rules(&format!("{offers} {GCM}")), json!(["R60"]));
    let other = GCM
        .replace("gcm-128", "gcm-256")
        .replace("--enc-key ", "--enc-key 00112233445566778899aabbccddeeff");
    let transport = format!("{offers} {other} --mode transport");
    assert_eq!(rules(&transport), json!(["R52", "C32"]));
    assert_eq!(
        json(&format!("check {offers} {other} --mode tunnel"), 0)["handle"],
        "0x1"
    );
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_session_keeps_its_sas() {
    let lines = format!(
        "# all\n{GCM} --esn\nupdate 1 --spi 0x1000 --high 2\nupdate 1 --spi 0x1000 \
        --high 1\nnothing\ndelete 1\nupdate 1 --spi 0x1000 --high 2\nsession\n"
    );
    let output = run("--json check session", &lines);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ok: Vec<bool> = answers.iter().map(|one| one["ok"] == true).collect();
    assert_eq!(
        ok,
        [true, true, false, false, true, false, false],
        "{shown}"
    );
    assert_eq!(answers[2]["rules"], json!(["R151"]), "a lower number");
    assert_eq!(answers[5]["rules"], json!(["R78"]));
    let output = run("check session", &format!("{GCM}\ndelete 1\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn no_half_of_a_buffer_is_repeated() {
    for line in [
        "decode 00010203 04050607 08090a0b",
        "decode ADD_SA 00010203 0405060z",
    ] {
        let shown = text(line, 2);
        assert!(
            !shown.contains("0001") && !shown.contains("0405"),
            "{shown}"
        );
    }
}
