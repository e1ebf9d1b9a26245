#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""strongSwan with packet offload: what the daemon negotiates works in the NIC, its own messages
pass beside the policies, and SAs and policies come and go as it wants."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ike, ktap, packet, proc, strongswan, traffic, xfrm  # noqa: E402

REKEYINGS = 3
HOLES = 8  # for two ports, both ways, IPv4 and IPv6
WAIT = 20.0
QUICK = "retransmit_tries = 2\n    retransmit_timeout = 0.5\n    retransmit_base = 1"
ASK = "dpd_delay = 1s"
MOVED = "192.0.2.11"


def _pair(cfg, settings=""):
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    xfrm.flush(cfg.dut, cfg.peer)  # loads XFRM's user interface, too
    return strongswan.Pair(cfg, settings)


def _start(cfg, flow, offload="packet", settings="", **kwargs):
    """A connection, set up, with its SAs and policies in the NIC."""
    pair = _pair(cfg, settings)
    pair.load(flow, offload, **kwargs)
    pair.initiate()
    ike.expect_offloaded(cfg, mode="packet")
    ktap.equal(ike.offloaded_policies(cfg), HOLES + 2, "offloaded policies")
    return pair


def _packet(cfg, flow=None, **kwargs):
    flow = flow or esp.inner4()
    _start(cfg, flow, **kwargs)
    ike.works_in_packets(cfg, flow)


def tunnel(cfg):
    """hw_offload = packet, AES-GCM in a tunnel."""
    _packet(cfg)


def transport(cfg):
    """Transport mode."""
    _packet(cfg, esp.direct())


def automatic(cfg):
    """hw_offload = auto takes packet offload."""
    _packet(cfg, offload="auto")


def fallback(cfg):
    """hw_offload = auto with a NIC that has crypto offload only takes that, and traffic runs."""
    flow = esp.inner4()
    with packet.crypto_only(cfg):
        pair = _pair(cfg)
        pair.load(flow, "auto")
        pair.initiate()
        ike.expect_offloaded(cfg)
        ktap.equal(ike.offloaded_policies(cfg), 0, "offloaded policies")
        ike.works(cfg, flow)
        pair.terminate()
        ike.left(cfg, 0)


def no_fallback(cfg):
    """hw_offload = packet with such a NIC: there is no connection, and nothing is left of it."""
    with packet.crypto_only(cfg):
        pair = _pair(cfg)
        pair.load(esp.inner4(), "packet")
        before = cfg.driver_counters()["ipsec_sa_refused"]
        try:
            pair.initiate()
        except ktap.Failure as failure:
            ktap.contains(str(failure), "packet offload is not supported by the NIC, use crypto "
                          "offload", "the daemon's log")
        else:
            raise ktap.Failure("there is a connection")
        ktap.at_least(cfg.driver_counters()["ipsec_sa_refused"] - before, 1, "SAs refused")
        ike.left(cfg, 0)
        ktap.equal(ike.offloaded_policies(cfg), 0, "offloaded policies")


def chacha(cfg):
    """ChaCha20-Poly1305."""
    _packet(cfg, proposal="chacha20poly1305")


def cbc(cfg):
    """AES-CBC with HMAC-SHA256."""
    _packet(cfg, proposal="aes128-sha256")


def esn(cfg):
    """Extended sequence numbers."""
    flow = esp.inner4()
    _start(cfg, flow, proposal="aes128gcm16-esn")
    ktap.equal(xfrm.count(cfg.dut, "esn context"), 2, "ESN states")
    ike.works_in_packets(cfg, flow)


def nat_tunnel(cfg):
    """ESP in UDP, which strongSwan does when it is configured for a NAT."""
    _packet(cfg, ike.tunnel_behind_nat(), encap=True)


def nat_transport(cfg):
    """The same in transport mode."""
    _packet(cfg, ike.behind_nat(), encap=True)


def nat_automatic(cfg):
    """ESP in UDP with hw_offload = auto: packet offload."""
    _packet(cfg, ike.tunnel_behind_nat(), offload="auto", encap=True)


def responding(cfg):
    """The other side begins, with traffic selectors that this side has."""
    flow = esp.inner4()
    pair = _pair(cfg)
    pair.load(flow, "packet")
    pair.peer.control("--initiate", "--child", strongswan.CHILD, "--timeout", "20")
    ike.expect_offloaded(cfg, mode="packet")
    ike.works_in_packets(cfg, flow)


def _rekeying(cfg, flow):
    """Each side in its turn asks for new SAs."""
    pair = _start(cfg, flow, settings=strongswan.TIDY)
    ask_peer = functools.partial(pair.peer.control, "--rekey", "--child", strongswan.CHILD)
    ike.without_loss(cfg, flow, [pair.rekey, ask_peer] * REKEYINGS)
    ike.works_in_packets(cfg, flow)


def rekeying(cfg):
    """New SAs under traffic: nothing is lost."""
    _rekeying(cfg, esp.inner4())


def rekeying_transport(cfg):
    """The same in transport mode, where the policies are for the addresses of IKE, too."""
    _rekeying(cfg, esp.direct())


def rekeying_behind_nat(cfg):
    """The same with ESP in UDP: IKE uses that port, too."""
    flow = ike.tunnel_behind_nat()
    pair = _start(cfg, flow, settings=strongswan.TIDY, encap=True)
    ike.without_loss(cfg, flow, [pair.rekey] * REKEYINGS)
    ike.works_in_packets(cfg, flow)


def reauthenticating(cfg):
    """A new SA of IKE under traffic: nothing is lost. Then a new one with all its SAs of ESP, made
    before the old ones are deleted: nothing that this side sends is lost. The peer uses its new SA
    before this side can know it, and the old one until it is deleted: nothing else is lost of what
    it sends, and none is in clear."""
    flow = esp.direct()
    pair = _start(cfg, flow, settings="make_before_break = yes")
    ike.without_loss(cfg, flow, [pair.rekey_ike])
    watch = cfg.watch()

    def again():
        before = ike.spis(cfg)
        pair.rekey_ike("--reauth")
        proc.wait_until(lambda: not before & ike.spis(cfg), "new SAs", WAIT)
        ike.left(cfg)
    ike.without_loss(cfg, flow, [again] * REKEYINGS, early=cfg.dut, excuses=ike.EARLY + ike.LATE)
    watch.stop().prove_no_plaintext()
    ike.works_in_packets(cfg, flow)


def _by_limit(cfg, more_child):
    """New SAs come because of a limit of the old ones. The stack says so to all who listen."""
    flow = esp.inner4()
    events = ike.Expiries(cfg.dut)
    pair = _start(cfg, flow, settings=strongswan.TIDY, more_child=more_child)
    watch = cfg.watch()

    def renewed():
        before = ike.spis(cfg)
        proc.wait_until(lambda: not before & ike.spis(cfg), "new SAs", WAIT)
    first = ike.spis(cfg)
    ike.without_loss(cfg, flow, [renewed] * 2)
    watch.stop().prove_no_errors()
    ktap.check(first & set(events.spis(hard=False)), "no soft expiry of the first SAs")
    ktap.equal(events.spis(hard=True), [], "hard expiries")
    pair.terminate()


def rekeying_by_packets(cfg):
    """rekey_packets: the NIC's count makes the SA expire in time."""
    _by_limit(cfg, "rekey_packets = 60\n life_packets = 4000\n rand_packets = 0")


def rekeying_by_bytes(cfg):
    """rekey_bytes."""
    _by_limit(cfg, "rekey_bytes = 20000\n life_bytes = 2000000\n rand_bytes = 0")


def rekeying_by_time(cfg):
    """rekey_time."""
    _by_limit(cfg, "rekey_time = 3s\n life_time = 60s\n rand_time = 0s")


def silent_peer(cfg):
    """The peer is silent, so that the daemon gives the connection up and takes everything from the
    NIC; then up again."""
    flow = esp.inner4()
    pair = _start(cfg, flow, settings=QUICK, more=ASK)
    pair.peer.silence()
    ike.left(cfg, 0)
    proc.wait_until(lambda: ike.offloaded_policies(cfg) == HOLES, "the policies are gone", WAIT)
    pair.peer.speak()
    pair.initiate()
    ike.left(cfg)
    ike.works_in_packets(cfg, flow)


def moving(cfg):
    """MOBIKE: the side under test gets another address, and the SAs go with it."""
    flow = esp.inner4()
    pair = _start(cfg, flow, more="mobike = yes")
    ike.works_in_packets(cfg, flow)
    cfg.dut.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
    ktap.defer(cfg.configure)
    ktap.defer(cfg.dut.ip, f"addr del {MOVED}/24 dev {cfg.netif}")
    # of all paths that are left the daemon takes the first one that answers
    cfg.dut.ip(f"addr del {env.DUT6}/64 dev {cfg.netif}", f"addr add {MOVED}/24 dev {cfg.netif}",
               f"addr del {env.DUT4}/24 dev {cfg.netif}")
    for ns in (cfg.dut, cfg.peer):
        proc.wait_until(lambda where=ns: xfrm.count(where, f"src {MOVED} dst") == 1,
                        "SAs of the new address", WAIT)
    ike.left(cfg)
    ike.works_in_packets(cfg, flow)
    pair.terminate()
    ike.left(cfg, 0)


def on_demand(cfg):
    """start_action = trap: the first packet makes the SAs, and none leaves in clear."""
    flow = esp.inner4()
    pair = _pair(cfg)
    watch = cfg.watch()
    pair.load(flow, "packet", more_child="start_action = trap")
    proc.wait_until(lambda: ike.offloaded_policies(cfg) == HOLES + 2, "policies", WAIT)
    ktap.equal(xfrm.count(cfg.dut), 0, "states")
    proc.wait_until(lambda: traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
                    "traffic makes SAs", WAIT)
    ike.left(cfg)
    watch.stop().prove_no_plaintext()
    ike.works_in_packets(cfg, flow)


def terminated(cfg):
    """The end of a connection, and then of the daemon, leaves nothing behind."""
    flow = esp.inner4()
    pair = _start(cfg, flow)
    pair.terminate()
    ike.left(cfg, 0)
    ktap.equal(ike.offloaded_policies(cfg), HOLES, "offloaded policies after the connection")
    pair.dut.stop()
    ktap.equal(ike.offloaded_policies(cfg), 0, "offloaded policies after the daemon")


def killed(cfg):
    """The daemon is killed: the NIC goes on. Another one makes the connection anew."""
    flow = esp.inner4()
    pair = _start(cfg, flow)
    pair.dut.kill()
    ike.works_in_packets(cfg, flow)
    before = ike.spis(cfg)
    pair.dut.start()
    pair.load(flow, "packet")
    pair.initiate()
    proc.wait_until(lambda: len(ike.spis(cfg) - before) == 2, "new SAs", WAIT)
    ktap.diag(f"SAs: {before} then {ike.spis(cfg)}; policies: {ike.offloaded_policies(cfg)}")
    ike.works_in_packets(cfg, flow)


def link_down_and_up(cfg):
    """The link goes down, and SAs and policies with it; the daemon makes them anew."""
    flow = esp.inner4()
    _start(cfg, flow)
    ike.works_in_packets(cfg, flow)
    ktap.defer(cfg.configure)
    cfg.dut.ip(f"link set {cfg.netif} down")
    watch = cfg.watch()
    cfg.configure()
    proc.wait_until(lambda: ike.offloaded(cfg) == 2, "new SAs after the link is up again", 60)
    proc.wait_until(lambda: traffic.reachable(cfg.dut, flow.dut_inner, flow.peer_inner),
                    "traffic after the link is up again", 20)
    watch.stop().prove_no_plaintext()
    ktap.equal(ike.offloaded_policies(cfg), HOLES + 2, "offloaded policies")
    ike.works_in_packets(cfg, flow)


CASES = [tunnel, transport, automatic, fallback, no_fallback, chacha, cbc, esn, nat_tunnel,
         nat_transport, nat_automatic, responding, rekeying, rekeying_transport,
         rekeying_behind_nat, reauthenticating, rekeying_by_packets, rekeying_by_bytes,
         rekeying_by_time, silent_peer, moving, on_demand, terminated, killed, link_down_and_up]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
