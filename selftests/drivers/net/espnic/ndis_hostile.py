#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Callers without rights, senseless requests, many at once, and the removal of the NIC."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, ndis, netif, oid, pace, proc, xfrm  # noqa: E402

NOBODY = 65534
ROUNDS = 1500
THREADS, TURNS = 4, 40
BAD_ADDRESS = 0x1000
RESETS, LENGTH = 4, 3
ANSWER = 5  # seconds, after which the driver no longer hopes for an answer of the NIC
GARBAGE = 0xDEADBEEF00C0FFEE


def _works(cfg):
    """A fresh file still does everything that it should."""
    miniport, flow = ndis.ready(cfg), esp.direct()
    ndis.protect(cfg, miniport, flow)
    esp.exercise(cfg, flow, sizes=[0, 56], stream=4096)
    miniport.close()
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states at the end")


def _errno(function, *args):
    """Name of the errno that a call fails with (Linux has no ENOTSUP of its own), or "none"."""
    try:
        function(*args)
    except OSError as error:
        return {errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(error.errno, errno.errorcode[error.errno])
    return "none"


def _in_child(function, prepare):
    """_errno() of function in a process that prepare() has changed."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            prepare()
            os.write(into, _errno(function).encode())
        os._exit(0)
    os.close(into)
    with open(out, encoding="ascii") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def _drop():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _own_user_namespace():
    os.unshare(os.CLONE_NEWUSER)


def permissions(cfg):
    """No CAP_NET_ADMIN in the interface's namespace: EPERM, also with an inherited open file."""
    ndis.need()
    ktap.equal(_in_child(lambda: os.open(ndis.DEVICE, os.O_RDWR), _drop), "EACCES", "open")
    miniport, fresh = ndis.ready(cfg), ndis.opened()
    sa = esp.direct().out
    handle = miniport.add(sa, False)
    calls = {
        "BIND": lambda: ndis.bind_index(fresh, cfg.netif_index),
        "REQUEST": lambda: miniport.request(oid.DELETE_SA, oid.delete_sa(handle)),
        "query": lambda: miniport.query(oid.CURRENT_CONFIG),
        "LIST": miniport.list,
        "keyword": lambda: miniport.set_keyword(ndis.IPSEC_V2, 0),
        "RESTART": miniport.restart,
    }
    with cfg.dut:
        for who in (_drop, _own_user_namespace):
            for what, call in calls.items():
                ktap.equal(_in_child(call, who), "EPERM", f"{what} with {who.__name__}")
    ktap.check(handle in miniport.list(), "the SA is gone")
    ktap.equal(miniport.keyword(ndis.IPSEC_V2), None, "keyword")
    ndis.bind_fd(fresh, cfg.dut, cfg.netif)


def binding(cfg):
    """BIND: once, to an espnic NIC of the caller's namespace, with flags that exist."""
    index = cfg.netif_index
    fd = ndis.opened(os.O_NONBLOCK)
    for what, call in (("REQUEST", ndis.IOCTL_REQUEST), ("LIST", ndis.IOCTL_LIST),
                       ("SET_KEYWORD", ndis.SET_KEYWORD), ("RESTART", ndis.IOCTL_RESTART)):
        size = call >> 16 & 0x3FFF
        words = ndis.REQUEST.pack(ndis.REQUEST.size, 0, 0, 0, *[0] * 9, b"\0\0", b"\0\0") \
            if what == "REQUEST" else bytes(size)
        if what == "LIST":
            words = ndis.LIST.pack(0, 0, 0, 0, ndis.ENTRY.size, 0)
        if what == "SET_KEYWORD":
            words = ndis.KEYWORD.pack(1, 0, 0, 0)
        ktap.equal(_errno(fcntl.ioctl, fd, call, bytearray(words)), "ENODEV",
                   f"{what} without BIND")
    with cfg.dut:
        ktap.equal(_errno(fcntl.ioctl, fd, ndis.BIND,
                          bytearray(ndis.BIND_WORDS.pack(index, 0, 0, 1, b""))), "EINVAL",
                   "BIND with a reserved word")
    for ns, number, flags, wanted in (
            (cfg.dut, 0, 0, ("ENODEV",)), (cfg.dut, 0x7FFFFFFF, 0, ("ENODEV",)),
            (cfg.dut, 0xFFFFFFFF, 0, ("ENODEV",)), (cfg.dut, 1, 0, ("EOPNOTSUPP",)),
            (cfg.peer, index, 0, ("ENODEV", "EOPNOTSUPP")),
            (cfg.init, index, 0, ("ENODEV", "EOPNOTSUPP")), (cfg.dut, index, 16, ("EINVAL",)),
            (cfg.dut, index, 0xFFFFFFFF, ("EINVAL",)), (cfg.dut, index, 0, ("none",)),
            (cfg.dut, index, 0, ("EBUSY",)), (cfg.dut, 1, 0, ("EBUSY",))):
        with ns:
            got = _errno(ndis.bind_index, fd, number, flags)
        ktap.check(got in wanted, f"BIND to {number} in {ns.label} with flags {flags:#x}: {got}")
    for call in (0, 0xE500, ndis.BIND + 0x10000, ndis.IOCTL_RESTART + 1, 0xFFFFFFFF):
        ktap.check(_errno(fcntl.ioctl, fd, call, bytearray(256)) in ("ENOTTY", "EINVAL"),
                   f"ioctl {call:#x} exists")


def envelope(cfg):
    """Fields of the envelope that mean nothing are refused, and bad addresses too."""
    miniport, flow = ndis.ready(cfg), esp.direct()
    good = {"size": ndis.REQUEST.size, "path": ndis.DIRECT, "kind": ndis.SET,
            "number": oid.DELETE_SA, "buffer": 0, "length": 0, "status": 0, "done": 0,
            "needed": 0, "request": 0, "mode": 0, "window": 0, "reqid": 0, "sport": b"\0\0",
            "dport": b"\0\0"}

    def attempt(at=None, value=1, **changes):
        words = bytearray(ndis.REQUEST.pack(*(good | changes).values()))
        if at is not None:
            words[at] = value
        return _errno(fcntl.ioctl, miniport.fd, ndis.IOCTL_REQUEST, words)

    ktap.equal(attempt(), "none", "a request that is well")
    for what, changes in (("size", {"size": 71}), ("size", {"size": 0}), ("path", {"path": 2}),
                          ("mode", {"mode": 3}), ("mode", {"mode": 255}),
                          ("window", {"window": 4097}), ("window", {"window": 0xFFFFFFFF})):
        ktap.equal(attempt(**changes), "EINVAL", f"wrong {what}")
    for at in (49, 50, 51, 64, 71):
        ktap.equal(attempt(at), "EINVAL", f"reserved byte {at}")
    for address in (0, BAD_ADDRESS, 1 << 63, (1 << 64) - 64, 0xFFFFFFFF81000000):
        ktap.equal(attempt(buffer=address, length=24), "EFAULT", f"buffer at {address:#x}")
    for call in (ndis.IOCTL_REQUEST, ndis.IOCTL_LIST, ndis.IOCTL_INFO, ndis.GET_KEYWORD):
        ktap.equal(_errno(fcntl.ioctl, miniport.fd, call, BAD_ADDRESS), "EFAULT",
                   f"ioctl {call:#x} with a bad address")
    array = ctypes.create_string_buffer(ndis.ENTRY.size)
    handle = miniport.add(flow.out, False)
    for words, wanted in (((0, BAD_ADDRESS, 1, 0, ndis.ENTRY.size, 0), "EFAULT"),
                          ((0, ctypes.addressof(array), 1, 0, ndis.ENTRY.size - 8, 0), "EINVAL"),
                          ((0, ctypes.addressof(array), 1, 0, ndis.ENTRY.size, 1), "EINVAL"),
                          ((0, ctypes.addressof(array), 1, 0, ndis.ENTRY.size, 0), "none")):
        ktap.equal(_errno(fcntl.ioctl, miniport.fd, ndis.IOCTL_LIST,
                          bytearray(ndis.LIST.pack(*words))), wanted, f"LIST with {words}")
    for name in (0, 14, 0xFFFFFFFF):
        ktap.equal(_errno(miniport.keyword, name), "EINVAL", f"keyword {name}")
    miniport.delete(handle)


@contextlib.contextmanager
def _read_only(data):
    """The address of memory with these bytes that cannot be written to."""
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, mmap.PAGESIZE) as area:
        area[:len(data)] = bytes(data)
        view = ctypes.c_char.from_buffer(area)
        address = ctypes.addressof(view)
        ktap.equal(libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ), 0,
                   "mprotect()")
        try:
            yield address
        finally:
            del view


def answer_cannot_be_written(cfg):
    """A handle that does not reach its owner leaves no SA behind."""
    ktap.rules("R47")
    miniport, sa = ndis.ready(cfg), esp.direct().out
    for make, number in ((oid.add_sa, oid.ADD_SA), (oid.add_sa_ex, oid.ADD_SA_EX)):
        buffer = make(sa, False)
        with _read_only(buffer) as address:
            words = bytearray(ndis.REQUEST.pack(
                ndis.REQUEST.size, ndis.DIRECT, ndis.SET, number, address, len(buffer), 0, 0, 0,
                0, ndis.TRANSPORT, 0, 1, b"\0\0", b"\0\0"))
            ktap.equal(_errno(fcntl.ioctl, miniport.fd, ndis.IOCTL_REQUEST, words), "EFAULT",
                       "read-only buffer")
        ktap.equal(miniport.list(), {}, "SAs after the failure")
        ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states after the failure")


def _random_request(rng, handles):
    """(OID, path, kind, buffer): nonsense, or something real with a few bits changed."""
    flow = esp.direct(algorithm=rng.choice([algo.gcm(128), algo.gcm(256), algo.cbc(128, "sha1")]))
    known = rng.choice(handles) if handles and rng.random() < 0.7 else rng.getrandbits(64)
    number, buffer = rng.choice([
        (oid.ADD_SA_EX, oid.add_sa_ex(flow.out, False, gap=rng.choice([0, 3]))),
        (oid.ADD_SA, oid.chain(oid.AddSa, [oid.add_sa(esp.direct().out, False)
                                           for _ in range(rng.randint(1, 4))])[0]),
        (oid.UPDATE_SA, oid.update_sa(known, flow.out, rng.getrandbits(32))),
        (oid.DELETE_SA, oid.chain(oid.DeleteSa, [oid.delete_sa(known)] * rng.randint(1, 3))[0])])
    buffer = bytearray(buffer)
    kind = rng.random()
    if kind < 0.25:
        buffer = bytearray(rng.randbytes(rng.choice([0, 3, 24, 176, 400, 5000])))
    elif kind < 0.75:
        for _ in range(rng.choice([1, 1, 2, 8])):
            buffer[rng.randrange(len(buffer))] ^= 1 << rng.randrange(8)
    elif kind < 0.9:
        del buffer[rng.randrange(len(buffer) + 1):]
    return number, buffer


def random_buffers(cfg):
    """Random and half-right buffers: an answer each time, and handles and states always agree."""
    ktap.rules("R37", "R47")
    seed = int(os.environ.get("ESPNIC_SEED") or random.SystemRandom().getrandbits(32))
    ktap.diag(f"ESPNIC_SEED={seed}")
    rng, miniport, seen = random.Random(seed), ndis.ready(cfg), {}
    deadline = time.monotonic() + pace.scaled(40)
    done = 0
    while done < ROUNDS and time.monotonic() < deadline:
        listed = miniport.list()
        number, buffer = _random_request(rng, sorted(listed))
        answer = miniport.request(number, buffer, mode=rng.choice([0, 1, 2]),
                                  window=rng.choice([0, 0, 32, 64, 4096]))
        seen[answer.name] = seen.get(answer.name, 0) + 1
        after = miniport.list()
        if number in (oid.ADD_SA, oid.ADD_SA_EX) and answer.name != "SUCCESS":
            ktap.equal(set(after), set(listed), f"SAs after {answer.name}, request {done}")
        if number == oid.UPDATE_SA:
            ktap.equal(set(after), set(listed), "SAs after UPDATE_SA")
        if len(after) > 40:
            miniport.delete(*after)
        done += 1
    ktap.diag(f"{done} requests: {seen}")
    ktap.at_least(done, 200, "requests")
    ktap.equal({name for name in seen if name.startswith("0x") or name == "PENDING"}, set(),
               "statuses that no page names")
    states = xfrm.count(cfg.dut)
    ktap.equal(states, len(miniport.list()), "states against handles")
    miniport.close()
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states after closing the file")
    _works(cfg)


def _together(functions):
    """Run functions at the same time; the first error is raised."""
    errors, start = [], threading.Barrier(len(functions))

    def run(function):
        try:
            start.wait()
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(pace.scaled(60))
        ktap.check(not thread.is_alive(), "a request does not end")
    if errors:
        raise errors[0]


def parallel(cfg):
    """Adds, updates, deletes and lists from several threads, through one file and through many,
    and requests of the normal path all the while."""
    ktap.rules("R31")
    shared = ndis.ready(cfg)
    files = [shared, shared, *(ndis.ready(cfg) for _ in range(THREADS - 2))]
    seen = [[] for _ in files]

    def work(miniport, handles):
        for turn in range(TURNS):
            sa = esp.direct().out
            handles.append(miniport.add(sa, False, single=turn % 2 == 0, esn=turn))
            miniport.expect("SUCCESS", oid.UPDATE_SA, oid.update_sa(handles[-1], sa, turn + 1))
            ktap.check(handles[-1] in miniport.list(), "an SA is missing in the list")
            miniport.delete(handles[-1])

    def normal():
        while sum(map(len, seen)) < THREADS * TURNS:
            shared.enable()
            shared.query(oid.CURRENT_CONFIG)

    _together([normal, *(lambda one=one, into=into: work(one, into)
                         for one, into in zip(files, seen, strict=True))])
    every = [handle for handles in seen for handle in handles]
    ktap.equal(len(set(every)), THREADS * TURNS, "different handles")
    ktap.equal(shared.list(), {}, "SAs at the end")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states at the end")
    _works(cfg)


def same_sa_at_once(cfg):
    """The same SA from several threads: one of them gets it; one handle deleted by all."""
    ktap.rules("R31")
    files = [ndis.ready(cfg) for _ in range(THREADS)]
    for _ in range(20):
        sa, answers = esp.direct().out, []
        _together([lambda one=one, sa=sa, into=answers: into.append(one.request(
            oid.ADD_SA_EX, oid.add_sa_ex(sa, False), **one.envelope(sa, False)))
            for one in files])
        good = [answer for answer in answers if answer.name == "SUCCESS"]
        ktap.equal(len(good), 1, "files that got the SA")
        handle = oid.AddSaEx.get(good[0].buffer, "OffloadHandle")
        ktap.equal(set(files[0].list()), {handle}, "handles")
        _together([lambda one=one, handle=handle: one.delete(handle) for one in files])
        ktap.equal(files[0].list(), {}, "handles after the deletion")


def _removed(miniport):
    """The file has one record of the removal of its adapter, and no other."""
    ktap.equal([one.kind for one in miniport.read()], [4], "kinds of records at the removal")
    ktap.equal(miniport.info()["flags"] & ndis.REMOVED, ndis.REMOVED, "flag of the removal")
    failed, sa = miniport.info()["failed"], esp.direct().out
    garbage = {"OffloadHandle": GARBAGE}
    for layout, number, buffer in (
            (oid.AddSa, oid.ADD_SA, oid.add_sa(sa, False, garbage)),
            (oid.AddSaEx, oid.ADD_SA_EX, oid.add_sa_ex(sa, False, garbage))):
        answer = miniport.expect("NOT_ACCEPTED", number, buffer, "after the removal",
                                 mode=ndis.TRANSPORT)
        ktap.equal(layout.get(answer.buffer, "OffloadHandle"), 0, "handle of a refused addition")
    for number, buffer, kwargs in (
            (oid.DELETE_SA, oid.delete_sa(1), {}), (oid.UPDATE_SA, oid.update_sa(1, sa, 1), {}),
            (oid.PARAMETERS, oid.parameters(), {"path": ndis.NORMAL})):
        miniport.expect("NOT_ACCEPTED", number, buffer, "after the removal", **kwargs)
    ktap.equal(miniport.info()["failed"], failed + 5, "requests that have failed")


def nic_unbound(cfg):
    """The driver leaves the NIC while files are open: SAs gone, files told, requests refused."""
    ktap.rules("R40", "R46", "R68", "R82", "R89", "R90")
    first, second = ndis.ready(cfg, ndis.ALL), ndis.ready(cfg)
    ndis.protect(cfg, first, esp.direct())
    second.add(esp.direct().out, False)
    first.read()
    with cfg.driver_away():
        for miniport in (first, second):
            _removed(miniport)
        ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states")
        fd = ndis.opened()
        with cfg.dut:
            ktap.equal(_errno(ndis.bind_index, fd, cfg.netif_index), "ENODEV", "BIND")
    for miniport in (first, second):
        miniport.expect("NOT_ACCEPTED", oid.DELETE_SA, oid.delete_sa(1), "after the NIC is back")
        miniport.close()
    xfrm.flush(cfg.dut, cfg.peer)
    _works(cfg)


def nic_unbound_in_a_storm(cfg):
    """The same while threads make requests: the first NOT_ACCEPTED is followed by nothing else."""
    ktap.rules("R40", "R89")
    files, stop = [ndis.ready(cfg) for _ in range(3)], threading.Event()
    seen = [[] for _ in files]

    def storm(miniport, statuses):
        deadline = time.monotonic() + pace.scaled(30)
        while not stop.is_set() and time.monotonic() < deadline:
            sa = esp.direct().out
            answer = miniport.request(oid.ADD_SA_EX, oid.add_sa_ex(sa, False),
                                      **miniport.envelope(sa, False))
            statuses.append(answer.name)
            statuses.append(miniport.request(oid.DELETE_SA, oid.delete_sa(
                oid.AddSaEx.get(answer.buffer, "OffloadHandle"))).name)

    def unbind():
        try:
            proc.wait_until(lambda: all(one[::2].count("SUCCESS") > 3 for one in seen),
                            "every thread adds SAs")
            netif.unbind(cfg.device)
            time.sleep(env.SETTLE)
        finally:
            stop.set()

    try:
        _together([unbind, *(lambda one=one, into=into: storm(one, into)
                             for one, into in zip(files, seen, strict=True))])
    finally:
        stop.set()
        if not netif.driver_of(cfg.device):
            netif.bind(cfg.device, cfg.driver, cfg.netif)
        cfg.connect()
    for statuses in seen:
        ktap.diag(f"{len(statuses)} requests: {set(statuses)}")
        ktap.check("NOT_ACCEPTED" in statuses, "no request was refused")
        first = statuses.index("NOT_ACCEPTED")
        ktap.equal(set(statuses[:first]) - {"SUCCESS", "REQUEST_ABORTED"}, set(),
                   "statuses before the first refusal")
        ktap.equal(set(statuses[first:]), {"NOT_ACCEPTED"}, "statuses from there on")
    for miniport in files:
        miniport.close()
    _works(cfg)


def _add_list(miniport):
    """ADD_SA of a few SAs: handles came exactly if it succeeded, and are listed; the status."""
    buffer, offsets = oid.chain(oid.AddSa, [oid.add_sa(esp.direct().out, False)
                                            for _ in range(LENGTH)])
    answer = miniport.request(oid.ADD_SA, buffer, mode=ndis.TRANSPORT)
    given = {oid.AddSa.get(answer.buffer, "OffloadHandle", at) for at in offsets} - {0}
    ktap.equal(bool(given), answer.name == "SUCCESS", f"a handle came with {answer.name}")
    ktap.check(given <= set(miniport.list()), "the SA of a handle is not in the list")
    return answer.name


def resets_in_a_storm(cfg):
    """Lists of additions while the NIC is reset: each ends with a status that says what was done,
    and the handles are those of the SAs that are there, in XFRM and in the NIC."""
    ktap.rules("R41", "R47")
    control, miniport, seen = cfg.need_request("reset"), ndis.ready(cfg), []
    for _ in range(RESETS):
        before = cfg.resets()
        control.request("reset", cfg.nic)
        proc.wait_until(lambda before=before: seen.append(_add_list(miniport)) or
                        cfg.resets() > before, "the NIC is reset", 10 + LENGTH * ANSWER)
        ktap.equal(_add_list(miniport), "SUCCESS", "status after the reset")
    ktap.diag(f"statuses: {' '.join(seen)}")
    ktap.equal(set(seen) - {"SUCCESS", "NOT_ACCEPTED", "REQUEST_ABORTED"}, set(), "statuses")
    left = miniport.list()
    ktap.equal(xfrm.count(cfg.dut), len(left), "states against handles")
    proc.wait_until(lambda: cfg.nic_counters()["ipsec_sa_out"] == len(left), "as many in the NIC")
    miniport.close()
    _works(cfg)


def moved_to_another_namespace(cfg):
    """The interface goes to another namespace: for its files it is gone."""
    ktap.rules("R40", "R89")
    miniport = ndis.ready(cfg)
    miniport.add(esp.direct().out, False)
    cfg.give_back()
    try:
        _removed(miniport)
        ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states")
    finally:
        cfg.connect()
    miniport.close()
    _works(cfg)


def no_keys_in_the_log(cfg):
    """Keys of SAs that were added, refused and deleted are nowhere in the kernel's log."""
    miniport, key = ndis.ready(cfg), bytes(range(0x61, 0x75))
    flow = esp.direct()
    sa = xfrm.Sa(flow.out.src, flow.out.dst, flow.out.spi, key)
    handle = miniport.add(sa, False)
    miniport.request(oid.ADD_SA_EX, oid.add_sa_ex(sa, False), mode=ndis.TRANSPORT)
    for changes in ({"0.Enc.AdditionalInfo": 7}, {"NumExtHdrs": 0}, {"0.Enc.KeyLength": 99}):
        miniport.request(oid.ADD_SA_EX, oid.add_sa_ex(sa, False, changes))
    miniport.delete(handle)
    log = proc.cmd("dmesg")
    for form in (key[:16].hex(), key[:16].hex(" "), key[:8].hex(), key[:8].decode(),
                 struct.pack("<Q", *struct.unpack(">Q", key[:8])).hex()):
        ktap.check(form not in log, f"{form!r} is in the kernel's log")


CASES = [permissions, binding, envelope, answer_cannot_be_written, random_buffers, parallel,
         same_sa_at_once, nic_unbound, nic_unbound_in_a_storm, resets_in_a_storm,
         moved_to_another_namespace, no_keys_in_the_log]


def _setup():
    ndis.need()
    cfg = env.Setup(tap=True).need_offload()
    with cfg.dut:
        cfg.netif_index = socket.if_nametoindex(cfg.netif)
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
