# SPDX-License-Identifier: GPL-2.0
"""The rules of tools/expected-tests."""

import dataclasses

from . import report


@dataclasses.dataclass
class Rules:
    """Least number of passed tests per group, and what may be skipped: "GROUP: NAME"."""

    minimum: dict
    skips: set


def read(path):
    """Parse the file; a line that is not understood is an error."""
    rules = Rules({}, set())
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#", 1)[0].split(None, 1)
        if not words:
            continue
        if words[0] == "skip" and len(words) == 2:
            rules.skips.add(words[1].strip())
        elif words[0] == "minimum" and len(words[1].split()) == 2:
            group, count = words[1].split()
            rules.minimum[group] = int(count)
        else:
            raise SystemExit(f"{path}:{number}: neither 'skip GROUP: NAME' nor "
                             "'minimum GROUP NUMBER'")
    return rules


def judge(results, group, rules, whole):
    """Pass results on; add a failure for a skip that is not allowed and for too few tests."""
    passed = 0
    for result in results:
        passed += result.outcome == report.PASS
        yield result
        allowed = result.known or f"{group}: {result.name}" in rules.skips
        if result.outcome == report.SKIP and not allowed:
            yield report.Result(f"{result.name}: may not be skipped", report.FAIL, result.detail)
    least = rules.minimum.get(group, 1) if whole else 1
    if passed < least:
        yield report.Result(f"at least {least} tests pass", report.FAIL, f"only {passed} did")
