// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets that somebody changed: the model promises its cryptography lengths that hold, and says
//! nothing that contradicts itself.

use crate::fixture::*;
use crate::frame::*;
use crate::table::Table;
use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::model::send::check;
use espnic_ndis::model::{Job, Lookup, Mode, SendSlots, Verdict};
use espnic_ndis::oob::{LargeSend, Receive};
use proptest::prelude::*;
use proptest::sample::Index;

type Changes = Vec<(Index, u8)>;

/// Changes bytes of a packet and cuts it.
fn spoil(packet: &mut Vec<u8>, changes: &Changes, cut: Option<Index>) {
    for (at, byte) in changes {
        let at = at.index(packet.len());
        packet[at] = *byte;
    }
    if let Some(cut) = cut {
        packet.truncate(cut.index(packet.len()));
    }
}

fn changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<Index>(), any::<u8>()), 0..5)
}

/// The places of a job lie inside of its packet.
fn is_inside(job: &Job, packet: &[u8]) -> bool {
    let headers = [job.esp, job.ah];
    let segments = job
        .segments
        .iter()
        .flat_map(|plan| plan.iter().collect::<Vec<_>>());
    headers.iter().flatten().all(|at| at + 8 <= packet.len())
        && segments
            .into_iter()
            .all(|one| one.start + one.payload <= packet.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn received(which in 0usize..5, changes in changes(), cut in any::<Option<Index>>()) {
        let table = Table::new(8);
        let sha = Authentication::SHA_1;
        let gcm = add(&table, &inbound(&[gcm(0x100)]), Mode::ByPacket);
        let cbc = esp(0x101, Encryption::AES_CBC_128, sha);
        let cbc = add(&table, &inbound(&[cbc]), Mode::ByPacket);
        let pair = [esp(0x102, Encryption::NONE, sha), ah(0x103, sha)];
        let pair = add(&table, &inbound(&pair), Mode::Transport);
        let payload = [7; 60];
        let mut packet = match which {
            0 => ipv4(ESP, &esp_of(&table, gcm, &payload, TCP)),
            1 => ipv4(ESP, &esp_of(&table, cbc, &ipv4(TCP, &payload), IPV4)),
            2 => ipv4(AH, &ah_of(&table, pair, &esp_of(&table, pair, &payload, TCP), ESP)),
            3 => {
                let inside = ipv4(ESP, &esp_of(&table, cbc, &payload, TCP));
                ipv4(ESP, &esp_of(&table, gcm, &inside, IPV4))
            }
            _ => ipv4_options(UDP, &udp(4500, &esp_of(&table, gcm, &payload, TCP))),
        };
        spoil(&mut packet, &changes, cut);
        let length = packet.len();
        let record = receive_with(&EVERYTHING, &table, &mut packet).record();
        prop_assert_eq!(packet.len(), length);
        let word = Receive::from_word(record.ipsec);
        prop_assert!(word.crypto_done || !word.next_crypto_done);
        prop_assert!(word.crypto_done || record.ipsec == 0);
        prop_assert!(word.status.name().is_some());
        prop_assert!(record.header == 0 || record.ipsec & !6 == 0);
    }

    #[test]
    fn sent(
        which in 0usize..3,
        changes in changes(),
        cut in any::<Option<Index>>(),
        header in any::<u32>(),
        keep_header in any::<bool>(),
        large_send in prop::option::of((1u32..2000, any::<bool>())),
    ) {
        let table = Table::new(8);
        let sha = Authentication::SHA_1;
        let gcm = add(&table, &outbound(&[gcm(0x100)]), Mode::ByPacket);
        let pair = [esp(0x102, Encryption::AES_CBC_128, sha), ah(0x103, sha)];
        let pair = add(&table, &outbound(&pair), Mode::Transport);
        let shape = |handle| table.by_handle(handle).unwrap().esp.unwrap();
        let payload = [7 << 4; 58];
        let (handle, tunnel, mut packet, good) = match which {
            0 => (gcm, 0, ipv4(ESP, &framed(&shape(gcm), &payload, TCP)), 0x0500_0006),
            1 => {
                let esp = framed(&shape(pair), &payload, TCP);
                (pair, 0, ipv4(AH, &ah_of(&table, pair, &esp, ESP)), 0x0b05_0406)
            }
            _ => {
                let esp = framed(&shape(pair), &payload, TCP);
                let inside = ipv4(AH, &ah_of(&table, pair, &esp, ESP));
                (pair, gcm.get(), ipv4(ESP, &framed(&shape(gcm), &inside, IPV4)), 0x140e_0406)
            }
        };
        let slots = SendSlots {
            ipsec: handle.get(),
            tunnel,
            header: u64::from(if keep_header { good } else { header }),
            large_send: large_send.map_or(0, |(mss, at_tcp)| {
                let large = LargeSend::V1 {
                    mss,
                    // Ethernet, IP, ESP, IV; for the pair IP, AH, ESP, IV.
                    tcp_header_offset: match (at_tcp, which) {
                        (false, _) => 0,
                        (true, 0) => 14 + 20 + 8 + 8,
                        (true, _) => 14 + 20 + 24 + 8 + 16,
                    },
                };
                large.word().unwrap()
            }),
        };
        if changes.is_empty() && cut.is_none() && keep_header && large_send.is_none() {
            let good = check(true, &EVERYTHING, &slots, &packet, &table);
            prop_assert!(matches!(good, Verdict::Crypto(_)), "{which}");
        }
        spoil(&mut packet, &changes, cut);
        match check(true, &EVERYTHING, &slots, &packet, &table) {
            Verdict::Plain => prop_assert!(false, "in the clear"),
            Verdict::Crypto(job) => prop_assert!(is_inside(&job, &packet)),
            Verdict::Fail(status) => prop_assert!(!status.is_success()),
        }
    }
}
