#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A NIC whose events of SAs are wrong on purpose.

An event is only a hint, at which the driver reads what the NIC has counted. So whatever events say,
or however many come, the stack hears of a limit that was passed, once, and of nothing else.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netlink, packet, proc, traffic, xfrm  # noqa: E402

REQID = 77
SOFT, MANY = 3, 3000
READING = 1.0  # the driver reads all counters more often than that
RESET_TIME = 10.0


@dataclass(frozen=True)
class Case:
    """Events are wrong in one way while an SA passes its soft limit."""

    what: str
    count: int = 1
    least: dict = field(default_factory=dict)  # what the driver's counters move by at least
    ring: bool = False  # the used ring is wrong, so a reset may be needed

    @property
    def __name__(self):
        return self.what.replace("-", "_")

    def __call__(self, cfg):
        words = f"event {self.what}"
        cfg.need_request("misbehave", "event", "reset")
        flow = esp.inner4(outer=4, reqid=REQID)
        packet.protect(cfg, flow, f"limit packet-soft {SOFT}")
        expiries = netlink.Expiries(cfg.dut)
        made, before = cfg.made(words), cfg.driver_counters()
        cfg.control.fault(cfg.nic, "misbehave", *words.split(), self.count)
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * SOFT)
        proc.wait_until(lambda: cfg.made(words) - made == self.count,
                        f"the NIC does: {words}", RESET_TIME)
        proc.wait_until(lambda: expiries.of(flow.out, False), "the soft limit is reported")
        time.sleep(READING)
        ktap.equal(len(expiries.of(flow.out, False)), 1, "reports of the soft limit")
        for sa, hard in ((flow.out, True), (flow.in_, False), (flow.in_, True)):
            ktap.equal(expiries.of(sa, hard), [], f"other reports, hard {hard}")
        ktap.equal(xfrm.count(cfg.dut), 2, "SAs")
        after = cfg.driver_counters()
        for name, least in self.least.items():
            ktap.at_least(after[name] - before[name], least, f"driver's {name}")
        cfg.control.request("fault", cfg.nic, "clear")
        if self.ring:
            cfg.reset(RESET_TIME)
        xfrm.flush(cfg.dut, cfg.peer)
        busy = packet.Busy(cfg, flow)
        busy.works()
        busy.end()


TAKEN, MALFORMED = "ipsec_events", "ipsec_events_malformed"
CASES = [
    Case("sa-id", least={TAKEN: 1}), Case("direction", least={TAKEN: 1}),
    Case("hard", least={TAKEN: 1}), Case("moved", least={MALFORMED: 1}),
    Case("again", MANY, {TAKEN: MANY}),
    *(Case(what, least={MALFORMED: 1}, ring=True) for what in ("empty", "short")),
    *(Case(what, ring=True)
      for what in ("id-out-of-range", "id-not-given", "too-long", "huge", "twice")),
]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
