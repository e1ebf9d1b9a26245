#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: lifetimes by packets, bytes and time, sequence numbers and their end.

The NIC ends an SA to the packet, and says so by an event; the stack then notifies key managers as
if it had counted itself. What was sent is counted on the wire.
"""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, netlink, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

REQID = 77
WINDOW = 512
SOFT, HARD = 1000, 3000
SIZE = 972  # of a ping with 28 bytes of headers: 1000 bytes in ESP
IN_ESP = 1000
PROTO_IPIP = 4
LAST = 0xFFFFFFFF
NAMES = ("ipsec_events", "ipsec_events_lost", "ipsec_events_malformed")


def _flow(cfg, out="", in_=""):
    flow = esp.inner4(outer=4, reqid=REQID)
    packet.protect(cfg, flow, out, in_)
    return flow


def _limit(kind, soft, hard):
    return f"limit {kind}-soft {soft} limit {kind}-hard {hard}"


def _pinger(cfg, flow, ns=None):
    """Pings from the side under test, or from the peer."""
    ends = (flow.dut_inner, flow.peer_inner)
    src, dst = ends if ns is not cfg.peer else reversed(ends)
    pinger = traffic.Pinger(ns or cfg.dut, src, dst)
    ktap.defer(pinger.close)
    return pinger


def _send(pinger, count, size=SIZE):
    """Send pings one after the other, as far as the stack takes them."""
    for _ in range(count):
        try:
            pinger.send(bytes(size))
        except OSError:
            return


def _gone(cfg, sa):
    proc.wait_until(lambda: xfrm.state_text(cfg.dut, sa) is None, "the SA goes")


def _told(expiries, sa, hard):
    """Key managers hear of a limit, once; returns the notification."""
    found = proc.wait_until(lambda: expiries.of(sa, hard), "the limit is reported")
    ktap.equal(len(found), 1, f"notifications of a {'hard' if hard else 'soft'} limit")
    return found[0]


def _shown(cfg, sa):
    """Packets and bytes in `ip -s xfrm state`."""
    text = cfg.dut.cmd("ip", "-s", *sa.get().split())
    size, packets = re.search(r"lifetime current:\s+(\d+)\(bytes\), (\d+)\(packets\)",
                              text).groups()
    return int(packets), int(size)


def _wait_shown(cfg, sa, packets):
    proc.wait_until(lambda: _shown(cfg, sa)[0] == packets, f"{packets} packets are shown")


def _sent(cfg, watch):
    watch.stop().prove_no_plaintext()
    return watch.esp(cfg.netif_mac)


def packets_out(cfg):
    """Of nine pings five go out, the third one leads to a soft expiry and the fifth to a hard one,
    each once; the events come through the queue."""
    flow, expiries = _flow(cfg, _limit("packet", 3, 5)), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    ktap.equal(len(_sent(cfg, watch)), 5, "ESP packets sent")
    ktap.at_least(_told(expiries, flow.out, hard=False).packets, 3, "packets at the soft limit")
    ktap.equal(_told(expiries, flow.out, hard=True).packets, 5, "packets at the hard limit")
    watch.expect_counters(dict(zip(NAMES, (2, 0, 0), strict=True)))


def soft_at_hard(cfg):
    """A soft limit that is not below the hard one is never reported: the SA has gone before."""
    for soft in (5, 6):
        flow, expiries = _flow(cfg, _limit("packet", soft, 5)), netlink.Expiries(cfg.dut)
        watch = cfg.watch()
        _send(_pinger(cfg, flow), 9)
        _gone(cfg, flow.out)
        ktap.equal(len(_sent(cfg, watch)), 5, "ESP packets sent")
        _told(expiries, flow.out, hard=True)
        ktap.equal(expiries.of(flow.out, False), [], "reports of a soft limit")
        xfrm.flush(cfg.dut, cfg.peer)


def soft_once(cfg):
    """A soft limit is reported once, also if more packets follow and are read, and nothing else
    happens. `ip xfrm monitor` shows it."""
    flow, expiries = _flow(cfg, "limit packet-soft 3"), netlink.Expiries(cfg.dut)
    monitor = cfg.dut.spawn("ip", "xfrm", "monitor", "expire")
    with cfg.dut:
        sockets = "/proc/thread-self/net/netlink"
        proc.wait_until(lambda: f" {monitor.pid} " in proc.read_file(sockets), "a monitor")
    pinger = _pinger(cfg, flow)
    for count in (3, 6, 9):
        ktap.check(all(pinger.exchange(bytes(SIZE)) for _ in range(3)), "a ping was lost")
        _wait_shown(cfg, flow.out, count)
        _told(expiries, flow.out, hard=False)
    text = proc.stop(monitor)[0]
    ktap.equal(text.count(f"spi {flow.out.spi:#010x}"), 1, f"expiries in {text!r}")
    ktap.contains(text, "hard 0", "ip xfrm monitor")


def used_before(cfg):
    """Of a limit of ten packets seven are used when the state is added: three go out. A state whose
    limit is used up is refused."""
    flow, expiries = _flow(cfg), netlink.Expiries(cfg.dut)
    cfg.dut.ip(flow.out.delete())
    flow.out = flow.new_sa(outbound=True)
    watch = cfg.watch()
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(), "out", cfg.netif, True, hard=10, used=7)
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    ktap.equal(len(_sent(cfg, watch)), 3, "ESP packets sent")
    ktap.equal(_told(expiries, flow.out, hard=True).packets, 10, "packets at the hard limit")
    try:
        netlink.add_sa(cfg.dut, flow.new_sa(outbound=True), netlink.Esn(), "out", cfg.netif, True,
                       hard=10, used=10)
    except netlink.NetlinkError as error:
        ktap.contains(error.text, "espnic: a limit is used up already", "the message")
    else:
        raise ktap.Failure("a state without anything left was taken")


def used_later(cfg):
    """A key manager says that a living SA has used seven of ten packets: three go out."""
    flow = _flow(cfg)
    cfg.dut.ip(flow.out.delete())
    flow.out = flow.new_sa(outbound=True)
    watch, esn = cfg.watch(), netlink.Esn()
    netlink.add_sa(cfg.dut, flow.out, esn, "out", cfg.netif, True, hard=10)
    before = cfg.driver_counters()["ipsec_sa_changed"]
    netlink.set_numbers(cfg.dut, flow.out, esn, used=7)
    proc.wait_until(lambda: cfg.driver_counters()["ipsec_sa_changed"] > before, "the NIC knows")
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    ktap.equal(len(_sent(cfg, watch)), 3, "ESP packets sent")


def bytes_out(cfg):
    """The packet that reaches a limit of bytes goes out, the next one does not."""
    flow = _flow(cfg, _limit("byte", 2 * IN_ESP + 1, 4 * IN_ESP + 1))
    expiries, watch = netlink.Expiries(cfg.dut), cfg.watch()
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    ktap.equal(len(_sent(cfg, watch)), 5, "ESP packets sent")
    ktap.at_least(_told(expiries, flow.out, hard=False).bytes, 3 * IN_ESP, "bytes, soft")
    ktap.equal(_told(expiries, flow.out, hard=True).bytes, 5 * IN_ESP, "bytes, hard")


def _pour(cfg, flow, sa, ns):
    """TCP from one side until the SA is gone."""
    if ns is cfg.dut:
        ends = cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner
    else:
        ends = cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner
    with traffic.Pour(*ends):
        _gone(cfg, sa)


def packets_out_gso(cfg):
    """TCP with segmentation offload: 3000 packets go out, not one more."""
    flow, expiries = _flow(cfg, _limit("packet", SOFT, HARD)), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _pour(cfg, flow, flow.out, cfg.dut)
    packets = _sent(cfg, watch)
    ktap.equal(len(packets), HARD, "ESP packets sent")
    esp.unique(packets)
    ktap.at_least(watch.driver.get("tx_tso_packets", 0), 10, "packets that the NIC has segmented")
    ktap.at_least(_told(expiries, flow.out, hard=False).packets, SOFT, "packets, soft")
    ktap.equal(_told(expiries, flow.out, hard=True).packets, HARD, "packets, hard")


def bytes_out_gso(cfg):
    """The same with a limit of bytes, which a packet of a whole segment reaches at most."""
    limit = 2_000_000
    flow, expiries = _flow(cfg, _limit("byte", limit // 2, limit)), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _pour(cfg, flow, flow.out, cfg.dut)
    packets = _sent(cfg, watch)
    told = _told(expiries, flow.out, hard=True)
    ktap.equal(told.packets, len(packets), "packets, hard")
    ktap.check(limit <= told.bytes < limit + 1500, f"{told.bytes} bytes were sent")
    _told(expiries, flow.out, hard=False)


def packets_in(cfg):
    """Of nine pings of the peer the NIC lets five in, and the SA goes."""
    flow, expiries = _flow(cfg, in_=_limit("packet", 3, 5)), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _send(_pinger(cfg, flow, cfg.peer), 9)
    _gone(cfg, flow.in_)
    replies = _sent(cfg, watch)
    # the stack may hear of the end before the last ones that the NIC has let in
    late = watch.driver.get("ipsec_packet_rx_drop_stale", 0)
    ktap.equal(len(replies) + late, 5, "replies, and packets that were late")
    watch.expect_counters({"ipsec_packet_rx_packets": len(replies)})
    ktap.at_least(_told(expiries, flow.in_, hard=False).packets, 3, "packets at the soft limit")
    ktap.equal(_told(expiries, flow.in_, hard=True).packets, 5, "packets at the hard limit")


def bytes_in_tcp(cfg):
    """The peer's TCP is let in up to a limit of bytes."""
    limit = 1_000_000
    flow, expiries = _flow(cfg, in_=_limit("byte", limit // 2, limit)), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _pour(cfg, flow, flow.in_, cfg.peer)
    watch.stop()
    told = _told(expiries, flow.in_, hard=True)
    ktap.check(limit <= told.bytes < limit + 1500, f"{told.bytes} bytes were let in")
    # The NIC let them in, but the SA or the buffers were gone when the driver was to get them.
    lost = (watch.driver.get("ipsec_packet_rx_drop_stale", 0)
            + watch.nic.get("rx_drop_no_buffers", 0))
    watch.expect_counters({"ipsec_packet_rx_packets": told.packets - lost})
    _told(expiries, flow.in_, hard=False)


def by_time(cfg):
    """A limit of time works beside others that are not reached."""
    words = f"{_limit('packet', 1000, 2000)} {_limit('time', 1, 2)}"
    expiries = netlink.Expiries(cfg.dut)
    flow = _flow(cfg, words)
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)
    _gone(cfg, flow.out)
    _told(expiries, flow.out, hard=False)
    _told(expiries, flow.out, hard=True)


def unused(cfg):
    """Time of use begins with the first packet: an SA without one does not end by it."""
    flow, expiries = _flow(cfg, "limit time-use-hard 1"), netlink.Expiries(cfg.dut)
    with traffic.Stream(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner) as stream:
        stream.advance(20)
        before = _shown(cfg, flow.in_)
        proc.wait_until(lambda: _shown(cfg, flow.in_) != before, "the NIC's counters are read")
    text = cfg.dut.cmd("ip", "-s", *flow.out.get().split())
    ktap.contains(text, "use -", "an SA without packets")
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)
    _told(expiries, flow.out, hard=True)


def shown(cfg):
    """`ip -s xfrm state` shows packets, bytes, and the numbers of either direction."""
    flow = _flow(cfg)
    for _ in range(2):
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [SIZE] * 4)
    for sa in (flow.out, flow.in_):
        _wait_shown(cfg, sa, 8)
        ktap.equal(_shown(cfg, sa), (8, 8 * IN_ESP), "packets and bytes")
    ktap.contains(xfrm.state_text(cfg.dut, flow.out), "oseq 0x8", "outbound")
    ktap.contains(xfrm.state_text(cfg.dut, flow.in_), "seq 0x8,", "inbound")


def failures(cfg):
    """Packets that the NIC refuses count in the state and in /proc/net/xfrm_stat: a wrong key, a
    number that has come before, one that is too old, a wrong padding."""
    flow = _flow(cfg)
    before, injector = xfrm.counters(cfg.dut), forge.Injector(cfg)
    good = forge.Esp(forge.ip(flow.peer_inner, flow.dut_inner, PROTO_UDP,
                              forge.udp(1000, 2000, b"espnic")), PROTO_IPIP)
    wrong = dataclasses.replace(flow.in_, key=bytes(len(flow.in_.key)))
    injector.esp(flow.in_, good, 2 * WINDOW)
    injector.esp(flow.in_, good, 2 * WINDOW)
    injector.esp(flow.in_, good, 1)
    injector.esp(wrong, good, 2 * WINDOW + 1)
    injector.esp(flow.in_, dataclasses.replace(good, pad_len=200), 2 * WINDOW + 2)
    wanted = {"XfrmInStateProtoError": 1, "XfrmInStateSeqError": 2, "XfrmInHdrError": 1}

    def counted():
        moved = xfrm.changed(before, xfrm.counters(cfg.dut))
        return {name: moved.get(name) for name in wanted} == wanted
    proc.wait_until(counted, "the errors are counted")
    text = cfg.dut.cmd("ip", "-s", *flow.in_.get().split())
    ktap.check(re.search(r"replay-window 1 replay 1 failed 1", text), f"statistics in {text!r}")


def _esn(cfg, start):
    """ESN both ways, from the same number on."""
    flow = esp.inner4(outer=4, reqid=REQID)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.dut.ip(*packet.dut_policies(cfg, flow))
    esp.peer_esn(cfg, flow, WINDOW, start, start)
    netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(WINDOW, seq=start), "in", cfg.netif, True)
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(oseq=start), "out", cfg.netif, True)
    return flow


def esn_goes_on(cfg):
    """With ESN numbers go on behind 2^32, both ways, and the high half is shown."""
    # the NIC's window begins behind the number that it is told
    flow = _esn(cfg, LAST - WINDOW - 3)
    cfg.peer.ip(flow.in_.delete())
    netlink.add_sa(cfg.peer, flow.in_, netlink.Esn(oseq=LAST - 3), "out")
    cfg.dut.ip(flow.out.delete())
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(oseq=LAST - 3), "out", cfg.netif, True)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [SIZE] * 8)
    packet.prove(cfg, watch, 8)
    esp.unique(watch.esp(cfg.netif_mac))
    for sa in (flow.out, flow.in_):
        _wait_shown(cfg, sa, 8)
    ktap.equal(xfrm.numbers(cfg.dut, flow.out).oseq, LAST + 5, "the last number sent")
    ktap.equal(xfrm.numbers(cfg.dut, flow.in_).seq, LAST + 5, "the highest number received")


def numbers_end(cfg):
    """Without ESN the NIC stops behind 2^32 - 1, and the SA expires."""
    flow, expiries = _flow(cfg, f"replay-oseq {LAST - 3:#x}"), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    packets = _sent(cfg, watch)
    # A packet that the stack still had of an earlier case may have been before them.
    numbers = [one.seq for one in packets]
    ktap.at_least(len(numbers), 2, "ESP packets sent")
    ktap.equal(numbers, [LAST - 2, LAST - 1, LAST][-len(numbers):], "numbers on the wire")
    _told(expiries, flow.out, hard=True)


def numbers_end_gso(cfg):
    """The same in the middle of a packet that the NIC segments."""
    flow = _flow(cfg, f"replay-oseq {LAST - 500:#x}")
    watch = cfg.watch()
    _pour(cfg, flow, flow.out, cfg.dut)
    packets = _sent(cfg, watch)
    ktap.equal(len(packets), 500, "ESP packets sent")
    ktap.equal(max(one.seq for one in packets), LAST, "the highest number")
    esp.unique(packets)


def no_numbers_left(cfg):
    """An SA without a number left is refused."""
    sa = esp.inner4(outer=4, reqid=REQID).out
    ktap.defer(xfrm.flush, cfg.dut)
    line = sa.add(f"replay-oseq {LAST:#x} {packet.offload(cfg, 'out')}")
    result = cfg.dut.run("ip", *shlex.split(line))
    ktap.check(result.returncode, "the SA was added")
    ktap.contains(result.stderr, "numbers are nearly used up", "message")


def added_again(cfg):
    """An SA that is shown, deleted at once, and added again with its key and the number that was
    shown, uses no number twice, also behind a packet that the NIC has segmented."""
    flow = _flow(cfg)
    watch = cfg.watch()
    for _ in range(4):
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * 3)
        traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, 64 * 1024)
        text = xfrm.state_text(cfg.dut, flow.out)
        number = int(re.search(r"oseq 0x([0-9a-f]+)", text)[1], 16)
        cfg.dut.ip(flow.out.delete(),
                   flow.out.add(f"replay-oseq {number:#x} {packet.offload(cfg, 'out')}"))
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * 3)
    packets = _sent(cfg, watch)
    esp.unique(packets, "seq")
    ktap.check(max(one.seq for one in packets) < 2 * len(packets), "numbers were left out")


def _seen(cfg, sa):
    """The highest number received, as `ip` shows it at once."""
    return int(re.search(r"\bseq 0x([0-9a-f]+)", xfrm.state_text(cfg.dut, sa))[1], 16)


def _refused(cfg, sa, act, count):
    """All of `count` packets that come again are late, or replays; nothing is received."""
    before, watch = packet.replays(cfg, sa), cfg.watch()
    act()
    proc.wait_until(lambda: packet.replays(cfg, sa) == before + count, "the packets are counted")
    watch.stop()
    ktap.equal(watch.driver.get("ipsec_packet_rx_packets", 0), 0, "packets received")


def received_again(cfg):
    """An SA that is shown, deleted at once, and added again with its key and the number that was
    shown, takes no packet twice, with either form of the window."""
    injector = forge.Injector(cfg)
    for window in (32, WINDOW):
        flow = esp.inner4(outer=4, reqid=REQID)
        packet.protect(cfg, flow)
        words = packet.offload(cfg, "in", window)
        cfg.dut.ip(flow.in_.delete(), flow.in_.add(words))
        for _ in range(4):
            watch = cfg.watch()
            traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [56] * 3)
            seen = _seen(cfg, flow.in_)
            cfg.dut.ip(flow.in_.delete(), flow.in_.add(f"replay-seq {seen:#x} {words}"))
            watch.stop()
            ktap.equal(seen, max(one.seq for one in watch.esp(cfg.peer_mac)), "number shown")
            old = packet.received(cfg, watch, flow)
            ktap.equal(len(old), 3, "packets of the peer")
            _refused(cfg, flow.in_, lambda old=old: [injector.again(one) for one in old], len(old))
        xfrm.flush(cfg.dut, cfg.peer)


def received_before_copy(cfg):
    """A copy of a living SA, as a migration makes it, takes no packet that came for the other."""
    flow = esp.inner4(outer=4, reqid=REQID)
    target, there = packet.Target(cfg, flow), "192.0.2.77"
    for _ in range(3):
        target.send(target.inner())
        ktap.check(target.received() is not None, "a packet did not arrive")
    copy = dataclasses.replace(flow.in_, dst=there)
    cfg.dut.ip(copy.add(packet.offload(cfg, "in")))

    def again():
        for number in range(target.number - 2, target.number + 1):
            target.send(target.inner(), number=number, dst=there, sa=copy)

    _refused(cfg, copy, again, 3)
    # The NIC takes a new one; the policy wants the other destination.
    watch = cfg.watch()
    target.send(target.inner(), dst=there, sa=copy)
    watch.stop()
    packet.only(watch, rx_drop_policy=1)


def _change(cfg, flow, words, changes=1):
    """Change the limits of the outbound SA, and wait until the NIC knows."""
    before = cfg.driver_counters()["ipsec_sa_changed"]
    cfg.dut.ip(flow.out.add(f"{words} {packet.offload(cfg, 'out')}", "update"))
    proc.wait_until(lambda: cfg.driver_counters()["ipsec_sa_changed"] - before == changes,
                    "the NIC knows the new limits")


def limits_given_later(cfg):
    """`ip xfrm state update` gives an SA limits, which the NIC keeps to the packet; what was sent
    before counts."""
    flow, expiries = _flow(cfg), netlink.Expiries(cfg.dut)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [SIZE] * 5)
    _change(cfg, flow, _limit("packet", 7, 9))
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    packets = _sent(cfg, watch)
    ktap.equal([one.seq for one in packets], list(range(1, 10)), "numbers on the wire")
    esp.unique(packets)
    _told(expiries, flow.out, hard=False)
    ktap.equal(_told(expiries, flow.out, hard=True).packets, 9, "packets at the hard limit")


def limits_moved(cfg):
    """An update moves limits up before they are reached, and takes them away."""
    flow = _flow(cfg, _limit("packet", 3, 5))
    pinger = _pinger(cfg, flow)
    watch = cfg.watch()
    ktap.check(all(pinger.exchange(bytes(SIZE)) for _ in range(4)), "a ping was lost")
    _change(cfg, flow, _limit("packet", 8, 10))
    ktap.check(all(pinger.exchange(bytes(SIZE)) for _ in range(5)), "a ping was lost")
    _change(cfg, flow, "")
    ktap.check(all(pinger.exchange(bytes(SIZE)) for _ in range(5)), "a ping was lost")
    packet.prove(cfg, watch, 14)
    esp.unique(watch.esp(cfg.netif_mac))


def limits_refused_later(cfg):
    """An update with limits that make no sense is refused, and the SA keeps its own."""
    flow = _flow(cfg, _limit("packet", 3, 5))
    line = flow.out.add(f"limit packet-hard 0 {packet.offload(cfg, 'out')}", "update")
    result = cfg.dut.run("ip", *shlex.split(line))
    ktap.check(result.returncode, "the update was accepted")
    ktap.contains(result.stderr, "limit of nothing", "message")
    watch = cfg.watch()
    _send(_pinger(cfg, flow), 9)
    _gone(cfg, flow.out)
    ktap.equal(len(_sent(cfg, watch)), 5, "ESP packets sent")


CASES = [packets_out, used_before, used_later, soft_at_hard, soft_once, bytes_out, packets_out_gso,
         bytes_out_gso, packets_in, bytes_in_tcp, by_time, unused, shown, failures, esn_goes_on,
         numbers_end, numbers_end_gso, no_numbers_left, added_again, received_again,
         received_before_copy, limits_given_later, limits_moved, limits_refused_later]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
