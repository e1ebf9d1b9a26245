#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""UPDATE_SA and DELETE_SA, and what is no request for an SA at all."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, ndis, netlink, oid, traffic, xfrm  # noqa: E402

HIGH = 3
BASE = HIGH << 32
LOW = 0xFFFFFFFF
COUNT = 4
MALFORMED = ("INVALID_DATA", "INVALID_LENGTH")


def _protect_esn(cfg, miniport, flow):
    """Both SAs by OID with the same high half as the peer's; (outbound, inbound handle)."""
    cfg.dut.ip(*flow.dut_policies())
    esp.peer_esn(cfg, flow, 512, BASE, BASE)
    return [miniport.add(sa, inbound, esn=HIGH)
            for sa, inbound in ((flow.out, False), (flow.in_, True))]


def _number(cfg, flow, inbound):
    numbers = xfrm.numbers(cfg.dut, flow.in_ if inbound else flow.out)
    return numbers.seq if inbound else numbers.oseq


def _update(miniport, status, handle, sa, high, what="", changes=None):
    miniport.expect(status, oid.UPDATE_SA, oid.update_sa(handle, sa, high, changes), what)


def equal_is_nothing(cfg):
    """An update to the high half that the SA has changes nothing."""
    ktap.rules("R151")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handles = _protect_esn(cfg, miniport, flow)
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    for handle, sa, inbound in zip(handles, (flow.out, flow.in_), (False, True), strict=True):
        before = _number(cfg, flow, inbound)
        _update(miniport, "SUCCESS", handle, sa, HIGH)
        ktap.equal(_number(cfg, flow, inbound), before, "number after an update to the same")
    esp.exercise(cfg, flow)


def higher(cfg):
    """The high half goes up, at both ends: traffic goes on, and no IV comes twice."""
    ktap.rules("R77")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handles = _protect_esn(cfg, miniport, flow)
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * COUNT)
    watch.stop().prove_offload(COUNT)
    for handle, sa, inbound in zip(handles, (flow.out, flow.in_), (False, True), strict=True):
        before = _number(cfg, flow, inbound) & LOW
        ktap.check(before, "no numbers were used")
        _update(miniport, "SUCCESS", handle, sa, HIGH + 4)
        number = _number(cfg, flow, inbound)
        ktap.equal((number >> 32, number & LOW), (HIGH + 4, 0 if inbound else before),
                   "halves of the state's number")
        ktap.equal(miniport.list()[handle].sequence, number, "number in the list")
    netlink.set_numbers(cfg.peer, flow.in_, netlink.Esn(oseq=BASE + (4 << 32) + 1000))
    netlink.set_numbers(cfg.peer, flow.out, netlink.Esn(512, seq=BASE + (4 << 32)))
    second = esp.exercise(cfg, flow)
    esp.unique(watch.esp(cfg.netif_mac) + second.esp(cfg.netif_mac), "iv")


def announced(cfg):
    """Key managers are notified of an update as of one of their own."""
    ktap.rules("R77")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handles = _protect_esn(cfg, miniport, flow)
    monitor = netlink.Monitor(cfg.dut, netlink.XFRMNLGRP_AEVENTS)
    for handle, sa, inbound in zip(handles, (flow.out, flow.in_), (False, True), strict=True):
        for high in (HIGH, HIGH + 4):
            _update(miniport, "SUCCESS", handle, sa, high)
        mine = monitor.messages()
        ktap.equal([(kind, spi) for kind, spi, _ in mine], [(netlink.XFRM_MSG_NEWAE, sa.spi)],
                   "messages of an update to the same and of one to a higher number")
        number = _number(cfg, flow, inbound)
        netlink.set_numbers(cfg.dut, sa, netlink.Esn(512, seq=number) if inbound
                            else netlink.Esn(oseq=number))
        theirs = monitor.messages()
        ktap.equal(set(mine[0][2]), set(theirs[0][2]), "attributes")
        told = mine[0][2][netlink.REPLAY_ESN_VAL]
        ktap.equal(told[:24], theirs[0][2][netlink.REPLAY_ESN_VAL][:24], "sequence numbers told")


def lower(cfg):
    """The high half never goes down: a lower one would repeat IVs."""
    ktap.rules("R151")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handles = _protect_esn(cfg, miniport, flow)
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    for handle, sa, inbound in zip(handles, (flow.out, flow.in_), (False, True), strict=True):
        before = _number(cfg, flow, inbound)
        for high in (HIGH - 1, 0):
            _update(miniport, "INVALID_PARAMETER", handle, sa, high, f"to {high}")
        ktap.equal(_number(cfg, flow, inbound), before, "number after a refused update")
    esp.exercise(cfg, flow)


def not_found(cfg):
    """Handle, operation and SPI must all be those of the SA."""
    ktap.rules("R74", "R76", "R77", "R78")
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, inbound = _protect_esn(cfg, miniport, flow)
    for what, handle, changes in (
            ("no handle", 0, {}), ("unknown handle", outbound + 0x1000, {}),
            ("huge handle", (1 << 64) - 1, {}), ("small handle", 1, {}),
            ("another SA's handle", inbound, {}), ("another SPI", outbound, {"Spi": b"\1\2\3\4"}),
            ("SPI backwards", outbound, {"Spi": flow.out.spi.to_bytes(4, "little")}),
            ("AH", outbound, {"Operation": oid.AH}), ("no operation", outbound, {"Operation": 0}),
            ("operation 3", outbound, {"Operation": 3})):
        statuses = ("INVALID_PARAMETER", "INVALID_DATA") if "operation" in what else \
            ("INVALID_PARAMETER",)
        answer = miniport.request(oid.UPDATE_SA,
                                  oid.update_sa(handle, flow.out, HIGH + 1, changes))
        ktap.check(answer.name in statuses, f"{what}: {answer.name}")
        ktap.equal([_number(cfg, flow, way) >> 32 for way in (False, True)], [HIGH] * 2,
                   f"high halves after an update with {what}")
    miniport.delete(outbound)
    _update(miniport, "INVALID_PARAMETER", outbound, flow.out, HIGH + 1, "after the deletion")


def without_esn(cfg):
    """An SA without extended sequence numbers cannot be updated."""
    ktap.rules("R79")
    miniport, flow = ndis.ready(cfg), esp.direct()
    for sa, handle in zip((flow.out, flow.in_), ndis.protect(cfg, miniport, flow), strict=True):
        for high in (0, 1):
            _update(miniport, "INVALID_PARAMETER", handle, sa, high)
    esp.exercise(cfg, flow)


def one_per_request(cfg):
    """A second structure behind the first is not looked at."""
    ktap.rules("R80")
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, inbound = _protect_esn(cfg, miniport, flow)
    buffer = oid.update_sa(outbound, flow.out, HIGH + 1) + \
        oid.update_sa(inbound, flow.in_, HIGH + 1)
    miniport.expect("SUCCESS", oid.UPDATE_SA, buffer)
    ktap.equal([_number(cfg, flow, way) >> 32 for way in (False, True)], [HIGH + 1, HIGH],
               "high halves")


def malformed(cfg):
    """Structures that are none, with either OID; nothing changes."""
    ktap.rules("R37", "R38")
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, _ = _protect_esn(cfg, miniport, flow)
    for number, good, least in (
            (oid.UPDATE_SA, oid.update_sa(outbound, flow.out, HIGH + 1), oid.UPDATE_SA_SIZE),
            (oid.DELETE_SA, oid.delete_sa(outbound), oid.DeleteSa.size)):
        for size in (0, 3, 4, 8, least - 1):
            answer = miniport.expect("INVALID_LENGTH", number, good, f"length {size}", length=size)
            ktap.equal(answer.needed, least, "bytes needed")
        for name, value in (("Type", 0x81), ("Type", 0), ("Revision", 0), ("Size", least - 1),
                            ("Size", 0)):
            broken = bytearray(good)
            oid.DeleteSa.put(broken, 0, name, value)
            miniport.expect("INVALID_DATA", number, broken, f"with {name} {value:#x}")
    ktap.equal(_number(cfg, flow, False) >> 32, HIGH, "high half")
    ktap.check(outbound in miniport.list(), "the SA is gone")


def header_size(cfg):
    """UPDATE_SA with the size that the header's comment names instead of the page's."""
    ktap.rules("R77")
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, _ = _protect_esn(cfg, miniport, flow)
    _update(miniport, "SUCCESS", outbound, flow.out, HIGH + 1, changes={"Size": 0x20})
    ktap.equal([_number(cfg, flow, way) >> 32 for way in (False, True)], [HIGH + 1, HIGH],
               "high halves")


def delete_list(cfg):
    """A list of handles: all of them go, in one request; unknown ones are no error."""
    ktap.rules("R81", "R82")
    miniport = ndis.ready(cfg)
    flows = [esp.direct() for _ in range(6)]
    handles = [miniport.add(flow.out, False) for flow in flows]
    kept = handles.pop()
    miniport.delete(0, handles[0], 0xDEAD0001, *handles[1:], (1 << 64) - 1, handles[0])
    ktap.equal(set(miniport.list()), {kept}, "what is left in the list")
    for flow in flows[:-1]:
        ktap.equal(xfrm.state_text(cfg.dut, flow.out), None, "state of a deleted SA")
    ktap.check(xfrm.state_text(cfg.dut, flows[-1].out), "the last SA is gone")
    for handle in (0, 0xDEAD0001, handles[0]):
        miniport.delete(handle)


def delete_broken_links(cfg):
    """Next that leads nowhere: an error of the structure, and the file goes on."""
    ktap.rules("R81", "R82")
    miniport = ndis.ready(cfg)
    handles = [miniport.add(esp.direct().out, False) for _ in range(2)]
    buffer, offsets = oid.chain(oid.DeleteSa, [oid.delete_sa(handle) for handle in handles])
    for target in (offsets[1], 8, 4, len(buffer), len(buffer) - 8, 1 << 40, (1 << 64) - 8):
        broken = bytearray(buffer)
        oid.DeleteSa.put(broken, offsets[1], "Next", target)
        answer = miniport.request(oid.DELETE_SA, broken)
        ktap.check(answer.name in MALFORMED, f"status with Next {target:#x}: {answer.name}")
    miniport.delete(*handles)
    ktap.equal(miniport.list(), {}, "what is left")


def in_use(cfg):
    """Deleted under traffic, inbound first: nothing leaks and nothing breaks."""
    ktap.rules("R81")
    miniport, flow = ndis.ready(cfg), esp.direct()
    for _ in range(5):
        new = esp.direct()
        outbound, inbound = ndis.protect(cfg, miniport, new)
        watch = cfg.watch()
        with traffic.Stream(cfg.dut, flow.dut, cfg.peer, flow.peer) as stream, \
                traffic.Stream(cfg.peer, flow.peer, cfg.dut, flow.dut) as back:
            stream.advance(5)
            back.advance(5)
            miniport.delete(inbound)
            miniport.delete(outbound)
            time.sleep(env.SETTLE)
        watch.stop().prove_no_plaintext()
        xfrm.flush(cfg.dut, cfg.peer)


def what_is_no_request(cfg):
    """Other OIDs, other paths, other request types."""
    ktap.rules("R13", "R29", "R39", "R42")
    miniport, sa = ndis.ready(cfg), esp.direct().out
    add = oid.add_sa_ex(sa, False)
    for number, buffer, status, kwargs in (
            (0xFC0302FF, add, "INVALID_OID", {}),
            (0, add, "INVALID_OID", {}),
            (0xFFFFFFFF, add, "INVALID_OID", {}),
            (0xFC0302FF, add, "INVALID_OID", {"path": ndis.NORMAL}),
            (oid.V1_ADD_SA, add, "NOT_SUPPORTED", {"path": ndis.NORMAL}),
            (oid.PARAMETERS, bytes(36), "NOT_SUPPORTED", {"path": ndis.NORMAL,
                                                          "kind": ndis.QUERY})):
        miniport.expect(status, number, buffer, **kwargs)
    for number in (oid.ADD_SA, oid.ADD_SA_EX, oid.UPDATE_SA, oid.DELETE_SA):
        for kwargs in ({"kind": ndis.QUERY}, {"path": ndis.NORMAL}, {"kind": 12}, {"kind": 2},
                       {"kind": 0xFFFFFFFF}):
            answer = miniport.request(number, add, **kwargs)
            ktap.check(answer.name in ("NOT_SUPPORTED", "INVALID_OID", "INVALID_DEVICE_REQUEST"),
                       f"OID {number:#x} with {kwargs}: {answer.name}")
    ktap.equal(miniport.list(), {}, "SAs")


def never_pending(cfg):
    """No request of the file ends with PENDING or INDICATION_REQUIRED, whatever it is."""
    ktap.rules("R42", "R84")
    miniport, seen = ndis.ready(cfg), set()
    for number in (oid.ADD_SA, oid.ADD_SA_EX, oid.UPDATE_SA, oid.DELETE_SA, oid.PARAMETERS,
                   oid.ENCAPSULATION, oid.CURRENT_CONFIG, oid.HARDWARE_CAPABILITIES, 0):
        for path in (ndis.NORMAL, ndis.DIRECT):
            for kind in (ndis.QUERY, ndis.SET):
                for size in (0, 0x18, 0x40, 0x100, 0x1000):
                    answer = miniport.request(number, os.urandom(size), path=path, kind=kind)
                    seen.add(answer.name)
    ktap.diag(f"statuses: {', '.join(sorted(seen))}")
    ktap.check("PENDING" not in seen, "a request that had an end ended with PENDING")
    ktap.equal({name for name in seen if name.startswith("0x")}, set(), "statuses with no name")


CASES = [equal_is_nothing, higher, announced, lower, not_found, without_esn, one_per_request,
         malformed, header_size, delete_list, delete_broken_links, in_use, what_is_no_request,
         never_pending]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
