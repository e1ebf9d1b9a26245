# SPDX-License-Identifier: GPL-2.0
"""One run of the VM, from the options to the exit status."""

import dataclasses
import os
import pathlib
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import cachelib
from kernellib.module import is_outdated

from . import emulator, image, initramfs, kernels, nic, qemu, trouble

# Kernel messages that make a run fail, whatever the command said.
TROUBLE = trouble.PATTERN
TROUBLE_LINES = 40
STARTS = 3


@dataclasses.dataclass
class Places:
    """Files of one run."""

    kernel: pathlib.Path
    image: pathlib.Path
    run_dir: pathlib.Path
    sockets: pathlib.Path

    @property
    def initrd(self):
        """The initramfs of this run."""
        return self.sockets / "initrd"

    @property
    def control(self):
        """The NIC's control socket."""
        return self.sockets / "control.sock"


def _add_module(archive, guest, release, module):
    missing = "is not built" if not module.exists() else \
        "was built from other sources" if is_outdated(release) else ""
    if missing:
        debug = " DEBUG=1" if release.endswith("-debug") else f" KERNEL={release}"
        raise cachelib.ToolError(f"{module} {missing}; run: make modules{debug}")
    with tempfile.TemporaryDirectory(prefix="modules-", dir=cachelib.cache()) as work:
        changed = image.add_module(guest, release, module, pathlib.Path(work))
        for name, path in changed.items():
            archive.data(f"espnic/{name}", path.read_bytes())


def contents(options, nics, guest, kernel):
    """A function that fills the run's part of the initramfs."""
    def fill(archive):
        archive.tree("espnic/start", cachelib.TOOLS / "guest/start")
        conf = [f"time-scale {kernel.time_scale}"]
        conf += [f"nic {n.name} {n.mac} {'espnic' if n.ipsec else 'plain'}" for n in nics]
        if reboots := getattr(options, "reboots", 0):
            conf.append(f"boots {1 + reboots}")
        if options.no_module:
            conf.append("no-module")
        else:
            _add_module(archive, guest, kernel.release, kernel.module)
        if getattr(options, "ndis", False):
            conf.append("ndis")
            if (tool := nic.target("espnic-ndis")).exists():
                archive.tree("espnic/bin/espnic-ndis", tool)
        if options.shell:
            size = shutil.get_terminal_size()
            conf += ["shell", f"size {size.lines} {size.columns}"]
        archive.data("espnic/guest.conf", "\n".join(conf) + "\n")
        selftests = cachelib.CHECKOUT / "selftests"
        if selftests.is_dir():
            archive.tree("espnic/selftests", selftests)
        for copy in options.copy:
            source, _, target = copy.partition(":")
            path = pathlib.Path(source)
            archive.tree(f"espnic/{target or path.name}", path)
        archive.data("espnic/command", shlex.join(options.command) + "\n", 0o755)
    return fill


def _pump(process, output, daemon, deadline, watch):
    """Copy the guest's output until QEMU ends; returns why it was stopped, or None."""
    open_ = True
    while True:
        if open_ and select.select([output], [], [], 0.1)[0]:
            data = output.recv(65536)
            if data:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                continue
            open_ = False
        if process.poll() is not None:
            return None
        if not open_:
            time.sleep(0.05)
        if daemon is not None and not daemon.alive():
            return f"espnic-device ended while the VM ran:\n{daemon.words()}"
        if fault := watch.seen():
            return f"the emulator's fault: {fault}"
        if deadline is not None and time.monotonic() > deadline:
            return "the time limit is over"


def _kernel_trouble(run_dir):
    """Lines of the kernel's log from the first sign of trouble on."""
    for name in ("kernel.log", "dmesg.log"):
        path = run_dir / name
        if path.exists():
            lines = path.read_text(errors="replace").splitlines()
            for number, line in enumerate(lines):
                if TROUBLE.search(line):
                    return lines[number:number + TROUBLE_LINES]
    return []


def _read(path):
    return path.read_text(errors="replace").strip() if path.exists() else None


def _verdict(places, stopped, qemu_status, started):
    """Print what went wrong and return the exit status."""
    ready = places.run_dir / "ready"
    if ready.exists():
        whole = time.monotonic() - started
        after = ready.stat().st_mtime - time.time() + whole
        cachelib.say(f"guest ready after {after:.1f} s, all over after {whole:.1f} s")
    status = _read(places.run_dir / "status")
    note = _read(places.run_dir / "note")
    trouble = _kernel_trouble(places.run_dir)
    if note:
        cachelib.say(note)
    if trouble:
        cachelib.say("the guest's kernel complained:\n" + "\n".join(trouble))
    if stopped:
        cachelib.say(stopped)
    if status is None and not stopped:
        cachelib.say(f"the guest ended early (QEMU's exit status {qemu_status})")
        for name in ("qemu.log", "kernel.log"):
            words = (_read(places.run_dir / name) or "").splitlines()[-8:]
            cachelib.say(f"{name}:\n" + "\n".join(words))
    if stopped or status is None or (trouble and status == "0"):
        return cachelib.FAILED
    return int(status)


def _stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _machine(options, nics, places, started):
    near, far = (None, None) if options.shell else socket.socketpair()
    fd = None if far is None else far.fileno()
    daemon = process = stopped = None
    try:
        if nics:
            daemon = nic.Daemon(nics, places.run_dir, places.control, options.device_arg)
        words = qemu.command(options, nics, places, fd)
        (places.run_dir / "qemu.command").write_text(shlex.join(words) + "\n", encoding="utf-8")
        with (places.run_dir / "qemu.log").open("wb") as log:
            process = subprocess.Popen(words, pass_fds=() if fd is None else (fd,), stderr=log,
                                       stdin=None if options.shell else subprocess.DEVNULL,
                                       stdout=None if options.shell else log)
        if far is not None:
            far.close()
        deadline = time.monotonic() + options.timeout if options.timeout else None
        if options.shell:
            process.wait()
        else:
            stopped = _pump(process, near, daemon, deadline, emulator.Watch(places.run_dir))
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        if process is not None:
            _stop(process)
        if daemon is not None:
            crashed = not daemon.alive()
            status = daemon.stop()
            if (crashed or status != 0) and not stopped:
                stopped = f"espnic-device ended with status {status}:\n{daemon.words()}"
    return _verdict(places, stopped, process.returncode if process else None, started)


def _clear(run_dir):
    """Forget an earlier run."""
    for name in ("status", "note", "ready", "boots", "dmesg.log", "kernel.log"):
        (run_dir / name).unlink(missing_ok=True)


def _run_dir(options):
    if options.run_dir:
        path = pathlib.Path(options.run_dir).resolve()
        path.mkdir(parents=True, exist_ok=True)
        _clear(path)
        return path
    base = cachelib.CHECKOUT / "build/vm"
    base.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=base))


def run(options):
    """Run options.command in a guest; the exit status is the command's."""
    kernel = kernels.find(options.debug)
    options.append = [*kernel.append, *options.append]
    guest = image.make(kernel)
    picture = pathlib.Path(options.kernel) if options.kernel else kernel.image
    if not picture.exists():
        raise cachelib.ToolError(f"there is no kernel image {picture}",
                             cachelib.WRONG_USAGE if options.kernel else cachelib.FAILED)
    run_dir = _run_dir(options)
    status = cachelib.FAILED
    try:
        for left in reversed(range(STARTS)):
            status = _start(options, kernel, guest, picture, run_dir)
            fault = emulator.fault(run_dir)
            if not left or not fault:
                return status
            cachelib.say(f"{fault}: this is the emulator's fault, the guest is started again")
            _clear(run_dir)
    finally:
        if not any(run_dir.iterdir()) and not options.run_dir:
            run_dir.rmdir()
        elif status == 0 and not options.keep and not options.run_dir:
            shutil.rmtree(run_dir)
        else:
            cachelib.say(f"logs and capture: {os.path.relpath(run_dir)}")
    return status


def _start(options, kernel, guest, picture, run_dir):
    """One start of the guest, until it ends."""
    started = time.monotonic()
    # Unix socket paths are short, so sockets do not go into the run directory.
    with tempfile.TemporaryDirectory(prefix="espnic-") as short:
        places = Places(picture, guest / "root.erofs", run_dir, pathlib.Path(short))
        nics = []
        if not options.no_device:
            nics = nic.parse(options.nic or nic.DEFAULT, places.sockets)
        initramfs.make_run(places.initrd, guest / "boot.cpio",
                           contents(options, nics, guest, kernel))
        return _machine(options, nics, places, started)
