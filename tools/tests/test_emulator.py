# SPDX-License-Identifier: GPL-2.0
"""Faults of the emulator are found in the log of a guest that starts, and only there."""

import pathlib
import tempfile
import unittest

from vmlib import emulator

GOOD = ("[    0.000000] tsc: Detected 2595.901 MHz processor\n"
        "[   49.840516] tsc: Refined TSC clocksource calibration: 2596.144 MHz\n")
CLOCK = "[    0.052000] tsc: PIT calibration deviates from HPET: 298981 2595600\n"
BREAKPOINT = "[    1.500000] Oops: int3: 0000 [#1] SMP\n"


class Emulator(unittest.TestCase):
    """The log of a guest."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_dir = pathlib.Path(folder.name)

    def log(self, words):
        """The kernel has said this."""
        (self.run_dir / "kernel.log").write_text(words, encoding="utf-8")

    def test_a_guest_without_a_log_has_no_fault(self):
        self.assertIsNone(emulator.fault(self.run_dir))

    def test_a_good_start_has_no_fault(self):
        self.log(GOOD)
        self.assertIsNone(emulator.fault(self.run_dir))
        self.assertIsNone(emulator.Watch(self.run_dir).seen())

    def test_faults_have_names(self):
        for words, name in ((CLOCK, "a clock that runs too fast"),
                            (BREAKPOINT, "a breakpoint that was there no more")):
            self.log(GOOD + words)
            self.assertEqual(emulator.fault(self.run_dir), name)
            self.assertEqual(emulator.Watch(self.run_dir).seen(), name)

    def test_other_trouble_comes_first(self):
        self.log(f"[    1.000000] WARNING: x\n{BREAKPOINT}")
        self.assertIsNone(emulator.fault(self.run_dir))

    def test_a_guest_that_is_ready_answers_for_itself(self):
        self.log(BREAKPOINT)
        (self.run_dir / "ready").touch()
        self.assertIsNone(emulator.fault(self.run_dir))

    def test_who_runs_a_test_of_others_may_ask_later(self):
        self.log(BREAKPOINT)
        (self.run_dir / "ready").touch()
        self.assertIn("breakpoint", emulator.first(self.run_dir))

    def test_a_breakpoint_in_the_driver_is_no_fault(self):
        self.log(f"{BREAKPOINT}[    1.500100] RIP: 0010:poll_callback+0x37/0xdf0 [espnic]\n")
        self.assertIsNone(emulator.first(self.run_dir))

    def test_a_watch_looks_now_and_then(self):
        watch = emulator.Watch(self.run_dir)
        self.assertIsNone(watch.seen())
        self.log(CLOCK)
        self.assertIsNone(watch.seen(), "a moment ago")

    def test_a_watch_ends_when_the_guest_is_ready(self):
        (self.run_dir / "ready").touch()
        watch = emulator.Watch(self.run_dir)
        self.assertIsNone(watch.seen())
        (self.run_dir / "ready").unlink()
        self.log(CLOCK)
        self.assertIsNone(watch.seen())


if __name__ == "__main__":
    unittest.main()
