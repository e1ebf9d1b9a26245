#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The life of offloaded SAs: deletion, update, expiry, link down, namespaces, unbinding.

After each event the table of the NIC must hold exactly the SAs that `ip xfrm state` shows, and
new SAs must work.
"""

import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, proc, traffic, xfrm  # noqa: E402
from ksft.netns import Netns  # noqa: E402
from ksft.pace import scaled  # noqa: E402

ROUNDS = 5
MANY = 64
TABLE_LIMIT, BATCH = 16384, 256
REFUSED = 30
FULL_TABLE_TIME = 60
TEXT = b"espnic lifecycle test" * 20
EXPECTED_LOSSES = {"XfrmInNoStates", "XfrmOutNoStates", "XfrmInStateInvalid",
                   "XfrmOutStateInvalid", "XfrmAcquireError", "XfrmOutBundleGenError",
                   "XfrmOutBundleCheckError", "XfrmInStateSeqError"}


def _install(cfg, flow=None):
    flow = flow or xfrm.Flow(env.DUT4, env.PEER4)
    ktap.defer(xfrm.flush, cfg.peer)
    ktap.defer(lambda: xfrm.flush(cfg.dut))
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    esp.expect_live(cfg, 2, "after installing two SAs")
    return flow


def _works(cfg, flow, count=3):
    """Traffic passes, all of it through the NIC's engine."""
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * count)
    watch.stop().prove_offload(count)


def _restart(cfg):
    """Fresh SAs and policies on both sides; they work."""
    xfrm.flush(cfg.dut, cfg.peer)
    esp.expect_live(cfg, 0, "after a flush")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    _works(cfg, flow)


class Background:
    """Datagrams both ways until the end of the case."""

    def __init__(self, cfg):
        ends = [(cfg.dut, env.DUT4), (cfg.peer, env.PEER4)]
        self._streams = [traffic.Stream(*source, *target, TEXT).start()
                         for source, target in (ends, ends[::-1])]
        ktap.defer(self.stop)

    def go_on(self, count=6):
        """Let this many more datagrams be sent each way."""
        for stream in self._streams:
            stream.go_on(count)

    def stop(self):
        """End the traffic."""
        for stream in self._streams:
            stream.close()


def delete_under_traffic(cfg):
    """SAs are deleted and added again, with the same key, while packets flow both ways."""
    flow = _install(cfg)
    watch = cfg.watch()
    background = Background(cfg)
    for _ in range(ROUNDS):
        background.go_on()
        for ns in (cfg.dut, cfg.peer):
            ns.ip(flow.out.delete(), flow.in_.delete())
        cfg.dut.ip(*flow.dut_states(cfg.netif))
        cfg.peer.ip(*flow.peer_states())
    background.stop()
    watch.stop()
    watch.prove_no_plaintext()
    for errors in (watch.dut_errors, watch.peer_errors):
        unexpected = set(errors) - EXPECTED_LOSSES
        ktap.check(not unexpected, f"XFRM errors besides missing SAs: {errors}")
    esp.expect_live(cfg, 2, "after the last round")
    _works(cfg, flow)


def ifdown_flushes(cfg):
    """Link down removes the SAs from the kernel and from the NIC; link up starts afresh."""
    _install(cfg)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(xfrm.count(cfg.dut), 0, "SAs after link down")
    esp.expect_live(cfg, 0, "after link down")
    cfg.configure()
    _restart(cfg)


def ifdown_expires(cfg):
    """Link down expires SAs as a hard limit does: key managers are notified of each, once."""
    flow = _install(cfg)
    ktap.defer(cfg.configure)
    monitor = cfg.dut.spawn("ip", "xfrm", "monitor", "expire")
    time.sleep(env.SETTLE)
    cfg.dut.ip(f"link set {cfg.netif} down")
    proc.wait_until(lambda: xfrm.count(cfg.dut) == 0, "the SAs go")
    time.sleep(env.SETTLE)
    text = proc.stop(monitor)[0]
    for sa in (flow.out, flow.in_):
        ktap.equal(text.count(f"spi {sa.spi:#010x}"), 1, f"events of SPI {sa.spi:#x}")
    ktap.equal(text.count("hard 1"), 2, "hard expirations")
    cfg.configure()
    _restart(cfg)


def added_while_down(cfg):
    """SAs that are added while the link is down work as soon as it is up."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    ktap.defer(xfrm.flush, cfg.peer)
    ktap.defer(lambda: xfrm.flush(cfg.dut))
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    cfg.configure()
    _works(cfg, flow)


def update(cfg):
    """`ip xfrm state update` leaves the SA offloaded and working."""
    flow = _install(cfg)
    _works(cfg, flow)
    cfg.dut.ip(flow.out.add(xfrm.offload(cfg.netif, "out") + " limit packet-hard 1000", "update"),
               flow.in_.add(xfrm.offload(cfg.netif, "in") + " limit packet-hard 1000", "update"))
    esp.expect_live(cfg, 2, "after an update")
    ktap.equal(xfrm.count(cfg.dut), 2, "SAs after an update")
    _works(cfg, flow)


def update_other_key_under_traffic(cfg):
    """An update with other keys, again and again under traffic: the kernel keeps the old keys,
    and the copy that it makes and throws away does not disturb the NIC's live SA."""
    flow = _install(cfg)
    watch = cfg.watch()
    background = Background(cfg)
    for _ in range(ROUNDS):
        for sa, direction in ((flow.out, "out"), (flow.in_, "in")):
            other = dataclasses.replace(sa, key=xfrm.new_key(128))
            cfg.dut.ip(other.add(xfrm.offload(cfg.netif, direction), "update"))
        background.go_on()
    background.stop()
    watch.stop().prove_offload(ROUNDS * 5)
    esp.expect_live(cfg, 2, "after the updates")
    ktap.equal(xfrm.count(cfg.dut), 2, "SAs after the updates")
    _works(cfg, flow)


def duplicate_add(cfg):
    """A second add of the same SA is refused and leaves the first one alone."""
    flow = _install(cfg)
    for line in flow.dut_states(cfg.netif):
        result = cfg.dut.run("ip", *line.split())
        ktap.check(result.returncode, "a duplicate SA was accepted")
        ktap.contains(result.stderr, "File exists", "message for a duplicate SA")
    esp.expect_live(cfg, 2, "after refused duplicates")
    _works(cfg, flow)


def flush(cfg):
    """`ip xfrm state flush` empties the NIC."""
    flow = _install(cfg)
    _works(cfg, flow)
    cfg.dut.ip("xfrm state flush")
    esp.expect_live(cfg, 0, "after a flush")
    ktap.check(not traffic.reachable(cfg.dut, env.DUT4, env.PEER4), "traffic without an SA")
    _restart(cfg)


def hard_expiry(cfg):
    """An SA that reaches its packet limit dies by itself, in the NIC too."""
    flow = _install(cfg)
    cfg.dut.ip(flow.out.delete())
    limit = " limit packet-soft 3 limit packet-hard 5"
    cfg.dut.ip(flow.out.add(xfrm.offload(cfg.netif, "out") + limit))
    answered = sum(traffic.reachable(cfg.dut, env.DUT4, env.PEER4, timeout=0.3)
                   for _ in range(7))
    ktap.check(3 <= answered <= 5, f"{answered} of 7 pings passed an SA with a limit of 5")
    esp.expect_live(cfg, 1, "after the hard limit")
    ktap.equal(xfrm.count(cfg.dut), 1, "SAs after the hard limit")


def time_expiry(cfg):
    """SAs that come to the end of their time while packets flow die by themselves, in the NIC too:
    they are deleted in the softirq of a timer."""
    flow = _install(cfg)
    _works(cfg, flow)
    cfg.dut.ip(flow.out.delete(), flow.in_.delete())
    background = Background(cfg)
    limit = f" limit time-soft {scaled(1)} limit time-hard {scaled(2)}"
    cfg.dut.ip(*[line + limit for line in flow.dut_states(cfg.netif)])
    esp.expect_live(cfg, 2, "before the end of their time")
    proc.wait_until(lambda: xfrm.count(cfg.dut) == 0, "the SAs expire")
    esp.expect_live(cfg, 0, "after the end of their time")
    background.stop()
    _restart(cfg)


def same_key_again(cfg):
    """Delete and add with the same key, SPI and addresses, several times."""
    flow = _install(cfg)
    for _ in range(3):
        _works(cfg, flow)
        cfg.dut.ip(flow.out.delete(), flow.in_.delete(), *flow.dut_states(cfg.netif))
        cfg.peer.ip(flow.out.delete(), flow.in_.delete(), *flow.peer_states())
        esp.expect_live(cfg, 2, "after adding the SAs again")
    _works(cfg, flow)


def many_sas(cfg):
    """Many SAs at once; the ones in use are found among them, before and after half are gone."""
    flow = _install(cfg)
    others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=2) for _ in range(MANY)]
    cfg.dut.ip(*[line for other in others for line in other.dut_states(cfg.netif)])
    esp.expect_live(cfg, 2 + 2 * MANY, "after adding many SAs")
    _works(cfg, flow)
    cfg.dut.ip(*[sa.delete() for other in others[::2] for sa in (other.out, other.in_)])
    esp.expect_live(cfg, 2 + MANY, "after deleting half of them")
    _works(cfg, flow)
    cfg.dut.ip("xfrm state flush")
    esp.expect_live(cfg, 0, "after a flush")


def _bring_back(cfg, old, new):
    env.return_interface(new, cfg.netif)
    new.close()
    cfg.dut = old
    cfg.give_back()
    cfg.connect()


def _fill(cfg):
    """Add SAs until one is refused, which must be for lack of room; returns how many there are."""
    for _ in range(0, TABLE_LIMIT, BATCH):
        others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=2) for _ in range(BATCH)]
        lines = [other.out.add(xfrm.offload(cfg.netif, "out")) for other in others]
        result = cfg.dut.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")
        if result.returncode:
            ktap.contains(result.stderr, "full", "message for an SA too many")
            return xfrm.count(cfg.dut)
    raise ktap.Skip(f"{TABLE_LIMIT} SAs do not fill the NIC's table")


def _empty(cfg):
    """Flush a full table and wait, so that the next test finds room."""
    cfg.dut.ip("xfrm state flush")
    esp.expect_live(cfg, 0, "after a flush of a full table", FULL_TABLE_TIME)


def table_full(cfg):
    """The SA that finds no room in the NIC is refused with the reason; the others work on."""
    flow = _install(cfg)
    shown = _fill(cfg)
    ktap.diag(f"{shown} SAs fit")
    esp.expect_live(cfg, shown, "with a full table")
    _works(cfg, flow)
    _empty(cfg)


def refused_take_no_room(cfg):
    """SAs that are refused, for what they are and as duplicates, leave no trace in the tables:
    as many fit afterwards as before."""
    flow = _install(cfg)
    before = _fill(cfg)
    _empty(cfg)
    cfg.dut.ip(*flow.dut_states(cfg.netif))
    wrap = " extra-flag oseq-may-wrap"
    lines = [flow.new_sa(outbound=True).add(xfrm.offload(cfg.netif, "out") + wrap),
             flow.out.add(xfrm.offload(cfg.netif, "out"))] * REFUSED
    for line in lines:
        ktap.check(cfg.dut.run("ip", *line.split()).returncode, "an SA was not refused")
    esp.expect_live(cfg, 2, "after the refused ones")
    ktap.equal(_fill(cfg), before, "SAs that fit")
    _works(cfg, flow)
    _empty(cfg)


def _move(cfg):
    """Move the interface to a new namespace, where cfg goes on."""
    old, new = cfg.dut, Netns("dut2")
    ktap.defer(_bring_back, cfg, old, new)
    old.ip(f"link set {cfg.netif} netns {new.path}")
    ktap.equal(xfrm.count(cfg.dut), 0, "SAs left in the old namespace")
    cfg.dut = new
    new.ip("link set lo up", f"addr replace {env.DUT_INNER4}/32 dev lo")
    esp.expect_live(cfg, 0, "after the move")
    cfg.configure()


def netns_move(cfg):
    """Moving the interface to another namespace removes its SAs; new ones work there."""
    _install(cfg)
    _move(cfg)
    _restart(cfg)


def unbind_with_sas(cfg):
    """Unbinding the driver removes the SAs; after binding, new ones work."""
    _install(cfg)
    with cfg.driver_away():
        ktap.equal(xfrm.count(cfg.dut), 0, "SAs after unbinding the driver")
    _restart(cfg)


def unbind_with_offload_off(cfg):
    """The same while esp-hw-offload is off, when link down alone would not remove them."""
    _install(cfg)
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "esp-hw-offload", "off")
    with cfg.driver_away():
        ktap.equal(xfrm.count(cfg.dut), 0, "SAs after unbinding the driver")
    ktap.check(cfg.features().get("esp-hw-offload"), "a new interface starts without offload")
    _restart(cfg)


def _end_under_traffic(cfg, end, times=2):
    """Something ends all SAs while packets flow both ways; nothing is sent in clear, and every
    time new SAs work."""
    _install(cfg)
    for _ in range(times):
        background = Background(cfg)
        background.go_on(20)
        watch = cfg.watch()
        end()
        background.go_on()
        background.stop()
        watch.stop().prove_no_plaintext()
        esp.expect_live(cfg, 0, "after the end of all SAs")
        xfrm.flush(cfg.dut, cfg.peer)
        flow = xfrm.Flow(env.DUT4, env.PEER4)
        flow.install(cfg.dut, cfg.peer, cfg.netif)
        _works(cfg, flow)


def flush_under_traffic(cfg):
    """A flush while packets flow both ways."""
    _end_under_traffic(cfg, lambda: cfg.dut.ip("xfrm state flush"), ROUNDS)


def ifdown_under_traffic(cfg):
    """Link down while packets flow both ways."""
    def down_and_up():
        cfg.dut.ip(f"link set {cfg.netif} down")
        ktap.equal(xfrm.count(cfg.dut), 0, "SAs after link down")
        cfg.configure()

    ktap.defer(cfg.configure)
    _end_under_traffic(cfg, down_and_up, ROUNDS)


def netns_move_under_traffic(cfg):
    """A move to another namespace while packets flow both ways."""
    _end_under_traffic(cfg, lambda: _move(cfg), 1)


def unbind_under_traffic(cfg):
    """The driver is unbound while packets flow both ways."""
    def unbind():
        with cfg.driver_away():
            ktap.equal(xfrm.count(cfg.dut), 0, "SAs after unbinding the driver")

    _end_under_traffic(cfg, unbind)


CASES = [delete_under_traffic, ifdown_flushes, ifdown_expires, added_while_down, update,
         update_other_key_under_traffic, duplicate_add, flush, hard_expiry, time_expiry,
         same_key_again, many_sas, table_full, refused_take_no_room, netns_move, unbind_with_sas,
         unbind_with_offload_off, flush_under_traffic, ifdown_under_traffic,
         netns_move_under_traffic, unbind_under_traffic]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
