# SPDX-License-Identifier: GPL-2.0
"""The NIC process, espnic-device, and the data about its NICs for the guest."""

import dataclasses
import pathlib
import subprocess
import time

import cachelib

DEFAULT = ("name=n0,mac=02:00:00:00:00:10,mtu=9000,ipsec=on,port=wire:w0",
           "name=n1,mac=02:00:00:00:00:11,mtu=9000,ipsec=off,port=wire:w0")
# For the selftests: a second NIC with IPsec to bond with the first. On a wire, where all receive
# all, the stack would decrypt ESP of the inactive one, too, and take one copy for a replay. It has
# split queues, the others have packed ones.
TESTS = ("name=n0,mac=02:00:00:00:00:10,mtu=9000,ipsec=on,port=switch:s0,packed=on",
         "name=n1,mac=02:00:00:00:00:11,mtu=9000,ipsec=off,port=switch:s0,packed=on",
         "name=n2,mac=02:00:00:00:00:12,mtu=9000,ipsec=on,port=switch:s0")
START_SECONDS = 15


@dataclasses.dataclass
class Nic:
    """One --nic of espnic-device."""

    name: str
    mac: str
    ipsec: bool
    socket: pathlib.Path
    spec: str


def parse(specs, sockets):
    """Nics for SPECs; missing names, addresses and sockets are filled in."""
    nics = []
    for index, spec in enumerate(specs):
        fields = {}
        for word in spec.split(","):
            key, equals, value = word.partition("=")
            if not equals or not key:
                raise cachelib.ToolError(f"--nic {spec}: '{word}' is not KEY=VALUE",
                                     cachelib.WRONG_USAGE)
            fields[key] = value
        fields.setdefault("name", f"n{index}")
        fields.setdefault("mac", f"02:00:00:00:00:{0x10 + index:02x}")
        fields.setdefault("socket", str(sockets / f"{fields['name']}.sock"))
        nics.append(Nic(fields["name"], fields["mac"].lower(), fields.get("ipsec", "on") == "on",
                        pathlib.Path(fields["socket"]),
                        ",".join(f"{key}={value}" for key, value in fields.items())))
    return nics


def target(name):
    """Where cargo puts a program."""
    return pathlib.Path(cachelib.environment("CARGO_TARGET_DIR")) / "release" / name


def program():
    """The daemon that cargo built."""
    path = target("espnic-device")
    if not path.exists():
        raise cachelib.ToolError("espnic-device is not built; run: make device")
    return path


class Daemon:
    """A running espnic-device."""

    def __init__(self, nics, run_dir, control, more=(), capture=True):
        self._log = run_dir / "device.log"
        command = [str(program()), "--control", str(control)]
        if capture:
            command += ["--capture", str(run_dir / "wire.pcapng")]
        for nic in nics:
            command += ["--nic", nic.spec]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*command, *more], stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log)
        try:
            self._wait([nic.socket for nic in nics] + [control])
        except BaseException:
            self.stop()
            raise

    def _wait(self, sockets):
        end = time.monotonic() + START_SECONDS
        while not all(path.exists() for path in sockets):
            if self._process.poll() is not None or time.monotonic() > end:
                wrong = self._process.returncode == cachelib.WRONG_USAGE
                raise cachelib.ToolError(f"espnic-device does not start:\n{self.words()}",
                                     cachelib.WRONG_USAGE if wrong else cachelib.FAILED)
            time.sleep(0.02)

    def words(self, lines=10):
        """The last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def alive(self):
        """True while it runs."""
        return self._process.poll() is None

    def stop(self):
        """End it and return its exit status; None if it had to be killed."""
        if self.alive():
            self._process.terminate()
        try:
            return self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None
