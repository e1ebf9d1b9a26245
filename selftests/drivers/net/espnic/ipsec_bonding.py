#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Active-backup bonding over two NICs: the SAs are in the active one, and move with it.

NETIF2 is a second NIC with ESP offload. NETIF, NETIF2 and PEERIF are connected by a switch that
learns addresses, as in a data centre: where the inactive NIC gets a copy of every frame, the
stack decrypts that copy, too (GRO comes before the bond drops it), and its replay window refuses
the second one, be it the right one.

What the stack does here (drivers/net/bonding/bond_main.c): at a failover it deletes and frees the
SAs in the old NIC and adds them to the new one, without an extended acknowledgement. In between,
and for an SA that the new NIC refuses, software does the work. Packets that were marked for the
old NIC are dropped by the new one. Other modes than active-backup leave all to software.
"""

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netif, netlink, proc, traffic, xfrm  # noqa: E402

BOND = "bond0"
BRIDGE = "br0"
# Not that of NETIF: the switch would look for later tests' NETIF where the bond was last.
BOND_MAC = "02:00:00:00:b0:0d"
ROUNDS = 4
STEP = 10
OTHERS = 20
ANSWER_MS = 20
WRAP = 1 << 32


class Bond(env.Setup):
    """A bond over NETIF and NETIF2 is the interface under test; the first one is active."""

    def __init__(self):
        self.slaves = [env.interface("NETIF"), env.interface("NETIF2")]
        self.nics = [os.environ.get("ESPNIC_NIC", "n0"), os.environ.get("ESPNIC_NIC2", "n2")]
        super().__init__(tap=True)
        self.need_offload()

    def connect(self):
        """Make the bond; the peer knows its address."""
        self.netif, self.netif_mac = BOND, BOND_MAC
        made = self.dut.run("ip", "link", "add", BOND, "address", BOND_MAC, "type", "bond",
                            "mode", "active-backup", "miimon", "20")
        if made.returncode:
            raise ktap.Skip(f"needs bonding: {made.stderr.strip()}")
        self.peer.ip(*[f"neigh replace {address} lladdr {BOND_MAC} dev {self.peerdev} "
                       f"nud permanent" for address in (env.DUT4, env.DUT6)])
        self.dut.ip(f"link set {BOND} addrgenmode none up")
        for slave in self.slaves:
            self.init.ip(f"link set {slave} netns {self.dut.path}")
            self.enslave(slave)
        self.activate(self.slaves[0])
        self.configure()

    def give_back(self):
        """The bond goes, its interfaces go back."""
        self.dut.run("ip", "link", "del", BOND)
        for slave in self.slaves:
            env.return_interface(self.dut, slave)

    def enslave(self, slave):
        """Put an interface that is down into the bond and wait until it can be used."""
        self.dut.ip(f"link set {slave} addrgenmode none", f"link set {slave} master {BOND}")
        self.usable(slave)

    def _details(self, name):
        return json.loads(self.dut.cmd("ip", "-d", "-j", "link", "show", name))[0]["linkinfo"]

    def usable(self, slave):
        """Wait until the bond sees the carrier of an interface."""
        proc.wait_until(lambda: self._details(slave)["info_slave_data"]["mii_status"] == "UP",
                        f"{BOND} can use {slave}")

    def active(self):
        """The active interface, or None."""
        return self._details(BOND)["info_data"].get("active_slave")

    def becomes_active(self, slave):
        """Wait for a failover to this interface."""
        proc.wait_until(lambda: self.active() == slave, f"{slave} becomes active")

    def activate(self, slave):
        """Fail over to this interface."""
        self.dut.ip(f"link set {BOND} type bond active_slave {slave}")
        self.becomes_active(slave)

    def other(self, slave):
        """The other interface."""
        return self.slaves[1 - self.slaves.index(slave)]

    def done(self):
        """Packets that each NIC has encrypted and decrypted, by the interface's name."""
        found = {}
        for slave in self.slaves:
            stats = netif.ethtool_stats(self.dut, slave)
            found[slave] = (stats["ipsec_tx_packets"], stats["ipsec_rx_packets"])
        return found

    def _present(self):
        shown = {link["ifname"] for link in json.loads(self.dut.cmd("ip", "-j", "link"))}
        return [slave for slave in self.slaves if slave in shown]

    def driver_counters(self):
        """Counters of both interfaces together."""
        return _sum(netif.ethtool_stats(self.dut, slave) for slave in self._present())

    def nic_counters(self):
        """Counters of both NICs together."""
        return _sum(self.control.stats(nic) for nic in self.nics) if self.control else {}

    def expect_sas(self, active, count):
        """All SAs are in this interface's NIC, none in the other."""
        if not self.control:
            return
        wanted = {slave: count if slave == active else 0 for slave in self.slaves}
        # The stack deletes at once, but frees, for which the driver waits, later.
        proc.wait_until(lambda: self._sas() == wanted, f"SAs in the NICs: {wanted}")

    def held(self, nic):
        """Number of SAs that a NIC says it holds."""
        stats = self.control.stats(nic)
        return stats["ipsec_sa_in"] + stats["ipsec_sa_out"]

    def _sas(self):
        return dict(zip(self.slaves, map(self.held, self.nics), strict=True))


def _sum(counters):
    total = {}
    for counter in counters:
        for name, value in counter.items():
            total[name] = total.get(name, 0) + value
    return total


def _works(cfg, slave):
    """Pings from either end, all of it in this interface's NIC; returns the packets sent."""
    ktap.equal(cfg.active(), slave, "active interface")
    before = cfg.done()
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * STEP)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4, [56] * STEP)
    watch.stop().prove_offload(2 * STEP)
    after = cfg.done()
    for name in cfg.slaves:
        done = tuple(now - then for then, now in zip(before[name], after[name], strict=True))
        wanted = (2 * STEP, 2 * STEP) if name == slave else (0, 0)
        ktap.equal(done, wanted, f"packets encrypted and decrypted by {name}")
    return watch.esp(cfg.netif_mac)


def _protect(cfg, **kwargs):
    flow = xfrm.Flow(env.DUT4, env.PEER4, **kwargs)
    esp.protect(cfg, flow)
    return flow


def _first_active(cfg):
    """Every case starts with the first interface."""
    cfg.activate(cfg.slaves[0])


def features(cfg):
    """The bond offers what its NICs offer, and the stack may build super-packets for them."""
    shown = cfg.features()
    for name in ("esp-hw-offload", "esp-tx-csum-hw-offload", "tx-esp-segmentation"):
        ktap.check(shown.get(name), f"{BOND} has no {name}")
    _first_active(cfg)
    flow = _protect(cfg)
    esp.exercise(cfg, flow)


def failover(cfg):
    """All SAs, used or not, are in the active NIC before and after each failover; no IV and no
    sequence number comes twice."""
    _first_active(cfg)
    _protect(cfg)
    others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(OTHERS)]
    cfg.dut.ip(*[line for other in others for line in other.dut_states(BOND)])
    sent = []
    for round_ in range(ROUNDS):
        slave = cfg.slaves[round_ % 2]
        cfg.activate(slave)
        cfg.expect_sas(slave, 2 + 2 * OTHERS)
        sent += _works(cfg, slave)
    esp.unique(sent)
    xfrm.flush(cfg.dut)
    cfg.expect_sas(None, 0)


def failover_esn(cfg):
    """Numbers beyond 2^32 and across the next multiple: the other NIC gets the current ones."""
    _first_active(cfg)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    start = 3 * WRAP - 3 * STEP
    esp.protect_esn(cfg, flow, 64, start, start)
    sent = []
    for round_ in range(ROUNDS):
        slave = cfg.slaves[round_ % 2]
        cfg.activate(slave)
        sent += _works(cfg, slave)
    esp.unique(sent)
    numbers = xfrm.numbers(cfg.dut, flow.out).oseq, xfrm.numbers(cfg.dut, flow.in_).seq
    ktap.equal(numbers, (start + 2 * STEP * ROUNDS,) * 2, "numbers last sent and received")


def esn_jump(cfg):
    """XFRM_MSG_NEWAE changes the high half: the NIC below the bond gets it, and so does the one
    that takes over."""
    _first_active(cfg)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect_esn(cfg, flow, 64, 50, 50)
    _works(cfg, cfg.slaves[0])
    netlink.set_numbers(cfg.dut, flow.in_, netlink.Esn(64, seq=7 * WRAP + 60))
    traffic.ping(cfg.dut, flow.dut, flow.peer)  # the last packet of the old round
    time.sleep(env.SETTLE)
    netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=7 * WRAP + 200))
    for slave in cfg.slaves:
        cfg.activate(slave)
        _works(cfg, slave)
    ktap.equal(xfrm.numbers(cfg.dut, flow.in_).seq >> 32, 7, "high half of the number received")


def carrier_lost(cfg):
    """The cable of the active NIC is pulled: the other one takes over, each in its turn."""
    control = cfg.need_request("link")
    _first_active(cfg)
    _protect(cfg)
    sent = []
    for slave, nic in zip(cfg.slaves, cfg.nics, strict=True):
        ktap.defer(control.request, "link", nic, "up")
        control.request("link", nic, "down")
        cfg.becomes_active(cfg.other(slave))
        sent += _works(cfg, cfg.other(slave))
        control.request("link", nic, "up")
        cfg.usable(slave)
    esp.unique(sent)


def interface_down(cfg):
    """The active interface is taken down: the SAs of the bond stay, and move."""
    _first_active(cfg)
    _protect(cfg)
    first, second = cfg.slaves
    ktap.defer(cfg.dut.ip, f"link set {first} up")
    cfg.dut.ip(f"link set {first} down")
    cfg.becomes_active(second)
    sent = _works(cfg, second)
    cfg.expect_sas(second, 2)
    cfg.dut.ip(f"link set {first} up")
    cfg.usable(first)
    cfg.activate(first)
    esp.unique(sent + _works(cfg, first))


@contextlib.contextmanager
def _streams(cfg):
    """Datagrams both ways; yields a function that waits until more have come."""
    with traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4) as out, \
            traffic.Stream(cfg.peer, env.PEER4, cfg.dut, env.DUT4) as back:
        def advance():
            out.advance(2 * STEP)
            back.advance(2 * STEP)
        yield advance


def _prove_nothing_slipped(cfg, watch):
    watch.stop().prove_no_errors()
    sent = watch.esp(cfg.netif_mac)
    ktap.diag(f"{len(sent)} packets sent, by NICs: {watch.driver.get('ipsec_tx_packets')}, "
              f"dropped: {watch.driver.get('ipsec_tx_drop_stale', 0)} sent, "
              f"{watch.driver.get('ipsec_rx_drop_stale', 0)} received")
    esp.unique(sent)


def under_traffic(cfg):
    """Failovers while datagrams and TCP flow: nothing in clear, no IV twice, the TCP stream is
    whole."""
    _first_active(cfg)
    _protect(cfg)
    watch = cfg.watch()
    with _streams(cfg) as advance:
        for round_ in range(1, ROUNDS + 1):
            cfg.activate(cfg.slaves[round_ % 2])
            advance()
        traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4, 256 * 1024)
    _prove_nothing_slipped(cfg, watch)
    _works(cfg, cfg.slaves[0])


def reset(cfg):
    """The active NIC is reset under traffic: the bond may fail over or not, and traffic goes on."""
    control = cfg.need_request("reset")
    _first_active(cfg)
    _protect(cfg)
    watch = cfg.watch()
    before = cfg.resets()
    with _streams(cfg) as advance:
        control.request("reset", cfg.nics[0])
        proc.wait_until(lambda: cfg.resets() > before, "the reset")
        cfg.usable(cfg.slaves[0])
        advance()
        cfg.activate(cfg.slaves[0])
        advance()
    _prove_nothing_slipped(cfg, watch)
    _works(cfg, cfg.slaves[0])


def rekey(cfg):
    """New SAs take the place of the old ones, with a failover before the old ones go."""
    _first_active(cfg)
    flow = _protect(cfg)
    for round_ in range(1, ROUNDS):
        new = xfrm.Flow(env.DUT4, env.PEER4)
        cfg.peer.ip(*new.peer_states())
        cfg.dut.ip(*new.dut_states(BOND))
        slave = cfg.slaves[round_ % 2]
        cfg.activate(slave)
        cfg.expect_sas(slave, 4)
        for ns in (cfg.dut, cfg.peer):
            ns.ip(flow.out.delete(), flow.in_.delete())
        cfg.expect_sas(slave, 2)
        spis = {packet.spi for packet in _works(cfg, slave)}
        ktap.equal(spis, {new.out.spi}, "SPIs of the packets sent")
        flow = new


def deleted_meanwhile(cfg):
    """SAs are deleted and replaced while a failover adds them one by one to a NIC that takes its
    time: the NIC ends with those that live, and they work."""
    control = cfg.need_request("misbehave")
    _first_active(cfg)
    flow = _protect(cfg)
    for round_ in range(1, ROUNDS + 1):
        slave, nic = cfg.slaves[round_ % 2], cfg.nics[round_ % 2]
        others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(OTHERS)]
        cfg.dut.ip(*[line for other in others for line in other.dut_states(BOND)])
        control.fault(nic, "misbehave", "ctrl", "late", ANSWER_MS, 1000)
        failover = threading.Thread(target=cfg.activate, args=(slave,), daemon=True)
        failover.start()
        proc.wait_until(lambda name=nic: cfg.held(name), "the failover adds SAs", step=0.001)
        # The bond comes to the first one last.
        cfg.dut.ip(*[sa.delete() for other in others for sa in (other.out, other.in_)])
        ktap.check(cfg.held(nic) < 2 + 2 * OTHERS, "the failover was faster than the deletion")
        new = xfrm.Flow(env.DUT4, env.PEER4)
        cfg.peer.ip(*new.peer_states())
        cfg.dut.ip(*new.dut_states(BOND), flow.out.delete(), flow.in_.delete())
        cfg.peer.ip(flow.out.delete(), flow.in_.delete())
        failover.join()
        control.request("fault", nic, "clear")
        cfg.becomes_active(slave)
        cfg.expect_sas(slave, 2)
        spis = {packet.spi for packet in _works(cfg, slave)}
        ktap.equal(spis, {new.out.spi}, "SPIs of the packets sent")
        flow = new


def refused(cfg):
    """What a NIC cannot do it cannot do under a bond either, and ESP in UDP only without one."""
    _first_active(cfg)
    ktap.defer(xfrm.flush, cfg.dut)
    plain, in_udp = (xfrm.Flow(env.DUT4, env.PEER4, encap=encap) for encap in (0, 4500))
    for line, text in ((plain.out.add(xfrm.offload(BOND, "out") + " extra-flag oseq-may-wrap"),
                        "wrap"),
                       (in_udp.out.add(xfrm.offload(BOND, "out")), "under a bond"),
                       (in_udp.in_.add(xfrm.offload(BOND, "in")), "under a bond")):
        result = cfg.dut.run("ip", *line.split())
        ktap.check(result.returncode, f"accepted: {line}")
        ktap.contains(result.stderr, text, "message")
    cfg.expect_sas(None, 0)


def refused_at_failover(cfg):
    """The other NIC does not take the SAs: software protects the traffic until one does."""
    control = cfg.need_request("refuse-algorithm")
    _first_active(cfg)
    _protect(cfg)
    sent = _works(cfg, cfg.slaves[0])
    control.fault(cfg.nics[1], "refuse-algorithm", "aes-gcm")
    cfg.activate(cfg.slaves[1])
    cfg.expect_sas(None, 0)
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * STEP)
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), STEP, "ESP packets sent")
    watch.expect_counters({"ipsec_tx_packets": 0, "ipsec_rx_packets": 0})
    sent += watch.esp(cfg.netif_mac)
    cfg.activate(cfg.slaves[0])
    cfg.expect_sas(cfg.slaves[0], 2)
    esp.unique(sent + _works(cfg, cfg.slaves[0]))


def interface_leaves(cfg):
    """The active interface leaves the bond and comes back, with the bond's SAs in use."""
    _first_active(cfg)
    _protect(cfg)
    first, second = cfg.slaves
    cfg.dut.ip(f"link set {first} nomaster")
    cfg.expect_sas(second, 2)
    sent = _works(cfg, second)
    cfg.dut.ip(f"link set {first} down")
    cfg.enslave(first)
    cfg.activate(first)
    esp.unique(sent + _works(cfg, first))


def driver_unbound(cfg):
    """The driver leaves the active NIC under traffic and takes it again."""
    _first_active(cfg)
    _protect(cfg)
    first, second = cfg.slaves
    with _streams(cfg) as advance:
        netif.unbind(cfg.device)
        try:
            cfg.becomes_active(second)
            advance()
        finally:
            netif.bind(cfg.device, cfg.driver, first)
            cfg.init.ip(f"link set {first} netns {cfg.dut.path}")
    cfg.enslave(first)
    _works(cfg, second)
    cfg.activate(first)
    _works(cfg, first)


def port_of_a_bridge(cfg):
    """While a bridge takes the bond's frames away, no NIC decrypts, also after a failover."""
    _first_active(cfg)
    _protect(cfg)
    cfg.expect_sas(cfg.slaves[0], 2)
    made = cfg.dut.run("ip", "link", "add", BRIDGE, "type", "bridge")
    if made.returncode:
        raise ktap.Skip(f"needs bridges: {made.stderr.strip()}")
    ktap.defer(cfg.dut.run, "ip", "link", "del", BRIDGE)
    cfg.dut.ip(f"link set {BRIDGE} addrgenmode none", f"link set {BOND} master {BRIDGE}")
    cfg.expect_sas(cfg.slaves[0], 1)
    cfg.activate(cfg.slaves[1])
    cfg.expect_sas(cfg.slaves[1], 1)
    cfg.dut.ip(f"link set {BOND} nomaster")
    cfg.expect_sas(cfg.slaves[1], 2)
    _works(cfg, cfg.slaves[1])


CASES = [features, failover, failover_esn, esn_jump, carrier_lost, interface_down, under_traffic,
         reset, rekey, deleted_meanwhile, refused, refused_at_failover, interface_leaves,
         driver_unbound, port_of_a_bridge]


def _setup():
    if not os.environ.get("NETIF2"):
        raise ktap.Skip("NETIF2 is not set: name a second interface with ESP offload")
    return Bond()


if __name__ == "__main__":
    ktap.main(CASES, _setup)
