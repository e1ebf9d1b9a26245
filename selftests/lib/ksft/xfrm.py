# SPDX-License-Identifier: GPL-2.0
"""SAs and policies of a protected flow, and the XFRM error counters."""

import itertools
import re
from dataclasses import dataclass, field

from . import algo, proc
from .ktap import Failure

AEAD = "rfc4106(gcm(aes))"
ENCAP_PORT = 4500
# Larger than a GSO packet has segments: another CPU's packet, numbered later, may overtake it.
WINDOW = "replay-window 512"
_spis = itertools.count(0x1000)


def new_spi():
    """An SPI that no other SA of this test has."""
    return next(_spis)


@dataclass(frozen=True)
class Sa:
    """One SA; addresses are the outer ones, the key holds the salt at its end."""

    src: str
    dst: str
    spi: int
    key: bytes
    mode: str = "transport"
    reqid: int = 1
    algorithm: algo.Algorithm = algo.gcm()
    selector: str = ""  # needed where inner and outer family differ
    encap: int = 0  # UDP port on both ends

    def add(self, extra="", verb="add"):
        """Arguments of `ip` that install it; extra goes to the end."""
        words = f"{self.selector} {self.algorithm.words(self.key)}"
        if self.encap:
            words += f" encap espinudp {self.encap} {self.encap} 0.0.0.0"
        return (f"xfrm state {verb} src {self.src} dst {self.dst} proto esp spi {self.spi:#x} "
                f"reqid {self.reqid} mode {self.mode} {words} {extra}")

    def delete(self):
        """Arguments of `ip` that remove it."""
        return f"xfrm state delete src {self.src} dst {self.dst} proto esp spi {self.spi:#x}"

    def get(self):
        """Arguments of `ip` that show it; an error if it does not exist."""
        return f"xfrm state get src {self.src} dst {self.dst} proto esp spi {self.spi:#x}"


def new_key(bits):
    """A random AES key of this many bits and a salt behind it."""
    return algo.gcm(bits).new_key()


def offload(netif, direction):
    """The words that ask for crypto offload; inbound SAs also get a replay window."""
    window = f"{WINDOW} " if direction == "in" else ""
    return f"{window}offload dev {netif} dir {direction}"


@dataclass
class Flow:
    """SAs and policies that protect all traffic between two addresses, both ways.

    dut and peer are the outer addresses; the inner ones differ in tunnel mode only.
    """

    dut: str
    peer: str
    mode: str = "transport"
    bits: int = 128
    dut_inner: str = ""
    peer_inner: str = ""
    reqid: int = 1
    algorithm: algo.Algorithm | None = None
    encap: int = 0
    priority: int = 0
    out: Sa = field(init=False)
    in_: Sa = field(init=False)

    def __post_init__(self):
        self.dut_inner = self.dut_inner or self.dut
        self.peer_inner = self.peer_inner or self.peer
        self.algorithm = self.algorithm or algo.gcm(self.bits)
        self.out = self.new_sa(outbound=True)
        self.in_ = self.new_sa(outbound=False)

    def new_sa(self, outbound):
        """An SA of this flow with a key and an SPI of its own."""
        ends = [(self.dut, self.dut_inner), (self.peer, self.peer_inner)]
        (src, inner_src), (dst, inner_dst) = ends if outbound else reversed(ends)
        selector = f"sel src {inner_src} dst {inner_dst}" if (":" in src) != (":" in inner_src) \
            else ""
        return Sa(src, dst, new_spi(), self.algorithm.new_key(), self.mode, self.reqid,
                  self.algorithm, selector, self.encap)

    @property
    def name(self):
        """Short description for messages."""
        return f"{self.mode} {self.dut} - {self.peer} {self.algorithm.name}"

    def _policy(self, sa, direction):
        if sa is self.out:
            src, dst = self.dut_inner, self.peer_inner
        else:
            src, dst = self.peer_inner, self.dut_inner
        return (f"xfrm policy add src {src} dst {dst} dir {direction} "
                f"priority {self.priority} "
                f"tmpl src {sa.src} dst {sa.dst} proto esp reqid {self.reqid} mode {self.mode}")

    def dut_states(self, netif=None):
        """`ip` lines for the SAs of the side under test; software without netif."""
        return [self.out.add(offload(netif, "out") if netif else ""),
                self.in_.add(offload(netif, "in") if netif else WINDOW)]

    def dut_policies(self):
        """`ip` lines for the policies of the side under test."""
        return [self._policy(self.out, "out"), self._policy(self.in_, "in")]

    def peer_states(self):
        """`ip` lines for the peer's SAs, always in software."""
        return [self.in_.add(), self.out.add(WINDOW)]

    def peer_policies(self):
        """`ip` lines for the peer's policies."""
        return [self._policy(self.in_, "out"), self._policy(self.out, "in")]

    def install(self, dut, peer, netif=None):
        """Install everything on both sides."""
        peer.ip(*self.peer_states(), *self.peer_policies())
        dut.ip(*self.dut_states(netif), *self.dut_policies())


@dataclass(frozen=True)
class Numbers:
    """Sequence numbers of an ESN state, 64 bits."""

    seq: int
    oseq: int


def numbers(ns, sa):
    """What `ip` shows of an ESN state's sequence numbers."""
    text = state_text(ns, sa) or ""
    found = re.search(r"seq-hi (\w+), seq (\w+), oseq-hi (\w+), oseq (\w+)", text)
    if not found:
        raise Failure(f"no extended sequence numbers in {text!r}")
    seq_hi, seq, oseq_hi, oseq = (int(word, 16) for word in found.groups())
    return Numbers(seq_hi << 32 | seq, oseq_hi << 32 | oseq)


def flush(*namespaces):
    """Remove all SAs and policies."""
    for ns in namespaces:
        ns.ip("xfrm state flush", "xfrm policy flush")


def state_text(ns, sa):
    """What `ip -d xfrm state get` says about one SA, or None if there is none."""
    result = ns.run("ip", "-d", *sa.get().split())
    return None if result.returncode else result.stdout


def count(ns, text="proto esp"):
    """How many ESP states there are, or how many of them `ip xfrm state` shows with this text."""
    return ns.cmd("ip", "xfrm", "state").count(text)


def counters(ns):
    """All counters of /proc/net/xfrm_stat."""
    with ns:
        lines = proc.read_file("/proc/thread-self/net/xfrm_stat").splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}


def changed(before, after):
    """Counters that moved, with the difference."""
    return {name: after[name] - before.get(name, 0)
            for name in after if after[name] != before.get(name, 0)}
