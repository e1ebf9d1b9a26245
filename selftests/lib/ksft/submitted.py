# SPDX-License-Identifier: GPL-2.0
"""Packets as a transport of NDIS submits them: framed for an SA, with slot 12 of their data."""

import socket
import struct

from . import frames, traffic

IPV4, IPV6 = 0x0800, 0x86DD
ICV = 16
MARK = b"espnic in clear"
PORT = 4242  # where submitted datagrams come from


def esp(sa, payload=MARK, next_header=frames.PROTO_UDP, iv=8, block=4):
    """ESP as the transport frames it, with room for IV and ICV; its PadLength."""
    pad = -(len(payload) + 2) % block
    trailer = bytes(range(1, pad + 1)) + bytes([pad, next_header])
    return struct.pack("!II", sa.spi, 1) + bytes(iv) + payload + trailer + bytes(ICV), pad


def packet4(src, dst, body, protocol, fragment=0):
    """An IPv4 packet."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", traffic.checksum(head)) + head[12:] + body


def _packet6(src, dst, body, protocol):
    head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64)
    return head + b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (src, dst)) + body


def _packet(src, dst, body, protocol):
    """An IP packet, its own type, and its type in a tunnel."""
    if ":" in src:
        return _packet6(src, dst, body, protocol), IPV6, 41
    return packet4(src, dst, body, protocol), IPV4, 4


def ipv4(sa, body, protocol=frames.PROTO_ESP, fragment=0):
    """A frame with an IPv4 packet of an SA."""
    return frame(IPV4, packet4(sa.src, sa.dst, body, protocol, fragment))


def ipv6(sa, body):
    """The same with IPv6."""
    return frame(IPV6, _packet6(sa.src, sa.dst, body, frames.PROTO_ESP))


def frame(kind, packet):
    """A frame from the side under test to the peer."""
    return b"\2\0\0\0\0\x11" + b"\2\0\0\0\0\x10" + struct.pack("!H", kind) + packet


def header(next_header, pad, offset):
    """Slot 12."""
    return next_header | pad << 8 | offset // 4 << 24


def udp4(sa):
    """A frame under an SA of IPv4, and its slot 12."""
    body, pad = esp(sa)
    return ipv4(sa, body), header(frames.PROTO_UDP, pad, 20)


def udp(src, dst, port, data):
    """A UDP datagram with a checksum."""
    head, kind = struct.pack("!HHHH", PORT, port, 8 + len(data), 0), \
        socket.AF_INET6 if ":" in src else socket.AF_INET
    ends = b"".join(socket.inet_pton(kind, one) for one in (src, dst))
    pseudo = ends + struct.pack("!II", len(head + data), frames.PROTO_UDP)
    return head[:6] + struct.pack("!H", traffic.checksum(pseudo + head + data) or 0xFFFF) + data


def protected(flow, port, data):
    """A datagram of a flow, framed for its outbound SA, and slot 12."""
    body, next_header = udp(flow.dut_inner, flow.peer_inner, port, data), frames.PROTO_UDP
    if flow.mode == "tunnel":
        body, _, next_header = _packet(flow.dut_inner, flow.peer_inner, body, next_header)
    body, pad = esp(flow.out, body, next_header)
    protocol, offset = frames.PROTO_ESP, 40 if ":" in flow.dut else 20
    if flow.encap:
        ports = struct.pack("!HHHH", flow.encap, flow.encap, 8 + len(body), 0)
        body, protocol, offset = ports + body, frames.PROTO_UDP, offset + 8
    packet, kind, _ = _packet(flow.dut, flow.peer, body, protocol)
    return frame(kind, packet), header(next_header, pad, offset)
