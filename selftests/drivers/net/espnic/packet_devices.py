#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload belongs to one interface: others of the same host, beside it and on top of it,
have no part in it.

NETIF2 is a second NIC with ESP offload, on the same switch as NETIF and PEERIF.
"""

import copy
import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, netif, packet, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP, parse  # noqa: E402
from ksft.pace import scaled  # noqa: E402
from ksft.packet import MESSAGE, REQID, SMALL  # noqa: E402

DUT, PEER = "198.18.0.1", "198.18.0.2"  # on the way over NETIF2
VLAN = 7
OTHERS = REQID + 10
READING = scaled(1.0)  # the driver reads the NIC's windows twice as often
OTHER_INTERFACE = "espnic: a selector with another interface cannot be offloaded"


class Second:
    """NETIF2 at the side under test, with a network of its own; cfg is for what is to happen
    there."""

    def __init__(self, cfg):
        name = env.interface("NETIF2")
        self.cfg = copy.copy(cfg)
        self.cfg.netif, self.cfg.netif_mac = name, netif.mac(name)
        cfg.init.ip(f"link set {name} netns {cfg.dut.path}")
        ktap.defer(env.return_interface, cfg.dut, name)
        cfg.dut.ip(f"link set {name} addrgenmode none", f"link set {name} mtu {cfg.mtu} up",
                   f"addr add {DUT}/24 dev {name}",
                   f"neigh replace {PEER} lladdr {cfg.peer_mac} dev {name} nud permanent")
        packet.add(cfg.peer, f"addr add {PEER}/24 dev {cfg.peerdev}")
        cfg.peer.ip(f"neigh replace {DUT} lladdr {self.cfg.netif_mac} dev {cfg.peerdev} "
                    "nud permanent")

    def flow(self):
        """Transport mode over NETIF2."""
        return xfrm.Flow(DUT, PEER, reqid=OTHERS)

    def counters(self):
        """What the driver has counted of packet offload there."""
        stats = netif.ethtool_stats(self.cfg.dut, self.cfg.netif)
        return {name: count for name, count in stats.items() if name.startswith("ipsec_packet_")}


def beside(cfg):
    """What is sent in clear over another NIC passes, both ways, beside a protected flow."""
    second, flow = Second(cfg), packet.flows()[0]
    packet.protect(cfg, flow)
    before, watch = second.counters(), cfg.watch()
    for ns, src, dst in ((cfg.dut, DUT, PEER), (cfg.peer, PEER, DUT)):
        traffic.ping(ns, src, dst, SMALL)
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)
    traffic.tcp(cfg.dut, DUT, cfg.peer, PEER, esp.STREAM)
    packet.prove(cfg, watch, 2 * len(SMALL))
    ktap.equal(xfrm.changed(before, second.counters()), {}, "counters of the other NIC")


def both(cfg):
    """Two NICs have packet offload, each with SAs and policies of its own."""
    second, flow = Second(cfg), packet.flows()[0]
    packet.protect(cfg, flow)
    other = second.flow()
    packet.protect(second.cfg, other)
    before, watch = second.counters(), cfg.watch()
    for _ in SMALL:
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)
        traffic.ping(cfg.dut, other.dut, other.peer, [56] * 2)
    watch.stop().prove_no_errors()
    moved = xfrm.changed(before, second.counters())
    for counters, mac, sa, times in ((watch.driver, cfg.netif_mac, flow.out, 1),
                                     (moved, second.cfg.netif_mac, other.out, 2)):
        sent = [one.spi for one in watch.esp(mac)]
        ktap.equal(sent, [sa.spi] * times * len(SMALL), f"SPIs sent from {mac}")
        for way in ("tx", "rx"):
            ktap.equal(counters.get(f"ipsec_packet_{way}_packets"), len(sent), f"packets, {way}")


def state_elsewhere(cfg):
    """A policy of one NIC does not take an SA of another, and nothing is sent in clear."""
    second, flow = Second(cfg), packet.flows()[1]
    packet.protect(cfg, flow)
    cfg.dut.ip(flow.out.delete(), flow.out.add(packet.offload(second.cfg, "out")))
    watch = cfg.watch()
    ktap.check(not traffic.reachable(cfg.dut, flow.dut, flow.peer, timeout=0.2), "a packet passed")
    watch.stop().prove_no_plaintext()
    ktap.equal([watch.frames_sent(mac) for mac in (cfg.netif_mac, second.cfg.netif_mac)], [0, 0],
               "frames sent")


def routed_elsewhere(cfg):
    """The route of a protected flow leads to another NIC: the stack drops its packets."""
    second, flow = Second(cfg), packet.flows()[1]
    packet.protect(cfg, flow)
    packet.add(cfg.dut, f"route add {flow.peer}/32 dev {second.cfg.netif} src {flow.dut}")
    cfg.dut.ip(f"neigh replace {flow.peer} lladdr {cfg.peer_mac} dev {second.cfg.netif} "
               "nud permanent")
    watch = cfg.watch()
    ktap.check(not traffic.reachable(cfg.dut, flow.dut, flow.peer, timeout=0.2), "a packet passed")
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.packets()), 0, "packets on the wire")
    ktap.equal(watch.dut_errors, {"XfrmOutError": 1}, "XFRM errors")


def clear_elsewhere(cfg):
    """The stack compares no clear packet with offloaded policies (X83), so it takes one that comes
    over another NIC, unless it filters by the way back."""
    second, flow = Second(cfg), packet.flows()[1]
    packet.protect(cfg, flow)
    pair = packet.link(cfg, flow, outbound=False)
    ends = flow.peer, flow.dut
    datagram = forge.udp(1000, pair.port, MESSAGE, ends)
    injector = forge.Injector(second.cfg)
    injector.send(*ends, PROTO_UDP, datagram)
    ktap.equal(pair.receive(), MESSAGE, "the stack compares such packets now, test that")
    cfg.dut.sysctl(f"net.ipv4.conf.{second.cfg.netif}.rp_filter", 1)
    injector.send(*ends, PROTO_UDP, datagram)
    ktap.check(pair.receive(0.3) is None, "a packet in clear was accepted")


def replayed_elsewhere(cfg):
    """An old packet that comes again over another NIC, which does not know the SA: the stack has
    heard of its number by then."""
    second, flow = Second(cfg), packet.flows()[1]
    packet.protect(cfg, flow)
    pair = packet.link(cfg, flow, outbound=False)
    watch = cfg.watch()
    packet.arrives(pair)
    time.sleep(READING)
    frame = next(frame for _, frame in watch.stop().tap_frames if (one := parse(frame))
                 and one.esp and one.spi == flow.in_.spi)
    mac = bytes.fromhex(second.cfg.netif_mac.replace(":", ""))
    injector = forge.Injector(second.cfg)
    watch = cfg.watch()
    for _ in SMALL:
        injector.again(mac + frame[6:])
    ktap.check(pair.receive(0.3) is None, "an old packet was accepted")
    watch.stop()
    ktap.equal(watch.dut_errors, {"XfrmInStateSeqError": len(SMALL)}, "XFRM errors")


def _upper(cfg, name, *words):
    """A virtual interface on top of NETIF, until the end of the case."""
    ktap.defer(cfg.dut.run, "ip", "link", "del", name)
    return cfg.dut.run("ip", "link", "add", "name", name, *words)


def _refused_on(cfg, flow, name):
    """Neither states nor policies can be offloaded to this interface, nor policies of NETIF name
    it in their selector."""
    before = cfg.driver_counters()["ipsec_sa_refused"]
    for sa, direction in ((flow.out, "out"), (flow.in_, "in")):
        packet.refused(cfg, sa.add(f"offload packet dev {name} dir {direction}"),
                       "Invalid argument")  # the stack says no more
    for line in packet.dut_policies(cfg, flow):
        packet.refused(cfg, line.replace(f"dev {cfg.netif}", f"dev {name}"),
                       "Policy offload is not supported")
        packet.refused(cfg, line.replace(" dir ", f" dev {name} dir "),
                       OTHER_INTERFACE)
    selected = dataclasses.replace(flow.out, selector=f"sel src {flow.dut} dst {flow.peer} "
                                   f"dev {name}")
    packet.refused(cfg, selected.add(packet.offload(cfg, "out")), OTHER_INTERFACE)
    ktap.equal(cfg.driver_counters()["ipsec_sa_refused"] - before, 1, "SAs refused by the driver")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state") + cfg.dut.cmd("ip", "xfrm", "policy"), "",
               "states and policies after refusals")


def vlan(cfg):
    """The route goes over a VLAN on top of the NIC: the stack drops what the policies protect. The
    VLAN itself has no offload."""
    made = _upper(cfg, "dutvlan", "link", cfg.netif, "type", "vlan", "id", str(VLAN))
    if made.returncode:
        raise ktap.Skip(f"needs VLAN devices: {made.stderr.strip()}")
    cfg.dut.ip("link set dutvlan up", f"addr add {env.DUT_VLAN4}/32 dev dutvlan",
               f"route add {env.PEER_VLAN4}/32 dev dutvlan src {env.DUT_VLAN4}",
               f"neigh replace {env.PEER_VLAN4} lladdr {cfg.peer_mac} dev dutvlan nud permanent")
    flow = xfrm.Flow(env.DUT_VLAN4, env.PEER_VLAN4, reqid=REQID)
    _refused_on(cfg, flow, "dutvlan")
    packet.protect(cfg, flow)
    watch = cfg.watch()
    ktap.check(not traffic.reachable(cfg.dut, flow.dut, flow.peer, timeout=0.2), "a packet passed")
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")
    ktap.equal(watch.dut_errors, {"XfrmOutError": 1}, "XFRM errors")


def bridge(cfg):
    """A bridge with the NIC as a port has no offload, either."""
    made = _upper(cfg, "dutbridge", "type", "bridge")
    if made.returncode:
        raise ktap.Skip(f"needs bridges: {made.stderr.strip()}")
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} master dutbridge")
    _refused_on(cfg, packet.flows()[1], "dutbridge")


CASES = [beside, both, state_elsewhere, routed_elsewhere, clear_elsewhere, replayed_elsewhere, vlan,
         bridge]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
