#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Modes and families: tunnels of all four kinds, ESP in UDP, and what must fall to software.

Which path was taken is proved from the wire and from two independent counters: the NIC's engine
must have worked on all ESP packets of a case, or on none.
"""

import itertools
import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, proc, traffic, vlan, xfrm  # noqa: E402

COUNT = 5
STREAM = 256 * 1024
OTHER_PORT = 4501
GRO = "generic-receive-offload"
MARK = 0x2a
MARK_RULES = f"""table inet espnic_mark {{
    chain input {{
        type filter hook input priority 0
        meta l4proto icmp meta mark {MARK:#x} counter
    }}
}}
"""
IP_OPTIONS = socket.IP_OPTIONS
NO_OPERATIONS = bytes([1, 1, 1, 0])


def _case(cfg, flow):
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    return esp.exercise(cfg, flow)


def tunnel_4_in_4(cfg):
    """IPv4 in IPv4."""
    _case(cfg, esp.inner4(outer=4))


def tunnel_6_in_4(cfg):
    """IPv6 in IPv4."""
    _case(cfg, esp.inner6(outer=4))


def tunnel_4_in_6(cfg):
    """IPv4 in IPv6."""
    _case(cfg, esp.inner4(outer=6))


def tunnel_6_in_6(cfg):
    """IPv6 in IPv6, CBC."""
    _case(cfg, esp.inner6(outer=6, algorithm=algo.cbc(256, "sha256")))


def tunnel_any_inner(cfg):
    """A tunnel for both families at once (`flag af-unspec`)."""
    flow = esp.inner4(outer=4)
    other = esp.inner6(outer=4)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    window = f"{xfrm.WINDOW} flag af-unspec"
    cfg.peer.ip(flow.in_.add("flag af-unspec"), flow.out.add(window), *flow.peer_policies(),
                *other.peer_policies())
    cfg.dut.ip(flow.out.add("flag af-unspec " + xfrm.offload(cfg.netif, "out")),
               flow.in_.add("flag af-unspec " + xfrm.offload(cfg.netif, "in")),
               *flow.dut_policies(), *other.dut_policies())
    watch = cfg.watch()
    for one in (flow, other):
        traffic.ping(cfg.dut, one.dut_inner, one.peer_inner, [0, 100, 1000])
    watch.stop().prove_offload(6)


def flags(cfg):
    """Flags that only concern the outer IP header, which is the stack's: no reason to refuse."""
    flow = esp.inner4(outer=4)
    out, in_ = (f"{words} {xfrm.offload(cfg.netif, direction)}" for words, direction in (
        ("flag noecn nopmtudisc extra-flag dont-encap-dscp", "out"),
        ("flag noecn decap-dscp icmp", "in")))
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(flow.out.add(out), flow.in_.add(in_), *flow.dut_policies())
    esp.shown_as_offloaded(cfg, flow)
    esp.exercise(cfg, flow)


def _udp(cfg, **kwargs):
    """Single packets are the NIC's. Trains of segments are software's, because the stack gives
    them a trailer that they must not have; both kinds share the SA, and no number may repeat."""
    kwargs.setdefault("encap", xfrm.ENCAP_PORT)
    flow = xfrm.Flow(env.DUT4, env.PEER4, **kwargs)
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, esp.SIZES)
    count += traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, esp.SIZES)
    watch.stop().prove_offload(count)
    for mac in (cfg.netif_mac, cfg.peer_mac):
        ktap.check(all(packet.encapsulated for packet in watch.esp(mac)), "ESP without UDP")
    watch = cfg.watch()
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, STREAM)
    watch.stop().prove_no_errors()
    sent, received = watch.esp(cfg.netif_mac), watch.esp(cfg.peer_mac)
    ktap.at_least(len(sent), STREAM // 1460, "ESP packets of the TCP stream")
    for what in ("seq", "long_iv" if flow.algorithm.block == 16 else "iv"):
        ktap.equal(len({getattr(packet, what) for packet in sent}), len(sent),
                   f"different values of {what}")
    watch.expect_counters({"ipsec_rx_packets": len(received)})


def udp_transport(cfg):
    """ESP in UDP, transport mode."""
    _udp(cfg)


def udp_tunnel(cfg):
    """ESP in UDP, tunnel mode."""
    _udp(cfg, mode="tunnel", dut_inner=env.DUT_INNER4, peer_inner=env.PEER_INNER4)


def _udp_ike(cfg, **kwargs):
    """With the sockets of IKE daemons, whose policies let everything pass; with and without receive
    offload, of the interface and of the sockets."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # sockets take policies when XFRM's user interface is loaded
    for gro, socket_gro in itertools.product(("on", "off"), (False, True)):
        cfg.feature(GRO, gro)
        flow = xfrm.Flow(env.DUT4, env.PEER4, encap=OTHER_PORT, **kwargs)
        sockets = [esp.encap_socket(ns, flow.encap, bypass=True, gro=socket_gro)
                   for ns in (cfg.dut, cfg.peer)]
        flow.install(cfg.dut, cfg.peer, cfg.netif)
        watch = cfg.watch()
        count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, esp.SIZES)
        count += traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, esp.SIZES)
        watch.stop().prove_offload(count)
        traffic.tcp(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, STREAM)
        xfrm.flush(cfg.dut, cfg.peer)
        for sock in sockets:
            sock.close()


def udp_ike_tunnel(cfg):
    """ESP in UDP as IKE daemons use it: a tunnel, and a socket with policies of its own."""
    _udp_ike(cfg, mode="tunnel", dut_inner=env.DUT_INNER4, peer_inner=env.PEER_INNER4)


def udp_ike_transport(cfg):
    """The same in transport mode."""
    _udp_ike(cfg)


def udp_ike_port(cfg):
    """IKE and keepalives on the port of ESP in UDP arrive at its socket, unharmed."""
    flow = xfrm.Flow(env.DUT4, env.PEER4, mode="tunnel", dut_inner=env.DUT_INNER4,
                     peer_inner=env.PEER_INNER4, encap=xfrm.ENCAP_PORT)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)
    own, other = (esp.encap_socket(ns, flow.encap, bypass=True) for ns in (cfg.dut, cfg.peer))
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    own.settimeout(5)
    for number in range(COUNT):
        other.sendto(b"\xff", (env.DUT4, flow.encap))  # a keepalive, which is dropped
        message = bytes(4) + b"espnic IKE %d" % number
        other.sendto(message, (env.DUT4, flow.encap))
        ktap.equal(own.recv(100), message, "message at the socket")
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)


def output_mark(cfg):
    """What an inbound SA decrypts carries its output mark, in the NIC as in software."""
    proc.need("nft")
    cfg.dut.cmd("nft", "-f", "-", stdin=MARK_RULES)
    ktap.defer(cfg.dut.cmd, "nft", "delete", "table", "inet", "espnic_mark")
    counts = []
    for dev in (None, cfg.netif):
        flow = esp.inner4()
        ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
        cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
        out, in_ = flow.dut_states(dev)
        cfg.dut.ip(out, f"{in_} output-mark {MARK:#x}", *flow.dut_policies())
        before = _marked(cfg)
        traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [56] * COUNT)
        counts.append(_marked(cfg) - before)
        xfrm.flush(cfg.dut, cfg.peer)
    ktap.equal(counts, [COUNT, COUNT], "marked packets, in software and in the NIC")


def _marked(cfg):
    """Packets with the mark that have reached the side under test."""
    rules = json.loads(cfg.dut.cmd("nft", "-j", "list", "table", "inet", "espnic_mark"))
    return next(part["counter"]["packets"] for entry in rules["nftables"] if "rule" in entry
                for part in entry["rule"]["expr"] if "counter" in part)


def without_policy(cfg):
    """Inner addresses that no policy covers: the stack takes what the NIC has decrypted for
    sound, unless packets without a policy are blocked."""
    flow = esp.inner4()
    esp.protect(cfg, flow)
    for line in flow.dut_policies():
        if "dir in" in line:
            cfg.dut.ip(line.replace(" add ", " delete ").partition(" priority")[0])
    ktap.check(traffic.reachable(cfg.peer, flow.peer_inner, flow.dut_inner),
               "the stack is stricter than operations.rst says")
    ktap.defer(cfg.dut.ip, "xfrm policy setdefault in accept fwd accept out accept")
    cfg.dut.ip("xfrm policy setdefault in block fwd block out accept")
    ktap.check(not traffic.reachable(cfg.peer, flow.peer_inner, flow.dut_inner),
               "a packet without a policy was accepted")
    cfg.dut.ip(*[line for line in flow.dut_policies() if "dir in" in line])
    traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [56] * COUNT)


def udp_cbc(cfg):
    """ESP in UDP, AES-CBC with HMAC-SHA1."""
    _udp(cfg, algorithm=algo.cbc(128, "sha1"))


def udp_other_port(cfg):
    """ESP in UDP on a port of its own, which nothing but the SA tells from other UDP."""
    _udp(cfg, encap=OTHER_PORT)


def udp_new_port(cfg):
    """The other side's NAT takes another port (RFC 7296 section 2.23): `ip xfrm state update`
    changes it in the stack, which tells no driver."""
    flow = xfrm.Flow(env.DUT4, env.PEER4, encap=xfrm.ENCAP_PORT)
    esp.protect(cfg, flow)
    esp.encap_socket(cfg.peer, OTHER_PORT, bypass=True)
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    words = flow.out.add(xfrm.offload(cfg.netif, "out"), "update")
    old = f"espinudp {xfrm.ENCAP_PORT} {xfrm.ENCAP_PORT}"
    ktap.contains(words, old, "the command")
    cfg.dut.ip(words.replace(old, f"espinudp {xfrm.ENCAP_PORT} {OTHER_PORT}"))
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut, flow.peer, esp.SIZES)
    watch.stop().prove_offload(count)
    ports = {packet.payload[2:4] for packet in watch.esp(cfg.netif_mac)}
    ktap.equal(ports, {OTHER_PORT.to_bytes(2, "big")}, "destination ports on the wire")


def _in_software(cfg, watch, sent, received=None):
    """All went well, and the stack encrypted all ESP packets, none the NIC.

    received=None: the NIC has decrypted as many.
    """
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), sent, "ESP packets sent")
    ktap.equal(len(watch.esp(cfg.peer_mac)), received or sent, "ESP packets received")
    decrypted = 0 if received else sent
    for who, stats in (("driver", watch.driver), ("NIC", watch.nic)):
        if stats or who == "driver":
            ktap.equal(stats.get("ipsec_tx_packets", 0), 0, f"{who}: packets encrypted")
            ktap.equal(stats.get("ipsec_rx_packets", 0), decrypted, f"{who}: packets decrypted")


def nested(cfg):
    """ESP in ESP: the stack encrypts both; of what comes in, the NIC decrypts the outer one.

    Without GRO, which forgets the outer SA when it meets the inner ESP, offloaded or not.
    """
    cfg.feature(GRO, "off")
    inside = xfrm.Flow(env.DUT_INNER4, env.PEER_INNER4, reqid=1)
    outside = esp.inner4(outer=4, reqid=2)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    template = "tmpl src {} dst {} proto esp reqid {} mode {}".format
    for ns, own in ((cfg.dut, True), (cfg.peer, False)):
        for outbound in (True, False):
            pair = [(flow.out if outbound == own else flow.in_) for flow in (inside, outside)]
            words = " ".join(template(sa.src, sa.dst, sa.reqid, sa.mode) for sa in pair)
            ns.ip(f"xfrm policy add src {pair[0].src} dst {pair[0].dst} "
                  f"dir {'out' if outbound else 'in'} {words}")
        for flow in (inside, outside):
            ns.ip(*(flow.dut_states(cfg.netif) if own else flow.peer_states()))
    for flow in (inside, outside):
        esp.shown_as_offloaded(cfg, flow)
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT_INNER4, env.PEER_INNER4, [0, 56, 300, 800, 1000])
    _in_software(cfg, watch, COUNT)


def vlan_over_offloading_device(cfg):
    """SAs of the NIC, but the route goes over a VLAN on top of it: software, both ways."""
    vlan.add_both(cfg)
    esp.protect(cfg, xfrm.Flow(env.DUT_VLAN4, env.PEER_VLAN4))
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT_VLAN4, env.PEER_VLAN4, [56] * COUNT)
    _in_software(cfg, watch, COUNT, COUNT)


def vlan_device(cfg):
    """SAs of the VLAN device, which offloads nothing: the stack makes software SAs of them."""
    vlan.add_both(cfg)
    flow = xfrm.Flow(env.DUT_VLAN4, env.PEER_VLAN4)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    flow.install(cfg.dut, cfg.peer, "dutvlan")
    ktap.check("offload" not in xfrm.state_text(cfg.dut, flow.out), "shown as offloaded")
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT_VLAN4, env.PEER_VLAN4, [56] * COUNT)
    _in_software(cfg, watch, COUNT, COUNT)


def ip_options(cfg):
    """Packets with IPv4 options: software, both ways; those without stay in the NIC."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    links = [traffic.Datagrams(cfg.dut, env.DUT4, cfg.peer, env.PEER4),
             traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)]
    watch = cfg.watch()
    for link in links:
        ktap.defer(link.close)
        link.option(socket.IPPROTO_IP, IP_OPTIONS, NO_OPERATIONS)
        for _ in range(COUNT):
            ktap.check(link.send(b"espnic options") and link.receive() == b"espnic options",
                       "a datagram with IPv4 options did not arrive")
    _in_software(cfg, watch, COUNT, COUNT)
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * COUNT)
    watch.stop().prove_offload(COUNT)


def fragments(cfg):
    """A ping larger than the MTU: the stack encrypts it, then cuts it, and the other way."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [3000])
    watch.stop().prove_no_errors()
    watch.expect_counters({"ipsec_tx_packets": 0, "ipsec_rx_packets": 0})
    parts = [packet for packet in watch.packets() if packet.fragment]
    ktap.at_least(len(parts), 6, "fragments on the wire")


CASES = [tunnel_4_in_4, tunnel_6_in_4, tunnel_4_in_6, tunnel_6_in_6, tunnel_any_inner,
         flags, udp_transport, udp_tunnel, udp_cbc, udp_other_port, udp_new_port,
         udp_ike_tunnel, udp_ike_transport, udp_ike_port, output_mark, without_policy, nested,
         vlan_over_offloading_device, vlan_device, ip_options, fragments]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
