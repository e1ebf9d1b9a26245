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


PYTHON = {
    "lib/__init__.py": "from . import a\nfrom .b import NAME\n",
    "lib/a.py": "import os\nfrom . import b\n",
    "lib/b.py": "import json as lib\nNAME = 1\n",
    "alone.py": "from lib.a import b\nimport lib.b\n",
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
        for folder in circles.PYTHON:
            arrows = circles.python_arrows(checkout / folder)
            self.assertGreater(sum(map(len, arrows.values())), len(arrows) // 2, folder)


class Python(unittest.TestCase):
    """A few Python modules, as they are and with what closes a circle."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)

    def found(self, changes):
        """The lines about the modules with these changes."""
        for name, text in {**PYTHON, **changes}.items():
            path = self.top / "tools" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return circles.found_python(self.top)

    def test_arrows(self):
        """Modules by every form of import; a name leads to the file that has it."""
        self.assertEqual(self.found({}), [])
        top = self.top / "tools"
        self.assertEqual(
            {str(path.relative_to(top)): {str(one.relative_to(top)) for one in to}
             for path, to in circles.python_arrows(top).items()},
            {"lib/__init__.py": {"lib/a.py", "lib/b.py"}, "lib/a.py": {"lib/b.py"},
             "lib/b.py": set(), "alone.py": {"lib/a.py", "lib/b.py"}})

    def test_circles_are_named(self):
        """By module, by a module's name, in a function, and by a name of the package."""
        for text in ("from . import a\n", "from .a import b\n", "import lib.a\n",
                     "def later():\n    from lib import a\n"):
            self.assertEqual(self.found({"lib/b.py": text}),
                             ["tools: 2 files import each other:",
                              "tools/lib/a.py", "tools/lib/b.py"], text)
        self.assertIn("tools: 3 files", self.found({"lib/b.py": "from . import NAME\n"})[0])
