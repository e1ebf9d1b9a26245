#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: a migration (XFRM_MSG_MIGRATE) gives policies other addresses.

The stack changes the templates of the policies without telling the driver. It refuses to offload
the copies of the SAs that it makes, whatever the driver: it does not look for the offload of their
type. So the key manager has to add SAs for the new addresses.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netlink, packet, xfrm  # noqa: E402

NEW = "192.0.2.77"
REQID = 77


def _flow(cfg):
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    packet.add(cfg.dut, f"addr add {NEW}/24 dev {cfg.netif}")
    return flow


def _migrate(cfg, flow, netif=None):
    """Move both policies of the side under test, with their SAs, to its new address."""
    inner = flow.dut_inner, flow.peer_inner
    netlink.migrate(cfg.dut, flow.out, inner, "out", (NEW, flow.peer), netif)
    netlink.migrate(cfg.dut, flow.in_, inner[::-1], "in", (flow.peer, NEW), netif)


def copies_are_refused(cfg):
    """SAs cannot be migrated under offload. Nothing has changed then."""
    flow = _flow(cfg)
    try:
        _migrate(cfg, flow, cfg.netif)
    except netlink.NetlinkError as error:
        ktap.contains(error.text, "Type doesn't support offload", "the message")
    else:
        raise ktap.Failure("the stack offloads migrated SAs now: test what the driver does then")
    packet.exercise(cfg, flow)


def policies_follow(cfg):
    """Policies that a migration has changed are for SAs between the new addresses."""
    flow = _flow(cfg)
    packet.exercise(cfg, flow)
    _migrate(cfg, flow)
    new = xfrm.Flow(NEW, flow.peer, "tunnel", dut_inner=flow.dut_inner,
                    peer_inner=flow.peer_inner, reqid=REQID)
    xfrm.flush(cfg.peer)
    cfg.peer.ip(*new.peer_states(), *new.peer_policies())
    cfg.dut.ip("xfrm state flush")
    packet.states(cfg, new)
    watch = packet.exercise(cfg, new)
    ends = {(one.src, one.dst) for one in watch.esp(cfg.netif_mac)}
    ktap.equal(ends, {(NEW, flow.peer)}, "outer addresses sent")


CASES = [copies_are_refused, policies_follow]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
