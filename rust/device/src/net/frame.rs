// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long a frame may be.

use espnic_esp::ip::{link, ETH_HLEN};

/// Length of the longest frame with VLAN tags like those of `frame`, if packets have up to `mtu`
/// bytes.
pub fn longest(frame: &[u8], mtu: u16) -> usize {
    link(frame).map_or(ETH_HLEN, |(len, _)| len) + usize::from(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_do_not_count_as_packet() {
        let mut frame = vec![0; 60];
        assert_eq!(longest(&frame, 1500), 1514);
        assert_eq!(longest(&[], 1500), 1514);
        frame[12] = 0x81;
        assert_eq!(longest(&frame, 1500), 1518);
        frame[16] = 0x88;
        frame[17] = 0xa8;
        assert_eq!(longest(&frame, 1500), 1522);
        frame[20] = 0x81;
        assert_eq!(longest(&frame, 1500), 1522);
        assert_eq!(longest(&frame[..14], 1500), 1514);
    }
}
