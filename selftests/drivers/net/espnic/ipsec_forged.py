#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets that no sound sender makes, nearly all with a right ICV, and sound but unusual ones.

Each is sent to an offloaded SA and to the same kind of SA in software: what is delivered must be
the same, but for one case in which software is less strict than RFC 4303, and what is refused must
be counted where the stack counts it (X69).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netif, traffic, xfrm  # noqa: E402
from ksft.forge import Esp, Injector, ip, needed_padding, udp  # noqa: E402
from ksft.frames import ENCAP_PORTS, PROTO_UDP  # noqa: E402

COUNT, SOUND = 3, 2
# How many packets the NIC collects before it tells of them, and for how many microseconds.
BURST, HOLD_US = 32, 10000
FIRST = 1000
SOURCE_PORT, NEW_PORT = 4242, 4600
PORTS = sorted(ENCAP_PORTS)
IPV4_IN_ESP, NO_NEXT_HEADER = 4, 59
TEXT = b"espnic forged test"
FORMAT, PROTOCOL = "XfrmInBufferError", "XfrmInStateProtoError"
OLD, MISMATCH, NO_STATE = "XfrmInStateSeqError", "XfrmInStateMismatch", "XfrmInNoStates"


class Side:
    """The receiving socket of a flow, and packets to it."""

    def __init__(self, cfg, flow, offload):
        self.flow = flow
        esp.protect(cfg, flow, offload)
        self._injector = Injector(cfg)
        self._link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
        ktap.defer(self._link.close)
        self.port = self._link.port
        self._number = FIRST
        ends = flow.peer_inner, flow.dut_inner
        self.payload, self._next_header = udp(SOURCE_PORT, self.port, TEXT, ends), PROTO_UDP
        if flow.mode == "tunnel":
            self.payload = ip(*ends, PROTO_UDP, self.payload)
            self._next_header = IPV4_IN_ESP

    def esp(self, next_header=None, **kwargs):
        """An ESP packet with a datagram for the socket in it."""
        return Esp(self.payload, next_header or self._next_header, **kwargs)

    def send(self, packet, number=None, **kwargs):
        """One packet, with the next sequence number by default."""
        self._number += 1
        number = self._number if number is None else number
        self._injector.esp(self.flow.in_, packet, number, **kwargs)

    def send_sound(self):
        """One packet as it should be."""
        encap = self.flow.encap
        self.send(self.esp(), ports=(encap, encap) if encap else None)

    def delivered(self, wanted):
        """How many datagrams have arrived; each must be the one that was sent."""
        count = 0
        while (data := self._link.receive(2.0 if count < wanted else 0.2)) is not None:
            ktap.equal(data, TEXT, "content of a datagram")
            count += 1
        return count


@dataclass(frozen=True)
class Outcome:
    """What has to become of COUNT packets: delivered or not, and the counter of XFRM errors and
    that of the driver that must move by COUNT, all others not at all. SOUND packets around them
    are delivered."""

    delivered: bool
    error: str = ""
    driver: str = "ipsec_rx_packets"
    software: str | None = None  # the error in software, if it is another one
    strict: bool = False  # software delivers them

    def judge(self, side, watch, offload):
        """Compare with what a run has shown."""
        path = "offloaded" if offload else "in software"
        error = self.error if offload or self.software is None else self.software
        wanted = SOUND + COUNT * (self.delivered or (self.strict and not offload))
        ktap.equal(side.delivered(wanted), wanted, f"{path}: datagrams delivered")
        watch.stop()
        ktap.equal(watch.dut_errors, {error: COUNT} if error else {}, f"{path}: XFRM errors")
        for name in ("ipsec_rx_packets", "ipsec_rx_auth_failed", "ipsec_rx_format_failed",
                     "ipsec_rx_unprocessed", "ipsec_rx_drop_stale",
                     "ipsec_rx_drop_no_memory"):
            wanted = COUNT * (name == self.driver) + SOUND * (name == "ipsec_rx_packets")
            ktap.equal(watch.driver.get(name, 0), wanted * offload, f"{path}: {name}")


DELIVERED = Outcome(True)
BAD_FORMAT = Outcome(False, FORMAT, "ipsec_rx_format_failed", software=PROTOCOL)


def _v4(**kwargs):
    return xfrm.Flow(env.DUT4, env.PEER4, **kwargs)


def _v6():
    return xfrm.Flow(env.DUT6, env.PEER6)


def _case(name, doc, outcome, send, make=_v4, encap=(0, 0)):
    """A case: send(side), COUNT times, between sound packets; offloaded and in software. In UDP
    both have ports of their own, because the sockets stay until the end."""
    def case(cfg):
        ktap.diag(doc)
        for offload, port in zip((True, False), encap, strict=True):
            flow = make(encap=port) if port else make()
            side = Side(cfg, flow, offload)
            watch = cfg.watch()
            for action in [*[Side.send_sound] * (SOUND - 1), *[send] * COUNT, Side.send_sound]:
                action(side)
            outcome.judge(side, watch, offload)
            xfrm.flush(cfg.dut, cfg.peer)
    case.__name__, case.__doc__ = name, doc
    return case


def _pad_length_255(side):
    side.send(side.esp(pad_len=255))


def _pad_length_beyond(side):
    padding = needed_padding(side.payload)
    side.send(side.esp(padding=bytes(padding), pad_len=len(side.payload) + padding + 1))


def _long_padding(side):
    side.send(side.esp(padding=bytes(range(1, 253 + needed_padding(side.payload)))))


def _other_padding(side):
    side.send(side.esp(padding=b"\xee" * (4 + needed_padding(side.payload))))


def _not_aligned(side):
    side.send(side.esp(padding=bytes(1 + needed_padding(side.payload))))


def _dummy(side):
    side.send(side.esp(NO_NEXT_HEADER))


def _number_zero(side):
    side.send(side.esp(), number=0)


def _number_too_old(side):
    side.send(side.esp(), number=1)


def _other_address(side):
    side.send(side.esp(), dst=env.DUT_INNER4)


def _without_udp(side):
    side.send(side.esp())


def _other_source_port(side):
    side.send(side.esp(), ports=(NEW_PORT, side.flow.encap))


def _udp_checksum(side):
    # Without a checksum inside, or the stack would not look at the one outside.
    inner = udp(SOURCE_PORT, side.port, TEXT)
    side.send(Esp(inner), ports=(side.flow.encap,) * 2, checksum=True)


def _without_keys(side):
    # As it came it looks like a packet that was decrypted.
    side.send(side.esp(without_keys=True))


def _burst(side, damage):
    """Sound packets with others among them; returns how many are delivered."""
    odd = [_number_too_old, _pad_length_255, _dummy, _without_keys, _long_padding]
    if damage:
        odd.append(lambda side: side.send(side.esp(), damage=1))
    sound = BURST - len(odd)
    for action in [Side.send_sound] * (sound - 2 * len(odd)):
        action(side)
    for action in odd:
        for each in (action, Side.send_sound, Side.send_sound):
            each(side)
    return sound + 1


def _together(cfg, make, damage=False):
    """Packets that the driver looks at in one go do not take others' way."""
    # The driver looks at many in one go.
    netif.hold_back(cfg, HOLD_US, BURST)
    for offload in (True, False):
        side = Side(cfg, make(), offload)
        watch = cfg.watch()
        wanted = _burst(side, damage)
        path = "offloaded" if offload else "in software"
        ktap.equal(side.delivered(wanted), wanted, f"{path}: datagrams delivered")
        watch.stop()
        errors = {OLD: 1, FORMAT: 1, PROTOCOL: 2} if offload else {OLD: 1, PROTOCOL: 3}
        ktap.equal(watch.dut_errors, errors, f"{path}: XFRM errors")
        # Two are decrypted, but not delivered. The NIC does nothing with the damaged one.
        decrypted = watch.driver.get("ipsec_rx_packets", 0)
        ktap.equal(decrypted, (wanted + 2) * offload, f"{path}: decrypted")
        for name in ("ipsec_rx_format_failed", "ipsec_rx_auth_failed"):
            ktap.equal(watch.driver.get(name, 0), int(offload), f"{path}: {name}")
        xfrm.flush(cfg.dut, cfg.peer)


def together(cfg):
    """Sound packets, and others among them, in one go of the driver."""
    _together(cfg, _v4, damage=True)


def together_v6(cfg):
    """The same over IPv6."""
    _together(cfg, _v6)


def together_tunnel(cfg):
    """The same in a tunnel."""
    _together(cfg, esp.inner4, damage=True)


CASES = [
    together,
    together_v6,
    together_tunnel,
    _case("pad_length_255", "The pad length is more than the packet.", BAD_FORMAT,
          _pad_length_255),
    _case("pad_length_255_v6", "The same over IPv6.", BAD_FORMAT, _pad_length_255, _v6),
    _case("pad_length_255_tunnel", "The same in a tunnel.", BAD_FORMAT, _pad_length_255,
          esp.inner4),
    _case("pad_length_255_udp", "The same in UDP.", BAD_FORMAT,
          lambda side: side.send(side.esp(pad_len=255), ports=(side.flow.encap,) * 2),
          encap=PORTS),
    _case("pad_length_beyond", "The pad length is one more than there is.", BAD_FORMAT,
          _pad_length_beyond),
    _case("long_padding", "Padding that hides the length of the packet.", DELIVERED,
          _long_padding),
    _case("other_padding", "Padding that is not 1, 2, 3: not checked, as in software.", DELIVERED,
          _other_padding),
    _case("not_aligned", "The text does not end a word: no ESP for the NIC, fine in software.",
          Outcome(False, FORMAT, "ipsec_rx_format_failed", software="", strict=True),
          _not_aligned),
    _case("without_keys", "In clear, with no right ICV, from somebody who has not got the keys.",
          Outcome(False, PROTOCOL, "ipsec_rx_auth_failed"), _without_keys),
    _case("dummy", "Next header 59, a packet to be dropped.", Outcome(False, PROTOCOL), _dummy),
    _case("number_zero", "Sequence number 0, which no sender uses.", Outcome(False, OLD),
          _number_zero),
    _case("number_too_old", "A number in front of the window.", Outcome(False, OLD),
          _number_too_old),
    _case("other_address", "Our SPI, another address of ours.", Outcome(False, NO_STATE, ""),
          _other_address),
    _case("without_udp", "Without the UDP that the SA has.", Outcome(False, MISMATCH, ""),
          _without_udp, encap=PORTS),
    _case("other_source_port", "From behind a NAT that has changed the port.", DELIVERED,
          _other_source_port, encap=PORTS),
    _case("udp_checksum", "A UDP checksum, which covers the ciphertext.", DELIVERED,
          _udp_checksum, encap=PORTS),
]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
