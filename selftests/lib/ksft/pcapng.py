# SPDX-License-Identifier: GPL-2.0
"""Reading the NIC's pcapng capture while it grows, and writing small pcap files.

Block layouts: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3.
"""

import os
import struct

SECTION, INTERFACE, ENHANCED = 0x0A0D0D0A, 1, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
OPTION_IF_NAME = 2
ETHERNET = 1
PIECE = 1 << 20  # bytes that are read at a time


class FormatError(Exception):
    """The file is not a pcapng file that we understand."""


def _options(data, order):
    """Yield (code, value) of a block's options."""
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4:at + 4 + length]
        at += 4 + (length + 3) // 4 * 4


class Reader:
    """Follows a growing file; interfaces are known by their names."""

    def __init__(self, path):
        self.path = path
        self._offset = 0
        self._order = "<"
        self._interfaces = []

    def read(self):
        """All frames written since the last call, as (interface name, bytes)."""
        frames = []
        self._follow(frames)
        return frames

    def skip(self):
        """Pass over all frames written since the last call: they may need more memory than there
        is."""
        self._follow(None)

    def _follow(self, frames):
        """Append what was written to FRAMES, which may be None."""
        with open(self.path, "rb") as file:
            left = os.fstat(file.fileno()).st_size - self._offset
            file.seek(self._offset)
            data = b""
            while piece := file.read(min(PIECE, left)):
                left -= len(piece)
                data = self._blocks(data + piece, frames)

    def _blocks(self, data, frames):
        """Take all whole blocks; returns the rest, which may still be being written."""
        at = 0
        while at + 12 <= len(data):
            kind, length = self._head(data, at)
            if at + length > len(data):
                break
            if frames is not None or kind != ENHANCED:
                self._block(data[at:at + length], frames)
            at += length
        self._offset += at
        return data[at:]

    def _head(self, data, at):
        """Kind and length of a block."""
        kind = struct.unpack_from(self._order + "I", data, at)[0]
        if kind == SECTION:  # its byte order is written inside
            magic = struct.unpack_from("<I", data, at + 8)[0]
            self._order = "<" if magic == BYTE_ORDER_MAGIC else ">"
        length = struct.unpack_from(self._order + "I", data, at + 4)[0]
        if length < 12 or length % 4:
            raise FormatError(f"{self.path}: block of {length} bytes at {self._offset + at}")
        return kind, length

    def _block(self, block, frames):
        kind = struct.unpack_from(self._order + "I", block)[0]
        if kind == SECTION:
            self._interfaces = []
        elif kind == INTERFACE:
            link = struct.unpack_from(self._order + "H", block, 8)[0]
            if link != ETHERNET:
                raise FormatError(f"{self.path}: link type {link} is not Ethernet")
            names = [value.decode() for code, value in _options(block[16:-4], self._order)
                     if code == OPTION_IF_NAME]
            self._interfaces.append(names[0] if names else str(len(self._interfaces)))
        elif kind == ENHANCED:
            index, _, _, length, original = struct.unpack_from(self._order + "IIIII", block, 8)
            if length != original:
                raise FormatError(f"{self.path}: a frame was cut to {length} of {original} bytes")
            frames.append((self._interfaces[index], block[28:28 + length]))


def write_pcap(path, frames):
    """Write frames to a classic pcap file that any tool reads."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, ETHERNET))
        for number, frame in enumerate(frames):
            file.write(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)
