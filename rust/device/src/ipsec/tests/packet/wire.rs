// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The bytes on the wire, taken apart by hand and opened with the other library.

use super::*;
use espnic_esp::checksum::complete_ipv4;

/// Opens ESP at `at` with AES-GCM; the text with its trailer.
fn open_by_hand(frame: &[u8], at: usize) -> Vec<u8> {
    let other = Backend::AwsLc.aes_gcm(&[0x42; 16], 16).unwrap();
    let mut nonce = [9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0];
    nonce[4..].copy_from_slice(&frame[at + 8..at + 16]);
    let (header, rest) = frame[at..].split_at(16);
    let (text, icv) = rest.split_at(rest.len() - 16);
    let mut text = text.to_vec();
    espnic_esp::aead::Aead::open(&other, &nonce, &header[..8], &mut text, icv).unwrap();
    text
}

/// What RFC 4303 says of padding and trailer behind `payload`.
fn check_text(text: &[u8], payload: &[u8], next_header: u8) {
    let (start, rest) = text.split_at(payload.len());
    assert_eq!(start, payload);
    let [padding @ .., pad_len, next] = rest else {
        panic!("no trailer");
    };
    assert_eq!((*next, usize::from(*pad_len)), (next_header, padding.len()));
    assert!(padding.iter().copied().eq(1..=*pad_len));
    assert_eq!(text.len() % 4, 0);
}

/// V83: the outer header, ESP header and trailer.
#[test]
fn a_tunnel_over_ipv4_is_what_the_rfcs_say() {
    let (a, _) = pair(OVER_V4);
    for (seq, v6) in [(1u32, false), (2, true), (3, false)] {
        let (hdr, clear, whole) = udp(v6, b"payload");
        let wire = one(&a, &hdr, &clear);
        let len = (wire.len() - IP) as u16;
        let mut header = vec![0x45, 0];
        header.extend(len.to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, 50, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        complete_ipv4(&mut header);
        assert_eq!(wire[IP..34], header);
        assert_eq!(wire[34..38], SPI.to_be_bytes());
        assert_eq!(wire[38..42], seq.to_be_bytes());
        let iv = u64::from(seq) ^ 0x0102_0304_0506_0708;
        assert_eq!(wire[42..50], iv.to_be_bytes());
        let next_header = if v6 { 41 } else { 4 };
        check_text(&open_by_hand(&wire, 34), &whole[IP..], next_header);
    }
}

#[test]
fn a_tunnel_over_ipv6_is_what_the_rfcs_say() {
    let (a, _) = pair(Path::Tunnel { v6: true });
    let (hdr, clear, whole) = udp(false, b"payload");
    let wire = one(&a, &hdr, &clear);
    let len = (wire.len() - IP - 40) as u16;
    let mut header = vec![0x60, 0x0a, 0xbc, 0xde];
    header.extend(len.to_be_bytes());
    header.extend([50, 64]);
    header.extend([[0x11; 16], [0x22; 16]].concat());
    assert_eq!(wire[IP..54], header);
    check_text(&open_by_hand(&wire, 54), &whole[IP..], 4);
}

#[test]
fn transport_mode_is_what_the_rfcs_say() {
    for (v6, at) in [(false, 34), (true, 54)] {
        let (a, _) = pair(Path::Transport { v6 });
        let (hdr, clear, whole) = udp(v6, b"payload");
        let wire = one(&a, &hdr, &clear);
        let len = wire.len() - IP;
        let mut header = whole[IP..at].to_vec();
        if v6 {
            header[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
            header[6] = 50;
        } else {
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            header[9] = 50;
            complete_ipv4(&mut header);
        }
        assert_eq!(wire[IP..at], header);
        check_text(&open_by_hand(&wire, at), &whole[at..], 17);
    }
}

#[test]
fn udp_is_what_rfc_3948_says() {
    for (v6, at) in [(false, 34), (true, 54)] {
        let path = Path::Tunnel { v6 };
        let mut outbound = in_udp(sa(OBJ_OUTB_SA, path));
        outbound.base.udp_sport = 4501.into();
        let (a, b) = connect(&outbound, &in_udp(sa(OBJ_INB_SA, path)));
        let (hdr, clear, whole) = udp(false, b"payload");
        let wire = one(&a, &hdr, &clear);
        let len = (wire.len() - at) as u16;
        let head = [4501, 4500, len].map(u16::to_be_bytes).concat();
        assert_eq!(wire[at..at + 6], head);
        assert_eq!(wire[if v6 { 20 } else { 23 }], 17);
        // Over IPv4 there is no checksum, over IPv6 there is.
        assert_eq!(wire[at + 6..at + 8] == [0, 0], !v6);
        check_text(&open_by_hand(&wire, at + 8), &whole[IP..], 4);
        // Any source port, but not any destination port.
        assert!(passes(&b, &wire));
        let mut other = wire.clone();
        other[at + 3] ^= 1;
        assert_eq!(by_rule(&b, &other).1, other);
    }
}

/// Outer IPv4 headers without "don't fragment" count, over the SAs between two addresses. A MODIFY does not
/// change that.
#[test]
fn identifications_count() {
    let mut outbound = sa(OBJ_OUTB_SA, OVER_V4);
    let ends = Tunnel::V4 {
        src: [192, 0, 2, 101],
        dst: [192, 0, 2, 102],
        dscp: 0,
        df: false,
        ttl: 64,
    };
    ends.put(&mut outbound.base);
    let (a, _) = connect(&outbound, &sa(OBJ_INB_SA, OVER_V4));
    assert_eq!(create(&a, OBJ_OUTB_SA, 3, &outbound), DONE);
    let (mut hdr, clear, _) = udp(false, b"the next packet");
    let mut next_of = |id: u32| {
        hdr.out.resource_id = id.into();
        let wire = one(&a, &hdr, &clear);
        u16::from_be_bytes([wire[IP + 4], wire[IP + 5]])
    };
    let first = next_of(1);
    assert_eq!(next_of(3), first.wrapping_add(1));
    assert_eq!(modify(&a, OBJ_OUTB_SA, 1, &outbound), DONE);
    assert_eq!(next_of(1), first.wrapping_add(2));
}

#[test]
fn options_of_tunnels_are_obeyed() {
    let mut outbound = sa(OBJ_OUTB_SA, OVER_V4);
    for option in [
        cap::OPT_COPY_DSCP,
        cap::OPT_DEC_TTL,
        cap::OPT_COPY_DF,
        cap::OPT_ECN,
    ] {
        add_option(&mut outbound, option);
    }
    let mut inbound = sa(OBJ_INB_SA, OVER_V4);
    add_option(&mut inbound, cap::OPT_COPY_DSCP);
    add_option(&mut inbound, cap::OPT_ECN);
    let (a, b) = connect(&outbound, &inbound);
    let mut clear = ip(false, 17, &[0; 8]);
    clear[IP + 1] = (46 << 2) | 2;
    clear[IP + 6] = 0;
    testing::correct(&mut clear);
    let mut wire = one(&a, &plain_hdr(), &clear);
    assert_eq!(wire[IP + 1], (46 << 2) | 2, "DSCP and ECN");
    assert_eq!(wire[IP + 6], 0, "no DF");
    // A router tells of congestion and changes the class.
    wire[IP + 1] = (10 << 2) | 3;
    testing::correct(&mut wire);
    let mut expected = clear.clone();
    expected[IP + 1] = (10 << 2) | 3;
    expected[IP + 8] = 63;
    testing::correct(&mut expected);
    assert_eq!(by_rule(&b, &wire).1, expected);
    // What does not know ECN cannot learn of congestion.
    clear[IP + 1] = 0;
    testing::correct(&mut clear);
    let mut wire = one(&a, &plain_hdr(), &clear);
    wire[IP + 1] |= 3;
    testing::correct(&mut wire);
    assert!(!passes(&b, &wire));
    assert_eq!(counter(&b, "ipsec_rx_congestion"), 1);
    // There is no hop left.
    clear[IP + 8] = 1;
    testing::correct(&mut clear);
    assert_eq!(transmit(&a, &plain_hdr(), &clear), Err(TxDrop::HopLimit));
    assert_eq!(counter(&a, "ipsec_tx_drop_hop_limit"), 1);
}

#[test]
fn ethernet_padding_is_left_out() {
    let (a, b) = pair(OVER_V4);
    let (hdr, mut clear, whole) = udp(false, b"x");
    clear.resize(60, 0x77);
    let mut wire = one(&a, &hdr, &clear);
    wire.extend([0x77; 9]);
    assert_eq!(by_rule(&b, &wire).1, whole);
}
