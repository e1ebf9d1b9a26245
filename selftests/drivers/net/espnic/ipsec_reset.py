#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The NIC asks for a reset while SAs are in use, and its table of SAs is full.

After a reset every SA must be in the NIC again and traffic go on, without an IV that was used
before. An SA for which there is no room must be refused, not silently left to software.
"""

import contextlib
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lib"))
from ksft import algo, env, esp, ktap, netif, proc, traffic, xfrm  # noqa: E402

ROUNDS = 4
OTHERS, FEW = 20, 6
LIMIT = 10
RESET_TIME = 10.0
PAUSES = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
LATE_MS, COLLECT_MS = 30, 4000
TABLE = 5000
STORM, STORM_STEPS, STORM_STEP, STORM_TIME = 120, 20, 0.003, 30.0


def _reset(cfg, wait=True):
    """Have the NIC ask for a reset, and wait until traffic can go on."""
    before = cfg.resets()
    cfg.need_request("reset").request("reset", cfg.nic)
    if wait:
        proc.wait_until(lambda: cfg.resets() > before, "the driver resets the NIC", RESET_TIME)


def _start(cfg, *flows):
    cfg.need_request("reset")
    for flow in flows:
        esp.protect(cfg, flow)


def _works(cfg, flow, count=5):
    watch = cfg.watch()
    traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * count)
    watch.stop().prove_offload(count)


def all_sas_come_back(cfg):
    """SAs of several kinds, and unused ones, are in the NIC again and work."""
    ktap.rules("R144")
    flows = [xfrm.Flow(env.DUT4, env.PEER4, reqid=1),
             xfrm.Flow(env.DUT6, env.PEER6, reqid=2, algorithm=algo.cbc(256, "sha384")),
             esp.inner4(reqid=3, algorithm=algo.CHACHA)]
    _start(cfg, *flows)
    others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(OTHERS)]
    cfg.dut.ip(*[line for other in others for line in other.dut_states(cfg.netif)])
    count = 2 * (len(flows) + OTHERS)
    esp.expect_live(cfg, count, "before the reset")
    for _ in range(2):
        _reset(cfg)
        esp.expect_live(cfg, count, "after the reset")
        watch = cfg.watch()
        for flow in flows:
            traffic.ping(cfg.dut, flow.dut_inner, flow.peer_inner, [56] * 5)
        watch.stop().prove_offload(5 * len(flows))
    xfrm.flush(cfg.dut)
    esp.expect_live(cfg, 0, "after a flush")


def under_traffic(cfg):
    """Resets while TCP and datagrams flow: the TCP stream is whole, no IV comes twice, nothing
    goes out in clear, and only packets may be lost that were in the NIC at that moment."""
    ktap.rules("R144")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    watch = cfg.watch()
    before = cfg.resets()
    with traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4) as out, \
            traffic.Stream(cfg.peer, env.PEER4, cfg.dut, env.DUT4) as back:
        for _ in range(ROUNDS):
            _reset(cfg)
            for stream in (out, back):
                stream.advance(20)
        traffic.tcp(cfg.dut, env.DUT4, cfg.peer, env.PEER4, 256 * 1024)
    ktap.at_least(cfg.resets() - before, ROUNDS, "resets")
    watch.stop().prove_no_plaintext()
    sent = watch.esp(cfg.netif_mac)
    esp.unique(sent)
    ktap.equal(watch.dut_errors, {}, "XFRM errors of the side under test")
    ktap.equal(watch.peer_errors, {}, "XFRM errors of the peer")
    esp.expect_live(cfg, 2, "after the resets")
    _works(cfg, flow)


def same_key(cfg):
    """Reset, software, and installing the key again, in turns: no IV comes twice under it."""
    ktap.rules("R144")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    watch = cfg.watch()
    for _ in range(3):
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 20)
        _reset(cfg)
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 20)
        cfg.feature("esp-hw-offload", "off")
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 20)
        cfg.feature("esp-hw-offload", "on")
        cfg.dut.ip(flow.out.delete(), flow.out.add(xfrm.offload(cfg.netif, "out")))
        cfg.peer.ip(flow.out.delete(), flow.out.add(xfrm.WINDOW))
    watch.stop().prove_no_errors()
    sent = watch.esp(cfg.netif_mac)
    ktap.at_least(len(sent), 180, "ESP packets sent")
    esp.unique(sent, "iv")


def extended_numbers(cfg):
    """An ESN SA far from zero comes back with the numbers that it had."""
    ktap.rules("R144")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    cfg.need_request("reset")
    start = (5 << 32) - 10
    esp.protect_esn(cfg, flow, 64, start, start)
    for _ in range(3):
        _works(cfg, flow)
        _reset(cfg)
    _works(cfg, flow)
    ktap.equal(xfrm.numbers(cfg.dut, flow.in_).seq >> 32, 5, "high half of the number received")


def in_a_storm(cfg):
    """The NIC asks again and again, faster than a reset takes: the driver does not give up."""
    ktap.rules("R144")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    before = cfg.resets()
    with traffic.Stream(cfg.dut, env.DUT4, cfg.peer, env.PEER4):
        for number in range(STORM):
            _reset(cfg, wait=False)
            time.sleep(number % STORM_STEPS * STORM_STEP)
    proc.wait_until(lambda: cfg.resets() > before and traffic.reachable(
        cfg.dut, env.DUT4, env.PEER4), "traffic after the storm", STORM_TIME)
    time.sleep(env.SETTLE)
    esp.expect_live(cfg, 2, "after the storm")
    _works(cfg, flow)


def not_taken_back(cfg):
    """There is no room for an SA after a reset: software does its work, as long as it takes."""
    control = cfg.need_request("sa-limit")
    flows = [xfrm.Flow(env.DUT4, env.PEER4), xfrm.Flow(env.DUT6, env.PEER6, reqid=2)]
    _start(cfg, *flows)
    before = cfg.driver_counters()
    control.fault(cfg.nic, "sa-limit", 1)
    _reset(cfg)
    after = cfg.driver_counters()
    name = "ipsec_sa_left_to_software"
    ktap.equal(after[name] - before[name], 2, name)
    esp.expect_live(cfg, 2, "with room for one in each direction")
    watch = cfg.watch()
    for flow in flows:
        traffic.ping(cfg.dut, flow.dut, flow.peer, [56] * 5)
        traffic.tcp(cfg.dut, flow.dut, cfg.peer, flow.peer)
    watch.stop().prove_no_errors()
    for packets in (watch.esp(cfg.netif_mac), watch.esp(cfg.peer_mac)):
        ktap.equal(len({packet.spi for packet in packets}), 2, "SAs on the wire")
    control.request("fault", cfg.nic, "clear")
    _reset(cfg)
    esp.expect_live(cfg, 4, "with room for all again")
    for flow in flows:
        _works(cfg, flow)


def _up_again(cfg):
    """Take the interface up as soon as that is possible: not while a reset has it detached."""
    def up():
        try:
            cfg.configure()
        except proc.CmdError as error:
            ktap.contains(error.stderr, "No such device", "message while NETIF is detached")
            return False
        return True

    proc.wait_until(up, f"{cfg.netif} can be taken up", RESET_TIME)


def link_down_meanwhile(cfg):
    """Link down while the NIC is being reset, and up again."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    ktap.defer(cfg.configure)
    for pause in (0, 0.005, 0.02):
        _reset(cfg, wait=False)
        time.sleep(pause)
        cfg.dut.ip(f"link set {cfg.netif} down")
        _up_again(cfg)
        time.sleep(env.SETTLE)
        xfrm.flush(cfg.dut, cfg.peer)
        esp.expect_live(cfg, 0, "after link down")
        flow = xfrm.Flow(env.DUT4, env.PEER4)
        flow.install(cfg.dut, cfg.peer, cfg.netif)
        _works(cfg, flow)


def add_and_delete_meanwhile(cfg):
    """SAs come and go during resets: each add works or says why not, and the NIC ends with
    exactly those that the kernel shows."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    refused = 0
    for _ in range(ROUNDS):
        others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(FEW)]
        _reset(cfg, wait=False)
        for other in others:
            for sa, line in zip((other.out, other.in_), other.dut_states(cfg.netif), strict=True):
                result = cfg.dut.run("ip", *line.replace("'", "").split())
                if result.returncode:
                    ktap.contains(result.stderr, "reset", "message during a reset")
                    refused += 1
                else:
                    cfg.dut.ip(sa.delete())
    ktap.diag(f"{refused} SAs refused during resets")
    proc.wait_until(lambda: xfrm.count(cfg.dut) == 2, "2 SAs")
    esp.expect_live(cfg, 2, "after the resets")
    _works(cfg, flow)


def driver_unbound_meanwhile(cfg):
    """The driver is unbound right after the NIC asked for a reset."""
    _start(cfg, xfrm.Flow(env.DUT4, env.PEER4))
    _reset(cfg, wait=False)
    with cfg.driver_away():
        pass
    xfrm.flush(cfg.dut, cfg.peer)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    flow.install(cfg.dut, cfg.peer, cfg.netif)
    _works(cfg, flow)


@contextlib.contextmanager
def _others_come_and_go(cfg):
    """SAs are added and deleted all the time, as far as resets allow it."""
    end, wrong = threading.Event(), []

    def churn():
        while not end.is_set():
            other = xfrm.Flow(env.DUT4, env.PEER4, reqid=9)
            result = cfg.dut.run("ip", *other.out.add(xfrm.offload(cfg.netif, "out")).split())
            if not result.returncode:
                cfg.dut.ip(other.out.delete())
            elif "reset" not in result.stderr and "did not answer" not in result.stderr:
                wrong.append(result.stderr)

    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    ktap.equal(wrong, [], "messages for SAs that were not added")


def function_reset_meanwhile(cfg):
    """The NIC asks for a reset while its PCI function is reset, SAs come and go, and answers are
    late. Neither reset disturbs the other, and late answers do no harm afterwards."""
    flow, control = xfrm.Flow(env.DUT4, env.PEER4), cfg.need_request("misbehave", "reset")
    path = netif.reset_file(cfg.device)
    if not path:
        raise ktap.Skip("the NIC's PCI function cannot be reset alone")
    _start(cfg, flow)
    for pause in PAUSES:
        control.fault(cfg.nic, "misbehave", "ctrl", "late", LATE_MS, 1000)
        with _others_come_and_go(cfg):
            _reset(cfg, wait=False)
            time.sleep(pause)
            proc.write_file(path, "1")
        proc.wait_until(lambda: cfg.resets() >= 0 and traffic.reachable(
            cfg.dut, env.DUT4, env.PEER4), "traffic after both resets", RESET_TIME)
        other = xfrm.Flow(env.DUT4, env.PEER4, reqid=9)
        cfg.dut.ip(other.out.add(xfrm.offload(cfg.netif, "out")), other.out.delete())
        control.request("fault", cfg.nic, "clear")
        esp.expect_live(cfg, 2, "after both resets", RESET_TIME)
        _works(cfg, flow)


def driver_unbound_again_and_again(cfg):
    """The same at many moments of a reset. Each time the stock driver has the NIC, whose link
    changes meanwhile, before ours has it again."""
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    _start(cfg, flow)
    control = cfg.need_request("link")
    ktap.defer(control.request, "link", cfg.nic, "up")
    for pause in PAUSES:
        _reset(cfg, wait=False)
        time.sleep(pause)
        with cfg.driver_away():
            ktap.equal(netif.status(cfg.device), netif.ACKNOWLEDGE, "status of the device")
            control.request("link", cfg.nic, "down")
            netif.bind(cfg.device, "virtio_net", cfg.netif)
            control.request("link", cfg.nic, "up")
            netif.unbind(cfg.device)
        xfrm.flush(cfg.dut, cfg.peer)
        flow = xfrm.Flow(env.DUT4, env.PEER4)
        flow.install(cfg.dut, cfg.peer, cfg.netif)
        _works(cfg, flow)


def _add(cfg, flows):
    """Add the outbound SAs of these flows; how many there are then, and what `ip` said."""
    lines = [flow.out.add(xfrm.offload(cfg.netif, "out")) for flow in flows]
    with cfg.dut:
        result = proc.run("ip", "-force", "-batch", "-", stdin="\n".join(lines) + "\n", timeout=300)
    return xfrm.count(cfg.dut), result.stderr


def answers_missing(cfg):
    """The NIC does not answer the commands that destroy all SAs of a full table, of which far more
    wait than the control queue has room for. After a reset there is room for as many as before."""
    control = cfg.need_request("misbehave", "reset")
    cfg.need_request("never")
    ktap.defer(xfrm.flush, cfg.dut)
    xfrm.flush(cfg.dut)
    flows = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(TABLE)]
    most, said = _add(cfg, flows)
    if not said:
        raise ktap.Skip(f"the NIC has room for {TABLE} SAs and more")
    ktap.contains(said, "full", "message for an SA too many")
    before = cfg.driver_counters()["ipsec_control_errors"]
    # While the stack waits for this answer, it collects all other dead states.
    made = cfg.made("ctrl late")
    control.fault(cfg.nic, "misbehave", "ctrl", "late", COLLECT_MS, 1)
    cfg.dut.ip(flows[0].out.delete())
    proc.wait_until(lambda: cfg.made("ctrl late") > made, "the answer is late", 10)
    control.fault(cfg.nic, "misbehave", "ctrl", "never", 2 * TABLE)
    xfrm.flush(cfg.dut)
    proc.wait_until(lambda: cfg.driver_counters()["ipsec_control_errors"] - before == most - 1,
                    "no SA is known to be destroyed", 60)
    ktap.equal(_add(cfg, flows[:1])[0], 0, "SAs that fit before the reset")
    control.request("fault", cfg.nic, "clear")
    _reset(cfg)
    ktap.equal(_add(cfg, flows)[0], most, "SAs that fit after the reset")


def table_limit(cfg):
    """The NIC takes exactly as many SAs as it has room for; the next is refused with the reason
    and does not exist, not even in software; when one goes there is room again."""
    control = cfg.need_request("sa-limit")
    esp.expect_live(cfg, 0, "SAs of earlier cases go", 30)
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    control.fault(cfg.nic, "sa-limit", LIMIT)
    others = [xfrm.Flow(env.DUT4, env.PEER4, reqid=9) for _ in range(LIMIT)]
    results = [(other.out, cfg.dut.run("ip", *other.out.add(
        xfrm.offload(cfg.netif, "out")).split())) for other in others]
    added = [sa for sa, result in results if result.returncode == 0]
    refused = [(sa, result) for sa, result in results if result.returncode]
    ktap.diag(f"{len(added)} added, {len(refused)} refused")
    ktap.check(added and refused, "the limit has no effect")
    for sa, result in refused:
        ktap.contains(result.stderr, "full", "message for an SA too many")
        ktap.check(xfrm.state_text(cfg.dut, sa) is None, "a refused SA exists")
    ktap.equal(len(added) + 1, LIMIT, "outbound SAs that fit")
    _works(cfg, flow)
    cfg.dut.ip(added[0].delete())
    esp.expect_live(cfg, len(added) + 1, "after a deletion")
    cfg.dut.ip(refused[0][0].add(xfrm.offload(cfg.netif, "out")))
    ktap.contains(xfrm.state_text(cfg.dut, refused[0][0]), "crypto offload parameters", "new SA")


def algorithm_refused(cfg):
    """An algorithm that the NIC refuses when asked: a clear error, and others still work."""
    control = cfg.need_request("refuse-algorithm")
    flow = xfrm.Flow(env.DUT4, env.PEER4)
    esp.protect(cfg, flow)
    control.fault(cfg.nic, "refuse-algorithm", "aes-gcm")
    other = xfrm.Flow(env.DUT4, env.PEER4, reqid=9)
    result = cfg.dut.run("ip", *other.out.add(xfrm.offload(cfg.netif, "out")).split())
    ktap.check(result.returncode, "an SA was accepted that the NIC refused")
    ktap.contains(result.stderr, "refused", "message")
    ktap.check(xfrm.state_text(cfg.dut, other.out) is None, "a refused SA exists")
    _works(cfg, flow)
    control.request("fault", cfg.nic, "refuse-algorithm", "none")
    cfg.dut.ip(other.out.add(xfrm.offload(cfg.netif, "out")))


CASES = [all_sas_come_back, under_traffic, same_key, extended_numbers, in_a_storm,
         not_taken_back, link_down_meanwhile, add_and_delete_meanwhile, function_reset_meanwhile,
         driver_unbound_meanwhile, driver_unbound_again_and_again, answers_missing,
         table_limit, algorithm_refused]

if __name__ == "__main__":
    ktap.main(CASES, lambda: env.Setup(tap=True).need_offload())
