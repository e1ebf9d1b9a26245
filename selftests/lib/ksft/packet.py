# SPDX-License-Identifier: GPL-2.0
"""Steps that tests of packet offload have in common."""

import collections
import contextlib
import ipaddress
import re
import socket
import struct

from . import env, esp, forge, ktap, proc, traffic, xfrm
from .frames import PROTO_UDP, parse

REQID = 77
SMALL = [56] * 3
TUNNELS = [(4, 4), (4, 6), (6, 4), (6, 6)]  # inner and outer
ETH_IPV4 = b"\x08\x00"
IP_RECVTOS, IPV6_RECVTCLASS = 13, 66
IPV4_IN_ESP, IPV6_IN_ESP = 4, 41
FIRST_NUMBER = 100
REFUSED = 100  # rules of the flow filter, more than a driver tries
MESSAGE = b"espnic packet offload"
DROPS = ["ipsec_packet_tx_drop_blocked", "ipsec_packet_tx_drop_unclear",
         "ipsec_packet_tx_drop_no_sa", "ipsec_packet_tx_drop_no_hop", "ipsec_packet_tx_drop_form",
         "ipsec_packet_tx_drop_late",
         "ipsec_packet_rx_drop_stale", "ipsec_packet_rx_drop_failed",
         "ipsec_packet_rx_drop_policy", "ipsec_packet_rx_drop_diverted",
         "ipsec_packet_rx_drop_no_memory", "ipsec_packet_rx_drop_clear",
         "ipsec_packet_rx_drop_blocked", "ipsec_packet_rx_drop_esp"]


def offload(cfg, direction, window=512):
    """The words that ask for packet offload; inbound SAs also get a replay window."""
    replay = f"replay-window {window}" if direction == "in" else ""
    return f"{replay} offload packet dev {cfg.netif} dir {direction}"


def dut_policies(cfg, flow):
    """`ip` lines for the offloaded policies of the side under test."""
    words = f" offload packet dev {cfg.netif} tmpl "
    return [line.replace(" tmpl ", words) for line in flow.dut_policies()]


def flows():
    """A tunnel, and transport mode between its ends."""
    return esp.inner4(outer=4, reqid=REQID), esp.direct(outer=4, reqid=REQID + 1)


def gone(cfg, *sas):
    """Wait until the side under test has these SAs no more."""
    for sa in sas:
        proc.wait_until(lambda sa=sa: xfrm.state_text(cfg.dut, sa) is None,
                        f"the SA with SPI {sa.spi:#x} expires")


def refused(cfg, line, text):
    """A command of `ip` fails with this text in the message."""
    result = cfg.dut.run("ip", *line.split())
    ktap.check(result.returncode, f"`ip {line}` was accepted")
    ktap.contains(result.stderr, text, "message")


def open_holes(cfg, port):
    """Offloaded policies that let UDP between these ports pass in clear, both ways."""
    cfg.dut.ip(*[f"xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp sport {port} dport {port} "
                 f"dir {direction} priority 1 action allow offload packet dev {cfg.netif}"
                 for direction in ("in", "out")])


def states(cfg, flow, out="", in_=""):
    """Add both SAs of the side under test, with more words for each if there are any."""
    cfg.dut.ip(flow.out.add(f"{out} {offload(cfg, 'out')}"),
               flow.in_.add(f"{in_} {offload(cfg, 'in')}"))


def protect(cfg, flow, out="", in_=""):
    """Packet offload at the side under test, software at the peer; with more words for the SAs of
    the former if there are any."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*dut_policies(cfg, flow))
    states(cfg, flow, out, in_)
    for sa, direction in ((flow.out, "out"), (flow.in_, "in")):
        text = xfrm.state_text(cfg.dut, sa)
        ktap.contains(text, f"dev {cfg.netif} dir {direction} mode packet", "ip xfrm state")


@contextlib.contextmanager
def crypto_only(cfg):
    """The NIC takes no rules of the flow filter, so that the driver has crypto offload only."""
    control = cfg.need_request("misbehave", "refuse-create")
    with cfg.driver_away():
        control.fault(cfg.nic, "misbehave", "filter", "refuse-create", REFUSED)
    try:
        yield
    finally:
        control.request("fault", cfg.nic, "clear")
        with cfg.driver_away():
            pass


def add(ns, *lines):
    """Addresses and routes for this case."""
    for line in lines:
        ns.ip(line)
        ktap.defer(ns.ip, line.replace(" add ", " del ", 1))


def _as_ipv4(address):
    """The first four bytes of an IPv6 address as an IPv4 address."""
    return ipaddress.IPv4Address(ipaddress.IPv6Address(address).packed[:4])


def tunnel(cfg, inner, outer, **kwargs):
    """A tunnel of IPv4 or IPv6 in either, with the addresses and routes that the stack wants.

    It reads the outer addresses as if they had the family of the inner ones. So the start of the
    own one must be a local address, and to that of the other there must be a route. For packets of
    its own it resolves the inner address, if no gateway leads to the outer one; Linux at the peer
    answers for an inner address of IPv4, not of IPv6.
    """
    dut, peer = esp.ends(outer)
    if (inner, outer) == (4, 6):
        peer = env.FAR6
        add(cfg.peer, f"addr add {peer}/128 dev {cfg.peerdev} nodad")
        add(cfg.dut, f"route add {peer}/128 via {env.PEER6} dev {cfg.netif}",
            f"addr add {_as_ipv4(dut)}/32 dev lo",
            f"route add {_as_ipv4(peer)}/32 via {env.PEER4} dev {cfg.netif}")
    if (inner, outer) == (6, 4):
        add(cfg.dut, f"route add ::/0 via {env.PEER6} dev {cfg.netif}")
    if (inner, outer) == (6, 6):
        cfg.dut.ip(f"neigh replace {env.PEER_INNER6} lladdr {cfg.peer_mac} dev {cfg.netif}")
        ktap.defer(cfg.dut.ip, f"neigh del {env.PEER_INNER6} dev {cfg.netif}")
    ends = (env.DUT_INNER4, env.PEER_INNER4) if inner == 4 else (env.DUT_INNER6, env.PEER_INNER6)
    words = {"dut_inner": ends[0], "peer_inner": ends[1], "reqid": REQID} | kwargs
    return xfrm.Flow(dut, peer, "tunnel", **words)


def exercise(cfg, flow, sizes=None, stream=esp.STREAM, dut=None):
    """Pings of all paddings and TCP from either end of a flow that is installed, all of it in the
    NIC; dut is the namespace of the near end, if that is behind the side under test."""
    near, peer = dut or cfg.dut, cfg.peer
    watch = cfg.watch()
    count = traffic.ping(near, flow.dut_inner, flow.peer_inner, sizes or esp.SIZES)
    count += traffic.ping(peer, flow.peer_inner, flow.dut_inner, SMALL)
    traffic.tcp(near, flow.dut_inner, peer, flow.peer_inner, stream)
    traffic.tcp(peer, flow.peer_inner, near, flow.dut_inner, stream)
    prove(cfg, watch, count)
    esp.unique(watch.esp(cfg.netif_mac), "seq", "long_iv" if flow.algorithm.block == 16 else "iv")
    return watch


def prove(cfg, watch, least):
    """All of ESP on the wire was the NIC's work, both ways, and nothing was in clear."""
    watch.stop().prove_no_errors()
    sent, received = len(watch.esp(cfg.netif_mac)), len(watch.esp(cfg.peer_mac))
    ktap.at_least(sent, least, "ESP packets sent")
    ktap.at_least(received, least, "ESP packets received")
    watch.expect_counters({"ipsec_packet_tx_packets": sent, "ipsec_packet_rx_packets": received,
                           "ipsec_tx_packets": 0, "ipsec_rx_packets": 0})
    only(watch)
    for name in ("ipsec_packet_tx_bytes", "ipsec_packet_rx_bytes"):
        ktap.at_least(watch.driver.get(name, 0), least, name)


def only(watch, **drops):
    """Nothing was dropped for another reason than these, without their prefix."""
    wanted = {f"ipsec_packet_{name}": count for name, count in drops.items()}
    watch.expect_counters(dict.fromkeys(DROPS, 0) | wanted)


def unique(packets):
    """No number and no IV comes twice under one SA."""
    by_spi = collections.defaultdict(list)
    for one in packets:
        by_spi[one.spi].append(one)
    for group in by_spi.values():
        esp.unique(group)


def replays(cfg, sa):
    """How many packets of an inbound SA came again, or too late, as `ip -s xfrm state` has it."""
    text = cfg.dut.cmd("ip", "-s", *sa.get().split())
    late, again = re.search(r"replay-window (\d+) replay (\d+) failed", text).groups()
    return int(late) + int(again)


def received(cfg, watch, flow):
    """The frames of a flow's inbound SA in a record."""
    frames = [frame for _, frame in watch.tap_frames]
    return [frame for frame in frames if (one := parse(frame)) and one.esp
            and one.smac == cfg.peer_mac and one.spi == flow.in_.spi]


class Busy:
    """Flows under packet offload through whatever happens, and all ESP that was sent for them."""

    def __init__(self, cfg, *flows):
        self.cfg, self.flows, self.sent = cfg, list(flows), []
        for flow in flows:
            protect(cfg, flow)

    def works(self, count=3, flows=None):
        """Pings from both ends pass, all of ESP being the NIC's work; returns the record."""
        flows = self.flows if flows is None else flows
        watch = self.cfg.watch()
        for flow in flows:
            traffic.ping(self.cfg.dut, flow.dut_inner, flow.peer_inner, [56] * count)
            traffic.ping(self.cfg.peer, flow.peer_inner, flow.dut_inner, [56] * count)
        prove(self.cfg, watch, 2 * count * len(flows))
        self.sent += watch.esp(self.cfg.netif_mac)
        return watch

    def received(self, watch, flow):
        """The last frame of the flow's inbound SA in a record."""
        return received(self.cfg, watch, flow)[-1]

    def renew_inbound(self, flow):
        """The peer sends under a new SA."""
        old, flow.in_ = flow.in_, flow.new_sa(outbound=False)
        self.cfg.dut.ip(flow.in_.add(offload(self.cfg, "in")))
        self.cfg.peer.ip(flow.in_.add(), old.delete())
        if xfrm.state_text(self.cfg.dut, old):
            self.cfg.dut.ip(old.delete())

    def renew(self):
        """All SAs and policies anew, with other keys."""
        xfrm.flush(self.cfg.dut, self.cfg.peer)
        for flow in self.flows:
            flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
            protect(self.cfg, flow)

    def end(self):
        """No number and no IV came twice."""
        unique(self.sent)


class Frames:
    """A packet socket on the interface under test, which sends frames made by hand."""

    def __init__(self, cfg):
        with cfg.dut:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        ktap.defer(self._socket.close)
        self._socket.bind((cfg.netif, 0))
        self._macs = bytes.fromhex((cfg.peer_mac + cfg.netif_mac).replace(":", ""))

    def send(self, packet, tag=b""):
        """An IPv4 packet, behind a VLAN tag if there is one."""
        self._socket.send(self._macs + tag + ETH_IPV4 + packet)


def link(cfg, flow, outbound=True):
    """Datagrams of a flow, from the side under test or to it."""
    ends = [(cfg.dut, flow.dut_inner), (cfg.peer, flow.peer_inner)]
    (ns_from, src), (ns_to, dst) = ends if outbound else reversed(ends)
    pair = traffic.Datagrams(ns_from, src, ns_to, dst)
    ktap.defer(pair.close)
    return pair


def arrives(pair, data=MESSAGE):
    """A datagram arrives as it was sent."""
    ktap.check(pair.send(data) and pair.receive() == data, "a datagram did not arrive")


class Target:
    """A socket of the side under test, and ESP packets made by hand that are for it.

    Of the flow only the inbound SA is there, with the words `flags`.
    """

    def __init__(self, cfg, flow, flags="", window=512):
        ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
        xfrm.flush(cfg.dut, cfg.peer)
        cfg.dut.ip(*dut_policies(cfg, flow),
                   flow.in_.add(f"{flags} {offload(cfg, 'in', window)}"))
        self.flow, self.link = flow, link(cfg, flow, outbound=False)
        self.number = FIRST_NUMBER
        self._v6 = ":" in flow.dut_inner
        level, name = (socket.IPPROTO_IPV6, IPV6_RECVTCLASS) if self._v6 else \
            (socket.IPPROTO_IP, IP_RECVTOS)
        self.link.ask(level, name)
        self._injector = forge.Injector(cfg)

    def inner(self, data=MESSAGE, src=None, **kwargs):
        """A packet for the socket."""
        ends = src or self.flow.peer_inner, self.flow.dut_inner
        return forge.ip(*ends, PROTO_UDP, self.datagram(data, src), **kwargs)

    def datagram(self, data=MESSAGE, src=None):
        """What is behind the IP header of such a packet."""
        ends = src or self.flow.peer_inner, self.flow.dut_inner
        return forge.udp(1000, self.link.port, data, ends)

    def send(self, inner, next_header=None, number=None, sa=None, **kwargs):
        """ESP with this in it, under the next number and the flow's SA if none is given."""
        if number is None:
            self.number += 1
            number = self.number
        next_header = next_header or (IPV6_IN_ESP if self._v6 else IPV4_IN_ESP)
        self._injector.esp(sa or self.flow.in_, forge.Esp(inner, next_header), number, **kwargs)

    def received(self):
        """The byte of DSCP and ECN of the next datagram; None without one."""
        try:
            data, ancillary = self.link.receive_all(0.3)
        except TimeoutError:
            return None
        ktap.equal(data, MESSAGE, "datagram")
        value = ancillary[0][2]
        return value[0] if len(value) == 1 else struct.unpack("=i", value)[0]
