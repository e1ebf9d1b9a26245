#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: what outer headers say, and what inner ones learn from them.

What the NIC puts around a packet is compared with what Linux's software ESP puts around the same
one. The end of the tunnel is compared with the table of RFC 6040.
"""

import dataclasses
import itertools
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, packet, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

NOT_ECT, ECT_1, ECT_0, CE = range(4)
CLASSES = (0, 0xB8, 0x28 | ECT_0, 0x48 | ECT_1)
IP_MTU_DISCOVER, PMTUDISC_DO, PMTUDISC_DONT = 10, 2, 0
SMALL, LARGE = 30, 1300
ETHERTYPES = b"\x08\x00", b"\x86\xdd"


@dataclasses.dataclass(frozen=True)
class Outer:
    """What an outer IP header has beside addresses and length."""

    tos: int
    hops: int
    dont_fragment: bool
    has_id: bool  # IPv4: a number other than 0, where a packet may be fragmented
    label: int

    @classmethod
    def of(cls, frame):
        """Of an Ethernet frame without a tag."""
        if frame[14] >> 4 == 4:
            ident, flags = struct.unpack_from("!2H", frame, 18)
            unfragmented = bool(flags & 0x4000)
            return cls(frame[15], frame[22], unfragmented, bool(ident) and not unfragmented, 0)
        word = struct.unpack_from("!I", frame, 14)[0]
        return cls(word >> 20 & 0xFF, frame[21], False, False, word & 0xFFFFF)


def _sent(cfg, watch):
    mac = bytes.fromhex(cfg.netif_mac.replace(":", ""))
    return [Outer.of(frame) for _, frame in watch.tap_frames
            if frame[6:12] == mac and frame[12:14] in ETHERTYPES]


def _outers(cfg, flow, flags, packets):
    """The outer headers that packets (functions that send one) get from this flow."""
    out, in_ = flags
    seen = []
    for offload in (True, False):
        xfrm.flush(cfg.dut, cfg.peer)
        cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
        if offload:
            cfg.dut.ip(*packet.dut_policies(cfg, flow),
                       flow.out.add(f"{out} {packet.offload(cfg, 'out')}"),
                       flow.in_.add(f"{in_} {packet.offload(cfg, 'in')}"))
        else:
            cfg.dut.ip(*flow.dut_policies(), flow.out.add(out), flow.in_.add(in_))
        watch = cfg.watch()
        for send in packets:
            send()
        watch.stop()
        ktap.equal((watch.dut_errors, watch.peer_errors), ({}, {}), "XFRM errors")
        seen.append(_sent(cfg, watch))
        watch.expect_counters({"ipsec_packet_tx_packets": len(seen[-1]) if offload else 0})
    return seen


def _compare(cfg, inner, outer, flags=("", "")):
    """The same packets in the NIC and in software."""
    flow = packet.tunnel(cfg, inner, outer)
    ktap.diag(f"{flow.name} {' '.join(flags)}")
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    level, tos = (socket.IPPROTO_IP, socket.IP_TOS) if inner == 4 else \
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    packets = []
    choices = (PMTUDISC_DO, PMTUDISC_DONT) if inner == 4 else (PMTUDISC_DO,)
    for value, discover, size in itertools.product(CLASSES, choices, (SMALL, LARGE)):
        link = packet.link(cfg, flow)
        link.option(level, tos, value)
        if inner == 4:
            link.option(level, IP_MTU_DISCOVER, discover)
        packets.append(lambda link=link, size=size: packet.arrives(link, bytes(size)))
    nic, software = _outers(cfg, flow, flags, packets)
    ktap.equal(len(nic), len(packets), "ESP packets")
    # The stack copies the flow label of an IPv6 packet, the NIC has none.
    software = [dataclasses.replace(one, label=0) for one in software]
    if (inner, outer) == (6, 4):
        # Of a small IPv6 packet its sender could not make less. The stack means to see to that,
        # too, but there it takes the packet for IPv4 (xfrm4_tunnel_encap_add()).
        small = nic[::2]
        ktap.check(not any(one.dont_fragment for one in small), "DF of small packets")
        nic[::2] = [dataclasses.replace(one, dont_fragment=True, has_id=False) for one in small]
    ktap.equal(nic, software, "outer headers")


def outer_4_in_4(cfg):
    """DSCP, ECN, DF, identification and time to live: as software makes them."""
    _compare(cfg, 4, 4)


def outer_6_in_4(cfg):
    """The same for IPv6 packets: DF for those that their sender can make shorter."""
    _compare(cfg, 6, 4)


def outer_4_in_6(cfg):
    """The same in IPv6."""
    _compare(cfg, 4, 6)


def outer_6_in_6(cfg):
    """The same, both IPv6."""
    _compare(cfg, 6, 6)


def without_dscp(cfg):
    """No DSCP in the outer header, as in software."""
    _compare(cfg, 4, 4, ("extra-flag dont-encap-dscp", ""))


def without_ecn(cfg):
    """No ECN in it."""
    _compare(cfg, 4, 4, ("flag noecn", ""))


def without_df(cfg):
    """No DF in it, but numbers."""
    _compare(cfg, 4, 4, ("flag nopmtudisc", ""))


def without_all(cfg):
    """None of them, IPv6."""
    _compare(cfg, 6, 6, ("flag noecn extra-flag dont-encap-dscp", ""))


def other_hop_limit(cfg):
    """Time to live and hop limit are those that the host is told to use."""
    settings = (("net.ipv4.ip_default_ttl", 65),
                (f"net.ipv6.conf.{cfg.netif}.hop_limit", 66))
    for name, value in settings:
        ktap.defer(cfg.dut.sysctl, name, 64)
        cfg.dut.sysctl(name, value)
    _compare(cfg, 4, 4)
    _compare(cfg, 6, 6)


def congestion(cfg):
    """A packet that already tells of congestion tells so outside, too (RFC 6040 section 4.1). The
    stack would only say there that it can be told (RFC 3168)."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    inner = forge.ip(flow.dut_inner, flow.peer_inner, PROTO_UDP, forge.udp(1, 2, b"espnic"), tos=CE)
    watch = cfg.watch()
    packet.Frames(cfg).send(inner)
    watch.stop()
    ktap.equal([one.tos for one in _sent(cfg, watch)], [CE], "outer ECN")


# RFC 6040 figure 4 by inner and outer ECN; None: dropped.
ECN = {NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: None},
       ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
       ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
       CE: dict.fromkeys(range(4), CE)}


def _ecn(cfg, inner, outer, flags, expected):
    flow = packet.tunnel(cfg, inner, outer)
    ktap.diag(f"{flow.name} {flags}")
    target = packet.Target(cfg, flow, flags)
    watch = cfg.watch()
    for inside, outside in itertools.product(range(4), range(4)):
        target.send(target.inner(tos=0x28 | inside), tos=0xB8 | outside)
        ktap.equal(target.received(), expected(inside, outside), f"ECN {inside} in {outside}")
    watch.stop()
    dropped = sum(expected(*pair) is None for pair in itertools.product(range(4), range(4)))
    if cfg.control:
        ktap.equal(watch.nic.get("ipsec_rx_congestion", 0), dropped, "NIC's ipsec_rx_congestion")
    wanted = {"XfrmInHdrError": dropped} if dropped else {}
    ktap.equal(watch.dut_errors, wanted, "XFRM errors of the side under test")


def _combined(inside, outside):
    ecn = ECN[inside][outside]
    return None if ecn is None else 0x28 | ecn


def ecn_combined(cfg):
    """ECN at the end of the tunnel: the table of RFC 6040."""
    for outer in (4, 6):
        _ecn(cfg, 4, outer, "", _combined)


def ecn_combined_6(cfg):
    """The same for IPv6 packets."""
    for outer in (4, 6):
        _ecn(cfg, 6, outer, "", _combined)


def ecn_ignored(cfg):
    """Without ECN (`flag noecn`) the packet keeps its own."""
    _ecn(cfg, 4, 4, "flag noecn", lambda inside, _: 0x28 | inside)


def dscp_copied(cfg):
    """The outer DSCP is taken over, if the SA wants it (`flag decap-dscp`)."""
    for inner, outer in ((4, 4), (6, 6)):
        _ecn(cfg, inner, outer, "flag noecn decap-dscp", lambda inside, _: 0xB8 | inside)


def wrong_checksum(cfg):
    """A wrong checksum in the outer header, which the ICV does not cover: nobody gets the packet,
    also not with a header that is right again."""
    flows = [(packet.tunnel(cfg, 4, 4), packet.Target.inner, None),
             (esp.direct(outer=4, reqid=packet.REQID), packet.Target.datagram, PROTO_UDP)]
    for flow, content, next_header in flows:
        ktap.diag(flow.name)
        target = packet.Target(cfg, flow)
        inner = content(target)
        watch = cfg.watch()
        target.send(inner, next_header, damage=0x10)
        ktap.equal(target.received(), None, "a packet with a wrong checksum")
        target.send(inner, next_header)
        ktap.equal(target.received(), 0, "the sound packet behind it")
        packet.only(watch.stop())
        watch.expect_counters({"ipsec_packet_rx_packets": 1})
        if cfg.control:
            ktap.equal(watch.nic.get("ipsec_rx_header_fail", 0), 1, "NIC's ipsec_rx_header_fail")


CASES = [outer_4_in_4, outer_6_in_4, outer_4_in_6, outer_6_in_6, without_dscp, without_ecn,
         without_df, without_all, other_hop_limit, congestion, ecn_combined, ecn_combined_6,
         ecn_ignored, dscp_copied, wrong_checksum]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
