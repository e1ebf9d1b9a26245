# SPDX-License-Identifier: GPL-2.0
"""What a packet costs in the whole NIC, from ring to wire and from wire to ring, without a guest.

espnic-bench-nic measures; this runs it, checks its answer and reports it.
"""

from . import program

PROGRAM = "espnic-bench-nic"
START_SECONDS = 30
FIELDS = {"name": str, "ns": (int, float), "packed_ns": (int, float), "copy_ns": (int, float)}

# Figures of a row that counts system calls.
COUNTS = ("calls", "doorbells", "wakes", "sleeps", "interrupts", "ns", "worker_ns")


class Whole(program.Measured):
    """What the program measured, or why it did not."""

    def text(self):
        """Table for people."""
        if self._skipped:
            return f"\nThe whole NIC: skipped, {self._skipped}"
        lines = ["", f"The whole NIC, {self._measured['crypto']} "
                 f"(median; batches of {self._measured['batch']} packets)", "",
                 f"{'':<44} {'split':>8} {'packed':>8} {'bare copy':>9} {'times':>6}   target"]
        for row in self._measured["rows"]:
            verdict = "for the record"
            if row["target_ns"] is not None:
                verdict = f"<= {row['target_ns']:.0f} ns: {'met' if row['reached'] else 'missed'}"
            lines.append(f"{row['name']:<44} {row['ns']:>8.1f} {row['packed_ns']:>8.1f} "
                         f"{row['copy_ns']:>9.1f} "
                         f"{row['ns'] / max(row['copy_ns'], 0.1):>6.1f}   {verdict}")
        for row in self._measured["pairs"]:
            counts = ", ".join(str(count) for count in row["pairs"])
            rates = ", ".join(f"{rate / 1e6:.2f}" for rate in row["packets_per_second"])
            verdict = f">= {row['target_times']:.1f}: {'met' if row['reached'] else 'missed'}"
            clock = ", ".join(f"{rate / 1e6:.2f}" for rate in row["packets_per_second_by_clock"])
            lines.append(f"{row['name']}: {rates} million packets per second with {counts} "
                         f"(by the clock {clock}); "
                         f"two carry {row['times']:.2f} times as many as one   {verdict}")
        if self._measured["calls"]:
            lines += ["", f"{'System calls of the NIC per packet':<44} {'poll us':>8} "
                      f"{'calls':>7} {'doorbells':>9} {'wakes':>7} {'sleeps':>7} "
                      f"{'interrupts':>10} {'ns':>8} {'worker ns':>9}"]
        for row in self._measured["calls"]:
            lines.append(f"{row['name']:<44} {row['poll_us']:>8} {row['calls']:>7.3f} "
                         f"{row['doorbells']:>9.3f} {row['wakes']:>7.3f} {row['sleeps']:>7.3f} "
                         f"{row['interrupts']:>10.3f} {row['ns']:>8.0f} {row['worker_ns']:>9.0f}")
        return "\n".join(lines)


def _judge(data):
    for row in data["rows"]:
        limit = row["target_ns"]
        row["reached"] = None if limit is None else row["ns"] <= limit
    for row in data["pairs"]:
        one, two = row["packets_per_second"][:2]
        row["times"] = two / one
        row["reached"] = row["times"] >= row["target_times"]
        if len(row["packets_per_second_by_clock"]) != len(row["pairs"]):
            raise ValueError(f"{row['name']} has no rates by the clock")
    for row in data["calls"]:
        if row["packets"] <= 0 or any(row[name] < 0 for name in COUNTS):
            raise ValueError(f"{row['name']} has no counts")


def parse(text):
    """The program's answer, checked, with whether targets are reached."""
    return Whole(program.parse(PROGRAM, text, FIELDS, _judge))


def measure(deadline, milliseconds):
    """Run the program; a Whole that says so if it was not built."""
    if not program.is_built(PROGRAM):
        return Whole(skipped=f"{PROGRAM} is not built")
    deadline.say("the whole NIC")
    words = ["--json", "--time", str(milliseconds)]
    return parse(program.run(PROGRAM, words, deadline, START_SECONDS + milliseconds / 5))
