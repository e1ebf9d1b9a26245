# SPDX-License-Identifier: GPL-2.0
"""Which kernel is taken: nothing here reads the archive or the cache."""

import re
from dataclasses import dataclass, field

from cachelib import TOOLS, WRONG_USAGE, ToolError

from .archive import numbers, series_of

MOST_TRIES = 3


def tested(path=TOOLS / "tested-kernels"):
    """The tested series, oldest first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.partition("#")[0].strip() for line in lines]
    wrong = [word for word in words if word and not re.fullmatch(r"\d+\.\d+", word)]
    if wrong:
        raise ToolError(f"{path}: not a series of Linux: {wrong[0]}")
    return sorted(filter(None, words), key=numbers)


@dataclass
class Choice:
    """Kernels in the order in which they are tried, and the messages for the user.

    With a kernel that the user named there is only one, so that nothing else is taken unasked.
    """

    offers: list
    remarks: list = field(default_factory=list)


def _upstream(release):
    return re.match(r"[\d.]+", release)[0]


def _is_meant(offer, wanted):
    """Whether KERNEL names this kernel: by series, by version, or by release."""
    return wanted in (offer.series, _upstream(offer.release), offer.release)


def _listed(series):
    return ", ".join(series)


def _named(offers, wanted, series):
    found = [offer for offer in offers if _is_meant(offer, wanted)]
    if not found:
        have = _listed(offer.release for offer in offers) or "none"
        raise ToolError(f"KERNEL={wanted}: there is no such kernel with headers and source. It may "
                        f"be a series ({_listed(series)}), newest, or a release. There are: "
                        f"{have}.", WRONG_USAGE)
    return found[0]


def _untested(offer, series):
    return (f"Linux {offer.release} is untested: the tested series are {_listed(series)}; if it "
            "fails, that may be why")


def _by_default(offers, series):
    oldest, newest = numbers(series[0]), numbers(series[-1])
    inside = [offer for offer in offers if offer.series in series]
    newer = [offer for offer in offers if numbers(offer.series) > newest]
    if inside:
        remarks = [f"the archive has Linux {newer[0].release}, newer than the tested series "
                   f"{_listed(series)}; KERNEL=newest tries it"] if newer else []
        # One more of the newest series, then other series: what is broken in one release is
        # mostly broken in its neighbours, too.
        first = [offer for offer in inside if offer.series == inside[0].series][:2]
        others = [next(offer for offer in inside if offer.series == name)
                  for name in reversed(series)
                  if name != inside[0].series and any(o.series == name for o in inside)]
        return Choice([*first, *others][:MOST_TRIES], remarks)
    recent = [offer for offer in offers if numbers(offer.series) >= oldest]
    if not recent:
        raise ToolError(f"the archive has no kernel with headers and source of the tested series "
                        f"{_listed(series)} or newer; try another ESPNIC_MIRROR")
    return Choice(recent[:1], [f"none of the tested series is in the archive any more. "
                               f"{_untested(recent[0], series)}"])


def choose(offers, wanted, series):
    """The Choice among OFFERS, newest first, by WANTED, the user's KERNEL."""
    if not wanted:
        return _by_default(offers, series)
    if wanted == "newest":
        if not offers:
            raise ToolError("the archive has no kernel with headers and source; try another "
                            "ESPNIC_MIRROR")
        offer = offers[0]
    else:
        offer = _named(offers, wanted, series)
    return Choice([offer], [] if offer.series in series else [_untested(offer, series)])


def others(offers, series, taken):
    """The newest kernel of each tested series but the one that is taken, newest first."""
    found = []
    for name in reversed(series):
        of_series = [offer for offer in offers if offer.series == name]
        if of_series and name != series_of(taken):
            found.append(of_series[0])
    return found


def newer(by_suite, series):
    """Offers that `make next` tries: the newest of each series and suite that is ahead of what is
    tested today. BY_SUITE has the suite of the ordinary kernels first."""
    have, found = {}, []
    for number, offers in enumerate(by_suite):
        for offer in offers:
            ahead = (offer.order > have[offer.series] if offer.series in have
                     else numbers(offer.series) >= numbers(series[0]) and (
                         number > 0 or offer.series not in series))
            if ahead:
                found.append(offer)
            have[offer.series] = max(offer.order, have.get(offer.series, offer.order))
    return found
