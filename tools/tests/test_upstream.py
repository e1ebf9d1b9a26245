# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests: what the guest passes on, and what the list of expectations demands."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import pathlib
import tempfile
import unittest
from unittest import mock

from cachelib import TOOLS, ToolError
from kernellib import upstream as source
from testlib import expected, upstream
from testlib.report import FAIL, PASS, SKIP, Result

DRIVER = "espnic"


def guest_program():
    """tools/guest/upstream-tests as a module."""
    path = str(TOOLS / "guest/upstream-tests")
    loader = importlib.machinery.SourceFileLoader("upstream_tests", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    with mock.patch("sys.dont_write_bytecode", True):
        loader.exec_module(module)
    return module


class Folder(unittest.TestCase):
    """A folder for each test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def rules(self, text):
        """The rules of a list with this text."""
        path = self.folder / "list"
        path.write_text(text, encoding="utf-8")
        return upstream.read(path)


class List(Folder):
    """tools/upstream-expected and its language."""

    def test_ours(self):
        """The list is understood, and says of nothing twice what it does."""
        rules = upstream.read(upstream.LIST)
        for driver in upstream.DRIVERS:
            names = [rule.pattern for rule in rules if rule.driver in (driver, upstream.BOTH)]
            self.assertEqual(len(names), len(set(names)))

    def test_lines(self):
        """Comments go, a reason has several words, programs and cases are told apart."""
        rules = self.rules("# why\n\nskip both hw/csum.py/a*  no such thing\n"
                           "omit espnic ping.py it takes too long\n")
        self.assertEqual([(one.kind, one.program, one.case, one.reason) for one in rules],
                         [("skip", "hw/csum.py", "a*", "no such thing"),
                          ("omit", "ping.py", "", "it takes too long")])
        self.assertEqual(rules[1].where, "list:4")

    def test_wrong_lines(self):
        """A kind or driver that does not exist, no reason, or an unknown program."""
        for line in ("pass both ping.py why", "skip e1000 ping.py why", "skip both ping.py",
                     "skip both pong.py why", "skip both ping.pyx why", "skip both csum.py why"):
            with self.assertRaises(ToolError, msg=line) as caught:
                self.rules(line)
            self.assertIn("list:1", str(caught.exception))

    def test_plan(self):
        """What is left out does not get to the guest, and only that."""
        rules = self.rules("omit espnic ping.py why\nomit both xdp.py/big why\n"
                           "skip both hw/uso.py why\nomit virtio_net hw/csum.py why\n")
        todo = upstream.plan(DRIVER, rules)
        programs = {one["name"]: one["omit"] for one in todo["programs"]}
        self.assertEqual(set(upstream.PROGRAMS) - set(programs), {"ping.py"})
        self.assertEqual({name for name, omit in programs.items() if omit}, {"xdp.py"})
        self.assertEqual(programs["xdp.py"], ["big"])
        self.assertTrue(all(one["seconds"] > 0 for one in todo["programs"]))
        only = upstream.plan(DRIVER, rules, ["hw/uso.py"])
        self.assertEqual([one["name"] for one in only["programs"]], ["hw/uso.py"])


class Judge(Folder):
    """Results against the list."""

    def judge(self, text, *results, programs=("ping.py",)):
        """Names and outcomes, and the details."""
        found = list(upstream.judge(results, DRIVER, self.rules(text), set(programs)))
        self.details = [one.detail for one in found]
        self.known = [one.known for one in found]
        return [(one.name, one.outcome) for one in found]

    def test_no_rule(self):
        """Passes and failures stay; a skip that nobody expects is a failure, with its reason."""
        found = self.judge("", Result("espnic/ping.py/a", PASS), Result("espnic/ping.py/b", FAIL),
                           Result("espnic/ping.py/c", SKIP, "no cable"))
        self.assertEqual([outcome for _, outcome in found], [PASS, FAIL, FAIL])
        self.assertIn("no cable", self.details[2])

    def test_expected(self):
        """What does as the list says is a known skip, never a pass."""
        found = self.judge("skip both ping.py/a* no XDP\nfail espnic ping.py/b slow\n",
                           Result("espnic/ping.py/a1", SKIP, "no cable"),
                           Result("espnic/ping.py/a2", SKIP),
                           Result("espnic/ping.py/b", FAIL, "67 < 100"))
        self.assertEqual([outcome for _, outcome in found], [SKIP] * 3)
        self.assertEqual(self.known, [True] * 3)
        self.assertEqual(self.details[0], "no XDP (no cable)")
        self.assertIn("fails as expected: slow", self.details[2])

    def test_better(self):
        """A listed case that passes has to go from the list."""
        for kind in ("skip", "fail", "omit"):
            found = self.judge(f"{kind} both ping.py/a why\n", Result("espnic/ping.py/a", PASS))
            self.assertEqual(found[0], ("espnic/ping.py/a", FAIL))
            self.assertIn("list:1", self.details[0])
            self.assertIn("take it from the list", self.details[0])

    def test_either(self):
        """What the machine's speed decides passes or skips itself, and does not fail."""
        text = "either both ping.py/[abc] slow\n"
        found = self.judge(text, Result("espnic/ping.py/a", PASS), Result("espnic/ping.py/b", SKIP),
                           Result("espnic/ping.py/c", FAIL, "broken"))
        self.assertEqual([outcome for _, outcome in found], [PASS, SKIP, FAIL])
        self.assertEqual(self.known, [False, True, False])
        self.assertIn("broken", self.details[2])

    def test_worse(self):
        """A failure is no skip, and a skip no failure."""
        found = self.judge("skip both ping.py/a why\nfail both ping.py/b why\n",
                           Result("espnic/ping.py/a", FAIL, "broken"),
                           Result("espnic/ping.py/b", SKIP))
        self.assertEqual([outcome for _, outcome in found], [FAIL, FAIL])
        self.assertIn("broken", self.details[0])

    def test_stale(self):
        """A rule that nothing fits is a failure, if its program and driver ran."""
        text = ("skip both ping.py/gone why\nskip virtio_net ping.py/b why\n"
                "skip both xdp.py/c why\n")
        found = self.judge(text, Result("espnic/ping.py/a", PASS))
        self.assertEqual(found, [("espnic/ping.py/a", PASS), ("espnic/ping.py/gone", FAIL)])

    def test_left_out(self):
        """What is not run is told, with its reason."""
        self.assertEqual(self.judge("omit both ping.py/a it takes an hour\n"),
                         [("espnic/ping.py/a", SKIP)])
        self.assertIn("it takes an hour", self.details[0])

    def test_report(self):
        """A known skip needs no line in expected-tests, another one does."""
        known, other = Result("a", SKIP, known=True), Result("b", SKIP)
        rules = expected.Rules({"upstream": 0}, set())
        judged = list(expected.judge([known, other], "upstream", rules, whole=True))
        self.assertEqual([(one.name, one.outcome) for one in judged],
                         [("a", SKIP), ("b", SKIP), ("b: may not be skipped", FAIL)])


class Group(Folder):
    """The group as a whole."""

    def test_kernel(self):
        """A complaint of the kernel is a failure of its own, whatever else failed."""
        self.assertEqual(upstream.quiet(self.folder, DRIVER).outcome, PASS)
        (self.folder / "kernel.log").write_text("[1.0] fine\n", encoding="utf-8")
        self.assertEqual(upstream.quiet(self.folder, DRIVER).outcome, PASS)
        (self.folder / "dmesg.log").write_text("[1.0] WARNING: net/core/dev.c:1\n[1.1] words\n",
                                               encoding="utf-8")
        result = upstream.quiet(self.folder, DRIVER)
        self.assertEqual((result.name, result.outcome),
                         ("espnic/the kernel does not complain", FAIL))
        self.assertIn("net/core/dev.c:1", result.detail)

    def test_command(self):
        """The control has the stock driver on the same NICs."""
        ours, stock = (upstream.command(driver, pathlib.Path("f"), pathlib.Path("t"),
                                        pathlib.Path("j")) for driver in upstream.DRIVERS)
        self.assertNotIn("--no-module", ours)
        self.assertEqual([word for word in stock if word != "--no-module"], ours)
        self.assertEqual(len(stock), len(ours) + 1)

    def test_no_tests(self):
        """Tests that cannot be built are one failure, an unknown name is wrong usage."""
        with mock.patch.object(upstream.upstream, "ensure", side_effect=ToolError("no network")), \
                mock.patch.object(upstream.store, "existing"):
            found = list(upstream.group(self.folder / "upstream.log", []))
        self.assertEqual([(one.outcome, one.detail) for one in found], [(FAIL, "no network")])
        with self.assertRaises(ToolError):
            list(upstream.group(self.folder / "upstream.log", ["pong.py"]))

    def again(self, first, second):
        """Names and outcomes of two runs, whose results are (name, outcome); what was asked for."""
        runs, asked = [first, second], []

        def run(programs):
            asked.append(programs)
            return [Result(*result) for result in runs.pop(0)]

        with contextlib.redirect_stdout(io.StringIO()) as out:
            found = list(upstream.twice(run, {"ping.py", "stats.py"}))
        self.said = out.getvalue()
        return [(one.name, one.outcome) for one in found], asked

    def test_once(self):
        """What passes or is skipped does not run again."""
        good = [("espnic/ping.py/a", PASS), ("espnic/ping.py/b", SKIP)]
        self.assertEqual(self.again(good, []), (good, [{"ping.py", "stats.py"}]))

    def test_again(self):
        """Only the program with the failure runs again, and its second result counts."""
        found, asked = self.again(
            [("espnic/ping.py/a", PASS), ("espnic/ping.py/b", FAIL, "94 < 100"),
             ("espnic/stats.py/a", PASS)],
            [("espnic/ping.py/a", PASS), ("espnic/ping.py/b", PASS)])
        self.assertEqual(asked[1:], [{"ping.py"}])
        self.assertEqual(sorted(found), [("espnic/ping.py/a", PASS), ("espnic/ping.py/b", PASS),
                                         ("espnic/stats.py/a", PASS)])
        self.assertIn("# espnic/ping.py/b failed and runs again\n#   94 < 100", self.said)

    def test_again_fails(self):
        """A failure stays if it comes twice, moves, or its case does not come again."""
        for second in ([("espnic/ping.py/a", FAIL)], [("espnic/ping.py/b", FAIL)], []):
            found, _ = self.again([("espnic/ping.py/a", FAIL)], second)
            self.assertIn(FAIL, [outcome for _, outcome in found], second)

    def test_no_chance(self):
        """A guest that ends early, or many programs that fail, do not run again."""
        for names in (["the guest with espnic runs to its end"],
                      ["espnic/the kernel does not complain"],
                      [f"espnic/{name}/a" for name in list(upstream.PROGRAMS)[:4]]):
            failures = [(name, FAIL) for name in names]
            found, asked = self.again(failures, [])
            self.assertEqual((found, len(asked)), (failures, 1))

    def starts(self, *guests):
        """Outcomes with one driver, if guests say this ("" for a good one), and their number."""
        left = list(guests)

        def guest(command, _log, title):
            log = left.pop(0)
            folder = pathlib.Path(command[command.index("--run-dir") + 1])
            folder.mkdir(exist_ok=True)
            (folder / "kernel.log").write_text(log, encoding="utf-8")
            yield Result(f"{title} runs to its end", FAIL if log else PASS)

        with mock.patch.object(upstream.groups, "program", guest), \
                contextlib.redirect_stdout(io.StringIO()):
            found = list(upstream._driver(DRIVER, self.folder / "upstream.log", pathlib.Path("t"),
                                          [], ["ping.py"]))
        return [one.outcome for one in found], len(guests) - len(left)

    def test_emulator(self):
        """A fault of the emulator's is no result, but not for ever; other trouble is one."""
        stale = "[   93.219249] Oops: int3: 0000 [#1] SMP NOPTI\n"
        self.assertEqual(self.starts(stale, ""), ([PASS, PASS], 2))
        self.assertEqual(self.starts(*[stale] * 5), ([FAIL, FAIL], upstream.STARTS))
        self.assertEqual(self.starts(f"[ 9.0] WARNING: x.c:1\n{stale}", ""), ([FAIL, FAIL], 1))

    def test_build_fails(self):
        """The words of a build that fails are shown."""
        kernel = mock.Mock()
        kernel.offer.release, kernel.offer.series = "7.9.1-amd64", "7.9"
        recipe = self.folder / "recipe"
        recipe.write_text("echo 'csum.c:1: error: no such thing'; exit 1\n", encoding="utf-8")
        with mock.patch.object(source.archive, "download"), \
                mock.patch.object(source, "RECIPE", recipe), \
                mock.patch.object(source.cachelib, "cache", lambda: self.folder), \
                contextlib.redirect_stderr(io.StringIO()), \
                self.assertRaises(ToolError) as caught:
            source._build(kernel, self.folder)
        self.assertIn("csum.c:1", str(caught.exception))


class Guest(Folder):
    """What tools/guest/upstream-tests makes of a program's output."""

    def setUp(self):
        super().setUp()
        self.guest = guest_program()

    def test_lines(self):
        """Names lose their program, an expected failure is a skip, the rest is a comment."""
        for said, told in (
                ("ok 1 csum.ipv4_rx_tcp", "ok 1 ipv4_rx_tcp"),
                ("not ok 12 xdp.test_qstats.drop_ipv4", "not ok 12 test_qstats.drop_ipv4"),
                ("ok 2 rss_ctx.resize # SKIP Not enough", "ok 2 resize # SKIP Not enough"),
                ("ok 3 tso.ipv4 # XFAIL too slow", "ok 3 ipv4 # SKIP XFAIL too slow"),
                ("# Check failed 1 != 2", "# Check failed 1 != 2"),
                ("1..4", "# 1..4"), ("Traceback", "# Traceback")):
            self.assertEqual(self.guest.translate(said), told)

    def program(self, text, seconds=10):
        """What is printed for a program that is this shell script, and why it ended badly."""
        path = self.folder / "drivers/net/a.py"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        path.chmod(0o755)
        out = io.StringIO()
        with mock.patch.object(self.guest, "TESTS", self.folder), contextlib.redirect_stdout(out):
            why = self.guest.results({"name": "a.py", "seconds": seconds, "omit": ["slow"]}, {})
        return out.getvalue().splitlines(), why

    def test_good(self):
        """A program that ends well; it is told what to leave out."""
        self.assertEqual(self.program('echo "ok 1 a.one"; echo "ok 2 a.two # SKIP $*"\n'),
                         (["  ok 1 one", "  ok 2 two # SKIP -T slow"], None))

    def test_bad(self):
        """A failed case, a bad end after good ones, too long, and not there."""
        lines, why = self.program('echo "not ok 1 a.one"; exit 1\n')
        self.assertEqual((lines, why), (["  not ok 1 one"], "a case failed"))
        for text, seconds, reason in (('echo "ok 1 a.one"; exit 3\n', 10, "exit=3"),
                                      ("sleep 20\n", 1, "TIMEOUT 1 seconds")):
            self.setUp()
            self.assertEqual(self.program(text, seconds)[1], reason)
        self.setUp()
        with mock.patch.object(self.guest, "TESTS", self.folder):
            self.assertIn("does not exist", self.guest.results(
                {"name": "a.py", "seconds": 1, "omit": []}, {}))

    def test_early_end(self):
        """Cases that did not run are a failure of their own, also after one that failed."""
        lines, why = self.program('echo 1..3; echo "not ok 1 a.one"; exit 1\n')
        self.assertEqual(lines, ["  # 1..3", "  not ok 1 one", "  # 1 of 3 cases ran",
                                 "  not ok 2 all_cases_run"])
        self.assertEqual(why, "a case failed")

    def test_to_the_report(self):
        """What the guest prints is understood by the group, case by case."""
        text = ("TAP version 13\n1..2\n# selftests: espnic: espnic/ping.py\n  # TAP version 13\n"
                "  ok 1 a\n  ok 2 b # SKIP XFAIL why\nok 1 ping.py\n"
                "# selftests: espnic: espnic/hw/uso.py\nnot ok 2 hw/uso.py # exit=1\n")
        script = self.folder / "script"
        script.write_text(f"cat <<'END'\n{text}END\nexit 1\n", encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            found = list(upstream.groups.program(["sh", str(script)], self.folder / "log", "x"))
        self.assertEqual([(one.name, one.outcome) for one in found],
                         [("espnic/ping.py/a", PASS), ("espnic/ping.py/b", SKIP),
                          ("espnic/hw/uso.py", FAIL)])

    def test_plan(self):
        """A driver other than the one that is wanted ends the run at once, without results."""
        plan = self.folder / "plan"
        plan.write_text(json.dumps(upstream.plan(DRIVER, [])), encoding="utf-8")
        out = io.StringIO()
        with mock.patch.object(self.guest, "driver_of", lambda _name: "e1000"), \
                mock.patch("sys.argv", ["upstream-tests", str(plan)]), \
                mock.patch.dict("os.environ", NETIF="a", PEERIF="b"), \
                contextlib.redirect_stdout(out):
            self.assertEqual(self.guest.main(), 1)
        self.assertIn("driven by e1000", out.getvalue())
        self.assertNotIn("ok ", out.getvalue())
