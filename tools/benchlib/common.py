# SPDX-License-Identifier: GPL-2.0
"""Paths, messages, the deadline, and the compiled helpers of tools/bench."""

import subprocess
import sys
import time

from cachelib import CHECKOUT, TOOLS

FOLDER = CHECKOUT / "build/bench"
PLUGIN = FOLDER / "count.so"
TRAFFIC = FOLDER / "bench-traffic"
PORT = 5001  # of the traffic program
SAS = 1 << 20  # what each NIC takes in each direction
CFLAGS = ["-O2", "-Wall", "-Wextra", "-Werror"]


class BenchError(Exception):
    """The benchmark cannot go on; the text says why."""


class Deadline:
    """The time that the whole run may take."""

    def __init__(self, seconds):
        self._start = time.monotonic()
        self._seconds = seconds

    def elapsed(self):
        """Seconds since the start."""
        return time.monotonic() - self._start

    def left(self):
        """Seconds that are left; raises when there are none."""
        left = self._seconds - self.elapsed()
        if left <= 0:
            raise BenchError(f"not finished after {self._seconds:.0f} s (see --time-limit)")
        return left

    def say(self, text):
        """Print one line of progress on stderr."""
        print(f"bench: {self.elapsed():4.0f} s  {text}", file=sys.stderr, flush=True)


def compile_program(sources, target, flags, libraries=()):
    """Compile C; where there are warnings, they are errors."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = ["gcc", *CFLAGS, *flags, "-o", str(target), *map(str, sources), *libraries]
    result = subprocess.run(command, check=False, text=True, capture_output=True)
    if result.returncode:
        raise BenchError(f"cannot compile {target.name}:\n{result.stderr.strip()}")


def build():
    """Compile the plugin for QEMU and the traffic program for the guest."""
    compile_program([TOOLS / "tcg-plugin/count.c"], PLUGIN,
                    ["-fvisibility=hidden", "-shared", "-fPIC"])
    compile_program([TOOLS / "bench-traffic.c"], TRAFFIC, ["-static"])
