# SPDX-License-Identifier: GPL-2.0
"""A packet socket that keeps every frame of one interface, in both directions.

It has a ring (Documentation/networking/packet_mmap.rst, TPACKET_V2): the kernel copies a frame at
the moment it passes. Without one the socket would share pages with the IP stack, which decrypts ESP
in place, and would show plaintext that never was on the wire.
"""

import mmap
import socket
import struct

from .ktap import Failure, defer

ETH_P_ALL = 3
SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10
TPACKET_V2 = 1
STATUS_KERNEL, STATUS_USER = 0, 1
HEADER = struct.Struct("=IIIHH")  # status, length, captured, offsets: frame, network
ADDRESS_AT = 32  # of struct sockaddr_ll, behind struct tpacket2_hdr
PACKET_TYPE_AT = ADDRESS_AT + 10
PACKET_OUTGOING = 4
FRAME, BLOCK, FRAMES = 16384, 65536, 8192


class Sniffer:
    """Frames wait in the ring and are fetched by frames(); a loss is a failure."""

    def __init__(self, ns, ifname):
        with ns:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        ring = struct.pack("IIII", BLOCK, FRAMES * FRAME // BLOCK, FRAME, FRAMES)
        self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, ring)
        self._ring = mmap.mmap(self._socket.fileno(), FRAMES * FRAME)
        self._next = 0
        self._socket.bind((ifname, ETH_P_ALL))
        defer(self._socket.close)
        defer(self._ring.close)

    def _take(self):
        """(outgoing, frame) of the next slot, or None if the kernel has not filled it."""
        at = self._next * FRAME
        status, _, captured, mac, _ = HEADER.unpack_from(self._ring, at)
        if not status & STATUS_USER:
            return None
        outgoing = self._ring[at + PACKET_TYPE_AT] == PACKET_OUTGOING
        frame = self._ring[at + mac:at + mac + captured]
        struct.pack_into("=I", self._ring, at, STATUS_KERNEL)
        self._next = (self._next + 1) % FRAMES
        return outgoing, frame

    def frames(self):
        """(outgoing, frame) for everything since the last call."""
        result = []
        while (item := self._take()) is not None:
            result.append(item)
        stats = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        lost = struct.unpack("II", stats)[1]
        if lost:
            raise Failure(f"the packet socket lost {lost} frames, the record proves nothing")
        return result
