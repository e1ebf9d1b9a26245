#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: ESP in UDP, fragments, options, selectors, SAs side by side."""

import dataclasses
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, forge, ktap, netlink, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_ESP, PROTO_FRAGMENT, PROTO_UDP  # noqa: E402
from ksft.packet import IPV4_IN_ESP, IPV6_IN_ESP, MESSAGE, REQID, SMALL  # noqa: E402

OTHER_PORT = 4501
IPV6_XFRM_POLICY = 35
NO_OPERATIONS = bytes([1, 1, 1, 0])
PROTO_AH = 51
PADDING = bytes([1, 4, 0, 0, 0, 0])  # an option of IPv6 that fills six bytes
MORE_FRAGMENTS = 0x2000
NO_NEXT_HEADER = 59


def _udp(cfg, flow, bypass=False):
    xfrm.flush(cfg.dut, cfg.peer)  # sockets take policies when XFRM's user interface is loaded
    for ns in (cfg.dut, cfg.peer):
        esp.encap_socket(ns, flow.encap, bypass=bypass)
    packet.protect(cfg, flow)
    watch = packet.exercise(cfg, flow)
    for mac in (cfg.netif_mac, cfg.peer_mac):
        ktap.check(all(one.encapsulated for one in watch.esp(mac)), "ESP without UDP")


def udp_tunnel(cfg):
    """ESP in UDP, tunnel mode."""
    _udp(cfg, packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT))


def udp_transport(cfg):
    """ESP in UDP, transport mode, CBC."""
    _udp(cfg, esp.direct(4, reqid=REQID, encap=xfrm.ENCAP_PORT,
                         algorithm=algo.cbc(128, "sha256")), bypass=True)


def _encap_socket6(ns, port, bypass=False):
    """As esp.encap_socket(), for IPv6."""
    with ns:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    ktap.defer(sock.close)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_UDP, esp.UDP_ENCAP, esp.ENCAP_ESPINUDP)
    for direction in (0, 1) if bypass else ():
        policy = struct.pack("=40xH118xB7x", socket.AF_INET6, direction)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_XFRM_POLICY, policy)
    sock.bind(("::", port))


def udp_tunnel_6(cfg):
    """ESP in UDP over IPv6, where UDP has a checksum."""
    flow = packet.tunnel(cfg, 6, 6, encap=xfrm.ENCAP_PORT)
    _encap_socket6(cfg.peer, flow.encap)
    packet.protect(cfg, flow)
    watch = packet.exercise(cfg, flow)
    sent = watch.esp(cfg.netif_mac)
    ktap.check(all(one.encapsulated and one.payload[6:8] != b"\0\0" for one in sent),
               "ESP without UDP, or UDP without a checksum")


def udp_transport_6(cfg):
    """The same in transport mode."""
    flow = esp.direct(6, reqid=REQID, encap=xfrm.ENCAP_PORT)
    xfrm.flush(cfg.dut, cfg.peer)
    _encap_socket6(cfg.peer, flow.encap, bypass=True)
    packet.protect(cfg, flow)
    watch = packet.exercise(cfg, flow)
    ktap.check(all(one.encapsulated for one in watch.esp(cfg.netif_mac)), "ESP without UDP")


def udp_ports(cfg):
    """The peer's NAT has given it another port; another one for us is refused with a sentence."""
    flow = packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    own, other = xfrm.ENCAP_PORT, OTHER_PORT

    def with_ports(words, source, target):
        return words.replace(f"espinudp {own} {own}", f"espinudp {source} {target}")
    esp.encap_socket(cfg.dut, own, bypass=False)
    esp.encap_socket(cfg.peer, other, bypass=False)
    cfg.peer.ip(with_ports(flow.in_.add(), other, own), with_ports(flow.out.add(xfrm.WINDOW), own,
                                                                   other), *flow.peer_policies())
    out, in_ = flow.out.add(packet.offload(cfg, "out")), flow.in_.add(packet.offload(cfg, "in"))
    packet.refused(cfg, with_ports(in_, own, other), "4500")
    cfg.dut.ip(*packet.dut_policies(cfg, flow), with_ports(out, own, other),
               with_ports(in_, other, own))
    watch = packet.exercise(cfg, flow)
    ports = {one.payload[:4] for one in watch.esp(cfg.netif_mac)}
    ktap.equal(ports, {struct.pack("!2H", own, other)}, "ports on the wire")


def udp_ports_change(cfg):
    """A key manager updates a living SA because the peer's NAT has given it another port: the NIC
    uses that from then on. For another port of ours the update is refused with a sentence, and
    the SA stays as it was."""
    flow = packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT)
    own, other = xfrm.ENCAP_PORT, OTHER_PORT
    for ns, port in ((cfg.dut, own), (cfg.peer, own), (cfg.peer, other)):
        esp.encap_socket(ns, port, bypass=False)
    packet.protect(cfg, flow)

    def ports():
        watch = cfg.watch()
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)
        packet.prove(cfg, watch, 1)
        return [struct.unpack("!2H", one.payload[:4]) for one in watch.esp(cfg.netif_mac)][0]

    def update(sa, direction, source, target):
        return sa.add(packet.offload(cfg, direction), "update").replace(
            f"espinudp {own} {own}", f"espinudp {source} {target}")
    ktap.equal(ports(), (own, own), "ports before")
    cfg.dut.ip(update(flow.out, "out", own, other), update(flow.in_, "in", other, own))
    proc.wait_until(lambda: ports() == (own, other), "the NIC uses the new port")
    packet.refused(cfg, update(flow.in_, "in", own, other),
                   "packet offload takes UDP encapsulation to port 4500 only")
    packet.refused(cfg, update(flow.out, "out", own, 0), "UDP encapsulation needs both ports")
    ktap.equal(ports(), (own, other), "ports after refused updates")


def udp_new_source(cfg):
    """The peer's NAT takes another port meanwhile: what comes from there is still received, and the
    key managers hear of it, as under software. They do not of a replayed packet."""
    flow = packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT)
    target, mappings = packet.Target(cfg, flow), netlink.Mappings(cfg.dut)
    moved = netlink.Mapping(flow.in_.spi, env.PEER4, OTHER_PORT)

    def send(source, **kwargs):
        target.send(target.inner(), ports=(source, xfrm.ENCAP_PORT), **kwargs)
        return target.received()
    ktap.equal(send(xfrm.ENCAP_PORT), 0, f"datagram from port {xfrm.ENCAP_PORT}")
    ktap.equal(mappings.next(), None, "mapping before")
    ktap.equal(send(OTHER_PORT), 0, f"datagram from port {OTHER_PORT}")
    ktap.equal(proc.wait_until(mappings.next, "a notification of the new port"), moved, "mapping")
    ktap.equal(send(OTHER_PORT + 1, number=target.number), None, "replayed datagram")
    ktap.equal(mappings.next(), None, "mapping after")


def udp_other_socket(cfg):
    """ESP of an SA does not get to the stack by way of another port, or without UDP: there it would
    be decrypted with a window that stands still."""
    flow = packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT)
    target = packet.Target(cfg, flow)
    esp.encap_socket(cfg.dut, OTHER_PORT, bypass=False)
    watch = cfg.watch()
    target.send(target.inner(), ports=(xfrm.ENCAP_PORT, OTHER_PORT))
    ktap.equal(target.received(), None, "datagram to another port")
    packet.only(watch.stop(), rx_drop_esp=1)
    watch = cfg.watch()
    target.send(target.inner())
    ktap.equal(target.received(), None, "datagram without UDP")
    packet.only(watch.stop())
    ktap.equal(watch.dut_errors, {"XfrmInStateMismatch": 1}, "XFRM errors")


def udp_ike(cfg):
    """IKE and keepalives on the port of ESP in UDP pass to the socket, beside traffic."""
    flow = packet.tunnel(cfg, 4, 4, encap=xfrm.ENCAP_PORT)
    own, other = (esp.encap_socket(ns, flow.encap, bypass=False) for ns in (cfg.dut, cfg.peer))
    packet.protect(cfg, flow)
    own.settimeout(5)
    other.settimeout(5)
    for number in range(3):
        other.sendto(b"\xff", (env.DUT4, flow.encap))  # a keepalive, which the socket drops
        message = bytes(4) + b"espnic IKE %d" % number
        other.sendto(message, (env.DUT4, flow.encap))
        ktap.equal(own.recv(100), message, "message from the peer")
        own.sendto(message, (env.PEER4, flow.encap))
        ktap.equal(other.recv(100), message, "message to the peer")
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)


def options_sent(cfg):
    """The stack drops packets with IPv4 options and IPv6 extension headers, and counts them."""
    for inner in (4, 6):
        flow = packet.tunnel(cfg, inner, 4)
        packet.protect(cfg, flow)
        link = packet.link(cfg, flow)
        if inner == 4:
            link.option(socket.IPPROTO_IP, socket.IP_OPTIONS, NO_OPERATIONS)
        else:
            link.option(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes(2) + PADDING)
        watch = cfg.watch()
        for _ in SMALL:
            link.send(MESSAGE)
        ktap.check(link.receive(0.2) is None, "the stack takes options now, test them")
        watch.stop().prove_no_plaintext()
        ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
        ktap.equal(watch.dut_errors, {"XfrmOutError": len(SMALL)}, "XFRM errors")
        xfrm.flush(cfg.dut, cfg.peer)


def options_received(cfg):
    """IPv4 options and IPv6 extension headers inside a tunnel do not matter."""
    for inner, outer in packet.TUNNELS:
        flow = packet.tunnel(cfg, inner, outer)
        target = packet.Target(cfg, flow)
        options = NO_OPERATIONS if inner == 4 else bytes([PROTO_UDP, 0]) + PADDING
        watch = cfg.watch()
        target.send(target.inner(options=options if inner == 4 else PADDING))
        ktap.equal(target.received(), 0, f"datagram with options, {flow.name}")
        packet.only(watch.stop())


def inner_fragments(cfg):
    """Fragments inside a tunnel arrive and become a datagram; those of another address do not."""
    flow = packet.tunnel(cfg, 4, 4)
    target = packet.Target(cfg, flow)
    watch = cfg.watch()
    ends = flow.peer_inner, flow.dut_inner
    datagram = forge.udp(1000, target.link.port, MESSAGE * 10, ends)
    for part, flags in ((datagram[:80], MORE_FRAGMENTS), (datagram[80:], 10)):
        target.send(forge.ip(*ends, PROTO_UDP, part, fragment=flags))
    ktap.equal(target.link.receive(), MESSAGE * 10, "datagram in fragments")
    packet.only(watch.stop())
    watch = cfg.watch()
    target.send(forge.ip(env.PEER4, flow.dut_inner, PROTO_UDP, datagram[80:], fragment=10))
    packet.only(watch.stop(), rx_drop_policy=1)


def outer_fragments(cfg):
    """Fragments of ESP are not for the NIC. The first one is dropped, so that the stack cannot put
    the packet together and decrypt it with a window that has stood still."""
    for outer in (4, 6):
        flow = packet.tunnel(cfg, outer, outer)
        target, injector = packet.Target(cfg, flow), forge.Injector(cfg)
        packed = forge.Esp(target.inner(MESSAGE * 10),
                           IPV4_IN_ESP if outer == 4 else IPV6_IN_ESP).seal(flow.in_, 1000)
        watch = cfg.watch()
        for start, end in ((0, 80), (80, len(packed))):
            part, more = packed[start:end], end == 80
            if outer == 4:
                flags = start // 8 | MORE_FRAGMENTS * more
                injector.send(flow.in_.src, flow.in_.dst, PROTO_ESP, part, fragment=flags)
            else:
                header = struct.pack("!BBHI", PROTO_ESP, 0, start | more, 0x4242)
                injector.send(flow.in_.src, flow.in_.dst, PROTO_FRAGMENT, header + part)
        ktap.check(target.link.receive(0.3) is None, "a packet in fragments was accepted")
        packet.only(watch.stop(), rx_drop_esp=1)
        ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")


def unusual(cfg):
    """Padding behind the packet that hides its length, and dummy packets (RFC 4303 sections 2.6 and
    2.7): the first arrives, the second is dropped without a complaint."""
    target = packet.Target(cfg, packet.tunnel(cfg, 4, 4))
    watch = cfg.watch()
    target.send(target.inner() + bytes(200))
    ktap.equal(target.received(), 0, "datagram with padding")
    target.send(bytes(100), NO_NEXT_HEADER)
    ktap.equal(target.received(), None, "a dummy packet")
    packet.only(watch.stop())
    ktap.equal(watch.dut_errors, {}, "XFRM errors")


def malformed(cfg):
    """What is authentic but no packet of a tunnel is dropped and counted as the stack would."""
    flow = packet.tunnel(cfg, 4, 4)
    target = packet.Target(cfg, flow)
    injector, inner = forge.Injector(cfg), target.inner()
    wrong = [forge.Esp(inner, IPV4_IN_ESP, pad_len=255), forge.Esp(inner, IPV6_IN_ESP),
             forge.Esp(inner, PROTO_UDP), forge.Esp(inner[:-1], IPV4_IN_ESP),
             forge.Esp(b"\x46" + inner[1:19], IPV4_IN_ESP), forge.Esp(b"", IPV4_IN_ESP)]
    watch = cfg.watch()
    for number, one in enumerate(wrong, 1):
        injector.esp(flow.in_, one, number)
    target.send(inner)
    ktap.equal(target.received(), 0, "the sound packet behind them")
    ktap.equal(target.received(), None, "a malformed packet")
    packet.only(watch.stop())
    ktap.equal(watch.dut_errors, {"XfrmInHdrError": len(wrong)}, "XFRM errors")


def selector_inbound(cfg):
    """What an SA has protected beyond its selector is dropped, and so is what a policy does not
    name."""
    flow = packet.tunnel(cfg, 4, 4)
    words = f"sel src {flow.peer_inner} dst {flow.dut_inner} proto udp"
    flow.in_ = dataclasses.replace(flow.in_, selector=words)
    target = packet.Target(cfg, flow)
    target.send(target.inner())
    ktap.equal(target.received(), 0, "datagram")
    watch = cfg.watch()
    target.send(forge.ip(flow.peer_inner, flow.dut_inner, 1, bytes([8, 0, 0xF7, 0xFF, 0, 0, 0, 0])))
    target.send(target.inner(src=env.PEER4))
    ktap.equal(target.received(), None, "datagram of another address")
    packet.only(watch.stop(), rx_drop_policy=2)
    # A selector that is wider than the policy.
    flow.in_ = dataclasses.replace(flow.new_sa(outbound=False), selector="")
    target = packet.Target(cfg, flow)
    watch = cfg.watch()
    target.send(target.inner(src=env.PEER4))
    ktap.equal(target.received(), None, "datagram of another address")
    packet.only(watch.stop(), rx_drop_policy=1)


def selectors_outbound(cfg):
    """Of SAs with one request id each packet takes the one whose selector it fits."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    cfg.dut.ip(flow.out.delete())
    spis = {}
    for protocol in ("udp", "icmp"):
        words = f"sel src {flow.dut_inner} dst {flow.peer_inner} proto {protocol}"
        sa = dataclasses.replace(flow.new_sa(outbound=True), selector=words)
        cfg.peer.ip(dataclasses.replace(sa, selector="").add(xfrm.WINDOW))
        cfg.dut.ip(sa.add(packet.offload(cfg, "out")))
        spis[protocol] = sa.spi
    for protocol, send in (("icmp", lambda: traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner)),
                           ("udp", lambda: packet.arrives(packet.link(cfg, flow)))):
        watch = cfg.watch()
        send()
        watch.stop().prove_no_errors()
        sent = {one.spi for one in watch.esp(cfg.netif_mac)}
        ktap.equal(sent, {spis[protocol]}, f"SPI of {protocol}")


def any_inner(cfg):
    """One tunnel for both families (`flag af-unspec`)."""
    flows = [packet.tunnel(cfg, inner, 4) for inner in (4, 6)]
    flow = flows[0]
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    flag = "flag af-unspec"
    cfg.peer.ip(flow.in_.add(flag), flow.out.add(f"{flag} {xfrm.WINDOW}"),
                *[line for one in flows for line in one.peer_policies()])
    cfg.dut.ip(*[line for one in flows for line in packet.dut_policies(cfg, one)],
               flow.out.add(f"{flag} {packet.offload(cfg, 'out')}"),
               flow.in_.add(f"{flag} {packet.offload(cfg, 'in')}"))
    watch = cfg.watch()
    for one in flows:
        traffic.ping(cfg.dut, one.dut_inner, one.peer_inner, [0, 100, 1000])
    packet.prove(cfg, watch, 6)


def newest(cfg):
    """Of two SAs for the same packets the newer one is used, and the older one when that is gone;
    both are received under all the time."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    out, in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
    cfg.peer.ip(out.add(xfrm.WINDOW))

    def used(sa):
        watch = cfg.watch()
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SMALL)
        packet.prove(cfg, watch, len(SMALL))
        ktap.equal({one.spi for one in watch.esp(cfg.netif_mac)}, {sa.spi}, "SPI")
    used(flow.out)
    cfg.dut.ip(in_.add(packet.offload(cfg, "in")), out.add(packet.offload(cfg, "out")))
    used(out)
    cfg.peer.ip(in_.add())
    used(out)
    cfg.dut.ip(out.delete())
    used(flow.out)


def nested(cfg):
    """AH, ESP in UDP, and ESP of an SA of packet offload inside ESP do not reach the stack, which
    would take them for decrypted, or keeps no window for them; IKE on the same port does."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    other = xfrm.Flow(flow.dut_inner, flow.peer_inner, reqid=REQID + 1).in_
    cfg.dut.ip(other.add(packet.offload(cfg, "in")))
    injector, watch = forge.Injector(cfg), cfg.watch()
    inner = bytes([0, 0, 0x12, 0x34]) + bytes(60)
    ike = bytes(64)
    known = other.spi.to_bytes(4, "big") + bytes(60)
    contents = [(PROTO_ESP, known), (PROTO_AH, inner), (PROTO_UDP, forge.udp(4500, 4500, inner)),
                (PROTO_UDP, forge.udp(4500, 4500, ike))]
    for number, (protocol, content) in enumerate(contents, 1):
        datagram = forge.ip(flow.peer_inner, flow.dut_inner, protocol, content)
        injector.esp(flow.in_, forge.Esp(datagram, IPV4_IN_ESP), number)
    watch.stop()
    watch.expect_counters({"ipsec_packet_rx_packets": 1})
    packet.only(watch, rx_drop_policy=3)
    ktap.equal(watch.dut_errors, {}, "XFRM errors")


def nested_in_software(cfg):
    """ESP of an SA without offload inside ESP of the NIC: the stack decrypts what the NIC has
    decrypted, asks its policies for it, and takes it once."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    inner = xfrm.Flow(flow.dut_inner, flow.peer_inner, reqid=REQID + 1).in_
    cfg.dut.ip(inner.add("replay-window 32"))
    link, injector = packet.link(cfg, flow, outbound=False), forge.Injector(cfg)
    ends = flow.peer_inner, flow.dut_inner
    watch = cfg.watch()
    for number, again in enumerate((1, 2, 1, 3), 1):
        text = forge.Esp(forge.udp(1000, link.port, b"%d" % again, ends))
        nested_one = forge.ip(*ends, PROTO_ESP, text.seal(inner, again))
        injector.esp(flow.in_, forge.Esp(nested_one, IPV4_IN_ESP), number)
    ktap.equal([link.receive() for _ in range(3)], [b"1", b"2", b"3"], "datagrams")
    watch.stop()
    watch.expect_counters({"ipsec_packet_rx_packets": 4})
    packet.only(watch)
    ktap.equal(watch.dut_errors, {"XfrmInStateSeqError": 1}, "XFRM errors")


def rekeyed_in_stream(cfg):
    """The peer takes a new SA in the middle of a stream: receive offload may put packets of both
    together, and nothing is lost."""
    flow = packet.tunnel(cfg, 4, 4)
    packet.protect(cfg, flow)
    with traffic.Stream(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner) as stream:
        watch = cfg.watch()
        for _ in range(3):
            in_ = flow.new_sa(outbound=False)
            cfg.dut.ip(in_.add(packet.offload(cfg, "in")))
            cfg.peer.ip(in_.add())
            stream.advance(20)
        traffic.tcp(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, esp.STREAM)
        stream.stop()
        ktap.equal(stream.lost(), 0, "datagrams lost")
        watch.stop().prove_no_errors()
        packet.only(watch)


CASES = [udp_tunnel, udp_transport, udp_tunnel_6, udp_transport_6, udp_ports, udp_ports_change,
         udp_new_source,
         udp_other_socket, udp_ike, options_sent, options_received, inner_fragments,
         outer_fragments, unusual, malformed, selector_inbound, selectors_outbound, any_inner,
         newest, nested, nested_in_software, rekeyed_in_stream]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
