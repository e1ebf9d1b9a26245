# SPDX-License-Identifier: GPL-2.0
"""Builds espnic.ko for a kernel of the cache.

In a folder of its own for each kernel, so that none undoes another; and in a copy of the sources,
because a build in another folder wants a source tree without objects.
"""

import os
import re
import subprocess

from cachelib import CHECKOUT, TOOLS, ToolError

OBJECTS = ("*.o", "*.cmd", "*.d", "*.rmeta", "*.ko", "*.mod", "*.mod.c", "*_generated.rs",
           "Module.symvers", "modules.order")
SOURCES = ("Kbuild", "rust")
NOT_FOR_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KERNEL", "DEBUG")


def folder(release):
    """Where the module for a release is built."""
    return CHECKOUT / "build/module" / release


def path(release):
    """The module for a release."""
    return folder(release) / "espnic.ko"


def _rsync(sources, target, *words):
    excludes = [f"--exclude={pattern}" for pattern in OBJECTS]
    command = ["rsync", *words, *excludes, "--exclude=/rust/device", *sources, f"{target}/"]
    return subprocess.run(command, cwd=CHECKOUT, check=True, text=True, stdout=subprocess.PIPE)


def copy(sources, target):
    """Put sources of the checkout, without objects, where a module is built."""
    target.mkdir(parents=True, exist_ok=True)
    # By nanoseconds: two versions of a file may be of one size and one second.
    _rsync(sources, target, "-a", "--delete", "--modify-window=-1")


def is_outdated(release):
    """Whether the module for a release was built from other sources than the checkout has now."""
    words = ("--dry-run", "--recursive", "--links", "--checksum", "--itemize-changes")
    return bool(_rsync(SOURCES, folder(release), *words).stdout)


def compiler(tree):
    """The word for make that names the compiler which the kernel was built with."""
    text = (tree / ".config").read_text(encoding="utf-8")
    version = re.search(r'^CONFIG_CC_VERSION_TEXT="(.+)"', text, re.M)[1]
    # Clang says its vendor first ("Debian clang version 19"), gcc the name by which it was called.
    return "LLVM=1" if "clang version" in version else f"CC={version.split()[0]}"


def make_command(kernel, target, goal, words=()):
    """The command that runs the kernel's make for an external module."""
    return [*kernel.toolchain, "make", "--no-print-directory", "-C", str(kernel.tree),
            f"M={target}", compiler(kernel.tree), f"-j{os.cpu_count()}", *words, goal]


def make(kernel, target, goal, words=(), output=None):
    """Run the kernel's make for an external module; its exit status. OUTPUT: a file, or ours."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_MAKE}
    return subprocess.run(make_command(kernel, target, goal, words), check=False,
                          stdin=subprocess.DEVNULL, stdout=output,
                          stderr=output and subprocess.STDOUT, env=environment).returncode


def build(kernel, words=(), output=None):
    """Build the module, with a debug kernel also the one that provokes it; the module's path.

    WORDS are variables for make, like W=1; OUTPUT is a file for what it says.
    """
    target = folder(kernel.release)
    copy(SOURCES, target)
    jobs = [target]
    if kernel.debug:
        provoke = CHECKOUT / "build/provoke" / kernel.release
        copy([f"{TOOLS / 'guest/provoke'}/"], provoke)
        jobs.append(provoke)
    for job in jobs:
        if make(kernel, job, "modules", words, output):
            # What is left of an earlier build is not what these sources make.
            path(kernel.release).unlink(missing_ok=True)
            raise ToolError(f"the module does not build for Linux {kernel.release}; what the "
                            "compiler says is above, KERNEL= names another kernel")
    return path(kernel.release)
