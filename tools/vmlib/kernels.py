# SPDX-License-Identifier: GPL-2.0
"""The kernels that a guest can run: a stock kernel, and the debug kernel of the same source."""

import dataclasses
import os
import pathlib

from kernellib import module, store

# Unless told otherwise, KASAN reports the first error only, kmsg takes ten lines in five seconds
# from programs, and the clock's watchdog believes that CPUs are never away. Slabs that are checked
# have no per-CPU arrays, in which kmemleak would find what was allocated from them last.
# A CPU that is stuck mostly waits for another one, so all of them show what they do.
DEBUG_APPEND = ("loglevel=7", "kasan_multi_shot", "printk.devkmsg=on", "log_buf_len=16M",
                "tsc=nowatchdog", "slab_debug=F", "softlockup_all_cpu_backtrace=1")
DEBUG_TIME_SCALE = 4


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What a guest needs of one, and the module built for it."""

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


def find(debug=False):
    """The kernel that KERNEL in the environment means, which must be in the cache."""
    kernel = store.existing(os.environ.get("KERNEL"), debug)
    more = (DEBUG_APPEND, DEBUG_TIME_SCALE) if debug else ()
    return Kernel(kernel.release, kernel.image, kernel.modules, module.path(kernel.release), *more)
