# SPDX-License-Identifier: GPL-2.0
"""The report must notice everything that can go wrong in a group."""

import contextlib
import io
import pathlib
import tempfile
import unittest

from testlib import expected, groups, report
from testlib.report import FAIL, PASS, SKIP, Result

GOOD = """\
TAP version 13
1..2
# selftests: drivers/net/espnic: plain.py
  TAP version 13
  1..2
  ok 1 ipv4
  ok 2 jumbo # SKIP no room
ok 1 selftests: drivers/net/espnic:plain.py
# selftests: drivers/net/espnic: leak.py
  1..1
  # told why
  not ok 1 leak
not ok 2 selftests: drivers/net/espnic:leak.py # exit=1
"""


class Program(unittest.TestCase):
    """A program that prints KTAP."""

    def results(self, text, status=0):
        """Results for a program that prints TEXT and exits with STATUS."""
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "script"
            script.write_text(f"cat <<'END'\n{text}END\nexit {status}\n", encoding="utf-8")
            log = pathlib.Path(folder) / "log"
            with contextlib.redirect_stdout(io.StringIO()):
                found = list(groups.program(["sh", str(script)], log, "the program"))
        return [(result.name, result.outcome) for result in found], found

    def test_cases_are_counted_once(self):
        """Cases count, the line of their program does not count again."""
        names, found = self.results(GOOD, 1)
        self.assertEqual(names, [("plain.py/ipv4", PASS), ("plain.py/jumbo", SKIP),
                                 ("leak.py/leak", FAIL)])
        self.assertEqual(found[1].detail, "no room")
        self.assertIn("told why", found[2].detail)

    def test_bad_status_without_a_failed_case(self):
        """A program whose cases passed but that failed afterwards is a failure."""
        text = "1..1\n# selftests: x: a.sh\n  ok 1 one\nnot ok 1 selftests: x:a.sh # exit=139\n"
        names, _ = self.results(text, 1)
        self.assertEqual(names, [("a.sh/one", PASS), ("a.sh", FAIL)])

    def test_missing_results(self):
        """A guest that dies in the middle is a failure, whatever came before."""
        names, _ = self.results("TAP version 13\n1..3\nok 1 one\nok 2 two\n")
        self.assertEqual(names[-1], ("the program runs to its end", FAIL))

    def test_silence(self):
        """No output at all is a failure."""
        names, _ = self.results("")
        self.assertEqual(names, [("the program runs to its end", FAIL)])

    def test_status_alone(self):
        """All well, but the exit status says otherwise (the kernel complained)."""
        names, _ = self.results("1..1\nok 1 one\n", 125)
        self.assertEqual(names, [("one", PASS), ("the program ends well", FAIL)])

    def test_time_limit(self):
        """A program that hangs is ended, with its children, and that is a failure."""
        with tempfile.TemporaryDirectory() as folder:
            found = list(groups.program(["sh", "-c", "sleep 60; echo ok 1 late"],
                                        pathlib.Path(folder) / "log", "the program", seconds=1))
        self.assertEqual([result.outcome for result in found], [FAIL])
        self.assertIn("timeout: sending signal TERM", found[0].detail)


class Expected(unittest.TestCase):
    """The rules for skips and for the number of tests."""

    def judge(self, results, rules, whole=True):
        """Outcomes after judging."""
        return [result.outcome for result in expected.judge(results, "guest", rules, whole)]

    def test_skip_must_be_known(self):
        """A skip that nobody expects in this group is a failure."""
        skip = [Result("a", PASS), Result("b", SKIP, "why")]
        self.assertEqual(self.judge(skip, expected.Rules({}, {"guest: b"})), [PASS, SKIP])
        self.assertEqual(self.judge(skip, expected.Rules({}, {"host: b"})), [PASS, SKIP, FAIL])
        self.assertEqual(self.judge(skip, expected.Rules({}, set())), [PASS, SKIP, FAIL])

    def test_minimum(self):
        """Too few tests are a failure, unless only some were asked for."""
        rules = expected.Rules({"guest": 2}, set())
        self.assertEqual(self.judge([Result("a", PASS)], rules), [PASS, FAIL])
        self.assertEqual(self.judge([Result("a", PASS)], rules, whole=False), [PASS])
        self.assertEqual(self.judge([], rules, whole=False), [FAIL])

    def test_file(self):
        """The file is understood or refused."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("# note\nminimum host 3\nskip host: a/b c # why\n")
            file.flush()
            rules = expected.read(pathlib.Path(file.name))
            self.assertEqual((rules.minimum, rules.skips), ({"host": 3}, {"host: a/b c"}))
            file.write("minimum host\n")
            file.flush()
            with self.assertRaises(SystemExit):
                expected.read(pathlib.Path(file.name))


class Report(unittest.TestCase):
    """The last line and the exit status."""

    def finish(self, *outcomes):
        """Exit status and last line of a report with these outcomes."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            book = report.Report()
            for outcome in outcomes:
                book.add("group", Result("name", outcome))
            status = book.finish()
        return status, out.getvalue().splitlines()[-1]

    def test_totals(self):
        """A failure or nothing passed is status 1."""
        self.assertEqual(self.finish(PASS, SKIP), (0, "1 passed, 0 failed, 1 skipped"))
        self.assertEqual(self.finish(PASS, FAIL), (1, "1 passed, 1 failed, 0 skipped"))
        self.assertEqual(self.finish(SKIP), (1, "0 passed, 0 failed, 1 skipped"))


