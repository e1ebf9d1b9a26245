# SPDX-License-Identifier: GPL-2.0
"""How much memory there is, and memory whose use takes as long as the test wants: a page for which
the kernel waits.

By userfaultfd(2); structures and numbers: include/uapi/linux/userfaultfd.h.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import select
import struct

from .ktap import Failure, Skip, check, defer
from .pace import scaled

NUMBERS = {"x86_64": 323, "aarch64": 282}
API, FEATURE_WRITE_PROTECT = 0xAA, 1
IOCTL_API, IOCTL_REGISTER, IOCTL_WRITE_PROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
MODE_MISSING, MODE_WRITE_PROTECT = 1, 2
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_libc = ctypes.CDLL(None, use_errno=True)


def available():
    """Bytes of memory that could still be used."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = next(line for line in file if line.startswith("MemAvailable:"))
    return int(found.split()[1]) << 10


def address_of(area):
    """Address of an mmap object."""
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def protect(address, length, protection=0):
    """mprotect(): without a protection nobody can use the memory."""
    check(_libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(length), protection) == 0,
          "mprotect() failed")


class Held:
    """A page that waits until it is released: with data for its first writer, else for its first
    user."""

    def __init__(self, data=b""):
        fd = _libc.syscall(NUMBERS.get(platform.machine(), -1), os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0:
            raise Skip(f"needs userfaultfd: {os.strerror(ctypes.get_errno())}")
        self._fd = fd
        defer(self.release)
        self._area = mmap.mmap(-1, mmap.PAGESIZE, flags=PRIVATE)
        self.address = address_of(self._area)
        mode = MODE_WRITE_PROTECT if data else MODE_MISSING
        page = (self.address, mmap.PAGESIZE)
        fcntl.ioctl(fd, IOCTL_API, struct.pack("=QQQ", API, FEATURE_WRITE_PROTECT, 0))
        if data:
            self._area[:len(data)] = bytes(data)
        fcntl.ioctl(fd, IOCTL_REGISTER, struct.pack("=QQQQ", *page, mode, 0))
        if data:
            fcntl.ioctl(fd, IOCTL_WRITE_PROTECT, struct.pack("=QQQ", *page, 1))

    def used(self):
        """Wait until a process waits for the page."""
        if not select.select([self._fd], [], [], scaled(30))[0]:
            raise Failure("nobody has used the page")

    def release(self):
        """Let it go: it is an ordinary page now."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
