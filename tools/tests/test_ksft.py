# SPDX-License-Identifier: GPL-2.0
"""Parts of the selftests' library that need neither NIC nor privileges."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import tty
import unittest
from unittest import mock

LIB = pathlib.Path(__file__).resolve().parent.parent.parent / "selftests/lib"
sys.path.insert(0, str(LIB))

from ksft import control, ktap, traffic  # noqa: E402


class Control(unittest.TestCase):
    """The client of the NIC's control socket."""

    def setUp(self):
        self.nic, port = os.openpty()
        tty.setraw(port)
        self.addCleanup(os.close, self.nic)
        self.addCleanup(os.close, port)
        self.addCleanup(ktap.cleanup)
        self.client = control.Control(os.ttyname(port))

    def answer(self, **words):
        """A reply of the NIC."""
        os.write(self.nic, json.dumps({"ok": True, **words}).encode() + b"\n")

    def serve(self, **words):
        """Answer the next request."""
        def run():
            os.read(self.nic, 100)
            self.answer(**words)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)

    def test_late_answer(self):
        """An answer that comes after its request was given up is not the next one's."""
        with mock.patch.object(control, "TIMEOUT", 0.05), self.assertRaises(ktap.Failure):
            self.client.request("first")
        os.read(self.nic, 100)
        self.answer(number=1)
        self.serve(number=2)
        self.assertEqual(self.client.request("second")["number"], 2)


class Stream(unittest.TestCase):
    """Background traffic."""

    def test_slow_machine(self):
        """Waiting for datagrams ends, however far the time limits are stretched."""
        text = ("from contextlib import nullcontext as ns\nfrom ksft import traffic\n"
                "with traffic.Stream(ns(), '127.0.0.1', ns(), '127.0.0.1') as stream:\n"
                "    stream.advance(5)\n")
        subprocess.run([sys.executable, "-c", text], check=True, timeout=60,
                       env={"PYTHONPATH": str(LIB), "PYTHONDONTWRITEBYTECODE": "1",
                            "KSFT_TIME_SCALE": "1000"})

    def test_drain(self):
        """What waits is counted and gone, and the next datagram can be waited for."""
        link = traffic.Datagrams(contextlib.nullcontext(), "127.0.0.1",
                                 contextlib.nullcontext(), "127.0.0.1")
        self.addCleanup(link.close)
        self.assertEqual((link.drain(), link.send(b"a"), link.send(b"")), (0, True, True))
        self.assertEqual((link.drain(), link.drain()), (2, 0))
        link.send(b"b")
        self.assertEqual(link.receive(), b"b")
