# SPDX-License-Identifier: GPL-2.0
"""KUnit tests: each of the sources has a result, and a bad one is a failure."""

import pathlib
import tempfile
import unittest

from testlib import groups
from testlib.report import FAIL, PASS, Result
from tests.test_debug import Script, debug_tests
from vmlib import kunit

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / "rust"
# As Linux 7.3 writes it.
GOOD = """\
espnic: loading out-of-tree module taints kernel.
KTAP version 1
1..2
    KTAP version 1
    # Subtest: espnic_a
    # module: espnic
    # speed: normal
    1..2
    # one.speed: normal
    ok 1 one
skbuff: bad partial csum: csum=61/0 headroom=0 headlen=60
    # two.speed: normal
    ok 2 two # SKIP no such thing
# espnic_a: pass:1 fail:0 skip:1 total:2
# Totals: pass:1 fail:0 skip:1 total:2
ok 1 espnic_a
    KTAP version 1
    # Subtest: espnic_b
    1..1
    ok 1 three
ok 2 espnic_b
virtio_net virtio1 eth0: renamed
""".splitlines()
BAD = """\
    # Subtest: espnic_a
    1..2
    # one: ASSERTION FAILED at rust/kernel/sync/tests.rs:26
    Expected 1 == 2 to be true, but is false
    not ok 1 one
    ok 2 two
# espnic_a: pass:1 fail:1 skip:0 total:2
not ok 1 espnic_a
""".splitlines()


class Log(unittest.TestCase):
    """What is read from the kernel's log."""

    def test_suites(self):
        """Tests with their results; the lines around them are left over."""
        suites, others = kunit.suites([f"[   12.345678] {line}" for line in GOOD])
        self.assertEqual([(suite.name, suite.whole, [case.name for case in suite.cases])
                          for suite in suites],
                         [("espnic_a", True, ["one", "two"]), ("espnic_b", True, ["three"])])
        self.assertEqual(suites[0].cases[1].rest, " # SKIP no such thing")
        self.assertFalse(any(case.failed for suite in suites for case in suite.cases))
        self.assertEqual([line.split("] ")[1] for line in others if "KTAP" not in line],
                         [GOOD[0], GOOD[2], GOOD[-1]])

    def test_failure(self):
        """A failed test, with what the kernel said of it."""
        (suite,), others = kunit.suites(BAD)
        self.assertEqual([(case.name, case.failed) for case in suite.cases],
                         [("one", True), ("two", False)])
        self.assertEqual(suite.cases[0].log, BAD[1:5])
        self.assertEqual((suite.whole, others), (True, []))

    def test_end_is_missing(self):
        """A suite that was cut off, or had fewer results than its plan, is not whole."""
        for lines in (BAD[:2], BAD[:5], BAD[:7], [*BAD[:4], *BAD[6:]]):
            (suite,), _others = kunit.suites(lines)
            self.assertFalse(suite.whole, lines)

    def test_second_load(self):
        """Only the first load counts."""
        suites, _others = kunit.suites([*GOOD, *BAD])
        self.assertEqual([suite.name for suite in suites], ["espnic_a", "espnic_b"])
        self.assertFalse(any(case.failed for case in suites[0].cases))


class Guest(unittest.TestCase):
    """What the filter in the guest makes of it."""

    def run_on(self, lines):
        """Its output at the start, and whether it found something wrong."""
        kernel, text = Script(), []
        kernel.say(*lines)
        watcher = debug_tests().Filter(kernel, kernel, text.append, lambda _seconds: None)
        watcher.start(0)
        return text, watcher.failed

    def results(self, lines):
        """Names and outcomes as the report has them."""
        text, _failed = self.run_on(lines)
        return [(result.name, result.outcome)
                for result in groups.ktap(text, lambda _line: None)]

    def test_results(self):
        """Each test is one of the report; suites have a place in the plan."""
        self.assertEqual(self.results(GOOD), [("the guest's start", "pass"),
                         ("kunit: espnic_a/one", "pass"), ("kunit: espnic_a/two", "skip"),
                         ("kunit: espnic_b/three", "pass")])
        text, failed = self.run_on(GOOD)
        self.assertEqual((text[1], failed), ("1..5", False))

    def test_failure(self):
        """A failed test fails the run, and its assertion is shown."""
        text, failed = self.run_on(BAD)
        self.assertTrue(failed)
        where = [line.strip() for line in text].index("not ok 1 one")
        self.assertIn("ASSERTION FAILED", "".join(text[where - 3:where]))
        self.assertEqual(self.results(BAD)[1:], [("kunit: espnic_a/one", FAIL),
                                                 ("kunit: espnic_a/two", PASS)])

    def test_complaint(self):
        """What the kernel complains of while a test runs fails the test, and not the start."""
        lines = [*GOOD[:9], "BUG: KASAN: slab-use-after-free in x", *GOOD[9:]]
        self.assertEqual(self.results(lines)[:3], [("the guest's start", PASS),
                         ("kunit: espnic_a/one", FAIL), ("kunit: espnic_a/two", "skip")])

    def test_end_is_missing(self):
        """A suite that did not end is a failure of its own."""
        self.assertEqual(self.results([*BAD[:2], BAD[5]])[1:],
                         [("kunit: espnic_a/two", PASS), ("kunit: espnic_a", FAIL)])


class Host(unittest.TestCase):
    """No test of the sources may be missing."""

    def test_missing(self):
        """A test without a result is a failure; others pass through."""
        results = [Result("plain.py/a", PASS), Result("kunit: s/one", PASS)]
        found = list(groups.all_of_kunit(results, {"s/one", "s/two"}))
        self.assertEqual(found[:2], results)
        self.assertEqual([(one.name, one.outcome) for one in found[2:]],
                         [("kunit: s/two", FAIL)])

    def test_names(self):
        """Suites and tests as the macro names them."""
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "tests.rs").write_text(
                "#[kunit_tests(a)]\nmod x {\n    #[test]\n    fn one() {}\n    fn not() {}\n}\n"
                "#[kunit_tests(b)]\nmod y {\n    #[test]\n    #[cfg(z)]\n    fn two() -> R {}\n}\n",
                encoding="utf-8")
            pathlib.Path(folder, "host.rs").write_text("#[test]\nfn three() {}\n",
                                                       encoding="utf-8")
            self.assertEqual(kunit.in_sources(pathlib.Path(folder)), {"a/one", "b/two"})

    def test_all_are_ours(self):
        """The kernel is told to run suites of this name, and there are some of both crates."""
        names = kunit.in_sources(SOURCES)
        self.assertTrue(all(name.startswith("espnic_") for name in names), names)
        self.assertGreater(len(names), 100)
        self.assertTrue({"espnic_xfrm_table/handles_are_numbers",
                         "espnic_recovery/failures_in_a_row"} <= names)

    def test_command(self):
        """KUnit is enabled; alone it needs no program."""
        folder = pathlib.Path("/nowhere/debug")
        words = groups.debug_command(folder, [], 1)
        self.assertIn("kunit.filter_glob=espnic_*", words)
        self.assertEqual(words[words.index("--") + 1:], ["/espnic/debug-tests", "--no-programs"])
        words = groups.debug_command(folder, ["plain"], 1)
        self.assertEqual(words[words.index("--") + 2:], ["-t", "plain"])
