# SPDX-License-Identifier: GPL-2.0
"""The programs that are built with the NIC and measure parts of it."""

import subprocess

from vmlib import nic

from .common import BenchError


def _path(name):
    return nic.program().with_name(name)


def is_built(name):
    """Whether the program is there."""
    return _path(name).exists()


def run(name, words, deadline, seconds):
    """What the program prints; it may take so many seconds."""
    seconds = min(seconds, deadline.left())
    try:
        done = subprocess.run([_path(name), *words], check=False, capture_output=True, text=True,
                              timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{name} did not end within {seconds:.0f} s") from error
    if done.returncode:
        raise BenchError(f"{name} failed with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout
