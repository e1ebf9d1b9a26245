# SPDX-License-Identifier: GPL-2.0
"""Paths, messages and caching that all parts of tools/vm share."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import time

TOOLS = pathlib.Path(__file__).resolve().parent.parent
CHECKOUT = TOOLS.parent
KEEP_SECONDS = 7 * 24 * 3600


FAILED = 125  # exit status when the VM itself, not the command in it, went wrong
WRONG_USAGE = 2


class VmError(Exception):
    """Something the user must know; the text says what to do."""

    def __init__(self, text, status=FAILED):
        super().__init__(text)
        self.status = status


def say(text):
    """Print one line of progress on stderr."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def environment(name):
    """Value of a variable that tools/sandbox sets."""
    value = os.environ.get(name)
    if not value:
        raise VmError(f"{name} is not set: run this through tools/sandbox run")
    return value


def cache():
    """The cache directory, outside of the checkout."""
    return pathlib.Path(environment("ESPNIC_CACHE"))


def sandbox_root():
    """The sandbox's root file system as it was made, without the overlay."""
    return pathlib.Path(environment("ESPNIC_ROOT"))


def sandbox_facts():
    """KERNEL_RELEASE and others, as the sandbox's recipe wrote them."""
    text = (sandbox_root() / "etc/espnic/sandbox").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def digest(*parts):
    """Short hash of strings and of the files that paths name."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path):
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(kind):
    """Delete what no checkout has used for a while."""
    for path in cache().glob(f"{kind}-*"):
        if time.time() - path.stat().st_mtime > KEEP_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def cached(name, build):
    """Path of the cached directory NAME; build(path) makes it when it is missing.

    It is built under another name and renamed when complete, so that an
    interrupted build is never used.
    """
    home = cache() / name
    if home.exists():
        os.utime(home)
        return home
    with _locked(cache() / f"{name.split('-')[0]}.lock"):
        if home.exists():
            return home
        half = home.with_suffix(".tmp")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        begin = time.monotonic()
        build(half)
        half.rename(home)
        _forget_old(name.split("-")[0])
        say(f"{name.split('-')[0]} made in {time.monotonic() - begin:.0f} s")
    return home
