# SPDX-License-Identifier: GPL-2.0
"""The table of NDIS rules against the tests that ran.

A test that checks a rule prints a line like "# rules: R44 R45".  The table names for each rule
the tests that prove it, or says why it cannot apply; it counts only what this run has shown.
"""

import csv
import json
import re
from dataclasses import dataclass

from .report import FAIL, PASS, Result

LAST_RULE = 151
NEEDED = ("host", "guest")  # groups whose tests prove rules; those of others count if they ran
COLUMNS = ["Rule", "Part", "Statement", "Source", "Tests", "Why not"]
LINE = re.compile(r"^\s*# rules:((?: R[0-9]+)+)\s*$")
TEST = re.compile(r"``([^`]+)``")


def rules_in(line):
    """The rules that a line of a test's output names."""
    match = LINE.match(line)
    return set(match[1].split()) if match else set()


@dataclass(frozen=True)
class Row:
    """A row of the table; tests are named as in the report, with their group."""

    rule: str
    part: str
    statement: str
    tests: tuple
    reason: str


def read(path):
    """The rows of the table."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != COLUMNS:
        raise ValueError(f"{path}: the first line must be {','.join(COLUMNS)}")
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{path}, row {number}: {len(cells)} cells instead of {len(COLUMNS)}")
        rule, part, statement, _source, tests, reason = cells
        rest = TEST.sub("", tests).strip()
        if rest:
            raise ValueError(f"{path}, row {number}: tests are written as ``GROUP: NAME``: {rest}")
        rows.append(Row(rule, part, statement, tuple(TEST.findall(tests)), reason.strip()))
    return rows


def table_faults(rows):
    """The faults of the table itself."""
    known = [f"R{number}" for number in range(1, LAST_RULE + 1)]
    named = [row.rule for row in rows]
    faults = [f"{rule}: no row" for rule in known if rule not in named]
    faults += [f"{rule}: there is no such rule" for rule in named if rule not in known]
    faults += [f"{rule}: more than one row" for rule in known if named.count(rule) > 1]
    for row in rows:
        if not row.part or not row.statement:
            faults.append(f"{row.rule}: no part or no statement")
        if not row.tests and not row.reason:
            faults.append(f"{row.rule}: neither a test nor a reason why it cannot apply")
    return faults


def source_of(test, checkout):
    """The file that a test of the table is written in, and the words that begin it there."""
    group, program, *rest = test.split(": ")
    if group == "guest":
        return checkout / "selftests/drivers/net/espnic" / program.split("/")[0], ""
    if group == "sleep":
        return checkout / "tools/guest/sleep-test", f"def {program}("
    *modules, name = rest[0].split("::")
    return (checkout / "rust/ndis/tests" / "/".join([program, *modules])).with_suffix(".rs"), \
        f"fn {name}("


def unwritten(rows, checkout):
    """Tests that the table names and that no file has: a run would find out only at its end."""
    faults = []
    for row in rows:
        for test in row.tests:
            path, words = source_of(test, checkout)
            if not path.is_file() or words not in path.read_text(encoding="utf-8"):
                faults.append(f"{row.rule}: there is no test {test}; {path.name} does not have it")
    return faults


def _had_to_run(test, results):
    """Whether a test belongs to a group that is needed, or that ran."""
    group = test.split(": ")[0]
    return group in NEEDED or any(name.startswith(f"{group}: ") for name in results)


def row_faults(row, results):
    """Why a row is not proven by RESULTS: test names with their group, to Result."""
    faults = []
    for test in row.tests:
        result = results.get(test)
        if result is None and not _had_to_run(test, results):
            continue
        if result is None:
            faults.append(f"{row.rule}: {test} did not run")
        elif result.outcome != PASS:
            faults.append(f"{row.rule}: {test} did not pass ({result.outcome})")
        elif row.rule not in result.rules:
            faults.append(f"{row.rule}: {test} does not say that it checks it")
    return faults


def unknown_claims(rows, results):
    """Rules that tests name and that do not exist."""
    known = {row.rule for row in rows}
    return [f"{name}: checks {rule}, which has no row" for name, result in sorted(results.items())
            for rule in sorted(result.rules - known)]


def by_name(done):
    """Results by group as one dictionary; a name that came twice counts as the worse one."""
    found = {}
    for group, results in done.items():
        for result in results:
            name = f"{group}: {result.name}"
            if name not in found or result.outcome != PASS:
                found[name] = result
    return found


def judge(rows, results):
    """One Result for the table, and one for each of its parts."""
    faults = table_faults(rows) + unknown_claims(rows, results)
    yield Result("the table has every rule once", FAIL if faults else PASS, "\n".join(faults))
    for part in dict.fromkeys(row.part for row in rows):
        here = [row for row in rows if row.part == part]
        faults = [fault for row in here for fault in row_faults(row, results)]
        yield Result(f"{part} ({here[0].rule} to {here[-1].rule})", FAIL if faults else PASS,
                     "\n".join(faults))


def group(path, done):
    """The group of tools/run-tests: the table against what the groups before have shown."""
    try:
        rows = read(path)
    except (OSError, ValueError) as error:
        yield Result("the table can be read", FAIL, str(error))
        return
    yield from judge(rows, by_name(done))


def save(path, done):
    """Keep the results of a run for tools/check-fidelity."""
    path.write_text(json.dumps({name: [[one.name, one.outcome, sorted(one.rules)]
                                       for one in results] for name, results in done.items()},
                               indent=1) + "\n", encoding="utf-8")


def load(path):
    """What save() kept."""
    groups = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Result(test, outcome, rules=set(rules)) for test, outcome, rules in results]
            for name, results in groups.items()}
