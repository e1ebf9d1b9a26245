# SPDX-License-Identifier: GPL-2.0
"""One NIC process and two guests on it, the one under test and its peer, joined by two wires."""

import argparse
import contextlib
import json
import pathlib
import re
import select
import socket
import subprocess
import tempfile
import time

from cachelib import TOOLS
from vmlib import image, initramfs, kernels, nic, qemu, run

from .common import FOLDER, PLUGIN, SAS, TRAFFIC, BenchError

BOOT_SECONDS = 90
COMMAND_SECONDS = 130
MTU = 1500
# No fast string instructions: the kernel would copy and clear with one instruction per call.
CPU = "max,la57=off,-erms,-fsrm,-fsrs"
PEER_CPU = "max,la57=off"
# Of each guest: the NIC that is measured, and one for what lies behind a gateway.
CARDS = (("dut", 10, "w"), ("dut_lan", 11, "lan"), ("peer", 12, "w"), ("peer_lan", 13, "lan"))


class Channel:
    """Runs commands in a guest, through tools/bench-agent."""

    def __init__(self, name, sock, deadline, alive):
        self._name, self._sock, self._deadline, self._alive = name, sock, deadline, alive
        self._answer(min(BOOT_SECONDS, deadline.left()))

    def _answer(self, seconds):
        end, data = time.monotonic() + seconds, b""
        while not (b"\x01" in data and data.endswith(b"\n")):
            left = end - time.monotonic()
            if left <= 0:
                self._deadline.left()
                raise BenchError(f"guest {self._name} did not answer within {seconds:.0f} s; its "
                                 f"logs are in {FOLDER / self._name}")
            if not select.select([self._sock], [], [], min(left, 1))[0]:
                self._alive()
                continue
            received = self._sock.recv(65536)
            if not received:
                self._alive()
                raise BenchError(f"guest {self._name} closed its serial port; its logs are in "
                                 f"{FOLDER / self._name}")
            data += received
        text, _, status = data.decode(errors="replace").rpartition("\x01")
        return text.strip("\r\n"), int(status)

    def run(self, command):
        """Output of a shell command; raises if its exit status is not 0."""
        self._sock.sendall(command.encode() + b"\0")
        text, status = self._answer(min(COMMAND_SECONDS, self._deadline.left()))
        if status:
            raise BenchError(f"guest {self._name}: exit status {status} of\n  {command}\n{text}")
        return text

    def ip(self, *lines):
        """Several `ip` commands in one process."""
        return self.run("ip -batch - <<'EOF'\n" + "\n".join(lines) + "\nEOF")


class Guest:
    """One QEMU."""

    def __init__(self, name, cards, files, qemu_args, cpu):
        self.name = name
        self.run_dir = FOLDER / name
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._kernel_log = self.run_dir / "kernel.log"
        self._note = self.run_dir / "note"  # tools/guest/start leaves one when it gives up
        for old in (self._kernel_log, self._note):
            old.unlink(missing_ok=True)
        places = run.Places(files.kernel.image, files.image, self.run_dir, files.sockets / name)
        places.sockets.mkdir()
        options = argparse.Namespace(
            accel="tcg", cpu=cpu, cpus=1, mem="512M", append=[], no_module=False, shell=False,
            copy=[str(TRAFFIC), str(TOOLS / "bench-agent")], command=["/espnic/bench-agent"],
            qemu_arg=["-device", "virtserialport,chardev=bench,name=espnic.bench", *qemu_args])
        initramfs.make_run(places.initrd, files.guest / "boot.cpio",
                           run.contents(options, cards, files.guest, files.kernel))
        self.sock, far = socket.socketpair()
        spare, output = socket.socketpair()  # the guest's stdout, which is not needed
        with far, spare, output:
            words = qemu.command(options, cards, argparse.Namespace(
                kernel=places.kernel, initrd=places.initrd, image=places.image,
                run_dir=places.run_dir, control=files.control), output.fileno())
            words += ["-chardev", f"socket,id=bench,fd={far.fileno()}"]
            with (self.run_dir / "qemu.log").open("wb") as log:
                self._process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=(far.fileno(), output.fileno()))

    def check(self):
        """Raise if it ended or its kernel complained."""
        if self._kernel_log.exists():
            lines = self._kernel_log.read_text(errors="replace").splitlines()
            bad = [line for line in lines if run.TROUBLE.search(line)]
            if bad:
                raise BenchError(f"the kernel of guest {self.name} complained: {bad[0]}\n"
                                 f"see {self._kernel_log}")
        if self._process.poll() is not None:
            log = self._note if self._note.exists() else self.run_dir / "qemu.log"
            raise BenchError(f"guest {self.name} ended (QEMU's exit status "
                             f"{self._process.returncode}):\n"
                             f"{log.read_text(errors='replace').strip()[-2000:]}")

    def stop(self):
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Control:
    """The NIC process's control socket."""

    def __init__(self, path):
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(10)
        self._sock.connect(str(path))
        self._file = self._sock.makefile("rw")

    def stats(self, name):
        """Counters of a NIC as {"virtio": {...}, "port": {...}, "ipsec": {...}}."""
        self._file.write(f"stats {name}\n")
        self._file.flush()
        reply = json.loads(self._file.readline())
        if not reply.get("ok"):
            raise BenchError(f"the NIC refused to give its counters: {reply.get('error')}")
        return {group: values for group, values in reply["nics"][name].items()
                if isinstance(values, dict)}


class Device(nic.Daemon):
    """espnic-device without a capture, which would only cost time."""

    def __init__(self, cards, control):
        super().__init__(cards, FOLDER, control, capture=False)

    def memory(self):
        """Bytes of its own memory that are resident; the guests' memory is not part of it."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)[1]) * 1024

    def check(self):
        """Raise if it ended."""
        if not self.alive():
            raise BenchError(f"espnic-device ended with status {self._process.returncode}:\n"
                             f"{self.words()}")


class Machine:
    """Everything that runs; dut and peer are the channels into the guests."""

    def __init__(self, deadline, profile):
        self.markers = FOLDER / "markers"
        self.profile = FOLDER / "profile" if profile else None
        self._stack = contextlib.ExitStack()
        try:
            self._start(deadline)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._stack.close()

    def _start(self, deadline):
        kernel = kernels.find()
        self.kernel_release = kernel.release
        self.qemu = subprocess.run([qemu.PROGRAM, "--version"], check=True, text=True,
                                   capture_output=True).stdout.splitlines()[0]
        guest = image.make(kernel)
        short = pathlib.Path(self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="espnic-")))  # socket paths must be short
        files = argparse.Namespace(
            kernel=kernel, sockets=short, image=guest / "root.erofs", guest=guest,
            control=short / "control")
        cards = nic.parse([f"name={name},mac=02:00:00:00:00:{number},mtu={MTU},port=wire:{wire},"
                           f"sas={SAS}"
                           for name, number, wire in CARDS], short)
        self._device = Device(cards, files.control)
        self._stack.callback(self._device.stop)
        self.markers.unlink(missing_ok=True)
        plugin = f"{PLUGIN},out={self.markers}"
        if self.profile:
            plugin += f",profile={self.profile}"
        self._guests = []
        for own, args, cpu in ((cards[:2], ["-plugin", plugin], CPU), (cards[2:], [], PEER_CPU)):
            self._guests.append(Guest(own[0].name, own, files, args, cpu))
            self._stack.callback(self._guests[-1].stop)
        self.dut_folder, self.peer_folder = (one.run_dir for one in self._guests)
        self.device_memory = self._device.memory
        self.dut_mac, self.dut_lan_mac, self.peer_mac, self.peer_lan_mac = (
            card.mac for card in cards)
        self.control = Control(files.control)
        self.dut, self.peer = (Channel(one.name, one.sock, deadline, self.check)
                               for one in self._guests)

    def check(self):
        """Raise if a part ended or a kernel complained."""
        self._device.check()
        for guest in self._guests:
            guest.check()
