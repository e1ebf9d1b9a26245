#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets that fail their integrity check: counted where RFC 4303 and Linux say, never delivered.

Every case has a control run in it: the same traffic with the right key, or without the fault,
arrives and moves no error counter.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, proc, traffic, xfrm  # noqa: E402

COUNT = 5
BROKEN = 3
ERROR = "XfrmInStateProtoError"
AUTH_FAILED = {"ipsec_rx_auth_failed": BROKEN}
FORMAT_FAILED = {"ipsec_rx_format_failed": BROKEN, "ipsec_rx_auth_failed": 0}


class Direction:
    """Datagrams one way through a flow; received=True means towards the side under test."""

    def __init__(self, cfg, flow, received):
        ends = [(cfg.dut, flow.dut_inner), (cfg.peer, flow.peer_inner)]
        source, target = reversed(ends) if received else ends
        self.link = traffic.Datagrams(*source, *target)
        ktap.defer(self.link.close)
        self._number = 0

    def burst(self, count=COUNT):
        """Send count datagrams; returns how many arrived, each with its content checked."""
        sent = set()
        for _ in range(count):
            self._number += 1
            data = b"espnic error test %d" % self._number
            sent.add(data)
            ktap.check(self.link.send(data), "a datagram could not be sent")
        arrived = 0
        while arrived < count and (data := self.link.receive(1.0)) is not None:
            ktap.check(data in sent, f"unexpected datagram {data!r}")
            arrived += 1
        return arrived


def _install(cfg, flow):
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    flow.install(cfg.dut, cfg.peer, cfg.netif)


def _control_run(cfg, direction):
    """Without an error everything arrives and nothing is counted."""
    watch = cfg.watch()
    ktap.equal(direction.burst(), COUNT, "control run: datagrams delivered")
    watch.stop().prove_no_errors()


def _v4():
    return xfrm.Flow(env.DUT4, env.PEER4)


def _v6():
    return xfrm.Flow(env.DUT6, env.PEER6)


def _tunnel(bits=128):
    return xfrm.Flow(env.DUT4, env.PEER4, "tunnel", bits, env.DUT_INNER4, env.PEER_INNER4)


def _failed_of(cfg, sa):
    """The SA's own count of failed integrity checks, as `ip -s` prints it."""
    text = cfg.dut.cmd("ip", "-s", *sa.get().split())
    found = re.search(r"failed (\d+)", text)
    ktap.check(found, f"no count of failures in {text!r}")
    return int(found.group(1))


def _expect(cfg, watch, dut=None, driver=None, nic=None, peer=None):
    """Exactly these errors were counted, in each of the places."""
    watch.stop()
    ktap.equal(watch.dut_errors, dut or {}, "XFRM errors of the side under test")
    ktap.equal(watch.peer_errors, peer or {}, "XFRM errors of the peer")
    watch.expect_counters(driver or {}, nic)


def _wrong_key_received(cfg, flow):
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    wrong = xfrm.Sa(flow.in_.src, flow.in_.dst, flow.in_.spi, xfrm.new_key(flow.bits), flow.mode)
    cfg.dut.ip(flow.in_.delete(), wrong.add(xfrm.offload(cfg.netif, "in")))
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered in spite of a wrong key")
    _expect(cfg, watch, dut={ERROR: COUNT}, driver={"ipsec_rx_auth_failed": COUNT},
            nic={"ipsec_rx_auth_fail": COUNT})
    ktap.equal(_failed_of(cfg, wrong), COUNT, "integrity failures of the SA")


def wrong_key_received_v4(cfg):
    """The NIC has another key than the sender, IPv4 transport."""
    _wrong_key_received(cfg, _v4())


def wrong_key_received_v6(cfg):
    """The NIC has another key than the sender, IPv6 transport, 256 bits."""
    _wrong_key_received(cfg, xfrm.Flow(env.DUT6, env.PEER6, bits=256))


def wrong_key_received_tunnel(cfg):
    """The NIC has another key than the sender, tunnel."""
    _wrong_key_received(cfg, _tunnel())


def wrong_key_sent(cfg):
    """The NIC encrypts with another key than the peer's: the peer refuses every packet."""
    flow = _v4()
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=False)
    _control_run(cfg, direction)
    wrong = xfrm.Sa(flow.dut, flow.peer, flow.out.spi, xfrm.new_key(128))
    cfg.dut.ip(flow.out.delete(), wrong.add(xfrm.offload(cfg.netif, "out")))
    # sequence numbers start again, so the peer needs a new replay window
    cfg.peer.ip(flow.out.delete(), flow.out.add(xfrm.WINDOW))
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered in spite of a wrong key")
    _expect(cfg, watch, peer={ERROR: COUNT})


@dataclass(frozen=True)
class Fault:
    """A case: what a fault of the NIC, made BROKEN times, has to lead to. With a control run in
    front of it and behind it."""

    name: str
    make: object  # of the flow
    words: tuple  # of the request, without the count
    dut: dict = field(default_factory=dict)
    peer: dict = field(default_factory=dict)
    driver: dict = field(default_factory=dict)
    nic: dict = field(default_factory=dict)
    delivered: int = COUNT - BROKEN
    failed: int = 0  # integrity failures that the SA counts

    @property
    def __name__(self):
        return self.name

    def __call__(self, cfg):
        control = cfg.need_request(self.words[-1])
        flow = self.make()
        _install(cfg, flow)
        direction = Direction(cfg, flow, received=self.words[0] != "tx")
        _control_run(cfg, direction)
        before, watch = _failed_of(cfg, flow.in_), cfg.watch()
        control.fault(cfg.nic, *self.words, BROKEN)
        ktap.equal(direction.burst(), self.delivered, f"datagrams with {' '.join(self.words)}")
        _expect(cfg, watch, self.dut, self.driver, self.nic, self.peer)
        ktap.equal(_failed_of(cfg, flow.in_) - before, self.failed, "integrity failures of the SA")
        _control_run(cfg, direction)


AUTH = {"dut": {ERROR: BROKEN}, "driver": AUTH_FAILED, "nic": {"ipsec_rx_auth_fail": BROKEN},
        "failed": BROKEN}
FORMAT = {"dut": {"XfrmInBufferError": BROKEN}, "driver": FORMAT_FAILED}
FAULTS = [
    Fault("corrupted_icv_received_v4", _v4, ("rx", "corrupt-icv"), **AUTH),
    Fault("corrupted_icv_received_v6", _v6, ("rx", "corrupt-icv"), **AUTH),
    Fault("corrupted_payload_received", lambda: _tunnel(256), ("rx", "corrupt-payload"), **AUTH),
    # CRYPTO_INVALID_PACKET_SYNTAX, which is no failed check of the SA
    Fault("bad_length_received", _v4, ("rx", "bad-length"), **FORMAT),
    Fault("bad_length_received_v6", _v6, ("rx", "bad-length"), **FORMAT),
    Fault("bad_length_received_tunnel", _tunnel, ("rx", "bad-length"), **FORMAT),
    # decrypted twice by the NIC, refused by the stack's window
    Fault("replayed", _v4, ("rx", "duplicate"), dut={"XfrmInStateSeqError": BROKEN},
          driver={"ipsec_rx_packets": COUNT + BROKEN, "ipsec_rx_auth_failed": 0},
          delivered=COUNT),
    # a hint only
    Fault("delete_request", _v4, ("sa-delete-request",), driver={"ipsec_rx_packets": COUNT},
          delivered=COUNT),
    Fault("corrupted_icv_sent", _v4, ("tx", "corrupt-icv"), peer={ERROR: BROKEN}),
    Fault("corrupted_payload_sent", _v6, ("tx", "corrupt-payload"), peer={ERROR: BROKEN}),
    # a right ICV over a pad length that cannot be; for those received see ipsec_forged.py
    Fault("bad_padding_sent", _v4, ("tx", "corrupt-padding"), peer={ERROR: BROKEN}),
]


def no_sa_received(cfg):
    """An SPI that no SA has: left alone by the NIC, XfrmInNoStates."""
    flow = _v4()
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    cfg.dut.ip(flow.in_.delete())
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered without an SA")
    _expect(cfg, watch, dut={"XfrmInNoStates": COUNT}, driver={"ipsec_rx_packets": 0},
            nic={"ipsec_rx_no_sa": COUNT})


def _decrypted_but_refused(cfg, error, change):
    """The NIC decrypts, and the stack refuses the contents. change(flow) gives the `ip` command for
    the side under test after a control run, and the one that undoes it."""
    flow = _v4()
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    wrong, right = change(flow)
    cfg.dut.ip(*wrong)
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered against the policy")
    _expect(cfg, watch, dut={error: COUNT}, driver={"ipsec_rx_packets": COUNT})
    cfg.dut.ip(*right)
    _control_run(cfg, direction)


def policy_of_another_sa(cfg):
    """The policy wants another SA than the one that the packet came under."""
    def change(flow):
        right = flow.dut_policies()[1].replace("policy add", "policy update")
        return [right.replace("reqid 1", "reqid 77")], [right]
    _decrypted_but_refused(cfg, "XfrmInTmplMismatch", change)


def policy_blocks(cfg):
    """The policy blocks what is inside."""
    def change(flow):
        right = flow.dut_policies()[1].replace("policy add", "policy update")
        return [right.partition(" tmpl")[0] + " action block"], [right]
    _decrypted_but_refused(cfg, "XfrmInPolBlock", change)


def link_lost(cfg):
    """The cable is pulled: the carrier is gone, the SAs stay, and go on when it is back."""
    control = cfg.need_request("link")
    flow = _v4()
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=False)
    _control_run(cfg, direction)
    carrier = cfg.dut.cmd, "ip", "-br", "link", "show", cfg.netif
    ktap.defer(control.request, "link", cfg.nic, "up")
    control.request("link", cfg.nic, "down")
    proc.wait_until(lambda: "NO-CARRIER" in carrier[0](*carrier[1:]), "the carrier goes")
    control.request("link", cfg.nic, "up")
    proc.wait_until(lambda: "NO-CARRIER" not in carrier[0](*carrier[1:]), "the carrier comes")
    _control_run(cfg, direction)


CASES = [wrong_key_received_v4, wrong_key_received_v6, wrong_key_received_tunnel, wrong_key_sent,
         *FAULTS, no_sa_received, policy_of_another_sa, policy_blocks, link_lost]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
