# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tests of network drivers, as a group of tools/run-tests.

They run once with the driver of this project and, as a control, once with stock virtio_net on the
same NIC.  tools/upstream-expected says which of them need not pass, and why.
"""

import dataclasses
import fnmatch
import itertools
import json
import os
import pathlib

from cachelib import TOOLS, ToolError
from kernellib import store, upstream
from vmlib import emulator, trouble

from . import groups, shares
from .report import FAIL, PASS, SKIP, Result

GROUP = "upstream"
LIST = TOOLS / "upstream-expected"
DRIVERS = ("espnic", "virtio_net")
# Programs of tools/testing/selftests/drivers/net, and the seconds that each may take.
PROGRAMS = {
    "ping.py": 150, "queues.py": 60, "stats.py": 60, "ring_reconfig.py": 60, "napi_id.py": 60,
    "napi_threaded.py": 60, "xdp.py": 600,
    "hw/csum.py": 120, "hw/tso.py": 180, "hw/uso.py": 60, "hw/irq.py": 60, "hw/rss_api.py": 60,
    "hw/rss_ctx.py": 240, "hw/rss_drv.py": 60, "hw/rss_flow_label.py": 60,
    "hw/rss_input_xfrm.py": 60, "hw/toeplitz.py": 120, "hw/pp_alloc_fail.py": 60,
    "hw/ipsec_vxlan.py": 150, "hw/gro_hw.py": 60,
}
KINDS = ("skip", "either", "fail", "omit")
BOTH = "both"
NICS = ("name=n0,mac=02:00:00:00:00:10,mtu=9000,queues=4,ipsec=on,port=wire:w0",
        "name=n1,mac=02:00:00:00:00:11,mtu=9000,queues=4,ipsec=off,guest-csum=off,"
        "port=wire:w0")  # the remote end looks at checksums as a cable would carry them
CPUS = 4  # the tests of RSS want as many queues, and drivers take one for each CPU
GUEST_SECONDS = 1500
STARTS = 3  # the programs have the kernel patch its own code, see vmlib/emulator.py
MOST_AGAIN = 3  # programs that may fail the first time, by chance


@dataclasses.dataclass(frozen=True)
class Rule:
    """A line of the list: what PATTERN (PROGRAM or PROGRAM/CASE) does with a driver, and why."""

    kind: str
    driver: str
    pattern: str
    reason: str
    where: str

    @property
    def program(self):
        """The program that it is about."""
        return next((name for name in PROGRAMS if f"{self.pattern}/".startswith(f"{name}/")), None)

    @property
    def case(self):
        """The case, or "" for the whole program."""
        return self.pattern.removeprefix(self.program).removeprefix("/")

    def covers(self, name):
        """Whether it is about the result NAME, which has the driver in front."""
        driver, _, rest = name.partition("/")
        return self.driver in (driver, BOTH) and fnmatch.fnmatchcase(rest, self.pattern)


def read(path):
    """The rules of the list; a line that is not understood is an error."""
    rules = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split(None, 3)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 4 or words[0] not in KINDS or words[1] not in (*DRIVERS, BOTH):
            raise ToolError(f"{path.name}:{number}: not '{'|'.join(KINDS)} DRIVER PATTERN REASON'")
        rule = Rule(*words, f"{path.name}:{number}")
        if not rule.program:
            raise ToolError(f"{rule.where}: {rule.pattern}: no such program")
        rules.append(rule)
    return rules


def plan(driver, rules, only=()):
    """What the guest shall run with a driver: programs without the cases that are left out."""
    left_out = [rule for rule in rules if rule.kind == "omit" and rule.driver in (driver, BOTH)]
    whole = {rule.program for rule in left_out if not rule.case}
    programs = [{"name": name, "seconds": seconds,
                 "omit": [rule.case for rule in left_out if rule.program == name]}
                for name, seconds in PROGRAMS.items()
                if name not in whole and (not only or name in only)]
    return {"driver": driver, "programs": programs}


def _judge(result, rule):
    """One result in the light of the rule about it, if there is one."""
    if rule is None:
        if result.outcome != SKIP:
            return result
        return Result(result.name, FAIL, f"skipped, and {LIST.name} does not say why it may be: "
                                         f"{result.detail}")
    wanted = {"skip": SKIP, "either": SKIP, "fail": FAIL}.get(rule.kind)
    if rule.kind == "either" and result.outcome == PASS:
        return result
    if result.outcome == wanted:
        why = f"fails as expected: {rule.reason}" if wanted == FAIL else \
            f"{rule.reason} ({result.detail})"
        return Result(result.name, SKIP, why, known=True)
    if result.outcome == PASS:
        return Result(result.name, FAIL, f"passes, though {rule.where} expects another result "
                                         f"({rule.kind}): take it from the list")
    return Result(result.name, FAIL, f"{rule.where} expects another result ({rule.kind})\n"
                                     f"{result.detail}")


def judge(results, driver, rules, programs):
    """Pass results on as the rules say; add what is left out, and rules that nothing fits."""
    rules = [rule for rule in rules if rule.driver in (driver, BOTH) and rule.program in programs]
    used = set()
    for result in results:
        rule = next((one for one in rules if one.covers(result.name)), None)
        used.add(rule)
        yield _judge(result, rule)
    for rule in rules:
        if rule.kind == "omit":
            yield Result(f"{driver}/{rule.pattern}", SKIP, f"left out: {rule.reason}", known=True)
        elif rule not in used:
            yield Result(f"{driver}/{rule.pattern}", FAIL,
                         f"{rule.where}: no test of this name has run: take it from the list")


def command(driver, folder, tests, jobs):
    """The command that boots a VM with a driver and runs the plan in the file JOBS."""
    nics = [word for spec in NICS for word in ("--nic", spec)]
    stock = ["--no-module"] if driver != DRIVERS[0] else []
    return [str(TOOLS / "vm"), *stock, *nics, "--cpus", str(CPUS), "--run-dir", str(folder),
            "--timeout", str(GUEST_SECONDS), "--copy", f"{tests}:upstream",
            "--copy", str(TOOLS / "guest/upstream-tests"), "--copy", f"{jobs}:plan",
            "--", "/espnic/upstream-tests", "/espnic/plan"]


def quiet(folder, driver):
    """Whether the kernel had nothing to complain of: what a test provokes may not hide it."""
    found = []
    for path in filter(pathlib.Path.exists, (folder / "kernel.log", folder / "dmesg.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = found or trouble.reports(lines)
    return Result(f"{driver}/the kernel does not complain", FAIL if found else PASS,
                  "\n".join(line for report in found for line in report))


def _of_program(result):
    """The program that a result of a driver is about, or None."""
    name = result.name.partition("/")[2]
    return next((one for one in PROGRAMS if f"{name}/".startswith(f"{one}/")), None)


def twice(run, programs):
    """Results of RUN(programs); what fails runs once more, by itself, and that result counts.

    Many programs that fail are no chance, and a failure that belongs to no program (the guest has
    crashed) is none either.
    """
    failed = {}
    for result in run(programs):
        if result.outcome == FAIL and _of_program(result):
            failed[result.name] = result
        else:
            yield result
    again = {_of_program(result) for result in failed.values()}
    if len(again) > MOST_AGAIN:
        yield from failed.values()
        return
    for result in failed.values():
        print(f"# {result.name} failed and runs again", flush=True)
        print("\n".join(f"#   {line}" for line in result.detail.splitlines()), flush=True)
    for result in run(again) if again else ():
        if failed.pop(result.name, None) or result.outcome == FAIL:
            yield result
    yield from failed.values()


def _driver(driver, log, tests, rules, only):
    """Results of the kernel's tests with one driver; there is a guest for each run. They come at
    its end, the names of the programs before."""
    numbers = itertools.count(1)

    def start(programs):
        name = f"{GROUP}-{driver}" + (f"-{number}" if (number := next(numbers)) > 1 else "")
        jobs, folder = log.parent / f"{name}.json", log.parent / name
        todo = plan(driver, rules, programs)
        jobs.write_text(json.dumps(todo, indent=1) + "\n", encoding="utf-8")
        found = groups.program(command(driver, folder, tests, jobs), log.with_stem(name),
                               f"the guest with {driver}")
        return folder, [*judge(found, driver, rules, programs), quiet(folder, driver)]

    def run(programs):
        for _ in range(STARTS):
            folder, results = start(programs)
            fault = emulator.first(folder)
            if not fault:
                break
            print(f"# {driver}: {fault}: the emulator's fault", flush=True)
        return results

    yield from twice(run, set(only or PROGRAMS))


def group(log, only):
    """Results of the kernel's tests, with both drivers at the same time: they wait most of it."""
    unknown = [name for name in only if name not in PROGRAMS]
    if unknown:
        raise ToolError(f"no such program: {unknown[0]}; there are {', '.join(PROGRAMS)}")
    try:
        rules = read(LIST)
        tests = upstream.ensure(store.existing(os.environ.get("KERNEL")))
    except ToolError as error:
        yield Result("the kernel's tests can be run", FAIL, str(error))
        return
    yield from shares.together(_driver(driver, log, tests, rules, only) for driver in DRIVERS)
