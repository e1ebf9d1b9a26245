#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""No IV is ever used twice under one key (RFC 4106 section 3.1), whatever happens to the SA.

Every ESP packet that NETIF put on the wire is collected, and the IVs are compared per key:
within an SA, after the SA was deleted and added again with the same key (sequence numbers start
again at 1 then), and when the stack encrypts some packets of an SA in software.
"""

import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, traffic, xfrm  # noqa: E402
from ksft.forge import ip  # noqa: E402

PINGS = 40
READDS = 6
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
VIRTIO_NEEDS_CSUM, VIRTIO_GSO_TCPV4 = 1, 1
IP_HLEN, TCP_HLEN, TCP_CHECK, TCP_ACK = 20, 20, 16, 0x10
BEHIND, SEGMENT = "203.0.113.98", 1000


def _check_unique(packets, least):
    """All packets were made with one key: no IV may repeat."""
    ktap.at_least(len(packets), least, "ESP packets collected")
    esp.unique(packets, "iv")
    ktap.diag(f"{len(packets)} packets, as many IVs")


def _sent(cfg, watch):
    """ESP packets of NETIF; the NIC's capture and the tap must agree."""
    packets = watch.esp(cfg.netif_mac)
    if cfg.capture:
        ktap.equal([packet.iv for packet in watch.nic_esp(cfg.netif_mac)],
                   [packet.iv for packet in packets], "IVs in the NIC's capture")
    return packets


def _start(cfg, flow):
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    return cfg.watch()


def within_one_sa(cfg):
    """Single packets, and TCP segments that the stack cut from larger ones."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    watch = _start(cfg, flow)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * PINGS)
    traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4, 256 * 1024)
    traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * PINGS)
    watch.stop().prove_offload(2 * PINGS)
    packets = _sent(cfg, watch)
    _check_unique(packets, 2 * PINGS + 180)
    numbers = [packet.seq for packet in packets]
    ktap.equal(len(set(numbers)), len(numbers), "different sequence numbers")


def _readd(cfg, flow, same_spi):
    watch = _start(cfg, flow)
    packets = []
    for _ in range(READDS):
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * PINGS)
        watch.stop().prove_offload(PINGS)
        packets += _sent(cfg, watch)
        cfg.dut.ip(flow.out.delete())
        cfg.peer.ip(flow.out.delete())
        if not same_spi:
            flow.out = xfrm.Sa(flow.dut, flow.peer, xfrm.new_spi(), flow.out.key)
        cfg.dut.ip(flow.out.add(xfrm.offload(cfg.netif, "out")))
        cfg.peer.ip(flow.out.add(xfrm.WINDOW))
        watch = cfg.watch()
    first = [packet for packet in packets if packet.seq == 1]
    ktap.equal(len(first), READDS, "packets with sequence number 1")
    _check_unique(packets, READDS * PINGS)


def delete_and_readd_same_key(cfg):
    """The same SA again, key and SPI: sequence numbers repeat, IVs must not."""
    _readd(cfg, xfrm.Flow(env.DUT4, env.PEER4), same_spi=True)


def same_key_other_spi(cfg):
    """The same key under another SPI, IPv6."""
    _readd(cfg, xfrm.Flow(env.DUT6, env.PEER6), same_spi=False)


def software_and_hardware(cfg):
    """The stack encrypts some packets of the SA itself, the NIC the others."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    watch = _start(cfg, flow)
    ktap.defer(cfg.dut.cmd, "ethtool", "-K", cfg.netif, "esp-hw-offload", "on")
    for state in ("on", "off", "on", "off"):
        cfg.dut.cmd("ethtool", "-K", cfg.netif, "esp-hw-offload", state)
        traffic.ping(cfg.dut, env.DUT4, env.PEER4, [56] * PINGS)
    watch.stop().prove_no_errors()
    hardware = watch.driver.get("ipsec_tx_packets", 0)
    ktap.equal(hardware, 2 * PINGS, "packets encrypted by the NIC")
    _check_unique(_sent(cfg, watch), 4 * PINGS)


class Guest:
    """A VM behind a TUN of the side under test, which forwards its packets."""

    def __init__(self, cfg):
        cfg.dut.cmd("modprobe", "tun")
        with cfg.dut:
            self._tun = os.open("/dev/net/tun", os.O_RDWR)
            ktap.defer(os.close, self._tun)
            request = struct.pack("16sH22x", b"guest0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
            fcntl.ioctl(self._tun, TUNSETIFF, request)
        cfg.dut.ip("link set guest0 addrgenmode none up", f"route add {BEHIND}/32 dev guest0")
        cfg.dut.sysctl("net.ipv4.ip_forward", 1)
        ktap.defer(cfg.dut.sysctl, "net.ipv4.ip_forward", 0)

    def send_train(self, dst, number, segments):
        """One TCP packet for the stack to segment, without the number of its segments."""
        data = bytes(segments * SEGMENT)
        pseudo = (socket.inet_aton(BEHIND) + socket.inet_aton(dst)
                  + struct.pack("!HH", socket.IPPROTO_TCP, TCP_HLEN + len(data)))
        total = sum(struct.unpack("!6H", pseudo))
        total = (total & 0xFFFF) + (total >> 16)
        tcp = struct.pack("!HHIIBBHHH", 1000, 2000, number, 1, TCP_HLEN << 2, TCP_ACK, 1000,
                          (total & 0xFFFF) + (total >> 16), 0)
        header = struct.pack("<BBHHHH", VIRTIO_NEEDS_CSUM, VIRTIO_GSO_TCPV4, IP_HLEN + TCP_HLEN,
                             SEGMENT, IP_HLEN, TCP_CHECK)
        os.write(self._tun, header + ip(BEHIND, dst, socket.IPPROTO_TCP, tcp + data))


def trains_of_a_guest(cfg):
    """TCP that a VM wants segmented: how many numbers a packet takes is not known when the stack
    gives them out, so they are software's."""
    flow, trains, segments = xfrm.Flow(env.DUT4, env.PEER4, "tunnel"), 4, 20
    ktap.defer(xfrm.flush, cfg.dut)
    guest = Guest(cfg)
    cfg.dut.ip(flow.out.add(xfrm.offload(cfg.netif, "out")),
               f"xfrm policy add src {BEHIND} dst {env.PEER4} dir out tmpl src {env.DUT4} "
               f"dst {env.PEER4} proto esp reqid {flow.out.reqid} mode tunnel")
    watch = cfg.watch()
    for number in range(trains):
        guest.send_train(env.PEER4, number * segments * SEGMENT, segments)
    watch.stop()
    packets = _sent(cfg, watch)
    _check_unique(packets, trains * segments)
    ktap.equal([packet.seq for packet in packets], list(range(1, trains * segments + 1)),
               "sequence numbers")
    watch.expect_counters({"ipsec_tx_packets": 0})


CASES = [within_one_sa, delete_and_readd_same_key, same_key_other_spi, software_and_hardware,
         trains_of_a_guest]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
