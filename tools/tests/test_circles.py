# SPDX-License-Identifier: GPL-2.0
"""The check for files that import each other."""

import contextlib
import pathlib
import tempfile
import unittest

from checklib import Problem, circles

TREE = {
    "lib.rs": "mod a;\nmod b;\npub use a::Face;\n",
    "a.rs": "use crate::b::{self, Thing};\nuse core::fmt;\n",
    "b.rs": "mod c;\n// use crate::a::Note;\n#[cfg(test)]\nmod tests {\n    use crate::a::X;\n}\n",
    "b/c.rs": "use super::Thing;\n",
    "b/tests.rs": "use crate::a::Face;\n",
}


class Circles(unittest.TestCase):
    """A small crate, as it is and with what closes a circle."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)
        self.write(TREE)

    def write(self, files):
        """Write these files of the crate rust/esp/src."""
        for name, text in files.items():
            path = self.top / "rust/esp/src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def found(self):
        """The lines about the crate."""
        return circles.found(self.top, ["rust/esp/src"])

    def test_use_trees(self):
        """Nested braces, several lines, other names and visibility."""
        text = "use crate::{\n    a::B as C,\n    d::{self, E, //\n    },\n};\npub use x::Y;\n"
        wanted = [("crate", "a", "B"), ("crate", "d", "self"), ("crate", "d", "E")]
        self.assertEqual(circles.imports(text), wanted)

    def test_a_tree_without_circles(self):
        """Tests, comments, re-exports and module lines are no arrows."""
        self.assertEqual(self.found(), [])

    def test_circles_are_named(self):
        """By crate, by super, and by the name of a child."""
        for name, text in (("b.rs", "use crate::a::Face;\n"), ("b.rs", "use super::a::Face;\n"),
                           ("b.rs", "mod c;\nuse c::Inner;\n")):
            self.write({**TREE, name: text})
            first, *names = self.found()
            self.assertIn("2 files import each other", first)
            self.assertIn("rust/esp/src/b.rs", names)

    def test_only_what_is_below_counts(self):
        """A circle that leaves the folder is not the folder's."""
        self.write({"b/c.rs": "use crate::a::Face;\n", "b.rs": "mod c;\nuse c::Inner;\n"})
        self.assertEqual(len(self.found()), 4)
        self.assertEqual(circles.found(self.top, ["rust/esp/src/b"]), [])

    def test_the_check_fails(self):
        """The check of tools/check shows what was found."""
        self.write({"b.rs": "use crate::a::Face;\n"})
        for folder in circles.CRATES:
            (self.top / folder).mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(self.top), self.assertRaises(Problem) as caught:
            circles.check()
        self.assertIn("rust/esp/src/a.rs", str(caught.exception))

    def test_own_tree(self):
        """Every folder of the list is there, and its files are read."""
        checkout = pathlib.Path(__file__).resolve().parent.parent.parent
        for folder in circles.CLEAN:
            self.assertTrue(any((checkout / folder).rglob("*.rs")), folder)
        for folder, root in circles.CRATES.items():
            arrows = circles.Crate(checkout / folder, root).arrows()
            self.assertGreater(sum(map(len, arrows.values())), len(arrows) // 2, folder)
