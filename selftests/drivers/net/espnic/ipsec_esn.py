#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Extended sequence numbers: both directions across 2^32, with loss and reordering.

The high half is not on the wire but in what the ICV covers: a side that has it wrong fails on
every packet, which one case makes happen.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, netlink, traffic, xfrm  # noqa: E402

WRAP = 1 << 32
LAST_MARGIN = 1 << 16
BEFORE = 20
STREAM = 96 * 1024
BURST, BURSTS = 20, 8
COUNT = 4


def _flow(outer=4, **kwargs):
    return xfrm.Flow(*esp.ends(outer), **kwargs)


def _crossed(cfg, flow, times=1):
    """All four states have gone over a multiple of 2^32."""
    for ns in (cfg.dut, cfg.peer):
        sent, received = (flow.out, flow.in_) if ns is cfg.dut else (flow.in_, flow.out)
        for what, number in (("sent", xfrm.numbers(ns, sent).oseq),
                             ("received", xfrm.numbers(ns, received).seq)):
            ktap.equal(number >> 32, times, f"{ns.label}: high half of the number last {what}")


def _cross(cfg, flow, window, base=WRAP - BEFORE):
    """Pings and TCP from just below 2^32 to above it, all in the NIC."""
    ktap.diag(f"{flow.name}, window {window}")
    esp.protect_esn(cfg, flow, window, base, base, peer_window=max(window, 512))
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * (BEFORE + 5))
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, STREAM)
    watch.stop().prove_offload(count)
    _crossed(cfg, flow, (base >> 32) + 1)
    esp.unique(watch.esp(cfg.netif_mac), "iv")


def window_32(cfg):
    """Window of 32 packets, IPv4 transport."""
    _cross(cfg, _flow(), 32)


def window_64(cfg):
    """Window of 64 packets, IPv6 transport, CBC with HMAC (which covers the high half too)."""
    _cross(cfg, _flow(6, algorithm=algo.cbc(128, "sha256")), 64)


def window_1024(cfg):
    """Window of 1024 packets, tunnel, ChaCha20-Poly1305."""
    _cross(cfg, esp.inner4(algorithm=algo.CHACHA), 1024)


def window_4096(cfg):
    """Window of 4096 packets, IPv6 in IPv6, from the last numbers of a later round."""
    _cross(cfg, esp.inner6(), 4096, 6 * WRAP - BEFORE)


def gmac(cfg):
    """AES-GMAC."""
    _cross(cfg, _flow(algorithm=algo.gmac(128)), 128)


def window_too_large(cfg):
    """A window of more than 4096 packets is refused."""
    flow = _flow()
    ktap.defer(xfrm.flush, cfg.dut)
    try:
        netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(4097), "in", cfg.netif)
    except netlink.NetlinkError as error:
        ktap.diag(str(error))
        return
    raise ktap.Failure("a window of 4097 packets was accepted")


def wrong_high_half(cfg):
    """A peer that is a round ahead or behind: nothing passes, and both sides count it."""
    flow = _flow()
    esp.protect_esn(cfg, flow, 64, WRAP + 100, WRAP + 100)
    for number in (100, 2 * WRAP + 100):
        netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=number))
        netlink.set_numbers(cfg.peer, flow.out, netlink.Esn(64, seq=number))
        esp.nothing_passes(cfg, flow, "a wrong number")


def last_round(cfg):
    """Before the last 2^32 numbers of all an SA leaves the NIC, and after the last one nothing is
    sent. For packets to a NIC the stack would go a step back, and again, each time."""
    flow, start = _flow(), (WRAP - 1) * WRAP - LAST_MARGIN
    last = WRAP * WRAP - 1
    esp.protect_esn(cfg, flow, 64, start - BEFORE, start - BEFORE)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * (BEFORE + COUNT))
    watch.stop()
    watch.expect_counters({"ipsec_tx_packets": BEFORE})
    netlink.set_numbers(cfg.dut, flow.out, netlink.Esn(oseq=last - COUNT))
    netlink.set_numbers(cfg.peer, flow.out, netlink.Esn(64, seq=last - COUNT))
    watch_end = cfg.watch()
    pinger = traffic.Pinger(cfg.dut, flow.dut, flow.peer)
    ktap.defer(pinger.close)
    for _ in range(3 * COUNT):
        with contextlib.suppress(OSError):  # the stack may tell the sender
            pinger.send(b"espnic")
    time.sleep(env.SETTLE)
    watch_end.stop()
    numbers = [packet.seq for packet in watch_end.esp(cfg.netif_mac)]
    ktap.equal(numbers, list(range(WRAP - COUNT, WRAP)), "numbers on the wire")
    ktap.equal(watch_end.dut_errors, {"XfrmOutStateSeqError": 2 * COUNT}, "XFRM errors")
    esp.unique(watch.esp(cfg.netif_mac) + watch_end.esp(cfg.netif_mac), "iv")


def last_round_refused(cfg):
    """A new SA that starts among the last 2^32 numbers."""
    ktap.defer(xfrm.flush, cfg.dut)
    try:
        netlink.add_sa(cfg.dut, _flow().out, netlink.Esn(oseq=(WRAP - 1) * WRAP), "out", cfg.netif)
    except netlink.NetlinkError as error:
        ktap.contains(str(error), "nearly used up", "the kernel's text")
        return
    raise ktap.Failure("an SA at the end of its numbers was accepted")


def jump(cfg):
    """XFRM_MSG_NEWAE moves the state's number to another round, as after a failover, and tells no
    driver: the first packet of that round fails in the NIC, is opened by software, and has the
    driver tell the NIC."""
    flow = _flow()
    esp.protect_esn(cfg, flow, 64, 50, 50)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    watch.stop().prove_offload(COUNT)
    netlink.set_numbers(cfg.dut, flow.in_, netlink.Esn(64, seq=7 * WRAP + 60))
    netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=7 * WRAP + 200))
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    watch.stop()
    ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")
    watch.expect_counters({"ipsec_rx_unprocessed": 1})
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    watch.stop().prove_offload(COUNT)
    ktap.equal(xfrm.numbers(cfg.dut, flow.in_).seq >> 32, 7, "high half of the number received")


def replayed(cfg):
    """A peer that sends old numbers again: decrypted by the NIC, refused by the stack."""
    flow = _flow()
    esp.protect_esn(cfg, flow, 64, 1000, 1000)
    traffic.ping(cfg.peer, flow.peer, flow.dut, [56] * 10)
    netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=1000))
    watch = cfg.watch()
    pinger = traffic.Pinger(cfg.peer, flow.peer, flow.dut)
    ktap.defer(pinger.close)
    for _ in range(COUNT):
        pinger.send(b"espnic")
    ktap.check(pinger.receive(0.3) is None, "an old number passed")
    watch.stop()
    ktap.equal(watch.dut_errors, {"XfrmInStateSeqError": COUNT}, "XFRM errors")
    watch.expect_counters({"ipsec_rx_packets": COUNT})


def _shuffled(cfg, flow, window, prepare):
    """Bursts both ways across 2^32 while packets are lost or overtaken: those that arrive at
    the side under test are all accepted, and nothing fails its ICV."""
    esp.protect_esn(cfg, flow, window, WRAP - BURST * 2, WRAP - BURST * 2, peer_window=4096)
    prepare()
    links = [traffic.Datagrams(cfg.peer, flow.peer, cfg.dut, flow.dut),
             traffic.Datagrams(cfg.dut, flow.dut, cfg.peer, flow.peer)]
    watch, sent, arrived = cfg.watch(), 0, [0, 0]
    for link in links:
        ktap.defer(link.close)
    for _ in range(BURSTS):
        for number, link in enumerate(links):
            for _ in range(BURST):
                sent += link.send(os.urandom(64))
            while link.receive(0.15) is not None:
                arrived[number] += 1
    watch.stop()
    ktap.diag(f"{sent} sent, {arrived} arrived, window {window}")
    ktap.equal((watch.dut_errors, watch.peer_errors), ({}, {}), "XFRM errors")
    _crossed(cfg, flow)
    return watch, sent // 2, arrived


def _netem(cfg, *words):
    result = cfg.peer.run("tc", "qdisc", "add", "dev", cfg.peerdev, "root", "netem", *words)
    if result.returncode:
        raise ktap.Skip(f"needs netem: {result.stderr.strip()}")
    ktap.defer(cfg.peer.run, "tc", "qdisc", "del", "dev", cfg.peerdev, "root")


def reordered(cfg):
    """Packets to the side under test overtake each other."""
    watch, sent, arrived = _shuffled(
        cfg, _flow(), 64,
        lambda: _netem(cfg, "delay", "20ms", "reorder", "60%", "gap", "3"))
    ktap.equal(arrived, [sent, sent], "datagrams that arrived")
    numbers = [packet.seq for packet in watch.esp(cfg.peer_mac)]
    late = sum(b - a & 0xFFFFFFFF > WRAP // 2 for a, b in zip(numbers, numbers[1:], strict=False))
    ktap.at_least(late, BURSTS, "packets that were overtaken")


def lost(cfg):
    """A third of the packets to the side under test is lost."""
    _, sent, arrived = _shuffled(cfg, _flow(6), 32, lambda: _netem(cfg, "loss", "33%"))
    ktap.check(sent // 3 < arrived[0] < sent, f"{arrived[0]} of {sent} arrived with a loss of 33%")
    ktap.equal(arrived[1], sent, "datagrams that arrived at the peer")


def faults(cfg):
    """The NIC itself loses, doubles and reorders packets, both ways."""
    control = cfg.need_request("drop", "reorder", "duplicate")

    def prepare():
        for direction in ("rx", "tx"):
            for fault, every in (("drop", 7), ("reorder", 3)):
                control.fault(cfg.nic, direction, fault, 1000, "every", every)

    _, sent, arrived = _shuffled(cfg, _flow(), 128, prepare)
    for count in arrived:
        ktap.check(sent // 2 < count < sent, f"{count} of {sent} arrived with losses")


CASES = [window_32, window_64, window_1024, window_4096, gmac, window_too_large, wrong_high_half,
         last_round, last_round_refused, jump, replayed, reordered, lost, faults]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
