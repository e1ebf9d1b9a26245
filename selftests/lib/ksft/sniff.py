# SPDX-License-Identifier: GPL-2.0
"""A packet socket that keeps every frame of one interface, in both directions."""

import socket
import struct

from .ktap import Failure, defer

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
PACKET_OUTGOING = 4
BUFFER = 256 << 20


class Sniffer:
    """Frames are queued by the kernel and fetched by frames(); a loss is a failure."""

    def __init__(self, ns, ifname):
        with ns:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.bind((ifname, ETH_P_ALL))
        self._socket.setblocking(False)
        defer(self._socket.close)

    def frames(self):
        """(outgoing, frame) for everything since the last call."""
        result = []
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                break
            result.append((address[2] == PACKET_OUTGOING, frame))
        stats = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        lost = struct.unpack("II", stats)[1]
        if lost:
            raise Failure(f"the packet socket lost {lost} frames, the capture proves nothing")
        return result
