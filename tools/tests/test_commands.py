# SPDX-License-Identifier: GPL-2.0
"""Command lines: wrong ones end with a message and status 2."""

import importlib.machinery
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent


def call(*words, **variables):
    """A finished tool."""
    return subprocess.run([str(TOOLS / words[0]), *words[1:]], check=False, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
                          env={**os.environ, **variables})


class Usage(unittest.TestCase):
    """All our programs."""

    def test_wrong(self):
        """Wrong words: status 2 and something on stderr, nothing on stdout."""
        for words in (("sandbox", "bogus"), ("kernel", "bogus"), ("vm", "--bogus"),
                      ("vm", "--cpus", "many", "--", "true"),
                      ("vm", "--nic", "bogus", "--", "true"),
                      ("vm", "--copy", "/does/not/exist", "--", "true"),
                      ("vm", "--kernel", "/does/not/exist", "--", "true"), ("vm",),
                      ("sandbox", "run"), ("run-tests", "host", "-t", "plain"),
                      ("check", "bogus"), ("run-tests", "bogus"), ("rust-project", "bogus"),
                      ("sandbox", "prune", "bogus"), ("sandbox", "--suite"), ("next", "bogus"),
                      ("check-kdir",), ("run-tests", "--series", "bogus"),
                      ("fuzz", "bogus")):
            with self.subTest(words=words):
                result = call(*words)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertTrue(result.stderr.strip())

    def test_help(self):
        """--help explains and succeeds."""
        for name in ("sandbox", "kernel", "vm", "check", "run-tests", "rust-project", "next",
                     "check-kdir", "fuzz"):
            with self.subTest(name=name):
                result = call(name, "--help")
                self.assertEqual(result.returncode, 0)
                self.assertGreater(len(result.stdout.splitlines()), 3)


    def test_unknown_kernel(self):
        """KERNEL that names none: a message that lists what there is."""
        for words in (("kernel", "path"), ("kernel", "cached"), ("vm", "--", "true")):
            result = call(*words, KERNEL="1.2.3")
            self.assertIn(result.returncode, (1, 2, 125), result.stderr)
            self.assertIn("1.2.3", result.stderr)

    def test_debug_tests(self):
        """The guest's program takes what chooses tests, and no more."""
        for word, status in (("--help", 0), ("-l", 2), ("-n", 2), ("plain", 2)):
            result = call("guest/debug-tests", word, PYTHONPATH=str(TOOLS / "vmlib"))
            self.assertEqual(result.returncode, status, result.stderr)


class RustProject(unittest.TestCase):
    """What an editor is told of the module's crates."""

    def crates(self, ndis=True):
        """Our crates by name, after the kernel's."""
        loader = importlib.machinery.SourceFileLoader("rust_project", str(TOOLS / "rust-project"))
        tool = importlib.util.module_from_spec(
            importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(tool)
        project = {"crates": [
            {"display_name": "core", "root_module": "/k/core.rs", "cfg": []},
            {"display_name": "kernel", "root_module": "/k/kernel.rs", "cfg": ["CONFIG_X"]},
            {"display_name": "main", "root_module": "/built/rust/espnic/main.rs", "cfg": []}]}
        tool.complete(project, pathlib.Path("/here"), pathlib.Path("/built"), ndis)
        for crate in project["crates"][2:]:
            for used in crate["deps"]:
                self.assertEqual(project["crates"][used["crate"]]["display_name"], used["name"])
        return {crate["display_name"]: crate for crate in project["crates"][2:]}

    def test_as_in_kbuild(self):
        """The crates are those of Kbuild, with the same roots, cfg and uses."""
        kbuild = (TOOLS.parent / "Kbuild").read_text(encoding="utf-8")
        roots = dict(re.findall(r"RUSTFLAGS_(\S+)\.o := .*espnic-lib,(\w+)", kbuild))
        roots["rust/espnic/main"] = "espnic"
        crates = self.crates()
        self.assertEqual({crate["root_module"]: name for name, crate in crates.items()},
                         {f"/here/{root}.rs": name for root, name in roots.items()})
        self.assertIn("espnic_ndis", crates["kernel_net"]["cfg"])
        self.assertEqual({used["name"] for used in crates["espnic"]["deps"]} - {"core", "kernel"},
                         set(roots.values()) - {"espnic"})

    def test_without_ndis(self):
        """Neither the crate nor the cfg."""
        crates = self.crates(ndis=False)
        self.assertNotIn("espnic_ndis", crates)
        self.assertNotIn("espnic_ndis", crates["espnic"]["cfg"])


class Sandbox(unittest.TestCase):
    """Inside of it, where the tests run."""

    def test_status_is_passed_on(self):
        """The command's exit status is that of run."""
        self.assertEqual(call("sandbox", "run", "--", "sh", "-c", "exit 41").returncode, 41)

    def test_clean(self):
        """Everything that is kept goes, the verdict about KVM included."""
        text = "".join(path.read_text(encoding="utf-8") for path in (TOOLS / "vmlib").glob("*.py"))
        names = {*re.findall(r'cached\(f"(\w+)-', text), "sandbox", "kernel", "kernel-debug"}
        self.assertLessEqual({"host", "guest"}, names)
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                (pathlib.Path(folder) / f"{name}-0123456789abcdef").mkdir()
            (pathlib.Path(folder) / "other").touch()
            self.assertEqual(call("sandbox", "clean", ESPNIC_CACHE=folder).returncode, 0)
            self.assertEqual(os.listdir(folder), ["other"])

    def test_kernel_tree_is_known(self):
        """tools/kernel names a tree that has what modules need."""
        tree = pathlib.Path(call("kernel", "path").stdout.strip())
        self.assertTrue((tree / "rust/libkernel.rmeta").exists())
        self.assertTrue((tree / "Module.symvers").exists())

    def test_python_is_the_sandboxs(self):
        """What runs here is not the host's."""
        self.assertTrue(sys.executable.startswith("/usr/bin/python3"))


