# SPDX-License-Identifier: GPL-2.0
"""SAs and policies of a protected flow, and the XFRM error counters."""

import itertools
import os
from dataclasses import dataclass, field

from . import proc

AEAD = "rfc4106(gcm(aes))"
SALT_LEN = 4
# Larger than a train of segments: another CPU's packet, numbered later, may overtake a whole train.
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

    def add(self, extra="", verb="add"):
        """Arguments of `ip` that install it; extra goes to the end."""
        return (f"xfrm state {verb} src {self.src} dst {self.dst} proto esp spi {self.spi:#x} "
                f"reqid {self.reqid} mode {self.mode} aead {AEAD} 0x{self.key.hex()} 128 {extra}")

    def delete(self):
        """Arguments of `ip` that remove it."""
        return f"xfrm state delete src {self.src} dst {self.dst} proto esp spi {self.spi:#x}"

    def get(self):
        """Arguments of `ip` that show it; an error if it does not exist."""
        return f"xfrm state get src {self.src} dst {self.dst} proto esp spi {self.spi:#x}"


def new_key(bits):
    """A random AES key of this many bits and a salt behind it."""
    return os.urandom(bits // 8 + SALT_LEN)


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
    out: Sa = field(init=False)
    in_: Sa = field(init=False)

    def __post_init__(self):
        self.dut_inner = self.dut_inner or self.dut
        self.peer_inner = self.peer_inner or self.peer
        self.out = Sa(self.dut, self.peer, new_spi(), new_key(self.bits), self.mode, self.reqid)
        self.in_ = Sa(self.peer, self.dut, new_spi(), new_key(self.bits), self.mode, self.reqid)

    @property
    def name(self):
        """Short description for messages."""
        return f"{self.mode} {self.dut} - {self.peer} AES-{self.bits}"

    def _policy(self, sa, direction):
        if sa is self.out:
            src, dst = self.dut_inner, self.peer_inner
        else:
            src, dst = self.peer_inner, self.dut_inner
        return (f"xfrm policy add src {src} dst {dst} dir {direction} "
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


def flush(*namespaces):
    """Remove all SAs and policies."""
    for ns in namespaces:
        ns.ip("xfrm state flush", "xfrm policy flush")


def state_text(ns, sa):
    """What `ip -d xfrm state get` says about one SA, or None if there is none."""
    result = ns.run("ip", "-d", *sa.get().split())
    return None if result.returncode else result.stdout


def counters(ns):
    """All counters of /proc/net/xfrm_stat."""
    with ns:
        lines = proc.read_file("/proc/thread-self/net/xfrm_stat").splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}


def changed(before, after):
    """Counters that moved, with the difference."""
    return {name: after[name] - before.get(name, 0)
            for name in after if after[name] != before.get(name, 0)}
