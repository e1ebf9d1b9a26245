#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which queue a received packet comes through (ethtool -X), and the hash that the stack gets; also
across resets, and with SAs."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, proc, scaling, traffic  # noqa: E402
from ksft.scaling import EXAMPLES, KEY, RXHASH, TCP, UDP, Probe  # noqa: E402

RESET_TIME = 10.0
DESTINATION, FRAGMENT = 60, 44
ALL_V4 = ("sctp4", "ah4", "esp4")


def extension_headers(cfg):
    """IPv6 extension headers are skipped; fragments have the hash of their addresses."""
    scaling.need(cfg)
    probe = Probe(cfg)
    scaling.choose(cfg, "hkey", KEY)
    cfg.feature(RXHASH, "on")
    src, sport, dst, dport, both, addresses = EXAMPLES[5]
    options = struct.pack("!BB6s", UDP, 0, b"\x01\x04")
    probe.expect(probe.frame(src, sport, dst, dport, DESTINATION, options), both, "options")
    for offset in (1, 8):  # the first part, and another one
        part = struct.pack("!BBHI", UDP, 0, offset, 1)
        probe.expect(probe.frame(src, sport, dst, dport, FRAGMENT, part), addresses, "a fragment")


def others(cfg):
    """Other packets of IP have the hash of their addresses, which cannot be chosen for each."""
    scaling.need(cfg)
    for kind in ALL_V4:
        text = cfg.dut.cmd("ethtool", "-n", cfg.netif, "rx-flow-hash", kind)
        ktap.contains(text, "IP SA", kind)
        ktap.check("L4 bytes" not in text, f"{kind} has a hash of ports: {text!r}")
    for kind, letters in (*((kind, "sdfn") for kind in ALL_V4), ("tcp4", "s"), ("tcp4", "sf"),
                          ("udp6", "v")):
        result = cfg.dut.run("ethtool", "-N", cfg.netif, "rx-flow-hash", kind, letters)
        ktap.check(result.returncode, f"rx-flow-hash {kind} {letters} was accepted")


def back_to_automatic(cfg):
    """With the default table the NIC spreads packets by itself again."""
    queues, probe = scaling.need(cfg), Probe(cfg)
    src, sport, dst, dport, *_ = EXAMPLES[0]
    frames = [probe.frame(src, sport + number, dst, dport) for number in range(16)]
    before = [probe.queue(frame) for frame in frames]
    scaling.choose(cfg, *scaling.only(queues - 1, queues))
    ktap.equal({probe.queue(frame) for frame in frames}, {queues - 1}, "queues in use")
    cfg.dut.cmd("ethtool", "-X", cfg.netif, "default")
    ktap.equal([probe.queue(frame) for frame in frames], before, "queues of 16 flows")


def reset(cfg):
    """A NIC that was reset is told table, key, fields and the wish for hashes again."""
    cfg.need_request("reset")
    queues, probe = scaling.need(cfg), Probe(cfg)
    scaling.choose(cfg, "hkey", KEY, *scaling.only(queues - 1, queues))
    cfg.feature(RXHASH, "on")
    ktap.defer(cfg.dut.cmd, "ethtool", "-N", cfg.netif, "rx-flow-hash", "udp4", "sdfn")
    cfg.dut.cmd("ethtool", "-N", cfg.netif, "rx-flow-hash", "udp4", "sd")
    for _ in range(2):
        src, sport, dst, dport, both, addresses = EXAMPLES[0]
        ktap.equal(scaling.by_table(cfg, probe), {queues - 1}, "queues in use")
        probe.expect(probe.frame(src, sport, dst, dport, TCP), both, "TCP")
        probe.expect(probe.frame(src, sport, dst, dport, UDP), addresses, "UDP")
        cfg.reset(RESET_TIME)


def _set_channels(cfg, count):
    cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(count))


def channels(cfg):
    """The table follows the number of queues unless the user has chosen it."""
    queues, probe = scaling.need(cfg), Probe(cfg)
    ktap.defer(lambda: scaling.shown(cfg)[0] == scaling.equal(queues) or _set_channels(cfg, queues))
    _set_channels(cfg, 1)
    ktap.equal(scaling.shown(cfg)[0], scaling.equal(1), "table with one queue")
    _set_channels(cfg, queues)
    ktap.equal(scaling.shown(cfg)[0], scaling.equal(queues), "table with all queues")
    scaling.choose(cfg, "hkey", KEY)
    _set_channels(cfg, 1)
    ktap.equal(scaling.by_table(cfg, probe), {0}, "queues in use")
    # From here on it is the user's.
    cfg.dut.cmd("ethtool", "-X", cfg.netif, "equal", "1")
    _set_channels(cfg, queues)
    ktap.equal(scaling.shown(cfg), (scaling.equal(1), KEY), "table and key")
    ktap.equal(scaling.by_table(cfg, probe), {0}, "queues in use")


def too_few_channels(cfg):
    """Queues that the table names cannot be taken away."""
    queues = scaling.need(cfg)
    scaling.choose(cfg, *scaling.only(queues - 1, queues))
    refused = cfg.dut.run("ethtool", "-L", cfg.netif, "combined", str(queues - 1))
    ktap.check(refused.returncode, "a queue of the table was taken away")
    ktap.equal(scaling.channels(cfg), queues, "queues in use")


def offload(cfg):
    """SAs of crypto offload work with a table and with hashes: each has one queue."""
    queues = scaling.need(cfg)
    cfg.need_offload()
    cfg.feature(RXHASH, "on")
    scaling.choose(cfg, *scaling.only(queues - 1, queues))
    for flow in esp.direct(), esp.direct(6):
        esp.protect(cfg, flow)
        esp.exercise(cfg, flow, [56, 1300], 65536)


def traffic_of_all_kinds(cfg):
    """Traffic passes with hashes for the stack, large packets included."""
    scaling.need(cfg)
    cfg.feature(RXHASH, "on")
    scaling.choose(cfg, "hkey", KEY)
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.peer, peer, dut, [56, 4000])
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, 512 * 1024)
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, 512 * 1024)


CASES = [*scaling.CASES, extension_headers, others, back_to_automatic, reset, channels,
         too_few_channels, offload, traffic_of_all_kinds]


def _setup():
    proc.need("ethtool")
    cfg = env.Setup(tap=True)
    if not scaling.agreed(cfg.device):
        raise ktap.Skip("driver and NIC have not agreed on receive side scaling")
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
