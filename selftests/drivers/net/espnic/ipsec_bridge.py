#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Somebody takes the interface's frames away: software decrypts, and nothing goes on in clear.

The interface is a port of a bridge, its addresses are at a veth behind another port. A veth loses
the word that the NIC has decrypted a packet, and another port could be one to the outside. So the
driver takes the inbound SAs out of the NIC for that time. Outbound packets leave through the bridge
as software has encrypted them, because their route is not that of the NIC.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, proc, sniff, traffic, xfrm  # noqa: E402
from ksft.frames import parse  # noqa: E402

BRIDGE, PORT, HOST, VLAN, CHILD = "br0", "port0", "host0", "vlan0", "child0"
HOST_MAC = "02:00:00:00:b1:0d"
MARKER = b"espnic: this text is for the host alone"
LEFT = "ipsec_sa_left_to_software"
DIVERTED = "ipsec_rx_drop_diverted"
ANSWER_TIME = 20.0


def _make(cfg, name, *words):
    """A virtual interface of the side under test, for the rest of the case."""
    made = cfg.dut.run("ip", "link", "add", "name", name, *words)
    if made.returncode:
        raise ktap.Skip(f"cannot make {name}, see the file config: {made.stderr.strip()}")
    ktap.defer(cfg.dut.run, "ip", "link", "del", name)


def _neighbours(cfg, mac):
    """The peer knows the side under test by this MAC address."""
    cfg.peer.ip(*[f"neigh replace {address} lladdr {mac} dev {cfg.peerdev} nud permanent"
                  for address in (env.DUT4, env.DUT6)])


class Bridge:
    """A bridge with a veth, at whose other end the addresses of NETIF can be."""

    def __init__(self, cfg):
        self.cfg = cfg
        _make(cfg, BRIDGE, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        _make(cfg, PORT, "type", "veth", "peer", "name", HOST)
        cfg.dut.ip(f"link set {HOST} address {HOST_MAC}",
                   *[f"link set {name} addrgenmode none" for name in (BRIDGE, PORT, HOST)],
                   f"link set {PORT} master {BRIDGE}",
                   *[f"link set {name} up" for name in (BRIDGE, PORT, HOST)])
        ktap.defer(self.leave)
        self.sniffer = sniff.Sniffer(cfg.dut, HOST)

    def join(self):
        """NETIF becomes a port; its addresses move to the veth."""
        cfg = self.cfg
        cfg.dut.ip(f"addr del {env.DUT4}/24 dev {cfg.netif}",
                   f"addr del {env.DUT6}/64 dev {cfg.netif}",
                   f"link set {cfg.netif} master {BRIDGE}",
                   f"addr add {env.DUT4}/24 dev {HOST}",
                   f"addr add {env.DUT6}/64 dev {HOST} nodad",
                   *[f"neigh replace {address} lladdr {cfg.peer_mac} dev {HOST} nud permanent"
                     for address in (env.PEER4, env.PEER6)])
        _neighbours(cfg, HOST_MAC)
        return self

    def leave(self):
        """As it was."""
        cfg = self.cfg
        cfg.dut.ip(f"link set {cfg.netif} nomaster", f"addr flush dev {HOST}")
        _neighbours(cfg, cfg.netif_mac)
        cfg.configure()


def _inbound(cfg, count, when):
    """Wait until the NIC holds so many inbound SAs, and as many outbound ones as ever."""
    cfg.need_control()
    held = cfg.nic_counters
    proc.wait_until(lambda: held()["ipsec_sa_in"] == count, f"{when}: {count} inbound SAs",
                    ANSWER_TIME)


def _start(cfg, flow=None):
    cfg.need_control()
    flow = flow or esp.direct()
    esp.protect(cfg, flow)
    esp.exercise(cfg, flow, [56], 4096)
    return flow


def _back(cfg, flow, bridge):
    """NETIF is no port any more: the NIC has the SA again and does all of the work."""
    bridge.leave()
    _inbound(cfg, 1, "no port any more")
    esp.exercise(cfg, flow, [56], 4096)


def _in_software(cfg, flow):
    """Traffic of both directions passes, and the NIC decrypts none of it."""
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56, 1300])
    traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [56, 1300])
    traffic.tcp(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, esp.STREAM)
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, esp.STREAM)
    watch.stop().prove_no_errors()
    ktap.at_least(len(watch.esp(cfg.peer_mac)), 10, "ESP packets received")
    watch.expect_counters({"ipsec_rx_packets": 0, DIVERTED: 0})
    return watch


def _veth(cfg, gro):
    cfg.feature("generic-receive-offload", gro)
    flow, bridge = _start(cfg), Bridge(cfg)
    left = cfg.driver_counters()[LEFT]
    bridge.join()
    _inbound(cfg, 0, "as a port")
    ktap.equal(cfg.driver_counters()[LEFT] - left, 1, LEFT)
    _in_software(cfg, flow)
    _back(cfg, flow, bridge)


def veth_gro_off(cfg):
    """SAs that exist go to software and come back; each packet by itself."""
    _veth(cfg, "off")


def veth_gro_on(cfg):
    """The same with receive offload."""
    _veth(cfg, "on")


def extended_numbers(cfg):
    """An ESN SA goes and comes back in a later round of numbers."""
    cfg.need_control()
    flow, start = esp.direct(), (3 << 32) - 4
    esp.protect_esn(cfg, flow, 64, start, start)
    bridge = Bridge(cfg).join()
    _inbound(cfg, 0, "as a port")
    _in_software(cfg, flow)
    _back(cfg, flow, bridge)
    ktap.equal(xfrm.numbers(cfg.dut, flow.in_).seq >> 32, 3, "high half of the number received")


def added_meanwhile(cfg):
    """An SA that comes while NETIF is a port waits for its end in software; one that goes is
    forgotten."""
    cfg.need_control()
    flow, other = esp.direct(), esp.direct(6, reqid=2)
    bridge = Bridge(cfg).join()
    esp.protect(cfg, flow)
    cfg.dut.ip(other.in_.add(xfrm.offload(cfg.netif, "in")))
    _inbound(cfg, 0, "as a port")
    _in_software(cfg, flow)
    cfg.dut.ip(other.in_.delete())
    _back(cfg, flow, bridge)


def reset_meanwhile(cfg):
    """A reset leaves them where they are."""
    cfg.need_request("reset")
    flow, bridge = _start(cfg), Bridge(cfg)
    bridge.join()
    _inbound(cfg, 0, "as a port")
    cfg.reset(ANSWER_TIME)
    esp.expect_live(cfg, 1, "after the reset")
    _inbound(cfg, 0, "after the reset")
    _in_software(cfg, flow)
    _back(cfg, flow, bridge)


def nothing_in_clear(cfg):
    """The NIC does not destroy the SA: packets that it decrypts are dropped, and go nowhere."""
    cfg.need_request("refuse-destroy")
    flow, bridge = _start(cfg), Bridge(cfg)
    before = cfg.driver_counters()["ipsec_control_errors"]
    cfg.control.fault(cfg.nic, "misbehave", "sa", "refuse-destroy", 1)
    bridge.join()
    proc.wait_until(lambda: cfg.driver_counters()["ipsec_control_errors"] > before,
                    "the NIC's refusal", ANSWER_TIME)
    watch = cfg.watch()
    link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    ktap.defer(link.close)
    for _ in range(3):
        ktap.check(link.send(MARKER), "a datagram could not be sent")
    watch.stop()
    watch.expect_counters({DIVERTED: 3})
    seen = [frame for _, frame in bridge.sniffer.frames()]
    ktap.check(not any(MARKER in frame for frame in seen), "plaintext behind the bridge")
    bridge.leave()
    esp.exercise(cfg, flow, [56], 4096)


def others_stay_ciphertext(cfg):
    """What passes through the bridge is what was on the wire."""
    flow, bridge = _start(cfg), Bridge(cfg)
    bridge.join()
    _inbound(cfg, 0, "as a port")
    bridge.sniffer.frames()
    watch = _in_software(cfg, flow)
    wire = {packet.payload for packet in watch.esp(cfg.peer_mac)}
    passed = [packet for packet in (parse(frame) for _, frame in bridge.sniffer.frames())
              if packet and packet.esp and packet.smac == cfg.peer_mac]
    ktap.equal(len(passed), len(watch.esp(cfg.peer_mac)), "packets behind the bridge")
    ktap.check({packet.payload for packet in passed} == wire, "packets have changed on their way")


def vlan_in_a_bridge(cfg):
    """A VLAN on top of NETIF is no reason to leave SAs to software, unless it is a port itself."""
    flow = _start(cfg)
    _make(cfg, VLAN, "link", cfg.netif, "type", "vlan", "id", "7")
    cfg.dut.ip(f"link set {VLAN} addrgenmode none up")
    esp.exercise(cfg, flow, [56], 4096)
    Bridge(cfg)
    cfg.dut.ip(f"link set {VLAN} master {BRIDGE}")
    _inbound(cfg, 0, "with the VLAN as a port")
    _in_software(cfg, flow)
    cfg.dut.ip(f"link set {VLAN} nomaster")
    _inbound(cfg, 1, "with the VLAN alone")
    esp.exercise(cfg, flow, [56], 4096)


def macvlan(cfg):
    """A macvlan takes frames away as long as it is there."""
    flow = _start(cfg)
    _make(cfg, CHILD, "link", cfg.netif, "type", "macvlan", "mode", "bridge")
    _inbound(cfg, 0, "with a macvlan")
    _in_software(cfg, flow)
    cfg.dut.ip(f"link del {CHILD}")
    _inbound(cfg, 1, "without")
    esp.exercise(cfg, flow, [56], 4096)


CASES = [veth_gro_off, veth_gro_on, extended_numbers, added_meanwhile, reset_meanwhile,
         nothing_in_clear, others_stay_ciphertext, vlan_in_a_bridge, macvlan]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
