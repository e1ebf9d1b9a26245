# SPDX-License-Identifier: GPL-2.0
"""The algorithms of ESP as `ip xfrm` names them, and what they cost in a packet."""

import os
from dataclasses import dataclass

SALT_LEN = 4
ESP_HEADER, TRAILER = 8, 2


@dataclass(frozen=True)
class Algorithm:
    """One AEAD, or a cipher with a MAC; lengths in bytes unless named otherwise.

    key_len counts all key material, in the order of the words: with the salt of an AEAD, or with
    the MAC's key behind the cipher's.
    """

    name: str
    kernel_name: str
    key_len: int
    icv_bits: int
    iv_len: int = 8
    block: int = 4
    mac: str = ""
    mac_key_len: int = 0

    def new_key(self):
        """Random key material."""
        return os.urandom(self.key_len)

    def words(self, key):
        """Arguments of `ip xfrm state add`."""
        if not self.mac:
            return f"aead {self.kernel_name} 0x{key.hex()} {self.icv_bits}"
        cipher, mac = key[:-self.mac_key_len], key[-self.mac_key_len:]
        return (f"enc {self.kernel_name} 0x{cipher.hex()} "
                f"auth-trunc {self.mac} 0x{mac.hex()} {self.icv_bits}")

    def esp_len(self, inner):
        """Length of the ESP packet around so many bytes of payload (RFC 4303 section 2)."""
        body = -(-(inner + TRAILER) // self.block) * self.block
        return ESP_HEADER + self.iv_len + body + self.icv_bits // 8

    def room(self, outer):
        """The most payload that fits into an ESP packet of so many bytes."""
        body = outer - ESP_HEADER - self.iv_len - self.icv_bits // 8
        return body // self.block * self.block - TRAILER


def gcm(bits=128, icv_bits=128):
    """AES-GCM (RFC 4106)."""
    return Algorithm(f"AES-GCM-{bits}, ICV {icv_bits}", "rfc4106(gcm(aes))", bits // 8 + SALT_LEN,
                     icv_bits)


def gmac(bits=128):
    """AES-GMAC (RFC 4543): integrity only."""
    return Algorithm(f"AES-GMAC-{bits}", "rfc4543(gcm(aes))", bits // 8 + SALT_LEN, 128)


CHACHA = Algorithm("ChaCha20-Poly1305", "rfc7539esp(chacha20,poly1305)", 32 + SALT_LEN, 128)

HASHES = {"sha1": (20, 96), "sha256": (32, 128), "sha384": (48, 192), "sha512": (64, 256)}


def cbc(bits=128, mac="sha256"):
    """AES-CBC (RFC 3602) with an HMAC (RFC 2404, RFC 4868)."""
    mac_key_len, icv_bits = HASHES[mac]
    return Algorithm(f"AES-CBC-{bits}, HMAC-{mac.upper()}", "cbc(aes)", bits // 8 + mac_key_len,
                     icv_bits, iv_len=16, block=16, mac=f"hmac({mac})", mac_key_len=mac_key_len)
