# SPDX-License-Identifier: GPL-2.0
"""Finds statistics that no test mentions.

The names are those of the rows of ``counters!`` in the driver and in the NIC. A test mentions a
name if the name is a word in a selftest, in an integration test, or in a unit test.
"""

import re

from .common import Problem, tracked

SOURCES = ("rust/espnic/", "rust/device/src/")
DECLARED = re.compile(r"^counters! \{\n(.*?)^\}$", re.M | re.S)
ROW = re.compile(r'^\s+(\w+)(?:: c?"(\w+)")?,$', re.M)
TESTS = re.compile(r"^selftests/.*\.(py|sh)$|^rust/.*(/tests/.*|tests)\.rs$")
UNIT_TESTS = re.compile(r"^#\[cfg\(test\)\]\s*mod tests \{.*", re.M | re.S)


def names(text):
    """The statistics that a source declares."""
    return [name or field
            for rows in DECLARED.findall(text) for field, name in ROW.findall(rows)]


def tests(path, text):
    """What is a test in a file."""
    if TESTS.match(path):
        return text
    return "".join(UNIT_TESTS.findall(text)) if path.endswith(".rs") else ""


def unmentioned(sources):
    """The statistics without a test; sources are pairs of path and text."""
    words = set()
    for path, text in sources:
        words.update(re.findall(r"\w+", tests(path, text)))
    for path, text in sources:
        if path.startswith(SOURCES) and not TESTS.match(path):
            yield from (f"{path}: no test mentions {name}"
                        for name in names(text) if name not in words)


def check():
    """Every statistic occurs in a test."""
    sources = [(str(path), path.read_text(encoding="utf-8")) for path in tracked()
               if path.suffix in (".rs", ".py", ".sh")]
    problems = list(unmentioned(sources))
    if problems:
        raise Problem("\n".join(problems))
