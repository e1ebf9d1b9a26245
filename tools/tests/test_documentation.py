# SPDX-License-Identifier: GPL-2.0
"""The check that builds the documentation."""

import pathlib
import tempfile
import unittest

from checklib import Problem, documentation

PAGES = {
    "conf.py": "project = 'small'\n",
    "index.rst": "=====\nSmall\n=====\n\nSee :doc:`more` and :term:`word`.\n\n"
                 ".. toctree::\n\n   more\n",
    "more.rst": "====\nMore\n====\n\n.. glossary::\n\n   word\n      A word.\n",
}

# A page, what is put in the place of what there, and what Sphinx says of it.
FAULTS = (
    ("index.rst", ":doc:`more`", ":doc:`less`", "unknown document"),
    ("index.rst", ":term:`word`", ":term:`name`", "term not in glossary"),
    ("index.rst", ":doc:`more`", ":ref:`there`", "undefined label"),
    ("index.rst", "\n   more\n", "\n   more\n   less\n", "nonexisting document"),
    ("index.rst", "\n   more\n", "\n", "isn't included in any toctree"),
    ("more.rst", "\nMore\n", "\nMore than that\n", "Title overline too short"),
    ("more.rst", "A word.", "A ``word.", "literal start-string"),
)


class Documentation(unittest.TestCase):
    """Two pages, as they are and with what Sphinx warns of."""

    def build(self, pages):
        """Build these pages; the text of the first page."""
        with tempfile.TemporaryDirectory() as folder:
            source, output = pathlib.Path(folder, "pages"), pathlib.Path(folder, "output")
            source.mkdir()
            for name, text in pages.items():
                (source / name).write_text(text, encoding="utf-8")
            documentation.build(source, output)
            return (output / "html/index.html").read_text(encoding="utf-8")

    def test_good_pages(self):
        """Pages without a warning are built."""
        self.assertIn('href="more.html', self.build(PAGES))

    def test_broken_pages(self):
        """Each warning is a problem, and the problem has its words."""
        for name, old, new, words in FAULTS:
            with self.subTest(words), self.assertRaises(Problem) as caught:
                self.assertIn(old, PAGES[name])
                self.build({**PAGES, name: PAGES[name].replace(old, new)})
            self.assertIn(words, str(caught.exception))
