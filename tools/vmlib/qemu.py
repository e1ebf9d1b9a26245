# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line, and whether KVM can be used."""

import json
import os
import pathlib
import platform
import subprocess

import cachelib

from . import initramfs

PROGRAM = "qemu-system-x86_64"
PROBE_SECONDS = 10
PROBE_INIT = "#!/bin/busybox sh\n/bin/busybox poweroff -f\n"


def _cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def accelerator(kernel):
    """"kvm" if it runs a guest here, else "tcg".

    A machine may have a /dev/kvm that opens and makes a VM but fails at the
    first unusual instruction, so a guest is really booted, once per machine.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    key = cachelib.digest(platform.release(), platform.version(), _cpu_model(), str(kernel))
    home = cachelib.cached(f"host-{key}", lambda half: _probe(half, kernel))
    return (home / "accelerator").read_text(encoding="utf-8").strip()


def _probe(home, kernel):
    cachelib.say("trying whether KVM runs a guest")
    archive = initramfs.Cpio()
    archive.data("init", PROBE_INIT, 0o755)
    archive.data("bin/busybox", pathlib.Path("/usr/bin/busybox").read_bytes(), 0o755)
    (home / "probe.cpio").write_bytes(archive.finish())
    command = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
               "-accel", "kvm", "-cpu", "max,la57=off", "-smp", "2", "-m", "256M", "-no-reboot",
               "-kernel", str(kernel), "-initrd", str(home / "probe.cpio"),
               "-append", "quiet panic=-1"]
    try:
        works = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True,
                               timeout=PROBE_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        works = False
    (home / "accelerator").write_text("kvm" if works else "tcg", encoding="utf-8")
    cachelib.say("KVM works" if works else "KVM does not run a guest here; using TCG")


def command(options, nics, places, fds):
    """The whole command line.

    OPTIONS are those of tools/vm; PLACES has the paths kernel, initrd, image,
    run_dir, control; FDS the descriptor of the output port (None in a shell).
    """
    accel = options.accel or accelerator(places.kernel)
    machine = "tcg,thread=multi" if accel == "tcg" else accel
    # The timer check counts ticks against a busy loop: on a busy host it panics for nothing.
    append = ["console=ttyS0", "loglevel=5", "panic=-1", "oops=panic", "softlockup_panic=1",
              "no_timer_check", "random.trust_cpu=on", *options.append]
    words = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none",
             "-action", f"reboot={'reset' if getattr(options, 'reboots', 0) else 'shutdown'}",
             "-machine", "q35,memory-backend=mem", "-accel", machine, "-cpu", options.cpu,
             "-smp", str(options.cpus), "-m", options.mem,
             "-object", f"memory-backend-memfd,id=mem,size={options.mem},share=on",
             "-kernel", str(places.kernel), "-initrd", str(places.initrd),
             "-append", " ".join(append),
             "-drive", f"file={places.image},format=raw,if=none,readonly=on,id=image",
             "-device", "virtio-blk-pci,drive=image",
             "-fsdev", f"local,id=host,path={places.run_dir},security_model=none",
             "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
             "-object", "rng-random,id=rng,filename=/dev/urandom",
             "-device", "virtio-rng-pci,rng=rng",
             "-chardev", f"file,id=console,path={places.run_dir / 'kernel.log'}",
             "-serial", "chardev:console",
             "-device", "virtio-serial-pci,max_ports=8"]
    if fds is None:
        words += ["-chardev", "stdio,id=output,signal=off", "-device", "virtconsole,chardev=output"]
    else:
        words += ["-chardev", f"socket,id=output,fd={fds}",
                  "-device", "virtserialport,chardev=output,name=espnic.output"]
    if nics:
        words += ["-chardev", f"socket,id=control,path={places.control}",
                  "-device", "virtserialport,chardev=control,name=espnic.control"]
    for nic in nics:
        device = {"driver": "vfio-user-pci", "id": nic.name,
                  "socket": {"path": str(nic.socket), "type": "unix"}}
        words += ["-device", json.dumps(device)]
    return words + options.qemu_arg
