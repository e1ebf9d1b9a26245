# SPDX-License-Identifier: GPL-2.0
"""libreswan on both sides: daemons in the test's namespaces, with files of their own."""

import pathlib
import shutil
import tempfile

from . import ike, proc
from .ktap import Failure, Skip, defer, equal

PROGRAMS = pathlib.Path("/usr/libexec/ipsec")
SECRET = "espnic selftests only"
CONNECTION = "espnic"
# Routes and addresses are the test's; libreswan's script would change them.
CONFIG = """\
conn {connection}
    auto=add
    keyexchange=ikev2
    authby=secret
    left={own}
    leftid=@{own_id}
    leftsubnet={own_net}/32
    leftupdown=%disabled
    right={other}
    rightid=@{other_id}
    rightsubnet={other_net}/32
    type={mode}
    ike=aes_gcm128-sha2_256-dh31
    esp={esp}
    esn={esn}
    rekey={rekey}
    mobike=no
    replay-window={window}
    encapsulation={encap}
    nic-offload={offload}
    {more}
"""
WINDOW = 256


class Daemon:
    """One libreswan, in a namespace."""

    def __init__(self, ns, name, address):
        if not (PROGRAMS / "pluto").exists():
            raise Skip("libreswan is not installed")
        proc.need("ipsec", "certutil")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"libreswan-{name}-"))
        defer(shutil.rmtree, self.folder, ignore_errors=True)
        self._ns, self.log = ns, self.folder / "log"
        self._socket = self.folder / "pluto.ctl"
        self._start(name, address)

    def _start(self, name, address):
        settings, secrets, nss = (self.folder / part for part in ("setup", "secrets", "nss"))
        settings.write_text("config setup\n", encoding="ascii")
        secrets.write_text(f': PSK "{SECRET}"\n', encoding="ascii")
        nss.mkdir()
        proc.cmd("ipsec", "initnss", "--nssdir", str(nss))
        self._process = self._ns.spawn(
            str(PROGRAMS / "pluto"), "--nofork", "--config", str(settings),
            "--secretsfile", str(secrets), "--ipsecdir", str(self.folder), "--nssdir", str(nss),
            "--rundir", str(self.folder), "--logfile", str(self.log), "--listen", address,
            "--no-dnssec")
        proc.wait_until(self._listens, f"libreswan of {name} starts")
        self.control("--listen")

    def _listens(self):
        if self._process.poll() is not None:
            raise Failure(f"libreswan ended:\n{''.join(proc.stop(self._process))}\n{self.words()}")
        return self._socket.exists()

    def _run(self, program, *words):
        """Output of a program of libreswan's; raises with the daemon's last words if it fails."""
        result = self._ns.run(str(PROGRAMS / program), "--ctlsocket", str(self._socket), *words)
        if result.returncode:
            raise Failure(f"{program} {' '.join(words)}: {result.stderr}{result.stdout}\n"
                          f"{self.words()}")
        return result.stdout

    def control(self, *words):
        """Output of whack."""
        return self._run("whack", *words)

    def load(self, **fields):
        """Load a connection."""
        config = self.folder / "connection"
        config.write_text(CONFIG.format(connection=CONNECTION, **fields), encoding="ascii")
        self._run("addconn", "--config", str(config), CONNECTION)

    def rekey(self):
        """Replace the SAs of ESP by new ones."""
        self.control("--rekey-child", "--name", CONNECTION)

    def begin_rekey(self):
        """Ask for that, and do not wait for it."""
        self._ns.spawn(str(PROGRAMS / "whack"), "--ctlsocket", str(self._socket),
                       "--rekey-child", "--name", CONNECTION)

    def rekey_ike(self):
        """Replace the IKE SA by a new one; those of ESP stay."""
        self.control("--rekey-ike", "--name", CONNECTION)

    def terminate(self):
        """End the connection."""
        self.control("--terminate", "--name", CONNECTION)

    def shut_down(self):
        """End the daemon."""
        self.control("--shutdown")
        proc.wait_until(lambda: self._process.poll() is not None, "libreswan ends")
        equal(self._process.returncode, 0, "libreswan's exit status")

    def words(self, lines=15):
        """The end of its log."""
        return ike.last_words(self.log, lines)


class Pair:
    """libreswan on both sides of a test, with one connection between them.

    offload concerns the side under test; the peer is software.
    """

    def __init__(self, cfg, flow):
        ike.forget_xfrm_interfaces()
        self.dut = Daemon(cfg.dut, "dut", flow.dut)
        self.peer = Daemon(cfg.peer, "peer", flow.peer)

    def load(self, flow, offload, esp="aes_gcm128-null", esn="no", more="", rekey="no"):
        """Load a connection for the traffic of a flow. rekey says whether the side under test asks
        for new SAs by itself."""
        for daemon, mode, fields in zip((self.dut, self.peer), (offload, "no"), ike.sides(flow),
                                        strict=True):
            daemon.load(**fields, offload=mode, mode=flow.mode, esp=esp, esn=esn, more=more,
                        window=WINDOW, encap="yes" if flow.encap else "no",
                        rekey=rekey if daemon is self.dut else "no")

    def initiate(self):
        """Make the SAs, if that is possible; returns what whack says."""
        return self.dut.control("--initiate", "--name", CONNECTION)
