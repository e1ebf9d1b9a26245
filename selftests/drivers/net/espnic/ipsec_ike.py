#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""strongSwan with offload: what an IKE daemon negotiates works in the NIC, also behind NAT, through
a rekeying, and after the interface was down."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ike, ktap, proc, traffic, xfrm  # noqa: E402

COUNT = 10
SIZES = [0, 1, 56, 500, 1000]
STREAM = 128 * 1024
REKEYINGS = 3


def _start(cfg, flow, offload="crypto", **kwargs):
    """A connection, set up."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    pair = ike.Pair(cfg)
    pair.load(flow, offload, **kwargs)
    pair.initiate()
    return pair


def _offloaded(cfg):
    """How many SAs `ip xfrm state` shows as offloaded."""
    return cfg.dut.cmd("ip", "xfrm", "state").count("crypto offload parameters")


def _works(cfg, flow):
    """Traffic both ways, all of it in the NIC."""
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SIZES)
    count += traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, SIZES)
    if not flow.encap:  # trains of segments in UDP are software's
        traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, STREAM)
    watch.stop().prove_offload(count)


def _crypto(cfg, flow=None, **kwargs):
    flow = flow or esp.inner4()
    _start(cfg, flow, **kwargs)
    ktap.equal(_offloaded(cfg), 2, "offloaded SAs")
    _works(cfg, flow)


def software(cfg):
    """hw_offload = no: nothing is in the NIC, traffic flows."""
    flow = esp.inner4()
    _start(cfg, flow, "no")
    ktap.equal(_offloaded(cfg), 0, "offloaded SAs")
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SIZES)
    watch.stop().prove_no_errors()
    ktap.equal(watch.driver.get("ipsec_tx_packets", 0), 0, "packets encrypted by the NIC")


def gcm_tunnel(cfg):
    """hw_offload = crypto, AES-GCM in a tunnel."""
    _crypto(cfg)


def gcm_transport(cfg):
    """Transport mode."""
    _crypto(cfg, esp.direct())


def automatic(cfg):
    """hw_offload = auto takes the NIC."""
    _crypto(cfg, offload="auto")


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
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state").count("esn context"), 2, "ESN states")
    ktap.equal(_offloaded(cfg), 2, "offloaded SAs")
    _works(cfg, flow)


def _behind_nat(cfg, **kwargs):
    flow = xfrm.Flow(env.DUT4, env.PEER4, encap=xfrm.ENCAP_PORT, **kwargs)
    _start(cfg, flow, encap=True)
    ktap.equal(_offloaded(cfg), 2, "offloaded SAs")
    _works(cfg, flow)


def nat_tunnel(cfg):
    """ESP in UDP, which strongSwan does when told that there is a NAT."""
    _behind_nat(cfg, mode="tunnel", dut_inner=env.DUT_INNER4, peer_inner=env.PEER_INNER4)


def nat_transport(cfg):
    """The same in transport mode."""
    _behind_nat(cfg)


def rekeying(cfg):
    """New SAs under traffic: nothing is lost."""
    flow = esp.inner4()
    pair = _start(cfg, flow)
    with traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner) as stream:
        for _ in range(REKEYINGS):
            stream.go_on(COUNT)
            pair.rekey()
        stream.go_on(COUNT)
        stream.stop()
        proc.wait_until(lambda: _offloaded(cfg) == 2, "the old SAs go", 20)
        arrived = stream.received()
        ktap.equal(stream.sent - arrived, 0, "datagrams lost")
    _works(cfg, flow)


def rekeying_behind_nat(cfg):
    """IKE goes through the port of ESP in UDP, in both directions, while ESP flows."""
    flow = xfrm.Flow(env.DUT4, env.PEER4, mode="tunnel", dut_inner=env.DUT_INNER4,
                     peer_inner=env.PEER_INNER4, encap=xfrm.ENCAP_PORT)
    pair = _start(cfg, flow, encap=True)
    for _ in range(REKEYINGS):
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SIZES)
        pair.rekey()
    proc.wait_until(lambda: _offloaded(cfg) == 2, "the old SAs go", 20)
    _works(cfg, flow)


def link_down_and_up(cfg):
    """The SAs expire when the link goes down, so the daemon makes new ones when it is up."""
    flow = esp.inner4()
    _start(cfg, flow)
    _works(cfg, flow)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    proc.wait_until(lambda: _offloaded(cfg) == 2, "new SAs after the link is up again", 60)
    proc.wait_until(lambda: traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
                    "traffic after the link is up again", 20)
    _works(cfg, flow)


CASES = [software, gcm_tunnel, gcm_transport, automatic, chacha, cbc, esn, nat_tunnel,
         nat_transport, rekeying, rekeying_behind_nat, link_down_and_up]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
