#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The life of packet offload: resets, link down, namespaces, unbinding, full and refused tables.

There is no software behind the NIC, so an SA goes on as it was, or it ends and its key manager is
told; in between nothing is sent in clear, no number comes twice, and no old packet is accepted.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, forge, ktap, netif, packet, proc, traffic, xfrm  # noqa: E402
from ksft.frames import PROTO_ESP, PROTO_UDP  # noqa: E402
from ksft.netns import Netns  # noqa: E402

RESET_TIME = 10.0
FEW, ROUNDS, LIMIT = 4, 2, 3
PAUSES = [0, 0.02]
REFUSED = 100
HARD, SOFT = 9, 2
IPV4_INSIDE = 4  # next header


def _flows():
    """A tunnel, and transport mode between its ends."""
    return esp.inner4(outer=4, reqid=77), esp.direct(outer=4, reqid=78)


def _reset_function(cfg):
    """Reset the PCI function, which the driver knows before."""
    path = netif.reset_file(cfg.device)
    if not path:
        raise ktap.Skip("the NIC's PCI function cannot be reset alone")
    proc.write_file(path, "1")


def _gone(cfg, *sas):
    for sa in sas:
        proc.wait_until(lambda sa=sa: xfrm.state_text(cfg.dut, sa) is None,
                        f"the SA with SPI {sa.spi:#x} expires")


def _refused(cfg, line, text):
    """A command of `ip` fails with this text in its message."""
    result = cfg.dut.run("ip", *line.split())
    ktap.check(result.returncode, f"`ip {line}` was accepted")
    ktap.contains(result.stderr, text, "message")


def reset_asked_for(cfg):
    """The NIC asks for a reset, and then answers nothing any more: outbound SAs go on behind the
    numbers that may have been used; inbound ones, whose windows nobody knows, expire, and an old
    packet has no SA."""
    ktap.rules("R144")
    busy = packet.Busy(cfg, *_flows())
    watch = busy.works()
    old = [busy.received(watch, flow) for flow in busy.flows]
    monitor = cfg.dut.spawn("ip", "xfrm", "monitor", "expire")
    time.sleep(env.SETTLE)
    cfg.reset(RESET_TIME)
    _gone(cfg, *[flow.in_ for flow in busy.flows])
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
    flow = _flows()[0]
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
    busy = packet.Busy(cfg, *_flows())
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
    flow = _flows()[0]
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
    flow = _flows()[0]
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
    _gone(cfg, flow.out)
    watch.stop().prove_no_plaintext()
    ktap.equal(len(watch.esp(cfg.netif_mac)), HARD, "ESP packets sent")
    packet.unique(watch.esp(cfg.netif_mac))
    new = flow.new_sa(outbound=True)
    cfg.dut.ip(new.add(limit + packet.offload(cfg, "out")))
    cfg.reset(RESET_TIME)
    _gone(cfg, new)


def link_down(cfg):
    """Link down ends all SAs, whose key managers are told, and removes the policies; after link up
    new ones work."""
    busy = packet.Busy(cfg, *_flows())
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
    busy = packet.Busy(cfg, *_flows())
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
    busy = packet.Busy(cfg, *_flows())
    ktap.defer(cfg.set_mtu, cfg.mtu)
    for mtu in (4000, 1400):
        cfg.set_mtu(mtu)
        busy.works()
    busy.end()


def queues_and_rings(cfg):
    """`ethtool -L` and `-G` under living SAs."""
    busy = packet.Busy(cfg, *_flows())
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
    busy = packet.Busy(cfg, *_flows())
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
    busy = packet.Busy(cfg, *_flows())
    busy.works()
    old, new = cfg.dut, Netns("dut2")

    def back():
        env.return_interface(new, cfg.netif)
        new.close()
        cfg.dut = old
        cfg.give_back()
        cfg.connect()

    ktap.defer(back)
    old.ip(f"link set {cfg.netif} netns {new.path}")
    ktap.equal(xfrm.count(old), 0, "SAs left in the old namespace")
    ktap.equal(old.cmd("ip", "xfrm", "policy"), "", "policies left in the old namespace")
    cfg.dut = new
    new.ip("link set lo up", f"addr replace {env.DUT_INNER4}/32 dev lo")
    cfg.configure()
    busy.renew()
    busy.works()
    xfrm.flush(new)


def _away(cfg, away):
    busy = packet.Busy(cfg, *_flows())
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
    busy = packet.Busy(cfg, *_flows())
    busy.works()
    control.fault(cfg.nic, "sa-limit", LIMIT)
    others = [busy.flows[1].new_sa(outbound=True) for _ in range(LIMIT)]
    cfg.dut.ip(others[0].add(packet.offload(cfg, "out")))
    _refused(cfg, others[1].add(packet.offload(cfg, "out")), "full")
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
    flow = _flows()[0]
    _refused(cfg, flow.out.add(packet.offload(cfg, "out")), "packet offload is not supported")
    _refused(cfg, packet.dut_policies(cfg, flow)[0], "packet offload is not supported")


def filter_refused(cfg):
    """A NIC that takes no rules of the flow filter has no packet offload, and says so; crypto
    offload works. Bound again, it has both."""
    control = cfg.need_request("misbehave", "refuse-create")
    with cfg.driver_away():
        control.fault(cfg.nic, "misbehave", "filter", "refuse-create", REFUSED)
    _no_packet_offload(cfg)
    _crypto_works(cfg)
    control.request("fault", cfg.nic, "clear")
    xfrm.flush(cfg.dut, cfg.peer)
    with cfg.driver_away():
        pass
    packet.Busy(cfg, *_flows()).works()


def filter_lost(cfg):
    """The rules are refused after a reset: SAs of packet offload expire, their policies still let
    nothing pass, and crypto offload works. The next reset brings packet offload back."""
    control = cfg.need_request("misbehave", "refuse-create")
    busy = packet.Busy(cfg, *_flows())
    control.fault(cfg.nic, "misbehave", "filter", "refuse-create", REFUSED)
    watch = cfg.watch()
    cfg.reset(RESET_TIME)
    _gone(cfg, *[sa for flow in busy.flows for sa in (flow.out, flow.in_)])
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


def not_taken_back(cfg):
    """After a reset the NIC has room for one SA of each direction: the others expire, nothing of
    theirs is in clear, and those that came back work."""
    control = cfg.need_request("sa-limit")
    busy = packet.Busy(cfg, *_flows())
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
    flow = _flows()[1]
    busy = packet.Busy(cfg, flow)
    tunnel = _flows()[0]
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
        _gone(cfg, flow.in_)
        esp.expect_live(cfg, 1, "after the reset")
        busy.renew_inbound(flow)
        esp.expect_live(cfg, 2, "after the reset")
    busy.works()


def deleted_meanwhile(cfg):
    """SAs that are deleted while the NIC is reset do not come back."""
    cfg.need_request("reset")
    busy = packet.Busy(cfg, *_flows())
    for pause in PAUSES:
        before = cfg.resets()
        cfg.control.request("reset", cfg.nic)
        time.sleep(pause)
        xfrm.flush(cfg.dut)
        proc.wait_until(lambda seen=before: cfg.resets() > seen, "the reset")
        esp.expect_live(cfg, 0, "after the reset")
        busy.renew()
    busy.works()


def _counted(watch, **wanted):
    watch.expect_counters({f"ipsec_{name}": count for name, count in wanted.items()})


def side_by_side(cfg):
    """SAs of packet offload, of crypto offload and of software are on one interface at once, and
    a policy of each: every packet goes its own way, and is counted there alone."""
    hard, crypto = _flows()[0], xfrm.Flow(env.DUT6, env.PEER6, reqid=5)
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


CASES = [reset_asked_for, reset_under_traffic, reset_planned, numbers_before_it, limit_over_a_reset,
         link_down, no_carrier, other_mtu, queues_and_rings, feature_off, other_namespace, unbound,
         table_full, filter_refused, filter_lost, not_taken_back, add_and_delete_meanwhile,
         deleted_meanwhile, side_by_side, esp_of_the_stack, unloaded]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
