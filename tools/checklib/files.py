# SPDX-License-Identifier: GPL-2.0
"""Checks of scripts, manual pages and licence lines."""

import hashlib
import os
import pathlib
import re
import shutil

from .common import Problem, head, run, tracked

# Written by a tool, or a licence itself, or data in a format without comments.
NO_LICENCE_LINE = re.compile(r"^(LICENSES/|(.*/)?Cargo\.lock$)|\.(csv|json|bin|pcapng)$")
RUFF = "ruff==0.14.0"


def licences():
    """Every file names its licence in the first lines."""
    bad = [str(path) for path in tracked()
           if not NO_LICENCE_LINE.search(str(path)) and path.stat().st_size
           and "SPDX-License-Identifier: GPL-2.0" not in head(path)]
    if bad:
        raise Problem("no SPDX-License-Identifier in the first three lines:\n  " + "\n  ".join(bad))


def _scripts(pattern, suffix):
    return [path for path in tracked()
            if path.suffix == suffix or re.match(pattern, head(path).partition("\n")[0])]


def shell():
    """shellcheck, with the files that a script sources."""
    files = _scripts(r"#!.*\b(ba|da|busybox )?sh\b", ".sh")
    run("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *files)


def _ruff():
    """ruff of a fixed version, in a cached virtual environment."""
    cache = pathlib.Path(os.environ["ESPNIC_CACHE"])
    root = os.environ["ESPNIC_ROOT"]
    home = cache / f"python-{hashlib.sha256((RUFF + root).encode()).hexdigest()[:16]}"
    if not home.exists():
        half = home.with_suffix(".tmp")
        shutil.rmtree(half, ignore_errors=True)
        run("python3", "-m", "venv", half)
        run(half / "bin/pip", "install", "--quiet", RUFF)
        half.rename(home)
    return home / "bin/ruff"


def python():
    """ruff for all Python files."""
    files = _scripts(r"#!.*\bpython", ".py")
    run(_ruff(), "check", "--quiet", "--no-cache", "--config", "tools/ruff.toml", *files)


def manuals():
    """Manual pages are well-formed."""
    pages = [path for path in tracked() if re.search(r"\.[1-9]$", path.name)]
    if pages:
        run("mandoc", "-T", "lint", "-W", "warning", *pages)
