#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""ESP together with other tunnels, and with forwarding of what the NIC has decrypted."""

import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, traffic, xfrm  # noqa: E402
from ksft.forge import ip, udp  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

COUNT = 5
STREAM = 256 * 1024
SIZES = [0, 1, 2, 3, 100, 1000]
DUT_OVER, PEER_OVER = "198.18.7.1", "198.18.7.2"
OVERLAY_MTU = 1300
FRAGMENT, MORE, UNIT = 256, 0x2000, 8
BEHIND = "203.0.113.99"
MARKER = b"espnic: this text is forwarded"


def _make_vxlan(cfg, dut, peer):
    """A VXLAN between two addresses, with an IPv4 network on it."""
    for ns, dev, local, remote, own in ((cfg.dut, cfg.netif, dut, peer, DUT_OVER),
                                        (cfg.peer, cfg.peerdev, peer, dut, PEER_OVER)):
        result = ns.run("ip", "link", "add", "over0", "type", "vxlan", "id", "7", "local", local,
                        "remote", remote, "dstport", "4789", "dev", dev)
        if result.returncode:
            raise ktap.Skip(f"needs VXLAN: {result.stderr.strip()}")
        ktap.defer(ns.ip, "link del over0")
        ns.ip("link set over0 addrgenmode none", f"link set over0 mtu {OVERLAY_MTU} up",
              f"addr add {own}/30 dev over0")


def _vxlan(cfg, flow):
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    _make_vxlan(cfg, flow.dut_inner, flow.peer_inner)
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, DUT_OVER, PEER_OVER, SIZES)
    traffic.tcp(cfg.dut, DUT_OVER, cfg.peer, PEER_OVER, STREAM)
    watch.stop().prove_offload(count + STREAM // OVERLAY_MTU)
    esp.unique(watch.esp(cfg.netif_mac), "iv")


def vxlan_in_transport_v4(cfg):
    """VXLAN inside transport mode over IPv4."""
    _vxlan(cfg, xfrm.Flow(env.DUT4, env.PEER4))


def vxlan_in_transport_v6(cfg):
    """VXLAN inside transport mode over IPv6."""
    _vxlan(cfg, xfrm.Flow(env.DUT6, env.PEER6))


def vxlan_in_tunnel(cfg):
    """VXLAN inside a tunnel: three IP headers."""
    _vxlan(cfg, esp.inner4())


class Hub:
    """The side under test forwards what comes out of a tunnel from the peer, over the same link."""

    def __init__(self, cfg):
        self.cfg, self.flow = cfg, esp.inner4()
        for word in ("ip_forward 1", "conf.all.send_redirects 0",
                     f"conf.{cfg.netif}.send_redirects 0"):
            name, value = word.split()
            cfg.dut.sysctl(f"net.ipv4.{name}", value)
        ktap.defer(cfg.dut.sysctl, "net.ipv4.ip_forward", 0)
        cfg.dut.ip(f"route add {BEHIND}/32 via {env.PEER4} dev {cfg.netif}")
        ktap.defer(cfg.dut.run, "ip", "route", "del", f"{BEHIND}/32")
        cfg.peer.ip(f"route add {BEHIND}/32 via {env.DUT4} dev {cfg.peerdev}")
        ktap.defer(cfg.peer.run, "ip", "route", "del", f"{BEHIND}/32")
        esp.protect(cfg, self.flow)
        self._policy(cfg.peer, "out", self.flow.in_)
        self._policy(cfg.dut, "fwd", self.flow.in_)

    def _policy(self, ns, direction, sa):
        ns.ip(f"xfrm policy add src {env.PEER_INNER4} dst {BEHIND} dir {direction} "
              f"tmpl src {sa.src} dst {sa.dst} proto esp reqid {sa.reqid} mode tunnel")

    def protect_onwards(self):
        """A second SA takes what is forwarded back over the wire."""
        sa = xfrm.Flow(env.DUT4, env.PEER4, "tunnel", reqid=2).out
        self.cfg.dut.ip(sa.add(xfrm.offload(self.cfg.netif, "out")))
        self._policy(self.cfg.dut, "out", sa)
        return sa

    def send(self):
        """Datagrams through the tunnel to the address behind, which has no receiver."""
        watch, link = self.cfg.watch(), traffic.Datagrams(self.cfg.peer, env.PEER_INNER4,
                                                          self.cfg.peer, env.PEER_INNER4)
        ktap.defer(link.close)
        link.redirect(BEHIND)
        for _ in range(COUNT):
            ktap.check(link.send(MARKER), "a datagram could not be sent")
        watch.stop()
        ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")
        ktap.equal(len(watch.esp(self.cfg.peer_mac)), COUNT, "ESP packets to the side under test")
        watch.expect_counters({"ipsec_rx_packets": COUNT, "ipsec_tx_drop_stale": 0,
                               "ipsec_tx_drop_format": 0})
        return watch


def forwarded_in_clear(cfg):
    """A decrypted packet still names its inbound SA when it is sent on: the driver must neither
    encrypt nor drop it (X44)."""
    watch = Hub(cfg).send()
    clear = [packet for packet in watch.packets()
             if packet.smac == cfg.netif_mac and packet.dst == BEHIND]
    ktap.equal(len(clear), COUNT, "packets forwarded")
    ktap.check(all(MARKER in packet.payload for packet in clear), "the content has changed")
    watch.expect_counters({"ipsec_tx_packets": 0})


def forwarded_to_another_sa(cfg):
    """A decrypted packet is encrypted again, under an outbound SA: from tunnel to tunnel."""
    hub = Hub(cfg)
    sa = hub.protect_onwards()
    watch = hub.send()
    spis = [packet.spi for packet in watch.esp(cfg.netif_mac)]
    ktap.equal(spis, [sa.spi] * COUNT, "SPIs of the packets forwarded")
    watch.expect_counters({"ipsec_tx_packets": COUNT})
    ktap.check(not any(MARKER in frame for _, frame in watch.tap_frames), "plaintext on the wire")


def _send_fragments(ns, src, dst, packet):
    """A packet in fragments that the sender has made itself."""
    with ns:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        for at in range(0, len(packet), FRAGMENT):
            part = packet[at:at + FRAGMENT]
            more = MORE if at + FRAGMENT < len(packet) else 0
            sock.sendto(ip(src, dst, PROTO_UDP, part, more | at // UNIT), (dst, 0))


def fragments_in_tunnel(cfg):
    """Fragments inside a tunnel: the NIC encrypts and decrypts each, and looks for no UDP in them
    (X36)."""
    flow = esp.inner4()
    esp.protect(cfg, flow)
    data = os.urandom(3 * FRAGMENT)
    for ends in ((cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner),
                 (cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)):
        link, (source, src, _, dst) = traffic.Datagrams(*ends), ends
        ktap.defer(link.close)
        watch = cfg.watch()
        _send_fragments(source, src, dst, udp(link.port, link.port, data, (src, dst)))
        ktap.check(link.receive() == data, f"the datagram from {src} did not arrive")
        watch.stop().prove_no_errors()
        moved = "ipsec_tx_packets" if source is cfg.dut else "ipsec_rx_packets"
        watch.expect_counters({moved: 4})


CASES = [vxlan_in_transport_v4, vxlan_in_transport_v6, vxlan_in_tunnel, fragments_in_tunnel,
         forwarded_in_clear, forwarded_to_another_sa]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
