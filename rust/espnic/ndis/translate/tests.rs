// SPDX-License-Identifier: GPL-2.0

//! Tests of the way from NDIS to XFRM and back: values of `ntddndis.h` and of the kernel's headers.

use super::{
    add_status,
    identifiers,
    parameters, //
};
use espnic_ndis::{
    algorithm::{
        Authentication,
        Encryption, //
    },
    envelope::Request,
    model::{
        Ah,
        Bundle,
        Cipher,
        Esp,
        Integrity,
        Mode, //
    },
    sa::{
        Address,
        Spi,
        UdpEsp, //
    }, //
};
use kernel::prelude::*;
use kernel_net::net::{
    ip::Family,
    operation_not_supported,
    xfrm::{
        create::{
            fixture::{
                TestState,
                CBC,
                IPV4, //
            },
            Algorithm,
            Parameters, //
        },
        Direction, //
    }, //
};
use zerocopy::FromZeros;

/// AES-128-GCM, IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128.
const GCM: Cipher<'static> = Cipher {
    algorithm: Encryption(0x08),
    material: b"0123456789abcdefSALT",
    salt_length: 4,
    icv_length: 16,
};

/// AES-256-CBC, IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256.
const AES_CBC: Cipher<'static> = Cipher {
    algorithm: Encryption(0x100),
    material: b"0123456789abcdef0123456789abcdef",
    salt_length: 0,
    icv_length: 0,
};

/// IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256.
const SHA_256: Integrity<'static> = Integrity {
    algorithm: Authentication(0x04),
    key: b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef",
    icv_length: 16,
};

const ESP: Esp<'static> = Esp {
    spi: Spi([1, 2, 3, 4]),
    cipher: Some(GCM),
    integrity: None,
    esn: None,
};

const BUNDLE: Bundle<'static> = Bundle {
    inbound: true,
    source: Address::V4([192, 0, 2, 1]),
    destination: Address::V4([198, 51, 100, 2]),
    udp: UdpEsp(0),
    mode: Mode::Transport,
    esp: Some(ESP),
    ah: None,
};

fn request() -> Request {
    let mut request = Request::new_zeroed();
    request.reqid = 77;
    request.replay_window = 64;
    request
}

/// The NDIS status of what is refused, 0 if nothing is.
fn status(bundle: &Bundle<'_>) -> u32 {
    parameters(bundle, &request())
        .err()
        .map_or(0, |status| status.0)
}

fn with(esp: Esp<'_>) -> Bundle<'_> {
    Bundle {
        esp: Some(esp),
        ..BUNDLE
    }
}

/// NDIS_STATUS_NOT_SUPPORTED.
const NOT_SUPPORTED: u32 = 0xc000_00bb;

#[kunit_tests(espnic_ndis_translate)]
mod cases {
    use super::*;

    #[test]
    fn gcm_transport() -> Result {
        let found = parameters(&BUNDLE, &request()).map_err(|_| EINVAL)?;
        assert!(found.direction == Direction::In && found.family == Family::V4);
        assert!(!found.tunnel && found.udp_ports.is_none() && found.esn.is_none());
        assert_eq!((found.spi, found.reqid), (0x0102_0304, 77));
        assert_eq!(found.replay_window, 64);
        assert_eq!(found.source[..5], [192, 0, 2, 1, 0]);
        assert_eq!(found.destination[..5], [198, 51, 100, 2, 0]);
        let Algorithm::Aead {
            name,
            key,
            icv_bits,
        } = found.algorithm
        else {
            return Err(EINVAL);
        };
        assert_eq!(name.to_bytes(), b"rfc4106(gcm(aes))");
        assert_eq!(key, b"0123456789abcdefSALT");
        assert_eq!(icv_bits, 128);
        Ok(())
    }

    #[test]
    fn cbc_tunnel_over_ipv6() -> Result {
        let bundle = Bundle {
            inbound: false,
            source: Address::V6([1; 16]),
            destination: Address::V6([2; 16]),
            mode: Mode::Tunnel,
            esp: Some(Esp {
                cipher: Some(AES_CBC),
                integrity: Some(SHA_256),
                esn: Some(9),
                ..ESP
            }),
            ..BUNDLE
        };
        let found = parameters(&bundle, &request()).map_err(|_| EINVAL)?;
        assert!(found.direction == Direction::Out && found.family == Family::V6);
        assert!(found.tunnel && found.esn == Some(9));
        assert_eq!((found.source, found.destination), ([1; 16], [2; 16]));
        let Algorithm::CipherAndAuth {
            cipher,
            auth,
            auth_key,
            icv_bits,
            ..
        } = found.algorithm
        else {
            return Err(EINVAL);
        };
        assert_eq!(cipher.to_bytes(), b"cbc(aes)");
        assert_eq!(auth.to_bytes(), b"hmac(sha256)");
        assert_eq!(auth_key, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef");
        assert_eq!(icv_bits, 128);
        Ok(())
    }

    #[test]
    fn udp_ports() -> Result {
        let bundle = Bundle {
            udp: UdpEsp(1),
            ..BUNDLE
        };
        let found = parameters(&bundle, &request()).map_err(|_| EINVAL)?;
        assert!(found.udp_ports == Some((4500, 4500)) && !found.tunnel);
        let mut other = request();
        other.source_port = [0x27, 0x11];
        other.destination_port = [0x11, 0x94];
        let tunnel = Bundle {
            udp: UdpEsp(2),
            ..BUNDLE
        };
        let found = parameters(&tunnel, &other).map_err(|_| EINVAL)?;
        assert!(found.udp_ports == Some((10_001, 4500)) && found.tunnel);
        Ok(())
    }

    #[test]
    fn nested_udp() {
        for udp in [4, 8, 3, 0x10] {
            let bundle = Bundle {
                udp: UdpEsp(udp),
                ..BUNDLE
            };
            assert_eq!(status(&bundle), NOT_SUPPORTED);
        }
    }

    #[test]
    fn wildcards() {
        let nowhere = Address::V4([0; 4]);
        let source = Bundle {
            source: nowhere,
            ..BUNDLE
        };
        let destination = Bundle {
            destination: nowhere,
            ..BUNDLE
        };
        assert_eq!(status(&source), NOT_SUPPORTED);
        assert_eq!(status(&destination), NOT_SUPPORTED);
    }

    #[test]
    fn without_esp_or_with_ah() {
        let none = Bundle {
            esp: None,
            ..BUNDLE
        };
        let both = Bundle {
            ah: Some(Ah {
                spi: Spi([0, 0, 1, 0]),
                integrity: SHA_256,
                esn: None,
            }),
            ..BUNDLE
        };
        assert_eq!(
            (status(&none), status(&both)),
            (NOT_SUPPORTED, NOT_SUPPORTED)
        );
    }

    #[test]
    fn other_algorithms() {
        // None, DES, 3DES.
        for algorithm in [1, 2, 4] {
            let cipher = Cipher {
                algorithm: Encryption(algorithm),
                ..AES_CBC
            };
            let esp = Esp {
                cipher: Some(cipher),
                integrity: Some(SHA_256),
                ..ESP
            };
            assert_eq!(status(&with(esp)), NOT_SUPPORTED);
        }
        // MD5, and AES-GMAC with a cipher.
        for algorithm in [1, 8] {
            let integrity = Integrity {
                algorithm: Authentication(algorithm),
                ..SHA_256
            };
            let esp = Esp {
                cipher: Some(AES_CBC),
                integrity: Some(integrity),
                ..ESP
            };
            assert_eq!(status(&with(esp)), NOT_SUPPORTED);
        }
    }

    #[test]
    fn null_with_gmac() -> Result {
        // IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128 to _256, and _ENCRYPTION_NONE.
        let key = b"0123456789abcdef0123456789abcdefSALT";
        let null = Cipher {
            algorithm: Encryption(1),
            material: &[],
            ..AES_CBC
        };
        for (algorithm, start) in [(0x08, 16), (0x10, 8), (0x20, 0)] {
            let integrity = Some(Integrity {
                algorithm: Authentication(algorithm),
                key: &key[start..],
                icv_length: 16,
            });
            for cipher in [None, Some(null)] {
                let esp = Esp {
                    cipher,
                    integrity,
                    ..ESP
                };
                let found = parameters(&with(esp), &request()).map_err(|_| EINVAL)?;
                let Algorithm::Aead {
                    name,
                    key: given,
                    icv_bits,
                } = found.algorithm
                else {
                    return Err(EINVAL);
                };
                assert_eq!(name.to_bytes(), b"rfc4543(gcm(aes))");
                assert_eq!((given, icv_bits), (&key[start..], 128));
            }
            // One that encrypts with GMAC beside it is no pair.
            for cipher in [AES_CBC, GCM] {
                let esp = Esp {
                    cipher: Some(cipher),
                    integrity,
                    ..ESP
                };
                assert_eq!(status(&with(esp)), NOT_SUPPORTED);
            }
        }
        Ok(())
    }

    #[test]
    fn identifiers_of_gmac() -> Result {
        let key = b"0123456789abcdef0123456789abcdefSALT";
        for (start, authentication) in [(16, 0x08), (8, 0x10), (0, 0x20)] {
            let gmac = Parameters {
                algorithm: Algorithm::Aead {
                    name: c"rfc4543(gcm(aes))",
                    key: &key[start..],
                    icv_bits: 128,
                },
                ..IPV4
            };
            assert_eq!(identifiers(&*TestState::new(&gmac)?), (authentication, 1));
        }
        Ok(())
    }

    #[test]
    fn pairs_that_do_not_go_together() {
        let gcm_with_hmac = Esp {
            integrity: Some(SHA_256),
            ..ESP
        };
        let cbc_alone = Esp {
            cipher: Some(AES_CBC),
            ..ESP
        };
        let hmac_alone = Esp {
            cipher: None,
            integrity: Some(SHA_256),
            ..ESP
        };
        let null_with_hmac = Esp {
            cipher: Some(Cipher {
                algorithm: Encryption(1),
                material: &[],
                ..AES_CBC
            }),
            integrity: Some(SHA_256),
            ..ESP
        };
        let no_salt = Esp {
            cipher: Some(Cipher {
                salt_length: 0,
                ..GCM
            }),
            ..ESP
        };
        for esp in [
            gcm_with_hmac,
            cbc_alone,
            hmac_alone,
            null_with_hmac,
            no_salt,
        ] {
            assert_eq!(status(&with(esp)), NOT_SUPPORTED);
        }
    }

    #[test]
    fn identifiers_of_states() -> Result {
        assert_eq!(identifiers(&*TestState::new(&IPV4)?), (0, 0x08));
        let cbc = Parameters {
            algorithm: CBC,
            ..IPV4
        };
        assert_eq!(identifiers(&*TestState::new(&cbc)?), (0x04, 0x40));
        let chacha = Parameters {
            algorithm: Algorithm::Aead {
                name: c"rfc7539esp(chacha20,poly1305)",
                key: b"0123456789abcdef0123456789abcdefSALT",
                icv_bits: 128,
            },
            ..IPV4
        };
        // NDIS has no name for it. The kernel need not have it.
        if let Ok(x) = TestState::new(&chacha) {
            assert_eq!(identifiers(&x), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn statuses_of_errors() {
        let of = |error| add_status(error).0;
        assert_eq!((of(ENOSPC), of(ENOMEM)), (0xc000_009a, 0xc000_009a));
        assert_eq!(of(EINVAL), 0xc000_00bb);
        assert_eq!(of(operation_not_supported()), 0xc000_00bb);
        assert_eq!(of(ENODEV), 0x0001_0003);
        for error in [EAGAIN, ENXIO, EINTR, ESRCH, ETIMEDOUT] {
            assert_eq!(of(error), 0xc001_000c);
        }
        assert_eq!((of(EEXIST), of(EIO)), (0xc000_0001, 0xc000_0001));
    }
}
