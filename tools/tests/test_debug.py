# SPDX-License-Identifier: GPL-2.0
"""A complaint of the debug kernel must fail the test that it came in."""

import importlib.machinery
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from testlib import expected, groups
from testlib.report import FAIL, PASS, Result
from vmlib import kunit, trouble

TOOLS = pathlib.Path(__file__).resolve().parent.parent


def debug_tests():
    """The guest's program as a module; it finds these files next to itself there."""
    sys.modules.setdefault("trouble", trouble)
    sys.modules.setdefault("kunit", kunit)
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

    def test_marks(self):
        """The marks of tests end a report and are none themselves, whatever the test's name."""
        lines = ["BUG: KASAN: a", f"{trouble.MARK}ok 1 WARNING: x", "fine"]
        self.assertEqual(trouble.reports(lines), [lines[:1]])

    def test_two_reports(self):
        """The end of one report lets the next one begin."""
        lines = ["BUG: KASAN: a", "Call Trace:", "=" * 66, "fine", "WARNING: b", "---[ end trace 0",
                 "fine"]
        self.assertEqual(trouble.reports(lines), [lines[0:3], lines[4:6]])


class Script:
    """A kernel log and a leak list that say what they are told."""

    def __init__(self):
        self.log, self.objects, self.marks = [], [], []

    def say(self, *lines):
        """Add lines to the log."""
        self.log += [f"[ 5.0] {line}" for line in lines]

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
        if found:
            self.say("kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)")
        return found


class Guest(unittest.TestCase):
    """The filter between the selftests and the report."""

    def setUp(self):
        self.kernel, self.text = Script(), []
        self.filter = debug_tests().Filter(self.kernel, self.kernel, self.text.append,
                                            lambda _seconds: None)

    def program(self, name, *lines):
        """What the runner prints for one program, whose cases all mark their results."""
        self.feed("TAP version 13", "1..1", f"# selftests: a: {name}", "  TAP version 13")
        for line in lines:
            self.case(line)

    def case(self, line):
        """One result, marked."""
        self.kernel.say(f"{trouble.MARK}{line.partition(' # ')[0]}")
        self.feed(f"  {line}")

    def feed(self, *lines):
        """Lines of the runner."""
        for line in lines:
            self.filter.line(line)

    def end(self, name, result="ok 1"):
        """The end of a program."""
        self.feed(f"{result} selftests: a:{name}", "# Totals: pass:1", "# 1 cases passed",
                  "1 passed, 0 failed, 0 skipped")
        self.filter.program_end(f"a:{name}")

    def results(self):
        """Result lines so far."""
        return [line.strip() for line in self.text if line.strip().startswith(("ok", "not ok"))]

    def test_no_complaint(self):
        """Results are passed on; one is added in front, and the plan has room for all."""
        self.filter.start(1)
        self.program("b.py", "ok 1 one", "ok 2 two # SKIP why")
        self.end("b.py")
        self.assertEqual(self.results(), ["ok 1 the guest's start", "ok 1 one",
                                          "ok 2 two # SKIP why", "ok 2 selftests: a:b.py"])
        self.assertEqual([line for line in self.text if line.startswith("1..")], ["1..4"])
        self.assertFalse(self.filter.failed)

    def test_complaint_in_a_case(self):
        """The case and its program fail, the next case does not; the words are shown."""
        self.filter.start(2)
        self.program("b.py", "ok 1 one")
        self.kernel.say("fine", "BUG: KASAN: x", "Call Trace:")
        for line in ("ok 2 two # SKIP why", "ok 3 three"):
            self.case(line)
        self.end("b.py")
        self.program("c.py", "ok 1 four")
        self.end("c.py")
        self.assertEqual(self.results()[1:],
                         ["ok 1 one", "not ok 2 two # the kernel complained", "ok 3 three",
                          "not ok 2 selftests: a:b.py", "ok 1 four", "ok 3 selftests: a:c.py"])
        where = self.text.index("  # kernel: [ 5.0] BUG: KASAN: x")
        self.assertTrue(self.text[where + 2].startswith("  not ok 2 two"))
        self.assertTrue(self.filter.failed)

    def test_complaint_after_the_mark(self):
        """What the kernel says before its log is read, but after a result, is the next case's."""
        self.filter.start(1)
        self.program("b.py")
        self.kernel.say(f"{trouble.MARK}ok 1 one", "WARNING: early")
        self.feed("  ok 1 one")
        self.case("ok 2 two")
        self.end("b.py")
        self.assertEqual(self.results()[1:3], ["ok 1 one", "not ok 2 two # the kernel complained"])

    def test_complaint_at_the_start(self):
        """What the kernel said before the first test is a failure, too."""
        self.kernel.say("WARNING: CPU: 0 PID: 1 at x")
        self.filter.start(1)
        self.assertEqual(self.results(), ["not ok 1 the guest's start # the kernel complained"])

    def test_complaint_besides_a_failure(self):
        """Both reasons are in the result."""
        self.filter.start(1)
        self.program("b.py", "not ok 1 one")
        self.kernel.say("ref_tracker: netdev@0123 has 1/1 users at")
        self.end("b.py", "not ok 1")
        self.assertEqual(self.results()[-1], "not ok 2 selftests: a:b.py # the kernel complained")

    def test_leak(self):
        """Memory that a program leaves behind fails the program."""
        self.filter.start(1)
        self.program("b.py", "ok 1 one")
        self.kernel.objects = [["unreferenced object 0xff (size 64):", "  backtrace:"]]
        self.end("b.py")
        self.assertEqual(self.results()[-1], "not ok 2 selftests: a:b.py # the kernel complained")
        self.assertIn("# kernel: unreferenced object 0xff (size 64):", self.text)
        self.program("c.py", "ok 1 two")
        self.assertEqual(self.results()[-1], "ok 1 two")

    def test_dead_runner(self):
        """A program without a result of its own is a failure."""
        self.filter.start(1)
        self.program("b.py", "ok 1 one")
        self.filter.program_end("a:b.py")
        self.assertEqual(self.results()[-1], "not ok 2 selftests: a:b.py # the runner died")


class Control(unittest.TestCase):
    """What is made of the provoked failures."""

    def outcomes(self, *results):
        """Outcomes of these results when case x/bad must fail with the word 'splat'."""
        return [result.outcome for result in groups.blamed(results, {"x/bad": "splat"})]

    def test_blamed(self):
        """Only a failure with the right words is what was wanted."""
        shown = "  # kernel: [ 1.0] splat here"
        self.assertEqual(self.outcomes(Result("x/bad", FAIL, shown), Result("x/good", PASS)),
                         [PASS, PASS])
        self.assertEqual(self.outcomes(Result("x/bad", PASS), Result("x/good", FAIL)),
                         [FAIL, FAIL])
        self.assertEqual(self.outcomes(Result("x/bad", FAIL, "splat"),
                                       Result("x/bad", FAIL, "  # kernel: another")), [FAIL, FAIL])

    def test_every_case_is_known(self):
        """Each provoked case of the guest's programs is in the table, and the other way round."""
        found = set()
        for path in (TOOLS / "guest/control").glob("*.sh"):
            text = path.read_text(encoding="utf-8")
            found |= {f"{path.name}/{name}" for name in
                      re.findall(r"^(provoked_\w+)\(\)", text, re.MULTILINE)}
            found |= {path.name} if path.name.startswith("provoked_") else set()
        self.assertEqual(found, set(groups.PROVOKED))


class TimeScale(unittest.TestCase):
    """KSFT_TIME_SCALE, for tests that take longer on this kernel."""

    def scaled(self, scale):
        """What two seconds become."""
        text = "from ksft import pace; print(pace.scaled(2))"
        return subprocess.run([sys.executable, "-c", text], check=False, capture_output=True,
                              text=True, env={"PYTHONPATH": str(TOOLS.parent / "selftests/lib"),
                                              "PYTHONDONTWRITEBYTECODE": "1",
                                              "KSFT_TIME_SCALE": scale})

    def test_python(self):
        """A whole number stretches limits; anything else is refused, nothing means 1."""
        self.assertEqual([self.scaled(scale).stdout for scale in ("", "1", "4")],
                         ["2\n", "2\n", "8\n"])
        for scale in ("0", "-1", "1.5", "x"):
            result = self.scaled(scale)
            self.assertEqual(result.returncode, 1)
            self.assertIn("KSFT_TIME_SCALE", result.stderr)

    def test_runner(self):
        """The limit of a program is stretched, and without that it holds."""
        runner = (TOOLS.parent / "selftests/run_kselftest.sh").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "run.sh").write_text(runner, encoding="utf-8")
            (path / "slow").mkdir()
            (path / "slow/settings").write_text("timeout=1\n", encoding="utf-8")
            (path / "slow/a.sh").write_text("#!/bin/sh\nsleep 2\n", encoding="utf-8")
            (path / "slow/a.sh").chmod(0o755)
            results = [subprocess.run(["sh", path / "run.sh"], check=False, capture_output=True,
                                      text=True, env={**os.environ, "KSFT_TIME_SCALE": scale})
                       for scale in ("1", "20")]
        self.assertIn("not ok 1 selftests: slow:a.sh # TIMEOUT 1 seconds", results[0].stdout)
        self.assertEqual([result.returncode for result in results], [1, 0])


    def test_grace(self):
        """The time in which a program may clean up after its limit is stretched, too."""
        runner = (TOOLS.parent / "selftests/run_kselftest.sh").read_text(encoding="utf-8")
        self.assertIn("\nGRACE=15\n", runner)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "run.sh").write_text(runner.replace("GRACE=15", "GRACE=1"), encoding="utf-8")
            (path / "slow").mkdir()
            (path / "slow/a.sh").write_text("#!/bin/sh\ntrap 'sleep 2; echo clean; exit 1' TERM\n"
                                            "sleep 30 &\nwait\n", encoding="utf-8")
            (path / "slow/a.sh").chmod(0o755)
            (path / "slow/settings").touch()
            results = [subprocess.run(["sh", path / "run.sh", "-o", "1"], check=False, text=True,
                                      capture_output=True,
                                      env={**os.environ, "KSFT_TIME_SCALE": scale}).stdout
                       for scale in ("1", "20")]
        self.assertEqual(["clean" in text for text in results], [False, True])
        for text in results:
            self.assertIn("not ok 1 selftests: slow:a.sh # TIMEOUT 1 seconds", text)


class Limits(unittest.TestCase):
    """The time that the group debug has."""

    def test_room_for_every_result(self):
        """A result takes 10 to 30 seconds; the guest is not to be stopped before the last one."""
        rules = expected.read(TOOLS / "expected-tests")
        quick = len(kunit.in_sources(TOOLS.parent / "rust"))  # they run while the guest starts
        self.assertGreater(groups.DEBUG_SECONDS, 45 * (rules.minimum["debug"] - quick))

    def test_complaints_come_in_time(self):
        """The kernel complains about an interface after ten seconds: wait, and hold one, longer."""
        provoke = (TOOLS / "guest/provoke/provoke.c").read_text(encoding="utf-8")
        held = int(re.search(r"HOLD_SECONDS (\d+)", provoke)[1])
        self.assertGreater(min(held, debug_tests().SETTLE), 10)


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
