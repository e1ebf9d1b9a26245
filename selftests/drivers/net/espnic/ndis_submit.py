#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets with out-of-band data: submitted ones are checked against their SA and never leave, and
records carry the first bytes of a packet when asked.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, frames, ktap, ndis, oid, pace, proc, traffic, xfrm  # noqa: E402

IPV4, IPV6 = 0x0800, 0x86DD
ICV, PROTO_TCP = 16, 6
TOOL = "espnic-ndis"
MARK = b"espnic in clear"


def _esp(sa, payload=MARK, next_header=frames.PROTO_UDP, iv=8, block=4):
    """ESP as the transport frames it, with room for IV and ICV; its PadLength."""
    pad = -(len(payload) + 2) % block
    trailer = bytes(range(1, pad + 1)) + bytes([pad, next_header])
    return struct.pack("!II", sa.spi, 1) + bytes(iv) + payload + trailer + bytes(ICV), pad


def _ipv4(sa, body, protocol=frames.PROTO_ESP, fragment=0):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0,
                       socket.inet_aton(sa.src), socket.inet_aton(sa.dst))
    return _frame(IPV4, head + body)


def _ipv6(sa, body):
    head = struct.pack("!IHBB", 6 << 28, len(body), frames.PROTO_ESP, 64)
    ends = (socket.inet_pton(socket.AF_INET6, one) for one in (sa.src, sa.dst))
    return _frame(IPV6, head + b"".join(ends) + body)


def _frame(kind, packet):
    return b"\2\0\0\0\0\x11" + b"\2\0\0\0\0\x10" + struct.pack("!H", kind) + packet


def _header(next_header, pad, offset):
    """Slot 12."""
    return next_header | pad << 8 | offset // 4 << 24


def _udp4(sa):
    """A frame under an SA of IPv4, and its slot 12."""
    body, pad = _esp(sa)
    return _ipv4(sa, body), _header(frames.PROTO_UDP, pad, 20)


def _nothing_left(watch):
    """No packet was given to the NIC's IPsec."""
    watch.stop()
    ktap.equal(watch.driver.get("ipsec_tx_packets", 0), 0, "packets for the NIC")


def fits(cfg):
    """A frame that is right in everything: no rule refuses it, and it stays here all the same."""
    ktap.rules("R95", "R101", "R150")
    miniport, v4, v6 = ndis.ready(cfg, ndis.ALL), esp.direct().out, esp.direct(6).out
    handle, other = miniport.add(v4, False), miniport.add(v6, False)
    watch = cfg.watch()
    frame, word = _udp4(v4)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status of IPv4")
    [sent] = miniport.settled(ndis.Send)
    ktap.equal((sent.slot1, sent.slot12, sent.spi, sent.number, sent.length, sent.family,
                oid.status_name(sent.status)),
               (handle, word, v4.spi, 1, len(frame), 4, "SEND_ABORTED"), "its record")
    body, pad = _esp(v6)
    ktap.equal(miniport.submit(_ipv6(v6, body), other, _header(frames.PROTO_UDP, pad, 40)),
               "SEND_ABORTED", "status of IPv6")
    _nothing_left(watch)
    for one in miniport.list().values():
        ktap.equal((one.packets, one.sequence), (0, 0), "packets and number of an SA")


def mismatches(cfg):
    """Whatever does not fit the SA or the slots fails, each by itself."""
    ktap.rules("R92", "R93", "R94", "R97", "R98", "R99", "R105", "R150")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handle, inbound = miniport.add(flow.out, False), miniport.add(flow.in_, True)
    frame, word = _udp4(flow.out)
    tcp, pad = PROTO_TCP, word >> 8 & 0xFF
    stranger = esp.direct(reqid=9).out
    body = _esp(flow.out)[0]
    watch = cfg.watch()
    for what, args in {
            "no handle": (frame, 0, word), "a handle without an SA": (frame, handle + 1, word),
            "an inbound SA": (frame, inbound, word),
            "NextHeader": (frame, handle, _header(tcp, pad, 20)),
            "PadLength": (frame, handle, _header(frames.PROTO_UDP, pad + 1, 20)),
            "EspHeaderOffset": (frame, handle, _header(frames.PROTO_UDP, pad, 24)),
            "no EspHeaderOffset": (frame, handle, _header(frames.PROTO_UDP, pad, 0)),
            "AhHeaderOffset": (frame, handle, word | 5 << 16),
            "another SA's frame": (_udp4(stranger)[0], handle, word),
            "a fragment": (_ipv4(flow.out, body, fragment=0x2000), handle, word),
            "no ESP": (_ipv4(flow.out, MARK * 4, frames.PROTO_UDP), handle, word),
            "too short": (frame[:-1], handle, word), "too long": (frame + b"\0", handle, word),
            "another type": (_frame(IPV6, frame[14:]), handle, word),
            "no packet": (frame[:14], handle, word)}.items():
        ktap.equal(miniport.submit(*args), "FAILURE", f"status of {what}")
    ktap.equal(miniport.submit(frame, handle, word, slot11=handle), "FAILURE", "a tunnel's slot")
    ktap.equal(miniport.submit(frame, 0, word, slot11=handle), "FAILURE", "a tunnel's slot alone")
    ktap.equal(miniport.submit(frame, handle, word, slot2=1400 | 1 << 30), "FAILURE",
               "a large send of UDP")
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "what fits")
    miniport.delete(handle)
    ktap.equal(miniport.submit(frame, handle, word), "FAILURE", "an SA that is gone")
    _nothing_left(watch)


def not_set_up(cfg):
    """Without the encapsulation every send fails, also one without a handle."""
    ktap.rules("R92", "R150")
    miniport, sa = ndis.ready(cfg), esp.direct().out
    handle, (frame, word) = miniport.add(sa, False), _udp4(sa)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status before")
    miniport.set_normal(oid.ENCAPSULATION, oid.encapsulation(enabled=oid.SET_OFF))
    ktap.equal(miniport.submit(frame, handle, word), "FAILURE", "status with a handle")
    ktap.equal(miniport.submit(frame, 0, 0), "FAILURE", "status without one")


def bounds(cfg):
    """Sizes, pointers and rate."""
    miniport, sa = ndis.ready(cfg), esp.direct().out
    handle, (frame, word) = miniport.add(sa, False), _udp4(sa)

    def wrong(**words):
        try:
            miniport.submit(frame, handle, word, **words)
        except OSError as error:
            return error.errno
        return 0

    for length in (0, 13, ndis.MAX_FRAME + 1, 0xFFFFFFFF):
        ktap.equal(wrong(length=length), errno.EINVAL, f"errno of {length} bytes")
    ktap.equal(wrong(address=16), errno.EFAULT, "errno of an address")
    ktap.equal(miniport.submit(frame + bytes(ndis.MAX_FRAME - len(frame)), handle, word), "FAILURE",
               "status of the longest frame")
    statuses, end = set(), time.monotonic() + pace.scaled(20)
    while "RESOURCES" not in statuses and time.monotonic() < end:
        statuses.add(miniport.submit(frame, handle, word))
    ktap.equal(statuses - {"SEND_ABORTED", "RESOURCES"}, set(), "statuses")
    if "RESOURCES" not in statuses:
        ktap.diag(f"too slow for {ndis.MAX_SUBMITS} in a second")


def first_bytes(cfg):
    """Who asks for them gets the first bytes of packets, and nobody else does."""
    ktap.rules("R111")
    miniport, other = ndis.ready(cfg, ndis.ALL | ndis.BYTES), ndis.ready(cfg, ndis.ALL)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    ndis.protect(cfg, miniport, flow)
    miniport.read()
    other.read()
    there = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
    back = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    for link in (there, back):
        ktap.defer(link.close)
        for size in (1, 300):
            data = (MARK * 20)[:size]
            ktap.check(link.send(data), "a datagram was not sent")
            ktap.equal(link.receive(), data, "datagram")
    time.sleep(env.SETTLE)
    with_bytes, without = ([record.body for record in one.read()
                            if isinstance(record.body, (ndis.Send, ndis.Receive))]
                           for one in (miniport, other))
    for kind in (ndis.Send, ndis.Receive):
        found = [one for one in with_bytes if isinstance(one, kind) and one.spi]
        ktap.at_least(len(found), 2, f"records of {kind.__name__}")
        ktap.equal([len(one.start) for one in found],
                   [min(one.length, ndis.MAX_BYTES) for one in found], "bytes")
        ktap.equal({one.start[12:14] for one in found}, {struct.pack("!H", IPV4)}, "types")
        ktap.equal({_number(one) == one.spi for one in found}, {True}, "SPIs in the bytes")
        ktap.check(any(MARK in one.start for one in found), "no packet is in clear")
    ktap.equal({one.start for one in without}, {b""}, "bytes that nobody asked for")


def _number(record):
    """SPI behind Ethernet and IPv4."""
    return int.from_bytes(record.start[34:38], "big")


def bytes_need_a_right(cfg):
    """CAP_NET_ADMIN is not enough to see packets."""
    fd = ndis.opened()
    child = os.fork()
    if not child:
        try:
            _drop_net_raw()
            ndis.bind_fd(fd, cfg.dut, cfg.netif, ndis.ALL | ndis.BYTES)
        except PermissionError:
            os._exit(0)
        except BaseException:  # whatever it is, the parent has to hear of it
            os._exit(2)
        os._exit(1)
    ktap.equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "refused without CAP_NET_RAW")
    ndis.bind_fd(fd, cfg.dut, cfg.netif, ndis.ALL | ndis.BYTES)


def _drop_net_raw():
    """Take CAP_NET_RAW (13) out of this process's effective capabilities."""
    libc = ctypes.CDLL(None, use_errno=True)
    head, data = struct.pack("=Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    ktap.equal(libc.capget(head, data), 0, "capget")
    words = list(struct.unpack("=6I", data.raw))
    words[0] &= ~(1 << 13)
    ktap.equal(libc.capset(head, struct.pack("=6I", *words)), 0, "capset")


def _tool(cfg, *words):
    """Exit status of espnic-ndis, and its answers."""
    result = cfg.dut.run(TOOL, "-i", cfg.netif, "--json", *words)
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


def by_the_tool(cfg):
    """The command-line tool has words for both."""
    proc.need(TOOL)
    miniport, sa = ndis.ready(cfg), esp.direct().out
    handle = miniport.add(sa, False)
    frame, word = _udp4(sa)
    words = ["submit", frame.hex(), "--handle", hex(handle), "--esp-offset", "20",
             "--next-header", str(frames.PROTO_UDP)]
    for more, status in ((["--pad-length", str(word >> 8 & 0xFF)], "SEND_ABORTED"),
                         (["--pad-length", "200"], "FAILURE")):
        result, [answer] = _tool(cfg, *words, *more)
        ktap.equal((result, answer["ok"], answer["status"]), (1, False, f"NDIS_STATUS_{status}"),
                   f"answer with {more}")
        ktap.equal("hint" in answer, status == "SEND_ABORTED", "a hint")
    ktap.equal(_tool(cfg, "submit", "00")[0], 2, "exit status for half a header")
    follower = cfg.dut.spawn(TOOL, "-i", cfg.netif, "--json", "follow", "--receive", "--bytes",
                             "--count", "1", "--time", "20")
    ktap.defer(proc.stop, follower)
    flow = esp.direct(reqid=5)
    ndis.protect(cfg, miniport, flow)
    proc.wait_until(lambda: traffic.reachable(cfg.peer, flow.peer, flow.dut)
                    and follower.poll() is not None, "a record")
    [record] = [json.loads(line) for line in follower.stdout]
    ktap.contains(record["bytes"], struct.pack("!I", flow.in_.spi).hex(), "the first bytes")


CASES = [fits, mismatches, not_set_up, bounds, first_bytes, bytes_need_a_right, by_the_tool]


def _setup():
    ndis.need()
    return env.Setup(tap=True).need_offload()


if __name__ == "__main__":
    ktap.main(CASES, _setup)
