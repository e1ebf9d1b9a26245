# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of network drivers, built from the source package of a kernel."""

import functools
import shutil
import subprocess

import cachelib
from cachelib import TOOLS, ToolError

from . import archive, store
from .log import complaints

RECIPE = TOOLS / "lib/upstream-recipe.sh"


def _build(kernel, half):
    """Make HALF the tests' home."""
    offer = kernel.offer
    log = cachelib.cache() / f"upstream-{offer.release}.log"
    packages, source = half / "packages", f"linux-source-{offer.series}"
    store.say(f"fetching the source of Linux {offer.release}")
    archive.download(offer, [source], packages)
    store.say("building the kernel's own tests (about two minutes)")
    command = ["sh", RECIPE, half, packages / f"usr/src/{source}.tar.xz"]
    with log.open("w", encoding="utf-8") as out:
        result = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=out)
    if result.returncode:
        words = complaints(log.read_text(encoding="utf-8", errors="replace"))
        raise ToolError(f"{words}\nThe kernel's own tests of Linux {offer.release} cannot be "
                        f"built; the whole output is in {log}.")
    shutil.rmtree(packages)


def ensure(kernel):
    """The folder of KERNEL's tests as `make install` leaves them; made if it is not there."""
    key = cachelib.digest(RECIPE, kernel.offer.version, cachelib.sandbox_root().parent.name)
    home = cachelib.cached(f"upstream-{kernel.offer.release}-{key}",
                           functools.partial(_build, kernel), "kernel")
    return home / "tests"
