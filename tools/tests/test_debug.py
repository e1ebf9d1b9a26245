# SPDX-License-Identifier: GPL-2.0
"""A complaint of the debug kernel must fail the test that it came in."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

from vmlib import trouble

TOOLS = pathlib.Path(__file__).resolve().parent.parent


def _debug_tests():
    """The guest's program as a module; it finds trouble.py next to itself there."""
    sys.modules.setdefault("trouble", trouble)
    loader = importlib.machinery.SourceFileLoader("debug_tests", str(TOOLS / "guest/debug-tests"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


SPLATS = {
    "lockdep": "WARNING: possible circular locking dependency detected",
    "recursion": "WARNING: possible recursive locking detected",
    "irq": "WARNING: inconsistent lock state",
    "context": "BUG: sleeping function called from invalid context at mm/slab.h:1",
    "kasan": "BUG: KASAN: slab-use-after-free in f+0x1/0x2 [espnic]",
    "ubsan": "UBSAN: array-index-out-of-bounds in a.c:1:2",
    "rcu": "WARNING: suspicious RCU usage",
    "kmemleak": "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "objects": "ODEBUG: free active (active state 0) object: 01 object type: timer_list",
    "tracker": "ref_tracker: netdev@0123 has 1/1 users at",
    "device": "unregister_netdevice: waiting for espnic0 to become free. Usage count = 2",
    "refcount": "refcount_t: underflow; use-after-free.",
    "dma": "DMA-API: virtio_pci 0000:00:05.0: device driver tries to free DMA memory",
    "rust": "rust_kernel: panicked at rust/espnic/main.rs:1:1:",
    "slab": "BUG kmalloc-64 (Tainted: G O): Object already free",
    "lockdep off": "turning off the locking correctness validator.",
}
HARMLESS = (
    "Command line: oops=panic softlockup_panic=1 panic=-1 kasan_multi_shot",
    "espnic: loading out-of-tree module taints kernel.",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)",
    "kasan: KernelAddressSanitizer initialized", "Lock dependency validator: Copyright (c) 2006",
    "espnic-test: ok 1 bug_free",
)


class Patterns(unittest.TestCase):
    """What is taken for a complaint."""

    def test_splats(self):
        """Every tool's words are known, whatever comes before and after them."""
        for name, line in SPLATS.items():
            with self.subTest(name=name):
                found = trouble.reports(["[ 1.0] fine", f"[ 2.0] {line}", "[ 2.0] more"])
                self.assertEqual(found, [[f"[ 2.0] {line}", "[ 2.0] more"]])

    def test_harmless(self):
        """What every boot says is none."""
        for line in HARMLESS:
            self.assertEqual(trouble.reports([f"[ 1.0] {line}"]), [], line)

    def test_two_reports(self):
        """The end of one report lets the next one begin."""
        lines = ["BUG: KASAN: a", "Call Trace:", "=" * 66, "fine", "WARNING: b", "---[ end trace 0",
                 "fine"]
        self.assertEqual(trouble.reports(lines), [lines[0:3], lines[4:6]])


class Script:
    """A kernel log and a leak list that say what they are told."""

    def __init__(self):
        self.log, self.objects, self.marks = [], [], []

    def lines(self):
        """As Kmsg."""
        found, self.log = self.log, []
        return found

    def mark(self, text):
        """As Kmsg."""
        self.marks.append(text)

    def scan(self):
        """As Leaks."""
        found, self.objects = self.objects, []
        return found


class Guest(unittest.TestCase):
    """The filter between the selftests and the report."""

    def setUp(self):
        self.kernel, self.text = Script(), []
        self.filter = _debug_tests().Filter(self.kernel, self.kernel, self.text.append)

    def results(self):
        """Result lines so far."""
        return [line.strip() for line in self.text if line.strip().startswith(("ok", "not ok"))]

    def test_no_complaint(self):
        """Results are passed on; one is added in front, and the plan has room for all."""
        for line in ("TAP version 13", "1..1", "# selftests: a: b.py", "  1..1", "  ok 1 one",
                     "ok 1 selftests: a:b.py"):
            self.filter.line(line)
        self.assertEqual(self.results(), ["ok 1 the guest's start", "ok 1 one",
                                          "ok 2 selftests: a:b.py"])
        self.assertIn("1..4", self.text)
        self.assertIn("ok 1 one", self.kernel.marks)
        self.assertFalse(self.filter.failed)

    def test_complaint_in_a_case(self):
        """The case and its program fail, the next case does not; the words are shown."""
        for line in ("1..2", "# selftests: a: b.py", "  ok 1 one"):
            self.filter.line(line)
        self.kernel.log = ["[ 5.0] fine", "[ 5.1] BUG: KASAN: x", "[ 5.2] Call Trace:"]
        for line in ("  ok 2 two # SKIP why", "  ok 3 three", "ok 1 selftests: a:b.py",
                     "# selftests: a: c.py", "  ok 1 four", "ok 2 selftests: a:c.py"):
            self.filter.line(line)
        self.assertEqual(self.results()[1:],
                         ["ok 1 one", "not ok 2 two # the kernel complained", "ok 3 three",
                          "not ok 2 selftests: a:b.py", "ok 1 four", "ok 3 selftests: a:c.py"])
        where = self.text.index("  # kernel: [ 5.1] BUG: KASAN: x")
        self.assertTrue(self.text[where + 2].startswith("  not ok 2 two"))
        self.assertTrue(self.filter.failed)

    def test_complaint_at_the_start(self):
        """What the kernel said before the first test is a failure, too."""
        self.kernel.log = ["[ 0.5] WARNING: CPU: 0 PID: 1 at x"]
        self.filter.line("1..1")
        self.assertEqual(self.results(), ["not ok 1 the guest's start # the kernel complained"])

    def test_leak(self):
        """Memory that a program leaves behind fails the program."""
        self.filter.line("1..1")
        self.filter.line("  ok 1 one")
        self.kernel.objects = [["unreferenced object 0xff (size 64):", "  backtrace:"]]
        self.filter.line("ok 1 selftests: a:b.py")
        self.assertEqual(self.results()[-1], "not ok 2 selftests: a:b.py # the kernel complained")
        self.assertIn("# kernel: unreferenced object 0xff (size 64):", self.text)


class Recipe(unittest.TestCase):
    """The debug kernel's configuration."""

    def test_what_is_asked_for(self):
        """All tools that find bugs are in it, and none is asked for twice."""
        lines = (TOOLS / "lib/debug-kernel.config").read_text(encoding="utf-8").splitlines()
        options = [line for line in lines if line.startswith("CONFIG_")]
        self.assertEqual(len(options), len(set(options)))
        for name in ("RUST", "RUST_DEBUG_ASSERTIONS", "KASAN", "PROVE_LOCKING", "PROVE_RCU",
                     "DEBUG_ATOMIC_SLEEP", "DEBUG_KMEMLEAK", "DEBUG_OBJECTS", "UBSAN",
                     "NET_DEV_REFCNT_TRACKER", "NET_NS_REFCNT_TRACKER", "FAILSLAB", "KUNIT"):
            self.assertIn(f"CONFIG_{name}=y", options)
        for name in ("NETDEVSIM", "BONDING"):
            self.assertIn(f"CONFIG_{name}=m", options)

    def test_selftests_config(self):
        """It has what the selftests say they need."""
        ours = (TOOLS / "lib/debug-kernel.config").read_text(encoding="utf-8")
        needs = TOOLS.parent / "selftests/drivers/net/espnic/config"
        for line in needs.read_text(encoding="utf-8").splitlines():
            if line.startswith("CONFIG_"):
                self.assertRegex(ours, rf"(?m)^{line.partition('=')[0]}=[ym]$")

    def test_impossible_option(self):
        """The recipe's check names what did not take effect."""
        recipe = (TOOLS / "lib/debug-kernel-recipe.sh").read_text(encoding="utf-8")
        start = recipe.index("missing=$(")
        check = recipe[start:recipe.index("fi\n", start) + 3]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / ".config").write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_CC=y\n",
                                          encoding="utf-8")
            (path / "wanted").write_text("# note\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n",
                                         encoding="utf-8")
            result = subprocess.run(["sh", "-euc", f"series=1 config=wanted\n{check}"], cwd=folder,
                                    check=False, capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stderr.strip().endswith("CONFIG_B=y CONFIG_C=y"), result.stderr)
