# SPDX-License-Identifier: GPL-2.0
"""What the tests of all IKE daemons have in common: each side's part of a connection, and proofs of
where the SAs are that two daemons have agreed upon."""

import contextlib
import os
import re

from . import env, packet, proc, traffic, xfrm
from .ktap import Failure, defer, diag, equal

COUNT = 10
SIZES = [0, 1, 56, 500, 1000]
STREAM = 128 * 1024
OLD_GO = 20.0
# Counters of packets whose SA was not complete yet, or was gone already.
EARLY = ("XfrmAcquireError", "XfrmInStateInvalid", "ipsec_packet_rx_drop_esp")
LATE = ("XfrmInNoStates", "ipsec_packet_rx_drop_stale")


def sides(flow):
    """Each side of a flow's connection as the daemon there sees it: fields of its configuration.

    The side under test comes first.
    """
    ends = [("dut", flow.dut, flow.dut_inner), ("peer", flow.peer, flow.peer_inner)]
    return [{"own_id": own[0], "own": own[1], "own_net": own[2],
             "other_id": other[0], "other": other[1], "other_net": other[2]}
            for own, other in (ends, reversed(ends))]


def last_words(log, lines):
    """The end of a daemon's log, empty if there is none yet."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def forget_xfrm_interfaces():
    """Unload XFRM interfaces after the case: daemons try them and so load them.

    As long as they are there, packets that have passed one SA meet policies before the next one:
    other tests would see that.
    """
    defer(proc.run, "modprobe", "-r", "xfrm_interface")


def behind_nat(**kwargs):
    """A flow for which the daemons are to use ESP in UDP."""
    return xfrm.Flow(env.DUT4, env.PEER4, encap=xfrm.ENCAP_PORT, **kwargs)


def tunnel_behind_nat():
    """The same in a tunnel."""
    return behind_nat(mode="tunnel", dut_inner=env.DUT_INNER4, peer_inner=env.PEER_INNER4)


def spis(cfg):
    """SPIs of the side under test, as `ip` shows them."""
    return set(re.findall(r"spi (0x[0-9a-f]+)", cfg.dut.cmd("ip", "xfrm", "state")))


class Expiries:
    """What `ip xfrm monitor expire` says in a namespace from now on."""

    def __init__(self, ns):
        process = ns.spawn("ip", "xfrm", "monitor", "expire")
        self._pipe, self._text = process.stdout.fileno(), b""
        os.set_blocking(self._pipe, False)
        with ns:
            proc.wait_until(lambda: str(process.pid) in _listeners(), "ip xfrm monitor listens")

    def spis(self, hard):
        """SPIs of the SAs that expired, softly or hard."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._pipe, 65536):
                self._text += more
        events = self._text.decode().split("Expired ")[1:]
        return [re.search(r"spi (0x[0-9a-f]+)", event)[1] for event in events
                if f"hard {int(hard)}" in event and "spi " in event]


def _listeners():
    """Port numbers of netlink sockets in this namespace, which are process ids mostly."""
    return proc.read_file("/proc/thread-self/net/netlink").split()


def offloaded(cfg):
    """How many SAs `ip xfrm state` shows as offloaded."""
    return xfrm.count(cfg.dut, "crypto offload parameters")


def offloaded_policies(cfg):
    """How many policies `ip xfrm policy` shows as offloaded."""
    return cfg.dut.cmd("ip", "xfrm", "policy").count("mode packet")


def _held(cfg):
    """SAs in the NIC, or None if it cannot be asked."""
    if not cfg.control:
        return None
    stats = cfg.nic_counters()
    return stats["ipsec_sa_in"] + stats["ipsec_sa_out"]


def modes(ns):
    """Modes of the offloaded SAs of a side, as `ip xfrm state` shows them."""
    return re.findall(r"offload parameters: .* mode (\w+)", ns.cmd("ip", "xfrm", "state"))


def expect_offloaded(cfg, count=2, mode="crypto"):
    """So many SAs are offloaded, one each way unless said otherwise; the NIC says so, too."""
    equal(modes(cfg.dut), [mode] * count, "modes of the offloaded SAs")
    equal(_held(cfg), count if cfg.control else None, "SAs in the NIC")


def left(cfg, count=2):
    """Wait until so many SAs are left, all of them in the NIC."""
    wanted = (count, count, count if cfg.control else None)

    def found():
        return xfrm.count(cfg.dut), offloaded(cfg), _held(cfg)
    try:
        proc.wait_until(lambda: found() == wanted, f"{count} SAs are left", OLD_GO)
    except Failure as failure:
        diag(cfg.dut.cmd("ip", "-s", "xfrm", "state"))
        raise Failure(f"{failure}; in the stack, of them offloaded, in the NIC: {found()}") \
            from failure


def works(cfg, flow):
    """Traffic both ways, all of it in the NIC."""
    watch = cfg.watch()
    # software does GSO packets in UDP
    count = _traffic(cfg, flow, stream=not flow.encap)
    watch.stop().prove_offload(count)


def works_in_packets(cfg, flow):
    """The same under packet offload."""
    watch = cfg.watch()
    packet.prove(cfg, watch, _traffic(cfg, flow, stream=True))


def _traffic(cfg, flow, stream):
    """Pings both ways, and a TCP connection if stream is set; returns the least number of packets
    each way."""
    count = traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SIZES)
    count += traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, SIZES)
    if stream:
        traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, STREAM)
    return count


def works_in_software(cfg, flow):
    """Traffic both ways, protected, and the NIC knows nothing of it."""
    expect_offloaded(cfg, 0)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, SIZES)
    watch.stop().prove_no_errors()
    for mac in (cfg.netif_mac, cfg.peer_mac):
        equal(len(watch.esp(mac)), len(SIZES), f"ESP packets on the wire from {mac}")
    for who, counters in (("driver", watch.driver), ("NIC", watch.nic)):
        for name in ("ipsec_tx_packets", "ipsec_rx_packets"):
            equal(counters.get(name, 0), 0, f"{name} of the {who}")


def without_loss(cfg, flow, steps=(), count=COUNT, early=None, excuses=EARLY):
    """Run each step while datagrams flow both ways, count of them before it and after the last one;
    all arrive. Returns when the SAs are two again.

    early is the namespace, if any, whose peer uses new SAs before they are complete here: such
    packets are dropped and counted, so that all others are accounted for. excuses are the counters.
    """
    ends = [(cfg.dut, flow.dut_inner), (cfg.peer, flow.peer_inner)]
    before = _counted(cfg, early, excuses)
    errors = _Errors(cfg)
    with traffic.Stream(*ends[0], *ends[1]) as out, traffic.Stream(*ends[1], *ends[0]) as back:
        for step in steps:
            for stream in (out, back):
                stream.go_on(count)
            step()
        for stream in (out, back):
            stream.go_on(count)
            stream.stop()
        left(cfg)
        for stream, receiver, way in ((out, cfg.peer, "out"), (back, cfg.dut, "in")):
            def excused(here=receiver is early):
                return _counted(cfg, early, excuses) - before if here else 0
            lost, excused = stream.lost(excused), excused()
            diag(f"{stream.sent} datagrams on the way {way}, excused: {excused}")
            if lost != excused:
                errors.show()
            equal(lost, excused, f"datagrams lost on the way {way}")


class _Errors:
    """What the stacks of both sides, the driver and the NIC count as errors from now on."""

    def __init__(self, cfg):
        self._cfg, self._driver, self._nic = cfg, cfg.driver_counters(), cfg.nic_counters()
        self._sides = [(name, ns, xfrm.counters(ns))
                       for name, ns in (("the side under test", cfg.dut), ("the peer", cfg.peer))]

    def show(self):
        """Say what was counted."""
        for name, ns, before in self._sides:
            diag(f"XFRM errors of {name}: {xfrm.changed(before, xfrm.counters(ns))}")
        for name, before, after in (("driver", self._driver, self._cfg.driver_counters()),
                                    ("NIC", self._nic, self._cfg.nic_counters())):
            changed = xfrm.changed(before, after)
            diag(f"{name}: {_problems(changed)}")


def _problems(counters):
    """Those whose names do not tell of work done."""
    return {name: count for name, count in counters.items()
            if any(word in name for word in ("drop", "fail", "mal", "replay", "limit", "refused"))}


def _counted(cfg, ns, names):
    """Sum of these counters of a namespace, and of the driver if it is there; 0 without one."""
    counters = xfrm.counters(ns) if ns else {}
    if ns is cfg.dut:
        counters |= cfg.driver_counters()
    return sum(counters.get(name, 0) for name in names)
