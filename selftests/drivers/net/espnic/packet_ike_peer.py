#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""strongSwan with packet offload against a peer whose NIC has offload, too.

NETIF2 is the peer's interface here, a second NIC like that of NETIF. The wire is seen in the NICs'
capture: on such an interface a packet socket sees packets in clear.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ike, ktap, netif, strongswan, xfrm  # noqa: E402


class Wire:
    """The capture in the place of a packet socket."""

    def __init__(self, cfg):
        self._cfg = cfg

    def frames(self):
        """Frames since the last call."""
        return self._cfg.captured()


def _setup():
    cfg = env.Setup(peer="NETIF2").need_offload()
    if not netif.ethtool_features(cfg.peer, cfg.peerif).get("esp-hw-offload"):
        raise ktap.Skip(f"{cfg.peerif} has no esp-hw-offload")
    cfg.need_capture()
    cfg.sniffer = Wire(cfg)
    return cfg


def _against(cfg, peer_offload, peer_mode, flow=None, **kwargs):
    flow = flow or esp.inner4()
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    pair = strongswan.Pair(cfg, strongswan.TIDY)
    pair.load(flow, "packet", peer_offload=peer_offload, **kwargs)
    pair.initiate()
    ike.expect_offloaded(cfg, mode="packet")
    ktap.equal(ike.modes(cfg.peer), [peer_mode] * 2, "modes of the peer's SAs")
    ike.works_in_packets(cfg, flow)
    ike.without_loss(cfg, flow, [pair.rekey])
    pair.terminate()
    ike.left(cfg, 0)
    ktap.equal(xfrm.count(cfg.peer), 0, "the peer's states")


def against_packet(cfg):
    """Packet offload at both ends of a tunnel."""
    _against(cfg, "packet", "packet")


def against_packet_transport(cfg):
    """The same in transport mode."""
    _against(cfg, "packet", "packet", esp.direct())


def against_packet_nat(cfg):
    """The same with ESP in UDP."""
    _against(cfg, "packet", "packet", ike.tunnel_behind_nat(), encap=True)


def against_automatic(cfg):
    """hw_offload = auto at the peer."""
    _against(cfg, "auto", "packet")


def against_crypto(cfg):
    """Crypto offload at the peer."""
    _against(cfg, "crypto", "crypto")


def against_crypto_transport(cfg):
    """The same in transport mode."""
    _against(cfg, "crypto", "crypto", esp.direct())


CASES = [against_packet, against_packet_transport, against_packet_nat, against_automatic,
         against_crypto, against_crypto_transport]

if __name__ == "__main__":
    ktap.main(CASES, _setup)
