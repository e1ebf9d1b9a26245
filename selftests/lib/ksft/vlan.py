# SPDX-License-Identifier: GPL-2.0
"""VLANs on top of an interface."""

from . import env, ktap

NUMBER = 7


def add(ns, dev, name, number=NUMBER):
    """A VLAN on top of DEV, for the caller to delete."""
    made = ns.run("ip", "link", "add", "link", dev, "name", name, "type", "vlan", "id", str(number))
    if made.returncode:
        raise ktap.Skip(f"needs VLAN devices: {made.stderr.strip()}")


def add_both(cfg):
    """A VLAN with addresses on top of each end, dutvlan and peervlan, until the test ends."""
    for ns, dev, name, own, other, other_mac in (
            (cfg.dut, cfg.netif, "dutvlan", env.DUT_VLAN4, env.PEER_VLAN4, cfg.peer_mac),
            (cfg.peer, cfg.peerdev, "peervlan", env.PEER_VLAN4, env.DUT_VLAN4, cfg.netif_mac)):
        add(ns, dev, name)
        ktap.defer(ns.ip, f"link del {name}")
        ns.ip(f"link set {name} addrgenmode none up", f"addr add {own}/32 dev {name}",
              f"route add {other}/32 dev {name} src {own}",
              f"neigh replace {other} lladdr {other_mac} dev {name} nud permanent")
