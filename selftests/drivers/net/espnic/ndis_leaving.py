#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The NIC leaves while a request is under way: while the caller's memory does not come, while an SA
is being made.
"""

import errno
import fcntl
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, memory, ndis, netif, oid, pace, xfrm  # noqa: E402

UNBIND_TIME = 30
MOVES = 3


def _in_thread(function, *args):
    """Run function in a thread; (thread, list of what it returned or raised)."""
    result = []

    def run():
        try:
            result.append(function(*args))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def _unbound_meanwhile(cfg, page, function, *args):
    """What function(*args), which waits for the page, returns when the driver left the NIC
    meanwhile, for which nobody may have to wait."""
    caller, result = _in_thread(function, *args)
    page.used()
    try:
        leaving, error = _in_thread(netif.unbind, cfg.device)
        leaving.join(pace.scaled(UNBIND_TIME))
        in_time = not leaving.is_alive()
    finally:
        page.release()
        for thread in (caller, leaving):
            thread.join(pace.scaled(UNBIND_TIME))
        netif.bind(cfg.device, cfg.driver, cfg.netif)
        cfg.connect()
    ktap.check(in_time, "the driver cannot leave the NIC while the page is waited for")
    ktap.equal(error, [None], "unbinding")
    ktap.equal(len(result), 1, "callers that have returned")
    return result[0]


def _request(miniport, number, address, length):
    """A request whose information buffer is at an address; its status, or errno by name."""
    words = bytearray(ndis.REQUEST.pack(
        ndis.REQUEST.size, ndis.DIRECT, ndis.SET, number, address, length, 0, 0, 0, 0,
        ndis.TRANSPORT, 0, 1, b"\0\0", b"\0\0"))
    try:
        fcntl.ioctl(miniport.fd, ndis.IOCTL_REQUEST, words)
    except OSError as error:
        return errno.errorcode[error.errno]
    return oid.status_name(ndis.REQUEST.unpack(words)[6])


def unbound_before_the_request(cfg):
    """The information buffer does not come; the NIC can leave, and then there is nothing to ask."""
    ktap.rules("R40")
    miniport, page = ndis.ready(cfg), memory.Held()
    status = _unbound_meanwhile(cfg, page, _request, miniport, oid.ADD_SA_EX, page.address,
                                oid.ADD_SA_EX_SIZE)
    ktap.equal(status, "NOT_ACCEPTED", "status")


def unbound_before_the_answer(cfg):
    """The information buffer can be read, but its handle not be written: the NIC can leave, with
    the SA."""
    ktap.rules("R89")
    miniport, buffer = ndis.ready(cfg), oid.add_sa_ex(esp.direct().out, False)
    page = memory.Held(buffer)
    status = _unbound_meanwhile(cfg, page, _request, miniport, oid.ADD_SA_EX, page.address,
                                len(buffer))
    ktap.equal(status, "SUCCESS", "status of what was done before")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states")


def _list(miniport, address, capacity):
    """LIST into an array at an address; how many SAs, or errno by name."""
    words = bytearray(ndis.LIST.pack(0, address, capacity, 0, ndis.ENTRY.size, 0))
    try:
        fcntl.ioctl(miniport.fd, ndis.IOCTL_LIST, words)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ndis.LIST.unpack(words)[3]


def unbound_before_the_list(cfg):
    """The array of the list does not come; behind its first entry there are no SAs any more."""
    miniport, page = ndis.ready(cfg), memory.Held()
    for _ in range(3):
        miniport.add(esp.direct().out, False)
    answer = _unbound_meanwhile(cfg, page, _list, miniport, page.address, 8)
    ktap.equal(answer, 1, "entries")


def moved_in_a_storm(cfg):
    """The interface goes to another namespace while SAs are added: none stays behind in the old
    one."""
    ktap.rules("R89")
    for _ in range(MOVES):
        stop, files = threading.Event(), [ndis.ready(cfg) for _ in range(2)]

        def storm(miniport, stop=stop):
            while not stop.is_set():
                sa = esp.direct().out
                name = miniport.request(oid.ADD_SA_EX, oid.add_sa_ex(sa, False),
                                        **miniport.envelope(sa, False)).name
                if name == "NOT_ACCEPTED":
                    return

        def move(stop=stop):
            time.sleep(env.SETTLE)
            cfg.give_back()
            time.sleep(env.SETTLE)
            stop.set()

        try:
            threads = [_in_thread(move), *(_in_thread(storm, one) for one in files)]
            for thread, result in threads:
                thread.join(pace.scaled(UNBIND_TIME))
                ktap.equal(result, [None], "what a thread returned")
            ktap.equal(xfrm.count(cfg.dut), 0, "states left")
        finally:
            stop.set()
            cfg.connect()
        for miniport in files:
            miniport.close()
    flow = esp.direct()
    ndis.protect(cfg, ndis.ready(cfg), flow)
    esp.exercise(cfg, flow)


CASES = [unbound_before_the_request, unbound_before_the_answer, unbound_before_the_list,
         moved_in_a_storm]


if __name__ == "__main__":
    ktap.main(CASES, ndis.setup)
