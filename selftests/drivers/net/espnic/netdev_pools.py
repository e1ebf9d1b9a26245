#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The page pools of receive queues, by netlink: which there are, whose, and how pages come back."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netdevnl, netif, proc, traffic  # noqa: E402

RING_RESET = 40
LOOPBACK = "127.0.0.1"
PINGS = 200
HELD = 8
SMALL_RING = 64
RESET_TIME = 15.0
PAGES_TIME = 10.0  # the kernel looks once a second whether all are back


def _family(ns):
    family = netdevnl.Netdev(ns)
    ktap.defer(family.close)
    return family


def _ifindex(cfg):
    return json.loads(cfg.dut.cmd("ip", "-j", "link", "show", "dev", cfg.netif))[0]["ifindex"]


def _all_back(cfg, family):
    """Wait until no pool of the namespace is left. A packet that was read on another processor than
    it came to waits there for the next packet."""
    def look():
        mine = os.sched_getaffinity(0)
        try:
            for cpu in mine:
                os.sched_setaffinity(0, {cpu})
                traffic.ping(cfg.dut, LOOPBACK, LOOPBACK)
        finally:
            os.sched_setaffinity(0, mine)
        return not family.pools()

    proc.wait_until(look, "all pages come back", PAGES_TIME)


def _need_ring_reset(cfg):
    if not netif.has_feature(cfg.device, RING_RESET):
        raise ktap.Skip(f"{cfg.netif} cannot reset single queues, and keeps its buffers")


def _small_ring(cfg):
    """A small receive ring for the rest of the case."""
    text = cfg.dut.cmd("ethtool", "-g", cfg.netif)
    before = text.rpartition("RX:")[2].split()[0]  # the later one is the present one
    ktap.defer(cfg.dut.run, "ethtool", "-G", cfg.netif, "rx", before)
    cfg.dut.cmd("ethtool", "-G", cfg.netif, "rx", str(SMALL_RING))


def _in_use(pools):
    return [pool for pool in pools if "detach-time" not in pool]


def _one_each(cfg, family):
    """Each receive queue in use has one pool, of its own context; there are no others. Returns the
    ids."""
    index = _ifindex(cfg)
    contexts = {number: napi for (way, number), napi in family.queues(index).items() if way == "rx"}
    ktap.at_least(len(contexts), 1, "receive queues")
    pools = _in_use(family.pools(index))
    ktap.equal(sorted(pool.get("napi-id", 0) for pool in pools), sorted(contexts.values()),
               "contexts of the pools")
    ktap.equal({pool["ifindex"] for pool in pools}, {index}, "interfaces of the pools")
    ktap.check(all(pool["inflight"] for pool in pools), f"a pool without pages: {pools}")
    return {pool["id"] for pool in pools}


def _exchange(cfg):
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4)
    traffic.tcp(cfg.peer, env.PEER4, cfg.dut, env.DUT4)


def one_for_each_queue(cfg):
    """With any number of channels each one in use has a pool, and the others have none."""
    family = _family(cfg.dut)
    count = len(_one_each(cfg, family))
    if count < 2:
        raise ktap.Skip(f"{cfg.netif} has a single queue pair in use")
    _need_ring_reset(cfg)
    ktap.defer(cfg.dut.run, "ethtool", "-L", cfg.netif, "combined", str(count))
    for now in (1, count):
        cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(now))
        ktap.equal(len(_one_each(cfg, family)), now, "pools")
        _exchange(cfg)


def kept(cfg):
    """Other rings and a reset of the NIC leave the pools."""
    _need_ring_reset(cfg)
    family = _family(cfg.dut)
    before = _one_each(cfg, family)
    _small_ring(cfg)
    ktap.equal(_one_each(cfg, family), before, "pools with small rings")
    _exchange(cfg)
    if cfg.control:
        cfg.reset(RESET_TIME)
        ktap.equal(_one_each(cfg, family), before, "pools after a reset")
        _exchange(cfg)


def none_while_down(cfg):
    """An interface that is down has no pools; up again it has new ones. All pages come back."""
    family, index = _family(cfg.dut), _ifindex(cfg)
    _need_ring_reset(cfg)
    before = _one_each(cfg, family)
    _exchange(cfg)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(_in_use(family.pools(index)), [], "pools while the link is down")
    _all_back(cfg, family)
    _small_ring(cfg)
    ktap.equal(family.pools(index), [], "pools after a change of rings")
    cfg.configure()
    ktap.equal(_one_each(cfg, family) & before, set(), "old pools")
    _exchange(cfg)


def moved(cfg):
    """In another namespace the interface has its pools there, and leaves none behind."""
    _need_ring_reset(cfg)
    _one_each(cfg, _family(cfg.dut))
    old = _family(cfg.dut)
    with cfg.other_namespace():
        cfg.configure()
        _one_each(cfg, _family(cfg.dut))
        ktap.equal(_in_use(old.pools()), [], "pools in the old namespace")
    _one_each(cfg, _family(cfg.dut))


def back_at_once(cfg):
    """Pages of packets that end in the run that received them come back, and without the pool's
    ring, if the kernel counts that."""
    family, index = _family(cfg.dut), _ifindex(cfg)
    _one_each(cfg, family)

    def counted():
        total = {}
        for pool in _in_use(family.pools(index)):
            shown = family.pool_stats(pool["id"]) | {"inflight": pool["inflight"]}
            for name, value in shown.items():
                total[name] = total.get(name, 0) + value
        return total

    before = counted()
    # the stack answers in the softirq, and frees the request there
    traffic.ping(cfg.peer, env.PEER4, env.DUT4, [1000] * PINGS)
    after = counted()
    grown = {name: after[name] - before[name] for name in after}
    ktap.diag(grown)
    # two packets to a page; a pool may get 64 new ones at a time, which count as used
    ktap.check(grown["inflight"] < PINGS // 2, "pages do not come back")
    if "recycle-ring" in grown:
        # other packets, and those that end on another CPU, are few
        ktap.at_least(grown["recycle-cached"], PINGS // 4, "pages that came back at once")
        ktap.check(grown["recycle-ring"] < PINGS // 4, "pages came back by the ring")


def _held(cfg, away):
    """Received packets that nobody has read outlive the interface; their pool waits for them."""
    family = _family(cfg.dut)
    _one_each(cfg, family)
    link = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(link.close)
    for number in range(HELD):
        link.send_now(bytes([number]) * 1000)
    index = _ifindex(cfg)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4)
    with away():
        left = family.pools()
        ktap.at_least(sum(pool["inflight"] for pool in left), 1, "pages in use")
        for pool in left:
            ktap.check("detach-time" in pool, f"a pool has not ended: {pool}")
            ktap.check("ifindex" not in pool, f"a pool has an interface: {pool}")
        ktap.equal(family.pools(index), [], "pools of the interface")
        for number in range(HELD):
            ktap.equal(link.receive(), bytes([number]) * 1000, "datagram")
        _all_back(cfg, family)
    _one_each(cfg, _family(cfg.dut))
    _exchange(cfg)


def held_without_driver(cfg):
    """As long as a socket has packets of an interface whose driver was unbound, their pool stays,
    and nothing else."""
    _held(cfg, cfg.driver_away)


def held_without_module(cfg):
    """The same after the module was unloaded."""
    _held(cfg, cfg.module_away)


CASES = [one_for_each_queue, kept, none_while_down, moved, back_at_once, held_without_driver,
         held_without_module]

if __name__ == "__main__":
    ktap.main(CASES, env.Setup)
