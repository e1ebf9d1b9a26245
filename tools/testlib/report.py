# SPDX-License-Identifier: GPL-2.0
"""Results and the KTAP report."""

import dataclasses

PASS, FAIL, SKIP = "pass", "fail", "skip"


@dataclasses.dataclass
class Result:
    """One test; DETAIL is the reason of a skip, or the words of a failure.

    RULES are the NDIS rules that the test says it checks. A skip that is KNOWN is allowed by a
    list of the group's own.
    """

    name: str
    outcome: str
    detail: str = ""
    rules: set = dataclasses.field(default_factory=set)
    known: bool = False


class Report:
    """Prints results as they come and counts them."""

    def __init__(self, head=()):
        self._counts = {PASS: 0, FAIL: 0, SKIP: 0}
        self._remarkable = []
        print("TAP version 13")
        for line in head:
            print(f"# {line}", flush=True)

    def add(self, group, result):
        """Print one result line."""
        self._counts[result.outcome] += 1
        number = sum(self._counts.values())
        word = "not ok" if result.outcome == FAIL else "ok"
        line = f"{word} {number} {group}: {result.name}"
        if result.outcome == SKIP:
            line += f" # SKIP {result.detail or 'no reason given'}"
        print(line, flush=True)
        if result.outcome == FAIL:
            for text in result.detail.splitlines():
                print(f"#   {text}")
        if result.outcome != PASS:
            self._remarkable.append(line)

    def finish(self):
        """Print what did not pass, once more, and the totals; the exit status."""
        print(f"1..{sum(self._counts.values())}")
        if self._remarkable:
            print("# not passed:")
            for line in self._remarkable:
                print(f"#   {line}")
        failed = self._counts[FAIL]
        print(f"{self._counts[PASS]} passed, {failed} failed, {self._counts[SKIP]} skipped",
              flush=True)
        return 1 if failed or not self._counts[PASS] else 0
