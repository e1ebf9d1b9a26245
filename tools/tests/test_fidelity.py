# SPDX-License-Identifier: GPL-2.0
"""A rule counts as proven only if its test ran, passed and named it."""

import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

from testlib import fidelity, groups
from testlib.fidelity import Row
from testlib.report import FAIL, PASS, SKIP, Result

TOOLS = pathlib.Path(__file__).resolve().parent.parent
HEAD = ",".join(fidelity.COLUMNS)

CARGO = """\
     Running unittests src/lib.rs (target/debug/deps/espnic_ndis-0123456789abcdef)

running 3 tests
test model::adds ... ok
test model::fails ... FAILED
test model::silent ... ok

successes:

---- model::adds stdout ----
# rules: R44 R45
test model::ghost ... ok
# rules: R46
# rules: R47 and more


successes:
    model::adds
    model::silent

failures:

---- model::fails stdout ----
# rules: R48


failures:
    model::fails

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

     Running tests/mingw.rs (target/debug/deps/mingw-0123456789abcdef)
test adds ... ok

successes:

---- adds stdout ----
# rules: R80
"""

GUEST = """\
TAP version 13
1..2
# selftests: drivers/net/espnic: ndis_add.py
  1..3
  # rules: R44
  # and a word
  # rules: R45 R46
  ok 1 single
  # single: 0.1 s
  ok 2 silent
  # rules: R49
  ok 3 skipped # SKIP no device
  # rules: R50
ok 1 selftests: drivers/net/espnic:ndis_add.py
# selftests: drivers/net/espnic: plain.py
  1..1
  ok 1 ipv4
ok 2 selftests: drivers/net/espnic:plain.py
"""


def rules(results):
    """Names and rules of results."""
    return {result.name: sorted(result.rules) for result in results}

RULES = [f"R{number}" for number in range(1, fidelity.LAST_RULE + 1)]


class Lines(unittest.TestCase):
    """Which rules belong to which test."""

    def test_form(self):
        """Only whole lines of the exact form count."""
        self.assertEqual(fidelity.rules_in("  # rules: R1 R137"), {"R1", "R137"})
        for line in ("# rules:", "# rules: 44", "x # rules: R1", "# rules: R1, R2", "# rules:R1"):
            self.assertEqual(fidelity.rules_in(line), set(), line)

    def test_host(self):
        """What cargo shows of a test is that test's, also when names repeat in other programs."""
        with contextlib.redirect_stdout(io.StringIO()):
            results = list(groups.cargo(CARGO.splitlines(), "there"))
        self.assertEqual(rules(results), {
            "espnic_ndis: model::adds": ["R44", "R45", "R46"],
            "espnic_ndis: model::fails": ["R48"],
            "espnic_ndis: model::silent": [],
            "mingw: adds": ["R80"],
        })
        self.assertEqual([result.outcome for result in results], [PASS, FAIL, PASS, PASS])

    def test_guest(self):
        """Lines before a result belong to it; what follows the last one belongs to nobody."""
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "script"
            script.write_text(f"cat <<'END'\n{GUEST}END\n", encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()):
                results = list(groups.program(["sh", str(script)], pathlib.Path(folder) / "log",
                                              "the program"))
        self.assertEqual(rules(results), {
            "ndis_add.py/single": ["R44", "R45", "R46"], "ndis_add.py/silent": [],
            "ndis_add.py/skipped": ["R49"], "plain.py/ipv4": [],
        })


class Table(unittest.TestCase):
    """The table and its form."""

    def rows(self, *lines):
        """Read a table with these lines."""
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("\n".join([HEAD, *lines]) + "\n")
            file.flush()
            return fidelity.read(pathlib.Path(file.name))

    def test_read(self):
        """Tests are in double backquotes, words between them are an error."""
        row, = self.rows("R1,Part,Words,page,``host: a: b`` ``guest: c/d``,")
        self.assertEqual(row.tests, ("host: a: b", "guest: c/d"))
        for line in ("R1,Part,Words,page,host: a,", "R1,Part,Words", "R1,Part,Words,,``x`` y,"):
            with self.assertRaises(ValueError):
                self.rows(line)

    def test_every_rule_once(self):
        """Missing, unknown and double rules are found, and rows that prove nothing."""
        rows = [Row(rule, "part", "words", (), "why") for rule in RULES]
        self.assertEqual(fidelity.table_faults(rows), [])
        self.assertEqual(fidelity.table_faults(rows[1:]), ["R1: no row"])
        self.assertEqual(fidelity.table_faults([*rows, rows[4]]), ["R5: more than one row"])
        strange = Row("R999", "part", "words", (), "why")
        self.assertEqual(fidelity.table_faults([*rows, strange]), ["R999: there is no such rule"])
        rows[6] = Row("R7", "part", "words", (), "")
        self.assertEqual(len(fidelity.table_faults(rows)), 1)

    def test_own_table(self):
        """The project's table has the right form."""
        rows = fidelity.read(TOOLS.parent / "Documentation/ndis-rules.csv")
        self.assertEqual(fidelity.table_faults(rows), [])
        self.assertEqual([row.rule for row in rows], RULES)
        self.assertEqual(len({row.part for row in rows}), 12)
        self.assertEqual(fidelity.unwritten(rows, TOOLS.parent), [])

    def test_named_tests_exist(self):
        """A test that was moved or renamed is found without a run."""
        good = "host: model: encapsulation::an_encapsulation_that_some_offload_supports"
        flat, guest = "host: encodings: handle_words", "guest: ndis_add.py/single"
        moved, gone = good.replace("encapsulation::", "parameters::"), "guest: ndis_gone.py/single"
        rows = [Row("R1", "part", "words", (good, flat, guest, moved, gone), "")]
        self.assertEqual(fidelity.unwritten(rows, TOOLS.parent), [
            f"R1: there is no test {moved}; parameters.rs does not have it",
            f"R1: there is no test {gone}; ndis_gone.py does not have it",
        ])


class Judgement(unittest.TestCase):
    """What counts as a proof."""

    ROW = Row("R44", "Adding", "words", ("guest: a/b", "host: c: d"), "")

    def faults(self, **changes):
        """Faults of the row when its second test is changed."""
        done = {"guest": [Result("a/b", PASS, rules={"R44"})],
                "host": [Result(**{"name": "c: d", "outcome": PASS, "rules": {"R44", "R45"},
                                   **changes})]}
        return fidelity.row_faults(self.ROW, fidelity.by_name(done))

    def test_all_its_tests_prove_it(self):
        """Each named test ran, passed and named the rule."""
        self.assertEqual(self.faults(), [])
        self.assertIn("did not run", self.faults(name="c: e")[0])
        self.assertIn("did not pass", self.faults(outcome=FAIL)[0])
        self.assertIn("did not pass", self.faults(outcome=SKIP)[0])
        self.assertIn("does not say", self.faults(rules={"R45"})[0])

    def test_the_worse_of_two(self):
        """A failed result is not hidden by a passed one with the same name."""
        done = {"host": [Result("a", PASS), Result("a", FAIL), Result("a", PASS)]}
        self.assertEqual(fidelity.by_name(done)["host: a"].outcome, FAIL)

    def test_a_result_per_part(self):
        """The table and each part are results; an unknown rule that a test names is a fault."""
        rows = [self.ROW, Row("R86", "Asking", "words", (), "because")]
        good = {"guest": [Result("a/b", PASS, rules={"R44"})],
                "host": [Result("c: d", PASS, rules={"R44", "R999"})]}
        results = list(fidelity.judge(rows, fidelity.by_name(good)))
        self.assertEqual([(result.name, result.outcome) for result in results], [
            ("the table has every rule once", FAIL), ("Adding (R44 to R44)", PASS),
            ("Asking (R86 to R86)", PASS)])
        self.assertIn("R999", results[0].detail)
        results = list(fidelity.judge(rows, {}))
        self.assertEqual(results[1].outcome, FAIL)

    def test_an_unreadable_table_is_a_failure(self):
        """No table, no success."""
        result, = fidelity.group(pathlib.Path("/nonexistent/table"), {})
        self.assertEqual(result.outcome, FAIL)


class Programs(unittest.TestCase):
    """The commands around it."""

    def run_tool(self, *words):
        """Status and output of a tool."""
        result = subprocess.run([sys.executable, *words], text=True, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return result.returncode, result.stdout

    def test_saved_results_are_judged_alike(self):
        """What a run saved is what check-fidelity loads."""
        done = {"host": [Result("a: b", PASS, rules={"R1"}), Result("c: d", SKIP)], "guest": []}
        with tempfile.TemporaryDirectory() as folder:
            path, table = pathlib.Path(folder) / "results.json", pathlib.Path(folder) / "table"
            table.write_text(f"{HEAD}\nR1,First,words,page,``host: a: b``,\n"
                             "R2,Second,words,page,``host: x``,\n", encoding="utf-8")
            words = [str(TOOLS / "check-fidelity"), "--results", str(path), "--table", str(table)]
            fidelity.save(path, done)
            self.assertEqual(fidelity.load(path), done)
            status, text = self.run_tool(*words)
            self.assertEqual(status, 1)
            self.assertIn("\nok 2 fidelity: First", text)
            self.assertIn("\nnot ok 3 fidelity: Second", text)
            self.assertIn("host: x did not run", text)
            fidelity.save(path, {"host": []})
            status, text = self.run_tool(*words)
            self.assertEqual(status, 2)
            self.assertIn("no group guest", text)

    def test_form_needs_no_results(self):
        """--form looks at the table alone."""
        status, text = self.run_tool(str(TOOLS / "check-fidelity"), "--form")
        self.assertEqual((status, text.split(" rules")[0]), (0, "150"))

    def test_no_judgement_without_a_whole_run(self):
        """The group alone, or with single tests, is a wrong command line that says why."""
        for words in (["fidelity"], ["host", "fidelity"], ["host", "guest", "fidelity", "-t", "x"]):
            status, text = self.run_tool(str(TOOLS / "run-tests"), *words)
            self.assertEqual(status, 2)
            self.assertIn("whole run", text)


if __name__ == "__main__":
    unittest.main()
