#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Queues and features: changes under traffic, and where the packets of an SA go."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, netif, traffic, xfrm  # noqa: E402

STEP = 25
SMALL_RING = 64
RING_PACKED = 34
PER_SA = 40
STREAM = 512 * 1024
FEATURES = ["esp-hw-offload", "esp-tx-csum-hw-offload", "tx-esp-segmentation",
            "tx-tcp-segmentation", "tx-checksum-ip-generic", "tx-scatter-gather"]
NEEDED = {"esp-tx-csum-hw-offload": "esp-hw-offload"}


def _numbers(cfg, option, *names):
    """Maximum and present value of the named lines of `ethtool -l` or `-g`."""
    text = cfg.dut.cmd("ethtool", option, cfg.netif)
    found = []
    for name in names:
        values = re.findall(rf"^{name}:\s+(\d+)$", text, re.MULTILINE)
        ktap.check(len(values) == 2, f"no numbers for {name!r} in {text!r}")
        found.append(tuple(int(value) for value in values))
    return found


def _channels(cfg):
    return _numbers(cfg, "-l", "Combined")[0]


def _set_channels(cfg, count):
    cfg.dut.cmd("ethtool", "-L", cfg.netif, "combined", str(count))


def _need_queues(cfg):
    """Skip with a single queue pair; the number is put back with the case."""
    most, now = _channels(cfg)
    if most < 2:
        raise ktap.Skip(f"{cfg.netif} has a single queue pair")
    # an unchanged number is an error for old versions of ethtool
    ktap.defer(lambda: _channels(cfg)[1] == now or _set_channels(cfg, now))
    return most


class Busy:
    """SAs in use by datagrams both ways and by TCP at the end; never plaintext."""

    def __init__(self, cfg):
        self.cfg, self.flow = cfg, xfrm.Flow(env.DUT4, env.PEER4)
        esp.protect(cfg, self.flow)
        self.watch = cfg.watch()
        self.streams = [traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4),
                        traffic.Stream(cfg.peer, env.PEER4, cfg.dut, env.DUT4)]

    def __enter__(self):
        for stream in self.streams:
            stream.start()
        return self

    def __exit__(self, *_exc):
        for stream in self.streams:
            stream.close()

    def advance(self):
        """Both streams go on."""
        for stream in self.streams:
            stream.advance(STEP)

    def judge(self, offloaded=True):
        """No error, no plaintext, no IV twice; the SAs still work in the NIC."""
        cfg = self.cfg
        self.watch.stop().prove_no_plaintext()
        for errors in (self.watch.dut_errors, self.watch.peer_errors):
            ktap.equal(errors, {}, "XFRM errors")
        sent = self.watch.esp(cfg.netif_mac)
        esp.unique(sent, "iv")
        encrypted = self.watch.driver.get("ipsec_tx_packets", 0)
        ktap.diag(f"{encrypted} of {len(sent)} packets encrypted by the NIC")
        if offloaded:
            ktap.equal(encrypted, len(sent), "packets encrypted by the NIC")
        else:
            ktap.check(0 < encrypted < len(sent), "not both in the NIC and in software")
        watch = cfg.watch()
        traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
        traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4)
        watch.stop().prove_offload(5)


def channels(cfg):
    """`ethtool -L` from one queue pair to all and back while SAs are in use."""
    most = _need_queues(cfg)
    with Busy(cfg) as busy:
        for count in [*range(1, most + 1), 1, most]:
            if _channels(cfg)[1] != count:
                _set_channels(cfg, count)
            ktap.equal(_channels(cfg), (most, count), "ethtool -l")
            busy.advance()
    busy.judge()


def channels_refused(cfg):
    """No queue pair, too many, and other kinds of channels are refused and change nothing."""
    before = _channels(cfg)
    for words in (("combined", "0"), ("combined", str(before[0] + 1)), ("rx", "1"), ("tx", "1")):
        result = cfg.dut.run("ethtool", "-L", cfg.netif, *words)
        ktap.check(result.returncode, f"ethtool -L {' '.join(words)} was accepted")
        ktap.equal(_channels(cfg), before, "ethtool -l")
    traffic.ping(cfg.dut, env.DUT4, env.PEER4)


def channels_while_down(cfg):
    """The number is changed while the link is down."""
    most = _need_queues(cfg)
    ktap.defer(cfg.configure)
    for count in (1, most):
        cfg.dut.ip(f"link set {cfg.netif} down")
        if _channels(cfg)[1] != count:
            _set_channels(cfg, count)
        cfg.configure()
        ktap.equal(_channels(cfg)[1], count, "ethtool -l")
        traffic.ping(cfg.dut, env.DUT4, env.PEER4)


def _resize(cfg, rx_size, tx_size):
    if [size for _, size in _numbers(cfg, "-g", "RX", "TX")] != [rx_size, tx_size]:
        cfg.dut.cmd("ethtool", "-G", cfg.netif, "rx", str(rx_size), "tx", str(tx_size))


def _need_rings(cfg):
    """Most and present sizes of the rings, which are put back with the case."""
    (rx_most, rx), (tx_most, tx) = _numbers(cfg, "-g", "RX", "TX")
    if min(rx_most, tx_most) <= SMALL_RING:
        raise ktap.Skip(f"rings of at most {rx_most} and {tx_most}")
    ktap.defer(_resize, cfg, rx, tx)
    return rx_most, rx, tx_most, tx


def packed(cfg):
    """Packed queues, which the driver takes where they are offered: small rings, often round."""
    if not netif.has_feature(cfg.device, RING_PACKED):
        raise ktap.Skip(f"{cfg.netif} offers no packed queues")
    _need_rings(cfg)
    _resize(cfg, SMALL_RING, SMALL_RING)
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, [56] * (3 * SMALL_RING))
        traffic.tcp(cfg.dut, dut, cfg.peer, peer, STREAM)
        traffic.tcp(cfg.peer, peer, cfg.dut, dut, STREAM)


def rings(cfg):
    """`ethtool -G` to small rings and back while SAs are in use."""
    rx_most, rx, tx_most, tx = _need_rings(cfg)
    with Busy(cfg) as busy:
        for sizes in ((SMALL_RING, SMALL_RING), (rx_most, SMALL_RING), (SMALL_RING, tx_most),
                      (rx, tx)):
            _resize(cfg, *sizes)
            now = [size for _, size in _numbers(cfg, "-g", "RX", "TX")]
            ktap.equal(now, list(sizes), "ethtool -g")
            busy.advance()
    busy.judge()


def rings_refused(cfg):
    """Rings that the NIC cannot have, and a transmit ring that could not take a packet of the most
    pieces, are refused."""
    before = _numbers(cfg, "-g", "RX", "TX")
    powers, room = "must be powers of two", "too short for a packet"
    for what, number, text in (("rx", 0, powers), ("tx", 0, powers), ("rx", 100, powers),
                               ("tx", 16, room), ("tx", 1, room), ("rx", before[0][0] * 2, "")):
        result = cfg.dut.run("ethtool", "-G", cfg.netif, what, str(number))
        ktap.check(result.returncode, f"ethtool -G {what} {number} was accepted")
        ktap.contains(result.stderr, text, f"ethtool -G {what} {number}")
        ktap.equal(_numbers(cfg, "-g", "RX", "TX"), before, "ethtool -g")
    traffic.ping(cfg.dut, env.DUT4, env.PEER4)


def sa_stays_on_one_queue(cfg):
    """All received packets of an SA come through one queue, those of many SAs through several."""
    most = _need_queues(cfg)
    if not netif.interrupts(cfg.device, "input"):
        raise ktap.Skip("/proc/interrupts does not name receive queues of this driver")
    used = set()
    for _ in range(8):
        flow = xfrm.Flow(env.DUT4, env.PEER4)
        esp.protect(cfg, flow)
        before = netif.interrupts(cfg.device, "input")
        traffic.ping(cfg.peer, env.PEER4, env.DUT4, [56] * PER_SA)
        moved = xfrm.changed(before, netif.interrupts(cfg.device, "input"))
        queue = max(moved, key=moved.get)
        ktap.check(sum(moved.values()) - moved[queue] <= 2,
                   f"packets of one SA came through several queues: {moved}")
        used.add(queue)
        xfrm.flush(cfg.dut, cfg.peer)
    ktap.diag(f"queues used by 8 SAs: {sorted(used)} of {most}")
    ktap.at_least(len(used), 2, "queues used by several SAs")


def features_toggled(cfg):
    """Each feature goes off and on while its SA is in use: software takes over where it must."""
    with Busy(cfg) as busy:
        for name in FEATURES:
            ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, name, "on")
            for state in ("off", "on"):
                ktap.diag(f"{name} {state}")
                cfg.dut.cmd("ethtool", "-K", cfg.netif, name, state)
                busy.advance()
            shown = cfg.features()
            for each in ("esp-hw-offload", name):
                ktap.check(shown.get(each), f"{each} did not come back after {name}")
            for needed in NEEDED:  # switched off together with what it needs
                cfg.dut.cmd("ethtool", "-K", cfg.netif, needed, "on")
    busy.judge(offloaded=False)


def offload_off_then_link_down(cfg):
    """Link down while esp-hw-offload is off: the stack keeps the SAs, which must still work."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    cfg.feature("esp-hw-offload", "off")
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    esp.shown_as_offloaded(cfg, flow)
    cfg.configure()
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    watch.stop().prove_no_errors()
    watch.expect_counters({"ipsec_tx_packets": 0, "ipsec_rx_packets": 5})
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "esp-hw-offload", "on")
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    watch.stop().prove_offload(5)


def added_while_offload_off(cfg):
    """SAs that are added while esp-hw-offload is off: the NIC only receives until it is on."""
    cfg.feature("esp-hw-offload", "off")
    esp.protect(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    watch.stop().prove_no_errors()
    watch.expect_counters({"ipsec_tx_packets": 0, "ipsec_rx_packets": 5})
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "esp-hw-offload", "on")
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * 5)
    watch.stop().prove_offload(5)


CASES = [channels, channels_refused, channels_while_down, packed, rings, rings_refused,
         sa_stays_on_one_queue, features_toggled, offload_off_then_link_down,
         added_while_offload_off]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
