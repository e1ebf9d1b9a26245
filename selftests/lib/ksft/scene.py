# SPDX-License-Identifier: GPL-2.0
"""A flow under packet offload that must never be in clear, whatever happens to it."""

import threading

from . import env, forge, ktap, packet, traffic, xfrm
from .frames import PROTO_UDP, parse

MARKER = b"espnic leak test: this text must not be on the wire. "
INJECTED = b"espnic injected"
PACKETS, LEAST = 8, 20
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


def block(cfg, flow):
    """Policies of software that block the flow, where no other is for it."""
    ends = NETWORKS[flow.dut_inner], NETWORKS[flow.peer_inner]
    for direction, (src, dst) in (("out", ends), ("in", ends[::-1])):
        cfg.dut.ip(f"xfrm policy add src {src} dst {dst} dir {direction} priority 1000 "
                   "action block")


class Scene:
    """A flow under packet offload with traffic both ways, and what must not be seen of it."""

    def __init__(self, cfg, flow, blocked=True):
        self.cfg, self.flow = cfg, flow
        ktap.defer(lambda: xfrm.flush(cfg.dut, cfg.peer))
        if blocked:
            block(cfg, flow)
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
