# SPDX-License-Identifier: GPL-2.0
"""Just enough parsing of Ethernet frames to recognise ESP and plaintext."""

import ipaddress
import struct
from dataclasses import dataclass

ETH_IPV4, ETH_VLAN, ETH_IPV6 = 0x0800, 0x8100, 0x86DD
PROTO_UDP, PROTO_FRAGMENT, PROTO_ESP = 17, 44, 50
FRAGMENT_LEN = 8
ETH_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN, ESP_LEN, IV_LEN = 14, 20, 40, 8, 8, 8
ENCAP_PORTS = {4500, 4501}  # that of RFC 3948, and another one that tests use
IKE_PORT, IKE_LEN, IKE_VERSION_AT, IKE_VERSION = 500, 28, 17, 0x20  # RFC 7296 section 3.1
KEEPALIVE, NON_ESP_MARKER = b"\xff", bytes(4)  # RFC 3948 sections 2.3 and 2.2


@dataclass(frozen=True)
class Packet:
    """An IP packet in an Ethernet frame."""

    smac: str
    dmac: str
    src: str
    dst: str
    proto: int
    payload: bytes
    offset: int  # of the payload in the frame without VLAN tag
    fragment: bool

    @property
    def _esp(self):
        """The ESP packet, out of its UDP datagram if it is in one (RFC 3948)."""
        if self.proto == PROTO_ESP:
            return self.payload
        if self.proto == PROTO_UDP and len(self.payload) >= UDP_LEN + ESP_LEN + IV_LEN:
            target, inner = struct.unpack_from("!2xH4xI", self.payload)
            if target in ENCAP_PORTS and inner:
                return self.payload[UDP_LEN:]
        return b""

    @property
    def esp(self):
        """True for ESP with a whole header and IV, not a later fragment."""
        return len(self._esp) >= ESP_LEN + IV_LEN

    @property
    def encapsulated(self):
        """True for ESP in UDP."""
        return self.esp and self.proto == PROTO_UDP

    @property
    def key_exchange(self):
        """True for what IKE daemons send, through their own port and that of ESP in UDP."""
        if self.proto != PROTO_UDP or self.fragment or len(self.payload) <= UDP_LEN:
            return False
        ports, content = struct.unpack_from("!2H", self.payload), self.payload[UDP_LEN:]
        if IKE_PORT in ports:
            return len(content) >= IKE_LEN and content[IKE_VERSION_AT] == IKE_VERSION
        return bool(ENCAP_PORTS & set(ports)) and (content == KEEPALIVE
                                                   or content.startswith(NON_ESP_MARKER))

    @property
    def spi(self):
        """SPI of an ESP packet."""
        return struct.unpack_from("!I", self._esp, 0)[0]

    @property
    def seq(self):
        """Sequence number of an ESP packet, the 32 bits of the header."""
        return struct.unpack_from("!I", self._esp, 4)[0]

    @property
    def iv(self):
        """The 8 bytes of explicit IV of an AES-GCM ESP packet (RFC 4106 section 3.1)."""
        return self._esp[ESP_LEN:ESP_LEN + IV_LEN]

    @property
    def long_iv(self):
        """The 16 bytes of explicit IV of an AES-CBC ESP packet (RFC 3602 section 3)."""
        return self._esp[ESP_LEN:ESP_LEN + 2 * IV_LEN]


def mac_text(raw):
    """A MAC address as `ip link` prints it."""
    return raw.hex(":")


def _ipv4(frame, macs):
    first = frame[ETH_LEN]
    header = (first & 15) * 4
    total = struct.unpack_from("!H", frame, ETH_LEN + 2)[0]
    fragment = bool(struct.unpack_from("!H", frame, ETH_LEN + 6)[0] & 0x3FFF)
    if first >> 4 != 4 or header < IPV4_LEN or ETH_LEN + total > len(frame):
        return None
    src, dst = (str(ipaddress.IPv4Address(frame[ETH_LEN + o:ETH_LEN + o + 4])) for o in (12, 16))
    start = ETH_LEN + header
    return Packet(*macs, src, dst, frame[ETH_LEN + 9], frame[start:ETH_LEN + total], start,
                  fragment)


def _ipv6(frame, macs):
    length = struct.unpack_from("!H", frame, ETH_LEN + 4)[0]
    start = ETH_LEN + IPV6_LEN
    if frame[ETH_LEN] >> 4 != 6 or start + length > len(frame):
        return None
    src, dst = (str(ipaddress.IPv6Address(frame[ETH_LEN + o:ETH_LEN + o + 16])) for o in (8, 24))
    proto = frame[ETH_LEN + 6]
    payload = frame[start:start + length]
    if proto == PROTO_FRAGMENT and length >= FRAGMENT_LEN:
        return Packet(*macs, src, dst, payload[0], payload[FRAGMENT_LEN:], start + FRAGMENT_LEN,
                      True)
    return Packet(*macs, src, dst, proto, payload, start, False)


def parse(frame):
    """The IP packet of a frame with at most one VLAN tag, or None for everything else."""
    if frame[12:14] == ETH_VLAN.to_bytes(2, "big"):
        frame = frame[:12] + frame[16:]
    if len(frame) < ETH_LEN + IPV4_LEN:
        return None
    kind = struct.unpack_from("!H", frame, 12)[0]
    macs = mac_text(frame[6:12]), mac_text(frame[0:6])
    if kind == ETH_IPV4:
        return _ipv4(frame, macs)
    if kind == ETH_IPV6 and len(frame) >= ETH_LEN + IPV6_LEN:
        return _ipv6(frame, macs)
    return None


def esp_packets(frames):
    """All ESP packets among raw frames."""
    parsed = (parse(frame) for frame in frames)
    return [packet for packet in parsed if packet and packet.esp]
