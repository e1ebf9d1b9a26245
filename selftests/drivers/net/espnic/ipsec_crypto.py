#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Crypto offload against Linux's own software ESP at the other end of the wire.

Every case sends pings of all payload sizes that change the padding and a TCP stream each way,
compares contents, and then proves that the NIC encrypted and decrypted every single packet.
"""

import concurrent.futures
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, sniff, traffic, xfrm  # noqa: E402

PADDING_SIZES = [*range(0, 65), 1000, 1372]
GRO = "generic-receive-offload"
IPV4, ESP = b"\x08\x00", 50
JUMBO_SIZES = [1500, 4000, 8800]
STREAM = 128 * 1024
BULK = 1 << 20


def _case(cfg, **kwargs):
    flow = xfrm.Flow(**kwargs)
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    esp.exercise(cfg, flow, PADDING_SIZES, STREAM)


def transport_v4_aes128(cfg):
    """IPv4 transport mode, AES-GCM-128."""
    _case(cfg, dut=env.DUT4, peer=env.PEER4, bits=128)


def transport_v4_aes256(cfg):
    """IPv4 transport mode, AES-GCM-256."""
    _case(cfg, dut=env.DUT4, peer=env.PEER4, bits=256)


def transport_v6_aes128(cfg):
    """IPv6 transport mode, AES-GCM-128."""
    _case(cfg, dut=env.DUT6, peer=env.PEER6, bits=128)


def transport_v6_aes256(cfg):
    """IPv6 transport mode, AES-GCM-256."""
    _case(cfg, dut=env.DUT6, peer=env.PEER6, bits=256)


def _tunnel(cfg, bits):
    _case(cfg, dut=env.DUT4, peer=env.PEER4, bits=bits, mode="tunnel",
          dut_inner=env.DUT_INNER4, peer_inner=env.PEER_INNER4)


def tunnel_v4_aes128(cfg):
    """IPv4 in IPv4 tunnel mode, AES-GCM-128."""
    _tunnel(cfg, 128)


def tunnel_v4_aes256(cfg):
    """IPv4 in IPv4 tunnel mode, AES-GCM-256."""
    _tunnel(cfg, 256)


def several_flows(cfg):
    """IPv4 and IPv6 transport and a tunnel at once: every packet meets its own SA."""
    flows = [xfrm.Flow(env.DUT4, env.PEER4, reqid=1), xfrm.Flow(env.DUT6, env.PEER6, reqid=2,
                                                               bits=256),
             xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 256, env.DUT_INNER4, env.PEER_INNER4, 3)]
    for flow in flows:
        esp.protect(cfg, flow)
    watch = cfg.watch()
    for size in (0, 33, 1000):
        for flow in flows:
            traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [size])
            traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [size])
    watch.stop().prove_offload(18)


def jumbo(cfg):
    """Packets near the MTU of 9000."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    cfg.set_mtu(9000)
    ktap.defer(cfg.set_mtu, cfg.mtu)
    esp.protect(cfg, flow)
    esp.exercise(cfg, flow, JUMBO_SIZES, STREAM)


def receive_offload(cfg):
    """What sees received ESP: nothing before XFRM while receive offload is on, packet sockets and
    the like while it is off. Both ways it is decrypted once, in the NIC."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    for state in ("on", "off"):
        cfg.feature(GRO, state)
        sniffer = sniff.Sniffer(cfg.dut, cfg.netif)
        watch = esp.exercise(cfg, flow, PADDING_SIZES[:8], STREAM)
        received = [frame for outgoing, frame in sniffer.frames() if not outgoing]
        seen = sum(frame[12:14] == IPV4 and frame[23] == ESP for frame in received)
        wanted = 0 if state == "on" else watch.driver["ipsec_rx_packets"]
        ktap.equal(seen, wanted, f"ESP packets at a packet socket with receive offload {state}")
        ktap.at_least(len(received), 8, "packets at the packet socket")


def interleaved(cfg):
    """Two SAs in turns, in transport and tunnel mode, with TCP and ICMP inside: in a batch each
    packet has the mark of its own SA."""
    flows = [xfrm.Flow(env.DUT4, env.PEER4, reqid=1),
             xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 256, env.DUT_INNER4, env.PEER_INNER4, 2)]
    for flow in flows:
        esp.protect(cfg, flow)
    watch = cfg.watch()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(traffic.tcp, cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, BULK)
                for flow in flows]
        for _ in range(20):
            for flow in flows:
                traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [0, 56, 1000])
        for job in jobs:
            job.result()
    watch.stop().prove_offload(2 * BULK // 1460)


def feature_off(cfg):
    """With esp-hw-offload switched off the stack encrypts, and the counters must tell."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    cfg.dut.cmd("ethtool", "-K", cfg.netif, "esp-hw-offload", "off")
    ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, "esp-hw-offload", "on")
    watch = cfg.watch()
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [0, 56, 1000])
    watch.stop().prove_no_errors()
    ktap.equal(len(watch.esp(cfg.netif_mac)), 3, "ESP packets sent")
    watch.expect_counters({"ipsec_tx_packets": 0})
    try:
        watch.prove_offload(3)
    except ktap.Failure:
        return
    raise ktap.Failure("the proof of offloading does not notice software encryption")


CASES = [transport_v4_aes128, transport_v4_aes256, transport_v6_aes128, transport_v6_aes256,
         tunnel_v4_aes128, tunnel_v4_aes256, several_flows, jumbo,
         receive_offload, interleaved, feature_off]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
