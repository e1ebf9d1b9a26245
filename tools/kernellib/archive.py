# SPDX-License-Identifier: GPL-2.0
"""The kernels that Debian's archive offers for building modules: image, headers and source."""

import functools
import json
import pathlib
import re
import subprocess
import time
from dataclasses import asdict, dataclass

from cachelib import ToolError, cache, digest, sandbox_root

RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)?(?:\+deb\d+(?:\.\d+)?)?-amd64")
# How an image is split changes with the version.
PARTS = ("image", "binary", "base", "modules")
FRESH_SECONDS = 24 * 3600
MIRROR = pathlib.Path("/etc/apt/sources.list")
SOURCES = pathlib.Path("/etc/apt/sources.list.d/espnic.list")  # of the overlay, thrown away
# The lists of a suite that is no release may be out of date; that is no reason not to look.
UPDATE = ["apt-get", "update", "-qq", "-o", "Acquire::Languages=none", "-o",
          "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
LENIENT = ["-o", "Acquire::Check-Valid-Until=false"]
DOWNLOAD = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "-o",
            "Acquire::Retries=3"]
NO_ARCHIVE = ("Debian's archive cannot be read: check the network, or name a mirror with "
              "ESPNIC_MIRROR")


def numbers(text):
    """What versions of kernels are ordered by, from a release or a version of Debian."""
    upstream = re.match(r"\d+(?:\.\d+)*", text)[0]
    candidate = re.search(r"~rc(\d+)", text)
    rank = int(candidate[1]) if candidate else 1000
    found = [int(number) for number in upstream.split(".")]
    return (*found[:2], rank, *found[2:]), [int(n) for n in re.findall(r"\d+", text)]


def series_of(release):
    """"7.2" of "7.2.12+deb13-amd64"."""
    return re.match(r"\d+\.\d+", release)[0]


@dataclass(frozen=True)
class Offer:
    """A kernel: its release as `uname -r` says, Debian's version, the suite and the packages."""

    release: str
    version: str
    suite: str
    packages: tuple

    @classmethod
    def saved(cls, words):
        """The offer that asdict() and JSON have made WORDS of."""
        return cls(**{**words, "packages": tuple(words["packages"])})

    @property
    def series(self):
        """The first two numbers."""
        return series_of(self.release)

    @property
    def order(self):
        """What newer ones have more of."""
        return numbers(self.version)


def backports():
    """The suite that ordinary kernels come from."""
    facts = (sandbox_root() / "etc/espnic/sandbox").read_text(encoding="utf-8")
    return re.search(r"^SUITE=(\S+)$", facts, re.M)[1] + "-backports"


def _source_line(suite):
    """A line of sources.list for a suite, at the mirror of the sandbox."""
    lines = MIRROR.read_text(encoding="utf-8").splitlines()
    stable = backports().removesuffix("-backports")
    for line in lines:
        match = re.match(rf"(deb .*) {stable} main", line)
        if match:
            return f"{match[1]} {suite} main\n"
    raise ToolError(f"there is no line for {stable} in the sandbox's sources.list; "
                    "run: tools/sandbox clean")


@functools.cache
def update(suite):
    """Read the package lists, those of a suite that the sandbox does not know included."""
    command = list(UPDATE)
    if suite != backports():
        SOURCES.write_text(_source_line(suite), encoding="utf-8")
        command += LENIENT
    result = subprocess.run(command, check=False, text=True, capture_output=True,
                            stdin=subprocess.DEVNULL)
    # Some failures are only warnings to apt.
    if result.returncode or re.search(r"^[WE]: Failed", result.stderr, re.M):
        raise ToolError(f"{result.stderr.strip()}\n{NO_ARCHIVE}.")


def _apt_cache(*words):
    return subprocess.run(["apt-cache", *words], check=True, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL).stdout


def parse(text, suite):
    """The offers in the output of `apt-cache madison`, newest first."""
    versions = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 3 and f" {suite}/" in fields[2] and fields[2].endswith("Packages"):
            versions.setdefault(fields[0], []).append(fields[1])
    offers = []
    for name, found in versions.items():
        release = name.removeprefix("linux-image-")
        if release == name:
            continue
        version = max(found, key=numbers)
        needed = [f"linux-headers-{release}", f"linux-source-{series_of(release)}"]
        if any(version not in versions.get(package, []) for package in needed):
            continue
        parts = [f"linux-{part}-{release}" for part in PARTS]
        parts = [package for package in parts if version in versions.get(package, [])]
        offers.append(Offer(release, version, suite, tuple(needed + parts)))
    return sorted(offers, key=lambda offer: offer.order, reverse=True)


def _read(suite):
    update(suite)
    releases = {name.removeprefix("linux-image-")
                for name in _apt_cache("pkgnames", "linux-image-").split()}
    releases = {release for release in releases if RELEASE.fullmatch(release)}
    names = {f"linux-{part}-{release}" for release in releases for part in (*PARTS, "headers")}
    names |= {f"linux-source-{series_of(release)}" for release in releases}
    return parse(_apt_cache("madison", *sorted(names)), suite) if names else []


def _list_file(suite):
    return cache() / f"archive-{digest(MIRROR)}-{suite}.json"


def known(suite):
    """The offers as the archive was read last, and how many seconds ago; (None, 0) if never."""
    try:
        saved = json.loads(_list_file(suite).read_text(encoding="utf-8"))
        age = time.time() - _list_file(suite).stat().st_mtime
        return [Offer.saved(words) for words in saved], age
    except (OSError, ValueError, TypeError):
        return None, 0


def offers(suite, fresh_seconds=FRESH_SECONDS):
    """The offers of a suite; the archive is read unless that was done a short while ago."""
    found, age = known(suite)
    if found is None or not 0 <= age < fresh_seconds:
        found = _read(suite)
        half = _list_file(suite).with_suffix(".tmp")
        half.write_text(json.dumps([asdict(offer) for offer in found]), encoding="utf-8")
        half.rename(_list_file(suite))
    return found


def download(offer, wanted, folder):
    """Fetch packages of an offer into an empty folder, and unpack them there."""
    update(offer.suite)
    debs = folder / "debs"
    debs.mkdir(parents=True)
    words = [f"{package}={offer.version}" for package in wanted]
    result = subprocess.run([*DOWNLOAD, *words], check=False, text=True, cwd=debs,
                            capture_output=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise ToolError(f"{result.stderr.strip()}\nThe packages of Linux {offer.release} cannot "
                        "be fetched: check the network, or name a mirror with ESPNIC_MIRROR.")
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
        deb.unlink()
