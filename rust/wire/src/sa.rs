// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPsec SA objects (VIRTIO 1.4 section 5.1.6.5.9) and their experimental tail.
//!
//! An object is [`SaBase`] (196 bytes), 4 bytes of padding and, with feature 127, [`SaTail`] (144
//! bytes), together [`SaObject`]. The standard part has 64-bit fields at offsets that are not
//! multiples of 8, so a natural C layout of it is wrong.

use crate::{Error, U16, U32, U64};

/// Object type: outbound SA.
pub const OBJ_OUTB_SA: u16 = 0x0203;
/// Object type: inbound SA.
pub const OBJ_INB_SA: u16 = 0x0204;

/// [`SaBase::direction`]: outbound.
pub const DIR_OUT: u8 = 1;
/// [`SaBase::direction`]: inbound.
pub const DIR_IN: u8 = 2;

/// [`SaBase::param_type`]: no tunnel header.
pub const PARAM_NONE: u8 = 0;
/// [`SaBase::param_type`]: IPv4 tunnel header. The standard does not define the values.
pub const PARAM_IPV4: u8 = 4;
/// [`SaBase::param_type`]: IPv6 tunnel header.
pub const PARAM_IPV6: u8 = 6;

/// [`SaTail::tail_flags`]: ESP header, sequence number, padding and lifetimes belong to the driver;
/// the NIC writes IV and ICV and encrypts, or verifies and decrypts in place.
pub const TAIL_CRYPTO_ONLY: u16 = 1;
/// [`SaTail::tail_flags`]: [`SaTail::seq`] is valid.
pub const TAIL_SEQ_VALID: u16 = 2;
/// [`SaTail::tail_flags`]: the replay bitmap behind the tail is valid.
pub const TAIL_BITMAP_VALID: u16 = 4;
/// [`SaTail::tail_flags`], inbound: packets match by (SPI, family, [`SaTail::dst`]). Among equal
/// keys the oldest live object serves, and one with the address of a packet before one without any.
pub const TAIL_MATCH_ADDR: u16 = 8;
/// [`SaTail::tail_flags`], inbound: a packet that fails is delivered as it came, with its status;
/// else it is only counted.
pub const TAIL_DELIVER_ERR: u16 = 16;
/// [`SaTail::tail_flags`]: the sequence number may wrap.
pub const TAIL_MAY_WRAP: u16 = 32;
/// [`SaTail::tail_flags`]: do not check the UDP ports of NAT-T.
pub const TAIL_NO_UDP_PORT_CHECK: u16 = 64;
/// All flags of [`SaTail::tail_flags`] that are defined.
pub const TAIL_ALL: u16 = 0x7f;

/// [`SaTail::iv_mode`]: the NIC chooses IVs that are unique for the key.
pub const IV_DEVICE: u8 = 0;
/// [`SaTail::iv_mode`]: be64(64-bit sequence number XOR [`SaTail::iv_xor`]). For ciphers with an IV of
/// 8 bytes.
pub const IV_SEQ_XOR: u8 = 1;

/// [`SaTail::encap_mode`]: ESP directly over IP.
pub const ENCAP_NONE: u8 = 0;
/// [`SaTail::encap_mode`]: ESP in UDP (RFC 3948).
pub const ENCAP_UDP: u8 = 1;

/// Longest key of an object in bytes, the part in its tail included.
pub const KEY_MAX: usize = 64;

secret_layout! {
    /// Key of up to 32 bytes.
    #[derive(Default)]
    pub struct Key {
        /// Length in bytes; may exceed 32 where the tail has the rest.
        pub length: U16,
        /// Zero.
        pub reserved: U16,
        /// Key, the rest zero.
        pub data: [u8; 32],
    }
}

secret_layout! {
    /// The standard object, `virtio_crypto_resource_obj_ipsec_sa_256b_key`.
    pub struct SaBase {
        /// [`crate::cap`] `MODE_` constants.
        pub mode: u8,
        /// [`DIR_OUT`] or [`DIR_IN`], as the object type says.
        pub direction: u8,
        /// Zero.
        pub reserved: U16,
        /// Equal to the object id of the command.
        pub obj_id: U32,
        /// SPI as a number (on the wire it is big endian).
        pub spi: U32,
        /// Salt, bytes in the order in which they stand at the start of the nonce.
        pub salt: [u8; 4],
        /// [`crate::cap`] `OPT_` constants.
        pub options: U64,
        /// `PARAM_` constants; which form [`SaBase::param`] has.
        pub param_type: u8,
        /// Zero.
        pub reserved1: [u8; 3],
        /// Tunnel header, unused by crypto-only SAs.
        pub param: [u8; 40],
        /// UDP source port of the packets with NAT-T. Not compared inbound: a NAT may change it.
        pub udp_sport: U16,
        /// UDP destination port of the packets with NAT-T.
        pub udp_dport: U16,
        /// Inbound: replay window in packets, 0 for none. With ESN there is one, because the high part of a
        /// sequence number is inferred by it; only then a crypto-only SA has one.
        pub replay_win_sz: U32,
        /// Cipher id of the crypto device; 0 with [`SaTail::aead_algo`].
        pub cipher_algo: U64,
        /// Cipher or AEAD key, without the salt.
        pub cipher_key: Key,
        /// MAC id of the crypto device; 0 with [`SaTail::aead_algo`].
        pub auth_algo: U64,
        /// MAC key.
        pub auth_key: Key,
        /// Packets until a warning, 0 for none.
        pub packets_soft_limit: U64,
        /// Bytes until a warning, 0 for none.
        pub bytes_soft_limit: U64,
        /// Packets until the SA stops, 0 for none.
        pub packets_hard_limit: U64,
        /// Bytes until the SA stops, 0 for none.
        pub bytes_hard_limit: U64,
    }
}

secret_layout! {
    /// Experimental tail of an SA object, at offset 200. A device without feature 127 ignores it.
    pub struct SaTail {
        /// Bytes from here to the end of the object: [`SaTail::LEN`] and the replay bitmap.
        pub tail_len: U16,
        /// `TAIL_` constants.
        pub tail_flags: U16,
        /// AEAD id ([`crate::cap`]), 0 for none.
        pub aead_algo: U32,
        /// ICV in bytes.
        pub icv_len: u8,
        /// Family of [`SaTail::dst`] and [`SaTail::src`]: 4, 6, or 0 for none.
        pub family: u8,
        /// `ENCAP_` constants.
        pub encap_mode: u8,
        /// `IV_` constants.
        pub iv_mode: u8,
        /// Changes with every object that is created under one id, so that packets for an earlier one
        /// are told apart.
        pub generation: U16,
        /// Zero.
        pub reserved: U16,
        /// Sequence number last used (outbound) or highest seen (inbound); 64 bits. Counts with
        /// [`TAIL_SEQ_VALID`]. Inbound with ESN it is what the NIC infers the high part of the first packets
        /// from.
        pub seq: U64,
        /// For [`IV_SEQ_XOR`]: random, drawn anew at every creation.
        pub iv_xor: U64,
        /// Bit *n*: report events of type *n*.
        pub event_mask: U64,
        /// Destination address of the packets, network order; IPv4 in the first 4 bytes.
        pub dst: [u8; 16],
        /// Source address of the packets, network order; IPv4 in the first 4 bytes.
        pub src: [u8; 16],
        /// Bytes 32 to 63 of the MAC key.
        pub auth_key_ext: [u8; 32],
        /// Bytes 32 to 63 of the cipher key.
        pub cipher_key_ext: [u8; 32],
        /// Seconds between NAT keepalives, 0 for none.
        pub keepalive_s: U32,
        /// Zero.
        pub reserved1: U32,
    }
}

impl SaTail {
    /// Length without a replay bitmap, in bytes.
    pub const LEN: u16 = 144;
}

secret_layout! {
    /// An SA object with its tail and without a replay bitmap.
    ///
    /// All zero is a valid start: `SaObject::new_zeroed()`.
    pub struct SaObject {
        /// The standard part.
        pub base: SaBase,
        /// Zero.
        pub padding: [u8; 4],
        /// The experimental part.
        pub tail: SaTail,
    }
}

impl Key {
    /// Writes `key` here and, what is behind its first 32 bytes, to `ext`.
    fn set(&mut self, ext: &mut [u8; 32], key: &[u8]) {
        self.length = U16::new(u16::try_from(key.len()).unwrap_or(u16::MAX));
        let room = self.data.iter_mut().chain(ext);
        let key = key.iter().copied().chain(core::iter::repeat(0));
        room.zip(key).for_each(|(to, from)| *to = from);
    }

    /// Puts the key together in `room`.
    fn join<'a>(&self, ext: &[u8; 32], room: &'a mut [u8; KEY_MAX]) -> Result<&'a [u8], Error> {
        let bytes = self.data.iter().chain(ext);
        room.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        room.get(..usize::from(self.length.get()))
            .ok_or(Error::Truncated)
    }
}

impl SaObject {
    /// Sets the cipher or AEAD key, without its salt. Of one that is longer than [`KEY_MAX`] bytes only the
    /// length is right: [`Self::cipher_key`] fails, so no NIC takes the object.
    pub fn set_cipher_key(&mut self, key: &[u8]) {
        self.base.cipher_key.set(&mut self.tail.cipher_key_ext, key);
    }

    /// Sets the MAC key. As [`Self::set_cipher_key`].
    pub fn set_auth_key(&mut self, key: &[u8]) {
        self.base.auth_key.set(&mut self.tail.auth_key_ext, key);
    }

    /// The cipher or AEAD key, put together in `room`. The caller erases `room`, whatever this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the key is said to be longer than [`KEY_MAX`] bytes.
    pub fn cipher_key<'a>(&self, room: &'a mut [u8; KEY_MAX]) -> Result<&'a [u8], Error> {
        self.base.cipher_key.join(&self.tail.cipher_key_ext, room)
    }

    /// The MAC key. As [`Self::cipher_key`].
    ///
    /// # Errors
    ///
    /// As [`Self::cipher_key`].
    pub fn auth_key<'a>(&self, room: &'a mut [u8; KEY_MAX]) -> Result<&'a [u8], Error> {
        self.base.auth_key.join(&self.tail.auth_key_ext, room)
    }

    /// Overwrites all key material, salt included, with zeroes. This is what a QUERY returns; to erase a
    /// copy for good, use a means that the compiler cannot remove.
    pub fn clear_keys(&mut self) {
        self.base.salt = [0; 4];
        self.base.cipher_key.data = [0; 32];
        self.base.auth_key.data = [0; 32];
        self.tail.auth_key_ext = [0; 32];
        self.tail.cipher_key_ext = [0; 32];
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Key>() == 36);
    assert!(size_of::<SaBase>() == 196);
    assert!(offset_of!(SaBase, obj_id) == 4);
    assert!(offset_of!(SaBase, spi) == 8);
    assert!(offset_of!(SaBase, salt) == 12);
    assert!(offset_of!(SaBase, options) == 16);
    assert!(offset_of!(SaBase, param_type) == 24);
    assert!(offset_of!(SaBase, param) == 28);
    assert!(offset_of!(SaBase, udp_sport) == 68);
    assert!(offset_of!(SaBase, replay_win_sz) == 72);
    assert!(offset_of!(SaBase, cipher_algo) == 76);
    assert!(offset_of!(SaBase, cipher_key) == 84);
    assert!(offset_of!(SaBase, auth_algo) == 120);
    assert!(offset_of!(SaBase, auth_key) == 128);
    assert!(offset_of!(SaBase, packets_soft_limit) == 164);
    assert!(offset_of!(SaBase, bytes_hard_limit) == 188);
    assert!(size_of::<SaTail>() == SaTail::LEN as usize);
    assert!(size_of::<SaObject>() == 344);
    assert!(offset_of!(SaObject, tail) == 200);
    assert!(offset_of!(SaTail, aead_algo) == 204 - 200);
    assert!(offset_of!(SaTail, icv_len) == 208 - 200);
    assert!(offset_of!(SaTail, generation) == 212 - 200);
    assert!(offset_of!(SaTail, seq) == 216 - 200);
    assert!(offset_of!(SaTail, iv_xor) == 224 - 200);
    assert!(offset_of!(SaTail, event_mask) == 232 - 200);
    assert!(offset_of!(SaTail, dst) == 240 - 200);
    assert!(offset_of!(SaTail, src) == 256 - 200);
    assert!(offset_of!(SaTail, auth_key_ext) == 272 - 200);
    assert!(offset_of!(SaTail, cipher_key_ext) == 304 - 200);
    assert!(offset_of!(SaTail, keepalive_s) == 336 - 200);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromBytes, FromZeros, IntoBytes};

    #[test]
    fn keys_are_split_and_joined() {
        let key: Vec<u8> = (1..=65).collect();
        for len in [0, 1, 31, 32, 33, 64] {
            let mut object = SaObject::read_from_bytes(&[0xa5; 344]).unwrap();
            object.set_cipher_key(&key[..len]);
            object.set_auth_key(&key[1..][..len]);
            let (mut room, mut auth_room) = ([0xff; KEY_MAX], [0xff; KEY_MAX]);
            assert_eq!(object.cipher_key(&mut room), Ok(&key[..len]));
            assert_eq!(object.auth_key(&mut auth_room), Ok(&key[1..][..len]));
            // Nothing of an earlier key stays behind it.
            assert!(room[len..].iter().all(|&byte| byte == 0));
            assert!(auth_room[len..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_key_starts_in_the_object_and_ends_in_its_tail() {
        let mut object = SaObject::new_zeroed();
        let key = [[1; 32], [2; 32]].concat();
        object.set_auth_key(&key);
        assert_eq!(object.base.auth_key.length.get(), 64);
        assert_eq!(object.base.auth_key.data, [1; 32]);
        assert_eq!(object.tail.auth_key_ext, [2; 32]);
    }

    #[test]
    fn keys_that_do_not_fit_are_not_read() {
        let mut object = SaObject::new_zeroed();
        object.set_cipher_key(&[7; 65]);
        object.set_auth_key(&[7; 0x10000]);
        let mut room = [0; KEY_MAX];
        assert_eq!(object.cipher_key(&mut room), Err(Error::Truncated));
        assert_eq!(object.auth_key(&mut room), Err(Error::Truncated));
    }

    #[test]
    fn clear_keys_leaves_nothing_of_them() {
        let mut object = SaObject::read_from_bytes(&[0xa5; 344]).unwrap();
        object.clear_keys();
        let bytes = object.as_bytes();
        for range in [12..16, 88..120, 132..164, 272..304, 304..336] {
            assert!(bytes[range].iter().all(|&byte| byte == 0));
        }
        assert_eq!(object.base.cipher_key.length.get(), 0xa5a5);
        assert_eq!(object.tail.keepalive_s.get(), 0xa5a5_a5a5);
    }
}
