# SPDX-License-Identifier: GPL-2.0
"""Builds the pages of Documentation with Sphinx."""

import pathlib

from .common import run

PAGES = "Documentation"
OUTPUT = "build/documentation"


def build(pages, output):
    """Build the pages in a folder; a warning is a problem."""
    run("sphinx-build", "-q", "-E", "-n", "-W", "--keep-going", "-b", "html",
        "-d", output / "doctrees", pages, output / "html")


def check():
    """The pages build without a warning, into build/documentation/html."""
    here = pathlib.Path.cwd()
    build(here / PAGES, here / OUTPUT)
