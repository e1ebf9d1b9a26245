#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""libreswan with packet offload, as far as it has it: transport mode without ESP in UDP.

libreswan 5.2 opens no holes for its own messages inbound, so the test opens them, as an operator
must. While libreswan asks for new SAs, the stack does not find the old ones (X90), drops packets
and asks libreswan for more SAs; so there is no traffic then.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, frames, ike, ktap, libreswan, packet, proc, traffic, xfrm  # noqa: E402

REKEYINGS = 2
WAIT = 20.0
MORE_THAN_SOFT = 12  # packets


def _pair(cfg, flow, holes=True):
    """Both daemons, without a connection."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    pair = libreswan.Pair(cfg, flow)
    if holes:  # the start of the daemon deletes all policies
        packet.open_holes(cfg, frames.IKE_PORT)
    return pair


def _start(cfg, flow, holes=True, **kwargs):
    """A connection, set up."""
    pair = _pair(cfg, flow, holes)
    pair.load(flow, "packet", **kwargs)
    said = pair.initiate()
    try:
        ike.expect_offloaded(cfg, mode="packet")
    except ktap.Failure:
        ktap.diag(said)
        ktap.diag(pair.dut.words(60))
        raise
    return pair


def _packet(cfg, **kwargs):
    flow = esp.direct()
    _start(cfg, flow, **kwargs)
    ike.works_in_packets(cfg, flow)


def gcm(cfg):
    """nic-offload=packet, AES-GCM."""
    _packet(cfg)


def cbc(cfg):
    """AES-CBC with HMAC-SHA256."""
    _packet(cfg, esp="aes128-sha2_256")


def esn(cfg):
    """Extended sequence numbers."""
    _packet(cfg, esn="yes")


def _renewed(cfg, before):
    proc.wait_until(lambda: not before & ike.spis(cfg), "new SAs", WAIT)
    ike.left(cfg)


def rekeying(cfg):
    """Each side in its turn asks for new SAs, and then for a new SA of IKE."""
    flow = esp.direct()
    pair = _start(cfg, flow)
    for daemon in (pair.dut, pair.peer) * REKEYINGS:
        before = ike.spis(cfg)
        daemon.rekey()
        _renewed(cfg, before)
        ike.works_in_packets(cfg, flow)
    for daemon in (pair.dut, pair.peer):
        daemon.rekey_ike()
    ike.works_in_packets(cfg, flow)


def rekeying_by_packets(cfg):
    """ipsec-max-packets: the NIC's count makes the SA expire in time."""
    flow = esp.direct()
    events = ike.Expiries(cfg.dut)
    _start(cfg, flow, rekey="yes", more="ipsec-max-packets=40")  # a soft limit of 10
    first = ike.spis(cfg)
    for _ in range(MORE_THAN_SOFT):
        answered = traffic.reachable(cfg.dut, flow.dut, flow.peer)
        if first & set(events.spis(hard=False)):
            break  # libreswan asks for new SAs, so that an answer may be missing
        ktap.check(answered, "no answer before the soft limit")
    else:
        raise ktap.Failure("no soft expiry of the first SAs")
    _renewed(cfg, first)
    ktap.equal(events.spis(hard=True), [], "hard expiries")
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56])


def terminated(cfg):
    """The end of the connection leaves no SA and no policy but those of the holes."""
    flow = esp.direct()
    pair = _start(cfg, flow)
    pair.dut.terminate()
    ike.left(cfg, 0)
    ktap.equal(ike.offloaded_policies(cfg), 2, "offloaded policies")
    pair.initiate()
    ike.left(cfg)
    ike.works_in_packets(cfg, flow)
    pair.dut.shut_down()
    ike.left(cfg, 0)


def locked_out(cfg):
    """Without holes the answers of the other side are dropped: ESP flows, but there is no rekeying
    any more."""
    flow = esp.direct()
    pair = _start(cfg, flow, holes=False)
    ike.works_in_packets(cfg, flow)
    watch, before = cfg.driver_counters(), ike.spis(cfg)
    pair.dut.begin_rekey()
    proc.wait_until(lambda: xfrm.changed(watch, cfg.driver_counters()).get(
        "ipsec_packet_rx_drop_clear"), "an answer is dropped", WAIT)
    ktap.check(before <= ike.spis(cfg), "the SAs were replaced")


def _refused(cfg, flow, reason):
    """libreswan does not load such a connection, and says why."""
    pair = _pair(cfg, flow)
    try:
        pair.load(flow, "packet")
    except ktap.Failure as failure:
        ktap.contains(str(failure), reason, "addconn's words")
        return
    raise ktap.Failure("the connection was loaded")


def tunnel(cfg):
    """libreswan has packet offload in transport mode only."""
    _refused(cfg, esp.inner4(), "nic-offload=packet restricted to type=transport")


def nat(cfg):
    """It refuses ESP in UDP, too."""
    _refused(cfg, ike.behind_nat(), "nic-offload=packet cannot specify encapsulation=yes")


CASES = [gcm, cbc, esn, rekeying, rekeying_by_packets, terminated, locked_out, tunnel, nat]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
