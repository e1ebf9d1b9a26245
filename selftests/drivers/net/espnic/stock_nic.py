#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Both NICs with Linux's own virtio_net: the device is a correct plain NIC for stock drivers."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netif, proc, reception, scaling, traffic  # noqa: E402

STOCK = "virtio_net"
PORT = "5201"
BYTES = "8M"
MTU = 9000


class StockSetup(env.Setup):
    """Both interfaces with the stock driver; their own drivers come back at the end."""

    def __init__(self):
        for variable in ("NETIF", "PEERIF"):
            self._take(env.interface(variable))
        super().__init__(mtu=MTU)

    def _take(self, name):
        device = netif.bus_device(name)
        own = netif.driver_of(device)
        if own is None:
            raise ktap.Skip(f"{name} is not on the virtio bus")
        if own != STOCK:
            netif.unbind(device)
            ktap.defer(self._restore, device, own, name)
            netif.bind(device, STOCK, name)

    @staticmethod
    def _restore(device, own, name):
        if netif.driver_of(device):
            netif.unbind(device)
        netif.bind(device, own, name)


def drivers(cfg):
    """Both interfaces really run the stock driver."""
    ktap.equal(netif.ethtool_info(cfg.dut, cfg.netif)["driver"], STOCK, "driver of NETIF")
    ktap.equal(netif.ethtool_info(cfg.peer, cfg.peerif)["driver"], STOCK, "driver of PEERIF")


def ping(cfg):
    """Pings of all kinds of sizes, both families, both ways."""
    for dut, peer in ((env.DUT4, env.PEER4), (env.DUT6, env.PEER6)):
        traffic.ping(cfg.dut, dut, peer, [0, 1, 56, 1400, 1472, 8900])
        traffic.ping(cfg.peer, peer, dut, [0, 1, 56, 1400, 1472, 8900])


def ping_program(cfg):
    """The usual ping program, full frames at MTU 9000 without fragmentation."""
    proc.need("ping")
    cfg.dut.cmd("ping", "-c", "5", "-i", "0.1", "-s", "8972", "-M", "do", env.PEER4)


def content(cfg):
    """TCP contents arrive unchanged."""
    traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4, 1 << 20)
    traffic.tcp(cfg.peer, env.PEER6, cfg.dut, env.DUT6, 1 << 20)


def _iperf(cfg, *options):
    server = cfg.peer.spawn("iperf3", "-s", "-1", "-p", PORT, "-B", env.PEER4)
    try:
        proc.wait_until(lambda: f":{PORT}" in cfg.peer.cmd("ss", "-Hltn"), "iperf3 listens")
        report = json.loads(cfg.dut.cmd("iperf3", "-c", env.PEER4, "-p", PORT, "-n", BYTES, "-J",
                                        *options, timeout=120))
    finally:
        proc.stop(server)
    sent, received = report["end"]["sum_sent"], report["end"]["sum_received"]
    ktap.diag(f"{received['bytes']} bytes, {received['bits_per_second'] / 1e6:.0f} Mbit/s")
    ktap.at_least(sent["bytes"], 8 << 20, "bytes sent")
    # iperf3 does not read what is in the sockets when the sender is done.
    ktap.at_least(received["bytes"], 4 << 20, "bytes received")


def iperf3_sending(cfg):
    """iperf3 from NETIF."""
    proc.need("iperf3", "ss")
    _iperf(cfg)


def iperf3_receiving(cfg):
    """iperf3 towards NETIF."""
    proc.need("iperf3", "ss")
    _iperf(cfg, "-R")


CASES = [drivers, ping, ping_program, content, iperf3_sending, iperf3_receiving, *reception.CASES,
         *scaling.CASES]

if __name__ == "__main__":
    ktap.main(CASES, StockSetup)
