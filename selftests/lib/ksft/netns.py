# SPDX-License-Identifier: GPL-2.0
"""Network namespaces that live only as long as the test.

A namespace is held by a file descriptor and has no name: when the test ends, in
whatever way, it goes away and its physical interfaces fall back to the initial one.
"""

import os

from . import proc
from .ktap import Skip

NETNS_FILE = "/proc/thread-self/ns/net"
# An interface that comes up tells its multicast groups at once, and again after a random part of
# this time, at most a second unless told otherwise: in the middle of a test that counts frames. So
# it waits for days, in milliseconds.
REPORTS = "net.ipv6.conf.default.mldv2_unsolicited_report_interval"
DAYS = 20 * 24 * 3600 * 1000


class Netns:
    """One namespace; `with ns:` moves this thread (and its children) into it."""

    def __init__(self, label, init=False):
        self.label = label
        self._outer = []
        if init:
            self.fd = os.open("/proc/1/ns/net", os.O_RDONLY)
            return
        before = os.open(NETNS_FILE, os.O_RDONLY)
        try:
            os.unshare(os.CLONE_NEWNET)
            self.fd = os.open(NETNS_FILE, os.O_RDONLY)
        except PermissionError as error:
            raise Skip("needs the privilege to make network namespaces") from error
        finally:
            os.setns(before, os.CLONE_NEWNET)
            os.close(before)
        self.sysctl(REPORTS, DAYS)

    def __enter__(self):
        self._outer.append(os.open(NETNS_FILE, os.O_RDONLY))
        os.setns(self.fd, os.CLONE_NEWNET)
        return self

    def __exit__(self, *_exc):
        outer = self._outer.pop()
        os.setns(outer, os.CLONE_NEWNET)
        os.close(outer)

    @property
    def path(self):
        """A name for this namespace that `ip link set … netns` takes."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def cmd(self, *argv, **kwargs):
        """proc.cmd() inside this namespace."""
        with self:
            return proc.cmd(*argv, **kwargs)

    def run(self, *argv, **kwargs):
        """proc.run() inside this namespace."""
        with self:
            return proc.run(*argv, **kwargs)

    def spawn(self, *argv, **kwargs):
        """proc.spawn() inside this namespace."""
        with self:
            return proc.spawn(*argv, **kwargs)

    def ip(self, *lines):
        """Run several `ip` commands in one process; the first error ends it."""
        return self.cmd("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, name, value):
        """Set a per-namespace sysctl given in dotted form."""
        with self:
            proc.write_file("/proc/sys/" + name.replace(".", "/"), str(value))

    def close(self):
        """Release the namespace; the kernel removes it when it has no other users."""
        os.close(self.fd)
