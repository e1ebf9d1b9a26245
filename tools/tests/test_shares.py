# SPDX-License-Identifier: GPL-2.0
"""Selftests are shared among guests, and none is lost."""

import contextlib
import io
import itertools
import pathlib
import tempfile
import threading
import unittest
from unittest import mock

from testlib import groups, shares
from testlib.report import PASS, Result


class Split(unittest.TestCase):
    """The shares."""

    def test_each_name_is_in_one_share(self):
        """Whatever the numbers are, and no share is empty."""
        for names in range(7):
            for count in range(1, 6):
                parts = shares.split(list(range(names)), count)
                self.assertEqual(sorted(sum(parts, [])), list(range(names)))
                self.assertEqual(len(parts), min(names, count))
                self.assertLessEqual(max(map(len, parts), default=0),
                                     min(map(len, parts), default=0) + 1)

    def test_programs_are_those_of_the_folder(self):
        """The list has each program that can be executed."""
        folder = shares.TOOLS.parent / "selftests/drivers/net/espnic"
        there = {f"drivers/net/espnic:{path.name}" for path in folder.iterdir()
                 if path.suffix in (".py", ".sh") and path.stat().st_mode & 0o100}
        listed = shares.programs()
        self.assertEqual(len(listed), len(set(listed)))
        self.assertLessEqual(set(listed), there)
        self.assertIn("drivers/net/espnic:plain.py", listed)


class Together(unittest.TestCase):
    """Generators at the same time."""

    def test_all_run_at_the_same_time(self):
        """Each of them waits for the other one, and everything arrives."""
        barrier = threading.Barrier(2)

        def source(name):
            barrier.wait(10)
            yield f"{name} 1"
            barrier.wait(10)
            yield f"{name} 2"

        found = list(shares.together([source("a"), source("b")]))
        self.assertEqual(sorted(found), ["a 1", "a 2", "b 1", "b 2"])

    def test_an_error_is_told_after_the_others_are_done(self):
        """A source that fails does not silence another one, nor is its error lost."""
        def broken():
            yield 1
            raise OSError("no room")

        found = []
        with self.assertRaisesRegex(OSError, "no room"):
            for item in shares.together([broken(), iter([2, 3])]):
                found.append(item)
        self.assertEqual(sorted(found), [1, 2, 3])


class Guests(unittest.TestCase):
    """The groups that have guests."""

    def run_group(self, group, only):
        """The commands, logs and chosen tests of the guests of a GROUP."""
        seen = []

        def program(command, log, title, **_options):
            tests = [word for option, word in itertools.pairwise(command) if option == "-t"]
            seen.append((log.name, command, tests))
            yield Result(title, PASS)

        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(groups, "program", program), \
                mock.patch.object(groups, "all_of_kunit", lambda results, _names: results), \
                mock.patch.object(shares, "guests", lambda: 2), \
                contextlib.redirect_stdout(io.StringIO()):
            results = list(group(pathlib.Path(folder) / "name.log", only))
        self.assertEqual(len(results), len(seen))
        folders = {command[command.index("--run-dir") + 1] for _, command, _ in seen}
        self.assertEqual(len(folders), len(seen))
        return sorted(seen)

    def test_a_whole_run_is_shared(self):
        """All programs run, each once, with a log and a folder for each guest."""
        for group in (groups.guest, groups.debug):
            first, second = self.run_group(group, [])
            self.assertEqual([first[0], second[0]], ["name-1.log", "name-2.log"])
            self.assertEqual(sorted(first[2] + second[2]), sorted(shares.programs()))

    def test_chosen_tests_are_shared(self):
        """A single one has a log where it always is."""
        for group in (groups.guest, groups.debug):
            first, second = self.run_group(group, ["plain.py", "queues.py"])
            self.assertEqual([first[2], second[2]], [["plain.py"], ["queues.py"]])
            (log, _, tests), = self.run_group(group, ["plain.py"])
            self.assertEqual((log, tests), ("name.log", ["plain.py"]))

    def test_kunit_runs_once(self):
        """It is in the first guest; by itself it takes no programs with it."""
        first, second = self.run_group(groups.debug, [])
        self.assertIn("kunit.enable=1", first[1])
        self.assertNotIn("kunit.enable=1", second[1])
        (_, command, tests), = self.run_group(groups.debug, ["kunit"])
        self.assertIn("kunit.enable=1", command)
        self.assertIn("--no-programs", command)
        self.assertEqual(tests, [])
