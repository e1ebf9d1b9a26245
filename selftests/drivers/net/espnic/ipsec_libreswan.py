#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""libreswan with offload: what its nic-offload=crypto makes works in the NIC, also with ESP in UDP,
where IKE uses the same port, and through a rekeying; nic-offload=no leaves the NIC alone."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, frames, ike, ktap, libreswan, proc, xfrm  # noqa: E402

REKEYINGS, COUNT = 3, 400
WAIT = 20.0
ALIVE, DEAD, QUESTIONS = 2, 5, 3  # seconds from question to question, and to wait for the answer
NO_SPI = bytes(4)  # in front of an IKE message (RFC 3948 section 2.2)


def _pair(cfg, flow):
    """Both daemons, without a connection."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    return libreswan.Pair(cfg, flow)


def _start(cfg, flow, offload="crypto", **kwargs):
    """A connection, set up."""
    pair = _pair(cfg, flow)
    pair.load(flow, offload, **kwargs)
    pair.initiate()
    ktap.equal(xfrm.count(cfg.dut, "espinudp"), 2 if flow.encap else 0, "SAs with ESP in UDP")
    return pair


def _crypto(cfg, flow=None, **kwargs):
    flow = flow or esp.inner4()
    _start(cfg, flow, **kwargs)
    ike.expect_offloaded(cfg)
    ike.works(cfg, flow)


def _software(cfg, flow):
    _start(cfg, flow, "no")
    ike.works_in_software(cfg, flow)


def software(cfg):
    """nic-offload=no: nothing is in the NIC, traffic flows."""
    _software(cfg, esp.inner4())


def gcm_tunnel(cfg):
    """nic-offload=crypto, AES-GCM in a tunnel."""
    _crypto(cfg)


def gcm_transport(cfg):
    """Transport mode."""
    _crypto(cfg, esp.direct())


def chacha(cfg):
    """ChaCha20-Poly1305."""
    _crypto(cfg, esp="chacha20_poly1305-null")


def cbc(cfg):
    """AES-CBC with HMAC-SHA256."""
    _crypto(cfg, esp="aes128-sha2_256")


def gcm_esn(cfg):
    """AES-GCM with extended sequence numbers."""
    flow = esp.inner4()
    _start(cfg, flow, esn="yes")
    ktap.equal(xfrm.count(cfg.dut, "esn context"), 2, "ESN states")
    ike.expect_offloaded(cfg)
    ike.works(cfg, flow)


def nat_software(cfg):
    """encapsulation=yes and nic-offload=no: ESP in UDP that the NIC does not touch."""
    _software(cfg, ike.tunnel_behind_nat())


def nat_tunnel(cfg):
    """encapsulation=yes: ESP in UDP, without a NAT. Nothing is lost, in either direction."""
    flow = ike.tunnel_behind_nat()
    _start(cfg, flow)
    ike.expect_offloaded(cfg)
    ike.without_loss(cfg, flow, count=COUNT)
    ike.works(cfg, flow)


def nat_transport(cfg):
    """The same in transport mode."""
    _crypto(cfg, ike.behind_nat())


def nat_esn(cfg):
    """ESP in UDP with extended sequence numbers."""
    _crypto(cfg, ike.tunnel_behind_nat(), esn="yes")


def _rekeying(cfg, flow):
    """Each side in its turn asks for new SAs. The other one sends with them at once, before they
    are complete at the first: that is libreswan's way, with and without offload."""
    pair = _start(cfg, flow)
    for daemon, ns in ((pair.dut, cfg.dut), (pair.peer, cfg.peer)):
        ike.without_loss(cfg, flow, [daemon.rekey] * REKEYINGS, early=ns)
        ike.works(cfg, flow)
    return pair


def rekeying(cfg):
    """New SAs under traffic: nothing is lost."""
    _rekeying(cfg, esp.inner4())


def rekeying_behind_nat(cfg):
    """The same with ESP in UDP: IKE goes through that port, in both directions, while ESP flows.
    The SA of IKE itself, too, is replaced there."""
    flow = ike.tunnel_behind_nat()
    pair = _rekeying(cfg, flow)
    ike.without_loss(cfg, flow, [pair.dut.rekey_ike, pair.peer.rekey_ike])
    ike.works(cfg, flow)


def _ike_in_udp(cfg):
    """MAC addresses that have recently sent IKE to the UDP port of ESP."""
    port = xfrm.ENCAP_PORT.to_bytes(2, "big")
    parsed = (frames.parse(frame) for _, frame in cfg.sniffer.frames())
    return {packet.smac for packet in parsed if packet and packet.proto == frames.PROTO_UDP
            and packet.payload[2:4] == port
            and packet.payload[frames.UDP_LEN:].startswith(NO_SPI)}


def nat_idle(cfg):
    """While no ESP comes, either side asks through the port of ESP in UDP whether the other is
    there, and is answered: the connection stays."""
    flow = ike.tunnel_behind_nat()
    _start(cfg, flow, more=f"dpddelay={ALIVE}s\n    retransmit-timeout={DEAD}s")
    before, spis = xfrm.counters(cfg.dut), ike.spis(cfg)
    begin = time.monotonic()
    for _ in range(QUESTIONS):
        asked = set()
        proc.wait_until(lambda seen=asked: not seen.update(_ike_in_udp(cfg)) and len(seen) == 2,
                        "IKE from both sides", WAIT)
    time.sleep(max(0.0, begin + DEAD + ALIVE - time.monotonic()))
    ktap.equal(xfrm.changed(before, xfrm.counters(cfg.dut)), {}, "XFRM errors")
    ktap.equal(ike.spis(cfg), spis, "SPIs")
    ike.expect_offloaded(cfg)


def terminated(cfg):
    """The side that has made the connection ends it: no SA is left, in the stack or in the NIC. If
    the other side does, the first one makes a new connection."""
    flow = esp.inner4()
    pair = _start(cfg, flow)
    pair.dut.terminate()
    ike.left(cfg, 0)
    pair.initiate()
    before = ike.spis(cfg)
    pair.peer.terminate()
    proc.wait_until(lambda: len(ike.spis(cfg) - before) == 2, "new SAs", WAIT)
    ike.left(cfg)
    ike.works(cfg, flow)


def shut_down(cfg):
    """The daemon ends: no SA is left."""
    flow = ike.tunnel_behind_nat()
    pair = _start(cfg, flow)
    ike.works(cfg, flow)
    pair.dut.shut_down()
    ike.left(cfg, 0)


CASES = [software, gcm_tunnel, gcm_transport, chacha, cbc, gcm_esn, nat_software, nat_tunnel,
         nat_transport, nat_esn, nat_idle, rekeying, rekeying_behind_nat, terminated, shut_down]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
