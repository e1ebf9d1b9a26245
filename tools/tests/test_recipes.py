# SPDX-License-Identifier: GPL-2.0
"""Preparing a kernel tree, looking at somebody else's, and forgetting old ones."""

import os
import pathlib
import subprocess
import tempfile
import time
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent
RELEASE = "7.9.1+deb13-amd64"
RUSTC, BINDGEN = "rustc 1.85.1 (4eb161250 2025-03-15) (packaged)", "bindgen 0.71.1"
# Of a kernel's Makefile: what the recipe calls. It needs two files that look like code.
MAKEFILE = """\
olddefconfig:
\ttest -e scripts/config
modules_prepare: rust/helpers/net/deep.c NEEDED
\tmkdir -p include/config rust
\techo "$(KERNELRELEASE)" > include/config/kernel.release
\techo 'int _Rname;' > rust/kernel.c && $(CC) -c rust/kernel.c -o rust/kernel.o
NEEDED:
\ttest -z "$(wildcard want-all)" || test -e net/core.c
"""


class Folder(unittest.TestCase):
    """A folder for each test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, text="", mode=0o644):
        """Write a file, with the folders above it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path


class Recipe(Folder):
    """tools/lib/kernel-recipe.sh with a source that is like a kernel's."""

    def setUp(self):
        super().setUp()
        source = "src/linux-source-7.9"
        self.file(f"{source}/Makefile", MAKEFILE)
        self.file(f"{source}/scripts/config", "#!/bin/sh\n", 0o755)
        self.file(f"{source}/rust/helpers/net/deep.c")
        self.file(f"{source}/net/core.c")
        self.file("headers/.config", 'CONFIG_CC_VERSION_TEXT="gcc (Debian) 14"\n')
        self.file("headers/Module.symvers", "0x0\t_Rname\tvmlinux\tEXPORT_SYMBOL_GPL\t\n")

    def prepare(self):
        """Run it; the finished process."""
        archive = self.folder / "linux-source-7.9.tar.xz"
        subprocess.run(["tar", "-C", self.folder / "src", "-cJf", archive, "linux-source-7.9"],
                       check=True)
        return subprocess.run(["sh", TOOLS / "lib/kernel-recipe.sh", self.folder / "tree", RELEASE,
                               archive, self.folder / "headers"], check=False, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL)

    def test_by_place(self):
        """Code is left out where nobody needs it, and not elsewhere."""
        result = self.prepare()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.folder / "tree/rust/helpers/net/deep.c").exists())
        self.assertFalse((self.folder / "tree/net/core.c").exists())
        self.assertNotIn("once more", result.stderr)
        self.assertIn("0 of 1 Rust symbols differ", result.stderr)

    def test_whole_source(self):
        """What cannot be prepared without the code left out is prepared with it, and it says so."""
        self.file("src/linux-source-7.9/want-all")
        result = self.prepare()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.folder / "tree/net/core.c").exists())
        self.assertIn("once more with the whole source", result.stderr)

    def test_broken(self):
        """A source that cannot be prepared at all ends the recipe."""
        (self.folder / "src/linux-source-7.9/rust/helpers/net/deep.c").unlink()
        self.assertNotEqual(self.prepare().returncode, 0)

    def test_other_symbols(self):
        """A tree whose symbols are not the stock kernel's is refused."""
        self.file("headers/Module.symvers", "0x0\t_Rother\tvmlinux\tEXPORT_SYMBOL_GPL\t\n")
        result = self.prepare()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("1 of 1 Rust symbols differ", result.stderr)


class Kdir(Folder):
    """tools/check-kdir."""

    def setUp(self):
        super().setUp()
        self.release = "7.3.4-test"
        self.options = {"RUST": "y", "XFRM_OFFLOAD": "y", "DIMLIB": "y",
                        "RUSTC_VERSION_TEXT": f'"{RUSTC}"',
                        "BINDGEN_VERSION_TEXT": f'"{BINDGEN}"', "CC_VERSION_TEXT": '"gcc (x) 14"'}
        self.tools = {"RUSTC": str(self.file("rustc", f"#!/bin/sh\necho '{RUSTC}'\n", 0o755)),
                      "BINDGEN": str(self.file("bindgen", f"#!/bin/sh\necho '{BINDGEN}'\n", 0o755)),
                      "OS_RELEASE": str(self.file("os-release", "ID=debian\n"))}
        self.file("tree/Makefile", "KERNELVERSION = 7.3.4\n")
        self.metadata = self.file("tree/rust/libkernel.rmeta")

    def check(self, name="tree", *words):
        """Status, and what it prints or complains of."""
        if (self.folder / name).is_dir():
            self.file("tree/include/config/kernel.release", self.release + "\n")
            self.file("tree/.config", "".join(f"CONFIG_{option}={value}\n"
                                              for option, value in self.options.items()))
        result = subprocess.run([TOOLS / "check-kdir", *words, self.folder / name], check=False,
                                text=True, capture_output=True, env={**os.environ, **self.tools})
        return result.returncode, result.stdout.strip() or result.stderr.strip()

    def refused(self, *words):
        """It is refused in one line that has these words."""
        status, text = self.check()
        self.assertEqual(status, 1, text)
        self.assertEqual(len(text.splitlines()), 1, text)
        for word in words:
            self.assertIn(word, text)

    def test_good(self):
        """The tree and its compiler."""
        self.assertEqual(self.check(), (0, f"{self.folder / 'tree'} CC=gcc"))
        self.options["CC_VERSION_TEXT"] = '"clang version 19"'
        self.assertEqual(self.check(), (0, f"{self.folder / 'tree'} LLVM=1"))

    def test_no_tree(self):
        """No such folder; a folder without a kernel's Makefile."""
        status, text = self.check("nonexistent")
        self.assertEqual((status, "no such folder" in text), (1, True))
        self.file("tree/Makefile", "all:\n")
        self.refused("no kernel tree")

    def test_configuration(self):
        """Too old, without Rust, without offload, without moderation."""
        self.release = "7.1.13"
        self.refused("too old", "7.2")
        self.release = "7.3.4"
        del self.options["DIMLIB"]
        self.refused("DIMLIB", "CONFIG_ETHTOOL_NETLINK=y")
        del self.options["XFRM_OFFLOAD"]
        self.refused("XFRM offload", "CONFIG_INET_ESP_OFFLOAD")
        del self.options["RUST"]
        self.refused("CONFIG_RUST=y")

    def test_newer(self):
        """A series newer than the tested ones is allowed, with a warning."""
        self.release = "99.1.0"
        self.assertEqual(self.check()[0], 0)

    def test_no_metadata(self):
        """What the distribution has to offer."""
        self.metadata.unlink()
        self.refused("rust/libkernel.rmeta", "Debian ships none")
        self.file("os-release", 'ID="ubuntu"\n')
        self.refused("rust/libkernel.rmeta", "linux-lib-rust-7.3.4-test")
        self.file("os-release", "ID=arch\n")
        self.refused("modules_prepare")

    def test_metadata_beside(self):
        """Ubuntu's package is found where it installs itself."""
        self.metadata.unlink()
        self.file("linux-lib-rust-7.3.4-test/rust/libkernel.rmeta")
        beside = self.folder / "linux-lib-rust-7.3.4-test/rust"
        self.assertEqual(self.check(),
                         (0, f"{self.folder / 'tree'} CC=gcc KRUSTFLAGS=-L{beside}"))

    def test_other_compilers(self):
        """Another rustc or bindgen, also one that only calls itself the same version; or none."""
        self.file("rustc", "#!/bin/sh\necho 'rustc 1.85.1 (4eb161250 2025-03-15)'\n", 0o755)
        self.refused(RUSTC, "RUSTC=")
        self.tools["RUSTC"] = "/nonexistent/rustc"
        self.refused("no rustc", RUSTC)
        self.file("rustc", f"#!/bin/sh\necho '{RUSTC}'\n", 0o755)
        self.tools["RUSTC"] = str(self.folder / "rustc")
        self.file("bindgen", "#!/bin/sh\necho 'bindgen 0.72.1'\n", 0o755)
        self.refused("0.72.1", BINDGEN, "BINDGEN=")

    def test_cleaning(self):
        """To clean up nothing is needed but a tree."""
        self.options.clear()
        self.assertEqual(self.check("tree", "--any"), (0, str(self.folder / "tree")))


class Forget(Folder):
    """What tools/sandbox deletes from the cache."""

    def thing(self, name, days):
        """Something that was used last so many days ago."""
        (self.folder / name).mkdir()
        then = time.time() - days * 24 * 3600
        os.utime(self.folder / name, (then, then))

    def call(self, *words):
        """What is left, and what it says."""
        result = subprocess.run([TOOLS / "sandbox", *words], check=False, text=True,
                                capture_output=True,
                                env={**os.environ, "ESPNIC_CACHE": str(self.folder)})
        return sorted(path.name for path in self.folder.iterdir()), result.stderr

    def test_prune(self):
        """All but the two of each kind that were used last; what is being made stays."""
        key = "0123456789abcdef"
        for kind in ("sandbox-", "kernel-7.3.4+deb13-amd64-", "guest-"):
            self.thing(kind + key, 40)
        self.thing(f"kernel-7.2.12+deb13-amd64-{key}", 2)
        self.thing(f"kernel-7.2.11+deb13-amd64-{key}", 1)
        self.thing(f"kernel-debug-7.3.4+deb13-amd64-{key}", 50)
        self.thing(f"kernel-7.2.9+deb13-amd64-{key}.tmp", 60)
        left, said = self.call("prune")
        self.assertEqual(left, sorted([
            f"sandbox-{key}", f"guest-{key}", f"kernel-7.2.12+deb13-amd64-{key}",
            f"kernel-7.2.11+deb13-amd64-{key}", f"kernel-debug-7.3.4+deb13-amd64-{key}",
            f"kernel-7.2.9+deb13-amd64-{key}.tmp"]))
        self.assertIn(f"deleting kernel-7.3.4+deb13-amd64-{key}", said)
        self.assertEqual(len(said.splitlines()), 1)

    def test_old(self):
        """With a number of days, what was used since stays, too."""
        for number, days in enumerate((1, 2, 29, 31, 40)):
            self.thing(f"guest-{number:016x}", days)
        left, said = self.call("prune", "30")
        self.assertEqual(left, [f"guest-{number:016x}" for number in range(3)])
        self.assertEqual(len(said.splitlines()), 2)

    def test_kinds(self):
        """Everything that the tools cache is of a kind that is pruned and cleaned."""
        text = (TOOLS / "sandbox").read_text(encoding="utf-8")
        kinds = next(line for line in text.splitlines() if line.startswith("kinds='"))
        for kind in ("sandbox", "kernel", "kernel-debug", "guest", "host", "python",
                     "upstream", "dpdk"):
            self.assertIn(kind, kinds)
