# SPDX-License-Identifier: GPL-2.0
"""Selftests that are shared among guests which run at the same time.

A test waits more than it computes: a guest by itself leaves half of two processors idle.
"""

import os
import queue
import subprocess
import threading

from cachelib import TOOLS

MOST = 4
END = object()


def guests():
    """How many guests there shall be: one for each processor, up to a few."""
    return max(1, min(MOST, len(os.sched_getaffinity(0))))


def programs():
    """The names of all selftests, as COLLECTION:TEST."""
    command = ["make", "-s", "-C", str(TOOLS.parent / "selftests"), "emit_tests"]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.split()


def split(names, count):
    """NAMES in COUNT shares or fewer, none of them empty.

    The names of tests that are alike stand together, and take about the same time; so they are
    dealt out in turn.
    """
    return [share for share in (names[first::count] for first in range(count)) if share]


def together(sources):
    """What the generators yield, each in a thread of its own, as it comes.

    What one of them raises is raised here, after all have come to their end.
    """
    found, errors = queue.SimpleQueue(), []

    def drain(source):
        try:
            for item in source:
                found.put(item)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)
        finally:
            found.put(END)

    threads = [threading.Thread(target=drain, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    running = len(threads)
    while running:
        item = found.get()
        if item is END:
            running -= 1
        else:
            yield item
    if errors:
        raise errors[0]
