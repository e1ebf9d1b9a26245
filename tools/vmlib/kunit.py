# SPDX-License-Identifier: GPL-2.0
"""KUnit tests of the module: what the sources have, and what the kernel's log says of them.

Needs nothing but Python: the host reads sources with it, the guest its /dev/kmsg.
"""

import dataclasses
import re

SUITE = re.compile(r"#\[kunit_tests\((\w+)\)\]")
TEST = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)")

STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
SUBTEST = re.compile(r"^    # Subtest: (\w+)$")
PLAN = re.compile(r"^    1\.\.(\d+)$")
CASE = re.compile(r"^    (?P<not>not )?ok \d+ (?P<name>\w+)(?P<rest> # .*)?$")
END = re.compile(r"^(?P<not>not )?ok \d+ (?P<name>\w+)")


@dataclasses.dataclass
class Case:
    """One test: its result, and the kernel's log from the result before to this one."""

    name: str
    failed: bool
    rest: str
    log: list


@dataclasses.dataclass
class Suite:
    """One suite; WHOLE once all its tests have a result and so has the suite."""

    name: str
    cases: list = dataclasses.field(default_factory=list)
    plan: int = -1
    whole: bool = False
    log: list = dataclasses.field(default_factory=list)  # since the last result


def _take(suite, line, text):
    """Add one line of the log to a suite."""
    suite.log.append(line)
    plan, case, end = PLAN.match(text), CASE.match(text), END.match(text)
    if plan:
        suite.plan = int(plan[1])
    elif case:
        suite.cases.append(Case(case["name"], bool(case["not"]), case["rest"] or "", suite.log))
        suite.log = []
    elif end and end["name"] == suite.name:
        suite.whole = suite.plan == len(suite.cases)
        return False
    return True


def suites(lines):
    """The suites that ran, in their order, and the lines that belong to none.

    Suites run when the module is loaded. What a later load says of one of them is ignored.
    """
    found, others, running, known = [], [], None, set()
    for line in lines:
        text = STAMP.sub("", line)
        begin = SUBTEST.match(text)
        if begin:
            running = Suite(begin[1])
            if running.name not in known:
                found.append(running)
            known.add(running.name)
        elif running:
            running = running if _take(running, line, text) else None
        else:
            others.append(line)
    return found, others


def in_sources(folder):
    """Names "SUITE/TEST" of all tests below a folder."""
    names = set()
    for path in folder.rglob("*.rs"):
        text = path.read_text(encoding="utf-8")
        marks = [*SUITE.finditer(text)]
        ends = [*(mark.start() for mark in marks), len(text)][1:]
        for mark, end in zip(marks, ends, strict=True):
            names |= {f"{mark[1]}/{test}" for test in TEST.findall(text[mark.end():end])}
    return names
