# SPDX-License-Identifier: GPL-2.0
"""The tables for people and the result file for programs."""

import dataclasses
import json
import time

FORMAT = 3
IDLE_AGREEMENT = 0.05
SPREAD_LIMIT = 0.05


@dataclasses.dataclass(frozen=True)
class Target:
    """A ratio to be reached."""

    row: str
    against: str
    unit: str  # "per_byte" or "per_packet"
    tx: float
    rx: float

    def limit(self, direction):
        """At most this."""
        return {"tx": self.tx, "rx": self.rx}[direction]


TARGETS = (
    Target("crypto", "plain", "per_byte", 1.05, 1.58),
    Target("crypto", "software", "per_byte", 0.12, 0.49),
    Target("packet", "plain", "per_byte", 1.05, 1.05),
    Target("packet", "software", "per_byte", 0.12, 0.35),
    Target("packet_10000", "packet", "per_byte", 1.05, 1.05),
    Target("plain", "virtio_net", "per_packet", 0.95, 0.95),
)


def _find(results, row, direction):
    for result in results:
        if result.row.name == row and result.direction == direction:
            return result
    return None


def _ratios(results):
    """(target, direction, ratio) for what was measured."""
    found = []
    for target in TARGETS:
        for direction in ("tx", "rx"):
            one, other = (_find(results, row, direction) for row in (target.row, target.against))
            if one and other:
                found.append((target, direction,
                              getattr(one, target.unit) / getattr(other, target.unit)))
    return found


def _relative(results, result, name):
    base = _find(results, result.row.beside(name), result.direction)
    return f"{result.per_byte / base.per_byte:.2f}" if base else "-"


def _idle_difference(idle):
    return abs(idle[0] - idle[1]) / max(*idle, 1.0)


def _warnings(idle, results):
    """What makes the figures less certain."""
    lines = []
    share = max(one.idle / one.phase.instructions
                for result in results for one in result.transfers)
    if _idle_difference(idle) > IDLE_AGREEMENT:
        lines.append(f"the two idle phases differ by {_idle_difference(idle):.0%}; the idle cost "
                     f"that was subtracted is at most {share:.1%} of a figure")
    lines += [f"{result.row.title}, {result.direction.upper()}: the transfers differ by "
              f"{result.spread:.0%}" for result in results if result.spread > SPREAD_LIMIT]
    for result in results:
        lost = {name: count for one in result.transfers for group in one.nic.values()
                for name, count in group.items() if "drop" in name and count}
        if lost:
            lines.append(f"{result.row.title}, {result.direction.upper()}: the NIC dropped frames, "
                         f"TCP sent them again: {lost}")
    return lines


def text(idle, results):
    """Tables for people."""
    lines = ["", "Guest instructions of bulk TCP (median; idle cost subtracted)", "",
             f"{'':<27}    {'per':>7} {'per':>8} {'per byte, times':>17}   "
             f"{'per data packet':>22}",
             f"{'':<27}    {'byte':>7} {'packet':>8} {'plain':>8} {'software':>8}   "
             f"{'interrupts':>10} {'other way':>11} {'spread':>7}"]
    for result in results:
        back = "rx" if result.direction == "tx" else "tx"
        lines.append(
            f"{result.row.title:<27} {result.direction.upper()} {result.per_byte:>7.2f} "
            f"{result.per_packet:>8.0f} {_relative(results, result, 'plain'):>8} "
            f"{_relative(results, result, 'software'):>8}   "
            f"{result.per_frame('virtio', 'interrupts'):>10.2f} "
            f"{result.per_frame('port', f'{back}_frames'):>11.2f} {result.spread:>7.1%}")
    lines += [f"{result.row.title}, {result.direction.upper()}: {result.train:.0f} packets in a "
              "train" for result in results if result.train]
    ratios = _ratios(results)
    if ratios:
        lines += ["", "Targets"]
    for target, direction, ratio in ratios:
        limit = target.limit(direction)
        verdict = "met" if ratio <= limit else "missed"
        lines.append(f"  {target.row} / {target.against}, {target.unit.replace('_', ' ')}, "
                     f"{direction.upper()}: {ratio:.2f}, target <= {limit:.2f}: "
                     f"{verdict}")
    lines += ["", f"Idle guest: {idle[0]:.0f} and {idle[1]:.0f} instructions per second."]
    lines += [f"Note: {line}." for line in _warnings(idle, results)]
    return "\n".join(lines)


def _transfer_data(one):
    return {"bytes": one.size, "instructions": one.phase.instructions,
            "string_iterations": one.phase.iterations, "idle_instructions": round(one.idle),
            "seconds": round(one.phase.seconds, 3), "trains": one.trains,
            "nic": {group: {name: count for name, count in counters.items() if count}
                    for group, counters in one.nic.items()}}


def _traffic_data(idle, results):
    return {
        "idle_instructions_per_second": [round(rate) for rate in idle],
        "idle_phases_agree": _idle_difference(idle) <= IDLE_AGREEMENT,
        "results": [{
            "row": result.row.name, "direction": result.direction,
            "instructions_per_byte": round(result.per_byte, 4),
            "instructions_per_packet": round(result.per_packet, 1),
            "spread": round(result.spread, 4),
            "transfers": [_transfer_data(one) for one in result.transfers],
        } for result in results],
        "ratios": [{
            "row": target.row, "against": target.against, "unit": target.unit,
            "direction": direction, "ratio": round(ratio, 4), "target": target.limit(direction),
            "met": ratio <= target.limit(direction),
        } for target, direction, ratio in _ratios(results)],
        "notes": _warnings(idle, results),
    }


def write(path, facts, idle, results, more):
    """The result file, complete or not at all; parts that were not measured are not in it."""
    data = {"format": FORMAT, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "setting": facts}
    if results:
        data |= _traffic_data(idle, results)
    data |= {name: part.data() for name, part in more.items() if part}
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".tmp")
    half.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    half.rename(path)
