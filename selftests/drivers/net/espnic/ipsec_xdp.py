#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs for received frames (XDP) beside IPsec: what the NIC has decrypted stays in the machine,
and keeps its SA."""

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, packet, xdp, xdpwire, xfrm  # noqa: E402
from ksft.frames import ETH_LEN, PROTO_UDP  # noqa: E402
from ksft.xdpwire import COUNT, KIND, Counted, Wire, index_of, moving  # noqa: E402

JUMBO = 9000
LONG = 8000  # bytes of datagrams in frames of three pieces
JUMBO_SIZES = [3300, 5000, JUMBO - 200]
CUT = 3456 - 48 - ETH_LEN  # of the first piece, in front of its last bytes


def _jumbo(cfg):
    """The largest MTU of Ethernet at both ends, for the rest of the case."""
    cfg.set_mtu(JUMBO)
    ktap.defer(cfg.set_mtu, cfg.mtu)


def _unless_arp():
    """The begin of a program for IPv4."""
    return xdp.Assembler().frame(60).unless_half(12, 0x0800)


def _scribbling():
    """A program that writes all over what it sees."""
    program = _unless_arp().move(xdp.R3, 0)
    for at in range(14, 58, 2):
        program.store(xdp.HALF, xdp.R2, at, xdp.R3)
    return program.end(xdp.PASS)


def _ipsec_survives(cfg, flow, exercise, sizes=None):
    """What the NIC decrypts keeps its SA with a program that passes everything, and is not
    changed by one that would."""
    for program in (xdp.only(xdp.PASS), _scribbling()):
        xdp.attach(cfg, program.in_pieces() if sizes else program)
        counted = Counted(cfg)
        exercise(cfg, flow, sizes or esp.SIZES[-3:])
        ktap.at_least(counted["rx_xdp_packets"], 6, "ethtool -S rx_xdp_packets")
        counted.expect()


def _ipsec_stays_in(cfg, flow, length=0):
    """What the NIC decrypts is neither sent back nor redirected; dropping is all that a program
    can do to it."""
    marker = b"espnic decrypted, not to be sent on".ljust(length, b".")
    pair = packet.link(cfg, flow, outbound=False)
    packet.arrives(pair, marker)
    redirect = xdpwire.redirecting(_unless_arp(), index_of(cfg))
    for program, name in ((_unless_arp().swap_macs().end(xdp.TX), "rx_xdp_drop_ipsec"),
                          (redirect, "rx_xdp_drop_ipsec"),
                          (_unless_arp().end(xdp.DROP), "rx_xdp_drops"),
                          (_unless_arp().end(xdp.ABORTED), "rx_xdp_aborted")):
        xdp.attach(cfg, program.in_pieces() if length else program)
        watch, counted = cfg.watch(), Counted(cfg)
        for _ in range(COUNT):
            pair.send(marker)
        ktap.equal(pair.receive(0.3), None, f"datagrams, with {name}")
        ktap.equal(sum(marker in frame for _, frame in watch.stop().tap_frames), 0,
                   "frames in clear on the wire")
        ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
        counted.expect(**{name: COUNT})
    xdp.detach(cfg)
    packet.arrives(pair, marker)


def crypto_offload(cfg):
    """Crypto offload with programs beside it."""
    flow = esp.direct()
    esp.protect(cfg.need_offload(), flow)
    _ipsec_survives(cfg, flow, esp.exercise)


def crypto_offload_stays_in(cfg):
    """No program gets decrypted packets of crypto offload out of the machine."""
    flow = esp.inner4(outer=4)
    esp.protect(cfg.need_offload(), flow)
    _ipsec_stays_in(cfg, flow)


def packet_offload(cfg):
    """Packet offload with programs beside it."""
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    _ipsec_survives(cfg, flow, packet.exercise)


def packet_offload_stays_in(cfg):
    """No program gets decrypted packets of packet offload out of the machine."""
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    _ipsec_stays_in(cfg, flow)


def crypto_offload_jumbo(cfg):
    """Crypto offload with jumbo frames, and programs that take several pieces."""
    _jumbo(cfg)
    flow = esp.inner4(outer=4)
    esp.protect(cfg.need_offload(), flow)
    _ipsec_survives(cfg, flow, esp.exercise, JUMBO_SIZES)
    _ipsec_stays_in(cfg, flow, LONG)


def packet_offload_jumbo(cfg):
    """Packet offload with jumbo frames, and programs that take several pieces."""
    _jumbo(cfg)
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    _ipsec_survives(cfg, flow, packet.exercise, JUMBO_SIZES)
    _ipsec_stays_in(cfg, flow, LONG)


def policies_hold(cfg):
    """A frame that an outbound policy of packet offload protects does not leave in clear by a
    program. One that an inbound policy protects does not get to the stack, also if a program has
    made it so."""
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    wire, marker = Wire(cfg), b"espnic: protected, and nobody else's"
    frame = wire.forth + b"\x08\0" + forge.ip(flow.dut_inner, flow.peer_inner, PROTO_UDP,
                                              forge.udp(1000, 2000, marker))
    other = wire.forth + b"\x08\0" + forge.ip("198.18.0.1", "198.18.0.2", PROTO_UDP,
                                              forge.udp(1000, 2000, marker))
    redirect = xdpwire.redirecting(_unless_arp(), index_of(cfg))
    for program, name in ((_unless_arp().swap_macs().end(xdp.TX), "rx_xdp_tx"),
                          (redirect, "rx_xdp_redirects")):
        xdp.attach(cfg, program)
        wire.clear()
        counted = Counted(cfg)
        for _ in range(COUNT):
            wire.raw(frame)
        wire.raw(other)
        ktap.equal([one[26:30] for one in wire.returned(marker, 1)],
                   [socket.inet_aton("198.18.0.1")], "sources of frames in clear that left")
        counted.expect(**{name: COUNT + 1, "tx_xdp_drop_policy": COUNT, "tx_xdp_packets": 1})
    pair = packet.link(cfg, flow, outbound=False)
    inner = forge.ip(flow.peer_inner, flow.dut_inner, PROTO_UDP,
                     forge.udp(1000, pair.port, marker))
    xdp.attach(cfg, redirect)
    wire.clear()
    counted = Counted(cfg)
    wire.raw(wire.forth + b"\x08\0" + inner)
    ktap.equal(wire.returned(marker), [], "frames in clear that were redirected")
    counted.expect(ipsec_packet_rx_drop_clear=1, rx_xdp_redirects=0)
    xdp.attach(cfg, moving(xdp.ADJUST_HEAD, ETH_LEN).end(xdp.PASS))
    counted = Counted(cfg)
    wire.send(wire.forth + b"\x08\0" + inner)
    ktap.equal(pair.receive(0.5), None, "a datagram in clear")
    counted.expect(ipsec_packet_rx_drop_clear=1)
    xfrm.flush(cfg.dut, cfg.peer)
    wire.send(wire.forth + b"\x08\0" + inner)
    ktap.equal(pair.receive(), marker, "the datagram without policies")


def policies_hold_in_pieces(cfg):
    """The same with a packet that begins in the second piece, as a program has left it."""
    _jumbo(cfg)
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    wire, marker = Wire(cfg), b"espnic: protected".ljust(3000, b".")
    begin = (wire.forth + KIND.to_bytes(2, "big")).ljust(CUT, b"\xff") + wire.forth + b"\x08\0"

    def send(src, dst, port=2000):
        wire.raw(begin + forge.ip(src, dst, PROTO_UDP, forge.udp(1000, port, marker)))

    def cut():
        return moving(xdp.ADJUST_HEAD, CUT).frame(ETH_LEN)

    redirect = xdpwire.redirecting(cut(), index_of(cfg))
    for program, name in ((cut().swap_macs().end(xdp.TX), "rx_xdp_tx"),
                          (redirect, "rx_xdp_redirects")):
        xdp.attach(cfg, program.in_pieces())
        wire.clear()
        counted = Counted(cfg)
        for _ in range(COUNT):
            send(flow.dut_inner, flow.peer_inner)
        send("198.18.0.1", "198.18.0.2")
        ktap.equal([one[26:30] for one in wire.returned(marker, 1)],
                   [socket.inet_aton("198.18.0.1")], "sources of frames in clear that left")
        counted.expect(**{name: COUNT + 1, "tx_xdp_drop_policy": COUNT, "tx_xdp_packets": 1})
    pair = packet.link(cfg, flow, outbound=False)
    wire.clear()
    counted = Counted(cfg)
    send(flow.peer_inner, flow.dut_inner, pair.port)
    ktap.equal(wire.returned(marker), [], "frames in clear that were redirected")
    counted.expect(ipsec_packet_rx_drop_clear=1, rx_xdp_redirects=0)
    xdp.attach(cfg, moving(xdp.ADJUST_HEAD, CUT).end(xdp.PASS).in_pieces())
    counted = Counted(cfg)
    send(flow.peer_inner, flow.dut_inner, pair.port)
    ktap.equal(pair.receive(0.5), None, "a datagram in clear")
    counted.expect(ipsec_packet_rx_drop_clear=1)
    xfrm.flush(cfg.dut, cfg.peer)
    send(flow.peer_inner, flow.dut_inner, pair.port)
    ktap.equal(pair.receive(), marker, "the datagram without policies")


CASES = [crypto_offload, crypto_offload_stays_in, packet_offload, packet_offload_stays_in,
         crypto_offload_jumbo, packet_offload_jumbo, policies_hold, policies_hold_in_pieces]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True))
