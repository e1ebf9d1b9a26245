# SPDX-License-Identifier: GPL-2.0
"""DPDK beside the NIC: its vhost library with virtio-user, and its ESP library.

bench-dpdk measures DPDK. It takes turns with espnic-bench-nic and espnic-bench-engine, which
measure the same of ours. DPDK's package is not part of the sandbox: it is unpacked into the cache
when this runs for the first time.
"""

import platform
import statistics
import subprocess
import tempfile

from cachelib import TOOLS, ToolError, cached, digest, sandbox_root

from . import engine, nic, program
from .common import FOLDER, BenchError, compile_program

PACKAGE = "libdpdk-dev"  # with headers and static libraries
DOWNLOAD_SECONDS = 120
SOURCES = [TOOLS / f"bench-dpdk/{name}.c" for name in ("main", "vhost", "esp")]
PROGRAM = FOLDER / "bench-dpdk"
# What the package's pkg-config file says of its headers.
CFLAGS = ["-std=gnu11", "-march=corei7", "-mrtm"]
# Drivers are found by their constructors alone.
DRIVERS = ["bus_vdev", "mempool_ring", "net_virtio", "crypto_ipsec_mb"]
LIBRARIES = ["vhost", "ipsec", "security", "cryptodev", "dmadev", "hash", "net", "ethdev", "mbuf",
             "mempool", "rcu", "ring", "eal", "telemetry", "argparse", "kvargs", "log", "bus_pci",
             "pci", "meter"]
NOT_HERE = 69  # exit status: DPDK does not work on this machine

TURNS = 5
START_SECONDS = 60  # of one program, on a busy machine
FIELDS = {"what": str, "bytes": int, "way": str, "ns": (int, float)}
FRAMES = (64, 1448)
FRAME, TEXT = 1448, 1416  # what ESP encrypts of that frame
TEXTS = (64, 1400, 9000)
TARGET = 1.0  # the NIC's time, times that of DPDK's libraries together

TAKE, GIVE = "rings and copy TX {} B, direct", "rings and copy RX {} B"
LIBRARY_ROWS = "no checksum / bare ipsec-mb"
LIBRARY = "{} {} B, " + LIBRARY_ROWS
SEND, RECEIVE = "TX {} {} B, direct", "RX {} {} B"
ALONE, WITH_CHECKSUM = "ESP alone", "ESP"


class Unavailable(Exception):
    """DPDK cannot be measured here; the text says why."""


class Beside(program.Measured):
    """What was measured of DPDK and of ours, or why it was not."""

    def text(self):
        """Table for people."""
        if self._skipped:
            return f"\nDPDK beside it: skipped, {self._skipped}"
        lines = ["", f"{self._measured['version']} beside it (median of {self._measured['turns']} "
                 f"turns; DPDK in batches of {self._measured['batch']} packets)", "",
                 f"{'nanoseconds per packet':<52} {'espnic':>8} {'DPDK':>8} {'times':>6}   target"]
        for row in self._measured["rows"]:
            verdict = "for the record"
            if row["target_times"] is not None:
                word = "met" if row["reached"] else "missed"
                verdict = f"<= {row['target_times']:.2f}: {word}"
            lines.append(f"{row['name']:<52} {row['ns']:>8.1f} {row['dpdk_ns']:>8.1f} "
                         f"{row['times']:>6.2f}   {verdict}")
        return "\n".join(lines)


def _command(*words, **options):
    try:
        done = subprocess.run(words, check=False, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=DOWNLOAD_SECONDS, **options)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{words[0]} did not end within {DOWNLOAD_SECONDS} s") from error
    if done.returncode:
        last = done.stdout.strip().rpartition("\n")[2]
        raise ToolError(f"{words[0]} failed: {last}")


def _unpack(home):
    """Lays the package's files below `home`; it is not installed, nor what it depends on."""
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
    _command(*apt, "update")
    _command(*apt, "download", PACKAGE, cwd=home)
    for archive in home.glob("*.deb"):
        _command("dpkg-deb", "-x", archive, home)
        archive.unlink()


def layer():
    """The cached directory with DPDK's headers and libraries."""
    key = digest(sandbox_root().parent.name, PACKAGE)
    return cached(f"dpdk-{key}", _unpack, "bench")


def build():
    """Compile bench-dpdk."""
    if platform.machine() != "x86_64":
        raise Unavailable("it is compared on x86-64 only")
    try:
        usr = layer() / "usr"
    except (ToolError, OSError) as error:
        raise Unavailable(f"its package {PACKAGE} cannot be had: {error}") from error
    folders = [f"-isystem{usr / 'include' / name}" for name in ("x86_64-linux-gnu/dpdk", "dpdk")]
    archive = "-l:librte_{}.a".format
    libraries = [f"-L{usr / 'lib/x86_64-linux-gnu'}",
                 "-Wl,--whole-archive", *map(archive, DRIVERS), "-Wl,--no-whole-archive",
                 "-Wl,--start-group", *map(archive, LIBRARIES), "-Wl,--end-group",
                 "-lIPSec_MB", "-l:libnuma.so.1", "-pthread", "-lm"]
    compile_program(SOURCES, PROGRAM, [*CFLAGS, *folders], libraries)


def run(path, words, deadline, seconds):
    """What bench-dpdk prints; raises Unavailable if it says that DPDK does not work here."""
    done = program.execute(path, words, deadline, seconds)
    if done.returncode == NOT_HERE:
        raise Unavailable(done.stderr.strip().rpartition("\n")[2])
    return program.output(path.name, done)


def parse(text):
    """The answer of bench-dpdk, checked."""
    return program.parse(PROGRAM.name, text, FIELDS, lambda data: (data["version"], data["batch"]))


def figures(dpdk, whole, library):
    """Nanoseconds per packet of one turn of the three programs."""
    found = {("dpdk", row["what"], row["bytes"], row["way"]): row["ns"] for row in dpdk["rows"]}
    for row in whole["rows"]:
        found["nic", row["name"], "split"] = row["ns"]
        found["nic", row["name"], "packed"] = row["packed_ns"]
    return found | {("engine", row["name"]): row["ns"] for row in library["rows"]}


def _quickest(medians, what, size):
    """The way in which DPDK takes least time, and this time."""
    ways = {key[3]: ns for key, ns in medians.items() if key[:3] == ("dpdk", what, size)}
    return min(ways.items(), key=lambda item: item[1])


def _row(name, ns, dpdk_ns, target=None):
    times = ns / dpdk_ns
    return {"name": name, "ns": ns, "dpdk_ns": dpdk_ns, "times": round(times, 4),
            "target_times": target, "reached": None if target is None else times <= target}


def _rings(medians):
    for size in FRAMES:
        for what, name in (("take", TAKE), ("give", GIVE)):
            for way in ("split", "packed"):
                yield _row(f"{what} {size} B, {way} / vhost",
                           medians["nic", name.format(size), way],
                           medians["dpdk", what, size, way])


def _esp(medians):
    for size in TEXTS:
        for what in ("encrypt", "decrypt"):
            way, ns = _quickest(medians, what, size)
            yield _row(f"{what} {size} B / {way}",
                       medians["engine", LIBRARY.format(what, size)], ns)


def _together(medians):
    """The whole NIC against the vhost library with packed queues and the ESP library, added up."""
    for ring, what, name in (("take", "encrypt", SEND), ("give", "decrypt", RECEIVE)):
        both = medians["dpdk", ring, FRAME, "packed"] + _quickest(medians, what, TEXT)[1]
        for work, way, target in ((ALONE, "split", TARGET), (ALONE, "packed", None),
                                  (WITH_CHECKSUM, "split", None)):
            title = name.format(work, FRAME)
            yield _row(f"{title.removesuffix(', direct')}, {way} / both together",
                       medians["nic", title, way], both, target)


def compare(turns):
    """Rows of the report: medians of all turns."""
    try:
        medians = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        return [*_rings(medians), *_esp(medians), *_together(medians)]
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise BenchError(f"figures are missing beside those of DPDK: {error!r}") from error


def _turn(deadline, milliseconds):
    """One turn of the three programs: the answer of bench-dpdk, and the figures of all."""
    words, seconds = ["--json", "--time", str(milliseconds)], START_SECONDS + milliseconds / 10
    wanted = [text.format(size) for text in (TAKE, GIVE) for size in FRAMES]
    wanted += [text.format(work, FRAME) for text in (SEND, RECEIVE)
               for work in (ALONE, WITH_CHECKSUM)]
    only = [word for name in wanted for word in ("--only", name)]
    with tempfile.TemporaryDirectory(prefix="espnic-") as folder:
        dpdk = parse(run(PROGRAM, [str(milliseconds), folder], deadline, seconds))
    whole = nic.parse(program.run(nic.PROGRAM, [*words, *only], deadline, seconds))
    library = engine.parse(program.run(
        engine.PROGRAM, [*words, "--sas", "2", "--only", LIBRARY_ROWS], deadline, seconds))
    return dpdk, figures(dpdk, whole.data(), library.data())


def measure(deadline, milliseconds):
    """Let DPDK and ours take turns; a Beside that says so if that is not possible here."""
    missing = [name for name in (nic.PROGRAM, engine.PROGRAM) if not program.is_built(name)]
    if missing:
        return Beside(skipped=f"{missing[0]} is not built")
    deadline.say("DPDK beside it")
    try:
        build()
        turns = [_turn(deadline, max(milliseconds // TURNS, 1)) for _ in range(TURNS)]
    except Unavailable as reason:
        return Beside(skipped=str(reason))
    first = turns[0][0]
    return Beside({"version": first["version"], "batch": first["batch"], "turns": TURNS,
                   "rows": compare([found for _, found in turns])})
