# SPDX-License-Identifier: GPL-2.0
"""Which functions the instructions were spent in."""

import bisect
import collections

SHOWN = 40
UNKNOWN = "(blocks that the profile had no room for)"
USER = "(user space)"
USER_TOP = 1 << 47


class Profiles:
    """Profiles by title: the last idle phase, the last transfer of each row and direction."""

    def __init__(self):
        self.taken = {}
        self._symbols = None
        self._addresses = None

    def take(self, title, machine):
        """Keep what the plugin wrote for the phase that just ended."""
        self._load(machine)
        functions = collections.Counter()
        for line in machine.profile.read_text(encoding="ascii").splitlines():
            address, count = line.split()
            functions[self.name(int(address, 16))] += int(count)
        self.taken[title] = functions

    def _load(self, machine):
        """The guest's symbols, read anew because modules come and go."""
        machine.dut.run("cat /proc/kallsyms >/host/kallsyms")
        self.use_symbols((machine.profile.parent / "dut/kallsyms").read_text(encoding="ascii"))

    def use_symbols(self, text):
        """Take the symbols from a text in the format of /proc/kallsyms."""
        self._symbols = sorted((int(fields[0], 16), fields[2]) for fields in
                               (line.split() for line in text.splitlines()) if fields[1] in "tTwW")
        self._addresses = [address for address, _ in self._symbols]

    def name(self, address):
        """Name of the function at an address of the guest."""
        if not address:
            return UNKNOWN
        if address < USER_TOP:
            return USER
        index = bisect.bisect_right(self._addresses, address) - 1
        return self._symbols[index][1] if index >= 0 else hex(address)

    def text(self):
        """The most expensive functions of each row."""
        lines = []
        for title, functions in self.taken.items():
            total = functions.total()
            lines += ["", f"{title}: {total} instructions, of which in"]
            lines += [f"  {count / total:6.1%}  {name}"
                      for name, count in functions.most_common(SHOWN)]
        return "\n".join(lines)

    def data(self):
        """For the result file: instructions by function, most expensive first."""
        return {title: dict(functions.most_common()) for title, functions in self.taken.items()}
