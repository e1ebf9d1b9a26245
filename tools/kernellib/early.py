# SPDX-License-Identifier: GPL-2.0
"""An early warning: kernels that are ahead of the tested ones, tried one after the other."""

import os
import subprocess
from dataclasses import dataclass

from cachelib import CHECKOUT, TOOLS, ToolError

from . import module, store
from .log import complaints

LOGS = CHECKOUT / "build/next"
STEPS = ("prepares", "builds", "loads", "demonstration")
VM_SECONDS = 120
DEMO_SECONDS = 300
MOST_WORDS = 12


@dataclass
class Row:
    """How far a kernel came; WORDS are those of the step that failed."""

    offer: object
    passed: int = 0
    words: str = ""

    def cells(self):
        """A word for each step: those behind the first failure were not tried."""
        last = ["PASS"] if self.passed == len(STEPS) else []
        done = ["yes"] * (self.passed - len(last)) + last
        return (done + ["no"] * (len(done) < len(STEPS)) + ["-"] * len(STEPS))[:len(STEPS)]


def _run(command, release, log, seconds):
    """Run a tool on this kernel; raise with the end of what it said if it fails."""
    try:
        result = subprocess.run(command, check=False, text=True, errors="replace",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=seconds,
                                env={**os.environ, "KERNEL": release})
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"not finished after {seconds} s") from error
    with log.open("a", encoding="utf-8") as out:
        out.write(result.stdout)
    if result.returncode:
        raise ToolError("\n".join(result.stdout.strip().splitlines()[-MOST_WORDS:]))


def _build(kernel, log):
    with log.open("a", encoding="utf-8") as out:
        try:
            module.build(kernel, output=out)
        except ToolError as error:
            text = log.read_text(encoding="utf-8", errors="replace")
            raise ToolError(complaints(text, MOST_WORDS)) from error


def attempt(offer):
    """Go as far as possible with one kernel."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{offer.release}.log"
    log.write_text("", encoding="utf-8")
    row = Row(offer)
    try:
        kernel = store.make(offer)
        row.passed = 1
        store.say(f"building the module for Linux {offer.release}")
        _build(kernel, log)
        row.passed = 2
        store.say("loading it")
        _run([TOOLS / "vm", "--", "test", "-d", "/sys/module/espnic"], offer.release, log,
             VM_SECONDS)
        row.passed = 3
        store.say("running the demonstration")
        _run([TOOLS / "demo"], offer.release, log, DEMO_SECONDS)
        row.passed = 4
    except ToolError as error:
        row.words = str(error)
    return row


def table(rows):
    """The rows for people."""
    head = ("release", "suite", *STEPS)
    lines = [(row.offer.release, row.offer.suite, *row.cells()) for row in rows]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, *lines]]
    for row in rows:
        if row.words:
            text += ["", f"{row.offer.release}: what {STEPS[row.passed]} said "
                     f"(all of it: build/next/{row.offer.release}.log)",
                     *(f"  {line}" for line in row.words.splitlines())]
    return "\n".join(text)
