# SPDX-License-Identifier: GPL-2.0
"""Parts of tools/bench that need no VM: what it refuses, computes and reports."""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from benchlib import common, measure, profile, report

TOOLS = pathlib.Path(__file__).resolve().parent.parent
MIB = measure.MIB
ROWS = {row.name: row for row in measure.ROWS}


def moved(way, frames, offloaded, state_bytes=0):
    """Counters of a transfer: FRAMES in the direction WAY and ten the other way."""
    counts = {"tx": 10, "rx": 10, way: frames}
    esp = {f"ipsec_{side}_packets": count if offloaded else 0 for side, count in counts.items()}
    return {"nic": {"port": {f"{side}_frames": count for side, count in counts.items()},
                    "ipsec": esp},
            "guest": {**esp, "XfrmInError": 0},
            "states": {"tx": state_bytes, "rx": state_bytes}}


def result(name, direction, instructions):
    """A row with one transfer of a MiB in 1000 packets per figure."""
    nic = {"port": {"tx_frames": 1000, "rx_frames": 1000}, "virtio": {"interrupts": 10}}
    return measure.Result(ROWS[name], direction, [
        measure.Transfer(MIB, measure.Phase(number, 0, 1.0), nic) for number in instructions])


class Proof(unittest.TestCase):
    """A transfer that was not carried as its row says is refused."""

    def test_right(self):
        """What a good run looks like."""
        measure.prove(ROWS["crypto"], "tx", MIB, moved("tx", 750, True, MIB))
        measure.prove(ROWS["software"], "rx", MIB, moved("rx", 750, False, MIB))
        measure.prove(ROWS["plain"], "rx", MIB, moved("rx", 750, False))

    def test_wrong(self):
        """Each thing that may be wrong."""
        lost = moved("tx", 750, True, MIB)
        lost["nic"]["ipsec"]["ipsec_rx_packets"] -= 1
        driver = moved("tx", 750, True, MIB)
        driver["guest"]["ipsec_tx_packets"] -= 1
        error = moved("tx", 750, True, MIB)
        error["guest"]["XfrmInError"] = 1
        for row, counters in (
                ("crypto", moved("tx", 750, False, MIB)),  # not offloaded
                ("crypto", lost), ("crypto", driver), ("crypto", error),
                ("software", moved("tx", 750, True, MIB)),  # offloaded
                ("software", moved("tx", 750, False, 0)),  # no ESP at all
                ("plain", moved("tx", 750, True)),
                ("plain", moved("tx", 100, False))):  # not segmented
            with self.subTest(row=row, counters=counters), self.assertRaises(common.BenchError):
                measure.prove(ROWS[row], "tx", MIB, copy.deepcopy(counters))


class Report(unittest.TestCase):
    """Ratios, verdicts and notes."""

    RESULTS = (result("plain", "tx", [1000, 2000, 4000]), result("crypto", "tx", [2100] * 3),
               result("software", "tx", [10500] * 3))

    def test_figures(self):
        """The median counts, per byte and per packet; idle cost is subtracted."""
        plain = self.RESULTS[0]
        self.assertAlmostEqual(plain.per_byte, 2000 / MIB)
        self.assertEqual(plain.per_packet, 2)
        self.assertEqual(plain.spread, 1.5)
        plain = result("plain", "tx", [1000])
        plain.transfers[0].idle = 400
        self.assertAlmostEqual(plain.per_byte, 600 / MIB)

    def test_text(self):
        """Met and missed targets, a spread and idle phases that do not agree."""
        text = report.text([100, 200], self.RESULTS)
        self.assertIn("crypto / plain, per byte, TX: 1.05, target <= 1.10: met", text)
        self.assertIn("crypto / software, per byte, TX: 0.20, target <= 0.25: met", text)
        self.assertIn("the two idle phases differ by 50%", text)
        self.assertIn("plain, espnic, TX: the transfers differ by 150%", text)
        self.assertNotIn("virtio_net", text)
        text = report.text([100, 100], [self.RESULTS[0], result("crypto", "tx", [2300])])
        self.assertIn("1.15, target <= 1.10: missed", text)
        self.assertNotIn("idle phases differ", text)

    def test_file(self):
        """The result file is complete and has the same figures."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "new/result.json"
            report.write(path, {"mtu": 1500}, [100, 100], self.RESULTS, None)
            data = json.loads(path.read_text(encoding="utf-8"))
            self.assertEqual([entry.name for entry in path.parent.iterdir()], ["result.json"])
        self.assertEqual(data["setting"], {"mtu": 1500})
        self.assertEqual([one["row"] for one in data["results"]], ["plain", "crypto", "software"])
        self.assertEqual([(one["against"], one["met"]) for one in data["ratios"]],
                         [("plain", True), ("software", True)])


class Profile(unittest.TestCase):
    """Addresses become function names."""

    def test_names(self):
        """The symbol at or below the address; user space and the rest by themselves."""
        profiles = profile.Profiles()
        profiles.use_symbols("ffffffff81000000 T first\nffffffff81000100 t second [espnic]\n"
                             "ffffffff81000180 d data\n")
        for address, name in ((0xffffffff81000000, "first"), (0xffffffff810000ff, "first"),
                              (0xffffffff81000190, "second"), (0x401000, profile.USER),
                              (0, profile.UNKNOWN)):
            self.assertEqual(profiles.name(address), name)


class Usage(unittest.TestCase):
    """The command line and the traffic program's."""

    def test_wrong(self):
        """Status 2 and a message."""
        common.build()
        for words in ([TOOLS / "bench", "--mib", "0"], [TOOLS / "bench", "--row", "bogus"],
                      [common.TRAFFIC], [common.TRAFFIC, "send", "192.0.2.1", "5001"],
                      [common.TRAFFIC, "send", "nowhere", "5001", "1"]):
            with self.subTest(words=words):
                done = subprocess.run(words, check=False, capture_output=True, text=True,
                                      timeout=60)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr.strip())

    def test_help(self):
        """--help explains and succeeds."""
        done = subprocess.run([sys.executable, TOOLS / "bench", "--help"], check=False,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn("--profile", done.stdout)
