# SPDX-License-Identifier: GPL-2.0
"""The NIC's ESP engine against the bare calls of crypto libraries, packet offload against crypto
offload, and many SAs against one.

espnic-bench-engine measures; this runs it, checks its answer and reports it.
"""

from . import program

PROGRAM = "espnic-bench-engine"
START_SECONDS = 60  # to make hundred thousand SAs, twice, and the shortest measurements
FIELDS = {"name": str, "ns": (int, float), "against_ns": (int, float), "ratio": (int, float)}


class Engine(program.Measured):
    """What the program measured, or why it did not."""

    @property
    def memory_per_sa(self):
        """Bytes that an SA takes in the engine; None if that is not known."""
        return (self._measured or {}).get("memory_per_sa") or None

    def text(self):
        """Table for people."""
        if self._skipped:
            return f"\nESP engine of the NIC: skipped, {self._skipped}"
        lines = ["", f"ESP engine of the NIC, {self._measured['crypto']} "
                 f"(median; batches of {self._measured['batch']} packets)", "",
                 f"{'':<44} {'ns/packet':>9} {'against':>9} {'ratio':>6}   target"]
        for row in self._measured["rows"]:
            verdict = "for the record"
            if row["target"] is not None:
                verdict = f">= {row['target']:.2f}: {'met' if row['reached'] else 'missed'}"
            lines.append(f"{row['name']:<44} {row['ns']:>9.1f} {row['against_ns']:>9.1f} "
                         f"{row['ratio']:>6.3f}   {verdict}")
        return "\n".join(lines)


def _judge(data):
    for row in data["rows"]:
        row["reached"] = None if row["target"] is None else row["ratio"] >= row["target"]


def parse(text):
    """The program's answer, checked; whether targets are reached is computed anew."""
    return Engine(program.parse(PROGRAM, text, FIELDS, _judge))


def measure(deadline, milliseconds, sas):
    """Run the program; an Engine that says so if it was not built."""
    if not program.is_built(PROGRAM):
        return Engine(skipped=f"{PROGRAM} is not built")
    deadline.say(f"the NIC's engine, {sas} SAs")
    words = ["--json", "--time", str(milliseconds), "--sas", str(sas)]
    return parse(program.run(PROGRAM, words, deadline, START_SECONDS + milliseconds / 5))
