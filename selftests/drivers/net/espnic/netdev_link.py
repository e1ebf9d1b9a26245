#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The link and the address of the interface: `ethtool DEV`, `ip link set DEV address` while it is
up, and VLANs on top, which keep segmentation and checksums."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netif, proc, traffic, vlan, xfrm  # noqa: E402

NEW_MAC = "02:5e:00:77:00:01"
BAD_MACS = ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00")
SPEED, OTHER_SPEED = 100000, 25000
RESET_TIME = 15.0
STREAM = 1 << 20
KEPT = ["tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-checksum-ip-generic",
        "tx-scatter-gather"]
LEFT_OUT = ["esp-hw-offload", "esp-tx-csum-hw-offload", "tx-esp-segmentation"]


def _settings(cfg):
    """(speed, duplex, port) that `ethtool` shows."""
    text = cfg.dut.cmd("ethtool", cfg.netif)
    found = [re.search(rf"^\s*{name}: (.+)$", text, re.MULTILINE)
             for name in ("Speed", "Duplex", "Port")]
    ktap.check(all(found), f"no settings of the link in {text!r}")
    return tuple(one.group(1) for one in found)


def _nic_says(cfg, name):
    return cfg.control.request("stats", cfg.nic)["nics"][cfg.nic][name]


def _report(cfg, speed):
    """The NIC has another speed after its link was down."""
    cfg.control.request("link", cfg.nic, "down")
    cfg.control.request("speed", cfg.nic, speed)
    cfg.control.request("link", cfg.nic, "up")


def _shows(cfg, *wanted):
    proc.wait_until(lambda: _settings(cfg)[:2] == wanted, f"`ethtool` shows {wanted}")


def speed(cfg):
    """Speed and duplex mode are those of the NIC, and follow it."""
    cfg.need_request("speed", "link")
    ktap.equal(_settings(cfg), (f"{SPEED}Mb/s", "Full", "Other"), "settings of the link")
    ktap.defer(_report, cfg, SPEED)
    _report(cfg, OTHER_SPEED)
    _shows(cfg, f"{OTHER_SPEED}Mb/s", "Full")
    cfg.reset(RESET_TIME)
    _shows(cfg, f"{OTHER_SPEED}Mb/s", "Full")
    traffic.ping(cfg.dut, env.DUT4, env.PEER4)


def speed_set(cfg):
    """The user may set speed and duplex mode, until the NIC reports others; nothing else."""
    cfg.need_request("speed", "link")
    ktap.defer(_report, cfg, SPEED)
    ktap.defer(_report, cfg, OTHER_SPEED)  # so that the last one is news
    cfg.dut.cmd("ethtool", "-s", cfg.netif, "speed", "1000", "duplex", "half")
    mine = ("1000Mb/s", "Half", "Other")
    ktap.equal(_settings(cfg), mine, "settings of the link")
    for words in (["autoneg", "on"], ["port", "tp"], ["speed", "4294967294"]):
        result = cfg.dut.run("ethtool", "-s", cfg.netif, *words)
        ktap.check(result.returncode, f"ethtool -s {' '.join(words)} was accepted")
        ktap.equal(_settings(cfg), mine, f"settings of the link after {words}")
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(_settings(cfg)[2], "Other", "port while the interface is down")
    cfg.configure()
    ktap.equal(_settings(cfg), mine, "settings of the link after down and up")
    _report(cfg, OTHER_SPEED)
    _shows(cfg, f"{OTHER_SPEED}Mb/s", "Full")


def _set_mac(cfg, mac):
    cfg.dut.ip(f"link set {cfg.netif} address {mac}")
    cfg.peer.ip(*[f"neigh replace {address} lladdr {mac} dev {cfg.peerdev} nud permanent"
                  for address in (env.DUT4, env.DUT6)])


def _has_mac(cfg, mac):
    """Interface and NIC have the address, and frames to it arrive."""
    shown = cfg.dut.cmd("ip", "-br", "link", "show", "dev", cfg.netif).split()[2]
    ktap.equal(shown, mac, "the interface's address")
    ktap.equal(_nic_says(cfg, "mac"), mac, "the NIC's address")
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, [56] * 3)
        traffic.ping(cfg.peer, peer, dut, [56] * 3)


def address_of_a_live_interface(cfg):
    """The address changes while the interface is up and SAs are in use."""
    cfg.need_request("link")
    ktap.defer(_set_mac, cfg, cfg.netif_mac)
    esp.protect(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    before = cfg.driver_counters()
    for mac in (NEW_MAC, cfg.netif_mac, NEW_MAC):
        _set_mac(cfg, mac)
        _has_mac(cfg, mac)
    sent = cfg.driver_counters()["ipsec_tx_packets"] - before["ipsec_tx_packets"]
    ktap.equal(sent, 3 * 6, "packets encrypted by the NIC")


def address_survives_a_reset(cfg):
    """After a reset of the NIC the driver gives it the address again."""
    cfg.need_request("reset")
    ktap.defer(_set_mac, cfg, cfg.netif_mac)
    _set_mac(cfg, NEW_MAC)
    cfg.reset(RESET_TIME)
    _has_mac(cfg, NEW_MAC)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    _has_mac(cfg, NEW_MAC)


def address_refused(cfg):
    """Addresses of groups, none at all, and what the NIC refuses: the old one stays."""
    cfg.need_request("misbehave", "truncated")
    for mac in BAD_MACS:
        result = cfg.dut.run("ip", "link", "set", cfg.netif, "address", mac)
        ktap.check(result.returncode, f"{mac} was accepted")
        _has_mac(cfg, cfg.netif_mac)
    cfg.control.fault(cfg.nic, "misbehave", "ctrl", "truncated", 1)
    result = cfg.dut.run("ip", "link", "set", cfg.netif, "address", NEW_MAC)
    ktap.contains(result.stderr, "Cannot assign requested address", "ip link set address")
    # Its answer was spoiled, but the NIC had taken it.
    _has_mac(cfg, cfg.netif_mac)


def _bulk(cfg):
    """Packets that the NIC segmented while TCP went both ways over the VLANs."""
    before = cfg.driver_counters()
    traffic.ping(cfg.dut, env.DUT_VLAN4, env.PEER_VLAN4, [56, 1400])
    traffic.tcp(cfg.dut, env.DUT_VLAN4, cfg.peer, env.PEER_VLAN4, STREAM)
    traffic.tcp(cfg.peer, env.PEER_VLAN4, cfg.dut, env.DUT_VLAN4, STREAM)
    after = cfg.driver_counters()
    for name in ("tx_dropped", "rx_malformed", "ipsec_tx_packets", "ipsec_tx_drop_format"):
        ktap.equal(after[name], before[name], name)
    return after["tx_tso_packets"] - before["tx_tso_packets"]


def vlan_offloads(cfg):
    """A VLAN on top has segmentation and checksums, but nothing of ESP; the NIC segments behind the
    tag."""
    vlan.add_both(cfg)
    features = netif.ethtool_features(cfg.dut, "dutvlan")
    for name in KEPT:
        ktap.check(features.get(name), f"{name} is not on")
    for name in LEFT_OUT:
        ktap.check(not features.get(name), f"{name} is on")
    ktap.at_least(_bulk(cfg), 5, "packets that the NIC segmented")
    cfg.dut.cmd("ethtool", "-K", "dutvlan", "tso", "off")
    ktap.equal(_bulk(cfg), 0, "packets that the NIC segmented with TSO off")


def vlan_two_tags(cfg):
    """A VLAN on a VLAN: the stack segments, because the NIC need not look behind two tags."""
    vlan.add_both(cfg)
    for ns, lower, name, own, other in (
            (cfg.dut, "dutvlan", "dutinner", env.DUT_INNER4, env.PEER_INNER4),
            (cfg.peer, "peervlan", "peerinner", env.PEER_INNER4, env.DUT_INNER4)):
        other_mac = cfg.peer_mac if ns is cfg.dut else cfg.netif_mac
        ns.ip(f"link add link {lower} name {name} type vlan id {vlan.NUMBER + 1}",
              f"link set {name} addrgenmode none mtu 1400 up",
              f"neigh replace {other} lladdr {other_mac} dev {name} nud permanent",
              f"route replace {other}/32 dev {name} src {own}")
    ktap.defer(cfg.configure)
    ktap.defer(cfg.peer.ip, f"route replace {env.DUT_INNER4}/32 via {env.DUT4} dev {cfg.peerdev} "
                            f"src {env.PEER_INNER4}")
    traffic.ping(cfg.dut, env.DUT_INNER4, env.PEER_INNER4, [56, 1300])
    traffic.tcp(cfg.dut, env.DUT_INNER4, cfg.peer, env.PEER_INNER4, STREAM)
    traffic.tcp(cfg.peer, env.PEER_INNER4, cfg.dut, env.DUT_INNER4, STREAM)


def vlan_esp(cfg):
    """SAs of the NIC, but the route goes over the VLAN: software encrypts, also bulk TCP, and
    nothing is sent in clear."""
    cfg.need_offload()
    vlan.add_both(cfg)
    esp.protect(cfg, xfrm.Flow(env.DUT_VLAN4, env.PEER_VLAN4))
    watch = cfg.watch()
    _bulk(cfg)
    watch.stop().prove_no_plaintext()


CASES = [speed, speed_set, address_of_a_live_interface, address_survives_a_reset, address_refused,
         vlan_offloads, vlan_two_tags, vlan_esp]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True))
