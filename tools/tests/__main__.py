# SPDX-License-Identifier: GPL-2.0
"""Runs the tests of this folder and prints KTAP."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent


class Ktap(unittest.TestResult):
    """Prints a line per test."""

    def __init__(self):
        super().__init__()
        self._failed = False

    def startTest(self, test):
        """Forget what the test before did."""
        super().startTest(test)
        self._failed = False

    def _say(self, test, failed, more=""):
        name = test.id().removeprefix("tests.")
        print(f"{'not ok' if failed else 'ok'} {self.testsRun} {name}{more}", flush=True)

    def _broken(self, test, error):
        for line in self._exc_info_to_string(error, test).splitlines():
            print(f"# {line}")
        if not self._failed:  # a test with several broken parts is one result
            self._say(test, True)
        self._failed = True

    def addSuccess(self, test):
        """It passed."""
        self._say(test, False)

    def addFailure(self, test, err):
        """A check failed."""
        super().addFailure(test, err)
        self._broken(test, err)

    def addError(self, test, err):
        """It broke."""
        super().addError(test, err)
        self._broken(test, err)

    def addSubTest(self, test, subtest, err):
        """One of several parts of a test ended."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            print(f"# {subtest}")
            self._broken(test, err)

    def addSkip(self, test, reason):
        """It could not run."""
        self._say(test, False, f" # SKIP {reason}")


def main():
    """Load, run, say how it went."""
    suite = unittest.defaultTestLoader.discover(str(HERE), top_level_dir=str(HERE.parent))
    print(f"TAP version 13\n1..{suite.countTestCases()}", flush=True)
    result = Ktap()
    suite.run(result)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
