#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""espnic-ndis, the command-line tool: what a person would do with it, and the transport's answer
to a request for deletion.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import env, esp, ktap, ndis, oid, pace, proc, traffic  # noqa: E402

TOOL = "espnic-ndis"


def _words(cfg, sa, way, single=True):
    """Arguments of `add`; the key is in a file."""
    key = Path(cfg.folder, f"key-{sa.spi:x}")
    key.write_text(sa.key.hex() + "\n", encoding="ascii")
    words = (f"--dir {way} --src {sa.src} --dst {sa.dst} --spi {sa.spi:#x} "
             f"--enc aes-gcm-{(len(sa.key) - 4) * 8} --enc-key @{key}")
    if single:
        words += f" --mode {sa.mode} --reqid {sa.reqid} --window 512"
    return words.split()


def _run(cfg, *words, status=0):
    """The tool's JSON answer; it must end with a status."""
    result = cfg.dut.run(TOOL, "-i", cfg.netif, "--json", *words)
    ktap.equal(result.returncode, status, f"exit status of {' '.join(words)}: {result.stderr}")
    return json.loads(result.stdout) if result.stdout else result.stderr


class Process:
    """The tool in the background: answers come as JSON, one per line."""

    def __init__(self, cfg, *words):
        self._process = cfg.dut.spawn(TOOL, "-i", cfg.netif, "--json", *words,
                                      stdin=subprocess.PIPE)
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)

    def sleeps(self, where, what):
        """Wait until it sleeps in a function of the kernel."""
        path = f"/proc/{self._process.pid}/wchan"
        proc.wait_until(lambda: where in proc.read_file(path), f"{TOOL} waits for {what}")

    def bound(self):
        """Wait until it follows, which it does as soon as it waits for records."""
        self.sleeps("poll", "records")

    def answer(self):
        """The next answer."""
        try:
            return json.loads(self._lines.get(timeout=pace.scaled(5)))
        except queue.Empty:
            raise ktap.Failure(f"{TOOL} said nothing") from None

    def tell(self, *words):
        """A command of a session."""
        self.tell_bytes(" ".join(words).encode("ascii"))

    def tell_bytes(self, line):
        """A line of a session, whatever is in it."""
        self._process.stdin.buffer.write(line + b"\n")
        self._process.stdin.flush()

    def ask(self, *words):
        """A command of a session, and its answer."""
        self.tell(*words)
        return self.answer()

    def end(self):
        """End of its standard input; the exit status."""
        self._process.stdin.close()
        return self._process.wait(pace.scaled(5))

    def terminate(self):
        """SIGTERM; the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(pace.scaled(5))


def capabilities(cfg):
    """What it shows is what the bytes say."""
    miniport = ndis.ready(cfg)
    shown, text = _run(cfg, "capabilities"), ""
    for name, number in (("hardware", oid.HARDWARE_CAPABILITIES), ("current", oid.CURRENT_CONFIG)):
        found, text = miniport.query(number), json.dumps(shown[name])
        ktap.contains(text, str(found["SaOffloadCapacity"]), f"{name}'s capacity")
    plain = cfg.dut.cmd(TOOL, "-i", cfg.netif, "capabilities")
    ktap.contains(plain, str(found["SaOffloadCapacity"]), "text without --json")
    info = _run(cfg, "info")
    ktap.equal(info["capacity"], found["SaOffloadCapacity"], "capacity of info")


def session(cfg):
    """A session adds, updates, lists and deletes; its end deletes the rest."""
    flow, rest = esp.direct(), esp.direct(reqid=9).out
    ndis.ready(cfg).close()
    cfg.peer.ip(*flow.peer_states(), *flow.peer_policies())
    cfg.dut.ip(*flow.dut_policies())
    tool = Process(cfg, "session")
    ktap.check(tool.ask("encapsulation", "on")["ok"], "encapsulation")
    handles = []
    for sa, way in ((flow.out, "out"), (flow.in_, "in"), (rest, "out")):
        answer = tool.ask("add", *_words(cfg, sa, way))
        ktap.equal((answer["ok"], answer["status"]), (True, "NDIS_STATUS_SUCCESS"), "answer")
        handles.append(answer["handle"])
    esp.exercise(cfg, flow)
    listed = {one["handle"]: one for one in tool.ask("list")["sas"]}
    ktap.equal(set(listed), set(handles), "handles listed")
    ktap.equal([listed[one]["dir"] for one in handles], ["out", "in", "out"], "directions")
    ktap.equal({one["owner"] for one in _run(cfg, "list")["sas"]}, {"ndis"}, "owner for others")
    answer = tool.ask("update", handles[0], "--spi", f"{flow.out.spi:#x}", "--high", "7")
    ktap.equal((answer["ok"], answer["status"]), (False, "NDIS_STATUS_INVALID_PARAMETER"),
               "update of an SA without ESN")
    ktap.check(tool.ask("delete", handles[1], handles[0])["ok"], "deletion")
    ktap.equal([one["handle"] for one in tool.ask("list")["sas"]], handles[2:], "what is left")
    ktap.equal(tool.end(), 1, "exit status of a session with a refused command")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states after the session")


def add_stays(cfg):
    """`add` keeps its SA until it is terminated; other processes see it, and may delete it."""
    miniport, sas = ndis.ready(cfg), [esp.direct().out, esp.direct().out]
    first, second = (Process(cfg, "add", *_words(cfg, sa, "out")) for sa in sas)
    handles = [tool.answer()["handle"] for tool in (first, second)]
    ktap.equal({hex(one) for one in miniport.list()}, set(handles), "handles")
    ktap.equal(_run(cfg, "delete", handles[1])["status"], "NDIS_STATUS_SUCCESS", "deletion")
    ktap.equal({hex(one) for one in miniport.list()}, {handles[0]}, "handles after a deletion")
    ktap.equal((first.terminate(), second.terminate()), (0, 0), "exit statuses")
    ktap.equal(miniport.list(), {}, "what is left")


def add_list(cfg):
    """A list of SAs in a file, one of which cannot be: NULL for that one, success for all."""
    miniport = ndis.ready(cfg)
    good, bad = esp.direct().in_, esp.direct().in_
    path = Path(cfg.folder, "list")
    words = [" ".join(_words(cfg, sa, "in", single=False)) for sa in (good, bad)]
    path.write_text(f"# two SAs\n{words[0]}\n{words[1]} --udp transport-over-udp-tunnel\n",
                    encoding="ascii")
    tool = Process(cfg, "add", "--list", str(path), "--mode", "transport")
    answer = tool.answer()
    ktap.equal(answer["ok"], True, "answer")
    ktap.equal([bool(one) for one in answer["handles"]], [True, False], "handles")
    ktap.equal({hex(one) for one in miniport.list()}, {answer["handles"][0]}, "handles listed")
    tool.terminate()


def refused(cfg):
    """Exit statuses: 1 with the NIC's word, 2 for a wrong command line; no key in what is said."""
    ndis.ready(cfg)
    words = _words(cfg, esp.direct().out, "out")
    answer = _run(cfg, "add", *words, "--udp", "transport-over-udp-tunnel", status=1)
    ktap.equal(answer["status"], "NDIS_STATUS_NOT_SUPPORTED", "status")
    key = "0123456789abcdef" * 2 + "00112233"
    for wrong in (["add", "--dir", "out"], ["nothing"], ["delete"],
                  ["restart", "--ndis", "6.45"], ["keyword", "nothing"],
                  ["keyword", "*IPsecOffloadV2", "7"], ["add", *words[:-1], "5000"],
                  ["add", *words[:-2], "--enc-key", key + "zz"]):
        text = _run(cfg, *wrong, status=2)
        ktap.check(text and key not in text, f"what it says: {text}")
    result = cfg.dut.run(TOOL, "-i", "nothing0", "list")
    ktap.equal(result.returncode, 1, "exit status without such an interface")
    result = cfg.dut.run(TOOL, "-i", "lo", "list")
    ktap.equal(result.returncode, 1, "exit status with another interface")


def session_survives(cfg):
    """What a session does not take is a failed command, not its end; help is not even that."""
    miniport, sa = ndis.ready(cfg), esp.direct().out
    tool = Process(cfg, "session")
    ktap.contains(tool.ask("help")["help"], "capabilities", "help")
    ktap.contains(tool.ask("add", "--help")["help"], "--window", "help for a command")
    words = _words(cfg, sa, "out")
    ktap.check(tool.ask("add", *words)["ok"], "addition")
    for line in ("add --list -", "raw 1 -", " ".join(["add", *words[:-7], "-"])):
        answer = tool.ask(line)
        ktap.check(not answer["ok"], line)
        ktap.contains(answer["error"], "standard input has another use", line)
    tool.tell_bytes(b"list \xff")
    ktap.contains(tool.answer()["error"], "UTF-8", "a line that is not text")
    half = sa.key.hex()[:8]
    for line in (f"add --enc-key {half} {half}", f"raw 1 {half} {half}"):
        error = tool.ask(line)["error"]
        ktap.check(half not in error, f"a part of a key in {error}")
    ktap.contains(tool.ask("keyword", "nothing")["error"], "DisableTaskOffload", "keywords")
    ktap.equal(len(tool.ask("list")["sas"]), 1, "SAs after all that")
    ktap.equal(len(miniport.list()), 1, "SAs of the NIC after all that")
    ktap.equal(tool.end(), 1, "exit status of a session with failed commands")
    tool = Process(cfg, "session")
    tool.ask("help")
    ktap.equal(tool.end(), 0, "exit status of a session that was asked for help")


def ends(cfg):
    """SIGTERM ends a wait for standard input; a pipe without a reader ends the tool quietly."""
    tool = Process(cfg, "raw", "1", "-")
    tool.sleeps("pipe_read", "standard input")
    ktap.equal(tool.terminate(), -signal.SIGTERM, "exit status while it reads")
    ndis.ready(cfg)
    for words in (["list"], ["--json", "list"], ["info"]):
        reader, writer = os.pipe()
        os.close(reader)
        with cfg.dut, os.fdopen(writer, "w") as out:
            result = subprocess.run([TOOL, "-i", cfg.netif, *words], stdout=out, check=False,
                                    stderr=subprocess.PIPE, text=True, timeout=pace.scaled(10))
        ktap.equal((result.returncode, result.stderr), (-signal.SIGPIPE, ""), f"end of {words}")


def raw(cfg):
    """Any bytes to any OID; behind the handle of an addition nothing is shown."""
    miniport, sa = ndis.ready(cfg), esp.direct().out
    answer = _run(cfg, "raw", f"{oid.CURRENT_CONFIG:#x}", "--query", "--normal", "--length", "256")
    wanted = miniport.request(oid.CURRENT_CONFIG, bytes(256), path=ndis.NORMAL, kind=ndis.QUERY)
    ktap.equal(answer["buffer"], wanted.buffer.hex(), "buffer")
    result = cfg.dut.run(TOOL, "-i", cfg.netif, "--json", "raw", f"{oid.ADD_SA_EX:#x}",
                         bytes(oid.add_sa_ex(sa, False)).hex(), "--mode", "transport")
    ktap.equal(result.returncode, 0, "exit status")
    ktap.check(sa.key.hex() not in result.stdout, "the key was shown")
    ktap.equal(cfg.dut.cmd("ip", "xfrm", "state"), "", "states when the process has ended")
    result = cfg.dut.run(TOOL, "-i", cfg.netif, "--json", "raw", "0xfc010202", sa.key.hex())
    ktap.equal(json.loads(result.stdout)["buffer"], "", "buffer of an addition of version 1")
    answer = _run(cfg, "raw", "0xfc0302ff", status=1)
    ktap.equal(answer["status"], "NDIS_STATUS_INVALID_OID", "status of an unknown OID")


def one_version(cfg):
    """IPv4 and IPv6 are switched apart; what is not switched on has zeros."""
    miniport = ndis.ready(cfg)
    ktap.defer(miniport.enable)
    _run(cfg, "encapsulation", "--ipv6", "off")
    found = _run(cfg, "encapsulation")
    ktap.equal((found["ipv4"]["enabled"], found["ipv4"]["header_size"], found["ipv6"]["enabled"]),
               ("NDIS_OFFLOAD_SET_ON", 14, "NDIS_OFFLOAD_SET_OFF"), "encapsulation")
    _run(cfg, "encapsulation", "keep", "--ipv6", "on")
    ktap.equal(_run(cfg, "encapsulation")["ipv6"]["enabled"], "NDIS_OFFLOAD_SET_ON", "IPv6")


def _members(answer):
    """Members of IPsecV2 by name. The capacity is the NIC's configuration."""
    members = answer["structures"][0]["members"]
    return {name: value for name, value in members.items()
            if name.startswith("IPsecV2.") and not name.endswith("Capacity")}


def without_nic(cfg):
    """The model that `check` asks offers what the NIC does, and refuses what the NIC refuses."""
    ndis.ready(cfg)
    query = ("raw", "HARDWARE_CAPABILITIES", "--query", "--normal", "--length", "256")
    real = _run(cfg, *query)
    buffer = real["buffer"][:2 * real["done"]]
    ktap.equal(_members(_run(cfg, "check", *query)), _members(_run(cfg, "decode", buffer)),
               "what the model offers")
    sa = esp.direct().out
    for more in (["--icv", "9"], ["--udp", "transport-over-udp-tunnel"], ["--esn", "--icv", "0"],
                 ["--udp", "tunnel", "--mode", "transport"]):
        words = ("add", *_words(cfg, sa, "out", single=False), *more)
        real, model = _run(cfg, *words, status=1), _run(cfg, "check", *words, status=1)
        ktap.equal(model["status"], real["status"], f"status of {more}")
        ktap.check(model["rules"], f"no rule for {more}")
    hidden = _run(cfg, "decode", _run(cfg, "encode", "add", *_words(cfg, sa, "out"))["buffer"])
    ktap.check(sa.key.hex() not in json.dumps(hidden), "the key was shown")


def listed(cfg):
    """The list for people says which SAs the NIC wants to be deleted."""
    control = cfg.need_request("sa-delete-request")
    miniport, flow = ndis.ready(cfg), esp.direct()
    ndis.protect(cfg, miniport, flow)
    ktap.check("asked" not in cfg.dut.cmd(TOOL, "-i", cfg.netif, "list"), "asked before")
    control.fault(cfg.nic, "sa-delete-request", 1)
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    ktap.contains(cfg.dut.cmd(TOOL, "-i", cfg.netif, "list"), "asked", "the list")


def follow(cfg):
    """Records as they come."""
    miniport, flow = ndis.ready(cfg), esp.direct()
    outbound, inbound = ndis.protect(cfg, miniport, flow)
    tool = Process(cfg, "follow", "--receive", "--send", "--count", "2")
    tool.bound()
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    records = {one["record"]: one for one in (tool.answer(), tool.answer())}
    ktap.equal(set(records), {"received", "sent"}, "kinds of records")
    ktap.equal((records["sent"]["handle"], records["received"]["handle"]),
               (hex(outbound), hex(inbound)), "handles")
    ktap.equal((records["received"]["crypto_done"], records["received"]["crypto_status"]),
               (True, 0), "CryptoDone and CryptoStatus")


def follow_kinds(cfg):
    """In a session, too, the kinds that are named are shown and counted, and no others."""
    miniport, flow = ndis.ready(cfg), esp.direct()
    ndis.protect(cfg, miniport, flow)
    tool = Process(cfg, "session")
    tool.ask("info")
    for kind, shown in (("receive", "received"), ("send", "sent")):
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 3)
        tool.tell("follow", f"--{kind}", "--count", "3")
        ktap.equal([tool.answer()["record"] for _ in range(3)], [shown] * 3, f"--{kind}")
        ktap.equal(tool.ask("info")["lost"], 0, "the answer after three records")
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    tool.tell("follow", "--indications", "--answer", "--time", "0.2")
    ktap.equal(tool.ask("info").get("removed"), False, "the answer after no record")
    ktap.equal(tool.end(), 0, "exit status")


def follow_lost(cfg):
    """Records that were lost after the last one are reported at the end."""
    miniport, flow = ndis.ready(cfg), esp.direct()
    ndis.protect(cfg, miniport, flow)
    tool = Process(cfg, "session")
    tool.ask("info")

    def lost():
        return tool.ask("info")["lost"]

    with traffic.Stream(cfg.peer, flow.peer, cfg.dut, flow.dut, b"espnic"):
        proc.wait_until(lambda: lost() >= 100, "the ring is full", timeout=30)
    tool.tell("follow", "--time", "0.5", "--indications")
    last = tool.answer()
    ktap.equal((last["record"], last["lost"]), ("lost", lost()), "what is told at the end")
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    tool.tell("follow", "--count", "1")
    ktap.equal(tool.answer()["lost"], 0, "lost before a record, told before")
    ktap.equal(tool.end(), 0, "exit status")


def answered(cfg):
    """The NIC asks for the deletion of an SA: the tool deletes it, then its counterpart."""
    ktap.rules("R86", "R87", "R88")
    control = cfg.need_request("sa-delete-request")
    miniport, flow, other = ndis.ready(cfg), esp.direct(), esp.direct()
    kept = [miniport.add(sa, inbound) for sa, inbound in ((other.out, False), (other.in_, True))]
    flow = esp.direct(reqid=7)
    outbound, inbound = ndis.protect(cfg, miniport, flow)
    tool = Process(cfg, "follow", "--receive", "--answer")
    tool.bound()
    esp.exercise(cfg, flow, sizes=[56], stream=1024)
    control.fault(cfg.nic, "sa-delete-request", 1)
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    proc.wait_until(lambda: set(miniport.list()) == set(kept), "both SAs are deleted")
    answers = []
    while len(answers) < 2:
        one = tool.answer()
        if one["record"] == "answer":
            answers.append((one["dir"], one["handle"], one["status"]))
    ktap.equal(answers, [("in", hex(inbound), "NDIS_STATUS_SUCCESS"),
                         ("out", hex(outbound), "NDIS_STATUS_SUCCESS")], "the two requests")
    ktap.equal(tool.terminate(), 0, "exit status")


def room_is_made(cfg):
    """The NIC's table is full, and asks for the least recently used SA: the tool deletes the pair,
    inbound first, and there is room for another SA."""
    ktap.rules("R86", "R87", "R88")
    control = cfg.need_request("delete-above")
    miniport = ndis.ready(cfg)
    flows = [esp.direct(reqid=1), esp.inner4(reqid=2), esp.inner6(reqid=3)]
    pairs = [ndis.protect(cfg, miniport, flow) for flow in flows]

    def use(number):
        traffic.ping(cfg.dut, flows[number].dut_inner, flows[number].peer_inner)

    for number in (1, 2, 0):
        use(number)
    control.fault(cfg.nic, "sa-limit", len(flows))
    ktap.defer(control.request, "delete-above", cfg.nic, "none")
    control.request("delete-above", cfg.nic, len(flows) - 1)
    another = esp.direct(reqid=9).in_
    miniport.expect("RESOURCES", oid.ADD_SA_EX, oid.add_sa_ex(another, True),
                    **miniport.envelope(another, True))
    tool = Process(cfg, "follow", "--indications", "--answer")
    tool.bound()
    for number in (0, 2):
        use(number)
    ktap.equal(len(miniport.list()), 2 * len(flows), "SAs after packets of others")
    use(1)
    outbound, inbound = pairs[1]
    ktap.equal([(one["record"], one["dir"], one["handle"], one["ok"])
                for one in (tool.answer(), tool.answer())],
               [("answer", "in", hex(inbound), True), ("answer", "out", hex(outbound), True)],
               "the two requests")
    ktap.equal(set(miniport.list()), {*pairs[0], *pairs[2]}, "SAs that are left")
    added = miniport.add(another, True)
    miniport.delete(added)
    ktap.equal(tool.terminate(), 0, "exit status")


def parameters(cfg):
    """Checksums and large sends are switched by words, and shown."""
    ndis.fresh(cfg).close()
    names = ("checksum_ipv4_send", "lso_v2_ipv4", "lso_v2_ipv6")

    def shown():
        current = _run(cfg, "capabilities", "current")["current"]
        return [bool(current[name]) for name in names]

    ktap.equal(shown(), [True, True, True], "before")
    _run(cfg, "parameters", "--lso-ipv4", "off")
    ktap.equal(shown(), [True, False, True], "without large sends over IPv4")
    _run(cfg, "parameters", "--checksums", "off", "--checksum-ipv4", "keep")
    ktap.equal(shown()[1:], [False, False], "large sends without checksums")
    answer = _run(cfg, "parameters", "--checksum-tcp-ipv4", "both", status=1)
    ktap.equal(answer["status"], "NDIS_STATUS_INVALID_DATA", "one checksum alone")
    _run(cfg, "parameters", "--checksums", "both", "--lso", "on")
    ktap.equal(shown(), [True, True, True], "everything on again")
    plain = cfg.dut.cmd(TOOL, "-i", cfg.netif, "capabilities")
    for name in names:
        ktap.contains(plain, name, "text without --json")


def nic_leaves(cfg):
    """The NIC leaves before its request for a deletion is answered: a failure, and the end is
    told."""
    control = cfg.need_request("sa-delete-request")
    miniport, flow = ndis.ready(cfg), esp.direct()
    ndis.protect(cfg, miniport, flow)
    tool = Process(cfg, "session")
    tool.ask("info")
    control.fault(cfg.nic, "sa-delete-request", 1)
    traffic.ping(cfg.dut, flow.dut, flow.peer)
    with cfg.driver_away():
        tool.tell("follow", "--receive", "--answer")
        seen = [tool.answer()]
        while seen[-1]["record"] != "removed":
            seen.append(tool.answer())
    kinds = [one["record"] for one in seen]
    ktap.equal(set(kinds), {"received", "answer", "removed"}, "records")
    ktap.equal([one["ok"] for one in seen if one["record"] == "answer"], [False], "the answer")
    ktap.equal(tool.end(), 1, "exit status")


def keywords(cfg):
    """Keywords, a restart, and what holds then."""
    miniport = ndis.ready(cfg)
    ktap.defer(miniport.enable)
    ktap.defer(miniport.restart)
    ktap.defer(miniport.set_keyword, ndis.IPSEC_V2, None)
    ktap.equal(_run(cfg, "keyword", "*IPsecOffloadV2", "0")["keywords"], {"*IPsecOffloadV2": 0},
               "keyword")
    ktap.equal(miniport.keyword(ndis.IPSEC_V2), 0, "keyword by ioctl")
    _run(cfg, "restart")
    ktap.equal(miniport.query(oid.CURRENT_CONFIG)["Esp"], 0, "Esp after the restart")
    answer = _run(cfg, "parameters", "--ipsec", "both")
    ktap.equal(answer["indications"], ["NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG"], "indications")
    ktap.equal(miniport.keyword(ndis.IPSEC_V2), 3, "keyword after the set")
    ktap.equal(miniport.query(oid.CURRENT_CONFIG)["Esp"], 1, "Esp after the set")


CASES = [capabilities, session, session_survives, add_stays, add_list, refused, ends, raw,
         one_version, without_nic, listed, follow, follow_kinds, follow_lost, answered,
         room_is_made, nic_leaves, keywords, parameters]


def _setup():
    ndis.need()
    proc.need(TOOL)
    cfg = env.Setup(tap=True).need_offload()
    folder = tempfile.TemporaryDirectory(prefix="espnic-")
    ktap.defer(folder.cleanup)
    cfg.folder = folder.name
    return cfg


if __name__ == "__main__":
    ktap.main(CASES, _setup)
