# SPDX-License-Identifier: GPL-2.0
"""Steps that many tests of offloaded ESP have in common."""

import collections
import socket
import struct

from . import env, netlink, proc, traffic, xfrm
from .ktap import Failure, check, contains, defer, equal

UDP_ENCAP, ENCAP_ESPINUDP, IP_XFRM_POLICY, UDP_GRO = 100, 2, 17, 104
SIZES = [*range(0, 18), 500, 1000, 1300]
STREAM = 48 * 1024
REFUSED = 3  # packets in each direction that must not pass


def shown_as_offloaded(cfg, flow):
    """Fail unless `ip xfrm state` shows both SAs as offloaded."""
    for sa, direction in ((flow.out, "out"), (flow.in_, "in")):
        text = xfrm.state_text(cfg.dut, sa)
        check(text, f"the {direction} SA does not exist")
        wanted = f"crypto offload parameters: dev {cfg.netif} dir {direction} mode crypto"
        contains(text, wanted, "ip xfrm state")


def encap_socket(ns, port, bypass, gro=False):
    """The socket without which the stack takes ESP in UDP for plain UDP; with receive offload for
    it, if gro is set.

    With bypass its own policies let the datagrams themselves pass, as those of IKE daemons do: in
    transport mode the flow's policies apply to them, too.
    """
    with ns:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    defer(sock.close)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, ENCAP_ESPINUDP)
    for direction in (0, 1) if bypass else ():  # struct xfrm_userpolicy_info: in and out, allow
        policy = struct.pack("=40xH118xB7x", socket.AF_INET, direction)
        sock.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, policy)
    if gro:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    sock.bind(("0.0.0.0", port))
    return sock


def protect(cfg, flow, offload=True):
    """Install a flow, offloaded at the side under test; it is removed with the case."""
    defer(xfrm.flush, cfg.dut, cfg.peer)
    if flow.encap:
        for ns in (cfg.dut, cfg.peer):
            encap_socket(ns, flow.encap, flow.mode == "transport")
    flow.install(cfg.dut, cfg.peer, cfg.netif if offload else None)
    if offload:
        shown_as_offloaded(cfg, flow)


def protect_esn(cfg, flow, window, sent, received, *, peer_window=None):
    """The same with extended sequence numbers.

    sent and received are the last numbers that the side under test is to have sent and received.
    """
    defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.dut.ip(*flow.dut_policies())
    peer_esn(cfg, flow, peer_window or window, sent, received)
    netlink.add_sa(cfg.dut, flow.in_, netlink.Esn(window, seq=received), "in", cfg.netif)
    netlink.add_sa(cfg.dut, flow.out, netlink.Esn(oseq=sent), "out", cfg.netif)
    shown_as_offloaded(cfg, flow)


def peer_esn(cfg, flow, window, sent, received):
    """The peer's half of that."""
    cfg.peer.ip(*flow.peer_policies())
    netlink.add_sa(cfg.peer, flow.in_, netlink.Esn(oseq=received), "out")
    netlink.add_sa(cfg.peer, flow.out, netlink.Esn(window, seq=sent), "in")


def exercise(cfg, flow, sizes=None, stream=STREAM):
    """Pings of all paddings and a TCP connection from either end, all of it in the NIC."""
    sizes = sizes or SIZES
    dut, peer = flow.dut_inner, flow.peer_inner
    watch = cfg.watch()
    count = traffic.ping(cfg.dut, dut, peer, sizes)
    count += traffic.ping(cfg.peer, peer, dut, sizes[-3:])
    traffic.tcp(cfg.dut, dut, cfg.peer, peer, stream)
    traffic.tcp(cfg.peer, peer, cfg.dut, dut, stream)
    watch.stop().prove_offload(count)
    return watch


def live(cfg):
    """Number of SAs in the NIC, or the driver's count of them."""
    if cfg.control:
        stats = cfg.nic_counters()
        return stats["ipsec_sa_in"] + stats["ipsec_sa_out"]
    stats = cfg.driver_counters()
    return stats["ipsec_sa_added"] - stats["ipsec_sa_deleted"]


def expect_live(cfg, count, when, timeout=5):
    """Deletion is asynchronous: wait for the number, and fail with both if it never comes."""
    try:
        proc.wait_until(lambda: live(cfg) == count, when, timeout)
    except Failure as failure:
        raise Failure(f"{when}: the NIC holds {live(cfg)} SAs, not {count}") from failure


def nothing_passes(cfg, flow, why):
    """No packet passes in either direction, and both sides count each as failing its check."""
    watch = cfg.watch()
    for ns, src, dst in ((cfg.dut, flow.dut, flow.peer), (cfg.peer, flow.peer, flow.dut)):
        pinger = traffic.Pinger(ns, src, dst)
        defer(pinger.close)
        for _ in range(REFUSED):
            pinger.send(b"espnic")
        check(pinger.receive(0.2) is None, f"a packet passed with {why}")
    watch.stop()
    wanted = {"XfrmInStateProtoError": REFUSED}
    equal(watch.peer_errors, wanted, "XFRM errors of the peer")
    equal(watch.dut_errors, wanted, "XFRM errors of the side under test")
    watch.expect_counters({"ipsec_rx_auth_failed": REFUSED})


def unique(packets, *names):
    """No two packets, of one key, have the same sequence number or IV, or what else is named."""
    for name in names or ("iv", "seq"):
        counts = collections.Counter(getattr(packet, name) for packet in packets)
        repeated = [(value.hex() if isinstance(value, bytes) else value, count)
                    for value, count in counts.most_common() if count > 1]
        check(not repeated, f"{len(repeated)} values of {name} occur more than once under one key, "
              f"such as (value, times) {repeated[:3]}")


def ends(outer):
    """The outer addresses of both sides."""
    return (env.DUT4, env.PEER4) if outer == 4 else (env.DUT6, env.PEER6)


def direct(outer=4, **kwargs):
    """Transport mode between the two ends."""
    return xfrm.Flow(*ends(outer), **kwargs)


def inner4(outer=4, **kwargs):
    """A tunnel with IPv4 in it."""
    return xfrm.Flow(*ends(outer), "tunnel", dut_inner=env.DUT_INNER4,
                     peer_inner=env.PEER_INNER4, **kwargs)


def inner6(outer=6, **kwargs):
    """A tunnel with IPv6 in it."""
    return xfrm.Flow(*ends(outer), "tunnel", dut_inner=env.DUT_INNER6,
                     peer_inner=env.PEER_INNER6, **kwargs)
