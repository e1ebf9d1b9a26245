#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""OID requests that are completed later: NDIS_STATUS_PENDING, the completion as a record, its
order, and what ends requests before their time. A NIC that answers late keeps them pending.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import esp, ktap, ndis, netlink, oid, pace, proc, traffic, xfrm  # noqa: E402

LATE_MS = 200
MANY = 48
AT_ONCE = 4  # requests of a file that are worked on at a time
LEFT = {"REQUEST_ABORTED", "NOT_ACCEPTED"}
ENDS = {"SUCCESS"} | LEFT


def _add(miniport, request_id, sa=None, inbound=False, status="PENDING", esn=None):
    sa = sa or esp.direct().out
    return miniport.expect(status, oid.ADD_SA_EX, oid.add_sa_ex(sa, inbound, None, esn),
                           pending=request_id, **miniport.envelope(sa, inbound))


def _delete(miniport, request_id, *handles):
    buffer, _ = oid.chain(oid.DeleteSa, [oid.delete_sa(handle) for handle in handles])
    return miniport.expect("PENDING", oid.DELETE_SA, buffer, pending=request_id)


def _update(miniport, request_id, handle, sa, high):
    return miniport.expect("PENDING", oid.UPDATE_SA, oid.update_sa(handle, sa, high),
                           pending=request_id)


def _completed(miniport, count):
    """The next completions, in the order in which they were read."""
    return miniport.wait(count, lambda body: isinstance(body, ndis.Completed), 30)


def _late(cfg, count=1000):
    cfg.need_request("misbehave").fault(cfg.nic, "misbehave", "ctrl", "late", LATE_MS, count)


def completed(cfg):
    """Both SAs of a flow, and their end, by requests that are pended."""
    ktap.rules("R34", "R146")
    miniport, flow = ndis.ready(cfg), esp.direct()
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*flow.dut_policies())
    handles = []
    for request_id, sa, inbound in ((1 << 63, flow.out, False), (7, flow.in_, True)):
        answer = _add(miniport, request_id, sa, inbound)
        ktap.equal((answer.done, answer.needed, oid.AddSaEx.get(answer.buffer, "OffloadHandle")),
                   (0, 0, 0), "what else comes with PENDING")
        [done] = _completed(miniport, 1)
        ktap.equal((done.request_id, done.oid, done.name, done.done, done.needed),
                   (request_id, oid.ADD_SA_EX, "SUCCESS", len(answer.buffer), 0), "completion")
        handles += done.handles
    ktap.equal(set(miniport.list()), set(handles), "handles in the list and in the completions")
    esp.exercise(cfg, flow)
    _delete(miniport, 8, *handles)
    [done] = _completed(miniport, 1)
    ktap.equal((done.request_id, done.name, done.handles), (8, "SUCCESS", ()), "deletion")
    ktap.equal(xfrm.count(cfg.dut), 0, "states")
    info = miniport.info()
    ktap.equal((info["records"], info["failed"]), (3, 0), "records, failed requests")
    ktap.equal(miniport.read(), [], "further records")


def a_list(cfg):
    """The completion of ADD_SA has a handle for each element, NULL for what was not offloaded."""
    ktap.rules("R46", "R146")
    miniport, sas = ndis.ready(cfg), [esp.direct().out for _ in range(3)]
    buffer, _ = oid.chain(oid.AddSa, [oid.add_sa(sa, False) for sa in (*sas, sas[0])])
    miniport.expect("PENDING", oid.ADD_SA, buffer, pending=3, **miniport.envelope(sas[0], False))
    [done] = _completed(miniport, 1)
    ktap.equal((done.name, len(done.handles), done.handles[3]), ("SUCCESS", 4, 0), "completion")
    ktap.equal(set(miniport.list()), set(done.handles[:3]), "handles")
    miniport.expect("PENDING", oid.ADD_SA, buffer, pending=4, **miniport.envelope(sas[0], False))
    [done] = _completed(miniport, 1)
    ktap.equal((done.name, done.handles), ("FAILURE", ()), "completion of what is there already")
    ktap.equal(miniport.info()["failed"], 1, "failed requests")


def final_at_once(cfg):
    """What needs no work is not pended, and leaves no record."""
    ktap.rules("R82", "R148")
    miniport, sa = ndis.ready(cfg), esp.direct().out
    delete = oid.delete_sa(0x1000001)
    for status, number, buffer, words in (
            ("INVALID_LENGTH", oid.DELETE_SA, delete[:8], {}),
            ("INVALID_DATA", oid.DELETE_SA, bytes(len(delete)), {}),
            ("INVALID_OID", 0xFC0302FF, b"", {}),
            ("NOT_SUPPORTED", oid.ADD_SA_EX, oid.add_sa_ex(sa, False), {"kind": ndis.QUERY}),
            ("SUCCESS", oid.ENCAPSULATION, oid.encapsulation(), {"path": ndis.NORMAL}),
            ("INVALID_LENGTH", oid.ADD_SA, bytes(ndis.MAX_BUFFER + 1), {})):
        miniport.expect(status, number, buffer, pending=5, **words)
    ktap.equal(miniport.settled(ndis.Completed), [], "completions")
    ktap.equal(xfrm.count(cfg.dut), 0, "states")


def in_flight(cfg):
    """Neither further requests nor the list of SAs wait for the NIC."""
    ktap.rules("R31", "R146")
    miniport = ndis.ready(cfg)
    _late(cfg)
    begin = time.monotonic()
    for number in range(AT_ONCE):
        _add(miniport, number)
    spent = time.monotonic() - begin
    ktap.equal(len(miniport.read()), 0, "completions by then")
    ktap.check(spent < pace.scaled(LATE_MS * AT_ONCE / 1000), f"it took {spent} s")
    found = _completed(miniport, AT_ONCE)
    ktap.equal({one.name for one in found}, {"SUCCESS"}, "statuses")
    ktap.equal({one.request_id for one in found}, set(range(AT_ONCE)), "RequestIds")
    ktap.equal(len(miniport.list()), AT_ONCE, "SAs")


def in_order(cfg):
    """Updates and the deletion of an SA are done in the order in which they came, also behind an
    addition before them."""
    ktap.rules("R43", "R147")
    miniport, flow = ndis.ready(cfg), esp.direct()
    handle = miniport.add(flow.out, False, esn=0)
    _late(cfg)
    _add(miniport, 0)
    for high in (1, 2, 3):
        _update(miniport, high, handle, flow.out, high)
    _delete(miniport, 4, handle)
    _update(miniport, 5, handle, flow.out, 4)
    found = _completed(miniport, 6)
    ktap.equal([(one.request_id, one.name) for one in found],
               [(number, "SUCCESS") for number in range(5)] + [(5, "INVALID_PARAMETER")],
               "completions")
    ktap.equal(set(miniport.list()), set(found[0].handles), "SAs")


def cancelled(cfg):
    """A cancel ends what has not begun, of this file and with this RequestId alone."""
    ktap.rules("R35", "R149")
    miniport, other = ndis.ready(cfg), ndis.ready(cfg)
    _late(cfg)
    for number in range(AT_ONCE + 4):
        _add(miniport, number)
    time.sleep(LATE_MS / 2000)
    other.cancel(AT_ONCE + 1)
    miniport.cancel(77)
    miniport.cancel(AT_ONCE + 3)
    [done] = _completed(miniport, 1)[:1]
    ktap.equal((done.request_id, done.name, done.handles),
               (AT_ONCE + 3, "REQUEST_ABORTED", ()), "the cancelled one, before all others")
    found = _completed(miniport, AT_ONCE + 3)
    ktap.equal({one.name for one in found}, {"SUCCESS"}, "statuses of the others")
    ktap.equal(len(miniport.list()), AT_ONCE + 3, "SAs")
    miniport.cancel(0)
    ktap.equal(miniport.settled(ndis.Completed), [], "completions of what was complete")
    ktap.equal(other.read(), [], "records of the other file")


def too_many(cfg):
    """A request that finds no place is refused; a completed one keeps its place until read."""
    ktap.rules("R148")
    miniport = ndis.ready(cfg)
    for number in range(ndis.MAX_PENDING):
        _delete(miniport, number, 0x1000001)
    _add(miniport, 100, status="RESOURCES")
    proc.wait_until(lambda: miniport.info()["records"] == ndis.MAX_PENDING, "all are complete")
    _add(miniport, 100, status="RESOURCES")
    ktap.equal([one.request_id for one in _completed(miniport, ndis.MAX_PENDING)],
               list(range(ndis.MAX_PENDING)), "completions")
    _add(miniport, 101)
    [done] = _completed(miniport, 1)
    ktap.equal((done.request_id, done.name), (101, "SUCCESS"), "one more")


def never_lost(cfg):
    """A completion has its place also where the ring of records is full."""
    ktap.rules("R34")
    miniport, flow = ndis.ready(cfg, ndis.ALL), esp.direct()
    ndis.protect(cfg, miniport, flow)
    link = traffic.Datagrams(cfg.dut, flow.dut_inner, cfg.peer, flow.peer_inner)
    ktap.defer(link.close)

    def full():
        for _ in range(64):
            link.send(b"espnic")
        return miniport.info()["lost"] > 0

    proc.wait_until(full, "the ring is full", 60)
    _add(miniport, 9)
    proc.wait_until(lambda: len(miniport.list()) == 3, "the SA is added")
    [done] = _completed(miniport, 1)
    ktap.equal((done.request_id, done.name), (9, "SUCCESS"), "completion")


def closing_the_file(cfg):
    """The file closes with requests waiting and under way: none is left, nor any SA."""
    ktap.rules("R35")
    for _ in range(3):
        miniport = ndis.ready(cfg)
        _late(cfg)
        for number in range(2 * AT_ONCE):
            _add(miniport, number)
        miniport.close()
        proc.wait_until(lambda: xfrm.count(cfg.dut) == 0, "no SA is left")
    flow = esp.direct()
    cfg.control.request("fault", cfg.nic, "clear")
    ndis.protect(cfg, ndis.ready(cfg), flow)
    esp.exercise(cfg, flow)


def moved_away(cfg):
    """The interface goes to another namespace: each request is completed, and then the removal is
    told."""
    ktap.rules("R34", "R40", "R41")
    miniport = ndis.ready(cfg)
    _late(cfg)
    for number in range(MANY):
        _add(miniport, number)
    try:
        cfg.give_back()
        _add(miniport, 99, status="NOT_ACCEPTED")
        records = []
        proc.wait_until(lambda: records.extend(miniport.read()) or
                        any(one.kind == 4 for one in records), "the removal is told", 30)
    finally:
        cfg.control.request("fault", cfg.nic, "clear")
        cfg.connect()
    ktap.equal(records[-1].kind, 4, "the last record")
    found = [one.body for one in records[:-1]]
    ktap.equal(sorted(one.request_id for one in found), list(range(MANY)), "completions")
    ktap.equal({one.name for one in found} - ENDS, set(), "other statuses")
    # Between leaving its namespace and saying so the interface takes no SA: on a slow machine all
    # that wait can end so.
    ktap.check({one.name for one in found} & LEFT, "all was done before the interface left")
    ktap.equal([one.sequence for one in records], list(range(len(records))), "numbers of records")
    ktap.equal(xfrm.count(cfg.dut), 0, "states")


def unbound(cfg):
    """The driver leaves the NIC with requests waiting and under way, and comes back."""
    ktap.rules("R34", "R41")
    miniport = ndis.ready(cfg)
    _late(cfg)
    for number in range(MANY):
        _add(miniport, number)
    with cfg.driver_away():
        records = []
        proc.wait_until(lambda: records.extend(miniport.read()) or
                        any(one.kind == 4 for one in records), "the removal is told", 30)
        ktap.equal(len(records), MANY + 1, "completions and the removal")
        ktap.equal({one.body.name for one in records[:-1]} - ENDS, set(), "other statuses")
        ktap.equal(xfrm.count(cfg.dut), 0, "states")
        _add(miniport, 99, status="NOT_ACCEPTED")
        cfg.control.request("fault", cfg.nic, "clear")
    miniport.close()
    other = ndis.ready(cfg)
    _add(other, 1)
    ktap.equal([one.name for one in _completed(other, 1)], ["SUCCESS"], "statuses afterwards")


def reset_meanwhile(cfg):
    """A reset ends what has not begun; what succeeded is there, and nothing else."""
    ktap.rules("R34", "R41")
    cfg.need_request("reset")
    miniport = ndis.ready(cfg)
    _late(cfg, 20)
    for number in range(3 * AT_ONCE):
        _add(miniport, number)
    cfg.reset(10)
    found = _completed(miniport, 3 * AT_ONCE)
    names = [one.name for one in found]
    ktap.diag(" ".join(names))
    ktap.equal(set(names) - ENDS, set(), "other statuses")
    ktap.contains(names, "REQUEST_ABORTED", "statuses")
    ktap.equal(set(miniport.list()), {handle for one in found for handle in one.handles}, "SAs")


def keys_are_not_recorded(cfg):
    """Nothing of an addition but its handles is in a record."""
    miniport, sa = ndis.ready(cfg), esp.direct().out
    buffer, _ = oid.chain(oid.AddSa, [oid.add_sa(sa, False)])
    miniport.expect("PENDING", oid.ADD_SA, buffer, pending=1, **miniport.envelope(sa, False))
    proc.wait_until(lambda: miniport.info()["records"] == 1, "the request is complete")
    [record] = miniport.read()
    ktap.equal(len(record.body.handles), 1, "handles")


def esn_messages(cfg):
    """Key managers are notified of SAs of pended requests as of others."""
    miniport, monitor, sa = ndis.ready(cfg), netlink.Monitor(cfg.dut), esp.direct().out
    _add(miniport, 1, sa, esn=0)
    _delete(miniport, 2, *_completed(miniport, 1)[0].handles)
    _completed(miniport, 1)
    ktap.equal([(kind, spi) for kind, spi, _ in monitor.messages()],
               [(netlink.XFRM_MSG_NEWSA, sa.spi), (netlink.XFRM_MSG_DELSA, sa.spi)], "messages")


def by_the_tool(cfg):
    """`--pending` in a session, where `follow` shows the completion, and in a command."""
    ktap.rules("R146")
    miniport, sa, rest = ndis.ready(cfg), esp.direct().out, esp.direct().out
    words = [f"add --dir out --src {one.src} --dst {one.dst} --spi {one.spi:#x} --enc aes-gcm-128 "
             f"--enc-key {one.key.hex()} --mode transport" for one in (sa, rest)]
    lines = [f"{words[0]} --pending 5", "follow --count 1 --time 5", "cancel 6"]
    script = "printf '%s\\n' \"$@\" | espnic-ndis -i \"$0\" --json session"
    text = cfg.dut.cmd("sh", "-c", script, cfg.netif, *lines)
    pended, done, cancel = (json.loads(line) for line in text.splitlines())
    ktap.equal((pended["ok"], pended["status"], pended["handle"]),
               (True, "NDIS_STATUS_PENDING", None), "answer")
    ktap.equal((done["record"], done["request_id"], done["status"]),
               ("completed", 5, "NDIS_STATUS_SUCCESS"), "record")
    ktap.check(done["handle"], "there is no handle")
    ktap.equal((cancel["ok"], cancel["request_id"]), (True, 6), "cancel")
    handle = miniport.add(rest, False)
    text = cfg.dut.cmd("espnic-ndis", "-i", cfg.netif, "--json", "delete", f"{handle:#x}",
                       "--pending", "7")
    ktap.equal([json.loads(line)["status"] for line in text.splitlines()],
               ["NDIS_STATUS_PENDING", "NDIS_STATUS_SUCCESS"], "statuses of a command")
    ktap.equal(miniport.list(), {}, "SAs")


CASES = [completed, a_list, final_at_once, in_flight, in_order, cancelled, too_many, never_lost,
         closing_the_file, moved_away, unbound, reset_meanwhile, keys_are_not_recorded,
         esn_messages, by_the_tool]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
