#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload at a gateway: a host behind the side under test, a tunnel to the peer.

The stack hands forwarded packets over without an Ethernet header. The next hop is the driver's to
find, and what ICMP has to say to the host comes from the stack.
"""

import contextlib
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, forge, gateway, ktap, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_ESP  # noqa: E402

COUNT = 3
BULK = 1 << 20
ETHERNET, IPV4, IPV6, UDP = 14, 20, 40, 8
OTHER_MAC = "02:00:00:00:0e:9c"
IP_MTU_DISCOVER, IP_MTU, PMTUDISC_DO, PMTUDISC_DONT = 10, 14, 2, 0
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
IP_RECVTTL, IPV6_RECVHOPLIMIT = 12, 51
UDP_SEGMENT = 103
NARROW = 1400
MESSAGE = b"espnic: from a host behind the gateway"


def _protect(cfg, inner, outer, **kwargs):
    host = env.LAN4 if inner == 4 else env.LAN6
    flow = packet.tunnel(cfg, inner, outer, dut_inner=host, **kwargs)
    ktap.diag(flow.name)
    cfg.lan.flush_pmtu()
    packet.protect(cfg, flow)
    return flow


def _forward(cfg, inner, outer, **kwargs):
    """IPv6 hosts learn the MTU first: without it the stack drops whole trains of segments, and only
    answers to a single packet that is too long."""
    flow = _protect(cfg, inner, outer, **kwargs)
    if inner == 6:
        Probe(cfg, flow).learn(_room(cfg, flow))
    packet.exercise(cfg, flow, dut=cfg.lan.ns)


def tunnel_4_in_4(cfg):
    """IPv4 in IPv4."""
    _forward(cfg, 4, 4)


def tunnel_6_in_6(cfg):
    """IPv6 in IPv6, CBC."""
    _forward(cfg, 6, 6, algorithm=algo.cbc(256, "sha256"))


def tunnel_4_in_6(cfg):
    """IPv4 in IPv6."""
    _forward(cfg, 4, 6)


def tunnel_6_in_4(cfg):
    """IPv6 in IPv4."""
    _forward(cfg, 6, 4)


def bulk(cfg):
    """What the host sends in trains of segments goes to the NIC as trains."""
    flow = _protect(cfg, 4, 4)
    watch = cfg.watch()
    traffic.tcp(cfg.lan.ns, flow.dut_inner, cfg.peer, flow.peer_inner, BULK)
    packet.prove(cfg, watch, BULK // cfg.mtu)
    ktap.at_least(watch.driver.get("tx_tso_packets", 0), 5, "packets that the NIC segmented")


def clear_is_dropped(cfg):
    """What the peer sends in clear, although a policy protects it, does not reach the host."""
    flow = _protect(cfg, 4, 4)
    link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.lan.ns, flow.dut_inner)
    ktap.defer(link.close)
    ktap.check(link.send(MESSAGE) and link.receive() == MESSAGE, "protected, it did not arrive")
    xfrm.flush(cfg.peer)
    watch = cfg.watch()
    for _ in range(COUNT):
        link.send(MESSAGE)
    ktap.check(link.receive(0.3) is None, "a datagram in clear was forwarded")
    watch.stop()
    packet.only(watch, rx_drop_clear=COUNT)


def without_sa(cfg):
    """Without an SA nothing of the host's leaves."""
    flow = _protect(cfg, 4, 4)
    cfg.dut.ip(flow.out.delete())
    watch = cfg.watch()
    ktap.check(not traffic.reachable(cfg.lan.ns, flow.dut_inner, flow.peer_inner, timeout=0.3),
               "a packet passed without an SA")
    watch.stop().prove_no_plaintext()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")


def _reach(cfg, flow, what):
    proc.wait_until(lambda: traffic.reachable(cfg.lan.ns, flow.dut_inner, flow.peer_inner,
                                              timeout=0.2), what)


def _resolved(cfg, inner, outer, gateway_address):
    """The driver asks for the next hop; the packets that come before the answer are lost."""
    flow = _protect(cfg, inner, outer)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"neigh del {gateway_address} dev {cfg.netif}")
    watch = cfg.watch()
    _reach(cfg, flow, "a next hop that nobody knew")
    watch.stop()
    inside = {flow.dut_inner, flow.peer_inner}
    clear = [one for one in watch.clear_packets() if {one.src, one.dst} & inside]
    ktap.equal(clear, [], "packets of the flow in clear")
    text = cfg.dut.cmd("ip", "neigh", "show", gateway_address, "dev", cfg.netif)
    ktap.contains(text, cfg.peer_mac, "neighbour")


def next_hop_asked_4(cfg):
    """No neighbour is known: ARP."""
    _resolved(cfg, 4, 4, env.PEER4)


def next_hop_asked_6(cfg):
    """The same with neighbour discovery, which needs link-local addresses."""
    packet.add(cfg.dut, f"addr add fe80::1/64 dev {cfg.netif} nodad")
    packet.add(cfg.peer, f"addr add fe80::2/64 dev {cfg.peerdev} nodad")
    _resolved(cfg, 4, 6, env.PEER6)


def next_hop_moves(cfg):
    """Another Ethernet address of the next hop is used from the next packet on."""
    flow = _protect(cfg, 4, 4)
    ktap.defer(cfg.configure)
    _reach(cfg, flow, "the peer")
    pinger = traffic.Pinger(cfg.lan.ns, flow.dut_inner, flow.peer_inner)
    ktap.defer(pinger.close)
    for mac in (OTHER_MAC, cfg.peer_mac):
        cfg.dut.ip(f"neigh replace {env.PEER4} lladdr {mac} dev {cfg.netif} nud permanent")
        watch = cfg.watch()
        for _ in range(COUNT):
            pinger.send(MESSAGE)
        watch.stop().prove_no_plaintext()
        sent = [one.dmac for one in watch.esp(cfg.netif_mac)]
        ktap.equal(sent, [mac] * COUNT, "Ethernet addresses")


def next_hop_fails(cfg):
    """Nobody answers for the next hop: the host's packets are dropped and counted. They pass again
    when somebody does."""
    flow = _protect(cfg, 4, 4)
    ktap.defer(cfg.configure)
    cfg.dut.sysctl(f"net.ipv4.neigh.{cfg.netif}.retrans_time_ms", 50)
    cfg.peer.sysctl("net.ipv4.conf.all.arp_ignore", 8)
    ktap.defer(cfg.peer.sysctl, "net.ipv4.conf.all.arp_ignore", 0)
    watch = cfg.watch()
    cfg.dut.ip(f"neigh del {env.PEER4} dev {cfg.netif}")
    pinger = traffic.Pinger(cfg.lan.ns, flow.dut_inner, flow.peer_inner)
    ktap.defer(pinger.close)

    def failed():
        pinger.send(MESSAGE)
        return "FAILED" in cfg.dut.cmd("ip", "neigh", "show", env.PEER4, "dev", cfg.netif)
    proc.wait_until(failed, "the neighbour fails")
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")
    ktap.at_least(watch.driver.get("ipsec_packet_tx_drop_no_hop", 0), 1, "packets dropped")
    cfg.peer.sysctl("net.ipv4.conf.all.arp_ignore", 0)
    _reach(cfg, flow, "a next hop that answers again")


class Probe:
    """A socket of the host that never fragments, and one of the peer."""

    def __init__(self, cfg, flow):
        v6 = ":" in flow.dut_inner
        family = socket.AF_INET6 if v6 else socket.AF_INET
        self._level, discover, self._mtu = \
            (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU) if v6 else \
            (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU)
        self._headers = (IPV6 if v6 else IPV4) + UDP
        with cfg.lan.ns:
            self._out = socket.socket(family, socket.SOCK_DGRAM)
        with cfg.peer:
            self._in = socket.socket(family, socket.SOCK_DGRAM)
        ktap.defer(self._out.close)
        ktap.defer(self._in.close)
        self._out.bind((flow.dut_inner, 0))
        self._out.setsockopt(self._level, discover, PMTUDISC_DO)
        self._in.bind((flow.peer_inner, 0))
        self._in.settimeout(5)
        self._out.connect((flow.peer_inner, self._in.getsockname()[1]))

    def mtu(self):
        """The MTU of the path, as far as the host knows."""
        return self._out.getsockopt(self._level, self._mtu)

    def learn(self, mtu):
        """Send a packet that is longer than this, and wait for what ICMP has to say."""
        self.learn_from(mtu + 1)
        proc.wait_until(lambda: self.mtu() <= mtu, f"ICMP tells of an MTU of {mtu}")

    def learn_from(self, size):
        """Send a packet of so many bytes, which need not arrive. The error of one before is of no
        interest."""
        try:
            self._out.send(bytes(size - self._headers))
        except OSError:
            self._out.send(bytes(size - self._headers))

    def send(self, size):
        """A packet of so many bytes arrives; others may have come before."""
        self.learn_from(size)
        while len(self._in.recv(9000)) != size - self._headers:
            pass


def _room(cfg, flow):
    """The longest packet that fits into one of the tunnel's."""
    return flow.algorithm.room(cfg.mtu - (IPV6 if ":" in flow.dut else IPV4))


def _mtu(cfg, inner, outer, **kwargs):
    """The host is told of the largest packet to the byte: that passes, and fills the wire."""
    flow = _protect(cfg, inner, outer, **kwargs)
    probe, room = Probe(cfg, flow), _room(cfg, flow)
    watch = cfg.watch()
    probe.learn(room)
    watch.stop()
    ktap.equal(probe.mtu(), room, "MTU")
    longest = max((len(one.payload) for one in watch.esp(cfg.netif_mac)), default=0)
    ktap.check(longest < 200, "a packet that is too long was sent")
    watch = cfg.watch()
    for size in range(room - 17, room + 1):
        probe.send(size)
    watch.stop().prove_no_errors()
    longest = max(len(frame) for _, frame in watch.tap_frames) - ETHERNET
    ktap.check(cfg.mtu - flow.algorithm.block < longest <= cfg.mtu, f"{longest} bytes")
    packet.only(watch)


def mtu_4_in_4(cfg):
    """Fragmentation needed, of all paddings."""
    _mtu(cfg, 4, 4)


def mtu_6_in_6(cfg):
    """Packet too big, CBC."""
    _mtu(cfg, 6, 6, algorithm=algo.cbc(128, "sha1"))


def mtu_4_in_6(cfg):
    """Fragmentation needed, over IPv6."""
    _mtu(cfg, 4, 6, algorithm=algo.cbc(128, "sha512"))


def mtu_6_in_4(cfg):
    """Packet too big, over IPv4."""
    _mtu(cfg, 6, 4)


def _hops(cfg, inner, level, set_hops, receive_hops):
    flow = _protect(cfg, inner, 4)
    link = traffic.Datagrams(cfg.lan.ns, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    link.option(level, set_hops, 5)
    link.ask(level, receive_hops)
    ktap.check(link.send(MESSAGE), "a datagram could not be sent")
    data, ancillary = link.receive_all()
    ktap.equal(data, MESSAGE, "datagram")
    hops = [struct.unpack("=i", value)[0] for _, _, value in ancillary]
    ktap.equal(hops, [4], "hops left")


def hops_4(cfg):
    """The gateway is one hop, the tunnel none."""
    _hops(cfg, 4, socket.IPPROTO_IP, socket.IP_TTL, IP_RECVTTL)


def hops_6(cfg):
    """The same for IPv6."""
    _hops(cfg, 6, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, IPV6_RECVHOPLIMIT)


def fragments(cfg):
    """Fragments of the host go through the tunnel as they are, each in a packet of its own."""
    flow = _protect(cfg, 4, 4)
    via = f"{flow.peer_inner}/32 via {gateway.GATEWAY4} mtu lock 1400"
    packet.add(cfg.lan.ns, f"route add {via}")
    link = traffic.Datagrams(cfg.lan.ns, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    link.option(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
    watch = cfg.watch()
    data = bytes(range(250)) * 12
    ktap.check(link.send(data), "a datagram could not be sent")
    ktap.equal(link.receive(), data, "datagram")
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 3, "ESP packets sent")
    packet.only(watch)


def fragments_6(cfg):
    """Fragments of IPv6 are dropped by the stack, which counts them: they have an extension header.
    None of them leaves in clear."""
    flow = _protect(cfg, 6, 6)
    packet.add(cfg.lan.ns, f"route add {flow.peer_inner}/128 via {gateway.GATEWAY6} mtu 1400")
    link = traffic.Datagrams(cfg.lan.ns, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    watch = cfg.watch()
    ktap.check(link.send(bytes(3000)), "a datagram could not be sent")
    ktap.check(link.receive(0.2) is None, "the stack takes fragments now, test them")
    watch.stop().prove_no_plaintext()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
    ktap.equal(watch.dut_errors, {"XfrmOutError": 3}, "XFRM errors")


def _path_mtu(cfg, version, router, kind, code, proto):
    """A router on the way says that ESP packets are too long: the host hears what that leaves."""
    flow = _protect(cfg, version, version)
    probe = Probe(cfg, flow)
    probe.send(1000)
    ktap.defer(cfg.dut.cmd, "ip", f"-{version}", "route", "flush", "cache")
    quoted = forge.ip(flow.dut, flow.peer, PROTO_ESP, struct.pack("!II", flow.out.spi, 1))
    message = struct.pack("!BBHI", kind, code, 0, NARROW) + quoted
    pseudo = b"" if version == 4 else \
        socket.inet_pton(socket.AF_INET6, router) + socket.inet_pton(socket.AF_INET6, flow.dut) + \
        struct.pack("!II", len(message), proto)
    checksum = struct.pack("!H", traffic.checksum(pseudo + message))
    forge.Injector(cfg).send(router, flow.dut, proto, message[:2] + checksum + message[4:])
    room = flow.algorithm.room(NARROW - (IPV4 if version == 4 else IPV6))

    def heard():
        with contextlib.suppress(OSError):
            probe.learn_from(room + 1)
        return probe.mtu() == room
    proc.wait_until(heard, f"an MTU of {room}, but it is {probe.mtu()}")
    watch = cfg.watch()
    probe.send(room)
    watch.stop().prove_no_errors()
    ktap.equal(max(len(frame) for _, frame in watch.tap_frames) - ETHERNET, NARROW // 4 * 4,
               "bytes of the packet")


def path_mtu_4(cfg):
    """Fragmentation needed on the way."""
    _path_mtu(cfg, 4, "192.0.2.77", 3, 4, socket.IPPROTO_ICMP)


def path_mtu_6(cfg):
    """Packet too big on the way."""
    _path_mtu(cfg, 6, "2001:db8:77::77", 2, 0, socket.IPPROTO_ICMPV6)


def udp_trains(cfg):
    """Trains of UDP, which the NIC does not segment, are segmented by the stack."""
    flow = _protect(cfg, 4, 4)
    link = traffic.Datagrams(cfg.lan.ns, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    link.option(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    data = bytes(range(250)) * 40
    watch = cfg.watch()
    ktap.check(link.send(data), "a train could not be sent")
    got = b"".join(link.receive() or b"" for _ in range(10))
    ktap.equal(got, data, "content of the train")
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 10, "ESP packets sent")
    packet.only(watch)


CASES = [tunnel_4_in_4, tunnel_6_in_6, tunnel_4_in_6, tunnel_6_in_4, bulk, clear_is_dropped,
         without_sa, next_hop_asked_4, next_hop_asked_6, next_hop_moves, next_hop_fails, mtu_4_in_4,
         mtu_6_in_6, mtu_4_in_6, mtu_6_in_4, hops_4, hops_6, fragments,
         fragments_6, path_mtu_4, path_mtu_6, udp_trains]


def _setup():
    cfg = env.Setup(tap=True).need_offload()
    cfg.lan = gateway.Lan(cfg)
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
