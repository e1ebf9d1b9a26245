# SPDX-License-Identifier: GPL-2.0
"""Runs a fuzz target and reads what libFuzzer says."""

import dataclasses
import os
import pathlib
import re
import subprocess
import time

from .build import CRATE, OUTPUT

# Between two lines of progress, in seconds.
PAUSE = 10
# An input that takes longer is a finding, as is one that needs more memory. A slow and busy machine
# must not make findings.
INPUT_SECONDS = 30
MEMORY_MB = 2048
MAX_LEN = 4096
LAST_LINES = 8
# Files of the targets are the memory of guests, new ones for every input.
MEMORY_FILES = pathlib.Path("/dev/shm")
PANIC_LINES = 5

STATUS = re.compile(r"^#(?P<runs>\d+)\s+\w+\s+cov: (?P<edges>\d+) ft: \d+ corp: (?P<corpus>\d+)")
# In the words of a panic; what follows is told, too.
PANIC = re.compile(r"^thread .* panicked at |ERROR: libFuzzer")
FOUND = re.compile(r"Test unit written to (\S+)")


@dataclasses.dataclass
class State:
    """How far a target is: inputs run, edges of the code seen, inputs that are worth keeping."""

    runs: int = 0
    edges: int = 0
    corpus: int = 0
    seconds: float = 0
    found: str = ""

    def read(self, line):
        """Take what a line of libFuzzer says."""
        status = STATUS.match(line)
        if status:
            self.runs, self.edges, self.corpus = map(int, status.groups())
        done = re.match(r"^Done (\d+) runs", line)
        if done:
            self.runs = int(done[1])
        found = FOUND.search(line)
        if found:
            self.found = found[1]

    def __str__(self):
        return (f"{self.runs} inputs in {self.seconds:.0f} s, {self.edges} edges, "
                f"{self.corpus} inputs kept")


def folders(name):
    """Where new inputs are kept, and the seeds."""
    kept, seeds = OUTPUT / "corpus" / name, CRATE / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "findings").mkdir(parents=True, exist_ok=True)
    return [str(folder) for folder in (kept, seeds) if folder.is_dir()]


def command(program, name, seconds):
    """The command line for a run of so many seconds."""
    words = [f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-max_len={MAX_LEN}",
             f"-rss_limit_mb={MEMORY_MB}", "-use_value_profile=1", "-print_final_stats=1",
             f"-artifact_prefix={OUTPUT / 'findings' / name}-"]
    dictionary = CRATE / f"{name}.dict"
    if dictionary.exists():
        words.append(f"-dict={dictionary}")
    return [str(program), *words, *folders(name)]


def _environment():
    """Variables of a target."""
    folder = {"TMPDIR": str(MEMORY_FILES)} if MEMORY_FILES.is_dir() else {}
    return {**os.environ, **folder}


def run(program, name, seconds, progress):
    """Run a target; its State, what it said last, and whether it is well.

    PROGRESS is called with the State now and then. All that the target says is in build/fuzz.
    """
    state, begin = State(), time.monotonic()
    told = begin
    log = OUTPUT / f"{name}.log"
    with log.open("w", encoding="utf-8") as out, subprocess.Popen(
            command(program, name, seconds), env=_environment(), text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            out.write(line)
            state.read(line)
            now = time.monotonic()
            state.seconds = now - begin
            if now - told >= PAUSE:
                told = now
                progress(state)
    state.seconds = time.monotonic() - begin
    return state, _what_happened(log), process.returncode == 0


def _what_happened(log):
    """The first panic and the last lines of a log."""
    lines = log.read_text(encoding="utf-8").splitlines()
    at = next((number for number, line in enumerate(lines) if PANIC.search(line)), len(lines))
    return [*lines[at:at + PANIC_LINES], *lines[max(at + PANIC_LINES, len(lines) - LAST_LINES):]]
