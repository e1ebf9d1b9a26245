# SPDX-License-Identifier: GPL-2.0
"""Client of /dev/espnic-ndis: OID requests, the list of SAs, and records.

Written from the documentation of the envelope (rust/ndis/src/envelope.rs) with struct and ioctl
alone. What is in the information buffers comes from oid.py.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

from . import env, oid, xfrm
from .ktap import Failure, Skip, defer, equal
from .pace import scaled

DEVICE = "/dev/espnic-ndis"
MAX_BUFFER = 65536
RING = 1024
GUARD = b"\xA5" * 64  # behind every information buffer
NORMAL, DIRECT = 0, 1
QUERY, SET = 0, 1
DERIVE, TRANSPORT, TUNNEL = 0, 1, 2
MODES = {"transport": TRANSPORT, "tunnel": TUNNEL}
INDICATIONS, RECEIVED, SENT = 1, 2, 4
ALL = INDICATIONS | RECEIVED | SENT
BYTES, MAX_BYTES = 8, 128
XFRM, THIS, OTHER = 0, 1, 2
DELETE_REQUESTED = 2
IPSEC_V2, IPSEC_V2_IPV4, IPSEC_V1_IPV4, DISABLE_TASK_OFFLOAD, ENABLED_OFFLOAD = 1, 2, 3, 4, 5
CHECKSUMS, LSO_V1, LSO_V2_IPV4, LSO_V2_IPV6 = range(6, 11), 11, 12, 13
KEYWORDS = (IPSEC_V2, IPSEC_V2_IPV4, IPSEC_V1_IPV4, DISABLE_TASK_OFFLOAD, ENABLED_OFFLOAD,
            *CHECKSUMS, LSO_V1, LSO_V2_IPV4, LSO_V2_IPV6)
ESP_FEATURE = "esp-hw-offload"
REMOVED, ENCAPSULATION_SET = 1, 2

BIND_WORDS = struct.Struct("=IIII216s")
REQUEST = struct.Struct("=IIIIQIIIIQB3xII2s2s8x")
LIST, KEYWORD, RESTART = struct.Struct("=QQIIII"), struct.Struct("=IIII"), struct.Struct("=II")
ENTRY = struct.Struct("=QQQ16s16s4sIIIIIIIIIBBBB2s2s")
INFO = struct.Struct("=IIIIQQQQII")
RECORD = struct.Struct("=HHIIIQ")
RECEIVED_BODY = struct.Struct("=QQQQ4s4sIBB2x")
SENT_BODY = struct.Struct("=QQQQ4s4sIBB2xI4x")
CANCEL, COMPLETED_BODY = struct.Struct("=Q"), struct.Struct("=QIIIIII")
MAX_PENDING = 64
SUBMIT = struct.Struct("=QIIQQQQQ")
MAX_FRAME, MAX_SUBMITS = 65549, 1000


def _ioc(direction, number, size):
    """_IOC() of the generic ABI."""
    return direction << 30 | size << 16 | 0xE5 << 8 | number


BIND = _ioc(3, 0, BIND_WORDS.size)
IOCTL_REQUEST = _ioc(3, 1, REQUEST.size)
IOCTL_LIST = _ioc(3, 2, LIST.size)
IOCTL_INFO = _ioc(2, 3, INFO.size)
SET_KEYWORD, GET_KEYWORD = _ioc(1, 4, KEYWORD.size), _ioc(3, 5, KEYWORD.size)
IOCTL_RESTART = _ioc(1, 6, RESTART.size)
PEND, IOCTL_CANCEL = _ioc(3, 7, REQUEST.size), _ioc(1, 8, CANCEL.size)
IOCTL_SUBMIT = _ioc(3, 9, SUBMIT.size)


@dataclass(frozen=True)
class Answer:
    """How an OID request ended; buffer is the information buffer afterwards."""

    status: int
    done: int
    needed: int
    buffer: bytearray

    @property
    def name(self):
        """The status, readable."""
        return oid.status_name(self.status)


@dataclass(frozen=True)
class Entry:
    """An SA of the list."""

    handle: int
    packets: int
    bytes: int
    source: bytes
    destination: bytes
    spi: int
    reqid: int
    authentication: int
    encryption: int
    icv_length: int
    sequence: int  # 64 bits
    window: int
    udp_esp: int
    flags: int
    family: int
    direction: int
    mode: int
    owner: int
    ports: tuple


@dataclass(frozen=True)
class Record:
    """A record of read(). Bodies: a Receive, a Send, a Status, or None."""

    kind: int
    sequence: int
    lost: int
    timestamp: int
    body: object


@dataclass(frozen=True)
class Receive:
    """OOB data of a received packet."""

    slot1: int
    slot12: int
    v1: int
    handle: int
    spi: int
    number: int
    length: int
    family: int
    start: bytes = b""

    @property
    def crypto(self):
        """(CryptoDone, NextCryptoDone, CryptoStatus, SaDeleteReq)."""
        word = self.slot1
        return word >> 1 & 1, word >> 2 & 1, word >> 16 & 0xFFFF, word & 1


@dataclass(frozen=True)
class Send:
    """OOB data of a sent packet."""

    slot1: int
    slot11: int
    slot12: int
    slot2: int
    spi: int
    number: int
    length: int
    family: int
    status: int
    start: bytes = b""


@dataclass(frozen=True)
class Completed:
    """A pended request is complete."""

    request_id: int
    oid: int
    status: int
    done: int
    needed: int
    handles: tuple

    @property
    def name(self):
        """The status, readable."""
        return oid.status_name(self.status)


@dataclass(frozen=True)
class Status:
    """A status indication; buffer is what came with it."""

    status: int
    buffer: bytes

    @property
    def offload(self):
        """The NDIS_OFFLOAD that came with it, by field."""
        return oid.Offload.unpack(self.buffer)


def need():
    """Skip without the device."""
    if not os.path.exists(DEVICE):
        raise Skip(f"no {DEVICE}: the module is not loaded with ndis=1, or built without it")


def setup():
    """The interfaces with offload, and records of the wire."""
    need()
    return env.Setup(tap=True).need_offload()


def opened(extra=0):
    """A file descriptor of the device, closed with the case and not before."""
    fd = _open(extra)
    defer(os.close, fd)
    return fd


def _open(extra):
    need()
    return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | extra)


def bind_index(fd, index, flags=0):
    """BIND to an interface of this thread's namespace; the NDIS_OFFLOAD that comes with it."""
    words = bytearray(BIND_WORDS.pack(index, flags, 0, 0, b""))
    fcntl.ioctl(fd, BIND, words)
    *_, length, reserved, configuration = BIND_WORDS.unpack(words)
    equal((reserved, configuration[length:].strip(b"\0")), (0, b""), "what else BIND returns")
    return configuration[:length]


def bind_fd(fd, ns, name, flags=ALL):
    """BIND to an interface of a namespace, as bind_index()."""
    with ns:
        return bind_index(fd, socket.if_nametoindex(name), flags)


class Ndis:
    """An open file that is bound to an interface, as an NDIS transport would be."""

    def __init__(self, ns, name, flags=ALL):
        self.fd = _open(os.O_NONBLOCK)
        defer(self.close)
        self.configuration = bind_fd(self.fd, ns, name, flags)

    def close(self):
        """Close the file, if it is open: its number may be another file's by now."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def request(self, number, buffer, *, path=DIRECT, kind=SET, mode=DERIVE, window=0, reqid=0,
                ports=(0, 0), length=None, pending=None):
        """An OID request, with pending as its RequestId one that may be completed later; the buffer
        that is passed is not changed, its copy is in the answer."""
        copy = ctypes.create_string_buffer(bytes(buffer) + GUARD, len(buffer) + len(GUARD))
        size = len(buffer) if length is None else length
        words = bytearray(REQUEST.pack(
            REQUEST.size, path, kind, number, ctypes.addressof(copy), size, 0, 0, 0, pending or 0,
            mode, window, reqid, *(struct.pack("!H", port) for port in ports)))
        fcntl.ioctl(self.fd, IOCTL_REQUEST if pending is None else PEND, words)
        status, done, needed = REQUEST.unpack(words)[6:9]
        equal(copy.raw[len(buffer):], GUARD, "bytes behind the information buffer")
        return Answer(status, done, needed, bytearray(copy.raw[:len(buffer)]))

    def expect(self, status, number, buffer, what="", **kwargs):
        """A request that must end with a status, given by its name."""
        answer = self.request(number, buffer, **kwargs)
        equal(answer.name, status, f"status of OID {number:#x} {what}".rstrip())
        return answer

    def add(self, sa, inbound, *, single=True, window=512, esn=None, changes=None):
        """Offload an SA by ADD_SA_EX, or by ADD_SA with single=False; returns its handle."""
        make, number = (oid.add_sa_ex, oid.ADD_SA_EX) if single else (oid.add_sa, oid.ADD_SA)
        answer = self.expect("SUCCESS", number, make(sa, inbound, changes, esn),
                             **self.envelope(sa, inbound, window))
        layout = oid.AddSaEx if single else oid.AddSa
        handle = layout.get(answer.buffer, "OffloadHandle")
        if not handle:
            raise Failure("no handle came with NDIS_STATUS_SUCCESS")
        return handle

    @staticmethod
    def envelope(sa, inbound, window=512):
        """What the envelope says about an SA."""
        return {"mode": MODES[sa.mode], "window": window if inbound else 0, "reqid": sa.reqid,
                "ports": (sa.encap, sa.encap)}

    def delete(self, *handles):
        """Delete SAs, all in one request."""
        buffer, _ = oid.chain(oid.DeleteSa, [oid.delete_sa(handle) for handle in handles])
        return self.expect("SUCCESS", oid.DELETE_SA, buffer)

    def submit(self, frame, slot1, slot12, *, slot2=0, slot11=0, length=None, address=None):
        """Submit a frame with its slots; the status by name."""
        copy = ctypes.create_string_buffer(bytes(frame), max(len(frame), 1))
        words = bytearray(SUBMIT.pack(ctypes.addressof(copy) if address is None else address,
                                      len(frame) if length is None else length, 0,
                                      slot1, slot2, slot11, slot12, 0))
        fcntl.ioctl(self.fd, IOCTL_SUBMIT, words)
        return oid.status_name(SUBMIT.unpack(words)[2])

    def cancel(self, request_id):
        """End pending requests by their RequestId."""
        fcntl.ioctl(self.fd, IOCTL_CANCEL, CANCEL.pack(request_id))

    def query(self, number, size=oid.OFFLOAD_SIZES[6]):
        """A query of the normal path; what was written, by field of NDIS_OFFLOAD."""
        answer = self.expect("SUCCESS", number, bytes(size), path=NORMAL, kind=QUERY)
        return oid.Offload.unpack(answer.buffer[:answer.done])

    def set_normal(self, number, buffer):
        """A set of the normal path that must succeed."""
        return self.expect("SUCCESS", number, buffer, path=NORMAL)

    def enable(self):
        """Set the encapsulation, without which nothing is processed."""
        self.set_normal(oid.ENCAPSULATION, oid.encapsulation())

    def list(self, chunk=64):
        """All offloaded SAs of the interface, by handle."""
        found, cursor = {}, 0
        while True:
            array = ctypes.create_string_buffer(chunk * ENTRY.size)
            words = bytearray(LIST.pack(cursor, ctypes.addressof(array), chunk, 0, ENTRY.size, 0))
            fcntl.ioctl(self.fd, IOCTL_LIST, words)
            cursor, _, _, count = LIST.unpack(words)[:4]
            for number in range(count):
                entry = _entry(array.raw, number * ENTRY.size)
                if entry.handle in found:
                    raise Failure(f"handle {entry.handle:#x} is listed twice")
                found[entry.handle] = entry
            if not cursor:
                return found

    def info(self):
        """Version, interface index, flags, NDIS version, requests, failed, records, lost,
        offloaded, capacity."""
        words = bytearray(INFO.size)
        fcntl.ioctl(self.fd, IOCTL_INFO, words)
        names = ("version", "ifindex", "flags", "ndis_version", "requests", "failed", "records",
                 "lost", "offloaded", "capacity")
        return dict(zip(names, INFO.unpack(words), strict=True))

    def set_keyword(self, name, value):
        """Write a registry keyword, or delete it with None."""
        words = KEYWORD.pack(name, value is not None, value or 0, 0)
        fcntl.ioctl(self.fd, SET_KEYWORD, words)

    def keyword(self, name):
        """A registry keyword, None if it is not there."""
        words = bytearray(KEYWORD.pack(name, 0, 0, 0))
        fcntl.ioctl(self.fd, GET_KEYWORD, words)
        _, present, value, _ = KEYWORD.unpack(words)
        return value if present else None

    def restart(self, version=0):
        """Initialise the miniport from its keywords, as another NDIS version (major, minor) if
        told so."""
        number = version[0] << 16 | version[1] if version else 0
        fcntl.ioctl(self.fd, IOCTL_RESTART, RESTART.pack(number, 0))

    def read(self, size=65536):
        """All records that wait."""
        records = []
        while True:
            try:
                data = os.read(self.fd, size)
            except BlockingIOError:
                return records
            records += parse(data)
            if not data or records and records[-1].kind == 4:
                return records

    def wait(self, count, condition, timeout=5.0):
        """Wait for count records whose body fulfils a condition, and pass over the others; returns
        all such bodies that came."""
        found, deadline = [], time.monotonic() + scaled(timeout)
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise Failure(f"{len(found)} of {count} records came within {scaled(timeout):g} s")
            found += [record.body for record in self.read() if condition(record.body)]
        return found

    def come(self, count, kind):
        """Bodies of one class: these many at least, and what comes in a pause behind them."""
        return self.wait(count, lambda body: isinstance(body, kind)) + self.settled(kind)

    def settled(self, kind, pause=0.2):
        """Bodies of one class among the records, after a pause in which the last ones come."""
        time.sleep(scaled(pause))
        return [record.body for record in self.read() if isinstance(record.body, kind)]


def parse(data):
    """The records in what one read() returned; whole ones only."""
    records, at = [], 0
    while at < len(data):
        if len(data) - at < RECORD.size:
            raise Failure(f"{len(data) - at} bytes behind the last record")
        length, kind, sequence, lost, reserved, timestamp = RECORD.unpack_from(data, at)
        if length % 8 or not RECORD.size <= length <= len(data) - at or reserved:
            raise Failure(f"a record of {length} bytes, {len(data) - at} were read")
        body = data[at + RECORD.size:at + length]
        records.append(Record(kind, sequence, lost, timestamp, _body(kind, body)))
        at += length
    return records


def _body(kind, data):
    if kind == 1:
        status, length = struct.unpack_from("=II", data)
        return Status(status, data[8:8 + length])
    if kind == 2:
        *words, spi, number, length, family, count = RECEIVED_BODY.unpack_from(data)
        return Receive(*words, _number(spi), _number(number), length, family,
                       _start(data[RECEIVED_BODY.size:], count))
    if kind == 3:
        *words, spi, number, length, family, count, status = SENT_BODY.unpack_from(data)
        return Send(*words, _number(spi), _number(number), length, family, status,
                    _start(data[SENT_BODY.size:], count))
    if kind == 5:
        *words, count, reserved = COMPLETED_BODY.unpack_from(data)
        equal((reserved, len(data)), (0, COMPLETED_BODY.size + 8 * count), "a completion's length")
        return Completed(*words, struct.unpack_from(f"={count}Q", data, COMPLETED_BODY.size))
    return None


def _start(data, count):
    """The first bytes of a packet, which zeros pad to a multiple of 8."""
    equal((len(data), data[count:].strip(b"\0")), ((count + 7) // 8 * 8, b""), "padding of bytes")
    return data[:count]


def _number(raw):
    return int.from_bytes(raw, "big")


def _entry(data, at):
    (handle, packets, count, source, destination, spi, reqid, authentication, encryption,
     icv_length, high, low, window, udp_esp, flags, family, direction, mode, owner, sport,
     dport) = ENTRY.unpack_from(data, at)
    size = 16 if family == 6 else 4
    return Entry(handle, packets, count, source[:size], destination[:size], _number(spi), reqid,
                 authentication, encryption, icv_length, high << 32 | low, window, udp_esp, flags,
                 family, direction, mode, owner, (_number(sport), _number(dport)))


def ready(cfg, flags=0):
    """A file of the side under test that wants these records, with the encapsulation set and
    nothing recorded. SAs and policies go with the case."""
    defer(xfrm.flush, cfg.dut, cfg.peer)
    miniport = Ndis(cfg.dut, cfg.netif, flags)
    miniport.enable()
    miniport.read()
    return miniport


def protect(cfg, miniport, flow, **kwargs):
    """Install a flow, at the side under test by OIDs; returns (outbound, inbound handle). More
    arguments are those of Ndis.add()."""
    defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*flow.dut_policies())
    return tuple(miniport.add(sa, inbound, **kwargs)
                 for sa, inbound in ((flow.out, False), (flow.in_, True)))


def _restore(cfg):
    """Leave the adapter as a fresh one: no keywords, all offloads on."""
    miniport = Ndis(cfg.dut, cfg.netif, 0)
    for name in KEYWORDS:
        miniport.set_keyword(name, None)
    miniport.restart((6, 30))
    miniport.enable()
    miniport.close()
    cfg.dut.cmd("ethtool", "-K", cfg.netif, ESP_FEATURE, "on")


def fresh(cfg, flags=INDICATIONS):
    """ready() for a case that changes the adapter, which is as before when the case ends."""
    defer(_restore, cfg)
    return ready(cfg, flags)


def indications(miniport):
    """The indications that came, and come in a pause."""
    return miniport.settled(Status)


def one_indication(miniport, config):
    """Exactly one indication came, with what is enabled now: ESP or not."""
    found = indications(miniport)
    equal([body.status for body in found], [oid.CURRENT_CONFIG_INDICATION], "indications")
    told = found[0].offload
    equal((told["Type"], told["Ah"], told["Esp"]), (oid.TYPE_OFFLOAD, 0, int(config)),
          "type, Ah and Esp of the indication")
    equal(told, miniport.query(oid.CURRENT_CONFIG), "indication against the query")
    return told
