// SPDX-License-Identifier: GPL-2.0

//! Tests of the table of algorithms: names of `net/xfrm/xfrm_algo.c`, ids of VIRTIO 1.4.

use super::of;
use espnic_wire::sa::SaObject;
use kernel::prelude::*;
use kernel_net::net::xfrm::create::{
    fixture::{
        Change,
        TestState,
        CBC,
        IPV4, //
    },
    Algorithm,
    Parameters, //
};
use zerocopy::FromZeros;

fn state(algorithm: Algorithm<'_>) -> Result<TestState> {
    TestState::new(&Parameters { algorithm, ..IPV4 })
}

fn aead<'a>(name: &'a CStr, key: &'a [u8], icv_bits: u32) -> Algorithm<'a> {
    Algorithm::Aead {
        name,
        key,
        icv_bits,
    }
}

fn cbc<'a>(key: &'a [u8], auth: &'a CStr, auth_key: &'a [u8], icv_bits: u32) -> Algorithm<'a> {
    Algorithm::CipherAndAuth {
        cipher: c"cbc(aes)",
        cipher_key: key,
        auth,
        auth_key,
        icv_bits,
    }
}

/// Kind, cipher, MAC and ICV in bytes; `None` if it is refused.
fn ids(algorithm: Algorithm<'_>) -> Result<Option<(u8, u16, u16, u8)>> {
    let x = state(algorithm)?;
    let known = of(&x).ok();
    Ok(known.map(|known| {
        let entry = known.suite.entry(0, 0);
        (entry.kind, entry.algo.get(), entry.mac.get(), known.icv_len)
    }))
}

const GCM: &CStr = c"rfc4106(gcm(aes))";
const GMAC: &CStr = c"rfc4543(gcm(aes))";
const KEY: [u8; 64] = [0x5a; 64];

#[kunit_tests(espnic_ipsec_algorithm)]
mod cases {
    use super::*;

    #[test]
    fn gcm() -> Result {
        // RFC 4106: keys of 16, 24 and 32 bytes and 4 of salt, ICVs of 8, 12 and 16.
        for key_len in [20, 28, 36] {
            for (bits, bytes) in [(64, 8), (96, 12), (128, 16)] {
                let found = ids(aead(GCM, &KEY[..key_len], bits))?;
                assert_eq!(found, Some((3, 1, 0, bytes)));
            }
        }
        Ok(())
    }

    #[test]
    fn gcm_of_other_lengths() -> Result {
        for key_len in [0, 3, 4, 16, 19, 21, 24, 32, 40, 64] {
            assert_eq!(ids(aead(GCM, &KEY[..key_len], 128))?, None);
        }
        Ok(())
    }

    #[test]
    fn gmac() -> Result {
        assert_eq!(ids(aead(GMAC, &KEY[..20], 128))?, Some((2, 0, 41, 16)));
        assert_eq!(ids(aead(GMAC, &KEY[..36], 128))?, Some((2, 0, 41, 16)));
        assert_eq!(ids(aead(GMAC, &KEY[..16], 128))?, None);
        Ok(())
    }

    #[test]
    fn cbc_with_hmac() -> Result {
        for (auth, key_len, bits, expected) in [
            (c"hmac(sha1)", 20, 96, (1, 3, 2, 12)),
            (c"hmac(sha256)", 32, 128, (1, 3, 4, 16)),
            (c"hmac(sha384)", 48, 192, (1, 3, 5, 24)),
            (c"hmac(sha512)", 64, 256, (1, 3, 6, 32)),
        ] {
            for cipher_len in [16, 24, 32] {
                let algorithm = cbc(&KEY[..cipher_len], auth, &KEY[..key_len], bits);
                assert_eq!(ids(algorithm)?, Some(expected));
            }
        }
        Ok(())
    }

    #[test]
    fn hmac_of_other_lengths() -> Result {
        let key = &KEY[..16];
        // RFC 4868: the key is as long as the hash, the ICV half as long; SHA-1 has 12 bytes.
        assert_eq!(ids(cbc(key, c"hmac(sha256)", &KEY[..31], 128))?, None);
        assert_eq!(ids(cbc(key, c"hmac(sha256)", &KEY[..33], 128))?, None);
        assert_eq!(ids(cbc(key, c"hmac(sha256)", &KEY[..32], 96))?, None);
        assert_eq!(ids(cbc(key, c"hmac(sha256)", &KEY[..32], 256))?, None);
        assert_eq!(ids(cbc(key, c"hmac(sha1)", &KEY[..20], 160))?, None);
        assert_eq!(
            ids(cbc(&KEY[..20], c"hmac(sha256)", &KEY[..32], 128))?,
            None
        );
        Ok(())
    }

    #[test]
    fn other_hashes() -> Result {
        let refused = ids(cbc(&KEY[..16], c"hmac(md5)", &KEY[..16], 96));
        // The kernel need not have it.
        assert!(matches!(refused, Ok(None) | Err(_)));
        Ok(())
    }

    #[test]
    fn generators_of_ivs() -> Result {
        let message = |parameters: &Parameters<'_>, name| -> Result<Option<&'static CStr>> {
            let x = TestState::changed(parameters, Change::IvGenerator(name))?;
            Ok(of(&x).err())
        };
        let for_cbc = Parameters {
            algorithm: CBC,
            ..IPV4
        };
        assert_eq!(message(&IPV4, c"seqiv")?, None);
        assert_eq!(message(&for_cbc, c"echainiv")?, None);
        assert_eq!(
            message(&IPV4, c"echainiv")?,
            Some(c"espnic: only the IV generator seqiv can be offloaded for an AEAD")
        );
        assert_eq!(
            message(&for_cbc, c"seqiv")?,
            Some(c"espnic: only the IV generator echainiv can be offloaded for CBC")
        );
        Ok(())
    }

    #[test]
    fn keys_of_an_aead() -> Result {
        let x = state(aead(GCM, b"0123456789abcdefghijklmnopqrstuvSALT", 128))?;
        let mut object = SaObject::new_zeroed();
        of(&x).map_err(|_| EINVAL)?.write(&mut object);
        assert_eq!(object.base.salt, *b"SALT");
        assert_eq!(object.base.cipher_key.length.get(), 32);
        assert_eq!(
            &object.base.cipher_key.data,
            b"0123456789abcdefghijklmnopqrstuv"
        );
        assert_eq!(object.tail.aead_algo.get(), 1);
        assert_eq!(object.tail.icv_len, 16);
        assert_eq!(
            (object.base.cipher_algo.get(), object.base.auth_algo.get()),
            (0, 0)
        );
        assert_eq!(object.base.auth_key.length.get(), 0);
        Ok(())
    }

    #[test]
    fn keys_of_gmac() -> Result {
        let x = state(aead(GMAC, b"0123456789abcdefSALT", 128))?;
        let mut object = SaObject::new_zeroed();
        of(&x).map_err(|_| EINVAL)?.write(&mut object);
        assert_eq!(object.base.salt, *b"SALT");
        assert_eq!(object.base.auth_algo.get(), 41);
        assert_eq!(object.base.auth_key.length.get(), 16);
        assert_eq!(&object.base.auth_key.data[..17], b"0123456789abcdef\0");
        assert_eq!(object.base.cipher_key.length.get(), 0);
        assert_eq!(object.tail.aead_algo.get(), 0);
        Ok(())
    }

    #[test]
    fn keys_longer_than_their_field() -> Result {
        let mut auth_key = [0xa1; 64];
        auth_key[32..].fill(0xb2);
        let x = state(cbc(b"0123456789abcdef", c"hmac(sha512)", &auth_key, 256))?;
        let mut object = SaObject::new_zeroed();
        of(&x).map_err(|_| EINVAL)?.write(&mut object);
        assert_eq!(object.base.auth_key.length.get(), 64);
        assert_eq!(object.base.auth_key.data, [0xa1; 32]);
        assert_eq!(object.tail.auth_key_ext, [0xb2; 32]);
        assert_eq!(object.base.cipher_key.length.get(), 16);
        assert_eq!(object.tail.cipher_key_ext, [0; 32]);
        assert_eq!(
            (object.base.cipher_algo.get(), object.base.auth_algo.get()),
            (3, 6)
        );
        Ok(())
    }
}
