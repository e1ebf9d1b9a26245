#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every algorithm that the NIC offers against Linux's software ESP, both directions.

Each case sends pings of all paddings from either end and TCP both ways, compares contents, and
proves that the NIC encrypted and decrypted every packet. Then the peer gets another key, and
nothing must pass any more.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, xfrm  # noqa: E402


def _other_key(cfg, flow):
    """With another key in the peer nothing passes, and both sides count it."""
    key = flow.algorithm.new_key()
    for sa, extra in ((flow.out, xfrm.WINDOW), (flow.in_, "")):
        cfg.peer.ip(sa.delete(), dataclasses.replace(sa, key=key).add(extra))
    esp.nothing_passes(cfg, flow, "another key")


def _case(cfg, algorithm, outer=4):
    flow = esp.direct(outer, algorithm=algorithm)
    ktap.diag(flow.name)
    esp.protect(cfg, flow)
    watch = esp.exercise(cfg, flow)
    esp.unique(watch.esp(cfg.netif_mac), "long_iv" if algorithm.block == 16 else "iv")
    _other_key(cfg, flow)
    return watch


def gcm128_icv128(cfg):
    """AES-GCM-128 with the full ICV, IPv6."""
    _case(cfg, algo.gcm(128), outer=6)


def gcm128_icv96(cfg):
    """AES-GCM-128 with an ICV of 96 bits."""
    _case(cfg, algo.gcm(128, 96))


def gcm128_icv64(cfg):
    """AES-GCM-128 with an ICV of 64 bits."""
    _case(cfg, algo.gcm(128, 64))


def gcm192(cfg):
    """AES-GCM-192 with each ICV."""
    for icv_bits in (128, 96, 64):
        _case(cfg, algo.gcm(192, icv_bits))
        xfrm.flush(cfg.dut, cfg.peer)


def gcm256(cfg):
    """AES-GCM-256 with the shorter ICVs."""
    for icv_bits in (96, 64):
        _case(cfg, algo.gcm(256, icv_bits))
        xfrm.flush(cfg.dut, cfg.peer)


def chacha20_poly1305(cfg):
    """ChaCha20-Poly1305."""
    _case(cfg, algo.CHACHA)


def chacha20_poly1305_v6(cfg):
    """ChaCha20-Poly1305 over IPv6."""
    _case(cfg, algo.CHACHA, outer=6)


def gmac128(cfg):
    """AES-GMAC-128: integrity without encryption."""
    _case(cfg, algo.gmac(128))


def gmac192_and_256(cfg):
    """AES-GMAC-192 and 256, IPv6."""
    for bits in (192, 256):
        _case(cfg, algo.gmac(bits), outer=6)
        xfrm.flush(cfg.dut, cfg.peer)


def _cbc(cfg, bits, mac, outer=4):
    """The IVs of CBC must not be predictable, so no difference between neighbours may recur."""
    watch = _case(cfg, algo.cbc(bits, mac), outer)
    ivs = [int.from_bytes(packet.long_iv, "big") for packet in watch.esp(cfg.netif_mac)]
    for how in (lambda a, b: a ^ b, lambda a, b: b - a):
        steps = [how(a, b) for a, b in zip(ivs, ivs[1:], strict=False)]
        ktap.equal(len(set(steps)), len(steps), "different steps between IVs")
    words = [iv >> shift & 0xFFFFFFFF for iv in ivs for shift in (0, 32, 64, 96)]
    ktap.at_least(len(set(words)), len(words) - 2, "different words among the IVs")


def cbc128_sha1(cfg):
    """AES-CBC-128 with HMAC-SHA1-96."""
    _cbc(cfg, 128, "sha1")


def cbc192_sha256(cfg):
    """AES-CBC-192 with HMAC-SHA-256-128."""
    _cbc(cfg, 192, "sha256")


def cbc256_sha384(cfg):
    """AES-CBC-256 with HMAC-SHA-384-192, IPv6."""
    _cbc(cfg, 256, "sha384", outer=6)


def cbc128_sha512(cfg):
    """AES-CBC-128 with HMAC-SHA-512-256."""
    _cbc(cfg, 128, "sha512")


CASES = [gcm128_icv128, gcm128_icv96, gcm128_icv64, gcm192, gcm256, chacha20_poly1305,
         chacha20_poly1305_v6, gmac128, gmac192_and_256, cbc128_sha1, cbc192_sha256,
         cbc256_sha384, cbc128_sha512]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
