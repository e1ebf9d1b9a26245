// SPDX-License-Identifier: GPL-2.0

//! The NIC's capabilities in the terms of NDIS. Nothing is claimed that the NIC does not do.

use super::algorithm::{
    self,
    Name, //
};
use crate::ipsec::Ipsec;
use espnic_ndis::{
    algorithm::{
        Authentication,
        Encryption, //
    },
    encapsulation::IEEE_802_3,
    model::{
        Capabilities,
        Hardware,
        Tasks, //
    },
    offload::{
        two_bits,
        Checksum,
        ChecksumPart,
        Lso,
        LsoV2,
        Offload,
        AND_TCP_CHECKSUM_COEXISTENCE,
        AND_UDP_CHECKSUM_COEXISTENCE, //
    },
    sa::UdpEsp,
    U32, //
};
use espnic_wire::{
    algorithm::{
        Cipher,
        Mac,
        Suite, //
    },
    cap, //
};
use kernel_net::net::{
    netdevice::features as netif,
    xfrm::Direction, //
};

/// Two-bit fields of checksum offload: options, TCP options, TCP, UDP.
const CHECKSUM_FIELDS: [u32; 4] = [0, 2, 4, 6];

/// The longest TCP packet to be segmented, in bytes, and the least number of segments.
const LSO_SIZE: u32 = 65535;
const LSO_SEGMENTS: u32 = 2;

/// Both modes, because tunnel mode is mandatory (R23).
const MODES: [u8; 2] = [cap::MODE_ESP_TRANSPORT, cap::MODE_ESP_TUNNEL];

/// ICV of AES-GCM and AES-GMAC in bytes: NDIS has no other.
const ICV_LEN: usize = 16;

/// The key in bytes with which options and MACs are asked for.
const KEY_LEN: usize = 16;

/// The capabilities of the NIC while these features of the netdev are on.
pub(super) fn of(ipsec: &Ipsec, features: u64) -> Hardware {
    let has = |bits: u64| features & bits == bits;
    let coexistence = AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE;
    Hardware {
        others: Offload {
            checksum: checksum(has(netif::HW_CSUM), has(netif::RXCSUM)),
            lso_v2: LsoV2 {
                ipv4: lso(has(netif::TSO)),
                ipv6: lso(has(netif::TSO6)),
                ipv6_bits: U32::new(two_bits(2, has(netif::TSO6))),
            },
            flags: U32::new(if has(netif::HW_ESP_TX_CSUM) {
                coexistence
            } else {
                0
            }),
            ..Offload::default()
        },
        ipsec: capabilities(ipsec, has(netif::GSO_ESP)),
    }
}

/// The netdev's features that checksums and large sends stand for, and whether these settings switch
/// them on. A large send needs the checksums, as in the stack.
pub(super) fn features(tasks: &Tasks) -> [(u64, bool); 4] {
    let [_, tcp4, udp4, tcp6, udp6] = tasks.checksums;
    let [_, lso_ipv4, lso_ipv6] = tasks.large_sends();
    let of_all = [tcp4, udp4, tcp6, udp6];
    let transmit = of_all.iter().all(|one| one.transmit);
    [
        (netif::HW_CSUM, transmit),
        (netif::RXCSUM, of_all.iter().all(|one| one.receive)),
        (netif::TSO, transmit && lso_ipv4),
        (netif::TSO6, transmit && lso_ipv6),
    ]
}

/// The settings that the netdev can have. It switches the checksums of TCP and UDP over both IP versions
/// together, each direction separately; if one of them is off, all are.
pub(super) fn possible(tasks: &Tasks) -> Tasks {
    let mut possible = *tasks;
    let [_, of_all @ ..] = &mut possible.checksums;
    let transmit = of_all.iter().all(|one| one.transmit);
    let receive = of_all.iter().all(|one| one.receive);
    for one in of_all {
        (one.transmit, one.receive) = (transmit, receive);
    }
    possible
}

/// The settings, with those on that correspond to these features of the netdev.
pub(super) fn switched_on(tasks: &Tasks, features: u64) -> Tasks {
    let has = |bit| features & bit != 0;
    let mut on = *tasks;
    let [ip, of_all @ ..] = &mut on.checksums;
    for one in of_all {
        one.transmit |= has(netif::HW_CSUM);
        one.receive |= has(netif::RXCSUM);
    }
    let [_, lso_ipv4, lso_ipv6] = &mut on.lso;
    ip.transmit |= has(netif::TSO);
    *lso_ipv4 |= has(netif::TSO);
    *lso_ipv6 |= has(netif::TSO6);
    on
}

fn checksum(transmit: bool, receive: bool) -> Checksum {
    let part = |on: bool| ChecksumPart {
        encapsulation: U32::new(if on { IEEE_802_3 } else { 0 }),
        bits: U32::new(
            CHECKSUM_FIELDS
                .iter()
                .fold(0, |bits, &shift| bits | two_bits(shift, on)),
        ),
    };
    Checksum {
        ipv4_transmit: part(transmit),
        ipv4_receive: part(receive),
        ipv6_transmit: part(transmit),
        ipv6_receive: part(receive),
    }
}

fn lso(on: bool) -> Lso {
    let when = |value| U32::new(if on { value } else { 0 });
    Lso {
        encapsulation: when(IEEE_802_3),
        max_offload_size: when(LSO_SIZE),
        min_segment_count: when(LSO_SEGMENTS),
    }
}

/// Whether the NIC has `suite` in `mode` with these lengths and `options`.
fn offers(
    ipsec: &Ipsec,
    suite: Option<Suite>,
    (mode, options): (u8, u32),
    (key_len, icv_len): (usize, usize),
) -> bool {
    suite
        .and_then(|suite| suite.single(mode, options as u16, key_len, icv_len))
        .is_some_and(|entry| ipsec.offers(&entry))
}

/// Whether the NIC has this cipher and MAC in both modes.
fn has_mac(ipsec: &Ipsec, cipher: Cipher, key_len: usize, mac: Mac) -> bool {
    let lens = (key_len, mac.row().icv_len);
    let suite = Suite::new(cipher, Some(mac));
    MODES
        .iter()
        .all(|&mode| offers(ipsec, suite, (mode, 0), lens))
}

/// Whether the NIC has this cipher in both modes, with each MAC of NDIS if it needs one.
fn has_cipher(ipsec: &Ipsec, cipher: Cipher, key_len: usize) -> bool {
    if cipher.needs_mac() {
        return algorithm::macs().all(|(mac, _)| has_mac(ipsec, cipher, key_len, mac));
    }
    let suite = Suite::new(cipher, None);
    MODES
        .iter()
        .all(|&mode| offers(ipsec, suite, (mode, 0), (key_len, ICV_LEN)))
}

/// The algorithms of the NIC. A MAC is one of them if the NIC has it beside AES-CBC.
fn algorithms(ipsec: &Ipsec) -> (Authentication, Encryption) {
    let (mut authentication, mut encryption) = (Authentication(0), Encryption(0));
    let has = |&(cipher, key_len, _): &_| has_cipher(ipsec, cipher, key_len);
    for (_, _, name) in algorithm::ciphers().filter(has) {
        match name {
            Name::Encryption(one) => encryption = encryption | one,
            Name::Authentication(one) => {
                authentication = authentication | one;
                encryption = encryption | Encryption::NONE;
            }
        }
    }
    for (mac, one) in algorithm::macs() {
        if has_mac(ipsec, Cipher::AesCbc, KEY_LEN, mac) {
            authentication = authentication | one;
        }
    }
    (authentication, encryption)
}

fn capabilities(ipsec: &Ipsec, lso: bool) -> Capabilities {
    let (authentication, encryption) = algorithms(ipsec);
    if encryption.is_empty() {
        return Capabilities::NONE;
    }
    let gcm = Suite::new(Cipher::AesGcm, None);
    let has_gcm = |mode, options| offers(ipsec, gcm, (mode, options), (KEY_LEN, ICV_LEN));
    let udp_esp = [
        (UdpEsp::TRANSPORT, cap::MODE_ESP_TRANSPORT),
        (UdpEsp::TUNNEL, cap::MODE_ESP_TUNNEL),
    ];
    let udp_esp = udp_esp
        .into_iter()
        .filter(|&(_, mode)| has_gcm(mode, cap::OPT_UDP_ENCAP))
        .fold(0, |mask, (form, _)| mask | form.0);
    Capabilities {
        encapsulation: IEEE_802_3,
        ipv6: true,
        esp: true,
        transport: true,
        tunnel: true,
        lso,
        esn: MODES.iter().all(|&mode| has_gcm(mode, cap::OPT_ESN)),
        udp_esp: UdpEsp(udp_esp),
        authentication,
        encryption,
        // So many fit, whatever their directions are.
        capacity: ipsec.limit(Direction::In).min(ipsec.limit(Direction::Out)),
        ..Capabilities::NONE
    }
}
