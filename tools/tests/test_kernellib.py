# SPDX-License-Identifier: GPL-2.0
"""Which kernel is taken, what the archive is understood to offer, what a failure says."""

import dataclasses
import json
import os
import pathlib
import random
import tempfile
import unittest
from unittest import mock

from cachelib import WRONG_USAGE, ToolError
from kernellib import archive, choice, early, log, module, store

SUITE = "trixie-backports"


def offer(release, version=None, suite=SUITE):
    """An offer of the archive."""
    upstream = release.partition("+")[0]
    return archive.Offer(release, version or f"{upstream}-1~bpo13+1", suite, ())


def stock(*versions):
    """Offers of Debian's stable release, newest first."""
    return [offer(f"{version}+deb13-amd64") for version in versions]


def releases(offers):
    """Short names."""
    return [one.release.partition("+")[0] for one in offers]


MADISON = """\
linux-image-7.3.4+deb13-amd64 | 7.3.4-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-binary-7.3.4+deb13-amd64 | 7.3.4-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-headers-7.3.4+deb13-amd64 | 7.3.4-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-source-7.3 | 7.3.4-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-source-7.3 | 7.3~rc7-1~exp1 | http://m experimental/main amd64 Packages
linux-image-7.2.9+deb13-amd64 | 7.2.9-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-headers-7.2.9+deb13-amd64 | 7.2.9-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-image-7.2.12+deb13-amd64 | 7.2.12-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-headers-7.2.12+deb13-amd64 | 7.2.12-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.12-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.12-1~bpo13+1 | http://m trixie-backports/main Sources
linux-image-7.1.13+deb13-amd64 | 7.1.13-1~bpo13+1 | http://m trixie-backports/main amd64 Packages
linux-image-7.3-amd64 | 7.3~rc7-1~exp1 | http://m experimental/main amd64 Packages
linux-headers-7.3-amd64 | 7.3~rc7-1~exp1 | http://m experimental/main amd64 Packages
"""


class Archive(unittest.TestCase):
    """What apt says."""

    def test_complete_ones(self):
        """A kernel counts if image, headers and source are there in one version."""
        offers = archive.parse(MADISON, SUITE)
        self.assertEqual(releases(offers), ["7.3.4", "7.2.12"])
        self.assertEqual(offers[0].packages, (
            "linux-headers-7.3.4+deb13-amd64", "linux-source-7.3",
            "linux-image-7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-amd64"))

    def test_suites(self):
        """Other suites' packages do not mix in."""
        offers = archive.parse(MADISON, "experimental")
        self.assertEqual([(one.release, one.version) for one in offers],
                         [("7.3-amd64", "7.3~rc7-1~exp1")])

    def test_order(self):
        """By number, not by letter; candidates before what they become."""
        versions = ["7.2-1", "7.2.9-1~bpo13+1", "7.2.12-1~bpo13+1", "7.2.12-2~bpo13+1",
                    "7.3~rc7-1~exp1", "7.3~rc10-1~exp1", "7.3-1", "7.3.4-1~bpo13+1", "7.10.1-1"]
        mixed = versions[:]
        random.Random(1).shuffle(mixed)
        self.assertEqual(sorted(mixed, key=archive.numbers), versions)


class Choice(unittest.TestCase):
    """What KERNEL means."""

    def choose(self, offers, wanted=None, series=("7.2", "7.3")):
        """Releases in the order in which they are tried, and the remarks as one text."""
        chosen = choice.choose(offers, wanted, list(series))
        return releases(chosen.offers), "\n".join(chosen.remarks)

    def test_default(self):
        """The newest tested one; if it cannot be made, its neighbour, then another series."""
        tries, remarks = self.choose(stock("7.3.5", "7.3.4", "7.3.3", "7.2.12", "7.2.11"))
        self.assertEqual(tries, ["7.3.5", "7.3.4", "7.2.12"])
        self.assertEqual(remarks, "")

    def test_newer_series(self):
        """A series that nobody has tested is not taken, but named in one line."""
        tries, remarks = self.choose(stock("7.10.1", "7.4.1", "7.3.4", "7.2.12"))
        self.assertEqual(tries, ["7.3.4", "7.2.12"])
        self.assertIn("7.10.1", remarks)
        self.assertEqual(len(remarks.splitlines()), 1)

    def test_none_left(self):
        """Without a tested series: the newest, with a warning."""
        tries, remarks = self.choose(stock("7.5.1", "7.4.9", "7.1.1"))
        self.assertEqual(tries, ["7.5.1"])
        self.assertIn("untested", remarks)

    def test_nothing_recent(self):
        """What is older than the list is never taken."""
        with self.assertRaises(ToolError):
            self.choose(stock("7.1.13", "6.12.1"))

    def test_named(self):
        """A series, a version, a release, newest; nothing else is tried."""
        offers = stock("7.4.1", "7.3.4", "7.2.12", "7.2.11")
        for wanted, release in (("7.2", "7.2.12"), ("7.2.11", "7.2.11"), ("newest", "7.4.1"),
                                ("7.3.4+deb13-amd64", "7.3.4")):
            with self.subTest(wanted=wanted):
                self.assertEqual(self.choose(offers, wanted)[0], [release])
        self.assertIn("untested", self.choose(offers, "newest")[1])
        self.assertEqual(self.choose(offers, "7.2")[1], "")

    def test_unknown(self):
        """What there is not is wrong usage; the message says what there is."""
        for wanted in ("7.1", "7", "7.2.1", "bogus", "7.2.12+deb13"):
            with self.subTest(wanted=wanted), self.assertRaises(ToolError) as caught:
                self.choose(stock("7.3.4", "7.2.12"), wanted)
            self.assertEqual(caught.exception.status, WRONG_USAGE)
            self.assertIn("7.2.12+deb13-amd64", str(caught.exception))

    def test_others(self):
        """The newest of each other tested series."""
        offers = stock("7.4.1", "7.3.4", "7.2.12", "7.2.11")
        self.assertEqual(releases(choice.others(offers, ["7.2", "7.3"], "7.3.4+deb13-amd64")),
                         ["7.2.12"])
        self.assertEqual(releases(choice.others(offers, ["7.2", "7.3"], "7.2.11+deb13-amd64")),
                         ["7.3.4"])
        self.assertEqual(choice.others(stock("7.3.4"), ["7.2", "7.3"], "7.3.4+deb13-amd64"), [])

    def test_newer(self):
        """What `make next` tries: each suite's newest of a series, if it is ahead."""
        unstable = [offer("7.4.2+deb14-amd64", "7.4.2-1", "unstable"),
                    offer("7.2.13+deb14-amd64", "7.2.13-1", "unstable"),
                    offer("7.1.20+deb14-amd64", "7.1.20-1", "unstable")]
        experimental = [offer("7.5-amd64", "7.5~rc1-1~exp1", "experimental"),
                        offer("7.3-amd64", "7.3~rc7-1~exp1", "experimental")]
        found = choice.newer([stock("7.4.1", "7.4.0", "7.3.4", "7.2.12"), unstable, experimental],
                             ["7.2", "7.3"])
        self.assertEqual(releases(found), ["7.4.1", "7.4.2", "7.2.13", "7.5-amd64"])
        self.assertEqual(choice.newer([stock("7.3.4", "7.2.12"), [], []], ["7.2", "7.3"]), [])

    def test_list(self):
        """The committed list can be read; nonsense in one is refused."""
        self.assertIn("7.3", choice.tested())
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "list"
            path.write_text("# c\n7.10\n7.9 # x\n", encoding="utf-8")
            self.assertEqual(choice.tested(path), ["7.9", "7.10"])
            path.write_text("7.3.4\n", encoding="utf-8")
            with self.assertRaises(ToolError):
                choice.tested(path)


class Store(unittest.TestCase):
    """What happens when a kernel cannot be made."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.said, self.made, self.broken = [], [], set()
        for target, name, new in ((store, "cache", lambda: pathlib.Path(self.folder.name)),
                                  (store, "say", self.said.append), (store, "make", self.make),
                                  (store, "_compilers", lambda _suite: ())):
            patch = mock.patch.object(target, name, new)
            patch.start()
            self.addCleanup(patch.stop)

    def make(self, one, _debug=False):
        """Instead of making a kernel."""
        self.made.append(one.release.partition("+")[0])
        if self.made[-1] in self.broken:
            raise ToolError("cannot be made")
        return one

    def take(self, *versions):
        """The kernel that is taken."""
        taken = store._first_that_works(choice.Choice(stock(*versions)), False)
        return releases([taken])[0]

    def test_next_one(self):
        """The next one is taken with a warning, and the broken one is left alone for a while."""
        self.broken.add("7.3.5")
        self.assertEqual(self.take("7.3.5", "7.3.4"), "7.3.4")
        self.assertIn("warning", self.said[-1])
        self.assertEqual(self.take("7.3.5", "7.3.4"), "7.3.4")
        self.assertEqual(self.made, ["7.3.5", "7.3.4", "7.3.4"])

    def test_named(self):
        """A kernel that the user named is tried again, and nothing is taken in its place."""
        self.broken.add("7.3.5")
        for _ in range(2):
            with self.assertRaises(ToolError):
                self.take("7.3.5")
        self.broken.clear()
        self.assertEqual(self.take("7.3.5"), "7.3.5")
        self.assertEqual(self.take("7.3.5", "7.3.4"), "7.3.5")

    def test_unstable(self):
        """What `make next` has left is taken by its release, not by its series."""
        new = offer("7.3.9+deb14-amd64", "7.3.9-1", "unstable")
        with mock.patch.object(store, "_offers", lambda: [new, *stock("7.3.4")]):
            for wanted, release in ((None, "7.3.4"), ("newest", "7.3.4"), ("7.3", "7.3.4"),
                                    ("7.3.9+deb14-amd64", "7.3.9"), ("7.3.9", "7.3.9")):
                with self.subTest(wanted=wanted):
                    self.assertEqual(releases([store.ensure(wanted)])[0], release)

    def test_compilers_gone(self):
        """A kernel whose suite has no sandbox any more does not hide the others."""
        for one in (offer("7.3.9+deb14-amd64", "7.3.9-1", "unstable"), *stock("7.3.4")):
            home = pathlib.Path(self.folder.name) / store._name(one, False)
            home.mkdir()
            (home / "offer.json").write_text(json.dumps(dataclasses.asdict(one)), encoding="utf-8")

        def compilers(suite):
            if suite == "unstable":
                raise ToolError("no sandbox")
            return ()

        self.assertEqual(releases(store.prepared()), ["7.3.9", "7.3.4"])
        with mock.patch.object(store, "_compilers", compilers):
            self.assertEqual(releases(store.prepared()), ["7.3.4"])

    def test_no_archive(self):
        """Without the archive, what is in the cache will do; with nothing there it is an error."""
        unreachable = mock.Mock(side_effect=ToolError("no network"))
        with mock.patch.multiple(store.archive, backports=lambda: SUITE, offers=unreachable,
                                 known=lambda _suite: (None, 0)), \
                mock.patch.object(store, "prepared", lambda: stock("7.3.4")):
            self.assertEqual(store.ensure(None).release, "7.3.4+deb13-amd64")
            self.assertIn("no network", self.said[0])
            with mock.patch.object(store, "prepared", list), self.assertRaises(ToolError):
                store.ensure(None)


class Compiler(unittest.TestCase):
    """With which compiler a module is built for a kernel."""

    def test_by_what_it_says_of_itself(self):
        """By the name in front, clang by its own name wherever that is."""
        for version, word in (("x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0",
                               "CC=x86_64-linux-gnu-gcc-14"),
                              ("Debian clang version 19.1.7 (3+b1)", "LLVM=1"),
                              ("clang version 19.1.7", "LLVM=1")):
            with self.subTest(version=version), tempfile.TemporaryDirectory() as tree:
                config = pathlib.Path(tree, ".config")
                config.write_text(f'CONFIG_CC_VERSION_TEXT="{version}"\n', encoding="ascii")
                self.assertEqual(module.compiler(pathlib.Path(tree)), word)


class Outdated(unittest.TestCase):
    """A module that was built from other sources."""

    def setUp(self):
        home = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(module, "CHECKOUT", home))
        self.source = home / "rust/espnic/main.rs"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("one\n", encoding="utf-8")
        (home / "Kbuild").touch()
        self.built = module.folder("1.2")
        module.copy(module.SOURCES, self.built)

    def test_as_it_was(self):
        """Neither objects, nor what another part has, nor times count."""
        (self.built / "rust/espnic/main.o").touch()
        device = self.source.parents[1] / "device/main.rs"
        device.parent.mkdir()
        device.touch()
        os.utime(self.source, (1, 1))
        self.assertFalse(module.is_outdated("1.2"))

    def test_changed(self):
        """A byte that is another one, or a file that is new."""
        self.source.write_text("two\n", encoding="utf-8")
        self.assertTrue(module.is_outdated("1.2"))
        module.copy(module.SOURCES, self.built)
        self.assertFalse(module.is_outdated("1.2"))
        (self.source.parent / "new.rs").touch()
        self.assertTrue(module.is_outdated("1.2"))


class Words(unittest.TestCase):
    """What is shown of a long log."""

    def test_complaints(self):
        """The compiler's words, however far from the end, without what went well."""
        lines = [f"  CC file{number}.o" for number in range(200)]
        lines[10:10] = ["error[E0599]: no method named `x`", "  --> rust/kernel/lib.rs:1:2"]
        lines[100:100] = ["a.c:1:2: error: unknown type", "make[2]: *** [Makefile:1: a.o] Error 1"]
        text = log.complaints("\n".join(lines))
        for words in ("E0599", "lib.rs:1:2", "unknown type", "Error 1"):
            self.assertIn(words, text)
        self.assertLessEqual(len(text.splitlines()), log.MOST_LINES)

    def test_nothing_named(self):
        """The end of a log that names no error."""
        self.assertEqual(log.complaints("a\nb\nc", 2), "b\nc")

    def test_table(self):
        """Steps behind the first failure were not tried."""
        new, old = stock("7.4.1", "7.3.9")
        text = early.table([early.Row(new, 1, "error: no such crate"), early.Row(old, 4)])
        rows = [line.split() for line in text.splitlines()[1:3]]
        self.assertEqual([row[2:] for row in rows],
                         [["yes", "no", "-", "-"], ["yes", "yes", "yes", "PASS"]])
        self.assertIn("error: no such crate", text)
