#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Resets of the NIC under packet offload: those that it asks for, and those of its PCI function.

There is no software behind the NIC, so an SA goes on as it was, or it ends and its key manager is
told; in between nothing is sent in clear, no number comes twice, and no old packet is accepted.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, forge, ktap, netif, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_UDP  # noqa: E402

RESET_TIME = 10.0
FEW, ROUNDS = 4, 2
PAUSES = [0, 0.02]
HARD, SOFT = 9, 2
IPV4_INSIDE = 4  # next header


def _reset_function(cfg):
    """Reset the PCI function, which the driver knows before."""
    path = netif.reset_file(cfg.device)
    if not path:
        raise ktap.Skip("the NIC's PCI function cannot be reset alone")
    proc.write_file(path, "1")


def reset_asked_for(cfg):
    """The NIC asks for a reset, and then answers nothing any more: outbound SAs go on behind the
    numbers that may have been used; inbound ones, whose windows nobody knows, expire, and an old
    packet has no SA."""
    ktap.rules("R144")
    busy = packet.Busy(cfg, *packet.flows())
    watch = busy.works()
    old = [busy.received(watch, flow) for flow in busy.flows]
    monitor = cfg.dut.spawn("ip", "xfrm", "monitor", "expire")
    time.sleep(env.SETTLE)
    cfg.reset(RESET_TIME)
    packet.gone(cfg, *[flow.in_ for flow in busy.flows])
    time.sleep(env.SETTLE)
    text = proc.stop(monitor)[0]
    for flow in busy.flows:
        ktap.equal(text.count(f"spi {flow.in_.spi:#010x}"), 1, "events of an inbound SA")
        ktap.contains(xfrm.state_text(cfg.dut, flow.out), "mode packet", "outbound SA")
    ktap.equal(text.count("hard 1"), len(busy.flows), "hard expirations")
    watch, injector = cfg.watch(), forge.Injector(cfg)
    for frame in old:
        injector.again(frame)
    watch.stop()
    ktap.equal(watch.dut_errors, {"XfrmInNoStates": len(old)}, "XFRM errors")
    for flow in busy.flows:
        busy.renew_inbound(flow)
    busy.works()
    busy.end()


def reset_under_traffic(cfg):
    """The NIC asks for resets while datagrams are sent: no number comes twice, nothing is in
    clear, and no packet is accepted twice."""
    flow = packet.flows()[0]
    busy = packet.Busy(cfg, flow)
    watch = cfg.watch()
    with traffic.Stream(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner) as out, \
            traffic.Stream(cfg.peer, flow.peer_inner, cfg.dut, flow.dut_inner) as back:
        for _ in range(ROUNDS):
            cfg.reset(RESET_TIME)
            out.advance(20)
            busy.renew_inbound(flow)
            back.advance(20)
    watch.stop().prove_no_plaintext()
    packet.unique(watch.esp(cfg.netif_mac))
    ktap.equal(watch.peer_errors, {}, "XFRM errors of the peer")
    busy.works()


def reset_planned(cfg):
    """Before the PCI function is reset the driver reads windows and counters: all SAs go on, each
    old packet is a replay, and packets that have not come yet are taken, however often that
    happens."""
    busy = packet.Busy(cfg, *packet.flows())
    flow = busy.flows[0]
    for round_ in range(ROUNDS):
        watch = busy.works()
        old = busy.received(watch, flow)
        _reset_function(cfg)
        ktap.equal(xfrm.count(cfg.dut), 2 * len(busy.flows), "SAs after the reset")
        watch = cfg.watch()
        forge.Injector(cfg).again(old)
        proc.wait_until(lambda seen=round_ + 1: packet.replays(cfg, flow.in_) == seen,
                        "the old packet is counted")
        watch.stop()
        ktap.equal(watch.driver.get("ipsec_packet_rx_packets", 0), 0, "packets received")
    busy.works()
    busy.end()


def numbers_before_it(cfg):
    """Packets with numbers that were not used before a planned reset are taken after it, also
    behind the highest one: the window comes back bit by bit."""
    flow = packet.flows()[0]
    packet.protect(cfg, flow)
    injector = forge.Injector(cfg)
    datagram = forge.ip(flow.peer_inner, flow.dut_inner, PROTO_UDP,
                        forge.udp(1000, 2000, b"espnic"))

    def send(number):
        injector.esp(flow.in_, forge.Esp(datagram, IPV4_INSIDE), number)

    watch = cfg.watch()
    for number in (1, 2, 4, 7):
        send(number)
    watch.stop()
    ktap.equal(watch.driver.get("ipsec_packet_rx_packets", 0), 4, "packets before the reset")
    _reset_function(cfg)
    watch = cfg.watch()
    for number in (3, 4, 5, 7, 8):
        send(number)
    proc.wait_until(lambda: packet.replays(cfg, flow.in_) == 2, "two of them are replays")
    watch.stop()
    ktap.equal(watch.driver.get("ipsec_packet_rx_packets", 0), 3, "packets after the reset")


def limit_over_a_reset(cfg):
    """A limit of packets counts those before a planned reset; without the NIC's count, after a
    reset that it asks for, the SA expires."""
    flow = packet.flows()[0]
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*packet.dut_policies(cfg, flow))
    limit = f"limit packet-soft {SOFT} limit packet-hard {HARD} "
    cfg.dut.ip(flow.out.add(limit + packet.offload(cfg, "out")),
               flow.in_.add(packet.offload(cfg, "in")))
    watch = cfg.watch()
    pinger = traffic.Pinger(cfg.dut, flow.dut_inner, flow.peer_inner)
    ktap.defer(pinger.close)
    for _ in range(HARD // 2):
        ktap.check(pinger.exchange(b"espnic"), "no answer before the reset")
    _reset_function(cfg)
    ktap.contains(xfrm.state_text(cfg.dut, flow.out), "mode packet", "outbound SA")
    for _ in range(HARD):
        try:
            pinger.send(b"espnic")
        except OSError:
            break
    packet.gone(cfg, flow.out)
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), HARD, "ESP packets sent")
    packet.unique(watch.esp(cfg.netif_mac))
    new = flow.new_sa(outbound=True)
    cfg.dut.ip(new.add(limit + packet.offload(cfg, "out")))
    cfg.reset(RESET_TIME)
    packet.gone(cfg, new)


def not_taken_back(cfg):
    """After a reset the NIC has room for one SA of each direction: the others expire, nothing of
    theirs is in clear, and those that came back work."""
    control = cfg.need_request("sa-limit")
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    control.fault(cfg.nic, "sa-limit", 1)
    watch = cfg.watch()
    _reset_function(cfg)
    proc.wait_until(lambda: xfrm.count(cfg.dut) == 2, "two SAs expire")
    kept = [flow for flow in busy.flows if xfrm.state_text(cfg.dut, flow.out)]
    lost = [flow for flow in busy.flows if flow not in kept]
    ktap.equal((len(kept), len(lost)), (1, 1), "flows with and without an SA")
    ktap.check(xfrm.state_text(cfg.dut, kept[0].in_), "its inbound SA is lost")
    ktap.check(not traffic.reachable(cfg.dut, lost[0].dut_inner, lost[0].peer_inner, timeout=0.1),
               "a packet passed without an SA")
    watch.stop().prove_no_plaintext()
    busy.works(flows=kept)
    control.request("fault", cfg.nic, "clear")
    busy.renew()
    busy.works()
    packet.unique(busy.sent)


def add_and_delete_meanwhile(cfg):
    """SAs and policies come and go during resets: each is taken, or refused with the reason, and
    what is deleted is gone from the NIC."""
    cfg.need_request("reset")
    flow = packet.flows()[1]
    busy = packet.Busy(cfg, flow)
    tunnel = packet.flows()[0]
    for pause in PAUSES:
        before = cfg.resets()
        cfg.control.request("reset", cfg.nic)
        time.sleep(pause)
        for _ in range(FEW):
            other = flow.new_sa(outbound=True)
            result = cfg.dut.run("ip", *other.add(packet.offload(cfg, "out")).split())
            if result.returncode:
                ktap.contains(result.stderr, "reset", "message during a reset")
            else:
                cfg.dut.ip(other.delete())
            cfg.dut.ip(*packet.dut_policies(cfg, tunnel))
            cfg.dut.ip(*[line.replace(" add ", " delete ").split(" priority")[0]
                         for line in tunnel.dut_policies()])
        proc.wait_until(lambda seen=before: cfg.resets() > seen, "the reset")
        packet.gone(cfg, flow.in_)
        esp.expect_live(cfg, 1, "after the reset")
        busy.renew_inbound(flow)
        esp.expect_live(cfg, 2, "after the reset")
    busy.works()


def deleted_meanwhile(cfg):
    """SAs that are deleted while the NIC is reset do not come back."""
    cfg.need_request("reset")
    busy = packet.Busy(cfg, *packet.flows())
    for pause in PAUSES:
        before = cfg.resets()
        cfg.control.request("reset", cfg.nic)
        time.sleep(pause)
        xfrm.flush(cfg.dut)
        proc.wait_until(lambda seen=before: cfg.resets() > seen, "the reset")
        esp.expect_live(cfg, 0, "after the reset")
        busy.renew()
    busy.works()


CASES = [reset_asked_for, reset_under_traffic, reset_planned, numbers_before_it, limit_over_a_reset,
         not_taken_back, add_and_delete_meanwhile, deleted_meanwhile]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
