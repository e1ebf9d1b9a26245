# SPDX-License-Identifier: GPL-2.0
"""What tests of programs (XDP) have in common: frames for them, and what is counted of these."""

import itertools
import os
import socket
import time

from . import env, ktap, sniff, xdp
from .pace import scaled

KIND = 0x88B5  # EtherType for local experiments (IEEE 802)
COUNT = 20
WAIT = scaled(5.0)
# what stays while nothing goes wrong
LOST = ["rx_dropped", "rx_malformed", "rx_xdp_aborted", "rx_xdp_lost", "rx_xdp_unfit",
        "rx_xdp_drop_ipsec", "tx_dropped", "tx_xdp_drops", "tx_xdp_drop_policy"]


class Wire:
    """Sends frames to the side under test, and looks where they come out."""

    def __init__(self, cfg):
        self.cfg, self._numbers = cfg, itertools.count(1)
        self._above = sniff.Sniffer(cfg.dut, cfg.netif)
        with cfg.wire:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        ktap.defer(self._socket.close)
        self._socket.bind((cfg.peerif, 0))
        self.forth = bytes.fromhex((cfg.netif_mac + cfg.peer_mac).replace(":", ""))
        self.back = self.forth[6:] + self.forth[:6]

    def marker(self):
        """A text that no other frame has in it."""
        return f"espnic program {os.getpid()} {next(self._numbers)};".encode()

    def send(self, payload, count=1):
        """Frames of KIND with this in them."""
        for _ in range(count):
            self._socket.send((self.forth + KIND.to_bytes(2, "big") + payload).ljust(60, b"\0"))

    def raw(self, frame):
        """A whole frame."""
        self._socket.send(frame)

    def clear(self):
        """Forget what was seen so far."""
        self._above.frames()
        self.cfg.sniffer.frames()

    def _collect(self, take, part, count):
        """Frames with this part: wait for so many, and then a moment for more."""
        found, deadline = [], time.monotonic() + WAIT
        while time.monotonic() < deadline:
            found += [frame for frame in take() if part in frame]
            if len(found) >= count:
                deadline = min(deadline, time.monotonic() + env.SETTLE)
            time.sleep(0.005)
        return found

    def passed(self, part, count=0):
        """Frames with this part that got to the stack."""
        return self._collect(lambda: [frame for outgoing, frame in self._above.frames()
                                      if not outgoing], part, count)

    def returned(self, part, count=0):
        """Frames with this part that the side under test sent."""
        return self._collect(lambda: [frame for _, frame in self.cfg.sniffer.frames()
                                      if frame[6:12] == self.back[6:12]], part, count)


class Counted:
    """What the driver's counters rise by."""

    def __init__(self, cfg):
        self._cfg, self._before = cfg, cfg.driver_counters()

    def __getitem__(self, name):
        return self._cfg.driver_counters()[name] - self._before[name]

    def expect(self, **wanted):
        """These rise by so much, and nothing else is lost."""
        now = self._cfg.driver_counters()
        risen = {name: now[name] - self._before[name] for name in now}
        for name in [*wanted, *(name for name in LOST if name not in wanted)]:
            ktap.equal(risen[name], wanted.get(name, 0), f"ethtool -S {name}")


def program(otherwise=xdp.PASS, size=60):
    """The begin of a program that says something else than `otherwise` of frames of KIND only."""
    return xdp.Assembler().frame(size, otherwise).unless_half(12, KIND, otherwise)


def moving(helper, by):
    """The begin of a program that moves one end of frames of KIND."""
    begin = program().copy(xdp.R1, xdp.R6).move(xdp.R2, by)
    return begin.call(helper).unless_done()


def redirecting(begin, index):
    """A program that redirects the frame in R2 to an interface, with its addresses swapped."""
    begin.swap_macs().move(xdp.R1, index).move(xdp.R2, 0)
    return begin.call(xdp.HELPER_REDIRECT).leave()


def index_of(cfg):
    """The index of NETIF."""
    with cfg.dut:
        return socket.if_nametoindex(cfg.netif)
