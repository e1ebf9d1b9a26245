#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Nothing of a flow under packet offload is ever in clear, in no state and in no transition.

Marked datagrams are sent without pause, both ways, while SAs come and go, policies change, the link
goes down, queues, rings and the MTU change, the interface moves to another namespace, the NIC is
reset, the driver is unbound and unloaded. Beneath the offloaded policies are ones of software that
block the flow, for where the stack removes the offloaded ones: so each packet in clear is a fault.
All the time, datagrams in clear are put on the wire to a socket of this side, which must not get
one.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, packet, proc, traffic, xfrm  # noqa: E402
from ksft.pace import scaled  # noqa: E402
from ksft.scene import MARKER, PACKETS, Clear, Scene, block  # noqa: E402

ROUNDS = 2
DELAY = 0.7  # seconds
RESET_TIME = 10.0
LIMIT = 40


def _tunnel():
    return esp.inner4(outer=4, reqid=77)


def _both(test):
    """The case for a tunnel and for transport mode."""
    for flow in (_tunnel(), esp.direct(outer=4, reqid=78)):
        ktap.diag(flow.name)
        test(flow)


def _losing_states(cfg, lose):
    """The case for what takes the SAs away, and leaves the policies: nothing passes in clear until
    there are new ones."""
    def test(flow):
        scene = Scene(cfg, flow)
        for _ in range(ROUNDS):
            lose(scene)
            scene.pause()
            scene.renew()
            scene.passes()
        scene.end()
        xfrm.flush(cfg.dut, cfg.peer)

    _both(test)


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
    block(cfg, flow)
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
    def lose(scene):
        cfg.dut.ip(scene.flow.out.delete())
        scene.pause()
        cfg.dut.ip("xfrm state flush")

    _losing_states(cfg, lose)


def _limited(cfg, limit):
    """A scene whose SAs give way to others that have a limit."""
    scene = Scene(cfg, _tunnel())
    cfg.dut.ip("xfrm state flush")
    flow = scene.flow
    flow.out, flow.in_ = flow.new_sa(outbound=True), flow.new_sa(outbound=False)
    cfg.peer.ip("xfrm state flush", *flow.peer_states())
    packet.states(cfg, flow, f"limit {limit}", f"limit {limit}")
    return scene


def _expired(scene):
    """Both SAs expire under traffic; new ones work."""
    cfg, flow = scene.cfg, scene.flow
    packet.gone(cfg, flow.out, flow.in_)
    scene.pause()
    scene.renew()
    scene.passes()
    scene.end()


def end_by_time(cfg):
    """Both SAs come to the end of their time."""
    scene = _limited(cfg, f"time-hard {scaled(1)}")
    scene.passes()
    _expired(scene)


def end_by_packets(cfg):
    """Both SAs come to a limit of packets, to the packet."""
    scene = _limited(cfg, f"packet-hard {LIMIT}")
    spi = scene.flow.out.spi
    _expired(scene)
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


def _delay(cfg):
    """All that the side under test sends waits in a queueing discipline."""
    cfg.dut.ip(f"neigh replace {env.PEER4} lladdr {cfg.peer_mac} dev {cfg.netif}")
    words = ("dev", cfg.netif, "root")
    result = cfg.dut.run("tc", "qdisc", "add", *words, "netem", "delay", f"{scaled(DELAY)}s")
    if result.returncode:
        raise ktap.Skip(f"needs netem: {result.stderr.strip()}")
    ktap.defer(cfg.dut.cmd, "tc", "qdisc", "del", *words)


def under_way(cfg):
    """Packets that wait in a queueing discipline while their policy is deleted do not get out in
    clear, however long they wait: they are dropped and counted. Later ones pass, which no policy
    is for."""
    def late():
        return cfg.driver_counters()["ipsec_packet_tx_drop_late"]

    def test(flow):
        packet.protect(cfg, flow)
        pair = packet.link(cfg, flow)
        packet.arrives(pair, MARKER)
        before, line = late(), packet.dut_policies(cfg, flow)[0]
        watch = cfg.watch()
        for _ in range(PACKETS):
            pair.send(MARKER)
        cfg.dut.ip(_deletion(line))
        proc.wait_until(lambda: late() - before == PACKETS, "the driver drops all of them")
        ktap.equal(sum(MARKER in frame for _, frame in watch.stop().tap_frames), 0, "in clear")
        xfrm.flush(cfg.dut, cfg.peer)
        packet.arrives(pair, MARKER)
        ktap.equal(late() - before, PACKETS, "drops")

    _delay(cfg)
    _both(test)


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
    _losing_states(cfg, lambda _: cfg.reset(RESET_TIME))


def feature_toggled(cfg):
    """`esp-hw-offload` and checksum offload are switched off and on."""
    scene = Scene(cfg, _tunnel())
    for feature in ("esp-hw-offload", "tx"):
        ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, feature, "on")
        for state in ("off", "on"):
            cfg.dut.cmd("ethtool", "-K", cfg.netif, feature, state)
            scene.passes()
    scene.end()


def _changed(cfg, changes):
    """What leaves SAs and policies alone, one change after the other: traffic goes on."""
    scene = Scene(cfg, _tunnel())
    for change in changes * ROUNDS:
        change()
        scene.passes()
    scene.end()


def queues(cfg):
    """`ethtool -L` takes queues away and brings them back."""
    count = int(cfg.dut.cmd("ethtool", "-l", cfg.netif).rsplit("Combined:", 1)[1].split()[0])
    if count == 1:
        raise ktap.Skip(f"{cfg.netif} has one pair of queues")

    words = "ethtool", "-L", cfg.netif, "combined"
    ktap.defer(cfg.dut.run, *words, str(count))
    _changed(cfg, [functools.partial(cfg.dut.cmd, *words, str(wanted)) for wanted in (1, count)])


def rings(cfg):
    """`ethtool -G` replaces the rings of both directions, with all that is in them."""
    text = cfg.dut.cmd("ethtool", "-g", cfg.netif)
    before = {way: text.rsplit(f"{way.upper()}:", 1)[1].split()[0] for way in ("rx", "tx")}

    def change(way, size):
        return lambda: cfg.dut.cmd("ethtool", "-G", cfg.netif, way, size)

    changes = [change(way, size) for way in before for size in ("64", before[way])]
    for undo in changes[1::2]:
        ktap.defer(undo)
    _changed(cfg, changes)


def mtu(cfg):
    """The MTU changes, at both ends."""
    ktap.defer(cfg.set_mtu, cfg.mtu)
    _changed(cfg, [functools.partial(cfg.set_mtu, size) for size in (4000, 1400, cfg.mtu)])


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


def other_namespace(cfg):
    """The interface moves to another namespace, which has policies of its own beneath, and back:
    both moves take SAs and policies away."""
    scene = Scene(cfg, _tunnel())
    with cfg.other_namespace():
        block(cfg, scene.flow)
        cfg.configure()
        scene.pause()
        scene.end()
        xfrm.flush(cfg.peer)
        scene = Scene(cfg, _tunnel(), blocked=False)
        scene.passes()
    scene.pause()
    scene.end()


def without_a_policy(cfg):
    """What is not guaranteed: the stack removes the policies of an interface that goes, and then
    sends in clear, by its own rules. Only a policy beneath prevents that."""
    scene = Scene(cfg, _tunnel(), blocked=False)
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
         policies_come_and_go, under_way, link_down, no_carrier, reset, feature_toggled, queues,
         rings, mtu, other_namespace, unbound, without_a_policy, unloaded]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
