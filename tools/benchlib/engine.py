# SPDX-License-Identifier: GPL-2.0
"""The NIC's ESP engine against the bare calls of crypto libraries, packet offload against crypto
offload, and many SAs against one.

espnic-bench-engine measures; this runs it, checks its answer and reports it.
"""

from . import program

PROGRAM = "espnic-bench-engine"
START_SECONDS = 90  # to make hundred thousand SAs, some times, and the shortest measurements
SCALE_SECONDS = 2e-4  # for each SA of each direction, in both modes
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
        lines += [_scale_text(scale) for scale in self._measured.get("scale") or []]
        return "\n".join(lines)


def _scale_text(scale):
    """What very many SAs took, for people."""
    count = 2 * scale["sas"]

    def took(what):
        seconds = scale[f"{what}_seconds"]
        return f"{seconds:.1f} s, {seconds / count * 1e6:.1f} us each"

    return "\n".join([
        "", f"{scale['sas']} SAs of each direction, {scale['mode']} offload (for the record)",
        f"  created in {took('create')}; destroyed in {took('destroy')}",
        f"  memory: {scale['bytes_per_sa'] * count / 1e6:.0f} MB, "
        f"{scale['bytes_per_sa']:.0f} bytes each; {scale['left']:.0%} of it left when all are gone",
        f"  {scale['packets']} packets each way over random SAs: "
        f"{scale['encrypt_ns']:.0f} ns to encrypt, {scale['decrypt_ns']:.0f} ns to decrypt"])


def _judge(data):
    for row in data["rows"]:
        row["reached"] = None if row["target"] is None else row["ratio"] >= row["target"]


def parse(text):
    """The program's answer, checked; whether targets are reached is computed anew."""
    return Engine(program.parse(PROGRAM, text, FIELDS, _judge))


def measure(deadline, milliseconds, sas, scale):
    """Run the program; an Engine that says so if it was not built."""
    if not program.is_built(PROGRAM):
        return Engine(skipped=f"{PROGRAM} is not built")
    deadline.say(f"the NIC's engine, {sas} SAs")
    words = ["--json", "--time", str(milliseconds), "--sas", str(sas), "--scale", str(scale)]
    seconds = START_SECONDS + milliseconds / 5 + scale * SCALE_SECONDS
    return parse(program.run(PROGRAM, words, deadline, seconds))
