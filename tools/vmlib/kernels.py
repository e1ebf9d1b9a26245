# SPDX-License-Identifier: GPL-2.0
"""The kernels that a guest can run: the sandbox's stock kernel and our debug kernel."""

import dataclasses
import pathlib
import shlex
import subprocess

from . import common


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What tools/kernel says of one, and the module built for it."""

    release: str
    image: pathlib.Path
    modules: pathlib.Path  # its folder in lib/modules
    module: pathlib.Path  # espnic.ko
    append: tuple = ()  # words for its command line
    time_scale: int = 1  # how much longer than with an ordinary kernel everything may take

    @property
    def key(self):
        """Names it in caches."""
        return f"{self.modules} {self.release}"


def stock():
    """The kernel that the sandbox's distribution ships."""
    facts = common.sandbox_facts()
    root = common.sandbox_root()
    release = facts["KERNEL_RELEASE"]
    return Kernel(release, root / facts["KERNEL_IMAGE"].lstrip("/"),
                  root / "usr/lib/modules" / release, common.CHECKOUT / "espnic.ko")


# Unless told otherwise, KASAN reports the first error only, kmsg takes ten lines in five seconds
# from programs, and the clock's watchdog believes that CPUs are never away. Slabs that are checked
# have no per-CPU arrays, in which kmemleak would find what was allocated from them last.
# A CPU that is stuck mostly waits for another one, so all of them show what they do.
DEBUG_APPEND = ("loglevel=7", "kasan_multi_shot", "printk.devkmsg=on", "log_buf_len=16M",
                "tsc=nowatchdog", "slab_debug=F", "softlockup_all_cpu_backtrace=1")
DEBUG_TIME_SCALE = 4
DEBUG_MODULE = "build/debug/module/espnic.ko"


def debug():
    """The kernel of tools/kernel --debug, which must be there."""
    result = subprocess.run([common.TOOLS / "kernel", "--debug", "info"], check=False, text=True,
                            capture_output=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise common.VmError(result.stderr.strip())
    facts = dict(word.split("=", 1) for word in shlex.split(result.stdout))
    return Kernel(facts["KERNEL_RELEASE"], pathlib.Path(facts["KERNEL_IMAGE"]),
                  pathlib.Path(facts["KERNEL_MODULES"]), common.CHECKOUT / DEBUG_MODULE,
                  DEBUG_APPEND, DEBUG_TIME_SCALE)
