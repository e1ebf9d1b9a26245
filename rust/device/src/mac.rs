// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Ethernet addresses (IEEE 802).

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// The bit of the first byte that makes an address one of a group.
const GROUP: u8 = 1;

/// Whether this is the address of a group, such as broadcast.
#[inline]
pub fn is_group(mac: &MacAddress) -> bool {
    let [first, ..] = mac;
    first & GROUP != 0
}

/// Whether an interface can have this address: neither zero nor one of a group.
pub fn is_station(mac: &MacAddress) -> bool {
    !is_group(mac) && *mac != [0; 6]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_neither_groups_nor_nobody() {
        for good in [[2, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1], [0xfe; 6]] {
            assert!(is_station(&good), "{good:x?}");
        }
        for bad in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [3, 0, 0, 0, 0, 1]] {
            assert!(!is_station(&bad), "{bad:x?}");
        }
    }
}
