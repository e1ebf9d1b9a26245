# SPDX-License-Identifier: GPL-2.0
"""The complaints of a kernel in its log.

Needs nothing but Python: the host reads a log file with it, the guest its /dev/kmsg.
"""

import re

# No pattern may match the kernel's command line, which names some of these words.
PATTERN = re.compile("|".join((
    r"\bBUG: ", r"kernel BUG at", r"\bWARNING: ", r"\bOops\b(?!=)", r"general protection fault",
    r"Kernel panic", r"Unable to handle kernel", r"Bad page state", r"\bBUG \S+ \(.*\): ",
    r"KASAN: ", r"UBSAN: ", r"\bODEBUG: ", r"DMA-API: .*(?:device driver|exceed|cacheline)",
    # lockdep and RCU
    r"inconsistent lock state", r"possible .*(?:locking|deadlock)", r"bad unlock balance",
    r"trying to register non-static key", r"suspicious RCU usage", r"rcu: INFO: ",
    r"lock held when returning to user space", r"Invalid wait context",
    r"sleeping function called from invalid context", r"scheduling while atomic",
    r"blocked for more than", r"turning off the locking correctness validator",
    # reference counts and leaks
    r"refcount_t: ", r"ref_tracker: ", r"leaked reference", r"unregister_netdevice: waiting",
    r"suspected memory leak", r"leak detector disabled",
    r"list_(?:add|del) corruption", r"Objects remaining", r"still has locks held",
    r"percpu ref .* <= 0",
    # Rust
    r"rust_kernel: panicked|kernel: panicked at",
)))
END = re.compile(r"---\[ end trace|={60,}\s*$")
MARK = "espnic-test: "
MOST_LINES = 80


def reports(lines):
    """Lists of lines, one for each report: from its first line on, at most MOST_LINES.

    What follows within a report and looks like trouble itself is part of it.
    """
    found = []
    room = 0
    for line in lines:
        if room and END.search(line):
            found[-1].append(line)
            room = 0
        elif room and MARK not in line:
            found[-1].append(line)
            room -= 1
        elif MARK not in line and PATTERN.search(line):
            found.append([line])
            room = MOST_LINES - 1
        else:
            room = 0
    return found
