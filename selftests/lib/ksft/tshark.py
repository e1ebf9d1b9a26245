# SPDX-License-Identifier: GPL-2.0
"""tshark as an independent decoder of ESP: our keys, ICV checking on, heuristics off."""

from dataclasses import dataclass

from . import proc
from .traffic import family_of

CIPHER = "AES-GCM with 16 octet ICV [RFC4106]"
PREFERENCES = {
    "esp.enable_encryption_decode": "TRUE",
    "esp.enable_authentication_check": "TRUE",
    "esp.enable_null_encryption_decode_heuristic": "FALSE",
}
FIELDS = ["frame.number", "esp.spi", "esp.sequence", "esp.icv_good", "esp.icv_bad",
          "esp.protocol", "esp.contained_data"]


@dataclass(frozen=True)
class Opened:
    """What tshark made of one ESP packet; number counts the frames of the file from 1."""

    number: int
    spi: int
    seq: int
    icv_good: bool
    icv_bad: bool
    next_header: int | None
    payload: bytes


def _key_entry(sa):
    """A line of tshark's table of ESP keys for one SA (the key includes the salt)."""
    values = [f"IPv{family_of(sa.src)}", sa.src, sa.dst, f"{sa.spi:#010x}", CIPHER,
              f"0x{sa.key.hex()}", "NULL", "", "32-bit"]
    return "uat:esp_sa:" + ",".join(f'"{value}"' for value in values)


def _opened(line):
    number, spi, seq, good, bad, proto, payload = line.split("\t")
    return Opened(int(number), int(spi, 16), int(seq), good == "True", bad == "True",
                  int(proto, 16) if proto else None, bytes.fromhex(payload))


def open_esp(path, sas):
    """All ESP packets of a capture file as tshark sees them with the keys of these SAs."""
    argv = ["tshark", "-n", "-r", path, "-Y", "esp", "-T", "fields", "-E", "occurrence=f"]
    for name, value in PREFERENCES.items():
        argv += ["-o", f"{name}:{value}"]
    for sa in sas:
        argv += ["-o", _key_entry(sa)]
    for name in FIELDS:
        argv += ["-e", name]
    return [_opened(line) for line in proc.cmd(*argv, timeout=180).splitlines()]
