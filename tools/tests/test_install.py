# SPDX-License-Identifier: GPL-2.0
"""make install and make uninstall, and the manual pages."""

import os
import pathlib
import subprocess
import tempfile
import unittest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("espnic-device", "espnic-ndis")
WHOLE = {f"bin/{name}": 0o755 for name in PROGRAMS} | {"include/espnic-ndis.h": 0o644} \
    | {f"share/man/man1/{name}.1": 0o644 for name in PROGRAMS}


class Install(unittest.TestCase):
    """Into a folder, of things that look built."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build, self.dest = (pathlib.Path(folder.name, name) for name in ("build", "to here"))
        for name in PROGRAMS:
            for path in (f"cargo/release/{name}", f"manuals/{name}.1"):
                (self.build / path).parent.mkdir(parents=True, exist_ok=True)
                (self.build / path).write_text(path, encoding="utf-8")

    def make(self, target, **variables):
        """The exit status and the messages of a target."""
        words = [f"{name}={value}" for name, value in variables.items()]
        # Not the flags of a make that runs the tests.
        clean = {name: value for name, value in os.environ.items() if "MAKE" not in name
                 and name != "MFLAGS"}
        result = subprocess.run(["make", "-C", CHECKOUT, target, f"BUILD={self.build}",
                                 f"DESTDIR={self.dest}", *words], check=False, text=True,
                                capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
                                env=clean)
        return result.returncode, result.stderr

    def found(self, prefix):
        """The files below a prefix in the folder, with their modes."""
        top = self.dest / prefix
        return {str(path.relative_to(top)): path.stat().st_mode & 0o7777
                for path in top.rglob("*") if path.is_file()}

    def test_prefix(self):
        """Everything comes below the prefix, and goes again; what was there before stays."""
        for variables, prefix in (({}, "usr/local"), ({"prefix": "/opt/it"}, "opt/it")):
            with self.subTest(prefix=prefix):
                other = self.dest / prefix / "bin/other"
                other.parent.mkdir(parents=True)
                other.touch(0o644)
                self.assertEqual(self.make("install", **variables), (0, ""))
                self.assertEqual(self.found(prefix), WHOLE | {"bin/other": 0o644})
                page = self.dest / prefix / "share/man/man1/espnic-ndis.1"
                self.assertEqual(page.read_text(encoding="utf-8"), "manuals/espnic-ndis.1")
                self.assertEqual(self.make("uninstall", **variables), (0, ""))
                self.assertEqual(self.found(prefix), {"bin/other": 0o644})
                self.assertEqual(self.make("uninstall", **variables), (0, ""))

    def test_folders(self):
        """Each kind of file can have a folder of its own."""
        self.assertEqual(self.make("install", bindir="/sbin", mandir="/man"), (0, ""))
        self.assertEqual(set(self.found("sbin")), set(PROGRAMS))
        self.assertEqual(set(self.found("man")), {f"man1/{name}.1" for name in PROGRAMS})

    def test_not_built(self):
        """What is missing is named, and nothing is installed."""
        for name in ("manuals/espnic-ndis.1", "cargo/release/espnic-ndis"):
            path = self.build / name
            path.unlink()
            status, message = self.make("install")
            self.assertNotEqual(status, 0)
            self.assertIn(f"{path} is missing: make device manuals", message)
            self.assertFalse(self.dest.exists())


class Manuals(unittest.TestCase):
    """What Sphinx makes of Documentation."""

    def test_pages(self):
        """A page for each program, with its name and what it takes."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["sphinx-build", "-q", "-E", "-W", "-b", "man", "-d",
                            f"{folder}/doctrees", CHECKOUT / "Documentation", f"{folder}/pages"],
                           check=True, timeout=120)
            pages = sorted(pathlib.Path(folder, "pages").iterdir())
            self.assertEqual([path.name for path in pages], [f"{name}.1" for name in PROGRAMS])
            for name, path in zip(PROGRAMS, pages, strict=True):
                text = path.read_text(encoding="utf-8").replace("\\-", "-")
                self.assertIn(f"{name} - ", text)
                self.assertIn(".SH SYNOPSIS", text.upper())
