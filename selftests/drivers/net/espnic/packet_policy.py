#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: which policy is for a packet, and what it says.

Frames are made by hand where the stack would decide first, so that the driver alone is asked.
"""

import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, netlink, pace, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

REQID = 77
PROTO_ICMP, PROTO_TCP = 1, 6
MESSAGE = b"espnic policy"
IKE, NAT_T = 500, 4500
MANY, SECONDS = 1000, 10


def _policy(cfg, selector, direction="out", words="action block", verb="add"):
    """Arguments of `ip` for an offloaded policy."""
    return (f"xfrm policy {verb} {selector} dir {direction} {words} "
            f"offload packet dev {cfg.netif}")


def _between(direction, rest=""):
    own, other = (env.DUT4, env.PEER4) if direction == "out" else (env.PEER4, env.DUT4)
    return f"src {own} dst {other} {rest}"


class Probe:
    """Sends datagrams by hand both ways, and says which of them a policy has blocked."""

    def __init__(self, cfg):
        self._cfg = cfg
        self._frames, self._injector = packet.Frames(cfg), forge.Injector(cfg)

    def blocked(self, direction, payload, proto=PROTO_UDP, ends=None):
        """Whether a packet is dropped by a policy that blocks."""
        name = f"ipsec_packet_{'tx' if direction == 'out' else 'rx'}_drop_blocked"
        src, dst = ends or ((env.DUT4, env.PEER4) if direction == "out" else (env.PEER4, env.DUT4))
        packets = "tx_packets" if direction == "out" else "rx_packets"
        before = self._cfg.driver_counters()
        if direction == "out":
            self._frames.send(forge.ip(src, dst, proto, payload))
        else:
            self._injector.send(src, dst, proto, payload)

        def verdict():
            now = self._cfg.driver_counters()
            return [now[key] - before[key] for key in (name, packets)]
        counts = proc.wait_until(lambda: sum(found := verdict()) and found, "a verdict")
        return counts[0] == 1


def _udp(port, source=1000):
    return forge.udp(source, port, MESSAGE)


def _expect(probe, wanted, direction="out"):
    """`wanted` says of ports whether they are blocked."""
    found = {port: probe.blocked(direction, _udp(port)) for port in wanted}
    ktap.equal(found, wanted, f"ports that are blocked, {direction}")


def priorities(cfg):
    """The lowest priority number counts, whatever the order of installation and the size of the
    selector."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    for direction in ("out", "in"):
        wide, narrow = _between(direction), _between(direction, "proto udp dport 2000")
        for first, second in ((1, 2), (2, 1)):
            lines = [_policy(cfg, wide, direction, f"priority {first} action block"),
                     _policy(cfg, narrow, direction, f"priority {second} action allow")]
            for order in (lines, lines[::-1]):
                cfg.dut.ip(*order)
                _expect(probe, {2000: first == 1, 2001: True}, direction)
                xfrm.flush(cfg.dut)


def equal_priorities(cfg):
    """Of two policies with one priority the older counts."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    block = _policy(cfg, _between("out"), words="action block")
    allow = _policy(cfg, _between("out", "proto udp"), words="action allow")
    for order, blocked in (((block, allow), True), ((allow, block), False)):
        cfg.dut.ip(*order)
        _expect(probe, {2000: blocked})
        xfrm.flush(cfg.dut)


def holes_at_any_time(cfg):
    """IKE passes both ways beside a policy that protects all, whether the holes come before it or
    after it; nothing else does."""
    flow = esp.direct(outer=4, reqid=REQID, priority=1000)
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    protect = [line.replace(" tmpl ", f" offload packet dev {cfg.netif} tmpl ")
               for line in flow.dut_policies()]
    holes = [_policy(cfg, _between(direction, f"proto udp {end} {port}"), direction,
                     "priority 1 action allow")
             for direction in ("out", "in") for port in (IKE, NAT_T) for end in ("sport", "dport")]
    for lines in (holes + protect, protect + holes, holes[:4] + protect + holes[4:]):
        cfg.dut.ip(*lines)
        watch = cfg.watch()
        for direction in ("out", "in"):
            for port in (IKE, NAT_T):
                ktap.check(not probe.blocked(direction, _udp(port, port)), "IKE is blocked")
        ktap.equal(len(watch.stop().esp(cfg.netif_mac)), 0, "ESP packets sent")
        # the peer's ICMP errors, in clear, are dropped as they should be
        watch.expect_counters({"ipsec_packet_tx_drop_no_sa": 0})
        watch = cfg.watch()
        packet.Frames(cfg).send(forge.ip(env.DUT4, env.PEER4, PROTO_UDP, _udp(501)))
        forge.Injector(cfg).send(env.PEER4, env.DUT4, PROTO_UDP, _udp(501))
        watch.stop()
        packet.only(watch, tx_drop_no_sa=1, rx_drop_clear=1)
        xfrm.flush(cfg.dut)


def selectors(cfg):
    """Prefixes, ports, protocols, ICMP types and codes: only what a selector names is blocked."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    icmp = bytes([8, 0]) + bytes(6)
    other_type, other_code = bytes([13, 0]) + bytes(6), bytes([8, 1]) + bytes(6)
    tcp = (2000).to_bytes(2, "big") * 2 + bytes(8) + bytes([0x50]) + bytes(7)
    cases = (
        ("src 192.0.2.0/30 dst 192.0.2.0/24", (_udp(1), PROTO_UDP), None),
        ("src 192.0.2.0/31 dst 192.0.2.2/31", (_udp(1), PROTO_UDP), None),
        (_between("out", "proto udp sport 1000"), (_udp(1), PROTO_UDP), (_udp(1, 1001), PROTO_UDP)),
        (_between("out", "proto udp dport 7"), (_udp(7), PROTO_UDP), (_udp(8), PROTO_UDP)),
        (_between("out", "proto tcp"), (tcp, PROTO_TCP), (_udp(7), PROTO_UDP)),
        (_between("out", "proto icmp"), (other_type, PROTO_ICMP), (tcp, PROTO_TCP)),
        (_between("out", "proto icmp type 8"), (icmp, PROTO_ICMP), (other_type, PROTO_ICMP)),
        (_between("out", "proto icmp type 8 code 0"), (icmp, PROTO_ICMP),
         (other_code, PROTO_ICMP)),
        (f"src {env.DUT4} dst 192.0.2.3", None, (_udp(1), PROTO_UDP)),
        ("src 192.0.2.2/31 dst 0.0.0.0/0", None, (_udp(1), PROTO_UDP)),
    )
    for selector, inside, outside in cases:
        cfg.dut.ip(_policy(cfg, selector))
        ktap.check(not inside or probe.blocked("out", *inside), f"{selector}: not blocked")
        ktap.check(not outside or not probe.blocked("out", *outside), f"{selector}: blocked")
        xfrm.flush(cfg.dut)


def _rounds(cfg, lines, probe, wanted):
    cfg.dut.ip(*lines)
    _expect(probe, wanted)
    xfrm.flush(cfg.dut)


def older_and_younger(cfg):
    """Policies that come one by one count as those that were there before: by priority, and among
    equals by age."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    others = [_policy(cfg, _between("out", f"proto udp dport {port}")) for port in range(1, 100)]
    wide = _policy(cfg, _between("out", "proto udp"), words="priority 5 action block")
    for priority, first in ((4, False), (6, True), (5, True)):
        hole = _policy(cfg, _between("out", "proto udp dport 2000"),
                       words=f"priority {priority} action allow")
        for between in (others, others[:1], []):
            _rounds(cfg, [wide, *between, hole], probe, {2000: first, 2001: True})
    _rounds(cfg, [_policy(cfg, _between("out", "proto udp dport 2000"),
                          words="priority 5 action allow"), *others, wide], probe,
            {2000: False, 2001: True})


def ipv6(cfg):
    """Policies of IPv6 are for IPv6 alone."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    ends = (env.PEER6, env.DUT6)
    cfg.dut.ip(_policy(cfg, "src ::/0 dst 2001:db8:77::/64 proto udp dport 7", "in"))
    ktap.check(probe.blocked("in", _udp(7), ends=ends), "not blocked")
    ktap.check(not probe.blocked("in", _udp(8), ends=ends), "another port is blocked")
    ktap.check(not probe.blocked("in", _udp(7)), "IPv4 is blocked")


def not_ours(cfg):
    """Policies in software do not matter to the driver: frames by hand pass."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    for direction in ("out", "in"):
        cfg.dut.ip(f"xfrm policy add {_between(direction)} dir {direction} action block")
        ktap.check(not probe.blocked(direction, _udp(7)), "a policy in software blocks")


def _received(cfg, flow):
    """How many of three datagrams of the peer arrive."""
    link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    ktap.defer(link.close)
    for _ in range(3):
        ktap.check(link.send(MESSAGE), "a datagram could not be sent")
    count = 0
    while count < 3 and link.receive(0.3) is not None:
        count += 1
    return count


def _other_in_policy(cfg, flow, words):
    """With another inbound policy decrypted packets are dropped; with the right one they arrive."""
    packet.protect(cfg, flow)
    ktap.equal(_received(cfg, flow), 3, "control run: datagrams delivered")
    selector = f"src {flow.peer_inner} dst {flow.dut_inner}"
    cfg.dut.ip(f"xfrm policy delete {selector} dir in",
               f"xfrm policy add {selector} dir in offload packet dev {cfg.netif} tmpl {words}")
    watch = cfg.watch()
    ktap.equal(_received(cfg, flow), 0, "datagrams delivered")
    watch.stop()
    packet.only(watch, rx_drop_policy=3)


def in_policy_of_another_sa(cfg):
    """What an SA with another request id has protected does not pass."""
    flow = esp.inner4(outer=4, reqid=REQID)
    _other_in_policy(cfg, flow, f"src {flow.peer} dst {flow.dut} proto esp reqid 78 mode tunnel")


def in_policy_of_another_mode(cfg):
    """What came through a tunnel does not pass under a policy for transport mode."""
    flow = esp.inner4(outer=4, reqid=REQID)
    _other_in_policy(cfg, flow, f"src {flow.peer_inner} dst {flow.dut_inner} proto esp "
                     f"reqid {REQID} mode transport")


def in_policy_of_another_tunnel(cfg):
    """What came through a tunnel between other ends does not pass."""
    flow = esp.inner4(outer=4, reqid=REQID)
    _other_in_policy(cfg, flow, f"src 192.0.2.77 dst {flow.dut} proto esp reqid {REQID} "
                     "mode tunnel")


def update_under_traffic(cfg):
    """Policies that are updated again and again under traffic lose no packet and let none pass in
    clear."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    updates = [line.replace("policy add", "policy update")
               for line in packet.dut_policies(cfg, flow)]
    watch = cfg.watch()
    with traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner) as there, \
            traffic.Stream(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner) as back:
        for number in range(20):
            cfg.dut.ip(*[line.replace("priority 0", f"priority {number}") for line in updates])
            there.go_on(3)
            back.go_on(3)
        for stream in (there, back):
            stream.stop()
            arrived = 0

            def complete(stream=stream):
                nonlocal arrived
                arrived += stream.received()
                return arrived >= stream.sent
            proc.wait_until(complete, "all datagrams arrive")
    watch.stop().prove_no_plaintext()
    packet.only(watch)


def delete_under_traffic(cfg):
    """Nothing goes out in clear while a policy that blocks comes and goes; without any policy all
    passes again."""
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow)
    block = _policy(cfg, f"src {flow.dut_inner} dst {flow.peer_inner} proto udp",
                    words="priority 0 action block")
    cfg.dut.ip("xfrm policy flush", *[line.replace("priority 0", "priority 5")
                                      for line in packet.dut_policies(cfg, flow)])
    watch = cfg.watch()
    with traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner) as stream:
        for _ in range(10):
            cfg.dut.ip(block)
            stream.go_on(3)
            cfg.dut.ip(block.replace("policy add", "policy delete").split(" priority")[0])
            stream.advance(3)
    watch.stop().prove_no_plaintext()
    xfrm.flush(cfg.dut, cfg.peer)
    # For a moment the driver drops what may have been under way.
    proc.wait_until(lambda: traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
                    "packets pass in clear")


def _timed(cfg, *lines):
    start = time.monotonic()
    cfg.dut.ip(*lines)
    return time.monotonic() - start


def many(cfg):
    """A thousand policies are added and removed in one batch, soon, and each counts."""
    ktap.defer(xfrm.flush, cfg.dut)
    probe = Probe(cfg)
    ports = range(1, MANY + 1)
    selectors_ = [_between("out", f"proto udp dport {port}") for port in ports]
    added = _timed(cfg, *[_policy(cfg, one) for one in selectors_])
    _expect(probe, {1: True, MANY // 2: True, MANY: True, MANY + 1: False})
    removed = _timed(cfg, *[f"xfrm policy delete {one} dir out" for one in selectors_[:-1]])
    _expect(probe, {1: False, MANY // 2: False, MANY: True})
    ktap.diag(f"{MANY} policies: {added:.2f} s to add, {removed:.2f} s to remove")
    ktap.check(max(added, removed) < pace.scaled(SECONDS), f"it takes {added} s and {removed} s")


def acquire(cfg):
    """A packet of a policy without an SA makes key managers get an acquire; the SA that they add
    takes the place of the larval state, and traffic flows."""
    flow = esp.inner4(outer=4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*packet.dut_policies(cfg, flow))
    with cfg.dut:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_XFRM)
    ktap.defer(listener.close)
    listener.bind((0, 1 << netlink.XFRMNLGRP_ACQUIRE - 1))
    listener.settimeout(5)
    watch = cfg.watch()
    pinger = traffic.Pinger(cfg.dut, flow.dut_inner, flow.peer_inner)
    ktap.defer(pinger.close)
    try:
        pinger.send(MESSAGE)
    except OSError as error:
        ktap.diag(f"the stack says: {error}")
    kind = netlink.HEADER.unpack_from(listener.recv(65536))[1]
    ktap.equal(kind, netlink.XFRM_MSG_ACQUIRE, "message")
    ktap.equal(xfrm.count(cfg.dut, f"reqid {REQID} mode tunnel"), 1, "larval states")
    packet.states(cfg, flow)
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 1, "ESP packets sent")


CASES = [priorities, equal_priorities, holes_at_any_time, selectors,
         older_and_younger, ipv6, not_ours,
         in_policy_of_another_sa, in_policy_of_another_mode, in_policy_of_another_tunnel,
         update_under_traffic, delete_under_traffic, many, acquire]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
