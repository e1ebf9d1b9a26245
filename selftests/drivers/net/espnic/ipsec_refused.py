#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every SA that the NIC cannot do is refused, with a text that names the reason.

A refused SA must not exist afterwards, not even as a software SA that only looks offloaded.
What is supported is accepted, which keeps the refusals from being vacuous.
"""

import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, netif, xfrm  # noqa: E402

SPI = 0x7001
GENERIC = "Device failed to offload this state"


def _aead(name, bits, icv):
    return f"aead '{name}' 0x{'5a' * (bits // 8)} {icv}"


GCM128 = _aead(xfrm.AEAD, 160, 128)
GCM256 = _aead(xfrm.AEAD, 288, 128)
SHA256 = f"auth-trunc 'hmac(sha256)' 0x{'a5' * 32} 128"
IN_WINDOW = {"in": "replay-window 32", "out": ""}


def _add(cfg, direction, algorithm=GCM128, mode="transport", proto="esp", extra="", outer=4,
         offload="offload", window=None):
    """Try to add an SA; returns the result of `ip` and the words that name the SA."""
    dut, peer = (env.DUT4, env.PEER4) if outer == 4 else (env.DUT6, env.PEER6)
    src, dst = (dut, peer) if direction == "out" else (peer, dut)
    name = f"src {src} dst {dst} proto {proto} spi {SPI:#x}"
    window = IN_WINDOW[direction] if window is None else window
    line = (f"xfrm state add {name} reqid 9 mode {mode} {algorithm} {extra} {window} "
            f"{offload} dev {cfg.netif} dir {direction}")
    return cfg.dut.run("ip", *shlex.split(line)), name


def _refused(cfg, text, by_driver=True, directions=("out", "in"), **kwargs):
    """The SA is refused in these directions with a message that matches text."""
    for direction in directions:
        before = netif.ethtool_stats(cfg.dut, cfg.netif).get("ipsec_sa_refused", 0)
        result, name = _add(cfg, direction, **kwargs)
        exists = cfg.dut.run("ip", "xfrm", "state", "get", *name.split())
        xfrm.flush(cfg.dut)
        ktap.check(result.returncode, f"{direction}: accepted: {exists.stdout}")
        ktap.check(exists.returncode, f"{direction}: refused, but the SA exists")
        message = result.stderr.strip()
        ktap.check("Error:" in message and GENERIC not in message,
                   f"{direction}: no reason is given: {message!r}")
        ktap.check(re.search(text, message, re.IGNORECASE),
                   f"{direction}: {text!r} is not in {message!r}")
        if by_driver:
            ktap.contains(message, cfg.driver, f"{direction}: the text names the driver")
            after = netif.ethtool_stats(cfg.dut, cfg.netif).get("ipsec_sa_refused", 0)
            ktap.equal(after - before, 1, f"{direction}: ipsec_sa_refused")


def accepted(cfg):
    """AES-GCM-128 and 256 with a 16-byte ICV: transport v4 and v6, IPv4 tunnel."""
    for algorithm in (GCM128, GCM256):
        for outer, mode in ((4, "transport"), (6, "transport"), (4, "tunnel")):
            for direction in ("out", "in"):
                result, name = _add(cfg, direction, algorithm, mode, outer=outer)
                what = f"{mode} v{outer} {direction}"
                ktap.check(result.returncode == 0, f"{what}: {result.stderr.strip()}")
                text = cfg.dut.cmd("ip", "-d", "xfrm", "state", "get", *name.split())
                wanted = f"crypto offload parameters: dev {cfg.netif} dir {direction} mode crypto"
                ktap.contains(text, wanted, what)
                xfrm.flush(cfg.dut)


def accepted_all(cfg):
    """Everything that the NIC offers is shown as offloaded: all algorithms, tunnels, ESP in UDP."""
    everything = [algo.gcm(bits, icv) for bits in (128, 192, 256) for icv in (64, 96, 128)]
    everything += [algo.CHACHA, *[algo.gmac(bits) for bits in (128, 192, 256)]]
    everything += [algo.cbc(bits, mac) for bits in (128, 192, 256) for mac in algo.HASHES]
    flows = [xfrm.Flow(*esp.ends(outer), algorithm=one) for one in everything for outer in (4, 6)]
    flows += [make(outer=outer) for make in (esp.inner4, esp.inner6) for outer in (4, 6)]
    flows += [xfrm.Flow(env.DUT4, env.PEER4, encap=xfrm.ENCAP_PORT)]
    ktap.defer(xfrm.flush, cfg.dut)
    for flow in flows:
        cfg.dut.ip(*flow.dut_states(cfg.netif))
        esp.shown_as_offloaded(cfg, flow)
        cfg.dut.ip(flow.out.delete(), flow.in_.delete())


def wrong_lengths(cfg):
    """Keys and ICVs of other lengths, mostly refused by the stack, never accepted."""
    gmac = algo.gmac(128)
    for words in (_aead(xfrm.AEAD, 168, 128), _aead(xfrm.AEAD, 160, 80),
                  _aead(gmac.kernel_name, 160, 96),
                  _aead(algo.CHACHA.kernel_name, 160, 128)):
        for direction in ("out", "in"):
            result, name = _add(cfg, direction, words)
            exists = cfg.dut.run("ip", "xfrm", "state", "get", *name.split())
            xfrm.flush(cfg.dut)
            ktap.check(result.returncode and exists.returncode, f"accepted: {words}")


def other_aead(cfg):
    """AES-CCM."""
    _refused(cfg, "AEAD", algorithm=_aead("rfc4309(ccm(aes))", 152, 128), directions=["out"])


def other_mac(cfg):
    """AES-CBC with HMAC-MD5, and with a truncation that no RFC names."""
    cbc = f"enc 'cbc(aes)' 0x{'11' * 16}"
    _refused(cfg, "authentication", directions=["out"],
             algorithm=f"{cbc} auth-trunc 'hmac(md5)' 0x{'a5' * 16} 96")
    _refused(cfg, "ICV", directions=["out"],
             algorithm=f"{cbc} auth-trunc 'hmac(sha256)' 0x{'a5' * 32} 96")


def null_and_hmac(cfg):
    """NULL encryption with HMAC-SHA-256."""
    _refused(cfg, "cipher", algorithm=f"enc 'ecb(cipher_null)' '' {SHA256}", directions=["out"])


def udp_encapsulation(cfg):
    """ESP in UDP over IPv6, which the stack cannot transmit."""
    _refused(cfg, "encap", extra="encap espinudp 4500 4500 ::", outer=6)


def tcp_encapsulation(cfg):
    """ESP in TCP: refused by the core, where it does not know it, or by the driver."""
    _refused(cfg, "encap", by_driver=False, extra="encap espintcp 4500 4500 0.0.0.0")


def beet(cfg):
    """BEET mode."""
    _refused(cfg, "mode", mode="beet", extra=f"sel src {env.DUT4}/32 dst {env.PEER4}/32",
             directions=["out"])
    _refused(cfg, "mode", mode="beet", extra=f"sel src {env.PEER4}/32 dst {env.DUT4}/32",
             directions=["in"])


def sequence_wrap(cfg):
    """Sequence numbers that may wrap: IVs would repeat."""
    _refused(cfg, "wrap", extra="extra-flag oseq-may-wrap", directions=["out"])


def mark(cfg):
    """A mark that selects inbound packets: the NIC decides before there is one. Outbound, where
    the stack selects, it is accepted."""
    _refused(cfg, "mark", extra="mark 7 mask 0xff", directions=["in"])
    result, _ = _add(cfg, "out", extra="mark 7 mask 0xff")
    xfrm.flush(cfg.dut)
    ktap.equal(result.returncode, 0, f"outbound with a mark ({result.stderr.strip()})")


def interface_id(cfg):
    """The id of an xfrm interface, inbound: the core says so."""
    _refused(cfg, "if_id", by_driver=False, extra="if_id 5", directions=["in"])


def policy(cfg):
    """Offload of a policy for forwarded packets, and of one that names no SAs."""
    tmpl = f"tmpl src {env.DUT4} dst {env.PEER4} proto esp"
    for direction, words, why in (("fwd", f"{tmpl} reqid 9 mode transport", "fwd"),
                                  ("out", f"{tmpl} mode transport", "request id"),
                                  ("out", f"{tmpl} reqid 9 mode transport level use", "optional"),
                                  ("out", f"{tmpl} reqid 9 mode beet", "transport and tunnel")):
        line = (f"xfrm policy add src {env.DUT4} dst {env.PEER4} dir {direction} "
                f"offload packet dev {cfg.netif} {words}")
        result = cfg.dut.run("ip", *line.split())
        shown = cfg.dut.cmd("ip", "xfrm", "policy")
        xfrm.flush(cfg.dut)
        ktap.check(result.returncode and not shown, f"a policy was offloaded: {words}")
        ktap.contains(result.stderr, why, "message")


def ah_and_ipcomp(cfg):
    """Protocols other than ESP: the core says so."""
    sha = f"auth-trunc 'hmac(sha256)' 0x{'a5' * 32} 128"
    _refused(cfg, "offload", by_driver=False, proto="ah", algorithm=sha, directions=["out"])
    _refused(cfg, "offload", by_driver=False, proto="comp", algorithm="comp deflate",
             directions=["out"])


CASES = [accepted, accepted_all, wrong_lengths, other_aead, other_mac, null_and_hmac,
         udp_encapsulation, tcp_encapsulation, beet, sequence_wrap, mark,
         interface_id, policy, ah_and_ipcomp]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup().need_offload())
