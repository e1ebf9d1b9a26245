#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The life of packet offload: link down, namespaces, unbinding, full and refused tables, and SAs of
all modes side by side.

There is no software behind the NIC: what goes away takes the SAs with it, and their key managers
are told; what stays goes on.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, forge, ktap, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_ESP  # noqa: E402

RESET_TIME = 10.0
LIMIT = 3


def link_down(cfg):
    """Link down ends all SAs, whose key managers are told, and removes the policies; after link up
    new ones work."""
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    ktap.defer(cfg.configure)
    monitor = cfg.dut.spawn("ip", "xfrm", "monitor", "expire")
    time.sleep(env.SETTLE)
    cfg.dut.ip(f"link set {cfg.netif} down")
    ktap.equal(xfrm.count(cfg.dut), 0, "SAs after link down")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "policy"), "", "policies after link down")
    esp.expect_live(cfg, 0, "after link down")
    time.sleep(env.SETTLE)
    text = proc.stop(monitor)[0]
    ktap.equal(text.count("hard 1"), 2 * len(busy.flows), "hard expirations")
    cfg.configure()
    busy.renew()
    busy.works()


def no_carrier(cfg):
    """The wire is pulled out and put back: SAs and policies stay."""
    control = cfg.need_request("link")
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    ktap.defer(control.request, "link", cfg.nic, "up")
    control.request("link", cfg.nic, "down")
    proc.wait_until(lambda: "NO-CARRIER" in cfg.dut.cmd("ip", "link", "show", cfg.netif),
                    "no carrier")
    control.request("link", cfg.nic, "up")
    proc.wait_until(lambda: "NO-CARRIER" not in cfg.dut.cmd("ip", "link", "show", cfg.netif),
                    "the carrier")
    busy.works()
    busy.end()


def other_mtu(cfg):
    """The MTU changes under living SAs."""
    busy = packet.Busy(cfg, *packet.flows())
    ktap.defer(cfg.set_mtu, cfg.mtu)
    for mtu in (4000, 1400):
        cfg.set_mtu(mtu)
        busy.works()
    busy.end()


def queues_and_rings(cfg):
    """`ethtool -L` and `-G` under living SAs."""
    busy = packet.Busy(cfg, *packet.flows())
    before = cfg.dut.cmd("ethtool", "-l", cfg.netif).rsplit("Combined:", 1)[1].split()[0]
    ring = cfg.dut.cmd("ethtool", "-g", cfg.netif).rsplit("TX:", 1)[1].split()[0]
    ktap.defer(cfg.dut.run, "ethtool", "-L", cfg.netif, "combined", before)
    ktap.defer(cfg.dut.run, "ethtool", "-G", cfg.netif, "tx", ring)
    for words in (("-L", "combined", "1"), ("-G", "tx", "64"), ("-L", "combined", before),
                  ("-G", "tx", ring)):
        if words[:3] != ("-L", "combined", before) or before != "1":
            cfg.dut.cmd("ethtool", words[0], cfg.netif, *words[1:])
        busy.works()
    busy.end()


def feature_off(cfg):
    """`esp-hw-offload off` is for crypto offload: packet offload, without software behind it, goes
    on, new SAs are taken, and link down keeps them, as the stack does then."""
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    cfg.feature("esp-hw-offload", "off")
    busy.works()
    for flow in busy.flows:
        busy.renew_inbound(flow)
    busy.works()
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    ktap.equal(xfrm.count(cfg.dut), 2 * len(busy.flows), "SAs after link down and up")
    proc.wait_until(lambda: traffic.reachable(cfg.dut, busy.flows[0].dut_inner,
                                              busy.flows[0].peer_inner), "the tunnel")
    busy.works()
    cfg.feature("esp-hw-offload", "on")
    busy.works()
    packet.unique(busy.sent)


def other_namespace(cfg):
    """Moving the interface to another namespace ends SAs and policies; new ones work there."""
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    old = cfg.dut
    with cfg.other_namespace():
        ktap.equal(xfrm.count(old), 0, "SAs left in the old namespace")
        ktap.equal(old.cmd("ip", "xfrm", "policy"), "", "policies left in the old namespace")
        cfg.configure()
        busy.renew()
        busy.works()
        xfrm.flush(cfg.dut)


def _away(cfg, away):
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    with away():
        ktap.equal(xfrm.count(cfg.dut), 0, "SAs without the driver")
        ktap.equal(cfg.dut.cmd("ip", "xfrm", "policy"), "", "policies without the driver")
    busy.renew()
    busy.works()


def unbound(cfg):
    """Unbinding the driver ends SAs and policies; after binding, new ones work."""
    _away(cfg, cfg.driver_away)


def unloaded(cfg):
    """The same with the module."""
    _away(cfg, cfg.module_away)


def table_full(cfg):
    """An SA that finds no room in the NIC is refused with the reason, and does not exist; one of
    software is added all the same, and the others work."""
    control = cfg.need_request("sa-limit")
    busy = packet.Busy(cfg, *packet.flows())
    busy.works()
    control.fault(cfg.nic, "sa-limit", LIMIT)
    others = [busy.flows[1].new_sa(outbound=True) for _ in range(LIMIT)]
    cfg.dut.ip(others[0].add(packet.offload(cfg, "out")))
    packet.refused(cfg, others[1].add(packet.offload(cfg, "out")), "full")
    ktap.check(xfrm.state_text(cfg.dut, others[1]) is None, "a refused SA exists")
    cfg.dut.ip(others[1].add(), others[1].delete(), others[0].delete())
    busy.works()
    proc.wait_until(lambda: not cfg.dut.run(
        "ip", *others[2].add(packet.offload(cfg, "out")).split()).returncode, "room again")


def _crypto_works(cfg):
    flow = xfrm.Flow(env.DUT6, env.PEER6, reqid=5)
    esp.protect(cfg, flow)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 3)
    watch.stop().prove_offload(3)


def _no_packet_offload(cfg):
    """Neither an SA nor a policy is taken, and nothing is left of them."""
    flow = packet.flows()[0]
    before = cfg.dut.cmd("ip", "xfrm", "policy")
    text = "packet offload is not supported by the NIC, use crypto offload"
    packet.refused(cfg, flow.out.add(packet.offload(cfg, "out")), text)
    packet.refused(cfg, packet.dut_policies(cfg, flow)[0], text)
    ktap.check(xfrm.state_text(cfg.dut, flow.out) is None, "a refused SA exists")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "policy"), before, "policies after a refusal")


def filter_refused(cfg):
    """A NIC that takes no rules of the flow filter has no packet offload, and says so; crypto
    offload works. Bound again, it has both."""
    with packet.crypto_only(cfg):
        _no_packet_offload(cfg)
        _crypto_works(cfg)
        xfrm.flush(cfg.dut, cfg.peer)
    packet.Busy(cfg, *packet.flows()).works()


def filter_lost(cfg):
    """The rules are refused after a reset: SAs of packet offload expire, their policies still let
    nothing pass, and crypto offload works. The next reset brings packet offload back."""
    control = cfg.need_request("misbehave", "refuse-create")
    busy = packet.Busy(cfg, *packet.flows())
    control.fault(cfg.nic, "misbehave", "filter", "refuse-create", packet.REFUSED)
    watch = cfg.watch()
    cfg.reset(RESET_TIME)
    packet.gone(cfg, *[sa for flow in busy.flows for sa in (flow.out, flow.in_)])
    for flow in busy.flows:
        ktap.check(not traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner, timeout=0.1),
                   "a packet passed without an SA")
    watch.stop().prove_no_plaintext()
    _no_packet_offload(cfg)
    _crypto_works(cfg)
    control.request("fault", cfg.nic, "clear")
    cfg.reset(RESET_TIME)
    busy.renew()
    busy.works()


def _counted(watch, **wanted):
    watch.expect_counters({f"ipsec_{name}": count for name, count in wanted.items()})


def side_by_side(cfg):
    """SAs of packet offload, of crypto offload and of software are on one interface at once, and
    a policy of each: every packet goes its own way, and is counted there alone."""
    hard, crypto = packet.flows()[0], xfrm.Flow(env.DUT6, env.PEER6, reqid=5)
    soft = xfrm.Flow(env.DUT4, env.PEER4, reqid=6, algorithm=algo.gcm(256))
    # In this order: the stack may not find an SA of packet offload behind other new ones (X90).
    esp.protect(cfg, soft, offload=False)
    esp.protect(cfg, crypto)
    packet.protect(cfg, hard)
    watch = cfg.watch()
    counts = {}
    for flow, count in ((hard, 3), (crypto, 4), (soft, 5)):
        counts[flow.out.spi] = counts[flow.in_.spi] = count
        traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * count)
    watch.stop().prove_no_errors()
    for mac in (cfg.netif_mac, cfg.peer_mac):
        seen = [one.spi for one in watch.esp(mac)]
        ktap.check(all(counts[spi] == seen.count(spi) for spi in set(seen)) and
                   len(set(seen)) == 3, f"packets by SPI: {seen}")
    _counted(watch, packet_tx_packets=3, packet_rx_packets=3, tx_packets=4, rx_packets=4)
    packet.only(watch)
    for flow, count in ((hard, 3), (crypto, 4), (soft, 5)):
        for sa in (flow.out, flow.in_):
            proc.wait_until(lambda sa=sa, count=count: f"{count}(packets)" in cfg.dut.cmd(
                "ip", "-s", *sa.get().split()), f"{count} packets of SPI {sa.spi:#x}")


def _wide(cfg):
    """A policy of packet offload for all that the hosts send each other, and its SA."""
    wide = esp.direct(outer=4, reqid=79)
    cfg.dut.ip(packet.dut_policies(cfg, wide)[0], wide.out.add(packet.offload(cfg, "out")))
    return wide


def esp_of_the_stack(cfg):
    """ESP that the stack has made, in software or with crypto offload, is not protected once more
    by a policy that is for all packets, as the stack itself does not; other packets are, ESP
    among them that nobody's SA has made."""
    tunnel = esp.inner4(outer=4, reqid=80)
    esp.protect(cfg, tunnel, offload=False)
    wide = _wide(cfg)
    watch = cfg.watch()
    traffic.ping(cfg.dut, tunnel.dut_inner, tunnel.peer_inner, [56] * 3)
    watch.stop().prove_no_errors()
    ktap.equal([one.spi for one in watch.esp(cfg.netif_mac)], [tunnel.out.spi] * 3, "SPIs sent")
    packet.only(watch)
    cfg.dut.ip(tunnel.out.delete(), tunnel.out.add(xfrm.offload(cfg.netif, "out")))
    cfg.peer.ip(tunnel.out.delete(), tunnel.out.add(xfrm.WINDOW))
    watch = cfg.watch()
    traffic.ping(cfg.dut, tunnel.dut_inner, tunnel.peer_inner, [56] * 3)
    cfg.feature("esp-hw-offload", "off")
    traffic.ping(cfg.dut, tunnel.dut_inner, tunnel.peer_inner, [56] * 3)
    watch.stop().prove_no_errors()
    ktap.equal([one.spi for one in watch.esp(cfg.netif_mac)], [tunnel.out.spi] * 6, "SPIs sent")
    _counted(watch, tx_packets=3, packet_tx_packets=0)
    frames, watch = packet.Frames(cfg), cfg.watch()
    for spi in (tunnel.out.spi + 1000, tunnel.in_.spi):
        body = spi.to_bytes(4, "big") + bytes(60)
        frames.send(forge.ip(env.DUT4, env.PEER4, PROTO_ESP, body))
    watch.stop()
    sent = [one.spi for one in watch.esp(cfg.netif_mac)]
    ktap.equal(sent, [wide.out.spi] * 2, "SPIs of ESP that the stack has not made")


CASES = [link_down, no_carrier, other_mtu, queues_and_rings, feature_off, other_namespace, unbound,
         table_full, filter_refused, filter_lost, side_by_side, esp_of_the_stack, unloaded]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
