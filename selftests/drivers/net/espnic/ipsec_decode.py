#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""tshark opens every ESP packet that our NIC sent or received, with the keys of the test.

The decoder knows nothing of the NIC or of Linux's ESP. ICV checking is on and its guessing of
unencrypted ESP off; one flipped bit in a copy of the capture must make it fail.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, frames, ktap, pcapng, proc, traffic, tshark, xfrm  # noqa: E402

MARKER = b"espnic decode test, flow %d, packet %d, from %s"
STREAM_TEXT = b"espnic decode test, a TCP stream."
PACKETS = 8
NEXT_HEADERS = {"transport": {6, 17}, "tunnel": {4}}


class Recorded:
    """One run of traffic over three flows and what the wire showed of it."""

    def __init__(self, cfg):
        self.flows = [
            xfrm.Flow(env.DUT4, env.PEER4, reqid=1),
            xfrm.Flow(env.DUT6, env.PEER6, reqid=2, bits=256),
            xfrm.Flow(env.DUT4, env.PEER4, "tunnel", 256, env.DUT_INNER4, env.PEER_INNER4, 3)]
        self.sas = [sa for flow in self.flows for sa in (flow.out, flow.in_)]
        for flow in self.flows:
            flow.install(cfg.dut, cfg.peer, cfg.netif)
        watch = cfg.watch()
        self.sent = [data for i, flow in enumerate(self.flows) for data in _traffic(cfg, flow, i)]
        watch.stop().prove_offload(PACKETS * len(self.flows))
        xfrm.flush(cfg.dut, cfg.peer)
        source = watch.nic_frames if cfg.capture else watch.tap_frames
        self.frames = [frame for _, frame in source]
        self.folder = tempfile.TemporaryDirectory()
        ktap.defer(self.folder.cleanup)

    def open(self, frame_list, name):
        """What tshark makes of these frames."""
        path = os.path.join(self.folder.name, name)
        pcapng.write_pcap(path, frame_list)
        return tshark.open_esp(path, self.sas)


def _traffic(cfg, flow, number):
    """Marked datagrams both ways and a TCP stream; returns what must be found."""
    expected = []
    ends = ((cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, b"dut"),
            (cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner, b"peer"))
    for ns_from, src, ns_to, dst, name in ends:
        link = traffic.Datagrams(ns_from, src, ns_to, dst)
        ktap.defer(link.close)
        for packet in range(PACKETS):
            data = MARKER % (number, packet, name) + b"." * packet
            ktap.check(link.send(data), "a datagram could not be sent")
            ktap.equal(link.receive(), data, "datagram")
            expected.append(data)
    traffic.tcp(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner, 20000, STREAM_TEXT)
    return expected


def every_packet_opens(cfg):
    """Every ICV is right, every payload of the test is found, next headers fit the mode."""
    recorded = cfg.recorded
    count = len(frames.esp_packets(recorded.frames))
    opened = recorded.open(recorded.frames, "good.pcap")
    ktap.equal(len(opened), count, "ESP packets that tshark found")
    bad = [(packet.number, hex(packet.spi), packet.seq) for packet in opened
           if not packet.icv_good or packet.icv_bad]
    ktap.check(not bad, f"{len(bad)} of {count} packets do not open, the first (frame, SPI, "
               f"sequence number) is {bad[:1]}")
    modes = {sa.spi: sa.mode for sa in recorded.sas}
    for packet in opened:
        ktap.check(packet.next_header in NEXT_HEADERS[modes[packet.spi]],
                   f"next header {packet.next_header} in {modes[packet.spi]} mode")
    payloads = [packet.payload for packet in opened]
    for data in [*recorded.sent, STREAM_TEXT]:
        ktap.check(any(data in payload for payload in payloads),
                   f"{data!r} is in no decrypted packet")
    ktap.diag(f"{count} packets opened, {len(recorded.sent)} datagrams found in them")


def one_flipped_bit_fails(cfg):
    """In a copy with one bit of one ciphertext flipped, exactly that packet fails."""
    recorded = cfg.recorded
    copy = list(recorded.frames)
    numbers = [i for i, frame in enumerate(copy) if frames.esp_packets([frame])]
    victim = numbers[len(numbers) // 2]
    packet = frames.parse(copy[victim])
    at = packet.offset + frames.ESP_LEN + frames.IV_LEN
    copy[victim] = copy[victim][:at] + bytes([copy[victim][at] ^ 1]) + copy[victim][at + 1:]
    opened = recorded.open(copy, "flipped.pcap")
    failed = [packet.number for packet in opened if packet.icv_bad or not packet.icv_good]
    ktap.equal(failed, [victim + 1], "frames with a wrong ICV")


def wrong_key_opens_nothing(cfg):
    """With one bit of every key flipped, nothing opens: the check above is not vacuous."""
    recorded = cfg.recorded
    keys = [xfrm.Sa(sa.src, sa.dst, sa.spi, bytes([sa.key[0] ^ 1]) + sa.key[1:])
            for sa in recorded.sas]
    path = os.path.join(recorded.folder.name, "good.pcap")
    pcapng.write_pcap(path, recorded.frames)
    good = [packet for packet in tshark.open_esp(path, keys) if packet.icv_good]
    ktap.equal(good, [], "packets that open with wrong keys")


def _setup():
    proc.need("tshark")
    cfg = env.Setup(tap=True).need_offload()
    cfg.recorded = Recorded(cfg)
    return cfg


if __name__ == "__main__":
    ktap.main([every_packet_opens, one_flipped_bit_fails, wrong_key_opens_nothing], _setup)
