# SPDX-License-Identifier: GPL-2.0
"""Faults of the emulator that a guest meets, most of them while it starts. Before anything of ours
is loaded, starting it again is the cure."""

import re
import time

from . import trouble

FAULTS = (
    # While the kernel patches its own code, an emulated CPU now and then runs a breakpoint that is
    # there no more; a real one waits.
    (re.compile(r"\bOops: int3:"), "a breakpoint that was there no more"),
    # The timer by which the kernel measures its clock stood still while the emulator waited for a
    # processor. The kernel believes it: its clock runs many times too fast, and waits end too
    # early.
    (re.compile(r"\btsc: PIT calibration deviates from "), "a clock that runs too fast"),
)
OURS = re.compile(r"\bRIP: .*\[espnic\]")
INTERVAL = 1.0  # s


def first(run_dir):
    """What the emulator has done wrong, or None. What comes after other trouble follows from that,
    and a breakpoint in the driver is the driver's."""
    log = run_dir / "kernel.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    if OURS.search(text):
        return None
    for line in text.splitlines():
        for pattern, name in FAULTS:
            if pattern.search(line):
                return name
        if trouble.PATTERN.search(line):
            return None
    return None


def fault(run_dir):
    """The same, if the guest is not ready yet."""
    return None if (run_dir / "ready").exists() else first(run_dir)


class Watch:
    """Looks for faults now and then until the guest is ready."""

    def __init__(self, run_dir):
        self._run_dir, self._next = run_dir, time.monotonic()

    def seen(self):
        """As fault(), but None if somebody has asked a moment ago."""
        if self._next is None or time.monotonic() < self._next:
            return None
        ready = (self._run_dir / "ready").exists()
        self._next = None if ready else time.monotonic() + INTERVAL
        return fault(self._run_dir)
