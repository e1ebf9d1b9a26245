# SPDX-License-Identifier: GPL-2.0
"""The two interfaces under test, each in a namespace of its own.

NETIF is the interface of the NIC under test, PEERIF the other end of its wire.
Optional: ESPNIC_CONTROL (character device of the NIC's control socket), ESPNIC_CAPTURE
(its pcapng file), ESPNIC_NIC (its name there, n0 by default).
"""

import contextlib
import os
import time

from . import netif, proc, xfrm
from .control import Control
from .frames import parse
from .ktap import Skip, check, defer, diag, equal
from .netns import Netns
from .pace import scaled
from .pcapng import Reader
from .sniff import Sniffer

DUT4, PEER4 = "192.0.2.1", "192.0.2.2"
DUT6, PEER6 = "2001:db8:77::1", "2001:db8:77::2"
DUT_INNER4, PEER_INNER4 = "198.51.100.1", "203.0.113.1"
DUT_INNER6, PEER_INNER6 = "2001:db8:a::1", "2001:db8:b::1"
DUT_VLAN4, PEER_VLAN4 = "192.0.2.129", "192.0.2.130"
FAR6 = "2001:db9::2"  # of the peer, in no subnet of the side under test
LAN4, LAN6 = "198.51.100.10", "2001:db8:a::10"  # of a host behind the side under test
ADDRESSES = {FAR6, LAN4, LAN6, DUT4, PEER4, DUT6, PEER6, DUT_INNER4, PEER_INNER4, DUT_INNER6,
             PEER_INNER6, DUT_VLAN4, PEER_VLAN4}
UPPER = "upper0"
NDIS = "/dev/espnic-ndis"
QUIET, QUIET_TRIES = scaled(0.03), 5
SETTLE = scaled(0.25)


class Setup:
    """NETIF in namespace dut, PEERIF in namespace peer, addresses on both.

    With tap=True PEERIF stays in a third namespace, wire, and the peer talks through a macvlan
    on top of it: a packet socket on PEERIF then sees the wire alone, neither packets that the
    peer's stack has decrypted nor ones that its receive offload has eaten.

    peer is another variable than PEERIF with the name of the peer's interface.
    """

    def __init__(self, tap=False, mtu=1500, peer="PEERIF"):
        self.netif = interface("NETIF")
        self.peerif = self.peerdev = interface(peer)
        proc.need_root()
        proc.need("ip", "ethtool")
        self.mtu = mtu
        self.nic = os.environ.get("ESPNIC_NIC", "n0")
        self.netif_mac, self.peer_mac = netif.mac(self.netif), netif.mac(self.peerif)
        self.device = netif.bus_device(self.netif)
        self.driver = netif.driver_of(self.device)
        path = os.environ.get("ESPNIC_CONTROL")
        self.control = Control(path) if path else None
        path = os.environ.get("ESPNIC_CAPTURE")
        self.capture = Reader(path) if path else None
        self.init, self.dut, self.peer = Netns("init", init=True), Netns("dut"), Netns("peer")
        self.wire = Netns("wire") if tap else self.peer
        defer(self._close)
        self.sniffer = None
        self._connect_peer(tap)
        self.connect()

    def _close(self):
        self.give_back()
        for ns in {self.dut, self.peer, self.wire}:
            return_interface(ns, self.peerif)
            ns.close()

    def give_back(self):
        """Move NETIF to the initial namespace, if it is not there."""
        return_interface(self.dut, self.netif)

    def connect(self):
        """Move NETIF to its namespace, give it its addresses and bring it up."""
        self.init.ip(f"link set {self.netif} netns {self.dut.path}")
        self.configure()

    def configure(self):
        """Addresses, neighbour and route of NETIF; needed again after every link down."""
        self.dut.ip("link set lo up", f"addr replace {DUT_INNER4}/32 dev lo",
                    f"addr replace {DUT_INNER6}/128 dev lo nodad",
                    *_address_lines(self.netif, self.mtu, DUT4, DUT6, PEER4, PEER6,
                                    self.peer_mac),
                    f"route replace {PEER_INNER4}/32 via {PEER4} dev {self.netif} "
                    f"src {DUT_INNER4}",
                    f"route replace {PEER_INNER6}/128 via {PEER6} dev {self.netif} "
                    f"src {DUT_INNER6}")

    def _connect_peer(self, tap):
        self.init.ip(f"link set {self.peerif} netns {self.wire.path}")
        if tap:
            self._make_tap()
        self.peer.ip("link set lo up", f"addr replace {PEER_INNER4}/32 dev lo",
                     f"addr replace {PEER_INNER6}/128 dev lo nodad",
                     *_address_lines(self.peerdev, self.mtu, PEER4, PEER6, DUT4, DUT6,
                                     self.netif_mac),
                     f"route replace {DUT_INNER4}/32 via {DUT4} dev {self.peerdev} "
                     f"src {PEER_INNER4}",
                     f"route replace {DUT_INNER6}/128 via {DUT6} dev {self.peerdev} "
                     f"src {PEER_INNER6}")

    def _make_tap(self):
        self.peerdev = UPPER
        with self.wire:
            proc.run("ethtool", "-K", self.peerif, "gro", "off")
            result = proc.run("ip", "link", "add", "link", self.peerif, "name", UPPER, "type",
                              "macvlan", "mode", "passthru")
            if result.returncode:
                raise Skip(f"needs macvlan: {result.stderr.strip()}")
        self.wire.ip(f"link set {self.peerif} addrgenmode none",
                     f"link set {self.peerif} mtu {self.mtu} up",
                     f"link set {UPPER} netns {self.peer.path}")
        self.sniffer = Sniffer(self.wire, self.peerif)

    def set_mtu(self, mtu):
        """Change the MTU of both ends."""
        self.dut.ip(f"link set {self.netif} mtu {mtu}")
        self.wire.ip(f"link set {self.peerif} mtu {mtu}")
        self.peer.ip(f"link set {self.peerdev} mtu {mtu}")

    @contextlib.contextmanager
    def other_namespace(self):
        """Move NETIF, up and in use, to a new namespace, which is the side under test until it is
        back. There it needs configure(); back again it is configured."""
        old, new = self.dut, Netns("dut2")
        defer(new.close)
        old.ip(f"link set {self.netif} netns {new.path}")
        self.dut = new
        try:
            yield
        finally:
            new.ip(f"link set {self.netif} netns {old.path}")
            self.dut = old
            self.configure()

    @contextlib.contextmanager
    def driver_away(self):
        """Unbind the driver; afterwards it is bound again and NETIF is configured."""
        netif.unbind(self.device)
        try:
            yield
        finally:
            netif.bind(self.device, self.driver, self.netif)
            self.connect()

    @contextlib.contextmanager
    def module_away(self):
        """Unload the driver's module; afterwards it is loaded again and NETIF is configured."""
        path = os.environ.get("ESPNIC_KO")
        if not path:
            raise Skip("ESPNIC_KO is not set: name the module file")
        others = netif.same_driver(self.device) | {self.device: self.netif}
        options = [f"ndis={int(os.path.exists(NDIS))}"] if netif.parameter(path, "ndis") else []
        proc.cmd("rmmod", self.driver)
        try:
            yield
        finally:
            proc.cmd("insmod", path, *options)
            for device, name in others.items():
                netif.adopt(device, name)
            self.connect()

    def need_offload(self):
        """Skip unless the driver offers ESP offload."""
        if not netif.ethtool_features(self.dut, self.netif).get("esp-hw-offload"):
            raise Skip(f"{self.netif} has no esp-hw-offload")
        return self

    def need_control(self):
        """Skip without the NIC's control socket."""
        if not self.control:
            raise Skip("ESPNIC_CONTROL is not set: no access to the NIC's faults and counters")
        return self.control

    def need_request(self, *words):
        """Skip unless the NIC's control socket lists a request with these words."""
        control = self.need_control()
        missing = [word for word in words if word not in control.help()]
        if missing:
            raise Skip(f"the NIC's control socket does not know: {', '.join(missing)}")
        return control

    def features(self):
        """`ethtool -k` of NETIF, True for on."""
        return netif.ethtool_features(self.dut, self.netif)

    def feature(self, name, state):
        """Switch a feature of NETIF, named as by `ethtool -k`, for the rest of the case."""
        before = "on" if self.features()[name] else "off"
        defer(self.dut.cmd, "ethtool", "-K", self.netif, name, before)
        self.dut.cmd("ethtool", "-K", self.netif, name, state)

    def need_capture(self):
        """Skip without the NIC's capture."""
        if not self.capture:
            raise Skip("ESPNIC_CAPTURE is not set: no access to the NIC's capture")
        return self.capture

    def captured(self):
        """(interface, frame) pairs that the NIC captured since the last call."""
        if not self.capture:
            return []
        self._complete_capture()
        return self.capture.read()

    def skip_captured(self):
        """Pass over what the NIC has captured up to now."""
        if self.capture:
            self._complete_capture()
            self.capture.skip()

    def _complete_capture(self):
        if self.control:
            self.control.flush_capture()
        else:
            time.sleep(2 * SETTLE)

    def driver_counters(self):
        """`ethtool -S` of NETIF."""
        return netif.ethtool_stats(self.dut, self.netif)

    def made(self, words):
        """How often the NIC has misbehaved in this way."""
        return self.control.request("stats", self.nic)["nics"][self.nic]["misbehaviour"][words]

    def resets(self):
        """Resets that the driver has mastered; -1 in the middle of one, when there are no
        counters."""
        try:
            return self.driver_counters().get("nic_resets", 0)
        except proc.CmdError:
            return -1

    def reset(self, timeout):
        """Have the NIC ask for a reset, and wait until the driver has mastered it."""
        before = self.resets()
        self.control.request("reset", self.nic)
        proc.wait_until(lambda: self.resets() > max(before, 0), "the driver resets the NIC",
                        timeout)

    def nic_counters(self):
        """The NIC's own counters, or an empty dict without a control socket."""
        return self.control.stats(self.nic) if self.control else {}

    def watch(self):
        """Start to observe the wire and all counters."""
        return Watch(self)


def interface(variable):
    """Name of the interface that an environment variable holds."""
    name = os.environ.get(variable)
    if not name:
        raise Skip(f"{variable} is not set: name the interface to test")
    # an earlier test's namespace may still be on its way out, with the interface in it
    proc.wait_until(lambda: netif.exists(name), f"{variable}={name}: there is no such interface")
    return name


def return_interface(ns, name):
    """Bring an interface back to the initial namespace, down and without addresses."""
    if ns.run("ip", "link", "show", "dev", name).returncode == 0:
        ns.ip(f"link set {name} down", f"link set {name} netns 1")


def _address_lines(dev, mtu, own4, own6, other4, other6, other_mac):
    """Fixed neighbours and no link-local address: no ARP, no discovery, a silent wire."""
    return [f"link set {dev} addrgenmode none",
            f"link set {dev} mtu {mtu} up",
            f"addr replace {own4}/24 dev {dev}",
            f"addr replace {own6}/64 dev {dev} nodad",
            f"neigh replace {other4} lladdr {other_mac} dev {dev} nud permanent",
            f"neigh replace {other6} lladdr {other_mac} dev {dev} nud permanent"]


class Watch:
    """What the wire and the counters showed since the start."""

    def __init__(self, cfg):
        self._cfg = cfg
        self.tap_frames, self.nic_frames = [], []
        cfg.skip_captured()
        self._driver = self._start(cfg)
        self._nic = cfg.nic_counters()
        self._dut, self._peer = xfrm.counters(cfg.dut), xfrm.counters(cfg.peer)

    @staticmethod
    def _start(cfg):
        """The driver's counters at a moment when no frame is between it and the tap: one that is
        counted before and seen later would be one too many. In the middle of traffic there is no
        such moment."""
        if not cfg.sniffer:
            return cfg.driver_counters()
        for _ in range(QUIET_TRIES):
            cfg.sniffer.frames()
            counters = cfg.driver_counters()
            time.sleep(QUIET)
            if not cfg.sniffer.frames():
                break
        return counters

    def stop(self):
        """End of the observation: wait for packets under way, then read everything."""
        cfg = self._cfg
        count = -1
        while count != len(self.tap_frames):
            count = len(self.tap_frames)
            time.sleep(SETTLE)
            self.tap_frames += cfg.sniffer.frames() if cfg.sniffer else []
        self.nic_frames = cfg.captured()
        self.nic = xfrm.changed(self._nic, cfg.nic_counters())
        self.driver = xfrm.changed(self._driver, cfg.driver_counters())
        self.dut_errors = xfrm.changed(self._dut, xfrm.counters(cfg.dut))
        self.peer_errors = xfrm.changed(self._peer, xfrm.counters(cfg.peer))
        return self

    def packets(self):
        """IP packets at the tap, both directions."""
        parsed = (parse(frame) for _, frame in self.tap_frames)
        return [packet for packet in parsed if packet]

    def frames_sent(self, mac):
        """How many frames of any kind this MAC address sent, at the tap."""
        source = bytes.fromhex(mac.replace(":", ""))
        return sum(frame[6:12] == source for _, frame in self.tap_frames)

    def esp(self, mac):
        """ESP packets at the tap that this MAC address sent."""
        return [packet for packet in self.packets() if packet.esp and packet.smac == mac]

    def nic_esp(self, mac):
        """ESP packets in the NIC's capture that this MAC address sent."""
        parsed = (parse(frame) for _, frame in self.nic_frames)
        return [packet for packet in parsed if packet and packet.esp and packet.smac == mac]

    def clear_packets(self):
        """Packets between the test's addresses that are not ESP, at the tap and in the capture.

        An IKE daemon's keepalives and messages are protected by itself, and come when they will.
        """
        parsed = [parse(frame) for _, frame in self.tap_frames + self.nic_frames]
        return [packet for packet in parsed if packet and {packet.src, packet.dst} <= ADDRESSES
                and not packet.esp and not packet.key_exchange]

    def prove_offload(self, least=1):
        """The NIC did all of the ESP work in both directions, and nothing went wrong."""
        cfg = self._cfg
        sent, received = len(self.esp(cfg.netif_mac)), len(self.esp(cfg.peer_mac))
        diag(f"ESP packets on the wire: {sent} sent, {received} received; NIC: "
             f"{self.nic.get('ipsec_tx_packets')}, {self.nic.get('ipsec_rx_packets')}; driver: "
             f"{self.driver.get('ipsec_tx_packets')}, {self.driver.get('ipsec_rx_packets')}")
        check(sent >= least and received >= least, f"expected {least} ESP packets each way, "
              f"saw {sent} sent and {received} received")
        self.prove_no_errors()
        for who, stats in self._counter_sets():
            equal(stats.get("ipsec_tx_packets", 0), sent,
                  f"packets encrypted by the {who} against ESP packets sent")
            equal(stats.get("ipsec_rx_packets", 0), received,
                  f"packets decrypted by the {who} against ESP packets received")
        if cfg.capture:
            equal(len(self.nic_esp(cfg.netif_mac)), sent, "ESP packets sent, NIC's capture")
            equal(len(self.nic_esp(cfg.peer_mac)), received, "ESP packets received, NIC's capture")

    def expect_counters(self, driver, nic=None):
        """The driver, and the NIC if it can be asked, have counted this by name since the start."""
        wanted = {"driver": driver, "NIC": nic or {}}
        for who, stats in self._counter_sets():
            for name, count in wanted[who].items():
                equal(stats.get(name, 0), count, f"{who}'s {name}")

    def _counter_sets(self):
        sets = [("driver", self.driver)]
        return sets + [("NIC", self.nic)] if self._cfg.control else sets

    def prove_no_errors(self):
        """No XFRM error on either side, and no plaintext."""
        equal(self.dut_errors, {}, "XFRM error counters of the side under test")
        equal(self.peer_errors, {}, "XFRM error counters of the peer")
        self.prove_no_plaintext()

    def prove_no_plaintext(self):
        """No packet of the test's addresses left or entered unprotected."""
        clear = self.clear_packets()
        first = [(one.src, one.dst, one.proto, one.payload[:40]) for one in clear[:1]]
        check(not clear, f"{len(clear)} unprotected packets on the wire, the first is {first}")
