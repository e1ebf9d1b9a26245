# SPDX-License-Identifier: GPL-2.0
"""The side under test as a gateway, with a host behind it."""

from . import env, ktap
from .netns import Netns

PORT, HOST = "lan0", "host0"
GATEWAY4, GATEWAY6 = "198.51.100.254", "2001:db8:a::fe"
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


class Lan:
    """A host at a veth of the side under test, which forwards; the peer knows the way to it."""

    def __init__(self, cfg):
        self.ns = Netns("lan")
        ktap.defer(self.ns.close)
        made = cfg.dut.run("ip", "link", "add", PORT, "type", "veth", "peer", "name", HOST,
                           "netns", self.ns.path)
        if made.returncode:
            raise ktap.Skip(f"needs veth: {made.stderr.strip()}")
        ktap.defer(cfg.dut.run, "ip", "link", "del", PORT)
        for ns, name, own4, own6 in ((cfg.dut, PORT, GATEWAY4, GATEWAY6),
                                     (self.ns, HOST, env.LAN4, env.LAN6)):
            ns.ip("link set lo up", f"link set {name} addrgenmode none", f"link set {name} up",
                  f"addr add {own4}/24 dev {name}", f"addr add {own6}/64 dev {name} nodad")
        self.ns.ip(f"route add default via {GATEWAY4}", f"route add ::/0 via {GATEWAY6}")
        for name in FORWARDING:
            cfg.dut.sysctl(name, 1)
            ktap.defer(cfg.dut.sysctl, name, 0)
        ways = [f"route add {env.LAN4}/32 via {env.DUT4} dev {cfg.peerdev} src {env.PEER_INNER4}",
                f"route add {env.LAN6}/128 via {env.DUT6} dev {cfg.peerdev} src {env.PEER_INNER6}"]
        cfg.peer.ip(*ways)

    def flush_pmtu(self):
        """Forget what ICMP has said."""
        for family in ("-4", "-6"):
            self.ns.cmd("ip", family, "route", "flush", "cache")
