#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packets that fail their integrity check: counted where RFC 4303 and Linux say, never delivered.

Every case has a control run in it: the same traffic with the right key, or without the fault,
arrives and moves no error counter.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, proc, traffic, xfrm  # noqa: E402

COUNT = 5
BROKEN = 3
ERROR = "XfrmInStateProtoError"


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


def _failed_of(cfg, sa):
    """The SA's own count of failed integrity checks, as `ip -s` prints it."""
    text = cfg.dut.cmd("ip", "-s", *sa.get().split())
    found = re.search(r"failed (\d+)", text)
    ktap.check(found, f"no count of failures in {text!r}")
    return int(found.group(1))


def _check_received_errors(cfg, watch, sa, count):
    """count packets failed at the side under test, in every place that counts them."""
    watch.stop()
    ktap.equal(watch.dut_errors, {ERROR: count}, "XFRM errors of the side under test")
    ktap.equal(watch.peer_errors, {}, "XFRM errors of the peer")
    ktap.equal(_failed_of(cfg, sa), count, "integrity failures of the SA")
    ktap.equal(watch.driver.get("ipsec_rx_auth_failed"), count, "driver's ipsec_rx_auth_failed")
    if cfg.control:
        ktap.equal(watch.nic.get("ipsec_rx_auth_fail"), count, "NIC's ipsec_rx_auth_fail")


def _wrong_key_received(cfg, flow):
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    wrong = xfrm.Sa(flow.in_.src, flow.in_.dst, flow.in_.spi, xfrm.new_key(flow.bits), flow.mode)
    cfg.dut.ip(flow.in_.delete(), wrong.add(xfrm.offload(cfg.netif, "in")))
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered in spite of a wrong key")
    _check_received_errors(cfg, watch, wrong, COUNT)


def wrong_key_received_v4(cfg):
    """The NIC has another key than the sender, IPv4 transport."""
    _wrong_key_received(cfg, xfrm.Flow(env.DUT4, env.PEER4))


def wrong_key_received_v6(cfg):
    """The NIC has another key than the sender, IPv6 transport, 256 bits."""
    _wrong_key_received(cfg, xfrm.Flow(env.DUT6, env.PEER6, bits=256))


def wrong_key_received_tunnel(cfg):
    """The NIC has another key than the sender, tunnel."""
    _wrong_key_received(cfg, xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 128, env.DUT_INNER4,
                                       env.PEER_INNER4))


def wrong_key_sent(cfg):
    """The NIC encrypts with another key than the peer's: the peer refuses every packet."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=False)
    _control_run(cfg, direction)
    wrong = xfrm.Sa(flow.dut, flow.peer, flow.out.spi, xfrm.new_key(128))
    cfg.dut.ip(flow.out.delete(), wrong.add(xfrm.offload(cfg.netif, "out")))
    # sequence numbers start again, so the peer needs a new replay window
    cfg.peer.ip(flow.out.delete(), flow.out.add(xfrm.WINDOW))
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered in spite of a wrong key")
    watch.stop()
    ktap.equal(watch.peer_errors, {ERROR: COUNT}, "XFRM errors of the peer")
    ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")


def _fault_received(cfg, flow, fault):
    control = cfg.need_control()
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    watch = cfg.watch()
    control.fault(cfg.nic, "rx", fault, BROKEN)
    ktap.equal(direction.burst(), COUNT - BROKEN, f"datagrams delivered with fault {fault}")
    _check_received_errors(cfg, watch, flow.in_, BROKEN)
    _control_run(cfg, direction)


def corrupted_icv_received_v4(cfg):
    """A bit of the ICV is flipped on the way in, IPv4 transport."""
    _fault_received(cfg, xfrm.Flow(env.DUT4, env.PEER4), "corrupt-icv")


def corrupted_icv_received_v6(cfg):
    """A bit of the ICV is flipped on the way in, IPv6 transport."""
    _fault_received(cfg, xfrm.Flow(env.DUT6, env.PEER6), "corrupt-icv")


def corrupted_payload_received(cfg):
    """A bit of the ciphertext is flipped on the way in, tunnel."""
    _fault_received(cfg, xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 256, env.DUT_INNER4,
                                   env.PEER_INNER4), "corrupt-payload")


def corrupted_icv_sent(cfg):
    """A bit of the ICV is flipped on the way out: the peer refuses the packet."""
    control = cfg.need_control()
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=False)
    _control_run(cfg, direction)
    watch = cfg.watch()
    control.fault(cfg.nic, "tx", "corrupt-icv", BROKEN)
    ktap.equal(direction.burst(), COUNT - BROKEN, "datagrams delivered with fault corrupt-icv")
    watch.stop()
    ktap.equal(watch.peer_errors, {ERROR: BROKEN}, "XFRM errors of the peer")
    ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")
    _control_run(cfg, direction)


def _expect(cfg, watch, dut=None, driver=None, nic=None, peer=None):
    """Exactly these errors were counted, in each of the places."""
    watch.stop()
    ktap.equal(watch.dut_errors, dut or {}, "XFRM errors of the side under test")
    ktap.equal(watch.peer_errors, peer or {}, "XFRM errors of the peer")
    for name, count in (driver or {}).items():
        ktap.equal(watch.driver.get(name, 0), count, f"driver's {name}")
    if cfg.control:
        for name, count in (nic or {}).items():
            ktap.equal(watch.nic.get(name, 0), count, f"NIC's {name}")


def bad_length_received(cfg):
    """The packet's length cannot be one of ESP: CRYPTO_INVALID_PACKET_SYNTAX, which is counted
    as XfrmInBufferError and not as a failed check of the SA."""
    control = cfg.need_request("bad-length")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    watch = cfg.watch()
    control.fault(cfg.nic, "rx", "bad-length", BROKEN)
    ktap.equal(direction.burst(), COUNT - BROKEN, "datagrams delivered with fault bad-length")
    _expect(cfg, watch, dut={"XfrmInBufferError": BROKEN},
            driver={"ipsec_rx_format_failed": BROKEN, "ipsec_rx_auth_failed": 0})
    ktap.equal(_failed_of(cfg, flow.in_), 0, "integrity failures of the SA")
    _control_run(cfg, direction)


def bad_padding_sent(cfg):
    """The NIC sends a right ICV over a pad length that cannot be: the peer refuses the packet."""
    control = cfg.need_request("corrupt-padding")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=False)
    _control_run(cfg, direction)
    watch = cfg.watch()
    control.fault(cfg.nic, "tx", "corrupt-padding", BROKEN)
    ktap.equal(direction.burst(), COUNT - BROKEN, "datagrams with fault corrupt-padding")
    _expect(cfg, watch, peer={ERROR: BROKEN})
    _control_run(cfg, direction)


def no_sa_received(cfg):
    """An SPI that no SA has: left alone by the NIC, XfrmInNoStates."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    cfg.dut.ip(flow.in_.delete())
    watch = cfg.watch()
    ktap.equal(direction.burst(), 0, "datagrams delivered without an SA")
    _expect(cfg, watch, dut={"XfrmInNoStates": COUNT}, driver={"ipsec_rx_packets": 0},
            nic={"ipsec_rx_no_sa": COUNT})


def replayed(cfg):
    """Packets that come twice: decrypted twice by the NIC, refused by the stack's window."""
    control = cfg.need_request("duplicate")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    _control_run(cfg, direction)
    watch = cfg.watch()
    control.fault(cfg.nic, "rx", "duplicate", BROKEN)
    ktap.equal(direction.burst(), COUNT, "datagrams delivered with fault duplicate")
    _expect(cfg, watch, dut={"XfrmInStateSeqError": BROKEN},
            driver={"ipsec_rx_packets": COUNT + BROKEN, "ipsec_rx_auth_failed": 0})
    _control_run(cfg, direction)


def delete_request(cfg):
    """The NIC wishes that the SA be deleted (a hint): packets are delivered all the same."""
    control = cfg.need_request("sa-delete-request")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _install(cfg, flow)
    direction = Direction(cfg, flow, received=True)
    watch = cfg.watch()
    control.fault(cfg.nic, "sa-delete-request", COUNT)
    ktap.equal(direction.burst(), COUNT, "datagrams delivered")
    _expect(cfg, watch, driver={"ipsec_rx_packets": COUNT})
    _control_run(cfg, direction)


def link_lost(cfg):
    """The cable is pulled: the carrier is gone, the SAs stay, and go on when it is back."""
    control = cfg.need_request("link")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
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
         corrupted_icv_received_v4, corrupted_icv_received_v6, corrupted_payload_received,
         corrupted_icv_sent, bad_length_received, bad_padding_sent, no_sa_received, replayed,
         delete_request, link_lost]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
