#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Out-of-band records: each CryptoStatus that the NIC can make, packets that it leaves alone, the
request to delete an SA, and the ring that the records wait in.
"""

import ctypes
import errno
import mmap
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import (  # noqa: E402
    env,
    esp,
    forge,
    frames,
    ktap,
    memory,
    ndis,
    netlink,
    oid,
    pace,
    proc,
    traffic,
    xfrm,
)

COUNT, BROKEN = 5, 3
GOOD = (1, 0, oid.CRYPTO_OK, 0)
NOTHING = (0, 0, 0, 0)  # handle, slots 1 and 12, slot 1 of version 1
HEADER_INFO_SET = 1 << 16
MORE_FRAGMENTS = 0x2000
JUMBO = 9000
PROTO_AH = 51


def _burst(cfg, flow, count=COUNT):
    """Datagrams of the peer; how many arrived."""
    link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
    try:
        for number in range(count):
            ktap.check(link.send(b"espnic record %d" % number), "a datagram was not sent")
        arrived = 0
        while arrived < count and link.receive(0.5) is not None:
            arrived += 1
        return arrived
    finally:
        link.close()


def _received(miniport, count):
    """Receive records of ESP packets that came since the last call, at least so many."""
    return [body for body in miniport.come(count, ndis.Receive) if body.spi]


def _statuses(miniport, handle, count=COUNT):
    """CryptoDone, NextCryptoDone, CryptoStatus and SaDeleteReq of these packets."""
    found = _received(miniport, count)
    for body in found:
        ktap.equal((body.handle, body.v1, body.slot1 >> 32), (handle, body.slot1, 0),
                   "handle, version 1 and upper half of slot 1")
        if body.crypto[:3] != GOOD[:3]:
            ktap.equal(body.slot12, 0, "slot 12 of a packet whose check failed")
    return sorted(body.crypto for body in found)


ERRORS = {oid.CRYPTO_SYNTAX: "XfrmInBufferError"}  # of the stack


@dataclass(frozen=True)
class Damage:
    """A case: the NIC damages BROKEN of COUNT packets, which shows as this CryptoStatus. The stack
    gets and drops them all the same."""

    name: str
    make: object
    fault: str
    status: int
    rules: tuple = ("R111", "R117", "R120", "R122", "R124")

    @property
    def __name__(self):
        return self.name

    def __call__(self, cfg):
        ktap.rules(*self.rules)
        control = cfg.need_request(self.fault)
        miniport, flow = ndis.ready(cfg, ndis.ALL), self.make()
        if flow.encap:
            for ns in (cfg.dut, cfg.peer):
                esp.encap_socket(ns, flow.encap, flow.mode == "transport")
        inbound = ndis.protect(cfg, miniport, flow)[1]
        ktap.equal(_burst(cfg, flow), COUNT, "datagrams without damage")
        ktap.equal(_statuses(miniport, inbound), [GOOD] * COUNT, "records without damage")
        watch = cfg.watch()
        control.fault(cfg.nic, "rx", self.fault, BROKEN)
        ktap.equal(_burst(cfg, flow), COUNT - BROKEN, "datagrams with damage")
        ktap.equal(watch.stop().dut_errors,
                   {ERRORS.get(self.status, "XfrmInStateProtoError"): BROKEN},
                   "errors of the stack")
        bad = (1, 0, self.status, 0)
        ktap.equal(_statuses(miniport, inbound), sorted([bad] * BROKEN + [GOOD] * (COUNT - BROKEN)),
                   "records with damage")


DAMAGES = [
    Damage("transport_icv", esp.direct, "corrupt-icv", oid.CRYPTO_TRANSPORT_ESP),
    Damage("transport_payload_v6", lambda: esp.direct(6), "corrupt-payload",
           oid.CRYPTO_TRANSPORT_ESP),
    Damage("tunnel_icv", esp.inner4, "corrupt-icv", oid.CRYPTO_TUNNEL_ESP),
    Damage("tunnel_payload_v6", esp.inner6, "corrupt-payload", oid.CRYPTO_TUNNEL_ESP),
    Damage("udp_transport_icv", lambda: xfrm.Flow(env.DUT4, env.PEER4, encap=4500), "corrupt-icv",
           oid.CRYPTO_TRANSPORT_ESP),
    Damage("bad_length", esp.direct, "bad-length", oid.CRYPTO_SYNTAX),
    Damage("bad_length_tunnel", esp.inner4, "bad-length", oid.CRYPTO_SYNTAX),
]


def wrong_key(cfg):
    """The peer has another key."""
    ktap.rules("R111", "R122", "R124")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    inbound = ndis.protect(cfg, miniport, flow)[1]
    other = xfrm.Sa(flow.in_.src, flow.in_.dst, flow.in_.spi, xfrm.new_key(128))
    cfg.peer.ip(flow.in_.delete(), other.add())
    watch = cfg.watch()
    ktap.equal(_burst(cfg, flow), 0, "datagrams delivered")
    ktap.equal(_statuses(miniport, inbound), [(1, 0, oid.CRYPTO_TRANSPORT_ESP, 0)] * COUNT,
               "records")
    ktap.equal(watch.stop().dut_errors, {"XfrmInStateProtoError": COUNT}, "errors of the stack")


def _untouched(miniport, count):
    """(SPI, handle and all words) of what was received."""
    return [(body.spi, body.handle, body.slot1, body.slot12, body.v1)
            for body in miniport.come(count, ndis.Receive)]


def no_sa(cfg):
    """An SPI that no offloaded SA has: no out-of-band data, in the NIC or in software."""
    ktap.rules("R66", "R111", "R114", "R119", "R121")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*flow.dut_policies())
    ktap.equal(_burst(cfg, flow), 0, "datagrams without an SA")
    for arrived in (0, COUNT):
        if arrived:  # an SA in software
            cfg.dut.ip(flow.in_.add(xfrm.WINDOW))
            miniport.read()
            ktap.equal(_burst(cfg, flow), COUNT, "datagrams by software")
        ktap.equal(_untouched(miniport, COUNT), [(flow.in_.spi, *NOTHING)] * COUNT, "records")


def ah_is_left_alone(cfg):
    """AH, which the NIC does not check: no out-of-band data, its own SPI and number."""
    ktap.rules("R111", "R119")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    # NextHeader, length in words less two, SPI, number, an ICV of 12 bytes (RFC 4302 section 2).
    packet = struct.pack("!BBHII", 6, 4, 0, flow.in_.spi, 77) + bytes(12 + 40)
    forge.Injector(cfg).send(flow.in_.src, flow.in_.dst, PROTO_AH, packet)
    found = _received(miniport, 1)
    ktap.equal([(body.spi, body.number, body.handle, body.slot1, body.slot12, body.v1)
                for body in found], [(flow.in_.spi, 77, *NOTHING)], "record of AH")


def large_without_an_sa(cfg):
    """A packet of many pages, of which the driver looks at the head alone, has its record."""
    ktap.rules("R111", "R114")
    cfg.set_mtu(JUMBO)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    injector = forge.Injector(cfg)
    for number, size in enumerate((100, 2000, 6000), 1):
        packet = struct.pack("!II", flow.in_.spi, number) + bytes(size)
        injector.send(flow.in_.src, flow.in_.dst, frames.PROTO_ESP, packet)
        ktap.equal(_untouched(miniport, 1), [(flow.in_.spi, *NOTHING)], f"record of {size} bytes")


def plain(cfg):
    """Packets without IPsec have nothing to record."""
    miniport = ndis.ready(cfg, ndis.ALL)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * COUNT)
    ktap.equal(miniport.settled((ndis.Receive, ndis.Send)), [], "records")


def another_destination(cfg):
    """The right SPI with another destination is not the SA's packet."""
    ktap.rules("R113", "R114", "R125")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    inbound = ndis.protect(cfg, miniport, flow)[1]
    injector = forge.Injector(cfg)
    payload = forge.udp(1000, 2000, b"espnic7")
    injector.esp(flow.in_, forge.Esp(payload), 1, dst="192.0.2.77")
    ktap.equal(_untouched(miniport, 1), [(flow.in_.spi, *NOTHING)],
               "records of the wrong destination")
    injector.esp(flow.in_, forge.Esp(payload), 2)
    found = _received(miniport, 1)
    ktap.equal([(body.handle, body.crypto) for body in found], [(inbound, GOOD)],
               "records of the right destination")
    padding = forge.needed_padding(payload)
    ktap.equal(padding, 3, "bytes of padding")
    ktap.equal(found[0].slot12, HEADER_INFO_SET | padding << 8 | frames.PROTO_UDP,
               "slot 12: HeaderInfoSet, PadLength, NextHeader")


def fragments(cfg):
    """Fragments of an ESP packet come to the stack as they are, and leave no record: what they are
    part of is known when they have been put together."""
    ktap.rules("R126")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    inbound = ndis.protect(cfg, miniport, flow)[1]
    injector = forge.Injector(cfg)
    packet = forge.Esp(forge.udp(1000, 2000, bytes(64))).seal(flow.in_, 1)
    for word, payload in ((MORE_FRAGMENTS, packet[:48]), (48 // 8, packet[48:])):
        watch = cfg.watch()
        injector.send(flow.in_.src, flow.in_.dst, frames.PROTO_ESP, payload, fragment=word)
        watch.stop()
        ktap.at_least(watch.driver.get("rx_packets", 0), 1, "packets received")
        ktap.equal(watch.driver.get("ipsec_rx_packets", 0), 0, "packets decrypted")
        ktap.equal(miniport.settled(ndis.Receive), [], "records")
    ktap.equal(miniport.list()[inbound].packets, 1, "packets of the SA, decrypted by software")


def _with_options(cfg, flow, options):
    """ESP behind a header that the capabilities leave out is delivered, and not by the NIC."""
    miniport = ndis.ready(cfg, ndis.ALL)
    inbound = ndis.protect(cfg, miniport, flow)[1]
    link = traffic.Datagrams(cfg.peer, flow.peer, cfg.dut, flow.dut)
    ktap.defer(link.close)
    injector, data = forge.Injector(cfg), b"espnic options"
    packet = forge.Esp(forge.udp(1000, link.port, data, (flow.peer, flow.dut)))
    watch = cfg.watch()
    injector.send(flow.peer, flow.dut, frames.PROTO_ESP, packet.seal(flow.in_, 1), options=options)
    ktap.equal(link.receive(), data, "datagram with options")
    ktap.equal(_untouched(miniport, 1), [(flow.in_.spi, *NOTHING)], "records with options")
    injector.send(flow.peer, flow.dut, frames.PROTO_ESP, packet.seal(flow.in_, 2))
    ktap.equal(link.receive(), data, "datagram without options")
    ktap.equal(_statuses(miniport, inbound, 1), [GOOD], "records without options")
    ktap.equal(watch.stop().driver.get("ipsec_rx_packets", 0), 1, "packets decrypted")
    ktap.equal(watch.dut_errors, {}, "errors of the stack")


def ipv4_options(cfg):
    """IPv4Options is FALSE: such a packet is left to the stack, one without them is not."""
    ktap.rules("R111", "R115", "R119")
    _with_options(cfg, esp.direct(), b"\x01\x01\x01\0")  # three times nothing, and the end


def extension_header(cfg):
    """IPv6NonIPsecExtensionHeaders is FALSE: likewise with hop-by-hop options."""
    ktap.rules("R111", "R115", "R119")
    _with_options(cfg, esp.direct(6), b"\x01\x04\0\0\0\0")  # PadN


def ike_and_keepalive(cfg):
    """Port 4500 without ESP behind it: IKE, and the one byte that keeps a NAT alive."""
    ktap.rules("R129", "R130", "R131")
    miniport = ndis.ready(cfg, ndis.ALL)
    flow = xfrm.Flow(env.DUT4, env.PEER4, encap=4500)
    miniport.add(flow.in_, True)
    injector = forge.Injector(cfg)
    for data in (bytes(4) + b"IKE packet of some length", b"\xFF",
                 b"\0\0\x66\x66" + bytes(28)):
        injector.send(flow.in_.src, flow.in_.dst, frames.PROTO_UDP, forge.udp(4500, 4500, data))
    # Sorted: ESP may come through another queue than the rest.
    ktap.equal(sorted(_untouched(miniport, 3)),
               [(0, *NOTHING), (0, *NOTHING), (0x6666, *NOTHING)], "records")


def generic_error(cfg):
    """What the NIC cannot process has a status that says so, and is the work of software."""
    ktap.rules("R120", "R122")
    control = cfg.need_request("unsupported")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    inbound, watch = ndis.protect(cfg, miniport, flow)[1], cfg.watch()
    control.fault(cfg.nic, "rx", "unsupported", BROKEN)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams")
    ktap.equal(_statuses(miniport, inbound),
               sorted([(1, 0, 1, 0)] * BROKEN + [GOOD] * (COUNT - BROKEN)), "records")
    ktap.equal(watch.stop().driver.get("ipsec_rx_unprocessed"), BROKEN, "packets for software")
    ktap.equal(watch.dut_errors, {}, "errors of the stack")


def replayed(cfg):
    """A packet that comes twice is not the NIC's business: both have a good record, and the stack
    takes one."""
    ktap.rules("R123")
    control = cfg.need_request("duplicate")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    inbound = ndis.protect(cfg, miniport, flow)[1]
    watch = cfg.watch()
    control.fault(cfg.nic, "rx", "duplicate", BROKEN)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams")
    ktap.equal(_statuses(miniport, inbound, COUNT + BROKEN), [GOOD] * (COUNT + BROKEN), "records")
    ktap.equal(watch.stop().dut_errors, {"XfrmInStateSeqError": BROKEN}, "errors of the stack")


def delete_request(cfg):
    """The NIC asks for the deletion: seen in the record, the SA stays until the OIDs come, then
    inbound goes first."""
    ktap.rules("R86", "R88")
    control = cfg.need_request("sa-delete-request")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    outbound, inbound = ndis.protect(cfg, miniport, flow)
    control.fault(cfg.nic, "rx", "corrupt-icv", 1)
    control.fault(cfg.nic, "sa-delete-request", 1)
    ktap.equal(_burst(cfg, flow), COUNT - 1, "datagrams behind the damaged one")
    bad = (1, 0, oid.CRYPTO_TRANSPORT_ESP, 1)
    ktap.equal(_statuses(miniport, inbound), sorted([bad] + [GOOD] * (COUNT - 1)),
               "records with damage, and with the request in the damaged packet")
    control.fault(cfg.nic, "sa-delete-request", 1)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams in spite of the request")
    ktap.equal(_statuses(miniport, inbound), [GOOD] * (COUNT - 1) + [(*GOOD[:3], 1)], "records")
    ktap.check(miniport.list()[inbound].flags & ndis.DELETE_REQUESTED, "no mark in the list")
    esp.exercise(cfg, flow)
    miniport.delete(inbound)
    ktap.equal(set(miniport.list()), {outbound}, "SAs after the first deletion")
    miniport.delete(outbound)
    ktap.equal(miniport.list(), {}, "SAs after the second")


def delete_request_unrecorded(cfg):
    """The same with a file that wants no records: the list says it."""
    ktap.rules("R86")
    control = cfg.need_request("sa-delete-request")
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, inbound = ndis.protect(cfg, miniport, flow)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams")
    ktap.equal({one.flags & ndis.DELETE_REQUESTED for one in miniport.list().values()}, {0},
               "marks without a request")
    control.fault(cfg.nic, "sa-delete-request", 1)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams in spite of the request")
    marked = [one.handle for one in miniport.list().values() if one.flags & ndis.DELETE_REQUESTED]
    ktap.equal(marked, [inbound], "SAs with a mark in the list")
    miniport.delete(inbound, outbound)


def esn_round(cfg):
    """Records have the number of the wire, 32 bits, with every high half."""
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    base = (2 << 32) - 3
    cfg.dut.ip(*flow.dut_policies())
    esp.peer_esn(cfg, flow, 64, base, base)
    netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(64, seq=base), "in", cfg.netif)
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(oseq=base), "out", cfg.netif)
    ktap.equal(_burst(cfg, flow), COUNT, "datagrams")
    ktap.equal([body.number for body in _received(miniport, COUNT)],
               [0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2], "numbers")


def what_was_asked_for(cfg):
    """BIND says which records come; their numbers have no gap, and time goes forward."""
    flow, files = esp.direct(), {}
    for flags in (0, ndis.RECEIVED, ndis.SENT, ndis.INDICATIONS, ndis.ALL):
        files[flags] = ndis.ready(cfg, flags)
    ndis.protect(cfg, files[ndis.ALL], flow)
    for miniport in files.values():
        miniport.read()
    before = time.monotonic_ns()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    time.sleep(env.SETTLE)
    after = time.monotonic_ns()
    for flags, kinds in ((0, set()), (ndis.RECEIVED, {2}), (ndis.SENT, {3}),
                         (ndis.INDICATIONS, set()), (ndis.ALL, {2, 3})):
        records = files[flags].read()
        ktap.equal({one.kind for one in records}, kinds, f"kinds of records with flags {flags}")
        ktap.equal(len(records), COUNT * len(kinds), f"records with flags {flags}")
        numbers = [one.sequence for one in records]
        ktap.equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))) if numbers else [],
                   "sequence of records")
        times = [one.timestamp for one in records]
        ktap.check(times == sorted(times) and all(before <= one <= after for one in times),
                   f"times {times} between {before} and {after}")


def _wait_for_silence(miniport):
    """Until the last packet has come: then no more records are lost."""
    def silent():
        before = miniport.info()["lost"]
        time.sleep(env.SETTLE)
        return miniport.info()["lost"] == before
    proc.wait_until(silent, "the last packet comes")


def too_many(cfg):
    """A ring that is not read: the newest records are lost, and counted."""
    miniport, flow = ndis.ready(cfg, ndis.RECEIVED), esp.direct()
    ndis.protect(cfg, miniport, flow)
    lost_before = miniport.info()["lost"]
    sent = 0
    with traffic.Stream(cfg.peer, flow.peer, cfg.dut, flow.dut, b"espnic") as stream:
        deadline = time.monotonic() + pace.scaled(30)
        while miniport.info()["lost"] - lost_before < 100:
            ktap.check(time.monotonic() < deadline, "the ring did not fill")
            time.sleep(0.05)
        sent = stream.sent
    _wait_for_silence(miniport)
    info, records = miniport.info(), miniport.read()
    ktap.diag(f"{sent} sent, {len(records)} records, {info['lost']} lost")
    ktap.equal(len(records), ndis.RING, "records in the ring")
    ktap.equal([one.lost for one in records], [0] * len(records), "lost before one of them")
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    time.sleep(env.SETTLE)
    after = miniport.read()
    ktap.equal(after[0].lost, info["lost"] - lost_before, "lost in front of the next record")
    ktap.equal(after[0].sequence, records[-1].sequence + after[0].lost + 1 & 0xFFFFFFFF,
               "number of the next record")


def reading(cfg):
    """Whole records only; no wait with O_NONBLOCK, poll() tells, a blocked reader is woken."""
    miniport, flow = ndis.ready(cfg, ndis.RECEIVED), esp.direct()
    ndis.protect(cfg, miniport, flow)
    ktap.equal(select.select([miniport.fd], [], [], 0)[0], [], "readable without a record")
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    ktap.equal(select.select([miniport.fd], [], [], pace.scaled(2))[0], [miniport.fd], "readable")
    for size in (0, 1, 23, 71):
        try:
            data = os.read(miniport.fd, size)
            ktap.check(not data and not size, f"{len(data)} of {size} bytes were read")
        except OSError as error:
            ktap.equal(error.errno, errno.EINVAL, f"read of {size} bytes")
    time.sleep(env.SETTLE)
    records = [record for size in (72, 100, 72 * 2 + 8) for record in
               ndis.parse(os.read(miniport.fd, size))]
    ktap.equal(len(records), 4, "records by three reads")
    ktap.equal(len(miniport.read()), 1, "the last record")
    os.set_blocking(miniport.fd, True)
    ready = []
    reader = threading.Thread(target=lambda: ready.append(os.read(miniport.fd, 4096)), daemon=True)
    reader.start()
    time.sleep(env.SETTLE)
    ktap.check(not ready, "a read without a record returned")
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    reader.join(pace.scaled(5))
    ktap.check(ready and ndis.parse(ready[0]), "the blocked reader was not woken")


def waiting_before_bind(cfg):
    """A reader that waits before the file is bound gets its first record."""
    fd, flow = ndis.opened(os.O_NONBLOCK), esp.direct()
    poll = select.epoll()
    ktap.defer(poll.close)
    poll.register(fd, select.EPOLLIN)
    ktap.equal(poll.poll(0), [], "events of a file that is not bound")
    ndis.bind_fd(fd, cfg.dut, cfg.netif, ndis.RECEIVED)
    miniport = ndis.ready(cfg)
    ndis.protect(cfg, miniport, flow)
    ktap.equal(poll.poll(0), [], "events without a record")
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    ktap.equal(poll.poll(pace.scaled(2)), [(fd, select.EPOLLIN)], "events with a record")


def bad_page(cfg):
    """A read() into a buffer of which only the beginning can be written returns what fits there."""
    miniport, flow = ndis.ready(cfg, ndis.RECEIVED), esp.direct()
    ndis.protect(cfg, miniport, flow)
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 4)
    size = ndis.RECORD.size + ndis.RECEIVED_BODY.size
    area = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=memory.PRIVATE)
    end = memory.address_of(area) + mmap.PAGESIZE
    memory.protect(end, mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)

    def read(room):
        done = libc.read(miniport.fd, ctypes.c_void_p(end - room), ctypes.c_size_t(room + 4096))
        return done if done >= 0 else errno.errorcode[ctypes.get_errno()]

    ktap.equal(read(size + 28), size, "bytes in front of the bad page")
    [record] = ndis.parse(area[mmap.PAGESIZE - size - 28:mmap.PAGESIZE - 28])
    ktap.equal((record.kind, record.body.spi), (2, flow.in_.spi), "kind and SPI of the record")
    ktap.equal(read(8), "EFAULT", "a record of which nothing can be written whole")
    ktap.equal(len(miniport.read()), 1, "records that are left")
    memory.protect(end, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


CASES = [*DAMAGES, wrong_key, no_sa, ah_is_left_alone, large_without_an_sa, plain,
         another_destination, fragments, ipv4_options, extension_header, ike_and_keepalive,
         generic_error, replayed, delete_request, delete_request_unrecorded, esn_round,
         what_was_asked_for,
         too_many, reading, waiting_before_bind, bad_page]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
