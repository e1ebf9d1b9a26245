#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Segmentation, checksums and the MTU inside ESP.

With tx-esp-segmentation the stack hands down bulk TCP unsegmented; the wire must show ESP packets
that fit the MTU, each with a number and an IV of its own, and the other end the same bytes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, netif, traffic, xfrm  # noqa: E402

STREAM = 1 << 20
SHORT = 256 * 1024
ETHERNET, IPV4, IPV6 = 14, 20, 40
ICMP = 8
LONGEST_TRAIN = 46  # segments of 64 KiB


def _need_gso(cfg):
    """Skip unless the driver offers segmentation inside ESP."""
    if "tx-esp-segmentation" not in netif.ethtool_changeable(cfg.dut, cfg.netif):
        raise ktap.Skip(f"{cfg.netif} has no tx-esp-segmentation")


def _stream(cfg, flow, size=STREAM, segmented=True):
    """TCP both ways through a flow that is installed; returns what was seen."""
    ktap.diag(flow.name)
    watch = cfg.watch()
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, size)
    watch.stop().prove_offload(size // cfg.mtu)
    sent = watch.esp(cfg.netif_mac)
    trains = watch.driver.get("tx_tso_packets", 0)
    ktap.diag(f"{trains} trains among {len(sent)} ESP packets")
    if segmented:
        ktap.at_least(trains, 5, "packets that the NIC segmented")
        # Not all are ESP: the stack may announce its multicast groups meanwhile.
        ktap.equal(watch.driver["tx_packets"], watch.frames_sent(cfg.netif_mac), "tx_packets")
    else:
        ktap.equal(trains, 0, "packets that the NIC segmented")
    for what in ("seq", "long_iv" if flow.algorithm.block == 16 else "iv"):
        ktap.equal(len({getattr(packet, what) for packet in sent}), len(sent),
                   f"different values of {what}")
    _check_sizes(cfg, watch)
    return watch


def _check_sizes(cfg, watch):
    """No frame is longer than the MTU allows, and the longest ones nearly fill it."""
    longest = max(len(frame) for _, frame in watch.tap_frames + watch.nic_frames)
    ktap.check(longest <= cfg.mtu + ETHERNET, f"a frame of {longest} bytes is on the wire")
    ktap.at_least(longest, cfg.mtu + ETHERNET - 20, "length of the longest frame")


def _case(cfg, flow, **kwargs):
    _need_gso(cfg)
    esp.protect(cfg, flow)
    return _stream(cfg, flow, **kwargs)


def features(cfg):
    """Segmentation and checksums inside ESP are offered and on, and can be switched."""
    _need_gso(cfg)
    wanted = ["esp-hw-offload", "esp-tx-csum-hw-offload", "tx-esp-segmentation",
              "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-checksum-ip-generic"]
    shown = cfg.features()
    changeable = netif.ethtool_changeable(cfg.dut, cfg.netif)
    for name in wanted:
        ktap.check(shown.get(name), f"{name} is not on")
        ktap.check(name in changeable, f"{name} cannot be switched")


def transport_v4(cfg):
    """IPv4 transport."""
    _case(cfg, xfrm.Flow(env.DUT4, env.PEER4))


def transport_v6_chacha(cfg):
    """IPv6 transport, ChaCha20-Poly1305."""
    _case(cfg, xfrm.Flow(env.DUT6, env.PEER6, algorithm=algo.CHACHA))


def transport_cbc(cfg):
    """IPv4 transport, AES-CBC: IVs of 16 bytes and padding to 16."""
    _case(cfg, xfrm.Flow(env.DUT4, env.PEER4, algorithm=algo.cbc(128, "sha256")), size=SHORT)


def tunnels(cfg):
    """All four tunnels."""
    for make in (esp.inner4, esp.inner6):
        for outer in (4, 6):
            _case(cfg, make(outer=outer), size=SHORT)
            xfrm.flush(cfg.dut, cfg.peer)


def across_2_32(cfg):
    """Trains of segments before, on and after 2^32.

    The stack itself segments and encrypts the train in which the low half wraps, offloaded or not,
    and gets the high half of number 2^32 - 1 wrong: TCP has to send that segment again. All the
    other trains are the NIC's.
    """
    _need_gso(cfg)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    for before in (30, 57):
        start = (1 << 32) - before
        esp.protect_esn(cfg, flow, 1024, start, start)
        watch = cfg.watch()
        traffic.tcp(cfg.dut, flow.dut, cfg.peer, flow.peer, STREAM)
        watch.stop().prove_no_plaintext()
        for errors in (watch.dut_errors, watch.peer_errors):
            ktap.check(errors in ({}, {"XfrmInStateProtoError": 1}), f"XFRM errors: {errors}")
        sent = watch.esp(cfg.netif_mac)
        software = len(sent) - watch.driver["ipsec_tx_packets"]
        ktap.diag(f"{software} of {len(sent)} packets by software")
        ktap.check(0 <= software <= LONGEST_TRAIN, "packets that were not encrypted by the NIC")
        ktap.at_least(watch.driver.get("tx_tso_packets", 0), 5, "packets that the NIC segmented")
        esp.unique(sent, "iv")
        ktap.equal(xfrm.numbers(cfg.dut, flow.out).oseq >> 32, 1, "high half of the number sent")
        xfrm.flush(cfg.dut, cfg.peer)


def jumbo(cfg):
    """An MTU of 9000."""
    before = cfg.mtu
    cfg.set_mtu(9000)
    cfg.mtu = 9000
    ktap.defer(setattr, cfg, "mtu", before)
    ktap.defer(cfg.set_mtu, before)
    _case(cfg, xfrm.Flow(env.DUT4, env.PEER4))


def _switched_off(cfg, feature):
    _need_gso(cfg)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    cfg.feature(feature, "off")
    _stream(cfg, flow, SHORT, segmented=False)
    cfg.feature(feature, "on")


def esp_segmentation_off(cfg):
    """Without tx-esp-segmentation the stack segments, the NIC still encrypts."""
    _switched_off(cfg, "tx-esp-segmentation")


def tso_off(cfg):
    """Without tx-tcp-segmentation likewise."""
    _switched_off(cfg, "tx-tcp-segmentation")


def checksum_off(cfg):
    """Without esp-tx-csum-hw-offload the stack makes the inner checksums of single packets, all of
    them: the NIC only makes those of the packets that it segments."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    sizes = (0, 1, 7, 300, 1001)
    for state, wanted in (("on", len(sizes)), ("off", 0), ("on", len(sizes))):
        cfg.feature("esp-tx-csum-hw-offload", state)
        link = traffic.Datagrams(cfg.dut, env.DUT4, cfg.peer, env.PEER4)
        ktap.defer(link.close)
        watch = cfg.watch()
        traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4, SHORT)
        watch.stop().prove_offload(100)
        watch = cfg.watch()
        for size in sizes:
            ktap.check(link.send(bytes(size)) and link.receive() == bytes(size),
                       f"a datagram of {size} bytes did not arrive")
        watch.stop().prove_no_errors()
        ktap.diag(f"feature {state}")
        watch.expect_counters({"ipsec_tx_packets": len(sizes)}, {"ipsec_tx_csum": wanted})


def _exact(cfg, flow):
    """The largest ping that fits is one ESP packet, made by the NIC. With a byte more it is
    several packets, and the NIC has not made an ESP packet that is too long."""
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    outer = IPV6 if ":" in flow.dut else IPV4
    inner = (IPV6 if ":" in flow.dut_inner else IPV4) if flow.mode == "tunnel" else 0
    udp = 8 if flow.encap else 0
    largest = flow.algorithm.room(cfg.mtu - outer - udp) - inner - ICMP
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [largest])
    watch.stop().prove_offload(1)
    sent = watch.esp(cfg.netif_mac)
    ktap.equal(len(sent), 1, "packets for the largest ping")
    size = outer + len(sent[0].payload)
    ktap.equal(size, outer + udp + flow.algorithm.esp_len(inner + ICMP + largest),
               "bytes of the IP packet")
    ktap.check(cfg.mtu - flow.algorithm.block < size <= cfg.mtu,
               f"{size} bytes are not all that an MTU of {cfg.mtu} allows")
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [largest + 1])
    watch.stop()
    ktap.equal((watch.dut_errors, watch.peer_errors), ({}, {}), "XFRM errors")
    if not flow.encap:  # a later fragment of a datagram does not show that ESP is in it
        watch.prove_no_plaintext()
    out = [packet for packet in watch.packets() if packet.smac == cfg.netif_mac]
    ktap.at_least(len(out), 2, "packets for a ping that is a byte larger")
    longest = max(len(frame) for _, frame in watch.tap_frames)
    ktap.check(longest <= cfg.mtu + ETHERNET, f"a frame of {longest} bytes is on the wire")
    xfrm.flush(cfg.dut, cfg.peer)


def exact_mtu_transport(cfg):
    """To the byte: transport mode, several algorithms, both families."""
    for algorithm in (algo.gcm(128), algo.gcm(256, 64), algo.CHACHA, algo.cbc(128, "sha1"),
                      algo.cbc(256, "sha512")):
        _exact(cfg, xfrm.Flow(env.DUT4, env.PEER4, algorithm=algorithm))
    _exact(cfg, xfrm.Flow(env.DUT6, env.PEER6, algorithm=algo.gcm(128, 96)))


def exact_mtu_tunnel(cfg):
    """To the byte: all four tunnels, and ESP in UDP."""
    for make in (esp.inner4, esp.inner6):
        for outer in (4, 6):
            _exact(cfg, make(outer=outer))
    _exact(cfg, xfrm.Flow(env.DUT4, env.PEER4, encap=xfrm.ENCAP_PORT))


def lost_segments(cfg):
    """Segments are lost, both ways: TCP sends the same data again, because its memory is not
    encrypted in place (X49)."""
    _need_gso(cfg)
    control = cfg.need_request("drop")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    for direction in ("tx", "rx"):
        control.fault(cfg.nic, direction, "drop", 1000, "every", 50)
    watch = cfg.watch()
    traffic.tcp(cfg.dut, flow.dut, cfg.peer, flow.peer, STREAM)
    watch.stop().prove_no_errors()
    ktap.at_least(watch.driver.get("tx_tso_packets", 0), 5, "packets that the NIC segmented")
    lost = watch.driver["ipsec_tx_packets"] - len(watch.esp(cfg.netif_mac))
    ktap.at_least(lost, 5, "packets that were lost")


CASES = [features, transport_v4, transport_v6_chacha, transport_cbc, tunnels, across_2_32, jumbo,
         esp_segmentation_off, tso_off, checksum_off, exact_mtu_transport, exact_mtu_tunnel,
         lost_segments]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
