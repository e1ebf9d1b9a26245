# SPDX-License-Identifier: GPL-2.0
"""The guest under test as a gateway: between the peer, where one end of the connection is, and a
host on a second wire, where the other end is.

The second guest is both of them, so that the guest under test executes nothing but the forwarding.
"""

import sys

from .common import PORT, TOOLS

sys.path.insert(0, str(TOOLS.parent / "selftests/lib"))
from ksft import env, xfrm  # noqa: E402
from ksft.gateway import GATEWAY4  # noqa: E402

LAN = "espnic1"
HOST = "host"  # network namespace
MTU = 1400  # of what is forwarded, the same with ESP around it and without


def flow():
    """A tunnel for what the host and the peer send each other."""
    return xfrm.Flow(env.DUT4, env.PEER4, "tunnel", dut_inner=env.LAN4, peer_inner=env.PEER_INNER4,
                     priority=1)


def forward_policies(row, protected):
    """Arguments of `ip` for what a gateway needs besides: the word that decrypted packets may be
    forwarded, which stays in software."""
    if not row.gateway:
        return []
    return [line.replace(" dir in ", " dir fwd ") for line in protected.dut_policies()
            if " dir in " in line]


class Gateway:
    """Set-up of both guests, and the transfers."""

    def __init__(self, machine):
        self._dut, self._peer = machine.dut, machine.peer
        machine.dut.run("sysctl -qw net.ipv4.ip_forward=1")
        machine.dut.ip(*_addresses(LAN, GATEWAY4, env.LAN4, machine.peer_lan_mac),
                       f"route add {env.PEER_INNER4} via {env.PEER4}")
        machine.peer.run(f"ip netns add {HOST} && ip link set {LAN} netns {HOST} && "
                         f"ip netns exec {HOST} sysctl -qw net.ipv4.tcp_no_metrics_save=1 "
                         "net.ipv6.conf.all.disable_ipv6=1")
        lines = [*_addresses(LAN, env.LAN4, GATEWAY4, machine.dut_lan_mac),
                 f"route add default via {GATEWAY4} mtu {MTU}"]
        machine.peer.run(f"ip -n {HOST} -batch - <<'EOF'\n" + "\n".join(lines) + "\nEOF")
        machine.peer.ip(f"addr add {env.PEER_INNER4}/32 dev lo",
                        f"route add {env.LAN4} via {env.DUT4} src {env.PEER_INNER4} mtu {MTU}")
        machine.dut.run(f"/espnic/bench-traffic mark {PORT} </dev/null >/dev/null 2>&1 &")

    def traffic(self, verb, size):
        """One transfer between the host and the peer."""
        self._peer.run(f"ip netns exec {HOST} /espnic/bench-traffic {verb} {env.PEER_INNER4} "
                       f"{PORT} {size} {GATEWAY4}")


    def trains(self, netif):
        """Packets of many segments that were sent on: over netif in TX, to the host in RX."""
        command = "ethtool -S {} | sed -n 's/.*tx_tso_packets: //p'"
        return {way: int(self._dut.run(command.format(name)))
                for way, name in (("tx", netif), ("rx", LAN))}


def _addresses(name, own, other, other_mac):
    return [f"link set {name} addrgenmode none", f"link set {name} mtu 1500 up",
            f"addr add {own}/24 dev {name}",
            f"neigh replace {other} lladdr {other_mac} dev {name} nud permanent"]
