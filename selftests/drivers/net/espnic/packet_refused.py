#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Packet offload: what the driver cannot honour exactly is refused with a sentence.

There is no software behind the NIC that could make up for it. After each refusal nothing is left: a
state or policy of the same name, without the fault, is taken.
"""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, ktap, netif, xfrm  # noqa: E402

SPI, REQID = 0x7001, 9
GENERIC = re.compile("Device failed to offload this|Policy offload failed")
GCM = f"aead '{xfrm.AEAD}' 0x{'5a' * 20} 128"
CBC = f"enc 'cbc(aes)' 0x{'11' * 16}"
OUT, IN = ("out",), ("in",)
BOTH = ("out", "in")


def _ends(direction, outer=4):
    dut, peer = (env.DUT4, env.PEER4) if outer == 4 else (env.DUT6, env.PEER6)
    return (dut, peer) if direction == "out" else (peer, dut)


def _state(cfg, direction, words="", algorithm=GCM, mode="transport", proto="esp", outer=4,
           window=None):
    """Arguments of `ip` that add a state, and its name."""
    src, dst = _ends(direction, outer)
    name = f"src {src} dst {dst} proto {proto} spi {SPI:#x}"
    if window is None:
        window = "replay-window 32" if direction == "in" else ""
    return (f"xfrm state add {name} reqid {REQID} mode {mode} {algorithm} {words} {window} "
            f"offload packet dev {cfg.netif} dir {direction}"), name


def _run(cfg, line):
    return cfg.dut.run("ip", *shlex.split(line))


def _message(cfg, result, text, by_driver):
    """The request was refused with a sentence of the driver's that matches text."""
    message = result.stderr.strip()
    ktap.check(result.returncode, "accepted")
    ktap.check("Error:" in message and not GENERIC.search(message), f"no reason: {message!r}")
    ktap.check(re.search(text, message), f"{text!r} is not in {message!r}")
    if by_driver:
        ktap.contains(message, f"{cfg.driver}: ", "the text names the driver")


@dataclass(frozen=True)
class State:
    """A case: a state that is refused."""

    name: str
    text: str
    words: str = ""
    directions: tuple = BOTH
    by_driver: bool = True
    options: tuple = ()  # of _state

    @property
    def __name__(self):
        return self.name

    def __call__(self, cfg):
        ktap.defer(xfrm.flush, cfg.dut)
        for direction in self.directions:
            before = netif.ethtool_stats(cfg.dut, cfg.netif)
            line, name = _state(cfg, direction, self.words, **dict(self.options))
            _message(cfg, _run(cfg, line), self.text, self.by_driver)
            ktap.check(_run(cfg, f"xfrm state get {name}").returncode, "a refused SA exists")
            if self.by_driver:
                after = netif.ethtool_stats(cfg.dut, cfg.netif)
                ktap.equal(after["ipsec_sa_refused"] - before["ipsec_sa_refused"], 1, "refused")
            line, name = _state(cfg, direction)
            cfg.dut.ip(line)
            ktap.contains(cfg.dut.cmd("ip", "-d", "xfrm", "state", "get", *name.split()),
                          "mode packet", "a state without the fault")
            cfg.dut.ip(f"xfrm state delete {name}")


STATES = [
    State("limit_of_no_packets", "a limit of nothing is not supported", "limit packet-hard 0"),
    State("limit_of_no_bytes", "a limit of nothing is not supported", "limit byte-soft 0"),
    State("mark", "packet offload with a mark or an interface id", "mark 7 mask 0xff"),
    State("interface_id_out", "packet offload with a mark or an interface id", "if_id 5", OUT),
    State("interface_id_in", "XFRM if_id is not supported in RX path", "if_id 5", IN,
          by_driver=False),
    State("output_mark", "an output mark is not supported outbound",
          "output-mark 7 mask 0xff", OUT),
    State("wildcard_destination", "packet offload for any destination", "flag wildrecv", IN),
    State("icmp_errors", "an SA for ICMP errors", "flag icmp", IN),
    State("wrap", "sequence numbers that wrap", "extra-flag oseq-may-wrap", OUT),
    State("beet", "only transport and tunnel mode",
          f"sel src {env.DUT4}/32 dst {env.PEER4}/32", OUT,
          options=(("mode", "beet"),)),
    State("other_aead", "this AEAD cannot be offloaded", directions=OUT,
          options=(("algorithm", f"aead 'rfc4309(ccm(aes))' 0x{'5a' * 19} 128"),)),
    State("other_mac", "this authentication algorithm cannot", directions=OUT,
          options=(("algorithm", f"{CBC} auth-trunc 'hmac(md5)' 0x{'a5' * 16} 96"),)),
    State("no_cipher", "this cipher cannot be offloaded", directions=OUT,
          options=(("algorithm", "enc 'ecb(cipher_null)' '' "
                    f"auth-trunc 'hmac(sha256)' 0x{'a5' * 32} 128"),)),
    State("authentication_header", "Type doesn't support offload", directions=OUT, by_driver=False,
          options=(("proto", "ah"), ("algorithm", f"auth-trunc 'hmac(sha256)' 0x{'a5' * 32} 128"))),
    State("compression", "Type doesn't support offload", directions=OUT, by_driver=False,
          options=(("proto", "comp"), ("algorithm", "comp deflate"))),
    State("udp_to_other_port", "UDP encapsulation to port 4500 only",
          "encap espinudp 4500 4501 0.0.0.0", IN),
    State("udp_without_ports", "UDP encapsulation needs both ports",
          "encap espinudp 0 4500 0.0.0.0", OUT),
    State("esn_without_window", "esn flag set without replay-window", "flag esn",
          IN, False, (("window", "replay-window 0"),)),
    State("selector_of_another_interface", "a selector with another interface",
          "sel src 0.0.0.0/0 dst 0.0.0.0/0 dev lo"),
]


def widest_window(cfg):
    """A window of 4096 packets is taken, a wider one refused, by the stack already."""
    ktap.defer(xfrm.flush, cfg.dut)
    line, name = _state(cfg, "in", window="replay-window 4097 flag esn")
    ktap.check(_run(cfg, line).returncode, "accepted")
    ktap.check(_run(cfg, f"xfrm state get {name}").returncode, "a refused SA exists")
    cfg.dut.ip(_state(cfg, "in", window="replay-window 4096 flag esn")[0])


def while_switched_off(cfg):
    """States and policies are taken while esp-hw-offload is off: it is for crypto offload."""
    ktap.defer(xfrm.flush, cfg.dut)
    cfg.feature("esp-hw-offload", "off")
    for direction in BOTH:
        cfg.dut.ip(_state(cfg, direction)[0])
    cfg.dut.ip(_policy(cfg, "out")[0])


TEMPLATE = "tmpl src {src} dst {dst} proto esp reqid 9 mode transport"


def _policy(cfg, direction, before="", tmpl=TEMPLATE):
    """Arguments of `ip` that add a policy, and its name."""
    src, dst = _ends("out" if direction == "out" else "in")
    ends = f"src {src} dst {dst}"
    tmpl = tmpl.format(src=src, dst=dst)
    return (f"xfrm policy add {ends} {before} dir {direction} offload packet dev {cfg.netif} "
            f"{tmpl}"), f"{ends} dir {direction}"


@dataclass(frozen=True)
class Policy:
    """A case: a policy that is refused."""

    name: str
    text: str
    before: str = ""
    tmpl: str = TEMPLATE
    directions: tuple = OUT

    @property
    def __name__(self):
        return f"policy_{self.name}"

    def __call__(self, cfg):
        ktap.defer(xfrm.flush, cfg.dut)
        for direction in self.directions:
            line, name = _policy(cfg, direction, self.before, self.tmpl)
            _message(cfg, _run(cfg, line), self.text, by_driver=True)
            ktap.equal(cfg.dut.cmd("ip", "xfrm", "policy"), "", "policies after a refusal")
            if direction == "fwd":
                continue
            cfg.dut.ip(_policy(cfg, direction)[0])
            cfg.dut.ip(f"xfrm policy delete {name}")


POLICIES = [
    Policy("fwd", "policies of direction fwd stay with the stack", directions=("fwd",)),
    Policy("sub", "sub-policies cannot be offloaded", "ptype sub", directions=BOTH),
    Policy("mark", "a policy with a mark or an interface id", "mark 7 mask 0xff", directions=BOTH),
    Policy("interface_id", "a policy with a mark or an interface id", "if_id 5", directions=BOTH),
    Policy("icmp", "the packets that ICMP errors quote", "flag icmp", directions=BOTH),
    Policy("no_reqid", "an outbound policy without a request id",
           tmpl="tmpl src {src} dst {dst} proto esp mode transport"),
    Policy("optional", "a policy with an optional template", tmpl=TEMPLATE + " level use",
           directions=BOTH),
    Policy("ah", "only policies for ESP", tmpl=TEMPLATE.replace("proto esp", "proto ah"),
           directions=BOTH),
    Policy("two_templates", "a policy with more than one template", tmpl=f"{TEMPLATE} {TEMPLATE}",
           directions=BOTH),
    Policy("beet", "only policies for transport and tunnel mode",
           tmpl=TEMPLATE.replace("transport", "beet"), directions=BOTH),
    Policy("open_tunnel", "an outbound tunnel needs both addresses",
           tmpl="tmpl src 0.0.0.0 dst {dst} proto esp reqid 9 mode tunnel"),
    Policy("other_interface", "a selector with another interface", "dev lo", directions=BOTH),
]

CASES = [*STATES, widest_window, while_switched_off, *POLICIES]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup().need_offload())
