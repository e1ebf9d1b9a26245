#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: the NIC adds and removes all of ESP, Linux's software ESP is the peer.

The stack hands over packets in clear and believes what the driver says of received ones, so each
case also looks at what must not pass.
"""

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, forge, ktap, packet, proc, traffic, vlan, xfrm  # noqa: E402
from ksft.frames import PROTO_ESP, PROTO_UDP  # noqa: E402
from ksft.packet import REQID, SMALL  # noqa: E402

HOLE_PORT = 500
MESSAGE = b"espnic packet"
VLAN_TAG = b"\x81\x00\x00" + bytes([vlan.NUMBER])
MORE_FRAGMENTS, AT_40 = 0x2000, 5
NO_OPERATIONS = bytes([1, 1, 1, 0])


def _exercise(cfg, flow):
    ktap.diag(flow.name)
    packet.protect(cfg, flow)
    packet.exercise(cfg, flow)


def tunnel_4_in_4(cfg):
    """IPv4 in IPv4."""
    _exercise(cfg, packet.tunnel(cfg, 4, 4))


def tunnel_6_in_6(cfg):
    """IPv6 in IPv6."""
    _exercise(cfg, packet.tunnel(cfg, 6, 6))


def tunnel_4_in_6(cfg):
    """IPv4 in IPv6."""
    _exercise(cfg, packet.tunnel(cfg, 4, 6))


def tunnel_6_in_4(cfg):
    """IPv6 in IPv4."""
    _exercise(cfg, packet.tunnel(cfg, 6, 4))


def transport_4(cfg):
    """Transport mode over IPv4."""
    _exercise(cfg, esp.direct(outer=4, reqid=REQID))


def transport_6(cfg):
    """Transport mode over IPv6."""
    _exercise(cfg, esp.direct(outer=6, reqid=REQID))


def cbc(cfg):
    """AES-CBC with HMAC-SHA-256, whose IVs the NIC draws."""
    flow = esp.inner4(outer=4, reqid=REQID, algorithm=algo.cbc(128, "sha256"))
    packet.protect(cfg, flow)
    watch = cfg.watch()
    packet.prove(cfg, watch, traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, esp.SIZES))


def clear_is_dropped(cfg):
    """What the peer sends in clear, although a policy protects it, is dropped and counted."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    ktap.defer(link.close)
    ktap.check(link.send(MESSAGE) and link.receive() == MESSAGE, "protected, it did not arrive")
    xfrm.flush(cfg.peer)
    watch = cfg.watch()
    for _ in range(len(SMALL)):
        link.send(MESSAGE)
    ktap.check(link.receive() is None, "a datagram in clear was accepted")
    watch.stop()
    packet.only(watch, rx_drop_clear=len(SMALL))


def nothing_leaves_in_clear(cfg):
    """Without an SA no packet of the policy's leaves."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)
    cfg.dut.ip(flow.out.delete())
    watch = cfg.watch()
    ktap.check(not traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
               "a packet passed without an SA")
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")


def frames_by_hand(cfg):
    """Frames of a packet socket are looked at, too: protected, and dropped without an SA or behind
    a VLAN tag."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    frames = packet.Frames(cfg)
    datagram = forge.ip(flow.dut_inner, flow.peer_inner, PROTO_UDP, forge.udp(1000, 2000, MESSAGE))
    watch = cfg.watch()
    frames.send(datagram)
    frames.send(datagram, VLAN_TAG)
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 1, "ESP packets sent")
    watch.expect_counters({"ipsec_packet_tx_packets": 1})
    packet.only(watch, tx_drop_form=1)
    cfg.dut.ip(flow.out.delete())
    watch = cfg.watch()
    frames.send(datagram)
    watch.stop().prove_no_plaintext()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent without an SA")
    packet.only(watch, tx_drop_no_sa=1)


def behind_tags(cfg):
    """A packet that came in clear is dropped behind any number of VLAN tags while a policy may be
    for it, and passes the driver when there is none."""
    flow = esp.direct(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    # Without an interface for it the NIC drops what is in the VLAN.
    vlan.add(cfg.dut, cfg.netif, "dutvlan")
    ktap.defer(cfg.dut.ip, "link del dutvlan")
    injector, datagram = forge.Injector(cfg), forge.udp(1000, 2000, MESSAGE)

    def send():
        watch = cfg.watch()
        for count in range(5):
            injector.send(flow.peer, flow.dut, PROTO_UDP, datagram, tags=VLAN_TAG * count)
        return watch.stop()

    packet.only(send(), rx_drop_clear=5)
    xfrm.flush(cfg.dut)
    watch = send()
    packet.only(watch)
    ktap.at_least(watch.driver.get("rx_packets", 0), 5, "packets received")


def blocked(cfg):
    """What a policy blocks is dropped in either direction, also where the stack is not asked."""
    ktap.defer(xfrm.flush, cfg.dut)
    for src, dst, direction in ((env.DUT4, env.PEER4, "out"), (env.PEER4, env.DUT4, "in")):
        cfg.dut.ip(f"xfrm policy add src {src} dst {dst} proto udp dir {direction} priority 1 "
                   f"action block offload packet dev {cfg.netif}")
    frames, injector = packet.Frames(cfg), forge.Injector(cfg)
    datagram = forge.udp(1000, 2000, MESSAGE)
    watch = cfg.watch()
    frames.send(forge.ip(env.DUT4, env.PEER4, PROTO_UDP, datagram))
    injector.send(env.PEER4, env.DUT4, PROTO_UDP, datagram)
    watch.stop()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
    packet.only(watch, tx_drop_blocked=1, rx_drop_blocked=1)


def unclear_fragment(cfg):
    """A fragment without the ports that a policy names does not go out in clear."""
    flow = esp.direct(outer=4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut)
    cfg.dut.ip(f"xfrm policy add src {env.DUT4} dst {env.PEER4} proto udp dport 2000 dir out "
               f"offload packet dev {cfg.netif} tmpl src {env.DUT4} dst {env.PEER4} proto esp "
               f"reqid {REQID} mode transport", flow.out.add(packet.offload(cfg, "out")))
    frames = packet.Frames(cfg)
    watch = cfg.watch()
    frames.send(forge.ip(env.DUT4, env.PEER4, PROTO_UDP, bytes(32), fragment=AT_40))
    watch.stop()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
    packet.only(watch, tx_drop_unclear=1)


def esp_left_alone(cfg):
    """ESP that the NIC does not touch, because of IPv4 options, does not reach the stack, whose
    replay window stands still."""
    flow = esp.direct(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    body = flow.in_.spi.to_bytes(4, "big") + bytes(60)
    watch = cfg.watch()
    forge.Injector(cfg).send(flow.in_.src, flow.in_.dst, PROTO_ESP, body, options=NO_OPERATIONS)
    watch.stop()
    packet.only(watch, rx_drop_esp=1)
    ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")


def clear_fragments(cfg):
    """Fragments in clear, with and without the start of the packet, are dropped as whole packets
    are."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    injector = forge.Injector(cfg)
    watch = cfg.watch()
    payload = forge.udp(1000, 2000, bytes(72))
    for part, fragment in ((payload[:40], MORE_FRAGMENTS), (payload[40:], AT_40)):
        injector.send(flow.peer_inner, flow.dut_inner, PROTO_UDP, part, fragment=fragment)
    watch.stop()
    packet.only(watch, rx_drop_clear=2)


def deleted_policy(cfg):
    """A policy that is deleted has no effect any more, but for a moment for packets that may have
    been under way: they pass in clear, both ways."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)
    xfrm.flush(cfg.dut, cfg.peer)
    watch = cfg.watch()
    ends = flow.dut_inner, flow.peer_inner
    proc.wait_until(lambda: traffic.reachable(cfg.dut, *ends, timeout=0.2), "packets in clear pass")
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)
    traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, SMALL)
    watch.stop()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")


def holes(cfg):
    """Policies for IKE let their port pass in clear, both ways, beside the policies of an SA."""
    flow = esp.direct(outer=4, reqid=REQID, priority=2)
    packet.protect(cfg, flow)
    for ns, words in ((cfg.dut, f"offload packet dev {cfg.netif}"), (cfg.peer, "")):
        for direction in ("out", "in"):
            own, other = (env.DUT4, env.PEER4) if ns is cfg.dut else (env.PEER4, env.DUT4)
            src, dst = (own, other) if direction == "out" else (other, own)
            ns.ip(f"xfrm policy add src {src} dst {dst} proto udp sport {HOLE_PORT} "
                  f"dport {HOLE_PORT} dir {direction} priority 1 action allow {words}")
    watch = cfg.watch()
    ends = []
    for ns, address in ((cfg.dut, env.DUT4), (cfg.peer, env.PEER4)):
        with ns:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ktap.defer(sock.close)
        sock.bind((address, HOLE_PORT))
        sock.settimeout(5)
        ends.append(sock)
    own, other = ends
    own.sendto(MESSAGE, (env.PEER4, HOLE_PORT))
    ktap.equal(other.recv(100), MESSAGE, "datagram to the peer")
    other.sendto(MESSAGE, (env.DUT4, HOLE_PORT))
    ktap.equal(own.recv(100), MESSAGE, "datagram from the peer")
    watch.stop()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")


def shown(cfg):
    """`ip -s xfrm state` shows the packets that were sent."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)

    def counted():
        text = cfg.dut.cmd("ip", "-s", *flow.out.get().split())
        return f"{count}(packets)" in text
    proc.wait_until(counted, "the SA's packets in `ip -s xfrm state`")


def hard_limit(cfg):
    """An SA with a limit of packets stops there, to the packet, and expires."""
    flow = esp.inner4(outer=4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*packet.dut_policies(cfg, flow))
    limit = f"limit packet-soft 3 limit packet-hard 5 {packet.offload(cfg, 'out')}"
    cfg.dut.ip(flow.out.add(limit), flow.in_.add(packet.offload(cfg, "in")))
    watch = cfg.watch()
    pinger = traffic.Pinger(cfg.dut, flow.dut_inner, flow.peer_inner)
    ktap.defer(pinger.close)
    for _ in range(9):
        try:
            pinger.send(MESSAGE)
        except OSError:
            break
    proc.wait_until(lambda: xfrm.state_text(cfg.dut, flow.out) is None, "the SA expires")
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 5, "ESP packets sent")


CASES = [tunnel_4_in_4, tunnel_6_in_6, tunnel_4_in_6, tunnel_6_in_4, transport_4, transport_6, cbc,
         clear_is_dropped, nothing_leaves_in_clear, frames_by_hand, behind_tags, blocked,
         unclear_fragment, esp_left_alone, clear_fragments, deleted_policy, holes, shown,
         hard_limit]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
