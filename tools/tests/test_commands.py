# SPDX-License-Identifier: GPL-2.0
"""Command lines: wrong ones end with a message and status 2."""

import pathlib
import subprocess
import sys
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent


def call(*words):
    """A finished tool."""
    return subprocess.run([str(TOOLS / words[0]), *words[1:]], check=False, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=120)


class Usage(unittest.TestCase):
    """All our programs."""

    def test_wrong(self):
        """Wrong words: status 2 and something on stderr, nothing on stdout."""
        for words in (("sandbox", "bogus"), ("kernel", "bogus"), ("vm", "--bogus"),
                      ("vm", "--cpus", "many", "--", "true"),
                      ("vm", "--nic", "bogus", "--", "true"),
                      ("vm", "--copy", "/does/not/exist", "--", "true"),
                      ("check", "bogus"), ("run-tests", "bogus"), ("rust-project", "bogus")):
            with self.subTest(words=words):
                result = call(*words)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertTrue(result.stderr.strip() or words[0] == "rust-project")

    def test_help(self):
        """--help explains and succeeds."""
        for name in ("sandbox", "kernel", "vm", "check", "run-tests", "rust-project"):
            with self.subTest(name=name):
                result = call(name, "--help")
                self.assertEqual(result.returncode, 0)
                self.assertGreater(len(result.stdout.splitlines()), 3)


class Sandbox(unittest.TestCase):
    """Inside of it, where the tests run."""

    def test_status_is_passed_on(self):
        """The command's exit status is that of run."""
        self.assertEqual(call("sandbox", "run", "--", "sh", "-c", "exit 41").returncode, 41)

    def test_kernel_tree_is_known(self):
        """tools/kernel names a tree that has what modules need."""
        tree = pathlib.Path(call("kernel", "path").stdout.strip())
        self.assertTrue((tree / "rust/libkernel.rmeta").exists())
        self.assertTrue((tree / "Module.symvers").exists())

    def test_python_is_the_sandboxs(self):
        """What runs here is not the host's."""
        self.assertTrue(sys.executable.startswith("/usr/bin/python3"))


