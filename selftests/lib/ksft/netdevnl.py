# SPDX-License-Identifier: GPL-2.0
"""Queues, NAPI contexts, page pools and counters of an interface by the generic netlink family
"netdev".

Numbers: include/uapi/linux/netdev.h and genetlink.h, which do not change.
"""

import errno
import os
import socket
import struct

from .ktap import Failure, Skip

NETLINK_GENERIC, GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
DEV_GET, POOL_GET, POOL_STATS_GET, QUEUE_GET, NAPI_GET, QSTATS_GET = 1, 5, 9, 10, 11, 12
HEADER = struct.Struct("=IHHII")
NLA_F_NESTED = 0x8000
BY_QUEUE = 1  # NETDEV_QSTATS_SCOPE_QUEUE
DEV = {1: "ifindex", 3: "xdp-features"}
QUEUE = {1: "id", 2: "ifindex", 3: "type", 4: "napi-id"}
NAPI = {1: "ifindex", 2: "id", 3: "irq"}
POOL = {1: "id", 2: "ifindex", 3: "napi-id", 4: "inflight", 6: "detach-time"}
POOL_STATS = {8: "alloc-fast", 9: "alloc-slow", 11: "alloc-empty", 12: "alloc-refill",
              14: "recycle-cached", 15: "recycle-cache-full", 16: "recycle-ring",
              17: "recycle-ring-full", 18: "recycle-released-refcnt"}
QSTATS = {1: "ifindex", 2: "queue-type", 3: "queue-id", 8: "rx-packets", 9: "rx-bytes",
          10: "tx-packets", 11: "tx-bytes", 12: "rx-alloc-fail", 16: "rx-csum-unnecessary",
          17: "rx-csum-none", 19: "rx-hw-gro-packets", 21: "rx-hw-gro-wire-packets",
          26: "tx-csum-none", 27: "tx-needs-csum", 28: "tx-hw-gso-packets",
          30: "tx-hw-gso-wire-packets", 33: "tx-stop", 34: "tx-wake"}
TYPES = ("rx", "tx")


def _attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _attributes(data, names):
    """The numbers among attributes, by name."""
    at, found = 0, {}
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        value = data[at + 4:at + length]
        name = names.get(kind & 0x3FFF)
        if name and len(value) in (2, 4, 8):
            found[name] = int.from_bytes(value, "little")
        at += (length + 3) & ~3
    return found


class Netdev:
    """The family, in a namespace."""

    def __init__(self, ns):
        with ns:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        name = _attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0")
        names = {CTRL_ATTR_FAMILY_ID: "id"}
        try:
            found = self._ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK, name, names)
        except OSError as error:
            raise Skip("the kernel has no netlink family netdev") from error
        self._family = found[0]["id"]

    def close(self):
        """Close the socket."""
        self._socket.close()

    def _ask(self, family, command, flags, attributes, names):
        """The attributes of all answers; OSError for that of the kernel."""
        body = struct.pack("=BBH", command, 1, 0) + attributes
        request = HEADER.pack(HEADER.size + len(body), family, NLM_F_REQUEST | flags, 1, 0)
        self._socket.send(request + body)
        answers = []
        while True:
            data = self._socket.recv(1 << 16)
            while len(data) >= HEADER.size:
                length, kind, _, _, _ = HEADER.unpack_from(data)
                if length < HEADER.size:
                    raise Failure("netlink: an answer without a length")
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    number = struct.unpack_from("=i", data, HEADER.size)[0]
                    if number < 0:
                        raise OSError(-number, os.strerror(-number))
                    return answers
                answers.append(_attributes(data[HEADER.size + 4:length], names))
                data = data[(length + 3) & ~3:]

    def _dump(self, command, attributes, names):
        return self._ask(self._family, command, NLM_F_DUMP, attributes, names)

    def xdp_features(self, ifindex):
        """What programs the interface can run (NETDEV_XDP_ACT_)."""
        ask = _attribute(1, struct.pack("=I", ifindex))
        return self._ask(self._family, DEV_GET, NLM_F_ACK, ask, DEV)[0]["xdp-features"]

    def queues(self, ifindex):
        """napi-id of each queue, None if it has none, by ("rx" or "tx", number)."""
        found = self._dump(QUEUE_GET, _attribute(2, struct.pack("=I", ifindex)), QUEUE)
        return {(TYPES[one["type"]], one["id"]): one.get("napi-id") for one in found}

    def napis(self, ifindex):
        """All NAPI contexts, as dictionaries."""
        return self._dump(NAPI_GET, _attribute(1, struct.pack("=I", ifindex)), NAPI)

    def pools(self, ifindex=None):
        """The page pools of an interface, or all of the namespace, as dictionaries. One whose
        interface is gone has no ifindex, one that has ended and waits for its pages a
        detach-time."""
        ask = b"" if ifindex is None else _attribute(2, struct.pack("=I", ifindex))
        return self._dump(POOL_GET, ask, POOL)

    def pool_stats(self, number):
        """The counters of the page pool with this id; none on a kernel without PAGE_POOL_STATS."""
        ask = _attribute(1 | NLA_F_NESTED, _attribute(1, struct.pack("=I", number)))
        try:
            return self._ask(self._family, POOL_STATS_GET, NLM_F_ACK, ask, POOL_STATS)[0]
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return {}
            raise

    def stats(self, ifindex):
        """The counters of the interface."""
        found = self._dump(QSTATS_GET, _attribute(1, struct.pack("=I", ifindex)), QSTATS)
        if len(found) != 1:
            raise Failure(f"{len(found)} answers for one interface")
        return found[0]

    def queue_stats(self, ifindex):
        """The counters of each queue, by ("rx" or "tx", number)."""
        attributes = (_attribute(1, struct.pack("=I", ifindex)) +
                      _attribute(4, struct.pack("=I", BY_QUEUE)))
        found = self._dump(QSTATS_GET, attributes, QSTATS)
        return {(TYPES[one["queue-type"]], one["queue-id"]): one for one in found}
