#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: segmentation, checksums and the MTU, for packets of the side under test itself.

The stack hands bulk TCP down unsegmented and in clear. The wire must show ESP packets that fit the
MTU, and the peer's stack, which decrypts, the same bytes with right checksums.
"""

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, forge, ktap, packet, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

STREAM = 1 << 20
SHORT = 128 * 1024
ETHERNET, IPV4, IPV6, UDP = 14, 20, 40, 8
IP_MTU_DISCOVER, PMTUDISC_DO, PMTUDISC_DONT = 10, 2, 0
IPV6_MTU_DISCOVER = 23
EMSGSIZE, EHOSTUNREACH = 90, 113
CHECKSUM = "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-ip-generic"


def _protect(cfg, flow):
    ktap.diag(flow.name)
    xfrm.flush(cfg.dut, cfg.peer)
    packet.protect(cfg, flow)
    return flow


def _stream(cfg, flow, size=STREAM, segmented=True):
    """TCP both ways; what was sent fits the wire, and nearly fills it."""
    _protect(cfg, flow)
    watch = cfg.watch()
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, size)
    packet.prove(cfg, watch, size // cfg.mtu)
    large = watch.driver.get("tx_tso_packets", 0)
    ktap.diag(f"{large} GSO packets among {len(watch.esp(cfg.netif_mac))} ESP packets")
    if segmented:
        ktap.at_least(large, 5, "packets that the NIC segmented")
    else:
        ktap.equal(large, 0, "packets that the NIC segmented")
    ktap.equal(watch.driver["tx_packets"], watch.frames_sent(cfg.netif_mac), "tx_packets")
    names = "seq", "long_iv" if flow.algorithm.block == 16 else "iv"
    esp.unique(watch.esp(cfg.netif_mac), *names)
    longest = max(len(frame) for _, frame in watch.tap_frames) - ETHERNET
    ktap.check(cfg.mtu - 20 <= longest <= cfg.mtu, f"the longest packet has {longest} bytes")
    return watch


def transport_4(cfg):
    """Transport mode over IPv4."""
    _stream(cfg, esp.direct(4, reqid=packet.REQID))


def transport_6(cfg):
    """Transport mode over IPv6, ChaCha20-Poly1305."""
    _stream(cfg, esp.direct(6, reqid=packet.REQID, algorithm=algo.CHACHA), SHORT)


def transport_cbc(cfg):
    """Transport mode, AES-CBC with HMAC-SHA-512."""
    _stream(cfg, esp.direct(4, reqid=packet.REQID, algorithm=algo.cbc(128, "sha512")), SHORT)


def tunnels(cfg):
    """All four tunnels."""
    for inner, outer in packet.TUNNELS:
        _stream(cfg, packet.tunnel(cfg, inner, outer), SHORT)


def nat_traversal(cfg):
    """Trains of segments with ESP in UDP, which crypto mode leaves to software."""
    flow = packet.tunnel(cfg, 4, 4, encap=4500)
    for ns in (cfg.dut, cfg.peer):
        esp.encap_socket(ns, flow.encap, bypass=False)
    watch = _stream(cfg, flow, SHORT)
    ktap.check(all(one.encapsulated for one in watch.esp(cfg.netif_mac)), "ESP without UDP")


def jumbo(cfg):
    """An MTU of 9000."""
    before = cfg.mtu
    cfg.set_mtu(9000)
    cfg.mtu = 9000
    ktap.defer(setattr, cfg, "mtu", before)
    ktap.defer(cfg.set_mtu, before)
    _stream(cfg, packet.tunnel(cfg, 4, 4))


def tso_off(cfg):
    """Without tx-tcp-segmentation the stack segments."""
    cfg.feature("tx-tcp-segmentation", "off")
    _stream(cfg, packet.tunnel(cfg, 4, 4), SHORT, segmented=False)


def checksums(cfg):
    """UDP checksums of the inner packet, by the NIC and by the stack: the peer checks them."""
    for make in ((4, 4), (6, 6), None):
        flow = _protect(cfg, packet.tunnel(cfg, *make) if make
                        else esp.direct(4, reqid=packet.REQID))
        names = [name for name in CHECKSUM if cfg.features().get(name)]
        ktap.check(names, "the interface has no feature of checksums")
        for state in ("on", "off"):
            for name in names:
                cfg.feature(name, state)
            link = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
            ktap.defer(link.close)
            sizes = (0, 1, 7, 300, 1001)
            watch = cfg.watch()
            for size in sizes:
                ktap.check(link.send(bytes(size)) and link.receive() == bytes(size),
                           f"a datagram of {size} bytes did not arrive")
            watch.stop().prove_no_errors()
            watch.expect_counters({"ipsec_packet_tx_packets": len(sizes)})
            for name in names:
                cfg.feature(name, "on")


def received_trains(cfg):
    """What receive offload merges is decrypted all of it; the stack counts fewer packets."""
    flow = _protect(cfg, packet.tunnel(cfg, 4, 4))
    before = _segments(cfg)
    watch = cfg.watch()
    traffic.tcp(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, STREAM)
    packet.prove(cfg, watch, STREAM // cfg.mtu)
    merged, packets = _segments(cfg) - before, len(watch.esp(cfg.peer_mac))
    ktap.check(merged < packets, f"{merged} segments for the stack of {packets} ESP packets")


def _segments(cfg):
    """TCP segments that the stack of the side under test has received."""
    with cfg.dut, open("/proc/thread-self/net/snmp", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("Tcp:")]
    return int(dict(zip(names, values, strict=True))["InSegs"])


def _fits(cfg, flow):
    """Sizes of all paddings up to the largest arrive as one packet each; a byte more is refused."""
    _protect(cfg, flow)
    outer = IPV6 if ":" in flow.dut else IPV4
    v6 = ":" in flow.dut_inner
    inner = IPV6 if v6 else IPV4
    udp = UDP if flow.encap else 0
    tunnel = inner if flow.mode == "tunnel" else 0
    largest = flow.algorithm.room(cfg.mtu - outer - udp) - tunnel - UDP
    link = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    level, name = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if v6 else \
        (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    link.option(level, name, PMTUDISC_DO)
    watch = cfg.watch()
    # In transport mode IPv6 does not know of ESP when it makes a packet, and drops it later.
    wanted = EHOSTUNREACH if v6 and not tunnel else EMSGSIZE
    ktap.equal(link.error(bytes(largest + 1)), wanted, "error of a datagram that is too long")
    for size in range(largest - 17, largest + 1):
        ktap.check(link.send(bytes(size)) and link.receive() == bytes(size),
                   f"a datagram of {size} bytes, of {largest}, did not arrive")
    watch.stop().prove_no_plaintext()
    refused = {"XfrmOutError": 1} if wanted == EHOSTUNREACH else {}
    ktap.equal((watch.dut_errors, watch.peer_errors), (refused, {}), "XFRM errors")
    ktap.equal(len(watch.esp(cfg.netif_mac)), 18, "ESP packets sent")
    longest = max(len(frame) for _, frame in watch.tap_frames) - ETHERNET
    ktap.check(cfg.mtu - flow.algorithm.block < longest <= cfg.mtu, f"{longest} bytes")
    packet.only(watch)


def exact_mtu_transport(cfg):
    """To the byte: transport mode, several algorithms, both families."""
    for algorithm in (algo.gcm(128), algo.gcm(256, 64), algo.cbc(128, "sha1"),
                      algo.cbc(256, "sha512")):
        _fits(cfg, esp.direct(4, reqid=packet.REQID, algorithm=algorithm))
    _fits(cfg, esp.direct(6, reqid=packet.REQID, algorithm=algo.gcm(128, 96)))


def exact_mtu_tunnel(cfg):
    """To the byte: all four tunnels, GCM and CBC."""
    for inner, outer in packet.TUNNELS:
        algorithm = algo.cbc(128, "sha256") if inner == outer else algo.gcm(256)
        _fits(cfg, packet.tunnel(cfg, inner, outer, algorithm=algorithm))


def exact_mtu_udp(cfg):
    """To the byte: ESP in UDP."""
    flow = packet.tunnel(cfg, 4, 4, encap=4500)
    for ns in (cfg.dut, cfg.peer):
        esp.encap_socket(ns, flow.encap, bypass=False)
    _fits(cfg, flow)


def fragments_needed(cfg):
    """A datagram that may be fragmented and does not fit: the stack, which would have the packets
    fragmented behind ESP, drops it and counts it. Nothing of it leaves, and none in clear."""
    for flow in (packet.tunnel(cfg, 4, 4), esp.direct(4, reqid=packet.REQID)):
        _protect(cfg, flow)
        link = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
        ktap.defer(link.close)
        link.option(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        watch = cfg.watch()
        link.send(bytes(3000))
        ktap.check(link.receive(0.2) is None, "the stack can fragment, say so in operations.rst")
        watch.stop().prove_no_plaintext()
        ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
        ktap.equal(watch.dut_errors, {"XfrmOutError": 1}, "XFRM errors")


def too_long_by_hand(cfg):
    """A frame of a packet socket that does not fit under ESP is dropped by the NIC, which counts
    it. The NIC only knows its own largest MTU."""
    link = json.loads(cfg.dut.cmd("ip", "-d", "-j", "link", "show", "dev", cfg.netif))[0]
    ktap.defer(cfg.dut.ip, f"link set {cfg.netif} mtu {cfg.mtu}")
    cfg.need_control()
    cfg.dut.ip(f"link set {cfg.netif} mtu {link['max_mtu']}")
    flow = _protect(cfg, packet.tunnel(cfg, 4, 4))
    frames, ends = packet.Frames(cfg), (flow.dut_inner, flow.peer_inner)
    size = flow.algorithm.room(link["max_mtu"] - IPV4) - IPV4 - UDP + 1
    watch = cfg.watch()
    frames.send(forge.ip(*ends, PROTO_UDP, forge.udp(1000, 2000, bytes(size), ends)))
    watch.stop()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
    ktap.equal(watch.nic.get("ipsec_tx_drop_long"), 1, "NIC's ipsec_tx_drop_long")


CASES = [transport_4, transport_6, transport_cbc, tunnels, nat_traversal, jumbo, tso_off, checksums,
         received_trains, exact_mtu_transport, exact_mtu_tunnel, exact_mtu_udp,
         fragments_needed, too_long_by_hand]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
