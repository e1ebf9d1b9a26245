# SPDX-License-Identifier: GPL-2.0
"""The other tested series of Linux: the module builds, loads and does its work there, too."""

import os

from cachelib import TOOLS, ToolError
from kernellib import archive, choice, module, store

from . import groups
from .report import FAIL, PASS, Result

GROUP = "series"
SELFTESTS = ("module_load", "ipsec_crypto", "packet_basic", "packet_modes", "packet_policy",
             "packet_limits", "packet_refused")
DEMO_SECONDS = 300
GUEST_SECONDS = 900


def others():
    """Offers of the tested series that the archive has, but for the one that is tested whole."""
    taken = store.existing(os.environ.get("KERNEL")).release
    return choice.others(archive.offers(archive.backports()), choice.tested(), taken)


def _built(offer, log):
    """Build the module; the release, or None and a result that says why not."""
    with log.open("w", encoding="utf-8") as out:
        try:
            kernel = store.ensure(offer.release)
            module.build(kernel, output=out)
        except ToolError as error:
            out.write(f"{error}\n")
            out.flush()
            return Result("the module builds", FAIL, f"{error}\n{groups.tail(log)}")
    return Result("the module builds", PASS)


def _demo(environment, log):
    status = []
    for _line in groups.output([*environment, str(TOOLS / "demo")], log, status, DEMO_SECONDS):
        pass
    if status[0]:
        return Result("the demonstration passes", FAIL, groups.tail(log))
    return Result("the demonstration passes", PASS)


def group(offer, logs):
    """Results for one kernel: the module, the demonstration, a few selftests."""
    result = _built(offer, logs / f"{GROUP}-{offer.series}-build.log")
    yield result
    if result.outcome == FAIL:
        return
    environment = ["env", f"KERNEL={offer.release}"]
    yield _demo(environment, logs / f"{GROUP}-{offer.series}-demo.log")
    command = groups.guest_command(logs / f"{GROUP}-{offer.series}", GUEST_SECONDS, SELFTESTS)
    yield from groups.program([*environment, *command], logs / f"{GROUP}-{offer.series}.log",
                              f"the guest with Linux {offer.release}")
