# SPDX-License-Identifier: GPL-2.0
"""The programs that are built with the NIC and measure parts of it."""

import json
import subprocess

from vmlib import nic

from .common import BenchError


class Measured:
    """What a program measured, or why it did not."""

    def __init__(self, measured=None, skipped=""):
        self._measured, self._skipped = measured, skipped

    def data(self):
        """For the result file."""
        return {"skipped": self._skipped} if self._skipped else self._measured


def parse(name, text, fields, judge):
    """The answer of program `name`: its rows have `fields`, and `judge` adds whether targets are
    reached."""
    try:
        data = json.loads(text)
        rows = data["rows"]
        wrong = [row for row in rows for field, kind in fields.items()
                 if not isinstance(row[field], kind)]
        if not rows or wrong:
            raise ValueError(f"rows that cannot be right: {wrong}")
        judge(data)
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BenchError(f"{name} answered something else than its figures: {error!r}\n"
                         f"{text[:500]}") from error
    return data


def _path(name):
    return nic.program().with_name(name)


def is_built(name):
    """Whether the program is there."""
    return _path(name).exists()


def execute(path, words, deadline, seconds):
    """Run the program, which may take so many seconds, to its end."""
    seconds = min(seconds, deadline.left())
    try:
        return subprocess.run([path, *words], check=False, capture_output=True, text=True,
                              timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{path.name} did not end within {seconds:.0f} s") from error


def output(name, done):
    """What the program has printed; raises if it has failed."""
    if done.returncode:
        raise BenchError(f"{name} failed with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def run(name, words, deadline, seconds):
    """What the program that is built with the NIC prints; it may take so many seconds."""
    return output(name, execute(_path(name), words, deadline, seconds))
