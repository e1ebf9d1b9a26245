// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What all views of an NDIS buffer must keep to; good buffers and packets, from the model's own tests.

#[allow(dead_code, missing_docs)]
#[path = "../../ndis/tests/model/fixture.rs"]
pub mod fixture;
#[allow(dead_code, missing_docs)]
#[path = "../../ndis/tests/model/frame.rs"]
pub mod frame;
#[allow(dead_code, missing_docs)]
#[path = "../../ndis/tests/model/table.rs"]
pub mod table;

use crate::Bytes;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::encapsulation::{Set, IEEE_802_3};
use espnic_ndis::model::Mode;
use espnic_ndis::parameters::OffloadParameters;
use espnic_ndis::sa::build::{self, Association};
use espnic_ndis::sa::{BundleView, Operation, Spi};
use espnic_ndis::Handle;
use frame::{AH, ESP, IPV4, TCP, UDP};
use table::{handle_number, Table};
use zerocopy::IntoBytes as _;

/// Whether `part` lies inside `whole`; an empty part may lie anywhere.
pub fn inside(whole: &[u8], part: &[u8]) -> bool {
    let (outer, inner) = (whole.as_ptr_range(), part.as_ptr_range());
    part.is_empty() || (outer.start <= inner.start && inner.end <= outer.end)
}

/// Looks at everything that a bundle has.
pub fn bundle(buffer: &[u8], view: &BundleView<'_>) {
    let views = [
        view.key_data(),
        view.endpoints.as_bytes(),
        view.sec_assoc.as_bytes(),
    ];
    assert!(views.iter().all(|part| inside(buffer, part)));
    let _ = (view.source(), view.destination(), view.num_ext_hdrs());
    for sa in view.associations().unwrap_or_default() {
        for algorithm in [&sa.authentication_algorithm, &sa.encryption_algorithm] {
            if let Ok(key) = view.key(algorithm) {
                assert!(inside(view.key_data(), key));
                assert_eq!(key.len(), algorithm.key_length.get() as usize);
            }
        }
    }
}

fn gcm_sa() -> Association<'static> {
    Association {
        esn: Some(5),
        ..fixture::gcm(0x100)
    }
}

fn cbc_sa(spi: u32) -> Association<'static> {
    fixture::esp(spi, Encryption::AES_CBC_128, Authentication::SHA_1)
}

fn ah_sa() -> Association<'static> {
    fixture::ah(0x103, Authentication::SHA_1)
}

/// A good buffer for some request, before the fuzzer changes it.
pub fn buffer(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let choice = bytes.u8();
    let handle = |number: u8| Some(handle_number(u64::from(number % 8)));
    let (one, two, pair) = ([gcm_sa()], [cbc_sa(0x101)], [cbc_sa(0x102), ah_sa()]);
    let bundles: [build::Bundle<'_>; 3] = if choice & 0x80 == 0 {
        [&one[..], &two, &pair].map(fixture::outbound)
    } else {
        [&one[..], &two, &pair].map(fixture::inbound)
    };
    let which = usize::from(choice / 8) % 3;
    match choice % 8 {
        0 | 1 => fixture::add_sa(&bundles[..=which]).0,
        2 => fixture::add_sa_ex(&bundles[which]),
        3 => fixture::delete_sa(&[handle(bytes.u8()), handle(bytes.u8()), None]),
        4 => {
            let operation = [Operation::ESP, Operation::AH][which % 2];
            let spi = Spi::new(0x100 + u32::from(choice / 64));
            let update = build::update_sa(handle(bytes.u8()), operation, spi, 7);
            update.as_bytes().to_vec()
        }
        5 => OffloadParameters::new(5).unwrap().as_bytes().to_vec(),
        6 => fixture::encapsulate([Set::ON, Set::OFF][which % 2], IEEE_802_3),
        _ => bytes.slice().to_vec(),
    }
}

/// SAs of every kind, for packets that go out or come in.
pub struct Sas {
    /// Their table.
    pub table: Table,
    /// AES-GCM.
    pub gcm: Handle,
    /// AES-CBC with HMAC, and AH around it.
    pub pair: Handle,
    /// AES-CBC with HMAC.
    pub cbc: Handle,
}

impl Sas {
    /// A table with them.
    pub fn new(inbound: bool) -> Self {
        let table = Table::new(8);
        let add = |sas: &[Association<'_>], mode| {
            let bundle = if inbound {
                fixture::inbound(sas)
            } else {
                fixture::outbound(sas)
            };
            fixture::add(&table, &bundle, mode)
        };
        let gcm = add(&[gcm_sa()], Mode::ByPacket);
        let cbc = add(&[cbc_sa(0x101)], Mode::ByPacket);
        let pair = add(&[cbc_sa(0x102), ah_sa()], Mode::Transport);
        Self {
            table,
            gcm,
            pair,
            cbc,
        }
    }

    /// A packet for one or two of them, as the peer sends it.
    pub fn packet(&self, which: u8, payload: &[u8]) -> Vec<u8> {
        let esp = |handle, payload: &[u8], next| frame::esp_of(&self.table, handle, payload, next);
        match which % 6 {
            0 => frame::ipv4(ESP, &esp(self.gcm, payload, TCP)),
            1 => frame::ipv4(ESP, &esp(self.cbc, &frame::ipv4(TCP, payload), IPV4)),
            2 => {
                let esp = esp(self.pair, payload, TCP);
                frame::ipv4(AH, &frame::ah_of(&self.table, self.pair, &esp, ESP))
            }
            3 => {
                let inside = frame::ipv4(ESP, &esp(self.cbc, payload, TCP));
                frame::ipv4(ESP, &esp(self.gcm, &inside, IPV4))
            }
            4 => frame::ipv4_options(UDP, &frame::udp(4500, &esp(self.gcm, payload, TCP))),
            _ => frame::ipv6(&[], ESP, &esp(self.gcm, payload, TCP)),
        }
    }
}
