# SPDX-License-Identifier: GPL-2.0
"""XFRM by netlink, for what `ip xfrm` cannot say.

iproute2 cannot add an outbound SA with extended sequence numbers and a direction: it leaves the
replay attribute out when the window is 0, as it must be for that direction. Structures:
include/uapi/linux/xfrm.h.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass

from .ktap import Failure, Skip, defer
from .pace import scaled

NETLINK_XFRM = 6
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x100, 0x200, 0x400
NLM_F_ACK_TLVS = 0x200
NLMSG_ERROR, NLMSGERR_ATTR_MSG = 2, 1
XFRM_MSG_NEWSA, XFRM_MSG_DELSA, XFRM_MSG_NEWAE = 0x10, 0x11, 0x1E
XFRM_MSG_ACQUIRE, XFRM_MSG_EXPIRE, XFRM_MSG_MIGRATE = 0x17, 0x18, 0x21
XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_SA, XFRMNLGRP_AEVENTS = 1, 2, 3, 5
XFRMNLGRP_MAPPING = 8
# Where the SPI is, and where the attributes begin: xfrm_usersa_info, _usersa_id, _aevent_id.
MESSAGES = {XFRM_MSG_NEWSA: (72, 224), XFRM_MSG_DELSA: (16, 24), XFRM_MSG_NEWAE: (16, 48)}
NETLINK_AUDIT, AUDIT_NLGRP_READLOG = 9, 1
AUDIT_SET, AUDIT_STATUS_ENABLED, AUDIT_MAC_IPSEC_EVENT = 1001, 1, 1415
ALG_CRYPT, ENCAP, LTIME_VAL, ALG_AEAD, ALG_AUTH_TRUNC = 2, 4, 9, 18, 20
MIGRATE, REPLAY_ESN_VAL, OFFLOAD_DEV, SA_DIR = 17, 23, 28, 33
DIR_IN, DIR_OUT, OFFLOAD_INBOUND, OFFLOAD_PACKET = 1, 2, 2, 4
STATE_ESN = 128
DIRECTIONS = ("in", "out")  # of policies
MODES = {"transport": 0, "tunnel": 1}
PROTO_ESP, UDP_ENCAP_ESPINUDP = 50, 2
INFINITE = 0xFFFFFFFFFFFFFFFF
HEADER = struct.Struct("=IHHII")


class NetlinkError(Failure):
    """The kernel said no; number is the errno, text the extended acknowledgement."""

    def __init__(self, number, text):
        self.number, self.text = number, text
        super().__init__(f"{os.strerror(number)}: {text or 'no reason given'}")


def _attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _attributes(data):
    at, found = 0, {}
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4:at + length]
        at += (length + 3) // 4 * 4
    return found


def _request(ns, kind, flags, body):
    """Send one message and wait for the acknowledgement."""
    with ns, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as sock:
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.settimeout(scaled(30))
        flags |= NLM_F_REQUEST | NLM_F_ACK
        sock.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
        reply = sock.recv(65536)
    _, kind, flags, _, _ = HEADER.unpack_from(reply)
    if kind != NLMSG_ERROR:
        raise Failure(f"netlink message {kind} instead of an acknowledgement")
    error = struct.unpack_from("=i", reply, HEADER.size)[0]
    found = _attributes(reply[2 * HEADER.size + 4:]) if flags & NLM_F_ACK_TLVS else {}
    if error:
        raise NetlinkError(-error, found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode())


def _address(text):
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return family, socket.inet_pton(family, text).ljust(16, b"\0")


def _named(name, *numbers):
    return struct.pack(f"=64s{len(numbers)}I", name.encode(), *numbers)


def _algorithm(sa):
    algorithm, key = sa.algorithm, sa.key
    if not algorithm.mac:
        head = _named(algorithm.kernel_name, len(key) * 8, algorithm.icv_bits)
        return _attribute(ALG_AEAD, head + key)
    cipher, mac = key[:-algorithm.mac_key_len], key[-algorithm.mac_key_len:]
    return (_attribute(ALG_CRYPT, _named(algorithm.kernel_name, len(cipher) * 8) + cipher) +
            _attribute(ALG_AUTH_TRUNC,
                       _named(algorithm.mac, len(mac) * 8, algorithm.icv_bits) + mac))


@dataclass(frozen=True)
class Esn:
    """Replay state with extended sequence numbers, both numbers of 64 bits: the highest one
    received and the last one sent. An outbound SA has window 0."""

    window: int = 0
    seq: int = 0
    oseq: int = 0

    def attribute(self):
        """struct xfrm_replay_state_esn with an empty bitmap."""
        words = -(-self.window // 32)
        low, high = 0xFFFFFFFF, 32
        data = struct.pack("=6I", words, self.oseq & low, self.seq & low, self.oseq >> high,
                           self.seq >> high, self.window)
        return _attribute(REPLAY_ESN_VAL, data + bytes(4 * words))


def _offload(ns, netif, direction, packet):
    with ns:
        index = socket.if_nametoindex(netif)
    flags = (OFFLOAD_INBOUND if direction == "in" else 0) | packet * OFFLOAD_PACKET
    return _attribute(OFFLOAD_DEV, struct.pack("=iB3x", index, flags))


def add_sa(ns, sa, esn, direction, netif=None, packet=False, hard=INFINITE, used=0):
    """Add an ESN state for one direction, "in" or "out"; offloaded with netif, in packet mode if
    told so. It may have a hard limit of packets, of which some are used already."""
    family, source = _address(sa.src)
    _, target = _address(sa.dst)
    selector = struct.pack("=40xH14x", family)
    lifetime = struct.pack("=8Q", *[INFINITE] * 3, hard, *[0] * 4)
    body = selector + target + struct.pack("!IB3x", sa.spi, PROTO_ESP) + source + lifetime
    body += bytes(32 + 12) + struct.pack("=IIHBBB7x", 0, sa.reqid, family, MODES[sa.mode], 0,
                                         STATE_ESN)
    body += _algorithm(sa) + esn.attribute()
    if used:
        body += _attribute(LTIME_VAL, struct.pack("=4Q", 0, used, 0, 0))
    if sa.encap:
        body += _attribute(ENCAP, struct.pack("=H", UDP_ENCAP_ESPINUDP) +
                           struct.pack("!HH18x", sa.encap, sa.encap))
    if netif:
        body += _offload(ns, netif, direction, packet)
    body += _attribute(SA_DIR, bytes([DIR_IN if direction == "in" else DIR_OUT]))
    _request(ns, XFRM_MSG_NEWSA, NLM_F_CREATE | NLM_F_EXCL, body)


def set_numbers(ns, sa, esn, used=0):
    """Change the sequence numbers of an ESN state (XFRM_MSG_NEWAE), and how many packets it has
    used; the window must be its own."""
    family, source = _address(sa.src)
    _, target = _address(sa.dst)
    body = target + struct.pack("!I", sa.spi) + struct.pack("=HBx", family, PROTO_ESP)
    body += source + struct.pack("=II", 0, sa.reqid) + esn.attribute()
    if used:
        body += _attribute(LTIME_VAL, struct.pack("=4Q", 0, used, 0, 0))
    _request(ns, XFRM_MSG_NEWAE, NLM_F_REPLACE, body)


def migrate(ns, sa, inner, direction, ends, netif=None):
    """Give an SA in tunnel mode, and the policy for packets between the inner addresses, other
    ends; under packet offload with netif."""
    old, new = [[_address(one) for one in pair] for pair in ((sa.src, sa.dst), ends)]
    (family, source), (_, target) = map(_address, inner)
    length = len(socket.inet_pton(family, inner[0])) * 8
    selector = target + source + struct.pack("=8xHBB12x", family, length, length)
    body = selector + struct.pack("=IB3x", 0, DIRECTIONS.index(direction))
    moves = b"".join(data for pair in (old, new) for _, data in reversed(pair))
    moves += struct.pack("=BBHIHH", PROTO_ESP, MODES[sa.mode], 0, sa.reqid, old[0][0], new[0][0])
    body += _attribute(MIGRATE, moves)
    if netif:
        body += _offload(ns, netif, direction, True)
    try:
        _request(ns, XFRM_MSG_MIGRATE, 0, body)
    except NetlinkError as error:
        if error.number == errno.ENOPROTOOPT:
            raise Skip(f"needs migration of SAs: {error}") from error
        raise


class Monitor:
    """The notifications of key managers about SAs of a namespace, as in `ip xfrm monitor`."""

    def __init__(self, ns, group=XFRMNLGRP_SA):
        with ns:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
        defer(self._socket.close)
        self._socket.bind((0, 1 << group - 1))
        self._socket.setblocking(False)

    def messages(self):
        """(type, SPI, attributes by number) of all messages since the last call."""
        found = []
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return found
            length, kind = HEADER.unpack_from(data)[:2]
            body = data[HEADER.size:length]
            spi_at, size = MESSAGES[kind]
            spi = struct.unpack_from("!I", body, spi_at)[0]
            found.append((kind, spi, _attributes(body[size:])))

    def _body(self):
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        return data[HEADER.size:]


@dataclass(frozen=True)
class Expiry:
    """The stack says that an SA has reached a limit, and what it had counted."""

    spi: int
    hard: bool
    packets: int
    bytes: int


class Expiries(Monitor):
    """The notifications of limits that are reached, as in `ip xfrm monitor expire`."""

    USED, HARD = struct.Struct("=2Q"), 224  # in struct xfrm_user_expire

    def __init__(self, ns):
        super().__init__(ns, XFRMNLGRP_EXPIRE)
        self._all = []

    def of(self, sa, hard):
        """Those of an SA since the start, soft or hard ones."""
        while (body := self._body()) is not None:
            spi = struct.unpack_from("!I", body, 72)[0]
            size, packets = self.USED.unpack_from(body, 160)
            self._all.append(Expiry(spi, bool(body[self.HARD]), packets, size))
        return [one for one in self._all if (one.spi, one.hard) == (sa.spi, hard)]


@dataclass(frozen=True)
class Mapping:
    """The stack says where the packets of an inbound SA come from now."""

    spi: int
    source: str
    port: int


class Mappings(Monitor):
    """The notifications of peers behind a NAT that have moved."""

    SOURCE, PORT = 44, 62  # new_saddr and new_sport in struct xfrm_user_mapping

    def __init__(self, ns):
        super().__init__(ns, XFRMNLGRP_MAPPING)

    def next(self):
        """The next one; None if there is none yet."""
        body = self._body()
        if body is None:
            return None
        spi, family = struct.unpack_from("!I", body, 16)[0], struct.unpack_from("=H", body, 20)[0]
        size = 4 if family == socket.AF_INET else 16
        source = socket.inet_ntop(family, body[self.SOURCE:self.SOURCE + size])
        return Mapping(spi, source, struct.unpack_from("!H", body, self.PORT)[0])


class AuditLog:
    """Records of the kernel's audit system, which is switched on for the rest of the case."""

    def __init__(self):
        try:
            self._control, self._log = self._socket(), self._socket()
            self._log.bind((0, 1 << AUDIT_NLGRP_READLOG - 1))
            self._enable(1)
        except OSError as error:
            raise Skip(f"needs the kernel's audit system: {error}") from error
        defer(self._enable, 0)

    @staticmethod
    def _socket():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
        defer(sock.close)
        sock.settimeout(scaled(2))
        return sock

    def _enable(self, on):
        body = struct.pack("=II", AUDIT_STATUS_ENABLED, on).ljust(44, b"\0")
        flags = NLM_F_REQUEST | NLM_F_ACK
        self._control.send(HEADER.pack(HEADER.size + len(body), AUDIT_SET, flags, 1, 0) + body)
        error = struct.unpack_from("=i", self._control.recv(4096), HEADER.size)[0]
        if error:
            raise OSError(-error, os.strerror(-error))

    def events(self):
        """Texts of the MAC_IPSEC_EVENT records since the last call."""
        found = []
        self._log.setblocking(False)
        while True:
            try:
                data = self._log.recv(65536)
            except BlockingIOError:
                return found
            if HEADER.unpack_from(data)[1] == AUDIT_MAC_IPSEC_EVENT:
                found.append(data[HEADER.size:].rstrip(b"\0").decode(errors="replace"))
