#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Nothing of a flow under packet offload is ever in clear, in no state and in no transition.

Marked datagrams are sent without pause, both ways, while SAs come and go, policies change, the link
goes down, the NIC is reset, the driver is unbound and unloaded. Beneath the offloaded policies are
ones of software that block the flow, for where the stack removes the offloaded ones: so each packet
in clear is a fault. All the time, datagrams in clear are put on the wire to a socket of this side,
which must not get one.
"""

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP, parse  # noqa: E402
from ksft.pace import scaled  # noqa: E402

MARKER = b"espnic leak test: this text must not be on the wire. "
INJECTED = b"espnic injected"
PACKETS, LEAST = 8, 20
ROUNDS = 2
RESET_TIME = 10.0
LIMIT = 40
NETWORKS = {env.DUT_INNER4: "198.51.100.0/24", env.PEER_INNER4: "203.0.113.0/24",
            env.DUT4: "192.0.2.0/28", env.PEER4: "192.0.2.0/28"}


class Clear:
    """Puts datagrams in clear on the wire, to a socket of the side under test, without pause."""

    def __init__(self, cfg, flow):
        self._injector, self._flow = forge.Injector(cfg), flow
        self._link = traffic.Datagrams(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner)
        ktap.defer(self._link.close)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def once(self):
        """One datagram."""
        ends = self._flow.peer_inner, self._flow.dut_inner
        datagram = forge.udp(1000, self._link.port, INJECTED)
        self._injector.send(*ends, PROTO_UDP, datagram)
        self.sent += 1

    def _send(self):
        while not self._end.wait(0.005):
            self.once()

    def start(self):
        """Begin."""
        self._thread.start()
        ktap.defer(self.stop)
        return self

    def stop(self):
        """The end."""
        self._end.set()
        self._thread.join()

    def received(self):
        """How many the socket got."""
        return self._link.drain()


def _block(cfg, flow):
    """Policies of software that block the flow, where no other is for it."""
    ends = NETWORKS[flow.dut_inner], NETWORKS[flow.peer_inner]
    for direction, (src, dst) in (("out", ends), ("in", ends[::-1])):
        cfg.dut.ip(f"xfrm policy add src {src} dst {dst} dir {direction} priority 1000 "
                   "action block")


class Scene:
    """A flow under packet offload with traffic both ways, and what must not be seen of it."""

    def __init__(self, cfg, flow, block=True):
        self.cfg, self.flow = cfg, flow
        ktap.defer(lambda: xfrm.flush(cfg.dut, cfg.peer))
        if block:
            _block(cfg, flow)
        packet.protect(cfg, flow)
        self.watch = cfg.watch()
        ends = [(cfg.dut, flow.dut_inner), (cfg.peer, flow.peer_inner)]
        self.out, self.in_ = (traffic.Stream(*source, *target, MARKER * 4).start()
                              for source, target in (ends, ends[::-1]))
        for stream in (self.out, self.in_):
            ktap.defer(stream.close)
        self.clear = Clear(cfg, flow).start()
        self.pause()

    def pause(self):
        """Some traffic in the present state."""
        self.out.go_on(PACKETS)
        self.in_.go_on(PACKETS)

    def passes(self):
        """Traffic passes, both ways."""
        self.out.advance(PACKETS)
        self.in_.advance(PACKETS)

    def add(self):
        """Both SAs of the side under test."""
        packet.states(self.cfg, self.flow)

    def policies(self):
        """Both policies of the side under test."""
        self.cfg.dut.ip(*packet.dut_policies(self.cfg, self.flow))

    def renew(self):
        """SAs of other keys at both ends, and the policies of this one."""
        flow, cfg = self.flow, self.cfg
        for ns in (cfg.dut, cfg.peer):
            ns.ip("xfrm state flush")
        flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
        cfg.peer.ip(*flow.peer_states())
        if "offload" not in cfg.dut.cmd("ip", "-d", "xfrm", "policy"):
            self.policies()
        self.add()

    def end(self):
        """Stop everything, and judge the record."""
        cfg = self.cfg
        for one in (self.clear, self.out, self.in_):
            one.stop()
        self.watch.stop()
        frames = [frame for _, frame in self.watch.tap_frames]
        own = [one for one in map(parse, frames) if one and one.smac == cfg.netif_mac]
        ends = {self.flow.dut_inner, self.flow.peer_inner}
        leaked = [one for one in own if not one.esp and {one.src, one.dst} <= ends]
        marked = sum(MARKER in frame for frame in frames + [frame for _, frame in
                                                            self.watch.nic_frames])
        sent = [one for one in own if one.esp]
        ktap.diag(f"{len(sent)} ESP packets sent, {self.clear.sent} datagrams injected")
        ktap.at_least(len(sent), LEAST, "ESP packets sent, else nothing was tested")
        ktap.at_least(self.clear.sent, LEAST, "datagrams injected, else nothing was tested")
        ktap.equal((len(leaked), marked), (0, 0), "packets in clear and marked packets")
        ktap.equal(self.clear.received(), 0, "datagrams in clear that a socket has got")
        packet.unique(sent)


def _tunnel():
    return esp.inner4(outer=4, reqid=77)


def _both(test):
    """The case for a tunnel and for transport mode."""
    for flow in (_tunnel(), esp.direct(outer=4, reqid=78)):
        ktap.diag(flow.name)
        test(flow)


def control_run_trips(cfg):
    """Without policies the marked packets are seen, and what is injected is received."""
    flow = _tunnel()
    watch, clear = cfg.watch(), Clear(cfg, flow)
    with traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, MARKER * 4) as stream:
        stream.advance(PACKETS)
    clear.once()
    watch.stop()
    marked = sum(MARKER in frame for _, frame in watch.tap_frames)
    ktap.at_least(marked, PACKETS, "marked packets at the tap")
    ktap.equal(clear.received(), 1, "injected datagrams that were received")


def blocked_beneath(cfg):
    """The policies beneath block the flow where there are no offloaded ones."""
    flow = _tunnel()
    ktap.defer(xfrm.flush, cfg.dut)
    _block(cfg, flow)
    watch, clear = cfg.watch(), Clear(cfg, flow)
    stream = traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, MARKER * 4).start()
    ktap.defer(stream.close)
    stream.go_on(PACKETS)
    clear.once()
    stream.stop()
    watch.stop()
    ktap.equal(watch.frames_sent(cfg.netif_mac), 0, "frames sent")
    ktap.equal((stream.sent, clear.received()), (0, 0), "datagrams sent and received")


def states_come_and_go(cfg):
    """SAs are deleted and added again, one and both, with their keys and with others."""
    def test(flow):
        scene = Scene(cfg, flow)
        for _ in range(ROUNDS):
            cfg.dut.ip(flow.out.delete())
            scene.pause()
            cfg.dut.ip("xfrm state flush")
            scene.pause()
            scene.renew()
            scene.passes()
        scene.end()
        xfrm.flush(cfg.dut, cfg.peer)

    _both(test)


def end_by_time(cfg):
    """Both SAs come to the end of their time."""
    scene = Scene(cfg, _tunnel())
    cfg.dut.ip("xfrm state flush")
    flow, limit = scene.flow, f" limit time-hard {scaled(1)}"
    flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
    cfg.peer.ip("xfrm state flush", *flow.peer_states())
    cfg.dut.ip(flow.out.add(packet.offload(cfg, "out") + limit),
               flow.in_.add(packet.offload(cfg, "in") + limit))
    scene.passes()
    proc.wait_until(lambda: xfrm.state_text(cfg.dut, flow.out) is None
                    and xfrm.state_text(cfg.dut, flow.in_) is None, "the SAs expire")
    scene.pause()
    scene.renew()
    scene.passes()
    scene.end()


def end_by_packets(cfg):
    """Both SAs come to a limit of packets, to the packet."""
    scene = Scene(cfg, _tunnel())
    cfg.dut.ip("xfrm state flush")
    flow, limit = scene.flow, f" limit packet-hard {LIMIT}"
    flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
    cfg.peer.ip("xfrm state flush", *flow.peer_states())
    cfg.dut.ip(flow.out.add(packet.offload(cfg, "out") + limit),
               flow.in_.add(packet.offload(cfg, "in") + limit))
    proc.wait_until(lambda: xfrm.state_text(cfg.dut, flow.out) is None
                    and xfrm.state_text(cfg.dut, flow.in_) is None, "the SAs expire")
    scene.pause()
    spi = flow.out.spi
    scene.renew()
    scene.passes()
    scene.end()
    sent = [one for one in scene.watch.esp(cfg.netif_mac) if one.spi == spi]
    ktap.equal(len(sent), LIMIT, "packets under the SA with a limit")


def rekey(cfg):
    """New SAs beside the old ones, which are then deleted: nothing is lost for a policy or an
    SA, either."""
    def test(flow):
        scene = Scene(cfg, flow)
        for _ in range(ROUNDS):
            old = flow.out, flow.in_
            flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
            cfg.dut.ip(flow.in_.add(packet.offload(cfg, "in")))
            cfg.peer.ip(*flow.peer_states())
            cfg.dut.ip(flow.out.add(packet.offload(cfg, "out")))
            scene.passes()
            for ns in (cfg.dut, cfg.peer):
                ns.ip(*[sa.delete() for sa in old])
            scene.passes()
        scene.end()
        watch = scene.watch
        ktap.equal([watch.driver.get(f"ipsec_packet_{name}", 0) for name in
                    ("tx_drop_no_sa", "tx_drop_late", "rx_drop_policy")], [0] * 3, "drops")
        xfrm.flush(cfg.dut, cfg.peer)

    _both(test)


def _deletion(line):
    """The `ip` line that removes the policy of another one."""
    return line.split(" priority")[0].replace(" add ", " delete ")


def policies_come_and_go(cfg):
    """Policies are deleted and added again, and replaced in one step. Packets that the stack has
    sent by a policy that goes at that moment do not get out in clear."""
    def test(flow):
        scene = Scene(cfg, flow)
        lines = packet.dut_policies(cfg, flow)
        for _ in range(ROUNDS):
            for line in lines:
                cfg.dut.ip(_deletion(line))
                scene.pause()
                cfg.dut.ip(line)
                scene.passes()
                cfg.dut.ip(line.replace(" add ", " update "))
                scene.passes()
        scene.end()
        xfrm.flush(cfg.dut, cfg.peer)

    _both(test)


def under_way(cfg):
    """A packet that comes to the driver right after its policy was deleted is dropped and counted:
    the stack may have sent it by that policy. A moment later such packets pass."""
    flow = esp.direct(outer=4, reqid=78)
    ktap.defer(xfrm.flush, cfg.dut)
    frames, line = packet.Frames(cfg), packet.dut_policies(cfg, flow)[0]
    datagram = forge.ip(flow.dut, flow.peer, PROTO_UDP, forge.udp(1000, 2000, MARKER))

    def dropped():
        cfg.dut.ip(line, _deletion(line))
        frames.send(datagram)
        return cfg.driver_counters()["ipsec_packet_tx_drop_late"] > before

    def passes():
        frames.send(datagram)
        return any(MARKER in frame for _, frame in cfg.sniffer.frames())

    before = cfg.driver_counters()["ipsec_packet_tx_drop_late"]
    proc.wait_until(dropped, "a packet is dropped that may have been under way")
    proc.wait_until(passes, "packets pass in clear")


def link_down(cfg):
    """Link down takes SAs and policies away. Nothing passes then, nor after link up, because of
    the policies beneath, until there are new ones."""
    scene = Scene(cfg, _tunnel())
    ktap.defer(cfg.configure)
    for _ in range(ROUNDS):
        cfg.dut.ip(f"link set {cfg.netif} down")
        scene.pause()
        cfg.configure()
        scene.pause()
        scene.renew()
        scene.passes()
    scene.end()


def no_carrier(cfg):
    """The wire is pulled out and put back."""
    control = cfg.need_request("link")
    scene = Scene(cfg, _tunnel())
    ktap.defer(control.request, "link", cfg.nic, "up")
    for _ in range(ROUNDS):
        control.request("link", cfg.nic, "down")
        scene.pause()
        control.request("link", cfg.nic, "up")
        scene.passes()
    scene.end()


def reset(cfg):
    """The NIC asks for resets."""
    cfg.need_request("reset")

    def test(flow):
        scene = Scene(cfg, flow)
        for _ in range(ROUNDS):
            cfg.reset(RESET_TIME)
            scene.pause()
            scene.renew()
            scene.passes()
        scene.end()
        xfrm.flush(cfg.dut, cfg.peer)

    _both(test)


def feature_toggled(cfg):
    """`esp-hw-offload` and checksum offload are switched off and on."""
    scene = Scene(cfg, _tunnel())
    for feature in ("esp-hw-offload", "tx"):
        ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, feature, "on")
        for state in ("off", "on"):
            cfg.dut.cmd("ethtool", "-K", cfg.netif, feature, state)
            scene.passes()
    scene.end()


def _away(cfg, away):
    scene = Scene(cfg, _tunnel())
    with away():
        scene.pause()
    scene.pause()
    scene.renew()
    scene.passes()
    scene.end()


def unbound(cfg):
    """The driver is unbound and bound again."""
    _away(cfg, cfg.driver_away)


def unloaded(cfg):
    """The module is unloaded and loaded again."""
    _away(cfg, cfg.module_away)


def without_a_policy(cfg):
    """What is not guaranteed: the stack removes the policies of an interface that goes, and then
    sends in clear, by its own rules. Only a policy beneath prevents that."""
    scene = Scene(cfg, _tunnel(), block=False)
    for one in (scene.clear, scene.out, scene.in_):
        one.stop()
    with cfg.driver_away():
        pass
    xfrm.flush(cfg.peer)
    watch = cfg.watch()
    traffic.ping(cfg.dut, scene.flow.dut_inner, scene.flow.peer_inner)
    watch.stop()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 0, "ESP packets sent")


CASES = [control_run_trips, blocked_beneath, states_come_and_go, end_by_time, end_by_packets, rekey,
         policies_come_and_go, under_way, link_down, no_carrier, reset, feature_toggled, unbound,
         without_a_policy, unloaded]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
