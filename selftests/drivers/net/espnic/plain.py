#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Plain networking: IPv4, IPv6, jumbo frames, ethtool, counters, link state, unbind and bind."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, gateway, ktap, netif, pace, proc, traffic  # noqa: E402

SIZES = [0, 1, 17, 18, 19, 46, 56, 1000, 1400]
STREAM = 512 * 1024
PINGS, PING_SIZE = 20, 100
PING_FRAME = 14 + 20 + 8 + PING_SIZE
# counters that stay where they are while nothing goes wrong
LOST = ["tx_dropped", "tx_timeouts", "rx_dropped", "rx_malformed", "rx_no_buffer"]
GRO_HW = "rx-gro-hw"
RESET_TIME = 10.0
SILENCE = pace.scaled(1.5)  # longer than the stack waits with repeating such a report


def _both_ways(cfg, dut, peer, sizes=SIZES):
    traffic.ping(cfg.dut, dut, peer, sizes)
    traffic.ping(cfg.peer, peer, dut, sizes)
    traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
    traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)


def ipv4(cfg):
    """Pings of several sizes and TCP, started from either end, contents compared."""
    _both_ways(cfg, env.DUT4, env.PEER4)


def ipv6(cfg):
    """The same with IPv6."""
    _both_ways(cfg, env.DUT6, env.PEER6)


def fragments(cfg):
    """Packets larger than the MTU arrive in fragments and are put together again."""
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [4000, 20000, 60000])
    traffic.ping(cfg.peer, env.PEER6, env.DUT6, [4000, 20000])


def jumbo(cfg):
    """MTU 9000."""
    cfg.set_mtu(9000)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    _both_ways(cfg, env.DUT4, env.PEER4, [1472, 1473, 4000, 8972])
    _both_ways(cfg, env.DUT6, env.PEER6, [1452, 1453, 4000, 8952])


def resolution(cfg):
    """ARP and neighbour discovery work: broadcast and multicast get through."""
    lines = [f"neigh del {address} dev {{}}" for address in (env.PEER4, env.PEER6)]
    cfg.dut.ip(*[line.format(cfg.netif) for line in lines])
    ktap.defer(cfg.configure)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56])
    traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56])
    entry = cfg.dut.cmd("ip", "neigh", "show", env.PEER4)
    ktap.contains(entry, cfg.peer_mac, "neighbour entry")


def checksum_offload_off(cfg):
    """Everything works without checksum offload, too."""
    changeable = netif.ethtool_changeable(cfg.dut, cfg.netif)
    ktap.contains(changeable, "tx-checksum-ip-generic", "features that can be switched")
    for feature, name in (("tx", "tx-checksumming"), ("rx", "rx-checksumming")):
        if name not in changeable:
            continue
        cfg.dut.cmd("ethtool", "-K", cfg.netif, feature, "off")
        ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, feature, "on")
    _both_ways(cfg, env.DUT4, env.PEER4)
    _both_ways(cfg, env.DUT6, env.PEER6)


def _received_large(cfg, dut, peer, host=None):
    """Bulk TCP to NETIF, or to a host behind it, nothing of which is lost; returns how many large
    packets came."""
    before = cfg.driver_counters()
    traffic.tcp(cfg.peer, peer, host or cfg.dut, dut, STREAM)
    after = cfg.driver_counters()
    for name in LOST:
        ktap.equal(after[name], before[name], f"ethtool -S {name}")
    large = after["rx_gso_packets"] - before["rx_gso_packets"]
    ktap.check(large < after["rx_packets"] - before["rx_packets"],
               "large packets do not count as their segments")
    return large


def _need_large(cfg):
    if "rx_gso_packets" not in cfg.driver_counters():
        raise ktap.Skip(f"{cfg.netif} does not count large packets")
    ktap.check(cfg.features().get(GRO_HW), f"{GRO_HW} is not on at the start")


def large_receive(cfg):
    """Segments of TCP come together, with IPv4 and IPv6, until that is switched off; MTU and reset
    leave it as it is."""
    _need_large(cfg)
    cfg.need_request("reset")
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        ktap.at_least(_received_large(cfg, dut, peer), 5, "large packets")
    cfg.feature(GRO_HW, "off")
    ktap.equal(_received_large(cfg, env.DUT4, env.PEER4), 0, "large packets while they are off")
    cfg.reset(RESET_TIME)
    ktap.equal(_received_large(cfg, env.DUT4, env.PEER4), 0, "large packets after a reset")
    cfg.dut.cmd("ethtool", "-K", cfg.netif, GRO_HW, "on")
    ktap.at_least(_received_large(cfg, env.DUT4, env.PEER4), 5, "large packets that are on again")
    cfg.reset(RESET_TIME)
    ktap.at_least(_received_large(cfg, env.DUT6, env.PEER6), 5, "large packets after a reset")


def large_needs_checksums(cfg):
    """Without checksums on receipt there are no large packets."""
    _need_large(cfg)
    ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, "rx", "on", GRO_HW, "on")
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "rx", "off")
    ktap.check(not cfg.features().get(GRO_HW), f"{GRO_HW} is on")
    ktap.equal(_received_large(cfg, env.DUT4, env.PEER4), 0, "large packets")


def large_forwarded(cfg):
    """Large packets are sent on to a host behind the side under test."""
    _need_large(cfg)
    lan = gateway.Lan(cfg)
    ktap.at_least(_received_large(cfg, env.LAN4, env.PEER_INNER4, lan.ns), 5, "large packets")


def ethtool_info(cfg):
    """ethtool -i names the driver and where the device is."""
    info = netif.ethtool_info(cfg.dut, cfg.netif)
    ktap.equal(info.get("driver"), cfg.driver, "driver")
    ktap.check(info.get("bus-info"), "ethtool -i does not say where the device is")
    ktap.check(info.get("version"), "ethtool -i shows no version")


def ethtool_features(cfg):
    """ethtool -k shows checksum offload in both directions."""
    features = netif.ethtool_features(cfg.dut, cfg.netif)
    for name in ("rx-checksumming", "tx-checksumming"):
        ktap.check(features.get(name), f"{name} is not on")


def _link_stats(cfg):
    link = json.loads(cfg.dut.cmd("ip", "-s", "-j", "link", "show", "dev", cfg.netif))[0]
    return link["stats64"]


def _group_reports(cfg):
    """How often NETIF has announced its multicast groups."""
    with cfg.dut:
        text = Path(f"/proc/net/dev_snmp6/{cfg.netif}").read_text(encoding="ascii")
    counts = dict(line.split() for line in text.splitlines())
    return int(counts.get("Icmp6OutType143", 0))


def silent_wire(cfg):
    """The wire has nothing that the tests do not send, but for one report of multicast groups when
    the interface comes up."""
    reports = _group_reports(cfg)
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    proc.wait_until(lambda: _group_reports(cfg) > reports, "a report of multicast groups")
    before = cfg.driver_counters()
    time.sleep(SILENCE)
    after = cfg.driver_counters()
    for name in ("tx_packets", "rx_packets"):
        ktap.equal(after[name] - before[name], 0, f"ethtool -S {name}")


def counters(cfg):
    """`ip -s` and `ethtool -S` count exactly the packets and bytes that passed."""
    link, driver = _link_stats(cfg), cfg.driver_counters()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [PING_SIZE] * PINGS)
    link_after, driver_after = _link_stats(cfg), cfg.driver_counters()
    for way in ("tx", "rx"):
        for unit, wanted in (("packets", PINGS), ("bytes", PINGS * PING_FRAME)):
            ktap.equal(link_after[way][unit] - link[way][unit], wanted, f"ip -s {way} {unit}")
            name = f"{way}_{unit}"
            ktap.equal(driver_after[name] - driver[name], wanted, f"ethtool -S {name}")
        for unit in ("errors", "dropped"):
            ktap.equal(link_after[way][unit], link[way][unit], f"ip -s {way} {unit}")
    for name in LOST:
        ktap.equal(driver_after[name], driver[name], f"ethtool -S {name}")


def mtu_limits(cfg):
    """An MTU above the device's is refused, the smallest one is not."""
    ktap.defer(cfg.set_mtu, cfg.mtu)
    ktap.defer(cfg.configure)
    result = cfg.dut.run("ip", "link", "set", cfg.netif, "mtu", "65536")
    ktap.check(result.returncode, "an MTU of 65536 was accepted")
    cfg.set_mtu(1280)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [1200, 3000])


def link_down_and_up(cfg):
    """No traffic while the link is down, all of it after; carrier and state follow."""
    ktap.defer(cfg.configure)
    for _ in range(3):
        cfg.dut.ip(f"link set {cfg.netif} down")
        ktap.check(not traffic.reachable(cfg.peer, env.PEER4, env.DUT4, timeout=0.3),
                   "the interface answers while it is down")
        cfg.configure()
        traffic.ping(cfg.peer, env.PEER4, env.DUT4, [56, 1400])
    link = json.loads(cfg.dut.cmd("ip", "-j", "link", "show", "dev", cfg.netif))[0]
    ktap.equal(link["operstate"], "UP", "operational state")


def unbind_and_bind(cfg):
    """The driver lets go of the device and takes it again, twice."""
    for _ in range(2):
        with cfg.driver_away():
            ktap.check(cfg.dut.run("ip", "link", "show", cfg.netif).returncode,
                       "the interface exists without its driver")
            ktap.equal(netif.status(cfg.device), netif.ACKNOWLEDGE, "status of the device")
        link = json.loads(cfg.dut.cmd("ip", "-j", "link", "show", "dev", cfg.netif))[0]
        ktap.equal(link["address"], cfg.netif_mac, "MAC address after binding")
        _both_ways(cfg, env.DUT4, env.PEER4, [56, 1400])


def _carrier(cfg, state):
    """The NIC's link goes down or up, and the interface shows it."""
    cfg.need_control().request("link", cfg.nic, state)
    shown = "LOWER_UP" if state == "up" else "NO-CARRIER"
    proc.wait_until(lambda: shown in cfg.dut.cmd("ip", "link", "show", cfg.netif),
                    f"the interface shows that its link is {state}")


def bind_after_stock(cfg):
    """virtio_net leaves configuration changes switched off; espnic must get them again."""
    cfg.need_control()
    with cfg.driver_away():
        netif.bind(cfg.device, "virtio_net", cfg.netif)
        netif.unbind(cfg.device)
    ktap.defer(cfg.control.request, "link", cfg.nic, "up")
    for state in ("down", "up"):
        _carrier(cfg, state)
    cfg.configure()
    _both_ways(cfg, env.DUT4, env.PEER4, [56, 1400])


CASES = [ipv4, ipv6, fragments, jumbo, resolution, checksum_offload_off, large_receive,
         large_needs_checksums, large_forwarded, ethtool_info, ethtool_features, silent_wire,
         counters, mtu_limits, link_down_and_up, unbind_and_bind, bind_after_stock]


def _setup():
    cfg = env.Setup()
    ktap.diag(f"{cfg.netif}: driver {cfg.driver}, device {cfg.device}")
    proc.need("ethtool")
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
