# SPDX-License-Identifier: GPL-2.0
"""The groups of tests: each runs a program and yields a Result per test."""

import pathlib
import re
import subprocess
import sys

from vmlib import kernels, kunit, nic

from . import fidelity, shares
from .report import FAIL, PASS, SKIP, Result

TOOLS = pathlib.Path(__file__).resolve().parent.parent
CHECKOUT = TOOLS.parent
HOST_SECONDS = 1800
FUZZ_SECONDS = 8  # per target; make fuzz runs them longer
GUEST_SECONDS = 3000
REBOOT_SECONDS = 180
DEBUG_SECONDS = 6 * 3600  # a result takes 10 to 30 s there
CONTROL_SECONDS = 600
DEBUG_LINES = 300
LAST_LINES = 25
KERNEL = "the kernel complained"  # as debug-tests writes
KUNIT = "kunit"

KTAP = re.compile(r"^(?P<indent> *)(?P<not>not )?ok (?P<number>\d+)(?: -)? ?(?P<name>[^#]*)"
                  r"(?:# *(?P<word>\w+)[ :]*(?P<why>.*))?$")


def output(command, log, status, seconds=None):
    """Lines of a program's output as they come, also written to LOG; its status into STATUS.

    After so many seconds it is ended with all its children.
    """
    if seconds:
        command = ["timeout", "--verbose", "--kill-after=15", str(seconds), *command]
    with log.open("w", encoding="utf-8") as out:
        out.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(command, cwd=CHECKOUT, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as process:
            for line in process.stdout:
                out.write(line)
                out.flush()
                yield line.rstrip("\n")
        status.append(process.returncode)


def tail(log):
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def cargo(lines, where):
    """Results of cargo test --show-output; WHERE tells people about failures.

    The output of a program's tests comes after its results, so the rules that a test names are
    added to a result that was already passed on.
    """
    crate, results, shown = "?", {}, None
    for line in lines:
        running = re.match(r"\s+(?:Running (?:unittests )?(\S+)|Doc-tests (\S+)) ?(?:\((.*)\))?",
                           line)
        if running:
            program = pathlib.Path(running[3] or running[2]).name
            crate, results, shown = re.sub(r"-[0-9a-f]{16}$", "", program), {}, None
            print(f"# {crate} {running[1] or 'documentation'}", flush=True)
        if re.match(r"(successes|failures):$", line):
            shown = ""
        if shown is None:
            test = re.match(r"test (\S.*) \.\.\. (ok|FAILED|ignored)(?:, (.*))?$", line)
            if test:
                outcome = {"ok": PASS, "FAILED": FAIL}.get(test[2], SKIP)
                result = Result(f"{crate}: {test[1]}", outcome,
                                where if outcome == FAIL else test[3] or "")
                results[re.sub(r" - should panic$", "", test[1])] = result
                yield result
            continue
        output = re.match(r"---- (\S.*) stdout ----$", line)
        if output:
            shown = output[1]
        elif shown in results:
            results[shown].rules |= fidelity.rules_in(line)


def host(log, _only):
    """cargo test of the workspace, test by test."""
    status, failed = [], 0
    said = output(["cargo", "test", "--locked", "--workspace", "--no-fail-fast",
                    "--color", "never", "--", "--show-output"], log, status, HOST_SECONDS)
    for result in cargo(said, f"see {log.relative_to(CHECKOUT)}"):
        failed += result.outcome == FAIL
        yield result
    if status[0] and not failed:
        yield Result("cargo test", FAIL, tail(log))


def fuzz(log, _only):
    """The fuzz targets, each for some seconds."""
    print("# builds the targets first, which takes some minutes the first time", flush=True)
    command = [sys.executable, str(TOOLS / "fuzz"), "--seconds", str(FUZZ_SECONDS)]
    yield from program(command, log, "the fuzz targets", seconds=HOST_SECONDS)


def ktap(lines, on_diagnostic):
    """Leaf results of nested KTAP: a result with results below it counts only if it adds a failure.

    A program prints its cases indented, then its own line.  The own line is a
    test of its own if no case was printed, or if it failed though none of its
    cases did (time limit, crash after the last case), or because of what the
    kernel said after them.
    """
    below = []
    program = ""
    for line in lines:
        started = re.match(r"^# selftests: (\S+): (\S+)", line)
        if started:
            program = f"{KUNIT}: {started[2]}" if started[1] == KUNIT else started[2]
            print(f"# {program}", flush=True)
        match = KTAP.match(line)
        if not match:
            on_diagnostic(line)
            continue
        skip = (match["word"] or "").upper() == "SKIP"
        outcome = FAIL if match["not"] else SKIP if skip else PASS
        name = match["name"].strip()
        if match["indent"]:
            result = Result(f"{program}/{name}", outcome, match["why"] or "")
            below.append(result)
            yield result
            continue
        if not below or (outcome == FAIL and (KERNEL in line or all(
                b.outcome != FAIL for b in below))):
            why = line.partition("#")[2].strip() if outcome == FAIL else match["why"]
            yield Result(program or name, outcome, why or "")
        below, program = [], ""


def _plan(lines, seen):
    """Pass lines on and note the outermost plan and the results that came."""
    for line in lines:
        plan = re.match(r"^1\.\.(\d+)", line)
        if plan:
            seen["plan"] = int(plan[1])
        if re.match(r"^(not )?ok ", line):
            seen["done"] = seen.get("done", 0) + 1
        yield line


def program(command, log, title, lines=LAST_LINES, seconds=None):
    """Results of a program that prints KTAP; a failure more if it ended badly."""
    status, seen, recent, rules, bad = [], {}, [], set(), 0

    def remember(line):
        recent.append(line)
        del recent[:-lines]
        if line.startswith("# selftests: "):
            rules.clear()
        rules.update(fidelity.rules_in(line))

    for result in ktap(_plan(output(command, log, status, seconds), seen), remember):
        if result.outcome == FAIL:
            bad += 1
            result.detail = "\n".join(filter(None, [result.detail, *recent]))
        result.rules = set(rules)
        recent.clear()
        rules.clear()
        yield result
    if seen.get("plan") is None or seen.get("done", 0) != seen["plan"]:
        yield Result(f"{title} runs to its end", FAIL,
                     f"{seen.get('done', 0)} of {seen.get('plan', '?')} results\n{tail(log)}")
    elif status[0] and not bad:
        yield Result(f"{title} ends well", FAIL, f"exit status {status[0]}\n{tail(log)}")


def _nics(more="", peers=""):
    """Options of tools/vm for the NICs of the selftests; PEERS is for those with a stock driver."""
    return [word for spec in nic.TESTS
            for word in ("--nic", spec + more + ("" if "ipsec=on" in spec else peers))]


def guest_command(folder, seconds, only):
    """The command that boots a VM and runs the selftests in it, all of them or only some."""
    command = [str(TOOLS / "vm"), "--ndis", *_nics(), "--run-dir", str(folder),
               "--timeout", str(seconds), "--", "/espnic/selftests/run_kselftest.sh"]
    for test in only:
        command += ["-t", test]
    return command


def _in_guests(log, parts, command, title, **options):
    """Results of guests that run at the same time, one for each of PARTS.

    COMMAND(folder, part, number) makes a guest's command line. Each has a log and a folder of its
    own, which have the group's name if there is only one.
    """
    def run(number, part):
        name = log.stem if len(parts) == 1 else f"{log.stem}-{number}"
        return program(command(log.parent / name, part, number), log.with_stem(name),
                       f"{title}, {number} of {len(parts)}", **options)

    print(f"# {len(parts)} guests at the same time", flush=True)
    yield from shares.together(run(number, part) for number, part in enumerate(parts, 1))


def guest(log, only):
    """The selftests, shared among a few VMs."""
    parts = shares.split(only or shares.programs(), shares.guests())
    yield from _in_guests(log, parts, lambda folder, part, _: guest_command(
        folder, GUEST_SECONDS, part), "the guest")


def _debug_vm(folder, seconds, copies, words):
    """Command line of debug-tests in a guest with the debug kernel."""
    # With an administration queue, virtio's core allocates under its lock at every probe, the
    # stock driver's included: a splat that is not ours and switches lockdep off.
    command = [str(TOOLS / "vm"), "--debug", "--ndis", *_nics(",admin-vq=off"),
               "--run-dir", str(folder), "--timeout", str(seconds)]
    for copy in (TOOLS / "guest/debug-tests", TOOLS / "vmlib/trouble.py", TOOLS / "vmlib/kunit.py",
                 *copies):
        command += ["--copy", str(copy)]
    return [*command, "--", "/espnic/debug-tests", *words]


def debug_command(folder, part, number):
    """The command that boots a VM with the debug kernel for a part of the selftests.

    The first one has KUnit's tests, too.
    """
    words = [word for test in part for word in ("-t", test)] or ["--no-programs"]
    command = _debug_vm(folder, DEBUG_SECONDS, (), words)
    if number != 1:
        return command
    # They run when the module is loaded, if they are enabled; the kernel's own ones are not ours.
    boot = [word for option in ("enable=1", "autorun=1", "filter_glob=espnic_*")
            for word in ("--append", f"{KUNIT}.{option}")]
    return [command[0], *boot, *command[1:]]


def all_of_kunit(results, names):
    """Pass results on; add a failure for each of the tests NAMES that has none."""
    missing = set(names)
    for result in results:
        missing.discard(result.name.removeprefix(f"{KUNIT}: "))
        yield result
    for name in sorted(missing):
        yield Result(f"{KUNIT}: {name}", FAIL, "in the sources, but it did not run")


def debug(log, only):
    """The selftests on the debug kernel; its complaints are failures of the test they came in."""
    tests = [test for test in only if test != KUNIT] if only else shares.programs()
    results = _in_guests(log, shares.split(tests, shares.guests()) or [[]], debug_command,
                         "the guest with the debug kernel", lines=DEBUG_LINES)
    yield from all_of_kunit(results, kunit.in_sources(CHECKOUT / "rust"))


# What the kernel must say in each case of tools/guest/control.
PROVOKED = {
    "complaints.sh/provoked_warning": "WARNING: ",
    "complaints.sh/provoked_atomic_sleep": "BUG: sleeping function called from invalid context",
    "complaints.sh/provoked_rcu": "suspicious RCU usage",
    "complaints.sh/provoked_shift": "UBSAN: shift-out-of-bounds",
    "complaints.sh/provoked_device": "ref_tracker: ",
    "complaints.sh/provoked_lock_order": "possible circular locking dependency",
    "complaints.sh/provoked_use_after_free": "KASAN: slab-use-after-free",
    "provoked_leak.sh": "unreferenced object",
}


def blamed(results, words):
    """Turn the provoked failures into successes; WORDS says what must be shown with each."""
    for result in results:
        wanted = words.get(result.name)
        if not wanted:
            yield result
        elif result.outcome == FAIL and any(
                "# kernel: " in line and wanted in line for line in result.detail.splitlines()):
            yield Result(result.name, PASS)
        else:
            yield Result(result.name, FAIL, f"no failure with {wanted!r}\n{result.detail}")


def control(log, _only):
    """Complaints on purpose: each must fail the test that it came in, and no other."""
    release = kernels.find(debug=True).release
    module = CHECKOUT / "build/provoke" / release / "provoke.ko"
    command = _debug_vm(log.parent / "control", CONTROL_SECONDS,
                        (module, f"{TOOLS / 'guest/control'}:selftests/control"), ("-c", "control"))
    results = program(command, log, "the provoked debug kernel", lines=DEBUG_LINES)
    yield from blamed(results, PROVOKED)


def reboot(log, _only):
    """The guest reboots while the NIC is in use."""
    command = [str(TOOLS / "vm"), "--run-dir", str(log.parent / "reboot"),
               "--timeout", str(REBOOT_SECONDS), "--reboots", "2",
               "--copy", str(TOOLS / "guest/reboot-test"), "--", "/espnic/reboot-test"]
    yield from program(command, log, "the guest")


def sleep(log, _only):
    """The guest's devices are suspended and resumed while the NIC has SAs."""
    # With an administration queue, virtio's core (7.2) uses the queue after it has freed it when
    # a device wakes up; the peer's stock driver has one.
    # That driver also forgets the work items of its interrupt moderation, and warns of it later.
    nics = _nics(",admin-vq=off", ",coalescing=off")
    command = [str(TOOLS / "vm"), *nics, "--run-dir", str(log.parent / "sleep"),
               "--timeout", str(REBOOT_SECONDS), "--append", "no_console_suspend",
               "--copy", str(TOOLS / "guest/sleep-test"), "--", "/espnic/sleep-test"]
    yield from program(command, log, "the guest")


def bounce(log, _only):
    """A guest whose NICs reach little of its memory, and need more buffers than there are."""
    command = [str(TOOLS / "vm"), "--run-dir", str(log.parent / "bounce"),
               "--timeout", str(REBOOT_SECONDS), "--append", "swiotlb=512,force"]
    # With packed queues, virtio's core does not say that it was memory that was short.
    # The peer's driver must not take buffers, too.
    command += [word.replace(",packed=on", "") for word in _nics(peers=",access-platform=off")]
    command += ["--copy", str(TOOLS / "guest/bounce-test"), "--", "/espnic/bounce-test"]
    yield from program(command, log, "the guest")


def tools(log, _only):
    """Tests of the tools."""
    yield from program([sys.executable, str(TOOLS / "tests")], log, "tests of the tools",
                       seconds=HOST_SECONDS)


def demo(log, _only):
    """The demonstration broken on purpose: it must say so."""
    yield from program([sys.executable, str(TOOLS / "demo"), "--self-test"], log,
                       "the demonstration's own test", seconds=HOST_SECONDS)


ALL = {"tools": tools, "host": host, "fuzz": fuzz, "guest": guest, "reboot": reboot,
       "sleep": sleep, "bounce": bounce, "demo": demo, "control": control, "debug": debug}
# What needs the debug kernel.
SLOW = ("control", "debug")
# Of which single tests can be run.
SINGLE = ("guest", "debug")
