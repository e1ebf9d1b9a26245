#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Sockets that get frames past the stack (AF_XDP), from and to memory that the NIC uses itself."""

import contextlib
import errno
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import (  # noqa: E402
    env,
    esp,
    forge,
    ktap,
    netdevnl,
    netif,
    packet,
    proc,
    rings,
    traffic,
    xdp,
    xdpwire,
    xfrm,
    xsk,
)
from ksft.frames import ETH_LEN, PROTO_UDP  # noqa: E402
from ksft.xdpwire import COUNT, KIND, Counted, Wire, index_of, moving, program  # noqa: E402

ZEROCOPY_FEATURE = 8  # NETDEV_XDP_ACT_XSK_ZEROCOPY
RESET_TIME = 15.0
STREAM = 256 * 1024
STEP = 25
SMALL_RING = 64
SMALL_CHUNK = 2048
SECRET = b"espnic: for nobody's memory but the kernel's"
TOO_LONG = 1900  # an MTU that does not fit into a small chunk, with the room for programs
HOLD_US = 10000
# where the NIC's headers are, and what says in them that it has decrypted the frame: flags
# (F_SECURITY, F_X_SEC), and the type of the SA, operation and status
HEADERS = range(xsk.HEADROOM - 48, xsk.RING * xsk.CHUNK, xsk.CHUNK)
DECRYPTED, UNDER_SA = 16 | 128, b"\x04\x02\x01\0"


def _end(cfg, one, queue=0):
    """Close a socket, and wait until the queue is free: the kernel takes it away in a work of its
    own, and what is under way then is lost."""
    one.close()

    def look():
        with contextlib.closing(xsk.Socket(cfg.dut)) as other:
            return other.bind(cfg.dut, cfg.netif, queue, xsk.COPY) == 0

    proc.wait_until(look, "the queue is free")


def _to_socket(cfg, one):
    """What is KIND goes to the socket."""
    xdp.attach(cfg, xsk.to_sockets(program(), {0: one}))


def _frame(wire, marker):
    """A frame as the peer sends it."""
    return (wire.forth + KIND.to_bytes(2, "big") + marker).ljust(60, b"\0")


def _answer(wire, marker):
    """A frame for the peer."""
    return (wire.back + KIND.to_bytes(2, "big") + marker).ljust(60, b"\0")


def _works(cfg, one, what=""):
    """Frames come to the socket, and leave from it, without a copy."""
    wire = Wire(cfg)
    marker, counted = wire.marker(), Counted(cfg)
    wire.send(marker, COUNT)
    ktap.equal(one.frames(marker, COUNT), [_frame(wire, marker)] * COUNT, f"received {what}")
    ktap.at_least(counted["rx_xdp_in_place"], COUNT, f"rx_xdp_in_place {what}")
    marker = wire.marker()
    one.send(_answer(wire, marker), COUNT)
    ktap.equal(wire.returned(marker, COUNT), [_answer(wire, marker)] * COUNT, f"sent {what}")
    counted.expect(rx_xdp_redirects=COUNT, tx_xdp_in_place=COUNT, tx_xdp_packets=COUNT)


def _both_ways(cfg):
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, (0, 56, 1400))
        traffic.ping(cfg.peer, peer, dut, (0, 56, 1400))
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)


def announced(cfg):
    """The kernel's list of features says it, if the NIC can."""
    family = netdevnl.Netdev(cfg.dut)
    ktap.defer(family.close)
    can = netif.has_feature(cfg.device, xsk.RING_RESET)
    ktap.equal(bool(family.xdp_features(index_of(cfg)) & ZEROCOPY_FEATURE), can, "xdp-features")


def without_copies(cfg):
    """Frames of a socket come and leave where they are."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    _works(cfg, one)
    ktap.equal(one.statistics()["rx_invalid"], 0, "pieces that the kernel did not understand")


def many(cfg):
    """More frames than the rings hold, both ways."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    wire = Wire(cfg)
    for _ in range(10):
        marker = wire.marker()
        wire.send(marker, xsk.RING // 2)
        ktap.equal(len(one.frames(marker, xsk.RING // 2)), xsk.RING // 2, "frames received")
        marker = wire.marker()
        one.send(_answer(wire, marker), xsk.RING)
        ktap.equal(len(wire.returned(marker, xsk.RING)), xsk.RING, "frames sent")


def stack_goes_on(cfg):
    """What is not for the socket gets to the stack, with a program and without one."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _both_ways(cfg)
    _to_socket(cfg, one)
    counted = Counted(cfg)
    _both_ways(cfg)
    counted.expect()
    _works(cfg, one, "afterwards")


def copied(cfg):
    """A socket that asks for copies gets them beside the driver's memory."""
    xsk.need(cfg)
    one = xsk.Socket(cfg.dut)
    ktap.equal(one.bind(cfg.dut, cfg.netif, flags=xsk.COPY), 0, "bind")
    ktap.check(not one.is_zero_copy(), "the NIC uses the socket's memory")
    _to_socket(cfg, one)
    wire = Wire(cfg)
    marker, counted = wire.marker(), Counted(cfg)
    wire.send(marker, COUNT)
    ktap.equal(len(one.frames(marker, COUNT)), COUNT, "frames received")
    one.send(_answer(wire, marker), COUNT)
    ktap.equal(len(wire.returned(marker, COUNT)), COUNT, "frames sent")
    counted.expect(rx_xdp_in_place=0, tx_xdp_in_place=0)


def verdicts(cfg):
    """All answers of programs hold for frames in a socket's memory."""
    xsk.need(cfg)
    xsk.bound(cfg)
    wire = Wire(cfg)
    for begin, verdict, name in ((program(), xdp.DROP, "rx_xdp_drops"),
                                 (program(), xdp.ABORTED, "rx_xdp_aborted")):
        marker = wire.marker()
        xdp.attach(cfg, begin.end(verdict))
        counted = Counted(cfg)
        wire.send(marker, COUNT)
        ktap.equal(wire.passed(marker), [], f"frames with the answer {verdict}")
        counted.expect(**{name: COUNT})
    marker = wire.marker()
    xdp.attach(cfg, program().swap_macs().end(xdp.TX))
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    ktap.equal(wire.returned(marker, COUNT), [_answer(wire, marker)] * COUNT, "frames sent back")
    counted.expect(rx_xdp_tx=COUNT, tx_xdp_packets=COUNT)
    marker = wire.marker()
    xdp.attach(cfg, moving(xdp.ADJUST_TAIL, 100).end(xdp.PASS))
    wire.send(marker)
    ktap.equal([len(frame) for frame in wire.passed(marker, 1)], [160], "lengths, moved")
    marker = wire.marker()
    xdp.attach(cfg, xdpwire.redirecting(program(), index_of(cfg)))
    counted = Counted(cfg)
    wire.send(marker, COUNT)
    # the kernel's copy of a frame in a socket's memory has no room for a header in front
    ktap.equal(counted["rx_xdp_redirects"] + counted["rx_xdp_lost"], COUNT, "frames redirected")


def room(cfg):
    """Without room in a socket's memory frames wait for it; the socket is asked to say when there
    is some, and then everything goes on."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    wire = Wire(cfg)
    marker = wire.marker()
    wire.send(marker, xsk.RING)
    found = one.frames(marker, xsk.RING, refill=False)
    ktap.at_least(len(found), xsk.RING // 2, "frames that found room")
    proc.wait_until(one.fill.needs_wakeup, "the socket is asked to wake the driver")
    late = wire.marker()
    wire.send(late)
    for number in range(xsk.RING):
        one.fill.put("=Q", xsk.CHUNK * number)
    one.frames(late)
    _works(cfg, one, "with room again")


def no_wakeups(cfg):
    """A socket that does not promise to wake the driver."""
    xsk.need(cfg)
    one = xsk.bound(cfg, flags=xsk.ZEROCOPY)
    _to_socket(cfg, one)
    _works(cfg, one)


def taken_back(cfg):
    """Sockets come and go under traffic."""
    xsk.need(cfg)
    streams = [traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4),
               traffic.Stream(cfg.peer, env.PEER4, cfg.dut, env.DUT4)]
    for stream in streams:
        ktap.defer(stream.close)
        stream.start()
    wire = Wire(cfg)
    for _ in range(3):
        one = xsk.bound(cfg)
        for _ in range(xsk.RING // 2):
            one.post(_answer(wire, b"espnic on its way"))
        one.wake()
        for stream in streams:
            stream.advance(STEP)
        _end(cfg, one)
        for stream in streams:
            stream.advance(STEP)
    for stream in streams:
        stream.stop()
    _both_ways(cfg)
    _works_again(cfg)


def _works_again(cfg):
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    _works(cfg, one, "with a new socket")
    _end(cfg, one)


def down_and_up(cfg):
    """A socket outlives link down; meanwhile it cannot send."""
    xsk.need(cfg)
    ktap.defer(cfg.configure)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    _works(cfg, one)
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(one.wake(), errno.ENETDOWN, "error of a socket while the link is down")
    cfg.configure()
    _works(cfg, one, "after link up")
    cfg.dut.ip(f"link set {cfg.netif} down")
    one.close()
    cfg.configure()
    _end(cfg, one)
    _both_ways(cfg)


def reset(cfg):
    """A socket outlives a reset of the NIC, and one that asks for it under traffic."""
    cfg.need_request("reset")
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    _works(cfg, one)
    wire = Wire(cfg)
    for _ in range(xsk.RING // 2):
        one.post(_answer(wire, b"espnic on its way"))
    one.wake()
    cfg.reset(RESET_TIME)
    one.drain()
    _works(cfg, one, "after a reset")
    _end(cfg, one)
    _both_ways(cfg)


def stuck(cfg):
    """What a NIC does not send it has to give back when the socket ends, and other traffic goes
    on."""
    cfg.need_request("misbehave", "stall")
    xsk.need(cfg)
    one = xsk.bound(cfg)
    wire = Wire(cfg)
    ktap.defer(cfg.control.fault, cfg.nic, "misbehave", "tx", "stall", 0)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 1)
    for _ in range(COUNT):
        one.post(_answer(wire, b"espnic that is stuck"))
    one.wake()
    _end(cfg, one)
    cfg.control.fault(cfg.nic, "misbehave", "tx", "stall", 0)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    _works_again(cfg)


def hostile(cfg):
    """A NIC that lies about frames in a socket's memory, or breaks the queue, harms nobody."""
    cfg.need_request("misbehave", "num-buffers", "id-out-of-range", "reset")
    xsk.need(cfg)
    one, wire = xsk.bound(cfg), Wire(cfg)
    _to_socket(cfg, one)
    ktap.defer(cfg.control.request, "fault", cfg.nic, "clear")
    for what in ("num-buffers", "gso-type", "csum-start"):
        marker, made = wire.marker(), cfg.made(f"rx {what}")
        cfg.control.fault(cfg.nic, "misbehave", "rx", what, 1)
        wire.send(marker, COUNT)
        one.frames(marker)
        ktap.equal(cfg.made(f"rx {what}") - made, 1, f"frames with a wrong {what}")
        cfg.control.request("fault", cfg.nic, "clear")
        _works(cfg, one, f"after a wrong {what}")
    cfg.control.fault(cfg.nic, "misbehave", "rx", "id-out-of-range", 1)
    wire.send(wire.marker(), COUNT)
    one.close()
    cfg.control.request("fault", cfg.nic, "clear")
    cfg.reset(RESET_TIME)
    _works_again(cfg)


def other_rings(cfg):
    """Rings of another size."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    rings.resize(cfg, SMALL_RING)
    _works(cfg, one, "with small rings")


def channels(cfg):
    """As long as a queue has a socket it cannot go away; others can come and go."""
    if not netif.has_feature(cfg.device, xsk.RING_RESET):
        raise ktap.Skip(f"{cfg.netif} cannot reset single queues")
    count = xsk.channels(cfg)
    if count < 2:
        raise ktap.Skip(f"{cfg.netif} has a single queue pair in use")
    last = xsk.bound(cfg, queue=count - 1)
    ktap.defer(cfg.dut.run, "ethtool", "-L", cfg.netif, "combined", str(count))
    result = cfg.dut.run("ethtool", "-L", cfg.netif, "combined", "1")
    ktap.check(result.returncode, "a queue with a socket went away")
    _end(cfg, last, count - 1)
    first = xsk.bound(cfg)
    cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", "1")
    _to_socket(cfg, first)
    _works(cfg, first, "with one queue pair")
    cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(count))
    _both_ways(cfg)


def refused(cfg):
    """What cannot be bound."""
    xsk.need(cfg)

    def error(chunk=xsk.CHUNK, **kwargs):
        one = xsk.Socket(cfg.dut, chunk=chunk)
        number = one.bind(cfg.dut, cfg.netif, **kwargs)
        one.close()  # it has no queue
        return errno.errorcode.get(number, number)

    ktap.equal(error(queue=1), "EINVAL", "a queue that is not in use")
    ktap.equal(error(queue=4000), "EINVAL", "a queue that is not there")
    cfg.set_mtu(TOO_LONG)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    ktap.equal(error(chunk=SMALL_CHUNK), "EINVAL", "pieces that are too short for the MTU")
    cfg.set_mtu(9000)
    ktap.equal(error(), "EINVAL", "an MTU that is too large")
    cfg.set_mtu(cfg.mtu)
    xsk.bound(cfg)
    ktap.equal(error(), "EBUSY", "a second socket")
    _both_ways(cfg)


def unbound(cfg):
    """The driver goes with a socket there, which is told."""
    xsk.need(cfg)
    one = xsk.bound(cfg)
    _to_socket(cfg, one)
    with cfg.driver_away():
        ktap.check(one.wake(), "the socket can send without a driver")
    one.close()
    cfg.dut.run("ethtool", "-L", cfg.netif, "combined", "1")
    _works_again(cfg)


def crypto_offload(cfg):
    """The NIC decrypts nothing to memory that user space can read and change: inbound SAs are left
    to software, and come back."""
    xsk.need(cfg)
    flow = esp.direct()
    esp.protect(cfg.need_offload(), flow)
    esp.exercise(cfg, flow, esp.SIZES[-3:])
    one, counted = xsk.bound(cfg), Counted(cfg)
    _to_socket(cfg, one)
    pair = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    ktap.defer(pair.close)
    watch = cfg.watch()
    for _ in range(COUNT):
        pair.send(SECRET)
        ktap.equal(pair.receive(), SECRET, "datagram")
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, STREAM)
    traffic.tcp(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, STREAM)
    watch.stop().prove_no_errors()
    ktap.check(SECRET not in one.memory[:], "what was decrypted is in the socket's memory")
    counted.expect(ipsec_rx_packets=0)
    ktap.at_least(counted["ipsec_tx_packets"], COUNT, "packets that the NIC encrypts")
    _works(cfg, one, "beside IPsec")
    _end(cfg, one)
    proc.wait_until(lambda: pair.send(SECRET) or pair.receive() and counted["ipsec_rx_packets"],
                    "the NIC decrypts again")
    esp.exercise(cfg, flow, esp.SIZES[-3:])


def user_writes(cfg):
    """What headers in a socket's memory say of IPsec nobody believes: user space can write it."""
    xsk.need(cfg.need_offload())
    one, wire = xsk.bound(cfg), Wire(cfg)
    netif.hold_back(cfg, HOLD_US, 2 * COUNT)
    for in_place in (0, COUNT):
        if in_place:
            xdp.attach(cfg, program().end(xdp.PASS))
        marker, counted = wire.marker(), Counted(cfg)
        for number in range(50 * COUNT):
            if number < COUNT:
                wire.send(marker)
            for at in HEADERS:
                one.memory[at], one.memory[at + 30:at + 34] = DECRYPTED, UNDER_SA
        ktap.check(any(one.memory[at + 10] for at in HEADERS), "the headers are somewhere else")
        ktap.equal(len(wire.passed(marker, COUNT)), COUNT, f"frames, {in_place} in place")
        ktap.at_least(counted["rx_xdp_in_place"], in_place, "rx_xdp_in_place")
        counted.expect(ipsec_rx_drop_stale=0)


def packet_offload(cfg):
    """SAs of packet offload, behind which there is no software, and such sockets keep each other
    out."""
    xsk.need(cfg)
    flow = esp.inner4(outer=4, reqid=packet.REQID)
    packet.protect(cfg.need_offload(), flow)
    one = xsk.Socket(cfg.dut)
    ktap.equal(one.bind(cfg.dut, cfg.netif), errno.EBUSY, "error of bind beside SAs")
    one.close()
    packet.exercise(cfg, flow, esp.SIZES[-3:])
    xfrm.flush(cfg.dut, cfg.peer)
    xsk.bound(cfg)
    packet.refused(cfg, f"{flow.in_.add(packet.offload(cfg, 'in'))}", "AF_XDP")


def _wait_for(counted, name):
    proc.wait_until(lambda: counted[name], f"{name} rises")


def policies(cfg):
    """Policies of packet offload hold for what a socket sends, and for what a program redirects or
    passes."""
    xsk.need(cfg)
    one = xsk.bound(cfg.need_offload())
    wire = Wire(cfg)
    ktap.defer(xfrm.flush, cfg.dut)
    blocked, other, marker = "198.18.0.7", "198.18.0.8", b"espnic: blocked, by a policy"

    def frame(begin, src, dst):
        return begin + b"\x08\0" + forge.ip(src, dst, PROTO_UDP, forge.udp(1000, 2000, marker))

    for direction, at in (("out", "dst"), ("in", "src")):
        cfg.dut.ip(f"xfrm policy add {at} {blocked}/32 dir {direction} action block "
                   f"offload packet dev {cfg.netif}")
    counted = Counted(cfg)
    one.send(frame(wire.back, env.DUT4, blocked), COUNT)
    one.send(frame(wire.back, env.DUT4, other))
    ktap.equal([found[26 + 4:26 + 8] for found in wire.returned(marker, 1)],
               [bytes((198, 18, 0, 8))], "destinations of frames that left")
    counted.expect(tx_xdp_drop_policy=COUNT, tx_xdp_packets=1, tx_xdp_in_place=0)
    for begin, name in ((xdpwire.redirecting(xdp.Assembler().frame(60).unless_half(12, 0x0800),
                                             index_of(cfg)), "rx_xdp_redirects"),
                        (moving(xdp.ADJUST_HEAD, ETH_LEN).end(xdp.PASS), "rx_packets")):
        xdp.attach(cfg, begin)
        wire.clear()
        counted = Counted(cfg)
        for src in (blocked, other):
            text = frame(wire.forth, src, env.DUT4)
            (wire.send if name == "rx_packets" else wire.raw)(text)
        _wait_for(counted, name)
        counted.expect(ipsec_packet_rx_drop_blocked=1, rx_xdp_in_place=0)
    xfrm.flush(cfg.dut)
    counted = Counted(cfg)
    proc.wait_until(lambda: one.send(frame(wire.back, env.DUT4, blocked)) or
                    counted["tx_xdp_in_place"], "frames are sent where they are again")


CASES = [announced, without_copies, many, stack_goes_on, copied, verdicts, room, no_wakeups,
         taken_back, down_and_up, reset, stuck, hostile, other_rings, channels, refused, unbound,
         crypto_offload, user_writes, packet_offload, policies]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True))
