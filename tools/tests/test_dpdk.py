# SPDX-License-Identifier: GPL-2.0
"""DPDK beside the NIC in tools/bench: what it computes, refuses and leaves out."""

import json
import pathlib
import tempfile
import unittest
from unittest import mock

from benchlib import common, dpdk, engine, nic, program
from cachelib import ToolError


def answer():
    """What bench-dpdk prints: split queues take 50 ns, packed ones 40, the quickest way 100."""
    rows = [{"what": what, "bytes": size, "way": way, "ns": ns}
            for what in ("take", "give") for size in dpdk.FRAMES
            for way, ns in (("split", 50.0), ("packed", 40))]
    rows += [{"what": what, "bytes": size, "way": way, "ns": ns}
             for what in ("encrypt", "decrypt") for size in (*dpdk.TEXTS, dpdk.TEXT)
             for way, ns in (("slow one", 130.0), ("quick one", 100.0))]
    return {"version": "DPDK 1.2.3", "batch": 32, "rows": rows}


def ours(rings, alone, both):
    """The answers of our two programs: all rings, ESP alone and with a checksum take so long."""
    whole = [(text.format(size), rings) for text in (dpdk.TAKE, dpdk.GIVE) for size in dpdk.FRAMES]
    whole += [(text.format(work, dpdk.FRAME), ns) for text in (dpdk.SEND, dpdk.RECEIVE)
              for work, ns in ((dpdk.ALONE, alone), (dpdk.WITH_CHECKSUM, both))]
    library = [dpdk.LIBRARY.format(what, size) for what in ("encrypt", "decrypt")
               for size in dpdk.TEXTS]
    return ({"rows": [{"name": name, "ns": ns, "packed_ns": ns + 1} for name, ns in whole]},
            {"rows": [{"name": name, "ns": 90.0} for name in library]})


def turn(rings=60.0, alone=140.0, both=200.0, dpdk_answer=None):
    """The figures of a turn."""
    return dpdk.figures(dpdk_answer or answer(), *ours(rings, alone, both))


def script(folder, text):
    """An executable shell script."""
    path = pathlib.Path(folder) / "bench-dpdk"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return path


class Figures(unittest.TestCase):
    """Rows, verdicts and the table."""

    def rows(self, *turns):
        """Rows by name."""
        return {row["name"]: row for row in dpdk.compare(turns)}

    def test_rows(self):
        """Rings against rings of their form, the engine against the quickest way."""
        rows = self.rows(turn())
        self.assertEqual((rows["take 64 B, split / vhost"]["ns"],
                          rows["take 64 B, split / vhost"]["dpdk_ns"]), (60, 50))
        self.assertEqual((rows["give 1448 B, packed / vhost"]["ns"],
                          rows["give 1448 B, packed / vhost"]["dpdk_ns"]), (61, 40))
        self.assertEqual(rows["decrypt 9000 B / quick one"]["times"], 0.9)
        self.assertEqual([row["reached"] for row in rows.values()].count(None), len(rows) - 2)

    def test_together(self):
        """The whole NIC against the sum, of which only ESP alone is judged."""
        rows = self.rows(turn(alone=140.0))
        for name in ("TX ESP alone 1448 B, split / both together",
                     "RX ESP alone 1448 B, split / both together"):
            self.assertEqual((rows[name]["dpdk_ns"], rows[name]["reached"]), (140, True))
            self.assertIs(self.rows(turn(alone=140.1))[name]["reached"], False)
        self.assertEqual(rows["RX ESP 1448 B, split / both together"]["ns"], 200)

    def test_median(self):
        """The median of all turns counts."""
        rows = self.rows(turn(rings=10.0), turn(rings=900.0), turn(rings=75.0))
        self.assertEqual(rows["take 64 B, split / vhost"]["times"], 1.5)

    def test_text(self):
        """Met, missed, for the record."""
        rows = dpdk.compare([turn(alone=141.0)])
        beside = dpdk.Beside({"version": "DPDK 1.2.3", "batch": 32, "turns": 1, "rows": rows})
        text = beside.text()
        self.assertIn("DPDK 1.2.3 beside it (median of 1 turns; DPDK in batches of 32", text)
        line = next(line for line in text.splitlines() if line.startswith("TX ESP alone"))
        self.assertRegex(line, r" 141\.0 +140\.0 +1\.01 +<= 1\.00: missed$")
        self.assertEqual(text.count("for the record"), len(rows) - 2)
        self.assertEqual(beside.data()["rows"], rows)


class Wrong(unittest.TestCase):
    """What is not a result."""

    def test_nonsense(self):
        """Other answers than figures."""
        self.assertEqual(dpdk.parse(json.dumps(answer()))["batch"], 32)
        wrong = answer()
        wrong["rows"][3]["ns"] = "fast"
        no_version = answer()
        del no_version["version"]
        for text in ("", "[]", "EAL: no", '{"rows": []}', json.dumps(wrong),
                     json.dumps(no_version)):
            with self.subTest(text=text), self.assertRaises(common.BenchError):
                dpdk.parse(text)

    def test_missing(self):
        """Each figure of DPDK and of ours is needed, and none is nothing."""
        for number in range(8):
            less = answer()
            del less["rows"][number]
            with self.subTest(number=number), self.assertRaises(common.BenchError):
                dpdk.compare([turn(dpdk_answer=less)])
        for key in [key for key in turn() if key[0] != "dpdk" and key[2:] != ("packed",)]:
            less = turn()
            del less[key]
            with self.subTest(key=key), self.assertRaises(common.BenchError):
                dpdk.compare([less])
        nothing = answer()
        nothing["rows"][0]["ns"] = 0
        with self.assertRaises(common.BenchError):
            dpdk.compare([turn(dpdk_answer=nothing)])
        with self.assertRaises(common.BenchError):
            dpdk.compare([turn(), {}])

    def test_status(self):
        """A program that cannot do it here is left out; one that fails is an error."""
        deadline = common.Deadline(60)
        with tempfile.TemporaryDirectory() as folder:
            path = script(folder, 'echo "$1"')
            self.assertEqual(dpdk.run(path, ["80"], deadline, 60), "80\n")
            path = script(folder, "echo EAL >&2; echo bench-dpdk: no memory >&2; exit 69")
            with self.assertRaisesRegex(dpdk.Unavailable, "^bench-dpdk: no memory$"):
                dpdk.run(path, [], deadline, 60)
            path = script(folder, "echo other length >&2; exit 1")
            with self.assertRaisesRegex(common.BenchError, "status 1:\nother length"):
                dpdk.run(path, [], deadline, 60)
            with self.assertRaisesRegex(common.BenchError, "did not end"):
                dpdk.run(script(folder, "exec sleep 60"), [], deadline, 0.2)


class LeftOut(unittest.TestCase):
    """Where DPDK cannot be measured, the report says so in a line."""

    def skipped(self, **patches):
        """The report with parts of the module replaced."""
        with mock.patch.multiple(dpdk, **patches), \
                mock.patch.object(program, "is_built", return_value=True):
            beside = dpdk.measure(common.Deadline(60), 400)
        self.assertEqual(list(beside.data()), ["skipped"])
        self.assertEqual(len(beside.text().splitlines()), 2)
        return beside.text()

    def test_package(self):
        """No package, or another processor."""
        no_layer = mock.Mock(side_effect=ToolError("apt-get failed: no route"))
        self.assertIn("skipped, its package libdpdk-dev cannot be had: apt-get failed: no route",
                      self.skipped(layer=no_layer))
        with mock.patch("platform.machine", return_value="riscv64"):
            self.assertIn("x86-64 only", self.skipped(layer=mock.Mock()))

    def test_command(self):
        """The last words of a command that fails are the reason."""
        with self.assertRaisesRegex(ToolError, "^sh failed: second$"):
            dpdk._command("sh", "-c", "echo first; echo second >&2; exit 3")

    def test_machine(self):
        """DPDK does not work on this machine."""
        run = mock.Mock(side_effect=dpdk.Unavailable("bench-dpdk: no memory"))
        self.assertIn("skipped, bench-dpdk: no memory", self.skipped(build=mock.Mock(), run=run))

    def test_not_built(self):
        """Ours are missing."""
        with mock.patch.object(program, "is_built", return_value=False):
            beside = dpdk.measure(common.Deadline(60), 400)
        self.assertIn(f"{nic.PROGRAM} is not built", beside.text())


class Programs(unittest.TestCase):
    """What the programs really print."""

    def test_programs(self):
        """All figures of the report are there, and bench-dpdk knows its command line."""
        if not program.is_built(nic.PROGRAM) or not program.is_built(engine.PROGRAM):
            self.skipTest("the programs of the benchmark are not built")
        deadline = common.Deadline(300)
        with mock.patch.object(dpdk, "TURNS", 1):
            beside = dpdk.measure(deadline, 1)
        self.assertNotIn("skipped", beside.data(), beside.text())
        self.assertEqual(len(beside.data()["rows"]), 20)
        self.assertTrue(beside.data()["version"].startswith("DPDK "))
        for words in ([], ["1"], ["x", "/tmp"], ["0", "/tmp"], ["1", "/tmp", "more"]):
            with self.subTest(words=words):
                done = program.execute(dpdk.PROGRAM, words, deadline, 60)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
        with self.assertRaisesRegex(dpdk.Unavailable, "bench-dpdk: DPDK"):
            dpdk.run(dpdk.PROGRAM, ["1", "/nowhere"], deadline, 60)
