# SPDX-License-Identifier: GPL-2.0
"""Client of the NIC's control socket, reached through a character device."""

import json
import os
import re
import select
import time

from .ktap import Failure, defer
from .pace import scaled

TIMEOUT = scaled(10)


class Control:
    """Requests are one line of words, replies one line of JSON with "ok"."""

    def __init__(self, path):
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._words = None
        self._drain()
        defer(os.close, self._fd)

    def _drain(self):
        """Forget replies that were not fetched: of an interrupted client, or late ones."""
        self._pending = b""
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            pass

    def _line(self):
        deadline = time.monotonic() + TIMEOUT
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise Failure(f"the NIC did not answer on {self.path} within {TIMEOUT:g} s")
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                continue
            if not data:
                raise Failure(f"the NIC closed its control socket ({self.path})")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def request(self, *words):
        """Send a request and return the reply; raises Failure when it says no."""
        line = " ".join(str(word) for word in words)
        self._drain()
        os.write(self._fd, line.encode() + b"\n")
        reply = json.loads(self._line())
        if reply.get("ok") is not True:
            raise Failure(f"the NIC refused {line!r}: {reply.get('error')}")
        return reply

    def help(self):
        """All words of the requests that the NIC lists."""
        if self._words is None:
            text = json.dumps(self.request("help"))
            self._words = set(re.findall(r"[a-z][a-z-]+", text))
        return self._words

    def stats(self, nic):
        """The NIC's IPsec counters, by name."""
        return self.request("stats", nic)["nics"][nic]["ipsec"]

    def fault(self, nic, *words):
        """Set a fault of the NIC; all of its faults are cleared after the case."""
        self.request("fault", nic, *words)
        defer(self.request, "fault", nic, "clear")

    def flush_capture(self):
        """Make the NIC write out its capture file."""
        self.request("capture", "flush")
