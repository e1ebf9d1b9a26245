#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""While there are more SAs than its limit, the NIC asks for the deletion of the least recently used
one, in a packet of that SA.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import esp, ktap, ndis, traffic, xfrm  # noqa: E402

COUNT = 3  # packets of a use


def _mark(cfg, mark):
    """More inbound SAs than these are too many; the control socket of the NIC."""
    control = cfg.need_request("delete-above")
    ktap.defer(control.request, "delete-above", cfg.nic, "none")
    control.request("delete-above", cfg.nic, mark)
    return control


def _flows():
    """Flows whose packets do not come under the SAs of another one. Neighbour discovery, which
    comes when it likes, has none."""
    return [esp.direct(reqid=1), esp.inner4(reqid=2), esp.inner6(reqid=3)]


def _use(cfg, miniport, flow, handle):
    """Packets under both SAs of a flow; how often the inbound one was asked for with them."""
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * COUNT)
    found = [body for body in miniport.come(COUNT, ndis.Receive) if body.spi]
    ktap.equal([body.handle for body in found], [handle] * COUNT, "handles of the records")
    ktap.equal([body.crypto[:3] for body in found], [(1, 0, 0)] * COUNT, "checks of the packets")
    return sum(body.crypto[3] for body in found)


def _marked(miniport):
    return {handle for handle, entry in miniport.list().items()
            if entry.flags & ndis.DELETE_REQUESTED}


def below(cfg):
    """Up to the mark nothing is asked for, and nothing without a mark."""
    control, flows = _mark(cfg, 3), _flows()
    miniport = ndis.ready(cfg, ndis.RECEIVED)
    handles = [ndis.protect(cfg, miniport, flow)[1] for flow in flows]
    # Outbound SAs do not count.
    miniport.add(esp.direct(reqid=9).out, False)
    before = cfg.nic_counters()["ipsec_delete_requests"]
    for mark in (3, 1000, "none"):
        control.request("delete-above", cfg.nic, mark)
        asked = [_use(cfg, miniport, *one) for one in zip(flows, handles, strict=True)]
        ktap.equal(asked, [0] * len(flows), f"requests with the mark {mark}")
    ktap.equal(_marked(miniport), set(), "SAs with a mark in the list")
    ktap.equal(cfg.nic_counters()["ipsec_delete_requests"], before, "requests counted by the NIC")


def least_recently_used(cfg):
    """With one SA too many the one is asked for that was used least recently, once; it and the
    others work on, and its deletion makes room."""
    ktap.rules("R86", "R88")
    control, flows = _mark(cfg, "none"), _flows()
    miniport = ndis.ready(cfg, ndis.RECEIVED)
    pairs = [ndis.protect(cfg, miniport, flow) for flow in flows]
    handles = [inbound for _, inbound in pairs]

    def use(*order):
        return [_use(cfg, miniport, flows[number], handles[number]) for number in order]

    use(1, 0, 2)
    control.request("delete-above", cfg.nic, 2)
    ktap.equal(use(2, 0, 2), [0] * 3, "requests for SAs that were used")
    ktap.equal(use(1, 1), [1, 0], "requests for the SA that was not")
    ktap.equal(use(0, 2, 1), [0] * 3, "requests for others, or again")
    ktap.equal(_marked(miniport), {handles[1]}, "SAs with a mark in the list")
    esp.exercise(cfg, flows[0])
    miniport.read()
    miniport.delete(handles[1], pairs[1][0])
    use(2, 0)
    xfrm.flush(cfg.dut, cfg.peer)


def each_in_turn(cfg):
    """With several too many they are asked for in the order of their last use."""
    control, flows = _mark(cfg, "none"), _flows()
    miniport = ndis.ready(cfg, ndis.RECEIVED)
    handles = [ndis.protect(cfg, miniport, flow)[1] for flow in flows]
    for number in (2, 0, 1):
        _use(cfg, miniport, flows[number], handles[number])
    control.request("delete-above", cfg.nic, 1)
    asked = [_use(cfg, miniport, flows[number], handles[number]) for number in (1, 2, 1, 0, 1)]
    ktap.equal(asked, [0, 1, 0, 1, 0], "requests")
    ktap.equal(_marked(miniport), {handles[0], handles[2]}, "SAs with a mark in the list")


CASES = [below, least_recently_used, each_in_turn]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
