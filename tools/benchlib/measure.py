# SPDX-License-Identifier: GPL-2.0
"""The measurements: set-up of each row, transfers, and the proof of what carried them."""

import dataclasses
import re
import statistics
import sys
import time

from . import gateway
from .common import PORT, TOOLS, BenchError
from .machine import MTU

sys.path.insert(0, str(TOOLS.parent / "selftests/lib"))
from ksft import env, xfrm  # noqa: E402

MIB = 1 << 20
WARM_UP = MIB
NETIF = PEERIF = "espnic0"
SETTLE_SECONDS = 0.3
CALM_SECONDS = 3
DIRECTIONS = {"tx": "send", "rx": "receive"}
OFFLOAD = {"crypto": "offload dev {netif}", "packet": "offload packet dev {netif}", "software": ""}
# Counters of the driver, by mode, and those of the NIC, which does not distinguish the modes.
COUNTERS = {"crypto": "ipsec_{way}_packets", "packet": "ipsec_packet_{way}_packets"}
# A statistics thread that wakes up many times per second; Debian's kernel starts it.
QUIET = "[ ! -e {0} ] || echo N >{0}".format("/sys/module/damon_stat/parameters/enabled")


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to carry the traffic."""

    name: str
    title: str
    driver: str = "espnic"
    sa: str | None = None  # who does ESP on the side under test: a key of OFFLOAD
    policies: int = 0  # offloaded ones of other flows, in each direction, beside the flow's own
    large: bool = False  # segments of TCP come together, at both ends
    gateway: bool = False  # the side under test forwards, in a tunnel if there is ESP

    @property
    def offloaded(self):
        """Whether the NIC does the cryptography."""
        return self.sa in ("crypto", "packet")

    def beside(self, name):
        """The name of the row of this kind that corresponds to one without a gateway."""
        return f"gateway_{name}" if self.gateway else name


ROWS = (
    Row("plain", "plain, espnic"),
    Row("plain_large", "plain, large receives", large=True),
    Row("crypto", "ESP crypto offload, espnic", sa="crypto"),
    Row("packet", "ESP packet offload, espnic", sa="packet"),
    Row("packet_1000", "the same, 1,000 policies", sa="packet", policies=1000),
    Row("packet_10000", "the same, 10,000 policies", sa="packet", policies=10000),
    Row("software", "ESP in software, espnic", sa="software"),
    Row("virtio_net", "plain, stock virtio_net", driver="virtio_net"),
    # The last ones: the guest forwards from then on.
    Row("gateway_plain", "gateway, plain", gateway=True),
    Row("gateway_crypto", "gateway, crypto offload", sa="crypto", gateway=True),
    Row("gateway_packet", "gateway, packet offload", sa="packet", gateway=True),
    Row("gateway_software", "gateway, ESP in software", sa="software", gateway=True),
)


@dataclasses.dataclass
class Phase:
    """What lies between two markers."""

    instructions: int  # iterations of repeated string instructions included
    iterations: int
    seconds: float


@dataclasses.dataclass
class Transfer:
    """One measured transfer; idle cost not yet subtracted."""

    size: int  # bytes of TCP payload
    phase: Phase
    nic: dict  # counters of the NIC that moved, by group
    idle: float = 0.0  # instructions that an idle guest would have executed meanwhile
    trains: int = 0  # packets of many segments that a gateway has sent on

    @property
    def instructions(self):
        """Instructions for the transfer."""
        return self.phase.instructions - self.idle


@dataclasses.dataclass
class Result:
    """A row in one direction."""

    row: Row
    direction: str
    transfers: list

    def _median(self, function):
        return statistics.median(function(one) for one in self.transfers)

    def frames(self, one):
        """Frames on the wire that carried the data, as the NIC counted them."""
        return one.nic["port"][f"{self.direction}_frames"]

    @property
    def per_byte(self):
        """Instructions per byte of TCP payload."""
        return self._median(lambda one: one.instructions / one.size)

    @property
    def per_packet(self):
        """Instructions per frame with data."""
        return self._median(lambda one: one.instructions / self.frames(one))

    @property
    def spread(self):
        """Difference of the largest and the smallest figure per byte, relative to the median."""
        values = [one.instructions / one.size for one in self.transfers]
        return (max(values) - min(values)) / self.per_byte

    @property
    def train(self):
        """Frames in a packet of many segments that a gateway sent on; 0 if there is none."""
        return self._median(lambda one: one.trains and self.frames(one) / one.trains)

    def per_frame(self, group, name):
        """A NIC counter per frame with data."""
        return self._median(lambda one: one.nic[group].get(name, 0) / self.frames(one))


class Bench:
    """Measures on a running machine."""

    def __init__(self, machine, deadline, on_profile=None):
        self._m, self._deadline, self._on_profile = machine, deadline, on_profile
        self._idle_rate = 0.0
        self._lines_seen = 0
        self._loaded = "espnic"
        self._device = ""
        self._gateway = None
        self.facts = {}

    def set_up(self):
        """Interfaces, modules and the peer's server."""
        m = self._m
        for guest in (m.dut, m.peer):
            # What udev loads on a real machine, and both parts of the stack's ESP, so that no row
            # depends on what ran before it.
            guest.run("modprobe -a aesni_intel esp4 esp4_offload && "
                      "sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv6.conf.all.disable_ipv6=1 "
                      f"&& {{ {QUIET}; }}")
        for guest in (m.dut, m.peer):
            guest.run("for path in /sys/class/net/espnic*; do "
                      "ethtool -K ${path##*/} rx-gro-hw off || exit; done")
        self._device = m.dut.run(f"basename $(readlink -f /sys/class/net/{NETIF}/device)")
        _configure(m.peer, PEERIF, env.PEER4, env.DUT4, m.dut_mac)
        _configure(m.dut, NETIF, env.DUT4, env.PEER4, m.peer_mac)
        m.peer.run(f"/espnic/bench-traffic serve {PORT} </dev/null >/dev/null 2>&1 &")

    def measure_idle(self, seconds):
        """Instructions of an idle guest, taken twice; the mean rate is subtracted from now on."""
        self._ready()
        time.sleep(CALM_SECONDS)
        phases = []
        for _ in range(2):
            self._m.dut.run(f"/espnic/bench-traffic idle {int(seconds * 1000)}")
            phases.append(self._phase())
        if self._on_profile:
            self._on_profile("idle", self._m)
        rates = [phase.instructions / phase.seconds for phase in phases]
        self._idle_rate = statistics.mean(rates)
        return rates

    def _ready(self, row=ROWS[0]):
        """A transfer in each direction: window sizes, caches and lazy work settle."""
        for verb in DIRECTIONS.values():
            self._traffic(row, verb, WARM_UP)

    def measure(self, row, size, repeats):
        """Results of a row, one per direction."""
        self._use_driver(row.driver)
        self._receive_large(row.large)
        if row.gateway and not self._gateway:
            self._gateway = gateway.Gateway(self._m)
        flow = self._protect(row)
        self._ready(row)
        results = []
        for direction in DIRECTIONS:
            transfers = []
            for number in range(repeats):
                self._deadline.left()
                one = self._transfer(row, direction, size, flow)
                transfers.append(one)
                self._deadline.say(f"{row.title}, {direction.upper()} {number + 1}/{repeats}: "
                                   f"{one.instructions / size:.2f} instructions per byte, "
                                   f"{one.phase.seconds:.1f} s")
            results.append(Result(row, direction, transfers))
            if self._on_profile:
                self._on_profile(f"{row.name} {direction}", self._m)
        for guest in (self._m.dut, self._m.peer):
            guest.ip("xfrm state flush", "xfrm policy flush")
        return results

    def _use_driver(self, wanted):
        if wanted != self._loaded:
            drivers = "/sys/bus/virtio/drivers"
            self._m.dut.run(
                f"echo {self._device} >{drivers}/{self._loaded}/unbind && "
                f"echo {self._device} >{drivers}/{wanted}/bind && sleep 0.5 && "
                f"name=$(ls /sys/bus/virtio/devices/{self._device}/net) && "
                f"{{ [ $name = {NETIF} ] || ip link set $name name {NETIF}; }}")
            self._loaded = wanted
            _configure(self._m.dut, NETIF, env.DUT4, env.PEER4, self._m.peer_mac)
        driver = re.search(r"^driver: (\S+)", self._m.dut.run(f"ethtool -i {NETIF}"), re.M)
        if not driver or driver[1] != wanted:
            raise BenchError(f"{NETIF} is driven by {driver and driver[1]}, not by {wanted}")

    def _receive_large(self, wanted):
        """Whether segments of TCP come together. Those in ESP cannot, so only rows of one kind can
        be compared."""
        for guest, netif in ((self._m.dut, NETIF), (self._m.peer, PEERIF)):
            guest.run(f"ethtool -K {netif} rx-gro-hw {'on' if wanted else 'off'}")

    def _protect(self, row):
        """SAs of the row; the peer's are always offloaded, so that it is as quick in all rows."""
        if not row.sa:
            return None
        flow = gateway.flow() if row.gateway else xfrm.Flow(env.DUT4, env.PEER4, priority=1)
        self._m.peer.ip(flow.in_.add(xfrm.offload(PEERIF, "out")),
                        flow.out.add(xfrm.offload(PEERIF, "in")), *flow.peer_policies())
        (self._m.dut_folder / "batch").write_text("\n".join(dut_lines(row, flow)),
                                                  encoding="ascii")
        self._m.dut.run("ip -batch /host/batch")
        if row.sa == "software":
            text = self._m.dut.run("grep -B1 -A3 '^driver.*rfc4106' /proc/crypto")
            names = re.findall(r"^driver *: (\S*rfc4106\S*)", text, re.M)
            if not any("aesni" in name or "avx" in name for name in names):
                raise BenchError(f"the stack's AES-GCM does not use AES-NI: {', '.join(names)}")
            self.facts["software_cipher"] = names[0]
        return flow

    def _traffic(self, row, verb, size):
        if row.gateway:
            self._gateway.traffic(verb, size)
        else:
            self._m.dut.run(f"/espnic/bench-traffic {verb} {env.PEER4} {PORT} {size}")
        return self._phase()

    def _phase(self):
        """The last pair of markers."""
        lines = self._m.markers.read_text(encoding="ascii").splitlines()
        new = [[int(word) for word in line.split()] for line in lines[self._lines_seen:]]
        self._lines_seen = len(lines)
        if [fields[0] for fields in new] != [1, 2]:
            raise BenchError(f"expected markers 1 and 2 of a phase, got {new}")
        (_, insns0, loops0, time0), (_, insns1, loops1, time1) = new
        return Phase(insns1 - insns0 + loops1 - loops0, loops1 - loops0, (time1 - time0) / 1e9)

    def _transfer(self, row, direction, size, flow):
        before = self._counters(flow)
        phase = self._traffic(row, DIRECTIONS[direction], size)
        time.sleep(SETTLE_SECONDS)
        moved = _difference(before, self._counters(flow))
        prove(row, direction, size, moved)
        return Transfer(size, phase, moved["nic"], self._idle_rate * phase.seconds,
                        moved["trains"].get(direction, 0))

    def _counters(self, flow):
        text = self._m.dut.run(f"cat /proc/net/xfrm_stat; ethtool -S {NETIF} | grep ipsec_; true")
        guest = dict(re.findall(r"(\w+):?\s+(\d+)", text))
        states = {}
        for name, sa in (("tx", flow.out), ("rx", flow.in_)) if flow else ():
            found = re.search(r"lifetime current:\s+(\d+)\(bytes\)",
                              self._m.dut.run("ip -s " + sa.get()))
            states[name] = int(found[1])
        return {"nic": self._m.control.stats("dut"), "states": states,
                "trains": self._gateway.trains(NETIF) if self._gateway else {},
                "guest": {name: int(value) for name, value in guest.items()}}


def dut_lines(row, flow):
    """Arguments of `ip` for states and policies of the side under test."""
    words = OFFLOAD[row.sa].format(netif=NETIF)
    policies = flow.dut_policies()
    if row.sa == "packet":
        policies = [line.replace(" tmpl ", f" {words} tmpl ") for line in policies]
    window = f"{xfrm.WINDOW} {words}"
    return [flow.out.add(words and f"{words} dir out"), flow.in_.add(words and f"{window} dir in"
                                                                     or xfrm.WINDOW),
            *policies, *gateway.forward_policies(row, flow),
            *policy_lines(2 * row.policies, words)]


def policy_lines(count, words):
    """Arguments of `ip` for policies that match packets of others, every other one inbound: of
    single addresses, networks, and ports; half of them above the priority of the flow's."""
    template = "proto esp reqid 2 mode transport"
    kinds = ("{far} ", "{net} ", "{far} proto tcp dport 443 ", "{net} proto udp sport 53 ")
    for number in range(count):
        index, inbound = number >> 1, number & 1
        way, ends, far_end = (("out", f"src {env.DUT4}", "dst"), ("in", f"dst {env.DUT4}", "src"))[
            inbound]
        selector = kinds[index % len(kinds)].format(
            far=f"198.18.{index >> 8}.{index & 255}", net=f"10.{index >> 8}.{index & 255}.0/24")
        yield (f"xfrm policy add {ends} {far_end} {selector}dir {way} priority {index // 4 % 2} "
               f"{words} tmpl {template}")


def _configure(guest, netif, own, other, other_mac):
    """Addresses and a fixed neighbour: no other traffic than the transfers."""
    guest.ip(f"link set {netif} addrgenmode none", f"link set {netif} mtu {MTU} up",
             f"addr replace {own}/24 dev {netif}",
             f"neigh replace {other} lladdr {other_mac} dev {netif} nud permanent")


def _difference(before, after):
    """The same tree of counters with what they rose by."""
    return {key: _difference(before.get(key, {}), value) if isinstance(value, dict)
            else value - before.get(key, 0) for key, value in after.items()}


def prove(row, direction, size, moved):
    """Raise unless the traffic was carried as the row says."""
    port, ipsec, guest = moved["nic"]["port"], moved["nic"]["ipsec"], moved["guest"]
    frames = port[f"{direction}_frames"]
    if frames < size // MTU:
        raise BenchError(f"{row.title}: {size} bytes in {frames} frames; the wire was not "
                         f"segmented to MTU {MTU}, or another interface was used")
    errors = {name: count for name, count in guest.items() if name.startswith("Xfrm") and count}
    if errors:
        raise BenchError(f"{row.title}: XFRM errors {errors}")
    for way in ("tx", "rx"):
        frames = port[f"{way}_frames"]
        counts = {"NIC": (ipsec[f"ipsec_{way}_packets"], row.offloaded)}
        for mode, name in COUNTERS.items():
            count = guest.get(name.format(way=way), 0)
            counts[f"driver ({mode})"] = count, row.sa == mode
        for who, (count, all_of_them) in counts.items():
            wanted = frames if all_of_them else 0
            if count != wanted:
                raise BenchError(f"{row.title}: {way} {frames} frames, of which "
                                 f"the {who} counts {count} as offloaded ESP instead of {wanted}")
    # A software SA may count a packet before it is segmented, so bytes are compared. In packet
    # offload the NIC counts, and the stack hears of it from time to time.
    if row.sa not in (None, "packet") and moved["states"][direction] < size:
        raise BenchError(f"{row.title}: the SA counts {moved['states'][direction]} bytes "
                         f"{direction}, fewer than the {size} transferred")
