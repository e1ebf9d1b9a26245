// SPDX-License-Identifier: GPL-2.0

//! The NIC's capabilities in the terms of NDIS. Nothing is claimed that the NIC does not do.

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
    cap::{
        self,
        length_bit,
        XSaEntry, //
    },
    U16 as WireU16,
    U32 as WireU32, //
};
use kernel_net::net::{
    device::feature as netif,
    xfrm::Direction, //
};

/// Two-bit fields of checksum offload: options, TCP options, TCP, UDP.
const CHECKSUM_FIELDS: [u32; 4] = [0, 2, 4, 6];

/// The longest TCP packet to be segmented, in bytes, and the least number of segments.
const LSO_SIZE: u32 = 65535;
const LSO_SEGMENTS: u32 = 2;

/// Both modes, because tunnel mode is mandatory (R23).
const MODES: [u8; 2] = [cap::MODE_ESP_TRANSPORT, cap::MODE_ESP_TUNNEL];

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

/// An AEAD with a 16-byte ICV.
fn gcm(mode: u8, key_len: usize, options: u32) -> XSaEntry {
    XSaEntry {
        mode,
        kind: cap::KIND_AEAD,
        flags: WireU16::new(options as u16),
        algo: WireU16::new(cap::AEAD_GCM as u16),
        mac: WireU16::new(0),
        key_lens: WireU32::new(length_bit(key_len / 4)),
        icv_lens: WireU32::new(length_bit(16)),
    }
}

/// Null encryption with AES-GMAC.
fn gmac(mode: u8, key_len: usize) -> XSaEntry {
    XSaEntry {
        mode,
        kind: cap::KIND_MAC,
        flags: WireU16::new(0),
        algo: WireU16::new(0),
        mac: WireU16::new(cap::MAC_GMAC_AES as u16),
        key_lens: WireU32::new(length_bit(key_len / 4)),
        icv_lens: WireU32::new(length_bit(16)),
    }
}

fn cbc(mode: u8, key_len: usize, mac: u64, icv_len: usize) -> XSaEntry {
    XSaEntry {
        mode,
        kind: cap::KIND_CIPHER,
        flags: WireU16::new(0),
        algo: WireU16::new(cap::CIPHER_AES_CBC as u16),
        mac: WireU16::new(mac as u16),
        key_lens: WireU32::new(length_bit(key_len / 4)),
        icv_lens: WireU32::new(length_bit(icv_len)),
    }
}

fn capabilities(ipsec: &Ipsec, lso: bool) -> Capabilities {
    let in_both = |entry: &dyn Fn(u8) -> XSaEntry| {
        let mut modes = MODES.into_iter();
        modes.all(|mode| ipsec.offers(&entry(mode)))
    };
    let sha_1 = |mode| cbc(mode, 16, cap::MAC_HMAC_SHA1, 12);
    let sha_256 = |mode| cbc(mode, 16, cap::MAC_HMAC_SHA256, 16);
    let has_cbc = |key_len| {
        in_both(&|mode| cbc(mode, key_len, cap::MAC_HMAC_SHA1, 12))
            && in_both(&|mode| cbc(mode, key_len, cap::MAC_HMAC_SHA256, 16))
    };
    let has_gcm = |key_len| in_both(&|mode| gcm(mode, key_len, 0));
    let has_gmac = |key_len| in_both(&|mode| gmac(mode, key_len));
    let gmacs = [has_gmac(16), has_gmac(24), has_gmac(32)];
    let encryption = [
        (Encryption::NONE, gmacs.contains(&true)),
        (Encryption::AES_GCM_128, has_gcm(16)),
        (Encryption::AES_GCM_192, has_gcm(24)),
        (Encryption::AES_GCM_256, has_gcm(32)),
        (Encryption::AES_CBC_128, has_cbc(16)),
        (Encryption::AES_CBC_192, has_cbc(24)),
        (Encryption::AES_CBC_256, has_cbc(32)),
    ];
    let authentication = [
        (Authentication::SHA_1, in_both(&sha_1)),
        (Authentication::SHA_256, in_both(&sha_256)),
        (Authentication::AES_GCM_128, gmacs[0]),
        (Authentication::AES_GCM_192, gmacs[1]),
        (Authentication::AES_GCM_256, gmacs[2]),
    ];
    let udp_esp = [
        (UdpEsp::TRANSPORT, cap::MODE_ESP_TRANSPORT),
        (UdpEsp::TUNNEL, cap::MODE_ESP_TUNNEL),
    ];
    let chosen = |list: &mut dyn Iterator<Item = (u32, bool)>| {
        list.fold(0, |mask, (bit, on)| if on { mask | bit } else { mask })
    };
    let encryption = chosen(&mut encryption.into_iter().map(|(a, on)| (a.0, on)));
    if encryption == 0 {
        return Capabilities::NONE;
    }
    Capabilities {
        encapsulation: IEEE_802_3,
        ipv6: true,
        esp: true,
        transport: true,
        tunnel: true,
        lso,
        esn: in_both(&|mode| gcm(mode, 16, cap::OPT_ESN)),
        udp_esp: UdpEsp(chosen(&mut udp_esp.into_iter().map(|(form, mode)| {
            (form.0, ipsec.offers(&gcm(mode, 16, cap::OPT_UDP_ENCAP)))
        }))),
        authentication: Authentication(chosen(
            &mut authentication.into_iter().map(|(a, on)| (a.0, on)),
        )),
        encryption: Encryption(encryption),
        // So many fit, whatever their directions are.
        capacity: ipsec.limit(Direction::In).min(ipsec.limit(Direction::Out)),
        ..Capabilities::NONE
    }
}
