#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""ADD_SA and ADD_SA_EX: what is refused, with which status, and what lists do.

After every request the handles that it gave must be exactly the SAs that are there.
"""

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, ndis, oid, xfrm  # noqa: E402

MANY = 340
GARBAGE = 0xDEADBEEF00C0FFEE
# The reference leaves the choice between the two open where a structure is malformed (C27), and
# between them and NOT_SUPPORTED where a form is neither right nor one that this NIC could do.
MALFORMED = ("INVALID_DATA", "INVALID_LENGTH")
REFUSED = ("INVALID_DATA", "NOT_SUPPORTED")
UNSUPPORTED = ("NOT_SUPPORTED",)
DATA = ("INVALID_DATA",)


def _states(cfg):
    return cfg.dut.cmd("ip", "xfrm", "state").count("proto esp spi")


def _handles(answer, offsets=(0,), layout=oid.AddSa):
    return [layout.get(answer.buffer, "OffloadHandle", at) for at in offsets]


def _consistent(cfg, miniport, answer, handles, before=()):
    """Handles were given for exactly the SAs that exist; none with a failure (R46, R47)."""
    given = [handle for handle in handles if handle]
    if answer.name == "SUCCESS":
        ktap.check(given, "NDIS_STATUS_SUCCESS without a handle")
    else:
        ktap.equal(handles, [0] * len(handles), f"handles after {answer.name}")
    ktap.equal(set(miniport.list()), set(given) | set(before), "SAs in the list")
    ktap.equal(_states(cfg), len(given) + len(before), "states of ip xfrm")


@dataclass
class Form:
    """One structure that is refused: fields that differ from a good one."""

    what: str
    statuses: tuple
    changes: dict = field(default_factory=dict)
    algorithm: algo.Algorithm = algo.gcm()
    inbound: bool = False
    unreadable: bool = False  # nothing in it can be trusted, not even the place of the handle


def _refuse(cfg, *forms):
    """Each form is refused by both OIDs, and leaves nothing."""
    miniport = ndis.ready(cfg)
    for form in forms:
        for layout, make, number in ((oid.AddSaEx, oid.add_sa_ex, oid.ADD_SA_EX),
                                     (oid.AddSa, oid.add_sa, oid.ADD_SA)):
            flow = esp.direct(algorithm=form.algorithm)
            sa = flow.in_ if form.inbound else flow.out
            changes = {name: value for name, value in form.changes.items()
                       if name in layout.fields}
            if len(changes) < len(form.changes):
                continue
            buffer = make(sa, form.inbound, {"OffloadHandle": GARBAGE} | changes)
            answer = miniport.request(number, buffer, **miniport.envelope(sa, form.inbound))
            ktap.check(answer.name in form.statuses, f"{form.what}, OID {number:#x}: expected "
                       f"{' or '.join(form.statuses)}, got {answer.name}")
            handles = _handles(answer, layout=layout)
            if form.unreadable and handles == [GARBAGE]:
                handles = [0]
            _consistent(cfg, miniport, answer, handles)
    sa = esp.direct().out
    miniport.delete(miniport.add(sa, False), 0)


def header(cfg):
    """Type, revision and size of the header."""
    ktap.rules("R37")
    _refuse(cfg, *(Form(f"{name} {value:#x}", DATA, {name: value}, unreadable=True)
                   for name, value in (("Type", 0x81), ("Type", 0), ("Revision", 0),
                                       ("Size", 0xA8), ("Size", 0))))
    miniport = ndis.ready(cfg)
    for size in (oid.ADD_SA_SIZE, oid.ADD_SA_SIZEOF):
        miniport.delete(miniport.add(esp.direct().out, False, single=False, changes={"Size": size}))


def length(cfg):
    """A buffer that is too short, with the length that was needed."""
    ktap.rules("R38")
    miniport = ndis.ready(cfg)
    for make, number, least in ((oid.add_sa, oid.ADD_SA, oid.ADD_SA_SIZE),
                                (oid.add_sa_ex, oid.ADD_SA_EX, oid.ADD_SA_EX_SIZE)):
        buffer = make(esp.direct().out, False)
        for size in (0, 1, 4, 8, 0x38, 0xA0, least - 2):
            answer = miniport.expect("INVALID_LENGTH", number, buffer, f"length {size}",
                                     length=size)
            ktap.check(size < answer.needed <= len(buffer),
                       f"{answer.needed} bytes needed, {size} given, {len(buffer)} in all")
            ktap.equal(_states(cfg), 0, "states")


def too_long(cfg):
    """A buffer longer than any that is taken: no SA and no handle; a query has room enough."""
    ktap.rules("R20", "R38", "R46", "R68")
    miniport, sa = ndis.ready(cfg), esp.direct().out
    garbage = {"OffloadHandle": GARBAGE}
    for layout, good, number in ((oid.AddSa, oid.add_sa(sa, False, garbage), oid.ADD_SA),
                                 (oid.AddSaEx, oid.add_sa_ex(sa, False, garbage), oid.ADD_SA_EX)):
        buffer = good + bytes(ndis.MAX_BUFFER + 8 - len(good))
        answer = miniport.expect("INVALID_LENGTH", number, buffer, **miniport.envelope(sa, False))
        ktap.equal(answer.needed, ndis.MAX_BUFFER, "bytes needed")
        _consistent(cfg, miniport, answer, _handles(answer, layout=layout))
        layout.put(buffer, 0, "OffloadHandle", 0)
        ktap.equal(answer.buffer, buffer, "the rest of the buffer")
    answer = miniport.expect("SUCCESS", oid.CURRENT_CONFIG, bytes(ndis.MAX_BUFFER + 8),
                             path=ndis.NORMAL, kind=ndis.QUERY)
    ktap.equal(answer.done, oid.Offload.unpack(answer.buffer)["Size"], "bytes written")


def extension_headers(cfg):
    """NumExtHdrs, the order of the associations, and AH, which XFRM cannot offload."""
    ktap.rules("R53", "R56")
    both = {"NumExtHdrs": 2, "1.Operation": oid.AH, "1.Spi": b"\0\0\x77\x77",
            "1.Auth.Identifier": oid.SHA1, "1.Auth.KeyLength": 20}
    # Each with a key of its own, in a buffer that is long enough for both.
    apart = {"0.Enc.Identifier": oid.GCM128, "0.Enc.KeyLength": 20, "0.Enc.AdditionalInfo": 16,
             "0.Auth.Identifier": 0, "0.Auth.KeyLength": 0, "0.Auth.KeyOffsetBytes": 0,
             "1.Auth.KeyOffsetBytes": 20}
    _refuse(cfg, Form("no header", DATA, {"NumExtHdrs": 0}),
            Form("three headers", DATA, {"NumExtHdrs": 3}),
            Form("very many headers", DATA, {"NumExtHdrs": 0xFFFFFFFF}),
            Form("ESP, then AH", UNSUPPORTED, both | apart, algo.cbc(256, "sha1")),
            Form("ESP, then AH, with the same key", DATA, both),
            Form("ESP, then ESP", REFUSED, {"NumExtHdrs": 2, "1.Operation": oid.ESP}),
            Form("AH, then ESP", REFUSED, both | {"0.Operation": oid.AH, "1.Operation": oid.ESP}),
            Form("AH", UNSUPPORTED, {
                "0.Operation": oid.AH, "0.Enc.Identifier": 0, "0.Enc.KeyLength": 0,
                "0.Enc.AdditionalInfo": 0, "0.Auth.Identifier": oid.SHA1,
                "0.Auth.KeyLength": 20}),
            Form("AH with a cipher", REFUSED, {"0.Operation": oid.AH}),
            Form("operation 0", DATA, {"0.Operation": 0}),
            Form("operation 3", DATA, {"0.Operation": 3}),
            Form("operation -1", DATA, {"0.Operation": -1}))


def second_is_ignored(cfg):
    """With one header the second association does not count, nor do the reserved fields."""
    ktap.rules("R53", "R70")
    miniport = ndis.ready(cfg)
    garbage = {name: b"\xEE" * 4 if form == "4s" else -2 if form == "i" else 0xEEEEEEEE
               for name, (_, form) in oid.AddSaEx.fields.items() if name.startswith("1.")}
    for single in (True, False):
        miniport.delete(miniport.add(esp.direct().out, False, single=single, changes=garbage))
    reserved = {"SourceSwitchPortId": 0xFFFFFFFF, "VlanId": 0xFFFF}
    miniport.delete(miniport.add(esp.direct().out, False, changes=reserved))


def algorithms(cfg):
    """One bit, and one of those that the capabilities have."""
    ktap.rules("R37", "R57", "R60")
    offered = ndis.ready(cfg).query(oid.CURRENT_CONFIG)
    ciphers, macs = offered["EncryptionAlgorithms"], offered["AuthenticationAlgorithms"]
    ktap.check(not ciphers & (oid.DES | oid.DES3) and not macs & oid.MD5,
               f"algorithms offered: {macs:#x}, {ciphers:#x}")
    cbc = algo.cbc(128, "sha1")
    _refuse(cfg, Form("two ciphers", REFUSED, {"0.Enc.Identifier": oid.GCM128 | oid.GCM256}),
            Form("unknown cipher", REFUSED, {"0.Enc.Identifier": 0x80000000}),
            Form("no algorithm at all", DATA, {"0.Enc.Identifier": 0, "0.Enc.KeyLength": 0}),
            Form("DES", UNSUPPORTED, {"0.Enc.Identifier": oid.DES, "0.Enc.KeyLength": 8,
                                      "0.Auth.KeyOffsetBytes": 16}, cbc),
            Form("3DES", UNSUPPORTED, {"0.Enc.Identifier": oid.DES3}, algo.cbc(192, "sha1")),
            Form("MD5", UNSUPPORTED, {"0.Auth.Identifier": oid.MD5, "0.Auth.KeyLength": 16}, cbc),
            Form("GMAC beside a cipher", UNSUPPORTED, {"0.Auth.Identifier": oid.GMAC128}, cbc),
            Form("GMAC without its salt", DATA, {"0.Auth.KeyLength": 16}, algo.gmac()),
            Form("null encryption with SHA-1", UNSUPPORTED, {
                "0.Enc.Identifier": oid.NULL, "0.Enc.KeyLength": 0}, cbc),
            Form("two MACs", REFUSED, {"0.Auth.Identifier": oid.SHA1 | oid.MD5}, cbc),
            Form("CBC without a MAC", DATA, {"0.Auth.Identifier": 0, "0.Auth.KeyLength": 0,
                                             "0.Auth.KeyOffsetBytes": 0}, cbc),
            Form("combined mode with a MAC", DATA, {"0.Auth.Identifier": oid.SHA1,
                                                    "0.Auth.KeyLength": 20}))


def keys(cfg):
    """Every key lies inside the key buffer, and has the length of its algorithm."""
    ktap.rules("R59")
    cbc = algo.cbc(128, "sha256")
    _refuse(cfg, Form("offset behind the keys", DATA, {"0.Enc.KeyOffsetBytes": 1}),
            Form("offset far behind", DATA, {"0.Enc.KeyOffsetBytes": 0xFFFFFFF0}),
            Form("offset and length wrap", DATA, {"0.Enc.KeyOffsetBytes": 0xFFFFFFEC + 8}),
            Form("key longer than the buffer", DATA, {"0.Enc.KeyLength": 21}),
            Form("very long key", DATA, {"0.Enc.KeyLength": 0xFFFFFFFF}),
            Form("key without salt", DATA, {"0.Enc.KeyLength": 16}),
            Form("key of the wrong length", DATA, {"0.Enc.KeyLength": 19}),
            Form("no key", DATA, {"0.Enc.KeyLength": 0}),
            Form("MAC key outside", DATA, {"0.Auth.KeyOffsetBytes": 17}, cbc),
            Form("MAC key too short", DATA, {"0.Auth.KeyLength": 31}, cbc),
            Form("no key buffer", MALFORMED, {"KeyLength": 0}),
            Form("key buffer too short", MALFORMED, {"KeyLength": 19}),
            Form("key buffer of 4 GiB", MALFORMED, {"KeyLength": 0xFFFFFFFF}))
    _refuse(cfg, Form("ICV of 7 bytes", REFUSED, {"0.Enc.AdditionalInfo": 7}),
            Form("ICV of 128 bytes", REFUSED, {"0.Enc.AdditionalInfo": 128}),
            Form("huge ICV", REFUSED, {"0.Enc.AdditionalInfo": 0xFFFFFFFF}))


def key_offset(cfg):
    """ADD_SA_EX finds its keys by KeyOffset, wherever they are."""
    ktap.rules("R69")
    miniport = ndis.ready(cfg)
    for gap in (0, 1, 7, 64, 4096):
        sa = esp.direct().out
        answer = miniport.expect("SUCCESS", oid.ADD_SA_EX, oid.add_sa_ex(sa, False, gap=gap),
                                 f"gap {gap}", **miniport.envelope(sa, False))
        key = cfg.dut.cmd("ip", *sa.get().split())
        ktap.contains(key, f"0x{sa.key.hex()}", "key that ip xfrm shows")
        miniport.delete(*_handles(answer, layout=oid.AddSaEx))
    _refuse(cfg, *(Form(f"key offset {at:#x}", MALFORMED, {"KeyOffset": at})
                   for at in (0, 4, 0x9C, 0xB1, 0xFFFF, 0xFFFFFFFF, 0xFFFFFF50)))


def keys_in_any_order(cfg):
    """The MAC's key in front of the cipher's: the offsets say where they are."""
    ktap.rules("R59")
    miniport, sa = ndis.ready(cfg), esp.direct(algorithm=algo.cbc(128, "sha1")).out
    buffer = oid.add_sa_ex(sa, False, {"0.Auth.KeyOffsetBytes": 0, "0.Enc.KeyOffsetBytes": 20})
    buffer[-len(sa.key):] = sa.key[16:] + sa.key[:16]
    miniport.expect("SUCCESS", oid.ADD_SA_EX, buffer, **miniport.envelope(sa, False))
    text = cfg.dut.cmd("ip", *sa.get().split())
    for key in (sa.key[:16], sa.key[16:]):
        ktap.contains(text, f"0x{key.hex()}", "keys that ip xfrm shows")


def udp_forms(cfg):
    """UDP-ESP: only one subtype at a time, and only those that XFRM can do."""
    ktap.rules("R26", "R63")
    offered = ndis.ready(cfg).query(oid.CURRENT_CONFIG)["UdpEsp"]
    ktap.equal(offered, oid.UDP_TRANSPORT | oid.UDP_TUNNEL, "UdpEsp in the configuration")
    forms = [Form(f"UDP-ESP {value:#x}", REFUSED, {"UdpEspEncapsulation": value})
             for value in (3, 0x10, 0x80000000, 0xFFFFFFFF)]
    forms += [Form(f"UDP-ESP {value:#x}", UNSUPPORTED, {"UdpEspEncapsulation": value})
              for value in (oid.TRANSPORT_OVER_UDP_TUNNEL, oid.UDP_TRANSPORT_OVER_TUNNEL)]
    _refuse(cfg, *forms)


def wildcards(cfg):
    """An SA must have both ends: XFRM has no wildcards in a lookup (C15)."""
    zero = {"Dest4": bytes(4)}
    _refuse(cfg, Form("any destination, inbound", UNSUPPORTED, zero, inbound=True),
            Form("any destination, outbound", UNSUPPORTED, zero),
            Form("any source, inbound", UNSUPPORTED, {"Src4": bytes(4)}, inbound=True),
            Form("any source, outbound", UNSUPPORTED, {"Src4": bytes(4)}),
            Form("any endpoints", UNSUPPORTED, zero | {"Src4": bytes(4)}, inbound=True))


def _single(sa):
    """ADD_SA_EX of an inbound SA whose handle is anything but 0 before."""
    return oid.add_sa_ex(sa, True, {"OffloadHandle": GARBAGE})


def same_again(cfg):
    """An SA that exists: the second one fails, without a handle, and the first one stays."""
    ktap.rules("R68")
    miniport, sa = ndis.ready(cfg), esp.direct().in_
    first = miniport.add(sa, True)
    answer = miniport.expect("FAILURE", oid.ADD_SA_EX, _single(sa), **miniport.envelope(sa, True))
    _consistent(cfg, miniport, answer, _handles(answer, layout=oid.AddSaEx), (first,))


def _list(miniport, elements, **kwargs):
    """ADD_SA of several elements; (answer, handles)."""
    buffer, offsets = oid.chain(oid.AddSa, elements)
    answer = miniport.request(oid.ADD_SA, buffer, mode=ndis.TRANSPORT, window=64, **kwargs)
    return answer, _handles(answer, offsets)


NESTED = {"UdpEspEncapsulation": oid.TRANSPORT_OVER_UDP_TUNNEL}


def _good():
    return oid.add_sa(esp.direct().in_, True, {"OffloadHandle": GARBAGE})


def _bad(changes=None):
    return oid.add_sa(esp.direct().in_, True, {"OffloadHandle": GARBAGE} | (changes or NESTED))


def list_of_many(cfg):
    """A list as long as the buffer allows: so many SAs, seen in parts, deleted by one request."""
    ktap.rules("R44", "R45", "R46", "R48", "R81")
    miniport = ndis.ready(cfg)
    answer, handles = _list(miniport, [_good() for _ in range(MANY)])
    ktap.diag(f"{len(answer.buffer)} bytes")
    ktap.equal(answer.name, "SUCCESS", "status")
    ktap.equal(len(set(handles) - {0}), MANY, "different handles")
    _consistent(cfg, miniport, answer, handles)
    for chunk in (1, 7, MANY, MANY + 1):
        ktap.equal(set(miniport.list(chunk)), set(handles), f"handles in parts of {chunk}")
    ktap.equal(miniport.info()["offloaded"], MANY, "SAs offloaded")
    miniport.delete(*handles)
    ktap.equal(_states(cfg), 0, "states after the deletion")


def partial_success(cfg):
    """Some elements fail: success, with NULL handles for those."""
    ktap.rules("R45", "R46", "R52")
    miniport = ndis.ready(cfg)
    for pattern in ("gb", "bg", "gbg", "bgb", "bbbg", "ggbbgg"):
        answer, handles = _list(miniport, [_good() if one == "g" else _bad() for one in pattern])
        ktap.equal(answer.name, "SUCCESS", f"status of {pattern}")
        ktap.equal("".join("g" if handle else "b" for handle in handles), pattern, "handles")
        _consistent(cfg, miniport, answer, handles)
        miniport.delete(*handles)


def nothing_succeeds(cfg):
    """All elements fail: the status is that of the first."""
    ktap.rules("R47")
    miniport = ndis.ready(cfg)
    no_header = {"NumExtHdrs": 0}
    for first, second, status in ((no_header, NESTED, "INVALID_DATA"),
                                  (NESTED, no_header, "NOT_SUPPORTED")):
        answer, handles = _list(miniport, [_bad(first), _bad(second), _bad()])
        ktap.equal(answer.name, status, "status")
        _consistent(cfg, miniport, answer, handles)


def broken_links(cfg):
    """A Next that leads nowhere, or back: whatever the status, handles and SAs agree."""
    ktap.rules("R44", "R47")
    miniport = ndis.ready(cfg)
    buffer, offsets = oid.chain(oid.AddSa, [_good(), _good(), _good()])
    second, end = offsets[1], len(buffer)
    targets = [second, offsets[0] + 8, second - 8, second + 4, end, end - 8, end - 0xA0, end + 8,
               1 << 32, 1 << 63, (1 << 64) - 8, 0xFFFFFFFF]
    for target in targets:
        broken = bytearray(buffer)
        oid.AddSa.put(broken, second, "Next", target)
        answer = miniport.request(oid.ADD_SA, broken, mode=ndis.TRANSPORT, window=64)
        handles = _handles(answer, offsets)
        ktap.diag(f"Next {target:#x}: {answer.name}")
        if answer.name == "SUCCESS":
            _consistent(cfg, miniport, answer, handles[:2])
        else:
            ktap.check(answer.name in MALFORMED, f"status with Next {target:#x}: {answer.name}")
            ktap.equal((_states(cfg), miniport.list()), (0, {}), "what is left")
        for handle in miniport.list():
            miniport.delete(handle)


def full_table(cfg):
    """The NIC's table is full: what fits is offloaded, then nothing."""
    ktap.rules("R49", "R68")
    control = cfg.need_request("sa-limit")
    miniport = ndis.ready(cfg)
    control.fault(cfg.nic, "sa-limit", 3)
    answer, handles = _list(miniport, [_good() for _ in range(5)])
    ktap.equal(answer.name, "SUCCESS", "status of the first list")
    ktap.equal([bool(handle) for handle in handles], [True] * 3 + [False] * 2, "handles")
    _consistent(cfg, miniport, answer, handles)
    kept = [handle for handle in handles if handle]
    answer, handles = _list(miniport, [_good() for _ in range(2)])
    ktap.equal(answer.name, "RESOURCES", "status when nothing fits")
    _consistent(cfg, miniport, answer, handles, kept)
    sa = esp.direct().in_
    answer = miniport.expect("RESOURCES", oid.ADD_SA_EX, _single(sa), **miniport.envelope(sa, True))
    _consistent(cfg, miniport, answer, _handles(answer, layout=oid.AddSaEx), kept)
    miniport.delete(kept[0])
    miniport.add(sa, True)


def nic_refuses(cfg):
    """The NIC does not take the algorithm that it offered."""
    ktap.rules("R52", "R68")
    control = cfg.need_request("refuse-algorithm")
    miniport, sa = ndis.ready(cfg), esp.direct().in_
    control.fault(cfg.nic, "refuse-algorithm", "aes-gcm")
    answer = miniport.expect("NOT_SUPPORTED", oid.ADD_SA_EX, _single(sa),
                             **miniport.envelope(sa, True))
    _consistent(cfg, miniport, answer, _handles(answer, layout=oid.AddSaEx))


def byte_order(cfg):
    """SPI and addresses are the bytes of the wire, in both families."""
    ktap.rules("R55")
    miniport = ndis.ready(cfg)
    for outer in (4, 6):
        sa = xfrm.Flow(*esp.ends(outer)).out
        buffer = oid.add_sa_ex(sa, False)
        ktap.equal(buffer[0x3C + 8:0x3C + 12], struct.pack("!I", sa.spi), "SPI in the structure")
        miniport.expect("SUCCESS", oid.ADD_SA_EX, buffer, **miniport.envelope(sa, False))
        ktap.contains(xfrm.state_text(cfg.dut, sa) or "", f"spi {sa.spi:#010x}", "ip xfrm state")


CASES = [header, length, too_long, extension_headers, second_is_ignored, algorithms, keys,
         key_offset, keys_in_any_order, udp_forms, wildcards, same_again, list_of_many,
         partial_success, nothing_succeeds, broken_links, full_table, nic_refuses, byte_order]


def _setup():
    ndis.need()
    return env.Setup().need_offload()


if __name__ == "__main__":
    ktap.main(CASES, _setup)
