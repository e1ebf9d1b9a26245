# SPDX-License-Identifier: GPL-2.0
"""Functions that the checks share."""

import functools
import os
import pathlib
import subprocess

from kernellib import store

MANY_LINES = 100


class Problem(Exception):
    """A check is not content; the text is for the user."""


def run(*command, **variables):
    """Run a program; its output is the problem if it fails."""
    words = [str(word) for word in command]
    result = subprocess.run(words, check=False, text=True, errors="replace",
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, **variables})
    if result.returncode:
        lines = result.stdout.rstrip().splitlines() or [f"exit status {result.returncode}"]
        if len(lines) > MANY_LINES:
            lines[MANY_LINES:] = [f"... and {len(lines) - MANY_LINES} lines more"]
        raise Problem("\n".join([f"{words[0]}:", *lines]))
    return result.stdout


@functools.cache
def tracked():
    """Files of the repository, new ones that are not ignored included."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    paths = (pathlib.Path(name) for name in sorted(set(names)) if name)
    return [path for path in paths if path.is_file()]


def head(path):
    """First lines of a file."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return "".join(line for line, _ in zip(lines, range(3), strict=False))


@functools.cache
def kernel():
    """The kernel that KERNEL means; made if it is missing."""
    return store.ensure(os.environ.get("KERNEL"))
