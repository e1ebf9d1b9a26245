#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs (XDP) that take frames in several pieces: jumbo frames, and all verdicts."""

import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, forge, ktap, memory, rings, traffic, xdp, xdpwire  # noqa: E402
from ksft.frames import ETH_LEN, PROTO_UDP, parse  # noqa: E402
from ksft.xdpwire import COUNT, KIND, Counted, Wire, index_of, moving, program  # noqa: E402

JUMBO = 9000
MTU_IN_ONE = 3390  # with a program that takes frames in one piece
HEADERS = 48, 12  # lengths of the NIC's header, with IPsec and without
PIECE, ROOM = 3456, 4096  # bytes that the NIC writes to a piece, and that there are for one
STREAM = 512 * 1024
SMALL_RING = 64
HEADROOM = 256
NO_ACTION = 77
NOBODY = 0x7FFFFFF0  # index of no interface
TURNS, A_TURN = 16, 128  # jumbo frames, of three pages each
PAGE = 4096


def _payload(marker, length):
    """So many bytes behind the Ethernet header, each place with another value than those that are
    a piece away."""
    rest = bytes(at * 7 + at // 251 & 0xFF for at in range(length - len(marker)))
    return marker + rest


def _lengths():
    """Lengths of payload: a frame of one piece, and one byte more; the same with two, and three."""
    edges = [count * PIECE - header - ETH_LEN for header in HEADERS for count in (1, 2)]
    return sorted({edge + more for edge in edges for more in (0, 1)} | {JUMBO})


def _jumbo(cfg):
    """The largest MTU of Ethernet at both ends, for the rest of the case."""
    cfg.set_mtu(JUMBO)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    return Wire(cfg)


def passes(cfg):
    """With a program that passes everything all traffic works with jumbo frames, each of which it
    sees."""
    wire = _jumbo(cfg)
    xdp.attach(cfg, xdp.only(xdp.PASS).in_pieces())
    counted = Counted(cfg)
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        for size in (1400, MTU_IN_ONE, 5000, JUMBO - 48, 20000):
            traffic.ping(cfg.peer, peer, dut, [size])
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)
    ktap.at_least(counted["rx_xdp_packets"], STREAM // JUMBO, "ethtool -S rx_xdp_packets")
    for length in _lengths():
        marker = wire.marker()
        payload = _payload(marker, length)
        wire.send(payload)
        ktap.equal([frame[ETH_LEN:] for frame in wire.passed(marker, 1)], [payload],
                   f"frames of {length} bytes")
    counted.expect(rx_gso_packets=0, rx_xdp_drops=0)


def goes_nowhere(cfg):
    """Jumbo frames that a program drops, and those of programs that fail."""
    wire = _jumbo(cfg)
    for verdict, name in ((xdp.DROP, "rx_xdp_drops"), (xdp.ABORTED, "rx_xdp_aborted"),
                          (NO_ACTION, "rx_xdp_aborted")):
        marker = wire.marker()
        xdp.attach(cfg, program().end(verdict).in_pieces())
        counted = Counted(cfg)
        wire.send(_payload(marker, JUMBO), COUNT)
        ktap.equal(wire.passed(marker), [], f"frames with the answer {verdict}")
        counted.expect(**{name: COUNT})
    traffic.ping(cfg.peer, env.PEER4, env.DUT4, [JUMBO - 48])


def leaves(cfg):
    """Jumbo frames go back, by XDP_TX and by a redirection to the interface itself, byte for byte;
    to an interface that is not there they are lost."""
    wire = _jumbo(cfg)
    for one, name in ((program().swap_macs().end(xdp.TX), "rx_xdp_tx"),
                      (xdpwire.redirecting(program(), index_of(cfg)), "rx_xdp_redirects")):
        xdp.attach(cfg, one.in_pieces())
        counted = Counted(cfg)
        for length in _lengths():
            marker = wire.marker()
            payload = _payload(marker, length)
            wanted = wire.back + KIND.to_bytes(2, "big") + payload
            wire.send(payload)
            frames = wire.returned(marker, 1)
            ktap.check(frames == [wanted], f"{name}: {len(frames)} frames of {length} bytes, "
                       f"of {[len(frame) for frame in frames]} bytes")
        count = len(_lengths())
        counted.expect(**{name: count, "tx_xdp_packets": count})
    marker = wire.marker()
    xdp.attach(cfg, xdpwire.redirecting(program(), NOBODY).in_pieces())
    counted = Counted(cfg)
    wire.send(_payload(marker, JUMBO), COUNT)
    ktap.equal(wire.returned(marker), [], "frames to nobody that came back")
    counted.expect(rx_xdp_lost=COUNT)


def back(cfg):
    """The end of a frame moves within its last piece, and across pieces, down to one; it grows to
    the end of the last piece's memory, which is cleared, and no farther."""
    wire = _jumbo(cfg)
    length = JUMBO - 700
    for by in (-1, -700, -PIECE, -5000, 100 - length, 1, 700):
        marker = wire.marker()
        payload = _payload(marker, length)
        xdp.attach(cfg, moving(xdp.ADJUST_TAIL, by).end(xdp.PASS).in_pieces())
        counted = Counted(cfg)
        wire.send(payload)
        wanted = payload[:by] if by < 0 else payload + bytes(by)
        ktap.check([frame[ETH_LEN:] for frame in wire.passed(marker, 1)] == [wanted],
                   f"the frame is not as it should be after a move by {by}")
        counted.expect()
        xdp.attach(cfg, moving(xdp.ADJUST_TAIL, by).frame(60).swap_macs().end(xdp.TX).in_pieces())
        wire.send(payload)
        ktap.check([frame[ETH_LEN:] for frame in wire.returned(marker, 1)] == [wanted],
                   f"the frame that goes back is not as it should be after a move by {by}")
    marker = wire.marker()
    xdp.attach(cfg, moving(xdp.ADJUST_TAIL, ROOM).end(xdp.PASS).in_pieces())
    counted = Counted(cfg)
    wire.send(_payload(marker, JUMBO))
    ktap.equal(wire.passed(marker), [], "frames beyond the memory of their last piece")
    counted.expect(rx_xdp_aborted=1)


def front(cfg):
    """Headers are put on and taken off, also so many that the packet begins in the second piece."""
    wire = _jumbo(cfg)
    marker = wire.marker()
    payload = _payload(marker, JUMBO - HEADROOM)
    grown = moving(xdp.ADJUST_HEAD, -HEADROOM).frame(HEADROOM + 60)
    for size, at in ((xdp.WORD, 0), (xdp.WORD, 4), (xdp.WORD, 8), (xdp.HALF, 12)):
        grown.load(size, xdp.R3, xdp.R2, HEADROOM + at).store(size, xdp.R2, at, xdp.R3)
    xdp.attach(cfg, grown.swap_macs().end(xdp.TX).in_pieces())
    wire.send(payload)
    frames = wire.returned(marker, 1)
    ktap.equal([frame.find(payload) for frame in frames], [HEADROOM + ETH_LEN], "where the text is")
    pair = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(pair.close)
    text = _payload(b"espnic inner", 3000)
    inner = forge.ip(env.PEER4, env.DUT4, PROTO_UDP, forge.udp(1000, pair.port, text))
    # What is left of the first piece is an Ethernet header, or more if that of the NIC is shorter.
    cut = PIECE - HEADERS[0] - ETH_LEN
    outer = (wire.forth + KIND.to_bytes(2, "big")).ljust(cut, b"\xff")
    xdp.attach(cfg, moving(xdp.ADJUST_HEAD, cut).end(xdp.PASS).in_pieces())
    counted = Counted(cfg)
    wire.raw(outer + wire.forth + b"\x08\0" + inner)
    received = pair.receive()
    ktap.check(received == text, "the datagram from the second piece is not as it was sent")
    counted.expect()


def checksums(cfg):
    """Programs see whole checksums over all pieces, although the NIC may leave them to the
    driver."""
    wire = _jumbo(cfg)
    pair = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(pair.close)
    begin = xdp.Assembler().frame(60).unless_half(12, 0x0800).unless_half(36, pair.port)
    xdp.attach(cfg, begin.swap_macs().end(xdp.TX).in_pieces())
    for length in (4001, 8000, 8001):
        marker = wire.marker()
        wire.clear()
        pair.send(_payload(marker, length))
        found = [parse(frame) for frame in wire.returned(marker, 1)]
        ktap.equal(len(found), 1, f"datagrams of {length} bytes that came back")
        pseudo = socket.inet_aton(env.PEER4) + socket.inet_aton(env.DUT4)
        total = pseudo + bytes([0, PROTO_UDP]) + len(found[0].payload).to_bytes(2, "big")
        ktap.equal(traffic.checksum(total + found[0].payload), 0, f"checksum, {length} bytes")


def mixed_buffers(cfg):
    """Frames in buffers from before the program, and in both kinds, are as they were sent."""
    wire = _jumbo(cfg)
    rings.resize(cfg, SMALL_RING)
    one = xdp.only(xdp.PASS).in_pieces()
    for present, count in ((True, 5), (False, 3), (True, SMALL_RING // 2)) * 2:
        if present:
            xdp.attach(cfg, one)
        else:
            xdp.detach(cfg)
        for _ in range(count):
            marker = wire.marker()
            payload = _payload(marker, JUMBO)
            wire.send(payload)
            ktap.check([frame[ETH_LEN:] for frame in wire.passed(marker, 1)] == [payload],
                       "a frame is not as it was sent")


def mtu(cfg):
    """A program for frames in one piece is refused at such an MTU, and one for several is not; nor
    is another MTU beside that one."""
    _jumbo(cfg)
    in_pieces, in_one = xdp.only(xdp.PASS).in_pieces(), xdp.only(xdp.PASS)
    error, message = xdp.refused(cfg, in_one)
    ktap.contains(message, "MTU is too large", f"message ({os.strerror(error)})")
    xdp.attach(cfg, in_pieces)
    error, message = xdp.set_program(cfg.dut, cfg.netif, xdp.load(in_one))
    ktap.contains(message, "MTU is too large", f"message ({os.strerror(error)})")
    traffic.ping(cfg.peer, env.PEER4, env.DUT4, [JUMBO - 48])
    for size in (1500, MTU_IN_ONE + 1, JUMBO):
        cfg.set_mtu(size)
    cfg.set_mtu(MTU_IN_ONE)
    xdp.attach(cfg, in_one)
    larger = ("ip", "link", "set", cfg.netif, "mtu", str(MTU_IN_ONE + 1))
    ktap.check(cfg.dut.run(*larger).returncode, "a larger MTU was accepted")
    xdp.attach(cfg, in_pieces)
    ktap.equal(cfg.dut.run(*larger).returncode, 0, "the larger MTU beside a program for pieces")


def impossible(cfg):
    """Frames that are in more buffers than there are, as the NIC says, are dropped and counted."""
    control = cfg.need_request("misbehave")
    wire = _jumbo(cfg)
    xdp.attach(cfg, xdp.only(xdp.PASS).in_pieces())
    counted = Counted(cfg)
    ktap.defer(control.fault, cfg.nic, "misbehave", "rx", "num-buffers", 0)
    control.fault(cfg.nic, "misbehave", "rx", "num-buffers", 1000)
    for length in (100, JUMBO):
        marker = wire.marker()
        wire.send(_payload(marker, length))
        ktap.equal(wire.passed(marker), [], f"impossible frames of {length} bytes")
    ktap.at_least(counted["rx_malformed"], 2, "ethtool -S rx_malformed")
    control.fault(cfg.nic, "misbehave", "rx", "num-buffers", 0)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4, [JUMBO - 48] * 3)


def _pour(cfg, wire, payload):
    """Many frames, and the end of their way."""
    for _ in range(TURNS):
        wire.send(payload, A_TURN)
        traffic.ping(cfg.peer, env.PEER4, env.DUT4)
        wire.clear()


def memory_returns(cfg):
    """Whatever a program says, and whatever it cuts off, the memory of all pieces comes back."""
    wire = _jumbo(cfg)
    shrunk = moving(xdp.ADJUST_TAIL, -5000)
    payload = _payload(wire.marker(), JUMBO)
    for one, what in ((program().end(xdp.DROP), "dropped"), (program().end(xdp.PASS), "passed"),
                      (program().end(xdp.ABORTED), "aborted"),
                      (program().swap_macs().end(xdp.TX), "sent"),
                      (xdpwire.redirecting(program(), index_of(cfg)), "redirected"),
                      (xdpwire.redirecting(program(), NOBODY), "lost"),
                      (shrunk.end(xdp.PASS), "shortened")):
        xdp.attach(cfg, one.in_pieces())
        _pour(cfg, wire, payload)
        before, counted = memory.available(), Counted(cfg)
        _pour(cfg, wire, payload)
        frames = counted["rx_xdp_packets"]
        ktap.at_least(frames, TURNS * A_TURN // 2, f"frames that were {what}")
        gone = before - memory.available()
        ktap.check(gone < frames * PAGE // 2, f"{gone} bytes are gone with {frames} frames that "
                   f"were {what}")


CASES = [passes, goes_nowhere, leaves, back, front, checksums, mixed_buffers, mtu, impossible,
         memory_returns]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True))
