// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Bundles to put into requests.

use espnic_ndis::algorithm::{Authentication, Encryption};
use espnic_ndis::sa::build::{Addresses, Algorithm, Association, Bundle};
use espnic_ndis::sa::{Operation, Spi, UdpEsp};

/// AES-GCM-128 with salt, ESN.
pub const GCM: Association<'static> = Association {
    operation: Operation::ESP,
    spi: Spi::new(0x0102_0304),
    esn: Some(0x1122_3344),
    authentication: None,
    encryption: Some(Algorithm {
        identifier: Encryption::AES_GCM_128,
        key: b"0123456789abcdefSALT",
        additional_info: 16,
    }),
};

/// AES-CBC-128 with HMAC-SHA-256.
pub const CBC: Association<'static> = Association {
    operation: Operation::ESP,
    spi: Spi::new(0x100),
    esn: None,
    authentication: Some(Algorithm {
        identifier: Authentication::SHA_256,
        key: &[0x5a; 32],
        additional_info: 0,
    }),
    encryption: Some(Algorithm {
        identifier: Encryption::AES_CBC_128,
        key: &[0xc3; 16],
        additional_info: 0,
    }),
};

/// AH with HMAC-SHA-1.
pub const AH: Association<'static> = Association {
    operation: Operation::AH,
    spi: Spi::new(0x101),
    esn: None,
    authentication: Some(Algorithm {
        identifier: Authentication::SHA_1,
        key: &[0x11; 20],
        additional_info: 0,
    }),
    encryption: None,
};

/// Outbound, IPv4.
pub const OUT: Bundle<'static> = Bundle {
    inbound: false,
    addresses: Addresses::V4 {
        source: [192, 0, 2, 1],
        destination: [198, 51, 100, 2],
    },
    udp_esp: UdpEsp::NONE,
    associations: &[GCM],
};

/// Inbound, IPv6, ESP and AH, UDP.
pub const IN6: Bundle<'static> = Bundle {
    inbound: true,
    addresses: Addresses::V6 {
        source: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    },
    udp_esp: UdpEsp::TUNNEL,
    associations: &[CBC, AH],
};
