# SPDX-License-Identifier: GPL-2.0
"""SAs and policies in bulk: how quickly `ip -batch` adds them, and how much memory they take.

Measured in the guest that runs without the plugin for counting, which would slow it down.
"""

import dataclasses
import re
import statistics
import time

from .common import SAS, BenchError
from .measure import NETIF, OFFLOAD, env, policy_lines, xfrm

MOST = 2 * SAS
PAGE = 4096
SETTLE_SECONDS = 1.0
EMPTY_SECONDS = 30
# The SAs of a table are added, and the time is taken, in so many steps of equal size: a step that
# was held up by something else on the machine does not move the median.
STEPS = 8
# The time is taken by the shell itself: starting a program would be part of it.
TIMED = ("for file in /tmp/batch-{subject}-{kind}.*; do begin=$EPOCHREALTIME; "
         "ip -batch $file || exit; end=$EPOCHREALTIME; "
         "echo $(( ${{end/./}} - ${{begin/./}} )); done")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is added."""

    name: str
    title: str
    one: str
    rate_target: float | None = None  # offloaded per second / in software per second
    memory_target: int | None = None  # bytes


CRYPTO = Subject("states", "SAs in crypto offload", "SA", 0.60, 1331)
PACKET = Subject("packet_states", "SAs in packet offload", "SA")
POLICIES = Subject("policies", "policies", "policy")
SUBJECTS = (CRYPTO, PACKET, POLICIES)


@dataclasses.dataclass(frozen=True)
class Fill:
    """One table of SAs, made from an empty one."""

    seconds: tuple  # of each step
    guest: int  # bytes of the guest kernel's memory, above those of the empty table
    device: int  # the same for the NIC process


@dataclasses.dataclass
class States:
    """What was measured; fills are in the order of time, one of each kind per round."""

    subject: Subject
    count: int
    fills: dict  # "nic" and "stack" to a list of fills
    engine: float | None = None  # bytes per SA in the engine, as espnic-bench-engine says

    def rate(self, kind):
        """Additions per second, the median of all steps."""
        return self.count / STEPS / statistics.median(
            step for fill in self.fills[kind] for step in fill.seconds)

    @property
    def rate_ratio(self):
        """Rate of offloaded ones divided by that of those in software."""
        return self.rate("nic") / self.rate("stack")

    @property
    def best_ratio(self):
        """The same of the quickest step of each kind, which other load disturbed least."""
        stack, nic = (min(step for fill in self.fills[kind] for step in fill.seconds)
                      for kind in ("stack", "nic"))
        return stack / nic

    @property
    def round_ratios(self):
        """The same for each round."""
        return [statistics.median(stack.seconds) / statistics.median(nic.seconds)
                for nic, stack in zip(self.fills["nic"], self.fills["stack"], strict=True)]

    @property
    def driver(self):
        """Bytes each that offloading takes in the guest, the largest of all rounds."""
        return max(nic.guest - stack.guest for nic, stack in
                   zip(self.fills["nic"], self.fills["stack"], strict=True)) / self.count

    @property
    def process(self):
        """Bytes each in the NIC process; the first fill counts, later ones find free memory."""
        return self.fills["nic"][0].device / self.count

    @property
    def memory(self):
        """Bytes each in all; the larger of the NIC's two figures counts."""
        return self.driver + max(self.process, self.engine or 0)

    def _verdicts(self):
        """For the rate and for the memory."""
        rate, memory = self.subject.rate_target, self.subject.memory_target
        for target, words, good in (
                (rate, f"target >= {rate or 0:.2f}", self.rate_ratio >= (rate or 0)),
                (memory, f"target <= {memory}", self.memory <= (memory or 0))):
            yield "for the record" if target is None else f"{words}: {('missed', 'met')[good]}"

    def text(self):
        """Tables for people."""
        stack = statistics.median(fill.guest for fill in self.fills["stack"]) / self.count
        rate, memory = self._verdicts()
        engine = "not measured" if self.engine is None else f"{self.engine:.0f} bytes"
        return "\n".join([
            "", f"{self.subject.title} in bulk: {self.count}, one half in each direction "
            f"({len(self.fills['nic'])} times, from an empty table)",
            f"  added per second: {self.rate('nic'):.0f} offloaded, {self.rate('stack'):.0f} in "
            "software",
            f"  offloaded / software: {self.rate_ratio:.2f} (single rounds "
            f"{min(self.round_ratios):.2f} to {max(self.round_ratios):.2f}, "
            f"quickest steps {self.best_ratio:.2f}), {rate}",
            f"  memory per {self.subject.one}: driver {self.driver:.0f} bytes, NIC process "
            f"{self.process:.0f} bytes (engine alone: {engine})",
            f"  in all {self.memory:.0f} bytes, {memory}; "
            f"the stack's own: {stack:.0f} bytes"])

    def data(self):
        """For the result file."""
        rate, memory = self.subject.rate_target, self.subject.memory_target
        return {
            "count": self.count,
            "adds_per_second": {kind: round(self.rate(kind), 1) for kind in self.fills},
            "rate_ratio": round(self.rate_ratio, 4), "rate_target": rate,
            "rate_met": rate and self.rate_ratio >= rate,
            "rate_ratio_quickest": round(self.best_ratio, 4),
            "round_ratios": [round(ratio, 4) for ratio in self.round_ratios],
            "bytes_each": {"driver": round(self.driver, 1), "process": round(self.process, 1),
                           "engine": self.engine, "sum": round(self.memory, 1)},
            "memory_target": memory, "memory_met": memory and self.memory <= memory,
            "fills": {kind: [dataclasses.asdict(fill) for fill in fills]
                      for kind, fills in self.fills.items()},
        }


def kernel_memory(slabinfo, meminfo):
    """Bytes in use by a kernel: slab objects, larger allocations, vmalloc, per-CPU memory."""
    objects = pages = 0
    for line in slabinfo.splitlines():
        numbers = re.match(r"\S+ +(\d+) +\d+ +(\d+) +\d+ +(\d+) :.*: slabdata +\d+ +(\d+)", line)
        if numbers:
            active, size, per_slab, slabs = map(int, numbers.groups())
            objects += active * size
            pages += slabs * per_slab
    kib = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", meminfo, re.M)}
    if not objects:
        raise BenchError("the guest's /proc/slabinfo cannot be read")
    # What kmalloc takes from the page allocator directly is part of Slab, but of no cache.
    large = kib["Slab"] * 1024 - pages * PAGE
    return objects + large + (kib["VmallocUsed"] + kib["Percpu"]) * 1024


def lines(subject, count, kind):
    """Arguments of `ip`, every other one inbound, each with an address of its own."""
    words = OFFLOAD["crypto" if subject is CRYPTO else "packet"].format(netif=NETIF)
    if kind == "stack":
        words = ""
    if subject is POLICIES:
        return list(policy_lines(count, words))
    return list(_sa_lines(count, words))


def _sa_lines(count, words):
    for number in range(count):
        far = f"198.18.{number >> 8}.{number & 255}"
        way = ("out", "in")[number & 1]
        ends = (env.PEER4, far) if way == "out" else (far, env.PEER4)
        sa = xfrm.Sa(*ends, xfrm.new_spi(), xfrm.new_key(128), reqid=number + 1)
        window = "replay-window 32 " if way == "in" else ""
        yield sa.add(window + (f"{words} dir {way}" if words else ""))


def prove(kind, count, driver, nic):
    """Raise unless all SAs, or none, were put into the NIC, by its own count and the driver's."""
    wanted = count if kind == "nic" else 0
    found = {"driver added": driver["ipsec_sa_added"], "driver refused": driver["ipsec_sa_refused"],
             "NIC has": nic["ipsec_sa_in"] + nic["ipsec_sa_out"]}
    if found != {"driver added": wanted, "driver refused": 0, "NIC has": wanted}:
        raise BenchError(f"{count} SAs were added, {wanted} of them offloaded, but {found}")


class Bulk:
    """Measures in the guest named peer."""

    def __init__(self, machine, deadline):
        self._m, self._deadline = machine, deadline

    def measure(self, subject, count, rounds):
        """Tables of COUNT, offloaded and in software by turns."""
        for kind in ("nic", "stack"):
            text = [line + "\n" for line in lines(subject, count, kind)]
            for step in range(STEPS):
                piece = text[step * count // STEPS:(step + 1) * count // STEPS]
                path = self._m.peer_folder / f"batch-{subject.name}-{kind}.{step}"
                path.write_text("".join(piece), encoding="ascii")
            self._m.peer.run(f"cp /host/batch-{subject.name}-{kind}.* /tmp")
        self._fill(subject, "stack", count)  # the kernel's hash tables grow, and stay
        fills = {"nic": [], "stack": []}
        for number in range(rounds):
            for kind in ("nic", "stack") if number % 2 == 0 else ("stack", "nic"):
                fill = self._fill(subject, kind, count)
                fills[kind].append(fill)
                self._deadline.say(f"{count} {subject.title}, {kind}, {number + 1}/{rounds}: "
                                   f"{sum(fill.seconds):.2f} s, guest {fill.guest / count:.0f} and "
                                   f"device {fill.device / count:.0f} bytes each")
        self._m.peer.run(f"rm /tmp/batch-{subject.name}-*")
        return States(subject, count, fills)

    def _fill(self, subject, kind, count):
        self._deadline.left()
        guest, device, counters = self._memory(), self._m.device_memory(), self._counters()
        micros = self._m.peer.run(TIMED.format(subject=subject.name, kind=kind)).split()
        after = self._counters()
        if subject is POLICIES:
            self._prove_policies(kind, count)
        else:
            prove(kind, count, {name: after[name] - counters[name] for name in after}, self._nic())
        time.sleep(SETTLE_SECONDS)
        fill = Fill(tuple(int(step) / 1e6 for step in micros), self._memory() - guest,
                    self._m.device_memory() - device)
        self._empty()
        return fill

    def _prove_policies(self, kind, count):
        found = self._m.peer.run("ip xfrm policy list | grep -c 'mode packet'; true")
        if int(found) != (count if kind == "nic" else 0):
            raise BenchError(f"{count} policies were added, of {kind}, but {found} are offloaded")

    def _memory(self):
        return kernel_memory(self._m.peer.run("cat /proc/slabinfo"),
                             self._m.peer.run("cat /proc/meminfo"))

    def _counters(self):
        text = self._m.peer.run(f"ethtool -S {NETIF}")
        return {name: int(value) for name, value in re.findall(r"(ipsec_sa_\w+): (\d+)", text)}

    def _nic(self):
        return self._m.control.stats("peer")["ipsec"]

    def _empty(self):
        """Delete all, and wait until that is done, for it goes on behind the command."""
        self._m.peer.ip("xfrm policy flush", "xfrm state flush")
        end = time.monotonic() + EMPTY_SECONDS
        while self._nic()["ipsec_sa_in"] + self._nic()["ipsec_sa_out"]:
            if time.monotonic() > end:
                raise BenchError(f"the NIC still has SAs {EMPTY_SECONDS} s after their deletion")
            time.sleep(0.1)
        time.sleep(SETTLE_SECONDS)
