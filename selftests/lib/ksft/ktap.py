# SPDX-License-Identifier: GPL-2.0
"""KTAP output, checks and a cleanup stack.

A test file hands its cases to main(); each case is a function that takes the
object made by the setup function. A case passes when it returns, fails when it
raises, and is skipped when it raises Skip. Exit status as kselftest wants it:
0 pass, 1 fail, 4 everything was skipped.
"""

import argparse
import os
import signal
import sys
import time
import traceback

PASS, FAIL, SKIP = 0, 1, 4


class Skip(Exception):
    """The test cannot run here; the text says what is missing."""


class Failure(Exception):
    """A check did not hold; the text says what was expected and what was seen."""


_cleanups = []


def defer(function, *args, **kwargs):
    """Run function at the end of the current case (or of the file, in setup)."""
    _cleanups.append((function, args, kwargs))


def cleanup(depth=0):
    """Undo everything deferred above depth, last first; returns the errors."""
    errors = []
    while len(_cleanups) > depth:
        function, args, kwargs = _cleanups.pop()
        try:
            function(*args, **kwargs)
        except Exception as error:  # the remaining cleanups must still run
            errors.append(f"cleanup {getattr(function, '__name__', function)}: {error}")
    return errors


def diag(text):
    """Print a KTAP diagnostic, line by line."""
    for line in str(text).splitlines() or [""]:
        print(f"# {line}", flush=True)


def rules(*names):
    """Name the rules of Documentation/ndis-rules.csv that the current case proves if it passes."""
    print("# rules:", *names, flush=True)


def check(condition, text):
    """Fail the case with text unless condition is true."""
    if not condition:
        raise Failure(text)


def equal(got, wanted, what):
    """Fail unless got equals wanted."""
    if got != wanted:
        raise Failure(f"{what}: expected {wanted!r}, got {got!r}")


def at_least(got, least, what):
    """Fail unless got is at least the given number."""
    if got < least:
        raise Failure(f"{what}: expected at least {least!r}, got {got!r}")


def contains(text, part, what):
    """Fail unless part occurs in text."""
    if part not in text:
        raise Failure(f"{what}: {part!r} not found in {text!r}")


def _mark(text):
    """Leave a line in the kernel's log, where a harness asks for it.

    It can then tell which of the kernel's messages came before the result.
    """
    prefix = os.environ.get("KSFT_KMSG")
    if prefix:
        with open("/dev/kmsg", "w", encoding="ascii", errors="replace") as log:
            log.write(f"<5>{prefix}{text}\n")


def _terminate(signum, _frame):
    """Turn a timeout's SIGTERM into an exception so that cleanups still run."""
    raise SystemExit(128 + signum)


def _run_case(number, case, cfg):
    name = case.__name__
    start, depth, outcome, reason = time.monotonic(), len(_cleanups), FAIL, ""
    try:
        case(cfg)
        outcome = PASS
    except Skip as skip:
        outcome, reason = SKIP, str(skip)
    except Failure as failure:
        diag(failure)
    except Exception:
        diag(traceback.format_exc())
    finally:
        errors = cleanup(depth)
    if errors:
        outcome = FAIL
        for error in errors:
            diag(error)
    word = "not ok" if outcome == FAIL else "ok"
    note = f" # SKIP {reason}" if outcome == SKIP else ""
    _mark(f"{word} {number} {name}")
    print(f"{word} {number} {name}{note}", flush=True)
    diag(f"{name}: {time.monotonic() - start:.1f} s")
    return outcome


def _run_all(cases, cfg):
    outcomes = [_run_case(i, case, cfg) for i, case in enumerate(cases, 1)]
    passed, failed, skipped = (outcomes.count(o) for o in (PASS, FAIL, SKIP))
    print(f"# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0")
    if failed:
        return FAIL
    return PASS if passed else SKIP


def _select(cases):
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("-l", "--list", action="store_true", help="list the cases and exit")
    parser.add_argument("-t", "--test", action="append", help="run this case only (repeatable)")
    args = parser.parse_args()
    if args.list:
        for case in cases:
            print(case.__name__)
        sys.exit(PASS)
    if not args.test:
        return cases
    unknown = set(args.test) - {case.__name__ for case in cases}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (-l lists them)")
    return [case for case in cases if case.__name__ in args.test]


def main(cases, setup):
    """Run the cases on what setup() returns, print KTAP and exit."""
    chosen = _select(cases)
    signal.signal(signal.SIGTERM, _terminate)
    print("TAP version 13", flush=True)
    status = FAIL
    try:
        cfg = setup()
        print(f"1..{len(chosen)}", flush=True)
        status = _run_all(chosen, cfg)
    except Skip as skip:
        print(f"1..0 # SKIP {skip}", flush=True)
        status = SKIP
    except Failure as failure:
        print(f"Bail out! setup: {failure}", flush=True)
    finally:
        errors = cleanup(0)
        for error in errors:
            diag(error)
    sys.exit(FAIL if errors else status)
