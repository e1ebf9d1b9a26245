# SPDX-License-Identifier: GPL-2.0
"""Parts of tools/vm that need no VM."""

import os
import pathlib
import subprocess
import tempfile
import unittest
from unittest import mock

import cachelib
from vmlib import initramfs, nic, run


class Nics(unittest.TestCase):
    """What --nic SPEC becomes."""

    def test_defaults(self):
        """Socket, name and address are filled in, the rest is passed on."""
        first, second = nic.parse(["ipsec=off,mtu=1500", "name=x,mac=02:00:00:00:00:AB"],
                                  pathlib.Path("/run"))
        self.assertEqual((first.name, first.mac, first.ipsec), ("n0", "02:00:00:00:00:10", False))
        self.assertIn("mtu=1500", first.spec)
        self.assertIn("socket=/run/n0.sock", first.spec)
        self.assertEqual((second.name, second.mac, second.ipsec), ("x", "02:00:00:00:00:ab", True))

    def test_nonsense(self):
        """A word that is no setting is wrong usage."""
        with self.assertRaises(cachelib.ToolError) as caught:
            nic.parse(["name=x,on"], pathlib.Path("/run"))
        self.assertEqual(caught.exception.status, cachelib.WRONG_USAGE)


class KernelLog(unittest.TestCase):
    """What counts as trouble in the guest's kernel."""

    def trouble(self, *lines):
        """Lines that are reported."""
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "kernel.log").write_text("\n".join(lines), encoding="utf-8")
            return run._kernel_trouble(pathlib.Path(folder))

    def test_trouble(self):
        """Each kind is found, with the lines that follow it."""
        for line in ("BUG: kernel NULL pointer dereference", "WARNING: CPU: 0 at x.c:1 f+0x1",
                     "Oops: 0000 [#1]", "Kernel panic - not syncing", "rcu: INFO: rcu_sched stall",
                     "unregister_netdevice: waiting for espnic0 to become free"):
            found = self.trouble("[ 1.0] fine", f"[ 2.0] {line}", "[ 2.1] more")
            self.assertEqual(found, [f"[ 2.0] {line}", "[ 2.1] more"])

    def test_no_trouble(self):
        """The command line, which names some of these words, is none."""
        self.assertEqual(self.trouble("Command line: oops=panic softlockup_panic=1 panic=-1",
                                      "espnic: loading out-of-tree module taints kernel."), [])


class Starts(unittest.TestCase):
    """When a guest is started again."""

    STALE = "[    3.026842] Oops: int3: 0000 [#1] SMP NOPTI"

    def starts(self, *logs, ready=False):
        """(exit status, number of starts) of guests that leave these kernel logs."""
        options = mock.Mock(debug=False, append=[], kernel=None, keep=False)
        with tempfile.TemporaryDirectory() as folder:
            options.run_dir = folder
            left = list(logs)

            def start(*_arguments):
                log = left.pop(0)
                (pathlib.Path(folder) / "kernel.log").write_text(log, encoding="utf-8")
                if ready:
                    (pathlib.Path(folder) / "ready").touch()
                return 1 if log else 0

            with mock.patch.object(run, "_start", start), \
                    mock.patch.object(run.kernels, "find") as kernel, \
                    mock.patch.object(run.image, "make"), \
                    mock.patch.object(run.cachelib, "say"):
                kernel.return_value.append = []
                status = run.run(options)
        return status, len(logs) - len(left)

    def test_again(self):
        """A stale breakpoint while it starts is not the guest's fault, but not for ever."""
        self.assertEqual(self.starts(self.STALE, ""), (0, 2))
        self.assertEqual(self.starts(*[self.STALE] * 5), (1, run.STARTS))

    def test_not_again(self):
        """Other trouble, and a breakpoint later on, is reported."""
        self.assertEqual(self.starts("Oops: 0000 [#1]", ""), (1, 1))
        self.assertEqual(self.starts(f"WARNING: x\n{self.STALE}", ""), (1, 1))
        self.assertEqual(self.starts(self.STALE, "", ready=True), (1, 1))


class Archive(unittest.TestCase):
    """The initramfs writer."""

    def test_cpio_reads_it(self):
        """cpio unpacks what we wrote: folders, contents, modes."""
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "source"
            (source / "sub").mkdir(parents=True)
            (source / "sub/tool").write_text("#!/bin/sh\n", encoding="utf-8")
            (source / "sub/tool").chmod(0o755)
            archive = initramfs.Cpio()
            archive.data("a/b/odd", b"123")
            archive.tree("tree", source)
            subprocess.run(["cpio", "-id", "--quiet"], input=archive.finish(), cwd=folder,
                           check=True)
            self.assertEqual((pathlib.Path(folder) / "a/b/odd").read_bytes(), b"123")
            self.assertTrue(os.access(pathlib.Path(folder) / "tree/sub/tool", os.X_OK))
            self.assertFalse(os.access(pathlib.Path(folder) / "a/b/odd", os.X_OK))


class Cache(unittest.TestCase):
    """A cached thing is whole or not there."""

    def test_interrupted(self):
        """A build that fails leaves nothing that would be used."""
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.dict(os.environ, {"ESPNIC_CACHE": folder}), \
                mock.patch.object(cachelib, "say"):
            def broken(half):
                (half / "file").write_text("half", encoding="utf-8")
                raise KeyboardInterrupt

            with self.assertRaises(KeyboardInterrupt):
                cachelib.cached("thing-1", broken)
            self.assertFalse((pathlib.Path(folder) / "thing-1").exists())
            home = cachelib.cached("thing-1", lambda half: (half / "file").write_text("whole"))
            self.assertEqual((home / "file").read_text(encoding="utf-8"), "whole")
            self.assertEqual([path.name for path in home.iterdir()], ["file"])
            self.assertEqual(cachelib.cached("thing-1", broken), home)


