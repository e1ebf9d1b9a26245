#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs for received frames (XDP) in the driver."""

import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, forge, ktap, netdevnl, proc, rings, traffic, xdp, xdpwire  # noqa: E402
from ksft.frames import ETH_LEN, PROTO_UDP, parse  # noqa: E402
from ksft.xdpwire import COUNT, KIND, Counted, Wire, index_of, moving, program  # noqa: E402

STEP = 25
RESET_TIME = 10.0
STREAM = 512 * 1024
GRO_HW = "rx-gro-hw"
SMALL_RING = 64
HEADROOM = 256
MTU_MAX = 3390  # of an interface with a program
TOO_LONG = 4000
BASIC, REDIRECTS, IS_TARGET = 1, 2, 4  # NETDEV_XDP_ACT_BASIC, _REDIRECT, _NDO_XMIT
SOCKETS = 8  # NETDEV_XDP_ACT_XSK_ZEROCOPY: netdev_xsk.py
IN_PIECES, TARGET_IN_PIECES = 32, 64  # NETDEV_XDP_ACT_RX_SG, _NDO_XMIT_SG
NO_ACTION = 77
NOBODY = 0x7FFFFFF0  # index of no interface


def _both_ways(cfg, sizes=(0, 56, 1400)):
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, sizes)
        traffic.ping(cfg.peer, peer, dut, sizes)
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)


def announced(cfg):
    """The kernel's list of features says what programs the driver can run."""
    family = netdevnl.Netdev(cfg.dut)
    ktap.defer(family.close)
    wanted = BASIC | REDIRECTS | IS_TARGET | IN_PIECES | TARGET_IN_PIECES
    ktap.equal(family.xdp_features(index_of(cfg)) & ~SOCKETS, wanted, "xdp-features")


def passes(cfg):
    """With a program that passes everything all traffic works. Large packets come one by one as
    long as it is there."""
    ktap.check(cfg.features().get(GRO_HW), f"{GRO_HW} is not on at the start")
    xdp.attach(cfg, xdp.only(xdp.PASS))
    ktap.check(not cfg.features()[GRO_HW], f"{GRO_HW} is on with a program")
    counted = Counted(cfg)
    _both_ways(cfg)
    ktap.at_least(counted["rx_xdp_packets"], STREAM // 1500, "ethtool -S rx_xdp_packets")
    counted.expect(rx_gso_packets=0, rx_xdp_drops=0, rx_xdp_tx=0, rx_xdp_redirects=0)
    xdp.detach(cfg)
    ktap.check(cfg.features()[GRO_HW], f"{GRO_HW} is off without a program")
    counted = Counted(cfg)
    _both_ways(cfg)
    ktap.at_least(counted["rx_gso_packets"], 5, "large packets without a program")
    counted.expect(rx_xdp_packets=0)


def drops(cfg):
    """What the program drops, and nothing else, does not get to the stack."""
    wire = Wire(cfg)
    before, during = wire.marker(), wire.marker()
    wire.send(before, COUNT)
    ktap.equal(len(wire.passed(before, COUNT)), COUNT, "frames without a program")
    xdp.attach(cfg, program().end(xdp.DROP))
    counted = Counted(cfg)
    wire.send(during, COUNT)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4)
    ktap.equal(wire.passed(during), [], "frames that the program drops")
    counted.expect(rx_xdp_drops=COUNT)


def fails(cfg):
    """A program that fails, and one whose answer is no action, lose the frame, and are counted."""
    wire = Wire(cfg)
    for verdict in (xdp.ABORTED, NO_ACTION):
        marker = wire.marker()
        xdp.attach(cfg, program().end(verdict))
        counted = Counted(cfg)
        wire.send(marker, COUNT)
        ktap.equal(wire.passed(marker), [], f"frames with the answer {verdict}")
        counted.expect(rx_xdp_aborted=COUNT)


def sends_back(cfg):
    """Frames go back where they came from, as the program left them."""
    wire = Wire(cfg)
    marker = wire.marker()
    xdp.attach(cfg, program().swap_macs().end(xdp.TX))
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    wanted = (wire.back + KIND.to_bytes(2, "big") + marker).ljust(60, b"\0")
    ktap.equal(wire.returned(marker, COUNT), [wanted] * COUNT, "frames that came back")
    counted.expect(rx_xdp_tx=COUNT, tx_xdp_packets=COUNT)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4)


def redirects(cfg):
    """Frames that are redirected to the interface itself leave it; to one that is not there, they
    are lost and counted."""
    wire = Wire(cfg)
    marker = wire.marker()
    xdp.attach(cfg, xdpwire.redirecting(program(), index_of(cfg)))
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    ktap.equal(len(wire.returned(marker, COUNT)), COUNT, "frames that came back")
    counted.expect(rx_xdp_redirects=COUNT, tx_xdp_packets=COUNT)
    marker = wire.marker()
    xdp.attach(cfg, xdpwire.redirecting(program(), NOBODY))
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    ktap.equal(wire.returned(marker), [], "frames to nobody that came back")
    counted.expect(rx_xdp_lost=COUNT)


def front(cfg):
    """Headers are taken off, up to the packet that the stack gets, and put on, as many as programs
    may."""
    wire = Wire(cfg)
    pair = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(pair.close)
    text = b"espnic inner" * 9
    inner = forge.ip(env.PEER4, env.DUT4, PROTO_UDP, forge.udp(1000, pair.port, text))
    xdp.attach(cfg, moving(xdp.ADJUST_HEAD, ETH_LEN).end(xdp.PASS))
    counted = Counted(cfg)
    wire.send(wire.forth + b"\x08\0" + inner)
    ktap.equal(pair.receive(), text, "datagram in another frame")
    counted.expect()
    marker = wire.marker()
    grown = moving(xdp.ADJUST_HEAD, -HEADROOM).frame(HEADROOM + 60)
    for size, at in ((xdp.WORD, 0), (xdp.WORD, 4), (xdp.WORD, 8), (xdp.HALF, 12)):
        grown.load(size, xdp.R3, xdp.R2, HEADROOM + at).store(size, xdp.R2, at, xdp.R3)
    xdp.attach(cfg, grown.swap_macs().end(xdp.TX))
    counted = Counted(cfg)
    wire.send(marker)
    frames = wire.returned(marker, 1)
    ktap.equal([frame.find(marker) for frame in frames], [HEADROOM + ETH_LEN], "where the text is")
    ktap.equal([frame[:14] for frame in frames], [wire.back + KIND.to_bytes(2, "big")], "headers")
    counted.expect(rx_xdp_tx=1, tx_xdp_packets=1)


def back(cfg):
    """The end of a frame moves both ways, and metadata in front of it are not part of it."""
    wire = Wire(cfg)
    for helper, by in ((xdp.ADJUST_TAIL, -20), (xdp.ADJUST_TAIL, 1000), (xdp.ADJUST_META, -32)):
        marker = wire.marker()
        xdp.attach(cfg, moving(helper, by).end(xdp.PASS))
        wire.send(marker.ljust(100, b"\xff"))
        length = ETH_LEN + 100 + (by if helper == xdp.ADJUST_TAIL else 0)
        frames = wire.passed(marker, 1)
        ktap.equal([len(frame) for frame in frames], [length], f"lengths, moved by {by}")
        ktap.equal(frames[0].find(marker), ETH_LEN, "where the text is")


def _datagrams(port):
    """The begin of a program for UDP over IPv4 to this port."""
    return xdp.Assembler().frame(60).unless_half(12, 0x0800).unless_half(36, port)


def checksums(cfg):
    """Programs see whole checksums, although the NIC may leave them to the driver; what is left of
    a frame is checked by the stack."""
    wire = Wire(cfg)
    pair = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(pair.close)
    xdp.attach(cfg, _datagrams(pair.port).swap_macs().end(xdp.TX))
    marker = wire.marker()
    wire.clear()
    pair.send(marker)
    found = [parse(frame) for frame in wire.returned(marker, 1)]
    ktap.equal(len(found), 1, "datagrams that came back")
    pseudo = socket.inet_aton(env.PEER4) + socket.inet_aton(env.DUT4)
    total = pseudo + bytes([0, PROTO_UDP]) + len(found[0].payload).to_bytes(2, "big")
    ktap.equal(traffic.checksum(total + found[0].payload), 0, "checksum of the datagram")
    changing = _datagrams(pair.port).move(xdp.R3, 0x55).store(xdp.HALF, xdp.R2, 42, xdp.R3)
    changing.copy(xdp.R1, xdp.R6).move(xdp.R2, 1).call(xdp.ADJUST_TAIL).unless_done()
    xdp.attach(cfg, changing.end(xdp.PASS))
    pair.send(wire.marker())
    ktap.equal(pair.receive(0.5), None, "a datagram that the program has changed")


def long_frames(cfg):
    """Frames of the largest MTU that a program allows; longer ones are dropped and counted."""
    cfg.set_mtu(MTU_MAX)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    xdp.attach(cfg, xdp.only(xdp.PASS))
    counted = Counted(cfg)
    _both_ways(cfg, [1472, MTU_MAX - 48, 20000])
    counted.expect()
    cfg.wire.ip(f"link set {cfg.peerif} mtu 9000")
    wire = Wire(cfg)
    marker = wire.marker()
    wire.send(marker.ljust(TOO_LONG, b"\xff"), COUNT)
    ktap.equal(wire.passed(marker), [], "frames that are too long")
    counted.expect(rx_xdp_unfit=COUNT)
    xdp.detach(cfg)
    wire.send(marker.ljust(TOO_LONG, b"\xff"))
    ktap.equal(len(wire.passed(marker, 1)), 1, "such frames without a program")


def mtu(cfg):
    """No program with too large an MTU, and no such MTU with a program."""
    cfg.set_mtu(MTU_MAX + 1)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    error, message = xdp.refused(cfg, xdp.only(xdp.PASS))
    ktap.contains(message, "MTU is too large", f"message ({os.strerror(error)})")
    ktap.check(cfg.features()[GRO_HW], f"{GRO_HW} is off though there is no program")
    cfg.set_mtu(MTU_MAX)
    xdp.attach(cfg, xdp.only(xdp.PASS))
    result = cfg.dut.run("ip", "link", "set", cfg.netif, "mtu", str(MTU_MAX + 1))
    ktap.check(result.returncode, "a larger MTU was accepted")
    ktap.contains(result.stderr, "mtu greater than device maximum", "message")
    xdp.detach(cfg)
    cfg.set_mtu(MTU_MAX + 1)


def feature_stays_off(cfg):
    """Large packets cannot be switched on while there is a program."""
    xdp.attach(cfg, xdp.only(xdp.PASS))
    cfg.dut.run("ethtool", "-K", cfg.netif, GRO_HW, "on")
    ktap.check(not cfg.features()[GRO_HW], f"{GRO_HW} is on with a program")
    xdp.detach(cfg)
    ktap.check(cfg.features()[GRO_HW], f"{GRO_HW} is off without a program")


def replaced(cfg):
    """Programs come, follow each other and go under traffic, which loses nothing."""
    streams = [traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4),
               traffic.Stream(cfg.peer, env.PEER4, cfg.dut, env.DUT4)]
    counted = Counted(cfg)
    for stream in streams:
        ktap.defer(stream.close)
        stream.start()
    for _ in range(3):
        for one in (xdp.only(xdp.PASS), program().end(xdp.DROP), xdp.only(xdp.PASS)):
            xdp.attach(cfg, one)
            for stream in streams:
                stream.advance(STEP)
        xdp.detach(cfg)
        for stream in streams:
            stream.advance(STEP)
    for stream in streams:
        stream.stop()
        ktap.equal(stream.lost(), 0, "datagrams that were lost")
    counted.expect(rx_xdp_drops=0)


def _in_force(wire, what):
    """The program that drops frames of KIND does so, and others pass."""
    marker, cfg = wire.marker(), wire.cfg
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    traffic.ping(cfg.peer, env.PEER4, env.DUT4)
    ktap.equal(wire.passed(marker), [], f"frames that the program drops, after {what}")
    ktap.equal(counted["rx_xdp_drops"], COUNT, f"rx_xdp_drops after {what}")


def stays(cfg):
    """A program survives resets, other rings, and link down."""
    cfg.need_request("reset")
    ktap.defer(cfg.configure)
    wire = Wire(cfg)
    xdp.attach(cfg, program().end(xdp.DROP))
    cfg.reset(RESET_TIME)
    _in_force(wire, "a reset")
    rings.resize(cfg, SMALL_RING)
    _in_force(wire, "smaller rings")
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    wire = Wire(cfg)
    _in_force(wire, "link down and up")
    ktap.check(not cfg.features()[GRO_HW], f"{GRO_HW} is on with a program")
    traffic.tcp(cfg.peer, env.PEER4, cfg.dut, env.DUT4, STREAM)


def attached_while_down(cfg):
    """A program that comes while the interface is down works when it is up."""
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    xdp.attach(cfg, program().end(xdp.DROP))
    cfg.configure()
    _in_force(Wire(cfg), "link up")


def unbound(cfg):
    """The program goes with the driver, and does not come back."""
    xdp.attach(cfg, program().end(xdp.DROP))
    with cfg.driver_away():
        pass
    ktap.check("prog/xdp" not in cfg.dut.cmd("ip", "link", "show", cfg.netif), "a program is left")
    wire = Wire(cfg)
    marker = wire.marker()
    wire.send(marker, COUNT)
    ktap.equal(len(wire.passed(marker, COUNT)), COUNT, "frames without a program")


def full_ring(cfg):
    """While the NIC sends nothing, frames of programs are dropped and counted, and the stack's
    packets find room afterwards."""
    cfg.need_request("misbehave", "stall")
    wire = Wire(cfg)
    rings.resize(cfg, SMALL_RING)
    marker = wire.marker()
    xdp.attach(cfg, program().swap_macs().end(xdp.TX))
    before = cfg.driver_counters()
    ktap.defer(cfg.control.fault, cfg.nic, "misbehave", "tx", "stall", 0)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    wire.send(marker, 2 * SMALL_RING)

    def counted():
        now = cfg.driver_counters()
        return [now[name] - before[name] for name in ("tx_xdp_packets", "tx_xdp_drops")]

    proc.wait_until(lambda: sum(counted()) == 2 * SMALL_RING, "the driver has seen all frames")
    ktap.check(all(counted()), f"frames given to the NIC, and dropped: {counted()}")
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 0)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)


CASES = [announced, passes, drops, fails, sends_back, redirects, front, back, checksums,
         long_frames, mtu, feature_stays_off, replaced, stays, attached_while_down, unbound,
         full_ring]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True))
