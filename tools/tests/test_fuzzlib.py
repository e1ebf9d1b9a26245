# SPDX-License-Identifier: GPL-2.0
"""Fuzz targets: their list, their seeds, and what libFuzzer says."""

import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from fuzzlib import build, run
from testlib import expected

TOOLS = pathlib.Path(__file__).resolve().parent.parent

# A target that keeps an input and ends well, and one that finds something.
GOOD = """\
INFO: Seed: 1
#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb
#40\tNEW    cov: 20 ft: 33 corp: 2/5b lim: 4 exec/s: 0 rss: 30Mb L: 4/4 MS: 1 InsertByte-
Done 1234 runs in 1 second(s)
"""
BAD = """\
#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb
thread '<unnamed>' panicked at targets/wire.rs:1:1:
==9== ERROR: libFuzzer: deadly signal
artifact_prefix='/x/wire-'; Test unit written to /x/wire-crash-da39a3ee
"""


class Targets(unittest.TestCase):
    """What is in rust/fuzz."""

    def test_every_target_has_a_source_and_seeds(self):
        """Seeds are few and small."""
        names = build.targets()
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertTrue((build.CRATE / "targets" / f"{name}.rs").is_file(), name)
            seeds = list((build.CRATE / "corpus" / name).iterdir())
            self.assertTrue(seeds, name)
            self.assertLess(sum(seed.stat().st_size for seed in seeds), 8192, name)

    def test_every_target_must_run_in_a_test(self):
        """The group's minimum is the number of targets."""
        rules = expected.read(TOOLS / "expected-tests")
        self.assertEqual(rules.minimum["fuzz"], len(build.targets()))

    def test_wrong_words_are_refused(self):
        """Nothing is built then."""
        for words in (["nothing"], ["--seconds", "0"], ["--input", "x"]):
            result = subprocess.run([TOOLS / "fuzz", *words], check=False, text=True,
                                    capture_output=True)
            self.assertEqual(result.returncode, 2, words)
            self.assertIn("fuzz: error:", result.stderr)


class Run(unittest.TestCase):
    """A program that talks like a target."""

    def run_like(self, text, status):
        """The result of a program that says TEXT."""
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "target"
            program.write_text(f"#!{sys.executable}\nprint({text!r})\nraise SystemExit({status})\n",
                               encoding="utf-8")
            program.chmod(0o755)
            with mock.patch.object(run, "OUTPUT", pathlib.Path(folder)), \
                    mock.patch.object(run, "PAUSE", 0):
                told = []
                result = run.run(program, "wire", 1, lambda state: told.append(state.runs))
        return *result, told

    def test_progress_and_totals_are_read(self):
        """Of a target that ends well."""
        state, _, well, told = self.run_like(GOOD, 0)
        self.assertTrue(well)
        self.assertEqual((state.runs, state.edges, state.corpus), (1234, 20, 2))
        self.assertEqual(state.found, "")
        self.assertIn(40, told)

    def test_a_finding_is_named(self):
        """With the file that it is in, and what was said last."""
        state, last, well, _ = self.run_like(BAD, 77)
        self.assertFalse(well)
        self.assertEqual(state.found, "/x/wire-crash-da39a3ee")
        self.assertIn("panicked", "\n".join(last))

    def test_an_early_end_is_no_success(self):
        """Even if nothing was found."""
        self.assertFalse(self.run_like("", 1)[2])
