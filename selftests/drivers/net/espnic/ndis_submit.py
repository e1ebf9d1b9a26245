#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets with out-of-band data: submitted ones are checked against their SA, and leave under it
with a number of the stack, or not at all; records carry the first bytes of a packet when asked.
"""

import copy
import ctypes
import errno
import json
import os
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import (  # noqa: E402
    env,
    esp,
    frames,
    ktap,
    ndis,
    netlink,
    oid,
    pace,
    proc,
    submitted,
    traffic,
    xfrm,
)

PROTO_TCP = 6
TOOL = "espnic-ndis"
DONT_FRAGMENT = 0x4000


def _link(cfg, flow):
    """Where submitted datagrams arrive."""
    link = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)
    return link


def _is_sent(flow, handle):
    """Tells the records of an SA's packets that were given to the NIC."""
    return lambda body: isinstance(body, ndis.Send) and not body.status \
        and (body.slot1, body.spi) == (handle, flow.out.spi)


def _nothing_left(watch):
    """No packet was given to the NIC's IPsec, none left in clear or encrypted by software."""
    watch.stop()
    ktap.equal(watch.driver.get("ipsec_tx_packets", 0), 0, "packets for the NIC")
    ktap.equal([one for one in watch.packets() if one.esp], [], "ESP on the wire")
    watch.prove_no_plaintext()


def _sends(cfg, flow, **kwargs):
    """Datagrams of all paddings arrive, encrypted by the NIC, with the numbers of the stack."""
    ktap.rules("R95", "R97", "R98", "R99", "R101", "R108")
    miniport = ndis.ready(cfg, ndis.ALL)
    handle, _ = ndis.protect(cfg, miniport, flow, **kwargs)
    link, watch = _link(cfg, flow), cfg.watch()
    miniport.read()
    contents = [(submitted.MARK * 70)[:size] for size in (0, 1, 2, 3, 4, 5, 300, 1000)]
    for data in contents:
        frame, word = submitted.protected(flow, link.port, data)
        ktap.equal(miniport.submit(frame, handle, word), "SUCCESS", f"status of {len(data)} bytes")
        ktap.equal(link.receive(), data, "what arrives")
    records = miniport.wait(len(contents), _is_sent(flow, handle))
    ktap.equal([one.number for one in records], list(range(1, len(contents) + 1)), "their numbers")
    watch.stop()
    sent = watch.esp(cfg.netif_mac)
    ktap.equal([(one.spi, one.seq) for one in sent],
               [(flow.out.spi, number + 1) for number in range(len(contents))], "on the wire")
    watch.prove_no_errors()
    ktap.equal(watch.driver["ipsec_tx_packets"], len(contents), "packets of the driver")
    if cfg.control:
        ktap.equal(watch.nic["ipsec_tx_packets"], len(contents), "packets of the NIC")
    entry = miniport.list()[handle]
    ktap.equal((entry.packets, entry.sequence), (len(contents), len(contents)), "the SA's own")


def sent_v4(cfg):
    """Transport mode over IPv4."""
    _sends(cfg, esp.direct())


def sent_v6(cfg):
    """Transport mode over IPv6."""
    _sends(cfg, esp.direct(6))


def sent_in_tunnels(cfg):
    """Tunnel mode, with the same and with another IP version in it."""
    _sends(cfg, esp.inner4())
    xfrm.flush(cfg.dut, cfg.peer)
    _sends(cfg, esp.inner6(4))


def sent_in_udp(cfg):
    """ESP in UDP: the datagram around it is made anew, too."""
    for ns in (cfg.dut, cfg.peer):
        esp.encap_socket(ns, 4500, True)
    _sends(cfg, esp.direct(encap=4500))


def amid_traffic(cfg):
    """Submitted packets and those of sockets get their numbers from one place: none is missing,
    none comes twice, and no IV does."""
    ktap.rules("R108")
    miniport, flow = ndis.ready(cfg, 0), esp.direct()
    handle, _ = ndis.protect(cfg, miniport, flow)
    link, watch, count = _link(cfg, flow), cfg.watch(), 100
    with traffic.Stream(cfg.dut, flow.dut, cfg.peer, flow.peer) as stream:
        stream.advance(10)
        for number in range(count):
            frame, word = submitted.protected(flow, link.port, submitted.MARK + bytes([number]))
            ktap.equal(miniport.submit(frame, handle, word), "SUCCESS", "status")
            stream.go_on(1)
        stream.advance(10)
        for number in range(count):
            ktap.equal(link.receive(), submitted.MARK + bytes([number]), "what arrives")
        stream.stop()
        watch.stop()
    sent = watch.esp(cfg.netif_mac)
    ktap.at_least(len(sent), count + 20, "packets on the wire")
    ktap.equal(sorted(one.seq for one in sent), list(range(1, len(sent) + 1)), "numbers")
    ktap.equal(len({one.iv for one in sent}), len(sent), "different IVs")
    ktap.equal(watch.driver["ipsec_tx_packets"], len(sent), "packets of the driver")
    watch.prove_no_errors()


def another_sa(cfg):
    """A policy that leads to another SA than the handle says is obeyed: nothing is sent."""
    ktap.rules("R150")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handle, _ = ndis.protect(cfg, miniport, flow)
    stranger = esp.direct(reqid=9)
    other = miniport.add(stranger.out, False)
    watch = cfg.watch()
    frame, word = submitted.protected(stranger, submitted.PORT, submitted.MARK)
    ktap.equal(miniport.submit(frame, other, word), "SEND_ABORTED", "status")
    frame, word = submitted.protected(flow, submitted.PORT, submitted.MARK * 200)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status of a long packet")
    _nothing_left(watch)
    frame, word = submitted.protected(flow, submitted.PORT, submitted.MARK)
    miniport.delete(handle)
    watch = cfg.watch()
    ktap.equal(miniport.submit(frame, handle, word), "FAILURE", "status of an SA that is gone")
    _nothing_left(watch)


def not_its_own(cfg):
    """A packet without a source, or with one of somebody else in transport mode, is not sent: it
    would leave under a policy for another packet, or come back to that source in clear."""
    ktap.rules("R150")
    miniport, tunnel = ndis.ready(cfg, ndis.ALL), esp.inner4()
    handle, _ = ndis.protect(cfg, miniport, tunnel)
    link, watch = _link(cfg, tunnel), cfg.watch()
    nobody = copy.copy(tunnel)
    nobody.dut_inner = "0.0.0.0"
    frame, word = submitted.protected(nobody, link.port, submitted.MARK)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status without a source")
    for dut, peer in (("192.0.2.77", env.PEER4), ("2001:db8:77::77", env.PEER6)):
        foreign = xfrm.Flow(dut, peer, reqid=7)
        handle, _ = ndis.protect(cfg, miniport, foreign)
        frame, word = submitted.protected(foreign, submitted.PORT, submitted.MARK)
        ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", f"status from {dut}")
    _nothing_left(watch)


def too_long(cfg):
    """A packet that fits the link and with ESP does not is not sent."""
    ktap.rules("R150")
    miniport = ndis.ready(cfg, ndis.ALL)
    for flow, room in ((esp.direct(), 28), (esp.inner4(), 28), (esp.direct(6), 48)):
        handle, _ = ndis.protect(cfg, miniport, flow)
        link, watch = _link(cfg, flow), cfg.watch()
        frame, word = submitted.protected(flow, link.port, bytes(cfg.mtu - room))
        ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", f"status in {flow.mode}")
        _nothing_left(watch)
        frame, word = submitted.protected(flow, link.port, submitted.MARK)
        ktap.equal(miniport.submit(frame, handle, word), "SUCCESS", "status of a short one")
        xfrm.flush(cfg.dut, cfg.peer)


def quoted_to_nobody(cfg):
    """What a gateway sends for others and the path does not take comes back to nobody: the ICMP
    error of the stack would quote it in clear."""
    ktap.rules("R150")
    host = "198.51.100.99"
    miniport = ndis.ready(cfg, ndis.ALL)
    flow = xfrm.Flow(env.DUT4, env.PEER4, "tunnel", dut_inner=host, peer_inner=env.PEER_INNER4)
    handle, _ = ndis.protect(cfg, miniport, flow)
    back, away = (f"{one}/32 via {env.PEER4} dev {cfg.netif}" for one in (host, env.PEER_INNER4))
    away += f" src {env.DUT_INNER4}"
    ktap.defer(cfg.dut.ip, f"route del {back}")
    ktap.defer(cfg.dut.ip, f"route replace {away}")
    cfg.dut.ip(f"route add {back}", f"route replace {away} mtu 600")
    watch = cfg.watch()
    datagram = submitted.udp(host, env.PEER_INNER4, submitted.PORT, submitted.MARK * 50)
    inner = submitted.packet4(host, env.PEER_INNER4, datagram, frames.PROTO_UDP, DONT_FRAGMENT)
    body, pad = submitted.esp(flow.out, inner, 4)
    frame, word = submitted.ipv4(flow.out, body), submitted.header(4, pad, 20)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status")
    _nothing_left(watch)
    quoted = [frame for _, frame in watch.tap_frames if submitted.MARK in frame]
    ktap.equal(quoted, [], "frames with what was submitted")


def nic_leaves(cfg):
    """Whoever submits while the NIC goes away hears of it, and nothing leaves in clear."""
    ktap.rules("R150")
    miniport, flow = ndis.ready(cfg, 0), esp.direct()
    handle, _ = ndis.protect(cfg, miniport, flow)
    frame, word = submitted.protected(flow, _link(cfg, flow).port, submitted.MARK)
    ktap.equal(miniport.submit(frame, handle, word), "SUCCESS", "status before")
    statuses, over, watch = [], threading.Event(), cfg.watch()

    def submit():
        while not over.is_set():
            statuses.append(miniport.submit(frame, handle, word))
            over.wait(0.005)

    thread = threading.Thread(target=submit, daemon=True)
    thread.start()
    time.sleep(env.SETTLE)
    with cfg.driver_away():
        proc.wait_until(lambda: statuses[-1] == "ADAPTER_REMOVED", "the last status")
        over.set()
        thread.join()
    ktap.contains(statuses, "SUCCESS", "statuses")
    ktap.equal(set(statuses) - {"SUCCESS", "SEND_ABORTED", "FAILURE", "RESOURCES",
                                "ADAPTER_REMOVED"}, set(), "other statuses")
    watch.stop()
    watch.prove_no_plaintext()


def audited(cfg):
    """Each submitted packet that is looked at is in the audit log, sent or not."""
    miniport, flow = ndis.ready(cfg, 0), esp.direct()
    handle, _ = ndis.protect(cfg, miniport, flow)
    log = netlink.AuditLog()
    log.events()
    frame, word = submitted.protected(flow, submitted.PORT, submitted.MARK)
    for slot1 in (handle, handle + 100):
        miniport.submit(frame, slot1, word)
    came = []
    proc.wait_until(lambda: came.extend(log.events()) or len(came) >= 2, "two audit records")
    ktap.equal([text.split("op=")[1].split()[0] for text in came], ["NDIS-submit"] * 2, "names")
    ktap.contains(came[0], f"src={flow.dut} dst={flow.peer} spi={flow.out.spi}(", "the SA")
    ktap.equal([text.rsplit("res=")[1] for text in came], ["1", "0"], "results")


def no_policy(cfg):
    """A frame that is right in everything, and no policy that leads to its SA: it stays here."""
    ktap.rules("R95", "R101", "R150")
    miniport, v4, v6 = ndis.ready(cfg, ndis.ALL), esp.direct().out, esp.direct(6).out
    handle, other = miniport.add(v4, False), miniport.add(v6, False)
    watch = cfg.watch()
    frame, word = submitted.udp4(v4)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status of IPv4")
    [sent] = miniport.settled(ndis.Send)
    ktap.equal((sent.slot1, sent.slot12, sent.spi, sent.number, sent.length, sent.family,
                oid.status_name(sent.status)),
               (handle, word, v4.spi, 1, len(frame), 4, "SEND_ABORTED"), "its record")
    body, pad = submitted.esp(v6)
    slot12 = submitted.header(frames.PROTO_UDP, pad, 40)
    ktap.equal(miniport.submit(submitted.ipv6(v6, body), other, slot12),
               "SEND_ABORTED", "status of IPv6")
    _nothing_left(watch)
    for one in miniport.list().values():
        ktap.equal((one.packets, one.sequence), (0, 0), "packets and number of an SA")


def mismatches(cfg):
    """Whatever does not fit the SA or the slots fails, each by itself."""
    ktap.rules("R92", "R93", "R94", "R97", "R98", "R99", "R105", "R150")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handle, inbound = miniport.add(flow.out, False), miniport.add(flow.in_, True)
    frame, word = submitted.udp4(flow.out)
    tcp, pad = PROTO_TCP, word >> 8 & 0xFF
    stranger = esp.direct(reqid=9).out
    body = submitted.esp(flow.out)[0]
    watch = cfg.watch()
    for what, args in {
            "no handle": (frame, 0, word), "a handle without an SA": (frame, handle + 1, word),
            "an inbound SA": (frame, inbound, word),
            "NextHeader": (frame, handle, submitted.header(tcp, pad, 20)),
            "PadLength": (frame, handle, submitted.header(frames.PROTO_UDP, pad + 1, 20)),
            "EspHeaderOffset": (frame, handle, submitted.header(frames.PROTO_UDP, pad, 24)),
            "no EspHeaderOffset": (frame, handle, submitted.header(frames.PROTO_UDP, pad, 0)),
            "AhHeaderOffset": (frame, handle, word | 5 << 16),
            "another SA's frame": (submitted.udp4(stranger)[0], handle, word),
            "a fragment": (submitted.ipv4(flow.out, body, fragment=0x2000), handle, word),
            "no ESP": (submitted.ipv4(flow.out, bytes(60), frames.PROTO_UDP), handle, word),
            "too short": (frame[:-1], handle, word), "too long": (frame + b"\0", handle, word),
            "another type": (submitted.frame(submitted.IPV6, frame[14:]), handle, word),
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
    handle, (frame, word) = miniport.add(sa, False), submitted.udp4(sa)
    ktap.equal(miniport.submit(frame, handle, word), "SEND_ABORTED", "status before")
    miniport.set_normal(oid.ENCAPSULATION, oid.encapsulation(enabled=oid.SET_OFF))
    ktap.equal(miniport.submit(frame, handle, word), "FAILURE", "status with a handle")
    ktap.equal(miniport.submit(frame, 0, 0), "FAILURE", "status without one")


def bounds(cfg):
    """Sizes, pointers and rate."""
    miniport, sa = ndis.ready(cfg), esp.direct().out
    handle, (frame, word) = miniport.add(sa, False), submitted.udp4(sa)

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
            data = (submitted.MARK * 20)[:size]
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
        ktap.equal({one.start[12:14] for one in found}, {struct.pack("!H", submitted.IPV4)},
                   "types")
        ktap.equal({_number(one) == one.spi for one in found}, {True}, "SPIs in the bytes")
        ktap.check(any(submitted.MARK in one.start for one in found), "no packet is in clear")
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
    frame, word = submitted.udp4(sa)
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


CASES = [sent_v4, sent_v6, sent_in_tunnels, sent_in_udp, amid_traffic, another_sa, not_its_own,
         too_long, quoted_to_nobody, nic_leaves, audited, no_policy, mismatches, not_set_up,
         bounds, first_bytes, bytes_need_a_right, by_the_tool]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
