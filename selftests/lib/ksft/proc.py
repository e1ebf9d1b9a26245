# SPDX-License-Identifier: GPL-2.0
"""Running other programs, and waiting for conditions."""

import os
import shutil
import subprocess
import time

from .ktap import Failure, Skip, defer
from .pace import scaled


class CmdError(Failure):
    """A command failed; stdout and stderr are kept for checks on its message."""

    def __init__(self, argv, result):
        self.stdout, self.stderr, self.status = result.stdout, result.stderr, result.returncode
        text = (result.stderr or result.stdout or "").strip()
        super().__init__(f"`{' '.join(argv)}` exited with {result.returncode}: {text}")


def need(*tools):
    """Skip the test unless all these programs are installed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise Skip(f"missing program: {', '.join(missing)}")


def need_root():
    """Skip the test without the privilege to make namespaces and move interfaces."""
    if os.geteuid() != 0:
        raise Skip("needs root")


def cmd(*argv, stdin=None, timeout=60):
    """Run a program and return its stdout; raises CmdError on a non-zero exit."""
    result = run(*argv, stdin=stdin, timeout=timeout)
    if result.returncode:
        raise CmdError(argv, result)
    return result.stdout


def run(*argv, stdin=None, timeout=60):
    """Run a program and return the result, whatever its exit status."""
    timeout = scaled(timeout)
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"`{' '.join(argv)}` did not end within {timeout:g} s") from expired


def spawn(*argv, **kwargs):
    """Start a program in the background; it is ended with the current case."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, **kwargs)
    defer(stop, process)
    return process


def stop(process):
    """End a process that spawn() started and reap it; returns (stdout, stderr)."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.communicate(timeout=scaled(10))
    except ValueError:  # communicate() was called before and closed the pipes
        return "", ""
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def wait_until(condition, what, timeout=10.0, step=0.05):
    """Poll condition until it is true; its value is returned."""
    timeout = scaled(timeout)
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {timeout:g} s without success: {what}")
        time.sleep(step)


def write_file(path, text):
    """Write to a sysfs or proc file in one write."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read_file(path):
    """Read a small text file, without the line end."""
    with open(path, encoding="ascii") as file:
        return file.read().rstrip("\n")
