#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: every algorithm, extended sequence numbers, and the replay window of the NIC.

The stack looks at no number in this mode. What is sent twice is made by hand, with the key of the
SA, and must be dropped by the NIC, which says so where `ip -s xfrm state` shows it.
"""

import contextlib
import dataclasses
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, netlink, packet, proc, traffic, xfrm  # noqa: E402
from ksft.packet import REQID, SMALL  # noqa: E402

WRAP = 1 << 32
BEFORE = 20
SHORT = 20 * 1024
SIZES = [*range(17), 500, 1300]


def _other_key(cfg, flow):
    """With another key at the peer nothing passes, and both sides count it. The peer goes on with
    numbers that are new."""
    key = flow.algorithm.new_key()
    for sa, extra in ((flow.out, xfrm.WINDOW), (flow.in_, "replay-oseq 0x10000")):
        cfg.peer.ip(sa.delete(), dataclasses.replace(sa, key=key).add(extra))
    watch = cfg.watch()
    for ns, src, dst in ((cfg.dut, flow.dut_inner, flow.peer_inner),
                         (cfg.peer, flow.peer_inner, flow.dut_inner)):
        pinger = traffic.Pinger(ns, src, dst)
        ktap.defer(pinger.close)
        for _ in SMALL:
            pinger.send(b"espnic")
        ktap.check(pinger.receive(0.1) is None, "a packet passed with another key")
    watch.stop().prove_no_plaintext()
    wanted = {"XfrmInStateProtoError": len(SMALL)}
    ktap.equal(watch.peer_errors, wanted, "XFRM errors of the peer")
    ktap.equal(watch.dut_errors, wanted, "XFRM errors of the side under test")
    if cfg.control:
        ktap.equal(watch.nic.get("ipsec_rx_auth_fail"), len(SMALL), "NIC's ipsec_rx_auth_fail")


def _case(name, algorithms, make):
    """A case for these algorithms."""
    def case(cfg):
        for algorithm in algorithms:
            flow = make(cfg, algorithm)
            ktap.diag(flow.name)
            xfrm.flush(cfg.dut, cfg.peer)
            packet.protect(cfg, flow)
            packet.exercise(cfg, flow, SIZES, SHORT)
            _other_key(cfg, flow)
    case.__name__ = name
    case.__doc__ = ", ".join(algorithm.name for algorithm in algorithms)
    return case


def _tunnel(cfg, algorithm):
    return packet.tunnel(cfg, 4, 4, algorithm=algorithm)


def _transport6(_cfg, algorithm):
    return esp.direct(6, reqid=REQID, algorithm=algorithm)


def _protect_esn(cfg, flow, window, sent, received):
    """As esp.protect_esn(), in packet mode."""
    xfrm.flush(cfg.dut, cfg.peer)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.dut.ip(*packet.dut_policies(cfg, flow))
    esp.peer_esn(cfg, flow, max(window, 512), sent, received)
    netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(window, seq=received), "in", cfg.netif, True)
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(oseq=sent), "out", cfg.netif, True)


def _cross(cfg, flow, window, base=WRAP - BEFORE, received=None):
    """Pings and TCP from just below 2^32 to above it. The driver has the window begin behind what
    was seen before, by its length, so the peer goes on there."""
    ktap.diag(f"{flow.name}, window {window}")
    received = base if received is None else received
    _protect_esn(cfg, flow, window, base, received)
    if received:
        netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=received + window))
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * (BEFORE + 5))
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, SHORT)
    packet.prove(cfg, watch, count)
    esp.unique(watch.esp(cfg.netif_mac), "seq", "long_iv" if flow.algorithm.block == 16 else "iv")
    ktap.equal(xfrm.numbers(cfg.peer, flow.out).seq >> 32, (base >> 32) + 1, "high half, sent")
    if received:
        top = xfrm.numbers(cfg.peer, flow.in_).oseq
        ktap.equal(top >> 32, (received + window >> 32) + (received % WRAP + window < WRAP),
                   "high half, received")


def esn_32(cfg):
    """Window of 32 packets, transport, over the end of the low half both ways."""
    _cross(cfg, esp.direct(4, reqid=REQID), 32, received=WRAP - BEFORE - 32)


def esn_cbc(cfg):
    """Window of 64 packets, CBC with HMAC, which covers the high half too, IPv6."""
    flow = esp.direct(6, reqid=REQID, algorithm=algo.cbc(128, "sha256"))
    _cross(cfg, flow, 64, received=WRAP - BEFORE - 64)


def esn_1024(cfg):
    """Window of 1024 packets, tunnel, ChaCha20-Poly1305."""
    flow = packet.tunnel(cfg, 4, 4, algorithm=algo.CHACHA)
    _cross(cfg, flow, 1024, received=WRAP - BEFORE - 1024)


def esn_4096(cfg):
    """Window of 4096 packets, IPv6 in IPv6, from the last numbers of a later high half."""
    _cross(cfg, packet.tunnel(cfg, 6, 6), 4096, 6 * WRAP - BEFORE, 6 * WRAP - BEFORE - 4096)


def esn_too_large(cfg):
    """A window of more than 4096 packets is refused."""
    flow = esp.direct(4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut)
    try:
        netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(4097), "in", cfg.netif, True)
    except netlink.NetlinkError as error:
        ktap.contains(str(error), "ESN bitmap length must be <= 128", "message")
        return
    raise ktap.Failure("a window of 4097 packets was accepted")


def esn_wrong_half(cfg):
    """A peer whose high half is one ahead or behind: nothing passes, and both sides count it."""
    flow = esp.direct(4, reqid=REQID)
    _protect_esn(cfg, flow, 64, WRAP + 100, WRAP + 100)
    for number in (400, 2 * WRAP + 400):
        netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=number))
        watch = cfg.watch()
        pinger = traffic.Pinger(cfg.peer, flow.peer, flow.dut)
        ktap.defer(pinger.close)
        for _ in SMALL:
            pinger.send(b"espnic")
        ktap.check(pinger.receive(0.1) is None, "a packet passed with a wrong number")
        watch.stop()
        ktap.equal(watch.dut_errors, {"XfrmInStateProtoError": len(SMALL)}, "XFRM errors")
    netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=WRAP + 400))
    traffic.ping(cfg.peer, flow.peer, flow.dut, SMALL)


def last_numbers(cfg):
    """Without ESN nothing is sent behind the last number."""
    flow = esp.direct(4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*packet.dut_policies(cfg, flow), flow.in_.add(packet.offload(cfg, "in")))
    last = WRAP - 1 - len(SMALL)
    cfg.dut.ip(flow.out.add(f"replay-oseq {last:#x} {packet.offload(cfg, 'out')}"))
    watch = cfg.watch()
    pinger = traffic.Pinger(cfg.dut, flow.dut, flow.peer)
    ktap.defer(pinger.close)
    for _ in range(3 * len(SMALL)):
        with contextlib.suppress(OSError):  # the SA may be gone by now
            pinger.send(b"espnic")
    watch.stop().prove_no_plaintext()
    numbers = [one.seq for one in watch.esp(cfg.netif_mac)]
    ktap.equal(numbers, list(range(last + 1, WRAP)), "numbers on the wire")


def _statistics(cfg, sa):
    """What `ip -s xfrm state` says of packets that an SA refused."""
    text = cfg.dut.cmd("ip", "-s", *sa.get().split())
    found = re.search(r"replay-window (\d+) replay (\d+) failed (\d+)", text)
    ktap.check(found, f"no statistics in {text!r}")
    return tuple(int(word) for word in found.groups())


def _numbers(cfg, window, steps):
    """Packets with these numbers arrive, or do not."""
    flow = packet.tunnel(cfg, 4, 4)
    target = packet.Target(cfg, flow, window=window)
    watch = cfg.watch()
    for number, arrives in steps:
        target.send(target.inner(), number=number)
        ktap.equal(target.received() is not None, arrives, f"arrival of number {number}")
    packet.only(watch.stop())
    refused = sum(not arrives for _, arrives in steps)
    ktap.equal(watch.dut_errors, {"XfrmInStateSeqError": refused} if refused else {}, "XFRM errors")
    return flow


def replays(cfg):
    """What has come before, and what is older than the window, is dropped and counted."""
    for window in (32, 256, 2048):
        _numbers(cfg, window, [
            (1, True), (1, False), (3, True), (2, True), (2, False), (3, False), (0, False),
            (5000, True), (5000 - window, False), (5001 - window, True), (5001 - window, False),
            (4999, True), (4999, False), (5000, False)])


def far_ahead(cfg):
    """A number that is far ahead moves the window; the last one of all is one as others are."""
    _numbers(cfg, 64, [(1, True), (1 << 31, True), (2, False), ((1 << 31) - 63, True),
                       (WRAP - 1, True), (WRAP - 1, False), (WRAP - 2, True), (5, False)])


def without_window(cfg):
    """Without a window nothing is looked at."""
    _numbers(cfg, 0, [(5, True), (5, True), (1, True), (900, True), (2, True)])


def forged_number(cfg):
    """A packet that is not authentic does not move the window."""
    flow = packet.tunnel(cfg, 4, 4)
    target = packet.Target(cfg, flow, window=64)
    target.send(target.inner(), number=10)
    ktap.check(target.received() is not None, "the first packet did not arrive")
    sound = flow.in_
    flow.in_ = dataclasses.replace(sound, key=flow.algorithm.new_key())
    watch = cfg.watch()
    target.send(target.inner(), number=1 << 30)
    ktap.equal(target.received(), None, "a forged packet")
    flow.in_ = sound
    target.send(target.inner(), number=11)
    ktap.check(target.received() is not None, "a packet behind a forged one did not arrive")
    packet.only(watch.stop())
    ktap.equal(watch.dut_errors, {"XfrmInStateProtoError": 1}, "XFRM errors")
    proc.wait_until(lambda: _statistics(cfg, sound)[2] == 1, "the packet in `ip -s xfrm state`")


CASES = [
    _case("gcm128", [algo.gcm(128, icv) for icv in (96, 64)], _tunnel),
    _case("gcm192", [algo.gcm(192, icv) for icv in (128, 96, 64)], _transport6),
    _case("gcm256", [algo.gcm(256, icv) for icv in (128, 96, 64)], _tunnel),
    _case("chacha20_poly1305", [algo.CHACHA], _transport6),
    _case("gmac", [algo.gmac(bits) for bits in (128, 192, 256)], _tunnel),
    _case("cbc128", [algo.cbc(128, mac) for mac in ("sha1", "sha256")], _transport6),
    _case("cbc192", [algo.cbc(192, mac) for mac in ("sha256", "sha384")], _tunnel),
    _case("cbc256", [algo.cbc(256, mac) for mac in ("sha384", "sha512")], _tunnel),
    esn_32, esn_cbc, esn_1024, esn_4096, esn_too_large, esn_wrong_half, last_numbers, replays,
    far_ahead, without_window, forged_number]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
