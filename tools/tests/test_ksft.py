# SPDX-License-Identifier: GPL-2.0
"""Parts of the selftests' library that need neither NIC nor privileges."""

import contextlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import threading
import tty
import unittest
from unittest import mock

SELFTESTS = pathlib.Path(__file__).resolve().parent.parent.parent / "selftests"
LIB, TESTS = SELFTESTS / "lib", SELFTESTS / "drivers/net/espnic"
# What the selftests' skips say that they need of the kernel, and the options that give it.
NEEDS = {"netem": "NET_SCH_NETEM", "VXLAN": "VXLAN", "VLAN devices": "VLAN_8021Q",
         "BPF programs": "BPF_SYSCALL", "migration of SAs": "XFRM_MIGRATE",
         "bonding": "BONDING", "bridges": "BRIDGE", "macvlan": "MACVLAN",
         "the kernel's audit system": "AUDIT", "userfaultfd": "USERFAULTFD", "veth": "VETH"}
CRYPTO = {"gcm": "GCM", "cbc": "CBC", "rfc7539esp": "CHACHA20POLY1305", "sha1": "SHA1",
          "sha256": "SHA256", "sha384": "SHA512", "sha512": "SHA512"}
sys.path.insert(0, str(LIB))

from ksft import algo, control, env, esp, frames, ktap, pcapng, traffic  # noqa: E402


class Expectations(unittest.TestCase):
    """What tests of offloaded ESP have in common."""

    PACKETS = [mock.Mock(iv=bytes([n]), seq=n) for n in range(3)]

    def test_unique(self):
        """A value that comes twice is shown; others than those that are named may come again."""
        esp.unique(self.PACKETS)
        again = [*self.PACKETS, mock.Mock(iv=b"\x02", seq=7)]
        esp.unique(again, "seq")
        for names in ((), ("iv",)):
            with self.assertRaises(ktap.Failure) as caught:
                esp.unique(again, *names)
            self.assertIn("1 values of iv", str(caught.exception))
            self.assertIn("('02', 2)", str(caught.exception))

    def test_counters(self):
        """Wrong counters of driver and NIC are found, and the NIC's only if it can be asked."""
        watch = env.Watch.__new__(env.Watch)
        watch._cfg = mock.Mock(control=True)
        watch.driver, watch.nic = {"a": 2}, {"b": 1}
        watch.expect_counters({"a": 2, "c": 0}, {"b": 1})
        for driver, nic in (({"a": 1}, None), ({"c": 1}, None), ({}, {"b": 0})):
            with self.assertRaises(ktap.Failure):
                watch.expect_counters(driver, nic)
        watch._cfg.control = None
        watch.expect_counters({"a": 2}, {"b": 0})


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


class Clear(unittest.TestCase):
    """What counts as unprotected on the wire."""

    @staticmethod
    def udp(content, port=4500, fragment=False):
        """A datagram from this port."""
        header = port.to_bytes(2, "big") + bytes([0x30, 0]) + (8 + len(content)).to_bytes(2, "big")
        return frames.Packet("", "", "192.0.2.1", "192.0.2.2", frames.PROTO_UDP,
                             header + bytes(2) + content, 34, fragment)

    def test_key_exchange(self):
        """Keepalives and IKE behind their marker belong to the daemons; nothing else does."""
        for content in (b"\xff", bytes(4) + b"IKE"):
            self.assertTrue(self.udp(content).key_exchange)
            self.assertFalse(self.udp(content, port=4502).key_exchange)
            self.assertFalse(self.udp(content, fragment=True).key_exchange)
        for content in (b"", b"\xfe", b"\xff\xff", bytes(3), b"\0\0\0\x01data"):
            self.assertFalse(self.udp(content).key_exchange, content)


class Capture(unittest.TestCase):
    """A capture that grows while it is read."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = pathlib.Path(folder) / "wire.pcapng"
        name = struct.pack("<HH4sI", pcapng.OPTION_IF_NAME, 2, b"n0", 0)
        start = struct.pack("<IHHq", pcapng.BYTE_ORDER_MAGIC, 1, 0, -1)
        link = struct.pack("<HHI", pcapng.ETHERNET, 0, 0)
        self.path.write_bytes(self.block(pcapng.SECTION, start)
                              + self.block(pcapng.INTERFACE, link + name))
        self.reader = pcapng.Reader(self.path)

    @staticmethod
    def block(kind, body):
        """A block of the file."""
        length = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + length + body + length

    def frame(self, byte, length=1500):
        """A block with a frame."""
        head = struct.pack("<IIIII", 0, 0, 0, length, length)
        return self.block(pcapng.ENHANCED, head + bytes([byte]) * length)

    def append(self, data):
        """More is written."""
        with self.path.open("ab") as file:
            file.write(data)

    def test_pieces(self):
        """Frames that pieces end in, and one that is still being written."""
        count = 3 * pcapng.PIECE // 1500
        last = self.frame(9)
        self.append(b"".join(self.frame(n % 9) for n in range(count)) + last[:700])
        found = self.reader.read()
        self.assertEqual(len(found), count)
        for n, one in enumerate(found):
            self.assertEqual(one, ("n0", bytes([n % 9]) * 1500))
        self.assertEqual(self.reader.read(), [])
        self.append(last[700:])
        self.assertEqual(self.reader.read(), [("n0", bytes([9]) * 1500)])

    def test_skip(self):
        """What was skipped does not come, what is written later does, with its interface."""
        last = self.frame(2)
        self.append(self.frame(1) * 2000 + last[:300])
        self.reader.skip()
        self.append(last[300:] + self.frame(3))
        self.assertEqual([frame[0] for _, frame in self.reader.read()], [2, 3])
        self.assertEqual(self.reader.read(), [])


class Config(unittest.TestCase):
    """The file that says what the tests need of a kernel."""

    def setUp(self):
        text = (TESTS / "config").read_text(encoding="utf-8")
        self.options = set(re.findall(r"(?m)^CONFIG_(\w+)=[my]$", text))

    def test_needs(self):
        """Whatever a test skips for is in it."""
        text = "".join(path.read_text(encoding="utf-8") for path in SELFTESTS.rglob("*.py"))
        named = set(re.findall(r'Skip\(f"needs ([^:]+): {', text))
        self.assertEqual(named, set(NEEDS))
        self.assertLessEqual(set(NEEDS.values()), self.options)

    def test_algorithms(self):
        """All ciphers and hashes of the tests."""
        self.assertEqual(set(algo.HASHES) - set(CRYPTO), set())
        wanted = {f"CRYPTO_{name}" for name in (*CRYPTO.values(), "HMAC", "AUTHENC")}
        self.assertLessEqual(wanted, self.options)


class Programs(unittest.TestCase):
    """Command lines."""

    def call(self, *words, **kwargs):
        """Status and output."""
        result = subprocess.run(words, check=False, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=60, **kwargs)
        return result.returncode, result.stdout

    def test_shell_tests_take_no_options(self):
        """A shell test explains itself and refuses options; it does not run then."""
        tests = list(TESTS.glob("*.sh"))
        self.assertTrue(tests)
        for path in tests:
            status, text = self.call(path, "--help")
            self.assertEqual((status, text.partition(":")[0]), (0, "Usage"), path)
            status, text = self.call(path, "--bogus")
            self.assertEqual(status, 2, path)
            self.assertNotIn("TAP", text)

    def test_all_are_listed(self):
        """The README says what each program is about."""
        text = (SELFTESTS / "README.rst").read_text(encoding="utf-8")
        programs = [path.name for path in TESTS.iterdir() if path.suffix in (".py", ".sh")]
        self.assertTrue(programs)
        self.assertEqual([name for name in programs if name not in text], [])

    def test_nothing_left(self):
        """Without any collection nothing runs, instead of everything."""
        status, text = self.call("make", "-C", SELFTESTS, "run_tests",
                                 "SKIP_TARGETS=drivers/net/espnic")
        self.assertEqual(status, 2)
        self.assertIn("leaves nothing", text)


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
