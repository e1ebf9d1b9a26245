#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Counters of queues, and which NAPI context serves which queue, by netlink.

The oracles are `ip -s link`, `ethtool -S` and the number of packets that were sent.
"""

import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netdevnl, proc, rings, traffic  # noqa: E402

BASIC = ["rx-packets", "rx-bytes", "tx-packets", "tx-bytes"]
# as ethtool -S has them
NAMES = {"rx-alloc-fail": "rx_no_buffer", "rx-csum-unnecessary": "rx_csum_unnecessary",
         "rx-csum-none": "rx_csum_none", "rx-hw-gro-packets": "rx_gso_packets",
         "rx-hw-gro-wire-packets": "rx_gso_wire_packets", "tx-csum-none": "tx_csum_none",
         "tx-needs-csum": "tx_needs_csum", "tx-hw-gso-packets": "tx_tso_packets",
         "tx-hw-gso-wire-packets": "tx_tso_wire_packets", "tx-stop": "tx_stopped",
         "tx-wake": "tx_woken"}
PINGS = 20
STREAM = 1 << 20
RESET_TIME = 15.0
SMALL_RING = 64


def _family(cfg):
    family = netdevnl.Netdev(cfg.dut)
    ktap.defer(family.close)
    return family


def _ifindex(cfg):
    return json.loads(cfg.dut.cmd("ip", "-j", "link", "show", "dev", cfg.netif))[0]["ifindex"]


def _link(cfg):
    """rx-packets and so on of `ip -s link`."""
    stats = json.loads(cfg.dut.cmd("ip", "-s", "-j", "link", "show", "dev", cfg.netif))
    return {f"{way}-{unit}": stats[0]["stats64"][way][unit]
            for way in ("rx", "tx") for unit in ("packets", "bytes")}


def _exchange(cfg):
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * PINGS)
    traffic.tcp(cfg.dut, env.DUT6, cfg.peer, env.PEER6, STREAM)


def _channels(cfg, count):
    cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(count))


def _need_queues(cfg, family):
    queues = family.queues(_ifindex(cfg))
    count = len(queues) // 2
    if count < 2:
        raise ktap.Skip(f"{cfg.netif} has a single queue pair in use")
    return count


def _agree(cfg, family):
    """All counters of the interface are those of `ip` and `ethtool`, and the sum of its queues and
    of what the unused ones have counted."""
    index = _ifindex(cfg)
    proc.wait_until(lambda: _link(cfg) == {name: family.stats(index)[name] for name in BASIC},
                    "netlink and `ip -s link` agree")
    all_of_it, driver = family.stats(index), cfg.driver_counters()
    for name, shown in NAMES.items():
        ktap.equal(all_of_it[name], driver[shown], f"{name} and ethtool -S {shown}")
    return all_of_it


def interface(cfg):
    """The counters of the interface, and what traffic adds to them."""
    family = _family(cfg)
    before = _agree(cfg, family)
    _exchange(cfg)
    after = _agree(cfg, family)
    grown = {name: after[name] - before[name] for name in after}
    ktap.diag(grown)
    for way in ("rx", "tx"):
        ktap.at_least(grown[f"{way}-packets"], PINGS, f"{way}-packets")
    ktap.equal(grown["rx-csum-unnecessary"] + grown["rx-csum-none"], grown["rx-packets"],
               "checksums of received packets")
    ktap.equal(grown["tx-needs-csum"] + grown["tx-csum-none"], grown["tx-packets"],
               "checksums of sent packets")
    ktap.at_least(grown["tx-needs-csum"], 1, "tx-needs-csum")
    ktap.at_least(grown["tx-hw-gso-packets"], 1, "tx-hw-gso-packets")
    ktap.at_least(grown["tx-hw-gso-wire-packets"], 2 * grown["tx-hw-gso-packets"],
                  "tx-hw-gso-wire-packets")
    ktap.equal(grown["rx-alloc-fail"], 0, "rx-alloc-fail")


def queues(cfg):
    """The counters of queues make up those of the interface, also of queues that are not in use any
    more."""
    family = _family(cfg)
    count, index = _need_queues(cfg, family), _ifindex(cfg)
    ktap.defer(_channels, cfg, count)
    _exchange(cfg)
    each = family.queue_stats(index)
    ktap.equal(sorted(each), [(way, n) for way in ("rx", "tx") for n in range(count)], "queues")
    total = _agree(cfg, family)
    for name in BASIC:
        of_queues = sum(one.get(name, 0) for one in family.queue_stats(index).values())
        ktap.check(of_queues <= total[name], f"{name}: {of_queues} in queues of {total[name]}")
    _channels(cfg, 1)
    ktap.equal(sorted(family.queue_stats(index)), [("rx", 0), ("tx", 0)], "queues in use")
    fewer = _agree(cfg, family)
    for name in BASIC:
        ktap.at_least(fewer[name], total[name], name)
    _exchange(cfg)
    _agree(cfg, family)


def never_backwards(cfg):
    """Link down, a reset and smaller rings take nothing away."""
    family = _family(cfg)
    _exchange(cfg)
    ktap.defer(cfg.configure)
    before = _agree(cfg, family)

    def down():
        cfg.dut.ip(f"link set {cfg.netif} down")
        ktap.equal(family.queue_stats(_ifindex(cfg)), {}, "queues while the link is down")

    def reset():
        cfg.need_request("reset")
        cfg.reset(RESET_TIME)

    for action in (down, cfg.configure, reset, lambda: rings.resize(cfg, SMALL_RING)):
        action()
        after = _agree(cfg, family)
        for name, value in before.items():
            ktap.at_least(after[name], value, name)
        before = after


def full_queue(cfg):
    """A ring that is full stops the stack, and starts it again: both are counted."""
    cfg.need_request("misbehave", "stall")
    family, index = _family(cfg), _ifindex(cfg)
    rings.shrink(cfg, SMALL_RING)
    link = traffic.Datagrams(cfg.dut, env.DUT6, cfg.peer, env.PEER6)
    ktap.defer(link.close)
    before = family.stats(index)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    for _ in range(4 * SMALL_RING):
        link.send_now(b"espnic")
    ktap.at_least(family.stats(index)["tx-stop"] - before["tx-stop"], 1, "tx-stop")
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 0)

    def balanced():
        now = family.stats(index)
        stops, wakes = (now[name] - before[name] for name in ("tx-stop", "tx-wake"))
        return stops == wakes and stops

    proc.wait_until(balanced, "each stop has its wake")
    _exchange(cfg)


def contexts(cfg):
    """Each queue names its NAPI context, a pair the same one; there is none while the link is
    down."""
    family, index = _family(cfg), _ifindex(cfg)
    count = len(family.queues(index)) // 2
    ktap.defer(cfg.configure)
    ktap.defer(_channels_again, cfg, count)
    wanted = [count, 1, count] if count > 1 else [count]
    for now in wanted:
        if len(family.queues(index)) // 2 != now:
            _channels(cfg, now)
        found = family.queues(index)
        ktap.equal(sorted(found), [(way, n) for way in ("rx", "tx") for n in range(now)],
                   "queues")
        ids = {one["id"] for one in family.napis(index)}
        for number in range(now):
            pair = {found[("rx", number)], found[("tx", number)]}
            ktap.check(len(pair) == 1 and pair <= ids, f"contexts {pair} of pair {number}")
        ktap.equal(len({found[("rx", number)] for number in range(now)}), now, "contexts")
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(family.queues(index), {}, "queues while the link is down")
    cfg.configure()
    ktap.equal(None in family.queues(index).values(), False, "queues without a context")


def _channels_again(cfg, count):
    if len(_family(cfg).queues(_ifindex(cfg))) // 2 not in (0, count):
        _channels(cfg, count)


def _interrupts(number):
    """How often an interrupt came, and its name."""
    for line in Path("/proc/interrupts").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[:1] == [f"{number}:"]:
            return sum(int(word) for word in words[1:] if word.isdigit()), words[-1]
    raise ktap.Failure(f"no interrupt {number}")


def interrupts(cfg):
    """Each context names the interrupt of its receive queue, also after a reset of the NIC, and
    who chooses the interrupt's CPU is not overruled when the number of channels changes."""
    cfg.need_request("reset")
    family, index = _family(cfg), _ifindex(cfg)
    count = _need_queues(cfg, family)
    ktap.defer(_channels_again, cfg, count)
    for after_reset in (False, True):
        if after_reset:
            cfg.reset(RESET_TIME)
        numbers = {one["id"]: one.get("irq") for one in family.napis(index)}
        found = family.queues(index)
        names = {}
        for number in range(count):
            irq = numbers[found[("rx", number)]]
            ktap.check(irq is not None, f"queue {number} has no interrupt")
            names[irq] = _interrupts(irq)
            ktap.check(names[irq][1].endswith(f"-input.{number}"),
                       f"queue {number} has the interrupt of {names[irq][1]}")
        ktap.equal(len(names), count, "interrupts")
        _exchange(cfg)
        ktap.check(any(_interrupts(irq)[0] > before for irq, (before, _) in names.items()),
                   "no interrupt came")
    affinity = Path(f"/proc/irq/{irq}/smp_affinity_list")
    before = affinity.read_text(encoding="ascii").strip()
    ktap.defer(affinity.write_text, before, "ascii")
    affinity.write_text("0", "ascii")
    for now in (1, count):
        _channels(cfg, now)
    ktap.equal(affinity.read_text(encoding="ascii").strip(), "0", "CPU of the interrupt")


def read_under_traffic(cfg):
    """Counters that are read all the time only grow, while traffic and changes of channels go
    on."""
    family, index = _family(cfg), _ifindex(cfg)
    count, stop, fell = _need_queues(cfg, family), threading.Event(), []
    ktap.defer(_channels_again, cfg, count)

    def read():
        own = netdevnl.Netdev(cfg.dut)
        last = own.stats(index)
        while not stop.is_set():
            now = own.stats(index)
            fell.extend(name for name in last if now[name] < last[name])
            last = now
        own.close()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for number in (1, count, 1, count):
        if len(family.queues(index)) // 2 != number:
            _channels(cfg, number)
        _exchange(cfg)
    stop.set()
    reader.join()
    ktap.equal(fell, [], "counters that fell")


CASES = [interface, queues, never_backwards, full_queue, contexts, interrupts, read_under_traffic]

if __name__ == "__main__":
    ktap.main(CASES, env.Setup)
