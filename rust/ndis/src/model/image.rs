// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The NDIS_OFFLOAD images that an adapter reports: the hardware's, cut down to what is enabled.

use super::capabilities::Capabilities;
use super::keywords::Enabled;
use super::tasks::{Directions, Tasks};
use crate::offload::{
    ChecksumPart, IpsecV1, Lso, LsoV1, Offload, AND_TCP_CHECKSUM_COEXISTENCE,
    AND_UDP_CHECKSUM_COEXISTENCE,
};
use crate::U32;

/// What is left of the hardware's other offloads with those of an IP version switched off (R17).
pub(super) fn of_versions(hardware: &Offload, ipv4: bool, ipv6: bool) -> Offload {
    if !ipv4 && !ipv6 {
        return Offload::default();
    }
    let mut left = *hardware;
    if !ipv4 {
        left.checksum.ipv4_transmit = ChecksumPart::default();
        left.checksum.ipv4_receive = ChecksumPart::default();
        left.lso_v1 = LsoV1::default();
        left.lso_v2.ipv4 = Lso::default();
        left.ipsec_v1 = IpsecV1::default();
    }
    if !ipv6 {
        left.checksum.ipv6_transmit = ChecksumPart::default();
        left.checksum.ipv6_receive = ChecksumPart::default();
        left.lso_v2.ipv6 = Lso::default();
        left.lso_v2.ipv6_bits = U32::new(0);
    }
    left
}

/// What is left of the other offloads with these settings (R142).
pub(super) fn of_tasks(others: &Offload, tasks: &Tasks) -> Offload {
    let mut left = *others;
    let [ip, tcp4, udp4, tcp6, udp6] = tasks.checksums;
    let checksum = &mut left.checksum;
    let sent = |one: Directions| one.transmit;
    let received = |one: Directions| one.receive;
    for (part, [ip, tcp, udp]) in [
        (&mut checksum.ipv4_transmit, [ip, tcp4, udp4].map(sent)),
        (&mut checksum.ipv4_receive, [ip, tcp4, udp4].map(received)),
        (&mut checksum.ipv6_transmit, [tcp6, tcp6, udp6].map(sent)),
        (&mut checksum.ipv6_receive, [tcp6, tcp6, udp6].map(received)),
    ] {
        *part = checksums(part, ip, tcp, udp);
    }
    let [v1, v2_ipv4, v2_ipv6] = tasks.large_sends();
    if !v1 {
        left.lso_v1 = LsoV1::default();
    }
    if !v2_ipv4 {
        left.lso_v2.ipv4 = Lso::default();
    }
    if !v2_ipv6 {
        left.lso_v2.ipv6 = Lso::default();
        left.lso_v2.ipv6_bits = U32::new(0);
    }
    left
}

/// What is left of one direction when only these checksums are enabled.
fn checksums(hardware: &ChecksumPart, ip: bool, tcp: bool, udp: bool) -> ChecksumPart {
    // Two bits each: options of IP, options of TCP, TCP, UDP, IP.
    const TCP: u32 = 0x3c;
    const UDP: u32 = 0xc0;
    const IP: u32 = 0x300;
    let mut bits = hardware.bits.get();
    for (on, fields) in [(tcp, TCP), (udp, UDP), (ip, IP)] {
        if !on {
            bits &= !fields;
        }
    }
    if bits & (TCP | UDP | IP) == 0 {
        return ChecksumPart::default();
    }
    ChecksumPart {
        bits: U32::new(bits),
        ..*hardware
    }
}

/// Whether there is any large send offload.
pub(super) fn has_large_send(image: &Offload) -> bool {
    let sizes = [
        image.lso_v1.ipv4.max_offload_size,
        image.lso_v2.ipv4.max_offload_size,
        image.lso_v2.ipv6.max_offload_size,
    ];
    sizes.iter().any(|size| size.get() != 0)
}

/// Every encapsulation that one of the other offloads supports.
pub(super) fn encapsulations(image: &Offload) -> u32 {
    let checksum = &image.checksum;
    let words = [
        checksum.ipv4_transmit.encapsulation,
        checksum.ipv4_receive.encapsulation,
        checksum.ipv6_transmit.encapsulation,
        checksum.ipv6_receive.encapsulation,
        image.lso_v1.ipv4.encapsulation,
        image.lso_v2.ipv4.encapsulation,
        image.lso_v2.ipv6.encapsulation,
        image.ipsec_v1.encapsulation,
    ];
    words.iter().fold(0, |all, word| all | word.get())
}

/// NDIS_OFFLOAD with this much of IPsec; its header comes with the version when it is encoded.
pub(super) fn with_ipsec(others: &Offload, ipsec: Capabilities, v1: Enabled) -> Offload {
    let mut image = *others;
    let coexistence = AND_TCP_CHECKSUM_COEXISTENCE | AND_UDP_CHECKSUM_COEXISTENCE;
    if !ipsec.is_offered() {
        image.flags = U32::new(image.flags.get() & !coexistence);
    }
    image.ipsec_v1 = enabled_v1(&image.ipsec_v1, v1);
    image.ipsec_v2 = ipsec.into();
    image
}

/// What is left of version 1 when only these protocols are enabled.
fn enabled_v1(hardware: &IpsecV1, enabled: Enabled) -> IpsecV1 {
    let mut left = *hardware;
    let none = U32::new(0);
    if !enabled.ah {
        left.ipv4_ah = none;
    }
    if !enabled.esp {
        left.ipv4_esp = none;
    }
    if enabled != Enabled::BOTH {
        left.ah_esp_combined = none;
    }
    if left.ipv4_ah == none && left.ipv4_esp == none {
        return IpsecV1::default();
    }
    left
}
