# SPDX-License-Identifier: GPL-2.0
"""Transmit rings, and the stack's limits of the bytes in them."""

import json
import os

from . import env, netif, traffic
from .ktap import defer

MIN, MAX = "byte_queue_limits/limit_min", "byte_queue_limits/limit_max"
PLENTY = 1 << 20  # bytes, more than the rings of tests hold


def inflight(cfg):
    """Bytes that the stack believes to be in each transmit queue."""
    return netif.queue_values(cfg.dut, cfg.netif, "byte_queue_limits/inflight")


def waiting(cfg):
    """Bytes in the transmit queues, and in the queueing disciplines before them."""
    text = cfg.dut.cmd("tc", "-s", "-j", "qdisc", "show", "dev", cfg.netif)
    return sum(inflight(cfg)) + sum(one["backlog"] for one in json.loads(text))


def size(cfg):
    """Descriptors of a transmit ring."""
    text = cfg.dut.cmd("ethtool", "-g", cfg.netif)
    return int(text.rpartition("TX:")[2].split()[0])  # the later one is the present one


def use_all(cfg):
    """A packet from each processor, and so through each queue: the stack works out its limits
    with what is sent."""
    mine = os.sched_getaffinity(0)
    try:
        for cpu in mine:
            os.sched_setaffinity(0, {cpu})
            traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56] * 2)
    finally:
        os.sched_setaffinity(0, mine)


def limit(cfg, file, value):
    """Set MIN or MAX of all queues for the rest of the case."""
    before = netif.queue_values(cfg.dut, cfg.netif, file)[0]
    defer(netif.set_queue_values, cfg.dut, cfg.netif, file, before)
    netif.set_queue_values(cfg.dut, cfg.netif, file, value)
    use_all(cfg)


def resize(cfg, descriptors):
    """Transmit rings of this size for the rest of the case."""
    before = size(cfg)
    defer(lambda: size(cfg) == before or _resize(cfg, before))
    _resize(cfg, descriptors)


def shrink(cfg, descriptors):
    """As resize(), and the stack may fill them up."""
    resize(cfg, descriptors)
    limit(cfg, MIN, PLENTY)


def _resize(cfg, descriptors):
    cfg.dut.cmd("ethtool", "-G", cfg.netif, "tx", str(descriptors))
