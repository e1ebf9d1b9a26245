# SPDX-License-Identifier: GPL-2.0
"""The cache, errors for people, and making expensive things once."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import time

TOOLS = pathlib.Path(__file__).resolve().parent
CHECKOUT = TOOLS.parent
FAILED = 125  # exit status when a tool itself fails, not the program that it runs
WRONG_USAGE = 2


class ToolError(Exception):
    """Something the user must know; the text says what to do."""

    def __init__(self, text, status=FAILED):
        super().__init__(text)
        self.status = status


def say(text, who="vm"):
    """Print one line of progress on stderr."""
    print(f"{who}: {text}", file=sys.stderr, flush=True)


def environment(name):
    """Value of a variable that tools/sandbox sets."""
    value = os.environ.get(name)
    if not value:
        raise ToolError(f"{name} is not set: run this through tools/sandbox run")
    return value


def cache():
    """The cache directory, outside of the checkout."""
    return pathlib.Path(environment("ESPNIC_CACHE"))


def sandbox_root():
    """The sandbox's root file system as it was made, without the overlay."""
    return pathlib.Path(environment("ESPNIC_ROOT"))


def digest(*parts):
    """Short hash of strings and of the files that paths name."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path, who):
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making a {path.stem}; waiting", who)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name, build, who="vm"):
    """Path of the cached directory NAME; build(path) makes it when it is missing.

    NAME is a kind, a hyphen, and what tells things of that kind apart. The directory is built
    under another name and renamed when complete, so that an interrupted build is never used.
    """
    home = cache() / name
    if home.exists():
        os.utime(home)  # tools/sandbox deletes what is not used
        return home
    kind = name.partition("-")[0]
    with _locked(cache() / f"{kind}.lock", who):
        if home.exists():
            return home
        half = cache() / f"{name}.tmp"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        begin = time.monotonic()
        build(half)
        half.rename(home)
        say(f"{kind} made in {time.monotonic() - begin:.0f} s", who)
    return home
