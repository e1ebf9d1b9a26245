#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Byte queue limits: packets wait in the stack while the NIC has enough, and nothing that takes
packets out of a ring makes the stack wait for them.

The NIC stops sending, so that a queue fills up to its limit; then the driver empties the rings or
leaves them as they are. A queue whose account is wrong afterwards is stopped for good.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netif, proc, rings, traffic, xfrm  # noqa: E402

DATA = b"espnic" * 200
FLOOD = 60  # datagrams
LIMIT = 4000  # bytes
FRAME = 1514
RESET_TIME = 15.0
STREAM = 256 * 1024
SMALL_RING = 64


def _stall(cfg, on):
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", int(on))


def _link(cfg):
    link = traffic.Datagrams(cfg.dut, env.DUT6, cfg.peer, env.PEER6)
    ktap.defer(link.close)
    return link


def _fill(cfg, link):
    """The NIC sends nothing, and a queue has reached its limit; returns how many datagrams were
    sent."""
    _stall(cfg, True)
    ktap.defer(_stall, cfg, False)
    sent = sum(link.send_now(DATA) for _ in range(FLOOD))
    ktap.check(sum(rings.inflight(cfg)) > 0, "nothing is in a queue")
    return sent


def _goes_on(cfg):
    """All queues are empty, and stay in use."""
    proc.wait_until(lambda: sum(rings.inflight(cfg)) == 0, "the queues become empty")
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, [56, 1000] * 5)
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
    proc.wait_until(lambda: sum(rings.inflight(cfg)) == 0, "the queues are empty after traffic")


def limit_holds(cfg):
    """No more than the limit, and the packet that reaches it, goes to the NIC; the rest waits
    in a queueing discipline, which may drop some after that."""
    cfg.need_request("misbehave", "stall")
    link = _link(cfg)
    rings.limit(cfg, rings.MAX, LIMIT)
    before = cfg.driver_counters()
    sent = _fill(cfg, link)
    time.sleep(env.SETTLE)
    inside = rings.inflight(cfg)
    ktap.diag(f"bytes in the queues: {inside}")
    ktap.check(max(inside) <= LIMIT + FRAME, "more than the limit")
    given = cfg.driver_counters()["tx_bytes"] - before["tx_bytes"]
    ktap.equal(given, sum(inside), "bytes given to the NIC")
    _stall(cfg, False)
    arrived = []
    proc.wait_until(lambda: arrived.append(link.drain()) or sum(arrived) >= sent // 2,
                    "the datagrams arrive")
    _goes_on(cfg)
    after = cfg.driver_counters()
    for name in ("tx_dropped", "tx_timeouts"):
        ktap.equal(after[name], before[name], name)


def _down_and_up(cfg):
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()


def _channels(cfg):
    text = cfg.dut.cmd("ethtool", "-l", cfg.netif)
    now = text.rpartition("Combined:")[2].split()[0]
    if now == "1":
        raise ktap.Skip(f"{cfg.netif} has a single queue pair in use")
    for count in ("1", now):
        cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", count)


def _need_reset(cfg):
    cfg.reset(RESET_TIME)


def _function_reset(cfg):
    path = netif.reset_file(cfg.device)
    if not path:
        raise ktap.Skip(f"the function of {cfg.netif} cannot be reset")
    proc.write_file(path, "1")


def _nothing_left(cfg, action):
    cfg.need_request("misbehave", "stall", "reset")
    with traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4):
        _fill(cfg, _link(cfg))
        action(cfg)
        _stall(cfg, False)
        cfg.control.request("fault", cfg.nic, "clear")
    _goes_on(cfg)


def link_down(cfg):
    """The link goes down and up while the NIC has packets."""
    ktap.defer(cfg.configure)
    _nothing_left(cfg, _down_and_up)


def channels(cfg):
    """`ethtool -L`: packets stay in the rings of queues that are not in use any more."""
    _nothing_left(cfg, _channels)


def smaller_rings(cfg):
    """`ethtool -G`: packets in the ring are lost."""
    _nothing_left(cfg, lambda cfg: rings.resize(cfg, SMALL_RING))


def requested_reset(cfg):
    """The NIC asks for a reset."""
    _nothing_left(cfg, _need_reset)


def function_reset(cfg):
    """The PCI function is reset."""
    _nothing_left(cfg, _function_reset)


def encrypted(cfg):
    """Packets to be encrypted, segments inside of ESP included, are accounted for as they were
    given to the NIC."""
    cfg.need_offload()
    esp.protect(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    _goes_on(cfg)


def dropped_are_not_counted(cfg):
    """Packets that the driver drops are not in a queue: the peer gets nothing in clear, and the
    queues are empty."""
    cfg.need_offload()
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    with traffic.Pour(cfg.dut, env.DUT4, cfg.peer, env.PEER4):
        time.sleep(env.SETTLE)
        cfg.dut.cmd("ip", "xfrm", "state", "flush")
    xfrm.flush(cfg.dut, cfg.peer)
    _goes_on(cfg)


CASES = [limit_holds, link_down, channels, smaller_rings, requested_reset, function_reset,
         encrypted, dropped_are_not_counted]

if __name__ == "__main__":
    ktap.main(CASES, env.Setup)
