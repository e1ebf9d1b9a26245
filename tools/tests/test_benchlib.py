# SPDX-License-Identifier: GPL-2.0
"""Parts of tools/bench that need no VM: what it refuses, computes and reports."""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from benchlib import common, engine, gateway, measure, nic, profile, program, report, states

TOOLS = pathlib.Path(__file__).resolve().parent.parent
MIB = measure.MIB
ROWS = {row.name: row for row in measure.ROWS}


def moved(way, frames, mode, state_bytes=0):
    """Counters of a transfer: FRAMES in the direction WAY and ten the other way, in this mode of
    offload or none."""
    counts = {"tx": 10, "rx": 10, way: frames}
    esp = {f"ipsec_{side}_packets": count if mode else 0 for side, count in counts.items()}
    driver = {name.format(way=side): count if mode == one else 0
              for one, name in measure.COUNTERS.items() for side, count in counts.items()}
    return {"nic": {"port": {f"{side}_frames": count for side, count in counts.items()},
                    "ipsec": esp},
            "guest": {**driver, "XfrmInError": 0},
            "states": {"tx": state_bytes, "rx": state_bytes}}


def result(name, direction, instructions):
    """A row with one transfer of a MiB in 1000 packets per figure."""
    nic = {"port": {"tx_frames": 1000, "rx_frames": 1000}, "virtio": {"interrupts": 10}}
    return measure.Result(ROWS[name], direction, [
        measure.Transfer(MIB, measure.Phase(number, 0, 1.0), nic) for number in instructions])


def states_of(nic_seconds, stack_seconds, engine_bytes=None):
    """Fills of 1000 SAs: 400 bytes per SA in the driver, 1500 in the NIC's first fill."""
    return states.States(states.CRYPTO, 1000, {
        "nic": [states.Fill((one, one, 9.0), 2_400_000, 0 if number else 1_500_000)
                for number, one in enumerate(nic_seconds)],
        "stack": [states.Fill((one, 0.1, one), 2_000_000, 0) for one in stack_seconds],
    }, engine_bytes)


class Proof(unittest.TestCase):
    """A transfer that was not carried as its row says is refused."""

    def test_right(self):
        """What a good run looks like."""
        measure.prove(ROWS["crypto"], "tx", MIB, moved("tx", 750, "crypto", MIB))
        measure.prove(ROWS["packet"], "tx", MIB, moved("tx", 750, "packet"))
        measure.prove(ROWS["software"], "rx", MIB, moved("rx", 750, None, MIB))
        measure.prove(ROWS["plain"], "rx", MIB, moved("rx", 750, None))

    def test_wrong(self):
        """Each thing that may be wrong."""
        lost = moved("tx", 750, "crypto", MIB)
        lost["nic"]["ipsec"]["ipsec_rx_packets"] -= 1
        driver = moved("tx", 750, "crypto", MIB)
        driver["guest"]["ipsec_tx_packets"] -= 1
        error = moved("tx", 750, "crypto", MIB)
        error["guest"]["XfrmInError"] = 1
        for row, counters in (
                ("crypto", moved("tx", 750, None, MIB)),  # not offloaded
                ("crypto", moved("tx", 750, "packet", MIB)),
                ("packet", moved("tx", 750, "crypto", MIB)),
                ("packet", moved("tx", 750, None, MIB)),
                ("crypto", lost), ("crypto", driver), ("crypto", error),
                ("software", moved("tx", 750, "crypto", MIB)),  # offloaded
                ("software", moved("tx", 750, None, 0)),  # no ESP at all
                ("plain", moved("tx", 750, "crypto")),
                ("plain", moved("tx", 100, None))):  # not segmented
            with self.subTest(row=row, counters=counters), self.assertRaises(common.BenchError):
                measure.prove(ROWS[row], "tx", MIB, copy.deepcopy(counters))


class Report(unittest.TestCase):
    """Ratios, verdicts and notes."""

    RESULTS = (result("plain", "tx", [1000, 2000, 4000]), result("crypto", "tx", [2100] * 3),
               result("software", "tx", [21000] * 3))

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
        self.assertIn("crypto / plain, per byte, TX: 1.05, target <= 1.05: met", text)
        self.assertIn("crypto / software, per byte, TX: 0.10, target <= 0.12: met", text)
        self.assertIn("the two idle phases differ by 50%", text)
        self.assertIn("plain, espnic, TX: the transfers differ by 150%", text)
        self.assertNotIn("virtio_net", text)
        text = report.text([100, 100], [self.RESULTS[0], result("crypto", "tx", [2300])])
        self.assertIn("1.15, target <= 1.05: missed", text)
        text = report.text([100, 100], [result("plain", "rx", [2000]),
                                        result("crypto", "rx", [3100]),
                                        result("packet", "rx", [2200])])
        self.assertIn("crypto / plain, per byte, RX: 1.55, target <= 1.58: met", text)
        self.assertIn("packet / plain, per byte, RX: 1.10, target <= 1.05: missed", text)
        self.assertNotIn("idle phases differ", text)

    def test_file(self):
        """The result file is complete and has the same figures."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "new/result.json"
            report.write(path, {"mtu": 1500}, [100, 100], self.RESULTS,
                         {"engine": engine.Engine(skipped="absent"), "profiles": None})
            data = json.loads(path.read_text(encoding="utf-8"))
            self.assertEqual([entry.name for entry in path.parent.iterdir()], ["result.json"])
        self.assertEqual(data["setting"], {"mtu": 1500})
        self.assertEqual([one["row"] for one in data["results"]], ["plain", "crypto", "software"])
        self.assertEqual([(one["against"], one["met"]) for one in data["ratios"]],
                         [("plain", True), ("software", True)])
        self.assertEqual(data["engine"], {"skipped": "absent"})
        self.assertNotIn("profiles", data)

    def test_file_without_traffic(self):
        """What was not measured is not in the file."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "result.json"
            report.write(path, {}, [], [], {"states": states_of([1.0], [0.6])})
            data = json.loads(path.read_text(encoding="utf-8"))
        self.assertNotIn("results", data)
        self.assertEqual((data["states"]["rate_ratio"], data["states"]["rate_met"]), (0.6, True))


class Engine(unittest.TestCase):
    """The answer of espnic-bench-engine."""

    ROW = {"name": "encrypt 64 B / bare x", "ns": 20.0, "against_ns": 10.0, "ratio": 0.5,
           "target": 0.5, "reached": False}

    def parse(self, *rows):
        """An answer with these rows."""
        return engine.parse(json.dumps({"crypto": "x", "batch": 64, "rows": rows,
                                        "memory_per_sa": 1000.0}))

    def test_figures(self):
        """Met, missed, for the record; the verdict is not the program's."""
        parsed = self.parse(self.ROW, {**self.ROW, "ratio": 0.49, "reached": True},
                            {**self.ROW, "target": None})
        self.assertEqual([line.split("   ")[-1] for line in parsed.text().splitlines()[-3:]],
                         [">= 0.50: met", ">= 0.50: missed", "for the record"])
        self.assertEqual([row["reached"] for row in parsed.data()["rows"]], [True, False, None])
        self.assertEqual(parsed.memory_per_sa, 1000)

    def test_scale(self):
        """Very many SAs are reported only if they were measured."""
        self.assertNotIn("of each direction", self.parse(self.ROW).text())
        scale = {"mode": "packet", "sas": 1000000, "create_seconds": 12.0, "bytes_per_sa": 900.0,
                 "packets": 64000, "encrypt_ns": 700.0, "decrypt_ns": 800.0,
                 "destroy_seconds": 3.0, "left": 0.25}
        parsed = engine.parse(json.dumps({"crypto": "x", "batch": 64, "rows": [self.ROW],
                                          "memory_per_sa": None, "scale": [scale]}))
        for words in ("1000000 SAs of each direction, packet", "12.0 s, 6.0 us each",
                      "3.0 s, 1.5 us each", "1800 MB, 900 bytes each; 25%", "700 ns to encrypt"):
            self.assertIn(words, parsed.text())

    def test_wrong(self):
        """No figures are no result."""
        for text in ("", "[]", '{"rows": []}', '{"rows": [{"name": "a"}]}'):
            with self.subTest(text=text), self.assertRaises(common.BenchError):
                engine.parse(text)
        with self.assertRaises(common.BenchError):
            self.parse({**self.ROW, "ratio": None})

    def test_skipped(self):
        """A skip says why and has no figures."""
        skipped = engine.Engine(skipped="it is not built")
        self.assertIn("skipped, it is not built", skipped.text())
        self.assertIsNone(skipped.memory_per_sa)


class WholeNic(unittest.TestCase):
    """The answer of espnic-bench-nic."""

    ROW = {"name": "rings and copy TX 1448 B", "ns": 120.0, "packed_ns": 130.5, "copy_ns": 40.0,
           "target_ns": 120.0}

    PAIRS = {"name": "queue pairs RX", "pairs": [1, 2, 4], "target_times": 1.7,
             "packets_per_second": [1e6, 1.7e6, 3e6],
             "packets_per_second_by_clock": [0.9e6, 1.1e6, 1.2e6]}

    CALLS = {"name": "calls TX 1448 B", "poll_us": 50, "packets": 9, "calls": 5.125, "doorbells": 1,
             "wakes": 1, "sleeps": 0.5, "interrupts": 0.25, "ns": 2500.0, "worker_ns": 900.0}

    @staticmethod
    def parse(*rows, pairs=(), calls=()):
        """An answer with these rows."""
        answer = {"crypto": "x", "batch": 64, "rows": rows, "pairs": pairs, "calls": calls}
        return nic.parse(json.dumps(answer))

    def test_figures(self):
        """Met, missed, for the record."""
        parsed = self.parse(self.ROW, {**self.ROW, "ns": 120.1}, {**self.ROW, "target_ns": None})
        lines = parsed.text().splitlines()[-3:]
        self.assertEqual([line.split("   ")[-1] for line in lines],
                         ["<= 120 ns: met", "<= 120 ns: missed", "for the record"])
        self.assertIn(" 3.0 ", lines[0])
        self.assertIn(" 120.0    130.5 ", lines[0])
        self.assertEqual([row["reached"] for row in parsed.data()["rows"]], [True, False, None])

    def test_pairs(self):
        """Two pairs are compared with one."""
        slow = {**self.PAIRS, "packets_per_second": [1e6, 1.6e6, 3e6]}
        parsed = self.parse(self.ROW, pairs=(self.PAIRS, slow))
        lines = parsed.text().splitlines()[-2:]
        self.assertEqual([line.split("   ")[-1] for line in lines],
                         [">= 1.7: met", ">= 1.7: missed"])
        self.assertIn("1.00, 1.70, 3.00 million", lines[0])
        self.assertIn("by the clock 0.90, 1.10, 1.20", lines[0])
        for wrong in ({"packets_per_second": []}, {"packets_per_second": [0, 1, 2]},
                      {"packets_per_second": None}, {"packets_per_second_by_clock": []}):
            with self.subTest(wrong=wrong), self.assertRaises(common.BenchError):
                self.parse(self.ROW, pairs=({**self.PAIRS, **wrong},))

    def test_calls(self):
        """System calls are for the record; a row without a count is an error."""
        lines = self.parse(self.ROW, calls=(self.CALLS,)).text().splitlines()
        self.assertIn("System calls", lines[-2])
        self.assertEqual(lines[-1].split()[4:],
                         ["50", "5.125", "1.000", "1.000", "0.500", "0.250", "2500", "900"])
        self.assertNotIn("System calls", self.parse(self.ROW).text())
        for wrong in ({"packets": 0}, {"sleeps": -1}, {"wakes": None}):
            with self.subTest(wrong=wrong), self.assertRaises(common.BenchError):
                self.parse(self.ROW, calls=({**self.CALLS, **wrong},))

    def test_wrong(self):
        """No figures are no result."""
        for text in ("", "[]", '{"rows": []}', '{"rows": [{"name": "a"}]}'):
            with self.subTest(text=text), self.assertRaises(common.BenchError):
                nic.parse(text)
        with self.assertRaises(common.BenchError):
            self.parse({**self.ROW, "copy_ns": None})

    def test_skipped(self):
        """A skip says why and has no figures."""
        skipped = nic.Whole(skipped="it is not built")
        self.assertIn("skipped, it is not built", skipped.text())
        self.assertEqual(skipped.data(), {"skipped": "it is not built"})

    def test_program(self):
        """The program says what it has, and what is wrong."""
        if not program.is_built(nic.PROGRAM):
            self.skipTest(f"{nic.PROGRAM} is not built")
        deadline = common.Deadline(60)
        words = ["--json", "--time", "1", "--only", "rings and copy RX"]
        parsed = nic.parse(program.run(nic.PROGRAM, words, deadline, 60))
        self.assertEqual([row["target_ns"] for row in parsed.data()["rows"]], [None, 120])
        with self.assertRaisesRegex(common.BenchError, "status 2"):
            program.run(nic.PROGRAM, ["--bogus"], deadline, 60)


class States(unittest.TestCase):
    """SAs in bulk."""

    def test_figures(self):
        """The median of all steps; the first fill of the NIC; the larger of its two figures."""
        found = states_of([1.0, 1.0, 2.0], [0.4, 0.6, 0.2])
        self.assertAlmostEqual(found.rate("nic"), 1000 / 8 / 2)
        self.assertAlmostEqual(found.rate("stack"), 1000 / 8 / 0.2)
        found = states_of([1.0, 1.0, 1.0], [0.4, 0.6, 0.2])
        self.assertEqual(found.data()["rate_ratio"], 0.2)
        self.assertEqual((found.driver, found.process, found.memory), (400, 1500, 1900))
        self.assertIn("0.20 (single rounds 0.20 to 0.60, quickest steps 0.10), "
                      "target >= 0.60: missed", found.text())
        self.assertIn("in all 1900 bytes, target <= 1331: missed", found.text())
        found = states_of([1.0], [0.6], engine_bytes=1700)
        self.assertIn("target >= 0.60: met", found.text())
        self.assertIn("in all 2100 bytes, target <= 1331: missed", found.text())
        found.subject = states.POLICIES
        self.assertIn("in all 2100 bytes, for the record", found.text())
        self.assertIn("policies in bulk: 1000", found.text())
        self.assertIsNone(found.data()["rate_met"])

    def test_kernel_memory(self):
        """Objects in use, large allocations, vmalloc and per-CPU memory."""
        slabs = ("slabinfo - version: 2.1\n# name <active_objs> <num_objs> ...\n"
                 "kmalloc-64 10 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n"
                 "state 3 8 1024 8 2 : tunables 0 0 0 : slabdata 1 1 0\n")
        other = "MemTotal: 9 kB\nSlab: 20 kB\nVmallocUsed: 16 kB\nPercpu: 4 kB\n"
        self.assertEqual(states.kernel_memory(slabs, other),
                         640 + 3072 + 20480 - 3 * 4096 + 20480)
        with self.assertRaises(common.BenchError):
            states.kernel_memory("", other)

    def test_lines(self):
        """Half of the SAs in each direction, no two alike, offload only where asked for."""
        nic, stack = (states.lines(states.CRYPTO, 600, kind) for kind in ("nic", "stack"))
        self.assertEqual(sum("dir in" in line for line in nic), 300)
        self.assertEqual(sum("dir out" in line for line in nic), 300)
        self.assertFalse([line for line in stack if "offload" in line])
        self.assertEqual(len({line.split("spi")[0] for line in nic}), 600)
        self.assertEqual(len({line.split()[10] for line in nic}), 600)  # SPIs
        packet = states.lines(states.PACKET, 600, "nic")
        self.assertEqual(sum("offload packet dev" in line for line in packet), 600)

    def test_policies(self):
        """The same for policies, which are of several kinds."""
        nic, stack = (states.lines(states.POLICIES, 600, kind) for kind in ("nic", "stack"))
        self.assertEqual(sum("dir in" in line for line in nic), 300)
        self.assertEqual(len({line.split("priority")[0] for line in nic}), 600)
        self.assertEqual(sum("offload packet dev" in line for line in nic), 600)
        self.assertFalse([line for line in stack if "offload" in line])
        self.assertTrue(150 <= sum("/24" in line for line in nic) <= 300)

    def test_proof(self):
        """The NIC and the driver must have all offloaded SAs, and none of the others."""
        driver = {"ipsec_sa_added": 10, "ipsec_sa_refused": 0}
        nic = {"ipsec_sa_in": 5, "ipsec_sa_out": 5}
        none = {"ipsec_sa_in": 0, "ipsec_sa_out": 0}
        states.prove("nic", 10, driver, nic)
        states.prove("stack", 10, {**driver, "ipsec_sa_added": 0}, none)
        for kind, driver_has, nic_has in (
                ("nic", driver, {**nic, "ipsec_sa_in": 4}),
                ("nic", {**driver, "ipsec_sa_added": 9}, nic),
                ("nic", {**driver, "ipsec_sa_refused": 1}, nic),
                ("stack", driver, none), ("stack", {**driver, "ipsec_sa_added": 0}, nic)):
            with self.subTest(kind=kind), self.assertRaises(common.BenchError):
                states.prove(kind, 10, driver_has, nic_has)


class Gateway(unittest.TestCase):
    """The rows in which the guest forwards."""

    def test_policies(self):
        """Decrypted packets may be forwarded; that policy is never offloaded. Others need none."""
        for name, offloaded in (("crypto", 0), ("packet", 2), ("software", 0)):
            lines = measure.dut_lines(ROWS[f"gateway_{name}"], gateway.flow())
            policies = [line for line in lines if line.startswith("xfrm policy")]
            self.assertEqual(sum("offload packet" in line for line in policies), offloaded)
            forward = [line for line in policies if " dir fwd " in line]
            self.assertEqual(len(forward), 1)
            self.assertNotIn("offload", forward[0])
        self.assertEqual(gateway.forward_policies(ROWS["packet"], gateway.flow()), [])

    def test_relative(self):
        """They are compared with one another."""
        text = report.text([100, 100], [result("plain", "tx", [1000]),
                                        result("gateway_plain", "tx", [3000]),
                                        result("gateway_packet", "tx", [3300])])
        line = next(line for line in text.splitlines() if "gateway, packet" in line)
        self.assertIn(" 1.10 ", line)

    def test_train(self):
        """The packets of a train are said where there are trains."""
        one = result("gateway_plain", "rx", [3000])
        self.assertNotIn("train", report.text([100, 100], [one]))
        one.transfers[0].trains = 50
        self.assertIn("gateway, plain, RX: 20 packets in a train", report.text([100, 100], [one]))


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
                      [TOOLS / "bench", "--states", "24"], [TOOLS / "bench", "--states", "8194"],
                      [TOOLS / "bench", "--part", "bogus"],
                      [common.TRAFFIC], [common.TRAFFIC, "send", "192.0.2.1", "5001"],
                      [common.TRAFFIC, "send", "nowhere", "5001", "1"],
                      [common.TRAFFIC, "send", "192.0.2.1", "5001", "x"],
                      [common.TRAFFIC, "send", "192.0.2.1", "5001x", "1"],
                      [common.TRAFFIC, "send", "192.0.2.1", "5001", "1", "nowhere"],
                      [common.TRAFFIC, "mark"], [common.TRAFFIC, "serve", "70000"],
                      [common.TRAFFIC, "idle", "-1"]):
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
        self.assertIn("nic: what a packet costs", done.stdout)
