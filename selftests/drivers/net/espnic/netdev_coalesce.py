#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Interrupts that the NIC holds back: as long as ethtool says, for each queue, or adaptively.

How long they are held back shows in the time that a ping takes which the side under test answers:
it receives the request with the interrupt only.
"""

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netif, pace, proc, traffic  # noqa: E402

NOTF_COAL, VQ_NOTF_COAL = 53, 52
MOST = 10000  # microseconds
HELD = 0.8 * MOST / 1e6
SLACK = pace.scaled(0.05)
DATAGRAMS, GAP = 200, 0.0005
STREAM = 2 << 20
SMALL_RING = 64
RESET_TIME = 15.0
# What the kernel's library chooses from: (rx-usecs, rx-frames).
PROFILES = {(1, 256), (8, 256), (64, 256), (128, 256), (256, 256)}
OFF = {"adaptive-rx": "off", "rx-usecs": "0", "rx-frames": "0", "tx-usecs": "0", "tx-frames": "0"}


class Setup(env.Setup):
    """Nothing is held back at first, nor after a case."""

    def __init__(self):
        super().__init__()
        if not netif.has_feature(self.device, NOTF_COAL):
            raise ktap.Skip(f"{self.netif} does not hold interrupts back")


def _parsed(text):
    shown = dict(re.findall(r"^((?:rx|tx)-(?:usecs|frames)):\s*(\S+)$", text, re.MULTILINE))
    shown["adaptive-rx"] = re.search(r"Adaptive RX: (\w+)", text).group(1)
    return shown


def _shown(cfg, pair=None):
    """`ethtool -c`, of one queue pair or of all."""
    words = ["-c", cfg.netif]
    if pair is not None:
        words = ["--per-queue", cfg.netif, "queue_mask", hex(1 << pair), "--show-coalesce"]
    return _parsed(cfg.dut.cmd("ethtool", *words))


def _try(cfg, pair=None, **settings):
    """`ethtool -C` with settings such as rx_usecs=5."""
    words = [word for name, value in settings.items()
             for word in (name.replace("_", "-"), str(value))]
    before = ["-C", cfg.netif]
    if pair is not None:
        before = ["--per-queue", cfg.netif, "queue_mask", hex(1 << pair), "--coalesce"]
    return cfg.dut.run("ethtool", *before, *words)


def _put_back(cfg):
    _try(cfg, adaptive_rx="off")
    # What is as it was is an error for old versions of ethtool.
    _try(cfg, rx_usecs=1)
    _try(cfg, rx_usecs=0, rx_frames=0, tx_usecs=0, tx_frames=0)
    ktap.equal(_shown(cfg), OFF, "ethtool -c")


def _set(cfg, pair=None, **settings):
    """The same for the rest of the case; it must be accepted, and shown."""
    ktap.defer(_put_back, cfg)
    result = _try(cfg, pair, **settings)
    ktap.equal(result.returncode, 0, f"ethtool -C: {result.stderr}")
    shown = _shown(cfg, pair)
    for name, value in settings.items():
        if name != "adaptive_rx" and shown["adaptive-rx"] == "on" and name.startswith("rx"):
            continue
        ktap.equal(shown[name.replace("_", "-")], str(value), name)


def _times(cfg, count=10):
    """How long pings take that are answered by the side under test, in seconds."""
    times = []
    for _ in range(count):
        start = time.monotonic()
        traffic.ping(cfg.peer, env.PEER4, env.DUT4)
        times.append(time.monotonic() - start)
    return sorted(times)


def _check_held(cfg, what):
    """Pings take as long as interrupts are held back, and no longer than that. An interrupt of what
    was sent before may be in time for some of them; the NIC has held theirs back nevertheless."""
    before = _nic(cfg)["interrupts_held"]
    times = _times(cfg)
    held = _nic(cfg)["interrupts_held"] - before
    ktap.diag(f"{what}: {times[0] * 1e3:.2f} to {times[-1] * 1e3:.2f} ms, {held} held back")
    ktap.check(held and times[-1] >= HELD, f"{what}: interrupts are not held back")
    ktap.check(times[0] <= MOST / 1e6 + SLACK, f"{what}: interrupts come late")


def _unhindered(cfg, what):
    """How long the quickest ping takes while nothing is set and the NIC holds nothing back."""
    before = _nic(cfg)["interrupts_held"]
    times = _times(cfg)
    ktap.diag(f"{what}: {times[0] * 1e3:.2f} to {times[-1] * 1e3:.2f} ms")
    ktap.equal(_nic(cfg)["interrupts_held"], before, f"interrupts held back, {what}")
    return times[0]


def _check_prompt(cfg, what, unhindered):
    """Pings are quicker than if interrupts were held back."""
    times = _times(cfg)
    ktap.diag(f"{what}: {times[0] * 1e3:.2f} to {times[-1] * 1e3:.2f} ms")
    ktap.check(times[0] < unhindered + HELD, f"{what}: interrupts are held back")


def _nic(cfg):
    stats = cfg.need_control().request("stats", cfg.nic)["nics"][cfg.nic]["virtio"]
    return {name: stats[name] for name in ("interrupts_held", "interrupts_timed")}


def shown(cfg):
    """Nothing is held back until it is asked for; every number is shown as it was set."""
    ktap.equal(_shown(cfg), OFF, "ethtool -c")
    wanted = {"rx_usecs": 20, "rx_frames": 30, "tx_usecs": 40, "tx_frames": 50}
    _set(cfg, **wanted)
    _set(cfg, rx_frames=0)
    ktap.equal(_shown(cfg), OFF | {"rx-usecs": "20", "tx-usecs": "40", "tx-frames": "50"},
               "ethtool -c")
    _set(cfg, rx_usecs=MOST)


def refused(cfg):
    """What would keep the last packets for ever, or too long, and what the NIC cannot do, is
    refused and changes nothing."""
    _set(cfg, rx_usecs=7, rx_frames=9)
    before = _shown(cfg)
    for settings, text in (({"rx_usecs": MOST + 1}, "more than 10000 microseconds"),
                           ({"tx_usecs": MOST + 1}, "more than 10000 microseconds"),
                           ({"rx_usecs": 0}, "needs a time"),
                           ({"tx_frames": 2}, "needs a time"),
                           ({"adaptive_rx": "on", "rx_usecs": 5}, "the driver chooses"),
                           ({"adaptive_tx": "on"}, ""), ({"rx_usecs_irq": 5}, ""),
                           ({"stats_block_usecs": 5}, "")):
        result = _try(cfg, **settings)
        ktap.check(result.returncode, f"ethtool -C {settings} was accepted")
        ktap.contains(result.stderr, text, f"ethtool -C {settings}")
        ktap.equal(_shown(cfg), before, "ethtool -c")
    traffic.ping(cfg.peer, env.PEER4, env.DUT4)


def latency(cfg):
    """A packet that comes alone is announced when its time is over, and at once if it is the last
    of so many."""
    unhindered = _unhindered(cfg, "nothing set")
    _set(cfg, rx_usecs=MOST)
    _check_held(cfg, "a time")
    _set(cfg, rx_frames=1)
    _check_prompt(cfg, "a single frame", unhindered)
    _set(cfg, rx_frames=0, rx_usecs=0)
    _unhindered(cfg, "nothing again")


def _count(cfg):
    """Interrupts of receive queues for datagrams that come one by one, and the seconds that they
    took."""
    link = traffic.Datagrams(cfg.peer, env.PEER4, cfg.dut, env.DUT4)
    ktap.defer(link.close)
    before, start = netif.interrupts(cfg.device, "input"), time.monotonic()
    for _ in range(DATAGRAMS):
        link.send(b"espnic")
        time.sleep(GAP)
    took = time.monotonic() - start
    arrived = []
    proc.wait_until(lambda: arrived.append(link.drain()) or sum(arrived) >= DATAGRAMS,
                    "the datagrams arrive")
    after = netif.interrupts(cfg.device, "input")
    return sum(after.values()) - sum(before.values()), took


def fewer_interrupts(cfg):
    """With a time there is one interrupt in that time, whatever comes; with a number of frames one
    for so many of them."""
    if not netif.interrupts(cfg.device, "input"):
        raise ktap.Skip("/proc/interrupts does not name receive queues of this driver")
    each, _ = _count(cfg)
    _set(cfg, rx_usecs=MOST)
    by_time, took = _count(cfg)
    _set(cfg, rx_frames=20)
    by_frames, _ = _count(cfg)
    ktap.diag(f"{DATAGRAMS} datagrams: {each} interrupts; {by_time} by time, {by_frames} by frames")
    most = took * 1e6 / MOST
    ktap.check(by_time <= most + 5, f"more than {most:.0f} interrupts")
    ktap.check(by_time < 0.8 * each, "not fewer interrupts")
    ktap.check(by_frames < 0.8 * each, "not fewer interrupts with 20 frames")


def sending(cfg):
    """What the NIC has sent is announced later; nothing waits for it for ever."""
    unhindered = _unhindered(cfg, "nothing set")
    _set(cfg, tx_usecs=MOST, tx_frames=64)
    before = _nic(cfg)
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, [56, 1000] * 5)
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
    after = _nic(cfg)
    ktap.diag(f"{before}, {after}")
    ktap.check(after["interrupts_held"] > before["interrupts_held"], "nothing was held back")
    _check_prompt(cfg, "receiving", unhindered)


def both(cfg):
    """Traffic of all kinds with both directions held back; the NIC counts it."""
    _set(cfg, rx_usecs=200, rx_frames=32, tx_usecs=200, tx_frames=32)
    before = _nic(cfg)
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.peer, peer, dut, [56, 1000] * 10)
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)
    after = _nic(cfg)
    for name, value in before.items():
        ktap.check(after[name] > value, f"{name} did not change")


def _pairs(cfg):
    text = cfg.dut.cmd("ethtool", "-l", cfg.netif)
    return int(text.rpartition("Combined:")[2].split()[0])


def _need_queues(cfg):
    if not netif.has_feature(cfg.device, VQ_NOTF_COAL):
        raise ktap.Skip(f"{cfg.netif} does not hold interrupts of single queues back")
    return _pairs(cfg)


def one_queue(cfg):
    """Each queue pair has settings of its own, until something is set for all."""
    pairs = _need_queues(cfg)
    _set(cfg, rx_usecs=11)
    for pair in range(pairs):
        _set(cfg, pair, rx_usecs=MOST, tx_usecs=pair + 1)
        others = [_shown(cfg, other)["rx-usecs"] for other in range(pair + 1, pairs)]
        ktap.equal(others, ["11"] * len(others), "the others")
    ktap.equal(_shown(cfg)["rx-usecs"], "11", "ethtool -c")
    _check_held(cfg, "each queue by itself")
    before = _shown(cfg, 0)
    for pair, settings in ((0, {"rx_usecs": MOST + 1}), (0, {"tx_frames": 5, "tx_usecs": 0}),
                           (pairs, {"rx_usecs": 5})):
        # ethtool tells of it, and succeeds.
        result = _try(cfg, pair, **settings)
        ktap.contains(result.stderr, "Cannot", f"{settings} of pair {pair}")
        ktap.equal(_shown(cfg, 0), before, "the first pair")
    _set(cfg, rx_usecs=12)
    shown = [_shown(cfg, pair)["rx-usecs"] for pair in range(pairs)]
    ktap.equal(shown, ["12"] * pairs, "all queues")


def _rings(cfg):
    sizes = re.findall(r"^[RT]X:\s+(\d+)$", cfg.dut.cmd("ethtool", "-g", cfg.netif), re.MULTILINE)
    for rx_size, tx_size in ((SMALL_RING, SMALL_RING), sizes[2:]):
        cfg.dut.cmd("ethtool", "-G", cfg.netif, "rx", str(rx_size), "tx", str(tx_size))


def _down_and_up(cfg):
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()


def _function_reset(cfg):
    path = netif.reset_file(cfg.device)
    if path:
        proc.write_file(path, "1")


def _requested_reset(cfg):
    if cfg.control:
        cfg.reset(RESET_TIME)


def _channels(cfg):
    now = _pairs(cfg)
    if now > 1:
        for count in (1, now):
            cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(count))


CHANGES = [_rings, _down_and_up, _channels, _function_reset, _requested_reset]


def kept(cfg):
    """Settings of all queues, and of single ones, survive what makes the NIC forget them."""
    ktap.defer(cfg.configure)
    single = _need_queues(cfg)
    for words in ("of all queues", "of single queues"):
        if words == "of all queues":
            _set(cfg, rx_usecs=MOST, tx_usecs=30)
        else:
            _set(cfg, rx_usecs=0)
            for pair in range(single):
                _set(cfg, pair, rx_usecs=MOST, tx_usecs=30)
        before = [_shown(cfg), *(_shown(cfg, pair) for pair in range(single))]
        for change in CHANGES:
            change(cfg)
            now = [_shown(cfg), *(_shown(cfg, pair) for pair in range(single))]
            ktap.equal(now, before, f"{words} after {change.__name__}")
            _check_held(cfg, f"{words} after {change.__name__}")


def _chosen(cfg, pairs):
    """What was chosen for each pair: (rx-usecs, rx-frames)."""
    each = [_shown(cfg, pair) for pair in range(pairs)]
    return [(int(one["rx-usecs"]), int(one["rx-frames"])) for one in each]


def adaptive(cfg):
    """The driver moves through the library's moderations while there is traffic, stays where it is
    without, and goes back to what was set when it is switched off."""
    pairs = _need_queues(cfg)
    _set(cfg, rx_usecs=33, rx_frames=44)
    _set(cfg, adaptive_rx="on")
    first = _chosen(cfg, pairs)
    ktap.equal(set(first), {(8, 256)}, "the beginning")
    seen = set(first)

    def moved():
        seen.update(_chosen(cfg, pairs))
        return len(seen) > 1

    with traffic.Pour(cfg.peer, env.PEER4, cfg.dut, env.DUT4):
        proc.wait_until(moved, "another moderation is chosen", 20)
        for _ in range(4):
            time.sleep(env.SETTLE)
            moved()
    ktap.diag(f"chosen: {sorted(seen)}")
    ktap.check(seen <= PROFILES, "not one of the library's")
    time.sleep(env.SETTLE)
    rest = _chosen(cfg, pairs)
    time.sleep(4 * env.SETTLE)
    ktap.equal(_chosen(cfg, pairs), rest, "moved without traffic")
    ktap.equal(_shown(cfg)["rx-usecs"], "33", "what is set for all")
    _set(cfg, adaptive_rx="off")
    ktap.equal(set(_chosen(cfg, pairs)), {(33, 44)}, "what was set before")


def adaptive_kept(cfg):
    """It goes on after resets and changes of queues, and single queues can be taken out of it."""
    pairs = _need_queues(cfg)
    ktap.defer(cfg.configure)
    _set(cfg, adaptive_rx="on")
    with traffic.Pour(cfg.peer, env.PEER4, cfg.dut, env.DUT4):
        time.sleep(2 * env.SETTLE)
    for change in CHANGES:
        change(cfg)
        ktap.equal(_shown(cfg)["adaptive-rx"], "on", change.__name__)
        traffic.tcp(cfg.peer, env.PEER4, cfg.dut, env.DUT4, STREAM)
    for pair in range(pairs):
        _set(cfg, pair, adaptive_rx="off", rx_usecs=MOST, rx_frames=0)
    _check_held(cfg, "taken out")
    _set(cfg, 0, adaptive_rx="on")
    ktap.check(_chosen(cfg, 1)[0] in PROFILES, "the first queue")
    traffic.tcp(cfg.peer, env.PEER4, cfg.dut, env.DUT4, STREAM)


CASES = [shown, refused, latency, fewer_interrupts, sending, both, one_queue, kept, adaptive,
         adaptive_kept]

if __name__ == "__main__":
    ktap.main(CASES, Setup)
