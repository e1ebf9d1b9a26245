#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A NIC that does not send: the stack's watchdog finds it, and the driver gets it going again.

The watchdog looks at a transmit queue that is full after five seconds. The first time the driver
only looks by itself, which makes up for a lost interrupt; if nothing has been sent by the next
time, it resets the NIC.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, pace, packet, proc, rings, traffic  # noqa: E402

RING = 64
FLOOD = 4 * RING
SILENT = 1 << 20  # more than a ring has packets
WATCHDOG = 5.0
GRACE = 15.0  # for a busy machine
RENEWALS = 50
WAIT = 0.02  # the driver's longest one
SENT = 5
OTHERS = 3  # what the stack may send meanwhile, to find its neighbour


class Flood:
    """Datagrams without replies, more than a ring holds; what does not fit waits in the stack. The
    stack's own limit is out of the way."""

    def __init__(self, cfg):
        self._cfg = cfg
        rings.shrink(cfg, RING)
        self._links = [traffic.Datagrams(cfg.dut, env.DUT6, cfg.peer, env.PEER6)
                       for _ in range(4)]
        for link in self._links:
            ktap.defer(link.close)

    def start(self):
        """Fill the ring."""
        for number in range(FLOOD):
            self._links[number % len(self._links)].send_now(b"espnic")

    def received(self):
        """How many came since the last call."""
        return sum(link.drain() for link in self._links)

    def all_received(self):
        """How many came, when nothing waits any more: what comes later would be taken for a leak.

        A ring that was filled again before the NIC's fault was over waits for one more look of the
        watchdog.
        """
        proc.wait_until(lambda: rings.waiting(self._cfg) == 0, "the flood is over",
                        2 * WATCHDOG + GRACE)
        time.sleep(env.SETTLE)
        return self.received()


def _works(cfg, flow):
    traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56] * 3)
    esp.exercise(cfg, flow, [56], 4096)


def lost_interrupts(cfg):
    """The ring is full, and no interrupt tells when it was sent: after the watchdog traffic goes
    on, without a reset."""
    cfg.need_request("misbehave", "stall", "silent")
    flow, flood = esp.direct(), Flood(cfg)
    esp.protect(cfg, flow)
    before, resets = cfg.driver_counters(), cfg.resets()
    cfg.control.fault(cfg.nic, "misbehave", "tx", "silent", SILENT)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    flood.start()
    time.sleep(env.SETTLE)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 0)  # sends all of it, and says nothing
    proc.wait_until(lambda: cfg.driver_counters()["tx_timeouts"] > before["tx_timeouts"],
                    "the watchdog", WATCHDOG + GRACE)
    cfg.control.request("fault", cfg.nic, "clear")
    time.sleep(env.SETTLE)
    ktap.at_least(flood.all_received(), RING, "datagrams received")
    _works(cfg, flow)
    ktap.equal(cfg.resets(), resets, "resets")


def stalled(cfg):
    """The NIC takes nothing from the ring any more: it is reset, and what was in the ring is
    counted."""
    cfg.need_request("misbehave", "stall")
    flow, flood = esp.direct(), Flood(cfg)
    esp.protect(cfg, flow)
    before, resets = cfg.driver_counters(), cfg.resets()
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    flood.start()
    proc.wait_until(lambda: cfg.resets() > resets, "the driver resets the NIC",
                    2 * WATCHDOG + GRACE)
    after = cfg.driver_counters()
    ktap.at_least(after["tx_timeouts"] - before["tx_timeouts"], 2, "tx_timeouts")
    ktap.at_least(after["tx_dropped"] - before["tx_dropped"], RING // 2, "tx_dropped")
    ktap.equal(cfg.resets() - resets, 1, "resets")
    flood.all_received()
    _works(cfg, flow)


def reset_counts_what_is_lost(cfg):
    """At a reset, and when a ring is resized, packets in it are lost, and counted."""
    cfg.need_request("misbehave", "stall", "reset")
    flood = Flood(cfg)
    for action in ("reset", "resize"):
        before = cfg.driver_counters()
        cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
        pinger = traffic.Pinger(cfg.dut, env.DUT6, env.PEER6)
        ktap.defer(pinger.close)
        for _ in range(SENT):
            pinger.send(b"espnic")
        if action == "resize":
            cfg.dut.cmd("ethtool", "-G", cfg.netif, "tx", str(2 * RING))
        cfg.reset(GRACE)
        after = cfg.driver_counters()
        lost = after["tx_dropped"] - before["tx_dropped"]
        ktap.at_least(lost, SENT, f"tx_dropped after a {action}")
        ktap.check(lost <= SENT + OTHERS, f"{lost} lost packets after a {action}")
        ktap.equal(flood.received(), 0, "datagrams received")
    traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56] * 3)


def _renewals(cfg, flow):
    """The seconds that it takes to add SAs, each after the one before was deleted."""
    lines = []
    for _ in range(RENEWALS):
        sa = flow.new_sa(outbound=True)
        lines += [sa.add(packet.offload(cfg, "out")), sa.delete()]
    start = time.monotonic()
    cfg.dut.ip(*lines)
    return time.monotonic() - start


def lost_packets_are_not_waited_for(cfg):
    """The driver waits a moment for what was sent before it destroys an SA. What is lost when a
    ring is resized is never sent, and not waited for."""
    cfg.need_request("misbehave", "stall")
    flow = esp.inner4(outer=4, reqid=77)
    before, ring = _renewals(cfg, flow), Flood(cfg)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    pinger = traffic.Pinger(cfg.dut, env.DUT6, env.PEER6)
    ktap.defer(pinger.close)
    for _ in range(5):
        pinger.send(b"espnic")
    cfg.dut.cmd("ethtool", "-G", cfg.netif, "tx", str(2 * RING))
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 0)
    cfg.control.request("fault", cfg.nic, "clear")
    after = _renewals(cfg, flow)
    ktap.diag(f"{RENEWALS} renewals: {before:.2f} s before, {after:.2f} s after")
    ktap.equal(ring.received(), 0, "datagrams received")
    ktap.check(after < before + RENEWALS * WAIT / 2, "it waits for what is lost")


def nothing_to_send_is_not_stuck(cfg):
    """Neither a long silence nor a cable that is pulled out counts as a timeout."""
    cfg.need_request("link")
    before, resets = cfg.driver_counters()["tx_timeouts"], cfg.resets()
    traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56] * 3)
    ktap.defer(cfg.control.request, "link", cfg.nic, "up")
    time.sleep(pace.scaled(WATCHDOG + 2))
    cfg.control.request("link", cfg.nic, "down")
    with traffic.Stream(cfg.dut, env.DUT6, cfg.peer, env.PEER6):
        time.sleep(pace.scaled(WATCHDOG + 2))
    ktap.equal(cfg.driver_counters()["tx_timeouts"], before, "tx_timeouts")
    ktap.equal(cfg.resets(), resets, "resets")


CASES = [lost_interrupts, stalled, reset_counts_what_is_lost, lost_packets_are_not_waited_for,
         nothing_to_send_is_not_stuck]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
