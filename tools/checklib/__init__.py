# SPDX-License-Identifier: GPL-2.0
"""The checks of tools/check, by name."""

from . import circles, citations, documentation, files, rust
from .common import Problem

CHECKS = {
    "licences": files.licences,
    "shell": files.shell,
    "python": files.python,
    "manuals": files.manuals,
    "circles": circles.check,
    "citations": citations.check,
    "documentation": documentation.check,
    "rustfmt": rust.rustfmt,
    "module": rust.module,
    "module-doc": rust.module_doc,
    "clippy": rust.clippy,
    "fuzz": rust.fuzz,
    "doc": rust.doc,
}

__all__ = ["CHECKS", "Problem"]
