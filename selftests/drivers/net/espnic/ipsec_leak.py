#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Plaintext of a protected flow never reaches the wire, in no state and in no transition.

Marked packets are sent without pause while SAs come and go, the link goes down, the driver is
unbound and so on. The policies stay all the time. The wire is recorded twice: by the NIC
itself, and by a packet socket at the other end, whose record tcpdump reads too. The control
run, without IPsec, must be noticed by each of the three.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, pcapng, proc, traffic, xfrm  # noqa: E402

MARKER = b"espnic leak test: this text must not be on the wire. "
PACKETS = 12
HOSTS = " or ".join(sorted(env.ADDRESSES))
CLEAR = f"(ip or ip6) and not esp and src host ({HOSTS}) and dst host ({HOSTS})"


def _stream(*ends):
    """Marked datagrams until the end of the case."""
    stream = traffic.Stream(*ends, MARKER * 4).start()
    ktap.defer(stream.close)
    return stream


class Findings:
    """What each of the three observers saw of unprotected traffic."""

    def __init__(self, watch):
        self.nic = self._marked(watch.nic_frames)
        self.tap = self._marked(watch.tap_frames)
        self.other = len(watch.clear_packets())
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tap.pcap")
            pcapng.write_pcap(path, [frame for _, frame in watch.tap_frames])
            lines = proc.cmd("tcpdump", "-n", "-r", path, CLEAR).splitlines()
        self.tcpdump = len(lines)

    @staticmethod
    def _marked(frames):
        return sum(MARKER in frame for _, frame in frames)

    def __str__(self):
        return (f"marked packets: NIC's capture {self.nic}, tap {self.tap}; "
                f"not ESP: {self.other}, by tcpdump {self.tcpdump}")


def _expect_nothing(cfg, watch, least_esp):
    findings = Findings(watch.stop())
    sent, received = len(watch.esp(cfg.netif_mac)), len(watch.esp(cfg.peer_mac))
    ktap.diag(f"ESP packets: {sent} sent, {received} received; {findings}")
    ktap.at_least(min(sent, received), least_esp, "ESP packets each way, else nothing was tested")
    for count in (findings.nic, findings.tap, findings.other, findings.tcpdump):
        ktap.equal(count, 0, f"plaintext on the wire ({findings})")


def control_run_trips(cfg):
    """Without IPsec every observer sees the marked packets."""
    watch = cfg.watch()
    stream = _stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4)
    stream.go_on(PACKETS)
    stream.stop()
    findings = Findings(watch.stop())
    ktap.diag(str(findings))
    for count in (findings.tap, findings.other, findings.tcpdump):
        ktap.at_least(count, PACKETS, "packets noticed in the control run")
    if cfg.capture:
        ktap.at_least(findings.nic, PACKETS, "packets noticed in the NIC's capture")


class Scene:
    """Policies on both sides that stay, and streams both ways."""

    def __init__(self, cfg, flow):
        self.cfg, self.flow = cfg, flow
        ktap.defer(lambda: xfrm.flush(cfg.dut, cfg.peer))
        cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
        cfg.dut.ip(*flow.dut_policies())
        self.watch = cfg.watch()
        self.out = _stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
        self.in_ = _stream(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)

    def pause(self):
        """Some traffic in the present state."""
        self.out.go_on(PACKETS)
        self.in_.go_on(PACKETS)

    def add(self):
        """The SAs of the side under test, the peer's anew."""
        flow = self.flow
        self.cfg.dut.ip(*flow.dut_states(self.cfg.netif))
        self.pause()

    def delete(self):
        """Both SAs of both sides go, and the peer's come back."""
        for ns in (self.cfg.dut, self.cfg.peer):
            ns.ip("xfrm state flush")
        self.cfg.peer.ip(*self.flow.peer_states())
        self.pause()

    def end(self, least=PACKETS):
        """Stop the streams and judge the record."""
        self.out.stop()
        self.in_.stop()
        _expect_nothing(self.cfg, self.watch, least)
        ktap.at_least(self.out.received(), least, "datagrams that arrived at the peer")
        ktap.at_least(self.in_.received(), least, "datagrams that arrived at this side")


def _add_and_delete(cfg, flow):
    scene = Scene(cfg, flow)
    scene.pause()
    for _ in range(3):
        scene.add()
        scene.delete()
    scene.add()
    scene.end()


def add_and_delete_v4(cfg):
    """Before the first SA, with SAs, after deletion, again: IPv4 transport."""
    _add_and_delete(cfg, xfrm.Flow(env.DUT4, env.PEER4))


def add_and_delete_v6(cfg):
    """The same for IPv6 transport."""
    _add_and_delete(cfg, xfrm.Flow(env.DUT6, env.PEER6))


def add_and_delete_tunnel(cfg):
    """The same for an IPv4 tunnel."""
    _add_and_delete(cfg, xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 128, env.DUT_INNER4,
                                   env.PEER_INNER4))


def outbound_only(cfg):
    """Only the outbound SA goes and comes back, then it is replaced by another one."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    scene = Scene(cfg, flow)
    scene.add()
    cfg.dut.ip(flow.out.delete())
    scene.pause()
    new = xfrm.Sa(flow.dut, flow.peer, xfrm.new_spi(), xfrm.new_key(256))
    cfg.peer.ip(new.add(xfrm.WINDOW))
    cfg.dut.ip(new.add(xfrm.offload(cfg.netif, "out")))
    scene.pause()
    scene.end()


def link_down_and_up(cfg):
    """Link down (which removes the SAs), link up without SAs, then with new ones."""
    scene = Scene(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    scene.add()
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    scene.pause()
    cfg.configure()
    scene.pause()
    scene.delete()
    scene.add()
    scene.end()


def feature_toggled(cfg):
    """esp-hw-offload is switched off and on under traffic; checksum offload too."""
    scene = Scene(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    scene.add()
    for feature in ("esp-hw-offload", "tx"):
        ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, feature, "on")
        for state in ("off", "on"):
            cfg.dut.cmd("ethtool", "-K", cfg.netif, feature, state)
            scene.pause()
    scene.end()


def driver_unbound(cfg):
    """The driver is unbound and bound again under traffic."""
    scene = Scene(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    scene.add()
    with cfg.driver_away():
        scene.pause()
    scene.pause()
    scene.delete()
    scene.add()
    scene.end()


def plaintext_is_not_accepted(cfg):
    """Packets in the clear from the peer are dropped while the policies demand ESP."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    link = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(link.close)
    ktap.check(link.send(MARKER) and link.receive() == MARKER, "control run: nothing arrives")
    cfg.dut.ip(*flow.dut_states(cfg.netif), *flow.dut_policies())
    before = xfrm.counters(cfg.dut)
    for _ in range(PACKETS):
        ktap.check(link.send(MARKER), "a datagram could not be sent")
    ktap.check(link.receive(0.5) is None, "a plaintext packet was accepted")
    after = xfrm.counters(cfg.dut)
    ktap.equal(xfrm.changed(before, after), {"XfrmInTmplMismatch": PACKETS}, "XFRM errors")


CASES = [control_run_trips, add_and_delete_v4, add_and_delete_v6, add_and_delete_tunnel,
         outbound_only, link_down_and_up, feature_toggled, driver_unbound,
         plaintext_is_not_accepted]


def _setup():
    proc.need("tcpdump")
    return env.Setup(tap=True).need_offload()


if __name__ == "__main__":
    ktap.main(CASES, _setup)
