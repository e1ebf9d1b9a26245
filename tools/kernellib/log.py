# SPDX-License-Identifier: GPL-2.0
"""What matters in the output of a long build."""

import re

MOST_LINES = 25
COMPLAINT = re.compile(r"^(?:error|ERROR)\b|: (?:fatal )?error\b|: (?:not found|No such file)|"
                       r"\*\*\* .*Error \d+$")


def complaints(text, most=MOST_LINES):
    """The lines that name an error, each with its neighbours; or the last lines."""
    lines = text.splitlines()
    wanted = sorted({near for number, line in enumerate(lines) if COMPLAINT.search(line)
                     for near in range(max(number - 1, 0), min(number + 3, len(lines)))})
    found = [lines[number] for number in wanted if lines[number].strip()]
    return "\n".join(found[:most] or lines[-most:])
