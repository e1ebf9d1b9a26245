// SPDX-License-Identifier: GPL-2.0

//! Tests of what is chosen for receive side scaling.

use super::*;

#[kunit_tests(espnic_rss)]
mod cases {
    use super::*;

    // VIRTIO_NET_HASH_TYPE_.
    const IPV4: u32 = 1;
    const TCPV4: u32 = 2;
    const UDPV4: u32 = 4;

    fn chosen() -> Chosen {
        Chosen {
            key: [1; 40],
            types: IPV4 | TCPV4,
            by_hash: false,
            table: None,
            report: false,
        }
    }

    fn table(chosen: &Chosen, queues: u32) -> [u32; 4] {
        [0, 1, 2, 127].map(|entry| chosen.queue(entry, queues))
    }

    #[test]
    fn the_usual_table_follows_the_queues() {
        let mut chosen = chosen();
        assert_eq!(table(&chosen, 2), [0, 1, 0, 1]);
        assert_eq!(table(&chosen, 3), [0, 1, 2, 1]);
        chosen.keep_table(2);
        assert_eq!(table(&chosen, 3), [0, 1, 0, 1]);
        assert!(chosen.by_hash);
        // It is the user's already.
        chosen.keep_table(3);
        assert_eq!(table(&chosen, 3), [0, 1, 0, 1]);
    }

    #[test]
    fn what_the_user_sets_is_by_hash() -> Result {
        let mut chosen = chosen();
        let take = |chosen: &mut Chosen, table, key| chosen.take(RssRequest { table, key }, 2);
        let usual: [u32; 128] = core::array::from_fn(|entry| entry as u32 % 2);
        let key = Some(&[2; 40][..]);
        take(&mut chosen, Some(&[1; 128][..]), None)?;
        assert_eq!(table(&chosen, 2), [1; 4]);
        assert!(chosen.by_hash && chosen.key == [1; 40]);
        take(&mut chosen, None, key)?;
        assert!(chosen.by_hash && chosen.key == [2; 40] && chosen.table.is_some());
        take(&mut chosen, Some(&usual), None)?;
        assert!(!chosen.by_hash && chosen.table.is_none() && chosen.key == [2; 40]);
        take(&mut chosen, Some(&usual), key)?;
        assert!(chosen.by_hash && chosen.table.is_none());
        assert!(take(&mut chosen, None, Some(&[2; 39])).is_err());
        assert!(take(&mut chosen, Some(&[0x1_0000; 128]), None).is_err());
        Ok(())
    }

    #[test]
    fn fields_are_those_of_the_types() {
        let types = IPV4 | TCPV4;
        assert_eq!(fields(types, HashFlow::Ipv4), HashFields::Addresses);
        assert_eq!(fields(types, HashFlow::Tcp4), HashFields::Ports);
        assert_eq!(fields(types, HashFlow::Udp4), HashFields::Addresses);
        assert_eq!(fields(types, HashFlow::Tcp6), HashFields::Nothing);
        assert_eq!(fields(TCPV4, HashFlow::Ipv4), HashFields::Nothing);
    }

    #[test]
    fn fields_change_what_they_are_about_alone() {
        let of = |types, flow, wanted| with_fields(types, flow, wanted);
        let types = IPV4 | TCPV4;
        assert_eq!(
            of(types, HashFlow::Udp4, HashFields::Ports),
            Some(types | UDPV4)
        );
        assert_eq!(of(types, HashFlow::Tcp4, HashFields::Addresses), Some(IPV4));
        assert_eq!(of(types, HashFlow::Ipv4, HashFields::Nothing), Some(TCPV4));
        assert_eq!(
            of(TCPV4, HashFlow::Ipv4, HashFields::Addresses),
            Some(types)
        );
        assert_eq!(of(TCPV4, HashFlow::Tcp4, HashFields::Nothing), Some(0));
        // These would change others, or are not there.
        assert_eq!(of(types, HashFlow::Tcp4, HashFields::Nothing), None);
        assert_eq!(of(TCPV4, HashFlow::Tcp4, HashFields::Addresses), None);
        assert_eq!(of(types, HashFlow::Ipv4, HashFields::Ports), None);
    }

    #[test]
    fn commands_have_the_layout_of_the_standard() -> Result {
        let mut chosen = chosen();
        let request = rss_config(&chosen, 2)?;
        assert_eq!(request.len(), 2 + 8 + 256 + 3 + 40);
        // Class, command, types, mask, queue of the unclassified.
        assert_eq!(
            request.get(..10),
            Some(&[4, 1, 3, 0, 0, 0, 127, 0, 0, 0][..])
        );
        assert_eq!(request.get(10..16), Some(&[0, 0, 1, 0, 0, 0][..]));
        // Transmit queues and length of the key.
        assert_eq!(request.get(266..270), Some(&[2, 0, 40, 1][..]));
        let off = hash_config(&chosen)?;
        assert_eq!(off.len(), 2 + 13 + 40);
        assert_eq!(
            off.get(..16),
            Some(&[4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1][..])
        );
        chosen.report = true;
        assert_eq!(hash_config(&chosen)?.get(..4), Some(&[4, 2, 3, 0][..]));
        Ok(())
    }
}
