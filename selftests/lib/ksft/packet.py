# SPDX-License-Identifier: GPL-2.0
"""Steps that tests of packet offload have in common."""

import socket

from . import ktap, xfrm

WINDOW = "replay-window 512"
ETH_IPV4 = b"\x08\x00"
DROPS = ["ipsec_packet_tx_drop_blocked", "ipsec_packet_tx_drop_unclear",
         "ipsec_packet_tx_drop_no_sa", "ipsec_packet_tx_drop_no_hop", "ipsec_packet_tx_drop_form",
         "ipsec_packet_rx_drop_stale", "ipsec_packet_rx_drop_failed",
         "ipsec_packet_rx_drop_policy", "ipsec_packet_rx_drop_diverted",
         "ipsec_packet_rx_drop_no_memory", "ipsec_packet_rx_drop_clear",
         "ipsec_packet_rx_drop_blocked", "ipsec_packet_rx_drop_esp"]


def offload(cfg, direction):
    """The words that ask for packet offload; inbound SAs also get a replay window."""
    window = WINDOW if direction == "in" else ""
    return f"{window} offload packet dev {cfg.netif} dir {direction}"


def dut_policies(cfg, flow):
    """`ip` lines for the offloaded policies of the side under test."""
    words = f" offload packet dev {cfg.netif} tmpl "
    return [line.replace(" tmpl ", words) for line in flow.dut_policies()]


def open_holes(cfg, port):
    """Offloaded policies that let UDP between these ports pass in clear, both ways."""
    cfg.dut.ip(*[f"xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp sport {port} dport {port} "
                 f"dir {direction} priority 1 action allow offload packet dev {cfg.netif}"
                 for direction in ("in", "out")])


def states(cfg, flow):
    """Add both SAs of the side under test."""
    cfg.dut.ip(flow.out.add(offload(cfg, "out")), flow.in_.add(offload(cfg, "in")))


def protect(cfg, flow):
    """Packet offload at the side under test, software at the peer."""
    ktap.defer(xfrm.flush, cfg.dut, cfg.peer)
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*dut_policies(cfg, flow))
    states(cfg, flow)
    for sa, direction in ((flow.out, "out"), (flow.in_, "in")):
        text = xfrm.state_text(cfg.dut, sa)
        ktap.contains(text, f"dev {cfg.netif} dir {direction} mode packet", "ip xfrm state")


def prove(cfg, watch, least):
    """All of ESP on the wire was the NIC's work, both ways, and nothing was in clear."""
    watch.stop().prove_no_errors()
    sent, received = len(watch.esp(cfg.netif_mac)), len(watch.esp(cfg.peer_mac))
    ktap.at_least(sent, least, "ESP packets sent")
    ktap.at_least(received, least, "ESP packets received")
    watch.expect_counters({"ipsec_packet_tx_packets": sent, "ipsec_packet_rx_packets": received,
                           "ipsec_tx_packets": 0, "ipsec_rx_packets": 0})
    only(watch)
    for name in ("ipsec_packet_tx_bytes", "ipsec_packet_rx_bytes"):
        ktap.at_least(watch.driver.get(name, 0), least, name)


def only(watch, **drops):
    """Nothing was dropped for another reason than these, without their prefix."""
    wanted = {f"ipsec_packet_{name}": count for name, count in drops.items()}
    watch.expect_counters(dict.fromkeys(DROPS, 0) | wanted)


class Frames:
    """A packet socket on the interface under test, which sends frames made by hand."""

    def __init__(self, cfg):
        with cfg.dut:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        ktap.defer(self._socket.close)
        self._socket.bind((cfg.netif, 0))
        self._macs = bytes.fromhex((cfg.peer_mac + cfg.netif_mac).replace(":", ""))

    def send(self, packet, tag=b""):
        """An IPv4 packet, behind a VLAN tag if there is one."""
        self._socket.send(self._macs + tag + ETH_IPV4 + packet)
