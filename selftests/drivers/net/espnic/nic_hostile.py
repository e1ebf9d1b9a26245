#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A NIC that breaks the rules of virtio and of IPsec offload on purpose.

Whatever it does, the machine goes on, nothing leaves in clear, and what is wrong is dropped; when
the NIC behaves again, after a reset where a ring is broken, all ESP work is done by it as before.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, frames, ktap, memory, netif, proc, traffic, xfrm  # noqa: E402

RESET_TIME = 10.0
PATIENCE = 0.3  # for a reply that will probably not come
COUNT, WRONG = 8, 3
ROUNDS = 2
MEMORY = 56  # MiB
STALE = "ipsec_rx_drop_stale"
MISMATCH = "ipsec_rx_drop_mismatch"


def _misbehave(cfg, words, *numbers):
    """From now on the NIC misbehaves; the numbers are a value, if there is one, and how often."""
    cfg.need_request("misbehave").fault(cfg.nic, "misbehave", *words.split(), *numbers)


def _behave(cfg):
    """The end of all misbehaviour."""
    cfg.control.request("fault", cfg.nic, "clear")


def _reset(cfg):
    """Have the NIC ask for a reset, and wait until the driver has mastered it."""
    cfg.reset(RESET_TIME)


def _start(cfg):
    """IPv4 between the ends is protected, IPv6 is not."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    _works(cfg, flow)
    return flow


def _works(cfg, flow):
    """Plain traffic gets through, and the NIC does all of the ESP work."""
    traffic.ping(cfg.dut, env.DUT6, env.PEER6, [56] * 3)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * 5)
    traffic.ping(cfg.peer, flow.peer_inner, flow.dut_inner, [56, 1300])
    watch.stop().prove_offload(7)


def _anew(cfg):
    """A new protected flow in place of all others."""
    xfrm.flush(cfg.dut, cfg.peer)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    return flow


def _packets(cfg, _flow):
    """Plain and protected packets both ways; some arrive, or none."""
    for _ in range(ROUNDS):
        for dut, peer in ((env.DUT6, env.PEER6), (env.DUT4, env.PEER4)):
            traffic.reachable(cfg.dut, dut, peer, timeout=PATIENCE)
            traffic.reachable(cfg.peer, peer, dut, timeout=PATIENCE)


def _commands(cfg, _flow):
    """SAs come and go; each add works, or says why not and leaves nothing behind."""
    for _ in range(ROUNDS):
        other = xfrm.Flow(env.DUT4, env.PEER4, reqid=9)
        result = cfg.dut.run("ip", *other.out.add(xfrm.offload(cfg.netif, "out")).split())
        if result.returncode:
            ktap.contains(result.stderr, "espnic:", "message for an SA that was not added")
            ktap.check(xfrm.state_text(cfg.dut, other.out) is None, "a refused SA exists")
        else:
            cfg.dut.ip(other.out.delete())


def _no_plaintext(cfg):
    """Nothing between the protected addresses, those of IPv4, goes out in clear."""
    watch = cfg.watch()
    traffic.reachable(cfg.dut, env.DUT4, env.PEER4, timeout=PATIENCE)
    clear = [packet for packet in watch.stop().clear_packets() if packet.dst == env.PEER4]
    ktap.equal(len(clear), 0, "packets of the protected flow in clear")


@dataclass(frozen=True)
class Ring:
    """A case: rings or answers are wrong while something is done; after a reset all is well."""

    words: str
    do: object
    least: dict = field(default_factory=dict)  # what the driver's counters move by at least
    numbers: tuple = (1,)
    name: str = ""

    @property
    def __name__(self):
        return self.name or self.words.replace(" ", "_").replace("-", "_")

    def __call__(self, cfg):
        cfg.need_request("misbehave", "reset")
        flow = _start(cfg)
        made, before = cfg.made(self.words), cfg.driver_counters()
        _misbehave(cfg, self.words, *self.numbers)
        self.do(cfg, flow)
        ktap.at_least(cfg.made(self.words) - made, 1, f"times that the NIC did: {self.words}")
        _no_plaintext(cfg)
        after = cfg.driver_counters()
        for name, least in self.least.items():
            ktap.at_least(after[name] - before[name], least, f"driver's {name}")
        _behave(cfg)
        _reset(cfg)
        esp.expect_live(cfg, 2, "after the reset", RESET_TIME)
        _works(cfg, flow)


MALFORMED = {"rx_malformed": 1}
USED = ["id-out-of-range", "id-not-given", "too-long", "huge", "empty", "short", "twice"]
RINGS = [
    *(Ring(f"rx {what}", _packets, MALFORMED if what in ("empty", "short") else {})
      for what in USED),
    *(Ring(f"tx {what}", _packets) for what in USED),
    *(Ring(f"ctrl {what}", _commands) for what in USED),
    Ring("rx num-buffers", _packets, MALFORMED),
    *(Ring(f"rx {what}", _packets, MALFORMED) for what in ("gso-type", "gso-size", "csum-start")),
    Ring("ctrl late", _commands, numbers=(50, 2)),
    # the driver waits for 5 s
    Ring("ctrl late", _commands, {"ipsec_control_errors": 1}, (5500, 3), "ctrl_too_late"),
    Ring("ctrl truncated", _commands, {"ipsec_control_errors": 1}),
    Ring("ctrl never", _commands, {"ipsec_control_errors": 1}),
]


def _burst(cfg, flow):
    """Datagrams from the peer; returns how many of COUNT arrived."""
    link = traffic.Datagrams(cfg.peer, flow.peer, cfg.dut, flow.dut)
    ktap.defer(link.close)
    for _ in range(COUNT):
        ktap.check(link.send(b"espnic hostile"), "a datagram could not be sent")
    arrived = 0
    while arrived < COUNT and link.receive(1.0) is not None:
        arrived += 1
    return arrived


@dataclass(frozen=True)
class Record:
    """A case: what the NIC says of packets that it has decrypted is wrong. They are dropped, the
    others are not, and no reset is needed."""

    what: str
    driver: dict  # by how much the driver's counters move
    family: int = 4

    @property
    def __name__(self):
        return f"record_{self.what.replace('-', '_')}_v{self.family}"

    def __call__(self, cfg):
        words = f"record {self.what}"
        cfg.need_request("misbehave", self.what)
        flow = esp.direct(self.family)
        esp.protect(cfg, flow)
        ktap.equal(_burst(cfg, flow), COUNT, "control run: datagrams delivered")
        made, watch = cfg.made(words), cfg.watch()
        _misbehave(cfg, words, WRONG)
        ktap.equal(_burst(cfg, flow), COUNT - WRONG, "datagrams delivered")
        watch.stop()
        ktap.equal(cfg.made(words) - made, WRONG, f"times that the NIC did: {words}")
        watch.expect_counters(self.driver, {"ipsec_rx_packets": COUNT})
        _behave(cfg)
        watch = cfg.watch()
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 5)
        watch.stop().prove_offload(5)


RECORDS = [
    *(Record(what, {STALE: WRONG}) for what in ("sa-id", "generation")),
    *(Record(what, {MISMATCH: WRONG})
      for what in ("spi", "offset-outside", "offset-inside", "address")),
    *(Record(what, {MISMATCH: WRONG}, 6) for what in ("spi", "address")),
]


@dataclass(frozen=True)
class Probe:
    """A case: the driver is bound to a NIC with impossible numbers. It copes, or refuses the NIC;
    bound to it once more, when the numbers are right, it works."""

    words: str
    name: str
    numbers: tuple

    @property
    def __name__(self):
        return self.name

    def __call__(self, cfg):
        cfg.need_request("misbehave")
        _start(cfg)
        made = cfg.made(self.words)
        with cfg.driver_away():
            _misbehave(cfg, self.words, *self.numbers)
            self._bind(cfg)
            ktap.at_least(cfg.made(self.words) - made, 1,
                          f"times that the NIC did: {self.words}")
            if netif.driver_of(cfg.device):
                netif.unbind(cfg.device)
            _behave(cfg)
        ktap.check(cfg.features().get("esp-hw-offload"), "the driver offers no ESP offload again")
        _works(cfg, _anew(cfg))

    @staticmethod
    def _bind(cfg):
        try:
            netif.bind(cfg.device, cfg.driver, cfg.netif)
        except (OSError, ktap.Failure) as error:
            ktap.diag(f"the driver does not take the NIC: {error}")
            return
        ktap.diag("the driver takes the NIC")
        # used as far as it goes, where no test has its addresses
        proc.run("ip", "link", "set", cfg.netif, "up")
        time.sleep(env.SETTLE)
        proc.run("ip", "link", "set", cfg.netif, "down")


PROBES = [
    Probe("config max-pairs", "max_pairs", (1000,)),
    Probe("config mtu", "mtu_zero", (0, 1000)),
    Probe("config mtu", "mtu_67", (67, 1000)),
    Probe("config mtu", "mtu_65535", (65535, 1000)),
    Probe("sa limits", "sa_limits", (1000,)),
    Probe("ctrl never", "no_answer_at_probe", (1000,)),
    Probe("ctrl truncated", "truncated_at_probe", (1000,)),
    Probe("ctrl id-out-of-range", "broken_control_at_probe", (1,)),
]


def sa_limits_in_use(cfg):
    """The NIC says that it takes 2^32 - 1 SAs. The driver takes the NIC, with no more memory than a
    NIC is worth, and all works."""
    words = "sa limits"
    cfg.need_request("misbehave")
    _start(cfg)
    with cfg.driver_away():
        made, before = cfg.made(words), memory.available()
        _misbehave(cfg, words, 1000)
    taken = (before - memory.available()) >> 20
    offload = cfg.features().get("esp-hw-offload")
    try:
        ktap.diag(f"the driver takes {taken} MiB")
        ktap.at_least(cfg.made(words) - made, 1, f"times that the NIC did: {words}")
        ktap.check(taken <= MEMORY, f"the driver takes {taken} MiB of memory for one NIC")
        ktap.check(offload, "the driver offers no ESP offload")
        _works(cfg, _anew(cfg))
    finally:
        _behave(cfg)
        with cfg.driver_away():
            pass


def create_refused(cfg):
    """After a reset the NIC refuses SAs that it had. They are not replaced by plaintext, and once
    it takes SAs again, new ones work."""
    cfg.need_request("refuse-create", "reset")
    flow = _start(cfg)
    others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(WRONG)]
    cfg.dut.ip(*[line for other in others for line in other.dut_states(cfg.netif)])
    made, before = cfg.made("sa refuse-create"), cfg.driver_counters()
    _misbehave(cfg, "sa refuse-create", 1000)
    _reset(cfg)
    ktap.at_least(cfg.made("sa refuse-create") - made, 1, "SAs refused by the NIC")
    after = cfg.driver_counters()
    ktap.at_least(after["ipsec_control_errors"] - before["ipsec_control_errors"], 1,
                  "driver's ipsec_control_errors")
    esp.expect_live(cfg, 0, "while SAs are refused")
    for _ in range(ROUNDS):
        _no_plaintext(cfg)
        traffic.reachable(cfg.peer, flow.peer, flow.dut, timeout=PATIENCE)
    _behave(cfg)
    _works(cfg, _anew(cfg))
    _reset(cfg)
    esp.expect_live(cfg, 2, "after another reset")


def interrupts_after_reset(cfg):
    """The NIC moves used indices at its reset, and goes on with interrupts."""
    cfg.need_request("misbehave", "reset")
    flow = _start(cfg)
    for _ in range(ROUNDS):
        made = cfg.made("reset interrupts")
        _misbehave(cfg, "reset interrupts", 100)
        _reset(cfg)
        ktap.at_least(cfg.made("reset interrupts") - made, 1, "rounds of interrupts")
        _behave(cfg)
        _works(cfg, flow)
    esp.expect_live(cfg, 2, "after the resets")


def interrupts_after_unbind(cfg):
    """The same when the driver lets go of the NIC, with traffic until then."""
    cfg.need_request("misbehave")
    _start(cfg)
    for _ in range(ROUNDS):
        made = cfg.made("reset interrupts")
        _misbehave(cfg, "reset interrupts", 100)
        with traffic.Stream(cfg.peer, env.PEER6, cfg.dut, env.DUT6) as stream:
            stream.advance(20)
            with cfg.driver_away():
                ktap.at_least(cfg.made("reset interrupts") - made, 1, "rounds of interrupts")
                _behave(cfg)
        _works(cfg, _anew(cfg))


def answers_spoiled_in_a_reset(cfg):
    """An answer is spoiled while the driver sets the NIC up again. Whether that reset succeeds or
    not, nothing goes out in clear, and the driver works when it is bound again."""
    cfg.need_request("misbehave", "reset")
    for words in ("ctrl truncated", "ctrl empty", "ctrl id-out-of-range"):
        _start(cfg)
        made, tap = cfg.made(words), cfg.sniffer
        tap.frames()
        _misbehave(cfg, words, 1)
        cfg.control.request("reset", cfg.nic)
        proc.wait_until(lambda before=made, what=words: cfg.made(what) > before,
                        f"the NIC does: {words}", RESET_TIME)
        traffic.reachable(cfg.dut, env.DUT4, env.PEER4, timeout=PATIENCE)
        clear = [packet for _, frame in tap.frames()
                 if (packet := frames.parse(frame)) and packet.dst == env.PEER4 and not packet.esp]
        ktap.equal(len(clear), 0, "packets of the protected flow in clear")
        _behave(cfg)
        with cfg.driver_away():
            pass
        _works(cfg, _anew(cfg))
        xfrm.flush(cfg.dut, cfg.peer)


def everything_at_once(cfg):
    """Many kinds of wrong entries, records and answers at the same time, over several resets."""
    cfg.need_request("misbehave", "reset")
    flow = _start(cfg)
    for _ in range(ROUNDS):
        for queue in ("rx", "tx", "ctrl"):
            for what in ("too-long", "huge", "short", "empty"):
                _misbehave(cfg, f"{queue} {what}", 2)
        for what in ("sa-id", "spi", "offset-outside"):
            _misbehave(cfg, f"record {what}", 2)
        _misbehave(cfg, "rx num-buffers", 2)
        _misbehave(cfg, "ctrl late", 20, 2)
        _packets(cfg, flow)
        _commands(cfg, flow)
        _no_plaintext(cfg)
        _behave(cfg)
        _misbehave(cfg, "reset interrupts", 20)
        _reset(cfg)
    _works(cfg, _anew(cfg))


CASES = [*RINGS, *RECORDS, *PROBES, sa_limits_in_use, create_refused, interrupts_after_reset,
         interrupts_after_unbind, answers_spoiled_in_a_reset, everything_at_once]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
