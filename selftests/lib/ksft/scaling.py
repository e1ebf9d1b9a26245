# SPDX-License-Identifier: GPL-2.0
"""Receive side scaling: frames whose hash is published, which queue they come through, what hash
the stack gets, and cases for any driver whose NIC can do it."""

import ctypes
import ipaddress
import re
import socket
import struct
import time

from . import ktap, netdevnl, netif, proc, traffic
from .pace import scaled

HASH_REPORT, RSS = 57, 60  # virtio features
ENTRIES = 128
RXHASH = "receive-hashing"
# Key and examples of Microsoft's "Verifying the RSS Hash Calculation": source and destination with
# their ports, the hash of both with the ports, and that of the addresses.
KEY = ("6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:"
       "f2:0c:6a:42:b7:3b:be:ac:01:fa")
EXAMPLES = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51CCC178, 0x323E8FC2),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xC626B0EA, 0xD718262A),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5C2B394A, 0xD2D0A5DE),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0xAFC7327F, 0x82989176),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x10E828A2, 0x5D1809C5),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x40207D3D, 0x2CC18CD5),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0xDDE51BBF, 0x0F0C461C),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x02D1FEEF,
     0x4B61E985),
]
TCP, UDP, ICMP = 6, 17, 1
SO_ATTACH_FILTER, SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 26, 263, 23, 3
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF
AD_RXHASH = 0xFFFFF000 + 32  # SKF_AD_OFF + SKF_AD_RXHASH: the hash that the stack was given
WAIT, SHORT = scaled(5.0), scaled(0.3)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _hash_filter(wanted):
    """A program that lets packets with this hash pass."""
    steps = [(LOAD, 0, 0, AD_RXHASH), (JUMP_EQUAL, 0, 1, wanted), (RETURN, 0, 0, 0x40000),
             (RETURN, 0, 0, 0)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    return Program(len(steps), code)


class Probe:
    """Sends frames from the peer, and looks how they come."""

    def __init__(self, cfg):
        self.cfg = cfg
        with cfg.dut:
            self._index = socket.if_nametoindex(cfg.netif)
        self._netdev = netdevnl.Netdev(cfg.dut)
        ktap.defer(self._netdev.close)
        with cfg.peer:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        ktap.defer(self._socket.close)
        self._socket.bind((cfg.peerdev, 0))

    def _listen(self, wanted):
        """A socket that gets what NETIF receives with this hash."""
        with self.cfg.dut:
            listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        program = _hash_filter(wanted)
        listening.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
        listening.bind((self.cfg.netif, ETH_P_ALL))
        return listening

    def _frame(self, packet, kind):
        macs = bytes.fromhex((self.cfg.netif_mac + self.cfg.peer_mac).replace(":", ""))
        return (macs + kind.to_bytes(2, "big") + packet).ljust(60, b"\0")

    def frame(self, src, sport, dst, dport, proto=TCP, more=b""):
        """An IP packet; more: IPv6 extension headers, the first of which is proto."""
        src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
        payload = more + struct.pack("!HH", sport, dport)
        payload += {UDP: struct.pack("!HH", 8, 0)}.get(proto, struct.pack("!IIBBHHH", 0, 0, 0x50,
                                                                          0x10, 0, 0, 0))
        if src.version == 6:
            head = struct.pack("!IHBB", 6 << 28, len(payload), proto, 64)
            return self._frame(head + src.packed + dst.packed + payload, 0x86DD)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0)
        head += src.packed + dst.packed
        head = head[:10] + traffic.checksum(head).to_bytes(2, "big") + head[12:]
        return self._frame(head + payload, 0x0800)

    def has(self, frame, wanted, wait=WAIT):
        """Whether the stack gets the frame with this hash; 0 is none."""
        with self._listen(wanted) as listening:
            listening.settimeout(wait)
            self._socket.send(frame)
            try:
                while listening.recv(2048) != frame:
                    pass
            except TimeoutError:
                return False
        return True

    def expect(self, frame, wanted, what):
        """The stack gets the frame with this hash."""
        ktap.check(self.has(frame, wanted), f"{what}: not received with hash {wanted:#010x}")

    def queue(self, frame):
        """The receive queue through which the frame comes."""
        before = self._packets()
        self._socket.send(frame)
        proc.wait_until(lambda: self._packets() != before, "a frame is received")
        time.sleep(scaled(0.01))
        moved = {queue: count - before[queue] for queue, count in self._packets().items()
                 if count != before[queue]}
        ktap.equal(list(moved.values()), [1], f"packets of queues ({moved})")
        return list(moved)[0]

    def _packets(self):
        stats = self._netdev.queue_stats(self._index)
        return {number: stats[kind, number].get("rx-packets", 0) for kind, number in stats
                if kind == "rx"}


def agreed(device):
    """Whether driver and NIC have agreed on a table and on hashes."""
    return netif.has_feature(device, RSS) and netif.has_feature(device, HASH_REPORT)


def need(cfg):
    """Skip unless driver and NIC have agreed on it; the number of queues in use, two at least."""
    if not agreed(cfg.device):
        raise ktap.Skip(f"{cfg.netif} does not offer receive side scaling")
    return channels(cfg)


def channels(cfg):
    """The number of queue pairs in use; skips with one."""
    text = cfg.dut.cmd("ethtool", "-l", cfg.netif)
    now = int(re.findall(r"^Combined:\s+(\d+)$", text, re.MULTILINE)[1])
    if now < 2:
        raise ktap.Skip(f"{cfg.netif} has a single queue pair")
    return now


def shown(cfg):
    """The queues of the table, and the key."""
    text = cfg.dut.cmd("ethtool", "-x", cfg.netif)
    rows = re.findall(r"^[ \t]*\d+:((?:[ \t]+\d+)+)[ \t]*$", text, re.MULTILINE)
    key = re.search(r"^((?:[0-9a-f]{2}:)+[0-9a-f]{2})$", text, re.MULTILINE)
    ktap.check(key, f"no key in {text!r}")
    return [int(word) for row in rows for word in row.split()], key.group(1)


def choose(cfg, *words):
    """`ethtool -X` for the rest of the case."""
    key = shown(cfg)[1]
    ktap.defer(cfg.dut.cmd, "ethtool", "-X", cfg.netif, "default")
    ktap.defer(cfg.dut.cmd, "ethtool", "-X", cfg.netif, "hkey", key)
    cfg.dut.cmd("ethtool", "-X", cfg.netif, *words)


def equal(queues):
    """The table that is equal for so many queues."""
    return [entry % queues for entry in range(ENTRIES)]


def only(queue, queues):
    """Words for `ethtool -X`: everything to this queue."""
    return "weight", *("1" if one == queue else "0" for one in range(queues))


def by_table(cfg, probe, examples=tuple(EXAMPLES)):
    """Each example comes through the queue that the table names for its hash."""
    table, used = shown(cfg)[0], set()
    for src, sport, dst, dport, both, _ in examples:
        wanted = table[both % ENTRIES]
        got = probe.queue(probe.frame(src, sport, dst, dport))
        ktap.equal(got, wanted, f"queue of {src} to {dst} (hash {both:#010x})")
        used.add(got)
    return used


def sizes(cfg):
    """There is a table, equal for all queues at first, and a key."""
    queues = need(cfg)
    table, key = shown(cfg)
    ktap.equal(table, equal(queues), "table")
    ktap.equal(len(key), len(KEY), "length of the key as text")


def spread(cfg):
    """The hash of a packet chooses the queue by the table, whatever the table."""
    queues, probe = need(cfg), Probe(cfg)
    choose(cfg, "hkey", KEY)
    ktap.equal(shown(cfg), (equal(queues), KEY), "table and key")
    ktap.at_least(len(by_table(cfg, probe)), 2, "queues in use")
    cfg.dut.cmd("ethtool", "-X", cfg.netif, "weight", "3", "1", *["0"] * (queues - 2))
    table, key = shown(cfg)
    ktap.equal((sorted(set(table)), key), ([0, 1], KEY), "queues of the table, and the key")
    ktap.check(table.count(0) > table.count(1), "the weights are without effect")
    by_table(cfg, probe)


def one_queue(cfg):
    """A table with one queue brings everything there."""
    queues, probe = need(cfg), Probe(cfg)
    for queue in range(queues):
        choose(cfg, *only(queue, queues))
        ktap.equal(set(shown(cfg)[0]), {queue}, "queues of the table")
        ktap.equal(by_table(cfg, probe), {queue}, "queues in use")


def refused(cfg):
    """Queues that are not there, other hash functions and keys of another length are refused."""
    queues = need(cfg)
    before = shown(cfg)
    for words in (("equal", str(queues + 1)), ("hfunc", "xor"), ("hkey", "00:11:22:33"),
                  ("weight", *["0"] * queues, "1")):
        result = cfg.dut.run("ethtool", "-X", cfg.netif, *words)
        ktap.check(result.returncode, f"ethtool -X {' '.join(words)} was accepted")
        ktap.equal(shown(cfg), before, "table and key")


def hashes(cfg):
    """The stack gets the published hashes of packets, and none while that is off."""
    need(cfg)
    probe = Probe(cfg)
    choose(cfg, "hkey", KEY)
    cfg.feature(RXHASH, "on")
    for src, sport, dst, dport, both, addresses in EXAMPLES:
        what = f"{src} to {dst}"
        for proto in (TCP, UDP):
            probe.expect(probe.frame(src, sport, dst, dport, proto), both, f"{what}, {proto}")
        probe.expect(probe.frame(src, sport, dst, dport, ICMP), addresses, f"{what}, others")
    cfg.dut.cmd("ethtool", "-K", cfg.netif, RXHASH, "off")
    src, sport, dst, dport, both, _ = EXAMPLES[0]
    frame = probe.frame(src, sport, dst, dport)
    probe.expect(frame, 0, "hashes are off")
    ktap.check(not probe.has(frame, both, SHORT), "a hash although they are off")


def fields(cfg):
    """The user chooses whether TCP and UDP have a hash with their ports."""
    need(cfg)
    probe = Probe(cfg)
    choose(cfg, "hkey", KEY)
    cfg.feature(RXHASH, "on")
    for kind, proto, example in (("tcp4", TCP, 0), ("udp4", UDP, 1), ("tcp6", TCP, 5),
                                 ("udp6", UDP, 6)):
        src, sport, dst, dport, both, addresses = EXAMPLES[example]
        frame = probe.frame(src, sport, dst, dport, proto)
        ktap.defer(cfg.dut.cmd, "ethtool", "-N", cfg.netif, "rx-flow-hash", kind, "sdfn")
        for letters, wanted in (("sd", addresses), ("sdfn", both)):
            cfg.dut.cmd("ethtool", "-N", cfg.netif, "rx-flow-hash", kind, letters)
            text = cfg.dut.cmd("ethtool", "-n", cfg.netif, "rx-flow-hash", kind)
            ktap.contains(text, "IP SA", kind)
            ktap.equal("L4 bytes 0 & 1" in text, letters == "sdfn", f"ports in {text!r}")
            probe.expect(frame, wanted, f"{kind} {letters}")


CASES = [sizes, spread, one_queue, refused, hashes, fields]
