# SPDX-License-Identifier: GPL-2.0
"""Time limits on machines of all speeds.

KSFT_TIME_SCALE, a whole number from 1 on, stretches every limit and every pause of the tests, for a
kernel with debugging or an emulated CPU. The limits themselves are those of an ordinary machine.
"""

import os

VARIABLE = "KSFT_TIME_SCALE"


def _scale(text):
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise SystemExit(f"{VARIABLE} must be a whole number from 1 to 1000, not {text!r}")
    return int(text)


SCALE = _scale(os.environ.get(VARIABLE) or "1")


def scaled(seconds):
    """So many seconds of an ordinary machine, here."""
    return seconds * SCALE
