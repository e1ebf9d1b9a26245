// SPDX-License-Identifier: GPL-2.0 OR MIT

use espnic_ndis::indication::StatusIndication;
use espnic_ndis::offload::Offload;
use espnic_ndis::oid::RequestType;
use espnic_ndis::request::OidRequest;
use espnic_ndis::{Status, Version};
use zerocopy::IntoBytes;

use super::*;

fn member<'a>(one: &'a Structure, name: &str) -> &'a Member {
    one.members
        .iter()
        .find(|member| member.name == name)
        .unwrap()
}

#[test]
fn members_have_the_offsets_and_names_of_the_headers() {
    let mut buffer = [0; 0xd8];
    let mut image = Offload::default();
    image.ipsec_v2.esp = 1;
    image.ipsec_v2.udp_esp.set(0x13);
    let length = image.encode(Version::V6_30, &mut buffer).unwrap();
    let found = structures(None, &buffer[..length], Keys::Hidden).unwrap();
    let esp = member(&found[0], "IPsecV2.Esp");
    assert_eq!((esp.at, &esp.value), (0x78, &json!(1)));
    let udp = member(&found[0], "IPsecV2.UdpEsp");
    let words = udp.value.as_str().unwrap();
    assert!(
        words.starts_with("0x13 IPSEC_") && words.ends_with("and 0x10"),
        "{words}"
    );
    assert!(found[0].text().contains("  +0x078 IPsecV2.Esp"));
}

#[test]
fn the_structures_around_a_buffer_are_known() {
    let request = OidRequest::new(RequestType::SET_INFORMATION, Oid::ADD_SA_EX);
    let found = structures(None, request.as_bytes(), Keys::Hidden).unwrap();
    let oid = member(&found[0], "Oid").value.to_string();
    assert!(oid.contains("ADD_SA_EX"), "{oid}");
    let mut image = [0; 0xd8];
    let length = Offload::default()
        .encode(Version::V6_1, &mut image)
        .unwrap();
    let mut buffer = [0; 0x200];
    let status = Status::TASK_OFFLOAD_CURRENT_CONFIG;
    let length = StatusIndication::encode(status, &image[..length], &mut buffer).unwrap();
    let found = structures(None, &buffer[..length], Keys::Hidden).unwrap();
    let names: Vec<_> = found.iter().map(|one| one.name).collect();
    assert_eq!(names, ["NDIS_STATUS_INDICATION", "NDIS_OFFLOAD"]);
    let alone = structures(None, &buffer[..0x70], Keys::Hidden).unwrap();
    assert_eq!(alone.len(), 1, "without its buffer");
}

#[test]
fn no_buffer_makes_it_stumble() {
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for n in 0..20_000 {
        let length = usize::from(random()) * 2;
        let mut buffer: Vec<u8> = (0..length).map(|_| random()).collect();
        let head = [[0x80, 1, 0xaa, 0], [0x80, 1, 0x18, 0], [0xa7, 3, 0x9c, 0]][n % 3];
        buffer
            .iter_mut()
            .zip(head)
            .for_each(|(to, from)| *to = from);
        let oids = Oid::ALL.iter().map(|&oid| Some(oid)).chain([None]);
        for oid in oids {
            if let Ok(found) = structures(oid, &buffer, Keys::Shown) {
                assert!(found
                    .iter()
                    .all(|one| one.at < buffer.len() && !one.text().is_empty()));
            }
        }
    }
}
