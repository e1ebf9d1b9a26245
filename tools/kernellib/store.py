# SPDX-License-Identifier: GPL-2.0
"""Kernels in the cache: each prepared once, several beside each other."""

import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import cachelib
from cachelib import TOOLS, ToolError, cache, digest

from . import archive, choice
from .log import complaints

RECIPE = TOOLS / "lib/kernel-recipe.sh"
DEBUG_RECIPE = TOOLS / "lib/debug-kernel-recipe.sh"
DEBUG_CONFIG = TOOLS / "lib/debug-kernel.config"
DEBUG_SUFFIX = "-espnic-debug"
# What decides how a kernel's Rust metadata come out, besides its source.
COMPILERS = re.compile(r"rustc|rust-src|bindgen|(?:gcc|clang|lld)-\d+")
# Kernels of these suites are built with newer compilers than the stable release has.
UNSTABLE = ("unstable", "experimental")
UNSTABLE_SANDBOX = "sid"
TRY_AGAIN_SECONDS = 24 * 3600


def say(text):
    """Print one line of progress on stderr."""
    cachelib.say(text, "kernel")


@dataclass(frozen=True)
class Kernel:
    """A kernel that is in the cache: what modules are built against, and what a guest boots."""

    offer: archive.Offer
    home: pathlib.Path
    debug: bool = False

    @property
    def tree(self):
        """KDIR."""
        return self.home / "tree"

    @property
    def image(self):
        """What a boot loader takes."""
        return self.home / "vmlinuz"

    @property
    def modules(self):
        """The folder that is called like the release in /lib/modules."""
        return self.home / "modules"

    @functools.cached_property
    def release(self):
        """What `uname -r` says in it."""
        return (self.home / "release").read_text(encoding="ascii").strip()

    @property
    def toolchain(self):
        """Words before a command that runs with the compilers of this kernel."""
        return toolchain(self.offer.suite)


def toolchain(suite):
    """Words that run a command in the sandbox with the compilers of a suite."""
    if suite not in UNSTABLE:
        return []
    return [str(TOOLS / "sandbox"), "--suite", UNSTABLE_SANDBOX, "run", "--"]


@functools.cache
def _sandbox_root(suite):
    if suite not in UNSTABLE:
        return cachelib.sandbox_root()
    result = subprocess.run([TOOLS / "sandbox", "--suite", UNSTABLE_SANDBOX, "cached"],
                            check=False, text=True, stdout=subprocess.PIPE)
    if result.returncode:
        raise ToolError(f"kernels of {suite} need the build tools of that suite; run: "
                        f"tools/sandbox --suite {UNSTABLE_SANDBOX} ensure")
    return pathlib.Path(result.stdout.strip())


@functools.cache
def _compilers(suite):
    """Names and versions of the compilers that a sandbox has."""
    status = (_sandbox_root(suite) / "var/lib/dpkg/status").read_text(encoding="utf-8")
    packages = re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", status, re.M | re.S)
    return sorted(pair for pair in packages if COMPILERS.fullmatch(pair[0]))


def _name(offer, debug):
    inputs = [DEBUG_RECIPE, DEBUG_CONFIG] if debug else [RECIPE]
    key = digest(*inputs, offer.version, *_compilers(offer.suite))
    return f"kernel-{'debug-' if debug else ''}{offer.release}-{key}"


def find(offer, debug=False):
    """The Kernel, or None if it is not in the cache."""
    try:
        home = cache() / _name(offer, debug)
    except ToolError:  # no compilers for it
        return None
    return Kernel(offer, home, debug) if home.exists() else None


def prepared():
    """Offers whose kernels are in the cache, whether or not the archive still has them."""
    found = []
    for path in cache().glob("kernel-*/offer.json"):
        offer = archive.Offer.saved(json.loads(path.read_text(encoding="utf-8")))
        kernel = find(offer)
        if kernel and kernel.home == path.parent:
            found.append(offer)
    return sorted(found, key=lambda offer: offer.order, reverse=True)


def _run_recipe(command, log):
    """Run a recipe; what it says on stderr is shown with the seconds, the rest goes to LOG."""
    begin = time.monotonic()
    with log.open("a", encoding="utf-8") as out, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr:
            out.write(line)
            out.flush()
            print(f"  {time.monotonic() - begin:4.0f}s {line}", end="", file=sys.stderr, flush=True)
    return process.returncode


def _complain(log, offer, what):
    words = complaints(log.read_text(encoding="utf-8", errors="replace"))
    raise ToolError("\n".join([words, f"{what} of Linux {offer.release} cannot be made; KERNEL= "
                               f"names another one, the whole output is in {log}."]))


def _build(offer, debug, half):
    """Make HALF a kernel's home."""
    log = cache() / f"kernel-{offer.release}{DEBUG_SUFFIX if debug else ''}.log"
    log.write_text("", encoding="utf-8")
    packages = half / "packages"
    source = f"linux-source-{offer.series}"
    say(f"fetching Linux {offer.release}")
    archive.download(offer, [source] if debug else offer.packages, packages)
    tarball = packages / f"usr/src/{source}.tar.xz"
    prefix = toolchain(offer.suite)
    if debug:
        say(f"building the debug kernel of Linux {offer.release} (15 to 40 minutes)")
        if _run_recipe([*prefix, "sh", DEBUG_RECIPE, half, tarball, DEBUG_CONFIG], log):
            _complain(log, offer, "The debug kernel")
    else:
        say(f"preparing the tree of Linux {offer.release} (about 90 s)")
        headers = packages / f"usr/src/linux-headers-{offer.release}"
        if _run_recipe([*prefix, "sh", RECIPE, half / "tree", offer.release, tarball, headers],
                       log):
            _complain(log, offer, "The tree")
        modules = packages / "usr/lib/modules" / offer.release
        images = [modules / "vmlinuz", packages / f"boot/vmlinuz-{offer.release}"]
        image = next((path for path in images if path.exists()), None)
        if not image:
            raise ToolError(f"the packages of Linux {offer.release} have no image: KERNEL= names "
                            "another one")
        shutil.copy(image, half / "vmlinuz")
        modules.rename(half / "modules")
        (half / "release").write_text(offer.release + "\n", encoding="ascii")
    shutil.rmtree(packages)
    (half / "offer.json").write_text(json.dumps(asdict(offer)), encoding="utf-8")


def make(offer, debug=False):
    """The Kernel, made if it is not there."""
    home = cachelib.cached(_name(offer, debug), functools.partial(_build, offer, debug), "kernel")
    return Kernel(offer, home, debug)


def _failed_mark(offer, debug):
    return cache() / f"{_name(offer, debug)}.failed"


def _has_failed(offer, debug):
    """Whether it could not be made a short while ago."""
    mark = _failed_mark(offer, debug)
    return mark.exists() and 0 <= time.time() - mark.stat().st_mtime < TRY_AGAIN_SECONDS


def _first_that_works(chosen, debug):
    """Make the first offer that can be made; the next one is taken with a warning."""
    for number, offer in enumerate(chosen.offers):
        last = number == len(chosen.offers) - 1
        if not last and _has_failed(offer, debug):
            say(f"warning: Linux {offer.release} could not be prepared a short while ago; "
                f"KERNEL={offer.release} tries it again")
            continue
        try:
            kernel = make(offer, debug)
        except ToolError as error:
            _failed_mark(offer, debug).touch()
            if last:
                raise
            say(f"{error}\nkernel: warning: going on with Linux "
                f"{chosen.offers[number + 1].release} instead")
            continue
        _failed_mark(offer, debug).unlink(missing_ok=True)
        return kernel
    raise AssertionError("a choice without offers")


def _offers():
    """What the archive has, or what is in the cache if the archive cannot be read."""
    suite = archive.backports()
    try:
        found = archive.offers(suite)
    except ToolError as error:
        found = archive.known(suite)[0] or []
        if not found and not prepared():
            raise
        say(f"warning: {error} Going on with what was known before.")
    have = {offer.release for offer in found}
    return sorted([*found, *(offer for offer in prepared() if offer.release not in have)],
                  key=lambda offer: offer.order, reverse=True)


def _for(wanted, offers):
    """The offers that KERNEL=WANTED can mean: one of unstable only if it names its release."""
    if wanted and wanted != "newest" and not re.fullmatch(r"\d+\.\d+", wanted):
        return offers
    return [offer for offer in offers if offer.suite not in UNSTABLE]


def ensure(wanted, debug=False):
    """The kernel that KERNEL=WANTED means, made if it is not there."""
    chosen = choice.choose(_for(wanted, _offers()), wanted, choice.tested())
    for remark in chosen.remarks:
        say(f"warning: {remark}" if "untested" in remark else remark)
    return _first_that_works(chosen, debug)


def existing(wanted, debug=False):
    """The kernel that KERNEL=WANTED means among those in the cache."""
    candidates = [offer for offer in prepared() if find(offer, debug)] if not debug else [
        offer for offer in archive.known(archive.backports())[0] or [] if find(offer, debug)]
    candidates = _for(wanted, candidates)
    how = f"make modules{' DEBUG=1' if debug else ''}{f' KERNEL={wanted}' if wanted else ''}"
    if not candidates:
        raise ToolError(f"no kernel is prepared; run: {how}")
    try:
        chosen = choice.choose(candidates, wanted, choice.tested())
    except ToolError as error:
        raise ToolError(f"Linux {wanted or ''} is not prepared; run: {how}") from error
    return find(chosen.offers[0], debug)
