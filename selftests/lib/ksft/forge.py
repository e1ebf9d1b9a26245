# SPDX-License-Identifier: GPL-2.0
"""ESP packets made by hand and put on the wire, for what no sound sender would send.

They are encrypted by the Python package cryptography, so the ICV is right whatever is inside.
"""

import os
import socket
import struct
from dataclasses import dataclass

try:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    AESGCM = None

from . import traffic
from .frames import ETH_IPV4, ETH_IPV6, PROTO_ESP, PROTO_UDP
from .ktap import Skip, defer

SALT_LEN, IV_LEN = 4, 8
TTL, IDENT, DONT_FRAGMENT = 64, 0x4242, 0x4000
HOP_BY_HOP = 0
TRAILER_LEN, ALIGNMENT = 2, 4


def _gcm(key, nonce, aad, text, icv_len):
    """Ciphertext and ICV; a short ICV is the beginning of the whole one (RFC 4106 section 6)."""
    if AESGCM is None:
        raise Skip("the Python package cryptography is not installed")
    return AESGCM(key).encrypt(nonce, text, aad)[:len(text) + icv_len]


def udp(source, target, data, ends=()):
    """A UDP datagram; its checksum covers the addresses, or there is none without them."""
    length = 8 + len(data)
    if not ends:
        return struct.pack("!HHHH", source, target, length, 0) + data
    pseudo = b"".join(_address(end) for end in ends) + struct.pack("!HH", length, PROTO_UDP)
    start = struct.pack("!HHH", source, target, length)
    total = traffic.checksum(pseudo + start + b"\0\0" + data)
    return start + struct.pack("!H", total or 0xFFFF) + data


def _address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@dataclass(frozen=True)
class Esp:
    """An ESP packet of an AES-GCM SA. Unless told otherwise it is one that RFC 4303 allows.

    padding None: as much as needed; pad_len None: its length. Without keys: in clear, with zeros
    for the ICV.
    """

    payload: bytes
    next_header: int = PROTO_UDP
    padding: bytes | None = None
    pad_len: int | None = None
    without_keys: bool = False

    def _text(self):
        padding = self.padding
        if padding is None:
            padding = bytes(range(1, needed_padding(self.payload) + 1))
        pad_len = len(padding) if self.pad_len is None else self.pad_len
        return self.payload + padding + bytes([pad_len, self.next_header])

    def seal(self, sa, number):
        """The packet under an SA, with this sequence number."""
        header, iv = struct.pack("!II", sa.spi, number), os.urandom(IV_LEN)
        icv_len = sa.algorithm.icv_bits // 8
        if self.without_keys:
            return header + iv + self._text() + bytes(icv_len)
        key, salt = sa.key[:-SALT_LEN], sa.key[-SALT_LEN:]
        return header + iv + _gcm(key, salt + iv, header, self._text(), icv_len)


def needed_padding(payload):
    """How much padding fills the last word."""
    return -(len(payload) + TRAILER_LEN) % ALIGNMENT


def ip(src, dst, proto, payload, fragment=DONT_FRAGMENT, options=b"", tos=0, damage=0):
    """An IP packet, with options (IPv6: hop by hop) and a byte of DSCP and ECN if told so; IPv4
    with the flags and offset of a fragment, and with these bits of the checksum wrong, if told
    so."""
    ends = _address(src) + _address(dst)
    if ":" in dst:
        if options:
            payload = bytes([proto, len(options) // 8]) + options + payload
            proto = HOP_BY_HOP
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), proto, TTL) + ends + payload
    words = struct.pack("!BBHHHBB", 0x45 + len(options) // 4, tos, 20 + len(options) + len(payload),
                        IDENT, fragment, TTL, proto)
    total = traffic.checksum(words + b"\0\0" + ends + options)
    return words + struct.pack("!H", total ^ damage) + ends + options + payload


class Injector:
    """Puts packets on the wire as if the peer had sent them to the side under test."""

    def __init__(self, cfg):
        with cfg.wire:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        defer(self._socket.close)
        self._socket.bind((cfg.peerif, 0))
        self._macs = bytes.fromhex((cfg.netif_mac + cfg.peer_mac).replace(":", ""))

    def send(self, src, dst, proto, payload, tags=b"", **kwargs):
        """An IP packet with this payload behind these tags, and with what ip() can be told."""
        kind = ETH_IPV6 if ":" in dst else ETH_IPV4
        self._socket.send(self._macs + tags + struct.pack("!H", kind) +
                          ip(src, dst, proto, payload, **kwargs))

    def again(self, frame):
        """A frame that was on the wire comes once more."""
        self._socket.send(frame)

    def esp(self, sa, esp, number, dst=None, ports=None, checksum=False, **kwargs):
        """An ESP packet under an SA; to another destination, and in UDP, with a checksum or
        without, if told so, and with what ip() can be told."""
        proto, packet = PROTO_ESP, esp.seal(sa, number)
        if ports:
            ends = (sa.src, dst or sa.dst) if checksum else ()
            proto, packet = PROTO_UDP, udp(*ports, packet, ends)
        self.send(sa.src, dst or sa.dst, proto, packet, **kwargs)
