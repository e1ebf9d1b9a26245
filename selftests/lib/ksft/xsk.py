# SPDX-License-Identifier: GPL-2.0
"""Sockets that get frames past the stack (AF_XDP), with their memory and rings.

Numbers and structures: include/uapi/linux/if_xdp.h and bpf.h, which do not change. Rings are read
and written without barriers, which is right where the processor keeps stores in order (x86-64).
"""

import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import time

from . import netif, xdp
from .ktap import Failure, Skip, check, defer, equal
from .pace import scaled

AF_XDP, SOL_XDP = 44, 283
MMAP_OFFSETS, RX_RING, TX_RING, UMEM_REG, FILL_RING, COMPLETION_RING, STATISTICS = range(1, 8)
PAGE_OFFSETS = {RX_RING: 0, TX_RING: 0x80000000, FILL_RING: 0x100000000,
                COMPLETION_RING: 0x180000000}
COPY, ZEROCOPY, NEED_WAKEUP = 1 << 1, 1 << 2, 1 << 3
OPTIONS, OPTION_ZEROCOPY = 8, 1
RING_NEEDS_WAKEUP = 1
MAP_CREATE, MAP_UPDATE, TYPE_XSKMAP, REDIRECT_MAP = 0, 2, 17, 51
CHUNK, CHUNKS, RING = 4096, 256, 128
HEADROOM = 256  # XDP_PACKET_HEADROOM, in front of a received frame
RING_RESET = 40
WAIT = scaled(5.0)
_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """One ring: numbers and where they are."""

    def __init__(self, fd, kind, offsets, entry, size):
        producer, consumer, desc, flags = offsets
        self._entry, self._size, self._desc = entry, size, desc
        self._memory = mmap.mmap(fd, desc + size * entry, mmap.MAP_SHARED | mmap.MAP_POPULATE,
                                 mmap.PROT_READ | mmap.PROT_WRITE, offset=PAGE_OFFSETS[kind])
        self._number = {name: ctypes.c_uint32.from_buffer(self._memory, at) for name, at in
                        (("producer", producer), ("consumer", consumer), ("flags", flags))}

    def _at(self, index):
        return self._desc + index % self._size * self._entry

    def put(self, form, *values):
        """Produce an entry; false if the ring is full."""
        producer, consumer = self._number["producer"], self._number["consumer"]
        if producer.value - consumer.value & 0xFFFFFFFF >= self._size:
            return False
        struct.pack_into(form, self._memory, self._at(producer.value), *values)
        producer.value += 1
        return True

    def take(self, form):
        """Consume an entry, or None."""
        producer, consumer = self._number["producer"], self._number["consumer"]
        if producer.value == consumer.value:
            return None
        values = struct.unpack_from(form, self._memory, self._at(consumer.value))
        consumer.value += 1
        return values

    def needs_wakeup(self):
        """Whether the kernel wants to be told of entries."""
        return bool(self._number["flags"].value & RING_NEEDS_WAKEUP)

    def close(self):
        """Unmap it."""
        self._number.clear()
        self._memory.close()


class Socket:
    """A socket with memory of its own. Half of the memory is for receiving, half for sending."""

    def __init__(self, ns, chunk=CHUNK):
        self.chunk = chunk
        try:
            with ns:
                self._socket = socket.socket(AF_XDP, socket.SOCK_RAW)
        except OSError as error:
            raise Skip(f"no sockets of AF_XDP (XDP_SOCKETS): {error}") from error
        if platform.machine() != "x86_64":
            raise Skip("the rings of sockets are only read on x86-64")
        defer(self.close)
        self.memory = mmap.mmap(-1, CHUNKS * CHUNK)
        self._first = ctypes.c_char.from_buffer(self.memory)
        size = CHUNKS * CHUNK
        self._set(UMEM_REG, struct.pack("=QQIIII", ctypes.addressof(self._first), size, chunk, 0,
                                        0, 0))
        for kind in (FILL_RING, COMPLETION_RING, RX_RING, TX_RING):
            self._set(kind, struct.pack("=I", RING))
        offsets = struct.unpack("=16Q", self._socket.getsockopt(SOL_XDP, MMAP_OFFSETS, 128))
        fd = self._socket.fileno()
        self.received = Ring(fd, RX_RING, offsets[0:4], 16, RING)
        self.to_send = Ring(fd, TX_RING, offsets[4:8], 16, RING)
        self.fill = Ring(fd, FILL_RING, offsets[8:12], 8, RING)
        self.sent = Ring(fd, COMPLETION_RING, offsets[12:16], 8, RING)
        self._free = [chunk * (size // chunk // 2 + number) for number in range(RING)]
        for number in range(RING):
            self.fill.put("=Q", chunk * number)

    def _set(self, option, value):
        self._socket.setsockopt(SOL_XDP, option, value)

    def bind(self, ns, name, queue=0, flags=ZEROCOPY | NEED_WAKEUP):
        """Returns 0 or the number of the error."""
        with ns:
            index = socket.if_nametoindex(name)
        address = struct.pack("=HHIII", AF_XDP, flags, index, queue, 0)
        if _libc.bind(self._socket.fileno(), address, len(address)) == 0:
            return 0
        return ctypes.get_errno()

    def is_zero_copy(self):
        """Whether the driver uses the socket's memory."""
        value = self._socket.getsockopt(SOL_XDP, OPTIONS, 4)
        return bool(struct.unpack("=I", value)[0] & OPTION_ZEROCOPY)

    def statistics(self):
        """What the kernel has dropped, and so on."""
        names = ("rx_dropped", "rx_invalid", "tx_invalid", "rx_full", "fill_empty", "tx_empty")
        values = struct.unpack("=6Q", self._socket.getsockopt(SOL_XDP, STATISTICS, 48))
        return dict(zip(names, values, strict=True))

    def fileno(self):
        """The file descriptor."""
        return self._socket.fileno()

    def wake(self):
        """Have the kernel look at the rings; returns 0 or the number of the error."""
        if _libc.sendto(self.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0) == 0:
            return 0
        return ctypes.get_errno()

    def _wake_for_room(self):
        if self.fill.needs_wakeup():
            _libc.recvfrom(self.fileno(), None, 0, socket.MSG_DONTWAIT, None, None)

    def frames(self, part=b"", count=0, refill=True):
        """Frames with this part: wait for so many, and then a moment for more."""
        found, deadline = [], time.monotonic() + WAIT
        while time.monotonic() < deadline:
            while (entry := self.received.take("=QII")) is not None:
                addr, length, _ = entry
                frame = self.memory[addr:addr + length]
                if part in frame:
                    found.append(frame)
                if refill:
                    self.fill.put("=Q", addr - addr % self.chunk)
            if refill:
                self._wake_for_room()
            if len(found) >= count:
                deadline = min(deadline, time.monotonic() + scaled(0.2))
            time.sleep(0.005)
        return found

    def send(self, frame, count=1):
        """Send this frame so often, and wait until the kernel is done with all."""
        for _ in range(count):
            self.post(frame)
        self.drain()

    def post(self, frame):
        """Put a frame into the ring."""
        deadline = time.monotonic() + WAIT
        while not self._free:
            self._reap()
            if time.monotonic() > deadline:
                raise Failure("the kernel is not done with any frame of the socket")
        addr = self._free.pop()
        self.memory[addr:addr + len(frame)] = frame
        if not self.to_send.put("=QII", addr, len(frame), 0):
            raise Failure("the ring of frames to be sent is full")

    def _reap(self):
        self.wake()
        while (entry := self.sent.take("=Q")) is not None:
            self._free.append(entry[0])

    def drain(self):
        """Wait until the kernel is done with all frames."""
        deadline = time.monotonic() + WAIT
        while len(self._free) < RING:
            self._reap()
            if time.monotonic() > deadline:
                raise Failure(f"{RING - len(self._free)} frames of the socket are not done")
            time.sleep(0.001)

    def close(self):
        """End it, with all that it has."""
        if self._socket is None:
            return
        for name in ("received", "to_send", "fill", "sent"):
            if hasattr(self, name):
                getattr(self, name).close()
        self._socket.close()
        self._socket = None


def _bpf(command, attributes):
    number = xdp.NUMBERS.get(platform.machine(), -1)
    return _libc.syscall(number, command, ctypes.c_char_p(attributes), len(attributes))


def to_sockets(begin, sockets):
    """A program that redirects what is left of `begin` to one of these sockets, by queue."""
    fd = _bpf(MAP_CREATE, struct.pack("=IIIIIIIII", TYPE_XSKMAP, 4, 4, 64, 0, 0, 0, 0, 0))
    if fd < 0:
        raise Skip(f"no maps of AF_XDP (XDP_SOCKETS): {os.strerror(ctypes.get_errno())}")
    defer(os.close, fd)
    for queue, one in sockets.items():
        key, value = ctypes.c_uint32(queue), ctypes.c_uint32(one.fileno())
        attributes = struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        if _bpf(MAP_UPDATE, attributes) < 0:
            raise Failure(f"the map of sockets: {os.strerror(ctypes.get_errno())}")
    begin.load_map(xdp.R1, fd).load(xdp.WORD, xdp.R2, xdp.R6, xdp.RX_QUEUE).move(xdp.R3, xdp.PASS)
    return begin.call(REDIRECT_MAP).leave()


def channels(cfg):
    """How many queue pairs are in use."""
    text = cfg.dut.cmd("ethtool", "-l", cfg.netif)
    return int(text.rpartition("Combined:")[2].split()[0])


def need(cfg):
    """Skip if the NIC cannot reset single queues. One queue pair is used, so that all frames come
    to it."""
    if not netif.has_feature(cfg.device, RING_RESET):
        raise Skip(f"{cfg.netif} cannot reset single queues")
    count = channels(cfg)
    defer(cfg.dut.run, "ethtool", "-L", cfg.netif, "combined", str(count))
    cfg.dut.run("ethtool", "-L", cfg.netif, "combined", "1")


def bound(cfg, **kwargs):
    """A socket whose memory the NIC uses."""
    one, deadline = Socket(cfg.dut), time.monotonic() + WAIT
    # the kernel takes the queue from a socket that was closed in a work of its own
    while (error := one.bind(cfg.dut, cfg.netif, **kwargs)) == errno.EBUSY and \
            time.monotonic() < deadline:
        time.sleep(0.01)
    equal(os.strerror(error), os.strerror(0), "bind")
    check(one.is_zero_copy(), "the socket's frames are copied")
    return one
