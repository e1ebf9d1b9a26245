# SPDX-License-Identifier: GPL-2.0
"""The head of a report: the machine and the versions that it was made with."""

import os
import pathlib
import re
import subprocess

from kernellib import choice, store
from vmlib import qemu


def _first_line(*command):
    result = subprocess.run(command, check=False, text=True, capture_output=True)
    return (result.stdout.splitlines() or [f"no {command[0]}"])[0]


def _processor():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)", text, re.M)
    wide = re.search(r"\bavx512f\b", text)
    return f"{model[1] if model else 'unknown'}, {'with' if wide else 'without'} AVX-512"


def _compilers(kernel):
    config = (kernel.tree / ".config").read_text(encoding="utf-8")
    name = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"', config, re.M)[1]
    return f"{_first_line(*kernel.toolchain, 'rustc', '--version')}; {name}"


def lines(debug):
    """Kernel, compilers, QEMU and processor."""
    kernel = store.existing(os.environ.get("KERNEL"), debug)
    tested = "tested" if kernel.offer.series in choice.tested() else "untested"
    return [f"kernel: Linux {kernel.release} ({tested} series {kernel.offer.series})",
            f"compilers: {_compilers(kernel)}",
            f"QEMU: {_first_line(qemu.PROGRAM, '--version')}",
            f"processor: {_processor()}"]
