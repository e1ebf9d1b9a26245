#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""strongSwan with offload: what an IKE daemon negotiates works in the NIC, also behind NAT, through
a rekeying, and after the interface was down."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ike, ktap, proc, strongswan, traffic, xfrm  # noqa: E402

REKEYINGS = 3


def _start(cfg, flow, offload="crypto", **kwargs):
    """A connection, set up."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    pair = strongswan.Pair(cfg)
    pair.load(flow, offload, **kwargs)
    pair.initiate()
    return pair


def _crypto(cfg, flow=None, **kwargs):
    flow = flow or esp.inner4()
    _start(cfg, flow, **kwargs)
    ike.expect_offloaded(cfg)
    ike.works(cfg, flow)


def software(cfg):
    """hw_offload = no: nothing is in the NIC, traffic flows."""
    flow = esp.inner4()
    _start(cfg, flow, "no")
    ike.works_in_software(cfg, flow)


def gcm_tunnel(cfg):
    """hw_offload = crypto, AES-GCM in a tunnel."""
    _crypto(cfg)


def gcm_transport(cfg):
    """Transport mode."""
    _crypto(cfg, esp.direct())


def chacha(cfg):
    """ChaCha20-Poly1305."""
    _crypto(cfg, proposal="chacha20poly1305")


def cbc(cfg):
    """AES-CBC with HMAC-SHA256."""
    _crypto(cfg, proposal="aes128-sha256")


def esn(cfg):
    """Extended sequence numbers."""
    flow = esp.inner4()
    _start(cfg, flow, proposal="aes128gcm16-esn")
    ktap.equal(xfrm.count(cfg.dut, "esn context"), 2, "ESN states")
    ike.expect_offloaded(cfg)
    ike.works(cfg, flow)


def nat_tunnel(cfg):
    """ESP in UDP, which strongSwan does when it is configured for a NAT."""
    _crypto(cfg, ike.tunnel_behind_nat(), encap=True)


def nat_transport(cfg):
    """The same in transport mode."""
    _crypto(cfg, ike.behind_nat(), encap=True)


def rekeying(cfg):
    """New SAs under traffic: nothing is lost."""
    flow = esp.inner4()
    pair = _start(cfg, flow)
    ike.without_loss(cfg, flow, [pair.rekey] * REKEYINGS)
    ike.works(cfg, flow)


def rekeying_behind_nat(cfg):
    """IKE goes through the port of ESP in UDP, in both directions, while ESP flows."""
    flow = ike.tunnel_behind_nat()
    pair = _start(cfg, flow, encap=True)
    for _ in range(REKEYINGS):
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, ike.SIZES)
        pair.rekey()
    ike.left(cfg)
    ike.works(cfg, flow)


def link_down_and_up(cfg):
    """The SAs expire when the link goes down, so the daemon makes new ones when it is up."""
    flow = esp.inner4()
    _start(cfg, flow)
    ike.works(cfg, flow)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    proc.wait_until(lambda: ike.offloaded(cfg) == 2, "new SAs after the link is up again", 60)
    proc.wait_until(lambda: traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
                    "traffic after the link is up again", 20)
    ike.works(cfg, flow)


CASES = [software, gcm_tunnel, gcm_transport, chacha, cbc, esn, nat_tunnel,
         nat_transport, rekeying, rekeying_behind_nat, link_down_and_up]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
