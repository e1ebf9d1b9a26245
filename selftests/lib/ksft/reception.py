# SPDX-License-Identifier: GPL-2.0
"""What an interface receives by Ethernet address and VLAN: frames made by hand, and cases for any
driver whose NIC filters."""

import fcntl
import itertools
import socket
import struct
import time

from . import env, ktap, proc, sniff, traffic, vlan
from .pace import scaled

ETHERTYPE = bytes.fromhex("88b5")  # for local experiments (IEEE 802)
FOREIGN = "02:00:00:00:99:01"
UPPER_MAC = "02:00:00:00:99:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"
GROUP, OTHER_GROUP = "01:00:5e:01:02:03", "33:33:00:99:00:01"
VLAN, OTHER_VLAN, PRIORITY = 7, 8, 5 << 13
MANY = 300  # more groups than the NIC keeps
SIOCADDMULTI, SIOCDELMULTI = 0x8931, 0x8932
IFREQ = struct.Struct("=16sH6s16x")  # name, family and hardware address
ADDRESS, VLAN_DROP = "rx_drop_address", "rx_drop_vlan"
WAIT = scaled(5.0)
SETTLE = scaled(0.05)


class Probe:
    """Sends frames from the peer and looks which of them the driver gets."""

    def __init__(self, cfg):
        self.cfg, self._numbers = cfg, itertools.count(1)
        self._sniffer = sniff.Sniffer(cfg.dut, cfg.netif)
        with cfg.peer:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        ktap.defer(self._socket.close)
        self._socket.bind((cfg.peerdev, 0))

    def _send(self, mac, tag):
        """One frame; returns what only this one has in it."""
        marker = f"espnic probe {next(self._numbers)};".encode()
        frame = bytes.fromhex((mac + self.cfg.peer_mac).replace(":", ""))
        if tag is not None:
            frame += b"\x81\0" + tag.to_bytes(2, "big")
        self._socket.send((frame + ETHERTYPE + marker).ljust(60, b"\0"))
        return marker

    def passes(self, mac, tag=None):
        """Whether the driver gets a frame to this address, with this tag. A frame that passes in
        any case, behind it, tells when that is decided."""
        self._sniffer.frames()
        probe, fence = self._send(mac, tag), self._send(self.cfg.netif_mac, None)
        got, deadline = b"", time.monotonic() + WAIT
        while fence not in got:
            ktap.check(time.monotonic() < deadline, "a frame for the interface did not arrive")
            got += b"".join(frame for outgoing, frame in self._sniffer.frames() if not outgoing)
            time.sleep(0.002)
        time.sleep(SETTLE)  # they may have gone through different queues
        got += b"".join(frame for _, frame in self._sniffer.frames())
        return probe in got

    def becomes(self, passes, mac, tag=None):
        """The driver tells the NIC a little later than it was told."""
        what = f"{mac}, tag {tag}: frames {'pass' if passes else 'are dropped'}"
        proc.wait_until(lambda: self.passes(mac, tag) is passes, what)

    def passing(self, *addresses):
        """Those of these addresses whose frames the driver gets."""
        return [mac for mac in addresses if self.passes(mac)]


def dropped(cfg, name):
    """How many frames the NIC has dropped for this reason; None without its control socket."""
    if not cfg.control:
        return None
    return cfg.control.request("stats", cfg.nic)["nics"][cfg.nic]["virtio"][name]


def _expect_dropped(cfg, probe, name, mac, tag=None):
    """The NIC drops such a frame and counts it."""
    before = dropped(cfg, name)
    ktap.check(not probe.passes(mac, tag), f"a frame to {mac}, tag {tag}, was received")
    if before is not None:
        ktap.equal(dropped(cfg, name) - before, 1, f"the NIC's {name}")


def add_vlan(cfg, name, number):
    """A VLAN on top of NETIF."""
    vlan.add(cfg.dut, cfg.netif, name, number)
    ktap.defer(cfg.dut.run, "ip", "link", "del", name)


def add_macvlan(cfg, name):
    """A macvlan with an address of its own on top of NETIF."""
    made = cfg.dut.run("ip", "link", "add", "link", cfg.netif, "name", name, "address", UPPER_MAC,
                       "type", "macvlan", "mode", "bridge")
    if made.returncode:
        raise ktap.Skip(f"needs macvlan: {made.stderr.strip()}")
    ktap.defer(cfg.dut.run, "ip", "link", "del", name)


def switch(cfg, flag):
    """Switch a mode of NETIF on for the rest of the case."""
    ktap.defer(cfg.dut.ip, f"link set {cfg.netif} {flag} off")
    cfg.dut.ip(f"link set {cfg.netif} {flag} on")


def groups(cfg, addresses, request=SIOCADDMULTI):
    """NETIF joins multicast groups, or leaves them. A batch of `ip` would end behind the first."""
    with cfg.dut, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for mac in addresses:
            group = bytes.fromhex(mac.replace(":", ""))
            fcntl.ioctl(asking, request, IFREQ.pack(cfg.netif.encode(), socket.AF_UNSPEC, group))


def own_only(cfg):
    """Without being asked for more the NIC drops, and counts, what is for others."""
    probe = Probe(cfg)
    probe.becomes(False, FOREIGN)
    ktap.equal(probe.passing(cfg.netif_mac, BROADCAST), [cfg.netif_mac, BROADCAST], "received")
    _expect_dropped(cfg, probe, ADDRESS, FOREIGN)
    _expect_dropped(cfg, probe, ADDRESS, GROUP)


def promiscuous(cfg):
    """A promiscuous interface gets everything, whatever the VLAN; afterwards it does not."""
    probe = Probe(cfg)
    switch(cfg, "promisc")
    probe.becomes(True, FOREIGN)
    ktap.equal(probe.passing(GROUP, BROADCAST), [GROUP, BROADCAST], "received")
    ktap.check(probe.passes(FOREIGN, OTHER_VLAN), "a tagged frame was dropped")
    cfg.dut.ip(f"link set {cfg.netif} promisc off")
    probe.becomes(False, FOREIGN)
    ktap.equal(probe.passing(GROUP, BROADCAST), [BROADCAST], "received")


def multicast(cfg):
    """Groups come when they are joined, all of them in that mode, and no longer afterwards."""
    probe = Probe(cfg)
    ktap.defer(cfg.dut.run, "ip", "maddress", "del", GROUP, "dev", cfg.netif)
    groups(cfg, [GROUP])
    probe.becomes(True, GROUP)
    _expect_dropped(cfg, probe, ADDRESS, OTHER_GROUP)
    switch(cfg, "allmulticast")
    probe.becomes(True, OTHER_GROUP)
    _expect_dropped(cfg, probe, ADDRESS, FOREIGN)
    cfg.dut.ip(f"link set {cfg.netif} allmulticast off")
    probe.becomes(False, OTHER_GROUP)
    ktap.check(probe.passes(GROUP), "the group was left")
    groups(cfg, [GROUP], SIOCDELMULTI)
    probe.becomes(False, GROUP)


def _leave_rest(cfg, joined):
    groups(cfg, joined, SIOCDELMULTI)


def many_groups(cfg):
    """More groups than the NIC can tell apart: none is lost."""
    probe = Probe(cfg)
    joined = [f"01:00:5e:7f:{number >> 8:02x}:{number & 255:02x}" for number in range(MANY)]
    left = list(joined)
    ktap.defer(_leave_rest, cfg, left)
    groups(cfg, joined)
    for mac in (joined[0], joined[-1]):
        probe.becomes(True, mac)
    groups(cfg, joined, SIOCDELMULTI)
    left.clear()
    probe.becomes(False, joined[0])


def upper_address(cfg):
    """The address of a macvlan is received as long as that exists, and its packets arrive."""
    probe = Probe(cfg)
    ktap.check(not probe.passes(UPPER_MAC), "a foreign address was received")
    add_macvlan(cfg, "mac0")
    cfg.dut.ip("link set mac0 addrgenmode none", "link set mac0 up")
    probe.becomes(True, UPPER_MAC)
    _expect_dropped(cfg, probe, ADDRESS, FOREIGN)
    cfg.dut.ip("link del mac0")
    probe.becomes(False, UPPER_MAC)


def vlans(cfg):
    """A VLAN is received as long as there is an interface for it; a tag without one always."""
    probe, mac = Probe(cfg), cfg.netif_mac
    _expect_dropped(cfg, probe, VLAN_DROP, mac, VLAN)
    add_vlan(cfg, "vlan7", VLAN)
    probe.becomes(True, mac, VLAN)
    ktap.check(probe.passes(mac, VLAN | PRIORITY), "a frame with a priority was dropped")
    ktap.check(probe.passes(mac, PRIORITY), "a frame with nothing but a priority was dropped")
    _expect_dropped(cfg, probe, VLAN_DROP, mac, OTHER_VLAN)
    cfg.dut.ip("link del vlan7")
    probe.becomes(False, mac, VLAN)


def vlan_traffic(cfg):
    """Packets pass through a VLAN on both sides."""
    add_vlan(cfg, "vlan7", VLAN)
    made = cfg.peer.run("ip", "link", "add", "link", cfg.peerdev, "name", "vlan7", "type", "vlan",
                        "id", str(VLAN))
    ktap.equal(made.returncode, 0, f"VLAN of the peer ({made.stderr.strip()})")
    ktap.defer(cfg.peer.run, "ip", "link", "del", "vlan7")
    for side, address in ((cfg.dut, env.DUT_VLAN4), (cfg.peer, env.PEER_VLAN4)):
        side.ip("link set vlan7 addrgenmode none", "link set vlan7 up",
                f"addr add {address}/25 dev vlan7")
    traffic.ping(cfg.dut, env.DUT_VLAN4, env.PEER_VLAN4, [56, 1400])
    traffic.ping(cfg.peer, env.PEER_VLAN4, env.DUT_VLAN4, [56, 1400])


def bridge(cfg):
    """A port of a bridge receives for the others, in all VLANs."""
    probe = Probe(cfg)
    made = cfg.dut.run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0")
    if made.returncode:
        raise ktap.Skip(f"needs bridges: {made.stderr.strip()}")
    ktap.defer(cfg.dut.run, "ip", "link", "del", "br0")
    ktap.defer(cfg.configure)
    ktap.defer(cfg.dut.run, "ip", "link", "set", cfg.netif, "nomaster")
    cfg.dut.ip("link set br0 addrgenmode none", f"link set {cfg.netif} master br0",
               "link set br0 up")
    probe.becomes(True, FOREIGN)
    ktap.check(probe.passes(FOREIGN, OTHER_VLAN), "a tagged frame was dropped")
    cfg.dut.ip(f"link set {cfg.netif} nomaster")
    probe.becomes(False, FOREIGN)


def down_and_up(cfg):
    """What was chosen is still so after the interface was down."""
    add_vlan(cfg, "vlan7", VLAN)
    ktap.defer(cfg.dut.run, "ip", "maddress", "del", GROUP, "dev", cfg.netif)
    groups(cfg, [GROUP])
    cfg.dut.ip(f"link set {cfg.netif} down")
    cfg.configure()
    probe = Probe(cfg)
    probe.becomes(True, GROUP)
    ktap.check(probe.passes(cfg.netif_mac, VLAN), "a frame of the VLAN was dropped")
    ktap.equal(probe.passing(FOREIGN, OTHER_GROUP), [], "received")


CASES = [own_only, promiscuous, multicast, many_groups, upper_address, vlans, vlan_traffic, bridge,
         down_and_up]
